//! Cuts text into the pieces within which tokens are merged.
//!
//! Each checkpoint family has its regular expression, made for engines that backtrack. The same
//! pieces come out here in linear time: of the alternatives only `\s+(?!\S)` needs a look ahead,
//! and what it matches is a run of white space without its last character.

use std::sync::LazyLock;

use regex::Regex;

/// Byte-pair families by how they cut text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PreTokenizer {
    /// Qwen2, Qwen2.5, Qwen3 and the R1 distills of them: every digit on its own.
    Qwen2,
    /// Llama 3 and the R1 distills of it: up to three digits together.
    Llama3,
    /// SmolLM: GPT-2's pieces, but every digit cut out before.
    SmolLm,
}

/// As in the `tokenizer.json` of the Qwen2 family.
pub(in crate::chat) const QWEN2_PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// As in the `tokenizer.json` of the Llama 3 family.
pub(super) const LLAMA3_PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
/// As the byte-level pre-tokenizer of GPT-2 has it.
const GPT2_PATTERN: &str =
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

static QWEN2: LazyLock<Expression> = LazyLock::new(|| Expression::new(QWEN2_PATTERN));
static LLAMA3: LazyLock<Expression> = LazyLock::new(|| Expression::new(LLAMA3_PATTERN));
static GPT2: LazyLock<Expression> = LazyLock::new(|| Expression::new(GPT2_PATTERN));
static DIGIT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\p{N}").expect("a constant expression"));

impl PreTokenizer {
    /// Calls `piece` with each piece of `text`, in order and without gaps.
    pub(super) fn split<'t>(self, text: &'t str, mut piece: impl FnMut(&'t str)) {
        match self {
            Self::Qwen2 => QWEN2.split(text, &mut piece),
            Self::Llama3 => LLAMA3.split(text, &mut piece),
            Self::SmolLm => {
                let mut start = 0;
                for digit in DIGIT.find_iter(text) {
                    GPT2.split(&text[start..digit.start()], &mut piece);
                    piece(digit.as_str());
                    start = digit.end();
                }
                GPT2.split(&text[start..], &mut piece);
            }
        }
    }
}

/// A pattern whose look ahead is done by hand.
struct Expression {
    /// The pattern without the alternative that looks ahead.
    regex: Regex,
    /// The pattern has the alternative `\s*[\r\n]+`, which takes precedence over the look ahead.
    cuts_after_line_breaks: bool,
}

impl Expression {
    fn new(pattern: &str) -> Self {
        let regex = Regex::new(&pattern.replace(r"|\s+(?!\S)", ""));
        Self {
            regex: regex.expect("a constant expression"),
            cuts_after_line_breaks: pattern.contains(r"|\s*[\r\n]+|"),
        }
    }

    fn split<'t>(&self, text: &'t str, piece: &mut impl FnMut(&'t str)) {
        let mut start = 0;
        while let Some(found) = self.regex.find_at(text, start) {
            debug_assert_eq!(found.start(), start, "the alternatives cover every character");
            let before_word = found.end() < text.len();
            let end = if before_word { start + self.length(found.as_str()) } else { found.end() };
            piece(&text[start..end]);
            start = end;
        }
    }

    /// How much of a match before a word is a piece: a run of white space leaves its last
    /// character, if it has more than one, to the word.
    fn length(&self, matched: &str) -> usize {
        let last = matched.chars().next_back().map_or(0, char::len_utf8);
        let is_run = matched.len() > last && matched.chars().all(char::is_whitespace);
        let is_cut = self.cuts_after_line_breaks && matched.ends_with(['\r', '\n']);
        if is_run && !is_cut { matched.len() - last } else { matched.len() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(pre_tokenizer: PreTokenizer, text: &str) -> Vec<&str> {
        let mut pieces = Vec::new();
        pre_tokenizer.split(text, |piece| pieces.push(piece));
        pieces
    }

    /// The published pattern, look ahead included, by an engine that backtracks.
    fn backtracked<'t>(pattern: &str, text: &'t str) -> Vec<&'t str> {
        let regex = fancy_regex::Regex::new(pattern).unwrap();
        regex.find_iter(text).map(|found| found.unwrap().as_str()).collect()
    }

    #[test]
    fn the_families_differ_in_digits_and_line_breaks() {
        let text = "We'LL  pay 1234\n\n  now";
        assert_eq!(
            pieces(PreTokenizer::Qwen2, text),
            ["We", "'LL", " ", " pay", " ", "1", "2", "3", "4", "\n\n", " ", " now"]
        );
        assert_eq!(
            pieces(PreTokenizer::Llama3, text),
            ["We", "'LL", " ", " pay", " ", "123", "4", "\n\n", " ", " now"]
        );
        assert_eq!(
            pieces(PreTokenizer::SmolLm, text),
            ["We", "'", "LL", " ", " pay", " ", "1", "2", "3", "4", "\n\n ", " now"]
        );
    }

    #[test]
    fn white_space_before_a_digit_is_cut_as_at_the_end() {
        assert_eq!(pieces(PreTokenizer::SmolLm, "a   1"), ["a", "   ", "1"]);
    }

    const TEXT: &str =
        "(?s)[ \t\n\r'a-eLsS0-9.\u{a0}\u{3000}\u{e9}\u{4e2d}\u{301}\u{1f980}\u{17f}²]{0,40}";

    proptest! {
        #[test]
        fn the_pieces_are_those_of_the_published_patterns(text in TEXT) {
            prop_assert_eq!(
                pieces(PreTokenizer::Qwen2, &text),
                backtracked(QWEN2_PATTERN, &text)
            );
            prop_assert_eq!(
                pieces(PreTokenizer::Llama3, &text),
                backtracked(LLAMA3_PATTERN, &text)
            );
            let mut gpt2 = Vec::new();
            GPT2.split(&text, &mut |piece| gpt2.push(piece));
            prop_assert_eq!(gpt2, backtracked(GPT2_PATTERN, &text));
        }

        #[test]
        fn the_pieces_are_the_whole_text(text in "(?s).{0,60}") {
            let families = [PreTokenizer::Qwen2, PreTokenizer::Llama3, PreTokenizer::SmolLm];
            for pre_tokenizer in families {
                prop_assert_eq!(pieces(pre_tokenizer, &text).concat(), text.as_str());
            }
        }
    }
}
