//! What a protocol asks of the pipeline and what it is told.

use crate::{chat::Message, engine::GenerationError};

/// A request after parsing: every protocol's wire type becomes this or an error.
#[derive(Debug, Clone)]
pub struct ChatRequest {
    /// A system message, if any, comes first; then user and assistant take turns.
    pub messages: Vec<Message>,
    pub max_tokens: Option<usize>,
    pub sampling: SamplingOverrides,
    pub stop_sequences: Vec<String>,
    /// Tokens of reasoning after which the answer is forced to begin.
    pub reasoning_budget: Option<usize>,
}

/// What the client set; the checkpoint's and the program's defaults fill the rest.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SamplingOverrides {
    pub temperature: Option<f32>,
    pub top_p: Option<f32>,
    pub top_k: Option<usize>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub seed: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    Reasoning(String),
    Text(String),
    Finished(ChatSummary),
    Failed(GenerationError),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatSummary {
    pub stop_reason: StopReason,
    pub usage: Usage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    EndTurn,
    MaxTokens,
    StopSequence(String),
    ContextWindowExceeded,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, those read from the prefix cache included.
    pub prompt_tokens: usize,
    pub cached_prompt_tokens: usize,
    pub generated_tokens: usize,
    pub reasoning_tokens: usize,
}
