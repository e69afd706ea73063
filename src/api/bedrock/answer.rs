//! The answer of Converse, and the parts that it shares with ConverseStream.
//!
//! Reasoning stands before the text because the model writes it first, and because in that order
//! the blocks of Converse and the block indices of ConverseStream agree.

use std::time::Duration;

use serde::Serialize;

use crate::pipeline::{StopReason, Usage};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConverseAnswer {
    pub(super) output: Output,
    pub(super) stop_reason: &'static str,
    pub(super) usage: TokenUsage,
    pub(super) metrics: Metrics,
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

#[derive(Serialize, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) enum ContentBlock {
    Text(String),
    ReasoningContent(ReasoningContent),
}

#[derive(Serialize, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReasoningContent {
    pub(super) reasoning_text: ReasoningText,
}

#[derive(Serialize, Debug, PartialEq, Eq)]
pub(super) struct ReasoningText {
    pub(super) text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TokenUsage {
    /// Without those read from the cache.
    input_tokens: usize,
    output_tokens: usize,
    /// All that were read or written, from the cache or not.
    total_tokens: usize,
    cache_read_input_tokens: usize,
    cache_write_input_tokens: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metrics {
    latency_ms: u64,
}

impl Message {
    pub(super) fn assistant(content: Vec<ContentBlock>) -> Self {
        Self { role: "assistant", content }
    }
}

impl From<Usage> for TokenUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens.saturating_sub(usage.cached_prompt_tokens),
            output_tokens: usage.generated_tokens,
            total_tokens: usage.prompt_tokens + usage.generated_tokens,
            cache_read_input_tokens: usage.cached_prompt_tokens,
            cache_write_input_tokens: usage.written_prompt_tokens,
        }
    }
}

impl From<Duration> for Metrics {
    fn from(latency: Duration) -> Self {
        Self { latency_ms: u64::try_from(latency.as_millis()).unwrap_or(u64::MAX) }
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
    }
}

/// Collects deltas into blocks: a new one whenever the kind changes.
#[derive(Default)]
pub(super) struct Blocks(Vec<ContentBlock>);

impl Blocks {
    pub(super) fn push_text(&mut self, delta: &str) {
        match self.0.last_mut() {
            Some(ContentBlock::Text(text)) => text.push_str(delta),
            _ => self.0.push(ContentBlock::Text(delta.to_owned())),
        }
    }

    pub(super) fn push_reasoning(&mut self, delta: &str) {
        match self.0.last_mut() {
            Some(ContentBlock::ReasoningContent(block)) => {
                block.reasoning_text.text.push_str(delta)
            }
            _ => self.0.push(ContentBlock::ReasoningContent(ReasoningContent {
                reasoning_text: ReasoningText { text: delta.to_owned() },
            })),
        }
    }

    /// Never empty: applications read the first block without asking whether there is one.
    pub(super) fn finish(mut self) -> Vec<ContentBlock> {
        if self.0.is_empty() {
            self.push_text("");
        }
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_tokens_are_not_input_tokens_but_part_of_the_total() {
        let usage = Usage {
            prompt_tokens: 100,
            cached_prompt_tokens: 64,
            written_prompt_tokens: 16,
            generated_tokens: 7,
            reasoning_tokens: 3,
        };
        let expected = concat!(
            r#"{"inputTokens":36,"outputTokens":7,"totalTokens":107,"#,
            r#""cacheReadInputTokens":64,"cacheWriteInputTokens":16}"#,
        );
        assert_eq!(serde_json::to_string(&TokenUsage::from(usage)).unwrap(), expected);
    }

    #[test]
    fn deltas_of_one_kind_are_one_block() {
        let mut blocks = Blocks::default();
        blocks.push_reasoning("a");
        blocks.push_reasoning("b");
        blocks.push_text("c");
        assert_eq!(
            serde_json::to_string(&blocks.finish()).unwrap(),
            r#"[{"reasoningContent":{"reasoningText":{"text":"ab"}}},{"text":"c"}]"#
        );
        assert_eq!(Blocks::default().finish(), [ContentBlock::Text(String::new())]);
    }
}
