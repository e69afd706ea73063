//! The record of one request to a model: its permit, its line in the log, its share of the metrics.
//!
//! Whoever holds the record keeps the request in flight. A record that is dropped without an
//! outcome belongs to a client that went away. It holds no text.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;

use crate::api::bedrock::BedrockError;
use crate::api::metrics::{Metrics, Observation};
use crate::api::openai::OpenAiError;
use crate::api::refusal::{FailureCode, Refusal};
use crate::pipeline::ChatSummary;

#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Converse,
    ConverseStream,
    ListFoundationModels,
    GetFoundationModel,
    GetFoundationModelAvailability,
    ListInferenceProfiles,
    GetInferenceProfile,
    ChatCompletions,
    Completions,
    Responses,
    ListModels,
    RetrieveModel,
}

/// Whose words an operation's errors are told in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Bedrock,
    OpenAi,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Converse => "Converse",
            Self::ConverseStream => "ConverseStream",
            Self::ListFoundationModels => "ListFoundationModels",
            Self::GetFoundationModel => "GetFoundationModel",
            Self::GetFoundationModelAvailability => "GetFoundationModelAvailability",
            Self::ListInferenceProfiles => "ListInferenceProfiles",
            Self::GetInferenceProfile => "GetInferenceProfile",
            Self::ChatCompletions => "ChatCompletions",
            Self::Completions => "Completions",
            Self::Responses => "Responses",
            Self::ListModels => "ListModels",
            Self::RetrieveModel => "RetrieveModel",
        }
    }

    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Converse
            | Self::ConverseStream
            | Self::ListFoundationModels
            | Self::GetFoundationModel
            | Self::GetFoundationModelAvailability
            | Self::ListInferenceProfiles
            | Self::GetInferenceProfile => Protocol::Bedrock,
            Self::ChatCompletions
            | Self::Completions
            | Self::Responses
            | Self::ListModels
            | Self::RetrieveModel => Protocol::OpenAi,
        }
    }
}

impl Protocol {
    pub(super) fn refuse(self, refusal: Refusal) -> Response {
        match self {
            Self::Bedrock => BedrockError::from(refusal).into_response(),
            Self::OpenAi => OpenAiError::from(refusal).into_response(),
        }
    }
}

/// The code of requests that ended well.
pub(super) const OK: &str = "OK";
/// The code of requests whose client went away.
pub(super) const DISCONNECTED: &str = "ClientDisconnected";

#[derive(Debug)]
pub(super) struct Record {
    operation: Operation,
    request_id: RequestId,
    started_at: Instant,
    metrics: Arc<Metrics>,
    permit: Option<OwnedSemaphorePermit>,
    /// The model that the request means, once that is known.
    model_id: OnceLock<Arc<str>>,
    outcome: Mutex<Outcome>,
}

#[derive(Debug, Default)]
struct Outcome {
    /// [`OK`] or the exception; the first one counts.
    code: Option<&'static str>,
    summary: Option<ChatSummary>,
}

impl Record {
    pub(super) fn new(operation: Operation, id: RequestId, metrics: Arc<Metrics>) -> Self {
        Self {
            operation,
            request_id: id,
            started_at: Instant::now(),
            metrics,
            permit: None,
            model_id: OnceLock::new(),
            outcome: Mutex::default(),
        }
    }

    pub(super) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    /// The first model counts.
    pub(super) fn note_model(&self, model_id: &Arc<str>) {
        let _ = self.model_id.set(Arc::clone(model_id));
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started_at.elapsed()
    }

    pub(super) fn finished(&self, summary: ChatSummary) {
        self.set(OK, Some(summary));
    }

    /// Of an operation that no model works on.
    pub(super) fn answered(&self) {
        self.set(OK, None);
    }

    pub(super) fn failed(&self, code: FailureCode) {
        self.set(code.0, None);
    }

    /// Errors that a handler returned. The end of a stream is noted by the stream.
    pub(super) fn note_response(&self, response: &Response) {
        if response.status() != StatusCode::OK {
            let code = response.extensions().get::<FailureCode>();
            self.set(code.map_or("InternalServerException", |code| code.0), None);
        }
    }

    fn set(&self, code: &'static str, summary: Option<ChatSummary>) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.code.is_none() {
            *outcome = Outcome { code: Some(code), summary };
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = self.outcome.get_mut().unwrap_or_else(PoisonError::into_inner);
        let code = outcome.code.unwrap_or(DISCONNECTED);
        let elapsed = self.started_at.elapsed();
        let model_id = self.model_id.get();
        let (operation, summary) = (self.operation, outcome.summary.as_ref());
        self.metrics.observe(&Observation { model_id, operation, code, elapsed, summary });
        let usage = outcome.summary.as_ref().map(|it| it.usage).unwrap_or_default();
        tracing::info!(
            request_id = %self.request_id.0,
            operation = self.operation.name(),
            model = model_id.map_or("", |id| &**id),
            code,
            elapsed_ms = elapsed.as_millis(),
            prompt_tokens = usage.prompt_tokens,
            cached_prompt_tokens = usage.cached_prompt_tokens,
            generated_tokens = usage.generated_tokens,
            "request"
        );
    }
}
