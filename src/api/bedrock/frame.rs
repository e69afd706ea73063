//! Frames of `application/vnd.amazon.eventstream`.
//!
//! A frame carries its kind in headers and a JSON payload; aws-smithy-eventstream writes lengths
//! and checksums.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
use serde::Serialize;

use crate::api::bedrock::error::BedrockError;

pub(super) const CONTENT_TYPE: &str = "application/vnd.amazon.eventstream";

pub(super) fn event(frames: &mut Vec<u8>, event_type: &'static str, payload: &impl Serialize) {
    let payload = serde_json::to_string(payload).expect("maps with string keys are JSON");
    frame(frames, "event", ":event-type", event_type, payload);
}

/// Ends a stream.
pub(super) fn exception(frames: &mut Vec<u8>, error: &BedrockError) {
    let kind = error.shape().stream_member;
    frame(frames, "exception", ":exception-type", kind, error.body().to_string());
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
