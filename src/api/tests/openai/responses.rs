//! Responses: items, events, and the same answer whole and streamed.

use serde_json::{Value, json};

use crate::api::tests::TestServer;
use crate::api::tests::openai::RESPONSES;
use crate::chat::fixture;
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{saying, scripted};

/// Takes out what differs from run to run.
fn stable(mut response: Value) -> Value {
    assert!(response["id"].take().as_str().unwrap().starts_with("resp_"));
    assert!(response["created_at"].take().is_u64());
    response["completed_at"].take();
    for item in response["output"].as_array_mut().unwrap() {
        assert!(item["id"].take().as_str().unwrap().len() > 30);
    }
    response
}

fn message(text: &str, status: &str) -> Value {
    let part = json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] });
    json!({
        "id": null, "type": "message", "role": "assistant", "status": status, "content": [part],
    })
}

#[tokio::test]
async fn the_answer_has_items_and_says_what_was_asked() {
    let server = TestServer::start(saying("Hm.</think>\n\nSix.")).await;
    let answer = server.respond(json!({ "instructions": "S", "store": true })).await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "id": null,
        "object": "response",
        "created_at": null,
        "completed_at": null,
        "status": "completed",
        "background": false,
        "error": null,
        "incomplete_details": null,
        "model": "toy",
        "output": [
            {
                "id": null,
                "type": "reasoning",
                "summary": [],
                "content": [{ "type": "reasoning_text", "text": "Hm." }],
                "status": "completed",
            },
            message("Six.", "completed"),
        ],
        "previous_response_id": null,
        "store": false,
        "truncation": "disabled",
        "usage": {
            "input_tokens": 7,
            "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": 10,
            "output_tokens_details": { "reasoning_tokens": 3 },
            "total_tokens": 17,
        },
        "instructions": "S",
        "max_output_tokens": null,
        "metadata": {},
        "parallel_tool_calls": true,
        "reasoning": { "effort": null, "summary": null },
        "service_tier": null,
        "temperature": null,
        "text": { "format": { "type": "text" } },
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": null,
    });
    assert_eq!(stable(answer.json()), expected);
}

#[tokio::test]
async fn the_events_build_the_answer_up() {
    let server = TestServer::start(saying("H</think>\n\nAB")).await;
    let whole = server.respond(json!({})).await.json();
    let events = server.respond(json!({ "stream": true })).await.events();
    for (number, (name, event)) in events.iter().enumerate() {
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(name), &json!(number)));
    }
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.reasoning_text.delta",
        "response.reasoning_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names, expected);
    assert_eq!(events[8].1["output_index"], 1);
    assert_eq!(events[8].1["item"]["content"], json!([]));
    assert_eq!((&events[10].1["delta"], &events[11].1["delta"]), (&json!("A"), &json!("B")));
    assert_eq!(events[10].1["item_id"], events[8].1["item"]["id"]);
    let last = &events[15].1["response"];
    assert_eq!(last["output"][1], events[14].1["item"]);
    assert_eq!(events[0].1["response"]["id"], last["id"]);
    assert_eq!(stable(last.clone()), stable(whole));
}

#[tokio::test]
async fn an_answer_that_is_cut_is_incomplete() {
    let server = TestServer::start(saying("</think>one two")).await;
    let answer = server.respond(json!({ "max_output_tokens": 4 })).await.json();
    assert_eq!(answer["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    assert_eq!(stable(answer)["output"], json!([message("one", "incomplete")]));
    let fields = json!({ "max_output_tokens": 4, "stream": true });
    let events = server.respond(fields).await.events();
    let (name, last) = events.last().unwrap();
    assert_eq!(name, "response.incomplete");
    assert_eq!(last["response"]["status"], "incomplete");

    // Reasoning and nothing else: applications still find a message.
    let server = TestServer::start(saying("Hm.</think>")).await;
    let output = stable(server.respond(json!({})).await.json())["output"].take();
    assert_eq!(output[1], message("", "completed"));
}

#[tokio::test]
async fn items_of_earlier_answers_may_come_back_whole() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let server = TestServer::start(scripted(move |step| {
        let _ = sender.send(step.tokens.to_vec());
        ToyReply::Token(fixture::byte_id(b'a'))
    }))
    .await;
    let body = json!({
        "model": "toy",
        "max_output_tokens": 1,
        "instructions": "S1",
        "input": [
            { "role": "user", "content": "u1" },
            { "id": "rs_1", "type": "reasoning", "summary": [],
              "content": [{ "type": "reasoning_text", "text": "old" }], "status": "completed" },
            { "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
              "content": [{ "type": "output_text", "text": "a1", "annotations": [],
                            "logprobs": [] }] },
            { "type": "message", "role": "developer",
              "content": [{ "type": "input_text", "text": "S2" }] },
            { "type": "message", "role": "user",
              "content": [{ "type": "input_text", "text": "u2" }] },
        ],
    });
    let answer = server.post(RESPONSES, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{:?}", answer.body);
    let seen = receiver.try_iter().last().unwrap();
    let text_ids = 0..fixture::VOCAB_SIZE - fixture::SPECIAL.len() as u32;
    let text = |id: &u32| if text_ids.contains(id) { *id as u8 as char } else { '|' };
    let seen: String = seen.iter().map(text).collect();
    assert_eq!(seen, "|S1\n\nS2|u1|a1||u2||\n");
}
