//! The guardrail of a request, which Bedrock's OpenAI endpoints take by headers.

use axum::http::HeaderMap;

use crate::api::openai::error::OpenAiError;

const IDENTIFIER: &str = "x-amzn-bedrock-guardrailidentifier";
const VERSION: &str = "x-amzn-bedrock-guardrailversion";
const TRACE: &str = "x-amzn-bedrock-trace";

/// A guardrail that was asked for and is silently absent is worse than an error.
pub(super) fn check(headers: &HeaderMap) -> Result<(), OpenAiError> {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    if let Some(trace) = text(TRACE)
        && !["ENABLED", "DISABLED", "ENABLED_FULL"].contains(&trace.to_ascii_uppercase().as_str())
    {
        let message = "The header must be ENABLED, DISABLED or ENABLED_FULL.";
        return Err(OpenAiError::invalid("X-Amzn-Bedrock-Trace", message));
    }
    match (text(IDENTIFIER), text(VERSION)) {
        (None, None) => Ok(()),
        (Some(identifier), Some(_)) => Err(OpenAiError::guardrail_not_found(identifier)),
        (Some(_), None) => Err(OpenAiError::missing("X-Amzn-Bedrock-GuardrailVersion")),
        (None, Some(_)) => Err(OpenAiError::missing("X-Amzn-Bedrock-GuardrailIdentifier")),
    }
}
