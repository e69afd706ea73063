//! Guessing the next tokens, so that one step verifies several.
//!
//! A guess costs a row of the step and nothing else: the token at each place is drawn from the
//! model's logits as it always is, by the same seed and index, and a guess only says what the next
//! row was computed behind. Where it was wrong, the rows behind it are thrown away. So the text
//! does not depend on the guesses, whatever the sampling, the penalties and the constraint are.

mod cost;
mod lookup;

use crate::engine::Speculation;
use crate::limits::SPECULATED_TOKENS_MAX;

use cost::StepCost;
use lookup::PromptLookup;

/// Lengths of a match, by powers of two, that are expected to be right equally often.
const NUM_CLASSES: usize = 4;

/// How often guesses were right, the latest ones first of all.
#[derive(Debug, Clone, Copy, Default)]
struct Rate {
    num_right: f32,
    num_tried: f32,
}

impl Rate {
    /// What an observation is worth when the next one comes.
    const KEPT: f32 = 0.9;
    /// Observations that are assumed before there are any, most of them wrong: a text has to show
    /// that it repeats itself before rows are spent on it. It shows that for free, since guesses
    /// are compared with what is written whether they were in the step or not.
    const ASSUMED_TRIED: f32 = 2.0;
    const ASSUMED_RIGHT: f32 = 0.2;

    fn note(&mut self, num_right: usize, num_tried: usize) {
        self.num_right = self.num_right * Self::KEPT + num_right as f32;
        self.num_tried = self.num_tried * Self::KEPT + num_tried as f32;
    }

    fn probability(&self) -> f32 {
        (self.num_right + Self::ASSUMED_RIGHT) / (self.num_tried + Self::ASSUMED_TRIED)
    }
}

/// One sequence's guesses.
#[derive(Debug, Default)]
pub(super) struct Drafter {
    lookup: PromptLookup,
    rates: [Rate; NUM_CLASSES],
    /// Of the match that the drafts come from.
    class: usize,
    drafts: Vec<u32>,
}

impl Drafter {
    /// Guesses at most `num_max` tokens behind `tokens`, which only ever grow.
    pub(super) fn propose(&mut self, tokens: &[u32], num_max: usize) {
        self.drafts.clear();
        if let Some(found) = self.lookup.longest_match(tokens).filter(|_| num_max > 0) {
            self.class = (found.len.ilog2() as usize - 1).min(NUM_CLASSES - 1);
            found.continuation(tokens, num_max, &mut self.drafts);
        }
    }

    pub(super) fn drafts(&self) -> &[u32] {
        &self.drafts
    }

    /// Keeps the first `num` guesses.
    pub(super) fn shorten(&mut self, num: usize) {
        self.drafts.truncate(num);
    }

    /// How likely it is that the first `num` guesses are right.
    fn probability(&self, num: usize) -> f64 {
        f64::from(self.rates[self.class].probability()).powi(num as i32)
    }

    /// Compares the guesses with what was written in their place.
    pub(super) fn settle(&mut self, written: &[u32]) {
        if self.drafts.is_empty() {
            return;
        }
        let pairs = self.drafts.iter().zip(written);
        let num_right = pairs.take_while(|(draft, written)| draft == written).count();
        let num_tried = self.drafts.len().min(written.len()).min(num_right + 1);
        self.rates[self.class].note(num_right, num_tried);
        self.drafts.clear();
    }
}

/// How many guesses a step is to verify.
#[derive(Debug)]
pub(super) struct SpeculationPolicy {
    mode: Speculation,
    cost: StepCost,
}

impl SpeculationPolicy {
    pub(super) fn new(mode: Speculation) -> Self {
        Self { mode, cost: StepCost::default() }
    }

    /// Guesses of one sequence in one step at most.
    pub(super) fn num_drafts_max(&self) -> usize {
        match self.mode {
            Speculation::Off => 0,
            Speculation::Auto => SPECULATED_TOKENS_MAX,
            Speculation::Always(num) => num.min(SPECULATED_TOKENS_MAX),
        }
    }

    /// How long a step of so many rows took.
    pub(super) fn note_step(&mut self, num_rows: usize, seconds: f64) {
        self.cost.note(num_rows, seconds);
    }

    /// A step of `num_rows` rows which is expected to write `num_tokens` tokens.
    pub(super) fn plan(&self, num_rows: usize, num_tokens: usize) -> StepPlan {
        let line = self.cost.line();
        StepPlan {
            always: matches!(self.mode, Speculation::Always(_)),
            row_seconds: line.row_seconds,
            seconds: line.seconds(num_rows),
            num_tokens: num_tokens as f64,
        }
    }
}

/// A step to which rows are added as long as they raise its tokens per second.
#[derive(Debug)]
pub(super) struct StepPlan {
    always: bool,
    row_seconds: f64,
    seconds: f64,
    /// As expected.
    num_tokens: f64,
}

impl StepPlan {
    /// What guess number `num` of a sequence adds to the tokens of the step: it counts only if all
    /// before it are right as well.
    pub(super) fn gain(drafter: &Drafter, num: usize) -> f64 {
        drafter.probability(num)
    }

    /// Whether a row that adds so many tokens makes the step's rate higher. In a large batch it
    /// does not: there a row of guesses costs as much as one that is sure.
    pub(super) fn pays(&self, gain: f64) -> bool {
        self.always || gain * self.seconds > self.row_seconds * self.num_tokens
    }

    pub(super) fn add(&mut self, gain: f64) {
        self.seconds += self.row_seconds;
        self.num_tokens += gain;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guesses that the next tokens of a text which repeats `period` tokens are verified by.
    fn drafter_of(period: &[u32], num_tokens: usize) -> (Drafter, Vec<u32>) {
        let text: Vec<u32> = period.iter().copied().cycle().take(num_tokens + 8).collect();
        let mut drafter = Drafter::default();
        for end in 1..=num_tokens {
            drafter.propose(&text[..end], 4);
            drafter.settle(&text[end..end + 1]);
        }
        drafter.propose(&text[..num_tokens], 8);
        (drafter, text)
    }

    fn num_paying(policy: &SpeculationPolicy, drafter: &Drafter, num_seqs: usize) -> usize {
        let mut plan = policy.plan(num_seqs, num_seqs);
        (1..=SPECULATED_TOKENS_MAX)
            .take_while(|&num| {
                let gain = StepPlan::gain(drafter, num);
                let pays = plan.pays(gain);
                plan.add(gain);
                pays
            })
            .count()
    }

    /// A policy that has seen steps which take 1 + `row` for each row.
    fn policy(row: f64) -> SpeculationPolicy {
        let mut policy = SpeculationPolicy::new(Speculation::Auto);
        for step in 0..100 {
            let num_rows = 1 + step % 5;
            policy.note_step(num_rows, 1.0 + row * num_rows as f64);
        }
        policy
    }

    #[test]
    fn a_text_that_repeats_itself_is_guessed_and_another_one_is_not() {
        let (repeating, text) = drafter_of(&[5, 6, 7, 8], 40);
        assert_eq!(repeating.drafts(), &text[40..48]);
        assert!(num_paying(&policy(0.05), &repeating, 1) >= 4);

        // Each pair occurred before and was followed by something else.
        let mut wrong = Drafter::default();
        let text: Vec<u32> = (0..60).flat_map(|at| [1, 2, 100 + at]).collect();
        for end in 1..text.len() {
            wrong.propose(&text[..end], 4);
            wrong.settle(&text[end..end + 1]);
        }
        wrong.propose(&text[..text.len() - 1], 4);
        assert!(!wrong.drafts().is_empty());
        assert_eq!(num_paying(&policy(0.2), &wrong, 1), 0);
    }

    #[test]
    fn rows_are_spent_as_far_as_they_are_cheap() {
        let (drafter, _) = drafter_of(&[5, 6, 7, 8], 40);
        let of = |row, num_seqs| num_paying(&policy(row), &drafter, num_seqs);
        assert!(of(0.02, 1) > of(0.5, 1), "a cheap row is worth a doubtful guess");
        assert!(of(0.3, 1) > 0);
        assert_eq!(of(2.0, 32), 0, "in a large batch the time goes by the row");
    }

    #[test]
    fn a_number_that_was_asked_for_is_not_weighed() {
        let policy = SpeculationPolicy::new(Speculation::Always(3));
        assert_eq!(policy.num_drafts_max(), 3);
        assert!(policy.plan(64, 64).pays(0.0));
        assert_eq!(SpeculationPolicy::new(Speculation::Off).num_drafts_max(), 0);
    }
}
