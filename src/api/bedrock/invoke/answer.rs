//! The answer of InvokeModel in each format, and the chunks of its stream.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::api::bedrock::converse::TokenUsage;
use crate::api::bedrock::frame;
use crate::api::bedrock::invoke::body::{Format, PromptFormat};
use crate::api::bedrock::stream::Encoder;
use crate::api::guardrail::GuardrailChoice;
use crate::pipeline::{ChatEvent, ChatSummary, GuardrailTrace, StopReason, Usage};

/// What Bedrock adds to the last chunk of a stream.
const METRICS: &str = "amazon-bedrock-invocationMetrics";

/// Turns the events of one answer into JSON of a format.
pub(super) struct Answer {
    format: Format,
    /// As the client named it.
    model_id: String,
    id: String,
    created: u64,
    pub(super) guardrail: Option<GuardrailChoice>,
    /// What a guardrail adds to the answer or its last chunk.
    guardrail_members: Map<String, Value>,
}

impl Answer {
    pub(super) fn new(format: Format, model_id: String) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            format,
            model_id,
            id: format!("cmpl-{}", Uuid::new_v4().simple()),
            created: since.map_or(0, |since| since.as_secs()),
            guardrail: None,
            guardrail_members: Map::new(),
        }
    }

    /// An answer that is sent whole.
    pub(super) fn whole(mut self, events: Vec<ChatEvent>, summary: &ChatSummary) -> Value {
        let added = std::mem::take(&mut self.guardrail_members);
        let mut answer = match self.format {
            Format::Prompt(format) => {
                let text: String = events.into_iter().filter_map(text_of).collect();
                Value::Object(self.object(format, text, Some(summary)))
            }
            Format::Chat(chat) => chat.whole(events, summary),
        };
        if let Value::Object(members) = &mut answer {
            members.extend(added);
        }
        answer
    }

    /// One object of a format: the whole answer, or a piece of it that has no summary yet.
    fn object(
        &self,
        format: PromptFormat,
        text: String,
        summary: Option<&ChatSummary>,
    ) -> Map<String, Value> {
        let reason = summary.map(|summary| finish_reason(&summary.stop_reason));
        let usage = summary.map(|summary| summary.usage);
        let prompt_tokens = usage.map(|usage| usage.prompt_tokens);
        let generated_tokens = usage.map(|usage| usage.generated_tokens);
        let object = match format {
            PromptFormat::DeepSeek => json!({
                "choices": [{ "text": text, "stop_reason": reason }],
            }),
            PromptFormat::BedrockCompletion => json!({
                "generation": text,
                "prompt_token_count": prompt_tokens,
                "generation_token_count": generated_tokens,
                "stop_reason": reason,
            }),
            PromptFormat::OpenAiCompletion => {
                let choice = json!({
                    "index": 0,
                    "text": text,
                    "logprobs": null,
                    "finish_reason": reason,
                });
                let mut object = json!({
                    "id": self.id,
                    "object": "text_completion",
                    "created": self.created,
                    "model": self.model_id,
                    "choices": [choice],
                });
                if let Some(usage) = usage {
                    object["usage"] = openai_usage(usage);
                }
                object
            }
            PromptFormat::Superset => {
                let choice = json!({
                    "index": 0,
                    "text": text,
                    "stop_reason": reason,
                    "finish_reason": reason,
                });
                json!({
                    "generation": text,
                    "prompt_token_count": prompt_tokens,
                    "generation_token_count": generated_tokens,
                    "stop_reason": reason,
                    "choices": [choice],
                })
            }
        };
        match object {
            Value::Object(object) => object,
            _ => unreachable!("every format is an object"),
        }
    }
}

impl Encoder for Answer {
    fn start(&mut self) -> Vec<u8> {
        let mut frames = Vec::new();
        if let Format::Chat(chat) = &mut self.format {
            chat.start().into_iter().for_each(|object| push(&mut frames, &object));
        }
        frames
    }

    fn delta(&mut self, event: ChatEvent) -> Vec<u8> {
        let mut frames = Vec::new();
        match &mut self.format {
            Format::Prompt(format) => {
                let format = *format;
                if let Some(text) = text_of(event) {
                    push(&mut frames, &self.object(format, text, None));
                }
            }
            Format::Chat(chat) => {
                chat.delta(event).into_iter().for_each(|object| push(&mut frames, &object));
            }
        }
        frames
    }

    fn traced(&mut self, trace: &GuardrailTrace) {
        let Some(choice) = &self.guardrail else { return };
        self.guardrail_members = choice.members(trace);
    }

    fn finish(&mut self, summary: &ChatSummary, elapsed: Duration) -> Vec<u8> {
        let mut objects = match &mut self.format {
            Format::Prompt(format) => {
                let format = *format;
                vec![self.object(format, String::new(), Some(summary))]
            }
            Format::Chat(chat) => chat.finish(summary),
        };
        if let Some(last) = objects.last_mut() {
            last.extend(std::mem::take(&mut self.guardrail_members));
            last.insert(METRICS.to_owned(), metrics(summary, elapsed));
        }
        let mut frames = Vec::new();
        objects.iter().for_each(|object| push(&mut frames, object));
        frames
    }
}

/// Reasoning stands within the text where there is a prompt, so there is no other.
fn text_of(event: ChatEvent) -> Option<String> {
    match event {
        ChatEvent::Text(text) | ChatEvent::Reasoning(text) => Some(text),
        ChatEvent::ToolCallStart { .. }
        | ChatEvent::ToolCallArguments(_)
        | ChatEvent::ToolCallEnd
        | ChatEvent::Logprobs(_)
        | ChatEvent::Finished(_)
        | ChatEvent::Failed(_) => None,
    }
}

fn finish_reason(reason: &StopReason) -> &'static str {
    match reason {
        StopReason::EndTurn
        | StopReason::StopSequence(_)
        | StopReason::ToolUse
        | StopReason::MalformedToolUse
        | StopReason::GuardrailIntervened => "stop",
        StopReason::MaxTokens | StopReason::ContextWindowExceeded => "length",
    }
}

fn openai_usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.generated_tokens,
        "total_tokens": usage.prompt_tokens + usage.generated_tokens,
    })
}

fn metrics(summary: &ChatSummary, elapsed: Duration) -> Value {
    let usage = TokenUsage::new(summary.usage, false);
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // The first token came this long after the engine took the request, which was soon.
    let first = summary.timing.first_token.unwrap_or(summary.timing.total);
    json!({
        "inputTokenCount": usage.input_tokens,
        "outputTokenCount": usage.output_tokens,
        "invocationLatency": millis(elapsed),
        "firstByteLatency": millis(first),
        "cacheReadInputTokenCount": usage.cache_read_input_tokens,
        "cacheWriteInputTokenCount": usage.cache_write_input_tokens,
    })
}

fn push(frames: &mut Vec<u8>, object: &Map<String, Value>) {
    let json = serde_json::to_string(object).expect("maps with string keys are JSON");
    frame::event(frames, "chunk", &json!({ "bytes": STANDARD.encode(json) }));
}
