//! What goes into the engine and what comes out.

use std::sync::Arc;

use thiserror::Error;

/// How the next token is drawn. `temperature == 0` is greedy and ignores the other filters.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    pub temperature: f32,
    /// Keep the most likely tokens whose probabilities sum to this; 1 keeps all.
    pub top_p: f32,
    /// Keep this many most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep tokens at least this fraction as likely as the most likely one; 0 keeps all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens seen in prompt or output; 1 is
    /// off.
    pub repetition_penalty: f32,
    /// The same seed and prompt give the same tokens, whatever else the engine is doing.
    pub seed: u64,
}

/// A cap on the tokens of the reasoning part, spoken in token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReasoningBudget {
    pub max_tokens: usize,
    /// The prompt already opened the reasoning part.
    pub starts_open: bool,
    /// The token that opens the reasoning part.
    pub open_id: u32,
    /// The token that closes it; once seen the budget no longer applies.
    pub close_id: u32,
    /// Tokens written in place of sampled ones when the budget is spent; they contain `close_id`.
    pub closing_ids: Arc<[u32]>,
}

#[derive(Debug, Clone)]
pub struct GenerationRequest {
    pub prompt: Vec<u32>,
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// Generation ends at any of these; the token itself is not part of the output.
    pub stop_ids: Arc<[u32]>,
    pub sampling: SamplingParams,
    pub reasoning_budget: Option<ReasoningBudget>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// One of `stop_ids` was drawn.
    Stop,
    /// `max_tokens` were generated.
    MaxTokens,
    /// The model's context is full.
    ContextFull,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GenerationSummary {
    pub reason: FinishReason,
    pub num_prompt_tokens: usize,
    /// Prompt tokens whose keys and values came from the prefix cache.
    pub num_cached_tokens: usize,
    pub num_generated_tokens: usize,
    pub num_reasoning_tokens: usize,
}

/// Each accepted request ends in exactly one `Finished` or `Failed`.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenEvent {
    Token(u32),
    Finished(GenerationSummary),
    Failed(GenerationError),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GenerationError {
    #[error("the model produced a value that is not a number")]
    NotANumber,
    #[error("the model failed: {0}")]
    Model(String),
    #[error("the engine stopped before the request was finished")]
    EngineStopped,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("the prompt has {tokens} tokens, but the context holds {limit}")]
    PromptTooLong { tokens: usize, limit: usize },
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    UnknownToken { id: u32, vocab_size: usize },
    #[error("the queue holds {limit} requests already")]
    QueueFull { limit: usize },
    #[error("the queue holds {queued} prompt tokens already, with a limit of {limit}")]
    QueuedTokensFull { queued: usize, limit: usize },
    #[error("the engine is draining and takes no new requests")]
    Draining,
    #[error("the engine has failed and takes no requests")]
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Tokens of one sequence at most, prompt and output together.
    pub max_model_len: usize,
    /// Sequences in one step.
    pub max_num_seqs: usize,
    /// Rows in one step; longer prompts are computed in chunks.
    pub max_num_batched_tokens: usize,
    pub queued_requests_max: usize,
    pub queued_tokens_max: usize,
    pub prefix_cache: bool,
}

/// A snapshot for metrics and tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineStats {
    pub num_running: usize,
    pub num_waiting: usize,
    pub num_blocks: usize,
    pub num_used_blocks: usize,
    pub num_cached_blocks: usize,
    pub num_free_blocks: usize,
    pub prompt_tokens_total: u64,
    pub generated_tokens_total: u64,
    pub prefix_cache_queried_tokens_total: u64,
    pub prefix_cache_hit_tokens_total: u64,
    pub preemptions_total: u64,
    pub steps_total: u64,
    pub failed_requests_total: u64,
}
