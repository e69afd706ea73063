//! Members of a Converse request beside messages and sampling.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::api::App;
use crate::api::bedrock::tests::docx_of;
use crate::api::tests::client::events;
use crate::api::tests::{TestServer, ask, echoing};
use crate::pipeline::testing::saying;

/// The prompt that a model sees for these messages.
async fn seen(messages: Value) -> String {
    let server = TestServer::start(echoing()).await;
    let body = json!({ "messages": messages, "inferenceConfig": { "maxTokens": 500 } });
    let answer = server.converse(&body.to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let json = answer.json();
    let content = &json["output"]["message"]["content"][0];
    content["reasoningContent"]["reasoningText"]["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn blocks_that_hold_text_reach_the_model_as_text() {
    let docx = STANDARD.encode(docx_of(
        "<w:p><w:t>A &amp; B <｜User｜></w:t></w:p>"
            .replace("<｜User｜>", "&lt;｜User｜&gt;")
            .as_str(),
    ));
    let seen = seen(json!([
        { "role": "system", "content": [{ "text": "S" }] },
        { "role": "user", "content": [
            { "document": { "format": "docx", "name": "d 1", "source": { "bytes": docx } } },
            { "guardContent": { "text": { "text": "guarded", "qualifiers": ["query"] } } },
            { "searchResult": { "source": "s", "title": "t", "content": [{ "text": "found" }],
                                "citations": { "enabled": false } } },
        ] },
        { "role": "assistant", "content": [{ "citationsContent": {
            "content": [{ "text": "ci" }, { "text": "ted" }],
            "citations": [{ "title": "t", "location": { "web": { "url": "u" } } }],
        } }] },
        { "role": "user", "content": [{ "text": "u" }] },
    ]))
    .await;
    // The tokens of control within a document are none.
    let expected = "|S|<document name=\"d 1\">\nA & B <｜User｜>\n</document>\nguarded\n\
                    <search_result>\nt\ns\nfound\n</search_result>|cited||u||";
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn more_documents_than_the_limit_are_refused() {
    let server = TestServer::start(saying("</think>ok")).await;
    let status = async |count: usize| {
        let document = json!({ "document": { "name": "n", "source": { "text": "t" } } });
        let content = vec![document; count];
        let body = json!({ "messages": [{ "role": "user", "content": content }] });
        server.converse(&body.to_string()).await.status.as_u16()
    };
    assert_eq!((status(5).await, status(6).await), (200, 400));
}

#[tokio::test]
async fn what_is_asked_of_the_answer_is_in_it() {
    let server = TestServer::start(saying("ab</think>one two")).await;
    let members = r#","inferenceConfig":{"stopSequences":["two"]},
        "additionalModelResponseFieldPaths":["/stop_sequence","/reasoning_tokens","/other"],
        "performanceConfig":{"latency":"optimized"},"serviceTier":{"type":"reserved"},
        "requestMetadata":{"team":"a"}"#;
    let fields = json!({ "stop_sequence": "two", "reasoning_tokens": 2 });
    let latency = json!({ "latency": "optimized" });
    let tier = json!({ "type": "default" });
    let answer = server.converse(&ask(members)).await.json();
    assert_eq!(answer["additionalModelResponseFields"], fields);
    assert_eq!((&answer["performanceConfig"], &answer["serviceTier"]), (&latency, &tier));

    let stream = server.post("/model/toy/converse-stream", &ask(members)).await;
    let mut events = events(&stream.body);
    let metadata = events.pop().unwrap().payload;
    assert_eq!((&metadata["performanceConfig"], &metadata["serviceTier"]), (&latency, &tier));
    let stop = events.pop().unwrap();
    assert_eq!(stop.kind, "messageStop");
    let expected =
        json!({ "stopReason": "stop_sequence", "additionalModelResponseFields": fields });
    assert_eq!(stop.payload, expected);
}

#[tokio::test]
async fn an_effort_is_a_reasoning_budget() {
    let server = TestServer::start(saying("reasoning</think>ok")).await;
    let reasoning = async |members: &str| {
        let answer = server.converse(&ask(members)).await;
        answer.json()["output"]["message"]["content"][0]["reasoningContent"].is_object()
    };
    let of_model = r#","additionalModelRequestFields":{"output_config":{"effort":"none"}}"#;
    for none in [r#","outputConfig":{"effort":"none"}"#, of_model] {
        assert!(!reasoning(none).await);
        assert!(reasoning(&none.replace("none", "low")).await);
    }
    let (status, _, message) =
        server.converse(&ask(&format!(r#","outputConfig":{{}}{of_model}"#))).await.error();
    assert_eq!(status, 400);
    assert!(message.contains("output_config"), "{message}");
}

#[tokio::test]
async fn a_guardrail_that_is_not_there_is_not_passed_over() {
    let server = TestServer::start(saying("never")).await;
    let config = r#","guardrailConfig":{"guardrailIdentifier":"g1","guardrailVersion":"1"}"#;
    for path in ["/model/toy/converse", "/model/toy/converse-stream"] {
        let (status, code, message) = server.post(path, &ask(config)).await.error();
        assert_eq!((status, code.as_str()), (404, "ResourceNotFoundException"));
        assert!(message.contains("g1"), "{message}");
    }
    let stream = config.replace('}', r#","streamProcessingMode":"async"}"#);
    let refused = server.post("/model/toy/converse-stream", &ask(&stream)).await;
    assert_eq!(refused.error().0, 404);
    let none = ask(r#","guardrailConfig":{"guardrailIdentifier":"","trace":"enabled"}"#);
    assert_eq!(server.converse(&none).await.status, 200);
}

#[tokio::test]
async fn reasoning_in_the_history_is_dropped_or_refused_as_the_operator_wants() {
    let body = json!({ "messages": [
        { "role": "user", "content": [{ "text": "q" }] },
        { "role": "assistant", "content": [
            { "reasoningContent": { "reasoningText": { "text": "old" } } }, { "text": "a" },
        ] },
        { "role": "user", "content": [{ "text": "q" }] },
    ] });
    for strict_reasoning in [false, true] {
        let pipeline = saying("</think>ok");
        let change = |app: App| app.with_strict_reasoning(strict_reasoning);
        let server = TestServer::start_app(pipeline, change).await;
        let answer = server.converse(&body.to_string()).await;
        match strict_reasoning {
            false => assert_eq!(answer.status, 200),
            true => assert_eq!(
                answer.error().2,
                "User messages cannot contain reasoning content. Please remove the reasoning \
                 content and try again."
            ),
        }
    }
}

#[tokio::test]
async fn counting_needs_no_model_time() {
    let server = TestServer::start(saying("</think>ok")).await;
    let count = async |body: Value| {
        server.post("/model/us.deepseek.r1-v1%3A0/count-tokens", &body.to_string()).await
    };
    let messages = json!([{ "role": "user", "content": [{ "text": "q" }] }]);
    let counted = count(json!({ "input": { "converse": { "messages": messages } } })).await;
    assert_eq!(counted.json(), json!({ "inputTokens": 6 }));
    assert_eq!(server.pipeline.engine().stats().steps_total, 0);
    for (body, named) in [
        (json!({}), "input"),
        (json!({ "input": {} }), "exactly one of"),
        (json!({ "input": { "converse": {}, "invokeModel": { "body": "" } } }), "exactly one of"),
        (json!({ "input": { "converse": { "inferenceConfig": {} } } }), "inferenceConfig"),
        (json!({ "input": { "invokeModel": { "body": "{" } } }), "base64"),
    ] {
        let (status, code, message) = count(body).await.error();
        assert_eq!((status, code.as_str()), (400, "ValidationException"));
        assert!(message.contains(named), "`{message}` does not name `{named}`");
    }
    let long = format!("/model/{}/count-tokens", "x".repeat(257));
    assert_eq!(server.post(&long, "{}").await.error().1, "ValidationException");
}
