//! The way out: readiness, requests in flight, streams that are cut.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::api::DrainOptions;
use crate::api::lifecycle::Phase;
use crate::api::server;
use crate::api::tests::client::events;
use crate::api::tests::{TestServer, app_of_toy, ask};
use crate::chat::fixture;
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{endless, num_written, scripted};

fn drain(grace_ms: u64, timeout_ms: u64) -> DrainOptions {
    DrainOptions {
        grace: Duration::from_millis(grace_ms),
        timeout: Duration::from_millis(timeout_ms),
    }
}

async fn wait_until_running(server: &TestServer) {
    while server.pipeline.engine().stats().num_running == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn requests_in_flight_finish_and_new_ones_are_refused() {
    let pipeline = scripted(|step| {
        std::thread::sleep(Duration::from_millis(10));
        ToyReply::Token(fixture::byte_id(b'a' + (num_written(step) % 26) as u8))
    });
    let mut server = TestServer::start_with(pipeline, drain(0, 20_000)).await;
    let body = ask(r#","inferenceConfig":{"maxTokens":60}"#);
    let during = async |server: &TestServer| {
        let ready = server.get("/ready").await;
        assert_eq!(
            (ready.status.as_u16(), ready.json()["status"].take()),
            (503, "draining".into())
        );
        assert_eq!(server.get("/health").await.status, 200);
        let (status, code, _) = server.converse(&ask("")).await.error();
        assert_eq!((status, code.as_str()), (503, "ServiceUnavailableException"));
    };
    let address = server.address;
    // Accepted before the drain begins, with its request yet to come.
    let mut early = tokio::net::TcpStream::connect(address).await.unwrap();
    let in_flight = tokio::spawn(async move {
        let path = "/model/toy/converse-stream";
        crate::api::tests::client::http1(address, "POST", path, &body).await
    });
    wait_until_running(&server).await;
    server.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    during(&server).await;
    early.write_all(b"GET /ready HTTP/1.1\r\nHost: toy\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    early.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&answer));
    let answer = in_flight.await.unwrap();
    let events = events(&answer.body);
    assert_eq!(events.last().unwrap().payload["usage"]["outputTokens"], 60);
    server.task.await.unwrap();
}

#[tokio::test]
async fn without_a_grace_period_a_server_that_is_not_ready_refuses() {
    let (app, _sender) = app_of_toy();
    tokio::select! {
        biased;
        () = server::drain(&app, drain(0, 1_000)) => {}
        () = std::future::ready(()) => {}
    }
    assert!(app.shared().lifecycle.phase() >= Phase::Draining);
}

#[tokio::test]
async fn during_the_grace_period_requests_are_still_accepted() {
    let mut server = TestServer::start_with(endless(Duration::ZERO), drain(1_000, 10_000)).await;
    server.stop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.get("/ready").await.status, 503);
    let answer = server.converse(&ask(r#","inferenceConfig":{"maxTokens":2}"#)).await;
    assert_eq!(answer.status, 200);
    server.task.await.unwrap();
}

#[tokio::test]
async fn what_does_not_finish_in_time_ends_with_an_exception() {
    let mut server = TestServer::start_with(endless(Duration::from_millis(5)), drain(0, 300)).await;
    let address = server.address;
    let post = |path: &'static str| {
        let body = ask("");
        tokio::spawn(
            async move { crate::api::tests::client::http1(address, "POST", path, &body).await },
        )
    };
    let (stream, whole) = (post("/model/toy/converse-stream"), post("/model/toy/converse"));
    while server.pipeline.engine().stats().num_running < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let stopped_at = Instant::now();
    server.stop();
    let events = events(&stream.await.unwrap().body);
    assert_eq!(events.last().unwrap().kind, "serviceUnavailableException");
    let (status, code, _) = whole.await.unwrap().error();
    assert_eq!((status, code.as_str()), (503, "ServiceUnavailableException"));
    (&mut server.task).await.unwrap();
    assert!(stopped_at.elapsed() < Duration::from_secs(8));
    server.assert_idle().await;
}
