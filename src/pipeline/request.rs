//! What a protocol asks of the pipeline and what it is told.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::chat::{Message, ToolChoice, ToolSpec};
use crate::engine::{GenerationError, Priority};
use crate::pipeline::Guarding;

/// A request after parsing: every protocol's wire type becomes this or an error.
#[derive(Clone)]
pub struct ChatRequest {
    pub input: Input,
    pub tools: Vec<ToolSpec>,
    pub tool_choice: ToolChoice,
    /// The answer holds one tool call at most.
    pub one_call: bool,
    pub output_format: OutputFormat,
    /// What the client calls the format: what errors about it name.
    pub output_field: &'static str,
    /// `None`: [`limits::MAX_TOKENS_DEFAULT`](crate::limits::MAX_TOKENS_DEFAULT), or as many as
    /// the context has room for.
    pub max_tokens: Option<usize>,
    pub sampling: SamplingOverrides,
    /// Matched against the answer only: a phrase that ends an answer may well occur in the
    /// reasoning before it, where stopping would leave the client without any answer.
    pub stop_sequences: Vec<String>,
    /// Tokens of reasoning after which the answer is forced to begin.
    pub reasoning_budget: Option<usize>,
    pub reasoning: ReasoningFormat,
    pub priority: Priority,
    /// `Some`: the log probabilities of the answer's tokens, each with this many alternatives.
    pub logprobs: Option<usize>,
    /// Whose request it is: prefixes are shared within a tenant only.
    pub tenant: Option<Arc<str>>,
    /// What judges the input before the model reads it, and the answer before the client does.
    pub guarding: Option<Guarding>,
    /// Is told what the request has taken when it ends, however it does.
    pub meter: Option<Arc<TokenMeter>>,
}

/// Tokens that were computed: prompts without what was cached, and everything generated.
#[derive(Debug, Default)]
pub struct TokenMeter(AtomicUsize);

impl TokenMeter {
    pub fn num_tokens(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn add(&self, num_tokens: usize) {
        self.0.fetch_add(num_tokens, Ordering::AcqRel);
    }
}

impl ChatRequest {
    /// With everything else as a client gets it that asks for nothing.
    pub fn new(input: Input) -> Self {
        Self {
            input,
            tools: Vec::new(),
            tool_choice: ToolChoice::default(),
            one_call: false,
            output_format: OutputFormat::default(),
            output_field: "output_format",
            max_tokens: None,
            sampling: SamplingOverrides::default(),
            stop_sequences: Vec::new(),
            reasoning_budget: None,
            reasoning: ReasoningFormat::default(),
            priority: Priority::default(),
            logprobs: None,
            tenant: None,
            guarding: None,
            meter: None,
        }
    }
}

/// Shows sizes, never text: stop sequences are as private as messages.
impl fmt::Debug for ChatRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatRequest")
            .field("input", &self.input)
            .field("num_tools", &self.tools.len())
            .field("max_tokens", &self.max_tokens)
            .field("sampling", &self.sampling)
            .field("num_stop_sequences", &self.stop_sequences.len())
            .field("reasoning_budget", &self.reasoning_budget)
            .field("reasoning", &self.reasoning)
            .field("priority", &self.priority)
            .field("logprobs", &self.logprobs)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq)]
pub enum Input {
    /// A system message, if any, comes first; then user and assistant take turns, and the
    /// assistant's tool calls are followed by the tools' answers.
    Messages(Vec<Message>),
    /// A prompt as it is, in which the spelling of a control token is a control token.
    Text(String),
}

/// Shows sizes, never text.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(messages) => messages.fmt(f),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
        }
    }
}

/// What the answer, after the reasoning, must look like.
#[derive(Clone, Default, PartialEq)]
pub enum OutputFormat {
    #[default]
    Text,
    JsonObject,
    JsonSchema(Value),
    /// The whole answer matches.
    Regex(String),
    /// The answer is one of these.
    Choice(Vec<String>),
    /// A grammar in llguidance's dialect of Lark.
    Grammar(String),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReasoningFormat {
    /// Reasoning and answer are events of their own.
    #[default]
    Split,
    /// Everything is text, the tags included.
    Inline,
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
    /// A call begins; its arguments follow until [`ChatEvent::ToolCallEnd`].
    ToolCallStart {
        id: String,
        name: String,
    },
    /// A piece of the JSON text of the arguments.
    ToolCallArguments(String),
    ToolCallEnd,
    /// The tokens whose text was sent since the last of these, or follows, when the request asked
    /// for them.
    Logprobs(Vec<TokenLogprob>),
    Finished(ChatSummary),
    Failed(GenerationError),
}

/// A token of the answer and how likely it was.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    /// Its bytes as text; what is no UTF-8 on its own is replaced by U+FFFD.
    pub text: String,
    pub bytes: Vec<u8>,
    /// Natural, before temperature and filters.
    pub logprob: f32,
    /// The most likely tokens in its place, most likely first.
    pub top: Vec<(String, Vec<u8>, f32)>,
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
    /// At least one tool call is complete.
    ToolUse,
    /// The model began a tool call and did not write a valid one.
    MalformedToolUse,
    /// A guardrail blocked the request or changed the answer.
    GuardrailIntervened,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens, those read from the prefix cache included.
    pub prompt_tokens: usize,
    pub cached_prompt_tokens: usize,
    /// Prompt tokens that this request put into the prefix cache.
    pub written_prompt_tokens: usize,
    pub generated_tokens: usize,
    pub reasoning_tokens: usize,
    /// Generated tokens that were guessed, as far as the answer came to its own end.
    pub guessed_tokens: usize,
}

/// Measured from the moment the engine accepted the request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timing {
    /// Until the first token arrived: queueing and prefill. `None` when the model ended at once.
    pub first_token: Option<Duration>,
    /// Until the final event.
    pub total: Duration,
}
