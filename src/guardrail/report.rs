//! An assessment in the making.

use crate::guardrail::advice::Advice;
use crate::guardrail::assessment::{
    Assessment, ContentFilterAssessment, ContentPolicyAssessment,
    ContextualGroundingPolicyAssessment, CustomWordAssessment, GroundingAssessment, Intervention,
    ManagedWordAssessment, PiiEntityAssessment, RegexAssessment,
    SensitiveInformationPolicyAssessment, TopicAssessment, TopicPolicyAssessment,
    WordPolicyAssessment,
};
use crate::guardrail::block::Direction;
use crate::guardrail::definition::{
    Action, ContentFilter, GroundingFilter, ManagedWordList, Strength, TopicType,
};
use crate::guardrail::detect::{Finding, Source};
use crate::guardrail::grounding::Grounding;
use crate::guardrail::learned::{Category, Confidence, ContentScores};
use crate::guardrail::rules::{Rule, Rules};
use crate::guardrail::topic::Sentence;
use crate::limits;

/// How much an assessment lists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputScope {
    /// What was detected.
    #[default]
    Interventions,
    /// What was looked for, also.
    Full,
}

/// Collects what one text, or one answer as it streams, is found to hold.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) direction: Direction,
    scope: OutputScope,
    words: WordPolicyAssessment,
    sensitive: SensitiveInformationPolicyAssessment,
    /// The surest verdict of each filter so far, in the order of the definition.
    pub(super) confidences: Vec<Confidence>,
    /// The highest score of each topic so far.
    pub(super) topics: Vec<f32>,
    /// What classifiers and words say of the text that experts have yet to be asked about.
    pub(super) grey: Vec<Confidence>,
    pub(super) lexical: Vec<f32>,
    grounding: Vec<GroundingAssessment>,
}

impl Report {
    pub(super) fn new(rules: &Rules, direction: Direction, scope: OutputScope) -> Self {
        Self {
            direction,
            scope,
            words: WordPolicyAssessment::default(),
            sensitive: SensitiveInformationPolicyAssessment::default(),
            confidences: vec![Confidence::None; rules.filters.len()],
            topics: vec![0.0; rules.topics.len()],
            grey: vec![Confidence::None; rules.filters.len()],
            lexical: vec![0.0; rules.topics.len()],
            grounding: Vec::new(),
        }
    }

    /// Takes note of a finding and the text it matched. Each text is listed once.
    pub(super) fn add(&mut self, rules: &Rules, text: &str, finding: &Finding) {
        let action = match finding.action {
            Action::Block => Intervention::Blocked,
            Action::Anonymize => Intervention::Anonymized,
            Action::None => Intervention::None,
        };
        let (r#match, detected) = (text.to_owned(), true);
        match finding.source {
            Source::Word(_) => {
                add(
                    &mut self.words.custom_words,
                    CustomWordAssessment { r#match, action, detected },
                );
            }
            Source::Managed => {
                let r#type = ManagedWordList::Profanity;
                let word = ManagedWordAssessment { r#match, r#type, action, detected };
                add(&mut self.words.managed_word_lists, word);
            }
            // An assessment is Bedrock's type, which clients may hold to its own names.
            Source::Entity(kind) if !kind.is_bedrocks() => {
                let (name, regex) = (kind.name().to_owned(), String::new());
                let found = RegexAssessment { name, r#match, regex, action, detected };
                add(&mut self.sensitive.regexes, found);
            }
            Source::Entity(r#type) => {
                let entity = PiiEntityAssessment { r#match, r#type, action, detected };
                add(&mut self.sensitive.pii_entities, entity);
            }
            Source::Pattern(index) => {
                let pattern = &rules.patterns[index];
                let (name, regex) = (pattern.name.clone(), pattern.pattern.clone());
                let found = RegexAssessment { name, r#match, regex, action, detected };
                add(&mut self.sensitive.regexes, found);
            }
        }
    }

    /// Takes note of the classifiers' verdict; whether it blocks.
    pub(super) fn content(&mut self, rules: &Rules, scores: &ContentScores) -> bool {
        let is_judged = rules.advice.as_ref().is_some_and(Advice::judges);
        for (index, filter) in rules.filters.iter().enumerate() {
            if filter.at(self.direction).is_none() {
                continue;
            }
            let found = scores.confidence(category(filter.kind));
            let is_doubtful = found > Confidence::None && found < Confidence::High;
            let known = match is_judged && is_doubtful {
                true => &mut self.grey[index],
                false => &mut self.confidences[index],
            };
            *known = (*known).max(found);
        }
        self.blocks(rules)
    }

    /// Whether a filter or a topic blocks by what is known.
    pub(super) fn blocks(&self, rules: &Rules) -> bool {
        let filters = rules.filters.iter().zip(&self.confidences);
        let topics = rules.topics.iter().zip(&self.topics);
        filters.into_iter().any(|(filter, known)| {
            filter
                .at(self.direction)
                .is_some_and(|(strength, action)| action == Action::Block && acts(strength, *known))
        }) || topics.into_iter().any(|((topic, rule), known)| {
            rule.at(self.direction) == Some(Action::Block) && topic.is_met(*known)
        })
    }

    pub(super) fn topic_scores(&self) -> &[f32] {
        &self.topics
    }

    /// Takes note of the topics of a skeleton; whether one blocks.
    pub(super) fn topics(&mut self, rules: &Rules, skeleton: &str) -> bool {
        let known = match rules.consults(self.direction) {
            true => &mut self.lexical,
            false => &mut self.topics,
        };
        let asked = |((_, rule), _): &(&(_, Rule), _)| rule.at(self.direction).is_some();
        let mut topics: Vec<_> = rules.topics.iter().zip(known).filter(asked).collect();
        if topics.is_empty() {
            return self.blocks(rules);
        }
        for sentence in Sentence::of(skeleton) {
            for ((topic, _), known) in &mut topics {
                **known = known.max(topic.score(&sentence));
            }
        }
        self.blocks(rules)
    }

    /// Holds an answer against its sources; whether that blocks it.
    pub(super) fn ground(&mut self, rules: &Rules, grounding: &Grounding, answer: &str) -> bool {
        if grounding.is_empty() {
            return false;
        }
        let mut blocks = false;
        for rule in &rules.grounding {
            let score = match rule.kind {
                GroundingFilter::Grounding => grounding.support(answer),
                GroundingFilter::Relevance if grounding.query.is_empty() => continue,
                GroundingFilter::Relevance => grounding.relevance(answer),
            };
            let detected = score < rule.threshold;
            let is_blocked = detected && rule.action == Action::Block;
            blocks |= is_blocked;
            let action = if is_blocked { Intervention::Blocked } else { Intervention::None };
            let (r#type, threshold) = (rule.kind, rule.threshold);
            self.grounding.push(GroundingAssessment { r#type, threshold, score, action, detected });
        }
        blocks
    }

    pub(super) fn finish(mut self, rules: &Rules) -> Assessment {
        let is_full = self.scope == OutputScope::Full;
        if is_full {
            self.list_what_is_absent(rules);
        }
        let topics = self.topics_found(rules, is_full);
        let filters = self.filters_found(rules, is_full);
        let grounding = self.grounding.into_iter().filter(|it| it.detected || is_full).collect();
        let WordPolicyAssessment { custom_words, managed_word_lists } = &self.words;
        let has_words = !custom_words.is_empty() || !managed_word_lists.is_empty();
        let has_sensitive =
            !self.sensitive.pii_entities.is_empty() || !self.sensitive.regexes.is_empty();
        Assessment {
            topic_policy: some(topics).map(|topics| TopicPolicyAssessment { topics }),
            content_policy: some(filters).map(|filters| ContentPolicyAssessment { filters }),
            word_policy: has_words.then_some(self.words),
            sensitive_information_policy: has_sensitive.then_some(self.sensitive),
            contextual_grounding_policy: some(grounding)
                .map(|filters| ContextualGroundingPolicyAssessment { filters }),
            invocation_metrics: None,
            applied_guardrail_details: None,
        }
    }

    /// Kinds of information that were looked for and not found; Bedrock lists neither words nor
    /// expressions so.
    fn list_what_is_absent(&mut self, rules: &Rules) {
        for (kind, rule) in &rules.entities {
            let is_found = self.sensitive.pii_entities.iter().any(|it| it.r#type == *kind);
            if kind.is_bedrocks() && rule.at(self.direction).is_some() && !is_found {
                self.sensitive.pii_entities.push(PiiEntityAssessment {
                    r#match: String::new(),
                    r#type: *kind,
                    action: Intervention::None,
                    detected: false,
                });
            }
        }
    }

    fn topics_found(&self, rules: &Rules, is_full: bool) -> Vec<TopicAssessment> {
        let all = rules.topics.iter().zip(&self.topics);
        let found = all.filter_map(|((topic, rule), score)| {
            let action = rule.at(self.direction)?;
            let detected = topic.is_met(*score);
            let action = taken(action, detected);
            let (name, r#type) = (topic.name.clone(), TopicType::Deny);
            (detected || is_full).then_some(TopicAssessment { name, r#type, action, detected })
        });
        found.collect()
    }

    fn filters_found(&self, rules: &Rules, is_full: bool) -> Vec<ContentFilterAssessment> {
        let all = rules.filters.iter().zip(&self.confidences);
        let found = all.filter_map(|(filter, confidence)| {
            let (filter_strength, action) = filter.at(self.direction)?;
            let detected = acts(filter_strength, *confidence);
            (detected || is_full).then_some(ContentFilterAssessment {
                r#type: filter.kind,
                confidence: strength(*confidence),
                filter_strength,
                action: taken(action, detected),
                detected,
            })
        });
        found.collect()
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, entry: T) {
    if list.len() < limits::GUARDRAIL_DETECTIONS_MAX && !list.contains(&entry) {
        list.push(entry);
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn taken(action: Action, detected: bool) -> Intervention {
    match (action, detected) {
        (Action::Block, true) => Intervention::Blocked,
        _ => Intervention::None,
    }
}

/// `LOW` acts on what is sure, `HIGH` on what is likely already.
fn acts(strength: Strength, confidence: Confidence) -> bool {
    match strength {
        Strength::None => false,
        Strength::Low => confidence >= Confidence::High,
        Strength::Medium => confidence >= Confidence::Medium,
        Strength::High => confidence >= Confidence::Low,
    }
}

fn strength(confidence: Confidence) -> Strength {
    match confidence {
        Confidence::None => Strength::None,
        Confidence::Low => Strength::Low,
        Confidence::Medium => Strength::Medium,
        Confidence::High => Strength::High,
    }
}

pub(super) fn category(filter: ContentFilter) -> Category {
    match filter {
        ContentFilter::Hate => Category::Hate,
        ContentFilter::Insults => Category::Insults,
        ContentFilter::Sexual => Category::Sexual,
        ContentFilter::Violence => Category::Violence,
        ContentFilter::Misconduct => Category::Misconduct,
        ContentFilter::PromptAttack => Category::PromptAttack,
    }
}
