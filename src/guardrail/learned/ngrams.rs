//! The features of the content heads: hashes of character and word n-grams, found in one walk.
//!
//! Text arrives folded and in any pieces; the walk keeps four characters and three words, so a text
//! in pieces has the features of the whole. Latin script gives runs of 4 characters, words, pairs
//! of words and pairs that skip one; Chinese, Japanese and Korean give runs of 1 to 3 characters. A
//! mark also gives the shape before it, letters being alike: code, mark-up and salads of symbols
//! are told by it. The trained weights depend on every constant here.

/// Odd constants with well-spread bits: the golden ratio's and those of the SplitMix64 finalizer.
const PHI: u64 = 0x9E37_79B9_7F4A_7C15;
const MIX: u64 = 0xBF58_476D_1CE4_E5B9;

/// Kinds of feature hash apart, so that a word and a run of the same characters are two features.
const WORD: u64 = 0x51;
const WORD_PAIR: u64 = 0x52;
const WORD_SKIP: u64 = 0x54;
const SHAPE: u64 = 0x56;

/// What one character can end: a word with its two pairs, and three runs or a run and a shape.
pub const FEATURES_PER_CHAR_MAX: usize = 6;

/// How a character takes part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// A letter of a script with spaces between words, or a digit.
    Word,
    /// A character that means something alone: Han, kana, hangul.
    Ideograph,
    Space,
    Mark,
}

/// Bits of a packed character: as many as any needs.
const CODE_BITS: u32 = 21;
const CODE: u64 = (1 << CODE_BITS) - 1;
const TWO_CODES: u64 = (1 << (2 * CODE_BITS)) - 1;
const THREE_CODES: u64 = (1 << (3 * CODE_BITS)) - 1;
/// A shape is a letter, an ideograph, a space, or the mark itself as far as these bits tell it.
const SHAPE_BITS: u32 = 16;

/// The walk over one text.
#[derive(Clone, Default)]
pub struct Ngrams {
    /// The last three characters, packed, the newest lowest.
    recent: u64,
    /// The one before them.
    older: u64,
    /// The last four characters as shapes of [`SHAPE_BITS`], the newest lowest.
    shapes: u64,
    /// How many characters there were, up to four.
    len: u32,
    /// The hash of the word being read, 0 between words.
    word: u64,
    /// The words before it, the newest first, 0 where there is none.
    words: [u64; 2],
}

impl Ngrams {
    /// Takes the next character and calls `feature` with each hash that ends here.
    #[inline]
    pub fn push(&mut self, char: char, mut feature: impl FnMut(u64)) {
        let class = classify(char);
        let mut code = if char.is_ascii_digit() { u64::from('0') } else { u64::from(char) };
        if class == Class::Word {
            self.word = (self.word ^ code).wrapping_mul(PHI).rotate_left(23) | 1;
        } else if self.word != 0 {
            self.end_word(&mut feature);
        }
        if class == Class::Space {
            code = u64::from(' ');
            if self.recent & CODE == code {
                return;
            }
        }
        self.older = self.recent >> (2 * CODE_BITS);
        self.recent = (self.recent << CODE_BITS | code) & THREE_CODES;
        self.len = (self.len + 1).min(4);
        let shape = match class {
            Class::Word => u64::from('a'),
            Class::Ideograph => u64::from('b'),
            Class::Space | Class::Mark => code & ((1 << SHAPE_BITS) - 1),
        };
        self.shapes = self.shapes << SHAPE_BITS | shape;
        if class == Class::Ideograph {
            feature(finish(code, 1));
            if self.len >= 2 {
                feature(finish(self.recent & TWO_CODES, 2));
            }
            if self.len >= 3 {
                feature(finish(self.recent, 3));
            }
        } else if self.len >= 4 {
            feature(finish(self.recent, 4 | self.older << 8));
        }
        if class == Class::Mark {
            feature(finish(self.shapes, SHAPE));
        }
    }

    /// Ends the text: the word being read ends with it.
    pub fn end(&mut self, mut feature: impl FnMut(u64)) {
        if self.word != 0 {
            self.end_word(&mut feature);
        }
    }

    #[inline]
    fn end_word(&mut self, feature: &mut impl FnMut(u64)) {
        let [before, second] = self.words;
        feature(finish(self.word, WORD));
        if before != 0 {
            feature(finish(pair(before, self.word), WORD_PAIR));
            if second != 0 {
                feature(finish(pair(second, self.word), WORD_SKIP));
            }
        }
        self.words = [self.word, before];
        self.word = 0;
    }
}

fn pair(first: u64, second: u64) -> u64 {
    (first.rotate_left(17) ^ second).wrapping_mul(PHI)
}

/// One multiplication to 128 bits, folded: every bit of the result hangs on every bit of both.
#[inline]
fn finish(hash: u64, kind: u64) -> u64 {
    let product = u128::from(hash ^ PHI) * u128::from(kind.wrapping_mul(MIX) ^ PHI.rotate_left(32));
    product as u64 ^ (product >> 64) as u64
}

const ASCII: [Class; 128] = {
    let (mut classes, mut byte) = ([Class::Mark; 128], 0);
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'A'..=b'Z' => Class::Word,
            0..=b' ' => Class::Space,
            _ => Class::Mark,
        };
        byte += 1;
    }
    classes
};

#[inline]
fn classify(char: char) -> Class {
    match char {
        '\0'..='\u{7F}' => ASCII[char as usize],
        '\u{3000}' => Class::Space,
        _ if is_ideograph(char) => Class::Ideograph,
        _ if char.is_alphanumeric() => Class::Word,
        _ if char.is_whitespace() => Class::Space,
        _ => Class::Mark,
    }
}

/// Han with its extensions and compatibility forms, kana and hangul.
pub fn is_ideograph(char: char) -> bool {
    matches!(char,
        '\u{4E00}'..='\u{9FFF}' | '\u{3400}'..='\u{4DBF}' | '\u{3040}'..='\u{30FF}'
        | '\u{AC00}'..='\u{D7AF}' | '\u{F900}'..='\u{FAFF}' | '\u{20000}'..='\u{323AF}')
}

/// All hashes of a whole text.
pub fn each(text: &str, mut feature: impl FnMut(u64)) {
    let mut ngrams = Ngrams::default();
    for char in text.chars() {
        ngrams.push(char, &mut feature);
    }
    ngrams.end(&mut feature);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(text: &str) -> Vec<u64> {
        let mut hashes = Vec::new();
        each(text, |hash| hashes.push(hash));
        hashes
    }

    #[test]
    fn counts_runs_of_both_scripts() {
        // "ab cd ef": 5 runs of characters, 3 words, 2 pairs and a pair that skips a word.
        assert_eq!(hashes("ab cd ef").len(), 5 + 3 + 2 + 1);
        // Four characters: 4 + 3 + 2 runs.
        assert_eq!(hashes("人工智能").len(), 9);
        // A mark: a run of 4 and a shape.
        assert_eq!(hashes("f(x)").len(), 2 + 1 + 2 + 1);
        assert!(hashes("").is_empty());
    }

    #[test]
    fn spaces_collapse_and_digits_are_alike() {
        assert_eq!(hashes("call 12 \t\n now"), hashes("call 34 now"));
        assert_ne!(hashes("call 12 now"), hashes("call 123 now"));
    }

    #[test]
    fn a_mark_tells_the_shape_before_it() {
        let common = |first: &str, second: &str| {
            let second = hashes(second);
            hashes(first).into_iter().filter(|hash| second.contains(hash)).count()
        };
        assert_eq!(common("xyz]", "uvw]"), 1);
        assert_eq!(common("xyz]", "uvw)"), 0);
    }

    #[test]
    fn a_word_is_not_a_run_of_its_characters() {
        let hashes = hashes("abcd");
        assert_eq!(hashes.len(), 2);
        assert_ne!(hashes[0], hashes[1]);
    }
}
