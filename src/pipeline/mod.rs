//! One request, from [`ChatRequest`] to a stream of [`ChatEvent`]: template, tokenizer, engine, and
//! back through detokenizer, reasoning parser and stop strings. The only vocabulary that protocols
//! and terminal encode.

pub mod load;
mod request;
mod sampling;
mod stream;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread::available_parallelism;

use thiserror::Error;
use tokio::sync::Semaphore;

use crate::chat::{ReasoningTags, StopError, StopStrings, TemplateInput, TextAssets};
use crate::engine::{EngineHandle, GenerationRequest, ReasoningBudget};
use crate::limits;

// What a request is made of, how it can fail and what there is to observe: protocols see the layers
// below through these names only.
pub use crate::chat::{
    GrammarError, Message, Role, TemplateError, TokenizerError, ToolCall, ToolChoice, ToolError,
    ToolSpec,
};
pub use crate::engine::{EngineStats, GenerationError, Priority, SubmitError};
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
    #[error("{0} is not supported yet")]
    Unsupported(&'static str),
    #[error(transparent)]
    Tools(#[from] ToolError),
    #[error(transparent)]
    Grammar(#[from] GrammarError),
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
    #[error("rendering or tokenizing the prompt panicked")]
    Panicked,
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
        Self { text: Arc::new(text), engine, text_permits: Arc::new(Semaphore::new(cores)) }
    }

    pub fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    pub fn text(&self) -> &TextAssets {
        &self.text
    }

    /// Refuses here what can be refused; afterwards the stream ends in `Finished` or `Failed`.
    pub async fn run(&self, request: ChatRequest) -> Result<ChatStream, PipelineError> {
        let meter = request.meter.clone();
        let prepared = self.prepare(request).await?;
        let num_prompt_tokens = prepared.generation.prompt.len();
        let generation = self.engine.submit(prepared.generation)?;
        let stream = ChatStream::new(
            &self.text,
            generation,
            num_prompt_tokens,
            prepared.reasoning_open,
            prepared.stop_strings,
        );
        Ok(stream.metered(meter))
    }

    /// Tokens of the prompt that `input` and `tools` make.
    pub async fn count_tokens(
        &self,
        input: Input,
        tools: &[ToolSpec],
    ) -> Result<usize, PipelineError> {
        let mut request = ChatRequest::new(input);
        request.tools = tools.to_vec();
        Ok(self.prepare(request).await?.generation.prompt.len())
    }

    /// Templates and tokenizers can be busy for a second on a long prompt, so they run off the
    /// asynchronous runtime.
    async fn prepare(&self, request: ChatRequest) -> Result<Prepared, PipelineError> {
        let permits = Arc::clone(&self.text_permits);
        let permit = permits.acquire_owned().await.expect("the semaphore is never closed");
        let text = Arc::clone(&self.text);
        let max_model_len = self.engine.config().max_model_len;
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            prepare(&text, request, max_model_len)
        });
        task.await.map_err(|_| PipelineError::Panicked)?
    }
}

fn prepare(
    text: &TextAssets,
    request: ChatRequest,
    max_model_len: usize,
) -> Result<Prepared, PipelineError> {
    let stop_strings = StopStrings::new(&request.stop_sequences)?;
    let Input::Messages(messages) = &request.input else {
        return Err(PipelineError::Unsupported("a prompt without messages"));
    };
    if !request.tools.is_empty() {
        return Err(PipelineError::Unsupported("the use of tools"));
    }
    if request.output_format != OutputFormat::Text {
        return Err(PipelineError::Unsupported("an output format"));
    }
    if request.logprobs.is_some() {
        return Err(PipelineError::Unsupported("logprobs"));
    }
    if request.reasoning != ReasoningFormat::Split {
        return Err(PipelineError::Unsupported("reasoning within the text"));
    }
    let template = text.template.as_ref().ok_or(PipelineError::NoTemplate)?;
    let input = TemplateInput { messages, add_generation_prompt: true };
    let rendered = template.render(&input)?;
    let reasoning_open =
        text.reasoning.as_ref().is_some_and(|tags| rendered.ends_with_open_tag(&tags.open));
    let prompt = text.tokenizer.encode_prompt(&rendered)?;
    let max_tokens = max_tokens(prompt.len(), request.max_tokens, max_model_len)?;
    let reasoning_budget = match (request.reasoning_budget, &text.reasoning) {
        (None, _) => None,
        (Some(_), None) => return Err(PipelineError::NoReasoning),
        (Some(budget), Some(tags)) => Some(reasoning_budget(text, tags, budget, reasoning_open)?),
    };
    let generation = GenerationRequest {
        prompt,
        max_tokens,
        stop_ids: Arc::clone(&text.stop_ids),
        sampling: sampling::resolve(request.sampling, text.sampling),
        reasoning_budget,
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
    closing_ids.extend(text.tokenizer.encode("\n\n")?);
    Ok(ReasoningBudget {
        max_tokens,
        starts_open,
        open_id: tags.open_id,
        close_id: tags.close_id,
        closing_ids: closing_ids.into(),
    })
}
