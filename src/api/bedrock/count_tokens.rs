//! CountTokens: the length of a prompt without an answer to it.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use serde::{Deserialize, Serialize};

use crate::api::app::App;
use crate::api::bedrock::answer::json_answer;
use crate::api::bedrock::chat;
use crate::api::bedrock::converse::parse::prompt;
use crate::api::bedrock::converse::wire::ConverseTokensRequest;
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::invoke::body::{InvokeBody, invoke_body};
use crate::api::bedrock::json::{self, Blob, in_range, invalid};
use crate::api::bedrock::model_id::ModelId;
use crate::api::guardrail;
use crate::api::record::Record;
use crate::limits;
use crate::pipeline::ChatRequest;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CountTokensRequest {
    input: Input,
}

/// A union: exactly one member is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Input {
    converse: Option<ConverseTokensRequest>,
    invoke_model: Option<InvokeModelInput>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InvokeModelInput {
    body: Blob,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    input_tokens: usize,
}

pub(super) fn count_tokens() -> MethodRouter<App> {
    post(count)
}

async fn count(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    model_id: ModelId,
    request: Request,
) -> Result<Response, BedrockError> {
    let max = limits::COUNT_TOKENS_MODEL_ID_CHARS_MAX;
    in_range("modelId: length", model_id.0.chars().count(), &(1..=max))?;
    let id = model_id.0.clone();
    let parse = move |_: &_, body: &[u8]| counted_prompt(body, &id);
    let request = chat::parsed(&app, &record, &model_id, request, parse).await?;
    let pipeline = chat::pipeline(&app, &model_id).await?;
    let input_tokens = pipeline.count_tokens(request.input, &request.tools).await?;
    record.answered();
    Ok(json_answer(&Answer { input_tokens }))
}

fn counted_prompt(body: &[u8], model_id: &str) -> Result<ChatRequest, BedrockError> {
    let wire: CountTokensRequest = json::read(body)?;
    match (wire.input.converse, wire.input.invoke_model) {
        (Some(converse), None) => prompt(converse),
        (None, Some(invoke)) => {
            let InvokeBody { mut request, guardrail_config, .. } =
                invoke_body(&invoke.body.0, model_id)?;
            guardrail::drop_tags(&mut request, guardrail_config)?;
            Ok(request)
        }
        (None, None) | (Some(_), Some(_)) => Err(invalid(
            "The value at `input` must set exactly one of `converse` and `invokeModel`.",
        )),
    }
}
