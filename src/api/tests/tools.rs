//! Tools and structured output of Converse and ConverseStream.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::tests::client::events;
use crate::api::tests::{TestServer, ask, echoing};
use crate::pipeline::testing::{endless, saying};

const TOOL: &str = r#"{"toolSpec":{"name":"get_weather","description":"The weather","inputSchema":
    {"json":{"type":"object","properties":{"city":{"type":"string","maxLength":5}},
    "required":["city"]}}}}"#;

/// A request that must call the tool.
fn forced() -> String {
    ask(&format!(
        r#","toolConfig":{{"tools":[{TOOL},{{"cachePoint":{{"type":"default"}}}}],
        "toolChoice":{{"any":{{}}}}}},"inferenceConfig":{{"maxTokens":400}}"#
    ))
}

fn is_valid(input: &Value) -> bool {
    input["city"].is_string() && input.as_object().is_some_and(|input| input.len() == 1)
}

/// The model would reason for ever; no text comes before forced calls.
#[tokio::test]
async fn forced_calls_are_blocks_of_their_own() {
    let server = TestServer::start(endless(Duration::ZERO)).await;
    let answer = server.converse(&forced()).await.json();
    assert_eq!(answer["stopReason"], "tool_use", "{answer}");
    let content = answer["output"]["message"]["content"].as_array().unwrap();
    let calls: Vec<_> = content.iter().filter(|it| it["toolUse"].is_object()).collect();
    assert!(!calls.is_empty(), "{answer}");
    assert!(content.iter().all(|it| it.get("text").is_none()), "{answer}");
    for call in calls {
        assert_eq!(call["toolUse"]["name"], "get_weather");
        assert!(is_valid(&call["toolUse"]["input"]), "{call}");
        assert!(call["toolUse"]["toolUseId"].as_str().unwrap().starts_with("tooluse_"));
    }
}

#[tokio::test]
async fn a_call_is_streamed_as_a_start_fragments_and_a_stop() {
    let server = TestServer::start(endless(Duration::ZERO)).await;
    let stream = server.post("/model/toy/converse-stream", &forced()).await;
    let events = events(&stream.body);
    let start = events.iter().position(|it| it.kind == "contentBlockStart").unwrap();
    let index = &events[start].payload["contentBlockIndex"];
    assert_eq!(events[start].payload["start"]["toolUse"]["name"], "get_weather");
    let of_block: Vec<_> = events[start + 1..]
        .iter()
        .take_while(|it| &it.payload["contentBlockIndex"] == index)
        .collect();
    let (stop, deltas) = of_block.split_last().unwrap();
    assert_eq!(stop.kind, "contentBlockStop");
    let input: String =
        deltas.iter().map(|it| it.payload["delta"]["toolUse"]["input"].as_str().unwrap()).collect();
    assert!(is_valid(&serde_json::from_str(&input).unwrap()), "{input}");
    let kinds: Vec<_> = events.iter().map(|it| it.kind.as_str()).collect();
    assert!(kinds.ends_with(&["contentBlockStop", "messageStop", "metadata"]), "{kinds:?}");
    // Further calls are blocks of their own.
    let count = |kind: &str| kinds.iter().filter(|it| **it == kind).count();
    let num_reasoning = usize::from(start > 1);
    assert_eq!(count("contentBlockStart") + num_reasoning, count("contentBlockStop"));
    // Blocks are numbered in the order in which they come.
    let indices = events.iter().filter_map(|it| it.payload["contentBlockIndex"].as_u64());
    assert!(indices.is_sorted());
}

#[tokio::test]
async fn an_answer_follows_its_schema() {
    let server = TestServer::start(saying("no</think>no JSON at all")).await;
    let schema = json!({
        "type": "object", "properties": { "ok": { "type": "boolean" } },
        "required": ["ok"], "additionalProperties": false,
    });
    let structure = json!({ "jsonSchema": { "schema": schema.to_string(), "name": "n" } });
    let format = json!({ "textFormat": { "type": "json_schema", "structure": structure } });
    let of_model = json!({ "output_config": {
        "format": { "type": "json_schema", "schema": schema },
    } });
    for (member, value) in [("outputConfig", format), ("additionalModelRequestFields", of_model)] {
        let body = ask(&format!(r#","{member}":{value},"inferenceConfig":{{"maxTokens":100}}"#));
        let answer = server.converse(&body).await.json();
        let content = answer["output"]["message"]["content"].as_array().unwrap();
        let text = content.last().unwrap()["text"].as_str().unwrap();
        let value: Value = serde_json::from_str(text).unwrap();
        assert!(value["ok"].is_boolean(), "{text}");
        assert_eq!(answer["stopReason"], "end_turn");
    }
}

/// Calls and results of earlier turns, in the words of the template.
#[tokio::test]
async fn what_tools_answered_reaches_the_model() {
    let server = TestServer::start(echoing()).await;
    let result = |id: &str, content: Value| {
        json!({ "toolResult": {
        "toolUseId": id, "content": content, "status": "success",
    } })
    };
    let call = |id: &str, city: &str| {
        json!({ "toolUse": {
        "toolUseId": id, "name": "get_weather", "input": { "city": city },
    } })
    };
    let messages = |results: Vec<Value>| {
        json!({
        "messages": [
            { "role": "user", "content": [{ "text": "q" }] },
            { "role": "assistant", "content": [call("a", "Paris"), call("b", "Oslo")] },
            { "role": "user", "content": results },
        ],
        "toolConfig": { "tools": [serde_json::from_str::<Value>(TOOL).unwrap()] },
        })
    };
    let (sun, rain) = (json!([{ "json": { "sun": true } }]), json!([{ "text": "rain" }]));
    let whole =
        messages(vec![result("a", sun.clone()), result("b", rain), json!({ "text": "go" })]);
    let answer = server.converse(&whole.to_string()).await;
    let json = answer.json();
    assert_eq!(answer.status, 200, "{json}");
    let content = json["output"]["message"]["content"].as_array().unwrap();
    let seen: String = content
        .iter()
        .filter_map(|it| it["reasoningContent"]["reasoningText"]["text"].as_str())
        .collect();
    let mut rest = seen.as_str();
    for piece in ["Paris", "Oslo", r#"{"sun":true}"#, "rain", "go"] {
        let (_, after) = rest.split_once(piece).unwrap_or_else(|| panic!("{piece}: {seen}"));
        rest = after;
    }
    let missing = messages(vec![result("a", sun.clone())]);
    let (_, _, message) = server.converse(&missing.to_string()).await.error();
    assert!(
        message.starts_with(
            "Expected toolResult blocks at messages.2.content for the following Ids: b"
        )
    );
    let strange = messages(vec![result("a", sun.clone()), result("c", sun)]);
    let (_, _, message) = server.converse(&strange.to_string()).await.error();
    assert!(message.contains("the following Ids: b"), "{message}");
}

/// Input, reads and writes add up to the prompt.
#[tokio::test]
async fn a_cache_point_is_told_what_was_written() {
    let server = TestServer::start(saying("</think>ok")).await;
    let text = "x".repeat(100);
    let body = json!({ "messages": [{ "role": "user", "content": [
        { "text": text }, { "cachePoint": { "type": "default" } },
    ] }] });
    let usage = async || {
        let answer = server.converse(&body.to_string()).await.json();
        let usage = |key: &str| answer["usage"][key].as_u64().unwrap();
        (usage("inputTokens"), usage("cacheReadInputTokens"), usage("cacheWriteInputTokens"))
    };
    assert_eq!(usage().await, (9, 0, 96));
    assert_eq!(usage().await, (9, 96, 0));
}

#[tokio::test]
async fn a_schema_that_cannot_be_followed_is_named() {
    let server = TestServer::start(saying("never")).await;
    let bad = r#"{"type":"object","properties":{"a":{"not":{"type":"integer"}}}}"#;
    let strict =
        format!(r#"{{"toolSpec":{{"name":"s","strict":true,"inputSchema":{{"json":{bad}}}}}}}"#);
    let cache_point = r#"{"cachePoint":{"type":"default"}}"#;
    let tools = ask(&format!(r#","toolConfig":{{"tools":[{TOOL},{cache_point},{strict}]}}"#));
    let structure = json!({ "jsonSchema": { "schema": bad, "name": "n" } });
    let format = json!({ "textFormat": { "type": "json_schema", "structure": structure } });
    let output = ask(&format!(r#","outputConfig":{format}"#));
    let prompt = json!({ "prompt": "q", "structured_outputs": { "regex": "(" } }).to_string();
    for (path, body, named) in [
        ("converse", tools, "`toolConfig.tools.2.toolSpec.inputSchema.json`"),
        ("converse", output, "`outputConfig.textFormat.structure.jsonSchema.schema`"),
        ("invoke", prompt, "`structured_outputs.regex`"),
    ] {
        let (status, _, message) = server.post(&format!("/model/toy/{path}"), &body).await.error();
        assert_eq!((status, message.contains(named)), (400, true), "{message}");
    }
}
