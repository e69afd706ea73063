//! The way into the engine thread.

use crate::{
    engine::{EngineConfig, EngineStats, GenerationRequest, SubmitError, TokenEvent},
    model::{CausalLm, KvCache},
};

/// Starts the engine thread.
pub struct Engine;

impl Engine {
    pub fn start(
        model: Box<dyn CausalLm>,
        kv_cache: KvCache,
        config: EngineConfig,
    ) -> EngineHandle {
        let _ = (model, kv_cache, config);
        unimplemented!()
    }
}

#[derive(Debug, Clone)]
pub struct EngineHandle {}

impl EngineHandle {
    /// Refused here or never: an accepted request ends in one `Finished` or `Failed`.
    pub fn submit(&self, request: GenerationRequest) -> Result<Generation, SubmitError> {
        let _ = request;
        unimplemented!()
    }

    pub fn config(&self) -> &EngineConfig {
        unimplemented!()
    }

    pub fn stats(&self) -> EngineStats {
        unimplemented!()
    }

    /// False after a panic in the engine thread.
    pub fn is_healthy(&self) -> bool {
        unimplemented!()
    }

    /// From now on `submit` refuses; accepted requests go on.
    pub fn start_draining(&self) {
        unimplemented!()
    }

    /// Resolves when nothing is running or waiting.
    pub async fn drained(&self) {
        unimplemented!()
    }
}

/// A running request. Dropping it aborts the request and frees its blocks before the next step.
#[derive(Debug)]
pub struct Generation {}

impl Generation {
    /// `None` after the final event.
    pub async fn next(&mut self) -> Option<TokenEvent> {
        unimplemented!()
    }

    /// The same from a thread outside the asynchronous runtime.
    pub fn blocking_next(&mut self) -> Option<TokenEvent> {
        unimplemented!()
    }
}
