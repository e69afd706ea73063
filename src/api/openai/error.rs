//! OpenAI's error model: `{"error":{"message","type","param","code"}}`.
//!
//! Clients tell errors apart by the status first; applications read `code`, and `param` names the
//! field that was refused.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use thiserror::Error;

use crate::api::outcome::FailureCode;
use crate::api::refusal::Refusal;
use crate::limits;
use crate::pipeline::{
    GenerationError, GrammarError, PipelineError, SubmitError, TemplateError, TokenizerError,
};

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// What a client is told. The message never goes to a log: it may quote the request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub(in crate::api) struct OpenAiError {
    kind: Kind,
    message: String,
    /// The field of the request, as in `messages[0].content`.
    param: Option<String>,
    code: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    InvalidRequest,
    Unauthenticated,
    Denied,
    NotFound,
    RateLimit,
    QuotaUsedUp,
    NotReady,
    Unavailable,
    ModelFailed,
    TimedOut,
    Internal,
}

/// How one kind is spelled on the wire and in metrics.
struct Shape {
    status: StatusCode,
    r#type: &'static str,
    failure: FailureCode,
}

impl Kind {
    /// A model that is loading is 503 here and 429 on Bedrock: OpenAI's clients take 429 for their
    /// own fault and log it as a quota.
    fn shape(self) -> Shape {
        let shape =
            |status, r#type, failure| Shape { status, r#type, failure: FailureCode(failure) };
        match self {
            Self::InvalidRequest => {
                shape(StatusCode::BAD_REQUEST, "invalid_request_error", "ValidationException")
            }
            Self::Unauthenticated => {
                shape(StatusCode::UNAUTHORIZED, "authentication_error", "AccessDeniedException")
            }
            Self::Denied => {
                shape(StatusCode::FORBIDDEN, "permission_error", "AccessDeniedException")
            }
            Self::NotFound => {
                shape(StatusCode::NOT_FOUND, "invalid_request_error", "ResourceNotFoundException")
            }
            Self::RateLimit => {
                shape(StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "ThrottlingException")
            }
            Self::QuotaUsedUp => shape(
                StatusCode::TOO_MANY_REQUESTS,
                "insufficient_quota",
                "ServiceQuotaExceededException",
            ),
            Self::NotReady => {
                shape(StatusCode::SERVICE_UNAVAILABLE, "server_error", "ModelNotReadyException")
            }
            Self::Unavailable => shape(
                StatusCode::SERVICE_UNAVAILABLE,
                "server_error",
                "ServiceUnavailableException",
            ),
            Self::ModelFailed => {
                shape(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "ModelErrorException")
            }
            Self::TimedOut => {
                shape(StatusCode::REQUEST_TIMEOUT, "server_error", "ModelTimeoutException")
            }
            Self::Internal => {
                shape(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "InternalServerException")
            }
        }
    }

    fn may_pass(self) -> bool {
        matches!(self, Self::RateLimit | Self::NotReady | Self::Unavailable)
    }
}

impl OpenAiError {
    fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), param: None, code }
    }

    fn about(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The value of this field cannot be.
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Kind::InvalidRequest, "invalid_value", message).about(param)
    }

    /// This field, or this value of it, asks for what the server does not do.
    pub(super) fn unsupported(param: impl Into<String>, reason: &str) -> Self {
        let param = param.into();
        let message = format!("`{param}` is not supported: {reason}");
        Self::new(Kind::InvalidRequest, "unsupported_parameter", message).about(param)
    }

    pub(super) fn missing(param: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!("Missing required parameter: `{param}`.");
        Self::new(Kind::InvalidRequest, "missing_required_parameter", message).about(param)
    }

    pub(super) fn unknown(param: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!("Unknown parameter: `{param}`.");
        Self::new(Kind::InvalidRequest, "unknown_parameter", message).about(param)
    }

    /// The body is not what its content type says.
    pub(super) fn not_json(reason: impl std::fmt::Display) -> Self {
        let message = format!("The request body is not valid: {reason}");
        Self::new(Kind::InvalidRequest, "invalid_json", message)
    }

    pub(in crate::api) fn unknown_url(method: &str, path: &str) -> Self {
        let message = format!("Unknown request URL: {method} {path}.");
        Self::new(Kind::NotFound, "unknown_url", message)
    }

    pub(super) fn model_not_found(refusal: &Refusal) -> Self {
        Self::new(Kind::NotFound, "model_not_found", refusal.to_string()).about("model")
    }

    pub(super) fn guardrail_not_found(message: String) -> Self {
        Self::new(Kind::NotFound, "guardrail_not_found", message)
    }

    pub(super) fn failure_code(&self) -> FailureCode {
        self.kind.shape().failure
    }

    pub(super) fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message,
            "type": self.kind.shape().r#type,
            "param": self.param,
            "code": self.code,
        } })
    }
}

impl IntoResponse for OpenAiError {
    fn into_response(self) -> Response {
        let shape = self.kind.shape();
        let mut response = (shape.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.kind.may_pass() {
            headers.insert(header::RETRY_AFTER, limits::RETRY_AFTER_SECONDS.into());
        }
        if self.kind == Kind::QuotaUsedUp {
            // The status alone would make OpenAI's clients try again.
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response.extensions_mut().insert(shape.failure);
        response
    }
}

impl From<Refusal> for OpenAiError {
    fn from(refusal: Refusal) -> Self {
        let (kind, code) = match refusal {
            Refusal::BodyTooLong { .. } => (Kind::InvalidRequest, "request_too_large"),
            Refusal::BodyIncomplete | Refusal::BodyTooSlow { .. } => {
                (Kind::InvalidRequest, "request_incomplete")
            }
            Refusal::BodiesFull { .. } | Refusal::RequestsFull { .. } => {
                (Kind::RateLimit, "rate_limit_exceeded")
            }
            Refusal::ModelNotFound { .. } => return Self::model_not_found(&refusal),
            Refusal::ModelNotReady => (Kind::NotReady, "model_not_ready"),
            Refusal::Draining => (Kind::Unavailable, "shutting_down"),
            Refusal::TimedOut { .. } => (Kind::TimedOut, "request_timeout"),
            Refusal::Access(_) => (Kind::Unauthenticated, "invalid_api_key"),
            Refusal::KeyLimited(_) => (Kind::RateLimit, "rate_limit_exceeded"),
            Refusal::QuotaUsedUp(_) => (Kind::QuotaUsedUp, "insufficient_quota"),
            Refusal::ModelDenied => (Kind::Denied, "model_denied"),
        };
        Self::new(kind, code, refusal.to_string())
    }
}

impl From<PipelineError> for OpenAiError {
    fn from(error: PipelineError) -> Self {
        let message = error.to_string();
        let invalid = |param: &str, message| {
            Self::new(Kind::InvalidRequest, "invalid_value", message).about(param)
        };
        match error {
            PipelineError::NoTemplate => Self::new(
                Kind::InvalidRequest,
                "unsupported_model",
                "The model has no chat template; use /v1/completions.",
            )
            .about("model"),
            PipelineError::Guardrail(_) => invalid("stream", message),
            PipelineError::NoReasoning => Self::unsupported(
                "reasoning_effort",
                "the model writes no reasoning that a budget could limit.",
            ),
            PipelineError::ContextExceeded { prompt_tokens, max_tokens, limit } => {
                context_exceeded(format!(
                    "This model's maximum context length is {limit} tokens. However, you requested \
                     {} tokens ({prompt_tokens} in the messages, {max_tokens} in the completion). \
                     Please reduce the length of the messages or completion.",
                    prompt_tokens.saturating_add(max_tokens)
                ))
            }
            PipelineError::Unsupported(_) => {
                Self::new(Kind::InvalidRequest, "unsupported_parameter", message)
            }
            PipelineError::Tools(_) => invalid("tools", message),
            PipelineError::Grammar { error: GrammarError::Busy, .. } => {
                Self::new(Kind::RateLimit, "rate_limit_exceeded", message)
            }
            PipelineError::Grammar { field, .. } => {
                invalid(field.as_deref().unwrap_or("tools"), message)
            }
            PipelineError::Template(TemplateError::Refused(_) | TemplateError::Runaway(_))
            | PipelineError::Tokenizer(TokenizerError::Model(_)) => invalid("messages", message),
            PipelineError::Tokenizer(TokenizerError::TextTooLong { .. }) => {
                context_exceeded(message)
            }
            PipelineError::Template(TemplateError::Invalid(_))
            | PipelineError::Tokenizer(
                TokenizerError::Metadata(_)
                | TokenizerError::Unsupported { .. }
                | TokenizerError::Invalid { .. },
            )
            | PipelineError::Panicked => Self::new(Kind::Internal, "internal_error", message),
            PipelineError::Stop(_) => invalid("stop", message),
            PipelineError::Submit(error) => error.into(),
            PipelineError::Generation(error) => error.into(),
        }
    }
}

fn context_exceeded(message: String) -> OpenAiError {
    OpenAiError::new(Kind::InvalidRequest, "context_length_exceeded", message).about("messages")
}

impl From<SubmitError> for OpenAiError {
    fn from(error: SubmitError) -> Self {
        let message = error.to_string();
        match error {
            SubmitError::PromptTooLong { tokens, limit } => context_exceeded(format!(
                "This model's maximum context length is {limit} tokens. However, your messages \
                 resulted in {tokens} tokens. Please reduce the length of the messages."
            )),
            SubmitError::SamplingOutOfRange { .. } => {
                Self::new(Kind::InvalidRequest, "invalid_value", message)
            }
            SubmitError::EmptyPrompt => {
                Self::new(Kind::InvalidRequest, "invalid_value", message).about("prompt")
            }
            SubmitError::UnknownToken { .. } => {
                Self::new(Kind::Internal, "internal_error", message)
            }
            SubmitError::QueueFull { .. } | SubmitError::QueuedTokensFull { .. } => Self::new(
                Kind::RateLimit,
                "rate_limit_exceeded",
                format!("Too many requests: {message}. Wait and try again."),
            ),
            SubmitError::Draining => Refusal::Draining.into(),
            SubmitError::Failed => Self::new(Kind::Unavailable, "engine_failed", message),
        }
    }
}

impl From<GenerationError> for OpenAiError {
    fn from(error: GenerationError) -> Self {
        let message = error.to_string();
        match error {
            GenerationError::NotANumber
            | GenerationError::Model(_)
            | GenerationError::Constraint(_) => {
                Self::new(Kind::ModelFailed, "model_error", message)
            }
            GenerationError::EngineStopped => {
                Self::new(Kind::Unavailable, "engine_failed", message)
            }
        }
    }
}
