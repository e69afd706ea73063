//! Answers as server-sent events.
//!
//! A task turns chat events into frames and hands them to the connection through a short channel.
//! A reader that is slow fills the channel, never the engine; one that takes nothing for
//! [`WRITE_STALL_TIMEOUT`](limits::WRITE_STALL_TIMEOUT) is given up. When the connection drops the
//! body, the task drops the choices, which cancels the request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;

use crate::api::app::App;
use crate::api::openai::choices::{Choices, Event};
use crate::api::openai::error::OpenAiError;
use crate::api::record::Record;
use crate::limits;
use crate::pipeline::ChatSummary;

/// A comment, which clients skip and which keeps proxies from closing a silent connection.
const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// The events of one operation's stream, as the bytes of whole frames.
pub(super) trait Encoder: Send + 'static {
    /// Before anything was generated.
    fn start(&mut self) -> String;
    /// Empty where there is nothing to tell. Never called with `Failed`.
    fn event(&mut self, event: Event) -> String;
    /// After every choice has finished.
    fn end(&mut self, summary: &ChatSummary) -> String;
    /// In place of the end.
    fn failed(&mut self, error: &OpenAiError) -> String;
}

/// A frame without an event name, whose data is one line of JSON.
pub(super) fn data(frames: &mut String, payload: &impl Serialize) {
    let json = serde_json::to_string(payload).expect("maps with string keys are JSON");
    frames.push_str("data: ");
    frames.push_str(&json);
    frames.push_str("\n\n");
}

pub(super) fn response(
    choices: Choices,
    app: App,
    record: Arc<Record>,
    encoder: impl Encoder,
) -> Response {
    let (frames, receiver) = mpsc::channel(limits::STREAM_FRAMES_MAX);
    tokio::spawn(async move {
        tokio::select! {
            () = frames.closed() => {}
            () = write(choices, &app, &record, encoder, &frames, limits::STREAM_KEEP_ALIVE) => {}
        }
    });
    let body = Body::from_stream(stream::unfold(receiver, async |mut receiver| {
        let frame: Bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(frame), receiver))
    }));
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Until the end, an error, or a reader that takes no more.
async fn write(
    mut choices: Choices,
    app: &App,
    record: &Record,
    mut encoder: impl Encoder,
    frames: &Sender<Bytes>,
    keep_alive: Duration,
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
            event = timeout(keep_alive, choices.next()) => event,
            refusal = &mut out_of_time => {
                let error = OpenAiError::from(refusal);
                record.failed(error.failure_code());
                // The reader may be gone too.
                let _ = frames.try_send(encoder.failed(&error).into());
                return;
            }
        };
        frame = match event {
            Err(_) => KEEP_ALIVE.to_owned(),
            Ok(Some(Err(error))) => {
                record.failed(error.failure_code());
                // The reader may be gone.
                let _ = frames
                    .send_timeout(encoder.failed(&error).into(), app.shared().write_stall_timeout)
                    .await;
                return;
            }
            Ok(Some(Ok(event))) => encoder.event(event),
            Ok(None) => {
                let summary = choices.summary();
                let last = encoder.end(&summary);
                record.finished(summary);
                let _ = frames.send_timeout(last.into(), app.shared().write_stall_timeout).await;
                return;
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operation::Operation;
    use crate::api::record::RequestId;
    use crate::api::{AppOptions, Models};
    use crate::chat::fixture;
    use crate::model::toy::ToyReply;
    use crate::pipeline::testing::{control_id, scripted};
    use crate::pipeline::{ChatRequest, Input, Message, Role};

    /// Says when it began and when it ended.
    struct Marks;

    impl Encoder for Marks {
        fn start(&mut self) -> String {
            "start".to_owned()
        }

        fn event(&mut self, _: Event) -> String {
            String::new()
        }

        fn end(&mut self, _: &ChatSummary) -> String {
            "end".to_owned()
        }

        fn failed(&mut self, error: &OpenAiError) -> String {
            error.to_string()
        }
    }

    #[tokio::test]
    async fn silence_is_filled_with_comments_until_the_model_speaks() {
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let pipeline = scripted(move |_| {
            let _ = wait.recv();
            ToyReply::Token(control_id(fixture::EOS))
        });
        let request = ChatRequest::new(Input::Messages(vec![Message::new(Role::User, "q")]));
        let choices = Choices::start(&pipeline, vec![request], 1, None).await.unwrap();
        let (models, _senders) = Models::new(&["toy".to_owned()], &[]).unwrap();
        let app = App::new(models, AppOptions::default());
        let id = RequestId("id".into());
        let (metrics, audit) = (Arc::clone(&app.shared().metrics), Arc::default());
        let record = Record::new(Operation::ChatCompletions, id, metrics, audit);
        let (frames, mut receiver) = mpsc::channel(limits::STREAM_FRAMES_MAX);
        let keep_alive = Duration::from_millis(20);
        let writing = write(choices, &app, &record, Marks, &frames, keep_alive);
        let reading = async {
            assert_eq!(receiver.recv().await.unwrap(), "start");
            for _ in 0..3 {
                assert_eq!(receiver.recv().await.unwrap(), KEEP_ALIVE);
            }
            go.send(()).unwrap();
            while let Some(frame) = receiver.recv().await {
                if frame == "end" {
                    return;
                }
                assert_eq!(frame, KEEP_ALIVE);
            }
            panic!("the stream has no end");
        };
        tokio::join!(writing, reading);
    }
}
