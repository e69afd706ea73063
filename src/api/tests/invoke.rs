//! InvokeModel: the formats of bodies and answers, headers, streams.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::tests::client::{Answer, Event, events};
use crate::api::tests::{IMPORTED, TestServer};
use crate::pipeline::testing::saying;

const PROMPT: &str = "<｜begin▁of▁sentence｜><｜User｜>q<｜Assistant｜><think>\n";

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

fn body(fields: Value) -> String {
    let mut body = json!({ "prompt": PROMPT });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body.to_string()
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
async fn each_format_has_its_own_answer() {
    let server = server().await;
    let invoke = async |id: &str, fields: Value| {
        let answer = server.post(&format!("/model/{id}/invoke"), &body(fields)).await;
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        assert_eq!(answer.header("content-type"), "application/json");
        answer
    };
    let text = "Hm.</think>\n\nSix.";
    let answer = invoke("us.deepseek.r1-v1%3A0", json!({ "max_tokens": 100 })).await;
    let expected = json!({ "choices": [{ "text": text, "stop_reason": "stop" }] });
    assert_eq!(answer.json(), expected);
    assert_eq!(answer.header("x-amzn-bedrock-output-token-count"), "10");
    let input: usize = answer.header("x-amzn-bedrock-input-token-count").parse().unwrap();
    let cached = answer.header("x-amzn-bedrock-cache-read-input-token-count");
    assert_eq!((input, cached), (6, "0"));

    let answer = invoke("toy", json!({ "max_gen_len": 3 })).await.json();
    let expected = json!({
        "generation": "Hm.", "prompt_token_count": 6, "generation_token_count": 3,
        "stop_reason": "length",
    });
    assert_eq!(answer, expected);

    let mut answer = invoke(&imported(), json!({ "max_tokens": 100 })).await.json();
    assert!(answer["id"].take().as_str().unwrap().starts_with("cmpl-"));
    assert!(answer["created"].take().is_u64());
    let choice = json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": "stop" });
    let usage = json!({ "prompt_tokens": 6, "completion_tokens": 10, "total_tokens": 16 });
    let expected = json!({
        "id": null, "object": "text_completion", "created": null,
        "model": IMPORTED, "choices": [choice], "usage": usage,
    });
    assert_eq!(answer, expected);

    let answer = invoke(&imported(), json!({ "stop": ["Six"] })).await.json();
    assert_eq!(answer["generation"], "Hm.</think>\n\n");
    assert_eq!(
        answer["generation_token_count"],
        answer["generation_token_count"].as_u64().unwrap()
    );
    assert_eq!(answer["choices"][0]["text"], answer["generation"]);
    let reasons = (&answer["choices"][0]["stop_reason"], &answer["choices"][0]["finish_reason"]);
    assert_eq!(reasons, (&json!("stop"), &json!("stop")));
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
async fn a_stream_is_the_answer_in_chunks_with_metrics_on_the_last() {
    let server = server().await;
    for (id, fields, text) in [
        ("toy", json!({ "max_tokens": 100 }), "/choices/0/text"),
        ("toy", json!({ "max_gen_len": 100 }), "/generation"),
        (&imported(), json!({ "max_tokens": 100 }), "/choices/0/text"),
        (&imported(), json!({}), "/generation"),
        (&imported(), json!({}), "/choices/0/text"),
    ] {
        let path = format!("/model/{id}/invoke-with-response-stream");
        let stream = server.post(&path, &body(fields)).await;
        assert_eq!(stream.header("content-type"), "application/vnd.amazon.eventstream");
        assert_eq!(stream.header("x-amzn-bedrock-content-type"), "application/json");
        let chunks = chunks(&events(&stream.body));
        let pieces = chunks.iter().filter_map(|it| it.pointer(text)?.as_str());
        assert_eq!(pieces.collect::<String>(), "Hm.</think>\n\nSix.", "{chunks:?}");
        let (last, others) = chunks.split_last().unwrap();
        let metrics = &last["amazon-bedrock-invocationMetrics"];
        let input = metrics["inputTokenCount"].as_u64().unwrap();
        let cached = metrics["cacheReadInputTokenCount"].as_u64().unwrap();
        assert_eq!((input + cached, &metrics["outputTokenCount"]), (6, &json!(10)));
        assert!(metrics["invocationLatency"].is_u64() && metrics["firstByteLatency"].is_u64());
        let stop = text.replace("text", "stop_reason").replace("generation", "stop_reason");
        let is_imported = last.get("object").is_some();
        let stop = if is_imported { "/choices/0/finish_reason" } else { &stop };
        assert_eq!(last.pointer(stop), Some(&json!("stop")), "{last}");
        assert!(others.iter().all(|it| it.pointer(stop) == Some(&Value::Null)));
        assert!(others.iter().all(|it| it.get("amazon-bedrock-invocationMetrics").is_none()));
    }
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

#[tokio::test]
async fn the_tokens_of_a_body_are_counted_as_they_are_used() {
    let server = server().await;
    let body = STANDARD.encode(body(json!({ "max_tokens": 5 })));
    let input = json!({ "input": { "invokeModel": { "body": body } } });
    let counted = server.post("/model/deepseek.r1-v1%3A0/count-tokens", &input.to_string()).await;
    assert_eq!(counted.json(), json!({ "inputTokens": 6 }));
}
