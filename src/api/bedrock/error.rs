//! Bedrock's error model: which exception, which status, which members.
//!
//! Before a stream begins, an error is an HTTP answer `{"message": ..}` with the code in
//! `x-amzn-ErrorType`. Within a stream it is a message of type `exception`.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use thiserror::Error;

use crate::api::access::refusal::AccessRefusal;
use crate::api::operation::Operation;
use crate::api::outcome::FailureCode;
use crate::api::refusal::Refusal;
use crate::limits;
use crate::pipeline::{
    GenerationError, GrammarError, PipelineError, SubmitError, TemplateError, TokenizerError,
};

const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// What a client is told. The message never goes to a log: it may quote the request.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::api) enum BedrockError {
    #[error("{0}")]
    Validation(String),
    #[error("{0}")]
    ResourceNotFound(String),
    #[error("{0}")]
    Throttling(String),
    #[error("Model is not ready for inference. Wait and try your request again.")]
    ModelNotReady,
    #[error("{0}")]
    ServiceQuotaExceeded(String),
    /// A quota that is used up, of an operation that has no exception for it.
    #[error("{0}")]
    QuotaThrottling(String),
    #[error("{0}")]
    ModelError(String),
    #[error("{0}")]
    ModelTimeout(String),
    #[error("{0}")]
    ServiceUnavailable(String),
    #[error("{0}")]
    InternalServer(String),
    #[error("{0}")]
    UnknownOperation(String),
    #[error("{0}")]
    AccessDenied(String),
    #[error(transparent)]
    NotLetIn(AccessRefusal),
}

/// How one error is spelled on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) struct ErrorShape {
    pub(in crate::api) code: &'static str,
    pub(in crate::api) status: StatusCode,
    /// The member of the stream's union. Exceptions that the service model does not allow in a
    /// stream go by the nearest that it does.
    pub(in crate::api) stream_member: &'static str,
}

impl BedrockError {
    pub(in crate::api) fn shape(&self) -> ErrorShape {
        let shape = |code, status, stream_member| ErrorShape { code, status, stream_member };
        match self {
            Self::Validation(_) => {
                shape("ValidationException", StatusCode::BAD_REQUEST, "validationException")
            }
            Self::ResourceNotFound(_) => {
                shape("ResourceNotFoundException", StatusCode::NOT_FOUND, "validationException")
            }
            Self::Throttling(_) | Self::QuotaThrottling(_) => {
                shape("ThrottlingException", StatusCode::TOO_MANY_REQUESTS, "throttlingException")
            }
            Self::ServiceQuotaExceeded(_) => shape(
                "ServiceQuotaExceededException",
                StatusCode::BAD_REQUEST,
                "throttlingException",
            ),
            Self::ModelNotReady => shape(
                "ModelNotReadyException",
                StatusCode::TOO_MANY_REQUESTS,
                "serviceUnavailableException",
            ),
            Self::ModelError(_) => shape(
                "ModelErrorException",
                StatusCode::FAILED_DEPENDENCY,
                "modelStreamErrorException",
            ),
            Self::ModelTimeout(_) => shape(
                "ModelTimeoutException",
                StatusCode::REQUEST_TIMEOUT,
                "modelStreamErrorException",
            ),
            Self::ServiceUnavailable(_) => shape(
                "ServiceUnavailableException",
                StatusCode::SERVICE_UNAVAILABLE,
                "serviceUnavailableException",
            ),
            Self::InternalServer(_) => shape(
                "InternalServerException",
                StatusCode::INTERNAL_SERVER_ERROR,
                "internalServerException",
            ),
            Self::UnknownOperation(_) => {
                shape("UnknownOperationException", StatusCode::NOT_FOUND, "internalServerException")
            }
            Self::AccessDenied(_) => {
                shape("AccessDeniedException", StatusCode::FORBIDDEN, "validationException")
            }
            Self::NotLetIn(refusal) => {
                shape(refusal.code().0, refusal.status(), "validationException")
            }
        }
    }

    /// The members of the exception's structure.
    pub(in crate::api) fn body(&self) -> serde_json::Value {
        let message = self.to_string();
        match self {
            Self::ModelError(_) => json!({
                "message": message,
                "originalStatusCode": StatusCode::INTERNAL_SERVER_ERROR.as_u16(),
            }),
            Self::Validation(_)
            | Self::ResourceNotFound(_)
            | Self::Throttling(_)
            | Self::ServiceQuotaExceeded(_)
            | Self::QuotaThrottling(_)
            | Self::ModelNotReady
            | Self::ModelTimeout(_)
            | Self::ServiceUnavailable(_)
            | Self::InternalServer(_)
            | Self::UnknownOperation(_)
            | Self::AccessDenied(_)
            | Self::NotLetIn(_) => json!({ "message": message }),
        }
    }

    /// Whether the same request may be good a moment later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Throttling(_) | Self::ModelNotReady | Self::ServiceUnavailable(_) => true,
            Self::Validation(_)
            | Self::ResourceNotFound(_)
            | Self::ServiceQuotaExceeded(_)
            | Self::QuotaThrottling(_)
            | Self::ModelError(_)
            | Self::ModelTimeout(_)
            | Self::InternalServer(_)
            | Self::UnknownOperation(_)
            | Self::AccessDenied(_)
            | Self::NotLetIn(_) => false,
        }
    }

    /// The error as the operation's service model has it. Converse has no exception for quotas:
    /// Bedrock throttles there when a day's tokens are used up.
    pub(in crate::api) fn known_to(self, operation: Operation) -> Self {
        match (operation, self) {
            (
                Operation::InvokeModel
                | Operation::InvokeModelWithResponseStream
                | Operation::ApplyGuardrail,
                error,
            ) => error,
            (_, Self::ServiceQuotaExceeded(message)) => Self::QuotaThrottling(message),
            (_, error) => error,
        }
    }

    pub(in crate::api) fn failure_code(&self) -> FailureCode {
        FailureCode(self.shape().code)
    }
}

impl IntoResponse for BedrockError {
    fn into_response(self) -> Response {
        let shape = self.shape();
        let mut response = (shape.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(shape.code));
        if self.may_pass() {
            headers.insert(header::RETRY_AFTER, limits::RETRY_AFTER_SECONDS.into());
        }
        response.extensions_mut().insert(FailureCode(shape.code));
        response
    }
}

impl From<Refusal> for BedrockError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::BodyTooLong { .. } | Refusal::BodyIncomplete | Refusal::BodyTooSlow { .. } => {
                Self::Validation(message)
            }
            Refusal::BodiesFull { .. } | Refusal::RequestsFull { .. } => Self::Throttling(message),
            Refusal::ModelNotFound { .. } => Self::ResourceNotFound(message),
            Refusal::ModelNotReady => Self::ModelNotReady,
            Refusal::Draining => Self::ServiceUnavailable(message),
            Refusal::TimedOut { .. } => Self::ModelTimeout(message),
            Refusal::Access(refusal) => Self::NotLetIn(refusal),
            Refusal::KeyLimited(_) => Self::Throttling(message),
            Refusal::QuotaUsedUp(_) => Self::ServiceQuotaExceeded(message),
            Refusal::ModelDenied => Self::AccessDenied(message),
        }
    }
}

impl From<PipelineError> for BedrockError {
    fn from(error: PipelineError) -> Self {
        match error {
            PipelineError::NoTemplate => Self::Validation(
                "The model has no chat template and does not support Converse.".to_owned(),
            ),
            PipelineError::Grammar { error: GrammarError::Busy, .. } => {
                Self::Throttling(error.to_string())
            }
            PipelineError::Grammar { field: Some(field), error } => {
                Self::Validation(format!("The value at `{field}` is not valid: {error}."))
            }
            PipelineError::NoReasoning => Self::Validation(
                "This model writes no reasoning that could be limited. Remove \
                 `outputConfig.effort`, or what limits it in `additionalModelRequestFields`, from \
                 the request and try again."
                    .to_owned(),
            ),
            PipelineError::Unsupported(_)
            | PipelineError::Tools(_)
            | PipelineError::Guardrail(_)
            | PipelineError::Grammar { field: None, .. }
            | PipelineError::Template(TemplateError::Refused(_) | TemplateError::Runaway(_))
            | PipelineError::Tokenizer(
                TokenizerError::TextTooLong { .. } | TokenizerError::Model(_),
            ) => Self::Validation(error.to_string()),
            PipelineError::ContextExceeded { prompt_tokens, max_tokens, limit } => {
                Self::Validation(format!(
                    "input length and `max_tokens` exceed context limit: {prompt_tokens} + \
                     {max_tokens} > {limit}, decrease input length or `max_tokens` and try again"
                ))
            }
            PipelineError::Template(TemplateError::Invalid(_))
            | PipelineError::Tokenizer(
                TokenizerError::Metadata(_)
                | TokenizerError::Unsupported { .. }
                | TokenizerError::Invalid { .. },
            )
            | PipelineError::Panicked => Self::InternalServer(error.to_string()),
            PipelineError::Stop(error) => {
                Self::Validation(format!("The value at `inferenceConfig.stopSequences`: {error}."))
            }
            PipelineError::Submit(error) => error.into(),
            PipelineError::Generation(error) => error.into(),
        }
    }
}

impl From<SubmitError> for BedrockError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::PromptTooLong { tokens, limit } => Self::Validation(format!(
                "Input is too long for requested model: {tokens} tokens, but the context holds \
                 {limit}."
            )),
            SubmitError::SamplingOutOfRange { .. } => Self::Validation(error.to_string()),
            SubmitError::EmptyPrompt | SubmitError::UnknownToken { .. } => {
                Self::InternalServer(error.to_string())
            }
            SubmitError::QueueFull { .. } | SubmitError::QueuedTokensFull { .. } => {
                Self::Throttling(format!("Too many requests: {error}. Wait and try again."))
            }
            SubmitError::Draining => Refusal::Draining.into(),
            SubmitError::Failed => Self::ServiceUnavailable(error.to_string()),
        }
    }
}

impl From<GenerationError> for BedrockError {
    fn from(error: GenerationError) -> Self {
        match error {
            GenerationError::NotANumber
            | GenerationError::Model(_)
            | GenerationError::Constraint(_) => Self::ModelError(error.to_string()),
            GenerationError::EngineStopped => Self::ServiceUnavailable(error.to_string()),
        }
    }
}
