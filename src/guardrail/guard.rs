//! A guardrail ready for use, and what it says of a whole text.

use std::sync::Arc;
use std::time::Instant;

use crate::guardrail::assessment::{
    AppliedGuardrailDetails, Assessment, Intervention, InvocationMetrics, TextCharacters, Usage,
};
use crate::guardrail::consult::{Advice, windows};
use crate::guardrail::definition::{
    Action, BlockAction, ContentFilter, DefinitionError, Directions, GroundingFilter,
    GuardrailDefinition, Strength,
};
use crate::guardrail::detect::{Detector, Source, masked};
use crate::guardrail::entities::EntityKind;
use crate::guardrail::experts::{ExpertFailed, Experts};
use crate::guardrail::fold::Folded;
use crate::guardrail::grounding::{self, Grounding};
use crate::guardrail::learned::ContentScorer;
use crate::guardrail::pattern::Pattern;
use crate::guardrail::report::Report;
use crate::guardrail::segment::segments;
use crate::guardrail::topic::Topic;
use crate::guardrail::words::WordMatcher;
use crate::limits;

/// Whose text it is: the client's or the model's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Input,
    Output,
}

/// What a block of text is to the policies. Without any it is content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Qualifier {
    /// What an answer must be supported by.
    GroundingSource,
    /// What an answer must be relevant to.
    Query,
    GuardContent,
}

/// A piece of a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Block<'a> {
    pub text: &'a str,
    pub qualifiers: &'a [Qualifier],
}

impl Direction {
    /// As ApplyGuardrail spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "INPUT",
            Self::Output => "OUTPUT",
        }
    }
}

impl<'a> Block<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, qualifiers: &[] }
    }

    /// Whether all policies look at it, not only the contextual grounding.
    fn is_content(&self) -> bool {
        self.qualifiers.is_empty() || self.qualifiers.contains(&Qualifier::GuardContent)
    }
}

/// How much an assessment lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputScope {
    /// What was detected.
    #[default]
    Interventions,
    /// What was looked for, also.
    Full,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub assessment: Assessment,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to change.
    Pass,
    /// The content blocks, with what was found replaced.
    Masked(Vec<String>),
    /// What to say in place of everything.
    Blocked(String),
}

/// Which guardrail it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub id: String,
    pub arn: String,
    /// A number, or `DRAFT`.
    pub version: String,
}

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

/// A version of a guardrail, compiled.
#[derive(Debug)]
pub struct Guardrail {
    identity: Identity,
    definition: GuardrailDefinition,
    pub(super) words: Option<Words>,
    pub(super) entities: Vec<(EntityKind, Rule)>,
    pub(super) patterns: Vec<NamedPattern>,
    pub(super) filters: Vec<Filter>,
    pub(super) topics: Vec<(Topic, Rule)>,
    pub(super) grounding: Vec<GroundingRule>,
    /// Nothing where no bigger model was configured.
    pub(super) advice: Option<Advice>,
}

impl Guardrail {
    pub fn new(
        identity: Identity,
        definition: GuardrailDefinition,
    ) -> Result<Self, DefinitionError> {
        definition.check()?;
        Self::unchecked(identity, definition)
    }

    /// Compiles a definition that is known to be within the limits.
    pub(super) fn unchecked(
        identity: Identity,
        definition: GuardrailDefinition,
    ) -> Result<Self, DefinitionError> {
        let mut guardrail = Self {
            identity,
            words: None,
            entities: Vec::new(),
            patterns: Vec::new(),
            filters: Vec::new(),
            topics: Vec::new(),
            grounding: Vec::new(),
            advice: None,
            definition,
        };
        guardrail.compile_words();
        guardrail.compile_sensitive()?;
        guardrail.compile_learnt();
        Ok(guardrail)
    }

    /// Has it ask bigger models from now on. Embeds the topics.
    pub fn equip(&mut self, experts: &Arc<Experts>) -> Result<(), ExpertFailed> {
        let topics = self.definition.topic_policy_config.as_ref();
        let topics = topics.map_or(&[][..], |it| &it.topics_config);
        let filters = self.filters.iter().map(|it| it.kind);
        self.advice = Some(Advice::new(experts, topics, filters)?);
        Ok(())
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn definition(&self) -> &GuardrailDefinition {
        &self.definition
    }

    pub fn blocked_message(&self, direction: Direction) -> &str {
        match direction {
            Direction::Input => &self.definition.blocked_input_messaging,
            Direction::Output => &self.definition.blocked_outputs_messaging,
        }
    }

    /// Whether something in texts of this direction would be replaced rather than blocked.
    pub fn masks(&self, direction: Direction) -> bool {
        let masks = |rule: &Rule| rule.at(direction) == Some(Action::Anonymize);
        self.entities.iter().any(|(_, rule)| masks(rule))
            || self.patterns.iter().any(|pattern| masks(&pattern.rule))
    }

    /// Judges a whole text.
    pub fn assess(
        &self,
        direction: Direction,
        blocks: &[Block<'_>],
        scope: OutputScope,
    ) -> Outcome {
        let started_at = Instant::now();
        let mut report = Report::new(self, direction, scope);
        let detector = Detector::new(self, direction);
        let mut texts = Vec::new();
        for block in blocks.iter().filter(|block| block.is_content()) {
            let found = detector.detect(block.text, 0, None);
            for finding in &found.findings {
                report.add(self, &block.text[finding.range.clone()], finding);
            }
            self.judge(direction, block.text, &mut report);
            let range = 0..block.text.len();
            texts.push(masked(block.text, range, &found.findings, |source| self.tag(source)));
        }
        let grounding = Grounding::of_blocks(blocks);
        if direction == Direction::Output {
            let answer: Vec<&str> =
                blocks.iter().filter(|block| block.is_content()).map(|block| block.text).collect();
            report.ground(self, &grounding, &answer.join("\n"));
        }
        let mut assessment = report.finish(self);
        let chars = |block: &Block<'_>| block.text.chars().count() as u64;
        let total = blocks.iter().map(chars).sum();
        let guarded = blocks.iter().filter(|block| block.is_content()).map(chars).sum();
        let grounded = if direction == Direction::Output { total } else { 0 };
        assessment.invocation_metrics = Some(InvocationMetrics::new(
            started_at.elapsed(),
            self.usage(direction, guarded, grounded),
            TextCharacters { guarded, total },
        ));
        assessment.applied_guardrail_details = Some(self.details());
        let verdict = match assessment.intervention() {
            Intervention::None => Verdict::Pass,
            Intervention::Anonymized => Verdict::Masked(texts),
            Intervention::Blocked => Verdict::Blocked(self.blocked_message(direction).to_owned()),
        };
        Outcome { verdict, assessment }
    }

    /// What classifiers and topics say of a text. The model's text is judged sentence by sentence,
    /// as it is while it streams.
    fn judge(&self, direction: Direction, text: &str, report: &mut Report) {
        if !self.reads_meaning(direction) {
            return;
        }
        let skeleton = Folded::skeleton(text);
        if direction == Direction::Input {
            report.content(self, &ContentScorer::built_in().score(skeleton.text()));
            report.topics(self, skeleton.text());
            report.consult_all(self, text);
            return;
        }
        let mut stream = ContentScorer::built_in().stream();
        // A text that is too long for that is settled as a whole.
        let is_consulted = text.chars().count() <= limits::GUARDRAIL_CONSULTED_CHARS_MAX;
        for window in windows(text, 0, true, self.window_chars(direction).unwrap_or(0)) {
            for sentence in segments(&text[window.clone()], 0, true) {
                let sentence = Folded::skeleton(&text[window.clone()][sentence]);
                stream.push(sentence.text());
                report.content(self, &stream.scores());
                report.topics(self, sentence.text());
            }
            if is_consulted && self.consults(direction) {
                report.consult(self, &text[window]);
            }
        }
        if !is_consulted {
            report.consult_all(self, text);
        }
    }

    /// Whether classifiers or topics look at texts of this direction.
    pub(super) fn reads_meaning(&self, direction: Direction) -> bool {
        self.filters.iter().any(|filter| filter.at(direction).is_some())
            || self.topics.iter().any(|(_, rule)| rule.at(direction).is_some())
    }

    /// What stands for a finding in a masked text.
    pub(super) fn tag(&self, source: Source) -> String {
        match source {
            Source::Entity(kind) => format!("{{{}}}", kind.name()),
            Source::Pattern(index) => format!("{{{}}}", self.patterns[index].name),
            Source::Word(_) | Source::Managed => unreachable!("words are never masked"),
        }
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

    pub(super) fn details(&self) -> AppliedGuardrailDetails {
        AppliedGuardrailDetails {
            guardrail_id: self.identity.id.clone(),
            guardrail_version: self.identity.version.clone(),
            guardrail_arn: self.identity.arn.clone(),
            guardrail_origin: vec!["REQUEST"],
            guardrail_ownership: "SELF",
        }
    }

    fn compile_words(&mut self) {
        let Some(config) = &self.definition.word_policy_config else { return };
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

    fn compile_sensitive(&mut self) -> Result<(), DefinitionError> {
        let Some(config) = &self.definition.sensitive_information_policy_config else {
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

    fn compile_learnt(&mut self) {
        if let Some(config) = &self.definition.content_policy_config {
            let filters = config.filters_config.iter().map(|filter| Filter {
                kind: filter.r#type,
                input: filter.input_strength,
                output: filter.output_strength,
                rule: Rule::new(Action::Block, &filter.directions),
            });
            self.filters = filters.collect();
        }
        if let Some(config) = &self.definition.topic_policy_config {
            let topics = config.topics_config.iter().map(|topic| {
                let rule = Rule::new(Action::Block, &topic.directions);
                (Topic::new(&topic.name, &topic.definition, &topic.examples), rule)
            });
            self.topics = topics.collect();
        }
        if let Some(config) = &self.definition.contextual_grounding_policy_config {
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

impl Guardrail {
    /// Whether an answer can be judged only when all of it is there.
    pub(super) fn needs_whole_answer(&self, grounding: &grounding::Grounding) -> bool {
        !self.grounding.is_empty() && !grounding.is_empty()
    }
}
