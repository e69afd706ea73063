//! Text in the forms that rules and classifiers read, with the way back to the text as it was.
//!
//! [`Folded::plain`] undoes how characters are dressed: full-width, circled and mathematical forms,
//! digits of any script, invisible characters. [`Folded::skeleton`] then also drops what readers
//! overlook: case, diacritics, letters of other scripts that look Latin, traditional forms of Han.
//! Both look at one character at a time, so the fold of a prefix is a prefix of the fold: what a
//! stream decides early stays true.

mod table;

use std::borrow::Cow;
use std::ops::Range;

use table::{Entry, Table};

/// A folded text and the offsets that lead back.
#[derive(Debug)]
pub struct Folded<'a> {
    original: &'a str,
    text: Cow<'a, str>,
    /// Where the distance between folded and original offsets changes, in order. Within a run it
    /// does not.
    runs: Vec<Run>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    folded: u32,
    original: u32,
}

impl<'a> Folded<'a> {
    /// Keeps case and script; characters that a pattern could miss by their dress are undressed.
    ///
    /// `original` must be shorter than 4 GiB.
    pub fn plain(original: &'a str) -> Self {
        if original.is_ascii() {
            return Self { original, text: Cow::Borrowed(original), runs: Vec::new() };
        }
        Self::fold(original, Table::plain())
    }

    /// What is left when looks are all that counts: lower case, Latin look-alikes, simplified Han.
    pub fn skeleton(original: &'a str) -> Self {
        if original.is_ascii() {
            let text = match original.bytes().any(|byte| byte.is_ascii_uppercase()) {
                true => Cow::Owned(original.to_ascii_lowercase()),
                false => Cow::Borrowed(original),
            };
            return Self { original, text, runs: Vec::new() };
        }
        Self::fold(original, Table::skeleton())
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole characters of the original that a range of the folded text comes from.
    pub fn original_range(&self, folded: Range<usize>) -> Range<usize> {
        let start = self.original_start(folded.start);
        if folded.end <= folded.start {
            return start..start;
        }
        let mut end = self.original_offset(folded.end - 1) + 1;
        while !self.original.is_char_boundary(end) {
            end += 1;
        }
        start..end
    }

    /// The start of the character that a folded offset belongs to; the end maps to the end.
    pub fn original_start(&self, folded: usize) -> usize {
        if folded >= self.text.len() {
            return self.original.len();
        }
        let mut start = self.original_offset(folded);
        while !self.original.is_char_boundary(start) {
            start -= 1;
        }
        start
    }

    /// The folded offset at which the rest of the original from `original` on begins.
    pub fn folded_start(&self, original: usize) -> usize {
        let next = self.runs.partition_point(|run| run.original as usize <= original);
        let limit = self.runs.get(next).map_or(self.text.len(), |run| run.folded as usize);
        let (folded, base) = match next.checked_sub(1) {
            Some(last) => (self.runs[last].folded as usize, self.runs[last].original as usize),
            None => (0, 0),
        };
        let mut start = (folded + (original - base)).min(limit);
        while !self.text.is_char_boundary(start) {
            start += 1;
        }
        start
    }

    fn original_offset(&self, folded: usize) -> usize {
        let next = self.runs.partition_point(|run| run.folded as usize <= folded);
        let limit = self.runs.get(next).map_or(self.original.len(), |run| run.original as usize);
        let offset = match next.checked_sub(1) {
            Some(last) => {
                let run = self.runs[last];
                run.original as usize + (folded - run.folded as usize)
            }
            None => folded,
        };
        offset.min(limit.saturating_sub(1))
    }

    fn fold(original: &'a str, table: &'static Table) -> Self {
        let mut folding =
            Folding { table, text: String::with_capacity(original.len()), runs: vec![] };
        let bytes = original.as_bytes();
        // What lies in `[kept, at)` is its own fold and is copied in one piece.
        let (mut kept, mut at) = (0, 0);
        while at < bytes.len() {
            if bytes[at].is_ascii() {
                at += num_ascii(&bytes[at..]);
                continue;
            }
            if table.keeps_han() {
                at += num_han_bytes(&bytes[at..]);
            }
            while let Some(code) = wide_char(bytes, at)
                && !table.changes_code(code)
            {
                at += 3;
            }
            let Some(character) = original[at..].chars().next() else { break };
            if character.is_ascii() {
                continue;
            }
            let len = character.len_utf8();
            if table.changes(character) {
                let entry = table.entry(character);
                folding.copy(original, kept..at);
                folding.replace(at, entry, at + len);
                kept = at + len;
            }
            at += len;
        }
        folding.copy(original, kept..bytes.len());
        if table.lowers_ascii() {
            folding.text.make_ascii_lowercase();
        }
        Self { original, text: Cow::Owned(folding.text), runs: folding.runs }
    }
}

/// The code of the character at `at` of a text if it has three bytes, as Han characters have.
#[inline]
pub(super) fn wide_char(bytes: &[u8], at: usize) -> Option<usize> {
    let [first, second, third] = *bytes.get(at..)?.first_chunk::<3>()?;
    let bits = |byte: u8| usize::from(byte & 0x3F);
    (first & 0xF0 == 0xE0)
        .then(|| usize::from(first & 0x0F) << 12 | bits(second) << 6 | bits(third))
}

/// How many of the first bytes are ASCII; eight at a time.
#[inline]
fn num_ascii(bytes: &[u8]) -> usize {
    let mut len = 0;
    while let Some(word) = bytes[len..].first_chunk::<8>() {
        let others = u64::from_le_bytes(*word) & 0x8080_8080_8080_8080;
        if others != 0 {
            return len + others.trailing_zeros() as usize / 8;
        }
        len += 8;
    }
    len + bytes[len..].iter().take_while(|byte| byte.is_ascii()).count()
}

/// How many bytes the first characters have that [`Table::keeps_han`] is about.
#[inline]
fn num_han_bytes(bytes: &[u8]) -> usize {
    let mut len = 0;
    while let Some(0xE4..=0xE9) = bytes.get(len) {
        len += 3;
    }
    len
}

/// A fold in the making.
struct Folding {
    table: &'static Table,
    text: String,
    runs: Vec<Run>,
}

impl Folding {
    fn copy(&mut self, original: &str, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        self.text.push_str(&original[range]);
    }

    fn replace(&mut self, start: usize, entry: Entry, end: usize) {
        self.begin_run(start);
        match entry {
            Entry::Same | Entry::Dropped => {}
            Entry::Character(character) => self.text.push(character),
            Entry::Text(index) => self.text.push_str(self.table.expansion(index)),
        }
        self.begin_run(end);
    }

    fn begin_run(&mut self, original: usize) {
        let run = Run { folded: self.text.len() as u32, original: original as u32 };
        // Neighbours share a boundary. A dropped character's run has no length in the fold and
        // stays: without it, a position in front of the character has no place of its own.
        let is_known = |last: &Run| (last.folded, last.original) == (run.folded, run.original);
        if !self.runs.last().is_some_and(is_known) {
            self.runs.push(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Folded;

    #[test]
    fn dress_is_taken_off() {
        let plain = |text| Folded::plain(text).text().to_owned();
        assert_eq!(plain("１３⑧٣²𝟗—ａB：６\u{200b}7\u{2060}8\u{202d}9"), "138329-aB:6789");
        assert_eq!(plain("ⓢⓔⓧ ﬁ ①⓪⑫ Ⅳ"), "sex fi 1012 IV");
        assert_eq!(plain("漢字 Привет É"), "漢字 Привет É");
        let skeleton = |text| Folded::skeleton(text).text().to_owned();
        assert_eq!(skeleton("ѕnоwbаllіng Wétbáck 𝐁𝐨𝐥𝐝 \u{1F150}ß"), "snowballing wetback bold ass");
        assert_eq!(skeleton("臺灣法輪"), "台湾法轮");
        assert_eq!(skeleton("z\u{335}a\u{301}lgo 🇫🇺"), "zalgo fu");
    }

    #[test]
    fn offsets_lead_back_to_whole_characters() {
        let text = "ab\u{200b}ｃｄ漢\u{fdfa}é9";
        let folded = Folded::plain(text);
        let at = folded.text().find("cd").unwrap();
        assert_eq!(&text[folded.original_range(at..at + 2)], "ｃｄ");
        let nine = folded.text().find('9').unwrap();
        assert_eq!(&text[folded.original_range(nine..nine + 1)], "9");
        let b = folded.text().find('b').unwrap();
        assert_eq!(&text[folded.original_range(b..b + 2)], "b\u{200b}ｃ");
        // What an expansion is followed by begins after all of it, though it is dropped.
        let text = "½\u{200b}";
        assert_eq!(Folded::plain(text).folded_start("½".len()), Folded::plain("½").text().len());
    }

    fn boundaries(text: &str) -> Vec<usize> {
        text.char_indices().map(|(at, _)| at).chain([text.len()]).collect()
    }

    proptest! {
        /// Any range of the fold maps to whole characters, in order, and the fold of a prefix is a
        /// prefix of the fold.
        #[test]
        fn folding_is_a_matter_of_single_characters(
            text in "([a-zA-Z0-9 ]|[ａ-ｚ０-９]|[\u{200b}-\u{200f}]|[一-龥]|[а-яё]|\\PC){0,40}",
            cut in any::<prop::sample::Index>(),
        ) {
            for fold in [Folded::plain, Folded::skeleton] {
                let folded = fold(&text);
                let bounds = boundaries(folded.text());
                let mut last = 0;
                for pair in bounds.windows(2) {
                    let range = folded.original_range(pair[0]..pair[1]);
                    prop_assert!(text.get(range.clone()).is_some_and(|part| !part.is_empty()));
                    prop_assert!(range.start >= last);
                    last = range.start;
                }
                let cuts = boundaries(&text);
                let at = cuts[cut.index(cuts.len())];
                prop_assert!(folded.text().starts_with(fold(&text[..at]).text()));
                prop_assert_eq!(fold(&text[..at]).text().len(), folded.folded_start(at));
            }
        }
    }
}
