//! One sequence's guesses: what they are and how likely they are right.

use super::lookup::PromptLookup;
use super::policy::DraftRates;
use super::rate::{Prior, Rate};

/// Lengths of a match, by powers of two, that are expected to be right equally often.
const NUM_MATCH_CLASSES: usize = 4;

/// Most guesses are assumed to be wrong: a text has to show that it repeats itself before rows are
/// spent on it. It shows that for free, since guesses are compared with what is written whether
/// they were in the step or not.
const MATCH_PRIOR: Prior = Prior { right: 0.2, tried: 2.0, kept: 0.9 };

/// Tokens whose keys and values are in the draft model's cache, in the blocks that the sequence has
/// now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum DraftProgress {
    /// The blocks are new to the sequence; some may hold what another one left.
    Unknown,
    At(usize),
    /// The draft model cannot read this sequence.
    Never,
}

#[derive(Debug)]
pub(in crate::engine) struct Guesses {
    pub(super) lookup: PromptLookup,
    match_rates: [Rate; NUM_MATCH_CLASSES],
    pub(super) draft_progress: DraftProgress,
    tokens: Vec<u32>,
    /// How likely it is that a guess and all before it are right.
    chances: Vec<f64>,
    source: Source,
}

/// Where the guesses come from, and which of them are expected to be right equally often.
#[derive(Debug)]
enum Source {
    Lookup { class: usize },
    DraftModel { classes: Vec<usize> },
}

impl Default for Guesses {
    fn default() -> Self {
        Self {
            lookup: PromptLookup::default(),
            match_rates: [Rate::new(MATCH_PRIOR); NUM_MATCH_CLASSES],
            draft_progress: DraftProgress::Unknown,
            tokens: Vec::new(),
            chances: Vec::new(),
            source: Source::Lookup { class: 0 },
        }
    }
}

impl Guesses {
    pub(in crate::engine) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// How likely it is that the first `num` guesses are right; 0 if there are fewer.
    pub(super) fn chance(&self, num: usize) -> f64 {
        self.chances[..self.tokens.len()].get(num - 1).copied().unwrap_or(0.0)
    }

    /// Guesses of the draft model.
    pub(super) fn num_drafted(&self) -> usize {
        match self.source {
            Source::Lookup { .. } => 0,
            Source::DraftModel { .. } => self.tokens.len(),
        }
    }

    /// Replaces the guesses by at most `num_max` tokens that followed where the end of `tokens`,
    /// which only ever grow, was written before.
    pub(in crate::engine) fn look_up(&mut self, tokens: &[u32], num_max: usize) {
        self.tokens.clear();
        self.chances.clear();
        let Some(found) = self.lookup.longest_match(tokens).filter(|_| num_max > 0) else {
            return;
        };
        let class = (found.len.ilog2() as usize - 1).min(NUM_MATCH_CLASSES - 1);
        found.continuation(tokens, num_max, &mut self.tokens);
        let chance = self.match_rates[class].probability();
        self.chances.extend((1..=self.tokens.len()).map(|num| chance.powi(num as i32)));
        self.source = Source::Lookup { class };
    }

    /// Adds a guess of the draft model, the first one in place of all others.
    pub(super) fn push_drafted(&mut self, token: u32, class: usize, probability: f64) {
        if !matches!(self.source, Source::DraftModel { .. }) {
            self.tokens.clear();
            self.chances.clear();
            self.source = Source::DraftModel { classes: Vec::new() };
        }
        let Source::DraftModel { classes } = &mut self.source else { unreachable!("just made") };
        self.tokens.push(token);
        classes.push(class);
        self.chances.push(self.chances.last().copied().unwrap_or(1.0) * probability);
    }

    /// The sequence has no blocks any more.
    pub(in crate::engine) fn leave_blocks(&mut self) {
        if self.draft_progress != DraftProgress::Never {
            self.draft_progress = DraftProgress::Unknown;
        }
    }

    /// Keeps the first `num` guesses.
    pub(super) fn shorten(&mut self, num: usize) {
        self.tokens.truncate(num);
    }

    /// Compares the guesses with what was written in their place, behind `num_before` tokens, and
    /// forgets them.
    pub(in crate::engine) fn settle(
        &mut self,
        num_before: usize,
        written: &[u32],
        draft_rates: &mut DraftRates,
    ) {
        let pairs = self.tokens.iter().zip(written);
        let num_right = pairs.take_while(|(guess, written)| guess == written).count();
        let num_tried = self.tokens.len().min(written.len()).min(num_right + 1);
        match &self.source {
            Source::Lookup { .. } if self.tokens.is_empty() => {}
            Source::Lookup { class } => self.match_rates[*class].note(num_right, num_tried),
            Source::DraftModel { classes } => {
                for (at, &class) in classes[..num_tried].iter().enumerate() {
                    draft_rates.note(class, at < num_right);
                }
                // Behind a wrong guess the draft model's cache holds what was not written.
                if let DraftProgress::At(num) = &mut self.draft_progress {
                    *num = (*num).min(num_before + num_right);
                }
            }
        }
        self.tokens.clear();
        self.chances.clear();
        self.source = Source::Lookup { class: 0 };
    }
}
