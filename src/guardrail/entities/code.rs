//! Values of letters and digits: accounts, vehicles, documents, keys.

use super::checks;
use super::kind::EntityKind as K;
use super::label::{self, Label, Labelled};
use super::token::Separator;
use super::{Best, Candidate, Value};

/// The longest: an IBAN.
const CODE_MAX: usize = 34;
const SECRET_LEN: usize = 40;
const NEAR: usize = 24;

/// The characters by which number plates of the mainland begin.
const PROVINCES: &str = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使領领";

pub(super) fn is_province(character: char) -> bool {
    !character.is_ascii() && PROVINCES.contains(character)
}

/// Each by itself.
pub(super) fn provinces() -> impl Iterator<Item = &'static str> {
    PROVINCES.char_indices().map(|(at, province)| &PROVINCES[at..at + province.len_utf8()])
}

/// The start of a short code of capitals before the run at `run`: `KH 95…`, `ABC-1234`, `F·4X…`.
pub(super) fn prefix(text: &str, run: usize, from: usize) -> Option<usize> {
    let before = &text[from..run];
    let separator = before.chars().next_back().filter(|it| matches!(it, ' ' | '-' | '·'))?;
    let end = run - separator.len_utf8();
    let bytes = text.as_bytes();
    let letters =
        bytes[from..end].iter().rev().take(5).take_while(|b| b.is_ascii_uppercase()).count();
    let start = end - letters;
    let is_bordered = start == from
        || !(bytes[start - 1].is_ascii_alphanumeric() || matches!(bytes[start - 1], b'-' | b'_'));
    ((1..=4).contains(&letters) && is_bordered).then_some(start)
}

/// The first groups of a value, joined, in capitals.
struct Code<'a> {
    value: &'a Value<'a>,
    count: usize,
    code: &'a [u8],
    label: Option<Labelled>,
}

pub(super) fn candidates(value: &Value<'_>, out: &mut Best) {
    secret(value, out);
    let label = value.label;
    let (mut code, mut len) = ([0; CODE_MAX], 0);
    for (index, group) in value.groups.iter().enumerate() {
        let Some(room) = code.get_mut(len..len + group.text.len()) else { return };
        room.copy_from_slice(&group.text);
        room.make_ascii_uppercase();
        len += room.len();
        let read = Code { value, count: index + 1, code: &code[..len], label };
        if value.has_borders(read.count) {
            checked(&read, out);
            labelled(&read, out);
        }
    }
}

impl Code<'_> {
    fn is_labelled(&self, kind: K) -> bool {
        self.label.is_some_and(|it| it.label == Label::Of(kind))
    }

    /// Nothing but capitals and digits, as documents print codes.
    fn is_printed(&self) -> bool {
        let groups = &self.value.groups[..self.count];
        !groups.iter().any(|group| group.text.iter().any(u8::is_ascii_lowercase))
    }

    /// Whether the last group is no word of a sentence.
    fn ends_in_code(&self) -> bool {
        let last = &self.value.groups[self.count - 1].text;
        self.count == 1 || last.iter().any(u8::is_ascii_digit)
    }

    fn propose(&self, kind: K, sureness: u8, out: &mut Best) {
        out.push(Candidate { range: self.value.range(self.count), kind, sureness });
    }
}

/// Codes with a check, or with a form that nothing else has.
fn checked(read: &Code<'_>, out: &mut Best) {
    let code = read.code;
    let is_harmless = read.label.is_some_and(|it| it.label == Label::Harmless);
    let has_letters = code.iter().any(u8::is_ascii_uppercase);
    match code.len() {
        18 if code[17] == b'X' && !is_harmless && checks::cn_id_card(code) => {
            read.propose(K::CnIdCard, 95, out);
        }
        18 if code[17] == b'X'
            && read.is_labelled(K::CnIdCard)
            && checks::is_cn_id_card_shape(code) =>
        {
            read.propose(K::CnIdCard, 87, out);
        }
        17 if read.count == 1 && (read.is_printed() || read.is_labelled(K::VehicleId)) => {
            let is_labelled = read.is_labelled(K::VehicleId) && checks::is_vehicle_id_shape(code);
            if is_labelled || checks::vehicle_id(code) {
                read.propose(K::VehicleId, 88, out);
            }
        }
        20 if read.count == 1 && read.is_printed() && is_access_key(code) => {
            read.propose(K::AwsAccessKey, 95, out);
        }
        9 if has_letters && checks::is_uk_insurance_shape(code) => {
            let is_labelled = read.is_labelled(K::UkInsuranceNumber);
            let is_clear = checks::uk_insurance(code) && read.is_printed() && !is_harmless;
            if is_labelled || is_clear {
                read.propose(K::UkInsuranceNumber, 82 + 6 * u8::from(is_labelled), out);
            }
        }
        8 | 11 if read.is_labelled(K::SwiftCode) && super::keyed::is_swift(code) => {
            read.propose(K::SwiftCode, 88, out);
        }
        _ => {}
    }
    let is_credit_code = code.len() == 18 && (has_letters || read.is_labelled(K::CnCreditCode));
    if is_credit_code && read.count == 1 && checks::cn_credit_code(code) {
        read.propose(K::CnCreditCode, 93, out);
    }
    if has_letters && code.len() >= 15 && checks::iban(code) {
        read.propose(K::Iban, 94, out);
    }
    plate(read, out);
}

/// Codes that only the word before them tells apart.
fn labelled(read: &Code<'_>, out: &mut Best) {
    let Some(Labelled { label: Label::Of(kind), distance }) = read.label else { return };
    let code = read.code;
    let num_digits = code.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_letter_first = code[0].is_ascii_uppercase();
    let rest_is_digits = |letters: usize| code[letters..].iter().all(u8::is_ascii_digit);
    match kind {
        K::CnPassport | K::UsPassport => {
            let is_document = is_letter_first
                && matches!(code.len(), 8..=9)
                && (rest_is_digits(1) || rest_is_digits(2));
            let is_chinese = kind == K::CnPassport
                || matches!(code[0], b'E' | b'G' | b'D' | b'S' | b'P') && has_han_before(read);
            if is_document {
                read.propose(if is_chinese { K::CnPassport } else { K::UsPassport }, 85, out);
            }
        }
        K::CnTravelPermit
            if is_letter_first && matches!(code.len(), 9..=11) && rest_is_digits(1) =>
        {
            read.propose(kind, 86, out);
        }
        K::DriverId if num_digits >= 4 && (5..=20).contains(&code.len()) && read.ends_in_code() => {
            read.propose(kind, 82, out);
        }
        K::LicensePlate if num_digits >= 1 && (3..=9).contains(&code.len()) && distance <= NEAR => {
            let is_joined = read.count <= 3 && read.is_printed();
            if is_joined && num_digits < code.len() {
                read.propose(kind, 78, out);
            }
        }
        K::CaHealthNumber if matches!(code.len(), 10 | 12) && num_digits >= 8 => {
            read.propose(kind, 84, out);
        }
        _ => {}
    }
}

/// A province, a letter, and five or, for new energy, six more.
fn plate(read: &Code<'_>, out: &mut Best) {
    let before = &read.value.text[read.value.from..read.value.start()];
    let Some(province) = before.chars().next_back().filter(|it| is_province(*it)) else { return };
    let joined = read.value.separators(read.count).all(|separator| {
        matches!(
            separator,
            Separator::MiddleDot | Separator::Space | Separator::Dash | Separator::Dot
        )
    });
    let group = &read.value.groups[0].text;
    let is_lower = read.count == 1
        && group[0].is_ascii_lowercase()
        && group.iter().filter(|byte| byte.is_ascii_digit()).count() >= 4;
    // A plate for a trailer, a driving school, or for both sides of a border has one digit less.
    let rest = &read.value.text[read.value.range(read.count).end..];
    let ending = rest.chars().next().filter(|it| "港澳学警挂领使试超".contains(*it));
    let ending = ending.filter(|_| read.code.len() == 6 || read.code.len() == 5);
    let has_form = (matches!(read.code.len(), 6 | 7) || ending.is_some())
        && read.code[0].is_ascii_uppercase()
        && (read.is_printed() || is_lower)
        && !read.code.iter().any(|byte| matches!(byte, b'I' | b'O'));
    if has_form && joined && read.count <= 2 {
        let range = read.value.range(read.count);
        let ending = ending.filter(|_| read.code.len() == 5).map_or(0, char::len_utf8);
        let range = range.start - province.len_utf8()..range.end + ending;
        out.push(Candidate { range, kind: K::LicensePlate, sureness: 90 });
    }
}

fn has_han_before(read: &Code<'_>) -> bool {
    let before = read.value.text[..read.value.start()].chars().rev().take(12);
    before.into_iter().any(|character| matches!(character, '\u{4E00}'..='\u{9FFF}'))
}

/// Identifiers of AWS: a prefix for what they identify, and sixteen more.
fn is_access_key(code: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 11] = [
        b"AKIA", b"ASIA", b"AROA", b"AIDA", b"AGPA", b"AIPA", b"ANPA", b"ANVA", b"APKA", b"ABIA",
        b"ACCA",
    ];
    PREFIXES.iter().any(|prefix| code.starts_with(prefix))
}

/// Forty characters of base64 that a word before them calls secret, or that are too mixed to be
/// anything else. A SHA-1 in hexadecimal is as long.
fn secret(value: &Value<'_>, out: &mut Best) {
    let bytes = value.text.as_bytes();
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let before = bytes[value.from..value.start()].iter().rev().take(SECRET_LEN);
    let start = value.start() - before.take_while(is_part).count();
    let end = start + bytes[start..].iter().take(SECRET_LEN + 1).take_while(is_part).count();
    let text = &bytes[start..end];
    if text.len() != SECRET_LEN || text.iter().all(u8::is_ascii_hexdigit) {
        return;
    }
    let count = |test: fn(&u8) -> bool| text.iter().filter(|byte| test(byte)).count();
    let is_mixed = count(u8::is_ascii_uppercase) >= 4 && count(u8::is_ascii_lowercase) >= 4;
    let label = label::before(value.text, start).map(|it| it.label);
    let is_labelled = matches!(label, Some(Label::Of(K::AwsSecretKey | K::AwsAccessKey)));
    let is_blob = count(u8::is_ascii_digit) >= 3 && text.iter().any(|b| matches!(b, b'+' | b'/'));
    if is_mixed && (is_labelled || is_blob) {
        let sureness = if is_labelled { 95 } else { 80 };
        out.push(Candidate { range: start..end, kind: K::AwsSecretKey, sureness });
    }
}
