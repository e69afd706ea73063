//! The body of a chat completion, and what its answers are made of.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::guardrail::BodyConfig;
use crate::api::openai::answer::{CompletionUsage, Logprob};
use crate::api::openai::wire::{Content, Function, StreamOptions, StructuredOutputs, Texts};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "some fields are read for their form only, since they change nothing")]
pub(super) struct ChatBody {
    pub(super) model: String,
    pub(super) messages: Vec<WireMessage>,
    pub(super) n: Option<usize>,
    pub(super) stream: Option<bool>,
    pub(super) stream_options: Option<StreamOptions>,
    pub(super) max_completion_tokens: Option<i64>,
    pub(super) max_tokens: Option<i64>,
    pub(super) stop: Option<Texts>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) seed: Option<i64>,
    pub(super) logprobs: Option<bool>,
    pub(super) top_logprobs: Option<usize>,
    pub(super) response_format: Option<ResponseFormat>,
    pub(super) tools: Option<Vec<Tool>>,
    pub(super) tool_choice: Option<Value>,
    pub(super) parallel_tool_calls: Option<bool>,
    pub(super) reasoning_effort: Option<String>,
    pub(super) service_tier: Option<String>,
    pub(super) metadata: Option<BTreeMap<String, String>>,
    // vLLM's additions.
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f64>,
    pub(super) repetition_penalty: Option<f64>,
    pub(super) structured_outputs: Option<StructuredOutputs>,
    pub(super) include_reasoning: Option<bool>,
    // Ours and Bedrock's.
    pub(super) reasoning_budget: Option<i64>,
    #[serde(rename = "amazon-bedrock-guardrailConfig")]
    pub(super) guardrail_config: Option<BodyConfig>,
    // Only neutral values are taken.
    pub(super) presence_penalty: Option<f64>,
    pub(super) frequency_penalty: Option<f64>,
    pub(super) logit_bias: Option<BTreeMap<String, f64>>,
    pub(super) modalities: Option<Vec<String>>,
    pub(super) verbosity: Option<String>,
    // Refused.
    pub(super) audio: Option<IgnoredAny>,
    pub(super) function_call: Option<IgnoredAny>,
    pub(super) functions: Option<IgnoredAny>,
    pub(super) moderation: Option<IgnoredAny>,
    pub(super) web_search_options: Option<IgnoredAny>,
    // Taken as they are: nothing is kept of a request, every prefix is cached, and a guess at the
    // answer could only save time.
    store: Option<bool>,
    prediction: Option<IgnoredAny>,
    prompt_cache_key: Option<String>,
    prompt_cache_options: Option<IgnoredAny>,
    prompt_cache_retention: Option<String>,
    safety_identifier: Option<String>,
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "answers are sent back whole, with members that say nothing here")]
pub(super) struct WireMessage {
    pub(super) role: Role,
    pub(super) content: Option<Content>,
    pub(super) refusal: Option<String>,
    pub(super) tool_calls: Option<Vec<WireCall>>,
    pub(super) tool_call_id: Option<String>,
    pub(super) function_call: Option<IgnoredAny>,
    pub(super) audio: Option<IgnoredAny>,
    /// Tells participants of the same role apart, which chat templates cannot.
    name: Option<String>,
    /// Reasoning of earlier turns is dropped unread.
    reasoning_content: Option<IgnoredAny>,
    reasoning: Option<IgnoredAny>,
    annotations: Option<IgnoredAny>,
    parsed: Option<IgnoredAny>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the index is where a call stood in its stream")]
pub(super) struct WireCall {
    pub(super) id: String,
    pub(super) r#type: Option<String>,
    pub(super) function: Option<WireCallFunction>,
    pub(super) custom: Option<IgnoredAny>,
    index: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "parsed arguments are what the client made of them")]
pub(super) struct WireCallFunction {
    pub(super) name: String,
    pub(super) arguments: String,
    parsed_arguments: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tool {
    pub(super) r#type: String,
    pub(super) function: Option<Function>,
    pub(super) custom: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResponseFormat {
    pub(super) r#type: String,
    pub(super) json_schema: Option<JsonSchema>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a schema is always followed, whatever it is called")]
pub(super) struct JsonSchema {
    name: String,
    description: Option<String>,
    pub(super) schema: Option<Value>,
    strict: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct Completion<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) choices: Vec<Choice>,
    pub(super) usage: CompletionUsage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_tier: Option<&'static str>,
    pub(super) system_fingerprint: &'static str,
    /// Bedrock's members.
    #[serde(flatten)]
    pub(super) guardrail: Map<String, Value>,
}

#[derive(Serialize)]
pub(super) struct Choice {
    pub(super) index: usize,
    pub(super) message: AnswerMessage,
    pub(super) logprobs: Option<ChoiceLogprobs>,
    pub(super) finish_reason: &'static str,
}

#[derive(Serialize)]
pub(super) struct AnswerMessage {
    pub(super) role: &'static str,
    /// `null` where there are only tool calls.
    pub(super) content: Option<String>,
    pub(super) refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<AnswerCall>,
}

#[derive(Serialize)]
pub(super) struct AnswerCall {
    pub(super) id: String,
    pub(super) r#type: &'static str,
    pub(super) function: AnswerFunction,
}

#[derive(Serialize)]
pub(super) struct AnswerFunction {
    pub(super) name: String,
    pub(super) arguments: String,
}

#[derive(Serialize)]
pub(super) struct ChoiceLogprobs {
    pub(super) content: Vec<Logprob>,
    pub(super) refusal: Option<()>,
}
