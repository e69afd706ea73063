//! Reading JSON from a client, and the words in which its values are refused.

use std::fmt::Display;
use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer};

use crate::api::bedrock::error::BedrockError;

/// The deepest JSON that is read is serde_json's limit of 128 levels.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, BedrockError> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let value: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner();
        invalid(if path == "." {
            format!("The request body is not valid: {reason}")
        } else {
            format!("The value at `{path}` is not valid: {reason}")
        })
    })?;
    json.end().map_err(|error| invalid(format!("The request body is not valid: {error}")))?;
    Ok(value)
}

/// Bytes, which the protocol writes in base64.
pub(super) struct Blob(pub(super) Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(|_| D::Error::custom("it is not base64"))
    }
}

pub(super) fn invalid(message: impl Into<String>) -> BedrockError {
    BedrockError::Validation(message.into())
}

pub(super) fn unsupported(field: &str, reason: &str) -> BedrockError {
    invalid(format!("{reason} Remove `{field}` from the request and try again."))
}

pub(super) fn refuse(
    field: &str,
    value: Option<IgnoredAny>,
    reason: &str,
) -> Result<(), BedrockError> {
    match value {
        None => Ok(()),
        Some(IgnoredAny) => Err(unsupported(field, reason)),
    }
}

pub(super) fn in_range<T: PartialOrd + Display>(
    field: &str,
    value: T,
    range: &RangeInclusive<T>,
) -> Result<T, BedrockError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (start, end) = (range.start(), range.end());
    Err(invalid(format!("The value at `{field}` is {value}; it must be from {start} to {end}.")))
}

/// A number that must be a count.
pub(super) fn natural(field: &str, value: Option<i64>) -> Result<Option<usize>, BedrockError> {
    let checked = value.map(|it| in_range(field, it, &(0..=i64::MAX))).transpose()?;
    Ok(checked.map(|it| usize::try_from(it).expect("it is not negative")))
}

/// The number of tokens that an answer may have.
pub(super) fn max_tokens(field: &str, value: Option<i64>) -> Result<Option<usize>, BedrockError> {
    let checked = value.map(|it| in_range(field, it, &(1..=i64::from(i32::MAX)))).transpose()?;
    Ok(checked.map(|it| usize::try_from(it).expect("it is positive")))
}

pub(super) fn float(
    field: &str,
    value: Option<f64>,
    range: &RangeInclusive<f64>,
) -> Result<Option<f32>, BedrockError> {
    Ok(value.map(|value| in_range(field, value, range)).transpose()?.map(|value| value as f32))
}

/// An identifier: up to `max` letters, digits and those of `others`, all of ASCII.
pub(super) fn check_name(
    field: &str,
    value: &str,
    max: usize,
    others: &str,
) -> Result<(), BedrockError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    if (1..=max).contains(&value.len()) && value.chars().all(plain) {
        return Ok(());
    }
    Err(invalid(format!(
        "The value at `{field}` must be 1 to {max} of the characters a-z, A-Z, 0-9 and `{others}`."
    )))
}
