//! Clients that go away: whenever they do, the engine stops working for them and no block leaks.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::api::tests::{TestServer, ask, client};
use crate::pipeline::testing::{endless, saying};

/// The numbers of a linear congruential generator: the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A long prompt takes several steps of prefill.
fn prompt(random: &mut Random) -> String {
    let text = "a river ".repeat(random.below(100) as usize + 1);
    format!(r#"{{"messages":[{{"role":"user","content":[{{"text":"{text}"}}]}}]}}"#)
}

fn path(random: &mut Random) -> &'static str {
    ["/model/toy/converse", "/model/toy/converse-stream"][random.below(2) as usize]
}

/// Sends a request, or a part of one, and closes the socket after a while.
async fn leave_http1(address: SocketAddr, mut random: Random) {
    let body = prompt(&mut random);
    let path = path(&mut random);
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    let message = format!("{head}{body}");
    let sent = match random.below(10) {
        0 => random.below(message.len() as u64) as usize,
        _ => message.len(),
    };
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&message.as_bytes()[..sent]).await.unwrap();
    let patience = Duration::from_millis(random.below(120));
    let _ = timeout(patience, async {
        let mut buffer = [0; 512];
        while stream.read(&mut buffer).await.is_ok_and(|len| len > 0) {}
    })
    .await;
}

/// Resets the stream of an HTTP/2 connection, which other requests go on using.
async fn leave_http2(mut sender: client::Http2Sender, mut random: Random) {
    let uri = format!("http://localhost{}", path(&mut random));
    let body = prompt(&mut random);
    let patience = Duration::from_millis(random.below(120));
    let _ = timeout(patience, async {
        let response = sender.send_request(client::request("POST", &uri, &body)).await.unwrap();
        let mut body = response.into_body();
        while body.frame().await.is_some() {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_disconnects_leak_nothing() {
    let server = TestServer::start(endless(Duration::from_micros(50))).await;
    let shared = client::http2(server.address).await;
    let mut clients = JoinSet::new();
    for number in 0..1_000 {
        let random = Random(number);
        if number % 2 == 0 {
            clients.spawn(leave_http1(server.address, random));
        } else {
            clients.spawn(leave_http2(shared.clone(), random));
        }
        if clients.len() >= 50 {
            clients.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    server.assert_idle().await;
    let stats = server.pipeline.engine().stats();
    assert!(stats.aborted_requests_total > 100, "{stats:?}");

    // The server is as good as new, on the shared connection too.
    let mut sender = shared;
    let body = ask(r#","inferenceConfig":{"maxTokens":3}"#);
    let answer = client::http2_post(&mut sender, "/model/toy/converse", &body).await;
    assert_eq!(answer.status, 200);
    let metrics = String::from_utf8(server.get("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains(r#"code="ClientDisconnected"#));
}

/// The end-to-end promise: a client that leaves in the middle of decoding is not decoded for.
#[tokio::test]
async fn the_engine_stops_within_a_quarter_of_a_second() {
    for path in ["/model/toy/converse", "/model/toy/converse-stream"] {
        let server = TestServer::start(endless(Duration::from_millis(5))).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let body = ask("");
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        while server.pipeline.engine().stats().generated_tokens_total < 10 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(stream);
        tokio::time::sleep(Duration::from_millis(250)).await;
        let stats = server.pipeline.engine().stats();
        assert_eq!((stats.num_running, stats.num_used_blocks), (0, 0), "{path}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_after_the_last_token_is_no_abort() {
    let server = TestServer::start(saying("</think>ok")).await;
    server.post("/model/toy/converse-stream", &ask("")).await;
    server.assert_idle().await;
    let stats = server.pipeline.engine().stats();
    assert_eq!((stats.finished_requests_total, stats.aborted_requests_total), (1, 0));
}
