//! OpenAI's API over real sockets.

mod chat;
mod completions;
mod guardrails;
mod refusals;
mod responses;
mod tools;

use serde_json::{Value, json};

use crate::api::tests::TestServer;
use crate::api::tests::client::Answer;

const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";

/// A request of one user message, with further fields.
fn ask(fields: Value) -> String {
    let body = json!({ "model": "toy", "messages": [{ "role": "user", "content": "q" }] });
    with(body, fields)
}

fn with(mut body: Value, fields: Value) -> String {
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body.to_string()
}

/// Says a word in every field that takes text, in requests that go well and in such that do not.
pub(super) async fn ask_with_canaries(server: &TestServer) {
    let canary = "canary";
    for stream in [false, true] {
        let common = json!({ "model": "toy", "stream": stream, "user": canary,
                             "metadata": { canary: canary } });
        let with_common = |fields: Value| with(common.clone(), fields);
        let message = json!({ "role": "user", "content": canary });
        let schema = json!({ "type": "json_schema", "json_schema": {
            "name": canary, "schema": { "type": canary } } });
        for (path, fields) in [
            (CHAT, json!({ "messages": [message], "stop": "canaryy" })),
            (CHAT, json!({ "messages": [message], "response_format": schema })),
            (CHAT, json!({ "messages": [message], "temperature": canary })),
            (CHAT, json!({ "messages": [{ "role": canary }], canary: 1 })),
            (CHAT, json!({ "messages": [message], "model": canary })),
            ("/v1/completions", json!({ "prompt": canary, "suffix": canary })),
            ("/v1/completions", json!({ "prompt": canary, "metadata": null })),
            (RESPONSES, json!({ "input": canary, "instructions": canary })),
            (RESPONSES, json!({ "input": [{ "type": canary }] })),
        ] {
            server.post(path, &with_common(fields)).await;
        }
    }
    server.post("/v1/canary", canary).await;
    server.get("/v1/models/canary").await;
}

impl Answer {
    /// The data of server-sent events; `[DONE]` is a string, and events with names begin with it.
    fn events(&self) -> Vec<(String, Value)> {
        assert_eq!(self.header("content-type"), "text/event-stream; charset=utf-8");
        let text = std::str::from_utf8(&self.body).unwrap();
        assert!(text.ends_with("\n\n"), "the last frame is cut: {text}");
        let frames = text.split_terminator("\n\n").filter(|frame| !frame.starts_with(':'));
        let event = |frame: &str| {
            let (name, data) = match frame.strip_prefix("event: ") {
                Some(named) => named.split_once('\n').unwrap(),
                None => ("", frame),
            };
            let data = data.strip_prefix("data: ").unwrap();
            let value = serde_json::from_str(data).unwrap_or_else(|_| Value::from(data));
            (name.to_owned(), value)
        };
        frames.map(event).collect()
    }

    /// Status, code, field and message of an error in OpenAI's shape.
    fn openai_error(&self) -> (u16, String, String, String) {
        assert_eq!(self.header("content-type"), "application/json");
        assert_eq!(self.header("x-request-id").len(), 36);
        let error = &self.json()["error"];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        assert!(!text("type").is_empty() && error.get("param").is_some(), "{error}");
        (self.status.as_u16(), text("code"), text("param"), text("message"))
    }
}

impl TestServer {
    async fn chat(&self, fields: Value) -> Answer {
        self.post(CHAT, &ask(fields)).await
    }

    async fn respond(&self, fields: Value) -> Answer {
        self.post(RESPONSES, &with(json!({ "model": "toy", "input": "q" }), fields)).await
    }
}
