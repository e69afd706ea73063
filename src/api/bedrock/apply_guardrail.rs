//! ApplyGuardrail: a guardrail without a model.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::api::admission::admitted;
use crate::api::app::App;
use crate::api::bedrock::answer::json_answer;
use crate::api::bedrock::error::BedrockError;
use crate::api::guardrail::GuardrailRefusal;
use crate::api::operation::Operation;
use crate::api::record::Record;
use crate::guardrail::assessment::{Coverage, Usage};
use crate::guardrail::{
    Assessment, Block, Direction, Guardrail, Intervention, Outcome, OutputScope, Qualifier, Verdict,
};
use crate::limits;
use crate::pipeline::consulting;

/// Longest request that is judged on the runtime's thread, where it is. A longer one takes a while,
/// in which that thread has others to serve; a short one waits longer for another thread.
const SHORT_BYTES: usize = 8 << 10;

pub(super) fn routes(app: &App) -> Router<App> {
    let path = "/guardrail/{identifier}/version/{version}/apply";
    Router::new().route(path, admitted(app, Operation::ApplyGuardrail, post(apply_guardrail)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApplyRequest {
    source: Source,
    content: Vec<ContentBlock>,
    output_scope: Option<Scope>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Source {
    Input,
    Output,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Scope {
    Interventions,
    Full,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ContentBlock {
    text: Option<TextBlock>,
    image: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TextBlock {
    text: String,
    #[serde(default)]
    qualifiers: Vec<WireQualifier>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum WireQualifier {
    GroundingSource,
    Query,
    GuardContent,
}

impl From<WireQualifier> for Qualifier {
    fn from(qualifier: WireQualifier) -> Self {
        match qualifier {
            WireQualifier::GroundingSource => Self::GroundingSource,
            WireQualifier::Query => Self::Query,
            WireQualifier::GuardContent => Self::GuardContent,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ApplyResponse {
    usage: Usage,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    action_reason: Option<&'static str>,
    outputs: Vec<OutputText>,
    assessments: Vec<Assessment>,
    guardrail_coverage: Coverage,
}

#[derive(Serialize)]
struct OutputText {
    text: String,
}

async fn apply_guardrail(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    params: RawPathParams,
    request: Request,
) -> Result<Response, BedrockError> {
    let param = |name: &str| params.iter().find(|(key, _)| *key == name).map_or("", |(_, it)| it);
    let guardrails = &app.shared().guardrails;
    let guardrail = guardrails
        .resolve(param("identifier"), param("version"))
        .map_err(|error| GuardrailRefusal::NotFound { error })?;
    let body = app.shared().bodies.read(request.into_body()).await?;
    let consults = guardrail.consults(Direction::Input) || guardrail.consults(Direction::Output);
    let is_short = body.bytes.len() <= SHORT_BYTES;
    let apply = move || apply(&guardrail, &record, &body.bytes);
    let applied = match (consults, is_short) {
        (true, _) => consulting(apply).await.ok(),
        (false, true) => catch_unwind(AssertUnwindSafe(apply)).ok(),
        (false, false) => spawn_blocking(apply).await.ok(),
    };
    let panicked = || BedrockError::InternalServer("applying the guardrail panicked".to_owned());
    let response = applied.ok_or_else(panicked)??;
    Ok(json_answer(&response))
}

fn apply(
    guardrail: &Guardrail,
    record: &Record,
    body: &[u8],
) -> Result<ApplyResponse, BedrockError> {
    let request: ApplyRequest = super::guardrail_checks::parse(body)?;
    let limit = limits::CONTENT_BLOCKS_MAX;
    if request.content.len() > limit {
        let reason = format!("`content` has more than {limit} blocks.");
        return Err(BedrockError::Validation(reason));
    }
    let mut texts = Vec::new();
    for (index, block) in request.content.into_iter().enumerate() {
        let refused = |reason: &str| {
            Err(BedrockError::Validation(format!("The block at `content[{index}]` {reason}.")))
        };
        match (block.text, block.image) {
            (Some(text), None) => {
                let qualifiers: Vec<Qualifier> =
                    text.qualifiers.into_iter().map(Qualifier::from).collect();
                texts.push((text.text, qualifiers));
            }
            (None, Some(_)) => return refused("is an image; images are not looked at"),
            _ => return refused("must have exactly one member"),
        }
    }
    let blocks: Vec<Block<'_>> =
        texts.iter().map(|(text, qualifiers)| Block { text, qualifiers }).collect();
    let direction = match request.source {
        Source::Input => Direction::Input,
        Source::Output => Direction::Output,
    };
    let scope = match request.output_scope {
        None | Some(Scope::Interventions) => OutputScope::Interventions,
        Some(Scope::Full) => OutputScope::Full,
    };
    let outcome = guardrail.assess(direction, &blocks, scope);
    record.judged(direction, &outcome.assessment);
    Ok(response(outcome))
}

fn response(outcome: Outcome) -> ApplyResponse {
    let assessment = outcome.assessment;
    let outputs = match outcome.verdict {
        Verdict::Pass => Vec::new(),
        Verdict::Masked(texts) => texts,
        Verdict::Blocked(message) => vec![message],
    };
    let metrics = assessment.invocation_metrics.clone().unwrap_or_default();
    ApplyResponse {
        usage: metrics.usage,
        action: match assessment.intervention() {
            Intervention::None => "NONE",
            Intervention::Anonymized | Intervention::Blocked => "GUARDRAIL_INTERVENED",
        },
        action_reason: assessment.action_reason(),
        outputs: outputs.into_iter().map(|text| OutputText { text }).collect(),
        guardrail_coverage: metrics.guardrail_coverage,
        assessments: vec![assessment],
    }
}
