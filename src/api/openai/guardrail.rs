//! Refusals of guardrails in OpenAI's words. Its routes name one by headers, as Bedrock's do.

use crate::api::guardrail::{CONFIG, GuardrailRefusal};
use crate::api::openai::error::OpenAiError;

impl From<GuardrailRefusal> for OpenAiError {
    fn from(refusal: GuardrailRefusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            GuardrailRefusal::NotFound { .. } => Self::guardrail_not_found(message),
            GuardrailRefusal::Incomplete { missing } => Self::missing(missing),
            GuardrailRefusal::Header { name, .. } => Self::invalid(name, message),
            GuardrailRefusal::NoGuardrail => {
                Self::unsupported(CONFIG, "it adds to a guardrail, and the request names none.")
            }
            GuardrailRefusal::Suffix { .. } => {
                Self::invalid(format!("{CONFIG}.tagSuffix"), message)
            }
            GuardrailRefusal::NotAStream => {
                Self::invalid(format!("{CONFIG}.streamProcessingMode"), message)
            }
            GuardrailRefusal::Tags(_) => Self::invalid(CONFIG, message),
            GuardrailRefusal::Logprobs => Self::unsupported("logprobs", "not with a guardrail."),
        }
    }
}
