//! A guardrail as its operator writes it: the input of Bedrock's CreateGuardrail, member for
//! member, with the sensitive information of China beside Bedrock's.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::guardrail::entities::EntityKind;
use crate::limits;

macro_rules! wire {
    ($($(#[$doc:meta])* pub struct $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
    })*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        })*
    };
}

wire! {
    pub struct GuardrailDefinition {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic_policy_config: Option<TopicPolicyConfig>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        content_policy_config: Option<ContentPolicyConfig>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        word_policy_config: Option<WordPolicyConfig>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sensitive_information_policy_config: Option<SensitiveInformationPolicyConfig>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contextual_grounding_policy_config: Option<ContextualGroundingPolicyConfig>,
        /// Refused: proofs over a policy are another program.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        automated_reasoning_policy_config: Option<Value>,
        /// Accepted and without meaning: there is one region here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cross_region_config: Option<Value>,
        blocked_input_messaging: String,
        blocked_outputs_messaging: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kms_key_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tags: Option<Vec<Value>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_request_token: Option<String>,
    }

    pub struct TopicPolicyConfig {
        topics_config: Vec<TopicConfig>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier_config: Option<TierConfig>,
    }

    pub struct TopicConfig {
        name: String,
        definition: String,
        #[serde(default)]
        examples: Vec<String>,
        r#type: TopicType,
        #[serde(flatten)]
        directions: Directions<BlockAction>,
    }

    pub struct ContentPolicyConfig {
        filters_config: Vec<ContentFilterConfig>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier_config: Option<TierConfig>,
    }

    pub struct ContentFilterConfig {
        r#type: ContentFilter,
        input_strength: Strength,
        output_strength: Strength,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input_modalities: Option<Vec<Modality>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output_modalities: Option<Vec<Modality>>,
        #[serde(flatten)]
        directions: Directions<BlockAction>,
    }

    pub struct WordPolicyConfig {
        #[serde(default)]
        words_config: Vec<WordConfig>,
        #[serde(default)]
        managed_word_lists_config: Vec<ManagedWordListConfig>,
    }

    pub struct WordConfig {
        text: String,
        #[serde(flatten)]
        directions: Directions<BlockAction>,
    }

    pub struct ManagedWordListConfig {
        r#type: ManagedWordList,
        #[serde(flatten)]
        directions: Directions<BlockAction>,
    }

    pub struct SensitiveInformationPolicyConfig {
        #[serde(default)]
        pii_entities_config: Vec<PiiEntityConfig>,
        #[serde(default)]
        regexes_config: Vec<RegexConfig>,
    }

    pub struct PiiEntityConfig {
        r#type: EntityKind,
        action: Action,
        #[serde(flatten)]
        directions: Directions<Action>,
    }

    pub struct RegexConfig {
        name: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        pattern: String,
        action: Action,
        #[serde(flatten)]
        directions: Directions<Action>,
    }

    pub struct ContextualGroundingPolicyConfig {
        filters_config: Vec<GroundingFilterConfig>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tier_config: Option<TierConfig>,
    }

    pub struct GroundingFilterConfig {
        r#type: GroundingFilter,
        threshold: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        action: Option<BlockAction>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        enabled: Option<bool>,
    }

    pub struct TierConfig {
        tier_name: Tier,
    }
}

/// What a policy does by direction, where that differs from the rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Directions<A> {
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub input_action: Option<A>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub output_action: Option<A>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_enabled: Option<bool>,
}

fn none<A>() -> Option<A> {
    None
}

impl<A> Default for Directions<A> {
    fn default() -> Self {
        Self { input_action: None, output_action: None, input_enabled: None, output_enabled: None }
    }
}

macro_rules! words {
    ($($(#[$doc:meta])* pub enum $name:ident { $($variant:ident,)* })*) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "SCREAMING_SNAKE_CASE")]
        pub enum $name { $($variant,)* })*
    };
}

words! {
    pub enum TopicType { Deny, }

    pub enum ContentFilter { Sexual, Violence, Hate, Insults, Misconduct, PromptAttack, }

    /// How sure a filter must be not to act: `LOW` acts on the surest finds only.
    pub enum Strength { None, Low, Medium, High, }

    pub enum Modality { Text, Image, }

    pub enum ManagedWordList { Profanity, }

    /// `NONE` reports and lets pass.
    pub enum Action { Block, Anonymize, None, }

    pub enum BlockAction { Block, None, }

    pub enum GroundingFilter { Grounding, Relevance, }

    pub enum Tier { Classic, Standard, }
}

impl From<BlockAction> for Action {
    fn from(action: BlockAction) -> Self {
        match action {
            BlockAction::Block => Self::Block,
            BlockAction::None => Self::None,
        }
    }
}

/// Why a definition is none. Fields are named as in the definition.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum DefinitionError {
    #[error("`{field}` is empty")]
    Empty { field: String },
    #[error("`{field}` has {chars} characters, and the limit is {limit}")]
    TooLong { field: String, chars: usize, limit: usize },
    #[error("`{field}` has {count} entries, and the limit is {limit}")]
    TooMany { field: String, count: usize, limit: usize },
    #[error("`{field}` may hold {allowed} only")]
    Characters { field: String, allowed: &'static str },
    #[error("`{field}` names `{value}` twice")]
    Twice { field: String, value: String },
    #[error("`{field}` is {value}, and must be from 0 to {limit}")]
    Range { field: String, value: f64, limit: f64 },
    #[error("`{field}` is no regular expression that can be used: {reason}")]
    Regex { field: String, reason: String },
    #[error("`{field}` is not supported: {reason}")]
    Unsupported { field: String, reason: &'static str },
    #[error(
        "the guardrail has no policy; set at least one of the members that end in `PolicyConfig`"
    )]
    NoPolicy,
}

type Checked = Result<(), DefinitionError>;

impl GuardrailDefinition {
    /// One policy and no messages.
    pub(super) fn with_sensitive_information(
        name: &str,
        config: SensitiveInformationPolicyConfig,
    ) -> Self {
        Self {
            name: name.to_owned(),
            description: None,
            topic_policy_config: None,
            content_policy_config: None,
            word_policy_config: None,
            sensitive_information_policy_config: Some(config),
            contextual_grounding_policy_config: None,
            automated_reasoning_policy_config: None,
            cross_region_config: None,
            blocked_input_messaging: String::new(),
            blocked_outputs_messaging: String::new(),
            kms_key_id: None,
            tags: None,
            client_request_token: None,
        }
    }

    /// What can be said without compiling it.
    pub fn check(&self) -> Checked {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        text("name", &self.name, limits::GUARDRAIL_NAME_CHARS_MAX)?;
        letters("name", &self.name, is_name, "letters, digits, `-` and `_`")?;
        if let Some(description) = &self.description {
            text("description", description, limits::GUARDRAIL_DESCRIPTION_CHARS_MAX)?;
        }
        let message_max = limits::GUARDRAIL_MESSAGE_CHARS_MAX;
        text("blockedInputMessaging", &self.blocked_input_messaging, message_max)?;
        text("blockedOutputsMessaging", &self.blocked_outputs_messaging, message_max)?;
        if self.automated_reasoning_policy_config.is_some() {
            let reason = "this program has no automated reasoning";
            return Err(unsupported("automatedReasoningPolicyConfig", reason));
        }
        let has_policy = self.topic_policy_config.is_some()
            || self.content_policy_config.is_some()
            || self.word_policy_config.is_some()
            || self.sensitive_information_policy_config.is_some()
            || self.contextual_grounding_policy_config.is_some();
        if !has_policy {
            return Err(DefinitionError::NoPolicy);
        }
        self.topic_policy_config.as_ref().map_or(Ok(()), TopicPolicyConfig::check)?;
        self.content_policy_config.as_ref().map_or(Ok(()), ContentPolicyConfig::check)?;
        self.word_policy_config.as_ref().map_or(Ok(()), WordPolicyConfig::check)?;
        let sensitive = self.sensitive_information_policy_config.as_ref();
        sensitive.map_or(Ok(()), SensitiveInformationPolicyConfig::check)?;
        let grounding = self.contextual_grounding_policy_config.as_ref();
        grounding.map_or(Ok(()), ContextualGroundingPolicyConfig::check)
    }
}

impl TopicPolicyConfig {
    fn check(&self) -> Checked {
        let field = "topicPolicyConfig.topicsConfig";
        entries(field, self.topics_config.len(), limits::GUARDRAIL_TOPICS_MAX)?;
        unique(field, self.topics_config.iter().map(|topic| topic.name.clone()))?;
        let is_standard =
            self.tier_config.as_ref().is_some_and(|tier| tier.tier_name == Tier::Standard);
        let definition_max = match is_standard {
            true => limits::GUARDRAIL_TOPIC_DEFINITION_CHARS_STANDARD_MAX,
            false => limits::GUARDRAIL_TOPIC_DEFINITION_CHARS_MAX,
        };
        for (index, topic) in self.topics_config.iter().enumerate() {
            let at = |member: &str| format!("{field}[{index}].{member}");
            // Bedrock takes ASCII only; a guardrail for China has Chinese topics.
            let is_name = |c: char| c.is_alphanumeric() || "-_ !?.".contains(c);
            text(&at("name"), &topic.name, limits::GUARDRAIL_TOPIC_NAME_CHARS_MAX)?;
            letters(&at("name"), &topic.name, is_name, "letters, digits, spaces and `-_!?.`")?;
            text(&at("definition"), &topic.definition, definition_max)?;
            let count = topic.examples.len();
            at_most(&at("examples"), count, limits::GUARDRAIL_TOPIC_EXAMPLES_MAX)?;
            for (place, example) in topic.examples.iter().enumerate() {
                let name = at(&format!("examples[{place}]"));
                text(&name, example, limits::GUARDRAIL_TOPIC_EXAMPLE_CHARS_MAX)?;
            }
        }
        Ok(())
    }
}

impl ContentPolicyConfig {
    fn check(&self) -> Checked {
        let field = "contentPolicyConfig.filtersConfig";
        entries(field, self.filters_config.len(), 6)?;
        unique(field, self.filters_config.iter().map(|filter| word(&filter.r#type)))?;
        for (index, filter) in self.filters_config.iter().enumerate() {
            let at = |member: &str| format!("{field}[{index}].{member}");
            let is_attack = filter.r#type == ContentFilter::PromptAttack;
            if is_attack && filter.output_strength != Strength::None {
                let reason = "an attack on the prompt is looked for in the input; set NONE";
                return Err(unsupported(&at("outputStrength"), reason));
            }
            for (member, modalities) in [
                ("inputModalities", &filter.input_modalities),
                ("outputModalities", &filter.output_modalities),
            ] {
                if modalities.as_ref().is_some_and(|it| it.contains(&Modality::Image)) {
                    return Err(unsupported(&at(member), "images are not looked at; leave TEXT"));
                }
            }
        }
        Ok(())
    }
}

impl WordPolicyConfig {
    fn check(&self) -> Checked {
        let field = "wordPolicyConfig.wordsConfig";
        at_most(field, self.words_config.len(), limits::GUARDRAIL_WORDS_MAX)?;
        for (index, entry) in self.words_config.iter().enumerate() {
            let name = format!("{field}[{index}].text");
            text(&name, &entry.text, limits::GUARDRAIL_WORD_CHARS_MAX)?;
            if entry.text.trim().is_empty() {
                return Err(DefinitionError::Empty { field: name });
            }
        }
        let field = "wordPolicyConfig.managedWordListsConfig";
        unique(field, self.managed_word_lists_config.iter().map(|list| word(&list.r#type)))
    }
}

impl SensitiveInformationPolicyConfig {
    fn check(&self) -> Checked {
        let field = "sensitiveInformationPolicyConfig.piiEntitiesConfig";
        unique(field, self.pii_entities_config.iter().map(|it| it.r#type.name().to_owned()))?;
        let field = "sensitiveInformationPolicyConfig.regexesConfig";
        at_most(field, self.regexes_config.len(), limits::GUARDRAIL_REGEXES_MAX)?;
        unique(field, self.regexes_config.iter().map(|it| it.name.clone()))?;
        for (index, regex) in self.regexes_config.iter().enumerate() {
            let at = |member: &str| format!("{field}[{index}].{member}");
            text(&at("name"), &regex.name, limits::GUARDRAIL_REGEX_NAME_CHARS_MAX)?;
            let description_max = limits::GUARDRAIL_REGEX_DESCRIPTION_CHARS_MAX;
            if let Some(description) = &regex.description {
                text(&at("description"), description, description_max)?;
            }
            text(&at("pattern"), &regex.pattern, limits::GUARDRAIL_REGEX_PATTERN_CHARS_MAX)?;
        }
        Ok(())
    }
}

impl ContextualGroundingPolicyConfig {
    fn check(&self) -> Checked {
        let field = "contextualGroundingPolicyConfig.filtersConfig";
        entries(field, self.filters_config.len(), 2)?;
        unique(field, self.filters_config.iter().map(|filter| word(&filter.r#type)))?;
        for (index, filter) in self.filters_config.iter().enumerate() {
            let limit = limits::GUARDRAIL_THRESHOLD_MAX;
            if !(0.0..=limit).contains(&filter.threshold) {
                let field = format!("{field}[{index}].threshold");
                return Err(DefinitionError::Range { field, value: filter.threshold, limit });
            }
        }
        Ok(())
    }
}

/// A value of an enumeration as it is written.
pub(super) fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        _ => unreachable!("enumerations without data are written as strings"),
    }
}

fn unsupported(field: &str, reason: &'static str) -> DefinitionError {
    DefinitionError::Unsupported { field: field.to_owned(), reason }
}

fn text(field: &str, value: &str, limit: usize) -> Checked {
    let chars = value.chars().count();
    match chars {
        0 => Err(DefinitionError::Empty { field: field.to_owned() }),
        _ if chars > limit => {
            Err(DefinitionError::TooLong { field: field.to_owned(), chars, limit })
        }
        _ => Ok(()),
    }
}

fn letters(
    field: &str,
    value: &str,
    is_allowed: fn(char) -> bool,
    allowed: &'static str,
) -> Checked {
    match value.chars().all(is_allowed) {
        true => Ok(()),
        false => Err(DefinitionError::Characters { field: field.to_owned(), allowed }),
    }
}

fn entries(field: &str, count: usize, limit: usize) -> Checked {
    match count {
        0 => Err(DefinitionError::Empty { field: field.to_owned() }),
        _ => at_most(field, count, limit),
    }
}

fn at_most(field: &str, count: usize, limit: usize) -> Checked {
    match count > limit {
        true => Err(DefinitionError::TooMany { field: field.to_owned(), count, limit }),
        false => Ok(()),
    }
}

fn unique(field: &str, values: impl Iterator<Item = String>) -> Checked {
    let mut seen = std::collections::HashSet::new();
    for value in values {
        if !seen.insert(value.clone()) {
            return Err(DefinitionError::Twice { field: field.to_owned(), value });
        }
    }
    Ok(())
}
