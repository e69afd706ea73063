//! The parameters of a query. Those that an operation does not have are passed over, since a
//! presigned request carries its signature among them.

use std::convert::Infallible;
use std::fmt::Display;
use std::ops::RangeInclusive;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use crate::api::bedrock::error::BedrockError;

pub(super) struct Query(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::parse(parts.uri.query().unwrap_or("")))
    }
}

impl Query {
    fn parse(query: &str) -> Self {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text).decode_utf8_lossy().into_owned()
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, BedrockError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.parse().ok().filter(|number| range.contains(number));
        number.map(Some).ok_or_else(|| out_of_range(name, range.start(), range.end()))
    }
}

fn out_of_range(name: &str, min: impl Display, max: impl Display) -> BedrockError {
    BedrockError::Validation(format!(
        "The value at `{name}` is not valid; it must be a whole number from {min} to {max}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse("byProvider=Mistral+AI&type=%41&&flag&maxResults=1000");
        assert_eq!(query.get("byProvider"), Some("Mistral AI"));
        assert_eq!(query.get("type"), Some("A"));
        assert_eq!(query.get("flag"), Some(""));
        assert_eq!(query.get("other"), None);
        assert_eq!(query.number("maxResults", 1..=1000), Ok(Some(1000)));
        assert!(query.number("maxResults", 1..=999).is_err());
        assert!(query.number("type", 1..=999).is_err());
    }
}
