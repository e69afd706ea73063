//! An answer's text on its way out. What it lets go depends on the text only, never on how it was
//! cut into pieces: everything that further text could make part of a finding waits, all else
//! leaves at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use regex_automata::hybrid::dfa::Cache;

use crate::guardrail::advice::windows;
use crate::guardrail::assessment::{Assessment, InvocationMetrics, TextCharacters};
use crate::guardrail::block::Direction;
use crate::guardrail::definition::Action;
use crate::guardrail::detect::{Detector, Finding, Reading, masked};
use crate::guardrail::fold::Folded;
use crate::guardrail::grounding::Grounding;
use crate::guardrail::guard::Guardrail;
use crate::guardrail::learned::{ContentScorer, ContentStream};
use crate::guardrail::report::{OutputScope, Report};
use crate::guardrail::rules::Rules;
use crate::guardrail::segment::segments;

/// Bytes of text that left already and are kept for rules that look back; above twice as many the
/// rest is dropped.
const KEPT_BYTES: usize = 1 << 10;

/// When text may leave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StreamMode {
    /// After it was judged.
    #[default]
    Sync,
    /// At once; what comes after a finding does not.
    Async,
}

/// What a push lets go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Released {
    Text(String),
    /// The last text, and then the guardrail's message in place of all that would follow.
    Blocked(String),
}

/// The gate of one answer.
pub struct StreamGuard {
    guardrail: Arc<Guardrail>,
    mode: StreamMode,
    grounding: Grounding,
    caches: Vec<Cache>,
    /// Some of what left, and all that waits.
    text: String,
    /// Where what waits begins.
    waiting_from: usize,
    report: Report,
    content: Option<ContentStream<'static>>,
    num_chars: u64,
    is_blocked: bool,
    /// Time that judging took so far.
    processing: Duration,
}

/// Shows sizes, never text.
impl std::fmt::Debug for StreamGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamGuard")
            .field("guardrail", self.guardrail.identity())
            .field("mode", &self.mode)
            .field("waiting_bytes", &(self.text.len() - self.waiting_from))
            .field("is_blocked", &self.is_blocked)
            .finish_non_exhaustive()
    }
}

/// A guardrail cannot replace text that has been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the guardrail masks sensitive information in answers, which asynchronous streaming cannot: \
     use synchronous streaming, or BLOCK or NONE for `outputAction`"
)]
pub struct CannotMask;

impl StreamGuard {
    pub fn new(
        guardrail: Arc<Guardrail>,
        mode: StreamMode,
        grounding: Grounding,
        scope: OutputScope,
    ) -> Result<Self, CannotMask> {
        if mode == StreamMode::Async && guardrail.masks(Direction::Output) {
            return Err(CannotMask);
        }
        let reads_meaning = guardrail.rules.reads_meaning(Direction::Output);
        Ok(Self {
            caches: guardrail.rules.patterns.iter().map(|pattern| pattern.search.cache()).collect(),
            report: Report::new(&guardrail.rules, Direction::Output, scope),
            content: reads_meaning.then(|| ContentScorer::built_in().stream()),
            guardrail,
            mode,
            grounding,
            text: String::new(),
            waiting_from: 0,
            num_chars: 0,
            is_blocked: false,
            processing: Duration::ZERO,
        })
    }

    /// Takes the next piece of the answer, and lets go what is decided.
    pub fn push(&mut self, piece: &str) -> Released {
        self.timed(piece, false)
    }

    /// Lets go the rest.
    pub fn finish(&mut self) -> Released {
        self.timed("", true)
    }

    /// What to say when it was blocked.
    pub fn blocked_message(&self) -> &str {
        self.guardrail.blocked_message(Direction::Output)
    }

    /// What was found in all that came.
    pub fn into_assessment(self) -> Assessment {
        let mut assessment = self.report.finish(&self.guardrail.rules);
        let chars = self.num_chars;
        let grounded = match self.guardrail.rules.needs_whole_answer(&self.grounding) {
            true => {
                let sources = self.grounding.sources.iter();
                chars + sources.map(|source| source.chars().count() as u64).sum::<u64>()
            }
            false => 0,
        };
        assessment.invocation_metrics = Some(InvocationMetrics::new(
            self.processing,
            self.guardrail.rules.usage(Direction::Output, chars, grounded),
            TextCharacters { guarded: chars, total: chars },
        ));
        assessment.applied_guardrail_details = Some(self.guardrail.details());
        assessment
    }

    fn timed(&mut self, piece: &str, is_end: bool) -> Released {
        let started_at = Instant::now();
        let released = self.step(piece, is_end);
        self.processing += started_at.elapsed();
        released
    }

    fn step(&mut self, piece: &str, is_end: bool) -> Released {
        if self.is_blocked {
            return Released::Text(String::new());
        }
        self.text.push_str(piece);
        self.num_chars += piece.chars().count() as u64;
        let (until, blocks_at, findings) = self.decide(is_end);
        let end = blocks_at.unwrap_or(until);
        for finding in findings
            .iter()
            .filter(|it| it.range.start < end || blocks_at.is_some_and(|at| it.range.start == at))
        {
            self.report.add(&self.guardrail.rules, &self.text[finding.range.clone()], finding);
        }
        let rules = &self.guardrail.rules;
        let judged = masked(&self.text, self.waiting_from..end, &findings, |it| it.tag(rules));
        self.waiting_from = end;
        self.is_blocked = blocks_at.is_some();
        self.forget();
        let text = match self.mode {
            StreamMode::Sync => judged,
            StreamMode::Async if self.is_blocked => String::new(),
            StreamMode::Async => piece.to_owned(),
        };
        match self.is_blocked {
            true => Released::Blocked(text),
            false => Released::Text(text),
        }
    }

    /// How far the text is decided, where it is blocked, and what was found in it.
    fn decide(&mut self, is_end: bool) -> (usize, Option<usize>, Vec<Finding>) {
        let guardrail = Arc::clone(&self.guardrail);
        let rules = &guardrail.rules;
        let detector = Detector::new(rules, Direction::Output);
        let caches = (!is_end).then_some(self.caches.as_mut_slice());
        let found = detector.detect(&Reading::new(&self.text), self.waiting_from, caches);
        let waits_for_all = rules.needs_whole_answer(&self.grounding);
        let mut until = match (is_end, waits_for_all) {
            (true, _) => self.text.len(),
            (false, true) => self.waiting_from,
            (false, false) => found.live_from,
        };
        let reads_sentences = self.content.is_some() || detector.reads_sentences();
        let sentences = match reads_sentences {
            true => {
                let chars_min = rules.window_chars(Direction::Output).unwrap_or(0);
                windows(&self.text, self.waiting_from, is_end, chars_min)
            }
            false => Vec::new(),
        };
        // Nothing is cut that belongs together: neither a sentence nor a finding.
        loop {
            let before = until;
            if reads_sentences {
                let ends = sentences.iter().map(|sentence| sentence.end);
                until = ends.rev().find(|end| *end <= until).unwrap_or(self.waiting_from);
            }
            let cut =
                found.findings.iter().find(|it| it.range.start < until && until < it.range.end);
            until = cut.map_or(until, |finding| finding.range.start);
            if until == before {
                break;
            }
        }
        let is_decided = |it: &&Finding| it.range.start < until && it.action == Action::Block;
        let mut blocks_at = found.findings.iter().find(is_decided).map(|it| it.range.start);
        for sentence in sentences.into_iter().filter(|sentence| sentence.end <= until) {
            if blocks_at.is_some_and(|at| at < sentence.start) {
                break;
            }
            if self.judge(rules, sentence.start, sentence.end) {
                blocks_at = Some(sentence.start);
                break;
            }
        }
        if is_end && self.report.ground(rules, &self.grounding, &self.text) {
            blocks_at = Some(self.waiting_from);
        }
        (until, blocks_at, found.findings)
    }

    /// What classifiers, topics and experts say with one window of sentences more; whether that
    /// blocks.
    fn judge(&mut self, rules: &Rules, start: usize, end: usize) -> bool {
        let Some(content) = &mut self.content else { return false };
        let window = &self.text[start..end];
        let mut blocks = false;
        for sentence in segments(window, 0, true) {
            let sentence = Folded::skeleton(&window[sentence]);
            content.push(sentence.text());
            blocks |= self.report.content(rules, &content.scores());
            blocks |= self.report.topics(rules, sentence.text());
        }
        // What is blocked already need not be asked about.
        blocks || rules.consults(Direction::Output) && self.report.consult(rules, window)
    }

    /// Drops text that left long ago.
    fn forget(&mut self) {
        if self.waiting_from <= 2 * KEPT_BYTES {
            return;
        }
        let mut drop = self.waiting_from - KEPT_BYTES;
        while !self.text.is_char_boundary(drop) {
            drop += 1;
        }
        self.text.drain(..drop);
        self.waiting_from -= drop;
    }
}
