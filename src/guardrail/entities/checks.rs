//! Checksums and ranges of numbers that have them. All take ASCII digits, or digits and capitals.

/// ISO/IEC 7812: cards, and the Canadian social insurance number.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(digit - b'0')) {
            (0, value) => value,
            (_, value) if value < 5 => value * 2,
            (_, value) => value * 2 - 9,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != b'0')
}

/// ISO 3779 with North America's check digit.
pub(super) fn vehicle_id(code: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let value = |character: u8| match character {
        b'0'..=b'9' => u32::from(character - b'0'),
        b'A'..=b'H' => u32::from(character - b'A') + 1,
        b'J'..=b'R' => u32::from(character - b'J') + 1,
        b'S'..=b'Z' => u32::from(character - b'S') + 2,
        _ => 0,
    };
    let sum: u32 = code.iter().zip(WEIGHTS).map(|(c, weight)| value(*c) * weight).sum();
    let check = match sum % 11 {
        10 => b'X',
        rest => b'0' + rest as u8,
    };
    is_vehicle_id_shape(code) && code[8] == check
}

pub(super) fn is_vehicle_id_shape(code: &[u8]) -> bool {
    code.len() == 17
        && code.iter().all(|c| {
            (c.is_ascii_digit() || c.is_ascii_uppercase()) && !matches!(c, b'I' | b'O' | b'Q')
        })
        && code.iter().any(u8::is_ascii_digit)
        && code.iter().any(u8::is_ascii_uppercase)
}

/// ISO 13616: length by country, remainder 1 by 97.
pub(super) fn iban(code: &[u8]) -> bool {
    const LENGTHS: &str = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BI27BR29BY28CH21CR22CY28CZ24DE22\
        DJ27DK18DO28EE20EG29ES24FI18FK18FO18FR27GB22GE22GI23GL18GR27GT28HN28HR21HU28IE22IL23IQ23\
        IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MN20MR27MT31MU30NI28NL18\
        NO15OM23PK24PL28PS29PT25QA29RO24RS22RU33SA24SC31SD18SE24SI19SK24SM27SO23ST25SV28TL23TN24\
        TR26UA29VA22VG24XK20YE30";
    let Some(country) = code.get(..2) else { return false };
    let (entries, _) = LENGTHS.as_bytes().as_chunks::<4>();
    let entry = entries.iter().find(|entry| entry.starts_with(country));
    let len = entry.map(|entry| usize::from(entry[2] - b'0') * 10 + usize::from(entry[3] - b'0'));
    if len != Some(code.len()) {
        return false;
    }
    let mut rest = 0;
    for &c in code[4..].iter().chain(&code[..4]) {
        rest = match c {
            b'0'..=b'9' => rest * 10 + u32::from(c - b'0'),
            b'A'..=b'Z' => rest * 100 + u32::from(c - b'A') + 10,
            _ => return false,
        } % 97;
    }
    rest == 1
}

/// The routing number of the American Bankers Association: weights 3, 7, 1 and a known prefix.
pub(super) fn us_routing(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .zip([3, 7, 1].into_iter().cycle())
        .map(|(d, w)| u32::from(d - b'0') * w)
        .sum();
    digits.len() == 9 && sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != b'0')
}

/// The NHS number: weights 10 to 2, modulo 11.
pub(super) fn uk_health(digits: &[u8]) -> bool {
    if digits.len() != 10 {
        return false;
    }
    let sum: u32 =
        digits[..9].iter().zip((2..=10).rev()).map(|(d, w)| u32::from(d - b'0') * w).sum();
    let check = (11 - sum % 11) % 11;
    check != 10 && check == u32::from(digits[9] - b'0') && digits.iter().any(|d| *d != digits[0])
}

/// Ranges that the Social Security Administration never issues.
pub(super) fn us_social_security(digits: &[u8]) -> bool {
    digits.len() == 9
        && &digits[..3] != b"000"
        && &digits[..3] != b"666"
        && digits[0] != b'9'
        && &digits[3..5] != b"00"
        && &digits[5..] != b"0000"
}

/// Individual taxpayers' numbers begin with 9; the middle is 50–65, 70–88, 90–92 or 94–99.
pub(super) fn us_taxpayer_id(digits: &[u8]) -> bool {
    let middle = (digits[3] - b'0') * 10 + digits[4] - b'0';
    digits.len() == 9
        && digits[0] == b'9'
        && matches!(middle, 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

/// Two letters of which some never occur, six digits, A to D.
pub(super) fn uk_insurance(code: &[u8]) -> bool {
    is_uk_insurance_shape(code)
        && !code[..2].iter().any(|letter| b"DFIQUV".contains(letter))
        && code[1] != b'O'
        && ![b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].iter().any(|p| code.starts_with(*p))
}

/// As examples have it too, whose letters are never issued.
pub(super) fn is_uk_insurance_shape(code: &[u8]) -> bool {
    code.len() == 9
        && code[..2].iter().all(u8::is_ascii_uppercase)
        && code[2..8].iter().all(u8::is_ascii_digit)
        && matches!(code[8], b'A'..=b'D')
}

/// GB 11643: a province, a day of birth, and ISO 7064 modulo 11-2. The last may be X.
pub(super) fn cn_id_card(code: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    if !is_cn_id_card_shape(code) {
        return false;
    }
    let sum: u32 = code.iter().zip(WEIGHTS).map(|(d, weight)| u32::from(d - b'0') * weight).sum();
    b"10X98765432"[(sum % 11) as usize] == code[17].to_ascii_uppercase()
}

/// All but the check, which those get wrong who mistype a number.
pub(super) fn is_cn_id_card_shape(code: &[u8]) -> bool {
    code.len() == 18
        && code[..17].iter().all(u8::is_ascii_digit)
        && is_cn_region(code)
        && is_birthday(&code[6..14])
}

/// The card's number before 1999: fifteen digits, the year with two, no check.
pub(super) fn cn_old_id_card(digits: &[u8]) -> bool {
    digits.len() == 15 && is_cn_region(digits) && is_month_and_day(&digits[8..12])
}

fn is_cn_region(code: &[u8]) -> bool {
    matches!(
        (code[0] - b'0') * 10 + code[1] - b'0',
        11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91
    )
}

fn is_birthday(digits: &[u8]) -> bool {
    matches!(&digits[..2], b"18" | b"19" | b"20") && is_month_and_day(&digits[4..])
}

fn is_month_and_day(digits: &[u8]) -> bool {
    let pair = |at: usize| (digits[at] - b'0') * 10 + digits[at + 1] - b'0';
    matches!(pair(0), 1..=12) && matches!(pair(2), 1..=31)
}

/// GB 32100: registration authority, kind, region, organisation, and a check modulo 31.
pub(super) fn cn_credit_code(code: &[u8]) -> bool {
    const ALPHABET: &[u8; 31] = b"0123456789ABCDEFGHJKLMNPQRTUWXY";
    if code.len() != 18 || !code[2..8].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let mut sum = 0;
    let mut weight = 1;
    for c in &code[..17] {
        let Some(value) = ALPHABET.iter().position(|known| known == c) else { return false };
        sum += value * weight;
        weight = weight * 3 % 31;
    }
    matches!(code[0], b'1'..=b'9' | b'A' | b'N' | b'Y')
        && ALPHABET[(31 - sum % 31) % 31] == code[17]
}

/// Networks of payment cards by prefix and length, ISO/IEC 7812.
pub(super) fn is_card(digits: &[u8]) -> bool {
    let prefix = |len: usize| {
        digits[..len].iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'))
    };
    if digits.len() < 12 {
        return false;
    }
    let (two, three, four) = (prefix(2), prefix(3), prefix(4));
    let is_known = match digits.len() {
        12 => matches!(two, 50 | 56..=58 | 63 | 67),
        13 => digits[0] == b'4' || matches!(two, 50 | 56..=58 | 63 | 67),
        14 => matches!(three, 300..=305 | 309) || matches!(two, 36 | 38 | 39),
        15 => {
            matches!(two, 34 | 37)
                || matches!(four, 1800 | 2131)
                || matches!(two, 50 | 56..=58 | 63 | 67)
        }
        16 => {
            digits[0] == b'4'
                || matches!(two, 50..=59 | 60 | 62 | 64 | 65 | 67 | 68 | 81)
                || matches!(four, 2200..=2204 | 2221..=2720 | 3500..=3599 | 6304)
                || matches!(three, 300..=305 | 309 | 361..=369 | 380..=399)
        }
        17..=19 => digits[0] == b'4' || matches!(two, 50 | 56..=58 | 60 | 62 | 63 | 64 | 65 | 67),
        _ => false,
    };
    is_known && luhn(digits)
}

/// Cards of mainland banks: UnionPay's 62, and the older prefixes that only banks there use.
pub(super) fn is_cn_bank_card(digits: &[u8]) -> bool {
    (16..=19).contains(&digits.len())
        && (digits.starts_with(b"62")
            || digits.starts_with(b"60")
            || (digits.len() == 19 && matches!(digits[0], b'4' | b'5' | b'6' | b'9'))
            || digits.starts_with(b"955"))
        && luhn(digits)
}

/// Mobile numbers of the mainland: the second digit is never below 3.
pub(super) fn is_cn_mobile(digits: &[u8]) -> bool {
    digits.len() == 11 && digits[0] == b'1' && matches!(digits[1], b'3'..=b'9')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_examples_pass_and_changed_ones_do_not() {
        type Check = fn(&[u8]) -> bool;
        let examples: &[(Check, &str)] = &[
            (is_card, "4111111111111111"),
            (is_card, "378282246310005"),
            (is_card, "30569309025904"),
            (is_cn_bank_card, "6217005466729319832"),
            (vehicle_id, "1M8GDM9AXKP042788"),
            (iban, "GB82WEST12345698765432"),
            (iban, "NO9386011117947"),
            (us_routing, "021000021"),
            (uk_health, "9434765919"),
            (cn_id_card, "11010519491231002X"),
            (cn_credit_code, "91350100M000100Y43"),
        ];
        for (check, example) in examples {
            assert!(check(example.as_bytes()), "{example}");
            for place in 0..example.len() {
                let mut changed = example.as_bytes().to_vec();
                if changed[place].is_ascii_digit() {
                    changed[place] = b'0' + (changed[place] - b'0' + 1) % 10;
                    assert!(!check(&changed), "{}", String::from_utf8_lossy(&changed));
                }
            }
        }
    }
}
