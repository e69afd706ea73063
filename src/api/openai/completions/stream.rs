//! Completions as they are written, and logprobs in the shape of this API.

use serde_json::{Map, Value};

use crate::api::openai::answer::{Head, SYSTEM_FINGERPRINT, finish_reason, finite};
use crate::api::openai::chat::DONE;
use crate::api::openai::choices::Event;
use crate::api::openai::completions::wire::{Choice, Completion, Logprobs};
use crate::api::openai::error::OpenAiError;
use crate::api::openai::sse::{Encoder, data};
use crate::pipeline::{ChatEvent, ChatSummary, TokenLogprob};

/// Counts characters, so that each token has its offset.
#[derive(Default)]
pub(super) struct LegacyLogprobs {
    num_chars: usize,
}

impl LegacyLogprobs {
    pub(super) fn after(text: &str) -> Self {
        Self { num_chars: text.chars().count() }
    }

    pub(super) fn encode(&mut self, tokens: Vec<TokenLogprob>) -> Logprobs {
        let mut logprobs = Logprobs::default();
        for token in tokens {
            logprobs.text_offset.push(self.num_chars);
            self.num_chars += token.text.chars().count();
            logprobs.tokens.push(token.text);
            logprobs.token_logprobs.push(finite(token.logprob));
            let top =
                token.top.into_iter().map(|(text, _, logprob)| (text, finite(logprob).into()));
            logprobs.top_logprobs.push(top.collect::<Map<String, Value>>());
        }
        logprobs
    }
}

pub(super) struct TextEncoder {
    head: Head,
    include_usage: bool,
    wants_logprobs: bool,
    /// The prompts of the choices, where they are to be repeated.
    echoed: Vec<String>,
    choices: Vec<ChoiceState>,
}

struct ChoiceState {
    logprobs: LegacyLogprobs,
    /// Wait for the chunk that carries their text.
    waiting: Vec<TokenLogprob>,
}

impl TextEncoder {
    /// `echoed` has an entry for each choice.
    pub(super) fn new(
        head: Head,
        include_usage: bool,
        echoed: Vec<String>,
        wants_logprobs: bool,
    ) -> Self {
        let choice = |echo: &String| ChoiceState {
            logprobs: LegacyLogprobs::after(echo),
            waiting: Vec::new(),
        };
        let choices = echoed.iter().map(choice).collect();
        Self { head, include_usage, wants_logprobs, echoed, choices }
    }

    fn chunk(&mut self, index: usize, text: String) -> String {
        self.last_chunk(index, text, None, Map::new())
    }

    /// Where there is a reason, with what a guardrail tells beside the choice.
    fn last_chunk(
        &mut self,
        index: usize,
        text: String,
        finish_reason: Option<&'static str>,
        guardrail: Map<String, Value>,
    ) -> String {
        let state = &mut self.choices[index];
        let waiting = std::mem::take(&mut state.waiting);
        let logprobs =
            (self.wants_logprobs && !waiting.is_empty()).then(|| state.logprobs.encode(waiting));
        self.frame(vec![Choice { index, text, logprobs, finish_reason }], None, guardrail)
    }

    fn frame(
        &self,
        choices: Vec<Choice>,
        summary: Option<&ChatSummary>,
        guardrail: Map<String, Value>,
    ) -> String {
        let usage = summary.map(|it| it.usage.into());
        let chunk = Completion {
            id: &self.head.id,
            object: "text_completion",
            created: self.head.created,
            model: &self.head.model,
            system_fingerprint: SYSTEM_FINGERPRINT,
            choices,
            usage: self.include_usage.then_some(usage),
            guardrail,
        };
        let mut frame = String::new();
        data(&mut frame, &chunk);
        frame
    }
}

impl Encoder for TextEncoder {
    fn start(&mut self) -> String {
        let echoed = std::mem::take(&mut self.echoed).into_iter().enumerate();
        let echoed = echoed.filter(|(_, text)| !text.is_empty());
        echoed.map(|(choice, text)| self.chunk(choice, text)).collect()
    }

    fn event(&mut self, Event { choice, event, guardrail }: Event) -> String {
        match event {
            // A prompt without tools brings text only.
            ChatEvent::Text(text)
            | ChatEvent::Reasoning(text)
            | ChatEvent::ToolCallArguments(text) => self.chunk(choice, text),
            ChatEvent::Logprobs(tokens) => {
                self.choices[choice].waiting.extend(tokens);
                String::new()
            }
            ChatEvent::Finished(summary) => {
                let reason = finish_reason(&summary.stop_reason);
                self.last_chunk(choice, String::new(), Some(reason), guardrail)
            }
            ChatEvent::ToolCallStart { .. } | ChatEvent::ToolCallEnd | ChatEvent::Failed(_) => {
                String::new()
            }
        }
    }

    fn end(&mut self, summary: &ChatSummary) -> String {
        let mut frames = String::new();
        if self.include_usage {
            frames.push_str(&self.frame(Vec::new(), Some(summary), Map::new()));
        }
        frames.push_str(DONE);
        frames
    }

    fn failed(&mut self, error: &OpenAiError) -> String {
        let mut frame = String::new();
        data(&mut frame, &error.body());
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As OpenAI counts: in characters, from the beginning of the choice's text.
    #[test]
    fn offsets_go_on_behind_the_echo_and_over_chunks() {
        let token = |text: &str| TokenLogprob {
            text: text.to_owned(),
            bytes: text.as_bytes().to_vec(),
            logprob: -1.0,
            top: vec![(text.to_owned(), Vec::new(), -1.0), ("z".to_owned(), Vec::new(), -2.0)],
        };
        let mut logprobs = LegacyLogprobs::after("六.");
        let first = logprobs.encode(vec![token("六"), token("ab")]);
        assert_eq!(first.text_offset, [2, 3]);
        assert_eq!(first.tokens, ["六", "ab"]);
        assert_eq!(first.token_logprobs, [-1.0, -1.0]);
        assert_eq!(first.top_logprobs[1]["z"], -2.0);
        assert_eq!(logprobs.encode(vec![token("c")]).text_offset, [5]);
    }
}
