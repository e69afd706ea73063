//! A signature that waits for its secret, and for the body if it signs one.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::api::sigv4::parameters::{ALGORITHM, Form, Parameters, form, single, values};
use crate::api::sigv4::{Expectations, SignatureError, SignedRequest, canonical};
use crate::keys::hex;
use crate::limits;

const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";
const CONTENT_SHA256: &str = "x-amz-content-sha256";
const SESSION_TOKEN: &str = "x-amz-security-token";

/// Says to have been signed with a key.
#[derive(Debug)]
pub struct Claim {
    parameters: Parameters,
    /// The canonical request up to the digest of the body.
    canonical_head: Vec<u8>,
    payload: Payload,
}

/// What a signature says of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// It must have the digest that a signed header states: the signature can be checked first.
    Stated([u8; 32]),
    /// The signature is over its digest: it must be read before the signature can be checked.
    Digest,
    /// A signed header says that it is not signed.
    Unsigned,
}

impl Claim {
    /// What the request claims of its signature; `None` if it has none. Refuses what is malformed,
    /// out of its time, or for another region or service.
    pub fn of(
        request: &SignedRequest<'_>,
        expected: &Expectations<'_>,
    ) -> Result<Option<Self>, SignatureError> {
        let parameters = match form(request)? {
            None => return Ok(None),
            Some(Form::Header) => Parameters::of_header(request, expected)?,
            Some(Form::Query) => {
                Parameters::of_query(request.query, limits::PRESIGNED_EXPIRY_MAX, expected)?
            }
        };
        if values(request, SESSION_TOKEN).next().is_some() {
            return Err(SignatureError::SessionToken);
        }
        check_amazon_headers(request, &parameters.signed_headers)?;
        let payload = match single(request, CONTENT_SHA256)? {
            None => Payload::Digest,
            Some(UNSIGNED_PAYLOAD) => Payload::Unsigned,
            Some(text) => Payload::Stated(hex::decode(text).ok_or_else(|| {
                SignatureError::incomplete(format!(
                    "'{CONTENT_SHA256}' must be {UNSIGNED_PAYLOAD} or a SHA-256 in hexadecimal."
                ))
            })?),
        };
        Self::new(request, parameters, payload).map(Some)
    }

    pub(super) fn new(
        request: &SignedRequest<'_>,
        parameters: Parameters,
        payload: Payload,
    ) -> Result<Self, SignatureError> {
        let signed_headers: Vec<&str> =
            parameters.signed_headers.iter().map(String::as_str).collect();
        let canonical_head = canonical::head(request, &signed_headers)?;
        Ok(Self { parameters, canonical_head, payload })
    }

    pub fn access_key_id(&self) -> &str {
        &self.parameters.access_key_id
    }

    pub fn payload(&self) -> Payload {
        self.payload
    }

    /// Whether the signature was made with this secret. `body` counts only for
    /// [`Payload::Digest`]; that a stated digest is the body's is for the caller to see.
    pub fn verify(&self, secret: &str, body: &[u8]) -> Result<(), SignatureError> {
        let payload = match self.payload {
            Payload::Stated(digest) => hex::encode(&digest),
            Payload::Digest => hex::encode(&Sha256::digest(body)),
            Payload::Unsigned => UNSIGNED_PAYLOAD.to_owned(),
        };
        let mut canonical = Sha256::new_with_prefix(&self.canonical_head);
        canonical.update(payload.as_bytes());
        let scope = &self.parameters.scope;
        let signed_at = self.parameters.signed_at.to_basic();
        let text = format!(
            "{ALGORITHM}\n{signed_at}\n{}/{}/{}/aws4_request\n{}",
            scope.date,
            scope.region,
            scope.service,
            hex::encode(&canonical.finalize())
        );
        let mut key = hmac(format!("AWS4{secret}").as_bytes(), &scope.date);
        for part in [&scope.region, &scope.service, "aws4_request"] {
            key = hmac(&key, part);
        }
        match bool::from(hmac(&key, &text).ct_eq(&self.parameters.signature)) {
            true => Ok(()),
            false => Err(SignatureError::Mismatch),
        }
    }

    /// Whether the body is the one that a signed header states.
    pub fn verify_body(&self, body: &[u8]) -> Result<(), SignatureError> {
        match self.payload {
            Payload::Stated(digest) if !bool::from(digest.ct_eq(&Sha256::digest(body))) => {
                Err(SignatureError::BodyMismatch)
            }
            Payload::Stated(_) | Payload::Digest | Payload::Unsigned => Ok(()),
        }
    }
}

/// These change what a request means or how it is checked, so nobody may add one on the way.
fn check_amazon_headers(
    request: &SignedRequest<'_>,
    signed_headers: &[String],
) -> Result<(), SignatureError> {
    let is_signed = |name: &str| signed_headers.iter().any(|it| it == name);
    let mut names = request.headers.iter().map(|(name, _)| *name);
    match names.find(|name| name.starts_with("x-amz-") && !is_signed(name)) {
        Some(name) => Err(SignatureError::incomplete(format!(
            "'{name}' is in the request and must be a 'SignedHeader'."
        ))),
        None => Ok(()),
    }
}

fn hmac(key: &[u8], text: &str) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(text.as_bytes()).finalize().into_bytes().into()
}
