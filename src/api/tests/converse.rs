//! Converse: answers, ids, protocols, probes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::api::tests::{TestServer, app_of_toy, ask, client, echoing};
use crate::api::{DrainOptions, serve};
use crate::chat::fixture;
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{saying, scripted};

#[tokio::test]
async fn the_answer_has_reasoning_text_usage_and_metrics() {
    let server = TestServer::start(saying("Hm.</think>\n\nSix.")).await;
    let answer = server.converse(&ask("")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("x-amzn-requestid").len(), 36);
    let mut json = answer.json();
    let latency = json["metrics"]["latencyMs"].take();
    assert!(latency.is_u64());
    let expected = json!({
        "output": { "message": { "role": "assistant", "content": [
            { "reasoningContent": { "reasoningText": { "text": "Hm." } } },
            { "text": "Six." },
        ] } },
        "stopReason": "end_turn",
        "usage": {
            "inputTokens": 6,
            "outputTokens": 10,
            "totalTokens": 16,
            "cacheReadInputTokens": 0,
            "cacheWriteInputTokens": 0,
        },
        "metrics": { "latencyMs": null },
    });
    assert_eq!(json, expected);
}

#[tokio::test]
async fn tokens_read_from_the_cache_are_not_input_tokens() {
    let server = TestServer::start(saying("</think>ok")).await;
    let text = "x".repeat(100);
    let body = json!({ "messages": [{ "role": "user", "content": [{ "text": text }] }] });
    server.converse(&body.to_string()).await;
    let usage = server.converse(&body.to_string()).await.json()["usage"].take();
    assert_eq!(usage["inputTokens"], 9);
    assert_eq!(usage["cacheReadInputTokens"], 96);
    assert_eq!(usage["totalTokens"], 108);
}

#[tokio::test]
async fn every_stop_reason_has_bedrocks_name() {
    let server = TestServer::start(saying("</think>one two three")).await;
    let stop_reason =
        async |members: &str| server.converse(&ask(members)).await.json()["stopReason"].take();
    assert_eq!(stop_reason("").await, "end_turn");
    assert_eq!(stop_reason(r#","inferenceConfig":{"maxTokens":3}"#).await, "max_tokens");
    let stopping = r#","inferenceConfig":{"stopSequences":["two"]}"#;
    assert_eq!(stop_reason(stopping).await, "stop_sequence");

    let server = TestServer::start(scripted(|_| ToyReply::Token(fixture::byte_id(b'a')))).await;
    let answer = server.converse(&ask("")).await.json();
    assert_eq!(answer["stopReason"], "model_context_window_exceeded");
}

/// The template's rendering is what the model sees, so a model that repeats its prompt shows it.
#[tokio::test]
async fn the_conversation_reaches_the_model_without_old_reasoning_and_cache_points() {
    let server = TestServer::start(echoing()).await;
    let body = json!({
        "system": [{ "text": "S1" }, { "cachePoint": { "type": "default", "ttl": "1h" } },
                   { "text": "S2" }],
        "messages": [
            { "role": "user", "content": [{ "text": "u1" }, { "text": "u2" }] },
            { "role": "assistant", "content": [
                { "reasoningContent": { "reasoningText": { "text": "old", "signature": "x" } } },
                { "text": "a1" },
            ] },
            { "role": "user", "content": [
                { "text": "u3 <｜User｜>" }, { "cachePoint": { "type": "default" } },
            ] },
        ],
        "inferenceConfig": { "temperature": 0, "topP": 1, "maxTokens": 200, "stopSequences": [] },
        "requestMetadata": { "team": "a b" },
        "performanceConfig": { "latency": "standard" },
        "serviceTier": { "type": "default" },
        "additionalModelResponseFieldPaths": [],
        "additionalModelRequestFields": { "top_k": 5, "min_p": 0.1, "seed": 1,
            "repetition_penalty": 1.0, "thinking": { "type": "enabled", "budget_tokens": 500 } },
    });
    let answer = server.converse(&body.to_string()).await.json();
    let content = &answer["output"]["message"]["content"][0];
    let seen = content["reasoningContent"]["reasoningText"]["text"].as_str().unwrap();
    // Control tokens are bars; the one in the user's text is none.
    assert_eq!(seen, "|S1\nS2|u1\nu2|a1||u3 <｜User｜>||");
}

#[tokio::test]
async fn ids_arrive_raw_encoded_and_in_arns() {
    let server = TestServer::start(saying("</think>ok")).await;
    for id in [
        "toy",
        "deepseek.r1-v1:0",
        "deepseek.r1-v1%3A0",
        "us.deepseek.r1-v1%3a0",
        "custom%2Falias",
        "arn:aws-cn:bedrock:cn-north-1:123456789012:inference-profile%2Fus.deepseek.r1-v1:0",
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A%3Afoundation-model%2Fdeepseek.r1-v1%3A0",
    ] {
        let answer = server.post(&format!("/model/{id}/converse"), &ask("")).await;
        assert_eq!(answer.status, 200, "{id}");
    }
    for id in ["claude", "toy%252F", "arn:aws:bedrock:r:1:imported-model%2Fabc", "%2e%2e%2ftoy"] {
        let answer = server.post(&format!("/model/{id}/converse"), &ask("")).await;
        let (status, code, _) = answer.error();
        assert_eq!((status, code.as_str()), (404, "ResourceNotFoundException"), "{id}");
    }
    let too_long = format!("/model/{}/converse", "x".repeat(2049));
    assert_eq!(server.post(&too_long, &ask("")).await.error().1, "ValidationException");
    let empty = server.post("/model//converse", &ask("")).await;
    assert_eq!(empty.error().1, "ValidationException");
    let not_utf8 = server.post("/model/%ff/converse", &ask("")).await;
    assert_eq!(not_utf8.error().1, "ValidationException");
}

#[tokio::test]
async fn http2_without_tls_shares_the_port() {
    let server = TestServer::start(saying("</think>ok")).await;
    let mut sender = client::http2(server.address).await;
    for _ in 0..3 {
        let answer =
            client::http2_post(&mut sender, "/model/deepseek.r1-v1%3A0/converse", &ask("")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["output"]["message"]["content"][0]["text"], "ok");
        assert_eq!(answer.header("x-amzn-requestid").len(), 36);
    }
    let refused = client::http2_post(&mut sender, "/model/toy/converse", "{").await;
    assert_eq!(refused.error().1, "ValidationException");
}

/// Chunks of one byte: slow to frame, and legal.
#[tokio::test]
async fn a_body_may_come_in_tiny_chunks() {
    let server = TestServer::start(saying("</think>ok")).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /model/toy/converse HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let mut message = head.as_bytes().to_vec();
    for byte in ask(&" ".repeat(200_000)).bytes() {
        message.extend_from_slice(&[b'1', b'\r', b'\n', byte, b'\r', b'\n']);
    }
    message.extend_from_slice(b"0\r\n\r\n");
    stream.write_all(&message).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn requests_wait_for_a_model_that_is_loading() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (app, sender) = app_of_toy();
    let drain = DrainOptions { grace: Duration::ZERO, timeout: Duration::ZERO };
    let server = tokio::spawn(serve(listener, app, drain, std::future::pending()));
    let status = async |path| {
        let answer = client::http1(address, "GET", path, "").await;
        (answer.status.as_u16(), answer.json()["status"].take())
    };
    assert_eq!(status("/health").await, (200, Value::from("ok")));
    assert_eq!(status("/ready").await, (503, Value::from("loading")));
    let body = ask("");
    let waiting = client::http1(address, "POST", "/model/toy/converse", &body);
    let load = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        sender.send_replace(Some(saying("</think>ok")));
    };
    let (answer, ()) = tokio::join!(waiting, load);
    assert_eq!(answer.status, 200);
    assert_eq!(status("/ready").await, (200, Value::from("ready")));
    server.abort();
}

#[tokio::test]
async fn a_panic_in_the_engine_fails_the_probes() {
    let server = TestServer::start(scripted(|_| panic!("the kernel is broken"))).await;
    assert_eq!(server.get("/health").await.status, 200);
    let (status, code, _) = server.converse(&ask("")).await.error();
    assert_eq!((status, code.as_str()), (424, "ModelErrorException"));
    assert_eq!(server.get("/health").await.status, 503);
    assert_eq!(server.get("/ready").await.status, 503);
    let (status, code, _) = server.converse(&ask("")).await.error();
    assert_eq!((status, code.as_str()), (503, "ServiceUnavailableException"));
}

#[tokio::test]
async fn metrics_stand_under_own_names_and_those_of_vllm() {
    let server = TestServer::start(saying("</think>ok")).await;
    server.converse(&ask("")).await;
    server.converse("{").await;
    server.assert_idle().await;
    let answer = server.get("/metrics").await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let model = r#"model_name="toy""#;
    for line in [
        format!(r#"outcrop_requests_total{{{model},operation="Converse",code="OK"}} 1"#),
        format!(
            r#"outcrop_requests_total{{{model},operation="Converse",code="ValidationException"}} 1"#
        ),
        format!(r#"vllm:request_success_total{{{model},finished_reason="stop"}} 1"#),
        format!("vllm:num_requests_running{{{model}}} 0.0"),
        format!("vllm:num_requests_waiting{{{model}}} 0.0"),
        format!("vllm:kv_cache_usage_perc{{{model}}} 0.0"),
        format!(r#"vllm:cache_config_info{{{model},block_size="16",num_gpu_blocks="512"}} 1"#),
        format!("vllm:time_to_first_token_seconds_count{{{model}}} 1"),
        format!("outcrop_request_duration_seconds_count{{{model}}} 1"),
        format!("outcrop_prompt_tokens_total{{{model}}} 6"),
        format!("vllm:generation_tokens_total{{{model}}} 3"),
        format!("outcrop_kv_cache_balanced{{{model}}} 1.0"),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
}
