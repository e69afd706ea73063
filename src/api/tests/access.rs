//! Who is let in, with what, and how much a key may do.

use std::num::{NonZeroU32, NonZeroU64};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use axum::http::{HeaderValue, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::api::router::router;
use crate::api::tests::client::{self, Answer};
use crate::api::tests::{TestServer, app_of_toy, ask};
use crate::api::{Access, AccessOptions};
use crate::keys::{
    Day, IssuedKey, KeyKind, KeyLimits, KeyStore, LimitChanges, NewKey, Timestamp, UsageStore,
};
use crate::pipeline::Pipeline;
use crate::pipeline::testing::{endless, saying};

/// A server that asks for keys, and the keys.
struct Secured {
    server: TestServer,
    store: KeyStore,
    access: IssuedKey,
    bearer: IssuedKey,
    _folder: TempDir,
}

fn new_store(folder: &TempDir) -> KeyStore {
    KeyStore::new(folder.path().join("keys.toml"), folder.path().join("keys.key"))
}

fn new_usage(folder: &TempDir) -> UsageStore {
    UsageStore::new(folder.path().join("usage.toml"))
}

fn create(store: &KeyStore, name: &str, kind: KeyKind, limits: KeyLimits) -> IssuedKey {
    let new = NewKey { name: name.to_owned(), kind, expires: None, limits };
    store.create(new, Timestamp::now()).unwrap()
}

impl Secured {
    async fn start(pipeline: Pipeline) -> Self {
        Self::start_with(pipeline, AccessOptions::default()).await
    }

    async fn start_with(pipeline: Pipeline, options: AccessOptions) -> Self {
        let folder = TempDir::new().unwrap();
        let store = new_store(&folder);
        let access = create(&store, "signer", KeyKind::Access, KeyLimits::default());
        let bearer = create(&store, "bearer", KeyKind::Bearer, KeyLimits::default());
        let entrance = Access::with_keys(store.clone(), new_usage(&folder), options).unwrap();
        let server = TestServer::start_app(pipeline, |app| app.with_access(entrance)).await;
        Self { server, store, access, bearer, _folder: folder }
    }

    fn signer(&self) -> Signer<'_> {
        Signer::new(&self.access)
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        client::http1_request(self.server.address, request).await
    }

    async fn with_bearer(&self, token: &str, path: &str, body: &str) -> Answer {
        self.server.post_with(path, &format!("authorization: Bearer {token}"), body).await
    }
}

/// Signs as AWS's SDKs do, with one thing or another amiss.
#[derive(Clone, Copy)]
struct Signer<'a> {
    id: &'a str,
    secret: &'a str,
    region: &'a str,
    time: SystemTime,
    location: SignatureLocation,
}

impl<'a> Signer<'a> {
    fn new(key: &'a IssuedKey) -> Self {
        Self {
            id: &key.key.id,
            secret: key.secret.reveal(),
            region: "cn-north-1",
            time: SystemTime::now(),
            location: SignatureLocation::Headers,
        }
    }

    fn ago(self, seconds: u64) -> Self {
        Self { time: SystemTime::now() - Duration::from_secs(seconds), ..self }
    }

    fn converse(self) -> Request<Full<Bytes>> {
        self.sign("POST", "/model/toy/converse", &ask(""))
    }

    fn sign(self, method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
        let identity = Credentials::new(self.id, self.secret, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.signature_location = self.location;
        if self.location == SignatureLocation::QueryParams {
            settings.expires_in = Some(Duration::from_secs(900));
        }
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name("bedrock")
            .time(self.time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let headers = [("host", "localhost")].into_iter();
        let uri = format!("http://localhost{path}");
        let signable =
            SignableRequest::new(method, uri, headers, SignableBody::Bytes(body.as_bytes()));
        let (signed, _) = sign(signable.unwrap(), &parameters).unwrap().into_parts();
        let value = |value: &str| utf8_percent_encode(value, NON_ALPHANUMERIC).to_string();
        let query: Vec<String> =
            signed.params().iter().map(|(name, it)| format!("{name}={}", value(it))).collect();
        let question = if query.is_empty() { "" } else { "?" };
        let mut request =
            client::request(method, &format!("{path}{question}{}", query.join("&")), body);
        for (name, value) in signed.headers() {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
        }
        request
    }

    /// As AWS's generator of short-term keys makes it.
    fn short_term_key(self) -> String {
        let identity = Credentials::new(self.id, self.secret, None, None, "test").into();
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(43_200));
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name("bedrock")
            .time(self.time)
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let uri = "https://bedrock.amazonaws.com/?Action=CallWithBearerToken";
        let signable =
            SignableRequest::new("POST", uri, std::iter::empty(), SignableBody::Bytes(b""));
        let (signed, _) = sign(signable.unwrap(), &parameters).unwrap().into_parts();
        let mut url = "bedrock.amazonaws.com/?Action=CallWithBearerToken".to_owned();
        for (name, value) in signed.params() {
            url.push_str(&format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        }
        format!("bedrock-api-key-{}", STANDARD.encode(url + "&Version=1"))
    }
}

/// Every path that the router knows, from the router itself.
fn routes() -> Vec<String> {
    let (app, _sender) = app_of_toy();
    let description = format!("{:?}", router(&app));
    let paths = description.split("RouteId(").skip(1).filter_map(|piece| piece.split('"').nth(1));
    let mut paths: Vec<String> = paths
        .filter(|path| path.starts_with('/') && !path.contains("__private"))
        .map(str::to_owned)
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

#[tokio::test]
async fn every_route_asks_for_a_key_but_the_probes() {
    let secured = Secured::start(saying("</think>ok")).await;
    let routes = routes();
    for known in ["/health", "/ready", "/metrics", "/model/{model_id}/converse", "/v1/models"] {
        assert!(routes.iter().any(|route| route == known), "{known}: {routes:?}");
    }
    let strange = ["/", "/nothing", "//health", "/health/", "/health%2f", "/v1", "/Health"];
    let strange = strange.map(str::to_owned);
    for route in routes.iter().chain(&strange) {
        let path = route
            .replace("{model_id}", "toy")
            .replace("{*model_id}", "toy")
            .replace("{identifier}", "default")
            .replace("{version}", "DRAFT");
        assert!(!path.contains('{'), "{path}");
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            let answer = client::http1(secured.server.address, method, &path, "{}").await;
            let status = answer.status.as_u16();
            if ["/health", "/ready"].contains(&route.as_str()) {
                assert_eq!(status, if method == "GET" { 200 } else { 404 }, "{method} {path}");
                continue;
            }
            if path.starts_with("/v1") || path.starts_with("/openai/v1") {
                assert_eq!(status, 401, "{method} {path}");
                assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
                continue;
            }
            let (status, code, message) = answer.error();
            assert_eq!((status, code.as_str()), (403, "MissingAuthenticationTokenException"));
            assert_eq!(message, "Missing Authentication Token");
        }
    }
    assert_eq!(secured.server.pipeline.engine().stats().steps_total, 0);

    let open = AccessOptions { metrics_open: true, ..AccessOptions::default() };
    let secured = Secured::start_with(saying("</think>ok"), open).await;
    let metrics = secured.server.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    secured.server.converse(&ask("")).await;
    let metrics = String::from_utf8(secured.server.get("/metrics").await.body.to_vec()).unwrap();
    let line = "outcrop_refused_credentials_total{code=\"MissingAuthenticationTokenException\"} 1";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn each_kind_of_key_lets_its_owner_in() {
    let secured = Secured::start(saying("</think>ok")).await;
    let signer = secured.signer();
    assert_eq!(secured.send(signer.converse()).await.status, 200);
    let presigned = Signer { location: SignatureLocation::QueryParams, ..signer };
    assert_eq!(secured.send(presigned.converse()).await.status, 200);
    assert_eq!(secured.send(signer.sign("GET", "/metrics", "")).await.status, 200);
    let escaped = signer.sign("POST", "/model/custom%2Falias/converse", &ask(""));
    assert_eq!(secured.send(escaped).await.status, 200);
    for token in [secured.bearer.secret.reveal(), &signer.short_term_key()] {
        for path in ["/model/toy/converse", "/model/toy/converse-stream"] {
            let answer = secured.with_bearer(token, path, &ask("")).await;
            assert_eq!(answer.status, 200, "{path}");
        }
        let header = format!("authorization: bearer {token}");
        let chat = r#"{"model":"toy","messages":[{"role":"user","content":"q"}]}"#;
        let answer = secured.server.post_with("/v1/chat/completions", &header, chat).await;
        assert_eq!(answer.status, 200);
    }
    // Cleartext HTTP/2, where the host is in `:authority`.
    let mut request = signer.converse();
    *request.uri_mut() = "http://localhost/model/toy/converse".parse().unwrap();
    request.headers_mut().remove("host");
    let mut sender = client::http2(secured.server.address).await;
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_signature_is_told_in_awss_words() {
    let one_region = AccessOptions { region: Some("cn-north-1".to_owned()), metrics_open: false };
    let secured = Secured::start_with(saying("never"), one_region).await;
    let good = secured.signer();
    let future = SystemTime::now() + Duration::from_secs(400);
    let unknown = Signer { id: "OCAKUNKNOWN", ..good };
    let cases = [
        ("another secret", Signer { secret: "x", ..good }, "InvalidSignatureException"),
        ("no such key", unknown, "UnrecognizedClientException"),
        (
            "a bearer key's id",
            Signer { id: &secured.bearer.key.id, ..good },
            "UnrecognizedClientException",
        ),
        ("replayed", good.ago(302), "InvalidSignatureException"),
        ("of the future", Signer { time: future, ..good }, "InvalidSignatureException"),
        ("other region", Signer { region: "us-east-1", ..good }, "InvalidSignatureException"),
    ];
    for (what, signer, code) in cases {
        let (status, found, _) = secured.send(signer.converse()).await.error();
        assert_eq!((status, found.as_str()), (403, code), "{what}");
    }
    let send = async |change: fn(&mut Request<Full<Bytes>>)| {
        let mut request = good.converse();
        change(&mut request);
        let (status, code, message) = secured.send(request).await.error();
        assert!(!message.contains("OCAK"), "{message}");
        (status, code)
    };
    let mismatch = (403, "InvalidSignatureException".to_owned());
    let incomplete = (400, "IncompleteSignatureException".to_owned());
    let of_body = send(|request| *request.body_mut() = ask(" ").into_bytes().into()).await;
    assert_eq!(of_body, mismatch);
    let of_path =
        send(|request| *request.uri_mut() = "/model/toy/converse-stream".parse().unwrap());
    assert_eq!(of_path.await, mismatch);
    let twice = send(|request| {
        let value = request.headers()["authorization"].clone();
        request.headers_mut().append("authorization", value);
    });
    assert_eq!(twice.await, incomplete);
    let hosts = send(|request| {
        request.headers_mut().append("host", "b".parse().unwrap());
    });
    assert_eq!(hosts.await, incomplete);
    let token = send(|request| {
        request.headers_mut().insert("x-amz-security-token", "t".parse().unwrap());
    });
    assert_eq!(token.await, (403, "UnrecognizedClientException".to_owned()));
    let basic = send(|request| {
        request.headers_mut().insert("authorization", "Basic eDp5".parse().unwrap());
    });
    assert_eq!(basic.await, (403, "MissingAuthenticationTokenException".to_owned()));
    assert_eq!(secured.server.pipeline.engine().stats().steps_total, 0);
}

#[tokio::test]
async fn bearer_keys_are_whole_current_and_not_revoked() {
    let secured = Secured::start(saying("</think>ok")).await;
    let denied = (403, "AccessDeniedException".to_owned());
    let error = async |token: &str| {
        let answer = secured.with_bearer(token, "/model/toy/converse", &ask("")).await;
        let (status, code, _) = answer.error();
        (status, code)
    };
    let token = secured.bearer.secret.reveal();
    for wrong in ["", "x", &token[1..], &token[..token.len() - 1], &format!("{token}x")] {
        assert_eq!(error(wrong).await, denied, "{wrong}");
    }
    assert_eq!(error(&token.to_ascii_uppercase()).await, denied);
    assert_eq!(error(&secured.access.key.id).await, denied);
    assert_eq!(error(secured.access.secret.reveal()).await, denied);
    let expired = (403, "ExpiredTokenException".to_owned());
    let signer = secured.signer();
    assert_eq!(error(&signer.ago(43_201).short_term_key()).await, expired);
    let future = Signer { time: SystemTime::now() + Duration::from_secs(400), ..signer };
    assert_eq!(error(&future.short_term_key()).await, denied);
    assert_eq!(error(&Signer { secret: "x", ..signer }.short_term_key()).await, denied);
    assert_eq!(error(&Signer { id: "OCAKX", ..signer }.short_term_key()).await, denied);
    assert_eq!(error("bedrock-api-key-").await, denied);
}

/// Polls until it holds: the file of keys is looked at once a second.
async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let started_at = Instant::now();
    while !holds().await {
        assert!(started_at.elapsed() < Duration::from_secs(10), "it never held");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_running_server_follows_the_file_of_keys() {
    let folder = TempDir::new().unwrap();
    let store = new_store(&folder);
    let entrance =
        Access::with_keys(store.clone(), new_usage(&folder), AccessOptions::default()).unwrap();
    assert!(!entrance.is_required());
    let pipeline = saying("</think>ok");
    let server = TestServer::start_app(pipeline, |app| app.with_access(entrance)).await;
    let status = async |token: &str| {
        let header = format!("authorization: Bearer {token}");
        server.post_with("/model/toy/converse", &header, &ask("")).await.status.as_u16()
    };
    assert_eq!(server.converse(&ask("")).await.status, 200);
    let expires = Timestamp::now().plus(Duration::from_secs(4));
    let (name, kind, limits) = ("first".to_owned(), KeyKind::Bearer, KeyLimits::default());
    let new = NewKey { name, kind, expires, limits };
    let first = store.create(new, Timestamp::now()).unwrap();
    let second = create(&store, "second", KeyKind::Bearer, KeyLimits::default());
    eventually(async || server.converse(&ask("")).await.status == 403).await;
    assert_eq!(status(first.secret.reveal()).await, 200);
    assert_eq!(status(second.secret.reveal()).await, 200);
    store.revoke("second", Timestamp::now()).unwrap();
    eventually(async || status(second.secret.reveal()).await == 403).await;
    // It runs out by itself.
    eventually(async || status(first.secret.reveal()).await == 403).await;

    // A file that is broken or gone opens nothing and ends nothing.
    let third = create(&store, "third", KeyKind::Bearer, KeyLimits::default());
    eventually(async || status(third.secret.reveal()).await == 200).await;
    std::fs::write(store.path(), "version = 1\nbroken").unwrap();
    sleep(Duration::from_millis(1_500)).await;
    assert_eq!(status(third.secret.reveal()).await, 200);
    std::fs::remove_file(store.path()).unwrap();
    eventually(async || status(third.secret.reveal()).await == 403).await;
    assert_eq!(server.converse(&ask("")).await.status, 403);
}

#[tokio::test]
async fn keys_are_held_to_their_limits() {
    let secured = Secured::start(saying("</think>ok")).await;
    let limits = |requests: u32, tokens: u32| KeyLimits {
        requests_per_minute: NonZeroU32::new(requests),
        tokens_per_minute: NonZeroU32::new(tokens),
        ..KeyLimits::default()
    };
    let few_requests = create(&secured.store, "a", KeyKind::Bearer, limits(2, 0));
    let few_tokens = create(&secured.store, "b", KeyKind::Bearer, limits(0, 5));
    let path = "/model/toy/converse";
    let answer =
        async |key: &IssuedKey| secured.with_bearer(key.secret.reveal(), path, &ask("")).await;
    eventually(async || answer(&few_requests).await.status == 200).await;
    answer(&few_requests).await;
    let refused = answer(&few_requests).await;
    let (status, code, message) = refused.error();
    assert_eq!((status, code.as_str()), (429, "ThrottlingException"));
    assert!(message.contains("2 requests a minute"), "{message}");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((20..=30).contains(&wait), "{wait}");
    // OpenAI's clients are told the same.
    let token = few_requests.secret.reveal();
    let chat = r#"{"model":"toy","messages":[{"role":"user","content":"q"}]}"#;
    let refused = secured.with_bearer(token, "/v1/chat/completions", chat).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after").len()), (429, 2));
    assert_eq!(refused.json()["error"]["code"], "rate_limit_exceeded");

    // One request takes more than there is for a minute, which is seen afterwards.
    eventually(async || answer(&few_tokens).await.status == 200).await;
    let (status, _, message) = answer(&few_tokens).await.error();
    assert_eq!(status, 429);
    assert!(message.contains("5 tokens a minute"), "{message}");
    // Others are not concerned.
    assert_eq!(answer(&secured.bearer).await.status, 200);
}

#[tokio::test]
async fn a_days_tokens_that_are_used_up_stay_so_over_a_restart() {
    let folder = TempDir::new().unwrap();
    let (store, usage) = (new_store(&folder), new_usage(&folder));
    let tokens_per_day = NonZeroU64::new(3);
    let key =
        create(&store, "a", KeyKind::Bearer, KeyLimits { tokens_per_day, ..KeyLimits::default() });
    let bearer = format!("authorization: Bearer {}", key.secret.reveal());
    let start = async || {
        let entrance = Access::with_keys(store.clone(), usage.clone(), AccessOptions::default());
        let entrance = entrance.unwrap();
        TestServer::start_app(saying("</think>ok"), |app| app.with_access(entrance)).await
    };
    let mut first = start().await;
    let answer = first.post_with("/model/toy/converse", &bearer, &ask("")).await;
    assert_eq!(answer.status, 200);
    let used = answer.json()["usage"]["totalTokens"].as_u64().unwrap();
    assert!(used >= 3);
    first.stop();
    first.task.await.unwrap();
    assert_eq!(usage.read(Day::today()).unwrap().of(&key.key.id), used);

    let second = start().await;
    let chat = r#"{"model":"toy","messages":[{"role":"user","content":"q"}]}"#;
    let converse = ask("");
    for (path, body, status, code) in [
        ("/model/toy/converse", converse.as_str(), 429, "ThrottlingException"),
        ("/model/toy/converse-stream", &converse, 429, "ThrottlingException"),
        ("/guardrail-checks/invoke", "{}", 429, "ThrottlingException"),
        ("/model/toy/invoke", "{}", 400, "ServiceQuotaExceededException"),
        ("/model/toy/invoke-with-response-stream", "{}", 400, "ServiceQuotaExceededException"),
        ("/guardrail/g/version/1/apply", "{}", 400, "ServiceQuotaExceededException"),
        ("/v1/chat/completions", chat, 429, ""),
    ] {
        let refused = second.post_with(path, &bearer, body).await;
        assert_eq!(refused.status.as_u16(), status, "{path}");
        let text = String::from_utf8_lossy(&refused.body);
        assert!(text.contains("used up its 3 tokens of this day"), "{text}");
        assert!(refused.headers.get("retry-after").is_none(), "{path}");
        if code.is_empty() {
            assert_eq!(refused.json()["error"]["code"], "insufficient_quota");
            assert_eq!(refused.header("x-should-retry"), "false");
        } else {
            assert_eq!(refused.error().1, code, "{path}");
        }
    }
    // To look around takes no tokens.
    let counted = format!(r#"{{"input":{{"converse":{converse}}}}}"#);
    let answer = second.post_with("/model/toy/count-tokens", &bearer, &counted).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_key_has_so_many_requests_at_a_time_and_pays_for_those_it_leaves() {
    let secured = Secured::start(endless(Duration::from_millis(5))).await;
    let limits = KeyLimits {
        max_concurrent: NonZeroU32::new(1),
        tokens_per_minute: NonZeroU32::new(1),
        ..KeyLimits::default()
    };
    let key = create(&secured.store, "one", KeyKind::Bearer, limits);
    let path = "/model/toy/converse-stream";
    let send = async || {
        let mut request = client::request("POST", path, &ask(""));
        let value = format!("Bearer {}", key.secret.reveal()).parse().unwrap();
        request.headers_mut().insert("authorization", value);
        let mut sender = client::http2(secured.server.address).await;
        *request.uri_mut() = format!("http://localhost{path}").parse().unwrap();
        sender.send_request(request).await.unwrap()
    };
    let mut first = send().await;
    while first.status() == 403 {
        sleep(Duration::from_millis(50)).await;
        first = send().await;
    }
    assert_eq!(first.status(), 200);
    let second = secured.with_bearer(key.secret.reveal(), path, &ask("")).await;
    let (status, code, message) = second.error();
    assert_eq!((status, code.as_str()), (429, "ThrottlingException"));
    assert!(message.contains("1 requests at a time"), "{message}");
    assert_eq!(second.header("retry-after"), "1");
    drop(first);
    secured.server.assert_idle().await;
    eventually(async || {
        let answer = secured.with_bearer(key.secret.reveal(), path, &ask("")).await;
        answer.error().2.contains("1 tokens a minute")
    })
    .await;
}

#[tokio::test]
async fn a_key_may_be_for_some_models_only() {
    let secured = Secured::start(saying("</think>ok")).await;
    let models = |names: &[&str]| KeyLimits {
        models: names.iter().map(|name| (*name).to_owned()).collect(),
        ..KeyLimits::default()
    };
    let ours = create(&secured.store, "ours", KeyKind::Bearer, models(&["toy"]));
    let other = create(&secured.store, "other", KeyKind::Bearer, models(&["other"]));
    let ask_for = async |key: &IssuedKey, path: &str| {
        secured.with_bearer(key.secret.reveal(), path, &ask("")).await
    };
    let path = "/model/toy/converse";
    eventually(async || ask_for(&ours, path).await.status == 200).await;
    // By whatever name it is asked for.
    assert_eq!(ask_for(&ours, "/model/custom%2Falias/converse").await.status, 200);
    for path in [
        path,
        "/model/custom%2Falias/converse",
        "/model/toy/converse-stream",
        "/model/toy/invoke",
        "/model/toy/invoke-with-response-stream",
        "/model/toy/count-tokens",
    ] {
        let (status, code, message) = ask_for(&other, path).await.error();
        assert_eq!((status, code.as_str()), (403, "AccessDeniedException"));
        assert_eq!(message, "You don't have access to the model with the specified model ID.");
    }
    let token = other.secret.reveal();
    let chat = r#"{"model":"toy","messages":[{"role":"user","content":"q"}]}"#;
    let denied = secured.with_bearer(token, "/v1/chat/completions", chat).await;
    assert_eq!(denied.status, 403);
    let list = async |key: &IssuedKey| {
        let mut request = client::request("GET", "/v1/models", "");
        let bearer = format!("Bearer {}", key.secret.reveal()).parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        secured.send(request).await.json()["data"].as_array().unwrap().len()
    };
    assert_eq!(list(&other).await, 0);
    assert!(list(&ours).await > 1);
    let changes = LimitChanges { models: Some(Vec::new()), ..LimitChanges::default() };
    secured.store.limit("other", changes).unwrap();
    eventually(async || ask_for(&other, path).await.status == 200).await;
}

/// Tries keys in every way, and says what must not be found in any log.
pub(super) async fn show_secrets() -> Vec<String> {
    let secured = Secured::start(saying("</think>ok")).await;
    let signer = secured.signer();
    let short_term = signer.short_term_key();
    let signed = signer.converse();
    let signature = signed.headers()["authorization"].to_str().unwrap().to_owned();
    let (_, signature) = signature.split_once("Signature=").unwrap();
    let signature = signature.to_owned();
    secured.send(signed).await;
    let path = "/model/toy/converse";
    let bearer = secured.bearer.secret.reveal();
    for token in [bearer, &short_term, "outcrop-key-wrong-canary", "bedrock-api-key-canary"] {
        secured.with_bearer(token, path, &ask("")).await;
    }
    std::fs::write(secured.store.path(), format!("secret = \"{bearer}")).unwrap();
    sleep(Duration::from_millis(1_500)).await;
    let secrets = [bearer, &short_term, &signature, secured.access.secret.reveal()];
    secrets.map(str::to_owned).to_vec()
}
