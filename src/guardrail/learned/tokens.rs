//! The tokens the tagger labels, and the features of one token among its neighbours.
//!
//! A token is one ideograph, one run of letters, one run of digits, or one mark. The text is the
//! original, since the case of letters says most about a name; full-width forms are read as the
//! plain ones. The trained weights depend on everything here.

use std::ops::Range;

use super::ngrams::is_ideograph;

const PHI: u64 = 0x9E37_79B9_7F4A_7C15;
const MIX: u64 = 0xBF58_476D_1CE4_E5B9;

/// Stands for a place before the first token or after the last.
const OUTSIDE: u64 = 0x0F_F1;

/// What describes one token: 18 features of its surroundings, 9 of its own, and 10 of an ideograph.
pub const FEATURES_MAX: usize = 37;

/// What the lists of names say of a token.
pub mod listed {
    pub const GIVEN: u8 = 1;
    pub const FAMILY: u8 = 2;
    pub const PLACE: u8 = 4;
    /// A word of ordinary prose in lower case.
    pub const COMMON: u8 = 8;
    /// The first character of a Chinese family name.
    pub const HAN_FAMILY: u8 = 16;
    /// A character that is frequent in Chinese given names.
    pub const HAN_GIVEN: u8 = 32;
    /// A word of streets and addresses: "Street", "Apt".
    pub const STREET: u8 = 64;
    /// The first character of a common Chinese word of two.
    pub const HAN_WORD: u8 = 128;
    /// A character that writes the sounds of foreign names. No Chinese character is a word in lower
    /// case, so the bit is free.
    pub const HAN_FOREIGN: u8 = COMMON;
    /// Its second character. No Chinese character is a Latin place, so the bit is free.
    pub const HAN_WORD_END: u8 = PLACE;
}

#[derive(Clone, Debug)]
pub struct Token {
    /// Bytes of the original text.
    pub range: Range<usize>,
    /// The word in lower case, all digits alike.
    pub word: u64,
    shape: u64,
    /// The first two and three letters, the last two and three.
    affixes: [u64; 4],
    pub is_ideograph: bool,
    /// Whether white space, and whether a line's end, comes before.
    space: u64,
    pub listed: u8,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ideograph,
    Letters,
    Digits,
    Mark,
    Space,
}

fn kind(char: char) -> Kind {
    match char {
        '0'..='9' => Kind::Digits,
        'a'..='z' | 'A'..='Z' => Kind::Letters,
        '\0'..='\u{20}' => Kind::Space,
        '\u{21}'..='\u{7F}' => Kind::Mark,
        _ if is_ideograph(char) => Kind::Ideograph,
        _ if char.is_numeric() => Kind::Digits,
        _ if char.is_alphabetic() || is_combining(char) => Kind::Letters,
        _ if char.is_whitespace() => Kind::Space,
        _ => Kind::Mark,
    }
}

fn is_combining(char: char) -> bool {
    matches!(char, '\u{300}'..='\u{36F}' | '\u{200D}')
}

/// A full-width form as the plain character.
fn plain(char: char) -> char {
    match char {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(char as u32 - 0xFEE0).unwrap_or(char),
        '\u{3000}' => ' ',
        '\u{2019}' => '\'',
        _ => char,
    }
}

/// Cuts a text, calling `listed` with the hash of each token's word.
pub fn tokens(text: &str, listed: impl Fn(u64) -> u8) -> Vec<Token> {
    let mut tokens = cut(text);
    // Looked up one after the other, so that memory is asked for many words at once.
    for token in &mut tokens {
        token.listed = listed(token.word);
    }
    for at in 1..tokens.len() {
        let (before, token) = (&tokens[at - 1], &tokens[at]);
        if is_pair(before, token)
            && listed(pair_hash(before.word, token.word)) & listed::HAN_WORD != 0
        {
            tokens[at - 1].listed |= listed::HAN_WORD;
            tokens[at].listed |= listed::HAN_WORD_END;
        }
    }
    tokens
}

/// The tokens, before the lists are asked.
fn cut(text: &str) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut word, mut lower) = (Vec::new(), Vec::new());
    let mut chars = text.char_indices().map(|(at, char)| (at, plain(char))).peekable();
    let mut space = 2;
    while let Some((start, char)) = chars.next() {
        let kind = kind(char);
        if kind == Kind::Space {
            space = if char == '\n' { 2 } else { space.max(1) };
            continue;
        }
        word.clear();
        word.push(char);
        if matches!(kind, Kind::Letters | Kind::Digits) {
            while let Some((_, next)) = chars.next_if(|(_, next)| self::kind(*next) == kind) {
                word.push(next);
            }
        }
        let end = chars.peek().map_or(text.len(), |(at, _)| *at);
        let mut token = token(start..end, &word, kind, &mut lower);
        token.space = std::mem::take(&mut space);
        tokens.push(token);
    }
    tokens
}

fn is_pair(before: &Token, token: &Token) -> bool {
    before.is_ideograph && token.is_ideograph && token.space == 0
}

fn pair_hash(first: u64, second: u64) -> u64 {
    hash(0x65, &[first, second])
}

/// The hash by which a word is listed: a single token or a pair of ideographs.
pub fn word_hash(text: &str) -> Option<u64> {
    match tokens(text, |_| 0).as_slice() {
        [only] => Some(only.word),
        [first, second] if is_pair(first, second) => Some(pair_hash(first.word, second.word)),
        _ => None,
    }
}

/// `lower` is room that tokens share.
fn token(range: Range<usize>, chars: &[char], kind: Kind, lower: &mut Vec<u64>) -> Token {
    let alike = |char: char| if char.is_ascii_digit() { u64::from('0') } else { u64::from(char) };
    lower.clear();
    lower.extend(chars.iter().flat_map(|char| char.to_lowercase()).map(alike));
    let last = lower.len();
    let affixes = match kind {
        Kind::Letters => [
            hash(0x61, &lower[..last.min(2)]),
            hash(0x62, &lower[..last.min(3)]),
            hash(0x63, &lower[last.saturating_sub(2)..]),
            hash(0x64, &lower[last.saturating_sub(3)..]),
        ],
        Kind::Ideograph | Kind::Digits | Kind::Mark | Kind::Space => [0; 4],
    };
    Token {
        range,
        word: hash(0x60, lower),
        shape: shape(chars, kind),
        affixes,
        is_ideograph: kind == Kind::Ideograph,
        space: 0,
        listed: 0,
    }
}

/// What a token looks like, its letters aside.
fn shape(chars: &[char], kind: Kind) -> u64 {
    let len = chars.len().min(4) as u64;
    match kind {
        Kind::Ideograph => 1,
        Kind::Mark => 2,
        Kind::Space => 3,
        Kind::Digits => 0x10 + chars.len().min(7) as u64,
        Kind::Letters => {
            let upper = chars.iter().filter(|char| char.is_uppercase()).count();
            let case = match upper {
                0 => 0x20,
                1 if chars[0].is_uppercase() => 0x30,
                _ if upper == chars.len() => 0x40,
                _ => 0x50,
            };
            let script = if chars[0].is_ascii() { 0 } else { 0x80 };
            case + len + script
        }
    }
}

fn hash(kind: u64, parts: &[u64]) -> u64 {
    let hash = parts
        .iter()
        .fold(kind.wrapping_mul(PHI), |hash, part| (hash.rotate_left(21) ^ part).wrapping_mul(PHI));
    let mixed = hash.wrapping_mul(MIX);
    mixed ^ (mixed >> 29)
}

/// Calls `feature` with each hash that describes the token at `at`. The first [`NUM_CONTEXTUAL`]
/// do not look at what the token itself is, only at what stands around it.
pub fn features(tokens: &[Token], at: usize, mut feature: impl FnMut(u64)) {
    let word = |offset: isize| neighbour(tokens, at, offset).map_or(OUTSIDE, |token| token.word);
    let shape = |offset: isize| {
        neighbour(tokens, at, offset).map_or(OUTSIDE, |token| token.shape ^ (token.space << 16))
    };
    let listed = |offset: isize| {
        neighbour(tokens, at, offset).map_or(OUTSIDE, |token| u64::from(token.listed))
    };
    let token = &tokens[at];
    let mut push = |kind: u64, parts: &[u64]| feature(hash(kind, parts));
    // What stands around.
    push(1, &[word(-1)]);
    push(2, &[word(1)]);
    push(3, &[word(-2)]);
    push(4, &[word(2)]);
    push(5, &[word(-2), word(-1)]);
    push(6, &[word(1), word(2)]);
    push(7, &[word(-1), word(1)]);
    push(8, &[shape(-1), shape(0), shape(1)]);
    push(9, &[shape(0), word(-1)]);
    push(10, &[shape(0), word(1)]);
    push(11, &[shape(0), shape(1), shape(2)]);
    push(12, &[shape(0), shape(-1), shape(-2)]);
    push(13, &[word(-3), word(-2), word(-1)]);
    push(14, &[word(1), word(2), word(3)]);
    push(15, &[shape(0), word(-2), word(-1)]);
    push(16, &[shape(0), word(1), word(2)]);
    push(17, &[word(-3)]);
    push(18, &[word(3)]);
    // What it is, and with whom.
    push(20, &[token.word]);
    push(21, &[word(-1), token.word]);
    push(22, &[token.word, word(1)]);
    push(23, &[shape(0)]);
    push(24, &[listed(0), shape(0)]);
    push(25, &[listed(-1), listed(0), shape(0)]);
    push(26, &[listed(0), listed(1), shape(0)]);
    push(27, &[listed(0), word(-1)]);
    push(28, &[listed(0), word(1)]);
    if token.is_ideograph {
        push(30, &[word(-1), token.word, word(1)]);
        push(31, &[token.word, word(1), word(2)]);
        push(32, &[word(-2), word(-1), token.word]);
        push(33, &[listed(-1), listed(0), listed(1)]);
        push(34, &[listed(0), word(-2), word(-1)]);
        push(35, &[listed(-1), listed(0), word(1)]);
        push(36, &[listed(-2), listed(-1), listed(0), word(1)]);
        push(37, &[listed(0), listed(1), listed(2), word(-1)]);
        push(38, &[token.word, word(2)]);
        push(39, &[word(-2), token.word]);
    } else {
        for (kind, affix) in (40..).zip(token.affixes) {
            push(kind, &[affix]);
        }
        push(44, &[listed(-1), listed(0), listed(1), shape(0)]);
    }
}

fn neighbour(tokens: &[Token], at: usize, offset: isize) -> Option<&Token> {
    tokens.get(at.checked_add_signed(offset)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_both_scripts_and_covers_the_text() {
        let text = "Dr. 王小明 lives at １２ O\u{2019}Neil Rd.\n";
        let tokens = tokens(text, |_| 0);
        let cut: Vec<&str> = tokens.iter().map(|token| &text[token.range.clone()]).collect();
        let expected = [
            "Dr", ".", "王", "小", "明", "lives", "at", "１２", "O", "\u{2019}", "Neil", "Rd", ".",
        ];
        assert_eq!(cut, expected);
    }

    #[test]
    fn a_word_is_listed_whatever_its_case_and_width() {
        assert_eq!(word_hash("PARIS"), word_hash("paris"));
        assert_eq!(word_hash("Ｐａｒｉｓ"), word_hash("paris"));
        assert_eq!(word_hash("New York"), None);
    }
}
