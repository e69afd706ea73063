//! Frames of `application/vnd.amazon.eventstream` and the events of ConverseStream.
//!
//! A frame carries its kind in headers and a JSON payload; aws-smithy-eventstream writes lengths
//! and checksums. Text and reasoning blocks have no `contentBlockStart`: Bedrock sends none either,
//! and no client waits for one.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use axum::body::Bytes;
use serde::Serialize;
use serde_json::json;

use crate::api::bedrock::answer::{Metrics, TokenUsage, stop_reason};
use crate::api::bedrock::error::BedrockError;
use crate::pipeline::StopReason;

pub(super) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

#[derive(Clone, Copy, PartialEq, Eq)]
enum BlockKind {
    Text,
    Reasoning,
}

/// Encodes the events of one answer and numbers its blocks.
#[derive(Default)]
pub(super) struct EventEncoder {
    /// The block that is open, and its kind.
    open: Option<(usize, BlockKind)>,
    num_blocks: usize,
}

#[derive(Serialize)]
struct Metadata {
    usage: TokenUsage,
    metrics: Metrics,
}

impl EventEncoder {
    pub(super) fn message_start(&self) -> Bytes {
        let mut frames = Vec::new();
        event(&mut frames, "messageStart", &json!({ "role": "assistant" }));
        frames.into()
    }

    pub(super) fn text(&mut self, text: &str) -> Bytes {
        let mut frames = Vec::new();
        let index = self.block(BlockKind::Text, &mut frames);
        delta(&mut frames, index, &json!({ "text": text }));
        frames.into()
    }

    pub(super) fn reasoning(&mut self, text: &str) -> Bytes {
        let mut frames = Vec::new();
        let index = self.block(BlockKind::Reasoning, &mut frames);
        delta(&mut frames, index, &json!({ "reasoningContent": { "text": text } }));
        frames.into()
    }

    pub(super) fn finish(
        &mut self,
        reason: &StopReason,
        usage: TokenUsage,
        metrics: Metrics,
    ) -> Bytes {
        let mut frames = Vec::new();
        self.close_block(&mut frames);
        event(&mut frames, "messageStop", &json!({ "stopReason": stop_reason(reason) }));
        event(&mut frames, "metadata", &Metadata { usage, metrics });
        frames.into()
    }

    /// Ends the stream; an open block stays open, for its content is not complete.
    pub(super) fn exception(&self, error: &BedrockError) -> Bytes {
        let mut frames = Vec::new();
        let kind = error.shape().stream_member;
        frame(&mut frames, "exception", ":exception-type", kind, error.body().to_string());
        frames.into()
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
            event(frames, "contentBlockStop", &json!({ "contentBlockIndex": index }));
        }
    }
}

fn delta(frames: &mut Vec<u8>, index: usize, delta: &serde_json::Value) {
    event(frames, "contentBlockDelta", &json!({ "delta": delta, "contentBlockIndex": index }));
}

fn event(frames: &mut Vec<u8>, event_type: &'static str, payload: &impl Serialize) {
    let payload = serde_json::to_string(payload).expect("maps with string keys are JSON");
    frame(frames, "event", ":event-type", event_type, payload);
}

fn frame(
    frames: &mut Vec<u8>,
    message_type: &'static str,
    kind_header: &'static str,
    kind: &'static str,
    payload: String,
) {
    let header = |name, value: &'static str| Header::new(name, HeaderValue::String(value.into()));
    let message = Message::new(payload)
        .add_header(header(kind_header, kind))
        .add_header(header(":content-type", "application/json"))
        .add_header(header(":message-type", message_type));
    write_message_to(&message, frames).expect("a delta is far below the size limit of a frame");
}
