//! What a guardrail says about a text, in the shape of Bedrock's GuardrailAssessment. Members that
//! a policy did not fill are absent.

use std::time::Duration;

use serde::Serialize;

use crate::guardrail::definition::{ContentFilter, GroundingFilter, ManagedWordList, Strength};
use crate::guardrail::definition::{TopicType, word};
use crate::guardrail::entities::EntityKind;

/// What happened to what was detected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Intervention {
    None,
    Anonymized,
    Blocked,
}

impl Intervention {
    /// As assessments spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Anonymized => "ANONYMIZED",
            Self::Blocked => "BLOCKED",
        }
    }
}

/// A rule that found something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    pub policy: &'static str,
    /// A kind, or the name that the definition gives it; for custom words `CUSTOM`.
    pub name: String,
    pub action: Intervention,
    /// The distinct texts that it found; none where the whole is judged.
    pub matches: Vec<String>,
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
    /// The same, unrounded.
    #[serde(skip)]
    pub processing: Duration,
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

impl Usage {
    /// By the policies' names in [`Assessment::fired`].
    pub fn by_policy(&self) -> [(&'static str, u32); 6] {
        [
            ("topic", self.topic_policy_units),
            ("content", self.content_policy_units),
            ("word", self.word_policy_units),
            ("pii", self.sensitive_information_policy_units),
            ("regex", self.sensitive_information_policy_free_units),
            ("grounding", self.contextual_grounding_policy_units),
        ]
    }
}

impl InvocationMetrics {
    pub(super) fn new(processing: Duration, usage: Usage, text_characters: TextCharacters) -> Self {
        Self {
            guardrail_processing_latency: u64::try_from(processing.as_millis()).unwrap_or(u64::MAX),
            processing,
            usage,
            guardrail_coverage: Coverage { text_characters },
        }
    }
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

    /// What fired, for metrics and the audit record.
    pub fn fired(&self) -> Vec<Fired> {
        let mut fired = Vec::new();
        for it in self.topic_policy.iter().flat_map(|it| &it.topics).filter(|it| it.detected) {
            note(&mut fired, ("topic", &it.name), it.action, "");
        }
        for it in self.content_policy.iter().flat_map(|it| &it.filters).filter(|it| it.detected) {
            note(&mut fired, ("content", &word(&it.r#type)), it.action, "");
        }
        if let Some(policy) = &self.word_policy {
            for it in &policy.custom_words {
                note(&mut fired, ("word", "CUSTOM"), it.action, &it.r#match);
            }
            for it in &policy.managed_word_lists {
                note(&mut fired, ("word", &word(&it.r#type)), it.action, &it.r#match);
            }
        }
        if let Some(policy) = &self.sensitive_information_policy {
            for it in policy.pii_entities.iter().filter(|it| it.detected) {
                note(&mut fired, ("pii", it.r#type.name()), it.action, &it.r#match);
            }
            for it in policy.regexes.iter().filter(|it| it.detected) {
                // Kinds that Bedrock has no name for have no expression.
                let policy = if it.regex.is_empty() { "pii" } else { "regex" };
                note(&mut fired, (policy, &it.name), it.action, &it.r#match);
            }
        }
        let grounding = self.contextual_grounding_policy.iter().flat_map(|it| &it.filters);
        for it in grounding.filter(|it| it.detected) {
            note(&mut fired, ("grounding", &word(&it.r#type)), it.action, "");
        }
        fired
    }
}

/// Notes a match under its rule; an empty one says that the whole text was judged.
fn note(
    fired: &mut Vec<Fired>,
    (policy, name): (&'static str, &str),
    action: Intervention,
    matched: &str,
) {
    let is_same =
        |it: &&mut Fired| (it.policy, it.name.as_str(), it.action) == (policy, name, action);
    let matched = Some(matched.to_owned()).filter(|it| !it.is_empty());
    match fired.iter_mut().find(is_same) {
        Some(known) => known.matches.extend(matched),
        None => {
            let matches = matched.into_iter().collect();
            fired.push(Fired { policy, name: name.to_owned(), action, matches });
        }
    }
}
