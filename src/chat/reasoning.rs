//! Splits a stream of text into reasoning and answer.
//!
//! Models are careless with their tags, so the rules are forgiving without losing an answer:
//!
//! - The part opens by its tag or because the prompt had already opened it; a repeated opening tag
//!   is dropped.
//! - A closing tag ends the part. One that nothing opened is dropped: the model has left out the
//!   opening tag, and what was already sent as answer stays answer.
//! - Once the reasoning has been closed and the answer has begun, tags are text: an answer may
//!   speak about them, and must not vanish into the reasoning for it.
//! - White space around the tags belongs to the tags.

use crate::chat::ReasoningTags;
use crate::limits;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    Reasoning(String),
    Text(String),
}

#[derive(Debug)]
pub struct ReasoningParser {
    tags: Option<ReasoningTags>,
    part: Part,
    /// Text of the current part has been sent, so its leading white space is over.
    begun: bool,
    /// White space, then perhaps the beginning of a tag: their meaning depends on what follows.
    held: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Neither tag has been seen.
    Unopened,
    Reasoning,
    /// After the closing tag.
    Answer,
}

/// What the held text says next.
enum Next {
    /// A tag begins at this byte.
    Tag { start: usize, len: usize, part: Part },
    /// No tag begins before this byte.
    Text { end: usize },
}

impl ReasoningParser {
    /// `starts_open`: the prompt ended by opening the reasoning part. `tags == None`: all is text.
    pub fn new(tags: Option<&ReasoningTags>, starts_open: bool) -> Self {
        let part = if starts_open { Part::Reasoning } else { Part::Unopened };
        Self { tags: tags.cloned(), part, begun: false, held: String::new() }
    }

    pub fn push(&mut self, text: &str) -> Vec<Segment> {
        let mut segments = Segments::default();
        self.held.push_str(text);
        loop {
            self.drop_leading_white_space();
            match self.next() {
                Next::Tag { start, len, part } => {
                    let before = without_held_white_space(&self.held[..start]);
                    self.begun |= segments.append(self.part, before);
                    self.held.drain(..start + len);
                    self.enter(part);
                }
                Next::Text { end } => {
                    let rest = self.held.split_off(end);
                    self.begun |= segments.append(self.part, &self.held);
                    self.held = rest;
                    return segments.0;
                }
            }
        }
    }

    /// From here on all is answer: what looks like a tag is none.
    pub fn answer_has_begun(&mut self) {
        if self.part != Part::Reasoning {
            self.part = Part::Answer;
            self.begun = true;
        }
    }

    /// Releases what was held back.
    pub fn finish(&mut self) -> Vec<Segment> {
        let mut segments = Segments::default();
        let rest = std::mem::take(&mut self.held);
        match self.part {
            // White space that would have belonged to the closing tag.
            Part::Reasoning => segments.append(self.part, without_held_white_space(&rest)),
            Part::Unopened | Part::Answer => segments.append(self.part, &rest),
        };
        segments.0
    }

    fn enter(&mut self, part: Part) {
        // Text before a closing tag that nothing opened already was the answer's beginning.
        let answer_goes_on = self.part == Part::Unopened && part == Part::Answer;
        self.begun &= part == self.part || answer_goes_on;
        self.part = part;
    }

    fn drop_leading_white_space(&mut self) {
        if self.part != Part::Unopened && !self.begun {
            let blank = self.held.len() - self.held.trim_start().len();
            self.held.drain(..blank);
        }
    }

    fn next(&self) -> Next {
        let all = Next::Text { end: self.held.len() };
        let Some(tags) = &self.tags else { return all };
        let tags = [(tags.open.as_str(), Part::Reasoning), (tags.close.as_str(), Part::Answer)];
        let may_be_at = |start: usize| {
            let rest = &self.held[start..];
            tags.iter().any(|(tag, _)| tag.starts_with(rest) || rest.starts_with(tag))
        };
        match self.part {
            Part::Answer if self.begun || !may_be_at(0) => return all,
            Part::Answer | Part::Reasoning | Part::Unopened => {}
        }
        let first = tags
            .into_iter()
            .filter_map(|(tag, part)| {
                let start = self.held.find(tag)?;
                Some(Next::Tag { start, len: tag.len(), part })
            })
            .min_by_key(|next| match next {
                Next::Tag { start, .. } => *start,
                Next::Text { end } => *end,
            });
        first.unwrap_or_else(|| {
            let longest = tags.iter().map(|(tag, _)| tag.len()).max().unwrap_or(0);
            let from = self.held.floor_char_boundary(self.held.len().saturating_sub(longest));
            let partial = (from..self.held.len())
                .find(|&start| self.held.is_char_boundary(start) && may_be_at(start))
                .unwrap_or(self.held.len());
            Next::Text { end: without_held_white_space(&self.held[..partial]).len() }
        })
    }
}

/// `text` without the white space at its end that is held until it is clear whether a tag follows.
fn without_held_white_space(text: &str) -> &str {
    let blank = text.len() - text.trim_end().len();
    let held = blank.min(limits::HELD_WHITE_SPACE_BYTES_MAX);
    &text[..text.ceil_char_boundary(text.len() - held)]
}

#[derive(Default)]
struct Segments(Vec<Segment>);

impl Segments {
    /// Says whether there was anything to append.
    fn append(&mut self, part: Part, text: &str) -> bool {
        match (part, self.0.last_mut()) {
            _ if text.is_empty() => return false,
            (Part::Reasoning, Some(Segment::Reasoning(last))) => last.push_str(text),
            (Part::Unopened | Part::Answer, Some(Segment::Text(last))) => last.push_str(text),
            (Part::Reasoning, _) => self.0.push(Segment::Reasoning(text.to_owned())),
            (Part::Unopened | Part::Answer, _) => self.0.push(Segment::Text(text.to_owned())),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tags() -> ReasoningTags {
        ReasoningTags {
            open: "<think>".to_owned(),
            close: "</think>".to_owned(),
            open_id: 1,
            close_id: 2,
        }
    }

    fn parse<'a>(starts_open: bool, pieces: impl IntoIterator<Item = &'a str>) -> Vec<Segment> {
        let mut parser = ReasoningParser::new(Some(&tags()), starts_open);
        let mut all: Vec<Segment> = Vec::new();
        let mut pushed: Vec<Segment> =
            pieces.into_iter().flat_map(|piece| parser.push(piece)).collect();
        pushed.extend(parser.finish());
        for segment in pushed {
            match (segment, all.last_mut()) {
                (Segment::Reasoning(text), Some(Segment::Reasoning(last))) => last.push_str(&text),
                (Segment::Text(text), Some(Segment::Text(last))) => last.push_str(&text),
                (segment, _) => all.push(segment),
            }
        }
        all
    }

    fn reasoning(text: &str) -> Segment {
        Segment::Reasoning(text.to_owned())
    }

    fn text(text: &str) -> Segment {
        Segment::Text(text.to_owned())
    }

    #[test]
    fn reasoning_and_answer_lose_the_line_breaks_around_their_tags() {
        let output = parse(false, ["<think>\nHm.\n\nYes.\n</think>\n\nForty-two.\n"]);
        assert_eq!(output, [reasoning("Hm.\n\nYes."), text("Forty-two.\n")]);
    }

    #[test]
    fn a_primed_prompt_needs_no_opening_tag() {
        let output = parse(true, ["Hm.</think>42"]);
        assert_eq!(output, [reasoning("Hm."), text("42")]);
    }

    #[test]
    fn an_opening_tag_repeated_after_a_primed_prompt_is_dropped() {
        let output = parse(true, ["\n<think>\nHm.<think> Hm.</think>42"]);
        assert_eq!(output, [reasoning("Hm. Hm."), text("42")]);
    }

    #[test]
    fn a_closing_tag_that_nothing_opened_is_dropped() {
        assert_eq!(parse(false, ["Hm.\n</think>\n\n42"]), [text("Hm.\n\n42")]);
        assert_eq!(parse(false, ["</think>\n\n42"]), [text("42")]);
    }

    #[test]
    fn a_repeated_closing_tag_is_dropped() {
        let output = parse(true, ["Hm.</think>\n</think>\n42"]);
        assert_eq!(output, [reasoning("Hm."), text("42")]);
    }

    #[test]
    fn text_before_the_opening_tag_is_answer() {
        let output = parse(false, ["Well:\n<think>Hm.</think>42"]);
        assert_eq!(output, [text("Well:"), reasoning("Hm."), text("42")]);
    }

    #[test]
    fn an_answer_may_speak_about_the_tags() {
        let answer = "Use <think> to open and </think> to close.";
        let output = parse(true, ["Hm.</think>", answer]);
        assert_eq!(output, [reasoning("Hm."), text(answer)]);
    }

    #[test]
    fn reasoning_cut_off_by_the_token_limit_stays_reasoning() {
        assert_eq!(parse(true, ["Hm. </thi"]), [reasoning("Hm. </thi")]);
        assert_eq!(parse(false, ["<think>\n"]), []);
    }

    #[test]
    fn an_answer_without_reasoning_is_untouched() {
        assert_eq!(parse(false, ["\n  Hello <b> \n"]), [text("\n  Hello <b> \n")]);
    }

    #[test]
    fn without_tags_everything_is_text() {
        let mut parser = ReasoningParser::new(None, false);
        assert_eq!(parser.push("\n<think>x"), [text("\n<think>x")]);
        assert_eq!(parser.finish(), []);
    }

    #[test]
    fn text_is_sent_before_the_next_piece_arrives() {
        let mut parser = ReasoningParser::new(Some(&tags()), true);
        assert_eq!(parser.push("Hm"), [reasoning("Hm")]);
        assert_eq!(parser.push("! 1 <"), [reasoning("! 1")]);
        assert_eq!(parser.push(" 2"), [reasoning(" < 2")]);
    }

    #[test]
    fn a_flood_of_white_space_is_not_held_without_bound() {
        let mut parser = ReasoningParser::new(Some(&tags()), true);
        parser.push("x");
        for _ in 0..100 {
            parser.push(&"\n".repeat(limits::HELD_WHITE_SPACE_BYTES_MAX));
            assert!(parser.held.len() <= limits::HELD_WHITE_SPACE_BYTES_MAX);
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_parts(
            starts_open: bool,
            words in proptest::collection::vec(
                prop_oneof![
                    "<think>", "</think>", "<", "</th", "think>", "[ \n]{1,3}", "[a\u{3000}\u{e9}]"
                ],
                0..12,
            ),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let all = words.concat();
            let mut boundaries: Vec<usize> = cuts
                .iter()
                .map(|cut| all.floor_char_boundary(cut.index(all.len() + 1)))
                .collect();
            boundaries.extend([0, all.len()]);
            boundaries.sort_unstable();
            let pieces = boundaries.windows(2).map(|cut| &all[cut[0]..cut[1]]);
            prop_assert_eq!(parse(starts_open, pieces), parse(starts_open, [all.as_str()]));
        }

        #[test]
        fn one_character_at_a_time_gives_the_same_parts(
            starts_open: bool,
            words in proptest::collection::vec(
                prop_oneof!["<think>", "</think>", "[ \n]{1,3}", "[a\u{e9}<]"],
                0..12,
            ),
        ) {
            let all = words.concat();
            let pieces = all.split_inclusive(|_| true);
            prop_assert_eq!(parse(starts_open, pieces), parse(starts_open, [all.as_str()]));
        }
    }
}
