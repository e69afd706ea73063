//! The protocol over real sockets, with the toy model behind it.

mod access;
mod client;
mod converse;
mod disconnects;
mod drain;
mod fields;
mod guardrail;
mod invoke;
mod models;
mod openai;
mod refusals;
mod slow;
mod stream;
mod throughput;
mod timeouts;
mod tls;
mod tools;

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::HeaderName;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api::{
    Alias, App, AppOptions, DrainOptions, Listener, Models, PipelineSender, Tls, serve,
};
use crate::chat::fixture;
use crate::model::toy::ToyReply;
use crate::pipeline::Pipeline;
use crate::pipeline::testing::{control_id, num_written, scripted};

use client::Answer;

/// An alias of the toy model under which it is an imported one.
const IMPORTED: &str = "arn:aws-cn:bedrock:cn-north-1:123456789012:imported-model/abcdefghijkl";

/// A server on a port of its own.
struct TestServer {
    address: SocketAddr,
    pipeline: Pipeline,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl TestServer {
    async fn start(pipeline: Pipeline) -> Self {
        let drain = DrainOptions { grace: Duration::ZERO, timeout: Duration::from_secs(10) };
        Self::start_with(pipeline, drain).await
    }

    async fn start_with(pipeline: Pipeline, drain: DrainOptions) -> Self {
        Self::start_changed(pipeline, drain, None, |app| app).await
    }

    /// A server whose app is not as the others'.
    async fn start_app(pipeline: Pipeline, change: impl FnOnce(App) -> App) -> Self {
        let drain = DrainOptions { grace: Duration::ZERO, timeout: Duration::from_secs(10) };
        Self::start_changed(pipeline, drain, None, change).await
    }

    async fn start_changed(
        pipeline: Pipeline,
        drain: DrainOptions,
        tls: Option<Tls>,
        change: impl FnOnce(App) -> App,
    ) -> Self {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let (app, sender) = app_of_toy();
        let app = change(app);
        sender.send_replace(Some(pipeline.clone()));
        let listener = Listener { tcp, tls };
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve(listener, app, drain, async {
            let _ = stopped.await;
        }));
        Self { address, pipeline, stop: Some(stop), task }
    }

    async fn post(&self, path: &str, body: &str) -> Answer {
        client::http1(self.address, "POST", path, body).await
    }

    /// `headers` are whole lines.
    async fn post_with(&self, path: &str, headers: &str, body: &str) -> Answer {
        let mut request = client::request("POST", path, body);
        for line in headers.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        client::http1_request(self.address, request).await
    }

    async fn get(&self, path: &str) -> Answer {
        client::http1(self.address, "GET", path, "").await
    }

    async fn converse(&self, body: &str) -> Answer {
        self.post("/model/toy/converse", body).await
    }

    fn stop(&mut self) {
        let _ = self.stop.take().expect("a server is stopped once").send(());
    }

    /// Fails unless the engine comes to rest with every block accounted for.
    async fn assert_idle(&self) {
        for _ in 0..1_000 {
            let stats = self.pipeline.engine().stats();
            if stats.num_running + stats.num_waiting + stats.num_used_blocks == 0 {
                assert!(stats.blocks_are_balanced(), "{stats:?}");
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the engine is not idle: {:?}", self.pipeline.engine().stats());
    }
}

/// An app that waits for its only model, `toy`.
fn app_of_toy() -> (App, PipelineSender) {
    let names = ["custom/alias", IMPORTED];
    let aliases = names.map(|name| Alias { name: name.to_owned(), model_id: None });
    let (models, mut senders) = Models::new(&["toy".to_owned()], &aliases).unwrap();
    (App::new(models, AppOptions::default()), senders.remove(0))
}

/// A model that repeats its prompt as its reasoning, with bars for control tokens.
fn echoing() -> Pipeline {
    scripted(|step| {
        let text_ids = 0..fixture::VOCAB_SIZE - fixture::SPECIAL.len() as u32;
        let prompt = &step.tokens[..step.tokens.len() - num_written(step)];
        ToyReply::Token(match prompt.get(num_written(step)) {
            Some(id) if text_ids.contains(id) => *id,
            Some(_) => fixture::byte_id(b'|'),
            None => control_id(fixture::EOS),
        })
    })
}

/// A request of one user message, with further members.
fn ask(members: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":[{{"text":"q"}}]}}]{members}}}"#)
}
