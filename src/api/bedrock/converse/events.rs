//! The events of ConverseStream.
//!
//! Text and reasoning blocks have no `contentBlockStart`: Bedrock sends none either, and no client
//! waits for one. The use of a tool has one, which names the tool.

use serde::Serialize;
use serde_json::{Value, json};
use std::time::Duration;

use crate::api::bedrock::converse::answer::{
    Metrics, PerformanceConfig, ServiceTier, TokenUsage, response_fields, stop_reason,
};
use crate::api::bedrock::converse::parse::Options;
use crate::api::bedrock::frame;
use crate::api::bedrock::guardrail::converse_trace;
use crate::api::bedrock::stream::Encoder;
use crate::pipeline::{ChatEvent, ChatSummary, GuardrailTrace};

#[derive(Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Text,
    Reasoning,
    ToolUse,
}

/// Encodes the events of one answer and numbers its blocks.
pub(super) struct EventEncoder {
    options: Options,
    /// The block that is open, and its kind.
    open: Option<(usize, BlockKind)>,
    num_blocks: usize,
    trace: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageStop {
    stop_reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_model_response_fields: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    usage: TokenUsage,
    metrics: Metrics,
    #[serde(skip_serializing_if = "Option::is_none")]
    performance_config: Option<PerformanceConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<ServiceTier>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Value>,
}

impl EventEncoder {
    pub(super) fn new(options: Options) -> Self {
        Self { options, open: None, num_blocks: 0, trace: None }
    }

    /// The index of a block of this kind, after closing one of another kind.
    fn block(&mut self, kind: BlockKind, frames: &mut Vec<u8>) -> usize {
        match self.open {
            Some((index, open)) if open == kind => index,
            Some(_) | None => {
                self.close_block(frames);
                let index = self.num_blocks;
                self.num_blocks += 1;
                self.open = Some((index, kind));
                index
            }
        }
    }

    fn close_block(&mut self, frames: &mut Vec<u8>) {
        if let Some((index, _)) = self.open.take() {
            frame::event(frames, "contentBlockStop", &json!({ "contentBlockIndex": index }));
        }
    }
}

impl Encoder for EventEncoder {
    fn start(&mut self) -> Vec<u8> {
        let mut frames = Vec::new();
        frame::event(&mut frames, "messageStart", &json!({ "role": "assistant" }));
        frames
    }

    fn delta(&mut self, event: ChatEvent) -> Vec<u8> {
        let mut frames = Vec::new();
        match event {
            ChatEvent::Reasoning(text) => {
                let index = self.block(BlockKind::Reasoning, &mut frames);
                push(&mut frames, index, &json!({ "reasoningContent": { "text": text } }));
            }
            ChatEvent::Text(text) => {
                let index = self.block(BlockKind::Text, &mut frames);
                push(&mut frames, index, &json!({ "text": text }));
            }
            ChatEvent::ToolCallStart { id, name } => {
                // Two uses of tools are two blocks, even side by side.
                self.close_block(&mut frames);
                let index = self.block(BlockKind::ToolUse, &mut frames);
                let start = json!({ "toolUse": { "toolUseId": id, "name": name } });
                let start = json!({ "start": start, "contentBlockIndex": index });
                frame::event(&mut frames, "contentBlockStart", &start);
            }
            ChatEvent::ToolCallArguments(text) => {
                let index = self.block(BlockKind::ToolUse, &mut frames);
                push(&mut frames, index, &json!({ "toolUse": { "input": text } }));
            }
            ChatEvent::ToolCallEnd => self.close_block(&mut frames),
            ChatEvent::Logprobs(_) | ChatEvent::Finished(_) | ChatEvent::Failed(_) => {}
        }
        frames
    }

    fn traced(&mut self, trace: &GuardrailTrace) {
        self.trace =
            self.options.guardrail.as_ref().and_then(|choice| converse_trace(choice, trace));
    }

    fn finish(&mut self, summary: &ChatSummary, elapsed: Duration) -> Vec<u8> {
        let mut frames = Vec::new();
        self.close_block(&mut frames);
        let options = &self.options;
        let stop = MessageStop {
            stop_reason: stop_reason(&summary.stop_reason),
            additional_model_response_fields: response_fields(&options.response_fields, summary),
        };
        frame::event(&mut frames, "messageStop", &stop);
        let metadata = Metadata {
            usage: TokenUsage::new(summary.usage, options.has_cache_points),
            metrics: elapsed.into(),
            performance_config: PerformanceConfig::echo(options.service),
            service_tier: ServiceTier::echo(options.service),
            trace: self.trace.take(),
        };
        frame::event(&mut frames, "metadata", &metadata);
        frames
    }
}

fn push(frames: &mut Vec<u8>, index: usize, delta: &Value) {
    frame::event(
        frames,
        "contentBlockDelta",
        &json!({ "delta": delta, "contentBlockIndex": index }),
    );
}
