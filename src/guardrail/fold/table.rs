//! What each character folds to. The tables are built once, from Unicode's compatibility mappings
//! and the lists beside this file, which `scripts/make-fold-tables` writes.

use std::ops::RangeInclusive;
use std::sync::OnceLock;

use unicode_normalization::UnicodeNormalization as _;

/// Letters that look Latin: a line for each, itself first.
const LATIN: &str = include_str!("latin.txt");
/// Pairs of a traditional character and its simplified form.
const SIMPLIFIED: &str = include_str!("simplified.txt");
/// The zero of every script with decimal digits; the nine others follow it.
const ZEROS: &str = include_str!("digits.txt");

/// Characters with no mark of their own on paper: joiners, direction, variation, tags.
const INVISIBLE: &[RangeInclusive<u32>] = &[
    0xAD..=0xAD,
    0x34F..=0x34F,
    0x61C..=0x61C,
    0x115F..=0x1160,
    0x17B4..=0x17B5,
    0x180B..=0x180F,
    0x200B..=0x200F,
    0x202A..=0x202E,
    0x2060..=0x206F,
    0x3164..=0x3164,
    0xFE00..=0xFE0F,
    0xFEFF..=0xFEFF,
    0xFFA0..=0xFFA0,
    0xFFF0..=0xFFF8,
    0xE0000..=0xE0FFF,
];
/// Marks that combine with what is before them.
const COMBINING: &[RangeInclusive<u32>] = &[
    0x300..=0x36F,
    0x483..=0x489,
    0x1AB0..=0x1AFF,
    0x1DC0..=0x1DFF,
    0x20D0..=0x20FF,
    0xFE20..=0xFE2F,
];
const DASHES: &[RangeInclusive<u32>] =
    &[0x2010..=0x2015, 0x2212..=0x2212, 0xFE58..=0xFE58, 0xFE63..=0xFE63, 0xFF0D..=0xFF0D];
const SPACES: &[RangeInclusive<u32>] =
    &[0xA0..=0xA0, 0x2000..=0x200A, 0x202F..=0x202F, 0x205F..=0x205F, 0x3000..=0x3000];
const DOTS: &[RangeInclusive<u32>] = &[
    0x2022..=0x2022,
    0x2027..=0x2027,
    0x2219..=0x2219,
    0x22C5..=0x22C5,
    0x30FB..=0x30FB,
    0xFF65..=0xFF65,
];
/// Digits in circles and brackets: where they begin, and the number that the first one shows.
const NUMBERS: &[(RangeInclusive<u32>, u32)] = &[
    (0x2460..=0x2473, 1),
    (0x2474..=0x2487, 1),
    (0x2488..=0x249B, 1),
    (0x24EA..=0x24EA, 0),
    (0x24EB..=0x24F4, 11),
    (0x24F5..=0x24FE, 1),
    (0x24FF..=0x24FF, 0),
    (0x2776..=0x277F, 1),
    (0x2780..=0x2789, 1),
    (0x278A..=0x2793, 1),
    (0x1F100..=0x1F100, 0),
    (0x1F101..=0x1F10A, 0),
    (0x1F10B..=0x1F10C, 0),
];
/// Letters in black circles and squares and of flags, which compatibility mappings leave alone.
const LETTERS: &[RangeInclusive<u32>] = &[0x1F150..=0x1F169, 0x1F170..=0x1F189, 0x1F1E6..=0x1F1FF];
/// Where characters are that fold by Unicode's own mappings. Han and Hangul fold to themselves.
const MAPPED: &[RangeInclusive<u32>] = &[
    0x80..=0x33FF,
    0xA640..=0xABFF,
    0xF900..=0xFFFF,
    0x1D400..=0x1D7FF,
    0x1E000..=0x1EFFF,
    0x1F100..=0x1F1FF,
    0x1FBF0..=0x1FBF9,
    0x2F800..=0x2FA1F,
];
/// Characters of the Basic Latin block and of scripts that fold to it lie below this.
const CODE_POINTS: usize = 0x3_0000;
const PAGE: usize = 256;
/// Code points of the basic plane.
const PLANE: usize = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Same,
    Dropped,
    Character(char),
    /// An index for [`Table::expansion`].
    Text(u32),
}

#[derive(Debug)]
pub(super) struct Table {
    pages: Vec<Option<Box<[Entry; PAGE]>>>,
    expansions: Vec<Box<str>>,
    /// A bit for each character of the basic plane that is not its own fold.
    changed: Box<[u64; PLANE / 64]>,
    lowers_ascii: bool,
    /// Whether the characters from U+4000 to U+9FFF, Han nearly all, are their own folds.
    keeps_han: bool,
}

impl Table {
    pub(super) fn plain() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| {
            let mut table = Self::new(false);
            for code in (0x80..CODE_POINTS as u32).filter(|code| is_mapped(*code)) {
                if let Some(character) = char::from_u32(code) {
                    table.set(character, &plain(character));
                }
            }
            table.set_digits();
            table.keeps_han = (0x4000..0xA000).all(|code| !table.changes_code(code));
            table
        })
    }

    pub(super) fn skeleton() -> &'static Self {
        static TABLE: OnceLock<Table> = OnceLock::new();
        TABLE.get_or_init(|| {
            let plain = Self::plain();
            let mut table = Self::new(true);
            let mut simplified = SIMPLIFIED.chars().filter(|character| *character != '\n');
            while let (Some(from), Some(to)) = (simplified.next(), simplified.next()) {
                table.set(from, to.encode_utf8(&mut [0; 4]));
            }
            let mut text = String::new();
            for code in (0x80..CODE_POINTS as u32).filter(|code| is_mapped(*code)) {
                let Some(character) = char::from_u32(code) else { continue };
                text.clear();
                match plain.entry(character) {
                    Entry::Same => text.push(character),
                    Entry::Dropped => {}
                    Entry::Character(other) => text.push(other),
                    Entry::Text(index) => text.push_str(plain.expansion(index)),
                }
                let bare = text
                    .chars()
                    .flat_map(char::to_lowercase)
                    .nfkd()
                    .filter(|mark| !contains(COMBINING, *mark as u32));
                let bare: String = bare.collect();
                let looks: String = bare.chars().map(|letter| table.simple(letter)).collect();
                table.set(character, &latin(&looks));
            }
            table.set_digits();
            table
        })
    }

    /// Whether a character folds to anything but itself; the same as its entry says, sooner.
    #[inline]
    pub(super) fn changes(&self, character: char) -> bool {
        match character as usize {
            code @ ..PLANE => self.changes_code(code),
            _ => self.entry(character) != Entry::Same,
        }
    }

    /// The same by the code of a character of the basic plane.
    #[inline]
    pub(super) fn changes_code(&self, code: usize) -> bool {
        self.changed[code / 64] >> (code % 64) & 1 != 0
    }

    pub(super) fn entry(&self, character: char) -> Entry {
        let code = character as usize;
        match self.pages.get(code / PAGE) {
            Some(Some(page)) => page[code % PAGE],
            Some(None) => Entry::Same,
            None if contains(INVISIBLE, character as u32) => Entry::Dropped,
            None => Entry::Same,
        }
    }

    pub(super) fn expansion(&self, index: u32) -> &str {
        &self.expansions[index as usize]
    }

    pub(super) fn lowers_ascii(&self) -> bool {
        self.lowers_ascii
    }

    pub(super) fn keeps_han(&self) -> bool {
        self.keeps_han
    }

    fn new(lowers_ascii: bool) -> Self {
        let pages = (0..CODE_POINTS / PAGE).map(|_| None).collect();
        let changed = Box::new([0; PLANE / 64]);
        Self { pages, expansions: Vec::new(), changed, lowers_ascii, keeps_han: false }
    }

    fn set(&mut self, from: char, to: &str) {
        let mut characters = to.chars();
        let entry = match (characters.next(), characters.next()) {
            (None, _) => Entry::Dropped,
            (Some(only), None) if only == from => Entry::Same,
            (Some(only), None) => Entry::Character(only),
            _ => {
                self.expansions.push(to.into());
                Entry::Text(self.expansions.len() as u32 - 1)
            }
        };
        let code = from as usize;
        if let Some(bits) = self.changed.get_mut(code / 64) {
            let bit = u64::from(entry != Entry::Same) << (code % 64);
            *bits = *bits & !(1 << (code % 64)) | bit;
        }
        if let Some(page) = self.pages.get_mut(code / PAGE) {
            page.get_or_insert_with(|| Box::new([Entry::Same; PAGE]))[code % PAGE] = entry;
        }
    }

    fn simple(&self, character: char) -> char {
        match self.entry(character) {
            Entry::Character(other) => other,
            _ => character,
        }
    }

    fn set_digits(&mut self) {
        for zero in ZEROS.trim_end().chars() {
            for value in 0..10 {
                let digit = char::from_u32(zero as u32 + value);
                if let Some(digit) = digit.filter(|digit| !digit.is_ascii()) {
                    self.set(digit, &value.to_string());
                }
            }
        }
    }
}

fn is_mapped(code: u32) -> bool {
    contains(MAPPED, code)
}

fn contains(ranges: &[RangeInclusive<u32>], code: u32) -> bool {
    ranges.iter().any(|range| range.contains(&code))
}

fn plain(character: char) -> String {
    let code = character as u32;
    if contains(INVISIBLE, code) || contains(COMBINING, code) {
        return String::new();
    }
    if let Some((range, first)) = NUMBERS.iter().find(|(range, _)| range.contains(&code)) {
        return (first + code - range.start()).to_string();
    }
    if let Some(range) = LETTERS.iter().find(|range| range.contains(&code)) {
        return char::from_u32(u32::from('a') + code - range.start()).into_iter().collect();
    }
    let one = match code {
        _ if contains(DASHES, code) => Some('-'),
        _ if contains(SPACES, code) => Some(' '),
        _ if contains(DOTS, code) => Some('·'),
        0x2028 | 0x2029 => Some('\n'),
        0x2018 | 0x2019 | 0x201B => Some('\''),
        0x201C..=0x201F => Some('"'),
        _ => None,
    };
    match one {
        Some(one) => one.to_string(),
        // Accents stay: a name with its accents taken off is another name.
        None => character.nfkc().filter(|mark| !contains(COMBINING, *mark as u32)).collect(),
    }
}

/// Letters of other scripts that look Latin, and ligatures.
fn latin(text: &str) -> String {
    static LOOKS: OnceLock<std::collections::HashMap<char, char>> = OnceLock::new();
    let looks = LOOKS.get_or_init(|| {
        let lines = LATIN.lines().filter_map(|line| {
            let mut characters = line.chars();
            Some((characters.next()?, characters))
        });
        lines.flat_map(|(letter, others)| others.map(move |other| (other, letter))).collect()
    });
    let mut output = String::new();
    for character in text.chars() {
        match character {
            'ß' => output.push_str("ss"),
            'æ' => output.push_str("ae"),
            'œ' => output.push_str("oe"),
            _ => output.push(looks.get(&character).copied().unwrap_or(character)),
        }
    }
    output
}
