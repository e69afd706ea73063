//! Where in a text a word could begin at all: most places are ruled out by what stands there, so
//! that the walk through the tree is for few.
//!
//! A run of letters is ruled out as a whole: the letters that a word begins with are a run too, and
//! the two are equal unless a sign that stands for a letter follows, or letters are stretched or
//! pulled apart. Of a phrase the second word's first letters count too. Han characters are ruled
//! out by pairs.

use super::next_char;
use super::walk::{JOINERS_MAX, is_star, leet};
use crate::guardrail::fold::wide_char;

/// The golden ratio's bits, which spread those of a key.
const PHI: u64 = 0x9E37_79B9_7F4A_7C15;
/// Bits of the table of beginnings: with ten thousand words nine of ten are clear.
const LOG2_BITS: u32 = 18;
/// A longer run of letters is known by so many.
const RUN_LEN: usize = 8;
/// Digits of a number that are read as letters. More are walked.
const DIGITS_MAX: usize = 6;
/// Bytes of the text that are looked at from the place on. Where fewer are left nothing is ruled
/// out, since the text may go on.
const HEAD_BYTES: usize = 16;
/// In place of the letters behind a run, for one that is a word or goes on otherwise.
const NO_PHRASE: [u8; 2] = [0; 2];
/// In place of the character behind two Han characters that are a word.
const NONE: u32 = 1;
/// And behind one from which a word goes on with something else than Han.
const MIXED: u32 = 2;
/// And behind one of another script, by which a word begins.
const OTHER: u32 = 3;
/// Code points of the basic plane.
const PLANE: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct Filter {
    /// ASCII characters, beside lower-case letters, by which a word begins.
    ascii: Box<[bool; 128]>,
    /// Runs of letters by which words begin, and pairs of Han characters.
    beginnings: Box<[u64]>,
    /// Han characters that are words.
    alone: Box<[u64; PLANE / 64]>,
    /// Bytes that a run of letters may be left by, on the way to a letter; of characters beyond
    /// ASCII the first one.
    stands_for_letter: Box<[bool; 256]>,
}

impl Filter {
    pub(super) fn new() -> Self {
        let mut stands_for_letter = Box::new([false; 256]);
        for character in (0..0xFFFF).filter_map(char::from_u32) {
            if is_star(character) || !leet(character).is_empty() {
                let first = character.encode_utf8(&mut [0; 4]).as_bytes()[0];
                stands_for_letter[usize::from(first)] = true;
            }
        }
        Self {
            ascii: Box::new([false; 128]),
            beginnings: vec![0; 1 << (LOG2_BITS - 6)].into(),
            alone: Box::new([0; PLANE / 64]),
            stands_for_letter,
        }
    }

    pub(super) fn insert(&mut self, word: &str) {
        let mut characters = word.chars();
        let Some(first) = characters.next() else { return };
        match first {
            'a'..='z' => {
                let (run, rest) = word.as_bytes().split_at(num_lowercase(word.as_bytes()));
                let mut head = [0; RUN_LEN];
                let len = run.len().min(RUN_LEN);
                head[..len].copy_from_slice(&run[..len]);
                let key = run_key(u64::from_le_bytes(head), run.len());
                self.mark(key);
                self.mark(match *rest {
                    [b' ', c @ b'a'..=b'z', d @ b'a'..=b'z', ..] => phrase_key(key, [c, d]),
                    _ => phrase_key(key, NO_PHRASE),
                });
            }
            _ if first.is_ascii() => self.ascii[first as usize] = true,
            _ if is_han(first) => {
                let Some(second) = characters.next() else {
                    self.alone[first as usize / 64] |= 1 << (first as usize % 64);
                    return;
                };
                self.mark(han_key(first as u32, second as u32));
                if is_han(second) {
                    let third = characters.next().map_or(NONE, u32::from);
                    self.mark(han_triple_key(first, second, third));
                } else {
                    self.mark(han_key(first as u32, MIXED));
                }
            }
            _ => self.mark(han_key(first as u32, OTHER)),
        }
    }

    /// The first place from `at` on where a walk could find something.
    #[inline]
    pub(super) fn next_start(&self, text: &str, mut at: usize) -> Option<usize> {
        let bytes = text.as_bytes();
        while let Some(&byte) = bytes.get(at) {
            if byte.is_ascii_lowercase() {
                // Within a word of letters none begins.
                let is_inside = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
                let len = 1 + num_lowercase(&bytes[at + 1..]);
                if !is_inside && !self.rules_out(&bytes[at..], len, byte) {
                    return Some(at);
                }
                at += len;
            } else if byte.is_ascii() {
                let is_disguise = self.stands_for_letter[usize::from(byte)]
                    && !self.rules_out_disguised(bytes, at);
                if self.ascii[usize::from(byte)] || is_disguise {
                    return Some(at);
                }
                at += 1;
            } else {
                at = self.behind_han(bytes, at);
                let first = next_char(text, at)?;
                let behind = at + first.len_utf8();
                let is_out = match is_han(first) {
                    true => self.rules_out_han(text, first, behind),
                    false => !self.has(han_key(first as u32, OTHER)) && leet(first).is_empty(),
                };
                if !is_out {
                    return Some(at);
                }
                at = behind;
            }
        }
        None
    }

    /// Whether no word begins with the run of `len` letters at the start of `bytes`, however it is
    /// written; `first` is the letter that the first byte stands for.
    #[inline]
    fn rules_out(&self, bytes: &[u8], len: usize, first: u8) -> bool {
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else { return false };
        let Some(&behind) = bytes.get(len) else { return false };
        let written = word_at(head, 0);
        let run = written & !0xFF | u64::from(first);
        let key = run_key(run, len);
        !self.stands_for_letter[usize::from(behind)]
            // Letters written three times may stand for fewer.
            && !has_triple(written)
            && (len <= RUN_LEN || !has_triple(word_at(head, 2)))
            && (len > 1 || is_not_apart(head))
            && (!self.has(key) || self.rules_out_phrase(&bytes[len..], key))
    }

    /// Whether no word is the run of letters before `rest` or goes on from it as `rest` does.
    fn rules_out_phrase(&self, rest: &[u8], key: u64) -> bool {
        let [b' ', second @ b'a'..=b'z', third @ b'a'..=b'z', ..] = *rest else { return false };
        second != third
            && !self.has(phrase_key(key, NO_PHRASE))
            && !self.has(phrase_key(key, [second, third]))
    }

    /// Whether no word begins at a digit or sign that stands for a letter.
    fn rules_out_disguised(&self, bytes: &[u8], at: usize) -> bool {
        let byte = bytes[at];
        if byte.is_ascii_digit() {
            let is_inside = at > 0 && bytes[at - 1].is_ascii_alphanumeric();
            if is_inside || self.rules_out_number(&bytes[at..]) {
                return true;
            }
        }
        let len = 1 + num_lowercase(&bytes[at + 1..]);
        let letters = leet(char::from(byte)).iter();
        letters.into_iter().all(|it| self.rules_out(&bytes[at..], len, *it as u8))
    }

    /// Whether no word begins with the letters that a number of a few digits may stand for.
    fn rules_out_number(&self, bytes: &[u8]) -> bool {
        let len = bytes.iter().take(DIGITS_MAX + 1).take_while(|it| it.is_ascii_digit()).count();
        let Some(&behind) = bytes.get(len) else { return false };
        (2..=DIGITS_MAX).contains(&len)
            && bytes.len() >= HEAD_BYTES
            && !behind.is_ascii_lowercase()
            && !self.stands_for_letter[usize::from(behind)]
            && self.rules_out_digits(&bytes[..len], 0, 0)
    }

    /// The same of the digits from `at` on, before which those letters were read. A word may also
    /// hold a digit behind them.
    fn rules_out_digits(&self, digits: &[u8], at: usize, read: u64) -> bool {
        if at > 0 && self.has(run_key(read, at)) {
            return false;
        }
        let Some(digit) = digits.get(at) else { return true };
        leet(char::from(*digit)).iter().all(|letter| {
            let read = read | u64::from(*letter as u8) << (8 * at);
            self.rules_out_digits(digits, at + 1, read)
        })
    }

    /// Over the Han characters at `at` that others are behind with which no word begins.
    #[inline]
    fn behind_han(&self, bytes: &[u8], mut at: usize) -> usize {
        let Some(mut first) = wide_char(bytes, at) else { return at };
        while let Some(second) = wide_char(bytes, at + 3)
            && is_han_code(first)
            && is_han_code(second)
            && second != first
            && self.alone[first / 64] >> (first % 64) & 1 == 0
            && !self.has(han_key(first as u32, second as u32))
        {
            at += 3;
            first = second;
        }
        at
    }

    /// Whether no word begins with this Han character, behind which the text goes on.
    #[inline]
    fn rules_out_han(&self, text: &str, first: char, behind: usize) -> bool {
        let Some(second) = next_char(text, behind) else { return false };
        let is_alone = self.alone[first as usize / 64] >> (first as usize % 64) & 1 != 0;
        if is_alone || second == first {
            return false;
        }
        let pair = han_key(first as u32, second as u32);
        if is_han(second) {
            return !self.has(pair) || self.rules_out_third(text, behind, first, second);
        }
        if second.is_ascii_lowercase() {
            return !self.has(pair);
        }
        !self.has(han_key(first as u32, MIXED)) && self.rules_out_apart(text, first, behind)
    }

    /// Whether no word is or goes on from two Han characters as the text does behind them.
    #[inline]
    fn rules_out_third(&self, text: &str, second_at: usize, first: char, second: char) -> bool {
        let Some(third) = next_char(text, second_at + second.len_utf8()) else { return false };
        is_han(third)
            && third != second
            && !self.has(han_triple_key(first, second, NONE))
            && !self.has(han_triple_key(first, second, third as u32))
    }

    /// Whether no word goes on behind what may pull its first character and the next one apart.
    fn rules_out_apart(&self, text: &str, first: char, mut at: usize) -> bool {
        for _ in 0..=JOINERS_MAX {
            match next_char(text, at) {
                None => return false,
                Some(next) if is_han(next) => {
                    return !self.has(han_key(first as u32, next as u32));
                }
                Some(other) => at += other.len_utf8(),
            }
        }
        true
    }

    fn mark(&mut self, key: u64) {
        let (word, bits) = slot(key);
        self.beginnings[word] |= bits;
    }

    #[inline]
    fn has(&self, key: u64) -> bool {
        let (word, bits) = slot(key);
        self.beginnings[word] & bits == bits
    }
}

/// Whether a single letter is not the first of several pulled apart: what would be the second has
/// a letter right behind it.
fn is_not_apart(head: &[u8; HEAD_BYTES]) -> bool {
    head[1].is_ascii() && head[2].is_ascii() && head[3].is_ascii_alphanumeric()
}

fn word_at(head: &[u8; HEAD_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|place| head[at + place]))
}

/// Whether one of these bytes stands three times in a row.
#[inline]
fn has_triple(word: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // A byte of it is 0 where two neighbours are equal to it. Shifted in are zeros, which are none
    // of a text's.
    let differ = (word ^ word >> 8) | (word >> 8 ^ word >> 16);
    differ.wrapping_sub(EACH) & !differ & (0x80 * EACH) != 0
}

/// Characters that neither stand for others nor stand between the parts of a word.
#[inline]
fn is_han(character: char) -> bool {
    is_han_code(character as usize)
}

#[inline]
fn is_han_code(code: usize) -> bool {
    matches!(code, 0x4E00..=0x9FA5)
}

#[inline]
fn han_key(first: u32, second: u32) -> u64 {
    u64::from(first) << 32 | u64::from(second)
}

#[inline]
fn han_triple_key(first: char, second: char, third: u32) -> u64 {
    1 << 63 | u64::from(first as u32) << 42 | u64::from(second as u32) << 21 | u64::from(third)
}

/// A run of letters by its first eight bytes, of which those behind it do not count.
#[inline]
fn run_key(head: u64, len: usize) -> u64 {
    match len {
        ..=RUN_LEN => head & (u64::MAX >> (u64::BITS as usize - 8 * len)),
        _ => head | 1 << 63,
    }
}

/// A run of letters and the two letters behind the space that follows it.
#[inline]
fn phrase_key(run_key: u64, next: [u8; 2]) -> u64 {
    run_key.rotate_left(20).wrapping_mul(PHI) ^ u64::from(u16::from_le_bytes(next))
}

/// Two bits of one word of the table.
#[inline]
fn slot(key: u64) -> (usize, u64) {
    let hash = key.wrapping_mul(PHI);
    let bits = 1 << (hash >> 32 & 63) | 1 << (hash >> 40 & 63);
    ((hash >> (u64::BITS - LOG2_BITS + 6)) as usize, bits)
}

/// How many of the first bytes are lower-case letters; eight at a time.
#[inline]
fn num_lowercase(bytes: &[u8]) -> usize {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * EACH;
    let mut len = 0;
    while let Some(word) = bytes[len..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let low = word & !HIGH;
        // The high bit of each sum says whether the byte reaches `a`, or is beyond `z`.
        let reaches = low + (0x80 - u64::from(b'a')) * EACH;
        let exceeds = low + (0x7F - u64::from(b'z')) * EACH;
        let others = (!reaches | exceeds | word) & HIGH;
        if others != 0 {
            return len + others.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len + bytes[len..].iter().take_while(|byte| byte.is_ascii_lowercase()).count()
}

#[cfg(test)]
mod tests {
    use super::{has_triple, num_lowercase};

    #[test]
    fn lowercase_ends_where_it_ends() {
        for byte in 0..=255_u8 {
            for len in 0..20 {
                let text = [vec![b'k'; len], vec![byte; 9]].concat();
                let count = text.iter().take_while(|byte| byte.is_ascii_lowercase()).count();
                assert_eq!(num_lowercase(&text), count, "{byte} behind {len}");
            }
        }
    }

    #[test]
    fn a_triple_is_three_in_a_row() {
        for (text, expected) in [
            ("aaabcdef", true),
            ("abcdefff", true),
            ("abccddee", false),
            ("aabbaabb", false),
            ("abcccdef", true),
        ] {
            let word = u64::from_le_bytes(text.as_bytes().try_into().unwrap());
            assert_eq!(has_triple(word), expected, "{text}");
        }
    }
}
