//! Contextual grounding: whether an answer is supported by its sources, and relevant to the
//! question. By words, numbers and negations; a paraphrase in other words scores low.

use std::collections::HashSet;

use crate::guardrail::block::{Block, Qualifier};
use crate::guardrail::fold::Folded;
use crate::guardrail::segment::segments;
use crate::guardrail::terms::terms;

/// What is left of a sentence's score when a number in it is in no source.
const FOREIGN_NUMBER: f64 = 0.3;
/// … when it denies what the sources say, or the reverse.
const TURNED_ROUND: f64 = 0.5;
const NEGATIONS: &[&str] =
    &["not", "no", "never", "none", "neither", "nor", "cannot", "without", "nt", "t"];
const HAN_NEGATIONS: &str = "不没無无非未否莫";

/// What an answer is held against.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grounding {
    pub sources: Vec<String>,
    pub query: String,
}

impl Grounding {
    pub fn of_blocks(blocks: &[Block<'_>]) -> Self {
        let with = |qualifier: Qualifier| {
            let blocks = blocks.iter().filter(move |it| it.qualifiers.contains(&qualifier));
            blocks.map(|it| it.text.to_owned()).collect::<Vec<_>>()
        };
        Self { sources: with(Qualifier::GroundingSource), query: with(Qualifier::Query).join("\n") }
    }

    /// Without a source there is nothing to be grounded in.
    pub fn is_empty(&self) -> bool {
        self.sources.is_empty()
    }

    /// How well each sentence of the answer is supported, the worst weighing most; from 0 to 1.
    pub(super) fn support(&self, answer: &str) -> f64 {
        let known = Facts::new(&format!("{}\n{}", self.sources.join("\n"), self.query));
        let scores: Vec<f64> = segments(answer, 0, true)
            .into_iter()
            .filter_map(|range| known.support(&Facts::new(&answer[range])))
            .collect();
        let Some(worst) = scores.iter().copied().reduce(f64::min) else { return 1.0 };
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        (0.6 * worst + 0.4 * mean).clamp(0.0, 1.0)
    }

    /// How much of the question the answer, or the part of a source it draws on, speaks of.
    pub(super) fn relevance(&self, answer: &str) -> f64 {
        let (query, answer) = (Facts::new(&self.query), Facts::new(answer));
        if query.terms.is_empty() || answer.terms.is_empty() {
            return 1.0;
        }
        let direct = query.share_in(&answer.terms);
        let through = self.sources.iter().flat_map(|source| {
            segments(source, 0, true).into_iter().map(|range| Facts::new(&source[range]))
        });
        let through = through
            .map(|part| answer.share_in(&part.terms) * query.share_in(&part.terms))
            .fold(0.0, f64::max);
        direct.max(through.sqrt()).clamp(0.0, 1.0)
    }
}

/// What a text states, as far as its words show.
struct Facts {
    terms: HashSet<String>,
    numbers: HashSet<String>,
    is_negated: bool,
}

impl Facts {
    fn new(text: &str) -> Self {
        let skeleton = Folded::skeleton(text);
        let skeleton = skeleton.text();
        let numbers = numbers(skeleton);
        let mut words = skeleton.split(|character: char| !character.is_alphanumeric());
        let is_negated = words.any(|word| NEGATIONS.contains(&word))
            || skeleton.contains(|character| HAN_NEGATIONS.contains(character));
        let is_word = |term: &String| !term.bytes().all(|byte| byte.is_ascii_digit());
        let terms = terms(skeleton).into_iter().filter(is_word).collect();
        Self { terms, numbers, is_negated }
    }

    /// The share of these terms that are among `others`.
    fn share_in(&self, others: &HashSet<String>) -> f64 {
        let common = self.terms.intersection(others).count();
        common as f64 / self.terms.len().max(1) as f64
    }

    /// How well this supports a sentence; `None` where that states nothing.
    fn support(&self, sentence: &Self) -> Option<f64> {
        if sentence.terms.is_empty() && sentence.numbers.is_empty() {
            return None;
        }
        let mut score = match sentence.terms.is_empty() {
            true => 1.0,
            false => sentence.share_in(&self.terms),
        };
        if !sentence.numbers.is_subset(&self.numbers) {
            score *= FOREIGN_NUMBER;
        }
        if sentence.is_negated && !self.is_negated {
            score *= TURNED_ROUND;
        }
        Some(score)
    }
}

/// Numbers without their thousands' commas.
fn numbers(skeleton: &str) -> HashSet<String> {
    let mut numbers = HashSet::new();
    let is_part = |character: char| character.is_ascii_digit() || matches!(character, '.' | ',');
    for run in skeleton.split(|character| !is_part(character)) {
        let number = run.trim_matches(['.', ',']).replace(',', "");
        if !number.is_empty() {
            numbers.insert(number);
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::Grounding;

    #[test]
    fn support_falls_with_numbers_names_and_negations_that_no_source_has() {
        let source =
            "London is the capital of the UK. Its population is 8,900,000. 东京是日本的首都。";
        let grounding = Grounding {
            sources: vec![source.into()],
            query: "What is the capital of Japan?".into(),
        };
        assert!(grounding.support("London is the capital of the UK.") > 0.9);
        assert!(grounding.support("The population is 8900000.") > 0.9);
        assert!(grounding.support("The population is 9900000.") < 0.4);
        assert!(grounding.support("Paris hosts the French parliament.") < 0.2);
        assert!(grounding.support("London is not the capital of the UK.") < 0.6);
        assert!(grounding.relevance("The capital of Japan is Tokyo.") > 0.9);
        assert!(grounding.relevance("Bananas are yellow.") < 0.1);
    }
}
