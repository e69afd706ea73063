//! The answer of a chat completion that is sent whole.

use serde_json::Map;

use crate::api::openai::answer::{Head, Logprob, SYSTEM_FINGERPRINT, finish_reason};
use crate::api::openai::chat::wire::{
    AnswerCall, AnswerFunction, AnswerMessage, Choice, ChoiceLogprobs, Completion,
};
use crate::api::openai::choices::{Whole, WholeCall};
use crate::pipeline::{StopReason, Usage};

/// What a client asked to be told, and what not.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) reasoning: bool,
    pub(super) logprobs: bool,
    pub(super) service_tier: Option<&'static str>,
}

pub(super) fn completion<'a>(
    head: &'a Head,
    wanted: Wanted,
    choices: Vec<Whole>,
    usage: Usage,
) -> Completion<'a> {
    let choices = choices.into_iter().enumerate();
    Completion {
        id: &head.id,
        object: "chat.completion",
        created: head.created,
        model: &head.model,
        choices: choices.map(|(index, whole)| choice(index, whole, wanted)).collect(),
        usage: usage.into(),
        service_tier: wanted.service_tier,
        system_fingerprint: SYSTEM_FINGERPRINT,
        guardrail: Map::new(),
    }
}

fn choice(index: usize, whole: Whole, wanted: Wanted) -> Choice {
    let finish_reason = finish_reason(whole.stop_reason.as_ref().unwrap_or(&StopReason::EndTurn));
    let has_reasoning = wanted.reasoning && !whole.reasoning.is_empty();
    let only_calls = whole.text.is_empty() && !whole.tool_calls.is_empty();
    let logprobs = whole.logprobs.into_iter().map(Logprob::from).collect();
    Choice {
        index,
        message: AnswerMessage {
            role: "assistant",
            content: (!only_calls).then_some(whole.text),
            refusal: None,
            reasoning_content: has_reasoning.then_some(whole.reasoning),
            tool_calls: whole.tool_calls.into_iter().map(call).collect(),
        },
        logprobs: wanted.logprobs.then_some(ChoiceLogprobs { content: logprobs, refusal: None }),
        finish_reason,
    }
}

fn call(call: WholeCall) -> AnswerCall {
    let function = AnswerFunction { name: call.name, arguments: call.arguments };
    AnswerCall { id: call.id, r#type: "function", function }
}
