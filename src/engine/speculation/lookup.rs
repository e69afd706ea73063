//! Guesses from the sequence's own tokens: what followed when its end was written before.

use std::collections::HashMap;

use super::{Drafter, GuessStep};
use crate::limits::{LOOKUP_MATCH_LEN_MAX, LOOKUP_MATCHES_MAX};

/// Tokens of the shortest match. One token alone is followed by anything.
const MATCH_LEN_MIN: usize = 2;

/// Looks each sequence up in its own tokens.
#[derive(Debug)]
pub(in crate::engine) struct Lookup;

impl Drafter for Lookup {
    fn propose(&mut self, step: &mut GuessStep<'_>) {
        for wanted in &step.wanted {
            step.running[wanted.index].look_up_guesses(wanted.num_max);
        }
    }
}

/// Where each pair of tokens occurs, in tokens that only ever grow.
#[derive(Debug, Default)]
pub(super) struct PromptLookup {
    /// Where a pair ended last.
    latest: HashMap<[u32; MATCH_LEN_MIN], u32>,
    /// For the pair that ends at a position, where it ended before.
    earlier: Vec<Option<u32>>,
}

/// A place at which the last tokens occur as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Match {
    /// One past its last token.
    end: usize,
    /// Tokens that are equal, [`MATCH_LEN_MIN`] or more.
    pub(super) len: usize,
}

impl PromptLookup {
    /// The longest match of the end of `tokens`, and the latest of these.
    pub(super) fn longest_match(&mut self, tokens: &[u32]) -> Option<Match> {
        self.index(tokens);
        let last = tokens.len().checked_sub(1)?;
        let mut longest: Option<Match> = None;
        let mut next = self.earlier[last];
        for _ in 0..LOOKUP_MATCHES_MAX {
            let Some(at) = next else { break };
            let at = at as usize;
            let pairs = tokens[..=at].iter().rev().zip(tokens.iter().rev());
            let equal = pairs.take(LOOKUP_MATCH_LEN_MAX).take_while(|(a, b)| a == b);
            let found = Match { end: at + 1, len: equal.count() };
            if longest.is_none_or(|longest| found.len > longest.len) {
                longest = Some(found);
            }
            next = self.earlier[at];
        }
        longest
    }

    fn index(&mut self, tokens: &[u32]) {
        for at in self.earlier.len()..tokens.len() {
            let before = (at + 1).checked_sub(MATCH_LEN_MIN).and_then(|start| {
                let pair = tokens[start..=at].try_into().expect("of the length of a pair");
                // A context is shorter than 2^32 tokens: the pool has fewer slots.
                self.latest.insert(pair, at as u32)
            });
            self.earlier.push(before);
        }
    }
}

impl Match {
    /// Writes the `num` tokens that follow it. Behind the last token these are the ones just
    /// written: a text that repeats itself goes on repeating itself.
    pub(super) fn continuation(&self, tokens: &[u32], num: usize, out: &mut Vec<u32>) {
        out.clear();
        for at in self.end..self.end + num {
            let token = tokens.get(at).copied().unwrap_or_else(|| out[at - tokens.len()]);
            out.push(token);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guess(tokens: &[u32], num: usize) -> Vec<u32> {
        let mut out = Vec::new();
        if let Some(found) = PromptLookup::default().longest_match(tokens) {
            found.continuation(tokens, num, &mut out);
        }
        out
    }

    #[test]
    fn what_followed_the_longest_match_is_guessed() {
        assert_eq!(guess(&[1, 2, 3, 4, 9, 2, 3, 5, 1, 2, 3], 2), [4, 9], "before the later 2, 3");
        assert_eq!(guess(&[2, 3, 4, 2, 3, 5, 2, 3], 1), [5], "the latest of equals");
        assert_eq!(guess(&[1, 2, 3, 4], 2), [0; 0]);
        assert_eq!(guess(&[1, 2, 1], 2), [0; 0], "one token is no match");
        assert_eq!(guess(&[], 2), [0; 0]);
    }

    #[test]
    fn a_period_goes_on() {
        assert_eq!(guess(&[7, 8, 9, 7, 8, 9, 7], 7), [8, 9, 7, 8, 9, 7, 8]);
        assert_eq!(guess(&[7, 7, 7], 4), [7, 7, 7, 7]);
    }

    proptest! {
        /// The index, however it grew, finds what comparing with every position finds.
        #[test]
        fn matches_are_those_of_a_search(
            tokens in prop::collection::vec(0u32..4, 2..24),
            first in 0usize..24,
        ) {
            let mut lookup = PromptLookup::default();
            for end in (first.min(tokens.len())..tokens.len()).step_by(3) {
                lookup.longest_match(&tokens[..end]);
            }
            let common = |end: usize| {
                let pairs = tokens[..end].iter().rev().zip(tokens.iter().rev());
                pairs.take_while(|(a, b)| a == b).count()
            };
            let longest = (1..tokens.len()).map(common).max().filter(|&len| len >= 2);
            let found = lookup.longest_match(&tokens);
            prop_assert_eq!(found.map(|it| it.len), longest);
            if let Some(found) = found {
                prop_assert_eq!(common(found.end), found.len);
                prop_assert!((found.end + 1..tokens.len()).all(|end| common(end) < found.len));
            }
        }
    }
}
