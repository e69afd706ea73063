//! The way back: token events to chat events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::chat::{
    Detokenizer, ReasoningParser, ReasoningTags, Segment, StopOutput, StopStrings, TextAssets,
    Tokenizer, ToolFormat, ToolParser, ToolSegment,
};
use crate::engine::{
    FinishReason, Generation, GenerationError, GenerationSummary, TokenEvent, TokenLogprobs,
};
use crate::pipeline::guard::Gate;
use crate::pipeline::judge::consulting;
use crate::pipeline::{
    ChatEvent, ChatSummary, GuardrailTrace, PipelineError, ReasoningFormat, StopReason, Timing,
    TokenLogprob, TokenMeter, Usage,
};

/// What the way back needs to know of the way there.
#[derive(Debug, Default)]
pub(super) struct StreamParts {
    pub(super) num_prompt_tokens: usize,
    /// The prompt ended by opening the reasoning part.
    pub(super) reasoning_open: bool,
    pub(super) reasoning: ReasoningFormat,
    /// The model may call tools.
    pub(super) tools: Option<ToolFormat>,
    /// A grammar holds for the whole answer, so no tag of reasoning in it is one.
    pub(super) is_grammatical: bool,
}

/// Dropping the stream cancels the request and frees its blocks.
#[derive(Debug)]
pub struct ChatStream {
    /// `None` once the final event is pending or was taken.
    generation: Option<Generation>,
    tokenizer: Arc<Tokenizer>,
    detokenizer: Detokenizer,
    reasoning_parser: ReasoningParser,
    is_grammatical: bool,
    tool_parser: Option<ToolParser>,
    stop_strings: StopStrings,
    pending: VecDeque<ChatEvent>,
    /// Of the token that comes next.
    logprobs: Option<Box<TokenLogprobs>>,
    reasoning_counter: ReasoningCounter,
    usage: Usage,
    started_at: Instant,
    first_token: Option<Duration>,
    meter: Option<Arc<TokenMeter>>,
    gate: Option<Box<Gate>>,
    /// Has the gate while the guardrail's models are asked about an event.
    consulting: Option<JoinHandle<Result<Box<Gate>, PipelineError>>>,
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
        generation: Option<Generation>,
        parts: StreamParts,
        stop_strings: StopStrings,
    ) -> Self {
        let tags = text.reasoning.as_ref();
        let (split_tags, starts_open) = match parts.reasoning {
            ReasoningFormat::Split => (tags, parts.reasoning_open),
            ReasoningFormat::Inline => (None, false),
        };
        Self {
            generation,
            tokenizer: Arc::clone(&text.tokenizer),
            detokenizer: Detokenizer::new(Arc::clone(&text.tokenizer)),
            reasoning_parser: ReasoningParser::new(split_tags, starts_open),
            is_grammatical: parts.is_grammatical,
            tool_parser: parts.tools.map(ToolParser::new),
            stop_strings,
            pending: VecDeque::new(),
            logprobs: None,
            reasoning_counter: ReasoningCounter::new(tags, parts.reasoning_open),
            usage: Usage { prompt_tokens: parts.num_prompt_tokens, ..Usage::default() },
            started_at: Instant::now(),
            first_token: None,
            meter: None,
            gate: None,
            consulting: None,
        }
    }

    /// The answer to a request whose input was blocked: the message, and no model.
    pub(super) fn blocked(text: &TextAssets, mut gate: Gate, message: String) -> Self {
        let none = StopStrings::new(&[]).expect("no stop strings are within every limit");
        gate.block_input(message);
        Self::new(text, None, StreamParts::default(), none).gated(gate)
    }

    pub(super) fn gated(mut self, gate: Gate) -> Self {
        self.gate = Some(Box::new(gate));
        self
    }

    /// What the guardrail found, once the final event was taken; `None` without one.
    pub fn take_guardrail_trace(&mut self) -> Option<GuardrailTrace> {
        self.gate.as_mut().map(|gate| gate.take_trace())
    }

    pub(super) fn metered(mut self, meter: Option<Arc<TokenMeter>>) -> Self {
        self.meter = meter;
        self
    }

    /// `None` after the final event. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<ChatEvent> {
        loop {
            if let Some(gate) = &mut self.gate
                && let Some(event) = gate.take()
            {
                return Some(event);
            }
            if let Some(task) = &mut self.consulting {
                let gate = task.await;
                self.consulting = None;
                match gate {
                    Ok(Ok(gate)) => self.gate = Some(gate),
                    // Without a gate nothing may leave any more.
                    Ok(Err(_)) | Err(_) => panic!("the guardrail panicked"),
                }
                self.end_if_blocked();
                continue;
            }
            let event = self.next_ungated().await?;
            let Some(mut gate) = self.gate.take() else { return Some(event) };
            if gate.consults() {
                // A task of its own: dropping this future must not lose the event.
                let push = move || {
                    gate.push(event);
                    gate
                };
                self.consulting = Some(tokio::spawn(consulting(push)));
                continue;
            }
            gate.push(event);
            self.gate = Some(gate);
            self.end_if_blocked();
        }
    }

    /// The guardrail has ended the answer, so the model may stop.
    fn end_if_blocked(&mut self) {
        let is_blocked = self.gate.as_ref().is_some_and(|gate| gate.is_blocked);
        if is_blocked && self.generation.is_some() {
            self.pending.clear();
            self.end(StopReason::GuardrailIntervened);
        }
    }

    async fn next_ungated(&mut self) -> Option<ChatEvent> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            match self.generation.as_mut()?.next().await {
                Some(TokenEvent::Token(id)) => self.push_token(id),
                Some(TokenEvent::Logprobs(logprobs)) => self.logprobs = Some(logprobs),
                Some(TokenEvent::Finished(summary)) => self.finish(&summary),
                Some(TokenEvent::Failed(error)) => self.fail(error),
                None => self.fail(GenerationError::EngineStopped),
            }
        }
    }

    fn push_token(&mut self, id: u32) {
        self.first_token.get_or_insert_with(|| self.started_at.elapsed());
        self.usage.generated_tokens += 1;
        let part = self.reasoning_counter.push(id);
        self.usage.reasoning_tokens += usize::from(part == TokenPart::Reasoning);
        let logprobs = self.logprobs.take().filter(|_| part == TokenPart::Answer);
        if let Some(logprobs) = logprobs {
            let event = ChatEvent::Logprobs(vec![token_logprob(&self.tokenizer, &logprobs)]);
            self.pending.push_back(event);
        }
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
                    if !self.release_text() {
                        self.emit(ChatEvent::Reasoning, text);
                    }
                }
                Segment::Text(text) => {
                    if self.is_grammatical {
                        self.reasoning_parser.answer_has_begun();
                    }
                    let segments = match &mut self.tool_parser {
                        Some(parser) => parser.push(&text),
                        None => vec![ToolSegment::Text(text)],
                    };
                    self.push_tool_segments(segments);
                }
            }
        }
    }

    fn push_tool_segments(&mut self, segments: Vec<ToolSegment>) {
        for segment in segments {
            if self.generation.is_none() {
                return;
            }
            match segment {
                ToolSegment::Text(text) => {
                    let output = self.stop_strings.push(&text);
                    self.emit_text(output);
                }
                ToolSegment::Start { name } => {
                    if !self.release_text() {
                        let event = ChatEvent::ToolCallStart { id: tool_call_id(), name };
                        self.pending.push_back(event);
                    }
                }
                ToolSegment::Arguments(text) => self.emit(ChatEvent::ToolCallArguments, text),
                ToolSegment::End => self.pending.push_back(ChatEvent::ToolCallEnd),
            }
        }
    }

    /// Sends what is held back for a stop string; whether it was one.
    fn release_text(&mut self) -> bool {
        let held_back = self.stop_strings.finish();
        self.emit_text(held_back)
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
        self.usage.guessed_tokens = summary.num_guessed_tokens;
        let text = self.detokenizer.finish();
        let mut segments = self.reasoning_parser.push(&text);
        segments.extend(self.reasoning_parser.finish());
        self.push_segments(segments);
        let segments = self.tool_parser.as_mut().map(ToolParser::finish).unwrap_or_default();
        self.push_tool_segments(segments);
        if self.generation.is_none() || self.release_text() {
            return;
        }
        let tools = self.tool_parser.as_ref();
        self.end(match summary.reason {
            FinishReason::Stop if tools.is_some_and(ToolParser::is_malformed) => {
                StopReason::MalformedToolUse
            }
            FinishReason::Stop if tools.is_some_and(|it| it.num_calls() > 0) => StopReason::ToolUse,
            FinishReason::Stop => StopReason::EndTurn,
            FinishReason::MaxTokens => StopReason::MaxTokens,
            FinishReason::ContextFull => StopReason::ContextWindowExceeded,
        });
    }

    /// Drops the generation, so that the engine stops working on it.
    fn end(&mut self, stop_reason: StopReason) {
        if let Some(generation) = self.generation.take() {
            self.usage.cached_prompt_tokens = generation.num_cached_tokens();
            self.usage.written_prompt_tokens = generation.num_written_tokens();
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

/// In the form of Bedrock's own.
fn tool_call_id() -> String {
    format!("tooluse_{}", URL_SAFE_NO_PAD.encode(Uuid::new_v4().as_bytes()))
}

fn token_logprob(tokenizer: &Tokenizer, logprobs: &TokenLogprobs) -> TokenLogprob {
    let spelled = |id: u32| {
        let bytes = tokenizer.token_bytes(id).to_vec();
        (String::from_utf8_lossy(&bytes).into_owned(), bytes)
    };
    let (text, bytes) = spelled(logprobs.token);
    let top = logprobs.top.iter().map(|&(id, logprob)| {
        let (text, bytes) = spelled(id);
        (text, bytes, logprob)
    });
    TokenLogprob { text, bytes, logprob: logprobs.logprob, top: top.collect() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenPart {
    Reasoning,
    /// One of the tags.
    Tag,
    Answer,
}

/// Tells the tokens between the tags from the others.
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

    fn push(&mut self, id: u32) -> TokenPart {
        match self.ids {
            Some((open_id, close_id)) if id == open_id || id == close_id => {
                self.open = id == open_id;
                TokenPart::Tag
            }
            Some(_) if self.open => TokenPart::Reasoning,
            Some(_) | None => TokenPart::Answer,
        }
    }
}
