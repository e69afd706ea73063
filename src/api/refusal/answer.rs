//! A refusal in the words of the protocol that was spoken.

use std::time::Duration;

use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::api::bedrock::error::BedrockError;
use crate::api::openai::error::OpenAiError;
use crate::api::operation::{Operation, Protocol};
use crate::api::refusal::Refusal;

impl Operation {
    pub(in crate::api) fn refuse(self, refusal: Refusal) -> Response {
        let retry_after = refusal.retry_after();
        let response = match self.protocol() {
            Protocol::Bedrock => BedrockError::from(refusal).known_to(self).into_response(),
            Protocol::OpenAi => OpenAiError::from(refusal).into_response(),
        };
        to_be_retried(response, retry_after)
    }
}

impl Protocol {
    /// To a request that reached no operation.
    pub(in crate::api) fn refuse(self, refusal: Refusal) -> Response {
        let retry_after = refusal.retry_after();
        let response = match self {
            Self::Bedrock => BedrockError::from(refusal).into_response(),
            Self::OpenAi => OpenAiError::from(refusal).into_response(),
        };
        to_be_retried(response, retry_after)
    }
}

fn to_be_retried(mut response: Response, after: Option<Duration>) -> Response {
    if let Some(wait) = after {
        // Whole seconds, rounded up: earlier is too early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}
