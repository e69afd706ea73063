//! Converse and ConverseStream.

mod answer;
mod content;
mod events;
pub(super) mod parse;
mod tools;
pub(super) mod wire;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, post};

use crate::api::app::App;
use crate::api::bedrock::answer::{json_answer, with_content_type};
use crate::api::bedrock::chat::{self, collect};
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::guardrail::converse_trace;
use crate::api::bedrock::model_id::ModelId;
use crate::api::bedrock::{frame, json, stream};
use crate::api::record::Record;
use crate::pipeline::{ChatStream, ChatSummary};

use answer::{Blocks, ConverseAnswer, Message, Output, PerformanceConfig, ServiceTier};
use events::EventEncoder;
use parse::{Options, ParseOptions, converse_request};

pub(super) use answer::TokenUsage;

pub(super) fn converse() -> MethodRouter<App> {
    post(answer_at_once)
}

pub(super) fn converse_stream() -> MethodRouter<App> {
    post(answer_as_written)
}

async fn answer_at_once(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    model_id: ModelId,
    request: Request,
) -> Result<Response, BedrockError> {
    let (mut chat, options) = start(&app, &record, &model_id, (request, false)).await?;
    let mut blocks = Blocks::default();
    let summary = collect(&app, &record, &mut chat, |delta| blocks.push(delta)).await?;
    let mut answer = whole_answer(blocks, &summary, &options, record.elapsed());
    if let Some((choice, trace)) = options.guardrail.as_ref().zip(chat.take_guardrail_trace()) {
        answer.trace = converse_trace(choice, &trace);
    }
    record.finished(summary);
    Ok(json_answer(&answer))
}

fn whole_answer(
    blocks: Blocks,
    summary: &ChatSummary,
    options: &Options,
    elapsed: std::time::Duration,
) -> ConverseAnswer {
    ConverseAnswer {
        output: Output { message: Message::assistant(blocks.finish()) },
        stop_reason: answer::stop_reason(&summary.stop_reason),
        usage: TokenUsage::new(summary.usage, options.has_cache_points),
        metrics: elapsed.into(),
        additional_model_response_fields: answer::response_fields(
            &options.response_fields,
            summary,
        ),
        performance_config: PerformanceConfig::echo(options.service),
        service_tier: ServiceTier::echo(options.service),
        trace: None,
    }
}

/// What can be refused is refused before the stream begins.
async fn answer_as_written(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    model_id: ModelId,
    request: Request,
) -> Result<Response, BedrockError> {
    let (chat, options) = start(&app, &record, &model_id, (request, true)).await?;
    let body = stream::body(chat, app, record, EventEncoder::new(options));
    Ok(with_content_type(body, frame::CONTENT_TYPE))
}

async fn start(
    app: &App,
    record: &Arc<Record>,
    model_id: &ModelId,
    (request, is_stream): (Request, bool),
) -> Result<(ChatStream, Options), BedrockError> {
    let strict_reasoning = app.shared().options.strict_reasoning;
    let parse_options = ParseOptions { strict_reasoning, is_stream };
    let (mut chat_request, mut options) =
        chat::parsed(app, record, model_id, request, move |_, body| {
            converse_request(json::read(body)?, parse_options)
        })
        .await?;
    if let Some(choice) = &options.guardrail {
        let guarded = std::mem::take(&mut options.guarded);
        chat_request.guarding = Some(choice.resolve(app.shared(), guarded)?);
    }
    let chat = chat::run(app, record, model_id, chat_request).await?;
    Ok((chat, options))
}
