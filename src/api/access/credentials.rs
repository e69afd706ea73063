//! What a request brings to prove whose it is: a signature, a bearer key, or a short-term key.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use crate::api::access::Principal;
use crate::api::access::live::LiveKeys;
use crate::api::access::refusal::AccessRefusal;
use crate::api::body::Bodies;
use crate::api::refusal::Refusal;
use crate::api::sigv4::{
    Claim, Expectations, Payload, SHORT_TERM_PREFIX, SignatureError, SignedRequest,
    short_term_claim,
};
use crate::keys::{KeyRefusal, Secret, Timestamp};

/// The owner of the request, and the request. A body that is signed has been read and is the one
/// that was signed.
pub(super) async fn check(
    bodies: &Bodies,
    keys: &LiveKeys,
    region: Option<&str>,
    request: Request,
) -> Result<(Principal, Request), Refusal> {
    let (parts, body) = request.into_parts();
    let expected = Expectations { now: Timestamp::now(), region };
    if let Some(token) = bearer_token(&parts.headers)? {
        let principal = match token.starts_with(SHORT_TERM_PREFIX) {
            true => short_term_owner(keys, token, &expected)?,
            false => keys.find(|ring| match ring.bearer_key(token, expected.now) {
                Ok(key) => Ok(Arc::clone(key)),
                Err(KeyRefusal::Unknown) => Err(AccessRefusal::InvalidKey),
                Err(KeyRefusal::Expired) => Err(AccessRefusal::Expired),
            })?,
        };
        return Ok((principal, Request::from_parts(parts, body)));
    }
    let claim = claim(&parts, &expected)?.ok_or(AccessRefusal::Missing)?;
    let (principal, secret) = signer(keys, &claim, expected.now)?;
    let body = verified_body(bodies, &claim, &secret, body).await?;
    Ok((principal, Request::from_parts(parts, body)))
}

/// The word after `Bearer`; `None` if the request brings something else.
fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, AccessRefusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        let reason = "There is more than one Authorization header.".to_owned();
        return Err(AccessRefusal::Malformed(reason));
    }
    let value = value.to_str().map_err(|_| AccessRefusal::InvalidKey)?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    match scheme.eq_ignore_ascii_case("bearer") {
        true => Ok(Some(token.trim_matches(' '))),
        false => Ok(None),
    }
}

/// All that is wrong with a short-term key but its age is told in the same words.
fn short_term_owner(
    keys: &LiveKeys,
    token: &str,
    expected: &Expectations<'_>,
) -> Result<Principal, AccessRefusal> {
    let claim = short_term_claim(token, expected).map_err(|error| match error {
        SignatureError::Expired { .. } => AccessRefusal::Expired,
        SignatureError::SessionToken => error.into(),
        _ => AccessRefusal::InvalidKey,
    })?;
    let claim = claim.ok_or(AccessRefusal::InvalidKey)?;
    let (principal, secret) = signer(keys, &claim, expected.now).map_err(|error| match error {
        AccessRefusal::Expired => error,
        _ => AccessRefusal::InvalidKey,
    })?;
    claim.verify(secret.reveal(), b"").map_err(|_| AccessRefusal::InvalidKey)?;
    Ok(principal)
}

fn claim(parts: &Parts, expected: &Expectations<'_>) -> Result<Option<Claim>, AccessRefusal> {
    let headers: Vec<(&str, &[u8])> =
        parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let signed = SignedRequest {
        method: parts.method.as_str(),
        path: parts.uri.path(),
        query: parts.uri.query().unwrap_or_default(),
        authority: authority(parts)?,
        headers: &headers,
    };
    Ok(Claim::of(&signed, expected)?)
}

/// HTTP/2 names the host in `:authority`, HTTP/1.1 in `Host`. A request with two different ones
/// means different things to different readers.
fn authority(parts: &Parts) -> Result<&str, AccessRefusal> {
    let malformed = |reason: &str| AccessRefusal::Malformed(reason.to_owned());
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next().map(|host| host.to_str()).transpose();
    let host = host.map_err(|_| malformed("The Host header is malformed."))?;
    if hosts.next().is_some() {
        return Err(malformed("There is more than one Host header."));
    }
    match (parts.uri.authority().map(|authority| authority.as_str()), host) {
        (Some(authority), Some(host)) if authority != host => {
            Err(malformed("The Host header is another than the request's authority."))
        }
        (Some(name), _) | (None, Some(name)) => Ok(name),
        (None, None) => Err(malformed("There is no Host header.")),
    }
}

fn signer(
    keys: &LiveKeys,
    claim: &Claim,
    now: Timestamp,
) -> Result<(Principal, Secret), AccessRefusal> {
    let mut secret = None;
    let principal = keys.find(|ring| match ring.access_key(claim.access_key_id(), now) {
        Ok((key, found)) => {
            secret = Some(found.clone());
            Ok(Arc::clone(key))
        }
        Err(KeyRefusal::Unknown) => Err(AccessRefusal::unknown_access_key()),
        Err(KeyRefusal::Expired) => Err(AccessRefusal::Expired),
    })?;
    Ok((principal, secret.expect("it was found with the key")))
}

/// Reads the body only as far as the signature asks for it: one that states its digest is checked
/// before the first byte is taken.
async fn verified_body(
    bodies: &Bodies,
    claim: &Claim,
    secret: &Secret,
    body: Body,
) -> Result<Body, Refusal> {
    let refuse = |error: SignatureError| Refusal::from(AccessRefusal::from(error));
    if claim.payload() != Payload::Digest {
        claim.verify(secret.reveal(), b"").map_err(refuse)?;
    }
    if claim.payload() == Payload::Unsigned {
        return Ok(body);
    }
    let read = bodies.read(body).await?;
    if claim.payload() == Payload::Digest {
        claim.verify(secret.reveal(), &read.bytes).map_err(refuse)?;
    }
    claim.verify_body(&read.bytes).map_err(refuse)?;
    Ok(read.into_body())
}
