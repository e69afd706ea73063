//! Small HTTP clients, and a reader of event streams.

use std::net::SocketAddr;

use aws_smithy_eventstream::frame::{DecodedFrame, MessageFrameDecoder};
use axum::http::{HeaderMap, Request, Response, StatusCode};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status, exception and message of an error as Bedrock shapes it.
    pub(super) fn error(&self) -> (u16, String, String) {
        assert_eq!(self.header("content-type"), "application/json");
        let message = self.json()["message"].as_str().unwrap().to_owned();
        (self.status.as_u16(), self.header("x-amzn-errortype").to_owned(), message)
    }
}

/// One message of an event stream: its kind and its payload.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) kind: String,
    pub(super) payload: Value,
}

/// Decodes whatever is complete, byte by byte as a slow network would bring it.
pub(super) fn events(body: &[u8]) -> Vec<Event> {
    let mut decoder = MessageFrameDecoder::new();
    let mut buffer = BytesMut::new();
    let mut events = Vec::new();
    for &byte in body {
        buffer.extend_from_slice(&[byte]);
        if let DecodedFrame::Complete(message) = decoder.decode_frame(&mut buffer).unwrap() {
            let header = |name: &str| {
                let header = message.headers().iter().find(|it| it.name().as_str() == name);
                header.map(|it| it.value().as_string().unwrap().as_str().to_owned())
            };
            assert_eq!(header(":content-type").unwrap(), "application/json");
            let kind = match header(":message-type").unwrap().as_str() {
                "event" => header(":event-type").unwrap(),
                "exception" => header(":exception-type").unwrap(),
                other => panic!("{other}"),
            };
            let payload = serde_json::from_slice(message.payload()).unwrap();
            events.push(Event { kind, payload });
        }
    }
    assert!(!buffer.has_remaining(), "the stream ends within a frame");
    events
}

pub(super) fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .unwrap()
}

async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

pub(super) async fn http1(address: SocketAddr, method: &str, path: &str, body: &str) -> Answer {
    http1_request(address, request(method, path, body)).await
}

pub(super) async fn http1_request(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let answer = read(sender.send_request(request).await.unwrap()).await;
    connection.abort();
    answer
}

pub(super) type Http2Sender = conn::http2::SendRequest<Full<Bytes>>;

/// Cleartext with prior knowledge, as the SDK for JavaScript speaks it.
pub(super) async fn http2(address: SocketAddr) -> Http2Sender {
    let stream = TcpStream::connect(address).await.unwrap();
    let io = TokioIo::new(stream);
    let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub(super) async fn http2_post(sender: &mut Http2Sender, path: &str, body: &str) -> Answer {
    let uri = format!("http://localhost{path}");
    read(sender.send_request(request("POST", &uri, body)).await.unwrap()).await
}
