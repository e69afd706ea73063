//! Chat completions as they are written: `chat.completion.chunk` objects.

use serde_json::{Map, Value, json};

use crate::api::openai::answer::{
    CompletionUsage, Head, Logprob, SYSTEM_FINGERPRINT, finish_reason,
};
use crate::api::openai::chat::answer::Wanted;
use crate::api::openai::choices::Event;
use crate::api::openai::error::OpenAiError;
use crate::api::openai::sse::{Encoder, data};
use crate::pipeline::{ChatEvent, ChatSummary};

/// The last frame of a stream.
pub(in crate::api::openai) const DONE: &str = "data: [DONE]\n\n";

pub(super) struct ChunkEncoder {
    head: Head,
    wanted: Wanted,
    include_usage: bool,
    choices: Vec<ChoiceState>,
}

#[derive(Default)]
struct ChoiceState {
    num_calls: usize,
    /// Wait for the chunk that carries their text.
    logprobs: Vec<Logprob>,
}

impl ChunkEncoder {
    pub(super) fn new(head: Head, wanted: Wanted, include_usage: bool, num_choices: usize) -> Self {
        let choices = (0..num_choices).map(|_| ChoiceState::default()).collect();
        Self { head, wanted, include_usage, choices }
    }

    /// Every chunk but the last says that it has no usage, where usage was asked for.
    fn chunk(&self, choices: Value, usage: Option<CompletionUsage>) -> Map<String, Value> {
        let Value::Object(mut chunk) = json!({
            "id": self.head.id,
            "object": "chat.completion.chunk",
            "created": self.head.created,
            "model": self.head.model,
            "system_fingerprint": SYSTEM_FINGERPRINT,
            "choices": choices,
        }) else {
            unreachable!("the literal is an object")
        };
        if let Some(tier) = self.wanted.service_tier {
            chunk.insert("service_tier".to_owned(), tier.into());
        }
        if self.include_usage {
            chunk.insert("usage".to_owned(), json!(usage));
        }
        chunk
    }

    fn delta(&mut self, choice: usize, delta: &Value) -> String {
        self.last_delta(choice, delta, None, Map::new())
    }

    /// Where there is a reason, with what a guardrail tells beside the choice.
    fn last_delta(
        &mut self,
        choice: usize,
        delta: &Value,
        finish_reason: Option<&str>,
        guardrail: Map<String, Value>,
    ) -> String {
        let logprobs = std::mem::take(&mut self.choices[choice].logprobs);
        let logprobs =
            (!logprobs.is_empty()).then(|| json!({ "content": logprobs, "refusal": null }));
        let choices = json!([{
            "index": choice,
            "delta": delta,
            "logprobs": logprobs,
            "finish_reason": finish_reason,
        }]);
        let mut chunk = self.chunk(choices, None);
        chunk.extend(guardrail);
        let mut frame = String::new();
        data(&mut frame, &chunk);
        frame
    }

    /// Without the logprobs that wait for text.
    fn bare_delta(&mut self, choice: usize, delta: &Value) -> String {
        let waiting = std::mem::take(&mut self.choices[choice].logprobs);
        let frame = self.delta(choice, delta);
        self.choices[choice].logprobs = waiting;
        frame
    }

    fn call_delta(&mut self, choice: usize, call: Value) -> String {
        self.bare_delta(choice, &json!({ "tool_calls": [call] }))
    }
}

impl Encoder for ChunkEncoder {
    fn start(&mut self) -> String {
        let role = json!({ "role": "assistant", "content": "" });
        (0..self.choices.len()).map(|choice| self.bare_delta(choice, &role)).collect()
    }

    fn event(&mut self, Event { choice, event, guardrail }: Event) -> String {
        let state = &mut self.choices[choice];
        match event {
            ChatEvent::Reasoning(text) if self.wanted.reasoning => {
                self.bare_delta(choice, &json!({ "reasoning_content": text }))
            }
            ChatEvent::Reasoning(_) => String::new(),
            ChatEvent::Text(text) => self.delta(choice, &json!({ "content": text })),
            ChatEvent::ToolCallStart { id, name } => {
                let index = state.num_calls;
                state.num_calls += 1;
                let function = json!({ "name": name, "arguments": "" });
                let call =
                    json!({ "index": index, "id": id, "type": "function", "function": function });
                self.call_delta(choice, call)
            }
            ChatEvent::ToolCallArguments(fragment) => {
                let index = state.num_calls.saturating_sub(1);
                let function = json!({ "arguments": fragment });
                self.call_delta(choice, json!({ "index": index, "function": function }))
            }
            ChatEvent::Logprobs(tokens) => {
                if self.wanted.logprobs {
                    state.logprobs.extend(tokens.into_iter().map(Logprob::from));
                }
                String::new()
            }
            ChatEvent::Finished(summary) => {
                let reason = finish_reason(&summary.stop_reason);
                self.last_delta(choice, &json!({}), Some(reason), guardrail)
            }
            ChatEvent::ToolCallEnd | ChatEvent::Failed(_) => String::new(),
        }
    }

    fn end(&mut self, summary: &ChatSummary) -> String {
        let mut frames = String::new();
        if self.include_usage {
            let usage = CompletionUsage::from(summary.usage);
            data(&mut frames, &self.chunk(json!([]), Some(usage)));
        }
        frames.push_str(DONE);
        frames
    }

    /// Clients raise an exception on data with an `error`.
    fn failed(&mut self, error: &OpenAiError) -> String {
        let mut frame = String::new();
        data(&mut frame, &error.body());
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openai::chat::answer::completion;
    use crate::api::openai::choices::Whole;
    use crate::pipeline::{StopReason, Timing, TokenLogprob, Usage};

    fn finished() -> ChatEvent {
        ChatEvent::Finished(ChatSummary {
            stop_reason: StopReason::ToolUse,
            usage: Usage::default(),
            timing: Timing::default(),
        })
    }

    fn two_calls() -> Vec<ChatEvent> {
        let start = |id: &str| ChatEvent::ToolCallStart { id: id.to_owned(), name: "f".to_owned() };
        let arguments = |text: &str| ChatEvent::ToolCallArguments(text.to_owned());
        vec![
            ChatEvent::Reasoning("Hm.".to_owned()),
            start("c1"),
            arguments("{\"a\":"),
            arguments("1}"),
            ChatEvent::ToolCallEnd,
            start("c2"),
            arguments("{}"),
            ChatEvent::ToolCallEnd,
            finished(),
        ]
    }

    fn encoder() -> ChunkEncoder {
        let head = Head { id: "i".to_owned(), created: 1, model: "m".to_owned() };
        let wanted = Wanted { reasoning: false, logprobs: true, service_tier: None };
        ChunkEncoder::new(head, wanted, false, 1)
    }

    /// The first choices of the chunks that these events make.
    fn choices(encoder: &mut ChunkEncoder, events: Vec<ChatEvent>) -> Vec<Value> {
        let mut choices = Vec::new();
        for event in events {
            let frame = encoder.event(Event { choice: 0, event, guardrail: Map::new() });
            for data in frame.split_terminator("\n\n") {
                let mut chunk: Value =
                    serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
                choices.push(chunk["choices"][0].take());
            }
        }
        choices
    }

    #[test]
    fn calls_are_told_as_deltas_that_name_their_call() {
        let choices = choices(&mut encoder(), two_calls());
        let calls: Vec<&Value> = choices.iter().map(|it| &it["delta"]["tool_calls"][0]).collect();
        let start = |index: usize, id: &str| {
            json!({ "index": index, "id": id, "type": "function",
                    "function": { "name": "f", "arguments": "" } })
        };
        let fragment =
            |index: usize, text: &str| json!({ "index": index, "function": { "arguments": text } });
        let expected = [
            start(0, "c1"),
            fragment(0, "{\"a\":"),
            fragment(0, "1}"),
            start(1, "c2"),
            fragment(1, "{}"),
        ];
        assert_eq!(calls[..5], expected.iter().collect::<Vec<_>>());
        assert_eq!((choices.len(), &choices[5]["finish_reason"]), (6, &json!("tool_calls")));
    }

    #[test]
    fn a_message_of_calls_has_no_content() {
        let mut whole = Whole::default();
        for event in two_calls() {
            whole.push(event);
        }
        let head = Head { id: "i".to_owned(), created: 1, model: "m".to_owned() };
        let wanted = Wanted { reasoning: true, logprobs: false, service_tier: None };
        let answer = json!(completion(&head, wanted, vec![whole], Usage::default()));
        let call = |id: &str, arguments: &str| {
            json!({ "id": id, "type": "function",
                    "function": { "name": "f", "arguments": arguments } })
        };
        let expected = json!({
            "role": "assistant",
            "content": null,
            "refusal": null,
            "reasoning_content": "Hm.",
            "tool_calls": [call("c1", "{\"a\":1}"), call("c2", "{}")],
        });
        assert_eq!(answer["choices"][0]["message"], expected);
        assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    }

    #[test]
    fn logprobs_wait_for_a_chunk_with_content() {
        let token = |text: &str| TokenLogprob {
            text: text.to_owned(),
            bytes: text.as_bytes().to_vec(),
            logprob: -0.5,
            top: vec![("x".to_owned(), b"x".to_vec(), f32::NEG_INFINITY)],
        };
        let events = vec![
            ChatEvent::Logprobs(vec![token("a")]),
            ChatEvent::Logprobs(vec![token("b")]),
            ChatEvent::Text("ab".to_owned()),
            ChatEvent::Logprobs(vec![token("c")]),
            finished(),
        ];
        let choices = choices(&mut encoder(), events);
        let entry = |text: &str| {
            json!({ "token": text, "logprob": -0.5, "bytes": text.as_bytes(), "top_logprobs": [
                { "token": "x", "logprob": -9999.0, "bytes": [120] },
            ] })
        };
        let logprobs =
            |entries: &[&str]| entries.iter().map(|text| entry(text)).collect::<Vec<_>>();
        assert_eq!(choices[0]["logprobs"]["content"], json!(logprobs(&["a", "b"])));
        assert_eq!(choices[1]["logprobs"]["content"], json!(logprobs(&["c"])));
        assert_eq!(choices.len(), 2);
    }
}
