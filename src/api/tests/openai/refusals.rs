//! Everything that is refused: by its name, in OpenAI's shape.

use serde_json::{Value, json};

use crate::api::tests::TestServer;
use crate::api::tests::openai::{CHAT, ask, with};
use crate::engine::{EngineConfig, Speculation};
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{saying, scripted_with};

/// Fields of a chat completion that must be refused with status 400: code and field of the error.
fn refused_messages() -> Vec<(Value, &'static str, &'static str)> {
    let message = |message: Value| json!({ "messages": [message] });
    let (invalid, unsupported) = ("invalid_value", "unsupported_parameter");
    let calls = json!({ "role": "assistant", "tool_calls": [
        { "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{}" } },
    ] });
    let answers = |id: &str| json!({ "role": "tool", "tool_call_id": id, "content": "r" });
    vec![
        (json!({ "poem": 1 }), "unknown_parameter", "poem"),
        (json!({ "messages": null }), invalid, "messages"),
        (json!({ "messages": [] }), invalid, "messages: length"),
        (message(json!({ "content": "q" })), "missing_required_parameter", "messages[0].role"),
        (message(json!({ "role": "user" })), "missing_required_parameter", "messages[0].content"),
        (message(json!({ "role": "bard", "content": "q" })), invalid, "messages[0].role"),
        (message(json!({ "role": "user", "content": 5 })), invalid, "messages[0].content"),
        (
            message(
                json!({ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }),
            ),
            unsupported,
            "messages[0].content[0].type",
        ),
        (
            message(json!({ "role": "user", "content": "q", "mood": 1 })),
            "unknown_parameter",
            "messages[0].mood",
        ),
        (json!({ "messages": [calls] }), invalid, "messages"),
        (json!({ "messages": [calls, answers("c2")] }), invalid, "messages[1].tool_call_id"),
        (json!({ "messages": [answers("c1")] }), invalid, "messages[0].tool_call_id"),
        (
            json!({ "messages": [calls, { "role": "user", "content": "q" }] }),
            invalid,
            "messages[1]",
        ),
    ]
}

/// The same for the other fields.
fn refused_fields() -> Vec<(Value, &'static str, &'static str)> {
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name } });
    let (invalid, unsupported) = ("invalid_value", "unsupported_parameter");
    vec![
        (json!({ "temperature": 2.1 }), invalid, "temperature"),
        (json!({ "temperature": "hot" }), invalid, "temperature"),
        (json!({ "top_p": -0.1 }), invalid, "top_p"),
        (json!({ "top_k": -2 }), invalid, "top_k"),
        (json!({ "max_tokens": 0 }), invalid, "max_tokens"),
        (json!({ "max_tokens": 4, "max_completion_tokens": 5 }), invalid, "max_tokens"),
        (json!({ "max_completion_tokens": 2048 }), "context_length_exceeded", "messages"),
        (json!({ "n": 0 }), invalid, "n"),
        (json!({ "n": 9 }), invalid, "n"),
        (json!({ "presence_penalty": 0.5 }), unsupported, "presence_penalty"),
        (json!({ "frequency_penalty": -1 }), unsupported, "frequency_penalty"),
        (json!({ "logit_bias": { "50256": -100 } }), unsupported, "logit_bias"),
        (json!({ "top_logprobs": 3 }), invalid, "top_logprobs"),
        (json!({ "logprobs": true, "top_logprobs": 21 }), invalid, "top_logprobs"),
        (json!({ "stop": [""] }), invalid, "stop"),
        (json!({ "stop": 5 }), invalid, "stop"),
        (json!({ "stream_options": {} }), invalid, "stream_options"),
        (json!({ "response_format": { "type": "xml" } }), invalid, "response_format.type"),
        (
            json!({ "response_format": { "type": "json_schema" } }),
            "missing_required_parameter",
            "response_format.json_schema",
        ),
        (
            json!({ "response_format": { "type": "json_object" },
                    "structured_outputs": { "regex": "a" } }),
            invalid,
            "structured_outputs",
        ),
        (json!({ "tools": [tool("a b")] }), invalid, "tools[0].function.name"),
        (json!({ "tools": [tool("a"), tool("a")] }), invalid, "tools[1]"),
        (json!({ "tools": [{ "type": "custom", "custom": {} }] }), unsupported, "tools[0].type"),
        (json!({ "tool_choice": "required" }), invalid, "tool_choice"),
        (json!({ "tools": [tool("a")], "tool_choice": tool("b") }), invalid, "tool_choice"),
        (json!({ "reasoning_effort": "huge" }), invalid, "reasoning_effort"),
        (json!({ "reasoning_effort": "low", "reasoning_budget": 5 }), invalid, "reasoning_budget"),
        (json!({ "service_tier": "gold" }), invalid, "service_tier"),
        (json!({ "verbosity": "low" }), unsupported, "verbosity"),
        (json!({ "modalities": ["text", "audio"] }), unsupported, "modalities"),
        (json!({ "audio": {} }), unsupported, "audio"),
        (json!({ "functions": [] }), unsupported, "functions"),
        (json!({ "function_call": "auto" }), unsupported, "function_call"),
        (json!({ "web_search_options": {} }), unsupported, "web_search_options"),
        (json!({ "moderation": {} }), unsupported, "moderation"),
        (
            json!({ "amazon-bedrock-guardrailConfig": { "tagSuffix": "x" } }),
            unsupported,
            "amazon-bedrock-guardrailConfig",
        ),
        (json!({ "metadata": { "": "v" } }), invalid, "metadata: length of a key"),
        (json!({ "metadata": { "k": 5 } }), invalid, "metadata.k"),
    ]
}

#[tokio::test]
async fn chat_completions_name_what_they_refuse() {
    let server = TestServer::start(saying("</think>ok")).await;
    for (fields, code, param) in refused_messages().into_iter().chain(refused_fields()) {
        let answer = server.chat(fields.clone()).await;
        let (status, found_code, found_param, message) = answer.openai_error();
        assert_eq!(
            (status, found_code.as_str(), found_param.as_str()),
            (400, code, param),
            "{fields}: {message}"
        );
    }
    for body in ["", "{", "[]", "{} {}", "\"text\"", "{\"model\":\"toy\"}"] {
        let answer = server.post(CHAT, body).await;
        assert_eq!(answer.openai_error().0, 400, "{body}");
    }
    assert_eq!(server.pipeline.engine().stats().steps_total, 0);
}

#[tokio::test]
async fn completions_name_what_they_refuse() {
    let server = TestServer::start(saying("never")).await;
    let (invalid, unsupported) = ("invalid_value", "unsupported_parameter");
    for (fields, code, param) in [
        (json!({ "prompt": null }), invalid, "prompt"),
        (json!({ "prompt": [] }), invalid, "prompt: number of prompts"),
        (json!({ "prompt": vec!["p"; 17] }), invalid, "prompt: number of prompts"),
        (json!({ "prompt": [1, 2] }), invalid, "prompt[0]"),
        (json!({ "suffix": "s" }), unsupported, "suffix"),
        (json!({ "n": 2, "best_of": 3 }), unsupported, "best_of"),
        (json!({ "echo": true, "logprobs": 1 }), unsupported, "echo"),
        (json!({ "logprobs": 21 }), invalid, "logprobs"),
        (json!({ "messages": [] }), "unknown_parameter", "messages"),
        (json!({ "stream_options": { "include_usage": true } }), invalid, "stream_options"),
    ] {
        let body = with(json!({ "model": "toy", "prompt": "p" }), fields.clone());
        let answer = server.post("/v1/completions", &body).await;
        let (status, found_code, found_param, message) = answer.openai_error();
        assert_eq!(
            (status, found_code.as_str(), found_param.as_str()),
            (400, code, param),
            "{fields}: {message}"
        );
    }
}

#[tokio::test]
async fn responses_name_what_they_refuse() {
    let server = TestServer::start(saying("</think>ok")).await;
    let (invalid, unsupported) = ("invalid_value", "unsupported_parameter");
    let missing = "missing_required_parameter";
    let item = |item: Value| json!({ "input": [item] });
    let call = json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" });
    for (fields, code, param) in [
        (json!({ "poem": 1 }), "unknown_parameter", "poem"),
        (json!({ "input": null }), missing, "input"),
        (json!({ "input": [] }), invalid, "input: length"),
        (json!({ "previous_response_id": "resp_1" }), unsupported, "previous_response_id"),
        (json!({ "conversation": "conv_1" }), unsupported, "conversation"),
        (json!({ "prompt": { "id": "p" } }), unsupported, "prompt"),
        (json!({ "background": true }), unsupported, "background"),
        (json!({ "truncation": "auto" }), unsupported, "truncation"),
        (json!({ "include": ["everything"] }), invalid, "include"),
        (json!({ "max_output_tokens": 0 }), invalid, "max_output_tokens"),
        (json!({ "reasoning": { "effort": "huge" } }), invalid, "reasoning.effort"),
        (json!({ "reasoning": { "mode": "pro" } }), unsupported, "reasoning.mode"),
        (json!({ "text": { "format": { "type": "json_schema" } } }), missing, "text.format.name"),
        (json!({ "text": { "verbosity": "high" } }), unsupported, "text.verbosity"),
        (json!({ "tools": [{ "type": "web_search" }] }), unsupported, "tools[0].type"),
        (json!({ "tools": [{ "type": "function" }] }), missing, "tools[0].name"),
        (item(json!({ "type": "item_reference", "id": "x" })), unsupported, "input[0].type"),
        (item(json!({ "role": "user" })), missing, "input[0].content"),
        (
            item(json!({ "role": "user", "content": [{ "type": "input_file" }] })),
            unsupported,
            "input[0].content[0].type",
        ),
        (item(call.clone()), invalid, "input"),
        (json!({ "input": [call, { "role": "user", "content": "q" }] }), invalid, "input[1]"),
        (
            item(json!({ "type": "function_call_output", "call_id": "c", "output": "r" })),
            invalid,
            "input[0].call_id",
        ),
    ] {
        let answer = server.respond(fields.clone()).await;
        let (status, found_code, found_param, message) = answer.openai_error();
        assert_eq!(
            (status, found_code.as_str(), found_param.as_str()),
            (400, code, param),
            "{fields}: {message}"
        );
    }
    assert_eq!(server.pipeline.engine().stats().steps_total, 0);
}

#[tokio::test]
async fn what_is_not_there_is_not_found_in_openais_words() {
    let server = TestServer::start(saying("never")).await;
    let body = with(
        json!({ "model": "gpt-4" }),
        json!({ "messages": [{
        "role": "user", "content": "q" }] }),
    );
    let (status, code, param, message) = server.post(CHAT, &body).await.openai_error();
    assert_eq!((status, code.as_str(), param.as_str()), (404, "model_not_found", "model"));
    assert!(message.contains("gpt-4") && message.contains("toy"), "{message}");
    for path in ["/v1/embeddings", "/v1/", "/openai/v1/threads/x"] {
        let (status, code, _, message) = server.post(path, "{}").await.openai_error();
        assert_eq!((status, code.as_str()), (404, "unknown_url"), "{path}");
        assert!(message.contains(path), "{message}");
    }
    assert_eq!(server.get(CHAT).await.openai_error().1, "unknown_url");
    // A path that only begins like one of these is Bedrock's to refuse.
    assert_eq!(server.post("/v1beta", "{}").await.error().1, "UnknownOperationException");
}

#[tokio::test]
async fn a_full_queue_asks_to_come_back() {
    let config = EngineConfig {
        max_model_len: 512,
        max_num_seqs: 1,
        max_num_batched_tokens: 64,
        queued_requests_max: 1,
        queued_tokens_max: 1_000,
        prefix_cache: false,
        speculation: Speculation::Off,
    };
    let pipeline = scripted_with(config, |_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        ToyReply::Token(b'a'.into())
    });
    let server = TestServer::start(pipeline).await;
    // The first choice is accepted and given up again.
    let answer = server.post(CHAT, &ask(json!({ "n": 8 }))).await;
    let (status, code, ..) = answer.openai_error();
    assert_eq!((status, code.as_str()), (429, "rate_limit_exceeded"));
    assert_eq!(answer.header("retry-after"), "1");
    server.assert_idle().await;
}
