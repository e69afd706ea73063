//! Converse and ConverseStream through the SDK, against the server at `OUTCROP_ENDPOINT`.

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_bedrockruntime::operation::converse::{ConverseError, ConverseOutput};
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ConversationRole, ConverseStreamOutput,
    InferenceConfiguration, Message,
};

const MODEL: &str = "us.deepseek.r1-v1:0";

/// `None` says that there is no server to talk to.
fn client() -> Option<Client> {
    let Ok(endpoint) = std::env::var("OUTCROP_ENDPOINT") else {
        eprintln!("skipped: OUTCROP_ENDPOINT names no server; tests/clients/run starts one");
        return None;
    };
    let credentials = Credentials::new("AKIDEXAMPLE", "not-a-secret", None, None, "test");
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .endpoint_url(endpoint)
        .build();
    Some(Client::from_conf(config))
}

fn question() -> Message {
    Message::builder()
        .role(ConversationRole::User)
        .content(ContentBlock::Text("Name three colours.".to_owned()))
        .build()
        .expect("role and content are set")
}

fn greedy() -> InferenceConfiguration {
    InferenceConfiguration::builder().max_tokens(8).temperature(0.0).build()
}

async fn answer(client: &Client) -> ConverseOutput {
    let request = client.converse().model_id(MODEL).messages(question());
    request.inference_config(greedy()).send().await.expect("the server answers")
}

fn text(answer: &ConverseOutput) -> String {
    let message = answer.output().and_then(|it| it.as_message().ok()).expect("there is a message");
    message.content().iter().filter_map(|it| it.as_text().ok()).cloned().collect()
}

#[tokio::test]
async fn converse_answers() {
    let Some(client) = client() else { return };
    let answer = answer(&client).await;
    assert!(!text(&answer).trim().is_empty());
    let usage = answer.usage().expect("usage is required");
    assert!(usage.output_tokens() <= 8);
    assert!(usage.total_tokens() > usage.output_tokens());
}

#[tokio::test]
async fn the_stream_is_the_answer_in_parts() {
    let Some(client) = client() else { return };
    let whole = text(&answer(&client).await);
    let request = client.converse_stream().model_id(MODEL).messages(question());
    let mut stream = request.inference_config(greedy()).send().await.expect("a stream").stream;
    let (mut parts, mut ended) = (String::new(), false);
    while let Some(event) = stream.recv().await.expect("frames are whole") {
        match event {
            ConverseStreamOutput::ContentBlockDelta(event) => {
                if let Some(ContentBlockDelta::Text(text)) = event.delta() {
                    parts.push_str(text);
                }
            }
            ConverseStreamOutput::Metadata(event) => ended = event.usage().is_some(),
            _ => {}
        }
    }
    assert!(ended);
    assert_eq!(parts, whole);
}

#[tokio::test]
async fn errors_are_the_sdks_own_types() {
    let Some(client) = client() else { return };
    let unknown = client.converse().model_id("anthropic.claude-v2").messages(question());
    let error = unknown.send().await.expect_err("it is not served").into_service_error();
    assert!(matches!(error, ConverseError::ResourceNotFoundException(_)), "{error:?}");
    let hot = InferenceConfiguration::builder().temperature(1.5).build();
    let request = client.converse().model_id(MODEL).messages(question()).inference_config(hot);
    let error = request.send().await.expect_err("it is out of range").into_service_error();
    assert!(matches!(error, ConverseError::ValidationException(_)), "{error:?}");
    assert!(error.to_string().contains("temperature"), "{error}");
}
