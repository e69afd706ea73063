//! From an HTTP request to running choices, and from choices to an answer that is sent whole: the
//! steps that are the same for every operation.

use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::app::App;
use crate::api::guardrail::GuardrailChoice;
use crate::api::openai::choices::{Choices, Whole};
use crate::api::openai::error::OpenAiError;
use crate::api::openai::wire;
use crate::api::record::Record;
use crate::pipeline::{ChatRequest, ChatSummary};

/// The body of a request, and the guardrail that its headers name.
pub(super) async fn read<T: DeserializeOwned>(
    app: &App,
    request: Request,
) -> Result<(T, Option<GuardrailChoice>), OpenAiError> {
    let guardrail = GuardrailChoice::from_headers(request.headers())?;
    let body = app.shared().bodies.read(request.into_body()).await?;
    Ok((wire::parse(&body.bytes)?, guardrail))
}

/// What is generated for a request.
pub(super) struct Wanted {
    pub(super) prompts: Vec<ChatRequest>,
    /// Choices of each prompt.
    pub(super) n: usize,
    pub(super) guardrail: Option<GuardrailChoice>,
}

/// The choices, by the model of this id.
pub(super) async fn start(
    app: &App,
    record: &Arc<Record>,
    model: &str,
    wanted: Wanted,
) -> Result<Choices, OpenAiError> {
    let Wanted { mut prompts, n, guardrail } = wanted;
    let model = app.shared().resolve(record, model)?;
    for prompt in &mut prompts {
        if let Some(guardrail) = &guardrail {
            guardrail.guard(app.shared(), prompt)?;
        }
        record.mark(prompt);
    }
    let pipeline = model.pipeline(app.shared().options.model_load_wait).await?;
    Choices::start(&pipeline, prompts, n, guardrail).await
}

/// All choices to their ends.
pub(super) async fn collect(
    app: &App,
    record: &Record,
    choices: &mut Choices,
) -> Result<(Vec<Whole>, ChatSummary), OpenAiError> {
    let mut answers: Vec<Whole> = Vec::new();
    answers.resize_with(choices.len(), Whole::default);
    let collecting = async {
        while let Some(event) = choices.next().await {
            let event = event?;
            answers[event.choice].push(event.event);
        }
        Ok::<_, OpenAiError>(())
    };
    tokio::select! {
        collected = collecting => collected?,
        refusal = app.shared().out_of_time(record) => return Err(refusal.into()),
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
