//! Values of flags: counts, sizes with units, fractions; errors in the words of a usage error.

use clap::error::ErrorKind;

use crate::engine::Speculation;
use crate::limits::SPECULATED_TOKENS_MAX;

/// A whole number from 1.
pub(super) fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("must be a whole number".to_owned()),
    }
}

/// A number from `min` to `max`.
pub(super) fn number(text: &str, min: f32, max: f32) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("must be a number from {min} to {max}")),
    }
}

/// Bytes: a number with an optional unit, `512MiB`, `4G`, `1.5GB`. Units of one letter are binary.
pub(super) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: &[(&str, u64)] = &[
        ("", 1),
        ("b", 1),
        ("k", 1 << 10),
        ("kib", 1 << 10),
        ("kb", 1_000),
        ("m", 1 << 20),
        ("mib", 1 << 20),
        ("mb", 1_000_000),
        ("g", 1 << 30),
        ("gib", 1 << 30),
        ("gb", 1_000_000_000),
        ("t", 1 << 40),
        ("tib", 1 << 40),
        ("tb", 1_000_000_000_000),
    ];
    let wrong = || "must be a size such as 512MiB or 4GB".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    let bytes = number * *factor as f64;
    if bytes < 1.0 || bytes > u64::MAX as f64 / 2.0 {
        return Err(wrong());
    }
    Ok(bytes as u64)
}

/// `auto`, `off`, or a number of tokens.
pub(super) fn speculation(text: &str) -> Result<Speculation, String> {
    match (text, text.parse()) {
        ("auto", _) => Ok(Speculation::Auto),
        ("off", _) => Ok(Speculation::Off),
        (_, Ok(num)) if (1..=SPECULATED_TOKENS_MAX).contains(&num) => Ok(Speculation::Always(num)),
        _ => Err(format!("must be auto, off, or a number from 1 to {SPECULATED_TOKENS_MAX}")),
    }
}

/// A usage error about a value that only more than its syntax can judge.
pub(super) fn invalid(flag: &str, value: &str, reason: &str) -> clap::Error {
    let message = format!("invalid value '{value}' for '{flag}': {reason}\n");
    clap::Error::raw(ErrorKind::ValueValidation, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        let cases = [
            ("1024", 1024),
            ("512MiB", 512 << 20),
            ("512 mib", 512 << 20),
            ("4G", 4 << 30),
            ("1.5GB", 1_500_000_000),
            ("2tb", 2_000_000_000_000),
        ];
        for (text, expected) in cases {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "-1", "4 potatoes", "1e9", "GB", "1..5G", "99999999999TB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn speculation_is_a_word_or_a_number_within_its_limit() {
        assert_eq!(speculation("auto"), Ok(Speculation::Auto));
        assert_eq!(speculation("off"), Ok(Speculation::Off));
        assert_eq!(speculation("16"), Ok(Speculation::Always(16)));
        for text in ["17", "0", "-1", "on", ""] {
            assert!(speculation(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counts_start_at_one() {
        assert_eq!(count("1"), Ok(1));
        assert!(count("0").is_err());
        assert!(count("-1").is_err());
        assert!(count("1.5").is_err());
    }
}
