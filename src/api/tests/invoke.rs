//! InvokeModel: the formats of bodies and answers, headers, streams.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::tests::client::{Answer, Event, events};
use crate::api::tests::{IMPORTED, TestServer};
use crate::pipeline::testing::saying;

async fn server() -> TestServer {
    TestServer::start(saying(
        "Hm.</think>

Six.",
    ))
    .await
}

/// The id of an imported model, as it stands in a path.
fn imported() -> String {
    IMPORTED.replace('/', "%2F")
}

fn chat() -> Value {
    json!({ "messages": [{ "role": "user", "content": "q" }], "max_tokens": 100 })
}

async fn with_headers(server: &TestServer, path: &str, headers: &[(&str, &str)]) -> Answer {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    server.post_with(path, &lines, &chat().to_string()).await
}

/// The JSON within the chunks of a stream.
fn chunks(events: &[Event]) -> Vec<Value> {
    let chunk = |event: &Event| {
        assert_eq!(event.kind, "chunk");
        let bytes = STANDARD.decode(event.payload["bytes"].as_str().unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    events.iter().map(chunk).collect()
}

#[tokio::test]
async fn messages_are_a_chat_completion() {
    let server = server().await;
    let chat = chat();
    let path = format!("/model/{}/invoke", imported());
    let answer = server.post(&path, &chat.to_string()).await;
    let json = answer.json();
    assert_eq!(json["object"], "chat.completion");
    assert_eq!(json["model"], IMPORTED);
    let message = &json["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["reasoning_content"]),
        (&json!("Six."), &json!("Hm."))
    );
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer.header("x-amzn-bedrock-input-token-count"), "6");

    let path = format!("/model/{}/invoke-with-response-stream", imported());
    let stream = server.post(&path, &chat.to_string()).await;
    let chunks = chunks(&events(&stream.body));
    let delta = |key: &str| -> String {
        chunks.iter().filter_map(|it| it["choices"][0]["delta"][key].as_str()).collect()
    };
    assert_eq!((delta("reasoning_content"), delta("content")), ("Hm.".into(), "Six.".into()));
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"][0]["finish_reason"], "stop");
    assert_eq!(last["amazon-bedrock-invocationMetrics"]["outputTokenCount"], 10);
}

#[tokio::test]
async fn headers_say_what_a_body_cannot() {
    let server = server().await;
    let good = [
        ("content-type", "application/octet-stream"),
        ("accept", "*/*"),
        ("x-amzn-bedrock-trace", "ENABLED_FULL"),
        ("x-amzn-bedrock-performanceconfig-latency", "optimized"),
        ("x-amzn-bedrock-service-tier", "priority"),
        ("x-amzn-bedrock-request-metadata", r#"{"team":"a"}"#),
    ];
    for path in ["/model/toy/invoke", "/model/toy/invoke-with-response-stream"] {
        let answer = with_headers(&server, path, &good).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-amzn-bedrock-performanceconfig-latency"), "optimized");
        assert_eq!(answer.header("x-amzn-bedrock-service-tier"), "priority");
        for (name, value) in [
            ("x-amzn-bedrock-trace", "yes"),
            ("x-amzn-bedrock-performanceconfig-latency", "fast"),
            ("x-amzn-bedrock-service-tier", "fast"),
            ("x-amzn-bedrock-request-metadata", "team"),
            ("x-amzn-bedrock-guardrailversion", "1"),
        ] {
            let (status, code, _) = with_headers(&server, path, &[(name, value)]).await.error();
            assert_eq!((status, code.as_str()), (400, "ValidationException"), "{name}");
        }
        let guardrail = [
            ("x-amzn-bedrock-guardrailidentifier", "g1"),
            ("x-amzn-bedrock-guardrailversion", "DRAFT"),
        ];
        assert_eq!(with_headers(&server, path, &guardrail).await.error().0, 404);
    }
}
