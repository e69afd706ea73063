//! Values of digits: cards, telephones, numbers of people and accounts.

use super::checks;
use super::kind::EntityKind as K;
use super::label::{self, Label, Labelled};
use super::token::Separator;
use super::{Candidate, Value};

/// The longest value: a card of 19 digits. A telephone has 15 at most.
const DIGITS_MAX: usize = 19;
/// Bytes between a label and a value that has no check of its own.
const NEAR: usize = 24;

/// What makes a number an age, right behind it.
const AGE_SUFFIXES: &[&str] = &[
    "years old",
    "year old",
    "years of age",
    "year-old",
    "-year-old",
    "-years-old",
    "yrs old",
    "yo ",
    "y/o",
    "yr old",
    "years-old",
    "year olds",
    "year ol",
    "周岁",
    "岁",
    "歲",
    "-year old",
];

/// The first groups of a value, joined.
struct Digits<'a> {
    value: &'a Value<'a>,
    count: usize,
    digits: &'a [u8],
    label: Option<Labelled>,
    lens: &'a [usize],
}

/// Proposes every reading of every number of groups.
pub(super) fn candidates(value: &Value<'_>, out: &mut Vec<Candidate>) {
    let mut digits: Vec<u8> = Vec::with_capacity(DIGITS_MAX);
    let mut lens = Vec::new();
    let label = value.label;
    for (index, group) in value.groups.iter().enumerate() {
        if !group.is_digits() || digits.len() + group.text.len() > DIGITS_MAX {
            return;
        }
        digits.extend_from_slice(&group.text);
        lens.push(group.text.len());
        let count = index + 1;
        let read = Digits { value, count, digits: &digits, label, lens: &lens };
        expiry(&read, out);
        if !value.has_borders(count) {
            continue;
        }
        short(&read, out);
        card(&read, out);
        person(&read, out);
        account(&read, out);
        telephone(&read, out);
    }
}

impl Digits<'_> {
    fn is_labelled(&self, kind: K) -> bool {
        self.label.is_some_and(|it| it.label == Label::Of(kind))
    }

    fn is_near(&self, kind: K) -> bool {
        self.is_labelled(kind) && self.label.is_some_and(|it| it.distance <= NEAR)
    }

    fn is_harmless(&self) -> bool {
        self.label.is_some_and(|it| it.label == Label::Harmless)
    }

    fn is_joined_by(&self, allowed: &[Separator]) -> bool {
        self.value.separators(self.count).all(|separator| allowed.contains(&separator))
    }

    fn propose(&self, kind: K, sureness: u8, out: &mut Vec<Candidate>) {
        out.push(Candidate { range: self.value.range(self.count), kind, sureness });
    }
}

/// Ages, PINs, the codes of cards, QQ.
fn short(read: &Digits<'_>, out: &mut Vec<Candidate>) {
    if read.count != 1 {
        return;
    }
    let len = read.digits.len();
    if len <= 3 {
        age(read, out);
    }
    if matches!(len, 3 | 4) && read.is_near(K::CardCvv) {
        read.propose(K::CardCvv, 85, out);
    }
    if (4..=8).contains(&len) && read.is_near(K::Pin) {
        read.propose(K::Pin, 80, out);
    }
    if (5..=12).contains(&len) && read.is_near(K::Qq) {
        read.propose(K::Qq, 85, out);
    }
}

fn age(read: &Digits<'_>, out: &mut Vec<Candidate>) {
    let value = read.digits.iter().fold(0, |value, digit| value * 10 + u32::from(digit - b'0'));
    if !(1..=125).contains(&value) || read.value.groups[0].range.len() != read.digits.len() {
        return;
    }
    let rest = &read.value.text[read.value.range(1).end..];
    let is_followed =
        AGE_SUFFIXES.iter().any(|suffix| rest.trim_start_matches(' ').starts_with(suffix));
    let ends_clause = rest.is_empty() || rest.starts_with(['.', ',', '!', '?', ';', ')', '\n']);
    if is_followed {
        read.propose(K::Age, 86, out);
    } else if read.is_labelled(K::Age) && read.label.is_some_and(|it| it.distance <= 6) {
        read.propose(K::Age, 80, out);
    } else if ends_clause && label::is_turned(read.value.text, read.value.start()) {
        read.propose(K::Age, 75, out);
    }
}

/// Where a number begins that what follows could still make an age.
pub(super) fn live_age(text: &str, from: usize) -> usize {
    let bytes = text.as_bytes();
    let back = text.len().saturating_sub(20).max(from);
    let Some(last) = (back..text.len()).rev().find(|at| bytes[*at].is_ascii_digit()) else {
        return text.len();
    };
    let rest = text[last + 1..].trim_start_matches(' ');
    // A stop may be a decimal point.
    let is_open = AGE_SUFFIXES.iter().any(|suffix| suffix.starts_with(rest))
        || rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_punctuation());
    let digits = bytes[from..last + 1].iter().rev().take(4).take_while(|b| b.is_ascii_digit());
    if is_open { last + 1 - digits.count() } else { text.len() }
}

fn expiry(read: &Digits<'_>, out: &mut Vec<Candidate>) {
    if read.count != 2 || !read.is_near(K::CardExpiry) {
        return;
    }
    let month =
        |digits: &[u8]| matches!(digits, [b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2'] | [b'1'..=b'9']);
    let (first, second) = read.digits.split_at(read.lens[0]);
    let is_expiry = matches!(read.value.groups[1].separator, Separator::Slash | Separator::Dash)
        && (month(first) && matches!(second.len(), 2 | 4) || first.len() == 4 && month(second));
    if is_expiry {
        read.propose(K::CardExpiry, 85, out);
    }
}

fn card(read: &Digits<'_>, out: &mut Vec<Candidate>) {
    let is_card_label =
        read.is_labelled(K::CnBankCard) || read.label.is_some_and(|it| it.label == Label::Card);
    if read.digits.len() < 12 || read.is_harmless() || !is_card_grouped(read) {
        return;
    }
    let is_alone = read.digits.len() >= 14;
    if checks::is_cn_bank_card(read.digits)
        && (read.digits.starts_with(b"62") || read.is_labelled(K::CnBankCard))
    {
        read.propose(K::CnBankCard, 91, out);
    }
    let is_told = is_card_label && read.digits.len() >= 12 && checks::luhn(read.digits);
    if is_told || is_alone && checks::is_card(read.digits) {
        read.propose(K::CardNumber, 90, out);
    }
}

/// In one piece, in fours with a rest, or as American Express and Diners write it.
fn is_card_grouped(read: &Digits<'_>) -> bool {
    let is_uniform =
        read.value.separators(read.count).all(|it| it == read.value.groups[1].separator);
    let joined = read.is_joined_by(&[Separator::Space, Separator::Dash, Separator::Dot]);
    match read.lens {
        [_] => true,
        [first, middle @ .., last] => {
            let fours = *first == 4 && middle.iter().all(|len| *len == 4) && *last <= 4;
            let other =
                matches!(read.lens, [4, 6, 5] | [4, 6, 4] | [6, 13] | [4, 5, 6] | [8, 8] | [6, 10]);
            is_uniform && joined && (fours || other) && !follows_digits(read)
        }
        [] => false,
    }
}

/// Whether the groups go on a row of digits: the middle of something longer.
fn follows_digits(read: &Digits<'_>) -> bool {
    let before = &read.value.text.as_bytes()[..read.value.start()];
    matches!(before, [.., last, b' ' | b'-'] if last.is_ascii_digit())
}

/// Numbers that states give to people.
fn person(read: &Digits<'_>, out: &mut Vec<Candidate>) {
    let digits = read.digits;
    let spaced = read.is_joined_by(&[Separator::Space, Separator::Dash]);
    match digits.len() {
        18 if !read.is_harmless() && checks::cn_id_card(digits) => {
            read.propose(K::CnIdCard, 95, out);
        }
        15 if read.is_labelled(K::CnIdCard) && checks::cn_old_id_card(digits) => {
            read.propose(K::CnIdCard, 88, out);
        }
        9 if spaced => nine(read, out),
        10 => {
            if read.is_labelled(K::UkHealthNumber) && checks::uk_health(digits) {
                read.propose(K::UkHealthNumber, 90, out);
            }
            if read.is_labelled(K::UkTaxpayerReference) {
                read.propose(K::UkTaxpayerReference, 85, out);
            }
            if read.is_labelled(K::CaHealthNumber) {
                read.propose(K::CaHealthNumber, 86, out);
            }
        }
        _ => {}
    }
    if read.is_labelled(K::DriverId) && (5..=17).contains(&digits.len()) {
        read.propose(K::DriverId, 80, out);
    }
}

fn nine(read: &Digits<'_>, out: &mut Vec<Candidate>) {
    let digits = read.digits;
    let is_social = read.is_labelled(K::UsSocialSecurity);
    let is_shape = read.lens == [3, 2, 4] && !read.is_harmless();
    let is_valid = checks::us_social_security(digits);
    if is_social && (is_valid || is_shape) || is_shape && is_valid {
        read.propose(K::UsSocialSecurity, 83 + 4 * u8::from(is_social), out);
    }
    let is_taxpayer = read.is_labelled(K::UsTaxpayerId);
    if (is_taxpayer || is_shape) && checks::us_taxpayer_id(digits) {
        read.propose(K::UsTaxpayerId, 84 + 4 * u8::from(is_taxpayer), out);
    }
    if read.is_labelled(K::CaSocialInsuranceNumber) && checks::luhn(digits) {
        read.propose(K::CaSocialInsuranceNumber, 90, out);
    }
    if read.is_labelled(K::UsPassport) {
        read.propose(K::UsPassport, 85, out);
    }
    if read.is_labelled(K::CaHealthNumber) {
        read.propose(K::CaHealthNumber, 70, out);
    }
}

fn account(read: &Digits<'_>, out: &mut Vec<Candidate>) {
    let joined = read.is_joined_by(&[Separator::Space, Separator::Dash]);
    if read.is_labelled(K::UsBankRouting) && checks::us_routing(read.digits) {
        read.propose(K::UsBankRouting, 90, out);
    }
    if read.is_labelled(K::UsBankAccount) && joined && (6..=17).contains(&read.digits.len()) {
        read.propose(K::UsBankAccount, 80, out);
    }
    if read.count == 1 && read.is_near(K::LicensePlate) && (4..=8).contains(&read.digits.len()) {
        read.propose(K::LicensePlate, 70, out);
    }
}

/// Numbers of the E.164 plan, in the mainland's, North America's and Britain's habits, and whatever
/// somebody asks to call.
fn telephone(read: &Digits<'_>, out: &mut Vec<Candidate>) {
    let (digits, lens) = (read.digits, read.lens);
    if read.is_harmless() || digits.len() > 15 || digits.len() < 6 {
        return;
    }
    let plus = prefix_start(read);
    let is_labelled = read.is_labelled(K::Phone) || read.is_labelled(K::Landline);
    let mobile = match digits {
        [b'8', b'6', rest @ ..] if lens[0] == 2 || plus.is_some() => rest,
        [b'0', b'0', b'8', b'6', rest @ ..] => rest,
        digits => digits,
    };
    let is_landline = is_landline(read);
    let sureness = if checks::is_cn_mobile(mobile) && lens.len() <= 4 {
        84
    } else if is_landline {
        82
    } else if plus.is_some_and(|plus| read.value.text.as_bytes()[plus] == b'+') && digits.len() >= 8
    {
        81
    } else if is_labelled && is_callable(read) {
        80
    } else if is_north_american(read) || is_british(read) {
        74
    } else {
        return;
    };
    let start = plus.unwrap_or(read.value.start());
    let range = start..extension_end(read);
    let kind = if is_landline { K::Landline } else { K::Phone };
    out.push(Candidate { range, kind, sureness });
}

/// A short number is a telephone's only right behind the word that says so.
fn is_callable(read: &Digits<'_>) -> bool {
    read.digits.len() >= 7 || read.label.is_some_and(|it| it.distance <= 8)
}

/// The `+` or the bracket before the first digit.
fn prefix_start(read: &Digits<'_>) -> Option<usize> {
    let start = read.value.start();
    let bytes = read.value.text.as_bytes();
    let back = |at: usize| at.checked_sub(1).filter(|at| *at >= read.value.from);
    let bracket = back(start).filter(|at| {
        bytes[*at] == b'(' && read.count > 1 && read.value.groups[1].separator == Separator::Bracket
    });
    let at = bracket.unwrap_or(start);
    back(at).filter(|at| bytes[*at] == b'+').or(bracket)
}

fn is_landline(read: &Digits<'_>) -> bool {
    let is_area = |area: &[u8]| {
        matches!(area, [b'0', b'1', b'0'] | [b'0', b'2', _] | [b'0', b'3'..=b'9', _, _])
    };
    let (digits, lens) = (read.digits, read.lens);
    let is_split = lens.len() == 2
        && is_area(&digits[..lens[0]])
        && matches!(lens[1], 7 | 8)
        && digits[lens[0]] != b'0';
    let is_asked = read.is_labelled(K::Phone) || read.is_labelled(K::Landline);
    let is_whole = lens.len() == 1
        && is_asked
        && has_han(read)
        && matches!(digits.len(), 10..=12)
        && (is_area(&digits[..3]) || is_area(&digits[..4]));
    is_split && (has_han(read) || !is_asked) || is_whole
}

/// Whether the text around speaks Chinese, where a leading zero begins an area code.
fn has_han(read: &Digits<'_>) -> bool {
    let before = read.value.text[..read.value.start()].chars().rev().take(12);
    before.into_iter().any(|character| matches!(character, '\u{4E00}'..='\u{9FFF}'))
}

/// The North American plan: neither area nor exchange begins with 0 or 1.
fn is_north_american(read: &Digits<'_>) -> bool {
    let (digits, lens) = match (read.digits, read.lens) {
        ([b'1', rest @ ..], [1, lens @ ..]) => (rest, lens),
        all => all,
    };
    lens == [3, 3, 4] && digits[0] > b'1' && digits[3] > b'1'
}

fn is_british(read: &Digits<'_>) -> bool {
    read.digits.len() == 11
        && matches!(read.digits, [b'0', b'7', ..])
        && matches!(read.lens, [11] | [5, 6] | [5, 3, 3])
}

/// Behind the extension, if one follows.
fn extension_end(read: &Digits<'_>) -> usize {
    let end = read.value.range(read.count).end;
    let rest = &read.value.text[end..];
    let bare = rest.trim_start_matches(' ');
    let digits =
        ["ext. ", "ext ", "ext.", "ext", "x"].iter().find_map(|word| bare.strip_prefix(word));
    let Some(digits) = digits else { return end };
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    match len {
        1..=6 => end + rest.len() - digits.len() + len,
        _ => end,
    }
}
