//! Why a request was turned away before a model saw it, in no protocol's words.

use thiserror::Error;

/// Each protocol says in its own way what kind of error this is; the text is the same in all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    #[error("The request body is longer than {limit} bytes.")]
    BodyTooLong { limit: usize },
    #[error("The request body is incomplete.")]
    BodyIncomplete,
    #[error("The request body took longer than {seconds} seconds.")]
    BodyTooSlow { seconds: u64 },
    #[error("Too many requests: their bodies exceed {limit} bytes together. Wait and try again.")]
    BodiesFull { limit: usize },
    #[error("Too many requests: {limit} are in flight. Wait and try again.")]
    RequestsFull { limit: usize },
    #[error(
        "Could not resolve the model from the model identifier `{id}`. This server serves {known}."
    )]
    ModelNotFound { id: String, known: String },
    #[error("Model is not ready for inference. Wait and try your request again.")]
    ModelNotReady,
    #[error("The server is shutting down. Try your request again.")]
    Draining,
}

/// How a request failed, in the words of metrics and logs: Bedrock's names whatever the protocol,
/// so that one alert covers all. An answer that is an error carries it as an extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FailureCode(pub(super) &'static str);
