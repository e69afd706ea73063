//! Any request is refused or waits for its secret, whatever it says of its signature, and none
//! that was not signed with the secret is good. The same for short-term keys.
//!
//! The first line of the input is method, path, query and authority, separated by spaces; the next
//! ones are headers until an empty line; the rest is the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outcrop::{
    api::sigv4::{Claim, Expectations, SHORT_TERM_PREFIX, SignedRequest, short_term_claim},
    keys::Timestamp,
};

const SECRET: &str = "a secret that the input cannot know";

fuzz_target!(|bytes: &[u8]| {
    let expected = Expectations {
        now: Timestamp::from_basic("20261123T211240Z").expect("a time"),
        region: None,
    };
    let (head, body) = split(bytes, b"\n\n");
    let (first, rest) = split(head, b"\n");
    let Ok(first) = str::from_utf8(first) else { return };
    let mut words = first.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let (method, path, query, authority) = (word(), word(), word(), word());
    let mut headers = Vec::new();
    for line in rest.split(|byte| *byte == b'\n') {
        let (name, value) = split(line, b":");
        let Ok(name) = str::from_utf8(name) else { return };
        headers.push((name, value));
    }
    let request = SignedRequest { method, path, query, authority, headers: &headers };
    if let Ok(Some(claim)) = Claim::of(&request, &expected) {
        assert!(claim.verify(SECRET, body).is_err(), "a signature without the secret is good");
    }
    let token = format!("{SHORT_TERM_PREFIX}{query}");
    if let Ok(Some(claim)) = short_term_claim(&token, &expected) {
        assert!(claim.verify(SECRET, b"").is_err(), "a key without the secret is good");
    }
});

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> (&'a [u8], &'a [u8]) {
    match bytes.windows(at.len()).position(|window| window == at) {
        Some(index) => (&bytes[..index], &bytes[index + at.len()..]),
        None => (bytes, &[]),
    }
}
