//! Tools of chat completions and responses, with a model that would not call them by itself.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::tests::TestServer;
use crate::api::tests::openai::{CHAT, RESPONSES, ask, with};
use crate::pipeline::Pipeline;
use crate::pipeline::testing::{endless, saying};

fn schema() -> Value {
    json!({ "type": "object", "properties": { "city": { "type": "string", "maxLength": 5 } },
            "required": ["city"] })
}

/// The tools and a choice among them, in the form of the path's API.
fn tools(path: &str, fields: Value) -> String {
    let function = json!({ "name": "weather", "parameters": schema() });
    let tool = match path {
        CHAT => json!({ "type": "function", "function": function }),
        _ => with_type(function),
    };
    let fields = with(json!({ "tools": [tool] }), fields);
    let fields: Value = serde_json::from_str(&fields).unwrap();
    match path {
        CHAT => ask(fields),
        _ => with(json!({ "model": "toy", "input": "q" }), fields),
    }
}

fn with_type(mut function: Value) -> Value {
    function["type"] = json!("function");
    function
}

/// Two calls after a word, whatever the template is.
fn calling_twice() -> Pipeline {
    let call = |city: &str| {
        let call = format!(r#"{{"name": "weather", "arguments": {{"city": "{city}"}}}}"#);
        format!("<tool_call>\n{call}\n</tool_call>")
    };
    saying(&format!("Hm.</think>Let me see.\n{}\n{}", call("Bonn"), call("Kiel")))
}

fn is_valid(arguments: &Value) -> bool {
    let arguments: Value = serde_json::from_str(arguments.as_str().unwrap()).unwrap();
    arguments["city"].is_string() && arguments.as_object().is_some_and(|it| it.len() == 1)
}

/// Names and arguments of the calls of an answer that came whole.
fn calls(path: &str, answer: &Value) -> Vec<(String, Value)> {
    let (items, inner) = match path {
        CHAT => (&answer["choices"][0]["message"]["tool_calls"], "/function"),
        _ => (&answer["output"], ""),
    };
    let items = items.as_array().cloned().unwrap_or_default().into_iter();
    let items = items.filter(|it| it["type"] == "function" || it["type"] == "function_call");
    let functions = items.map(|item| item.pointer(inner).unwrap().clone());
    functions.map(|it| (it["name"].as_str().unwrap().to_owned(), it["arguments"].clone())).collect()
}

#[tokio::test]
async fn a_forced_call_is_valid_and_comes_alone() {
    let server = TestServer::start(endless(Duration::ZERO)).await;
    let max_tokens =
        |path| if path == CHAT { "max_completion_tokens" } else { "max_output_tokens" };
    for path in [CHAT, RESPONSES] {
        let forced = json!({ "tool_choice": "required", max_tokens(path): 400,
                             "parallel_tool_calls": false });
        let answer = server.post(path, &tools(path, forced)).await.json();
        let [(name, arguments)] = &calls(path, &answer)[..] else { panic!("{path}: {answer}") };
        assert!(name == "weather" && is_valid(arguments), "{path}: {answer}");
        if path == CHAT {
            let choice = &answer["choices"][0];
            assert_eq!(choice["finish_reason"], "tool_calls");
            assert_eq!(choice["message"]["content"], Value::Null);
        } else {
            assert_eq!(answer["status"], "completed");
        }
    }
}

#[tokio::test]
async fn a_streamed_call_is_the_whole_one_in_pieces() {
    let server = TestServer::start(calling_twice()).await;
    for path in [CHAT, RESPONSES] {
        let whole = server.post(path, &tools(path, json!({}))).await.json();
        let whole = calls(path, &whole);
        assert_eq!(whole.len(), 2, "{path}");
        let events = server.post(path, &tools(path, json!({ "stream": true }))).await.events();
        let mut streamed: Vec<(String, String)> = Vec::new();
        for (kind, event) in &events {
            let call = &event["choices"][0]["delta"]["tool_calls"][0]["function"];
            let (name, piece) = match path {
                CHAT => (&call["name"], &call["arguments"]),
                _ if kind == "response.output_item.added" => (&event["item"]["name"], &Value::Null),
                _ if kind == "response.function_call_arguments.delta" => {
                    (&Value::Null, &event["delta"])
                }
                _ => continue,
            };
            if let Some(name) = name.as_str() {
                streamed.push((name.to_owned(), String::new()));
            }
            if let (Some(piece), Some(last)) = (piece.as_str(), streamed.last_mut()) {
                last.1.push_str(piece);
            }
        }
        let streamed: Vec<_> = streamed.into_iter().map(|(name, it)| (name, json!(it))).collect();
        assert_eq!(streamed, whole, "{path}");
    }
}

/// Prevented, not hidden: what is not shown would still have been written and paid for.
#[tokio::test]
async fn one_call_at_a_time_is_all_that_is_written() {
    let server = TestServer::start(calling_twice()).await;
    for path in [CHAT, RESPONSES] {
        let usage = |answer: &Value| {
            let usage = &answer["usage"];
            let tokens = usage.get("completion_tokens").or(usage.get("output_tokens"));
            tokens.and_then(Value::as_u64).unwrap()
        };
        let both = server.post(path, &tools(path, json!({}))).await.json();
        let one = json!({ "parallel_tool_calls": false });
        let one = server.post(path, &tools(path, one)).await.json();
        assert_eq!((calls(path, &both).len(), calls(path, &one).len()), (2, 1), "{path}");
        assert_eq!(calls(path, &both)[0], calls(path, &one)[0]);
        assert!(usage(&one) + 50 < usage(&both), "{path}: {one}");
    }
}

#[tokio::test]
async fn a_schema_that_cannot_be_followed_is_named() {
    let server = TestServer::start(saying("never")).await;
    let bad = json!({ "type": "object", "properties": { "a": { "not": { "type": "integer" } } } });
    let function =
        |name: &str, schema: &Value| json!({ "name": name, "parameters": schema, "strict": true });
    let chat_tool =
        |name, schema| json!({ "type": "function", "function": function(name, schema) });
    let tool = |name, schema| with_type(function(name, schema));
    let named = json!({ "type": "json_schema", "json_schema": { "name": "n", "schema": bad } });
    let text = json!({ "format": { "type": "json_schema", "name": "n", "schema": bad } });
    let input = with(json!({ "model": "toy", "input": "q" }), json!({ "text": text }));
    let prompt = json!({ "model": "toy", "prompt": "q", "structured_outputs": { "regex": "(" } });
    let good = schema();
    let tools = [chat_tool("a", &good), chat_tool("b", &good), chat_tool("c", &bad)];
    let several = [tool("a", &good), tool("b", &bad)];
    let chosen = json!({ "type": "function", "function": { "name": "c" } });
    for (path, body, param) in [
        (CHAT, ask(json!({ "tools": tools })), "tools[2].function.parameters"),
        (
            CHAT,
            ask(json!({ "tools": tools, "tool_choice": chosen })),
            "tools[2].function.parameters",
        ),
        (CHAT, ask(json!({ "response_format": named })), "response_format.json_schema.schema"),
        (
            CHAT,
            ask(json!({ "tools": [tools[0]], "response_format": named })),
            "response_format.json_schema.schema",
        ),
        (
            RESPONSES,
            with(json!({ "model": "toy", "input": "q" }), json!({ "tools": several })),
            "tools[1].parameters",
        ),
        (RESPONSES, input, "text.format.schema"),
        ("/v1/completions", prompt.to_string(), "structured_outputs.regex"),
    ] {
        let (status, code, found, message) = server.post(path, &body).await.openai_error();
        assert_eq!(
            (status, code.as_str(), found.as_str()),
            (400, "invalid_value", param),
            "{message}"
        );
    }
}
