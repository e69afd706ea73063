//! Clients that send or take as slowly as they can, or in the smallest pieces.

use std::time::Duration;

use axum::body::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::api::body::BodyPace;
use crate::api::tests::client::request;
use crate::api::tests::{TestServer, ask};
use crate::limits;
use crate::pipeline::testing::{endless, saying};

const PATIENCE: Duration = Duration::from_secs(300);

fn empty() -> UnsyncBoxBody<Bytes, std::io::Error> {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_megabytes_in_chunks_of_one_byte_are_a_body() {
    // Code that is not optimized needs its time for three million chunks.
    let pace = BodyPace { timeout: PATIENCE, grace: PATIENCE, ..BodyPace::DEFAULT };
    let pipeline = saying("</think>ok");
    let server = TestServer::start_app(pipeline, |app| app.with_body_pace(pace)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /model/toy/converse HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let body = ask("") + &" ".repeat(3 << 20);
    let mut message = head.as_bytes().to_vec();
    for byte in body.bytes() {
        message.extend_from_slice(b"1\r\n");
        message.push(byte);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"0\r\n\r\n");
    stream.write_all(&message).await.unwrap();
    let answer = answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// More than the system's buffers hold: a connection that was closed at once would be reset.
#[tokio::test]
async fn a_client_that_is_refused_while_it_sends_reads_why() {
    let server = TestServer::start(saying("never")).await;
    for path in ["/model/unknown/converse", "/nothing"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let length = limits::REQUEST_BODY_BYTES_MAX;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; length]).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 404"), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_trickles_is_refused_while_one_that_flows_is_not() {
    let pace = BodyPace {
        grace: Duration::from_millis(300),
        bytes_per_second: 1_000,
        ..BodyPace::DEFAULT
    };
    let pipeline = saying("</think>ok");
    let server = TestServer::start_app(pipeline, |app| app.with_body_pace(pace)).await;
    let send = async |piece: usize, pause: Duration| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let body = ask("") + &" ".repeat(2_000);
        let head = format!(
            "POST /model/toy/converse HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        for piece in body.as_bytes().chunks(piece) {
            // The server may have answered and closed.
            if stream.write_all(piece).await.is_err() {
                break;
            }
            sleep(pause).await;
        }
        answer(&mut stream).await
    };
    let trickled = send(1, Duration::from_millis(20)).await;
    assert!(trickled.starts_with("HTTP/1.1 400"), "{trickled}");
    assert!(trickled.contains("ValidationException") && trickled.contains("1000 bytes a second"));
    let flowed = send(500, Duration::from_millis(50)).await;
    assert!(flowed.starts_with("HTTP/1.1 200"), "{flowed}");
}

/// More than are worked on at a time, whose announced lengths are more than all bodies may take.
#[tokio::test]
async fn bodies_that_do_not_come_keep_nobody_out() {
    let server = TestServer::start(saying("</think>ok")).await;
    let mut senders = Vec::new();
    let mut num_waiting = 0;
    while num_waiting <= limits::REQUESTS_IN_FLIGHT_MAX {
        let io = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
        let handshake = http2::handshake(TokioExecutor::new(), io);
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        // One stream is left for the connection's sign that the others have arrived.
        for _ in 1..limits::HTTP2_STREAMS_MAX {
            let nothing = stream::pending::<Result<Frame<Bytes>, std::io::Error>>();
            let request = Request::post("http://localhost/model/toy/converse")
                .header("content-length", limits::REQUEST_BODY_BYTES_MAX)
                .body(StreamBody::new(nothing).boxed_unsync())
                .unwrap();
            sender.ready().await.unwrap();
            tokio::spawn(sender.send_request(request));
            num_waiting += 1;
        }
        let ping = Request::get("http://localhost/health").body(empty()).unwrap();
        assert_eq!(sender.send_request(ping).await.unwrap().status(), 200);
        senders.push(sender);
    }
    assert_eq!(server.converse(&ask("")).await.status, 200);
}

/// The client of HTTP/2 opens a small window and takes nothing out of it, so that no buffer of the
/// system hides that it does not read.
#[tokio::test]
async fn a_reader_that_takes_nothing_is_given_up() {
    let stall = Duration::from_millis(300);
    let pipeline = endless(Duration::from_millis(1));
    let server = TestServer::start_app(pipeline, |app| app.with_write_stall_timeout(stall)).await;
    let io = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let mut client = http2::Builder::new(TokioExecutor::new());
    client.initial_stream_window_size(1_024).initial_connection_window_size(1_024);
    let (mut sender, connection) = client.handshake(io).await.unwrap();
    tokio::spawn(connection);
    let uri = "http://localhost/model/toy/converse-stream";
    let body = ask(r#","inferenceConfig":{"maxTokens":2000}"#);
    let started_at = Instant::now();
    let response = sender.send_request(request("POST", uri, &body)).await.unwrap();
    while server.pipeline.engine().stats().num_running == 0 {
        assert!(started_at.elapsed() < PATIENCE);
        sleep(Duration::from_millis(1)).await;
    }
    // Its sequence is gone long before its last token, and its answer is cut.
    server.assert_idle().await;
    let stats = server.pipeline.engine().stats();
    assert_eq!((stats.aborted_requests_total, stats.finished_requests_total), (1, 0), "{stats:?}");
    assert!(stats.generated_tokens_total < 2_000);
    let taken = timeout(PATIENCE, response.into_body().collect()).await.unwrap();
    assert!(taken.is_err() || taken.unwrap().to_bytes().len() < 20_000);
    assert_eq!(server.converse(&ask(r#","inferenceConfig":{"maxTokens":2}"#)).await.status, 200);
}
