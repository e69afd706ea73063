//! A request in the form that is signed.
//!
//! ```text
//! method
//! path, percent-encoded once more
//! query, each name and value percent-encoded, sorted
//! name:value of each signed header
//!
//! names of the signed headers
//! digest of the body
//! ```
//!
//! All but the last line is known before the body is read, so that much is written here.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::api::sigv4::{SignatureError, SignedRequest};

/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

pub(super) const SIGNATURE_PARAMETER: &str = "X-Amz-Signature";

/// Everything up to the digest of the body.
pub(super) fn head(
    request: &SignedRequest<'_>,
    signed_headers: &[&str],
) -> Result<Vec<u8>, SignatureError> {
    let path = normalized_path(request.path);
    let path = percent_encode(path.as_bytes(), RESERVED_IN_PATH);
    let query = canonical_query(request.query);
    let mut head = format!("{}\n{path}\n{query}\n", request.method).into_bytes();
    for name in signed_headers {
        head.extend_from_slice(name.as_bytes());
        head.push(b':');
        write_values(request, name, &mut head)?;
        head.push(b'\n');
    }
    head.push(b'\n');
    head.extend_from_slice(signed_headers.join(";").as_bytes());
    head.push(b'\n');
    Ok(head)
}

/// Without dot segments and doubled slashes, as clients normalize it before they sign (RFC 3986,
/// 5.2.4, but that `..` beyond the root is dropped). The route is chosen by the path on the wire:
/// one that is not in this form names no operation.
fn normalized_path(path: &str) -> Cow<'_, str> {
    let is_normal = |segment: &str| !matches!(segment, "" | "." | "..");
    let inner = path.strip_prefix('/').unwrap_or(path);
    let mut segments = inner.strip_suffix('/').unwrap_or(inner).split('/');
    if path == "/" || path.starts_with('/') && segments.all(is_normal) {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let ends_in_folder = ["/", "/.", "/.."].iter().any(|end| path.ends_with(end));
    let slash = if ends_in_folder && !kept.is_empty() { "/" } else { "" };
    Cow::Owned(format!("/{}{slash}", kept.join("/")))
}

/// Names and values decoded and encoded again, since clients differ in what they encode; sorted by
/// what they are encoded as. A signature does not sign itself.
fn canonical_query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = raw_parameters(query)
        .filter(|(name, _)| decoded(name) != SIGNATURE_PARAMETER.as_bytes())
        .map(|(name, value)| (encoded(&decoded(name)), encoded(&decoded(value))))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// Names and values as they stand in the query.
pub(super) fn raw_parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pieces = query.split('&').filter(|piece| !piece.is_empty());
    pieces.map(|piece| piece.split_once('=').unwrap_or((piece, "")))
}

/// A plus sign is a space, as forms have it and AWS's own signers read it.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).collect()
}

fn encoded(bytes: &[u8]) -> String {
    percent_encode(bytes, RESERVED).to_string()
}

/// The values of one signed header, joined by commas. The SDK for JavaScript signs `:authority`
/// where others sign `host`, and a proxy may turn one into the other: they are the same.
fn write_values(
    request: &SignedRequest<'_>,
    name: &str,
    out: &mut Vec<u8>,
) -> Result<(), SignatureError> {
    if matches!(name, "host" | ":authority") {
        write_folded(request.authority.as_bytes(), out);
        return Ok(());
    }
    let mut values = request.headers.iter().filter(|(it, _)| *it == name).map(|(_, value)| value);
    let first = values.next();
    let first = first.ok_or_else(|| {
        SignatureError::incomplete(format!("The signed header '{name}' is not in the request."))
    })?;
    write_folded(first, out);
    for value in values {
        out.push(b',');
        write_folded(value, out);
    }
    Ok(())
}

/// Without spaces around it, and with one where there are several.
fn write_folded(value: &[u8], out: &mut Vec<u8>) {
    let words = value.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    for (index, word) in words.enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        out.extend_from_slice(word);
    }
}
