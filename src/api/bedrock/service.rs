//! How urgent a request is, by latency and service tier, and what of it is echoed.

use std::collections::BTreeMap;

use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};

use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::json::{in_range, invalid};
use crate::limits;
use crate::pipeline::Priority;

const METADATA_HEADER: &str = "x-amzn-bedrock-request-metadata";

#[derive(Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Latency {
    Standard,
    Optimized,
}

#[derive(Deserialize, Serialize, Debug, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tier {
    Default,
    Priority,
    Flex,
    Reserved,
}

impl Latency {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Optimized => "optimized",
        }
    }
}

impl Tier {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Priority => "priority",
            Self::Flex => "flex",
            Self::Reserved => "reserved",
        }
    }
}

/// What a request asked for, each `None` where it did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) latency: Option<Latency>,
    pub(super) tier: Option<Tier>,
}

impl Service {
    /// Nothing is reserved for anyone, so a request for reserved capacity overflows to the default
    /// tier, as it does on Bedrock, and the answer says so.
    pub(super) fn new(latency: Option<Latency>, tier: Option<Tier>) -> Result<Self, BedrockError> {
        if latency == Some(Latency::Optimized) && tier == Some(Tier::Flex) {
            return Err(invalid(
                "The service tier `flex` and the latency `optimized` contradict each other; keep \
                 one of them.",
            ));
        }
        let tier = tier.map(|tier| match tier {
            Tier::Reserved => Tier::Default,
            Tier::Default | Tier::Priority | Tier::Flex => tier,
        });
        Ok(Self { latency, tier })
    }

    pub(super) fn from_headers(headers: &HeaderMap) -> Result<Self, BedrockError> {
        let latency = "x-amzn-bedrock-performanceconfig-latency";
        let latency =
            header(headers, latency, &[Latency::Standard, Latency::Optimized], |it| it.name())?;
        let tiers = [Tier::Default, Tier::Priority, Tier::Flex, Tier::Reserved];
        let tier = header(headers, "x-amzn-bedrock-service-tier", &tiers, |it| it.name())?;
        Self::new(latency, tier)
    }

    pub(super) fn priority(self) -> Priority {
        match (self.tier, self.latency) {
            (Some(Tier::Flex), _) => Priority::Low,
            (Some(Tier::Priority), _) | (_, Some(Latency::Optimized)) => Priority::High,
            (Some(Tier::Default | Tier::Reserved) | None, Some(Latency::Standard) | None) => {
                Priority::Normal
            }
        }
    }
}

/// The one of `known` that a header names.
pub(super) fn header<T: Copy>(
    headers: &HeaderMap,
    name: &str,
    known: &[T],
    name_of: fn(T) -> &'static str,
) -> Result<Option<T>, BedrockError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let found = known.iter().find(|it| name_of(**it).as_bytes() == value.as_bytes());
    found.copied().map(Some).ok_or_else(|| {
        let known: Vec<_> = known.iter().map(|it| name_of(*it)).collect();
        invalid(format!("The header `{name}` must be one of {}.", known.join(", ")))
    })
}

/// Metadata is for the client's own books: it is checked, and kept nowhere.
pub(super) fn check_metadata(metadata: &BTreeMap<String, String>) -> Result<(), BedrockError> {
    in_range("requestMetadata", metadata.len(), &(1..=limits::REQUEST_METADATA_ENTRIES_MAX))?;
    for (key, value) in metadata {
        let (keys, values) = (key.chars().count(), value.chars().count());
        let max = limits::REQUEST_METADATA_CHARS_MAX;
        in_range("requestMetadata: length of a key", keys, &(1..=max))?;
        in_range("requestMetadata: length of a value", values, &(0..=max))?;
    }
    Ok(())
}

pub(super) fn check_metadata_header(headers: &HeaderMap) -> Result<(), BedrockError> {
    match headers.get(METADATA_HEADER) {
        None => Ok(()),
        Some(value) => {
            let metadata = serde_json::from_slice(value.as_bytes()).map_err(|error| {
                invalid(format!("The header `{METADATA_HEADER}` is not valid: {error}"))
            })?;
            check_metadata(&metadata)
        }
    }
}
