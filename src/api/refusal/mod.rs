//! Why a request was turned away before a model saw it, or given up, in no protocol's words.

mod answer;

use std::time::Duration;

use thiserror::Error;

use crate::api::access::refusal::AccessRefusal;
use crate::keys::{QuotaUsedUp, Throttled};

/// Each protocol says in its own way what kind of error this is; the text is the same in all.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(in crate::api) enum Refusal {
    #[error("The request body is longer than {limit} bytes.")]
    BodyTooLong { limit: usize },
    #[error("The request body is incomplete.")]
    BodyIncomplete,
    #[error(
        "The request body came too slowly: it has {seconds} seconds, and {rate} bytes a second \
         must come."
    )]
    BodyTooSlow { seconds: u64, rate: u32 },
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
    #[error("The answer was not finished within the {seconds} s that a request has here.")]
    TimedOut { seconds: u64 },
    #[error(transparent)]
    Access(#[from] AccessRefusal),
    #[error("Too many requests: {0}. Wait and try again.")]
    KeyLimited(Throttled),
    #[error("Too many tokens per day: {0}.")]
    QuotaUsedUp(QuotaUsedUp),
    #[error("You don't have access to the model with the specified model ID.")]
    ModelDenied,
}

impl Refusal {
    /// When to come again, where that is known.
    pub(in crate::api) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::KeyLimited(throttled) => Some(throttled.retry_after()),
            Self::BodyTooLong { .. }
            | Self::BodyIncomplete
            | Self::BodyTooSlow { .. }
            | Self::BodiesFull { .. }
            | Self::RequestsFull { .. }
            | Self::ModelNotFound { .. }
            | Self::ModelNotReady
            | Self::Draining
            | Self::TimedOut { .. }
            | Self::Access(_)
            // Some clients would sleep until midnight.
            | Self::QuotaUsedUp(_)
            | Self::ModelDenied => None,
        }
    }
}
