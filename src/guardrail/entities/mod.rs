//! Sensitive information that has a form: numbers with checksums, codes, addresses of machines, and
//! values that a word before them gives away. Names and postal addresses have none and are learnt
//! elsewhere.
//!
//! Every rule looks at one value of bounded length, what comes right after it, and at most
//! [`LEFT_BYTES`] before it. So a text can be searched in pieces: see [`live_from`].

mod age;
mod checks;
mod code;
mod keyed;
mod kind;
mod label;
mod labels;
mod network;
mod number;
mod token;
mod trigger;

use std::ops::Range;

pub use kind::EntityKind;
pub(super) use kind::EntitySet;

use label::Labelled;
use token::{Group, Separator};
use trigger::{Needle, Trigger, Triggers};

/// Bytes before a place that rules may look at; a search that is taken up again needs them.
pub(super) const LEFT_BYTES: usize = 192;
/// Bytes of a token that rules look at; only an address on the web may be longer.
pub(super) const TOKEN_BYTES_MAX: usize = 256;
/// Bytes of an address on the web: what browsers and servers agree to carry.
const URL_BYTES_MAX: usize = 2_048;

const _: () = assert!(label::LABEL_BYTES_MAX <= LEFT_BYTES);

/// Something found, in bytes of the plain text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EntityHit {
    pub(super) range: Range<usize>,
    pub(super) kind: EntityKind,
    /// How sure it is, from 0 to 100: checksums above labels above looks.
    pub(super) sureness: u8,
}

/// Finds what `set` asks for in a plain text from `from` on, left to right, without overlaps. What
/// is before `from` is only looked back at.
pub(super) fn scan(text: &str, from: usize, set: EntitySet) -> Vec<EntityHit> {
    let mut scanner = Scanner { text, set, at: from, free_from: from, hits: Vec::new() };
    for trigger in Triggers::new(text, from.saturating_sub(label::LABEL_BYTES_MAX)) {
        match trigger {
            Trigger::Needle(range, needle) => scanner.needle(range, needle),
            Trigger::Digit(at) if at >= scanner.at => scanner.digit(at),
            Trigger::Digit(_) => {}
        }
    }
    scanner.hits
}

/// Where the first value may have begun that further text could complete or change. Nothing
/// before it changes, and a search taken up there finds the same.
pub(super) fn live_from(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut live, mut end) = (text.len(), text.len());
    // The last token, and those before it that could be of one value with it.
    loop {
        let spaces = spaces_before(&bytes[from..end], 3);
        let token_end = end - spaces;
        let token = token_start(text, token_end, from);
        let is_open = token_end == text.len();
        if token == token_end || !(is_open || can_be_part(&text[token..token_end])) {
            break;
        }
        (live, end) = (token, token);
        if text.len() - live > TOKEN_BYTES_MAX {
            let tail = floor_char(text, text.len() - TOKEN_BYTES_MAX);
            live = url_start(text, from).unwrap_or(tail);
            break;
        }
    }
    live.min(age::live_from(text, from)).max(from)
}

struct Scanner<'a> {
    text: &'a str,
    set: EntitySet,
    /// No number begins before this any more.
    at: usize,
    /// The end of the last find.
    free_from: usize,
    hits: Vec<EntityHit>,
}

/// What a rule proposes for a place.
struct Candidate {
    range: Range<usize>,
    kind: EntityKind,
    sureness: u8,
}

impl Scanner<'_> {
    fn needle(&mut self, range: Range<usize>, needle: Needle) {
        let found = match needle {
            Needle::At if range.start >= self.free_from => {
                network::email(self.text, range.start, self.free_from)
            }
            Needle::Url if range.start >= self.free_from => {
                network::url(self.text, range.start, self.free_from)
            }
            Needle::Domain if range.start >= self.free_from => {
                network::bare_url(self.text, range.start, self.free_from)
            }
            Needle::Code if range.start >= self.free_from => self.code(range),
            Needle::Years if range.start >= self.free_from => {
                age::in_han(self.text, range.start, self.free_from)
            }
            Needle::At | Needle::Url | Needle::Domain | Needle::Code | Needle::Years => None,
            Needle::Keyword(keyword) => keyed::value(self.text, range, keyword),
        };
        let found = found.filter(|candidate| candidate.range.start >= self.free_from);
        let Some(candidate) = found else { return };
        let url = candidate.range.clone();
        if !self.take(candidate)
            && let Some(password) = network::password_in(self.text, url)
        {
            self.take(password);
        }
    }

    /// The code of capitals that begins with a prefix, or behind a province.
    fn code(&self, needle: Range<usize>) -> Option<Candidate> {
        let bytes = self.text.as_bytes();
        let start = if bytes[needle.start].is_ascii() { needle.start } else { needle.end };
        let is_bordered = start == 0 || !bytes[start - 1].is_ascii_alphanumeric();
        let is_code = is_bordered && bytes.get(start).is_some_and(u8::is_ascii_uppercase);
        let mut best = Best::new(self.set);
        if is_code {
            self.candidates_from(start, &mut best);
        }
        best.candidate
    }

    fn take(&mut self, candidate: Candidate) -> bool {
        let Some(kind) = self.set.reported(candidate.kind) else { return false };
        self.at = self.at.max(candidate.range.end);
        self.free_from = candidate.range.end;
        let Candidate { range, sureness, .. } = candidate;
        self.hits.push(EntityHit { range, kind, sureness });
        true
    }

    /// Looks at the token around a digit.
    fn digit(&mut self, at: usize) {
        let text = self.text;
        if let Some(end) = token::few_numerals(text, at).or_else(|| age::not_one(text, at)) {
            self.at = self.at.max(end);
            return;
        }
        let token = token::token(text, at, self.at);
        if let Some(candidate) = network::in_token(text, token, at)
            && self.take(candidate)
        {
            return;
        }
        let run = run_start(text, at, self.at);
        let run_end = match text.as_bytes()[at].is_ascii() {
            true => text.as_bytes()[at..].iter().take_while(|b| b.is_ascii_alphanumeric()).count(),
            false => text[at..].chars().next().map_or(1, char::len_utf8),
        };
        let is_within = run > 0
            && (text.as_bytes()[run - 1].is_ascii_alphanumeric()
                || token::is_inside_singles(text, run));
        if !is_within {
            let best = self.candidate(run);
            if best.is_some_and(|candidate| self.take(candidate)) {
                return;
            }
        }
        self.at = self.at.max(at + run_end);
    }

    /// What the rules make of the value that begins at a run or right before it.
    fn candidate(&self, run: usize) -> Option<Candidate> {
        let mut best = Best::new(self.set);
        if let Some(before) = code::prefix(self.text, run, self.at) {
            self.candidates_from(before, &mut best);
        }
        self.candidates_from(run, &mut best);
        best.candidate
    }

    fn candidates_from(&self, start: usize, best: &mut Best) {
        let groups = token::groups(self.text, start);
        if !groups.is_empty() {
            // A number of two digits can only be an age.
            let distance_max = match &groups[..] {
                [only] if only.text.len() <= 2 => age::DISTANCE_MAX,
                _ => label::LABEL_BYTES_MAX,
            };
            let label = label::within(self.text, start, distance_max);
            let value = Value { text: self.text, from: self.free_from, groups: &groups, label };
            number::candidates(&value, best);
            code::candidates(&value, best);
            age::of_run(&value, best);
        }
    }
}

/// The surest candidate of those that somebody asks for, then the longest, then the first, then the
/// one proposed last.
struct Best {
    set: EntitySet,
    candidate: Option<Candidate>,
}

impl Best {
    fn new(set: EntitySet) -> Self {
        Self { set, candidate: None }
    }

    fn push(&mut self, candidate: Candidate) {
        let rank = |it: &Candidate| (it.sureness, it.range.len(), usize::MAX - it.range.start);
        let is_asked = self.set.reported(candidate.kind).is_some();
        if is_asked && self.candidate.as_ref().is_none_or(|known| rank(&candidate) >= rank(known)) {
            self.candidate = Some(candidate);
        }
    }
}

/// Groups that could be one value, and the text they are in.
struct Value<'a> {
    text: &'a str,
    /// A value cannot reach back beyond this.
    from: usize,
    groups: &'a [Group<'a>],
    /// What the words before it say it is.
    label: Option<Labelled>,
}

impl Value<'_> {
    fn start(&self) -> usize {
        self.groups[0].range.start
    }

    /// The range of the first `count` groups.
    fn range(&self, count: usize) -> Range<usize> {
        self.start()..self.groups[count - 1].range.end
    }

    fn byte_before(&self, at: usize) -> Option<u8> {
        at.checked_sub(1).map(|before| self.text.as_bytes()[before])
    }

    /// Whether the first `count` groups stand apart from what a number goes on with.
    fn has_borders(&self, count: usize) -> bool {
        let Range { start, end } = self.range(count);
        let bytes = self.text.as_bytes();
        let goes_on_before = matches!(self.byte_before(start), Some(b'-' | b'.' | b'/' | b'_'))
            && start.checked_sub(2).is_some_and(|at| bytes[at].is_ascii_alphanumeric());
        let goes_on_after = matches!(bytes.get(end), Some(b'-' | b'.' | b'/' | b'_'))
            && bytes.get(end + 1).is_some_and(u8::is_ascii_alphanumeric);
        let is_money = matches!(self.byte_before(start), Some(b'$' | b'%'))
            || self.text[..start].ends_with(['€', '£', '¥', '￥']);
        !goes_on_before && !goes_on_after && !is_money && bytes.get(end) != Some(&b'%')
    }

    fn separators(&self, count: usize) -> impl Iterator<Item = Separator> {
        self.groups[1..count].iter().map(|group| group.separator)
    }
}

fn floor_char(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn run_start(text: &str, at: usize, from: usize) -> usize {
    let before = text.as_bytes()[from..at].iter().rev().take(token::RUN_BYTES_MAX + 1);
    at - before.take_while(|byte| byte.is_ascii_alphanumeric()).count()
}

fn spaces_before(bytes: &[u8], limit: usize) -> usize {
    bytes.iter().rev().take(limit).take_while(|byte| **byte == b' ').count()
}

/// The start of the token that ends at `end`: no space, no letters of a writing without spaces but
/// numerals and what begins a number plate.
fn token_start(text: &str, end: usize, from: usize) -> usize {
    let is_part = |character: &char| {
        character.is_ascii_graphic()
            || matches!(character, '·' | '年' | '月')
            || token::han_digit(*character).is_some()
            || code::is_province(*character)
    };
    let back = text[from..end].chars().rev().take(URL_BYTES_MAX).take_while(is_part);
    end - back.map(char::len_utf8).sum::<usize>()
}

/// Whether a token could be one of several that make a value: it has digits, or is a sign, a single
/// letter, a short code or a month.
fn can_be_part(token: &str) -> bool {
    let has_digit = token.chars().any(|c| c.is_ascii_digit() || token::han_digit(c).is_some());
    let is_code = token.len() <= 5 && token.bytes().all(|byte| !byte.is_ascii_lowercase());
    let is_month = number::is_month_name(token.trim_end_matches([',', '.']));
    has_digit || token.chars().count() <= 1 || is_code || is_month
}

/// The start of an address on the web that the text ends in.
fn url_start(text: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let back = bytes[from..].iter().rev().take(URL_BYTES_MAX);
    let start = text.len() - back.take_while(|byte| byte.is_ascii_graphic()).count();
    let token = &text[start..];
    let at = token.find("://").or_else(|| token.find("www."))?;
    network::url(text, start + at, from).map(|candidate| candidate.range.start)
}

#[cfg(test)]
mod tests;
