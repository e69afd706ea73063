//! Where in a text a word could begin at all: most places are ruled out by what stands there and
//! right behind, so that the walk through the tree is for few.

use super::next_char;
use super::walk::leet;

/// Bits of the table of beginnings: with ten thousand words nine of ten are clear.
const LOG2_BITS: u32 = 18;
/// Characters of a beginning, and of a longer one that tells more of a longer word.
const LEN: usize = 4;
const LONG: usize = 6;
/// How a beginning spells a space, and how many characters it can spell: space and `a` to `z`.
const SPACE: u32 = 0;
const CODES: u32 = 27;
const UNSPELLED: u8 = 0xFF;
/// In place of the character behind a Han character: for one that begins words, and for one that
/// is a word.
const ANY: u32 = 1;
const NONE: u32 = 2;

#[derive(Debug)]
pub(super) struct Filter {
    /// ASCII characters, beside letters, by which a word or its disguise begins.
    ascii: Box<[bool; 128]>,
    /// Four letters by which words begin, and pairs of Han characters.
    beginnings: Box<[u64]>,
    codes: Box<[u8; 256]>,
}

impl Filter {
    pub(super) fn new() -> Self {
        let code = |byte: usize| match byte as u8 {
            b' ' => SPACE as u8,
            letter @ b'a'..=b'z' => letter - b'a' + 1,
            _ => UNSPELLED,
        };
        Self {
            ascii: Box::new([false; 128]),
            beginnings: vec![0; 1 << (LOG2_BITS - 6)].into(),
            codes: Box::new(std::array::from_fn(code)),
        }
    }

    pub(super) fn insert(&mut self, word: &str) {
        let mut characters = word.chars();
        let Some(first) = characters.next() else { return };
        for byte in 0..128_u8 {
            let stands_for = char::from(byte) == first || leet(char::from(byte)).contains(&first);
            self.ascii[usize::from(byte)] |= stands_for;
        }
        if is_han(first) {
            self.mark(han_key(first, ANY));
            let second = characters.next();
            self.mark(han_key(first, second.map_or(NONE, u32::from)));
            if let Some(second) = second {
                let third = characters.next().map_or(NONE, u32::from);
                self.mark(han_triple_key(first, second, third));
            }
            return;
        }
        let long = word.bytes().chain([b' ']).take(LONG);
        let long: Vec<u8> = long.map(|byte| self.codes[usize::from(byte)]).collect();
        if let Ok(long) = <[u8; LONG]>::try_from(long)
            && !long.contains(&UNSPELLED)
        {
            self.mark(long_key(long));
        }
        let codes = word.bytes().take(LEN).map(|byte| self.codes[usize::from(byte)]);
        let codes: Vec<u32> = codes.take_while(|code| *code != UNSPELLED).map(u32::from).collect();
        // Where the word has other characters the text has some too, and is not ruled out.
        if codes.len() == word.len().min(LEN) {
            self.mark_all(&codes);
        }
        // A gap may be wide.
        for gap in (1..codes.len().min(LEN - 1)).filter(|at| codes[*at] == SPACE) {
            self.mark_all(&[&codes[..=gap], &[SPACE]].concat());
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
                if !is_inside && !self.rules_out(&bytes[at..]) {
                    return Some(at);
                }
                at += 1 + num_lowercase(&bytes[at + 1..]);
            } else if byte.is_ascii() {
                if self.ascii[usize::from(byte)] {
                    return Some(at);
                }
                at += 1;
            } else {
                let first = next_char(text, at)?;
                let behind = at + first.len_utf8();
                if !is_han(first) {
                    return Some(at);
                }
                let is_out = match next_char(text, behind) {
                    None => false,
                    Some(second) if is_han(second) && second != first => {
                        !self.has(han_key(first, NONE))
                            && (!self.has(han_key(first, second as u32))
                                || self.rules_out_third(text, behind, first, second))
                    }
                    Some(_) => !self.has(han_key(first, ANY)),
                };
                if !is_out {
                    return Some(at);
                }
                at = behind;
            }
        }
        None
    }

    /// Whether no word begins as these bytes do, which begin with a letter, however it is written.
    #[inline]
    fn rules_out(&self, bytes: &[u8]) -> bool {
        let Some(&[a, b, c, d, e]) = bytes.first_chunk::<5>() else { return false };
        let codes = [a, b, c, d].map(|byte| self.codes[usize::from(byte)]);
        // Single letters apart, and letters written three times, are read in ways of their own.
        let is_special = codes.contains(&UNSPELLED)
            || (b == b' ' && d == b' ')
            || (b == c && (a == b || c == d))
            || (c == d && d == e);
        !is_special
            && (!self.has(spaced_key(codes.map(u32::from))) || self.rules_out_long(codes, bytes))
    }

    /// Whether no word goes on as these bytes do, whose first four were looked at: with letters, or
    /// up to a space.
    #[inline]
    fn rules_out_long(&self, codes: [u8; LEN], bytes: &[u8]) -> bool {
        let Some(&[_, _, _, d, e, f, g]) = bytes.first_chunk::<7>() else { return false };
        let [fifth, sixth] = [e, f].map(|byte| self.codes[usize::from(byte)]);
        let [a, b, c, _] = codes;
        let are_letters = [a, b, c, codes[3], fifth].iter().all(|code| u32::from(*code) != SPACE);
        let is_special = [fifth, sixth].contains(&UNSPELLED)
            || (e == f && (d == e || f == g))
            || (f == b' ' && g == b' ');
        are_letters && !is_special && !self.has(long_key([a, b, c, codes[3], fifth, sixth]))
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

    /// Marks every beginning that goes on from these codes.
    fn mark_all(&mut self, codes: &[u32]) {
        if let Ok(whole) = <[u32; LEN]>::try_from(codes) {
            self.mark(spaced_key(whole));
            return;
        }
        for code in 0..CODES {
            self.mark_all(&[codes, &[code]].concat());
        }
    }

    fn mark(&mut self, key: u64) {
        let bit = slot(key);
        self.beginnings[bit / 64] |= 1 << (bit % 64);
    }

    #[inline]
    fn has(&self, key: u64) -> bool {
        let bit = slot(key);
        self.beginnings[bit / 64] >> (bit % 64) & 1 != 0
    }
}

/// Characters that neither stand for others nor stand between the parts of a word.
#[inline]
fn is_han(character: char) -> bool {
    matches!(character, '\u{4E00}'..='\u{9FA5}')
}

#[inline]
fn han_key(first: char, second: u32) -> u64 {
    u64::from(first as u32) << 32 | u64::from(second)
}

#[inline]
fn han_triple_key(first: char, second: char, third: u32) -> u64 {
    1 << 63 | u64::from(first as u32) << 42 | u64::from(second as u32) << 21 | u64::from(third)
}

#[inline]
fn long_key(codes: [u8; LONG]) -> u64 {
    1 << 62 | codes.into_iter().fold(0, |key, code| key << 5 | u64::from(code))
}

#[inline]
fn spaced_key(codes: [u32; LEN]) -> u64 {
    u64::from(codes.into_iter().fold(0, |key, code| key << 5 | code))
}

#[inline]
fn slot(key: u64) -> usize {
    (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - LOG2_BITS)) as usize
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
    use super::num_lowercase;

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
}
