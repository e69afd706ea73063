//! The answers to one request, generated side by side.

use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll, select_all, unfold};

use crate::api::openai::error::OpenAiError;
use crate::api::openai::fields::seed_of_choice;
use crate::pipeline::{
    ChatEvent, ChatRequest, ChatStream, ChatSummary, GenerationError, Pipeline, StopReason, Timing,
    TokenLogprob, Usage,
};

/// What happens to one of the choices. Deltas are never empty.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    /// From 0.
    pub(super) choice: usize,
    pub(super) event: ChatEvent,
}

/// Dropping it cancels what is still being generated.
pub(super) struct Choices {
    events: SelectAll<BoxStream<'static, Event>>,
    ended: Vec<Option<ChatSummary>>,
    /// Choices of each prompt.
    per_prompt: usize,
}

impl Choices {
    /// `n` choices for each prompt, in the order of the prompts. All are accepted, or none is.
    pub(super) async fn start(
        pipeline: &Pipeline,
        prompts: Vec<ChatRequest>,
        n: usize,
    ) -> Result<Self, OpenAiError> {
        let mut streams = Vec::new();
        for prompt in prompts {
            for choice in 0..n {
                let mut request = prompt.clone();
                let seed = request.sampling.seed;
                request.sampling.seed = seed.map(|seed| seed_of_choice(seed, choice));
                streams.push(pipeline.run(request).await?);
            }
        }
        let ended = vec![None; streams.len()];
        let streams = streams.into_iter().enumerate();
        let events = select_all(streams.map(|(choice, stream)| events_of(choice, stream)));
        Ok(Self { events, ended, per_prompt: n })
    }

    pub(super) fn len(&self) -> usize {
        self.ended.len()
    }

    /// `None` after the last choice has finished. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let event = self.events.next().await?;
        if let ChatEvent::Finished(summary) = &event.event {
            self.ended[event.choice] = Some(summary.clone());
        }
        Some(event)
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

fn events_of(choice: usize, stream: ChatStream) -> BoxStream<'static, Event> {
    let events = unfold(stream, async |mut stream| {
        let event = stream.next().await?;
        Some((event, stream))
    });
    events.map(move |event| Event { choice, event }).boxed()
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
    pub(super) fn push(&mut self, event: ChatEvent) -> Result<(), GenerationError> {
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
            ChatEvent::ToolCallEnd => {}
            ChatEvent::Logprobs(tokens) => self.logprobs.extend(tokens),
            ChatEvent::Finished(summary) => self.stop_reason = Some(summary.stop_reason),
            ChatEvent::Failed(error) => return Err(error),
        }
        Ok(())
    }
}

/// Hides calls after the first, for clients that asked for one at a time.
#[derive(Debug, Default)]
pub(super) struct OneCall {
    num_calls: usize,
}

impl OneCall {
    pub(super) fn lets_pass(&mut self, event: &ChatEvent) -> bool {
        match event {
            ChatEvent::ToolCallStart { .. } => {
                self.num_calls += 1;
                self.num_calls == 1
            }
            ChatEvent::ToolCallArguments(_) | ChatEvent::ToolCallEnd => self.num_calls == 1,
            ChatEvent::Reasoning(_)
            | ChatEvent::Text(_)
            | ChatEvent::Logprobs(_)
            | ChatEvent::Finished(_)
            | ChatEvent::Failed(_) => true,
        }
    }
}
