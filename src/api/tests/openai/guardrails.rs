//! Guardrails of OpenAI's operations, which headers name and bodies add to.

use serde_json::{Value, json};

use crate::api::tests::TestServer;
use crate::api::tests::client::Answer;
use crate::api::tests::openai::{CHAT, RESPONSES, ask, with};
use crate::guardrail::Guardrails;
use crate::pipeline::testing::{saying, scripted};

const HEADERS: &str = "x-amzn-bedrock-guardrailidentifier: default\n\
    x-amzn-bedrock-guardrailversion: 1\nx-amzn-bedrock-trace: ENABLED\n";
const COMPLETIONS: &str = "/v1/completions";
const KEY: &str = "key AKIAIOSFODNN7EXAMPLE";

async fn server() -> TestServer {
    let pipeline = saying("Hm.</think>call 13800138000 now");
    TestServer::start_app(pipeline, |app| app.with_guardrails(Guardrails::built_in())).await
}

fn bodies(text: &str, fields: &Value) -> [(&'static str, String); 3] {
    let message = json!([{ "role": "user", "content": text }]);
    // The toy model begins to speak where the template would have it speak.
    let prompt = format!("{text}<｜Assistant｜><think>\n");
    let prompt = json!({ "model": "toy", "prompt": prompt, "max_tokens": 100 });
    [
        (CHAT, json!({ "model": "toy", "messages": message })),
        (COMPLETIONS, prompt),
        (RESPONSES, json!({ "model": "toy", "input": text })),
    ]
    .map(|(path, body)| (path, with(body, fields.clone())))
}

/// The text of an answer, in pieces or whole.
fn text(path: &str, answer: &Value) -> String {
    let texts = |pointer: &str| answer.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    match path {
        CHAT => texts("/choices/0/message/content").or(texts("/choices/0/delta/content")),
        COMPLETIONS => texts("/choices/0/text"),
        _ => answer["output"]
            .as_array()
            .and_then(|it| it.last())
            .map_or(texts("/delta"), |last| last["content"][0]["text"].as_str().map(str::to_owned)),
    }
    .unwrap_or_default()
}

/// Why it ended, and what the guardrail did, as the last event or the whole answer says.
fn ending(path: &str, answer: &Value) -> (Value, Value) {
    let action = answer["amazon-bedrock-guardrailAction"].clone();
    match path {
        RESPONSES => (answer["incomplete_details"]["reason"].clone(), action),
        _ => (answer["choices"][0]["finish_reason"].clone(), action),
    }
}

fn told(answer: &Value) -> &Value {
    &answer["amazon-bedrock-trace"]["guardrail"]
}

#[tokio::test]
async fn an_answer_is_masked_whole_and_on_its_way() {
    let server = server().await;
    let expected = (json!("content_filter"), json!("INTERVENED"));
    for (path, body) in bodies("q", &json!({})) {
        let answer = server.post_with(path, HEADERS, &body).await.json();
        assert!(text(path, &answer).ends_with("call {PHONE} now"), "{path}: {answer}");
        assert_eq!(ending(path, &answer), expected, "{path}: {answer}");
        let found = told(&answer)["outputs"].to_string();
        assert!(found.contains("13800138000") && found.contains("ANONYMIZED"), "{path}: {answer}");
    }
    for (path, body) in bodies("q", &json!({ "stream": true })) {
        let events = server.post_with(path, HEADERS, &body).await.events();
        let pieces =
            events.iter().filter(|(name, _)| path != RESPONSES || name.ends_with("text.delta"));
        let streamed: String = pieces.map(|(_, event)| text(path, event)).collect();
        assert!(streamed.ends_with("call {PHONE} now"), "{path}: {streamed}");
        let mut last = events.iter().map(|(_, event)| event.get("response").unwrap_or(event));
        let last = last.rfind(|it| it.get("amazon-bedrock-guardrailAction").is_some()).unwrap();
        assert_eq!(ending(path, last), expected, "{path}: {last}");
        assert!(told(last)["input"]["default"].is_object(), "{path}: {last}");
    }
}

#[tokio::test]
async fn a_blocked_prompt_never_meets_the_model() {
    let silent = scripted(|_| panic!("the model was asked"));
    let server =
        TestServer::start_app(silent, |app| app.with_guardrails(Guardrails::built_in())).await;
    for (path, body) in bodies(KEY, &json!({})) {
        let answer = server.post_with(path, HEADERS, &body).await.json();
        assert!(text(path, &answer).starts_with("Sorry"), "{path}: {answer}");
        assert_eq!(ending(path, &answer), (json!("content_filter"), json!("INTERVENED")));
        assert!(told(&answer)["input"].to_string().contains("BLOCKED"), "{path}: {answer}");
    }
    // Every choice is blocked, and the answer tells of all of them at once.
    let body = ask(json!({ "n": 3, "messages": [{ "role": "user", "content": KEY }] }));
    let answer = server.post_with(CHAT, HEADERS, &body).await.json();
    let choices = answer["choices"].as_array().unwrap();
    assert!(choices.len() == 3 && choices.iter().all(|it| it["finish_reason"] == "content_filter"));
}

#[tokio::test]
async fn tags_say_what_is_judged_and_the_model_does_not_see_them() {
    let server = server().await;
    let name = "amazon-bedrock-guardrails-guardContent_x1";
    let config = json!({ "amazon-bedrock-guardrailConfig": { "tagSuffix": "x1" } });
    for (text_in, action) in [
        (format!("{KEY} <{name}>q</{name}>"), "NONE"),
        (format!("a <{name}>{KEY}</{name}>"), "INTERVENED"),
    ] {
        for (path, body) in bodies(&text_in, &config) {
            let answer = server.post_with(path, HEADERS, &body).await.json();
            let input = told(&answer)["input"]["default"].to_string();
            assert_eq!(input.contains("BLOCKED"), action == "INTERVENED", "{path}: {answer}");
        }
    }
    let plain = server.post(COMPLETIONS, &bodies("a q", &json!({}))[1].1).await.json();
    let tagged = bodies(&format!("a <{name}>q</{name}>"), &config);
    let tagged = server.post_with(COMPLETIONS, HEADERS, &tagged[1].1).await.json();
    assert_eq!(plain["usage"]["prompt_tokens"], tagged["usage"]["prompt_tokens"]);
    let open = bodies(&format!("a <{name}>q"), &config);
    for (path, body) in open {
        let (status, _, param, message) =
            server.post_with(path, HEADERS, &body).await.openai_error();
        assert_eq!((status, param.as_str()), (400, "amazon-bedrock-guardrailConfig"), "{message}");
    }
}

#[tokio::test]
async fn a_guardrail_is_there_or_refused() {
    let server = server().await;
    let unknown = HEADERS.replace("default", "gr1");
    let lame = "x-amzn-bedrock-guardrailidentifier: default\n";
    let code = |answer: Answer| answer.openai_error().1;
    for (path, body) in bodies("q", &json!({})) {
        assert_eq!(code(server.post_with(path, &unknown, &body).await), "guardrail_not_found");
        assert_eq!(code(server.post_with(path, lame, &body).await), "missing_required_parameter");
        let loud = "x-amzn-bedrock-trace: LOUD\n";
        assert_eq!(code(server.post_with(path, loud, &body).await), "invalid_value");
    }
    let config = |fields: Value| json!({ "amazon-bedrock-guardrailConfig": fields });
    for (fields, headers, param) in [
        (config(json!({ "tagSuffix": "x" })), "", "amazon-bedrock-guardrailConfig"),
        (
            config(json!({ "tagSuffix": "x-1" })),
            HEADERS,
            "amazon-bedrock-guardrailConfig.tagSuffix",
        ),
        (
            config(json!({ "streamProcessingMode": "ASYNCHRONOUS" })),
            HEADERS,
            "amazon-bedrock-guardrailConfig.streamProcessingMode",
        ),
        (json!({ "logprobs": true }), HEADERS, "logprobs"),
    ] {
        let answer = server.post_with(CHAT, headers, &ask(fields)).await;
        let (status, _, found, message) = answer.openai_error();
        assert_eq!((status, found.as_str()), (400, param), "{message}");
    }
}
