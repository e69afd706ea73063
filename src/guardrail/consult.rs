//! What a guardrail asks its experts about a text, and what becomes of their answers: denied topics
//! and, where the classifiers are in doubt, content filters.

use std::ops::Range;
use std::sync::Arc;

use crate::guardrail::advice::{Advice, windows};
use crate::guardrail::experts::{OnFailure, Question};
use crate::guardrail::fold::Folded;
use crate::guardrail::learned::Confidence;
use crate::guardrail::report::Report;
use crate::guardrail::rules::Rules;
use crate::limits;

/// Windows of the client's text that a judge is asked about; a longer text has longer ones.
const JUDGED_WINDOWS: usize = 16;
/// Between these the embedder is in doubt, and a judge decides.
const DOUBT: Range<f32> = 0.05..0.95;

fn marked(text: &str) -> String {
    format!("<text>\n{}\n</text>\nYes or no?", text.replace("</text", "< /text"))
}

impl Report {
    /// Asks about the whole of a text, window by window.
    pub(super) fn consult_all(&mut self, rules: &Rules, text: &str) {
        let Some(chars_min) = rules.window_chars(self.direction) else { return };
        let chars = text.chars().count();
        if chars > limits::GUARDRAIL_CONSULTED_CHARS_MAX {
            self.settle(rules, failed, |advice, grey| match advice.experts.on_failure {
                OnFailure::Block if grey > Confidence::None => Confidence::High,
                OnFailure::Block | OnFailure::Pass => grey,
            });
            return;
        }
        let lexical = self.lexical.clone();
        let grey = self.grey.clone();
        for window in windows(text, 0, true, chars_min.max(chars / JUDGED_WINDOWS)) {
            // What words say of the whole text holds for each of its windows.
            self.lexical.clone_from(&lexical);
            self.grey.clone_from(&grey);
            self.consult(rules, &text[window]);
        }
    }

    /// Asks about one window, and forgets what was in doubt; whether that blocks.
    pub(super) fn consult(&mut self, rules: &Rules, text: &str) -> bool {
        let Some(advice) = &rules.advice else { return false };
        let plain = Folded::plain(text);
        let asked = |index: usize| rules.topics[index].1.at(self.direction).is_some();
        let mut topics: Vec<Option<f32>> = vec![None; rules.topics.len()];
        if (0..topics.len()).any(asked)
            && let Some(vectors) = advice.experts.vectors(plain.text())
        {
            for (index, likeness) in advice.likeness.iter().enumerate() {
                topics[index] = Some(match &vectors {
                    Ok(vectors) => likeness.score(plain.text(), vectors),
                    Err(_) => failed(advice, self.lexical[index]),
                });
            }
        }
        let mut filters: Vec<Option<f32>> = vec![None; rules.filters.len()];
        if advice.judges() {
            let in_doubt = |it: &Option<f32>| it.is_none_or(|score| DOUBT.contains(&score));
            let about: Vec<usize> =
                (0..topics.len()).filter(|&at| asked(at) && in_doubt(&topics[at])).collect();
            let grey: Vec<usize> =
                (0..filters.len()).filter(|&at| self.grey[at] > Confidence::None).collect();
            let prefaces = about.iter().map(|&at| &advice.topics[at]);
            let prefaces = prefaces.chain(grey.iter().map(|&at| &advice.filters[at]));
            let text = marked(plain.text());
            let question = |it: &Arc<str>| Question { preface: Arc::clone(it), text: text.clone() };
            let mut answers = advice.experts.ask(prefaces.map(question).collect()).into_iter();
            for (at, answer) in about.into_iter().zip(&mut answers) {
                let words = topics[at].unwrap_or(self.lexical[at]);
                topics[at] = Some(answer.unwrap_or_else(|| failed(advice, words)));
            }
            for (at, answer) in grey.into_iter().zip(answers) {
                let fails = advice.experts.on_failure == OnFailure::Block;
                filters[at] = answer.or(fails.then_some(1.0));
            }
        }
        let mut topics = topics.into_iter();
        let mut filters = filters.into_iter();
        self.settle(
            rules,
            |_, words| topics.next().flatten().unwrap_or(words),
            |_, grey| match filters.next().flatten() {
                None => grey,
                Some(yes) if yes >= 0.5 => Confidence::High,
                // A text can be written to fool the judge, so it takes back one step only.
                Some(_) if grey == Confidence::Medium => Confidence::Low,
                Some(_) => Confidence::None,
            },
        )
    }

    /// Turns what is in doubt into what is known; whether that blocks.
    fn settle(
        &mut self,
        rules: &Rules,
        mut topic: impl FnMut(&Advice, f32) -> f32,
        mut filter: impl FnMut(&Advice, Confidence) -> Confidence,
    ) -> bool {
        let Some(advice) = &rules.advice else { return false };
        for (known, words) in self.topics.iter_mut().zip(&mut self.lexical) {
            *known = known.max(topic(advice, std::mem::take(words)));
        }
        for (known, grey) in self.confidences.iter_mut().zip(&mut self.grey) {
            *known = (*known).max(filter(advice, std::mem::replace(grey, Confidence::None)));
        }
        self.blocks(rules)
    }
}

/// What a text counts as about a topic when the expert has no answer.
fn failed(advice: &Advice, words: f32) -> f32 {
    match advice.experts.on_failure {
        OnFailure::Block => 1.0,
        OnFailure::Pass => words,
    }
}
