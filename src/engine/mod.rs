//! The engine: continuous batching around one [`CausalLm`](crate::model::CausalLm).
//!
//! Knows token ids and blocks; must not know text. One thread owns scheduler, blocks, cache and
//! model; [`EngineHandle`] is the only way in.

mod batch;
mod block_pool;
mod constraint;
mod core;
mod gate;
mod handle;
mod prefix_cache;
mod random;
mod request;
mod sampler;
mod scheduler;
mod sequence;
mod speculation;
#[cfg(test)]
mod tests;

pub use constraint::{ConstraintError, TokenConstraint};
pub use handle::{Draft, Engine, EngineEnd, EngineHandle, Generation};
pub use request::{
    EngineConfig, EngineStats, FinishReason, GenerationError, GenerationRequest, GenerationSummary,
    Priority, ReasoningBudget, SamplingParams, Speculation, StartError, SubmitError, TokenEvent,
    TokenLogprobs,
};
