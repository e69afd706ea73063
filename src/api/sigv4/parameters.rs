//! What a client says of its signature, in the `Authorization` header or in the query.

use std::time::Duration;

use crate::api::sigv4::canonical::{SIGNATURE_PARAMETER, decoded, raw_parameters};
use crate::api::sigv4::{Expectations, SERVICES, SignatureError, SignedRequest, check_time};
use crate::keys::{Timestamp, hex};
use crate::limits;

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// How all algorithms of AWS's signatures begin.
const SCHEME_PREFIX: &[u8] = b"AWS4-";
const TERMINATOR: &str = "aws4_request";

/// Whoever made the credential may have longer ids than ours.
const ACCESS_KEY_ID_BYTES_MAX: usize = 128;
const REGION_BYTES_MAX: usize = 64;
/// Names of signed headers; OpenAI's client signs some fifteen.
const SIGNED_HEADERS_MAX: usize = limits::HEADERS_MAX + 1;

/// Well-formed, of the right time and scope; whether it is right is still open.
#[derive(Debug)]
pub(super) struct Parameters {
    pub(super) access_key_id: String,
    pub(super) scope: Scope,
    pub(super) signed_at: Timestamp,
    pub(super) signed_headers: Vec<String>,
    pub(super) signature: [u8; 32],
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scope {
    /// `YYYYMMDD`
    pub(super) date: String,
    pub(super) region: String,
    pub(super) service: String,
}

/// Where a request carries its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Header,
    Query,
}

/// `None` if the request is not signed.
pub(super) fn form(request: &SignedRequest<'_>) -> Result<Option<Form>, SignatureError> {
    let mut authorizations = values(request, "authorization");
    let authorization = authorizations.next();
    if authorizations.next().is_some() {
        return Err(SignatureError::incomplete("There is more than one Authorization header."));
    }
    let in_header = authorization.is_some_and(|value| value.starts_with(SCHEME_PREFIX));
    let names = ["X-Amz-Algorithm", "X-Amz-Credential", SIGNATURE_PARAMETER];
    let mut parameters = raw_parameters(request.query);
    let in_query =
        parameters.any(|(it, _)| names.iter().any(|name| decoded(it) == name.as_bytes()));
    match (authorization.is_some(), in_header, in_query) {
        (true, _, true) => Err(SignatureError::incomplete(
            "Only one of the Authorization header and the X-Amz-Signature parameter is allowed.",
        )),
        (_, true, false) => Ok(Some(Form::Header)),
        (false, _, true) => Ok(Some(Form::Query)),
        (_, false, false) => Ok(None),
    }
}

pub(super) fn values<'a>(
    request: &SignedRequest<'a>,
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    request.headers.iter().filter(move |(it, _)| *it == name).map(|(_, value)| *value)
}

/// The only value of a header that must not come twice.
pub(super) fn single<'a>(
    request: &SignedRequest<'a>,
    name: &'static str,
) -> Result<Option<&'a str>, SignatureError> {
    let mut values = values(request, name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(SignatureError::incomplete(format!("The header '{name}' comes twice.")));
    }
    let text = str::from_utf8(value).ok().filter(|text| text.is_ascii());
    let text = text
        .ok_or_else(|| SignatureError::incomplete(format!("The header '{name}' is malformed.")))?;
    Ok(Some(text))
}

impl Parameters {
    pub(super) fn of_header(
        request: &SignedRequest<'_>,
        expected: &Expectations<'_>,
    ) -> Result<Self, SignatureError> {
        let authorization = single(request, "authorization")?.unwrap_or_default();
        let (algorithm, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
        check_algorithm(algorithm)?;
        let mut fields = Fields::new("Authorization header");
        for piece in rest.split(',') {
            let (name, value) = piece.trim_matches(' ').split_once('=').unwrap_or((piece, ""));
            fields.push(name, value.to_owned())?;
        }
        let credential = fields.take("Credential")?;
        let signed_headers = fields.take("SignedHeaders")?;
        let signature = fields.take("Signature")?;
        fields.check_all_taken()?;
        let date = single(request, "x-amz-date")?.ok_or_else(|| {
            SignatureError::incomplete("Authorization header requires existence of 'X-Amz-Date'.")
        })?;
        let parameters = Self::new([&credential, date, &signed_headers, &signature], expected)?;
        check_time(parameters.signed_at, limits::CLOCK_SKEW, expected.now)?;
        Ok(parameters)
    }

    /// `expiry_max` is the longest that the signature may be good for.
    pub(super) fn of_query(
        query: &str,
        expiry_max: Duration,
        expected: &Expectations<'_>,
    ) -> Result<Self, SignatureError> {
        let mut fields = Fields::new("query");
        for (name, value) in raw_parameters(query) {
            let name = String::from_utf8_lossy(&decoded(name)).into_owned();
            if name.to_ascii_lowercase().starts_with("x-amz-") {
                fields.push(&name, String::from_utf8_lossy(&decoded(value)).into_owned())?;
            }
        }
        check_algorithm(&fields.take("X-Amz-Algorithm")?)?;
        let credential = fields.take("X-Amz-Credential")?;
        let date = fields.take("X-Amz-Date")?;
        let expires = fields.take("X-Amz-Expires")?;
        let signed_headers = fields.take("X-Amz-SignedHeaders")?;
        let signature = fields.take(SIGNATURE_PARAMETER)?;
        if fields.take("X-Amz-Security-Token").is_ok() {
            return Err(SignatureError::SessionToken);
        }
        fields.check_all_taken()?;
        let parameters = Self::new([&credential, &date, &signed_headers, &signature], expected)?;
        check_time(parameters.signed_at, expiry(&expires, expiry_max)?, expected.now)?;
        Ok(parameters)
    }

    fn new(
        [credential, date, signed_headers, signature]: [&str; 4],
        expected: &Expectations<'_>,
    ) -> Result<Self, SignatureError> {
        let (access_key_id, scope) = parse_credential(credential)?;
        let malformed = |what| SignatureError::incomplete(format!("{what} is malformed."));
        let signed_at = Timestamp::from_basic(date).ok_or_else(|| malformed("'X-Amz-Date'"))?;
        if !date.starts_with(&scope.date) {
            return Err(SignatureError::incomplete(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date \
                 from HTTP.",
            ));
        }
        if expected.region.is_some_and(|region| region != scope.region) {
            return Err(SignatureError::WrongRegion);
        }
        if !SERVICES.contains(&scope.service.as_str()) {
            return Err(SignatureError::WrongService);
        }
        let signed_headers = parse_signed_headers(signed_headers)?;
        let signature = hex::decode(signature).ok_or_else(|| malformed("The signature"))?;
        Ok(Self { access_key_id, scope, signed_at, signed_headers, signature })
    }
}

fn check_algorithm(algorithm: &str) -> Result<(), SignatureError> {
    match algorithm {
        ALGORITHM => Ok(()),
        _ => Err(SignatureError::incomplete(format!("The algorithm must be {ALGORITHM}."))),
    }
}

/// `ID/YYYYMMDD/REGION/SERVICE/aws4_request`
fn parse_credential(text: &str) -> Result<(String, Scope), SignatureError> {
    let parts: Vec<&str> = text.split('/').collect();
    let malformed = || {
        SignatureError::incomplete(format!(
            "The Credential must be ACCESS-KEY-ID/YYYYMMDD/REGION/SERVICE/{TERMINATOR}."
        ))
    };
    let [id, date, region, service, TERMINATOR] = parts[..] else { return Err(malformed()) };
    let is_word = |text: &str, limit: usize| {
        let is_ok = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=limit).contains(&text.len()) && text.bytes().all(is_ok)
    };
    let is_date = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
    if !is_word(id, ACCESS_KEY_ID_BYTES_MAX) || !is_word(region, REGION_BYTES_MAX) || !is_date {
        return Err(malformed());
    }
    let scope =
        Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((id.to_owned(), scope))
}

/// In lower case, sorted, none twice, and with the server's name among them.
fn parse_signed_headers(text: &str) -> Result<Vec<String>, SignatureError> {
    let names: Vec<String> = text.split(';').map(str::to_owned).collect();
    if names.len() > SIGNED_HEADERS_MAX {
        let limit = SIGNED_HEADERS_MAX;
        let reason = format!("More than {limit} headers are signed.");
        return Err(SignatureError::incomplete(reason));
    }
    let is_name = |name: &String| {
        let name = if name == ":authority" { "authority" } else { name };
        let is_token = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
        };
        !name.is_empty() && name.bytes().all(is_token)
    };
    if !names.iter().all(is_name) || !names.is_sorted_by(|a, b| a < b) {
        return Err(SignatureError::incomplete(
            "SignedHeaders must be names in lower case, sorted and joined by semicolons.",
        ));
    }
    if !names.iter().any(|name| matches!(name.as_str(), "host" | ":authority")) {
        return Err(SignatureError::incomplete("'Host' must be a 'SignedHeader'."));
    }
    Ok(names)
}

fn expiry(text: &str, max: Duration) -> Result<Duration, SignatureError> {
    let max = max.as_secs();
    let is_number = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = text.parse().ok().filter(|seconds| is_number && (1..=max).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        SignatureError::incomplete(format!("X-Amz-Expires must be a number from 1 to {max}."))
    })
}

/// Names and values, each to be taken once.
struct Fields {
    place: &'static str,
    fields: Vec<(String, String)>,
}

impl Fields {
    fn new(place: &'static str) -> Self {
        Self { place, fields: Vec::new() }
    }

    fn push(&mut self, name: &str, value: String) -> Result<(), SignatureError> {
        if self.fields.iter().any(|(known, _)| known == name) {
            let reason = format!("'{name}' comes twice in the {}.", self.place);
            return Err(SignatureError::incomplete(reason));
        }
        self.fields.push((name.to_owned(), value));
        Ok(())
    }

    fn take(&mut self, name: &str) -> Result<String, SignatureError> {
        match self.fields.iter().position(|(known, _)| known == name) {
            Some(index) => Ok(self.fields.swap_remove(index).1),
            None => Err(SignatureError::incomplete(format!(
                "{} requires '{name}' parameter.",
                if self.place == "query" { "A presigned request" } else { "Authorization header" }
            ))),
        }
    }

    fn check_all_taken(&self) -> Result<(), SignatureError> {
        match self.fields.first() {
            Some((name, _)) => Err(SignatureError::incomplete(format!(
                "'{name}' is not known in the {}.",
                self.place
            ))),
            None => Ok(()),
        }
    }
}
