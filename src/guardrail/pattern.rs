//! Regular expressions of an operator: searched in linear time, and in a stream held back exactly
//! as far as a match may still reach.

use std::ops::Range;

use regex::{Regex, RegexBuilder};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Anchored, Input, MatchKind};
use regex_syntax::hir::{Hir, HirKind, Repetition};

use crate::limits;

/// One expression, for whole texts and for streams.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// Accepts what the expression accepts and, with borders left out, somewhat more; a text on
    /// which it is dead cannot go on to a match.
    reach: DFA,
}

impl Pattern {
    /// The reason is for the operator who wrote the expression.
    pub(super) fn new(pattern: &str) -> Result<Self, String> {
        let size = limits::GUARDRAIL_REGEX_BYTES_MAX;
        let regex = RegexBuilder::new(pattern)
            .size_limit(size)
            .dfa_size_limit(size)
            .build()
            .map_err(|error| reason(pattern, &error.to_string()))?;
        let hir = regex_syntax::parse(pattern).map_err(|error| error.to_string())?;
        let nfa = thompson::Compiler::new()
            .configure(thompson::Config::new().nfa_size_limit(Some(size)))
            .build_from_hir(&without_borders(&hir))
            .map_err(|error| error.to_string())?;
        let config = DFA::config()
            .match_kind(MatchKind::All)
            .cache_capacity(size)
            .skip_cache_capacity_check(true);
        let reach = DFA::builder()
            .configure(config)
            .build_from_nfa(nfa)
            .map_err(|error| error.to_string())?;
        Ok(Self { regex, reach })
    }

    pub(super) fn cache(&self) -> Cache {
        self.reach.create_cache()
    }

    /// Matches from `from` on, without the empty ones, which mark no text.
    pub(super) fn find(&self, text: &str, from: usize) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut at = from;
        while let Some(found_at) = self.regex.find_at(text, at) {
            let range = found_at.range();
            if range.is_empty() {
                let Some(next) = text[range.end..].chars().next() else { break };
                at = range.end + next.len_utf8();
                continue;
            }
            at = range.end;
            found.push(range);
        }
        found
    }

    /// The first place from `from` on where a match may have begun that more text could complete or
    /// lengthen.
    pub(super) fn live_from(&self, cache: &mut Cache, text: &str, from: usize) -> usize {
        let mut steps = limits::GUARDRAIL_LIVE_STEPS_MAX;
        for (offset, _) in text[from..].char_indices() {
            let start = from + offset;
            if self.is_live(cache, &text.as_bytes()[start..], &mut steps) {
                return start;
            }
        }
        text.len()
    }

    fn is_live(&self, cache: &mut Cache, rest: &[u8], steps: &mut usize) -> bool {
        let input = Input::new(rest).anchored(Anchored::Yes);
        // What cannot be told, or not within its bounds, is held.
        let Ok(mut state) = self.reach.start_state_forward(cache, &input) else { return true };
        for &byte in rest {
            if *steps == 0 {
                return true;
            }
            *steps -= 1;
            match self.reach.next_state(cache, state, byte) {
                Ok(next) if next.is_dead() => return false,
                Ok(next) if next.is_quit() => return true,
                Ok(next) => state = next,
                Err(_) => return true,
            }
        }
        true
    }
}

/// What asserts something about the place it is at, and matches no text, is left out.
fn without_borders(hir: &Hir) -> Hir {
    match hir.kind() {
        HirKind::Look(_) => Hir::empty(),
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) => hir.clone(),
        HirKind::Repetition(repetition) => Hir::repetition(Repetition {
            min: repetition.min,
            max: repetition.max,
            greedy: repetition.greedy,
            sub: Box::new(without_borders(&repetition.sub)),
        }),
        HirKind::Capture(capture) => without_borders(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(without_borders).collect()),
        HirKind::Alternation(parts) => {
            Hir::alternation(parts.iter().map(without_borders).collect())
        }
    }
}

fn reason(pattern: &str, error: &str) -> String {
    let looks_around = ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|group| pattern.contains(group));
    match looks_around {
        true => "look-around is not supported, as it is not by Bedrock".to_owned(),
        // The first lines repeat the pattern and point into it.
        false => error.lines().last().unwrap_or(error).trim_start_matches("error: ").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn only_what_may_still_match_is_held() {
        let live = |pattern: &str, text: &str| {
            let pattern = Pattern::new(pattern).unwrap();
            pattern.live_from(&mut pattern.cache(), text, 0)
        };
        assert_eq!(live(r"PRJ-\d{4}", "see PRJ-12"), 4);
        assert_eq!(live(r"PRJ-\d{4}", "see PRJ-1234"), 4);
        // The automaton tells a match one character behind its end.
        assert_eq!(live(r"PRJ-\d{4}", "see PRJ-1234, "), 14);
        assert_eq!(live(r"\bcat\b", "concat"), 3);
        assert_eq!(live(r"\bcat\b", "a 猫 cat it"), 12);
        assert_eq!(live(r"secret.*end", "a secret\nb"), 10);
        assert_eq!(live(r"a\b|abc", "xab"), 1);
    }

    #[test]
    fn what_cannot_be_searched_in_bounds_is_refused() {
        for (pattern, said) in [
            (r"(?=a)b", "look-around"),
            (r"(a{1000}){1000}", "limit"),
            (r"(a", "unclosed"),
            (r"(a)\1", "backreferences"),
        ] {
            let reason = Pattern::new(pattern).unwrap_err();
            assert!(reason.contains(said), "{pattern}: {reason}");
        }
        // Exponential where an engine backtracks.
        let pattern = Pattern::new(r"(a*)*b").unwrap();
        assert!(pattern.find(&"a".repeat(1 << 16), 0).is_empty());
        assert_eq!(pattern.live_from(&mut pattern.cache(), &"a".repeat(1 << 20), 0), 0);
    }
}
