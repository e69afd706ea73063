//! The answers to one request, generated side by side.

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll, select_all, unfold};
use serde_json::{Map, Value};
use tokio::sync::watch;

use crate::api::guardrail::GuardrailChoice;
use crate::api::openai::error::OpenAiError;
use crate::api::openai::fields::seed_of_choice;
use crate::guardrail::Assessment;
use crate::pipeline::{
    ChatEvent, ChatRequest, ChatStream, ChatSummary, GuardrailTrace, Pipeline, StopReason, Timing,
    TokenLogprob, Usage,
};

/// What happens to one of the choices, but for failures. Deltas are never empty.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// From 0.
    pub(super) choice: usize,
    pub(super) event: ChatEvent,
    /// With the last event, what its guardrail tells of it. Empty without one.
    pub(super) guardrail: Map<String, Value>,
}

type Told = (Result<ChatEvent, OpenAiError>, Option<GuardrailTrace>);

/// Dropping it cancels what is still being generated.
pub(super) struct Choices {
    events: SelectAll<BoxStream<'static, (usize, Told)>>,
    ended: Vec<Option<ChatSummary>>,
    /// Choices of each prompt.
    per_prompt: usize,
    guardrail: Option<GuardrailChoice>,
    /// What the guardrail found in the choices that have ended.
    traces: Vec<GuardrailTrace>,
}

/// A choice before and after the engine has it.
enum Progress {
    Waiting { pipeline: Pipeline, request: Box<ChatRequest>, computed: watch::Receiver<bool> },
    Running { stream: Box<ChatStream>, computed: Option<watch::Sender<bool>> },
    Over,
}

impl Choices {
    /// `n` choices for each prompt, in the order of the prompts. The first choice of each is
    /// accepted here; the others follow when it has computed the prompt, which they then find in
    /// the prefix cache.
    pub(super) async fn start(
        pipeline: &Pipeline,
        prompts: Vec<ChatRequest>,
        n: usize,
        guardrail: Option<GuardrailChoice>,
    ) -> Result<Self, OpenAiError> {
        let mut choices = Vec::new();
        for prompt in prompts {
            let (sender, computed) = watch::channel(false);
            for choice in 1..n {
                let mut request = Box::new(prompt.clone());
                let seed = request.sampling.seed;
                request.sampling.seed = seed.map(|seed| seed_of_choice(seed, choice));
                let (pipeline, computed) = (pipeline.clone(), computed.clone());
                choices.push(Progress::Waiting { pipeline, request, computed });
            }
            let stream = Box::new(pipeline.run(prompt).await?);
            let first = Progress::Running { stream, computed: Some(sender) };
            choices.insert(choices.len() - (n - 1), first);
        }
        let ended = vec![None; choices.len()];
        let choices = choices.into_iter().enumerate();
        let events = select_all(choices.map(|(choice, progress)| {
            unfold(progress, Progress::next).map(move |event| (choice, event)).boxed()
        }));
        Ok(Self { events, ended, per_prompt: n, guardrail, traces: Vec::new() })
    }

    pub(super) fn len(&self) -> usize {
        self.ended.len()
    }

    /// `None` after the last choice has finished; an error is the last of all. Dropping the future
    /// loses nothing.
    pub(super) async fn next(&mut self) -> Option<Result<Event, OpenAiError>> {
        let (choice, (event, trace)) = self.events.next().await?;
        if let Ok(ChatEvent::Finished(summary)) = &event {
            self.ended[choice] = Some(summary.clone());
        }
        let told = self.guardrail.as_ref().zip(trace.as_ref());
        let guardrail = told.map(|(guardrail, trace)| guardrail.members(trace)).unwrap_or_default();
        self.traces.extend(trace);
        Some(event.map(|event| Event { choice, event, guardrail }))
    }

    /// What the guardrail tells of all choices together. To be asked after the last event.
    pub(super) fn guardrail_members(&mut self) -> Map<String, Value> {
        let input = |trace: &GuardrailTrace| trace.input.as_ref().map(Assessment::intervention);
        let all = self.traces.drain(..).reduce(|mut all, trace| {
            // The choices of a prompt have the same input; of several prompts the gravest counts.
            if input(&trace) > input(&all) {
                all.input = trace.input;
            }
            all.outputs.extend(trace.outputs);
            all
        });
        let told = self.guardrail.as_ref().zip(all);
        told.map(|(guardrail, trace)| guardrail.members(&trace)).unwrap_or_default()
    }

    /// Of all choices together; each prompt counts once. To be asked after the last event.
    pub(super) fn summary(&self) -> ChatSummary {
        let mut usage = Usage::default();
        let mut timing = Timing::default();
        for (choice, summary) in self.ended.iter().enumerate() {
            let Some(summary) = summary else { continue };
            if choice % self.per_prompt == 0 {
                usage.prompt_tokens += summary.usage.prompt_tokens;
                usage.cached_prompt_tokens += summary.usage.cached_prompt_tokens;
                usage.written_prompt_tokens += summary.usage.written_prompt_tokens;
            }
            usage.generated_tokens += summary.usage.generated_tokens;
            usage.reasoning_tokens += summary.usage.reasoning_tokens;
            let first_tokens = timing.first_token.into_iter().chain(summary.timing.first_token);
            timing.first_token = first_tokens.min();
            timing.total = timing.total.max(summary.timing.total);
        }
        let first = self.ended.iter().flatten().next();
        let stop_reason = first.map_or(StopReason::EndTurn, |it| it.stop_reason.clone());
        ChatSummary { stop_reason, usage, timing }
    }
}

impl Progress {
    async fn next(self) -> Option<(Told, Self)> {
        let (mut stream, computed) = match self {
            Self::Waiting { pipeline, request, mut computed } => {
                // An error means that the first choice is over, and has told why.
                let _ = computed.wait_for(|computed| *computed).await;
                match pipeline.run(*request).await {
                    Ok(stream) => (Box::new(stream), None),
                    Err(error) => return Some(((Err(error.into()), None), Self::Over)),
                }
            }
            Self::Running { stream, computed } => (stream, computed),
            Self::Over => return None,
        };
        let event = stream.next().await?;
        if let Some(computed) = &computed {
            computed.send_replace(true);
        }
        let trace = match event {
            ChatEvent::Failed(error) => return Some(((Err(error.into()), None), Self::Over)),
            ChatEvent::Finished(_) => stream.take_guardrail_trace(),
            _ => None,
        };
        Some(((Ok(event), trace), Self::Running { stream, computed: None }))
    }
}

/// What a choice's events come to: the message of an answer that is sent whole.
#[derive(Debug, Default)]
pub(super) struct Whole {
    pub(super) reasoning: String,
    pub(super) text: String,
    pub(super) tool_calls: Vec<WholeCall>,
    pub(super) logprobs: Vec<TokenLogprob>,
    pub(super) stop_reason: Option<StopReason>,
}

#[derive(Debug)]
pub(super) struct WholeCall {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) arguments: String,
}

impl Whole {
    pub(super) fn push(&mut self, event: ChatEvent) {
        match event {
            ChatEvent::Reasoning(text) => self.reasoning.push_str(&text),
            ChatEvent::Text(text) => self.text.push_str(&text),
            ChatEvent::ToolCallStart { id, name } => {
                self.tool_calls.push(WholeCall { id, name, arguments: String::new() });
            }
            ChatEvent::ToolCallArguments(fragment) => {
                if let Some(call) = self.tool_calls.last_mut() {
                    call.arguments.push_str(&fragment);
                }
            }
            ChatEvent::Logprobs(tokens) => self.logprobs.extend(tokens),
            ChatEvent::Finished(summary) => self.stop_reason = Some(summary.stop_reason),
            ChatEvent::ToolCallEnd | ChatEvent::Failed(_) => {}
        }
    }
}
