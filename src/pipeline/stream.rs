//! The way back: token events to chat events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::chat::{
    Detokenizer, ReasoningParser, ReasoningTags, Segment, StopOutput, StopStrings, TextAssets,
};
use crate::engine::{FinishReason, Generation, GenerationError, GenerationSummary, TokenEvent};
use crate::pipeline::{ChatEvent, ChatSummary, StopReason, Timing, TokenMeter, Usage};

/// Dropping the stream cancels the request and frees its blocks.
#[derive(Debug)]
pub struct ChatStream {
    /// `None` once the final event is pending or was taken.
    generation: Option<Generation>,
    detokenizer: Detokenizer,
    reasoning_parser: ReasoningParser,
    stop_strings: StopStrings,
    pending: VecDeque<ChatEvent>,
    reasoning_counter: ReasoningCounter,
    usage: Usage,
    started_at: Instant,
    first_token: Option<Duration>,
    meter: Option<Arc<TokenMeter>>,
}

/// Also of a request whose client went away.
impl Drop for ChatStream {
    fn drop(&mut self) {
        let Some(meter) = &self.meter else { return };
        let cached = match &self.generation {
            Some(generation) => generation.num_cached_tokens(),
            None => self.usage.cached_prompt_tokens,
        };
        let computed = self.usage.prompt_tokens.saturating_sub(cached);
        meter.add(computed.saturating_add(self.usage.generated_tokens));
    }
}

impl ChatStream {
    pub(super) fn new(
        text: &TextAssets,
        generation: Generation,
        num_prompt_tokens: usize,
        reasoning_open: bool,
        stop_strings: StopStrings,
    ) -> Self {
        let tags = text.reasoning.as_ref();
        Self {
            generation: Some(generation),
            detokenizer: Detokenizer::new(Arc::clone(&text.tokenizer)),
            reasoning_parser: ReasoningParser::new(tags, reasoning_open),
            stop_strings,
            pending: VecDeque::new(),
            reasoning_counter: ReasoningCounter::new(tags, reasoning_open),
            usage: Usage { prompt_tokens: num_prompt_tokens, ..Usage::default() },
            started_at: Instant::now(),
            first_token: None,
            meter: None,
        }
    }

    pub(super) fn metered(mut self, meter: Option<Arc<TokenMeter>>) -> Self {
        self.meter = meter;
        self
    }

    /// `None` after the final event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ChatEvent> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            match self.generation.as_mut()?.next().await {
                Some(TokenEvent::Token(id)) => self.push_token(id),
                Some(TokenEvent::Finished(summary)) => self.finish(&summary),
                Some(TokenEvent::Failed(error)) => self.fail(error),
                None => self.fail(GenerationError::EngineStopped),
            }
        }
    }

    fn push_token(&mut self, id: u32) {
        self.first_token.get_or_insert_with(|| self.started_at.elapsed());
        self.usage.generated_tokens += 1;
        self.usage.reasoning_tokens += usize::from(self.reasoning_counter.push(id));
        let text = self.detokenizer.push(id);
        if !text.is_empty() {
            let segments = self.reasoning_parser.push(&text);
            self.push_segments(segments);
        }
    }

    /// Everything that becomes visible passes here, split into reasoning and answer.
    fn push_segments(&mut self, segments: Vec<Segment>) {
        for segment in segments {
            // A stop string has ended the answer: what follows it in this batch is dropped.
            if self.generation.is_none() {
                return;
            }
            match segment {
                // No stop string spans a stretch of reasoning.
                Segment::Reasoning(text) => {
                    let held_back = self.stop_strings.finish();
                    if !self.emit_text(held_back) {
                        self.emit(ChatEvent::Reasoning, text);
                    }
                }
                Segment::Text(text) => {
                    let output = self.stop_strings.push(&text);
                    self.emit_text(output);
                }
            }
        }
    }

    /// Whether a stop string was found, which ends the answer.
    fn emit_text(&mut self, output: StopOutput) -> bool {
        self.emit(ChatEvent::Text, output.text);
        let Some(stop) = output.stopped_at else { return false };
        self.end(StopReason::StopSequence(stop));
        true
    }

    fn emit(&mut self, event: fn(String) -> ChatEvent, text: String) {
        if !text.is_empty() {
            self.pending.push_back(event(text));
        }
    }

    fn finish(&mut self, summary: &GenerationSummary) {
        self.usage.generated_tokens = summary.num_generated_tokens;
        let text = self.detokenizer.finish();
        let mut segments = self.reasoning_parser.push(&text);
        segments.extend(self.reasoning_parser.finish());
        self.push_segments(segments);
        let held_back = self.stop_strings.finish();
        if self.generation.is_none() || self.emit_text(held_back) {
            return;
        }
        self.end(match summary.reason {
            FinishReason::Stop => StopReason::EndTurn,
            FinishReason::MaxTokens => StopReason::MaxTokens,
            FinishReason::ContextFull => StopReason::ContextWindowExceeded,
        });
    }

    /// Drops the generation, so that the engine stops working on it.
    fn end(&mut self, stop_reason: StopReason) {
        if let Some(generation) = self.generation.take() {
            self.usage.cached_prompt_tokens = generation.num_cached_tokens();
        }
        let timing = Timing { first_token: self.first_token, total: self.started_at.elapsed() };
        let summary = ChatSummary { stop_reason, usage: self.usage, timing };
        self.pending.push_back(ChatEvent::Finished(summary));
    }

    fn fail(&mut self, error: GenerationError) {
        self.generation = None;
        self.pending.push_back(ChatEvent::Failed(error));
    }
}

/// Counts the tokens between the tags, the tags themselves excluded.
#[derive(Debug)]
struct ReasoningCounter {
    /// Ids that open and close the reasoning part.
    ids: Option<(u32, u32)>,
    open: bool,
}

impl ReasoningCounter {
    fn new(tags: Option<&ReasoningTags>, open: bool) -> Self {
        Self { ids: tags.map(|tags| (tags.open_id, tags.close_id)), open }
    }

    /// Whether this token belongs to the reasoning.
    fn push(&mut self, id: u32) -> bool {
        match self.ids {
            Some((open_id, _)) if id == open_id => {
                self.open = true;
                false
            }
            Some((_, close_id)) if id == close_id => {
                self.open = false;
                false
            }
            Some(_) => self.open,
            None => false,
        }
    }
}
