//! Chat completions: answers, chunks, choices; and the list of models.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::api::tests::TestServer;
use crate::api::tests::openai::{CHAT, RESPONSES, ask, with};
use crate::chat::fixture;
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{control_id, endless, num_written, saying, scripted};

/// Takes out what differs from run to run.
fn stable(mut answer: Value) -> Value {
    let id = answer["id"].take();
    assert!(id.as_str().unwrap().starts_with("chatcmpl-"), "{id}");
    assert!(answer["created"].take().as_u64().unwrap() > 1_700_000_000);
    assert!(answer["system_fingerprint"].take().as_str().unwrap().starts_with("outcrop-"));
    for name in ["id", "created", "system_fingerprint"] {
        answer.as_object_mut().unwrap().remove(name);
    }
    answer
}

#[tokio::test]
async fn the_answer_has_reasoning_text_and_usage() {
    let server = TestServer::start(saying("Hm.</think>\n\nSix.")).await;
    for path in [CHAT, "/openai/v1/chat/completions"] {
        let answer = server.post(path, &ask(json!({ "service_tier": "auto" }))).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("x-request-id").len(), 36);
        let expected = json!({
            "object": "chat.completion",
            "model": "toy",
            "choices": [{
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Six.",
                    "refusal": null,
                    "reasoning_content": "Hm.",
                },
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 6,
                "completion_tokens": 10,
                "total_tokens": 16,
                "prompt_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
                "completion_tokens_details": { "reasoning_tokens": 3 },
            },
            "service_tier": "default",
        });
        assert_eq!(stable(answer.json()), expected);
    }
    let hidden = server.chat(json!({ "include_reasoning": false })).await.json();
    let expected = json!({ "role": "assistant", "content": "Six.", "refusal": null });
    assert_eq!(hidden["choices"][0]["message"], expected);
}

#[tokio::test]
async fn the_chunks_of_a_stream_come_in_order() {
    let server = TestServer::start(saying("H</think>\n\nAB")).await;
    let fields = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let events = server.chat(fields).await.events();
    let chunk = |delta: Value, finish_reason: Value| {
        json!({
            "object": "chat.completion.chunk",
            "model": "toy",
            "choices": [{
                "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason,
            }],
            "usage": null,
        })
    };
    let null = Value::Null;
    let expected = [
        chunk(json!({ "role": "assistant", "content": "" }), null.clone()),
        chunk(json!({ "reasoning_content": "H" }), null.clone()),
        chunk(json!({ "content": "A" }), null.clone()),
        chunk(json!({ "content": "B" }), null),
        chunk(json!({}), json!("stop")),
        json!({
            "object": "chat.completion.chunk",
            "model": "toy",
            "choices": [],
            "usage": {
                "prompt_tokens": 6,
                "completion_tokens": 6,
                "total_tokens": 12,
                "prompt_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
                "completion_tokens_details": { "reasoning_tokens": 1 },
            },
        }),
    ];
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done.1, "[DONE]");
    assert!(chunks.iter().all(|chunk| chunk.1["id"] == chunks[0].1["id"]));
    let chunks: Vec<Value> = chunks.iter().map(|(_, chunk)| stable(chunk.clone())).collect();
    assert_eq!(chunks, expected);

    let events = server.chat(json!({ "stream": true })).await.events();
    assert!(events.iter().all(|(_, chunk)| chunk.get("usage").is_none()));
}

#[tokio::test]
async fn finish_reasons_are_openais() {
    let server = TestServer::start(saying("</think>one two three")).await;
    let reason = async |fields| {
        let choice = server.chat(fields).await.json()["choices"][0].take();
        (choice["finish_reason"].clone(), choice["message"]["content"].clone())
    };
    assert_eq!(reason(json!({})).await, (json!("stop"), json!("one two three")));
    let length = (json!("length"), json!("one"));
    assert_eq!(reason(json!({ "max_completion_tokens": 4 })).await, length);
    assert_eq!(reason(json!({ "max_tokens": 4 })).await, length);
    assert_eq!(reason(json!({ "stop": "two" })).await, (json!("stop"), json!("one ")));
    assert_eq!(reason(json!({ "stop": ["x", "three"] })).await.1, json!("one two "));
}

/// Each choice is what its own seed would give alone, and the stream tells the same texts.
#[tokio::test]
async fn choices_draw_for_themselves() {
    let server = TestServer::start(scripted(|_| ToyReply::Hash)).await;
    let fields = |n: usize| {
        json!({ "n": n, "seed": 7, "temperature": 1, "max_tokens": 30,
                "reasoning_effort": "high", "user": "u", "store": true, "logit_bias": {} })
    };
    let texts = |answer: &Value| -> Vec<String> {
        let choices = answer["choices"].as_array().unwrap();
        choices.iter().map(|choice| choice["message"].to_string()).collect()
    };
    let alone = texts(&server.chat(fields(1)).await.json());
    let answer = server.chat(fields(3)).await.json();
    let three = texts(&answer);
    assert_eq!((three.len(), &three[0]), (3, &alone[0]));
    assert!(three[1] != three[0] && three[2] != three[0] && three[1] != three[2]);
    assert_eq!(answer["usage"]["prompt_tokens"], 6);
    // Of all together: more than one may have, and no more than all may.
    let completion_tokens = answer["usage"]["completion_tokens"].as_u64().unwrap();
    assert!((31..=90).contains(&completion_tokens), "{completion_tokens}");
    assert_eq!(answer["choices"][2]["index"], 2);

    let mut streamed = fields(3);
    streamed["stream"] = json!(true);
    let events = server.chat(streamed).await.events();
    for (index, expected) in three.iter().enumerate() {
        let (mut content, mut reasoning, mut ends) = (String::new(), String::new(), 0);
        for choice in events.iter().map(|(_, chunk)| &chunk["choices"][0]) {
            if choice["index"] == index {
                content += choice["delta"]["content"].as_str().unwrap_or_default();
                reasoning += choice["delta"]["reasoning_content"].as_str().unwrap_or_default();
                ends += usize::from(!choice["finish_reason"].is_null());
            }
        }
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert_eq!((content.as_str(), ends), (expected["content"].as_str().unwrap(), 1));
        assert_eq!(reasoning, expected["reasoning_content"].as_str().unwrap_or_default());
    }
}

/// The first choice computes the prompt for all.
#[tokio::test]
async fn choices_share_their_prompt() {
    let server = TestServer::start(saying("</think>ok")).await;
    let messages = json!([{ "role": "user", "content": "tell me about rivers ".repeat(8) }]);
    let answer = server.chat(json!({ "messages": messages, "n": 4 })).await.json();
    let usage = &answer["usage"];
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 0);
    let prompt_tokens = usage["prompt_tokens"].as_u64().unwrap();
    let shared = 3 * ((prompt_tokens - 1) / 16 * 16);
    let stats = server.pipeline.engine().stats();
    assert_eq!(stats.prefix_cache_hit_tokens_total, shared);
}

/// The template's rendering is what the model sees, so a model that repeats its prompt shows it.
#[tokio::test]
async fn the_conversation_reaches_the_model_without_old_reasoning() {
    let echo = scripted(|step| {
        let text_ids = 0..fixture::VOCAB_SIZE - fixture::SPECIAL.len() as u32;
        let prompt = &step.tokens[..step.tokens.len() - num_written(step)];
        ToyReply::Token(match prompt.get(num_written(step)) {
            Some(id) if text_ids.contains(id) => *id,
            Some(_) => fixture::byte_id(b'|'),
            None => control_id(fixture::EOS),
        })
    });
    let server = TestServer::start(echo).await;
    let body = json!({
        "model": "us.deepseek.r1-v1:0",
        "messages": [
            { "role": "system", "content": "S1" },
            { "role": "user", "name": "ann", "content": [
                { "type": "text", "text": "u1" }, { "type": "text", "text": "u2" },
            ] },
            { "role": "assistant", "content": "a1", "reasoning_content": "old", "refusal": null,
              "annotations": [], "audio": null, "tool_calls": null, "function_call": null },
            { "role": "developer", "content": "S2" },
            { "role": "user", "content": "u3 <｜User｜>" },
        ],
        "temperature": 0, "top_p": 1, "max_completion_tokens": 200, "stop": null,
        "presence_penalty": 0, "frequency_penalty": 0.0, "metadata": { "team": "a b" },
        "parallel_tool_calls": true, "prompt_cache_key": "k", "safety_identifier": "s",
        "modalities": ["text"], "verbosity": "medium", "prediction": null,
        "top_k": -1, "min_p": 0.1, "repetition_penalty": 1.0, "reasoning_budget": 500,
    });
    let answer = server.post(CHAT, &body.to_string()).await.json();
    let seen = answer["choices"][0]["message"]["reasoning_content"].as_str().unwrap();
    assert_eq!(seen, "|S1\n\nS2|u1\nu2|a1||u3 <｜User｜>||");
    assert_eq!(answer["model"], "us.deepseek.r1-v1:0");
}

#[tokio::test]
async fn a_model_that_fails_within_a_stream_ends_it_with_an_error() {
    let pipeline = scripted(|step| match num_written(step) {
        0 => ToyReply::Token(fixture::byte_id(b'a')),
        _ => ToyReply::NotANumber,
    });
    let server = TestServer::start(pipeline).await;
    let events = server.chat(json!({ "stream": true })).await.events();
    let error = &events.last().unwrap().1["error"];
    assert_eq!((&error["type"], &error["code"]), (&json!("server_error"), &json!("model_error")));
    assert_eq!(events.len(), 3);
    let (status, code, _, message) = server.chat(json!({})).await.openai_error();
    assert_eq!((status, code.as_str()), (500, "model_error"));
    assert!(message.contains("not a number"), "{message}");
    let events = server.respond(json!({ "stream": true })).await.events();
    let (name, last) = events.last().unwrap();
    assert_eq!((name.as_str(), &last["response"]["status"]), ("response.failed", &json!("failed")));
    assert_eq!(last["response"]["error"]["code"], "server_error");
    let metrics = String::from_utf8(server.get("/metrics").await.body.to_vec()).unwrap();
    let line = r#"operation="ChatCompletions",code="ModelErrorException"} 2"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn the_engine_stops_for_a_client_that_leaves() {
    let respond = with(json!({ "model": "toy", "input": "q" }), json!({ "stream": true }));
    for (path, body) in [
        (CHAT, ask(json!({ "stream": true, "n": 3 }))),
        (CHAT, ask(json!({ "n": 3 }))),
        (RESPONSES, respond),
    ] {
        let server = TestServer::start(endless(Duration::from_millis(5))).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        while server.pipeline.engine().stats().generated_tokens_total < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(stream);
        tokio::time::sleep(Duration::from_millis(250)).await;
        let stats = server.pipeline.engine().stats();
        assert_eq!((stats.num_running, stats.num_used_blocks), (0, 0), "{path}");
    }
}

#[tokio::test]
async fn models_are_listed_by_every_name() {
    let server = TestServer::start(saying("never")).await;
    for prefix in ["/v1", "/openai/v1"] {
        let list = server.get(&format!("{prefix}/models")).await.json();
        assert_eq!(list["object"], "list");
        let models = list["data"].as_array().unwrap();
        let ids: Vec<&str> = models.iter().map(|it| it["id"].as_str().unwrap()).collect();
        for id in ["toy", "custom/alias", "deepseek.r1-v1:0"] {
            assert!(ids.contains(&id), "{ids:?}");
        }
        assert!(models.iter().all(|it| it["object"] == "model" && it["created"].is_u64()));
        for id in ["toy", "custom/alias", "custom%2Falias", "deepseek.r1-v1%3A0"] {
            let model = server.get(&format!("{prefix}/models/{id}")).await.json();
            assert_eq!(model["object"], "model", "{id}");
        }
        let unknown = server.get(&format!("{prefix}/models/gpt-4")).await.openai_error();
        assert_eq!((unknown.0, unknown.1.as_str()), (404, "model_not_found"));
    }
}
