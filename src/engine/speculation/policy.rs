//! Which guesses are worth their rows.

use super::cost::{Line, StepCost};
use super::rate::{Prior, Rate};
use crate::engine::Speculation;
use crate::limits::SPECULATED_TOKENS_MAX;

/// How many guesses a step is to verify.
#[derive(Debug)]
pub(in crate::engine) struct SpeculationPolicy {
    mode: Speculation,
    cost: StepCost,
    pub(super) draft_rates: DraftRates,
}

impl SpeculationPolicy {
    pub(in crate::engine) fn new(mode: Speculation) -> Self {
        Self { mode, cost: StepCost::default(), draft_rates: DraftRates::default() }
    }

    /// Guesses of one sequence in one step at most.
    pub(super) fn num_guesses_max(&self) -> usize {
        match self.mode {
            Speculation::Off => 0,
            Speculation::Auto => SPECULATED_TOKENS_MAX,
            Speculation::Always(num) => num.min(SPECULATED_TOKENS_MAX),
        }
    }

    /// Whether guesses are made without asking what they cost.
    pub(super) fn is_always(&self) -> bool {
        matches!(self.mode, Speculation::Always(_))
    }

    /// How long a step of so many rows took, without the making of guesses.
    pub(in crate::engine) fn note_step(&mut self, num_rows: usize, seconds: f64) {
        self.cost.note(num_rows, seconds);
    }

    pub(in crate::engine) fn draft_rates(&mut self) -> &mut DraftRates {
        &mut self.draft_rates
    }

    /// What is known of the time of a step.
    pub(super) fn line(&self) -> Line {
        self.cost.line()
    }

    /// A step of `num_rows` rows which is expected to write `num_tokens` tokens.
    pub(super) fn plan(&self, num_rows: usize, num_tokens: usize) -> StepPlan {
        let line = self.cost.line();
        StepPlan {
            always: self.is_always(),
            row_seconds: line.row_seconds,
            seconds: line.seconds(num_rows),
            num_tokens: num_tokens as f64,
        }
    }
}

/// How often the draft model's guesses were right, by how sure it was of them. Of all sequences
/// together: it is a property of the two models.
#[derive(Debug)]
pub(in crate::engine) struct DraftRates {
    classes: [Rate; DraftRates::BOUNDS.len() + 1],
    mean: Rate,
}

impl Default for DraftRates {
    fn default() -> Self {
        let prior = |right| Prior { right, tried: 4.0, kept: 0.98 };
        Self {
            classes: [0.4, 1.3, 2.2, 3.0, 3.7].map(|right| Rate::new(prior(right))),
            mean: Rate::new(Prior { right: 2.4, tried: 4.0, kept: 0.98 }),
        }
    }
}

impl DraftRates {
    /// Probabilities between which guesses are expected to be right equally often.
    const BOUNDS: [f32; 4] = [0.25, 0.5, 0.75, 0.95];

    /// The class of a guess to which the draft model gave this probability.
    pub(super) fn class(probability: f32) -> usize {
        Self::BOUNDS.partition_point(|&bound| bound <= probability)
    }

    pub(super) fn note(&mut self, class: usize, is_right: bool) {
        self.classes[class].note(usize::from(is_right), 1);
        self.mean.note(usize::from(is_right), 1);
    }

    /// That a guess is right if all before it are.
    pub(super) fn probability(&self, class: usize) -> f64 {
        self.classes[class].probability()
    }

    /// The same of a guess that is yet to be made.
    pub(super) fn mean(&self) -> f64 {
        self.mean.probability()
    }
}

/// A step to which rows are added as long as they raise its tokens per second.
#[derive(Debug, Clone)]
pub(super) struct StepPlan {
    always: bool,
    pub(super) row_seconds: f64,
    seconds: f64,
    /// As expected.
    num_tokens: f64,
}

impl StepPlan {
    /// Whether what adds so many tokens and takes so long makes the step's rate higher. In a large
    /// batch a guess does not: there a row of guesses costs as much as one that is sure.
    pub(super) fn pays(&self, gain: f64, seconds: f64) -> bool {
        self.always || gain * self.seconds > seconds * self.num_tokens
    }

    pub(super) fn add(&mut self, gain: f64, seconds: f64) {
        self.seconds += seconds;
        self.num_tokens += gain;
    }

    pub(super) fn num_tokens(&self) -> f64 {
        self.num_tokens
    }

    /// What the step takes for each of its tokens.
    pub(super) fn token_seconds(&self) -> f64 {
        self.seconds / self.num_tokens
    }
}

#[cfg(test)]
mod tests {
    use super::super::guesses::Guesses;
    use super::*;

    /// Guesses that the next tokens of a text which repeats `period` tokens are verified by.
    fn guesses_of(period: &[u32], num_tokens: usize) -> (Guesses, Vec<u32>) {
        let text: Vec<u32> = period.iter().copied().cycle().take(num_tokens + 8).collect();
        let mut guesses = Guesses::default();
        for end in 1..=num_tokens {
            guesses.look_up(&text[..end], 4);
            guesses.settle(end, &text[end..end + 1], &mut DraftRates::default());
        }
        guesses.look_up(&text[..num_tokens], 8);
        (guesses, text)
    }

    fn num_paying(policy: &SpeculationPolicy, guesses: &Guesses, num_seqs: usize) -> usize {
        let mut plan = policy.plan(num_seqs, num_seqs);
        (1..=SPECULATED_TOKENS_MAX)
            .take_while(|&num| {
                let (gain, seconds) = (guesses.chance(num), plan.row_seconds);
                let pays = plan.pays(gain, seconds);
                plan.add(gain, seconds);
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
        let (repeating, text) = guesses_of(&[5, 6, 7, 8], 40);
        assert_eq!(repeating.tokens(), &text[40..48]);
        assert!(num_paying(&policy(0.05), &repeating, 1) >= 4);

        // Each pair occurred before and was followed by something else.
        let mut wrong = Guesses::default();
        let text: Vec<u32> = (0..60).flat_map(|at| [1, 2, 100 + at]).collect();
        for end in 1..text.len() {
            wrong.look_up(&text[..end], 4);
            wrong.settle(end, &text[end..end + 1], &mut DraftRates::default());
        }
        wrong.look_up(&text[..text.len() - 1], 4);
        assert!(!wrong.tokens().is_empty());
        assert_eq!(num_paying(&policy(0.2), &wrong, 1), 0);
    }

    #[test]
    fn rows_are_spent_as_far_as_they_are_cheap() {
        let (guesses, _) = guesses_of(&[5, 6, 7, 8], 40);
        let of = |row, num_seqs| num_paying(&policy(row), &guesses, num_seqs);
        assert!(of(0.02, 1) > of(0.5, 1), "a cheap row is worth a doubtful guess");
        assert!(of(0.3, 1) > 0);
        assert_eq!(of(2.0, 32), 0, "in a large batch the time goes by the row");
    }

    #[test]
    fn a_number_that_was_asked_for_is_not_weighed() {
        let policy = SpeculationPolicy::new(Speculation::Always(3));
        assert_eq!(policy.num_guesses_max(), 3);
        assert!(policy.plan(64, 64).pays(0.0, 1.0));
        assert_eq!(SpeculationPolicy::new(Speculation::Off).num_guesses_max(), 0);
    }

    #[test]
    fn the_surer_the_draft_model_was_the_likelier_it_is_right() {
        let mut rates = DraftRates::default();
        let by_class = |rates: &DraftRates| {
            [0.1, 0.3, 0.6, 0.9, 1.0].map(|it| rates.probability(DraftRates::class(it)))
        };
        assert!(by_class(&rates).is_sorted());
        for at in 0..100 {
            rates.note(4, at % 10 > 0);
            rates.note(0, false);
        }
        let found = by_class(&rates);
        assert!(found[0] < 0.05 && (0.8..0.95).contains(&found[4]), "{found:?}");
        assert!((0.35..0.6).contains(&rates.mean()));
    }
}
