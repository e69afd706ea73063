//! One request, from [`ChatRequest`] to a stream of [`ChatEvent`]: template, tokenizer, engine, and
//! back through detokenizer, stop strings and reasoning parser. The only vocabulary that protocols
//! and terminal encode.

mod request;
mod stream;

use std::sync::Arc;

use thiserror::Error;

pub use request::{ChatEvent, ChatRequest, ChatSummary, SamplingOverrides, StopReason, Usage};
pub use stream::ChatStream;

use crate::{
    chat::{TemplateError, TextAssets, TokenizerError},
    engine::{EngineHandle, GenerationError, SubmitError},
};

/// A model being served: its text side and its engine.
#[derive(Debug, Clone)]
pub struct Pipeline {
    text: Arc<TextAssets>,
    engine: EngineHandle,
}

#[derive(Debug, Error)]
pub enum PipelineError {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Generation(#[from] GenerationError),
}

impl Pipeline {
    pub fn new(text: TextAssets, engine: EngineHandle) -> Self {
        Self { text: Arc::new(text), engine }
    }

    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    pub fn text(&self) -> &TextAssets {
        &self.text
    }

    /// Refuses here what can be refused; afterwards the stream ends in `Finished` or `Failed`.
    pub async fn run(&self, request: ChatRequest) -> Result<ChatStream, PipelineError> {
        let _ = request;
        unimplemented!()
    }
}
