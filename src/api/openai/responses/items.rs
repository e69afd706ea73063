//! The items of a response's output, from the events of the answer.

use serde_json::{Value, json};

use crate::api::openai::answer::{Logprob, unique_id};
use crate::pipeline::TokenLogprob;

/// One item being written.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) id: String,
    pub(super) part: Part,
}

#[derive(Debug)]
pub(super) enum Part {
    Reasoning(String),
    Message { text: String, logprobs: Vec<Logprob> },
    Call { call_id: String, name: String, arguments: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    InProgress,
    Completed,
    /// The answer ended before the item did.
    Incomplete,
}

impl Status {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
        }
    }
}

impl Item {
    pub(super) fn reasoning() -> Self {
        Self { id: unique_id("rs_"), part: Part::Reasoning(String::new()) }
    }

    pub(super) fn message() -> Self {
        let part = Part::Message { text: String::new(), logprobs: Vec::new() };
        Self { id: unique_id("msg_"), part }
    }

    pub(super) fn call(call_id: String, name: String) -> Self {
        let part = Part::Call { call_id, name, arguments: String::new() };
        Self { id: unique_id("fc_"), part }
    }

    pub(super) fn add_logprobs(&mut self, tokens: Vec<TokenLogprob>) {
        if let Part::Message { logprobs, .. } = &mut self.part {
            logprobs.extend(tokens.into_iter().map(Logprob::from));
        }
    }

    /// As it stands in the output of a response.
    pub(super) fn json(&self, status: Status) -> Value {
        let (id, status_name) = (&self.id, status.name());
        // The item of a stream begins without content, which follows part by part.
        let content = match (status, self.content_part()) {
            (Status::InProgress, _) | (_, None) => json!([]),
            (Status::Completed | Status::Incomplete, Some(part)) => json!([part]),
        };
        match &self.part {
            Part::Reasoning(_) => json!({
                "id": id,
                "type": "reasoning",
                "summary": [],
                "content": content,
                "status": status_name,
            }),
            Part::Message { .. } => json!({
                "id": id,
                "type": "message",
                "role": "assistant",
                "status": status_name,
                "content": content,
            }),
            Part::Call { call_id, name, arguments } => json!({
                "id": id,
                "type": "function_call",
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
                "status": status_name,
            }),
        }
    }

    /// The one part of its content; calls have none.
    pub(super) fn content_part(&self) -> Option<Value> {
        match &self.part {
            Part::Reasoning(text) => Some(json!({ "type": "reasoning_text", "text": text })),
            Part::Message { text, logprobs } => Some(json!({
                "type": "output_text",
                "text": text,
                "annotations": [],
                "logprobs": logprobs,
            })),
            Part::Call { .. } => None,
        }
    }
}
