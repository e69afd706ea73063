//! Sentences, or what comes close: the pieces in which taggers and classifiers read a text. Where
//! one ends depends on what is before its end and one character more, so that a stream cuts a text
//! as one search of the whole does.

use std::ops::Range;

/// Characters after which a piece ends wherever it is: three lines of print.
const CHARS_MAX: usize = 240;
/// Words before a full stop that ends no sentence.
const ABBREVIATIONS: &[&str] = &[
    "mr", "mrs", "ms", "dr", "st", "ave", "rd", "blvd", "apt", "ste", "no", "vs", "prof", "jr",
    "sr", "dept", "e.g", "i.e", "etc", "p.o", "u.s", "ln", "ct", "hwy", "sq",
];

/// The pieces of a text from `from` on. Without `is_end`, the last one is not among them: more text
/// could belong to it.
pub(super) fn segments(text: &str, from: usize, is_end: bool) -> Vec<Range<usize>> {
    let mut segments = Vec::new();
    let mut start = from;
    while start < text.len() {
        match end(text, start) {
            Some(end) => {
                segments.push(start..end);
                start = end;
            }
            None => {
                if is_end {
                    segments.push(start..text.len());
                }
                break;
            }
        }
    }
    segments
}

fn end(text: &str, start: usize) -> Option<usize> {
    let mut characters = text[start..].char_indices().enumerate().peekable();
    while let Some((count, (offset, character))) = characters.next() {
        let after = start + offset + character.len_utf8();
        let next = characters.peek().map(|(_, (_, next))| *next);
        match character {
            '\n' | '。' | '！' | '？' | '；' => return Some(after),
            '.' | '!' | '?' if next?.is_whitespace() && !is_abbreviation(&text[start..after]) => {
                return Some(after);
            }
            _ => {}
        }
        if count + 1 >= CHARS_MAX && (character.is_whitespace() || count + 1 >= 2 * CHARS_MAX) {
            return Some(after);
        }
    }
    None
}

fn is_abbreviation(sentence: &str) -> bool {
    let word = sentence.trim_end_matches('.').rsplit([' ', '\t', '(']).next().unwrap_or_default();
    let is_initial = word.len() == 1 && word.as_bytes()[0].is_ascii_uppercase();
    sentence.ends_with('.')
        && (is_initial || ABBREVIATIONS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::segments;

    #[test]
    fn sentences_end_where_they_end_for_a_stream_too() {
        let text = "Dr. No met J. Doe at 3.5 Main St. today. Why? 他来了。走吧\nend";
        let whole = segments(text, 0, true);
        let parts: Vec<&str> = whole.iter().map(|range| &text[range.clone()]).collect();
        let expected =
            ["Dr. No met J. Doe at 3.5 Main St. today.", " Why?", " 他来了。", "走吧\n", "end"];
        assert_eq!(parts, expected);
        for (cut, _) in text.char_indices() {
            let first = segments(&text[..cut], 0, false);
            assert!(whole.starts_with(&first), "{cut}");
        }
        let long = "字".repeat(1_000);
        assert_eq!(segments(&long, 0, true).len(), 3);
    }
}
