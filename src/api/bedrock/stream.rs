//! The body of ConverseStream.
//!
//! A task turns chat events into frames and hands them to the connection through a short channel.
//! A reader that is slow fills the channel, never the engine; one that takes nothing for
//! [`WRITE_STALL_TIMEOUT`](limits::WRITE_STALL_TIMEOUT) is given up. When the connection drops the
//! body, the task drops the chat stream, which cancels the request.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::sync::mpsc::{self, Sender};

use crate::api::app::App;
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::event_stream::EventEncoder;
use crate::api::lifecycle::Phase;
use crate::api::record::Record;
use crate::api::refusal::Refusal;
use crate::limits;
use crate::pipeline::{ChatEvent, ChatStream};

pub(super) fn body(chat: ChatStream, app: App, record: Arc<Record>) -> Body {
    let (frames, receiver) = mpsc::channel(limits::STREAM_FRAMES_MAX);
    tokio::spawn(async move {
        tokio::select! {
            () = frames.closed() => {}
            () = write(chat, &app, &record, &frames) => {}
        }
    });
    Body::from_stream(stream::unfold(receiver, async |mut receiver| {
        let frame: Bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(frame), receiver))
    }))
}

/// Until the last event, an exception, or a reader that takes no more.
async fn write(mut chat: ChatStream, app: &App, record: &Record, frames: &Sender<Bytes>) {
    let mut encoder = EventEncoder::default();
    let mut frame = encoder.message_start();
    let mut cut = std::pin::pin!(app.shared().lifecycle.reached(Phase::Cut));
    loop {
        let written = frame.is_empty()
            || frames.send_timeout(frame, app.shared().write_stall_timeout).await.is_ok();
        if !written {
            return;
        }
        let event = tokio::select! {
            event = chat.next() => event,
            () = &mut cut => {
                let error = BedrockError::from(Refusal::Draining);
                record.failed(error.failure_code());
                // The reader may be gone too.
                let _ = frames.try_send(encoder.exception(&error));
                return;
            }
        };
        let Some(event) = event else { return };
        frame = match event {
            ChatEvent::Reasoning(text) => encoder.reasoning(&text),
            ChatEvent::Text(text) | ChatEvent::ToolCallArguments(text) => encoder.text(&text),
            ChatEvent::ToolCallStart { .. } | ChatEvent::ToolCallEnd | ChatEvent::Logprobs(_) => {
                Bytes::new()
            }
            ChatEvent::Finished(summary) => {
                let usage = summary.usage.into();
                let frame = encoder.finish(&summary.stop_reason, usage, record.elapsed().into());
                record.finished(summary);
                frame
            }
            ChatEvent::Failed(error) => {
                let error = BedrockError::from(error);
                record.failed(error.failure_code());
                encoder.exception(&error)
            }
        };
    }
}
