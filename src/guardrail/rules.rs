//! The policies of a definition, compiled: what is looked for, and what becomes of it.

use std::sync::Arc;

use crate::guardrail::advice::Advice;
use crate::guardrail::assessment::Usage;
use crate::guardrail::block::Direction;
use crate::guardrail::definition::{
    Action, BlockAction, ContentFilter, DefinitionError, Directions, GroundingFilter,
    GuardrailDefinition, Strength, TopicConfig,
};
use crate::guardrail::entities::EntityKind;
use crate::guardrail::experts::{ExpertFailed, Experts};
use crate::guardrail::grounding::Grounding;
use crate::guardrail::pattern::Pattern;
use crate::guardrail::topic::Topic;
use crate::guardrail::words::WordMatcher;

/// What a rule does by direction; nothing where it is not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    input: Option<Action>,
    output: Option<Action>,
}

impl Rule {
    fn new<A: Copy + Into<Action>>(action: Action, directions: &Directions<A>) -> Self {
        let by = |own: Option<A>, enabled: Option<bool>| {
            enabled.unwrap_or(true).then(|| own.map_or(action, Into::into))
        };
        Self {
            input: by(directions.input_action, directions.input_enabled),
            output: by(directions.output_action, directions.output_enabled),
        }
    }

    pub(super) fn at(self, direction: Direction) -> Option<Action> {
        match direction {
            Direction::Input => self.input,
            Direction::Output => self.output,
        }
    }
}

#[derive(Debug)]
pub(super) struct Words {
    pub(super) matcher: WordMatcher,
    /// By custom word.
    pub(super) rules: Vec<Rule>,
    pub(super) managed: Option<Rule>,
}

#[derive(Debug)]
pub(super) struct NamedPattern {
    pub(super) name: String,
    pub(super) pattern: String,
    pub(super) search: Pattern,
    pub(super) rule: Rule,
}

#[derive(Debug)]
pub(super) struct Filter {
    pub(super) kind: ContentFilter,
    input: Strength,
    output: Strength,
    rule: Rule,
}

impl Filter {
    /// Its strength and what it does, where it is on.
    pub(super) fn at(&self, direction: Direction) -> Option<(Strength, Action)> {
        let strength = match direction {
            Direction::Input => self.input,
            Direction::Output => self.output,
        };
        self.rule.at(direction).filter(|_| strength != Strength::None).map(|it| (strength, it))
    }
}

#[derive(Debug)]
pub(super) struct GroundingRule {
    pub(super) kind: GroundingFilter,
    pub(super) threshold: f64,
    pub(super) action: Action,
}

#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) words: Option<Words>,
    pub(super) entities: Vec<(EntityKind, Rule)>,
    pub(super) patterns: Vec<NamedPattern>,
    pub(super) filters: Vec<Filter>,
    pub(super) topics: Vec<(Topic, Rule)>,
    pub(super) grounding: Vec<GroundingRule>,
    /// Nothing where no bigger model was configured.
    pub(super) advice: Option<Advice>,
}

impl Rules {
    pub(super) fn compile(definition: &GuardrailDefinition) -> Result<Self, DefinitionError> {
        let mut rules = Self::default();
        rules.compile_words(definition);
        rules.compile_sensitive(definition)?;
        rules.compile_learnt(definition);
        Ok(rules)
    }

    /// Has them ask bigger models from now on. Embeds the topics.
    pub(super) fn equip(
        &mut self,
        experts: &Arc<Experts>,
        topics: &[TopicConfig],
    ) -> Result<(), ExpertFailed> {
        let filters = self.filters.iter().map(|it| it.kind);
        self.advice = Some(Advice::new(experts, topics, filters)?);
        Ok(())
    }

    /// Whether something in texts of this direction would be replaced rather than blocked.
    pub(super) fn masks(&self, direction: Direction) -> bool {
        let masks = |rule: &Rule| rule.at(direction) == Some(Action::Anonymize);
        self.entities.iter().any(|(_, rule)| masks(rule))
            || self.patterns.iter().any(|pattern| masks(&pattern.rule))
    }

    /// Whether classifiers or topics look at texts of this direction.
    pub(super) fn reads_meaning(&self, direction: Direction) -> bool {
        self.filters.iter().any(|filter| filter.at(direction).is_some())
            || self.topics.iter().any(|(_, rule)| rule.at(direction).is_some())
    }

    /// Whether experts are asked about texts of this direction.
    pub(super) fn consults(&self, direction: Direction) -> bool {
        self.window_chars(direction).is_some()
    }

    /// Characters of a window of the text, where experts are asked.
    pub(super) fn window_chars(&self, direction: Direction) -> Option<usize> {
        let has_topics = self.topics.iter().any(|(_, rule)| rule.at(direction).is_some());
        let has_filters = self.filters.iter().any(|it| it.at(direction).is_some());
        self.advice.as_ref()?.window_chars(has_topics, has_filters)
    }

    /// Whether an answer can be judged only when all of it is there.
    pub(super) fn needs_whole_answer(&self, grounding: &Grounding) -> bool {
        !self.grounding.is_empty() && !grounding.is_empty()
    }

    pub(super) fn usage(&self, direction: Direction, guarded: u64, grounded: u64) -> Usage {
        let units = |chars: u64, is_on: bool| match is_on {
            true => u32::try_from(chars.div_ceil(1_000)).unwrap_or(u32::MAX),
            false => 0,
        };
        let asked = |rule: &Rule| rule.at(direction).is_some();
        let words = self
            .words
            .as_ref()
            .is_some_and(|it| it.rules.iter().any(asked) || it.managed.as_ref().is_some_and(asked));
        Usage {
            topic_policy_units: units(guarded, self.topics.iter().any(|(_, rule)| asked(rule))),
            content_policy_units: units(
                guarded,
                self.filters.iter().any(|it| it.at(direction).is_some()),
            ),
            word_policy_units: units(guarded, words),
            sensitive_information_policy_units: units(
                guarded,
                self.entities.iter().any(|(_, rule)| asked(rule)),
            ),
            sensitive_information_policy_free_units: units(
                guarded,
                self.patterns.iter().any(|pattern| asked(&pattern.rule)),
            ),
            contextual_grounding_policy_units: units(grounded, !self.grounding.is_empty()),
        }
    }

    fn compile_words(&mut self, definition: &GuardrailDefinition) {
        let Some(config) = &definition.word_policy_config else { return };
        let rules = config
            .words_config
            .iter()
            .map(|word| Rule::new(Action::Block, &word.directions))
            .collect();
        let managed = config.managed_word_lists_config.first();
        let managed = managed.map(|list| Rule::new(Action::Block, &list.directions));
        let custom = config.words_config.iter().map(|word| word.text.as_str());
        let matcher = WordMatcher::new(custom, managed.is_some());
        self.words = Some(Words { matcher, rules, managed });
    }

    fn compile_sensitive(
        &mut self,
        definition: &GuardrailDefinition,
    ) -> Result<(), DefinitionError> {
        let Some(config) = &definition.sensitive_information_policy_config else {
            return Ok(());
        };
        let entities = config.pii_entities_config.iter();
        self.entities =
            entities.map(|it| (it.r#type, Rule::new(it.action, &it.directions))).collect();
        for (index, entry) in config.regexes_config.iter().enumerate() {
            let field = format!("sensitiveInformationPolicyConfig.regexesConfig[{index}].pattern");
            let search = Pattern::new(&entry.pattern)
                .map_err(|reason| DefinitionError::Regex { field, reason })?;
            self.patterns.push(NamedPattern {
                name: entry.name.clone(),
                pattern: entry.pattern.clone(),
                search,
                rule: Rule::new(entry.action, &entry.directions),
            });
        }
        Ok(())
    }

    fn compile_learnt(&mut self, definition: &GuardrailDefinition) {
        if let Some(config) = &definition.content_policy_config {
            let filters = config.filters_config.iter().map(|filter| Filter {
                kind: filter.r#type,
                input: filter.input_strength,
                output: filter.output_strength,
                rule: Rule::new(Action::Block, &filter.directions),
            });
            self.filters = filters.collect();
        }
        if let Some(config) = &definition.topic_policy_config {
            let topics = config.topics_config.iter().map(|topic| {
                let rule = Rule::new(Action::Block, &topic.directions);
                (Topic::new(&topic.name, &topic.definition, &topic.examples), rule)
            });
            self.topics = topics.collect();
        }
        if let Some(config) = &definition.contextual_grounding_policy_config {
            let on = config.filters_config.iter().filter(|filter| filter.enabled.unwrap_or(true));
            let rules = on.map(|filter| GroundingRule {
                kind: filter.r#type,
                threshold: filter.threshold,
                action: filter.action.unwrap_or(BlockAction::Block).into(),
            });
            self.grounding = rules.collect();
        }
    }
}
