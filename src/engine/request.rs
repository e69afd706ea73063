//! What goes into the engine and what comes out.

use std::sync::Arc;

use thiserror::Error;

use crate::engine::ConstraintError;

/// How the next token is drawn. The steps are taken in vLLM's order: repetition penalty,
/// temperature, `min_p`, `top_k`, `top_p` over what these left.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 is greedy and ignores `top_p`, `top_k`, `min_p` and `seed`.
    pub temperature: f32,
    /// Keep the fewest most likely tokens whose probabilities sum to this; 1 keeps all.
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
    /// Reasoning tokens after which the part is closed; `usize::MAX` counts without closing.
    pub max_tokens: usize,
    /// The prompt already opened the reasoning part.
    pub starts_open: bool,
    /// The token that opens the reasoning part.
    pub open_id: u32,
    /// The token that closes it; once seen the budget no longer applies.
    pub close_id: u32,
    /// Tokens written in place of sampled ones when the budget is spent; they contain `close_id`
    /// and count as generated tokens. None of them ends the generation, whatever `stop_ids` says.
    pub closing_ids: Arc<[u32]>,
    /// Tokens between the closing token, where the model writes it, and a constrained answer.
    pub leading_ids: Arc<[u32]>,
}

/// Who goes first when there is not room for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

#[derive(Debug, Clone)]
pub struct GenerationRequest {
    pub prompt: Vec<u32>,
    /// Tokens to generate at most; 0 computes the prompt and ends.
    pub max_tokens: usize,
    /// Generation ends at any of these; the token itself is not part of the output.
    pub stop_ids: Arc<[u32]>,
    pub sampling: SamplingParams,
    pub reasoning_budget: Option<ReasoningBudget>,
    pub priority: Priority,
    /// Blocks of the prefix cache are shared between requests of the same salt only.
    pub cache_salt: Option<Arc<str>>,
    /// `Some`: a [`TokenEvent::Logprobs`] before each drawn token, with this many alternatives.
    pub logprobs: Option<usize>,
}

/// How likely a token was, and what was most likely in its place: natural logarithms of the model's
/// probabilities, before penalties, temperature and filters.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    pub token: u32,
    pub logprob: f32,
    /// Most likely first.
    pub top: Vec<(u32, f32)>,
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
    /// Prompt tokens that nobody had put into the prefix cache before.
    pub num_written_tokens: usize,
    /// Tokens sent as events; a stop token is not one of them.
    pub num_generated_tokens: usize,
    /// Of these, the tokens between the opening and the closing token of a [`ReasoningBudget`].
    pub num_reasoning_tokens: usize,
    /// Of the generated tokens, those that were guessed, and so took no step of their own.
    pub num_guessed_tokens: usize,
    /// How often its blocks were taken for an older request and computed again.
    pub num_preemptions: usize,
}

/// Each accepted request ends in exactly one `Finished` or `Failed`.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenEvent {
    Token(u32),
    /// Of the token that follows. Tokens that were not drawn have none.
    Logprobs(Box<TokenLogprobs>),
    Finished(GenerationSummary),
    Failed(GenerationError),
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GenerationError {
    #[error("the model produced a value that is not a number")]
    NotANumber,
    #[error("the model failed: {0}")]
    Model(String),
    #[error("the constraint on the output failed: {0}")]
    Constraint(#[from] ConstraintError),
    #[error("the engine stopped before the request was finished")]
    EngineStopped,
}

/// Why a request was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    #[error("the prompt is empty")]
    EmptyPrompt,
    #[error("the prompt has {tokens} tokens, which leaves no room to answer in {limit}")]
    PromptTooLong { tokens: usize, limit: usize },
    #[error("token id {id} is outside the vocabulary of {vocab_size}")]
    UnknownToken { id: u32, vocab_size: usize },
    #[error("{field} must be {range}")]
    SamplingOutOfRange { field: &'static str, range: &'static str },
    #[error("the queue holds {limit} requests already")]
    QueueFull { limit: usize },
    #[error("the queue holds {queued} prompt tokens already, with a limit of {limit}")]
    QueuedTokensFull { queued: usize, limit: usize },
    #[error("the engine is draining and takes no new requests")]
    Draining,
    #[error("the engine has failed and takes no requests")]
    Failed,
}

/// Why an engine could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{field} must be at least 1")]
    ZeroLimit { field: &'static str },
    #[error("a context needs 2 tokens at least, but the KV cache or the limits leave {tokens}")]
    ContextTooSmall { tokens: usize },
    #[error("the engine thread did not start: {0}")]
    Thread(#[from] std::io::Error),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Tokens of one sequence at most, prompt and output together. Lowered on start to what the
    /// model was trained for and what the KV cache holds.
    pub max_model_len: usize,
    /// Sequences in one step. Lowered on start to `max_num_batched_tokens`.
    pub max_num_seqs: usize,
    /// Rows in one step; longer prompts are computed in chunks.
    pub max_num_batched_tokens: usize,
    /// Requests that were accepted and wait for their first step, beside as many as sequences are
    /// free.
    pub queued_requests_max: usize,
    /// Prompt tokens of the requests in the queue; an empty queue takes a prompt of any length.
    pub queued_tokens_max: usize,
    pub prefix_cache: bool,
    pub speculation: Speculation,
}

/// Guessing tokens that repeat what was written before, so that a step verifies several. It changes
/// when a token is computed and never which.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Speculation {
    Off,
    /// As many as are expected to pay.
    #[default]
    Auto,
    /// As many of so many as can be guessed and have room, whether they pay or not.
    Always(usize),
}

/// A snapshot for metrics and tests: as of the start or the end of the latest step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineStats {
    pub num_running: usize,
    /// Accepted and not running: new in the queue, or preempted.
    pub num_waiting: usize,
    pub block_size: usize,
    pub num_blocks: usize,
    pub num_used_blocks: usize,
    pub num_cached_blocks: usize,
    pub num_free_blocks: usize,
    /// Prompt tokens of requests that left the queue, those from the prefix cache included.
    pub prompt_tokens_total: u64,
    pub generated_tokens_total: u64,
    pub prefix_cache_queried_tokens_total: u64,
    pub prefix_cache_hit_tokens_total: u64,
    pub preemptions_total: u64,
    pub steps_total: u64,
    /// How often a sequence had guesses in a step.
    pub drafts_total: u64,
    /// Guesses that were in a step.
    pub draft_tokens_total: u64,
    /// Of these, the ones that were right.
    pub accepted_draft_tokens_total: u64,
    /// Rows computed in all steps, guesses and recomputation after preemption included.
    pub computed_tokens_total: u64,
    pub finished_requests_total: u64,
    pub failed_requests_total: u64,
    /// Requests whose `Generation` was dropped before its end.
    pub aborted_requests_total: u64,
    /// Requests that failed because a row of logits was not a number.
    pub not_a_number_total: u64,
}

impl EngineStats {
    /// Every block is free, cached or used, and without sequences none is used. False means that
    /// blocks leaked: a reason for an alarm, not for taking the engine down.
    pub fn blocks_are_balanced(&self) -> bool {
        let accounted = self.num_free_blocks + self.num_cached_blocks + self.num_used_blocks;
        accounted == self.num_blocks && (self.num_running > 0 || self.num_used_blocks == 0)
    }
}
