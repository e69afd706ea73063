//! ConverseStream: events, frames, exceptions, flushing.

use std::sync::mpsc;
use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::tests::client::{Event, events};
use crate::api::tests::{TestServer, ask, client};
use crate::chat::fixture;
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{num_written, saying, scripted};

const PATH: &str = "/model/toy/converse-stream";

fn event(kind: &str, payload: serde_json::Value) -> Event {
    Event { kind: kind.to_owned(), payload }
}

#[tokio::test]
async fn the_events_of_an_answer_come_in_bedrocks_order() {
    let server = TestServer::start(saying("H</think>\n\nAB")).await;
    let answer = server.post(PATH, &ask("")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/vnd.amazon.eventstream");
    assert_eq!(answer.header("x-amzn-requestid").len(), 36);
    let mut events = events(&answer.body);
    let latency = events.last_mut().unwrap().payload["metrics"]["latencyMs"].take();
    assert!(latency.is_u64());
    let delta = |index: u32, delta| json!({ "delta": delta, "contentBlockIndex": index });
    let expected = [
        event("messageStart", json!({ "role": "assistant" })),
        event("contentBlockDelta", delta(0, json!({ "reasoningContent": { "text": "H" } }))),
        event("contentBlockStop", json!({ "contentBlockIndex": 0 })),
        event("contentBlockDelta", delta(1, json!({ "text": "A" }))),
        event("contentBlockDelta", delta(1, json!({ "text": "B" }))),
        event("contentBlockStop", json!({ "contentBlockIndex": 1 })),
        event("messageStop", json!({ "stopReason": "end_turn" })),
        event(
            "metadata",
            json!({
                "usage": {
                    "inputTokens": 6,
                    "outputTokens": 6,
                    "totalTokens": 12,
                    "cacheReadInputTokens": 0,
                    "cacheWriteInputTokens": 0,
                },
                "metrics": { "latencyMs": null },
            }),
        ),
    ];
    assert_eq!(events, expected);
}

/// The bytes of the first frames, written out: lengths, checksums, headers, payload.
#[tokio::test]
async fn frames_are_byte_exact() {
    let server = TestServer::start(saying("</think>A")).await;
    let body = server.post(PATH, &ask("")).await.body;
    let frame = |kind: &str, payload: &str| {
        let mut headers = Vec::new();
        for (name, value) in [
            (":event-type", kind),
            (":content-type", "application/json"),
            (":message-type", "event"),
        ] {
            headers.push(name.len() as u8);
            headers.extend_from_slice(name.as_bytes());
            headers.push(7);
            headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
            headers.extend_from_slice(value.as_bytes());
        }
        let mut frame = Vec::new();
        frame.extend_from_slice(&(16 + headers.len() as u32 + payload.len() as u32).to_be_bytes());
        frame.extend_from_slice(&(headers.len() as u32).to_be_bytes());
        frame.extend_from_slice(&crc32(&frame).to_be_bytes());
        frame.extend_from_slice(&headers);
        frame.extend_from_slice(payload.as_bytes());
        frame.extend_from_slice(&crc32(&frame).to_be_bytes());
        frame
    };
    let mut expected = frame("messageStart", r#"{"role":"assistant"}"#);
    let delta = r#"{"delta":{"text":"A"},"contentBlockIndex":0}"#;
    expected.extend(frame("contentBlockDelta", delta));
    expected.extend(frame("contentBlockStop", r#"{"contentBlockIndex":0}"#));
    expected.extend(frame("messageStop", r#"{"stopReason":"end_turn"}"#));
    assert_eq!(&body[..expected.len()], expected);
}

/// The checksum of Ethernet and zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

/// The model writes its second token only after the client has read the first.
#[tokio::test]
async fn each_token_is_sent_at_once() {
    let (read, was_read) = mpsc::channel();
    let pipeline = scripted(move |step| {
        if num_written(step) > 0 {
            let _ = was_read.recv_timeout(Duration::from_secs(10));
        }
        ToyReply::Token(fixture::byte_id(b'a' + num_written(step) as u8))
    });
    let server = TestServer::start(pipeline).await;
    let mut sender = client::http2(server.address).await;
    let uri = format!("http://localhost{PATH}");
    let body = ask(r#","inferenceConfig":{"maxTokens":4}"#);
    let response = sender.send_request(client::request("POST", &uri, &body)).await.unwrap();
    let mut body = response.into_body();
    let mut received = Vec::new();
    for letter in "abcd".chars() {
        let expected = json!({ "reasoningContent": { "text": letter.to_string() } });
        while !events_so_far(&received).iter().any(|it| it.payload["delta"] == expected) {
            let frame = tokio::time::timeout(Duration::from_secs(5), body.frame()).await;
            received.extend(frame.unwrap().unwrap().unwrap().into_data().unwrap());
        }
        read.send(()).unwrap();
    }
}

/// All frames that are complete.
fn events_so_far(bytes: &[u8]) -> Vec<Event> {
    let mut end = 0;
    while let Some(len) = bytes.get(end..end + 4) {
        let next = end + u32::from_be_bytes(len.try_into().unwrap()) as usize;
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    events(&bytes[..end])
}

#[tokio::test]
async fn a_model_that_fails_within_a_stream_ends_it_with_an_exception() {
    let pipeline = scripted(|step| match num_written(step) {
        0 => ToyReply::Token(fixture::byte_id(b'a')),
        _ => ToyReply::NotANumber,
    });
    let server = TestServer::start(pipeline).await;
    let events = events(&server.post(PATH, &ask("")).await.body);
    assert_eq!(events.len(), 3);
    assert_eq!(events[2].kind, "modelStreamErrorException");
    assert_eq!(events[2].payload["originalStatusCode"], 500);
    assert!(events[2].payload["message"].as_str().unwrap().contains("not a number"));
}

#[tokio::test]
async fn what_can_be_refused_is_refused_before_the_stream() {
    let server = TestServer::start(saying("never")).await;
    let answer = server.post(PATH, &ask(r#","toolConfig":{"tools":[]}"#)).await;
    let (status, code, message) = answer.error();
    assert_eq!((status, code.as_str()), (400, "ValidationException"));
    assert!(message.contains("toolConfig"));
}

/// A reader that has stopped reading holds up nobody else, and its tokens cost little.
#[tokio::test]
async fn a_slow_reader_does_not_hold_up_the_engine() {
    let server = TestServer::start(scripted(|_| ToyReply::Token(fixture::byte_id(b'a')))).await;
    let mut stuck = TcpStream::connect(server.address).await.unwrap();
    let body = ask("");
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stuck.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    let answer = server.converse(&ask(r#","inferenceConfig":{"maxTokens":5}"#)).await;
    assert_eq!(answer.status, 200);
    // The engine finishes the stuck reader's answer and takes its blocks back.
    server.assert_idle().await;
    let mut rest = Vec::new();
    let mut first = [0; 1];
    stuck.read_exact(&mut first).await.unwrap();
    let reading = tokio::time::timeout(Duration::from_secs(10), async {
        let end = b"model_context_window_exceeded";
        while !rest.windows(end.len()).any(|it| it == end) {
            assert!(stuck.read_buf(&mut rest).await.unwrap() > 0, "the answer is not whole");
        }
    });
    reading.await.unwrap();
}
