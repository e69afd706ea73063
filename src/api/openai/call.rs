//! From an HTTP request to running choices, and from choices to an answer that is sent whole: the
//! steps that are the same for every operation.

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::app::App;
use crate::api::body;
use crate::api::lifecycle::Phase;
use crate::api::openai::choices::{Choices, OneCall, Whole};
use crate::api::openai::error::OpenAiError;
use crate::api::openai::guardrail;
use crate::api::openai::wire;
use crate::api::record::Record;
use crate::api::refusal::Refusal;
use crate::pipeline::{ChatRequest, ChatSummary};

/// The body of a request.
pub(super) async fn read<T: DeserializeOwned>(
    app: &App,
    request: Request,
) -> Result<T, OpenAiError> {
    guardrail::check(request.headers())?;
    let body = body::read(app, request.into_body()).await?;
    wire::parse(&body.bytes)
}

/// `n` choices for each of the prompts, by the model of this id.
pub(super) async fn start(
    app: &App,
    record: &Record,
    model: &str,
    mut prompts: Vec<ChatRequest>,
    n: usize,
) -> Result<Choices, OpenAiError> {
    let model = app.shared().resolve(record, model)?;
    for prompt in &mut prompts {
        record.mark(prompt);
    }
    let pipeline = model.pipeline(app.shared().options.model_load_wait).await?;
    Choices::start(&pipeline, prompts, n).await
}

/// All choices to their ends.
pub(super) async fn collect(
    app: &App,
    mut choices: Choices,
    one_call: bool,
) -> Result<(Vec<Whole>, ChatSummary), OpenAiError> {
    let mut answers: Vec<Whole> = Vec::new();
    answers.resize_with(choices.len(), Whole::default);
    let mut filters: Vec<OneCall> = Vec::new();
    filters.resize_with(choices.len(), OneCall::default);
    let collecting = async {
        while let Some(event) = choices.next().await {
            let event = event?;
            if !one_call || filters[event.choice].lets_pass(&event.event) {
                answers[event.choice].push(event.event);
            }
        }
        Ok::<_, OpenAiError>(())
    };
    tokio::select! {
        collected = collecting => collected?,
        () = app.shared().lifecycle.reached(Phase::Cut) => return Err(Refusal::Draining.into()),
    }
    Ok((answers, choices.summary()))
}

pub(super) fn json(answer: &impl Serialize) -> Response {
    let body = serde_json::to_string(answer).expect("structs of strings and numbers are JSON");
    let mut response = body.into_response();
    let content_type = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
