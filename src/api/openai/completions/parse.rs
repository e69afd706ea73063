//! From the body of a completion to one [`ChatRequest`] for each prompt.

use crate::api::guardrail::BodyConfig;
use crate::api::openai::completions::wire::CompletionBody;
use crate::api::openai::error::OpenAiError;
use crate::api::openai::fields::{self, Sampling, in_range, refuse_unless};
use crate::limits;
use crate::pipeline::{ChatRequest, Input, OutputFormat, ReasoningFormat};

pub(super) struct CompletionCall {
    /// One for each prompt.
    pub(super) requests: Vec<ChatRequest>,
    pub(super) n: usize,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
    pub(super) guardrail_config: Option<BodyConfig>,
    echo: bool,
}

impl CompletionCall {
    /// What stands before the text of each choice.
    pub(super) fn echoed(&self) -> Vec<String> {
        let prompt = |request: &ChatRequest| match &request.input {
            Input::Text(text) if self.echo => text.clone(),
            Input::Text(_) | Input::Messages(_) => String::new(),
        };
        let prompts = self.requests.iter().map(prompt);
        prompts.flat_map(|it| std::iter::repeat_n(it, self.n)).collect()
    }

    pub(super) fn wants_logprobs(&self) -> bool {
        self.requests.iter().any(|it| it.logprobs.is_some())
    }
}

pub(super) fn completion_call(body: CompletionBody) -> Result<CompletionCall, OpenAiError> {
    let n = in_range("n", body.n.unwrap_or(1), &(1..=limits::CHOICES_MAX))?;
    let echo = body.echo == Some(true);
    fields::refuse_biases(body.presence_penalty, body.frequency_penalty, body.logit_bias.as_ref())?;
    let is_best = body.best_of.is_none_or(|it| it == n);
    refuse_unless(is_best, "best_of", "it may only be what `n` is.")?;
    let no_suffix = body.suffix.as_ref().is_none_or(String::is_empty);
    refuse_unless(no_suffix, "suffix", "models here do not insert text.")?;
    let max = limits::TOP_LOGPROBS_MAX;
    let logprobs = body.logprobs.map(|it| in_range("logprobs", it, &(0..=max))).transpose()?;
    let echoes_logprobs = echo && logprobs.is_some();
    refuse_unless(!echoes_logprobs, "echo", "not with `logprobs`: prompts are not scored.")?;
    let prompts = body.prompt.0;
    in_range("prompt: number of prompts", prompts.len(), &(1..=limits::PROMPTS_MAX))?;
    let stream = body.stream == Some(true);
    if body.stream_options.is_some() && !stream {
        let message = "`stream_options` is allowed only when `stream` is true.";
        return Err(OpenAiError::invalid("stream_options", message));
    }
    let sampling = Sampling {
        temperature: body.temperature,
        top_p: body.top_p,
        top_k: body.top_k,
        min_p: body.min_p,
        repetition_penalty: body.repetition_penalty,
        seed: body.seed,
    };
    let (output_format, output_field) =
        fields::structured_outputs(body.structured_outputs, OutputFormat::Text)?;
    let max_tokens = fields::max_tokens("max_tokens", body.max_tokens)?;
    let template = ChatRequest {
        max_tokens: Some(max_tokens.unwrap_or(limits::COMPLETION_TOKENS_DEFAULT)),
        sampling: sampling.check()?,
        stop_sequences: fields::stop(body.stop),
        output_format,
        output_field,
        reasoning: ReasoningFormat::Inline,
        logprobs,
        ..ChatRequest::new(Input::Text(String::new()))
    };
    let request = |prompt| ChatRequest { input: Input::Text(prompt), ..template.clone() };
    Ok(CompletionCall {
        requests: prompts.into_iter().map(request).collect(),
        n,
        stream,
        include_usage: body.stream_options.unwrap_or_default().include_usage,
        guardrail_config: body.guardrail_config,
        echo,
    })
}
