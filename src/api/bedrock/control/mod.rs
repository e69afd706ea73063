//! The part of Bedrock's control plane by which clients find out what there is: foundation models
//! and inference profiles.
//!
//! Every name by which a model can be asked for is one of them: with the prefix of a geography it
//! is an inference profile, without it a foundation model.

mod names;
mod profiles;
mod query;
mod region;

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use serde::Serialize;

use crate::api::admission::admitted;
use crate::api::app::App;
use crate::api::bedrock::answer::json_answer;
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::model_id::ModelId;
use crate::api::operation::Operation;
use crate::api::record::Record;

use names::{bare_id, provider};
use query::Query;
use region::Region;

/// As the service model says.
const MODEL_NAME_CHARS_MAX: usize = 20;

pub(super) fn routes(app: &App) -> Router<App> {
    let route = |operation, route| admitted(app, operation, route);
    Router::new()
        .route("/foundation-models", route(Operation::ListFoundationModels, get(list)))
        .route("/foundation-models/{model_id}", route(Operation::GetFoundationModel, get(model)))
        .route(
            "/foundation-model-availability/{model_id}",
            route(Operation::GetFoundationModelAvailability, get(availability)),
        )
        .merge(profiles::routes(app))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FoundationModel {
    model_arn: String,
    model_id: String,
    model_name: String,
    provider_name: String,
    input_modalities: [&'static str; 1],
    output_modalities: [&'static str; 1],
    response_streaming_supported: bool,
    customizations_supported: [&'static str; 0],
    inference_types_supported: [&'static str; 1],
    model_lifecycle: Lifecycle,
}

#[derive(Serialize)]
struct Lifecycle {
    status: &'static str,
}

impl FoundationModel {
    fn new(id: &str, region: &Region) -> Self {
        Self {
            model_arn: region.foundation_model(id),
            model_id: id.to_owned(),
            model_name: id.chars().take(MODEL_NAME_CHARS_MAX).collect(),
            provider_name: provider(id),
            input_modalities: ["TEXT"],
            output_modalities: ["TEXT"],
            response_streaming_supported: true,
            customizations_supported: [],
            inference_types_supported: ["ON_DEMAND"],
            model_lifecycle: Lifecycle { status: "ACTIVE" },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListAnswer {
    model_summaries: Vec<FoundationModel>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelAnswer {
    model_details: FoundationModel,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Availability {
    model_id: String,
    agreement_availability: Lifecycle,
    authorization_status: &'static str,
    entitlement_availability: &'static str,
    region_availability: &'static str,
}

async fn list(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, BedrockError> {
    let region = Region::of(&headers);
    let customizations = ["FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"];
    let customization = query.get("byCustomizationType");
    one_of("byCustomizationType", customization, &customizations)?;
    let modality = query.get("byOutputModality");
    one_of("byOutputModality", modality, &["TEXT", "IMAGE", "EMBEDDING"])?;
    let inference = query.get("byInferenceType");
    one_of("byInferenceType", inference, &["ON_DEMAND", "PROVISIONED"])?;
    let none_can_match = customization.is_some()
        || modality.is_some_and(|it| it != "TEXT")
        || inference.is_some_and(|it| it != "ON_DEMAND");
    let mut model_summaries = Vec::new();
    for (name, _) in app.shared().models.listed() {
        if none_can_match || !names::is_foundation_model(name) {
            continue;
        }
        let model = FoundationModel::new(name, &region);
        let wanted = query.get("byProvider");
        if wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(&model.provider_name)) {
            model_summaries.push(model);
        }
    }
    record.answered();
    Ok(json_answer(&ListAnswer { model_summaries }))
}

async fn model(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    headers: HeaderMap,
    model_id: ModelId,
) -> Result<Response, BedrockError> {
    app.shared().resolve(&record, &model_id.0)?;
    let model_details = FoundationModel::new(bare_id(&model_id.0), &Region::of(&headers));
    record.answered();
    Ok(json_answer(&ModelAnswer { model_details }))
}

/// Whoever may ask may use: there is no marketplace whose terms would have to be accepted.
async fn availability(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    model_id: ModelId,
) -> Result<Response, BedrockError> {
    app.shared().resolve(&record, &model_id.0)?;
    record.answered();
    Ok(json_answer(&Availability {
        model_id: bare_id(&model_id.0).to_owned(),
        agreement_availability: Lifecycle { status: "AVAILABLE" },
        authorization_status: "AUTHORIZED",
        entitlement_availability: "AVAILABLE",
        region_availability: "AVAILABLE",
    }))
}

fn one_of(field: &str, value: Option<&str>, known: &[&str]) -> Result<(), BedrockError> {
    match value {
        Some(value) if !known.contains(&value) => Err(BedrockError::Validation(format!(
            "1 validation error detected: Value at '{field}' failed to satisfy constraint: Member \
             must satisfy enum value set: [{}]",
            known.join(", ")
        ))),
        Some(_) | None => Ok(()),
    }
}
