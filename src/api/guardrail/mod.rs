//! The guardrail that a request names, and what its answer tells of it, for all protocols.
//!
//! InvokeModel and OpenAI's operations name it by headers, and their bodies may add to it. Converse
//! names it in its body, in words of its own.

mod tags;

use axum::http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::api::app::Shared;
use crate::guardrail::{Intervention, OutputScope, ResolveError, StreamMode};
use crate::limits;
use crate::pipeline::{ChatRequest, GuardedText, Guarding, GuardrailTrace};

use tags::TagError;

pub(in crate::api) const IDENTIFIER: &str = "X-Amzn-Bedrock-GuardrailIdentifier";
pub(in crate::api) const VERSION: &str = "X-Amzn-Bedrock-GuardrailVersion";
pub(in crate::api) const TRACE: &str = "X-Amzn-Bedrock-Trace";
/// The member of a body that adds to the guardrail of the headers.
pub(in crate::api) const CONFIG: &str = "amazon-bedrock-guardrailConfig";

/// Why a request's guardrail is refused. One that was asked for and is silently absent would be
/// worse.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::api) enum GuardrailRefusal {
    #[error("On this server {error}.")]
    NotFound { error: ResolveError },
    #[error(
        "A guardrail needs both, its identifier and its version. Add the one that is missing and \
         try again."
    )]
    Incomplete { missing: &'static str },
    #[error("The header `{name}` must be {expected}.")]
    Header { name: &'static str, expected: &'static str },
    #[error("`{CONFIG}` adds to a guardrail, and the request names none.")]
    NoGuardrail,
    #[error("The value at `{CONFIG}.tagSuffix` must have 1 to {limit} letters and digits.")]
    Suffix { limit: usize },
    #[error("The value at `{CONFIG}.streamProcessingMode` is for answers that are streamed.")]
    NotAStream,
    #[error("{0}")]
    Tags(#[from] TagError),
    #[error("`logprobs` would spell out what a guardrail holds back; leave it out.")]
    Logprobs,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::api) enum TraceLevel {
    #[default]
    Disabled,
    Enabled,
    EnabledFull,
}

/// What a body adds to the guardrail of the headers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::api) struct BodyConfig {
    tag_suffix: Option<String>,
    stream_processing_mode: Option<BodyStreamMode>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "UPPERCASE")]
enum BodyStreamMode {
    Synchronous,
    Asynchronous,
}

/// Which guardrail a request names.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::api) struct GuardrailChoice {
    identifier: String,
    version: String,
    pub(in crate::api) trace: TraceLevel,
    pub(in crate::api) mode: StreamMode,
    /// The answer goes out while it is written.
    pub(in crate::api) is_stream: bool,
    /// Ends the names of the tags that mark text for the guardrail.
    tag_suffix: Option<String>,
}

impl GuardrailChoice {
    /// An identifier and a version come together, or there is no guardrail.
    pub(in crate::api) fn new(
        identifier: Option<String>,
        version: Option<String>,
    ) -> Result<Option<Self>, GuardrailRefusal> {
        let given = |value: Option<String>| value.filter(|it| !it.is_empty());
        match (given(identifier), given(version)) {
            (None, None) => Ok(None),
            (Some(identifier), Some(version)) => Ok(Some(Self {
                identifier,
                version,
                trace: TraceLevel::default(),
                mode: StreamMode::default(),
                is_stream: false,
                tag_suffix: None,
            })),
            (None, Some(_)) => Err(GuardrailRefusal::Incomplete { missing: IDENTIFIER }),
            (Some(_), None) => Err(GuardrailRefusal::Incomplete { missing: VERSION }),
        }
    }

    pub(in crate::api) fn from_headers(
        headers: &HeaderMap,
    ) -> Result<Option<Self>, GuardrailRefusal> {
        let text = |name: &'static str| {
            let value = headers.get(name).map(|value| value.to_str().map(str::to_owned));
            value.transpose().map_err(|_| GuardrailRefusal::Header { name, expected: "ASCII" })
        };
        let trace = match text(TRACE)?.as_deref() {
            None | Some("DISABLED") => TraceLevel::Disabled,
            Some("ENABLED") => TraceLevel::Enabled,
            Some("ENABLED_FULL") => TraceLevel::EnabledFull,
            Some(_) => {
                let expected = "one of ENABLED, DISABLED, ENABLED_FULL";
                return Err(GuardrailRefusal::Header { name: TRACE, expected });
            }
        };
        let choice = Self::new(text(IDENTIFIER)?, text(VERSION)?)?;
        Ok(choice.map(|choice| Self { trace, ..choice }))
    }

    /// With what the body says of it.
    pub(in crate::api) fn with_body(
        choice: Option<Self>,
        config: Option<BodyConfig>,
        is_stream: bool,
    ) -> Result<Option<Self>, GuardrailRefusal> {
        let (choice, config) = match (choice, config) {
            (Some(choice), config) => (choice, config),
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err(GuardrailRefusal::NoGuardrail),
        };
        let Some(config) = config else { return Ok(Some(Self { is_stream, ..choice })) };
        check_suffix(config.tag_suffix.as_deref())?;
        let mode = match config.stream_processing_mode {
            Some(_) if !is_stream => return Err(GuardrailRefusal::NotAStream),
            None | Some(BodyStreamMode::Synchronous) => StreamMode::Sync,
            Some(BodyStreamMode::Asynchronous) => StreamMode::Async,
        };
        Ok(Some(Self { mode, is_stream, tag_suffix: config.tag_suffix, ..choice }))
    }

    /// Puts the guardrail of this server that is meant around a request. What the input marks by
    /// tags is judged, or else all that users said; the tags go.
    pub(in crate::api) fn guard(
        &self,
        shared: &Shared,
        request: &mut ChatRequest,
    ) -> Result<(), GuardrailRefusal> {
        if request.logprobs.is_some() {
            return Err(GuardrailRefusal::Logprobs);
        }
        let marked = match &self.tag_suffix {
            Some(suffix) => tags::take(&mut request.input, suffix)?,
            None => Vec::new(),
        };
        let guarded = tags::guarded(&request.input, marked);
        request.guarding = Some(self.resolve(shared, guarded)?);
        Ok(())
    }

    /// The guardrail of this server that is meant, around texts of the client.
    pub(in crate::api) fn resolve(
        &self,
        shared: &Shared,
        input: Vec<GuardedText>,
    ) -> Result<Guarding, GuardrailRefusal> {
        let guardrail = shared.guardrails.resolve(&self.identifier, &self.version);
        Ok(Guarding {
            guardrail: guardrail.map_err(|error| GuardrailRefusal::NotFound { error })?,
            input,
            mode: self.mode,
            scope: match self.trace {
                TraceLevel::EnabledFull => OutputScope::Full,
                TraceLevel::Enabled | TraceLevel::Disabled => OutputScope::Interventions,
            },
            is_whole: !self.is_stream,
            reasoning: shared.options.guard_reasoning,
            observer: None,
        })
    }

    /// What the bodies of InvokeModel's answer and of OpenAI's tell of the guardrail.
    pub(in crate::api) fn members(&self, trace: &GuardrailTrace) -> Map<String, Value> {
        let action = match trace.intervention() {
            Intervention::None => "NONE",
            Intervention::Anonymized | Intervention::Blocked => "INTERVENED",
        };
        let mut members = Map::new();
        members.insert("amazon-bedrock-guardrailAction".to_owned(), json!(action));
        if self.trace != TraceLevel::Disabled {
            let id = &trace.guardrail_id;
            let outputs: Vec<Value> = trace.outputs.iter().map(|it| json!({ id: it })).collect();
            let guardrail = json!({ "input": { id: trace.input }, "outputs": outputs });
            let told = json!({ "guardrail": guardrail });
            members.insert("amazon-bedrock-trace".to_owned(), told);
        }
        members
    }
}

/// Bodies whose tokens are counted have no headers: their tags go all the same.
pub(in crate::api) fn drop_tags(
    request: &mut ChatRequest,
    config: Option<BodyConfig>,
) -> Result<(), GuardrailRefusal> {
    let Some(suffix) = config.and_then(|it| it.tag_suffix) else { return Ok(()) };
    check_suffix(Some(&suffix))?;
    tags::take(&mut request.input, &suffix)?;
    Ok(())
}

fn check_suffix(suffix: Option<&str>) -> Result<(), GuardrailRefusal> {
    let limit = limits::GUARDRAIL_TAG_SUFFIX_CHARS_MAX;
    let is_suffix = |suffix: &str| {
        (1..=limit).contains(&suffix.len()) && suffix.bytes().all(|it| it.is_ascii_alphanumeric())
    };
    match suffix.is_none_or(is_suffix) {
        true => Ok(()),
        false => Err(GuardrailRefusal::Suffix { limit }),
    }
}
