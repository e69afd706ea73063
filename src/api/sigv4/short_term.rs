//! Short-term Bedrock keys: a presigned request in place of a secret.
//!
//! AWS's token generators presign `POST https://bedrock.amazonaws.com/` with an access key, write
//! `&Version=1` after it, and send it as a bearer token in base64. It is checked with nothing but
//! that access key's secret, so whoever has one makes short-term keys without asking the server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::api::sigv4::canonical::{decoded, raw_parameters};
use crate::api::sigv4::parameters::Parameters;
use crate::api::sigv4::{Claim, Expectations, Payload, SignatureError, SignedRequest};
use crate::limits;

pub const SHORT_TERM_PREFIX: &str = "bedrock-api-key-";
const HOST: &str = "bedrock.amazonaws.com";
const ACTION: (&str, &[u8]) = ("Action", b"CallWithBearerToken");
/// Not covered by the signature.
const VERSION: &str = "&Version=1";

/// What a token of this kind claims; `None` if it is none.
pub fn short_term_claim(
    token: &str,
    expected: &Expectations<'_>,
) -> Result<Option<Claim>, SignatureError> {
    let Some(encoded) = token.strip_prefix(SHORT_TERM_PREFIX) else { return Ok(None) };
    let malformed = || SignatureError::incomplete("The short-term key is malformed.");
    if encoded.len() > limits::SHORT_TERM_KEY_BYTES_MAX {
        return Err(malformed());
    }
    let url = STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let url = url.ok_or_else(malformed)?;
    let query = url.strip_prefix(HOST).and_then(|rest| rest.strip_prefix("/?"));
    let query = query.and_then(|query| query.strip_suffix(VERSION)).ok_or_else(malformed)?;
    let parameters = Parameters::of_query(query, limits::SHORT_TERM_KEY_EXPIRY_MAX, expected)?;
    let mut others = raw_parameters(query)
        .map(|(name, value)| (decoded(name), decoded(value)))
        .filter(|(name, _)| !name.to_ascii_lowercase().starts_with(b"x-amz-"));
    let (name, value) = others.next().ok_or_else(malformed)?;
    let is_action = name == ACTION.0.as_bytes() && value == ACTION.1;
    if !is_action || others.next().is_some() || parameters.signed_headers != ["host"] {
        return Err(malformed());
    }
    let request = SignedRequest { method: "POST", path: "/", query, authority: HOST, headers: &[] };
    Claim::new(&request, parameters, Payload::Digest).map(Some)
}
