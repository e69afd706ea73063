//! What a protocol asks of the pipeline and what it is told.

use std::time::Duration;

use crate::chat::Message;
use crate::engine::GenerationError;

/// A request after parsing: every protocol's wire type becomes this or an error.
#[derive(Clone)]
pub struct ChatRequest {
    /// A system message, if any, comes first; then user and assistant take turns.
    pub messages: Vec<Message>,
    /// `None`: [`limits::MAX_TOKENS_DEFAULT`](crate::limits::MAX_TOKENS_DEFAULT), or as many as
    /// the context has room for.
    pub max_tokens: Option<usize>,
    pub sampling: SamplingOverrides,
    /// Matched against the answer only: a phrase that ends an answer may well occur in the
    /// reasoning before it, where stopping would leave the client without any answer.
    pub stop_sequences: Vec<String>,
    /// Tokens of reasoning after which the answer is forced to begin.
    pub reasoning_budget: Option<usize>,
}

/// Shows sizes, never text: stop sequences are as private as messages.
impl std::fmt::Debug for ChatRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatRequest")
            .field("messages", &self.messages)
            .field("max_tokens", &self.max_tokens)
            .field("sampling", &self.sampling)
            .field("num_stop_sequences", &self.stop_sequences.len())
            .field("reasoning_budget", &self.reasoning_budget)
            .finish()
    }
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

/// The deltas are never empty.
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
    pub timing: Timing,
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

/// Measured from the moment the engine accepted the request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Until the first token arrived: queueing and prefill. `None` when the model ended at once.
    pub first_token: Option<Duration>,
    /// Until the final event.
    pub total: Duration,
}
