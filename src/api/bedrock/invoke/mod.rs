//! InvokeModel and InvokeModelWithResponseStream: a body in the model's own format.
//!
//! The body is JSON whatever its type is said to be: boto3 says none, the SDK for Rust says
//! `application/octet-stream`.

mod answer;
pub(super) mod body;

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use axum::routing::{MethodRouter, post};

use crate::api::app::App;
use crate::api::bedrock::answer::{json_answer, with_content_type};
use crate::api::bedrock::converse::TokenUsage;
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::model_id::ModelId;
use crate::api::bedrock::service::{self, Service};
use crate::api::bedrock::stream::Encoder as _;
use crate::api::bedrock::{chat, frame, stream};
use crate::api::guardrail::GuardrailChoice;
use crate::api::record::Record;
use crate::pipeline::ChatStream;

use answer::Answer;
use body::{InvokeBody, invoke_body};

const STREAM_CONTENT_TYPE: HeaderName = HeaderName::from_static("x-amzn-bedrock-content-type");

pub(super) fn invoke() -> MethodRouter<App> {
    post(answer_at_once)
}

pub(super) fn invoke_with_response_stream() -> MethodRouter<App> {
    post(answer_as_written)
}

async fn answer_at_once(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    model_id: ModelId,
    request: Request,
) -> Result<Response, BedrockError> {
    let (mut chat, mut answer, service) = start(&app, &record, &model_id, request, false).await?;
    let mut events = Vec::new();
    let summary = chat::collect(&app, &record, &mut chat, |event| events.push(event)).await?;
    let usage = TokenUsage::new(summary.usage, false);
    if let Some(trace) = chat.take_guardrail_trace() {
        answer.traced(&trace);
    }
    let mut response = json_answer(&answer.whole(events, &summary));
    let headers = response.headers_mut();
    let latency = u64::try_from(record.elapsed().as_millis()).unwrap_or(u64::MAX);
    for (name, value) in [
        ("x-amzn-bedrock-input-token-count", usage.input_tokens as u64),
        ("x-amzn-bedrock-output-token-count", usage.output_tokens as u64),
        ("x-amzn-bedrock-cache-read-input-token-count", usage.cache_read_input_tokens as u64),
        ("x-amzn-bedrock-cache-write-input-token-count", usage.cache_write_input_tokens as u64),
        ("x-amzn-bedrock-invocation-latency", latency),
    ] {
        headers.insert(name, HeaderValue::from(value));
    }
    echo(headers, service);
    record.finished(summary);
    Ok(response)
}

/// What can be refused is refused before the stream begins.
async fn answer_as_written(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    model_id: ModelId,
    request: Request,
) -> Result<Response, BedrockError> {
    let (chat, answer, service) = start(&app, &record, &model_id, request, true).await?;
    let body = stream::body(chat, app, record, answer);
    let mut response = with_content_type(body, frame::CONTENT_TYPE);
    let headers = response.headers_mut();
    headers.insert(STREAM_CONTENT_TYPE, HeaderValue::from_static("application/json"));
    echo(headers, service);
    Ok(response)
}

async fn start(
    app: &App,
    record: &Arc<Record>,
    model_id: &ModelId,
    request: Request,
    is_stream: bool,
) -> Result<(ChatStream, Answer, Service), BedrockError> {
    let id = model_id.0.clone();
    let parse = move |headers: &HeaderMap, body: &[u8]| {
        service::check_metadata_header(headers)?;
        let service = Service::from_headers(headers)?;
        let guardrail = GuardrailChoice::from_headers(headers)?;
        Ok((invoke_body(body, &id)?, service, guardrail))
    };
    let (body, service, guardrail) = chat::parsed(app, record, model_id, request, parse).await?;
    let InvokeBody { mut request, format, guardrail_config } = body;
    let guardrail = GuardrailChoice::with_body(guardrail, guardrail_config, is_stream)?;
    if let Some(choice) = &guardrail {
        choice.guard(app.shared(), &mut request)?;
    }
    if service != Service::default() {
        request.priority = service.priority();
    }
    let chat = chat::run(app, record, model_id, request).await?;
    let mut answer = Answer::new(format, model_id.0.clone());
    answer.guardrail = guardrail;
    Ok((chat, answer, service))
}

fn echo(headers: &mut HeaderMap, service: Service) {
    if let Some(latency) = service.latency {
        let latency = HeaderValue::from_static(latency.name());
        headers.insert("x-amzn-bedrock-performanceconfig-latency", latency);
    }
    if let Some(tier) = service.tier {
        let tier = HeaderValue::from_static(tier.name());
        headers.insert("x-amzn-bedrock-service-tier", tier);
    }
}
