//! One request, from [`ChatRequest`] to a stream of [`ChatEvent`]: template, tokenizer, engine, and
//! back through detokenizer, reasoning parser and stop strings. The only vocabulary that protocols
//! and terminal encode.

mod constraint;
mod grammars;
mod guard;
#[cfg(test)]
mod guard_tests;
mod judge;
#[cfg(test)]
mod judge_tests;
pub mod load;
mod prompt;
mod request;
mod sampling;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tool_tests;

use std::sync::Arc;
use std::thread::available_parallelism;

use thiserror::Error;
use tokio::sync::Semaphore;

use crate::chat::{ReasoningTags, StopError, StopStrings, TextAssets, check_tools};
use crate::engine::{EngineHandle, GenerationRequest, ReasoningBudget, TokenConstraint};
use crate::guardrail::{CannotMask, Direction};
use crate::limits;

use constraint::Wanted;
use grammars::Grammars;
use guard::Gate;
use prompt::Encoded;
use stream::StreamParts;

// What a request is made of, how it can fail and what there is to observe: protocols see the layers
// below through these names only.
pub use crate::chat::{
    GrammarError, Message, Role, TemplateError, TokenizerError, ToolCall, ToolChoice, ToolError,
    ToolSpec,
};
pub use crate::engine::{EngineEnd, EngineStats, GenerationError, Priority, SubmitError};
pub use guard::{GuardedText, Guarding, GuardrailObserver, GuardrailTrace};
pub use judge::{ModelJudge, consulting};
pub use request::{
    ChatEvent, ChatRequest, ChatSummary, Input, OutputFormat, ReasoningFormat, SamplingOverrides,
    StopReason, Timing, TokenLogprob, TokenMeter, Usage,
};
pub use stream::ChatStream;

/// A model being served: its text side and its engine.
#[derive(Debug, Clone)]
pub struct Pipeline {
    text: Arc<TextAssets>,
    engine: EngineHandle,
    /// As many requests as there are cores render and tokenize at a time: a burst of long prompts
    /// must not take every thread of the machine from the engine.
    text_permits: Arc<Semaphore>,
    grammars: Arc<Grammars>,
}

#[derive(Debug, Error)]
pub enum PipelineError {
    #[error("the model has no chat template")]
    NoTemplate,
    #[error("the model writes no reasoning that a reasoning budget could limit")]
    NoReasoning,
    #[error(
        "the prompt has {prompt_tokens} tokens and max_tokens is {max_tokens}, but the context \
         holds {limit} tokens"
    )]
    ContextExceeded { prompt_tokens: usize, max_tokens: usize, limit: usize },
    #[error("{0} is not supported")]
    Unsupported(&'static str),
    #[error(transparent)]
    Tools(#[from] ToolError),
    /// `field` is what the client calls the part of the request that is at fault.
    #[error("{error}")]
    Grammar { field: Option<String>, error: GrammarError },
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Stop(#[from] StopError),
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Generation(#[from] GenerationError),
    #[error(transparent)]
    Guardrail(#[from] CannotMask),
    #[error("rendering or tokenizing the prompt panicked")]
    Panicked,
}

impl From<GrammarError> for PipelineError {
    fn from(error: GrammarError) -> Self {
        Self::Grammar { field: None, error }
    }
}

/// A request in token ids, and what the way back needs to know.
struct Prepared {
    generation: GenerationRequest,
    stop_strings: StopStrings,
    /// The prompt ended by opening the reasoning part.
    reasoning_open: bool,
}

impl Pipeline {
    pub fn new(text: TextAssets, engine: EngineHandle) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            text: Arc::new(text),
            engine,
            text_permits: Arc::new(Semaphore::new(cores)),
            grammars: Arc::default(),
        }
    }

    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    pub fn text(&self) -> &TextAssets {
        &self.text
    }

    /// Refuses here what can be refused; afterwards the stream ends in `Finished` or `Failed`.
    pub async fn run(&self, mut request: ChatRequest) -> Result<ChatStream, PipelineError> {
        let Some(guarding) = request.guarding.take() else { return self.generate(request).await };
        let consults = guarding.guardrail.consults(Direction::Input);
        let judge = move || {
            let (assessment, message) = guarding.judge_input(&mut request);
            Ok((Gate::new(guarding, assessment)?, message, request))
        };
        let (gate, message, request) = match consults {
            true => consulting(judge).await??,
            false => self.off_the_runtime(|_| judge()).await?,
        };
        match message {
            Some(message) => Ok(ChatStream::blocked(&self.text, gate, message)),
            None => Ok(self.generate(request).await?.gated(gate)),
        }
    }

    async fn generate(&self, request: ChatRequest) -> Result<ChatStream, PipelineError> {
        check(&request)?;
        let meter = request.meter.clone();
        let wanted = Wanted::new(&request, self.text.tool_format())?;
        let is_grammatical = wanted.as_ref().is_some_and(Wanted::holds_from_the_start);
        let constraint = match wanted {
            Some(wanted) => Some(self.grammars.compile(&self.text, wanted).await?),
            None => None,
        };
        let is_constrained = constraint.is_some();
        let may_call = !request.tools.is_empty() && request.tool_choice != ToolChoice::None;
        let parts = StreamParts {
            reasoning: request.reasoning,
            tools: may_call.then(|| self.text.tool_format()),
            is_grammatical,
            ..StreamParts::default()
        };
        let max_model_len = self.engine.config().max_model_len;
        let mut prepared = self
            .off_the_runtime(move |text| prepare(text, request, is_constrained, max_model_len))
            .await?;
        if !is_grammatical && let Some(budget) = &mut prepared.generation.reasoning_budget {
            // Before free text the model itself writes the space that it wants.
            budget.leading_ids = Arc::from([]);
        }
        let parts = StreamParts {
            num_prompt_tokens: prepared.generation.prompt.len(),
            reasoning_open: prepared.reasoning_open,
            ..parts
        };
        let constraint = constraint.map(|it| Box::new(it) as Box<dyn TokenConstraint>);
        let generation = self.engine.submit_constrained(prepared.generation, constraint)?;
        let stream = ChatStream::new(&self.text, Some(generation), parts, prepared.stop_strings);
        Ok(stream.metered(meter))
    }

    /// Tokens of the prompt that `input` and `tools` make.
    pub async fn count_tokens(
        &self,
        input: Input,
        tools: &[ToolSpec],
    ) -> Result<usize, PipelineError> {
        check_tools(tools, &ToolChoice::Auto)?;
        let tools = tools.to_vec();
        let count = move |text: &TextAssets| Ok(prompt::encode(text, &input, &tools)?.ids.len());
        self.off_the_runtime(count).await
    }

    /// Templates and tokenizers can be busy for a second on a long prompt, so they run off the
    /// asynchronous runtime.
    async fn off_the_runtime<T: Send + 'static>(
        &self,
        work: impl FnOnce(&TextAssets) -> Result<T, PipelineError> + Send + 'static,
    ) -> Result<T, PipelineError> {
        let permits = Arc::clone(&self.text_permits);
        let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
        let text = Arc::clone(&self.text);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&text)
        });
        task.await.map_err(|_| PipelineError::Panicked)?
    }
}

fn check(request: &ChatRequest) -> Result<(), PipelineError> {
    check_tools(&request.tools, &request.tool_choice)?;
    if request.logprobs.is_some_and(|count| count > limits::TOP_LOGPROBS_MAX) {
        return Err(PipelineError::Unsupported("more than 20 log probabilities beside a token"));
    }
    const { assert!(limits::TOP_LOGPROBS_MAX == 20) };
    Ok(())
}

fn prepare(
    text: &TextAssets,
    request: ChatRequest,
    is_constrained: bool,
    max_model_len: usize,
) -> Result<Prepared, PipelineError> {
    let stop_strings = StopStrings::new(&request.stop_sequences)?;
    let Encoded { ids, reasoning_open } = prompt::encode(text, &request.input, &request.tools)?;
    let max_tokens = max_tokens(ids.len(), request.max_tokens, max_model_len)?;
    // A constraint holds outside the reasoning part only, so the engine has to know where that is.
    let unlimited = is_constrained.then_some(usize::MAX);
    let reasoning_budget = match (request.reasoning_budget, &text.reasoning) {
        (Some(_), None) => return Err(PipelineError::NoReasoning),
        (None, None) => None,
        (budget, Some(tags)) => budget
            .or(unlimited)
            .map(|budget| reasoning_budget(text, tags, budget, reasoning_open))
            .transpose()?,
    };
    let generation = GenerationRequest {
        prompt: ids,
        max_tokens,
        stop_ids: Arc::clone(&text.stop_ids),
        sampling: sampling::resolve(request.sampling, text.sampling),
        reasoning_budget,
        priority: request.priority,
        cache_salt: request.tenant,
        logprobs: request.logprobs,
    };
    Ok(Prepared { generation, stop_strings, reasoning_open })
}

/// A maximum that the client chose must fit into the context beside the prompt; the default one
/// shrinks to what is left.
fn max_tokens(
    prompt_tokens: usize,
    requested: Option<usize>,
    limit: usize,
) -> Result<usize, PipelineError> {
    if prompt_tokens >= limit {
        return Err(SubmitError::PromptTooLong { tokens: prompt_tokens, limit }.into());
    }
    match requested {
        None => Ok(limits::MAX_TOKENS_DEFAULT),
        Some(max_tokens) if max_tokens > limit - prompt_tokens => {
            Err(PipelineError::ContextExceeded { prompt_tokens, max_tokens, limit })
        }
        Some(max_tokens) => Ok(max_tokens),
    }
}

/// The closing text is what the models themselves write between reasoning and answer.
fn reasoning_budget(
    text: &TextAssets,
    tags: &ReasoningTags,
    max_tokens: usize,
    starts_open: bool,
) -> Result<ReasoningBudget, PipelineError> {
    let mut closing_ids = text.tokenizer.encode("\n")?;
    closing_ids.push(tags.close_id);
    let leading_ids = text.tokenizer.encode("\n\n")?;
    closing_ids.extend(&leading_ids);
    Ok(ReasoningBudget {
        max_tokens,
        starts_open,
        open_id: tags.open_id,
        close_id: tags.close_id,
        closing_ids: closing_ids.into(),
        leading_ids: leading_ids.into(),
    })
}
