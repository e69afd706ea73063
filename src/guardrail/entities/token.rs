//! The pieces of a text around a digit: runs of letters and digits, groups pulled apart, numerals
//! written out in Han.

use std::borrow::Cow;
use std::ops::Range;

/// Longer runs are blobs: hashes, keys, encoded files.
pub(super) const RUN_BYTES_MAX: usize = 64;
/// Groups of one value: `6 2 1 7 …` is one group, a dotted address has eight.
pub(super) const GROUPS_MAX: usize = 8;
/// Single characters that one value pulled apart has.
const SINGLES_MAX: usize = 40;

/// A run of letters and digits, as it reads without what pulls it apart.
#[derive(Debug, Clone)]
pub(super) struct Group<'t> {
    pub(super) range: Range<usize>,
    pub(super) text: Cow<'t, [u8]>,
    /// Between the group before it and this one.
    pub(super) separator: Separator,
}

impl Group<'_> {
    pub(super) fn is_digits(&self) -> bool {
        self.text.iter().all(u8::is_ascii_digit)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Separator {
    None,
    Space,
    Dash,
    Dot,
    Slash,
    /// Brackets of a dialling code.
    Bracket,
    MiddleDot,
}

/// The digit that a Han numeral stands for.
pub(super) fn han_digit(character: char) -> Option<u8> {
    Some(match character {
        '〇' | '零' | '○' => b'0',
        '一' | '壹' | '幺' | '弌' => b'1',
        '二' | '贰' | '貳' | '弍' => b'2',
        '三' | '叁' | '參' | '弎' => b'3',
        '四' | '肆' => b'4',
        '五' | '伍' => b'5',
        '六' | '陆' | '陸' => b'6',
        '七' | '柒' => b'7',
        '八' | '捌' => b'8',
        '九' | '玖' => b'9',
        _ => return None,
    })
}

/// The group that begins at `start`, which must be the start of a run or of a Han numeral.
pub(super) fn group(text: &str, start: usize, separator: Separator) -> Option<Group<'_>> {
    let bytes = text.as_bytes();
    if !bytes.get(start)?.is_ascii() {
        return han_group(text, start, separator);
    }
    let len =
        bytes[start..].iter().take(RUN_BYTES_MAX + 1).take_while(|b| b.is_ascii_alphanumeric());
    let len = len.count();
    if len == 1
        && let Some(group) = singles(text, start, separator)
    {
        return Some(group);
    }
    if len == 0 || len > RUN_BYTES_MAX {
        return None;
    }
    let range = start..start + len;
    // Digits may go on in Han: 138一二三四…
    if bytes[range.clone()].iter().all(u8::is_ascii_digit)
        && text[range.end..].chars().next().is_some_and(|next| han_digit(next).is_some())
        && let Some(group) = han_group(text, start, separator)
    {
        return Some(group);
    }
    Some(Group { text: Cow::Borrowed(&bytes[range.clone()]), range, separator })
}

/// Numerals in Han, with ASCII digits and a last X among them. Fewer than six in a row count
/// things.
fn han_group(text: &str, start: usize, separator: Separator) -> Option<Group<'_>> {
    let mut digits = Vec::new();
    let mut end = start;
    for character in text[start..].chars() {
        match han_digit(character) {
            Some(digit) => digits.push(digit),
            None if character.is_ascii_digit() => digits.push(character as u8),
            None => break,
        }
        end += character.len_utf8();
        if digits.len() > RUN_BYTES_MAX {
            return None;
        }
    }
    if digits.len() == 17 && matches!(text.as_bytes().get(end), Some(b'X' | b'x')) {
        digits.push(b'X');
        end += 1;
    }
    let is_value = digits.len() >= 6;
    is_value.then_some(Group { range: start..end, text: Cow::Owned(digits), separator })
}

/// The end of a Han numeral at `at` that stands apart from letters and has no other right behind:
/// in most texts nearly all of them, and never part of a value.
pub(super) fn few_numerals(text: &str, at: usize) -> Option<usize> {
    let numeral = text[at..].chars().next().filter(|it| han_digit(*it).is_some())?;
    let end = at + numeral.len_utf8();
    let stands_apart = match text.as_bytes()[..at].last() {
        None => true,
        Some(before) => !(before.is_ascii_alphanumeric() || matches!(before, b' ' | b'-')),
    } && !text[..at].ends_with('·');
    let next = text[end..].chars().next()?;
    let goes_on = next.is_ascii_digit() || han_digit(next).is_some();
    (stands_apart && !goes_on).then_some(end)
}

/// `1 3 8 0 …`: single characters with one space between each.
fn singles(text: &str, start: usize, separator: Separator) -> Option<Group<'_>> {
    let bytes = text.as_bytes();
    let is_single = |at: usize| {
        bytes.get(at).is_some_and(u8::is_ascii_alphanumeric)
            && !bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
    };
    let mut run = vec![bytes[start]];
    let mut at = start;
    while bytes.get(at + 1) == Some(&b' ') && is_single(at + 2) && run.len() <= SINGLES_MAX {
        at += 2;
        run.push(bytes[at]);
    }
    let is_apart = (2..=SINGLES_MAX).contains(&run.len()) && run.iter().any(u8::is_ascii_digit);
    is_apart.then_some(Group { range: start..at + 1, text: Cow::Owned(run), separator })
}

/// Whether the single character at `start` has others of its row before it.
pub(super) fn is_inside_singles(text: &str, start: usize) -> bool {
    let bytes = text.as_bytes();
    let at = |back: usize| start.checked_sub(back).map(|at| bytes[at]);
    !bytes.get(start + 1).is_some_and(u8::is_ascii_alphanumeric)
        && at(1) == Some(b' ')
        && at(2).is_some_and(|byte| byte.is_ascii_alphanumeric())
        && !at(3).is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// The groups from `start` on that could be of one value.
pub(super) fn groups(text: &str, start: usize) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut separator = Separator::None;
    let mut at = start;
    while groups.len() < GROUPS_MAX
        && let Some(next) = group(text, at, separator)
    {
        let end = next.range.end;
        groups.push(next);
        let Some((kind, len)) = separator_at(text, end) else { break };
        separator = kind;
        at = end + len;
    }
    groups
}

/// What stands between two groups, and its length.
fn separator_at(text: &str, at: usize) -> Option<(Separator, usize)> {
    let rest = &text[at..];
    let bytes = rest.as_bytes();
    let spaces = bytes.iter().take(4).take_while(|byte| **byte == b' ').count();
    let (kind, len) = match bytes.get(spaces)? {
        b'-' | b'~' => (Separator::Dash, 1),
        b'.' => (Separator::Dot, 1),
        b'/' => (Separator::Slash, 1),
        b')' | b'(' => (Separator::Bracket, 1),
        _ if rest[spaces..].starts_with('·') => (Separator::MiddleDot, '·'.len_utf8()),
        _ if (1..=3).contains(&spaces) => return Some((Separator::Space, spaces)),
        _ => return None,
    };
    let after = bytes.iter().skip(spaces + len).take(4).take_while(|byte| **byte == b' ').count();
    // A full stop and a bracket belong to a sentence when a space follows or comes before.
    if kind == Separator::Dot && spaces + after > 0 || spaces > 1 || after > 1 {
        return None;
    }
    Some((kind, spaces + len + after))
}

/// The token around `at` that no space and no Han breaks, not before `from`.
pub(super) fn token(text: &str, at: usize, from: usize) -> Range<usize> {
    let bytes = text.as_bytes();
    let is_part = |byte: &u8| byte.is_ascii_graphic();
    let before = bytes[from..at].iter().rev().take(super::TOKEN_BYTES_MAX);
    let start = at - before.take_while(|byte| is_part(byte)).count();
    let after = bytes[at..].iter().take(super::TOKEN_BYTES_MAX);
    let end = at + after.take_while(|byte| is_part(byte)).count();
    start..end
}
