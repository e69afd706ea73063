//! Completions: prompts without a template.

use serde_json::{Value, json};

use crate::api::tests::TestServer;
use crate::api::tests::openai::with;
use crate::chat::fixture;
use crate::model::toy::ToyReply;
use crate::pipeline::Pipeline;
use crate::pipeline::testing::{control_id, scripted};

/// Goes on with the letter after the last one, up to `e`.
fn spelling() -> Pipeline {
    scripted(|step| {
        let last = *step.tokens.last().unwrap_or(&0);
        match (b'a'..b'e').find(|&letter| fixture::byte_id(letter) == last) {
            Some(letter) => ToyReply::Token(fixture::byte_id(letter + 1)),
            None => ToyReply::Token(control_id(fixture::EOS)),
        }
    })
}

fn ask(fields: Value) -> String {
    with(json!({ "model": "toy", "prompt": "a" }), fields)
}

#[tokio::test]
async fn prompts_are_gone_on_with_each_for_itself() {
    let server = TestServer::start(spelling()).await;
    let body = ask(json!({ "prompt": ["a", "xc", "e"], "n": 2, "echo": true, "max_tokens": 3 }));
    let answer = server.post("/v1/completions", &body).await.json();
    let texts: Vec<_> =
        answer["choices"].as_array().unwrap().iter().map(|it| &it["text"]).collect();
    assert_eq!(texts, ["abcd", "abcd", "xcde", "xcde", "e", "e"]);
    let reasons: Vec<_> =
        answer["choices"].as_array().unwrap().iter().map(|it| &it["finish_reason"]).collect();
    assert_eq!(reasons, ["length", "length", "stop", "stop", "stop", "stop"]);
    assert_eq!(answer["object"], "text_completion");
    // The prompts count once, each with the token of the beginning.
    assert_eq!(answer["usage"]["prompt_tokens"], 2 + 3 + 2);
    // A stop string is not told, and ends one choice only.
    let stopped = ask(json!({ "prompt": ["a", "d"], "stop": ["c"] }));
    let stopped = server.post("/openai/v1/completions", &stopped).await.json();
    assert_eq!(
        (&stopped["choices"][0]["text"], &stopped["choices"][1]["text"]),
        (&json!("b"), &json!("e"))
    );
    server.assert_idle().await;
}

#[tokio::test]
async fn chunks_add_up_to_the_whole_answer() {
    let server = TestServer::start(spelling()).await;
    let fields = json!({ "n": 2, "echo": true, "stream": true,
                         "stream_options": { "include_usage": true } });
    let events = server.post("/v1/completions", &ask(fields)).await.events();
    let (done, chunks) = events.split_last().unwrap();
    assert_eq!(done.1, "[DONE]");
    let mut texts = [String::new(), String::new()];
    let mut reasons = [Value::Null, Value::Null];
    let (last, chunks) = chunks.split_last().unwrap();
    for (_, chunk) in chunks {
        let choice = &chunk["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        texts[index].push_str(choice["text"].as_str().unwrap());
        if !choice["finish_reason"].is_null() {
            reasons[index] = choice["finish_reason"].clone();
        }
        assert_eq!((&chunk["usage"], &chunk["object"]), (&Value::Null, &json!("text_completion")));
    }
    assert_eq!(
        (texts, reasons),
        (["abcde", "abcde"].map(String::from), [json!("stop"), json!("stop")])
    );
    assert_eq!(last.1["choices"], json!([]));
    // Four letters, twice; the end is none.
    assert_eq!(last.1["usage"]["completion_tokens"], 8);
}

#[tokio::test]
async fn logprobs_have_the_form_of_this_api() {
    let server = TestServer::start(spelling()).await;
    let answer = server.post("/v1/completions", &ask(json!({ "logprobs": 2 }))).await.json();
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["b", "c", "d", "e"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3]));
    assert_eq!(logprobs["top_logprobs"].as_array().unwrap().len(), 4);
    assert!(logprobs["token_logprobs"][0].as_f64().is_some_and(|it| it <= 0.0), "{logprobs}");
}

#[tokio::test]
async fn an_answer_has_the_form_that_was_asked_for() {
    let server = TestServer::start(spelling()).await;
    for (form, is_valid) in [
        (
            json!({ "regex": "[0-9]{4}" }),
            (|text: &str| text.parse::<u16>().is_ok()) as fn(&str) -> bool,
        ),
        (json!({ "choice": ["red", "green"] }), |text| ["red", "green"].contains(&text)),
        (json!({ "json": { "type": "boolean" } }), |text| ["true", "false"].contains(&text)),
    ] {
        let body = ask(json!({ "structured_outputs": form, "max_tokens": 20 }));
        let answer = server.post("/v1/completions", &body).await.json();
        let text = answer["choices"][0]["text"].as_str().unwrap();
        assert!(is_valid(text), "{form}: {text}");
    }
}
