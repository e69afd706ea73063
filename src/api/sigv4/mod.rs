//! Checks signatures of AWS's version 4, in headers and in presigned queries.
//!
//! The scheme, from AWS's "Signature Version 4 signing process": the client writes its request in
//! one canonical form, and signs the digest of that with a key derived from its secret, the day,
//! the region and the service. The server writes the request down again as it arrived and must come
//! to the same signature. What this module adds is strictness: whatever can be written in two ways,
//! or twice, is refused, so that no two programs on the way can read one request differently.
//!
//! It reads strings and knows neither sockets nor keys.

mod canonical;
mod claim;
mod parameters;
mod short_term;

use std::time::Duration;

use thiserror::Error;

use crate::keys::Timestamp;

pub use claim::{Claim, Payload};
pub use short_term::{SHORT_TERM_PREFIX, short_term_claim};

/// A request as it arrived.
#[derive(Debug, Clone, Copy)]
pub struct SignedRequest<'a> {
    pub method: &'a str,
    /// Percent-encoded as on the wire.
    pub path: &'a str,
    /// What follows `?`, percent-encoded as on the wire.
    pub query: &'a str,
    /// What the client takes the server's name for: `Host`, or HTTP/2's `:authority`.
    pub authority: &'a str,
    /// All headers in the order of their arrival, names in lower case.
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// What the server asks of a signature beside that it is right.
#[derive(Debug, Clone, Copy)]
pub struct Expectations<'a> {
    pub now: Timestamp,
    /// `None` takes a signature for any region.
    pub region: Option<&'a str>,
}

/// A signature that is not taken. The messages are AWS's where it has one: clients match them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignatureError {
    #[error("{0}")]
    Incomplete(String),
    #[error("Credential should be scoped to a valid region.")]
    WrongRegion,
    #[error("Credential should be scoped to correct service: 'bedrock'.")]
    WrongService,
    #[error("Signature not yet current: {signed} is still later than {latest} ({now} + 5 min.)")]
    NotYetCurrent { signed: String, latest: String, now: String },
    #[error("Signature expired: {until} is now earlier than {now}")]
    Expired { until: String, now: String },
    #[error(
        "The security token included in the request is invalid: keys of this server have no \
         session token. Is AWS_SESSION_TOKEN set?"
    )]
    SessionToken,
    #[error(
        "The request signature we calculated does not match the signature you provided. Check \
         your AWS Secret Access Key and signing method. Consult the service documentation for \
         details."
    )]
    Mismatch,
    #[error("The provided 'x-amz-content-sha256' header does not match what was computed.")]
    BodyMismatch,
}

impl SignatureError {
    fn incomplete(reason: impl Into<String>) -> Self {
        Self::Incomplete(reason.into())
    }
}

/// The services whose clients come here: Bedrock's, and OpenAI's own client for Bedrock.
const SERVICES: [&str; 2] = ["bedrock", "bedrock-mantle"];

/// A signature is good from `signed_at` until then, give or take clocks that differ.
fn check_time(
    signed_at: Timestamp,
    good_for: Duration,
    now: Timestamp,
) -> Result<(), SignatureError> {
    let skew = crate::limits::CLOCK_SKEW;
    let latest = now.plus(skew).ok_or(SignatureError::Mismatch)?;
    if signed_at > latest {
        return Err(SignatureError::NotYetCurrent {
            signed: signed_at.to_basic(),
            latest: latest.to_basic(),
            now: now.to_basic(),
        });
    }
    let until = signed_at.plus(good_for);
    let until = until.ok_or_else(|| SignatureError::incomplete("The date is out of range."))?;
    if now > until {
        return Err(SignatureError::Expired { until: until.to_basic(), now: now.to_basic() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
