//! The engine: continuous batching around one [`CausalLm`](crate::model::CausalLm).
//!
//! Knows token ids and blocks; must not know text. One thread owns scheduler, blocks, cache and
//! model; [`EngineHandle`] is the only way in.

mod handle;
mod request;

pub use handle::{Engine, EngineHandle, Generation};
pub use request::{
    EngineConfig, EngineStats, FinishReason, GenerationError, GenerationRequest, GenerationSummary,
    ReasoningBudget, SamplingParams, SubmitError, TokenEvent,
};
