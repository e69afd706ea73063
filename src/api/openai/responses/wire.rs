//! The body of a request for a response: its fields, and the items of its input.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api::guardrail::BodyConfig;
use crate::api::openai::wire::Content;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some fields are read for their form only, since they change nothing")]
pub(super) struct ResponseBody {
    pub(super) model: String,
    pub(super) input: Option<ResponseInput>,
    pub(super) instructions: Option<String>,
    pub(super) stream: Option<bool>,
    pub(super) max_output_tokens: Option<i64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) top_logprobs: Option<usize>,
    pub(super) include: Option<Vec<String>>,
    pub(super) text: Option<TextConfig>,
    pub(super) tools: Option<Vec<Value>>,
    pub(super) tool_choice: Option<Value>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) reasoning: Option<Reasoning>,
    pub(super) service_tier: Option<String>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    // Additions, as in chat completions.
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f64>,
    pub(super) repetition_penalty: Option<f64>,
    pub(super) seed: Option<i64>,
    pub(super) reasoning_budget: Option<i64>,
    #[serde(rename = "amazon-bedrock-guardrailConfig")]
    pub(super) guardrail_config: Option<BodyConfig>,
    // Only neutral values are taken.
    pub(super) background: Option<bool>,
    pub(super) truncation: Option<String>,
    pub(super) context_management: Option<Vec<IgnoredAny>>,
    // Refused.
    pub(super) previous_response_id: Option<String>,
    pub(super) conversation: Option<IgnoredAny>,
    pub(super) prompt: Option<IgnoredAny>,
    pub(super) moderation: Option<IgnoredAny>,
    pub(super) access_programs: Option<IgnoredAny>,
    pub(super) background_options: Option<IgnoredAny>,
    pub(super) image: Option<IgnoredAny>,
    // Taken as they are: no response is kept, whatever `store` says, and every prefix is cached.
    // The tools that `max_tool_calls` counts are those of OpenAI's servers.
    store: Option<bool>,
    max_tool_calls: Option<i64>,
    stream_options: Option<StreamOptions>,
    prompt_cache_key: Option<String>,
    prompt_cache_options: Option<IgnoredAny>,
    prompt_cache_retention: Option<String>,
    safety_identifier: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "frames are never padded")]
pub(super) struct StreamOptions {
    include_obfuscation: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TextConfig {
    pub(super) format: Option<TextFormat>,
    pub(super) verbosity: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TextFormat {
    pub(super) r#type: String,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) schema: Option<Value>,
    pub(super) strict: Option<bool>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "reasoning is given whole, so there is nothing to summarize")]
pub(super) struct Reasoning {
    pub(super) effort: Option<String>,
    pub(super) context: Option<String>,
    pub(super) mode: Option<String>,
    summary: Option<String>,
    generate_summary: Option<String>,
}

/// A text, or items whose types are known once they are read.
pub(super) enum ResponseInput {
    Text(String),
    Items(Vec<Value>),
}

impl<'de> Deserialize<'de> for ResponseInput {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InputVisitor;
        impl<'de> Visitor<'de> for InputVisitor {
            type Value = ResponseInput;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of items")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ResponseInput, E> {
                Ok(ResponseInput::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<ResponseInput, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(ResponseInput::Items)
            }
        }
        deserializer.deserialize_any(InputVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "items of answers are sent back whole")]
pub(super) struct MessageItem {
    pub(super) role: Role,
    pub(super) content: Content,
    r#type: Option<String>,
    id: Option<String>,
    status: Option<String>,
    phase: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    User,
    Assistant,
    System,
    Developer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "items of answers are sent back whole")]
pub(super) struct FunctionCallItem {
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) arguments: String,
    r#type: Option<String>,
    id: Option<String>,
    status: Option<String>,
    namespace: Option<String>,
    caller: Option<IgnoredAny>,
    parsed_arguments: Option<IgnoredAny>,
    r#async: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the call's id says which call this answers")]
pub(super) struct FunctionOutputItem {
    pub(super) call_id: String,
    pub(super) output: Content,
    r#type: Option<String>,
    id: Option<String>,
    status: Option<String>,
    name: Option<String>,
    namespace: Option<String>,
    caller: Option<IgnoredAny>,
}

/// Its members lie beside its type, where chat completions have them one level deeper.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "who may call a function and what it answers is the client's affair")]
pub(super) struct FunctionTool {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) parameters: Option<Value>,
    pub(super) strict: Option<bool>,
    r#type: String,
    allowed_callers: Option<IgnoredAny>,
    output_schema: Option<IgnoredAny>,
    r#async: Option<bool>,
    defer_loading: Option<bool>,
}
