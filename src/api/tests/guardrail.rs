//! Guardrails over the wire: by themselves, and around a model.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::tests::TestServer;
use crate::api::tests::client::events;
use crate::api::{App, AuditLog};
use crate::chat::fixture;
use crate::guardrail::Guardrails;
use crate::model::toy::ToyReply;
use crate::pipeline::testing::{answer_ids, num_written, saying, scripted};

async fn server(answer: &str) -> TestServer {
    TestServer::start_app(saying(answer), |app| app.with_guardrails(Guardrails::built_in())).await
}

fn ask(text: &str) -> String {
    json!({
        "messages": [{ "role": "user", "content": [{ "text": text }] }],
        "system": [{ "text": "AKIAIOSFODNN7EXAMPLE is nobody's concern" }],
        "guardrailConfig":
            { "guardrailIdentifier": "default", "guardrailVersion": "1", "trace": "enabled" },
    })
    .to_string()
}

#[tokio::test]
async fn a_guardrail_is_applied_without_a_model() {
    let server = server("never").await;
    let path =
        "/guardrail/arn:aws:bedrock:us-east-1:123456789012:guardrail%2Fdefault/version/1/apply";
    let body = json!({
        "source": "OUTPUT",
        "content": [{ "text": { "text": "call 13800138000" } }, { "text": { "text": "fine" } }],
    });
    let answer = server.post(path, &body.to_string()).await;
    let json = answer.json();
    assert_eq!((answer.status.as_u16(), &json["action"]), (200, &json!("GUARDRAIL_INTERVENED")));
    assert_eq!(json["outputs"], json!([{ "text": "call {PHONE}" }, { "text": "fine" }]));
    let entity = &json["assessments"][0]["sensitiveInformationPolicy"]["piiEntities"][0];
    let expected = json!({
        "match": "13800138000", "type": "PHONE", "action": "ANONYMIZED", "detected": true,
    });
    assert_eq!(entity, &expected);
    assert_eq!(json["usage"]["sensitiveInformationPolicyUnits"], 1);
    assert_eq!(json["guardrailCoverage"]["textCharacters"], json!({ "guarded": 20, "total": 20 }));

    let quiet = json!({ "source": "INPUT", "content": [{ "text": { "text": "the river" } }] });
    let json = server.post(path, &quiet.to_string()).await.json();
    assert_eq!((&json["action"], &json["outputs"]), (&json!("NONE"), &json!([])));
    let missing = server.post("/guardrail/none/version/1/apply", &quiet.to_string()).await;
    assert_eq!(missing.error().0, 404);
    let wrong = json!({ "source": "INPUT", "content": [{ "text": { "txt": "a" } }] });
    let (status, _, message) = server.post(path, &wrong.to_string()).await.error();
    assert_eq!((status, message.contains("content[0]")), (400, true), "{message}");
}

#[tokio::test]
async fn checks_need_no_guardrail() {
    let server = server("never").await;
    let body = json!({
        "messages": [{ "role": "user", "content": [{ "text": "手机号13800138000" }] }],
        "checks": {
            "contentFilter": { "categories": [{ "category": "HATE" }] },
            "promptAttack": { "categories": [{ "category": "JAILBREAK" }] },
            "sensitiveInformation": { "entities": [{ "type": "PHONE" }] },
        },
    });
    let json = server.post("/guardrail-checks/invoke", &body.to_string()).await.json();
    let found = &json["results"]["sensitiveInformation"]["results"][0];
    assert_eq!((&found["beginOffset"], &found["endOffset"]), (&json!(3), &json!(14)));
    let severity = json["results"]["contentFilter"]["results"][0]["severityScore"].as_f64();
    assert!(severity.is_some_and(|score| (0.0..0.5).contains(&score)), "{json}");
    assert_eq!(json["usage"]["promptAttack"]["textUnits"], 1);
}

#[tokio::test]
async fn converse_blocks_and_masks_and_says_what_was_found() {
    let guarded = server("Hm.</think>call 13800138000 now").await;
    let json = guarded.converse(&ask("q")).await.json();
    assert_eq!(json["stopReason"], "guardrail_intervened");
    assert_eq!(json["output"]["message"]["content"][1]["text"], "call {PHONE} now");
    let trace = &json["trace"]["guardrail"];
    assert_eq!(trace["actionReason"], "Guardrail masked.");
    assert_eq!(trace["modelOutput"], json!(["call 13800138000 now"]));
    let output = &trace["outputAssessments"]["default"][1]["sensitiveInformationPolicy"];
    assert_eq!(output["piiEntities"][0]["match"], "13800138000");

    let blocked = guarded.converse(&ask("key AKIAIOSFODNN7EXAMPLE")).await.json();
    assert_eq!(blocked["stopReason"], "guardrail_intervened");
    let content = blocked["output"]["message"]["content"].as_array().unwrap();
    assert!(content.len() == 1 && content[0]["text"].as_str().unwrap().starts_with("Sorry"));
    let input = &blocked["trace"]["guardrail"]["inputAssessment"]["default"];
    assert_eq!(input["sensitiveInformationPolicy"]["piiEntities"][0]["action"], "BLOCKED");
    assert_eq!(blocked["usage"]["outputTokens"], 0);
}

#[tokio::test]
async fn what_fired_is_counted_and_recorded_and_no_text_is() {
    let folder = tempfile::tempdir().unwrap();
    for with_text in [false, true] {
        let path = folder.path().join(format!("audit-{with_text}.jsonl"));
        let audit = AuditLog::open(&path, with_text).unwrap();
        let app = |app: App| app.with_guardrails(Guardrails::built_in()).with_audit_log(audit);
        let server = TestServer::start_app(saying("Hm.</think>call 13800138000 now"), app).await;
        server.converse(&ask("q")).await;
        server.post("/model/toy/converse-stream", &ask("key AKIAIOSFODNN7EXAMPLE")).await;

        let lines = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = lines.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
        let told: Vec<_> = lines.iter().map(|it| (&it["direction"], &it["action"])).collect();
        let expected = [("OUTPUT", "ANONYMIZED"), ("INPUT", "BLOCKED")];
        let expected = expected.map(|(direction, action)| (json!(direction), json!(action)));
        assert_eq!(told, [(&expected[0].0, &expected[0].1), (&expected[1].0, &expected[1].1)]);
        let mut fired = json!({ "policy": "pii", "name": "PHONE", "action": "ANONYMIZED",
            "count": 1 });
        if with_text {
            fired["matches"] = json!(["13800138000"]);
        }
        assert_eq!(lines[0]["fired"], json!([fired]));
        assert_eq!(
            (&lines[0]["operation"], &lines[0]["guardrail_id"], &lines[0]["completed"]),
            (&json!("Converse"), &json!("default"), &json!(true))
        );
        assert!(lines[0]["request_id"].as_str().is_some_and(|id| id.len() == 36));
        assert_eq!(lines.iter().any(|it| it.to_string().contains("AKIA")), with_text);

        let metrics = String::from_utf8(server.get("/metrics").await.body.to_vec()).unwrap();
        for line in [
            "outcrop_guardrail_interventions_total{guardrail=\"default\",version=\"1\",\
             direction=\"INPUT\",action=\"BLOCKED\"} 1",
            "outcrop_guardrail_detections_total{guardrail=\"default\",policy=\"pii\",\
             type=\"PHONE\",action=\"ANONYMIZED\"} 1",
            "outcrop_guardrail_text_units_total{guardrail=\"default\",policy=\"pii\"}",
            "outcrop_guardrail_duration_seconds_count{guardrail=\"default\",direction=\"INPUT\"} 2",
        ] {
            assert!(metrics.contains(line), "{line} is not in\n{metrics}");
        }
    }
}

/// Whatever the protocol: what had been found by then is known.
#[tokio::test]
async fn what_a_client_leaves_behind_is_counted_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let audit = AuditLog::open(&path, false).unwrap();
    let begun = answer_ids("Hm.</think>call 13800138000 now. ");
    let pipeline = scripted(move |step| {
        // Slow enough that nobody leaves after its end.
        std::thread::sleep(Duration::from_millis(3));
        let begun = &begun[..begun.len() - 1];
        let next = begun.get(num_written(step)).copied();
        ToyReply::Token(next.unwrap_or(fixture::byte_id(b'a')))
    });
    let app = |app: App| app.with_guardrails(Guardrails::built_in()).with_audit_log(audit);
    let server = TestServer::start_app(pipeline, app).await;
    let chat = json!({ "model": "toy", "stream": true, "max_tokens": 1_900,
                       "messages": [{ "role": "user", "content": "mail me@example.com" }] });
    for (number, (path_of, body)) in [
        ("/model/toy/converse-stream", ask("mail me@example.com")),
        ("/v1/chat/completions", chat.to_string()),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = format!(
            "POST {path_of} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
             x-amzn-bedrock-guardrailidentifier: default\r\n\
             x-amzn-bedrock-guardrailversion: 1\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&seen).contains("{PHONE}") {
            let len = stream.read(&mut buffer).await.unwrap();
            assert_ne!(len, 0, "{path_of}: {}", String::from_utf8_lossy(&seen));
            seen.extend_from_slice(&buffer[..len]);
        }
        drop(stream);
        server.assert_idle().await;

        let mut lines: Vec<Value> = Vec::new();
        for _ in 0..1_000 {
            let text = std::fs::read_to_string(&path).unwrap();
            lines = text.lines().map(|it| serde_json::from_str(it).unwrap()).collect();
            if lines.len() > 2 * number + 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let told = |line: &Value| {
            let fired = line["fired"][0]["name"].clone();
            json!([line["direction"], fired, line["completed"]])
        };
        let told: Vec<Value> = lines[2 * number..].iter().map(told).collect();
        let expected = [json!(["INPUT", "EMAIL", true]), json!(["OUTPUT", "PHONE", false])];
        assert_eq!(told, expected, "{path_of}");
        let metrics = String::from_utf8(server.get("/metrics").await.body.to_vec()).unwrap();
        let line = "outcrop_guardrail_detections_total{guardrail=\"default\",policy=\"pii\",\
                    type=\"PHONE\",action=\"ANONYMIZED\"}";
        assert!(metrics.contains(&format!("{line} {}", number + 1)), "{path_of}: {metrics}");
    }
}

#[tokio::test]
async fn a_stream_is_masked_on_its_way() {
    let server = server("Hm.</think>call 13800138000 now").await;
    let answer = server.post("/model/toy/converse-stream", &ask("q")).await;
    let events = events(&answer.body);
    let text: String = events
        .iter()
        .filter_map(|event| event.payload["delta"]["text"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(text, "call {PHONE} now");
    let last: &Value = &events.last().unwrap().payload;
    assert_eq!(last["trace"]["guardrail"]["actionReason"], "Guardrail masked.");
}

#[tokio::test]
async fn invoke_model_tells_of_the_guardrail_in_the_body() {
    let server = server("Hm.</think>call 13800138000 now").await;
    let headers = "x-amzn-bedrock-guardrailidentifier: default\n\
                   x-amzn-bedrock-guardrailversion: 1\n";
    let chat = json!({ "messages": [{ "role": "user", "content": "q" }], "max_tokens": 100 });
    let json = server.post_with("/model/toy/invoke", headers, &chat.to_string()).await.json();
    assert_eq!(json["amazon-bedrock-guardrailAction"], "INTERVENED", "{json}");
    assert!(json.to_string().contains("call {PHONE} now") && !json.to_string().contains("138001"));
}

/// Both kinds of bodies, whole and streamed: the tags mark what is judged.
#[tokio::test]
async fn invoke_model_judges_what_tags_mark() {
    let server = server("Hm.</think>fine").await;
    let headers = "x-amzn-bedrock-guardrailidentifier: default\n\
                   x-amzn-bedrock-guardrailversion: 1\nx-amzn-bedrock-trace: ENABLED\n";
    let name = "amazon-bedrock-guardrails-guardContent_x1";
    let config = json!({ "tagSuffix": "x1" });
    let key = "AKIAIOSFODNN7EXAMPLE";
    for (text, action) in [
        (format!("{key} <{name}>q</{name}>"), "NONE"),
        (format!("a <{name}>{key}</{name}>"), "INTERVENED"),
    ] {
        let prompt = json!({ "prompt": text, "max_tokens": 100,
                             "amazon-bedrock-guardrailConfig": config });
        let chat = json!({ "messages": [{ "role": "user", "content": text }],
                           "amazon-bedrock-guardrailConfig": config });
        for body in [prompt, chat] {
            let body = body.to_string();
            let json = server.post_with("/model/toy/invoke", headers, &body).await.json();
            assert_eq!(json["amazon-bedrock-guardrailAction"], action, "{json}");
            assert!(json["amazon-bedrock-trace"]["guardrail"]["input"]["default"].is_object());
            let path = "/model/toy/invoke-with-response-stream";
            let events = events(&server.post_with(path, headers, &body).await.body);
            let last = events.last().unwrap().payload["bytes"].as_str().unwrap();
            let last: Value = serde_json::from_slice(&STANDARD.decode(last).unwrap()).unwrap();
            assert_eq!(last["amazon-bedrock-guardrailAction"], action, "{last}");
            assert!(last["amazon-bedrock-invocationMetrics"].is_object(), "{last}");
        }
    }
    let open = json!({ "prompt": format!("a <{name}>b"), "max_tokens": 100,
                       "amazon-bedrock-guardrailConfig": config });
    for headers in [headers, ""] {
        let refused = server.post_with("/model/toy/invoke", headers, &open.to_string()).await;
        assert_eq!(refused.error().0, 400);
    }
}
