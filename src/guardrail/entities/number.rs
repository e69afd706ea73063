//! Values of digits: cards, telephones, numbers of people and accounts.

use std::ops::Range;

use super::checks;
use super::kind::EntityKind as K;
use super::label::{Label, Labelled};
use super::token::{GROUPS_MAX, Separator};
use super::{Best, Candidate, Value, age};

/// The longest value: a card of 19 digits. A telephone has 15 at most.
const DIGITS_MAX: usize = 19;
/// Bytes between a label and a value that has no check of its own.
const NEAR: usize = 24;

/// The first groups of a value, joined.
struct Digits<'a> {
    value: &'a Value<'a>,
    count: usize,
    digits: &'a [u8],
    label: Option<Labelled>,
    lens: &'a [usize],
}

/// Proposes every reading of every number of groups.
pub(super) fn candidates(value: &Value<'_>, out: &mut Best) {
    let (mut digits, mut len) = ([0; DIGITS_MAX], 0);
    let mut lens = [0; GROUPS_MAX];
    let label = value.label;
    for (index, group) in value.groups.iter().enumerate() {
        let room = digits.get_mut(len..len + group.text.len()).filter(|_| group.is_digits());
        let Some(room) = room else { return };
        room.copy_from_slice(&group.text);
        len += room.len();
        lens[index] = room.len();
        let count = index + 1;
        let read = Digits { value, count, digits: &digits[..len], label, lens: &lens[..count] };
        expiry(&read, out);
        if count == 1 && group.text.len() <= 3 && group.range.len() == group.text.len() {
            age::of_number(value, out);
        }
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

    /// Whether the words before it say that it is a telephone's.
    fn is_phones(&self) -> bool {
        let is_grouped = self.count > 1 && self.label.is_some_and(|it| it.distance <= 4);
        let is_number = (self.digits.len() >= 7 || is_grouped)
            && !self.digits.ends_with(b"000")
            && self.value.groups[0].range.len() == self.lens[0];
        match self.label.map(|it| it.label) {
            Some(Label::Of(K::Phone | K::Landline)) => true,
            Some(Label::Reach) => is_number,
            _ => false,
        }
    }

    fn is_harmless(&self) -> bool {
        self.label.is_some_and(|it| it.label == Label::Harmless)
    }

    fn is_joined_by(&self, allowed: &[Separator]) -> bool {
        self.value.separators(self.count).all(|separator| allowed.contains(&separator))
    }

    fn propose(&self, kind: K, sureness: u8, out: &mut Best) {
        out.push(Candidate { range: self.value.range(self.count), kind, sureness });
    }
}

/// PINs, the codes of cards, QQ.
fn short(read: &Digits<'_>, out: &mut Best) {
    if read.count != 1 {
        return;
    }
    let len = read.digits.len();
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

fn expiry(read: &Digits<'_>, out: &mut Best) {
    if !read.is_near(K::CardExpiry) {
        return;
    }
    let month =
        |digits: &[u8]| matches!(digits, [b'0', b'1'..=b'9'] | [b'1', b'0'..=b'2'] | [b'1'..=b'9']);
    if read.count == 1 {
        let year_first = read.digits.len() == 4 && read.digits.starts_with(b"20");
        let is_short = read.digits.len() == 4 && month(&read.digits[..2]);
        let is_next = read.label.is_some_and(|it| it.distance <= 8) && read.value.has_borders(1);
        if let Some(range) = expiry_in_words(read).filter(|_| year_first) {
            out.push(Candidate { range, kind: K::CardExpiry, sureness: 85 });
        } else if is_short && is_next && !year_first {
            read.propose(K::CardExpiry, 80, out);
        }
        return;
    }
    if read.count != 2 {
        return;
    }
    let (first, second) = read.digits.split_at(read.lens[0]);
    let is_expiry = matches!(read.value.groups[1].separator, Separator::Slash | Separator::Dash)
        && (month(first) && matches!(second.len(), 2 | 4) || first.len() == 4 && month(second));
    if is_expiry {
        read.propose(K::CardExpiry, 85, out);
    }
}

/// `March 2027` and `2027年3月`, by their year.
fn expiry_in_words(read: &Digits<'_>) -> Option<Range<usize>> {
    let (text, Range { start, end }) = (read.value.text, read.value.range(1));
    if let Some(rest) = text[end..].strip_prefix('年') {
        let len = rest.bytes().take(3).take_while(u8::is_ascii_digit).count();
        let is_month = matches!(len, 1 | 2) && rest[len..].starts_with('月');
        return is_month.then_some(start..end + "年".len() + len + "月".len());
    }
    let before = &text[read.value.from..start];
    let month = before.trim_end_matches([' ', ',', '.']);
    let len = month.bytes().rev().take_while(u8::is_ascii_alphabetic).count();
    let month_start = read.value.from + month.len() - len;
    is_month_name(&month[month.len() - len..]).then_some(month_start..end)
}

fn card(read: &Digits<'_>, out: &mut Best) {
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
fn person(read: &Digits<'_>, out: &mut Best) {
    let digits = read.digits;
    let mut spaced = read.is_joined_by(&[Separator::Space, Separator::Dash]);
    let is_dotted = read.is_joined_by(&[Separator::Dot]);
    spaced |= is_dotted && matches!(read.label.map(|it| it.label), Some(Label::Of(_)));
    match digits.len() {
        18 if !read.is_harmless() && checks::cn_id_card(digits) => {
            read.propose(K::CnIdCard, 95, out);
        }
        18 if read.is_near(K::CnIdCard) && checks::is_cn_id_card_shape(digits) => {
            read.propose(K::CnIdCard, 87, out);
        }
        15 if read.is_labelled(K::CnIdCard) && checks::cn_old_id_card(digits) => {
            read.propose(K::CnIdCard, 88, out);
        }
        9 if spaced => nine(read, out),
        10 => {
            let is_checked = checks::uk_health(digits);
            if read.is_labelled(K::UkHealthNumber)
                && (is_checked || read.is_near(K::UkHealthNumber))
            {
                read.propose(K::UkHealthNumber, 83 + 7 * u8::from(is_checked), out);
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
    let is_permit = read.count == 1 && matches!(digits.len(), 8 | 10);
    if is_permit && read.is_near(K::CnTravelPermit) && has_han(read) {
        read.propose(K::CnTravelPermit, 82, out);
    }
    if read.is_labelled(K::DriverId) && (5..=17).contains(&digits.len()) {
        read.propose(K::DriverId, 80, out);
    }
}

fn nine(read: &Digits<'_>, out: &mut Best) {
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

fn account(read: &Digits<'_>, out: &mut Best) {
    let joined = read.is_joined_by(&[Separator::Space, Separator::Dash]);
    if read.is_labelled(K::UsBankRouting) && checks::us_routing(read.digits) {
        read.propose(K::UsBankRouting, 90, out);
    }
    if read.is_labelled(K::UsBankAccount) && joined && (6..=17).contains(&read.digits.len()) {
        read.propose(K::UsBankAccount, 80, out);
    }
    let is_plate = (4..=8).contains(&read.digits.len())
        && !matches!(read.digits, [b'1', b'9', _, _] | [b'2', b'0', _, _]);
    if read.count == 1 && read.is_near(K::LicensePlate) && is_plate {
        read.propose(K::LicensePlate, 70, out);
    }
}

/// Numbers of the E.164 plan, in the mainland's, North America's and Britain's habits, and whatever
/// somebody asks to call.
fn telephone(read: &Digits<'_>, out: &mut Best) {
    let (digits, lens) = (read.digits, read.lens);
    if read.is_harmless() || digits.len() > 15 || digits.len() < 6 {
        return;
    }
    let plus = prefix_start(read);
    let is_labelled = read.is_phones();
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
    } else if is_north_american(read) || is_european(read) {
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
    let is_asked = read.is_phones();
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

/// With the zero of long distance: Britain's, France's, and Australia's in brackets.
fn is_european(read: &Digits<'_>) -> bool {
    match (read.digits, read.lens) {
        ([b'0', b'7', ..], [11] | [5, 6] | [5, 3, 3])
        | ([b'0', b'1', ..], [5, 6] | [5, 3, 3] | [5, 5] | [4, 3, 4])
        | ([b'0', b'2', ..], [3, 4, 4])
        | ([b'0', b'3' | b'8', ..], [4, 3, 4])
        | ([b'0', b'1'..=b'9', ..], [2, 2, 2, 2, 2]) => true,
        ([b'0', b'2' | b'3' | b'7' | b'8', ..], [2, 4, 4]) => prefix_start(read).is_some(),
        _ => false,
    }
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

/// The name of a month as calendars print it, or its first three letters.
pub(super) fn is_month_name(word: &str) -> bool {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    NAMES.iter().any(|name| word == *name || word == &name[..3] || word == "Sept")
}
