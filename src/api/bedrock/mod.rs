//! The Bedrock protocol: Converse, ConverseStream, and what models there are.

mod answer;
mod control;
mod error;
mod event_stream;
mod parse;
mod stream;
mod wire;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Extension, Router};
use serde::Serialize;

use crate::api::app::{App, ModelId};
use crate::api::body;
use crate::api::lifecycle::Phase;
use crate::api::record::{Operation, Record};
use crate::api::refusal::Refusal;
use crate::pipeline::{ChatEvent, ChatStream, ChatSummary};

use answer::{Blocks, ConverseAnswer, Message, Output, stop_reason};

pub(in crate::api) use error::BedrockError;

pub(in crate::api) fn routes(app: &App) -> Router<App> {
    let converse = app.admitted(Operation::Converse, post(converse));
    let converse_stream = app.admitted(Operation::ConverseStream, post(converse_stream));
    Router::new()
        .route("/model/{model_id}/converse", converse)
        .route("/model/{model_id}/converse-stream", converse_stream)
        .merge(control::routes(app))
}

/// The whole answer at once.
async fn converse(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    model_id: ModelId,
    request: Request,
) -> Result<Response, BedrockError> {
    let stream = start(&app, &record, &model_id, request).await?;
    let (blocks, summary) = tokio::select! {
        answer = collect(stream) => answer?,
        () = app.shared().lifecycle.reached(Phase::Cut) => return Err(Refusal::Draining.into()),
    };
    let answer = ConverseAnswer {
        output: Output { message: Message::assistant(blocks.finish()) },
        stop_reason: stop_reason(&summary.stop_reason),
        usage: summary.usage.into(),
        metrics: record.elapsed().into(),
    };
    record.finished(summary);
    Ok(json_answer(&answer))
}

/// The answer as it is written. What can be refused is refused before the stream begins.
async fn converse_stream(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    model_id: ModelId,
    request: Request,
) -> Result<Response, BedrockError> {
    let stream = start(&app, &record, &model_id, request).await?;
    Ok(with_content_type(stream::body(stream, app, record), event_stream::CONTENT_TYPE))
}

async fn start(
    app: &App,
    record: &Record,
    model_id: &ModelId,
    request: Request,
) -> Result<ChatStream, BedrockError> {
    let model = app.shared().resolve(record, &model_id.0)?;
    let mut chat_request = {
        let body = body::read(app, request.into_body()).await?;
        parse::converse_request(&body.bytes)?
    };
    record.mark(&mut chat_request);
    let pipeline = model.pipeline(app.shared().options.model_load_wait).await?;
    Ok(pipeline.run(chat_request).await?)
}

async fn collect(mut stream: ChatStream) -> Result<(Blocks, ChatSummary), BedrockError> {
    let mut blocks = Blocks::default();
    while let Some(event) = stream.next().await {
        match event {
            ChatEvent::Reasoning(text) => blocks.push_reasoning(&text),
            ChatEvent::Text(text) | ChatEvent::ToolCallArguments(text) => blocks.push_text(&text),
            ChatEvent::ToolCallStart { .. } | ChatEvent::ToolCallEnd | ChatEvent::Logprobs(_) => {}
            ChatEvent::Finished(summary) => return Ok((blocks, summary)),
            ChatEvent::Failed(error) => return Err(error.into()),
        }
    }
    unreachable!("every stream ends in Finished or Failed")
}

fn json_answer(answer: &impl Serialize) -> Response {
    let json = serde_json::to_string(answer).expect("structs of strings and numbers are JSON");
    with_content_type(json, "application/json")
}

fn with_content_type(body: impl IntoResponse, content_type: &'static str) -> Response {
    let mut response = body.into_response();
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
