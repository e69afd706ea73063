//! One walk through the tree of words along a text, with the detours by which people write a word
//! so that a list does not know it.

use super::next_char;
use super::trie::{Node, ROOT, Terminal, Trie};

/// Steps of one walk, all its branches together. A walk takes as many as the word is long unless a
/// text is made to branch; then it goes on without detours.
const STEPS_MAX: usize = 64;
/// Letters of a word pulled apart. Whoever writes longer ones so is not read to the end.
const APART_MAX: usize = 32;
/// Characters that may stand between two letters pulled apart.
pub(super) const JOINERS_MAX: usize = 3;
/// A starred word is as long as this, since `x*y` is arithmetic.
const STARRED_LETTERS_MIN: usize = 4;

/// Writes words without spaces between them, or attaches endings without a border.
pub(super) fn is_unspaced(character: char) -> bool {
    matches!(u32::from(character),
        0xE00..=0xEFF | 0x1000..=0x109F | 0x1100..=0x11FF | 0x1780..=0x17FF | 0x2E80..=0x2FDF
        | 0x3005..=0x3007 | 0x3040..=0xA4CF | 0xAC00..=0xD7FF | 0xF900..=0xFAFF
        | 0x1F000..=0x1FAFF | 0x20000..=0x3FFFF)
}

/// Is part of a word that spaces set apart.
fn is_spaced(character: char) -> bool {
    !is_unspaced(character) && character.is_alphanumeric()
}

/// The same as Unicode says, sooner.
fn is_alphabetic(character: char) -> bool {
    matches!(character, 'a'..='z' | '\u{4E00}'..='\u{9FA5}') || character.is_alphabetic()
}

/// The letters that a digit or sign stands for.
pub(super) fn leet(character: char) -> &'static [char] {
    match character {
        '0' => &['o'],
        '1' => &['i', 'l'],
        '2' => &['z'],
        '3' => &['e'],
        '4' | '@' => &['a'],
        '5' | '$' => &['s'],
        '6' => &['g', 'b'],
        '7' | '+' => &['t'],
        '8' => &['b'],
        '9' => &['g'],
        '!' | '|' => &['i', 'l'],
        '(' => &['c'],
        '€' => &['e'],
        '£' => &['l'],
        '¥' => &['y'],
        _ => &[],
    }
}

pub(super) fn is_star(character: char) -> bool {
    matches!(character, '*' | '#' | '×')
}

/// Stands between the parts of a word without being one.
fn is_joiner(character: char) -> bool {
    let is_line_end = matches!(character, '\n' | '\r');
    !(is_alphabetic(character) || character.is_numeric() || is_line_end)
}

/// What a walk from one place found.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Found {
    /// The longest word: its end and what it is.
    pub(super) word: Option<(usize, Terminal)>,
    pub(super) innocent_end: usize,
    /// The text ended before it was clear.
    pub(super) is_live: bool,
}

/// Where a branch of a walk stands.
#[derive(Debug, Clone, Copy)]
struct State {
    node: Node,
    at: usize,
    /// The last character of the word so far.
    last: char,
    num_units: usize,
    num_letters: usize,
    num_digits: usize,
    num_stars: usize,
    /// What stands between letters pulled apart, once that has begun.
    joiner: Option<char>,
    /// Han characters were pulled apart.
    is_apart: bool,
}

pub(super) struct Walk<'a> {
    trie: &'a Trie,
    text: &'a str,
    is_end: bool,
    found: Found,
    steps: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(trie: &'a Trie, text: &'a str, is_end: bool) -> Self {
        Self { trie, text, is_end, found: Found::default(), steps: 0 }
    }

    #[inline]
    pub(super) fn can_start(&self, previous: Option<char>, character: char) -> bool {
        if character.is_ascii_alphanumeric() {
            return !previous.is_some_and(is_spaced);
        }
        !(is_spaced(character) && previous.is_some_and(is_spaced))
    }

    pub(super) fn from(&mut self, start: usize) -> Found {
        self.found = Found::default();
        self.steps = 0;
        self.go(State {
            node: ROOT,
            at: start,
            last: '\0',
            num_units: 0,
            num_letters: 0,
            num_digits: 0,
            num_stars: 0,
            joiner: None,
            is_apart: false,
        });
        self.found
    }

    /// Follows the text as it is and branches off where it could be meant otherwise.
    fn go(&mut self, mut state: State) {
        loop {
            self.steps += 1;
            let detours = self.steps < STEPS_MAX;
            if state.node != ROOT {
                self.end_here(&state);
            }
            let Some(character) = next_char(self.text, state.at) else {
                self.found.is_live |= !self.is_end;
                return;
            };
            let after = state.at + character.len_utf8();
            if detours {
                self.branch(&state, character, after);
            }
            let Some(node) = self.trie.child(state.node, character) else { return };
            state = State {
                node,
                at: after,
                last: character,
                num_units: state.num_units + 1,
                num_letters: state.num_letters + usize::from(is_alphabetic(character)),
                num_digits: state.num_digits,
                ..state
            };
            if let Some(joiner) = state.joiner {
                match self.skip_joiner(&state, joiner) {
                    Some(next) => state = next,
                    None => return,
                }
            }
        }
    }

    /// The other ways to read a character.
    #[inline]
    fn branch(&mut self, state: &State, character: char, after: usize) {
        if character.is_ascii_lowercase() {
            if character == state.last {
                self.stretch(state, after);
            }
            return;
        }
        let unit = State { at: after, num_units: state.num_units + 1, ..*state };
        for &letter in leet(character) {
            let is_digit = character.is_ascii_digit();
            if let Some(node) = self.trie.child(state.node, letter) {
                self.joined(State {
                    node,
                    last: letter,
                    num_digits: unit.num_digits + usize::from(is_digit),
                    ..unit
                });
            }
        }
        if state.node == ROOT {
            return;
        }
        if is_star(character) && state.num_letters > 0 && state.joiner.is_none() {
            for letter in 'a'..='z' {
                if let Some(node) = self.trie.child(state.node, letter) {
                    let num_stars = state.num_stars + 1;
                    self.go(State { node, last: letter, num_stars, ..unit });
                }
            }
        }
        if character == state.last {
            self.stretch(state, after);
        }
        if is_joiner(character) && state.joiner.is_none() {
            self.pull_apart(state, character);
        }
        let is_gap = character == ' ' || matches!(character, '-' | '_' | '\n' | '\t');
        if is_gap && self.trie.child(state.node, ' ').is_some() {
            self.gap(state);
        }
    }

    fn joined(&mut self, state: State) {
        match state.joiner {
            None => self.go(state),
            Some(joiner) => {
                if let Some(next) = self.skip_joiner(&state, joiner) {
                    self.go(next);
                }
            }
        }
    }

    /// A letter that is written three times or more may stand for fewer.
    fn stretch(&mut self, state: &State, after: usize) {
        let before = self.text[..state.at].chars().rev().take(2);
        let is_third = before.filter(|character| *character == state.last).count() == 2;
        let is_second_of_three = next_char(self.text, after).map_or(!self.is_end, |next| {
            next == state.last && self.text[..state.at].ends_with(state.last)
        });
        if is_third || is_second_of_three {
            self.go(State { at: after, ..*state });
        }
    }

    /// Space between the words of a phrase, however it is made.
    fn gap(&mut self, state: &State) {
        let mut at = state.at;
        let mut num_gaps = 0;
        while let Some(character) = next_char(self.text, at)
            && (character.is_whitespace() || matches!(character, '-' | '_'))
            && num_gaps < JOINERS_MAX
        {
            at += character.len_utf8();
            num_gaps += 1;
        }
        if at == self.text.len() {
            self.found.is_live |= !self.is_end;
        }
        if let Some(node) = self.trie.child(state.node, ' ') {
            self.go(State { node, at, last: ' ', num_units: state.num_units + 1, ..*state });
        }
    }

    /// `w-o-r-d`: the letters of a spaced word are pulled apart by the same sign from the first on,
    /// Han characters by anything.
    fn pull_apart(&mut self, state: &State, joiner: char) {
        if is_unspaced(state.last) {
            let mut at = state.at;
            for _ in 0..JOINERS_MAX {
                match next_char(self.text, at) {
                    None => {
                        self.found.is_live |= !self.is_end;
                        return;
                    }
                    Some(character) if is_joiner(character) => at += character.len_utf8(),
                    Some(_) => break,
                }
            }
            let next = next_char(self.text, at);
            if next.is_some_and(|next| self.trie.child(state.node, next).is_some()) {
                self.go(State { at, is_apart: true, ..*state });
            }
        } else if state.num_units == 1 {
            let state = State { joiner: Some(joiner), ..*state };
            if let Some(next) = self.skip_joiner(&state, joiner) {
                self.go(next);
            }
        }
    }

    /// Behind the joiner, if a single letter follows it. At the last letter of a word there is
    /// none.
    fn skip_joiner(&mut self, state: &State, joiner: char) -> Option<State> {
        if self.trie.terminal(state.node).is_word() {
            self.end_apart(state, joiner);
        }
        let Some(character) = next_char(self.text, state.at) else {
            self.found.is_live |= !self.is_end;
            return None;
        };
        if character != joiner || state.num_units > APART_MAX {
            return None;
        }
        let at = state.at + joiner.len_utf8();
        // A phrase keeps its gap, which looks like one joiner more.
        if let Some(node) = self.trie.child(state.node, ' ') {
            let gap = usize::from(next_char(self.text, at) == Some(joiner)) * joiner.len_utf8();
            self.go(State { node, at: at + gap, last: ' ', ..*state });
        }
        Some(State { at, ..*state })
    }

    /// A pulled-apart word ends where no further single letter of the same row follows.
    fn end_apart(&mut self, state: &State, joiner: char) {
        let rest = &self.text[state.at..];
        let mut next = rest.chars();
        let (first, second, third) = (next.next(), next.next(), next.next());
        let goes_on = first == Some(joiner)
            && second.is_some_and(is_spaced)
            && !(joiner == ' ' && matches!(second, Some('a' | 'i')))
            && third.is_none_or(|third| !is_spaced(third));
        if third.is_none() && !self.is_end {
            self.found.is_live = true;
        } else if !goes_on && !first.is_some_and(is_spaced) {
            self.accept(state);
        }
    }

    /// Takes note of a word that ends here, if it has a border.
    fn end_here(&mut self, state: &State) {
        let terminal = self.trie.terminal(state.node);
        if terminal == Terminal::default() || state.joiner.is_some() {
            return;
        }
        if is_spaced(state.last) {
            match next_char(self.text, state.at) {
                None if !self.is_end => self.found.is_live = true,
                Some(next) if is_spaced(next) => return,
                _ => {}
            }
        }
        self.accept(state);
    }

    fn accept(&mut self, state: &State) {
        let terminal = self.trie.terminal(state.node);
        // With few letters of its own it is a number, or the name of a road.
        let digits_max =
            if state.num_units > 4 { state.num_units * 2 / 3 } else { state.num_units / 2 };
        if state.num_digits > 0 && (state.num_letters == 0 || state.num_digits > digits_max) {
            return;
        }
        if state.num_stars > 0
            && (state.num_units < STARRED_LETTERS_MIN || state.num_stars * 2 > state.num_units)
        {
            return;
        }
        // Whoever pulls a phrase apart does it for the word in it.
        if terminal.is_innocent && !state.is_apart {
            self.found.innocent_end = self.found.innocent_end.max(state.at);
        }
        if terminal.is_word() && self.found.word.is_none_or(|(end, _)| end < state.at) {
            self.found.word = Some((state.at, terminal));
        }
    }
}
