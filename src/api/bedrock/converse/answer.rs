//! The answer of Converse, and the parts that it shares with ConverseStream.
//!
//! Reasoning stands before the text because the model writes it first, and because in that order
//! the blocks of Converse and the block indices of ConverseStream agree.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::api::bedrock::service::{Latency, Service, Tier};
use crate::pipeline::{ChatEvent, ChatSummary, StopReason, Usage};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConverseAnswer {
    pub(super) output: Output,
    pub(super) stop_reason: &'static str,
    pub(super) usage: TokenUsage,
    pub(super) metrics: Metrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) additional_model_response_fields: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) performance_config: Option<PerformanceConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_tier: Option<ServiceTier>,
    /// What a guardrail found, if the client asked to be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trace: Option<Value>,
}

#[derive(Serialize)]
pub(super) struct Output {
    pub(super) message: Message,
}

#[derive(Serialize)]
pub(super) struct Message {
    pub(super) role: &'static str,
    pub(super) content: Vec<ContentBlock>,
}

#[derive(Serialize, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) enum ContentBlock {
    Text(String),
    ReasoningContent(ReasoningContent),
    ToolUse(ToolUse),
}

#[derive(Serialize, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReasoningContent {
    pub(super) reasoning_text: ReasoningText,
}

#[derive(Serialize, Debug, PartialEq)]
pub(super) struct ReasoningText {
    pub(super) text: String,
}

#[derive(Serialize, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolUse {
    pub(super) tool_use_id: String,
    pub(super) name: String,
    pub(super) input: Value,
}

/// Input, cache reads and cache writes add up to the prompt: clients that want its length sum them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api::bedrock) struct TokenUsage {
    pub(in crate::api::bedrock) input_tokens: usize,
    pub(in crate::api::bedrock) output_tokens: usize,
    /// All that were read or written, from the cache or not.
    total_tokens: usize,
    pub(in crate::api::bedrock) cache_read_input_tokens: usize,
    /// Every prompt is written to the cache. A client that has not asked for it by a cache point is
    /// told of none, so that it does not take its input for writes.
    pub(in crate::api::bedrock) cache_write_input_tokens: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metrics {
    latency_ms: u64,
}

#[derive(Serialize)]
pub(super) struct PerformanceConfig {
    latency: Latency,
}

#[derive(Serialize)]
pub(super) struct ServiceTier {
    r#type: Tier,
}

impl Message {
    pub(super) fn assistant(content: Vec<ContentBlock>) -> Self {
        Self { role: "assistant", content }
    }
}

impl TokenUsage {
    pub(in crate::api::bedrock) fn new(usage: Usage, has_cache_points: bool) -> Self {
        let written = if has_cache_points { usage.written_prompt_tokens } else { 0 };
        let read = usage.cached_prompt_tokens;
        Self {
            input_tokens: usage.prompt_tokens.saturating_sub(read).saturating_sub(written),
            output_tokens: usage.generated_tokens,
            total_tokens: usage.prompt_tokens + usage.generated_tokens,
            cache_read_input_tokens: read,
            cache_write_input_tokens: written,
        }
    }
}

impl From<Duration> for Metrics {
    fn from(latency: Duration) -> Self {
        Self { latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX) }
    }
}

impl PerformanceConfig {
    pub(super) fn echo(service: Service) -> Option<Self> {
        service.latency.map(|latency| Self { latency })
    }
}

impl ServiceTier {
    pub(super) fn echo(service: Service) -> Option<Self> {
        service.tier.map(|tier| Self { r#type: tier })
    }
}

pub(super) fn stop_reason(reason: &StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn => "end_turn",
        StopReason::MaxTokens => "max_tokens",
        StopReason::StopSequence(_) => "stop_sequence",
        StopReason::ContextWindowExceeded => "model_context_window_exceeded",
        StopReason::ToolUse => "tool_use",
        StopReason::MalformedToolUse => "malformed_tool_use",
        StopReason::GuardrailIntervened => "guardrail_intervened",
    }
}

/// What the model says beside its answer, where one of `paths` points to it: `/stop_sequence`,
/// which is null unless one ended the answer, and `/reasoning_tokens`. A path that points to
/// nothing adds nothing, as on Bedrock.
pub(super) fn response_fields(paths: &[String], summary: &ChatSummary) -> Option<Value> {
    let stop_sequence = match &summary.stop_reason {
        StopReason::StopSequence(stop) => Value::from(stop.as_str()),
        _ => Value::Null,
    };
    let said = [
        ("stop_sequence", stop_sequence),
        ("reasoning_tokens", Value::from(summary.usage.reasoning_tokens)),
    ];
    let is_asked_for = |key: &str| paths.iter().any(|path| path.strip_prefix('/') == Some(key));
    let fields: Map<String, Value> = said
        .into_iter()
        .filter(|(key, _)| is_asked_for(key))
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

/// Collects deltas into blocks: a new one whenever the kind changes.
#[derive(Default)]
pub(super) struct Blocks {
    complete: Vec<ContentBlock>,
    /// The use of a tool that is being written, and the JSON text of its input.
    call: Option<(String, String, String)>,
}

impl Blocks {
    pub(super) fn push(&mut self, event: ChatEvent) {
        match event {
            ChatEvent::Reasoning(text) => self.push_reasoning(&text),
            ChatEvent::Text(text) => self.push_text(&text),
            ChatEvent::ToolCallStart { id, name } => self.call = Some((id, name, String::new())),
            ChatEvent::ToolCallArguments(text) => {
                if let Some((_, _, input)) = &mut self.call {
                    input.push_str(&text);
                }
            }
            ChatEvent::ToolCallEnd => self.end_call(),
            ChatEvent::Logprobs(_) | ChatEvent::Finished(_) | ChatEvent::Failed(_) => {}
        }
    }

    fn push_text(&mut self, delta: &str) {
        match self.complete.last_mut() {
            Some(ContentBlock::Text(text)) => text.push_str(delta),
            _ => self.complete.push(ContentBlock::Text(delta.to_owned())),
        }
    }

    fn push_reasoning(&mut self, delta: &str) {
        match self.complete.last_mut() {
            Some(ContentBlock::ReasoningContent(block)) => {
                block.reasoning_text.text.push_str(delta)
            }
            _ => self.complete.push(ContentBlock::ReasoningContent(ReasoningContent {
                reasoning_text: ReasoningText { text: delta.to_owned() },
            })),
        }
    }

    /// A call that ended is whole; one that was cut has no input that could be given, and the stop
    /// reason says that it was.
    fn end_call(&mut self) {
        let Some((tool_use_id, name, input)) = self.call.take() else { return };
        let input = if input.is_empty() { Ok(json!({})) } else { serde_json::from_str(&input) };
        if let Ok(input) = input {
            self.complete.push(ContentBlock::ToolUse(ToolUse { tool_use_id, name, input }));
        }
    }

    /// Never empty: applications read the first block without asking whether there is one.
    pub(super) fn finish(mut self) -> Vec<ContentBlock> {
        if self.complete.is_empty() {
            self.push_text("");
        }
        self.complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Timing;

    const USAGE: Usage = Usage {
        prompt_tokens: 100,
        cached_prompt_tokens: 64,
        written_prompt_tokens: 16,
        generated_tokens: 7,
        reasoning_tokens: 3,
        guessed_tokens: 0,
    };

    #[test]
    fn cached_tokens_are_not_input_tokens_but_part_of_the_total() {
        let usage = |cached| serde_json::to_string(&TokenUsage::new(USAGE, cached)).unwrap();
        let expected = concat!(
            r#"{"inputTokens":36,"outputTokens":7,"totalTokens":107,"#,
            r#""cacheReadInputTokens":64,"cacheWriteInputTokens":0}"#,
        );
        assert_eq!(usage(false), expected);
        let expected = concat!(
            r#"{"inputTokens":20,"outputTokens":7,"totalTokens":107,"#,
            r#""cacheReadInputTokens":64,"cacheWriteInputTokens":16}"#,
        );
        assert_eq!(usage(true), expected);
    }

    #[test]
    fn deltas_of_one_kind_are_one_block_and_calls_are_blocks_of_their_own() {
        let mut blocks = Blocks::default();
        let start = |id: &str| ChatEvent::ToolCallStart { id: id.to_owned(), name: "f".to_owned() };
        blocks.push(ChatEvent::Reasoning("a".to_owned()));
        blocks.push(ChatEvent::Reasoning("b".to_owned()));
        blocks.push(ChatEvent::Text("c".to_owned()));
        for id in ["1", "2"] {
            blocks.push(start(id));
            blocks.push(ChatEvent::ToolCallArguments(r#"{"x":"#.to_owned()));
            blocks.push(ChatEvent::ToolCallArguments("1}".to_owned()));
            blocks.push(ChatEvent::ToolCallEnd);
        }
        blocks.push(start("cut"));
        blocks.push(ChatEvent::ToolCallArguments(r#"{"x":"#.to_owned()));
        let expected = json!([
            { "reasoningContent": { "reasoningText": { "text": "ab" } } },
            { "text": "c" },
            { "toolUse": { "toolUseId": "1", "name": "f", "input": { "x": 1 } } },
            { "toolUse": { "toolUseId": "2", "name": "f", "input": { "x": 1 } } },
        ]);
        assert_eq!(serde_json::to_value(blocks.finish()).unwrap(), expected);
        assert_eq!(Blocks::default().finish(), [ContentBlock::Text(String::new())]);
    }

    #[test]
    fn paths_choose_among_what_there_is() {
        let stop_reason = StopReason::StopSequence("END".to_owned());
        let mut summary = ChatSummary { stop_reason, usage: USAGE, timing: Timing::default() };
        let fields = |paths: &[&str], summary: &ChatSummary| {
            let paths: Vec<_> = paths.iter().map(|&path| path.to_owned()).collect();
            response_fields(&paths, summary)
        };
        let all = ["/stop_sequence", "/reasoning_tokens", "/other", "/", "/stop_sequence/0"];
        let expected = json!({ "stop_sequence": "END", "reasoning_tokens": 3 });
        assert_eq!(fields(&all, &summary), Some(expected));
        assert_eq!(fields(&["/other"], &summary), None);
        summary.stop_reason = StopReason::EndTurn;
        let expected = json!({ "stop_sequence": null });
        assert_eq!(fields(&["/stop_sequence"], &summary), Some(expected));
    }
}
