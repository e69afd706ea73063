//! InvokeGuardrailChecks: single checks, without a guardrail and without a model.

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::api::admission::admitted;
use crate::api::app::App;
use crate::api::bedrock::answer::json_answer;
use crate::api::bedrock::error::BedrockError;
use crate::api::operation::Operation;
use crate::guardrail::{ContentFilter, EntityFinder, EntityKind, Severities};
use crate::limits;

/// Characters of a text unit.
const UNIT: usize = 1_000;

pub(super) fn routes(app: &App) -> Router<App> {
    let route = admitted(app, Operation::InvokeGuardrailChecks, post(invoke_guardrail_checks));
    Router::new().route("/guardrail-checks/invoke", route)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChecksRequest {
    messages: Vec<Message>,
    checks: Checks,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    #[serde(rename = "role")]
    _role: Role,
    content: Vec<Content>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
    System,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Checks {
    content_filter: Option<Categories<ContentFilter>>,
    prompt_attack: Option<Categories<Attack>>,
    sensitive_information: Option<Entities>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Categories<C> {
    categories: Vec<Category<C>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Category<C> {
    category: C,
}

/// Of one head: what tells attacks from prompts does not tell attacks apart.
#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Attack {
    Jailbreak,
    PromptInjection,
    PromptLeakage,
}

impl Attack {
    fn name(&self) -> &'static str {
        match self {
            Self::Jailbreak => "JAILBREAK",
            Self::PromptInjection => "PROMPT_INJECTION",
            Self::PromptLeakage => "PROMPT_LEAKAGE",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entities {
    entities: Vec<Entity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entity {
    r#type: EntityKind,
}

/// Reads a body, naming the member at fault.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, BedrockError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let (path, reason) = (error.path().to_string(), error.inner());
        BedrockError::Validation(format!("The request is malformed at `{path}`: {reason}."))
    })
}

async fn invoke_guardrail_checks(
    State(app): State<App>,
    request: Request,
) -> Result<Response, BedrockError> {
    let body = app.shared().bodies.read(request.into_body()).await?;
    let checked = spawn_blocking(move || check(&parse(&body.bytes)?));
    let panicked = |_| BedrockError::InternalServer("the checks panicked".to_owned());
    Ok(json_answer(&checked.await.map_err(panicked)??))
}

fn check(request: &ChecksRequest) -> Result<Value, BedrockError> {
    let num_blocks: usize = request.messages.iter().map(|message| message.content.len()).sum();
    let limit = limits::CONTENT_BLOCKS_MAX;
    if num_blocks > limit {
        let reason = format!("`messages` have more than {limit} blocks.");
        return Err(BedrockError::Validation(reason));
    }
    let texts = || request.messages.iter().flat_map(|message| &message.content);
    let chars: usize = texts().map(|content| content.text.chars().count()).sum();
    let units = json!({ "textUnits": chars.div_ceil(UNIT) });
    let severities: Vec<Severities> =
        match (&request.checks.content_filter, &request.checks.prompt_attack) {
            (None, None) => Vec::new(),
            _ => texts().map(|content| Severities::of(&content.text)).collect(),
        };
    let severity = |filter: ContentFilter| {
        severities.iter().map(|it| it.of_filter(filter)).fold(0.0, f64::max)
    };
    let (mut results, mut usage) = (json!({}), json!({}));
    if let Some(asked) = &request.checks.content_filter {
        if asked.categories.iter().any(|it| it.category == ContentFilter::PromptAttack) {
            let reason =
                "PROMPT_ATTACK is no category of `checks.contentFilter`; use `promptAttack`.";
            return Err(BedrockError::Validation(reason.to_owned()));
        }
        let list = asked.categories.iter().map(|Category { category }| {
            json!({ "category": category, "severityScore": severity(*category) })
        });
        results["contentFilter"] = json!({ "results": list.collect::<Vec<_>>() });
        usage["contentFilter"] = units.clone();
    }
    if let Some(asked) = &request.checks.prompt_attack {
        let score = severity(ContentFilter::PromptAttack);
        let list = asked.categories.iter().map(
            |Category { category }| json!({ "category": category.name(), "severityScore": score }),
        );
        results["promptAttack"] = json!({ "results": list.collect::<Vec<_>>() });
        usage["promptAttack"] = units.clone();
    }
    if let Some(asked) = &request.checks.sensitive_information {
        results["sensitiveInformation"] = sensitive(request, asked);
        usage["sensitiveInformation"] = units;
    }
    Ok(json!({ "results": results, "usage": usage }))
}

fn sensitive(request: &ChecksRequest, asked: &Entities) -> Value {
    let finder = EntityFinder::new(asked.entities.iter().map(|entity| entity.r#type));
    let mut results = Vec::new();
    let limit = limits::GUARDRAIL_DETECTIONS_MAX;
    for (message_index, message) in request.messages.iter().enumerate() {
        for (content_index, content) in message.content.iter().enumerate() {
            let room = (limit + 1).saturating_sub(results.len());
            results.extend(finder.find(&content.text).into_iter().take(room).map(|found| {
                json!({
                    "type": found.kind,
                    "confidenceScore": found.confidence,
                    "beginOffset": found.range.start,
                    "endOffset": found.range.end,
                    "messageIndex": message_index,
                    "contentIndex": content_index,
                })
            }));
        }
    }
    let truncated = results.len() > limit;
    results.truncate(limit);
    json!({ "results": results, "truncated": truncated })
}
