//! The request of Converse and ConverseStream as it stands on the wire.
//!
//! Every member of the service model is here, so that one which is not supported is refused by its
//! name and one which does not exist is refused as unknown. JSON `null` means absent.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct ConverseRequest {
    pub(super) messages: Option<Vec<Message>>,
    pub(super) system: Option<Vec<ContentBlock>>,
    pub(super) inference_config: Option<InferenceConfig>,
    pub(super) additional_model_request_fields: Option<AdditionalFields>,
    pub(super) request_metadata: Option<BTreeMap<String, String>>,
    pub(super) performance_config: Option<PerformanceConfig>,
    pub(super) service_tier: Option<ServiceTier>,
    pub(super) additional_model_response_field_paths: Option<Vec<String>>,
    pub(super) tool_config: Option<IgnoredAny>,
    pub(super) guardrail_config: Option<IgnoredAny>,
    pub(super) prompt_variables: Option<IgnoredAny>,
    pub(super) output_config: Option<IgnoredAny>,
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
    pub(super) cache_point: Option<CachePoint>,
    /// Reasoning of earlier turns is dropped unread.
    pub(super) reasoning_content: Option<IgnoredAny>,
    pub(super) image: Option<IgnoredAny>,
    pub(super) document: Option<IgnoredAny>,
    pub(super) video: Option<IgnoredAny>,
    pub(super) audio: Option<IgnoredAny>,
    pub(super) tool_use: Option<IgnoredAny>,
    pub(super) tool_result: Option<IgnoredAny>,
    pub(super) guard_content: Option<IgnoredAny>,
    pub(super) citations_content: Option<IgnoredAny>,
    pub(super) search_result: Option<IgnoredAny>,
    pub(super) tool_addition: Option<IgnoredAny>,
    pub(super) tool_removal: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read only to refuse values that Bedrock does not know")]
pub(super) struct CachePoint {
    pub(super) r#type: CachePointType,
    pub(super) ttl: Option<CachePointTtl>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CachePointType {
    Default,
}

#[derive(Deserialize)]
pub(super) enum CachePointTtl {
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
/// reasoning budget as `reasoning_config` or `thinking`; all spellings mean the same.
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
#[serde(deny_unknown_fields)]
pub(super) struct PerformanceConfig {
    pub(super) latency: Option<Latency>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Latency {
    Standard,
    Optimized,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceTier {
    pub(super) r#type: TierType,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum TierType {
    Default,
    Priority,
    Flex,
    Reserved,
}
