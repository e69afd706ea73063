//! The body of an answer that is sent as it is written.
//!
//! A task turns chat events into frames and hands them to the connection through a short channel.
//! A reader that is slow fills the channel, never the engine; one that takes nothing for
//! [`WRITE_STALL_TIMEOUT`](limits::WRITE_STALL_TIMEOUT) is given up. When the connection drops the
//! body, the task drops the chat stream, which cancels the request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::stream;
use tokio::sync::mpsc::{self, Sender};

use crate::api::app::App;
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::frame;
use crate::api::record::Record;
use crate::limits;
use crate::pipeline::{ChatEvent, ChatStream, ChatSummary, GuardrailTrace};

/// From the events of a chat to the frames of an operation.
pub(super) trait Encoder: Send + 'static {
    /// What is sent before the model has written anything.
    fn start(&mut self) -> Vec<u8>;

    /// What an event that does not end the answer adds, which may be nothing.
    fn delta(&mut self, event: ChatEvent) -> Vec<u8>;

    /// What a guardrail found, before the end of the answer.
    fn traced(&mut self, trace: &GuardrailTrace);

    /// The end of an answer that went well, after `elapsed` since the request came.
    fn finish(&mut self, summary: &ChatSummary, elapsed: Duration) -> Vec<u8>;
}

pub(super) fn body(
    chat: ChatStream,
    app: App,
    record: Arc<Record>,
    mut encoder: impl Encoder,
) -> Body {
    let (frames, receiver) = mpsc::channel(limits::STREAM_FRAMES_MAX);
    tokio::spawn(async move {
        tokio::select! {
            () = frames.closed() => {}
            () = write(chat, &app, &record, (&mut encoder, &frames)) => {}
        }
    });
    Body::from_stream(stream::unfold(receiver, async |mut receiver| {
        let frame: Bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(frame), receiver))
    }))
}

/// Until the last event, an exception, or a reader that takes no more.
async fn write(
    mut chat: ChatStream,
    app: &App,
    record: &Record,
    (encoder, frames): (&mut impl Encoder, &Sender<Bytes>),
) {
    let mut frame = encoder.start();
    let mut out_of_time = std::pin::pin!(app.shared().out_of_time(record));
    loop {
        let written = frame.is_empty()
            || frames.send_timeout(frame.into(), app.shared().write_stall_timeout).await.is_ok();
        if !written {
            return;
        }
        let event = tokio::select! {
            event = chat.next() => event,
            refusal = &mut out_of_time => {
                // The reader may be gone too.
                let _ = frames.try_send(exception(refusal.into(), record));
                return;
            }
        };
        let Some(event) = event else { return };
        frame = match event {
            ChatEvent::Finished(summary) => {
                if let Some(trace) = chat.take_guardrail_trace() {
                    encoder.traced(&trace);
                }
                let frame = encoder.finish(&summary, record.elapsed());
                record.finished(summary);
                frame
            }
            ChatEvent::Failed(error) => exception(error.into(), record).into(),
            delta => encoder.delta(delta),
        };
    }
}

/// Ends the stream; a block that is open stays open, for its content is not complete.
fn exception(error: BedrockError, record: &Record) -> Bytes {
    record.failed(error.failure_code());
    let mut frames = Vec::new();
    frame::exception(&mut frames, &error);
    frames.into()
}
