//! Ages: numbers that what is before or behind them makes the age of somebody.

use super::kind::EntityKind as K;
use super::label::{self, Label};
use super::token::han_digit;
use super::{Best, Candidate, TOKEN_BYTES_MAX, Value};

/// What makes a number an age, right behind it or behind spaces.
const SUFFIXES: &[&str] = &[
    "years old",
    "year old",
    "years of age",
    "year-old",
    "-year-old",
    "-years-old",
    "-year old",
    "years-old",
    "years young",
    "yrs old",
    "yr old",
    "yo ",
    "y/o",
    "y.o.",
    "yo,",
    "yo.",
    "周岁",
    "岁",
    "歲",
];
/// A bound of ages, which is nobody's.
const BOUNDS: &[&str] = &["以上", "以下", "以内", "以前", "以后", "之前", "之后", "及以"];
/// Things that have an age and no privacy.
const THINGS: &[&str] =
    &[" building", " house", " company", " tree", " bridge", " whisky", " wine"];
/// What follows an age that the words before it tell.
const AFTER: &[&str] = &[
    " and",
    " but",
    " next",
    " this",
    " in ",
    " on ",
    " today",
    " tomorrow",
    " yesterday",
    " last",
    " soon",
    " now",
    " years",
    " when",
    " as ",
    " from",
    " so ",
    " male",
    " female",
];
/// Letters of an age in a run of letters and digits: `45yo`.
const RUNS: &[&str] = &["yo", "yof", "yom"];
const LEN_MAX: usize = 3;
/// Bytes between an age and a word that says it is one.
pub(super) const DISTANCE_MAX: usize = 6;
/// Characters of an age in Han numerals: 一百零三.
const HAN_CHARS_MAX: usize = 4;
/// Bytes behind a number that say whether it is an age.
const REST_BYTES_MAX: usize = 32;
const SPACES_MAX: usize = 3;

pub(super) fn of_number(value: &Value<'_>, out: &mut Best) {
    let range = value.range(1);
    let text = value.text;
    let digits = &text[range.clone()];
    let number = digits.parse::<u32>().unwrap_or(0);
    let before = value.byte_before(range.start);
    let goes_on_before = matches!(before, Some(b'-' | b'.' | b'/' | b'_' | b','))
        && range.start >= 2
        && text.as_bytes()[range.start - 2].is_ascii_alphanumeric();
    if !(1..=125).contains(&number) || digits.starts_with('0') || goes_on_before {
        return;
    }
    let rest = &text[range.end..];
    let mut propose = |sureness| {
        out.push(Candidate { range: range.clone(), kind: K::Age, sureness });
    };
    if is_followed(rest) {
        return propose(86);
    }
    if !value.has_borders(1) {
        return;
    }
    let ends_clause = rest.is_empty() || rest.starts_with(['.', ',', '!', '?', ';', ')', '\n']);
    let goes_on = number >= 5 && AFTER.iter().any(|words| rest.starts_with(words));
    let is_labelled =
        value.label.is_some_and(|it| it.label == Label::Of(K::Age) && it.distance <= DISTANCE_MAX);
    if is_labelled {
        propose(80);
    } else if (ends_clause || goes_on) && label::is_turned(text, range.start) {
        propose(75);
    }
}

/// The end of a number at `at` of one or two digits that stands apart and is no age: most numbers
/// of lists and texts. Nothing else is so short.
pub(super) fn not_one(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let len = bytes[at..].iter().take(LEN_MAX).take_while(|byte| byte.is_ascii_digit()).count();
    let end = at + len;
    let ends = match *bytes.get(end)? {
        b',' | b';' | b']' | b'\n' => true,
        ..=0x7F => false,
        _ => text[end..].chars().next().is_some_and(|next| {
            !matches!(next, '岁' | '歲' | '周' | '·') && han_digit(next).is_none()
        }),
    };
    let before = &text[..at];
    let begins = match *before.as_bytes() {
        [.., further, last, b' ' | b'\n'] => {
            !last.is_ascii_uppercase()
                && (!last.is_ascii_alphanumeric() || further.is_ascii_alphanumeric())
        }
        [.., b',' | b'[' | b'('] => !is_in_url(before.as_bytes()),
        [.., 0x80..=0xFF] => !before.ends_with('·'),
        _ => false,
    };
    let is_other = matches!(len, 1 | 2)
        && ends
        && begins
        && label::within(text, at, DISTANCE_MAX).is_none()
        && !label::is_turned(text, at);
    is_other.then_some(end)
}

/// Whether what stands right before a place, without a space, may be of an address on the web.
fn is_in_url(before: &[u8]) -> bool {
    let token = before.iter().rev().take_while(|byte| byte.is_ascii_graphic());
    token.take(TOKEN_BYTES_MAX).any(|byte| matches!(byte, b':' | b'w'))
}

fn is_followed(rest: &str) -> bool {
    let rest = behind_spaces(rest);
    let Some(behind) = SUFFIXES.iter().find_map(|suffix| rest.strip_prefix(suffix)) else {
        return false;
    };
    !BOUNDS.iter().chain(THINGS).any(|other| behind.starts_with(other))
}

/// `45yo` and `38th birthday`: an age in a run of letters and digits.
pub(super) fn of_run(value: &Value<'_>, out: &mut Best) {
    let group = &value.groups[0];
    let len = group.text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=LEN_MAX).contains(&len) || group.range.len() != group.text.len() {
        return;
    }
    let letters = &group.text[len..];
    let is_letters = |known: &&str| letters.eq_ignore_ascii_case(known.as_bytes());
    let rest = &value.text[group.range.end..];
    let is_birthday =
        ["st", "nd", "rd", "th"].iter().any(&is_letters) && rest.starts_with(" birthday");
    let is_run = RUNS.iter().any(is_letters) || is_letters(&"y") && rest.starts_with("/o");
    if is_birthday || is_run {
        let range = group.range.start..group.range.start + len;
        out.push(Candidate { range, kind: K::Age, sureness: 84 });
    }
}

/// The age in Han numerals before the 岁 at `at`.
pub(super) fn in_han(text: &str, at: usize, from: usize) -> Option<Candidate> {
    let before = text[from..at].strip_suffix('周').unwrap_or(&text[from..at]);
    let end = from + before.len();
    let len = before.chars().rev().take_while(|it| is_han_numeral(*it)).count();
    let start = end - 3 * len;
    let is_age = (1..=HAN_CHARS_MAX).contains(&len) && text[start..end] != *"百";
    let is_bound = BOUNDS.iter().any(|bound| text[at + "岁".len()..].starts_with(bound));
    (is_age && !is_bound).then_some(Candidate { range: start..end, kind: K::Age, sureness: 84 })
}

fn is_han_numeral(character: char) -> bool {
    "零一二三四五六七八九十百两".contains(character)
}

/// Where a number begins that what follows could still make an age.
pub(super) fn live_from(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let mut back = text.len().saturating_sub(REST_BYTES_MAX).max(from);
    while !text.is_char_boundary(back) {
        back += 1;
    }
    if let Some(last) = (back..text.len()).rev().find(|at| bytes[*at].is_ascii_digit())
        && is_open(&text[last + 1..])
    {
        let digits = bytes[from..last + 1].iter().rev().take(4).take_while(|b| b.is_ascii_digit());
        return last + 1 - digits.count();
    }
    // A bound may follow the suffix, and the suffix the numerals.
    let tail = &text[back..];
    let tail = BOUNDS
        .iter()
        .find_map(|bound| {
            let first = bound.chars().next()?;
            tail.strip_suffix(first).filter(|tail| tail.ends_with(['岁', '歲']))
        })
        .unwrap_or(tail);
    let tail = tail.strip_suffix(['岁', '歲']).unwrap_or(tail);
    let tail = tail.strip_suffix('周').unwrap_or(tail);
    let numerals = tail.chars().rev().take(HAN_CHARS_MAX + 1).take_while(|it| is_han_numeral(*it));
    match numerals.map(char::len_utf8).sum::<usize>() {
        0 => text.len(),
        len => back + tail.len() - len,
    }
}

fn behind_spaces(rest: &str) -> &str {
    let spaces = rest.bytes().take(SPACES_MAX).take_while(|byte| *byte == b' ').count();
    &rest[spaces..]
}

/// Whether what stands behind a number could go on so that it tells an age.
fn is_open(rest: &str) -> bool {
    let bare = behind_spaces(rest);
    let behind = SUFFIXES.iter().find_map(|suffix| bare.strip_prefix(suffix));
    let could_be = |all: &[&str], rest: &str| all.iter().any(|known| known.starts_with(rest));
    // A stop may be a decimal point, and ends a clause otherwise.
    could_be(SUFFIXES, bare)
        || could_be(AFTER, rest)
        || behind.is_some_and(|rest| could_be(BOUNDS, rest) || could_be(THINGS, rest))
        || ["st", "nd", "rd", "th"].iter().any(|ordinal| {
            rest.strip_prefix(ordinal).is_some_and(|rest| " birthday".starts_with(rest))
        })
        || rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_punctuation())
}
