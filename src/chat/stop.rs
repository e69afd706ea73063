//! Stop strings in a stream: holds back only what may still become one.
//!
//! The output is that of truncating the whole text at the leftmost occurrence of any stop string,
//! however the text is cut into pieces. Of two stop strings that begin at the same place the
//! shorter one counts, because it is complete first.

use std::collections::{BTreeSet, HashMap};

use aho_corasick::{
    Anchored,
    automaton::{Automaton, StateID},
    nfa::contiguous::NFA,
};
use thiserror::Error;

use crate::limits;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum StopError {
    #[error("stop sequence {index} is empty")]
    Empty { index: usize },
    #[error("{count} stop sequences were given, with a limit of {limit}")]
    TooMany { count: usize, limit: usize },
    #[error("the stop sequences have {bytes} bytes together, with a limit of {limit}")]
    TooLong { bytes: usize, limit: usize },
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct StopOutput {
    /// Text that can be sent on.
    pub text: String,
    /// The stop string that was found; everything from it on is dropped.
    pub stopped_at: Option<String>,
}

#[derive(Debug)]
pub struct StopStrings {
    /// `None` without stop strings: text passes through.
    search: Option<Search>,
}

#[derive(Debug)]
struct Search {
    automaton: NFA,
    /// How many bytes of the text just read are the beginning of a stop string, by state.
    depths: HashMap<StateID, usize>,
    /// By pattern.
    stops: Vec<String>,
    start: StateID,
    state: StateID,
    /// Text that has been read and not released.
    held: String,
    /// A stop string in `held`, the leftmost so far; another may still turn out to begin earlier.
    found: Option<Found>,
    done: bool,
}

#[derive(Debug, Clone, Copy)]
struct Found {
    start: usize,
    pattern: usize,
}

impl StopStrings {
    pub fn new(stops: &[String]) -> Result<Self, StopError> {
        let count = stops.len();
        if count > limits::STOP_STRINGS_MAX {
            return Err(StopError::TooMany { count, limit: limits::STOP_STRINGS_MAX });
        }
        let bytes = stops.iter().map(String::len).sum();
        if bytes > limits::STOP_STRINGS_BYTES_MAX {
            return Err(StopError::TooLong { bytes, limit: limits::STOP_STRINGS_BYTES_MAX });
        }
        if let Some(index) = stops.iter().position(String::is_empty) {
            return Err(StopError::Empty { index });
        }
        Ok(Self { search: (count > 0).then(|| Search::new(stops)) })
    }

    /// After a stop string was found nothing more comes out.
    pub fn push(&mut self, text: &str) -> StopOutput {
        match &mut self.search {
            None => StopOutput { text: text.to_owned(), stopped_at: None },
            Some(search) => search.push(text),
        }
    }

    /// Releases what was held back. Here a stop string can come to light that was complete, but
    /// overlapped one that began earlier and did not complete.
    pub fn finish(&mut self) -> StopOutput {
        match &mut self.search {
            None => StopOutput::default(),
            Some(search) => search.finish(),
        }
    }
}

impl Search {
    fn new(stops: &[String]) -> Self {
        let stops = without_extensions(stops);
        let automaton = NFA::new(&stops).expect("the limits on stop strings keep it small");
        let start = automaton.start_state(Anchored::No).expect("unanchored search is on");
        let mut depths = HashMap::from([(start, 0)]);
        for stop in &stops {
            let mut state = start;
            for (index, &byte) in stop.as_bytes().iter().enumerate() {
                state = automaton.next_state(Anchored::No, state, byte);
                depths.insert(state, index + 1);
            }
        }
        Self {
            automaton,
            depths,
            stops,
            start,
            state: start,
            held: String::new(),
            found: None,
            done: false,
        }
    }

    fn push(&mut self, text: &str) -> StopOutput {
        if self.done {
            return StopOutput::default();
        }
        let read = self.held.len();
        self.held.push_str(text);
        for end in read + 1..=self.held.len() {
            let byte = self.held.as_bytes()[end - 1];
            self.state = self.automaton.next_state(Anchored::No, self.state, byte);
            self.note_matches(end);
            if self.found.is_some_and(|found| found.start <= end - self.depth()) {
                return self.stop();
            }
        }
        let undecided = self.held.len() - self.depth();
        let release = self.found.map_or(undecided, |found| undecided.min(found.start));
        if let Some(found) = &mut self.found {
            found.start -= release;
        }
        let rest = self.held.split_off(release);
        StopOutput { text: std::mem::replace(&mut self.held, rest), stopped_at: None }
    }

    fn finish(&mut self) -> StopOutput {
        if self.done {
            return StopOutput::default();
        }
        if self.found.is_some() {
            return self.stop();
        }
        self.state = self.start;
        StopOutput { text: std::mem::take(&mut self.held), stopped_at: None }
    }

    /// Remembers the leftmost of the stop strings that end at `end`.
    fn note_matches(&mut self, end: usize) {
        if !self.automaton.is_match(self.state) {
            return;
        }
        for index in 0..self.automaton.match_len(self.state) {
            let pattern = self.automaton.match_pattern(self.state, index).as_usize();
            let start = end - self.stops[pattern].len();
            if self.found.is_none_or(|found| start < found.start) {
                self.found = Some(Found { start, pattern });
            }
        }
    }

    fn depth(&self) -> usize {
        *self.depths.get(&self.state).expect("every state is the beginning of a stop string")
    }

    fn stop(&mut self) -> StopOutput {
        self.done = true;
        let mut text = std::mem::take(&mut self.held);
        let stopped_at = self.found.take().map(|found| {
            text.truncate(found.start);
            self.stops[found.pattern].clone()
        });
        StopOutput { text, stopped_at }
    }
}

/// Leaves out stop strings that begin with another one: the other is always complete first.
fn without_extensions(stops: &[String]) -> Vec<String> {
    let sorted: BTreeSet<&String> = stops.iter().collect();
    let mut kept: Vec<String> = Vec::with_capacity(sorted.len());
    for stop in sorted {
        // In sorted order everything that begins with a string follows it directly.
        if kept.last().is_none_or(|shorter| !stop.starts_with(shorter.as_str())) {
            kept.push(stop.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;

    fn strings(stops: &[&str]) -> Vec<String> {
        stops.iter().map(|stop| (*stop).to_owned()).collect()
    }

    fn stream<'a>(stops: &[String], pieces: impl Iterator<Item = &'a str>) -> StopOutput {
        let mut stop_strings = StopStrings::new(stops).unwrap();
        let mut all = StopOutput::default();
        for piece in pieces {
            let output = stop_strings.push(piece);
            all.text.push_str(&output.text);
            all.stopped_at = all.stopped_at.or(output.stopped_at);
        }
        let output = stop_strings.finish();
        all.text.push_str(&output.text);
        all.stopped_at = all.stopped_at.or(output.stopped_at);
        all
    }

    fn whole(stops: &[String], text: &str) -> StopOutput {
        let leftmost = stops
            .iter()
            .filter_map(|stop| text.find(stop).map(|start| (start, stop.len(), stop)))
            .min();
        match leftmost {
            None => StopOutput { text: text.to_owned(), stopped_at: None },
            Some((start, _, stop)) => {
                StopOutput { text: text[..start].to_owned(), stopped_at: Some(stop.clone()) }
            }
        }
    }

    #[test]
    fn nothing_of_a_stop_string_leaks_when_it_is_split() {
        let mut stops = StopStrings::new(&strings(&["</answer>"])).unwrap();
        assert_eq!(stops.push("42 </ans").text, "42 ");
        assert_eq!(stops.push("wer").text, "");
        let output = stops.push("> and more");
        assert_eq!(output.text, "");
        assert_eq!(output.stopped_at.as_deref(), Some("</answer>"));
        assert_eq!(stops.push("more"), StopOutput::default());
        assert_eq!(stops.finish(), StopOutput::default());
    }

    #[test]
    fn what_only_began_like_a_stop_string_is_released() {
        let mut stops = StopStrings::new(&strings(&["abcd"])).unwrap();
        assert_eq!(stops.push("xabc").text, "x");
        assert_eq!(stops.push("ab").text, "abc");
        assert_eq!(stops.finish().text, "ab");
    }

    #[test]
    fn holds_back_no_more_than_the_beginning_of_a_stop_string() {
        let long = "z".repeat(500);
        let mut stops = StopStrings::new(&[long, "END".to_owned()]).unwrap();
        assert_eq!(stops.push("text E").text, "text ");
    }

    #[test]
    fn a_stop_string_that_begins_earlier_wins_though_it_is_complete_later() {
        let stops = strings(&["bcd", "abcde"]);
        let output = stream(&stops, "xabcde".split_inclusive(|_| true));
        assert_eq!(output.text, "x");
        assert_eq!(output.stopped_at.as_deref(), Some("abcde"));
    }

    #[test]
    fn a_stop_string_is_found_at_the_end_when_an_earlier_one_stays_incomplete() {
        let stops = strings(&["bcd", "abcde"]);
        let output = stream(&stops, "xabcd".split_inclusive(|_| true));
        assert_eq!(output.text, "xa");
        assert_eq!(output.stopped_at.as_deref(), Some("bcd"));
    }

    #[test]
    fn the_limits_are_named_by_their_refusal() {
        let many = vec!["x".to_owned(); limits::STOP_STRINGS_MAX];
        assert!(StopStrings::new(&many).is_ok());
        let more = vec!["x".to_owned(); limits::STOP_STRINGS_MAX + 1];
        let count = more.len();
        assert_eq!(
            StopStrings::new(&more).unwrap_err(),
            StopError::TooMany { count, limit: limits::STOP_STRINGS_MAX }
        );
        assert!(StopStrings::new(&["y".repeat(limits::STOP_STRINGS_BYTES_MAX)]).is_ok());
        let bytes = limits::STOP_STRINGS_BYTES_MAX + 1;
        assert_eq!(
            StopStrings::new(&["y".repeat(bytes)]).unwrap_err(),
            StopError::TooLong { bytes, limit: limits::STOP_STRINGS_BYTES_MAX }
        );
        let empty = StopStrings::new(&strings(&["a", ""])).unwrap_err();
        assert_eq!(empty, StopError::Empty { index: 1 });
    }

    /// 2,500 stop strings and 10,000 tokens of text that begins like them at every place; the
    /// bound of a millisecond a token holds even for this unoptimized build.
    #[test]
    fn the_cost_of_a_token_does_not_grow_with_the_number_of_stop_strings() {
        let stops: Vec<String> = (0..limits::STOP_STRINGS_MAX)
            .map(|index| format!("{}{index:05}", "ab".repeat(index % 40)))
            .collect();
        let mut stop_strings = StopStrings::new(&stops).unwrap();
        let started = Instant::now();
        for _ in 0..10_000 {
            assert_eq!(stop_strings.push("abab").stopped_at, None);
        }
        assert!(started.elapsed().as_secs() < 10, "more than 1 ms a token");
    }

    proptest! {
        #[test]
        fn any_split_gives_the_text_up_to_the_leftmost_stop_string(
            stops in proptest::collection::vec("[ab\u{e9}\u{1f980}]{1,5}", 0..6),
            pieces in proptest::collection::vec("[ab\u{e9}\u{1f980}]{0,6}", 0..10),
        ) {
            let text = pieces.concat();
            let pieces = pieces.iter().map(String::as_str);
            prop_assert_eq!(stream(&stops, pieces), whole(&stops, &text));
        }
    }
}
