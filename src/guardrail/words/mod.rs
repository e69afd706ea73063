//! Words that must not be said: custom ones and the managed list PROFANITY.
//!
//! A word counts where it stands as a word, also behind look-alikes, digits for letters, stretched
//! letters, stars, and letters pulled apart. Words of writings without spaces count anywhere,
//! unless a longer innocent phrase holds them.

mod filter;
mod trie;
mod walk;

use std::ops::Range;
use std::sync::OnceLock;

use crate::guardrail::fold::Folded;

use filter::Filter;
use trie::{Terminal, Trie};
use walk::Walk;

const PROFANITY: [&str; 2] = [
    include_str!("../../../models/guardrail/words/profanity-en.txt"),
    include_str!("../../../models/guardrail/words/profanity-zh.txt"),
];
const INNOCENT: &str = include_str!("../../../models/guardrail/words/innocent.txt");
/// Managed words of one character that are parts of a thousand harmless ones: they count where no
/// other Han character is beside them.
const ONLY_ALONE: &str = "性乳卵奶干烂柒逼撚鸠贱妓奸";

/// One word found, in bytes of the folded text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WordHit {
    pub(super) range: Range<usize>,
    /// The custom word by its place in the list.
    pub(super) custom: Option<usize>,
    pub(super) is_managed: bool,
}

/// What a text holds and from where on it could still hold more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WordScan {
    pub(super) hits: Vec<WordHit>,
    /// Where the first word may have begun that further text could complete; nothing before it
    /// changes. The text's length where there is none.
    pub(super) live_from: usize,
}

/// All lists of a guardrail, ready to search.
#[derive(Debug)]
pub(super) struct WordMatcher {
    trie: Trie,
    filter: Filter,
}

impl WordMatcher {
    pub(super) fn new<'a>(custom: impl Iterator<Item = &'a str>, managed: bool) -> Self {
        let mut matcher = Self { trie: Trie::new(), filter: Filter::new() };
        for (index, word) in custom.enumerate() {
            let word = normal(word);
            if !word.is_empty() {
                matcher.insert(&word).custom = index as u32 + 1;
            }
        }
        if managed {
            for word in PROFANITY.iter().flat_map(|list| entries(list)) {
                matcher.insert(&normal(word)).is_managed = true;
            }
        }
        for phrase in innocent() {
            let terminal = matcher.insert(phrase);
            terminal.is_innocent = terminal.custom == 0;
        }
        matcher
    }

    fn insert(&mut self, word: &str) -> &mut Terminal {
        self.filter.insert(word);
        self.trie.insert(word)
    }

    /// Searches a skeleton from an offset on, which what is before it is only the left border of.
    /// Without `is_end`, what could go on beyond the text is left to the next search.
    pub(super) fn scan(&self, skeleton: &str, from: usize, is_end: bool) -> WordScan {
        let mut scan = WordScan { hits: Vec::new(), live_from: skeleton.len() };
        let mut walk = Walk::new(&self.trie, skeleton, is_end);
        let mut at = from;
        // Words within this phrase do no harm.
        let mut innocent = from..from;
        while let Some(start) = self.filter.next_start(skeleton, at)
            && let Some(character) = next_char(skeleton, start)
        {
            at = start;
            let previous = skeleton[..at].chars().next_back();
            let end = at + character.len_utf8();
            if walk.can_start(previous, character) {
                let found = walk.from(at);
                if found.is_live {
                    scan.live_from = if at < innocent.end { innocent.start } else { at };
                    return scan;
                }
                if found.innocent_end > innocent.end {
                    innocent = at..found.innocent_end;
                }
                if let Some((word_end, terminal)) = found.word
                    && word_end > innocent.end
                    && !self.is_only_part(skeleton, at..word_end, terminal.custom == 0)
                {
                    scan.hits.push(WordHit {
                        range: at..word_end,
                        custom: (terminal.custom as usize).checked_sub(1),
                        is_managed: terminal.is_managed,
                    });
                    at = word_end;
                    continue;
                }
            }
            at = end;
        }
        scan
    }

    /// Whether a managed word of a single character has others of its writing beside it.
    fn is_only_part(&self, skeleton: &str, range: Range<usize>, only_managed: bool) -> bool {
        let mut characters = skeleton[range.clone()].chars();
        let (Some(only), None) = (characters.next(), characters.next()) else { return false };
        only_managed
            && ONLY_ALONE.contains(only)
            && [skeleton[..range.start].chars().next_back(), next_char(skeleton, range.end)]
                .into_iter()
                .flatten()
                .any(walk::is_unspaced)
    }
}

#[inline]
fn next_char(text: &str, at: usize) -> Option<char> {
    match text.as_bytes().get(at) {
        Some(byte) if byte.is_ascii() => Some(char::from(*byte)),
        Some(_) => text[at..].chars().next(),
        None => None,
    }
}

fn innocent() -> &'static [String] {
    static PHRASES: OnceLock<Vec<String>> = OnceLock::new();
    PHRASES.get_or_init(|| entries(INNOCENT).map(normal).collect())
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A word as the tree holds it: folded, with single spaces.
fn normal(word: &str) -> String {
    let skeleton = Folded::skeleton(word);
    skeleton.text().replace('\0', "").split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
