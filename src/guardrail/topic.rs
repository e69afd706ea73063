//! Denied topics, by the words of their definition and examples. This sees a topic that is named or
//! asked for in like words; it knows no synonyms.

use std::collections::{HashMap, HashSet};

use crate::guardrail::fold::Folded;
use crate::guardrail::segment::segments;
use crate::guardrail::terms::terms;

/// The share of a sentence's terms, by weight, that belong to the topic.
const SHARE_MIN: f32 = 0.5;
/// Terms of the topic in a sentence: one alone is chance.
const TERMS_MIN: usize = 2;
/// The share of an example's terms that a sentence repeats.
const EXAMPLE_SHARE_MIN: f32 = 0.6;

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    /// Terms of name, definition and examples, by how much they say of the topic.
    weights: HashMap<String, f32>,
    /// By example.
    examples: Vec<HashSet<String>>,
    named: HashSet<String>,
}

impl Topic {
    pub(super) fn new(name: &str, definition: &str, examples: &[String]) -> Self {
        let terms_of = |text: &str| terms(Folded::skeleton(text).text());
        let mut weights: HashMap<String, f32> = HashMap::new();
        let named: HashSet<String> = terms_of(name).into_iter().collect();
        let texts = [(name, 2.0), (definition, 1.0)].into_iter();
        for (text, weight) in texts.chain(examples.iter().map(|it| (it.as_str(), 1.0))) {
            for term in terms_of(text).into_iter().collect::<HashSet<_>>() {
                *weights.entry(term).or_insert(0.0) += weight;
            }
        }
        let examples = examples.iter().map(|it| terms_of(it).into_iter().collect()).collect();
        Self { name: name.to_owned(), weights, examples, named }
    }

    /// How much the most telling sentence is about the topic, from 0 to 1.
    pub(super) fn score(&self, skeleton: &str) -> f32 {
        let sentences = segments(skeleton, 0, true).into_iter();
        sentences.map(|range| self.of_sentence(&skeleton[range])).fold(0.0, f32::max)
    }

    pub(super) fn is_met(&self, score: f32) -> bool {
        score >= SHARE_MIN
    }

    fn of_sentence(&self, sentence: &str) -> f32 {
        let present: HashSet<String> = terms(sentence).into_iter().collect();
        if present.is_empty() {
            return 0.0;
        }
        // Whoever names the topic in full means it.
        if !self.named.is_empty() && self.named.is_subset(&present) {
            return 1.0;
        }
        let known: Vec<f32> =
            present.iter().filter_map(|it| self.weights.get(it).copied()).collect();
        let unknown = (present.len() - known.len()) as f32;
        let weight: f32 = known.iter().map(|weight| weight.min(3.0)).sum();
        let share = match known.len() >= TERMS_MIN {
            true => weight / (weight + unknown),
            false => 0.0,
        };
        let repeated =
            self.examples.iter().filter(|example| example.len() >= TERMS_MIN).map(|it| {
                let common = it.intersection(&present).count();
                if common < TERMS_MIN { 0.0 } else { common as f32 / it.len() as f32 }
            });
        let repeated = repeated.fold(0.0, f32::max);
        // Scaled so that both reach the threshold at their own bounds.
        share.max(repeated * SHARE_MIN / EXAMPLE_SHARE_MIN).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Topic;
    use crate::guardrail::fold::Folded;

    #[test]
    fn a_topic_is_met_in_like_words_and_not_by_chance() {
        let examples = ["Should I buy gold?", "我该买哪只股票？"].map(str::to_owned);
        let definition = "Recommendations about investing money in stocks, funds or 股票投资建议.";
        let topic = Topic::new("Investment advice", definition, &examples);
        let is_met = |text: &str| topic.is_met(topic.score(Folded::skeleton(text).text()));
        for text in [
            "Give me investment advice.",
            "What stocks or funds do you recommend investing in?",
            "should i buy gold",
            "请问我该买哪只股票好？",
        ] {
            assert!(is_met(text), "{text}");
        }
        for text in [
            "What is the capital of France?",
            "I bought a gold ring for my wife last week in town.",
            "今天天气怎么样？",
            "The chef stocks the kitchen with fresh herbs every morning.",
        ] {
            assert!(!is_met(text), "{text}");
        }
    }
}
