//! Points in time, in whole seconds of UTC, as the file of keys and signatures write them.

use std::fmt;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(OffsetDateTime);

impl Timestamp {
    pub fn now() -> Self {
        let now = OffsetDateTime::now_utc();
        Self(now.replace_nanosecond(0).expect("zero is a nanosecond"))
    }

    /// `None` beyond the year 9999.
    pub fn plus(self, duration: Duration) -> Option<Self> {
        let duration = time::Duration::try_from(duration).ok()?;
        let later = self.0.checked_add(duration).filter(|it| it.year() <= 9999)?;
        Some(Self(later.replace_nanosecond(0).expect("zero is a nanosecond")))
    }

    /// Negative when `earlier` is later.
    pub fn seconds_since(self, earlier: Self) -> i64 {
        (self.0 - earlier.0).whole_seconds()
    }

    pub fn day(self) -> Day {
        Day(self.0.date())
    }

    /// `20261123T211240Z`, as ISO 8601's basic format and version 4 signatures have it.
    pub fn from_basic(text: &str) -> Option<Self> {
        Self::from_digits(text, "YYYYMMDDTHHMMSSZ")
    }

    /// `2026-11-23T21:12:40Z`, RFC 3339 in UTC without fractions.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        Self::from_digits(text, "YYYY-MM-DDTHH:MM:SSZ")
    }

    pub fn to_basic(self) -> String {
        let (date, time) = (self.0.date(), self.0.time());
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        let (hour, minute, second) = time.as_hms();
        format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
    }

    /// Letters of the pattern that are not separators stand for digits.
    fn from_digits(text: &str, pattern: &str) -> Option<Self> {
        if text.len() != pattern.len() || !text.is_ascii() {
            return None;
        }
        let mut digits = Vec::with_capacity(14);
        for (byte, place) in text.bytes().zip(pattern.bytes()) {
            match place {
                b'-' | b':' | b'T' | b'Z' if byte != place => return None,
                b'-' | b':' | b'T' | b'Z' => {}
                _ if !byte.is_ascii_digit() => return None,
                _ => digits.push(byte - b'0'),
            }
        }
        let pair = |index: usize| digits[index] * 10 + digits[index + 1];
        let year = i32::from(pair(0)) * 100 + i32::from(pair(2));
        let month = Month::try_from(pair(4)).ok()?;
        let date = Date::from_calendar_date(year, month, pair(6)).ok()?;
        let time = Time::from_hms(pair(8), pair(10), pair(12)).ok()?;
        Some(Self(PrimitiveDateTime::new(date, time).assume_utc()))
    }
}

/// A day of UTC; it begins at midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(Date);

impl Day {
    pub fn today() -> Self {
        Timestamp::now().day()
    }

    /// The last day that there is has none after it.
    pub fn next(self) -> Option<Self> {
        self.0.next_day().map(Self)
    }
}

/// As RFC 3339's `full-date`.
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = (self.0.year(), u8::from(self.0.month()), self.0.day());
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let midnight = Timestamp::from_rfc3339(&format!("{text}T00:00:00Z"));
        midnight
            .map(Timestamp::day)
            .ok_or_else(|| D::Error::custom(format!("`{text}` is not a day such as 2026-11-23")))
    }
}

/// As RFC 3339.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (hour, minute, second) = self.0.time().as_hms();
        write!(f, "{}T{hour:02}:{minute:02}:{second:02}Z", self.day())
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_rfc3339(&text).ok_or_else(|| {
            D::Error::custom(format!("`{text}` is not a time such as 2026-11-23T21:12:40Z"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_mean_the_same_second() {
        let time = Timestamp::from_basic("20240229T235959Z").unwrap();
        assert_eq!(time.to_string(), "2024-02-29T23:59:59Z");
        assert_eq!(Timestamp::from_rfc3339("2024-02-29T23:59:59Z"), Some(time));
        assert_eq!(time.to_basic(), "20240229T235959Z");
        let next = time.plus(Duration::from_secs(1)).unwrap();
        assert_eq!(next.to_string(), "2024-03-01T00:00:00Z");
        assert_eq!((next.seconds_since(time), time.seconds_since(next)), (1, -1));
        assert_eq!(time.plus(Duration::MAX), None);
    }

    #[test]
    fn what_is_not_a_second_of_the_calendar_is_refused() {
        for text in [
            "",
            "20230229T000000Z",
            "20241301T000000Z",
            "20240101T240000Z",
            "20240101T000060Z",
            "20240101T000000",
            "20240101 000000Z",
            "2024010１T00000Z",
            "+0240101T000000Z",
        ] {
            assert_eq!(Timestamp::from_basic(text), None, "{text}");
        }
        assert_eq!(Timestamp::from_rfc3339("2024-01-01T00:00:00+01:00"), None);
    }
}
