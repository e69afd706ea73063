//! Everything that is refused: by its name, in Bedrock's shape, without text in the logs.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::api::tests::{TestServer, access, app_of_toy, ask, client, openai};
use crate::api::{DrainOptions, serve};
use crate::engine::{EngineConfig, Speculation};
use crate::limits;
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{endless, saying, scripted, scripted_with};

const HTTP2_PREFACE: &str = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bodies that must be refused with a `ValidationException`, and what the message must name. After
/// `@` stands a content block, after `+` members of `additionalModelRequestFields`, after `!` a
/// tool, after `?` a choice among tools, after `=` a schema of the answer, and a comma continues
/// the members of a request that would be good without them.
const REFUSED: [(&str, &str); 89] = [
    ("", "not valid"),
    ("{", "not valid"),
    ("[]", "not valid"),
    ("{} {}", "not valid"),
    ("\"text\"", "not valid"),
    ("{}", "messages"),
    (r#"{"messages":[]}"#, "messages"),
    (r#"{"messages":null}"#, "messages"),
    (r#"{"messages":{}}"#, "messages"),
    (r#"{"messages":[{"role":"user"}]}"#, "messages[0]"),
    (r#"{"messages":[{"role":"user","content":[]}]}"#, "messages.0"),
    (r#"{"messages":[{"role":"user","content":"q"}]}"#, "messages[0].content"),
    (r#"{"messages":[{"role":"tool","content":[{"text":"q"}]}]}"#, "messages[0].role"),
    (r#"{"messages":[{"role":"system","content":[{"text":"q"}]}]}"#, "start with a user"),
    (r#"{"messages":[{"role":"assistant","content":[{"text":"q"}]}]}"#, "start with a user"),
    (r#"@{"text":" "}"#, "messages.0.content.0 is blank"),
    (r#"@{"text":5}"#, "messages[0].content[0].text"),
    (r#"@{}"#, "messages.0.content.0"),
    (r#"@{"text":"q","cachePoint":{"type":"default"}}"#, "messages.0.content.0"),
    (r#"@{"cachePoint":{"type":"default"}}"#, "messages.0.content"),
    (r#"@{"cachePoint":{"type":"x"}}"#, "cachePoint.type"),
    (r#"@{"cachePoint":{"type":"default","ttl":"2h"}}"#, "cachePoint.ttl"),
    (r#"@{"poem":"q"}"#, "poem"),
    (r#"@{"image":{"format":"png"}}"#, "messages.0.content.0.image"),
    (r#"@{"document":{}}"#, "document"),
    (r#"@{"document":{"name":"a/b","source":{"text":"t"}}}"#, "messages.0.content.0.document.name"),
    (
        r#"@{"document":{"name":"n","format":"pdf","source":{"bytes":"AAAA"}}}"#,
        "messages.0.content.0.document.format",
    ),
    (
        r#"@{"document":{"name":"n","source":{"s3Location":{"uri":"s3://b/k"}}}}"#,
        "messages.0.content.0.document.source.s3Location",
    ),
    (r#"@{"video":{}}"#, "video"),
    (r#"@{"audio":{}}"#, "audio"),
    (r#"@{"toolUse":{}}"#, "toolUse"),
    (r#"@{"toolUse":{"toolUseId":"i","name":"f","input":{}}}"#, "only an assistant's turn"),
    (r#"@{"toolUse":{"toolUseId":"i","name":"f","input":5}}"#, "toolUse.input is invalid"),
    (r#"@{"toolUse":{"toolUseId":"i i","name":"f","input":{}}}"#, "toolUse.toolUseId"),
    (r#"@{"toolResult":{}}"#, "toolResult"),
    (r#"@{"toolResult":{"toolUseId":"i","content":[]}}"#, "exceeds the number of toolUse blocks"),
    (
        r#"@{"toolResult":{"toolUseId":"i","content":[{"image":{}}]}}"#,
        "messages.0.content.0.toolResult.content.0.image",
    ),
    (r#"@{"guardContent":{}}"#, "guardContent"),
    (r#"@{"guardContent":{"image":{}}}"#, "messages.0.content.0.guardContent.image"),
    (r#"@{"citationsContent":{"poem":1}}"#, "citationsContent.poem"),
    (r#"@{"searchResult":{}}"#, "searchResult"),
    (
        r#"@{"searchResult":{"source":"s","title":"t","content":[],"citations":{"enabled":true}}}"#,
        "messages.0.content.0.searchResult.citations",
    ),
    (r#"@{"toolAddition":{}}"#, "toolAddition"),
    (r#"@{"toolRemoval":{}}"#, "toolRemoval"),
    (r#"@{"reasoningContent":{}},{"text":"q"}"#, "User messages cannot contain reasoning content"),
    (",\"system\":[{\"text\":\"\"}]", "system.0"),
    (",\"system\":[{\"guardContent\":{}}]", "system.0.guardContent"),
    (",\"system\":\"text\"", "system"),
    (",\"inferenceConfig\":{\"maxTokens\":0}", "inferenceConfig.maxTokens"),
    (",\"inferenceConfig\":{\"maxTokens\":-1}", "inferenceConfig.maxTokens"),
    (",\"inferenceConfig\":{\"maxTokens\":2147483648}", "inferenceConfig.maxTokens"),
    (",\"inferenceConfig\":{\"maxTokens\":1e30}", "inferenceConfig.maxTokens"),
    (",\"inferenceConfig\":{\"maxTokens\":2048}", "exceed context limit: 6 + 2048 > 2048"),
    (",\"inferenceConfig\":{\"temperature\":1.01}", "inferenceConfig.temperature"),
    (",\"inferenceConfig\":{\"temperature\":-0.01}", "inferenceConfig.temperature"),
    (",\"inferenceConfig\":{\"temperature\":\"hot\"}", "inferenceConfig.temperature"),
    (",\"inferenceConfig\":{\"topP\":1.5}", "inferenceConfig.topP"),
    (",\"inferenceConfig\":{\"topK\":1}", "topK"),
    (",\"inferenceConfig\":{\"stopSequences\":[\"\"]}", "inferenceConfig.stopSequences"),
    (r#"+"top_k":-1"#, "additionalModelRequestFields.top_k"),
    (r#"+"min_p":2"#, "additionalModelRequestFields.min_p"),
    (r#"+"seed":0.5"#, "additionalModelRequestFields.seed"),
    (r#"+"repetition_penalty":0"#, "repetition_penalty"),
    (r#"+"logit_bias":{}"#, "logit_bias"),
    (r#"+"reasoning_budget":1,"thinking":{"type":"disabled"}"#, "more than once"),
    (r#"+"thinking":{"type":"adaptive"}"#, "thinking.type"),
    (r#"+"thinking":{"type":"disabled"}},"outputConfig":{"effort":"low""#, "more than once"),
    (r#","additionalModelResponseFieldPaths":["stop"]"#, "additionalModelResponseFieldPaths.0"),
    (r#","performanceConfig":{"latency":"none"}"#, "performanceConfig.latency"),
    (
        r#","performanceConfig":{"latency":"optimized"},"serviceTier":{"type":"flex"}"#,
        "contradict each other",
    ),
    (r#","serviceTier":{"type":"turbo"}"#, "serviceTier.type"),
    (r#","requestMetadata":{}"#, "requestMetadata"),
    (r#","promptVariables":{"a":{"text":"b"}}"#, "promptVariables"),
    (r#","guardrailConfig":{"guardrailIdentifier":"g"}"#, "both, its identifier and its version"),
    (
        r#","guardrailConfig":{"streamProcessingMode":"sync"}"#,
        "guardrailConfig.streamProcessingMode",
    ),
    (r#","toolConfig":{"tools":[]}"#, "toolConfig.tools"),
    (r#","toolConfig":{"tools":[{"systemTool":{"name":"s"}}]}"#, "toolConfig.tools.0.systemTool"),
    (r#","toolConfig":{"tools":[{"cachePoint":{"type":"default"}}]}"#, "at least one `toolSpec`"),
    (r#"!{"name":"a b","inputSchema":{"json":{}}}"#, "toolConfig.tools.0.toolSpec.name"),
    (r#"!{"name":"f","inputSchema":{"json":{"type":"array"}}}"#, "inputSchema.json.type"),
    (r#"!{"name":"f","inputSchema":{"json":{}},"description":""}"#, "toolSpec.description"),
    (
        r#"!{"name":"f","inputSchema":{"json":{}}}},
        {"toolSpec":{"name":"f","inputSchema":{"json":{}}}"#,
        "several tools of the name `f`",
    ),
    (r#"?{"any":{},"auto":{}}"#, "toolConfig.toolChoice"),
    (r#"?{"tool":{"name":"g"}}"#, "toolConfig.toolChoice.tool.name"),
    (r#","outputConfig":{"effort":"some"}"#, "outputConfig.effort"),
    (r#"={"schema":"{"}"#, "jsonSchema.schema` is not JSON"),
    (r#"={"schema":"5"}"#, "must be the text of a JSON object"),
    (r#"={"schema":{}}"#, "outputConfig.textFormat.structure.jsonSchema.schema"),
    (",\"modelId\":\"toy\"", "modelId"),
];

#[tokio::test]
async fn every_refusal_names_what_it_refuses() {
    let server = TestServer::start(saying("</think>ok")).await;
    for (body, named) in REFUSED {
        let body = match body.split_at_checked(1) {
            Some(("@", block)) => {
                format!(r#"{{"messages":[{{"role":"user","content":[{block}]}}]}}"#)
            }
            Some(("+", fields)) => ask(&format!(r#","additionalModelRequestFields":{{{fields}}}"#)),
            Some(("!", spec)) => {
                ask(&format!(r#","toolConfig":{{"tools":[{{"toolSpec":{spec}}}]}}"#))
            }
            Some(("?", choice)) => ask(&format!(
                r#","toolConfig":{{"toolChoice":{choice},"tools":[{{"toolSpec":
                {{"name":"f","inputSchema":{{"json":{{}}}}}}}}]}}"#
            )),
            Some(("=", schema)) => ask(&format!(
                r#","outputConfig":{{"textFormat":{{"type":"json_schema","structure":{{
                "jsonSchema":{schema}}}}}}}"#
            )),
            Some((",", _)) => ask(body),
            Some(_) | None => body.to_owned(),
        };
        let (status, code, message) = server.converse(&body).await.error();
        assert_eq!((status, code.as_str()), (400, "ValidationException"), "{body}");
        assert!(message.contains(named), "`{message}` does not name `{named}`");
    }
    assert_eq!(server.pipeline.engine().stats().steps_total, 0);
}

#[tokio::test]
async fn roles_take_turns_and_the_user_has_the_last_word() {
    let server = TestServer::start(saying("</think>ok")).await;
    let talk = async |roles: &[&str]| {
        let message = |role: &&str| json!({ "role": role, "content": [{ "text": "t" }] });
        let messages: Vec<Value> = roles.iter().map(message).collect();
        server.converse(&json!({ "messages": messages }).to_string()).await
    };
    assert_eq!(talk(&["user", "assistant", "user"]).await.status, 200);
    let (_, _, message) = talk(&["user", "user"]).await.error();
    assert!(message.starts_with("A conversation must alternate between user and assistant roles."));
    let (_, _, message) = talk(&["user", "assistant"]).await.error();
    assert!(message.contains("must end with a user message"));
}

#[tokio::test]
async fn limits_hold_at_their_value_and_refuse_one_above() {
    let server = TestServer::start(saying("</think>ok")).await;
    let status = async |body: Value| server.converse(&body.to_string()).await.status.as_u16();
    let with = |key: &str, value: Value| {
        let mut body = json!({ "messages": [{ "role": "user", "content": [{ "text": "q" }] }] });
        body[key] = value;
        body
    };
    let metadata = |entries: usize, chars: usize| {
        let entries = (0..entries).map(|it| (it.to_string(), Value::from("v".repeat(chars))));
        with("requestMetadata", Value::Object(entries.collect()))
    };
    assert_eq!(status(metadata(16, 256)).await, 200);
    assert_eq!(status(metadata(17, 1)).await, 400);
    assert_eq!(status(metadata(1, 257)).await, 400);
    let stops = |count: usize| {
        let stops: Vec<String> = (0..count).map(|it| format!("stop {it}")).collect();
        with("inferenceConfig", json!({ "stopSequences": stops }))
    };
    assert_eq!(status(stops(2_500)).await, 200);
    assert_eq!(status(stops(2_501)).await, 400);
    let blocks = |count: usize| {
        let blocks = vec![json!({ "cachePoint": { "type": "default" } }); count - 1];
        let mut content = vec![json!({ "text": "q" })];
        content.extend(blocks);
        json!({ "messages": [{ "role": "user", "content": content }] })
    };
    assert_eq!(status(blocks(limits::CONTENT_BLOCKS_MAX)).await, 200);
    assert_eq!(status(blocks(limits::CONTENT_BLOCKS_MAX + 1)).await, 400);
    let padded = |len: usize| {
        let body = ask("");
        format!("{body}{}", " ".repeat(len - body.len()))
    };
    let limit = limits::REQUEST_BODY_BYTES_MAX;
    assert_eq!(server.converse(&padded(limit)).await.status, 200);
    let (status, _, message) = server.converse(&padded(limit + 1)).await.error();
    assert_eq!(status, 400);
    assert!(message.contains(&limit.to_string()), "{message}");
}

#[tokio::test]
async fn deep_json_is_an_error_and_not_a_stack_overflow() {
    let server = TestServer::start(saying("never")).await;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        for field in ["additionalModelRequestFields", "toolConfig", "messages"] {
            let body = ask(&format!(r#","{field}":{deep}"#));
            assert_eq!(server.converse(&body).await.error().0, 400);
        }
    }
}

#[tokio::test]
async fn prompts_that_do_not_fit_are_refused_in_words_that_clients_know() {
    let server = TestServer::start(saying("never")).await;
    let text = "x".repeat(3_000);
    let body = json!({ "messages": [{ "role": "user", "content": [{ "text": text }] }] });
    let (status, code, message) = server.converse(&body.to_string()).await.error();
    assert_eq!((status, code.as_str()), (400, "ValidationException"));
    assert!(message.starts_with("Input is too long for requested model"), "{message}");
}

#[tokio::test]
async fn unknown_operations_are_json_too() {
    let server = TestServer::start(saying("never")).await;
    for (method, path) in [
        ("GET", "/"),
        ("POST", "/"),
        ("GET", "/model/toy/converse"),
        ("DELETE", "/health"),
        ("POST", "/model/toy/invoke-with-bidirectional-stream"),
        ("GET", "/model/toy/invoke"),
        ("POST", "/async-invoke"),
        ("POST", "/guardrails"),
        ("POST", "/model/a/b/converse"),
        ("POST", "/model/toy/converse/"),
        ("POST", "/model/toy%2Fconverse"),
    ] {
        let answer = client::http1(server.address, method, path, "{}").await;
        let (status, code, _) = answer.error();
        assert_eq!((status, code.as_str()), (404, "UnknownOperationException"), "{method} {path}");
        assert_eq!(answer.header("x-amzn-requestid").len(), 36);
    }
}

/// An id is looked up among the models served and nowhere else: whatever it spells, no path is made
/// of it and no address is fetched.
#[tokio::test]
async fn ids_that_look_like_paths_or_addresses_are_unknown_models() {
    let server = TestServer::start(saying("never")).await;
    let long = "%2E%2E%2F".repeat(200);
    for id in [
        "..",
        "%2e%2e",
        "..%2F..%2F..%2Fetc%2Fpasswd",
        "%2Fetc%2Fpasswd",
        "toy%2F..%2Ftoy",
        "toy%00",
        "toy%00.gguf",
        "..%5C..%5Cwindows%5Cwin.ini",
        "%252e%252e%252f",
        "file:%2F%2F%2Fetc%2Fpasswd",
        "http:%2F%2F169.254.169.254%2Flatest%2Fmeta-data",
        "http:%2F%2F[::ffff:127.0.0.1]:80%5C@example.com",
        "s3:%2F%2Fbucket%2Fmodel",
        "arn:aws:bedrock:us-east-1::foundation-model%2F..%2F..%2Ftoy",
        "~root",
        "$(id)",
        "toy%0d%0aX-Injected:%20yes",
        &long,
    ] {
        for operation in ["converse", "converse-stream"] {
            let answer = server.post(&format!("/model/{id}/{operation}"), &ask("")).await;
            let (status, code, _) = answer.error();
            assert_eq!((status, code.as_str()), (404, "ResourceNotFoundException"), "{id}");
            assert!(answer.headers.get("x-injected").is_none());
        }
    }
    // What is not UTF-8 or longer than any id is no id.
    for id in ["%ff%fe", &"x".repeat(limits::MODEL_ID_CHARS_MAX + 1)] {
        let (status, code, _) = server.post(&format!("/model/{id}/converse"), "{}").await.error();
        assert_eq!((status, code.as_str()), (400, "ValidationException"));
    }
}

#[tokio::test]
async fn a_full_queue_is_throttling() {
    let config = EngineConfig {
        max_model_len: 64,
        max_num_seqs: 1,
        max_num_batched_tokens: 64,
        queued_requests_max: 1,
        queued_tokens_max: 1_000,
        prefix_cache: false,
        speculation: Speculation::Off,
    };
    let pipeline = scripted_with(config, |_| {
        std::thread::sleep(Duration::from_millis(20));
        ToyReply::Token(b'a'.into())
    });
    let server = TestServer::start(pipeline).await;
    let body = ask("");
    let answers = (0..6).map(|_| server.converse(&body));
    let answers = futures_util::future::join_all(answers).await;
    let throttled = answers.iter().filter(|it| it.status == 429).collect::<Vec<_>>();
    assert!(!throttled.is_empty() && throttled.len() < 6);
    let (_, code, message) = throttled[0].error();
    assert_eq!(code, "ThrottlingException");
    assert!(message.contains("1 requests"), "{message}");
    assert_eq!(throttled[0].header("retry-after"), "1");
}

#[tokio::test]
async fn numbers_that_are_none_are_the_models_error() {
    let server = TestServer::start(scripted(|_| ToyReply::NotANumber)).await;
    let answer = server.converse(&ask("")).await;
    let (status, code, _) = answer.error();
    assert_eq!((status, code.as_str()), (424, "ModelErrorException"));
    assert_eq!(answer.json()["originalStatusCode"], 500);
    let server = TestServer::start(scripted(|_| ToyReply::Fail("kernel".to_owned()))).await;
    assert_eq!(server.converse(&ask("")).await.error().0, 424);
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let server = TestServer::start(saying("never")).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let header = "x".repeat(limits::HEADER_BYTES_MAX);
    let head = format!("POST /model/toy/converse HTTP/1.1\r\nhost: x\r\nx-long: {header}\r\n\r\n");
    // The server may close before it has read everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"), "{answer:?}");
    assert_eq!(server.get("/health").await.status, 200);
}

/// A client that sends nothing, or half a request head, does not keep its connection.
#[tokio::test]
async fn slow_request_heads_lose_their_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (app, _sender) = app_of_toy();
    let app = app.with_first_request_timeout(Duration::from_millis(100));
    let drain = DrainOptions { grace: Duration::ZERO, timeout: Duration::ZERO };
    let server = tokio::spawn(serve(listener, app, drain, std::future::pending()));
    for start in ["", "POST /model/toy/conv", "PRI * HTTP/2.0\r\n", HTTP2_PREFACE] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "`{start}` keeps its connection");
    }
    server.abort();
}

/// Collects what a subscriber writes, until it is taken away.
#[derive(Clone)]
struct Log(Arc<Mutex<Option<Vec<u8>>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(log) = &mut *self.0.lock().unwrap() {
            log.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_text_reaches_the_log_at_any_level() {
    let log = Log(Arc::new(Mutex::new(Some(Vec::new()))));
    let writer = log.clone();
    // For all threads: the engine's and those that tokenize as well.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let server = TestServer::start(saying("canary</think>canary")).await;
    let canary = r#","system":[{"text":"canary"}],"requestMetadata":{"canary":"canary"},
        "inferenceConfig":{"stopSequences":["canaryy"],"maxTokens":"#;
    for path in ["/model/toy/converse", "/model/toy/converse-stream", "/model/canary/converse"] {
        for max_tokens in ["100}", "5000}", "\"canary\"}"] {
            let body = ask(&format!("{canary}{max_tokens}")).replace("\"q\"", "\"canary\"");
            server.post(path, &body).await;
        }
    }
    let document = r#"[{"document":{"name":"canary","format":"csv","source":{"bytes":"/w=="}}}]"#;
    let document = format!(r#"{{"messages":[{{"role":"user","content":{document}}}]}}"#);
    let tool = r#","toolConfig":{"tools":[{"toolSpec":{"name":"canary","inputSchema":{"json":
        {"canary":1}}}}],"toolChoice":{"tool":{"name":"canary"}}}"#;
    let schema = r#","outputConfig":{"textFormat":{"type":"json_schema","structure":{"jsonSchema":
        {"schema":"{\"type\":\"canary\"}"}}}}"#;
    let guardrail = r#","guardrailConfig":{"guardrailIdentifier":"canary","guardrailVersion":"1"}"#;
    let chat = r#"{"messages":[{"role":"user","content":"canary"}]}"#.to_owned();
    let count = format!(r#"{{"input":{{"converse":{chat}}}}}"#);
    let prompt = r#"{"prompt":"canary","stop":["canaryy"]}"#.to_owned();
    let bodies = [document, ask(tool), ask(schema), ask(guardrail), chat, count, prompt];
    for operation in ["converse", "invoke", "invoke-with-response-stream", "count-tokens"] {
        for body in &bodies {
            server.post(&format!("/model/toy/{operation}"), body).await;
        }
    }
    for path in ["foundation-models?byProvider=canary", "inference-profiles?nextToken=canary"] {
        server.get(&format!("/{path}")).await;
    }
    openai::ask_with_canaries(&server).await;
    let server = TestServer::start(endless(Duration::ZERO)).await;
    server.converse(&ask("").replace("\"q\"", "\"canary\"")).await;
    let secrets = access::show_secrets().await;
    let log = String::from_utf8(log.0.lock().unwrap().take().unwrap()).unwrap();
    assert!(log.contains("ValidationException"), "the log does not work: {log}");
    assert!(!log.contains("canary"), "{log}");
    assert!(log.contains("a request was not let in") && log.contains("is not a file of keys"));
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} is in the log");
    }
}
