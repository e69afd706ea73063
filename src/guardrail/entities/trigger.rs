//! The places of a text that are worth a look: digits, signs of addresses, words that announce
//! values. One pass finds them; most bytes cost it four look-ups and no branch.

use std::ops::Range;
use std::sync::OnceLock;

use super::keyed::{KEYWORDS, Keyword};
use super::{code, floor_char, network, token};
use crate::guardrail::fold::wide_char;

/// What starts a look at the text around it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Needle {
    At,
    Url,
    /// The top level of a domain's name.
    Domain,
    /// What makes the numerals before it an age.
    Years,
    /// A code that need not have a digit begins here, or right behind.
    Code,
    Keyword(Keyword),
}

#[derive(Debug, Clone)]
pub(super) enum Trigger {
    Needle(Range<usize>, Needle),
    /// An ASCII digit or a Han numeral.
    Digit(usize),
}

/// Groups of needles by the beginning that they share, each a bit.
type Groups = u64;

/// Every digit is in this group, every needle in one of the others.
const DIGITS: Groups = 1 << 63;
/// Characters beyond ASCII are looked up by themselves.
const BEYOND_ASCII: Groups = 1 << 62;
const NUM_GROUPS: usize = 62;
/// Bytes of a beginning.
const LEN: usize = 4;
/// Bytes that are looked at together.
const STEP: usize = 8;
/// The Han numerals and the Han characters by which needles begin lie in the basic plane.
const PLANE: usize = 1 << 16;
/// Numerals before it, as the circle, are none by themselves.
const FIRST_NUMERAL: char = '\u{3007}';

struct Needles {
    /// By [`bucket`], the longest first.
    buckets: Vec<Vec<(&'static str, Needle)>>,
    /// The groups with a needle whose first, second, … byte this is, or which is shorter.
    places: [[Groups; 256]; LEN],
    /// Characters beyond ASCII that are numerals or begin a needle.
    characters: Box<[u64; PLANE / 64]>,
}

impl Needles {
    fn all() -> &'static Self {
        static NEEDLES: OnceLock<Needles> = OnceLock::new();
        NEEDLES.get_or_init(|| {
            let mut needles = vec![("@", Needle::At), ("://", Needle::Url), ("www.", Needle::Url)];
            needles.extend(KEYWORDS.iter().map(|(text, key)| (*text, Needle::Keyword(*key))));
            needles.extend(network::AT_SIGNS.map(|sign| (sign, Needle::At)));
            needles.extend(network::TOP_LEVELS.iter().map(|top| (*top, Needle::Domain)));
            needles.extend(["岁", "歲"].map(|years| (years, Needle::Years)));
            needles.extend(["AKIA", "ASIA"].map(|prefix| (prefix, Needle::Code)));
            needles.extend(code::provinces().map(|province| (province, Needle::Code)));
            Self::new(needles)
        })
    }

    fn new(mut needles: Vec<(&'static str, Needle)>) -> Self {
        needles.sort_by_key(|(text, _)| usize::MAX - text.len());
        let mut buckets = vec![Vec::new(); 256];
        let mut places = [[0; 256]; LEN];
        let mut characters = Box::new([0; PLANE / 64]);
        for digit in b'0'..=b'9' {
            places[0][usize::from(digit)] |= DIGITS;
        }
        places[0][128..].fill(BEYOND_ASCII);
        let mut beginnings: Vec<&[u8]> = Vec::new();
        for (text, needle) in needles {
            buckets[bucket(text.as_bytes())].push((text, needle));
            let first = text.chars().next().expect("no needle is empty");
            if !first.is_ascii() {
                characters[first as usize / 64] |= 1 << (first as usize % 64);
                continue;
            }
            let beginning = &text.as_bytes()[..text.len().min(LEN)];
            if !beginnings.contains(&beginning) {
                beginnings.push(beginning);
            }
        }
        beginnings.sort_unstable();
        let num_beginnings = beginnings.len();
        for (index, beginning) in beginnings.into_iter().enumerate() {
            // A group of several beginnings accepts more than these, which costs a look.
            let group = 1 << (index * NUM_GROUPS / num_beginnings);
            for (place, groups) in places.iter_mut().enumerate() {
                match beginning.get(place) {
                    Some(byte) => groups[usize::from(*byte)] |= group,
                    None => groups.iter_mut().for_each(|groups| *groups |= group),
                }
            }
        }
        places[1..].iter_mut().flatten().for_each(|groups| *groups |= DIGITS | BEYOND_ASCII);
        for code in FIRST_NUMERAL as u32..PLANE as u32 {
            if char::from_u32(code).is_some_and(|numeral| token::han_digit(numeral).is_some()) {
                characters[code as usize / 64] |= 1 << (code % 64);
            }
        }
        Self { buckets, places, characters }
    }

    /// The longest needle that begins at `at`.
    fn needle(&self, text: &str, at: usize) -> Option<(Range<usize>, Needle)> {
        let rest = &text.as_bytes()[at..];
        let known = self.buckets[bucket(rest)].iter();
        let found = known.into_iter().find(|(needle, _)| rest.starts_with(needle.as_bytes()));
        found.map(|(needle, kind)| (at..at + needle.len(), *kind))
    }

    /// The first of the bytes from `at` on that a needle, a digit or a character beyond ASCII may
    /// begin with.
    #[inline]
    fn next_place(&self, bytes: &[u8], mut at: usize) -> Option<usize> {
        while let Some(head) = bytes[at..].first_chunk::<{ STEP + LEN - 1 }>() {
            let groups: [Groups; STEP] = std::array::from_fn(|place| self.groups(head, place));
            if groups.iter().fold(0, |all, groups| all | groups) != 0 {
                return groups.iter().position(|groups| *groups != 0).map(|place| at + place);
            }
            at += STEP;
        }
        // A byte that is not there is read as one that no needle has.
        (at..bytes.len()).find(|at| {
            let mut head = [0; LEN];
            let len = LEN.min(bytes.len() - at);
            head[..len].copy_from_slice(&bytes[*at..at + len]);
            self.groups(&head, 0) != 0
        })
    }

    #[inline]
    fn groups<const N: usize>(&self, head: &[u8; N], at: usize) -> Groups {
        let [first, second, third, fourth] = &self.places;
        let byte = |place: usize| usize::from(head[at + place]);
        first[byte(0)] & second[byte(1)] & third[byte(2)] & fourth[byte(3)]
    }
}

/// Where needles are that begin as these bytes do. Many Han characters share their first byte, and
/// fewer the last.
fn bucket(bytes: &[u8]) -> usize {
    match *bytes {
        [0x80..=0xFF, _, third, ..] => usize::from(third),
        [first, ..] => usize::from(first),
        [] => 0,
    }
}

/// The triggers of a text from an offset on, in order. Needles do not overlap one another.
pub(super) struct Triggers<'t> {
    needles: &'static Needles,
    text: &'t str,
    at: usize,
    /// The end of the last needle.
    needle_end: usize,
}

impl<'t> Triggers<'t> {
    pub(super) fn new(text: &'t str, from: usize) -> Self {
        let at = floor_char(text, from);
        Self { needles: Needles::all(), text, at, needle_end: at }
    }

    /// What is at an offset that may be of interest.
    #[inline(never)]
    fn look(&mut self, at: usize, character: char) -> Option<Trigger> {
        if character.is_ascii_digit()
            || character >= FIRST_NUMERAL && token::han_digit(character).is_some()
        {
            return Some(Trigger::Digit(at));
        }
        if at < self.needle_end {
            return None;
        }
        let (range, needle) = self.needles.needle(self.text, at)?;
        self.needle_end = range.end;
        Some(Trigger::Needle(range, needle))
    }
}

impl Iterator for Triggers<'_> {
    type Item = Trigger;

    fn next(&mut self) -> Option<Trigger> {
        let bytes = self.text.as_bytes();
        let mut at = self.at;
        while let Some(start) = self.needles.next_place(bytes, at) {
            at = start;
            while let Some(code) = wide_char(bytes, at)
                && self.needles.characters[code / 64] >> (code % 64) & 1 == 0
            {
                at += 3;
            }
            let Some(character) = self.text[at..].chars().next() else { break };
            let start = at;
            at += character.len_utf8();
            let code = character as usize;
            let is_known = character.is_ascii()
                || self
                    .needles
                    .characters
                    .get(code / 64)
                    .is_some_and(|it| it >> (code % 64) & 1 != 0);
            if is_known && let Some(found) = self.look(start, character) {
                self.at = at;
                return Some(found);
            }
        }
        self.at = bytes.len();
        None
    }
}
