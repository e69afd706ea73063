//! The audit record: a line of JSON for each text in which a guardrail found something. It tells
//! what was found and never the text, unless the operator asks for what matched.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::guardrail::{Assessment, Direction, Fired, Intervention};

#[derive(Debug, Default)]
pub struct AuditLog {
    file: Option<Mutex<File>>,
    /// Also writes what matched.
    with_text: bool,
}

/// Whose text was judged.
pub(super) struct Subject<'a> {
    pub(super) request_id: &'a str,
    /// Empty where no keys are asked for.
    pub(super) key_id: &'a str,
    pub(super) operation: &'static str,
    pub(super) direction: Direction,
    /// All of it was judged; not of an answer that was given up.
    pub(super) is_complete: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970.
    time_ms: u64,
    request_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    key_id: &'a str,
    operation: &'static str,
    guardrail_id: &'a str,
    guardrail_version: &'a str,
    direction: &'static str,
    completed: bool,
    action: Intervention,
    fired: Vec<LineFired<'a>>,
}

#[derive(Serialize)]
struct LineFired<'a> {
    policy: &'static str,
    name: &'a str,
    action: Intervention,
    /// Distinct texts that matched, or one for a policy that judges the whole.
    count: usize,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    matches: &'a [String],
}

impl AuditLog {
    /// Appends to a file, which only its owner may read if it is made here.
    pub fn open(path: &Path, with_text: bool) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self { file: Some(Mutex::new(options.open(path)?)), with_text })
    }

    /// Records what fired, if anything did: as an event of the log's target `audit`, without what
    /// matched, and in the file.
    pub(super) fn write(&self, subject: &Subject<'_>, assessment: &Assessment) {
        let fired = assessment.fired();
        let Some(guardrail) = assessment.applied_guardrail_details.as_ref() else { return };
        if fired.is_empty() {
            return;
        }
        let line = |with_text: bool| {
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let line = Line {
                time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                request_id: subject.request_id,
                key_id: subject.key_id,
                operation: subject.operation,
                guardrail_id: &guardrail.guardrail_id,
                guardrail_version: &guardrail.guardrail_version,
                direction: subject.direction.name(),
                completed: subject.is_complete,
                action: assessment.intervention(),
                fired: fired.iter().map(|it| line_fired(it, with_text)).collect(),
            };
            serde_json::to_string(&line).expect("strings and numbers are always JSON")
        };
        tracing::info!(target: "audit", record = %line(false), "guardrail");
        let Some(file) = &self.file else { return };
        let text = line(self.with_text) + "\n";
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // In one call, so that lines of several processes do not mix.
        if let Err(error) = file.write_all(text.as_bytes()) {
            tracing::error!(%error, "the guardrail's audit record could not be written");
        }
    }
}

fn line_fired(fired: &Fired, with_text: bool) -> LineFired<'_> {
    LineFired {
        policy: fired.policy,
        name: &fired.name,
        action: fired.action,
        count: fired.matches.len().max(1),
        matches: if with_text { &fired.matches } else { &[] },
    }
}
