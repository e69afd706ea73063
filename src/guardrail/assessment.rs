//! What a guardrail says about a text, in the shape of Bedrock's GuardrailAssessment. Members that
//! a policy did not fill are absent.

use serde::Serialize;

use crate::guardrail::definition::TopicType;
use crate::guardrail::definition::{ContentFilter, GroundingFilter, ManagedWordList, Strength};
use crate::guardrail::entities::EntityKind;

/// What happened to what was detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Intervention {
    None,
    Anonymized,
    Blocked,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Assessment {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic_policy: Option<TopicPolicyAssessment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_policy: Option<ContentPolicyAssessment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub word_policy: Option<WordPolicyAssessment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sensitive_information_policy: Option<SensitiveInformationPolicyAssessment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contextual_grounding_policy: Option<ContextualGroundingPolicyAssessment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invocation_metrics: Option<InvocationMetrics>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_guardrail_details: Option<AppliedGuardrailDetails>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TopicPolicyAssessment {
    pub topics: Vec<TopicAssessment>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TopicAssessment {
    pub name: String,
    pub r#type: TopicType,
    pub action: Intervention,
    pub detected: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ContentPolicyAssessment {
    pub filters: Vec<ContentFilterAssessment>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentFilterAssessment {
    pub r#type: ContentFilter,
    pub confidence: Strength,
    pub filter_strength: Strength,
    pub action: Intervention,
    pub detected: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WordPolicyAssessment {
    pub custom_words: Vec<CustomWordAssessment>,
    pub managed_word_lists: Vec<ManagedWordAssessment>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CustomWordAssessment {
    pub r#match: String,
    pub action: Intervention,
    pub detected: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ManagedWordAssessment {
    pub r#match: String,
    pub r#type: ManagedWordList,
    pub action: Intervention,
    pub detected: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SensitiveInformationPolicyAssessment {
    pub pii_entities: Vec<PiiEntityAssessment>,
    pub regexes: Vec<RegexAssessment>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PiiEntityAssessment {
    pub r#match: String,
    pub r#type: EntityKind,
    pub action: Intervention,
    pub detected: bool,
}

/// What an expression of the definition found, or a kind of information that Bedrock does not know.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RegexAssessment {
    pub name: String,
    pub r#match: String,
    /// Empty for a kind of information.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub regex: String,
    pub action: Intervention,
    pub detected: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ContextualGroundingPolicyAssessment {
    pub filters: Vec<GroundingAssessment>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroundingAssessment {
    pub r#type: GroundingFilter,
    pub threshold: f64,
    pub score: f64,
    pub action: Intervention,
    pub detected: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InvocationMetrics {
    /// Milliseconds.
    pub guardrail_processing_latency: u64,
    pub usage: Usage,
    pub guardrail_coverage: Coverage,
}

/// What Bedrock would charge: texts are counted by a thousand characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub topic_policy_units: u32,
    pub content_policy_units: u32,
    pub word_policy_units: u32,
    pub sensitive_information_policy_units: u32,
    pub sensitive_information_policy_free_units: u32,
    pub contextual_grounding_policy_units: u32,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    pub text_characters: TextCharacters,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TextCharacters {
    pub guarded: u64,
    pub total: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedGuardrailDetails {
    pub guardrail_id: String,
    pub guardrail_version: String,
    pub guardrail_arn: String,
    pub guardrail_origin: Vec<&'static str>,
    pub guardrail_ownership: &'static str,
}

impl Assessment {
    /// The gravest thing that happened.
    pub fn intervention(&self) -> Intervention {
        let topics = self.topic_policy.iter().flat_map(|it| &it.topics).map(|it| it.action);
        let filters = self.content_policy.iter().flat_map(|it| &it.filters).map(|it| it.action);
        let words = self.word_policy.iter().flat_map(|it| {
            let custom = it.custom_words.iter().map(|it| it.action);
            custom.chain(it.managed_word_lists.iter().map(|it| it.action))
        });
        let sensitive = self.sensitive_information_policy.iter().flat_map(|it| {
            let entities = it.pii_entities.iter().map(|it| it.action);
            entities.chain(it.regexes.iter().map(|it| it.action))
        });
        let grounding = self.contextual_grounding_policy.iter().flat_map(|it| &it.filters);
        topics
            .chain(filters)
            .chain(words)
            .chain(sensitive)
            .chain(grounding.map(|it| it.action))
            .max()
            .unwrap_or(Intervention::None)
    }

    /// Bedrock's words for it; nothing where nothing was done.
    pub fn action_reason(&self) -> Option<&'static str> {
        match self.intervention() {
            Intervention::None => None,
            Intervention::Anonymized => Some("Guardrail masked."),
            Intervention::Blocked => Some("Guardrail blocked."),
        }
    }

    /// Names of what fired, never the text: for logs and metrics.
    pub fn fired(&self) -> Vec<(&'static str, String, Intervention)> {
        use crate::guardrail::definition::word;
        let mut fired = Vec::new();
        for it in self.topic_policy.iter().flat_map(|it| &it.topics).filter(|it| it.detected) {
            fired.push(("topic", it.name.clone(), it.action));
        }
        for it in self.content_policy.iter().flat_map(|it| &it.filters).filter(|it| it.detected) {
            fired.push(("content", word(&it.r#type), it.action));
        }
        if let Some(it) = &self.word_policy {
            fired.extend(it.custom_words.iter().map(|it| ("word", "CUSTOM".into(), it.action)));
            let managed = it.managed_word_lists.iter();
            fired.extend(managed.map(|it| ("word", word(&it.r#type), it.action)));
        }
        if let Some(it) = &self.sensitive_information_policy {
            let entities = it.pii_entities.iter().filter(|it| it.detected);
            fired.extend(entities.map(|it| ("pii", it.r#type.name().into(), it.action)));
            let regexes = it.regexes.iter().filter(|it| it.detected);
            fired.extend(regexes.map(|it| ("regex", it.name.clone(), it.action)));
        }
        let grounding = self.contextual_grounding_policy.iter().flat_map(|it| &it.filters);
        for it in grounding.filter(|it| it.detected) {
            fired.push(("grounding", word(&it.r#type), it.action));
        }
        fired.dedup();
        fired
    }
}
