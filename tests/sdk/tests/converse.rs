//! Converse, tools and InvokeModel through the SDK, against the server at `OUTCROP_ENDPOINT`.

use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_bedrockruntime::operation::converse::{ConverseError, ConverseOutput};
use aws_sdk_bedrockruntime::primitives::Blob;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ContentBlockStart, ConversationRole, ConverseStreamOutput,
    InferenceConfiguration, Message, ResponseStream, SpecificToolChoice, StopReason, Tool,
    ToolChoice, ToolConfiguration, ToolInputSchema, ToolSpecification,
};
use aws_smithy_types::Document;

const MODEL: &str = "us.deepseek.r1-v1:0";

/// `None` says that there is no server to talk to.
fn client() -> Option<Client> {
    let Ok(endpoint) = std::env::var("OUTCROP_ENDPOINT") else {
        eprintln!("skipped: OUTCROP_ENDPOINT names no server; tests/clients/run starts one");
        return None;
    };
    let (id, secret) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"));
    Some(client_of(endpoint, id, secret))
}

fn variable(name: &str) -> String {
    std::env::var(name).expect("it is set beside OUTCROP_ENDPOINT")
}

/// Shows the first error in place of trying again.
fn client_of(endpoint: String, id: String, secret: String) -> Client {
    let credentials = Credentials::new(id, secret, None, None, "test");
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .retry_config(RetryConfig::disabled())
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
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

/// The one string that the tool takes. The SDK writes a schema's keys in an order of its own each
/// time, and the model reads them, so that a string of its choice would not be the same twice.
const COLOUR: &str = "verdigris";

/// One tool that has to be called, with a single string to fill in.
fn forced_tool() -> ToolConfiguration {
    let object = |entries: &[(&str, Document)]| {
        Document::Object(entries.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect())
    };
    let colours = Document::Array(vec![COLOUR.into()]);
    let colour = object(&[("type", "string".into()), ("enum", colours)]);
    let schema = object(&[
        ("type", "object".into()),
        ("properties", object(&[("colour", colour)])),
        ("required", Document::Array(vec!["colour".into()])),
        ("additionalProperties", false.into()),
    ]);
    let spec =
        ToolSpecification::builder().name("paint").input_schema(ToolInputSchema::Json(schema));
    let choice = SpecificToolChoice::builder().name("paint").build().expect("it has a name");
    ToolConfiguration::builder()
        .tools(Tool::ToolSpec(spec.build().expect("name and schema are set")))
        .tool_choice(ToolChoice::Tool(choice))
        .build()
        .expect("there is a tool")
}

fn sixty_four_tokens() -> InferenceConfiguration {
    InferenceConfiguration::builder().max_tokens(64).temperature(0.0).build()
}

#[tokio::test]
async fn a_forced_tool_call_whole_and_streamed() {
    let Some(client) = client() else { return };
    let request = client.converse().model_id(MODEL).messages(question());
    let request = request.tool_config(forced_tool()).inference_config(sixty_four_tokens());
    let answer = request.send().await.expect("the server answers");
    assert_eq!(answer.stop_reason(), &StopReason::ToolUse);
    let message = answer.output().and_then(|it| it.as_message().ok()).expect("there is a message");
    let call = message.content()[0].as_tool_use().expect("nothing precedes the call");
    let input = call.input().as_object().expect("the input is an object");
    assert_eq!(input["colour"].as_string(), Some(COLOUR));

    let request = client.converse_stream().model_id(MODEL).messages(question());
    let request = request.tool_config(forced_tool()).inference_config(sixty_four_tokens());
    let mut stream = request.send().await.expect("a stream").stream;
    let (mut name, mut fragments) = (None, String::new());
    while let Some(event) = stream.recv().await.expect("frames are whole") {
        match event {
            ConverseStreamOutput::ContentBlockStart(event) if event.content_block_index() == 0 => {
                if let Some(ContentBlockStart::ToolUse(start)) = event.start() {
                    name = Some(start.name().to_owned());
                }
            }
            ConverseStreamOutput::ContentBlockDelta(event) if event.content_block_index() == 0 => {
                if let Some(ContentBlockDelta::ToolUse(delta)) = event.delta() {
                    fragments.push_str(delta.input());
                }
            }
            _ => {}
        }
    }
    assert_eq!(name.as_deref(), Some("paint"));
    fragments.retain(|it| !it.is_whitespace());
    assert_eq!(fragments, format!(r#"{{"colour":"{COLOUR}"}}"#));
}

/// The SDK sends bodies as `application/octet-stream`.
#[tokio::test]
async fn invoke_whole_and_streamed() {
    let Some(client) = client() else { return };
    let body = || Blob::new(r#"{"prompt": "Once upon a time", "max_tokens": 6, "temperature": 0}"#);
    let answer = client.invoke_model().model_id(MODEL).body(body()).send().await;
    let answer = answer.expect("the server answers").body.into_inner();
    assert!(String::from_utf8(answer).expect("it is JSON").contains(r#""choices""#));
    let request = client.invoke_model_with_response_stream().model_id(MODEL).body(body());
    let mut stream = request.send().await.expect("a stream").body;
    let mut last = Vec::new();
    while let Some(event) = stream.recv().await.expect("frames are whole") {
        if let ResponseStream::Chunk(chunk) = event {
            last = chunk.bytes().expect("a chunk has bytes").as_ref().to_vec();
        }
    }
    let last = String::from_utf8(last).expect("it is JSON");
    assert!(last.contains("amazon-bedrock-invocationMetrics"), "{last}");
}

/// How to meet an error: what of a plain question is to be changed.
#[derive(Default)]
struct Provoked {
    /// The variable that names the server.
    endpoint: Option<&'static str>,
    key: Option<&'static str>,
    model: Option<&'static str>,
    temperature: f32,
    max_tokens: i32,
}

impl Provoked {
    async fn error(self) -> ConverseError {
        let endpoint = variable(self.endpoint.unwrap_or("OUTCROP_ENDPOINT"));
        let [id, secret] = match self.key {
            Some(key) => [format!("OUTCROP_{key}_KEY_ID"), format!("OUTCROP_{key}_SECRET")],
            None => ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(str::to_owned),
        };
        let client = client_of(endpoint, variable(&id), variable(&secret));
        let config = InferenceConfiguration::builder()
            .max_tokens(self.max_tokens.max(4))
            .temperature(self.temperature);
        // Of the requests of a key that may ask once a minute the first may be good.
        loop {
            let request = client.converse().model_id(self.model.unwrap_or(MODEL));
            let request = request.messages(question()).inference_config(config.clone().build());
            match request.send().await {
                Ok(_) => assert_eq!(self.key, Some("THROTTLED")),
                Err(error) => return error.into_service_error(),
            }
        }
    }
}

#[tokio::test]
async fn errors_are_the_sdks_own_types() {
    if client().is_none() {
        return;
    }
    let hot = Provoked { temperature: 1.5, ..Provoked::default() }.error().await;
    assert!(matches!(hot, ConverseError::ValidationException(_)), "{hot:?}");
    assert!(hot.to_string().contains("temperature"), "{hot}");
    let at = |endpoint| Provoked { endpoint: Some(endpoint), ..Provoked::default() };
    let with = |key| Provoked { key: Some(key), ..Provoked::default() };
    let unknown = Provoked { model: Some("anthropic.claude-v2"), ..Provoked::default() };
    let long = Provoked { max_tokens: 1_500, ..at("OUTCROP_HASTY_ENDPOINT") };
    use ConverseError as E;
    let is_one: [(Provoked, fn(&ConverseError) -> bool); 8] = [
        (with("OTHER_MODEL"), |it| matches!(it, E::AccessDeniedException(_))),
        (unknown, |it| matches!(it, E::ResourceNotFoundException(_))),
        (long, |it| matches!(it, E::ModelTimeoutException(_))),
        (at("OUTCROP_SPOILED_ENDPOINT"), |it| matches!(it, E::ModelErrorException(_))),
        (with("THROTTLED"), |it| matches!(it, E::ThrottlingException(_))),
        (at("OUTCROP_LOADING_ENDPOINT"), |it| matches!(it, E::ModelNotReadyException(_))),
        (at("OUTCROP_BROKEN_ENDPOINT"), |it| matches!(it, E::InternalServerException(_))),
        (at("OUTCROP_DRAINING_ENDPOINT"), |it| matches!(it, E::ServiceUnavailableException(_))),
    ];
    for (index, (provoked, is_it)) in is_one.into_iter().enumerate() {
        let error = provoked.error().await;
        assert!(is_it(&error), "{index}: {error:?}");
    }
}

#[tokio::test]
async fn a_quota_that_is_used_up_is_the_sdks_own_type() {
    let Ok(endpoint) = std::env::var("OUTCROP_ENDPOINT") else {
        return;
    };
    let (id, secret) = (variable("OUTCROP_SPENT_KEY_ID"), variable("OUTCROP_SPENT_SECRET"));
    let client = client_of(endpoint, id, secret);
    let body = || Blob::new(r#"{"prompt":"Hi","max_tokens":1}"#);
    let invoke = || client.invoke_model().model_id(MODEL).body(body()).send();
    // The key has one token a day, and is charged a moment after the answer.
    for _ in 0..3 {
        let _ = invoke().await;
    }
    let error = invoke().await.expect_err("nothing is left").into_service_error();
    assert!(error.is_service_quota_exceeded_exception(), "{error:?}");
    let stream = client.invoke_model_with_response_stream().model_id(MODEL).body(body());
    let error = stream.send().await.expect_err("nothing is left").into_service_error();
    assert!(error.is_service_quota_exceeded_exception(), "{error:?}");
}
