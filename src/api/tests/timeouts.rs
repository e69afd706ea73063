//! Answers that take longer than a server gives to a request.

use std::time::{Duration, Instant};

use crate::api::App;
use crate::api::tests::client::events;
use crate::api::tests::{TestServer, ask};
use crate::pipeline::testing::endless;

#[tokio::test]
async fn what_is_not_finished_in_time_is_given_up() {
    let pipeline = endless(Duration::from_millis(5));
    let change = |app: App| app.with_request_timeout(Duration::from_secs(1));
    let server = TestServer::start_app(pipeline, change).await;
    let started_at = Instant::now();
    let chat = r#"{"model":"toy","messages":[{"role":"user","content":"q"}]}"#;
    let stream = chat.replacen("{", r#"{"stream":true,"#, 1);
    let invoke = r#"{"prompt":"q"}"#;
    let body = ask("");
    let answers = tokio::join!(
        server.post("/model/toy/converse", &body),
        server.post("/model/toy/converse-stream", &body),
        server.post("/model/toy/invoke", invoke),
        server.post("/model/toy/invoke-with-response-stream", invoke),
        server.post("/v1/chat/completions", chat),
        server.post("/v1/chat/completions", &stream),
        server.post("/v1/responses", r#"{"model":"toy","input":"q"}"#),
    );
    assert!(started_at.elapsed() < Duration::from_secs(8));
    for whole in [&answers.0, &answers.2] {
        let (status, code, message) = whole.error();
        assert_eq!((status, code.as_str()), (408, "ModelTimeoutException"));
        assert!(message.contains("within the 1 s"), "{message}");
    }
    for stream in [&answers.1, &answers.3] {
        let events = events(&stream.body);
        assert!(events.len() > 2, "what was written in time is sent");
        assert_eq!(events.last().unwrap().kind, "modelStreamErrorException");
    }
    for whole in [&answers.4, &answers.6] {
        assert_eq!(whole.status, 408);
        assert_eq!(whole.json()["error"]["code"], "request_timeout");
    }
    let sent = String::from_utf8(answers.5.body.to_vec()).unwrap();
    let last = sent.trim_end().rsplit("\n\n").next().unwrap();
    assert!(last.contains(r#""code":"request_timeout""#), "{last}");
    // The engine works for none of them any more.
    server.assert_idle().await;
    let metrics = String::from_utf8(server.get("/metrics").await.body.to_vec()).unwrap();
    assert!(metrics.contains(r#"code="ModelTimeoutException""#), "{metrics}");
}
