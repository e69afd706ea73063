//! The request of Converse and ConverseStream as it stands on the wire.
//!
//! Every member of the service model is here, so that one which is not supported is refused by its
//! name and one which does not exist is refused as unknown. JSON `null` means absent.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::api::bedrock::document::{Citations, Document, TextBlock};
use crate::api::bedrock::guardrail::{GuardContent, GuardrailConfig};
use crate::api::bedrock::service::{Latency, Tier};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::api::bedrock) struct ConverseRequest {
    pub(super) messages: Option<Vec<Message>>,
    pub(super) system: Option<Vec<ContentBlock>>,
    pub(super) inference_config: Option<InferenceConfig>,
    pub(super) additional_model_request_fields: Option<AdditionalFields>,
    pub(super) request_metadata: Option<BTreeMap<String, String>>,
    pub(super) performance_config: Option<PerformanceConfig>,
    pub(super) service_tier: Option<ServiceTier>,
    pub(super) additional_model_response_field_paths: Option<Vec<String>>,
    pub(super) tool_config: Option<ToolConfig>,
    pub(super) guardrail_config: Option<GuardrailConfig>,
    pub(super) prompt_variables: Option<BTreeMap<String, IgnoredAny>>,
    pub(super) output_config: Option<OutputConfig>,
}

/// The part of a request that CountTokens takes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::api::bedrock) struct ConverseTokensRequest {
    messages: Option<Vec<Message>>,
    system: Option<Vec<ContentBlock>>,
    tool_config: Option<ToolConfig>,
    additional_model_request_fields: Option<AdditionalFields>,
}

impl From<ConverseTokensRequest> for ConverseRequest {
    fn from(wire: ConverseTokensRequest) -> Self {
        Self {
            messages: wire.messages,
            system: wire.system,
            tool_config: wire.tool_config,
            additional_model_request_fields: wire.additional_model_request_fields,
            ..Self::default()
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) content: Vec<ContentBlock>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    User,
    Assistant,
    System,
}

/// A union: exactly one member is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ContentBlock {
    pub(super) text: Option<String>,
    pub(super) document: Option<Document>,
    pub(super) tool_use: Option<ToolUse>,
    pub(super) tool_result: Option<ToolResult>,
    pub(super) guard_content: Option<GuardContent>,
    pub(super) cache_point: Option<CachePoint>,
    /// Reasoning of earlier turns is dropped unread, or refused.
    pub(super) reasoning_content: Option<IgnoredAny>,
    pub(super) citations_content: Option<CitationsContent>,
    pub(super) search_result: Option<SearchResult>,
    pub(super) image: Option<IgnoredAny>,
    pub(super) video: Option<IgnoredAny>,
    pub(super) audio: Option<IgnoredAny>,
    pub(super) tool_addition: Option<IgnoredAny>,
    pub(super) tool_removal: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ToolUse {
    pub(super) tool_use_id: String,
    pub(super) name: String,
    pub(super) input: Value,
    pub(super) r#type: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ToolResult {
    pub(super) tool_use_id: String,
    pub(super) content: Vec<ToolResultBlock>,
    pub(super) status: Option<ToolResultStatus>,
    pub(super) r#type: Option<IgnoredAny>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum ToolResultStatus {
    Success,
    Error,
}

/// A union: exactly one member is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ToolResultBlock {
    pub(super) json: Option<Value>,
    pub(super) text: Option<String>,
    pub(super) document: Option<Document>,
    pub(super) search_result: Option<SearchResult>,
    pub(super) image: Option<IgnoredAny>,
    pub(super) video: Option<IgnoredAny>,
}

/// What an assistant said with citations; the citations themselves are dropped unread, since a
/// model that cites nothing has no use for them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CitationsContent {
    pub(super) content: Option<Vec<TextBlock>>,
    #[serde(rename = "citations")]
    _citations: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchResult {
    pub(super) source: String,
    pub(super) title: String,
    pub(super) content: Vec<TextBlock>,
    pub(super) citations: Option<Citations>,
}

/// Read to refuse values that Bedrock does not know.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CachePoint {
    #[serde(rename = "type")]
    _type: CachePointType,
    #[serde(rename = "ttl")]
    _ttl: Option<CachePointTtl>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum CachePointType {
    Default,
}

#[derive(Deserialize)]
enum CachePointTtl {
    #[serde(rename = "5m")]
    FiveMinutes,
    #[serde(rename = "1h")]
    OneHour,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct InferenceConfig {
    pub(super) max_tokens: Option<i64>,
    pub(super) temperature: Option<f64>,
    pub(super) top_p: Option<f64>,
    pub(super) stop_sequences: Option<Vec<String>>,
}

/// What `additionalModelRequestFields` may hold. Clients of other models on Bedrock say the
/// reasoning budget as `reasoning_config` or `thinking`; all spellings mean the same. The Vercel
/// AI SDK says `outputConfig` here in Anthropic's words when the id is one of their models'.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct AdditionalFields {
    pub(super) top_k: Option<i64>,
    pub(super) min_p: Option<f64>,
    pub(super) seed: Option<i64>,
    pub(super) repetition_penalty: Option<f64>,
    pub(super) reasoning_budget: Option<i64>,
    pub(super) reasoning_config: Option<ReasoningConfig>,
    pub(super) thinking: Option<ReasoningConfig>,
    pub(super) output_config: Option<ModelOutputConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelOutputConfig {
    pub(super) format: Option<ModelFormat>,
    pub(super) effort: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelFormat {
    #[serde(rename = "type")]
    _type: TextFormatType,
    pub(super) schema: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasoningConfig {
    pub(super) r#type: ReasoningSwitch,
    pub(super) budget_tokens: Option<i64>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum ReasoningSwitch {
    Enabled,
    Disabled,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ToolConfig {
    pub(super) tools: Vec<Tool>,
    pub(super) tool_choice: Option<ToolChoice>,
}

/// A union: exactly one member is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Tool {
    pub(super) tool_spec: Option<ToolSpec>,
    pub(super) cache_point: Option<CachePoint>,
    pub(super) system_tool: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ToolSpec {
    pub(super) name: String,
    pub(super) description: Option<String>,
    pub(super) input_schema: ToolInputSchema,
    pub(super) strict: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolInputSchema {
    pub(super) json: Value,
}

/// A union: exactly one member is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolChoice {
    pub(super) auto: Option<NoMembers>,
    pub(super) any: Option<NoMembers>,
    pub(super) tool: Option<SpecificTool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoMembers {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpecificTool {
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct OutputConfig {
    pub(super) text_format: Option<TextFormat>,
    pub(super) effort: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TextFormat {
    #[serde(rename = "type")]
    _type: TextFormatType,
    pub(super) structure: TextStructure,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum TextFormatType {
    JsonSchema,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct TextStructure {
    pub(super) json_schema: JsonSchema,
}

/// Name and description are for people: the schema alone decides what the model may write.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonSchema {
    /// JSON as a text.
    pub(super) schema: String,
    #[serde(rename = "name")]
    _name: Option<String>,
    #[serde(rename = "description")]
    _description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PerformanceConfig {
    pub(super) latency: Option<Latency>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceTier {
    pub(super) r#type: Tier,
}
