//! A guardrail ready for use, and what it says of a whole text.

use std::sync::Arc;
use std::time::Instant;

use crate::guardrail::advice::windows;
use crate::guardrail::assessment::{
    AppliedGuardrailDetails, Assessment, Intervention, InvocationMetrics, TextCharacters,
};
use crate::guardrail::block::{Block, Direction};
use crate::guardrail::definition::{DefinitionError, GuardrailDefinition};
use crate::guardrail::detect::{Detector, Reading, masked};
use crate::guardrail::experts::{ExpertFailed, Experts};
use crate::guardrail::fold::Folded;
use crate::guardrail::grounding::Grounding;
use crate::guardrail::learned::ContentScorer;
use crate::guardrail::report::{OutputScope, Report};
use crate::guardrail::rules::Rules;
use crate::guardrail::segment::segments;
use crate::limits;

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

/// A version of a guardrail, compiled.
#[derive(Debug)]
pub struct Guardrail {
    identity: Identity,
    definition: GuardrailDefinition,
    pub(super) rules: Rules,
}

impl Guardrail {
    pub fn new(
        identity: Identity,
        definition: GuardrailDefinition,
    ) -> Result<Self, DefinitionError> {
        definition.check()?;
        let rules = Rules::compile(&definition)?;
        Ok(Self { identity, definition, rules })
    }

    /// Has it ask bigger models from now on. Embeds the topics.
    pub fn equip(&mut self, experts: &Arc<Experts>) -> Result<(), ExpertFailed> {
        let topics = self.definition.topic_policy_config.as_ref();
        let topics = topics.map_or(&[][..], |it| &it.topics_config);
        self.rules.equip(experts, topics)
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
        self.rules.masks(direction)
    }

    /// Whether experts are asked about texts of this direction. That takes time, up to the judge's
    /// limit for each piece of text.
    pub fn consults(&self, direction: Direction) -> bool {
        self.rules.consults(direction)
    }

    /// How much a text is about each topic, from 0 to 1; from one half on it is.
    pub fn topic_scores(&self, direction: Direction, text: &str) -> Vec<(&str, f32)> {
        let mut report = Report::new(&self.rules, direction, OutputScope::Interventions);
        report.topics(&self.rules, Folded::skeleton(text).text());
        report.consult_all(&self.rules, text);
        let names = self.rules.topics.iter().map(|(topic, _)| topic.name.as_str());
        names.zip(report.topic_scores().iter().copied()).collect()
    }

    /// Judges a whole text.
    pub fn assess(
        &self,
        direction: Direction,
        blocks: &[Block<'_>],
        scope: OutputScope,
    ) -> Outcome {
        let started_at = Instant::now();
        let rules = &self.rules;
        let mut report = Report::new(rules, direction, scope);
        let detector = Detector::new(rules, direction);
        let mut texts = Vec::new();
        for block in blocks.iter().filter(|block| block.is_content()) {
            let reading = Reading::new(block.text);
            let found = detector.detect(&reading, 0, None);
            for finding in &found.findings {
                report.add(rules, &block.text[finding.range.clone()], finding);
            }
            self.judge(direction, &reading, &mut report);
            let range = 0..block.text.len();
            texts.push(masked(block.text, range, &found.findings, |source| source.tag(rules)));
        }
        let grounding = Grounding::of_blocks(blocks);
        if direction == Direction::Output {
            let answer: Vec<&str> =
                blocks.iter().filter(|block| block.is_content()).map(|block| block.text).collect();
            report.ground(rules, &grounding, &answer.join("\n"));
        }
        let mut assessment = report.finish(rules);
        let chars = |block: &Block<'_>| block.text.chars().count() as u64;
        let total = blocks.iter().map(chars).sum();
        let guarded = blocks.iter().filter(|block| block.is_content()).map(chars).sum();
        let grounded = if direction == Direction::Output { total } else { 0 };
        assessment.invocation_metrics = Some(InvocationMetrics::new(
            started_at.elapsed(),
            rules.usage(direction, guarded, grounded),
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
    fn judge(&self, direction: Direction, reading: &Reading<'_>, report: &mut Report) {
        let (rules, text) = (&self.rules, reading.text);
        if !rules.reads_meaning(direction) {
            return;
        }
        if direction == Direction::Input {
            let skeleton = reading.skeleton();
            report.content(rules, &ContentScorer::built_in().score(skeleton.text()));
            report.topics(rules, skeleton.text());
            report.consult_all(rules, text);
            return;
        }
        let mut stream = ContentScorer::built_in().stream();
        // A text that is too long for that is settled as a whole.
        let is_consulted = text.chars().count() <= limits::GUARDRAIL_CONSULTED_CHARS_MAX;
        for window in windows(text, 0, true, rules.window_chars(direction).unwrap_or(0)) {
            for sentence in segments(&text[window.clone()], 0, true) {
                let start = window.start;
                let sentence = reading.skeleton_of(start + sentence.start..start + sentence.end);
                stream.push(sentence);
                report.content(rules, &stream.scores());
                report.topics(rules, sentence);
            }
            if is_consulted && rules.consults(direction) {
                report.consult(rules, &text[window]);
            }
        }
        if !is_consulted {
            report.consult_all(rules, text);
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
}
