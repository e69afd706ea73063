//! A chat completion within another protocol: Bedrock's InvokeModel takes and gives the same JSON,
//! in frames of its own.

use serde_json::{Map, Value};

use crate::api::guardrail::BodyConfig;
use crate::api::openai::answer::Head;
use crate::api::openai::chat::answer::{Wanted, completion};
use crate::api::openai::chat::parse::{chat_call, response_format};
use crate::api::openai::chat::stream::ChunkEncoder;
use crate::api::openai::chat::wire::{ChatBody, ResponseFormat};
use crate::api::openai::choices::{Event, Whole};
use crate::api::openai::error::OpenAiError;
use crate::api::openai::fields::{self, NamedFormat, in_range};
use crate::api::openai::sse::Encoder;
use crate::api::openai::wire::{StructuredOutputs, parse_value};
use crate::pipeline::{ChatEvent, ChatRequest, ChatSummary};

/// Tells the answer of one chat.
pub(in crate::api) struct ChatAnswer {
    head: Head,
    wanted: Wanted,
    encoder: ChunkEncoder,
}

/// A body that names no model means the one of the path; whether it asks for a stream, the
/// operation has said.
pub(in crate::api) fn embedded_chat(
    mut body: Map<String, Value>,
    model: &str,
) -> Result<(ChatRequest, ChatAnswer, Option<BodyConfig>), OpenAiError> {
    body.insert("model".to_owned(), model.into());
    let is_stream = body.contains_key("stream_options");
    body.insert("stream".to_owned(), is_stream.into());
    let body: ChatBody = parse_value(Value::Object(body), "")?;
    let head = Head::new("chatcmpl-", model.to_owned());
    let chat = chat_call(body)?;
    in_range("n", chat.n, &(1..=1))?;
    let wanted = Wanted {
        reasoning: chat.include_reasoning,
        logprobs: chat.request.logprobs.is_some(),
        service_tier: chat.service_tier,
    };
    let encoder = ChunkEncoder::new(head.clone(), wanted, chat.include_usage, 1);
    Ok((chat.request, ChatAnswer { head, wanted, encoder }, chat.guardrail_config))
}

/// `response_format` and `structured_outputs` of a body that is no chat.
pub(in crate::api) fn embedded_output_format(
    format: Option<Value>,
    structured: Option<Value>,
) -> Result<NamedFormat, OpenAiError> {
    let format: Option<ResponseFormat> =
        format.map(|format| parse_value(format, "response_format")).transpose()?;
    let structured: Option<StructuredOutputs> =
        structured.map(|structured| parse_value(structured, "structured_outputs")).transpose()?;
    let format = format.map(response_format).transpose()?.unwrap_or_default();
    fields::structured_outputs(structured, format)
}

impl ChatAnswer {
    /// The events but for the last, which `summary` was.
    pub(in crate::api) fn whole(self, events: Vec<ChatEvent>, summary: &ChatSummary) -> Value {
        let mut whole = Whole::default();
        let finished = ChatEvent::Finished(summary.clone());
        for event in events.into_iter().chain([finished]) {
            whole.push(event);
        }
        let answer = completion(&self.head, self.wanted, vec![whole], summary.usage);
        serde_json::to_value(answer).expect("structs of strings and numbers are JSON")
    }

    pub(in crate::api) fn start(&mut self) -> Vec<Map<String, Value>> {
        objects(&self.encoder.start())
    }

    pub(in crate::api) fn delta(&mut self, event: ChatEvent) -> Vec<Map<String, Value>> {
        objects(&self.encoder.event(Event { choice: 0, event, guardrail: Map::new() }))
    }

    /// Chunks at the end of an answer that went well.
    pub(in crate::api) fn finish(&mut self, summary: &ChatSummary) -> Vec<Map<String, Value>> {
        let mut chunks = self.delta(ChatEvent::Finished(summary.clone()));
        chunks.extend(objects(&self.encoder.end(summary)));
        chunks
    }
}

/// The JSON within server-sent events; the mark of their end is none.
fn objects(frames: &str) -> Vec<Map<String, Value>> {
    let data = frames.split("\n\n").filter_map(|frame| frame.strip_prefix("data: "));
    data.filter_map(|data| serde_json::from_str(data).ok()).collect()
}
