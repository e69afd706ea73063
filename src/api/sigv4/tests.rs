//! Agreement with AWS's own signer, refusal of every change, and what else must be refused.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::canonical::{decoded, raw_parameters};
use super::*;

const ID: &str = "OCAKABCDEFGHIJKLMNOP";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const NOW: &str = "20261123T211240Z";

fn now() -> Timestamp {
    Timestamp::from_basic(NOW).unwrap()
}

fn expected() -> Expectations<'static> {
    Expectations { now: now(), region: None }
}

/// The numbers of a linear congruential generator: the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn text(&mut self, pieces: &[&str], max: usize) -> String {
        (0..self.below(max + 1)).map(|_| pieces[self.below(pieces.len())]).collect()
    }
}

#[derive(Debug, Clone)]
struct Request {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    fn new(method: &str, path: &str, query: &str, body: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers: vec![("host".to_owned(), b"bedrock.example:8080".to_vec())],
            body: body.as_bytes().to_vec(),
        }
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        self
    }

    fn random(random: &mut Random) -> Self {
        const PATH: [&str; 34] = [
            "model",
            "a",
            "Z",
            "0",
            "/",
            "/",
            "//",
            ".",
            "..",
            "/./",
            "/../",
            "%2F",
            "%2f",
            "%3A",
            ":",
            "%25",
            "%20",
            "%E4%B8%AD",
            "é",
            "中",
            "~",
            "-",
            "_",
            "+",
            "@",
            "!",
            "'",
            "(",
            "*",
            ",",
            ";",
            "=",
            "$",
            "&",
        ];
        const QUERY: [&str; 26] = [
            "a", "b", "Z", "9", "&", "&", "=", "=", "%2F", "%2f", "%3D", "%26", "%20", "+", "%2B",
            "%zz", "%.", "é", "%C3%A9", "~", ":", "/", "?", "*", "'", "~",
        ];
        const VALUE: [&str; 12] =
            ["a", "B", "9", " ", "  ", ",", ";", "=", "\"", "/", "x y", "\u{e9}"];
        const BODY: [&str; 4] = ["{\"messages\":[]}", "\n", "é", "\0"];
        let method = ["GET", "POST", "PUT", "DELETE"][random.below(4)];
        let path = format!("/{}", random.text(&PATH, 8));
        let query = random.text(&QUERY, 10);
        let mut request = Self::new(method, &path, &query, &random.text(&BODY, 4));
        for name in ["content-type", "x-amzn-bedrock-trace", "amz-sdk-request", "x-b", "x-b"] {
            if random.below(3) == 0 {
                request = request.header(name, &random.text(&VALUE, 6));
            }
        }
        request
    }

    /// As AWS's signer does it.
    fn signed(mut self, location: SignatureLocation, checksum: PayloadChecksumKind) -> Self {
        let identity = Credentials::new(ID, SECRET, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = checksum;
        if location == SignatureLocation::QueryParams {
            settings.expires_in = Some(Duration::from_secs(900));
        }
        settings.signature_location = location;
        let epoch = Timestamp::from_basic("19700101T000000Z").unwrap();
        let seconds = now().seconds_since(epoch).try_into().unwrap();
        let time: SystemTime = UNIX_EPOCH + Duration::from_secs(seconds);
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("cn-north-1")
            .name("bedrock")
            .time(time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let question = if self.query.is_empty() { "" } else { "?" };
        let uri = format!("http://bedrock.example:8080{}{question}{}", self.path, self.query);
        let headers: Vec<(&str, &str)> = self
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), str::from_utf8(value).unwrap()))
            .collect();
        let body = SignableBody::Bytes(&self.body);
        let signable = SignableRequest::new(&self.method, uri, headers.into_iter(), body).unwrap();
        let (instructions, _) = sign(signable, &parameters).unwrap().into_parts();
        for (name, value) in instructions.headers() {
            self.headers.push((name.to_owned(), value.as_bytes().to_vec()));
        }
        for (name, value) in instructions.params() {
            let ampersand = if self.query.is_empty() { "" } else { "&" };
            let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
            self.query.push_str(&format!("{ampersand}{name}={value}"));
        }
        self
    }

    fn claim(&self, expected: &Expectations<'_>) -> Result<Option<Claim>, SignatureError> {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let authority = headers.iter().find(|(name, _)| *name == "host");
        let request = SignedRequest {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            authority: authority.map_or("", |(_, value)| str::from_utf8(value).unwrap_or("")),
            headers: &headers,
        };
        Claim::of(&request, expected)
    }

    /// What the server does with it; `None` if it is not signed.
    fn check(&self) -> Option<Result<(), SignatureError>> {
        let claim = match self.claim(&expected()) {
            Ok(claim) => claim?,
            Err(error) => return Some(Err(error)),
        };
        // The id is not signed: it says whose secret must have been used.
        let secret = if claim.access_key_id() == ID { SECRET } else { "of another key" };
        Some(claim.verify(secret, &self.body).and_then(|()| claim.verify_body(&self.body)))
    }

    fn is_good(&self) -> bool {
        self.check() == Some(Ok(()))
    }

    fn meaning(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        raw_parameters(&self.query).map(|(name, value)| (decoded(name), decoded(value))).collect()
    }
}

fn in_headers(request: Request) -> Request {
    request.signed(SignatureLocation::Headers, PayloadChecksumKind::NoHeader)
}

fn in_query(request: Request) -> Request {
    request.signed(SignatureLocation::QueryParams, PayloadChecksumKind::NoHeader)
}

#[test]
fn twelve_thousand_requests_are_read_as_their_signer_wrote_them() {
    let mut random = Random(1);
    for number in 0..4_000 {
        let request = Request::random(&mut random);
        for signed in [
            in_headers(request.clone()),
            in_query(request.clone()),
            request.clone().signed(SignatureLocation::Headers, PayloadChecksumKind::XAmzSha256),
        ] {
            assert_eq!(signed.check(), Some(Ok(())), "request {number}: {signed:?}");
        }
        assert_eq!(request.check(), None);
    }
}

/// Any byte of what a signature covers, changed to others, has the request refused. A query that
/// says the same in other bytes, as `%2f` for `%2F` does, is no change.
#[test]
fn every_change_of_a_byte_is_refused() {
    let mut random = Random(2);
    let mut num_changes = 0;
    for number in 0..24 {
        let path = format!("/model/us.deepseek.r1-v1%3A{number}/converse");
        let request = Request::new("POST", &path, "a=%2Fx&b=y%20z", "{\"messages\":[]}")
            .header("content-type", "application/json; charset=utf-8");
        let checksum = [PayloadChecksumKind::NoHeader, PayloadChecksumKind::XAmzSha256];
        let signed = match number % 3 {
            0 => in_query(request),
            kind => request.signed(SignatureLocation::Headers, checksum[kind - 1]),
        };
        assert!(signed.is_good());
        let mut refuse = |changed: Request| {
            num_changes += 1;
            let same_meaning =
                changed.query != signed.query && changed.meaning() == signed.meaning();
            assert!(same_meaning || !changed.is_good(), "{signed:?}\n{changed:?}");
        };
        let mut others = |byte: u8| {
            [byte ^ 1, byte ^ 0x20, b'!' + random.below(94) as u8]
                .into_iter()
                .filter(move |other| *other != byte && other.is_ascii_graphic())
        };
        for part in 0..3 {
            let text = |request: &Request| match part {
                0 => request.method.clone(),
                1 => request.path.clone(),
                _ => request.query.clone(),
            };
            for (index, byte) in text(&signed).into_bytes().into_iter().enumerate() {
                for other in others(byte) {
                    let mut changed = signed.clone();
                    let mut bytes = text(&signed).into_bytes();
                    bytes[index] = other;
                    let bytes = String::from_utf8(bytes).unwrap();
                    *match part {
                        0 => &mut changed.method,
                        1 => &mut changed.path,
                        _ => &mut changed.query,
                    } = bytes;
                    refuse(changed);
                }
            }
        }
        for header in 0..signed.headers.len() {
            for index in 0..signed.headers[header].1.len() {
                for other in others(signed.headers[header].1[index]) {
                    let mut changed = signed.clone();
                    changed.headers[header].1[index] = other;
                    refuse(changed);
                }
            }
            let mut removed = signed.clone();
            removed.headers.remove(header);
            // In a presigned request the type is signed as well.
            refuse(removed);
        }
        for index in 0..=signed.body.len() {
            let mut changed = signed.clone();
            match changed.body.get_mut(index) {
                Some(byte) => *byte ^= 1,
                None => changed.body.push(b' '),
            }
            refuse(changed);
        }
    }
    assert!(num_changes > 15_000, "{num_changes}");
}

/// Made by `scripts/make-golden-sigv4`: what the SDK for Python and AWS's token generator sign.
#[derive(serde::Deserialize)]
struct Golden {
    now: String,
    requests: Vec<GoldenRequest>,
    short_term_key: String,
}

#[derive(serde::Deserialize)]
struct GoldenRequest {
    name: String,
    method: String,
    url: String,
    headers: std::collections::BTreeMap<String, String>,
    body: String,
}

fn golden() -> Golden {
    let json = include_str!("../../../tests/golden/sigv4/botocore.json");
    serde_json::from_str(json).unwrap()
}

#[test]
fn requests_of_botocore_are_good() {
    let golden = golden();
    assert_eq!(golden.now, NOW);
    assert_eq!(golden.requests.len(), 7);
    let authority = &golden.requests[6].headers["authorization"];
    assert!(authority.contains("SignedHeaders=:authority;content-type;host;x-amz-date,"));
    for request in golden.requests {
        let (_, rest) = request.url.split_once("://").unwrap();
        let (host, _) = rest.split_once('/').unwrap();
        let (path, query) = rest[host.len()..].split_once('?').unwrap_or((&rest[host.len()..], ""));
        let mut read = Request::new(&request.method, path, query, &request.body);
        read.headers = vec![("host".to_owned(), host.as_bytes().to_vec())];
        for (name, value) in &request.headers {
            read = read.header(name, value);
        }
        assert_eq!(read.check(), Some(Ok(())), "{} {}", request.name, request.url);
        read.path.push('x');
        assert_eq!(read.check(), Some(Err(SignatureError::Mismatch)));
    }
}

#[test]
fn short_term_keys_are_good_for_their_time_and_in_one_spelling() {
    let token = golden().short_term_key;
    let claim = |token: &str, now: &str| {
        let now = Timestamp::from_basic(now).unwrap();
        short_term_claim(token, &Expectations { now, region: Some("cn-north-1") })
    };
    let good = claim(&token, NOW).unwrap().unwrap();
    assert_eq!(good.access_key_id(), ID);
    assert_eq!(good.verify(SECRET, b""), Ok(()));
    assert_eq!(good.verify("another", b""), Err(SignatureError::Mismatch));
    assert!(claim(&token, "20261124T091240Z").is_ok());
    assert!(matches!(claim(&token, "20261124T091241Z"), Err(SignatureError::Expired { .. })));
    assert!(matches!(claim(&token, "20261123T210739Z"), Err(SignatureError::NotYetCurrent { .. })));
    assert!(claim("outcrop-key-x", NOW).unwrap().is_none());

    let encoded = token.strip_prefix(SHORT_TERM_PREFIX).unwrap();
    let url = String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap();
    let refused = |url: &str| {
        let token = format!("{SHORT_TERM_PREFIX}{}", STANDARD.encode(url));
        let claim = claim(&token, NOW);
        claim.and_then(|claim| claim.unwrap().verify(SECRET, b"")).is_err()
    };
    for (from, to) in [
        ("bedrock.amazonaws.com/", "bedrock.amazonaws.com.evil/"),
        ("Expires=43200", "Expires=43201"),
        ("Expires=43200", "Expires=43199"),
        ("&Version=1", "&Version=2"),
        ("&Version=1", ""),
        ("Action=CallWithBearerToken", "Action=Other"),
        ("Action=CallWithBearerToken&", ""),
        ("Action=CallWithBearerToken", "Action=CallWithBearerToken&Action=CallWithBearerToken"),
        ("SignedHeaders=host", "SignedHeaders=host%3Bx"),
    ] {
        assert!(url.contains(from), "{url}");
        assert!(refused(&url.replacen(from, to, 1)), "{from} -> {to}");
    }
    for index in 0..url.len() {
        let mut bytes = url.clone().into_bytes();
        bytes[index] ^= 1;
        // A digit of an escape in the other case says the same; this changes more.
        assert!(refused(&String::from_utf8(bytes).unwrap()), "byte {index}");
    }
    for broken in ["", "!", "YQ", &STANDARD.encode([0xff]), &encoded[..encoded.len() - 1]] {
        assert!(claim(&format!("{SHORT_TERM_PREFIX}{broken}"), NOW).is_err());
    }
    let long = STANDARD.encode("x".repeat(crate::limits::SHORT_TERM_KEY_BYTES_MAX));
    assert!(claim(&format!("{SHORT_TERM_PREFIX}{long}"), NOW).is_err());
}

#[test]
fn http2s_authority_is_the_host() {
    let mut signed = in_headers(Request::new("POST", "/model/toy/converse", "", "{}"));
    // A proxy that speaks HTTP/1.1 behind HTTP/2 changes one into the other.
    let by = |signed: &Request, authority: &str| {
        let headers: Vec<(&str, &[u8])> =
            signed.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let (method, path, query) = (&signed.method, &signed.path, &signed.query);
        let request = SignedRequest { method, path, query, authority, headers: &headers };
        Claim::of(&request, &expected()).unwrap().unwrap().verify(SECRET, &signed.body)
    };
    signed.headers.retain(|(name, _)| name != "host");
    assert_eq!(by(&signed, "bedrock.example:8080"), Ok(()));
    assert_eq!(by(&signed, "other.example:8080"), Err(SignatureError::Mismatch));
    let authorization = signed.headers.iter_mut().find(|(name, _)| name == "authorization");
    let value = &mut authorization.unwrap().1;
    *value = String::from_utf8(value.clone()).unwrap().replace("=host;", "=:authority;").into();
    // The names are signed too, so renaming breaks the signature and nothing else.
    assert_eq!(by(&signed, "bedrock.example:8080"), Err(SignatureError::Mismatch));
}

#[test]
fn time_and_scope_are_kept() {
    let signed = in_headers(Request::new("GET", "/foundation-models", "", ""));
    let presigned = in_query(Request::new("GET", "/foundation-models", "", ""));
    let at = |request: &Request, now: &str| {
        let expected = Expectations { now: Timestamp::from_basic(now).unwrap(), region: None };
        request.claim(&expected).map(|claim| claim.unwrap().verify(SECRET, b"").unwrap())
    };
    // Five minutes each way for a header, the stated fifteen for a presigned request.
    for (request, last) in [(&signed, "20261123T211740Z"), (&presigned, "20261123T212740Z")] {
        assert_eq!(at(request, "20261123T210740Z"), Ok(()));
        let error = at(request, "20261123T210739Z").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Signature not yet current: 20261123T211240Z is still later than 20261123T211239Z \
             (20261123T210739Z + 5 min.)"
        );
        assert_eq!(at(request, last), Ok(()));
        let after = Timestamp::from_basic(last).unwrap().plus(Duration::from_secs(1)).unwrap();
        let error = at(request, &after.to_basic()).unwrap_err();
        let now = after.to_basic();
        assert_eq!(error, SignatureError::Expired { until: last.to_owned(), now });
    }
    for request in [signed, presigned] {
        let region = |region| {
            let expected = Expectations { now: now(), region: Some(region) };
            request.claim(&expected).map(|claim| claim.is_some())
        };
        assert_eq!(region("cn-north-1"), Ok(true));
        assert_eq!(region("cn-northwest-1"), Err(SignatureError::WrongRegion));
    }
}

/// Changes a good request, and says how it must be refused.
type Case = (&'static str, &'static str, &'static str);

#[test]
fn what_is_written_badly_or_twice_is_refused() {
    const HEADERS: [Case; 16] = [
        ("AWS4-HMAC-SHA256 ", "AWS4-ECDSA-P256-SHA256 ", "algorithm"),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA256", "algorithm"),
        ("Credential=", "credential=", "requires 'Credential'"),
        ("Credential=OCAK", "Credential=", "does not match"),
        ("/aws4_request", "/aws4_requesT", "The Credential must be"),
        ("/aws4_request", "/aws4_request/", "The Credential must be"),
        ("/20261123/", "/20261124/", "Date in Credential scope"),
        ("/20261123/", "//", "The Credential must be"),
        ("/bedrock/", "/s3/", "correct service"),
        ("/bedrock/", "/bedrock-mantle/", "does not match"),
        ("=host;x-amz-date", "=x-amz-date", "'Host' must be"),
        ("=host;x-amz-date", "=host", "'x-amz-date' is in the request and must be"),
        ("=host;x-amz-date", "=x-amz-date;host", "sorted"),
        ("=host;x-amz-date", "=host;host;x-amz-date", "sorted"),
        ("=host;x-amz-date", "=host;x-absent;x-amz-date", "'x-absent' is not in the request"),
        ("Signature=", "Extra=1, Signature=", "'Extra' is not known"),
    ];
    let signed = in_headers(Request::new("POST", "/model/toy/converse", "", "{}"));
    let refuse = |request: &Request, named: &str| {
        let error = request.check().unwrap().unwrap_err().to_string();
        assert!(error.contains(named), "`{error}` does not name `{named}`");
    };
    let changed = |from: &str, to: &str| {
        let mut changed = signed.clone();
        let value = changed.headers.iter_mut().find(|(name, _)| name == "authorization");
        let value = &mut value.unwrap().1;
        let text = String::from_utf8(value.clone()).unwrap();
        assert!(text.contains(from), "{text}");
        *value = text.replace(from, to).into();
        changed
    };
    for (from, to, named) in HEADERS {
        refuse(&changed(from, to), named);
    }
    refuse(&changed("Signature=", "Credential=x, Signature="), "'Credential' comes twice");
    refuse(&changed("Signature=", "Signature=0"), "The signature is malformed");
    let again = |name: &str| {
        let (_, value) = signed.headers.iter().find(|(it, _)| it == name).unwrap().clone();
        signed.clone().header(name, str::from_utf8(&value).unwrap())
    };
    refuse(&again("authorization"), "more than one Authorization");
    refuse(&again("x-amz-date"), "'x-amz-date' comes twice");
    refuse(&signed.clone().header("x-amz-security-token", "t"), "AWS_SESSION_TOKEN");
    refuse(&signed.clone().header("x-amz-target", "t"), "'x-amz-target' is in the request");
    let digest = signed.clone().header("x-amz-content-sha256", "UNSIGNED-PAYLOAD");
    refuse(&digest, "'x-amz-content-sha256' is in the request and must be");
    let mut both = signed.clone();
    both.query = in_query(Request::new("POST", "/model/toy/converse", "", "{}")).query;
    refuse(&both, "Only one of");
    let mut without_date = signed.clone();
    without_date.headers.retain(|(name, _)| name != "x-amz-date");
    refuse(&without_date, "requires existence of 'X-Amz-Date'");
}

#[test]
fn presigned_queries_are_strict_as_well() {
    const QUERIES: [Case; 9] = [
        ("X-Amz-Expires=900", "X-Amz-Expires=604800", "does not match"),
        ("X-Amz-Expires=900", "X-Amz-Expires=604801", "from 1 to 604800"),
        ("X-Amz-Expires=900", "X-Amz-Expires=0", "from 1 to 604800"),
        ("X-Amz-Expires=900", "X-Amz-Expires=-1", "from 1 to 604800"),
        ("X-Amz-Expires=900", "X-Amz-Expires=%2B900", "from 1 to 604800"),
        ("X-Amz-Expires=900", "x=1", "requires 'X-Amz-Expires'"),
        ("X-Amz-Expires=900", "X-Amz-Expires=900&X-Amz-Expires=900", "comes twice"),
        ("X-Amz-Expires=900", "X-Amz-Expires=900&X-Amz-Security-Token=t", "AWS_SESSION_TOKEN"),
        ("X-Amz-Expires=900", "X-Amz-Expires=900&x-amz-date=1", "'x-amz-date' is not known"),
    ];
    let presigned = in_query(Request::new("POST", "/model/toy/converse", "", "{}"));
    for (from, to, named) in QUERIES {
        let mut changed = presigned.clone();
        assert!(changed.query.contains(from));
        changed.query = changed.query.replace(from, to);
        let error = changed.check().unwrap().unwrap_err().to_string();
        assert!(error.contains(named), "`{error}` does not name `{named}`");
    }
}

#[test]
fn a_stated_digest_is_the_bodys() {
    let request = Request::new("POST", "/model/toy/converse", "", "{}");
    let signed =
        request.clone().signed(SignatureLocation::Headers, PayloadChecksumKind::XAmzSha256);
    let claim = signed.claim(&expected()).unwrap().unwrap();
    assert!(matches!(claim.payload(), Payload::Stated(_)));
    assert_eq!(claim.verify(SECRET, b"not looked at"), Ok(()));
    assert_eq!(claim.verify_body(b"{} "), Err(SignatureError::BodyMismatch));
    let claim = in_headers(request).claim(&expected()).unwrap().unwrap();
    assert_eq!(claim.payload(), Payload::Digest);
    assert_eq!(claim.verify(SECRET, b"{} "), Err(SignatureError::Mismatch));
}
