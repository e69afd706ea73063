//! Responses as events: `response.created`, then items and their parts, then `response.completed`.
//!
//! An answer that is sent whole is what the last of these events says, so both come from here.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use crate::api::openai::answer::{Head, Logprob, unix_seconds};
use crate::api::openai::choices::Event;
use crate::api::openai::error::OpenAiError;
use crate::api::openai::responses::items::{Item, Part, Status};
use crate::api::openai::sse::Encoder;
use crate::pipeline::{ChatEvent, ChatSummary, StopReason, TokenLogprob, Usage};

pub(super) struct ResponseEncoder {
    head: Head,
    echo: Map<String, Value>,
    /// What a guardrail told of the answer, as members of it.
    guardrail: Map<String, Value>,
    /// Items that are finished, as they stand in the output.
    output: Vec<Value>,
    open: Option<Item>,
    /// Wait for the item that they belong to.
    logprobs: Vec<TokenLogprob>,
    stop_reason: Option<StopReason>,
    num_events: usize,
}

impl ResponseEncoder {
    pub(super) fn new(head: Head, echo: Map<String, Value>) -> Self {
        Self {
            head,
            echo,
            guardrail: Map::new(),
            output: Vec::new(),
            open: None,
            logprobs: Vec::new(),
            stop_reason: None,
            num_events: 0,
        }
    }

    /// The whole answer, after its last event.
    pub(super) fn into_response(mut self, summary: &ChatSummary) -> Value {
        self.end(summary);
        self.response(self.ending().0, None, Some(summary.usage))
    }

    /// The status of an answer that has ended, and what to call that event.
    fn ending(&self) -> (&'static str, &'static str) {
        match &self.stop_reason {
            Some(
                StopReason::MaxTokens
                | StopReason::ContextWindowExceeded
                | StopReason::GuardrailIntervened,
            ) => ("incomplete", "response.incomplete"),
            Some(
                StopReason::EndTurn
                | StopReason::StopSequence(_)
                | StopReason::ToolUse
                | StopReason::MalformedToolUse,
            )
            | None => ("completed", "response.completed"),
        }
    }

    fn response(&self, status: &str, error: Option<Value>, usage: Option<Usage>) -> Value {
        let has_ended = status != "in_progress";
        let reason = match self.stop_reason {
            Some(StopReason::GuardrailIntervened) => "content_filter",
            _ => "max_output_tokens",
        };
        let incomplete = (status == "incomplete").then(|| json!({ "reason": reason }));
        let mut response = json!({
            "id": self.head.id,
            "object": "response",
            "created_at": self.head.created,
            "completed_at": has_ended.then(|| unix_seconds(SystemTime::now())),
            "status": status,
            "background": false,
            "error": error,
            "incomplete_details": incomplete,
            "model": self.head.model,
            "output": self.output,
            "previous_response_id": null,
            "store": false,
            "truncation": "disabled",
            "usage": usage.map(usage_json),
        });
        for (name, value) in self.echo.iter().chain(&self.guardrail) {
            response[name] = value.clone();
        }
        response
    }

    /// Appends one event; `members` are those beside its type and number.
    fn emit(&mut self, frames: &mut String, kind: &str, members: Value) {
        let mut event = json!({ "type": kind, "sequence_number": self.num_events });
        self.num_events += 1;
        if let (Value::Object(event), Value::Object(members)) = (&mut event, members) {
            event.extend(members);
        }
        frames.push_str("event: ");
        frames.push_str(kind);
        frames.push_str("\ndata: ");
        frames.push_str(&event.to_string());
        frames.push_str("\n\n");
    }

    fn open_item(&mut self, item: Item, frames: &mut String) {
        self.close_item(Status::Completed, frames);
        let index = self.output.len();
        let added = json!({ "output_index": index, "item": item.json(Status::InProgress) });
        self.emit(frames, "response.output_item.added", added);
        if let Some(part) = item.content_part() {
            let part = json!({
                "item_id": item.id, "output_index": index, "content_index": 0, "part": part,
            });
            self.emit(frames, "response.content_part.added", part);
        }
        self.open = Some(item);
    }

    fn close_item(&mut self, status: Status, frames: &mut String) {
        let Some(mut item) = self.open.take() else { return };
        item.add_logprobs(std::mem::take(&mut self.logprobs));
        let index = self.output.len();
        let at = json!({ "item_id": item.id, "output_index": index, "content_index": 0 });
        let with = |members: Value| merged(at.clone(), members);
        match &item.part {
            Part::Reasoning(text) => {
                let members = with(json!({ "text": text }));
                self.emit(frames, "response.reasoning_text.done", members);
            }
            Part::Message { text, logprobs } => {
                let members = with(json!({ "text": text, "logprobs": logprobs }));
                self.emit(frames, "response.output_text.done", members);
            }
            Part::Call { name, arguments, .. } => {
                let members = json!({
                    "item_id": item.id, "output_index": index, "name": name,
                    "arguments": arguments,
                });
                self.emit(frames, "response.function_call_arguments.done", members);
            }
        }
        if let Some(part) = item.content_part() {
            let members = with(json!({ "part": part }));
            self.emit(frames, "response.content_part.done", members);
        }
        let done = item.json(status);
        let members = json!({ "output_index": index, "item": done });
        self.emit(frames, "response.output_item.done", members);
        self.output.push(done);
    }

    fn push_reasoning(&mut self, delta: &str, frames: &mut String) {
        if !matches!(self.open, Some(Item { part: Part::Reasoning(_), .. })) {
            self.open_item(Item::reasoning(), frames);
        }
        let Some(Item { id, part: Part::Reasoning(text) }) = &mut self.open else {
            unreachable!("it was opened above")
        };
        text.push_str(delta);
        let members = json!({
            "item_id": id, "output_index": self.output.len(), "content_index": 0, "delta": delta,
        });
        self.emit(frames, "response.reasoning_text.delta", members);
    }

    fn push_text(&mut self, delta: &str, frames: &mut String) {
        if !matches!(self.open, Some(Item { part: Part::Message { .. }, .. })) {
            self.open_item(Item::message(), frames);
        }
        let Some(Item { id, part: Part::Message { text, logprobs } }) = &mut self.open else {
            unreachable!("it was opened above")
        };
        text.push_str(delta);
        let tokens: Vec<Logprob> = self.logprobs.drain(..).map(Logprob::from).collect();
        let members = json!({
            "item_id": id, "output_index": self.output.len(), "content_index": 0, "delta": delta,
            "logprobs": tokens,
        });
        logprobs.extend(tokens);
        self.emit(frames, "response.output_text.delta", members);
    }

    fn push_arguments(&mut self, delta: &str, frames: &mut String) {
        let Some(Item { id, part: Part::Call { arguments, .. } }) = &mut self.open else { return };
        arguments.push_str(delta);
        let members = json!({ "item_id": id, "output_index": self.output.len(), "delta": delta });
        self.emit(frames, "response.function_call_arguments.delta", members);
    }
}

impl Encoder for ResponseEncoder {
    fn start(&mut self) -> String {
        let mut frames = String::new();
        for kind in ["response.created", "response.in_progress"] {
            let response = json!({ "response": self.response("in_progress", None, None) });
            self.emit(&mut frames, kind, response);
        }
        frames
    }

    fn event(&mut self, Event { event, guardrail, .. }: Event) -> String {
        let mut frames = String::new();
        match event {
            ChatEvent::Reasoning(text) => self.push_reasoning(&text, &mut frames),
            ChatEvent::Text(text) => self.push_text(&text, &mut frames),
            ChatEvent::ToolCallStart { id, name } => {
                self.open_item(Item::call(id, name), &mut frames);
            }
            ChatEvent::ToolCallArguments(fragment) => self.push_arguments(&fragment, &mut frames),
            ChatEvent::ToolCallEnd => self.close_item(Status::Completed, &mut frames),
            ChatEvent::Logprobs(tokens) => self.logprobs.extend(tokens),
            ChatEvent::Finished(summary) => {
                self.stop_reason = Some(summary.stop_reason);
                self.guardrail = guardrail;
            }
            ChatEvent::Failed(_) => {}
        }
        frames
    }

    fn end(&mut self, summary: &ChatSummary) -> String {
        let mut frames = String::new();
        let (status, kind) = self.ending();
        let is_whole = status == "completed";
        let last = if is_whole { Status::Completed } else { Status::Incomplete };
        self.close_item(last, &mut frames);
        // Applications read the message without asking whether there is one.
        if is_whole && self.output.iter().all(|item| item["type"] == "reasoning") {
            self.open_item(Item::message(), &mut frames);
            self.close_item(last, &mut frames);
        }
        let response = json!({ "response": self.response(status, None, Some(summary.usage)) });
        self.emit(&mut frames, kind, response);
        frames
    }

    fn failed(&mut self, error: &OpenAiError) -> String {
        let mut frames = String::new();
        let error = json!({ "code": "server_error", "message": error.to_string() });
        self.close_item(Status::Incomplete, &mut frames);
        let response = json!({ "response": self.response("failed", Some(error), None) });
        self.emit(&mut frames, "response.failed", response);
        frames
    }
}

fn merged(mut base: Value, members: Value) -> Value {
    if let (Value::Object(base), Value::Object(members)) = (&mut base, members) {
        base.extend(members);
    }
    base
}

fn usage_json(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_prompt_tokens,
            "cache_write_tokens": usage.written_prompt_tokens,
        },
        "output_tokens": usage.generated_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens },
        "total_tokens": usage.prompt_tokens + usage.generated_tokens,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Timing;

    fn encode(events: Vec<ChatEvent>) -> (Vec<Value>, Value) {
        let head = Head { id: "resp_1".to_owned(), created: 1, model: "m".to_owned() };
        let mut encoder = ResponseEncoder::new(head, Map::new());
        let mut frames = encoder.start();
        for event in events {
            frames += &encoder.event(Event { choice: 0, event, guardrail: Map::new() });
        }
        let summary = ChatSummary {
            stop_reason: StopReason::ToolUse,
            usage: Usage::default(),
            timing: Timing::default(),
        };
        frames += &encoder.end(&summary);
        let data = |frame: &str| frame.split_once("\ndata: ").unwrap().1.to_owned();
        let events = frames.split_terminator("\n\n").map(data);
        let events: Vec<Value> = events.map(|data| serde_json::from_str(&data).unwrap()).collect();
        let mut last = events.last().unwrap()["response"].clone();
        (events, last["output"].take())
    }

    fn calls() -> Vec<ChatEvent> {
        let start = |id: &str| ChatEvent::ToolCallStart { id: id.to_owned(), name: "f".to_owned() };
        vec![
            ChatEvent::Text("Let me see.".to_owned()),
            start("c1"),
            ChatEvent::ToolCallArguments("{\"a\":".to_owned()),
            ChatEvent::ToolCallArguments("1}".to_owned()),
            ChatEvent::ToolCallEnd,
            start("c2"),
            ChatEvent::ToolCallArguments("{}".to_owned()),
            ChatEvent::ToolCallEnd,
        ]
    }

    #[test]
    fn calls_are_items_with_fragments_of_arguments() {
        let (events, output) = encode(calls());
        let kinds: Vec<&str> = events.iter().map(|it| it["type"].as_str().unwrap()).collect();
        let expected = [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.output_item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "response.output_item.done",
            "response.completed",
        ];
        assert_eq!(kinds, expected);
        assert_eq!(events[8]["item"]["arguments"], "");
        assert_eq!(events[11]["arguments"], "{\"a\":1}");
        assert_eq!(events[11]["item_id"], events[8]["item"]["id"]);
        let call = |index: usize| {
            let item = &output[index];
            (item["call_id"].clone(), item["arguments"].clone(), item["status"].clone())
        };
        assert_eq!(call(1), (json!("c1"), json!("{\"a\":1}"), json!("completed")));
        assert_eq!(call(2), (json!("c2"), json!("{}"), json!("completed")));
        assert_eq!(output.as_array().unwrap().len(), 3);
    }

    #[test]
    fn logprobs_belong_to_the_message() {
        let token = |text: &str| TokenLogprob {
            text: text.to_owned(),
            bytes: text.as_bytes().to_vec(),
            logprob: -0.5,
            top: Vec::new(),
        };
        let events = vec![
            ChatEvent::Logprobs(vec![token("a")]),
            ChatEvent::Text("a".to_owned()),
            ChatEvent::Text("b".to_owned()),
            ChatEvent::Logprobs(vec![token("b")]),
        ];
        let (events, output) = encode(events);
        assert_eq!(events[4]["logprobs"][0]["token"], "a");
        assert_eq!(events[5]["logprobs"], json!([]));
        let logprobs = &output[0]["content"][0]["logprobs"];
        assert_eq!((&logprobs[0]["token"], &logprobs[1]["token"]), (&json!("a"), &json!("b")));
    }
}
