//! What the protocol costs beside a model that answers at once. Not a test but a measurement:
//! `benches/README.md` says how to run it and what came out.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::api::tests::{TestServer, ask, client};
use crate::chat::{Message, Role, fixture};
use crate::engine::{EngineConfig, Speculation};
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{MAX_MODEL_LEN, answer_ids, control_id, num_written, scripted_with};
use crate::pipeline::{ChatEvent, ChatRequest, Input, Pipeline};

const CONNECTIONS: [usize; 3] = [1, 100, 1_000];
const DURATION: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);
const ANSWER: &str = "</think>\n\nHello there.";
/// HTTP/2 connections carry this many requests side by side.
const HTTP2_STREAMS: usize = 10;

/// Room for every request of the widest round at once, so that none waits for a place.
fn toy() -> Pipeline {
    let config = EngineConfig {
        max_model_len: MAX_MODEL_LEN,
        max_num_seqs: 256,
        max_num_batched_tokens: 8_192,
        queued_requests_max: 2_000,
        queued_tokens_max: 1_000_000,
        prefix_cache: true,
        speculation: Speculation::Off,
    };
    let ids = answer_ids(ANSWER);
    scripted_with(config, move |step| {
        let end = control_id(fixture::EOS);
        ToyReply::Token(ids.get(num_written(step)).copied().unwrap_or(end))
    })
}

/// The latencies of one round, in order.
struct Round {
    latencies: Vec<Duration>,
    elapsed: Duration,
}

impl Round {
    /// Each of `clients` sends one request after the other until the time is over.
    async fn run<C, F>(clients: Vec<C>, request: impl Fn(C) -> F + Clone + Send + 'static) -> Self
    where
        C: Send + 'static,
        F: Future<Output = C> + Send,
    {
        let started = Instant::now();
        let (measured, over) = (started + WARM_UP, started + WARM_UP + DURATION);
        let mut tasks = JoinSet::new();
        for mut client in clients {
            let request = request.clone();
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                loop {
                    let begun = Instant::now();
                    if begun >= over {
                        return latencies;
                    }
                    client = request(client).await;
                    if begun >= measured {
                        latencies.push(begun.elapsed());
                    }
                }
            });
        }
        let mut latencies = tasks.join_all().await.concat();
        let elapsed = measured.elapsed();
        latencies.sort_unstable();
        Self { latencies, elapsed }
    }

    fn quantile(&self, q: f64) -> Duration {
        self.latencies[((self.latencies.len() - 1) as f64 * q) as usize]
    }

    fn print(&self, name: &str, connections: usize, beside: &Round) {
        let per_second = self.latencies.len() as f64 / self.elapsed.as_secs_f64();
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let (p50, p99) = (ms(self.quantile(0.5)), ms(self.quantile(0.99)));
        let added = p50 - ms(beside.quantile(0.5));
        println!(
            "{name:<24} {connections:>5} {per_second:>9.0} {p50:>8.2} {p99:>8.2} {added:>8.2}"
        );
    }
}

/// The same request with no protocol around it.
async fn direct(pipeline: Pipeline) -> Pipeline {
    let message = Message::new(Role::User, "q");
    let mut request = ChatRequest::new(Input::Messages(vec![message]));
    request.max_tokens = Some(64);
    let mut stream = pipeline.run(request).await.unwrap();
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event);
    }
    assert!(matches!(last, Some(ChatEvent::Finished(_))), "{last:?}");
    pipeline
}

type Http1 = http1::SendRequest<Full<Bytes>>;

async fn connect_http1(address: SocketAddr, connections: usize) -> Vec<Http1> {
    let mut senders = Vec::with_capacity(connections);
    for _ in 0..connections {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        senders.push(sender);
    }
    senders
}

async fn connect_http2(address: SocketAddr, streams: usize) -> Vec<client::Http2Sender> {
    let mut senders = Vec::with_capacity(streams);
    while senders.len() < streams {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        senders.extend((0..HTTP2_STREAMS.min(streams - senders.len())).map(|_| sender.clone()));
    }
    senders
}

fn body() -> Arc<str> {
    ask(r#","inferenceConfig":{"maxTokens":64}"#).into()
}

async fn over_http1(mut sender: Http1, path: &'static str, body: Arc<str>) -> Http1 {
    sender.ready().await.unwrap();
    let response = sender.send_request(client::request("POST", path, &body)).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();
    sender
}

async fn over_http2(mut sender: client::Http2Sender, body: Arc<str>) -> client::Http2Sender {
    let request = client::request("POST", "http://localhost/model/toy/converse", &body);
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();
    sender
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, which wants a release build and a quiet machine: benches/README.md"]
async fn requests_per_second_and_added_latency() {
    let server = TestServer::start(toy()).await;
    println!("{:<24} conn.  requests/s   p50 ms   p99 ms  added ms", "");
    for connections in CONNECTIONS {
        let pipelines = vec![server.pipeline.clone(); connections];
        let bare = Round::run(pipelines, direct).await;
        bare.print("no protocol", connections, &bare);
        for (name, path) in [
            ("Converse, HTTP/1.1", "/model/toy/converse"),
            ("ConverseStream, HTTP/1.1", "/model/toy/converse-stream"),
        ] {
            let senders = connect_http1(server.address, connections).await;
            let body = body();
            let round =
                Round::run(senders, move |sender| over_http1(sender, path, Arc::clone(&body)))
                    .await;
            round.print(name, connections, &bare);
        }
        let senders = connect_http2(server.address, connections).await;
        let body = body();
        let round = Round::run(senders, move |sender| over_http2(sender, Arc::clone(&body))).await;
        round.print("Converse, HTTP/2", connections, &bare);
    }
    server.assert_idle().await;
}
