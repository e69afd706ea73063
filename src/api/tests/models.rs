//! Several models behind one address, and what the control plane says of them.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::api::tests::client::Answer;
use crate::api::tests::{ask, client};
use crate::api::{Alias, App, AppOptions, DrainOptions, Models, PipelineSender, serve};
use crate::pipeline::testing::saying;

/// Two models, `one` and `two`, that are still loading.
struct TwoModels {
    address: std::net::SocketAddr,
    senders: Vec<PipelineSender>,
}

impl TwoModels {
    async fn start(model_load_wait: Duration) -> Self {
        let alias =
            |name: &str, id: &str| Alias { name: name.to_owned(), model_id: Some(id.to_owned()) };
        let arn = "arn:aws-cn:bedrock:cn-north-1:123456789012:application-inference-profile/team";
        let aliases = [
            alias("us.deepseek.r1-v1:0", "one"),
            alias("deepseek.r1-v1:0", "one"),
            alias(arn, "one"),
            alias("*", "two"),
        ];
        let ids = ["one".to_owned(), "two".to_owned()];
        let (models, senders) = Models::new(&ids, &aliases).unwrap();
        let app = App::new(models, AppOptions { model_load_wait, ..AppOptions::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let drain = DrainOptions { grace: Duration::ZERO, timeout: Duration::ZERO };
        tokio::spawn(serve(listener, app, drain, std::future::pending()));
        Self { address, senders }
    }

    fn load(&self, index: usize, answer: &str) {
        self.senders[index].send_replace(Some(saying(answer)));
    }

    async fn get(&self, path: &str) -> Answer {
        client::http1(self.address, "GET", path, "").await
    }

    async fn converse(&self, id: &str) -> Answer {
        let path = format!("/model/{id}/converse");
        client::http1(self.address, "POST", &path, &ask("")).await
    }

    async fn says(&self, id: &str) -> Value {
        self.converse(id).await.json()["output"]["message"]["content"][0]["text"].take()
    }
}

#[tokio::test]
async fn each_model_answers_for_itself_as_soon_as_it_is_loaded() {
    let server = TwoModels::start(Duration::from_millis(50)).await;
    server.load(1, "</think>two");
    assert_eq!(server.says("two").await, "two");
    assert_eq!(server.says("anthropic.claude-sonnet-9%3A0").await, "two");
    let (status, code, message) = server.converse("us.deepseek.r1-v1%3A0").await.error();
    assert_eq!((status, code.as_str()), (429, "ModelNotReadyException"));
    assert!(message.starts_with("Model is not ready for inference."), "{message}");
    let ready = server.get("/ready").await;
    assert_eq!(ready.status, 503);
    let statuses = json!({ "one": "loading", "two": "ready" });
    assert_eq!(ready.json(), json!({ "status": "loading", "models": statuses }));

    server.load(0, "</think>one");
    assert_eq!(server.says("us.deepseek.r1-v1%3A0").await, "one");
    assert_eq!(server.get("/ready").await.status, 200);
    let metrics = server.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    for line in [
        r#"outcrop_requests_total{model_name="one",operation="Converse",code="OK"} 1"#,
        r#"outcrop_requests_total{model_name="two",operation="Converse",code="OK"} 2"#,
        r#"outcrop_model_ready{model_name="one"} 1.0"#,
    ] {
        assert!(metrics.lines().any(|it| it == line), "{line} is not in\n{metrics}");
    }
    // A name that stands twice makes a scraper refuse the whole page.
    let mut names: Vec<_> = metrics.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let num_names = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), num_names);
}

#[tokio::test]
async fn foundation_models_are_the_names_that_clients_can_ask_for() {
    let server = TwoModels::start(Duration::ZERO).await;
    let list = async |query: &str| {
        let answer = server.get(&format!("/foundation-models{query}")).await;
        assert_eq!(answer.status, 200, "{query}");
        let summaries = answer.json()["modelSummaries"].take();
        let ids = summaries.as_array().unwrap().iter().map(|it| it["modelId"].clone());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(list("").await, ["one", "two", "deepseek.r1-v1:0"]);
    assert_eq!(list("?byProvider=deepseek&byOutputModality=TEXT").await, ["deepseek.r1-v1:0"]);
    assert_eq!(list("?byInferenceType=ON_DEMAND&X-Amz-Date=1").await.len(), 3);
    for none in ["byCustomizationType=FINE_TUNING", "byOutputModality=IMAGE", "byProvider=x"] {
        assert!(list(&format!("?{none}")).await.is_empty(), "{none}");
    }
    let refused = server.get("/foundation-models?byInferenceType=FREE").await.error();
    assert_eq!((refused.0, refused.1.as_str()), (400, "ValidationException"));
    assert!(refused.2.contains("byInferenceType"), "{}", refused.2);

    let arn = "arn:aws:bedrock:us-east-1::foundation-model/deepseek.r1-v1:0";
    let details = json!({ "modelDetails": {
        "modelArn": arn,
        "modelId": "deepseek.r1-v1:0",
        "modelName": "deepseek.r1-v1:0",
        "providerName": "DeepSeek",
        "inputModalities": ["TEXT"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": true,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND"],
        "modelLifecycle": { "status": "ACTIVE" },
    } });
    for id in ["deepseek.r1-v1%3A0", &arn.replace('/', "%2F")] {
        assert_eq!(server.get(&format!("/foundation-models/{id}")).await.json(), details);
    }
    let availability = server.get("/foundation-model-availability/deepseek.r1-v1%3A0").await;
    assert_eq!(
        availability.json(),
        json!({
            "modelId": "deepseek.r1-v1:0",
            "agreementAvailability": { "status": "AVAILABLE" },
            "authorizationStatus": "AUTHORIZED",
            "entitlementAvailability": "AVAILABLE",
            "regionAvailability": "AVAILABLE",
        })
    );
}

#[tokio::test]
async fn inference_profiles_lead_to_their_foundation_models() {
    let server = TwoModels::start(Duration::ZERO).await;
    let list = server.get("/inference-profiles").await.json();
    let profiles = list["inferenceProfileSummaries"].as_array().unwrap();
    let ids: Vec<_> = profiles.iter().map(|it| it["inferenceProfileId"].clone()).collect();
    assert_eq!(ids, ["us.deepseek.r1-v1:0", "team"]);
    assert_eq!(list.get("nextToken"), None);
    assert_eq!(
        (&profiles[0]["type"], &profiles[0]["status"]),
        (&json!("SYSTEM_DEFINED"), &json!("ACTIVE"))
    );
    assert_eq!(profiles[0]["inferenceProfileName"], "us deepseek r1 v1 0");
    let created = profiles[0]["createdAt"].as_str().unwrap();
    assert!(
        created.starts_with("20") && created.ends_with('Z') && created.len() == 20,
        "{created}"
    );

    let first = server.get("/inference-profiles?maxResults=1").await.json();
    assert_eq!(first["inferenceProfileSummaries"].as_array().unwrap().len(), 1);
    let token = first["nextToken"].as_str().unwrap();
    let next = server.get(&format!("/inference-profiles?maxResults=1&nextToken={token}")).await;
    assert_eq!(next.json()["inferenceProfileSummaries"][0]["inferenceProfileId"], "team");
    let applications = server.get("/inference-profiles?type=APPLICATION").await.json();
    assert_eq!(applications["inferenceProfileSummaries"].as_array().unwrap().len(), 1);
    for wrong in ["maxResults=0", "maxResults=1001", "nextToken=x", "type=x"] {
        let answer = server.get(&format!("/inference-profiles?{wrong}")).await;
        assert_eq!(answer.error().1, "ValidationException", "{wrong}");
    }

    let arn = "arn:aws-cn:bedrock:cn-north-1:123456789012:application-inference-profile%2Fteam";
    let profile = server.get(&format!("/inference-profiles/{arn}")).await.json();
    assert_eq!(profile["inferenceProfileArn"], arn.replace("%2F", "/"));
    let model = "arn:aws:bedrock:us-east-1::foundation-model/deepseek.r1-v1:0";
    assert_eq!(profile["models"], json!([{ "modelArn": model }]));
}
