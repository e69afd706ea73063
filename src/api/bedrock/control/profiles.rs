//! Inference profiles: names with the prefix of a geography.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::get;
use axum::{Extension, Router};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::api::admission::admitted;
use crate::api::app::App;
use crate::api::bedrock::answer::json_answer;
use crate::api::bedrock::control::names::{bare_id, is_foundation_model, is_profile};
use crate::api::bedrock::control::one_of;
use crate::api::bedrock::control::query::Query;
use crate::api::bedrock::control::region::Region;
use crate::api::bedrock::error::BedrockError;
use crate::api::bedrock::model_id::ModelId;
use crate::api::models::{Arn, Models, ServedModel};
use crate::api::operation::Operation;
use crate::api::record::Record;
use crate::limits;

/// As the service model says.
const PROFILE_NAME_CHARS_MAX: usize = 64;
const SYSTEM_DEFINED: &str = "SYSTEM_DEFINED";
const APPLICATION: &str = "APPLICATION";

pub(super) fn routes(app: &App) -> Router<App> {
    let all = admitted(app, Operation::ListInferenceProfiles, get(list));
    let one = admitted(app, Operation::GetInferenceProfile, get(profile));
    Router::new().route("/inference-profiles", all).route("/inference-profiles/{model_id}", one)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListAnswer {
    inference_profile_summaries: Vec<Profile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    inference_profile_name: String,
    inference_profile_arn: String,
    inference_profile_id: String,
    models: [ProfileModel; 1],
    status: &'static str,
    r#type: &'static str,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProfileModel {
    model_arn: String,
}

impl Profile {
    /// Clients read the provider from the foundation model, so one with a provider is named where
    /// the model has such a name.
    fn new(name: &str, model: &ServedModel, models: &Models, region: &Region) -> Self {
        let arn = Arn::parse(name);
        let (kind, profile_type) = match arn {
            Some(Arn { kind: kind @ "application-inference-profile", .. }) => (kind, APPLICATION),
            Some(_) | None => ("inference-profile", SYSTEM_DEFINED),
        };
        let id = arn.map_or(name, |arn| arn.id);
        let foundation = match arn {
            None => bare_id(name),
            Some(_) => foundation_name(model, models),
        };
        let since = iso_8601(model.since);
        Self {
            inference_profile_name: profile_name(id),
            inference_profile_arn: match arn {
                Some(_) => name.to_owned(),
                None => region.profile(kind, id),
            },
            inference_profile_id: id.to_owned(),
            models: [ProfileModel { model_arn: region.foundation_model(foundation) }],
            status: "ACTIVE",
            r#type: profile_type,
            created_at: since.clone(),
            updated_at: since,
        }
    }
}

async fn list(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, BedrockError> {
    let wanted = query.get("type");
    one_of("type", wanted, &[SYSTEM_DEFINED, APPLICATION])?;
    let num_results = query.number("maxResults", 1..=limits::PAGE_RESULTS_MAX)?;
    let num_results = num_results.unwrap_or(limits::PAGE_RESULTS_MAX);
    // A token is the number of profiles that earlier pages had.
    let start = query.number("nextToken", 0..=usize::MAX / 2)?.unwrap_or(0);
    let region = Region::of(&headers);
    let models = &app.shared().models;
    let mut profiles: Vec<_> = models
        .listed()
        .filter(|(name, _)| {
            let kind = Arn::parse(name).map(|arn| arn.kind);
            is_profile(name) || kind.is_some_and(|kind| kind.ends_with("inference-profile"))
        })
        .map(|(name, model)| Profile::new(name, model, models, &region))
        .filter(|profile| wanted.is_none_or(|wanted| wanted == profile.r#type))
        .skip(start)
        .take(num_results + 1)
        .collect();
    let has_more = profiles.len() > num_results;
    profiles.truncate(num_results);
    let next_token = has_more.then(|| (start + num_results).to_string());
    record.answered();
    Ok(json_answer(&ListAnswer { inference_profile_summaries: profiles, next_token }))
}

async fn profile(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    headers: HeaderMap,
    model_id: ModelId,
) -> Result<Response, BedrockError> {
    let model = app.shared().resolve(&record, &model_id.0)?;
    let models = &app.shared().models;
    record.answered();
    Ok(json_answer(&Profile::new(&model_id.0, model, models, &Region::of(&headers))))
}

fn foundation_name<'a>(model: &'a ServedModel, models: &'a Models) -> &'a str {
    let mut names = models.listed().filter(|(_, named)| named.id == model.id);
    let stated = names.find(|(name, _)| is_foundation_model(name) && name.contains('.'));
    stated.map_or(&*model.id, |(name, _)| name)
}

/// `US deepseek r1 v1 0`: words of letters and digits, as the service model has it.
fn profile_name(id: &str) -> String {
    let words: Vec<_> =
        id.split(|c: char| !c.is_ascii_alphanumeric()).filter(|it| !it.is_empty()).collect();
    let name: String = words.join(" ").chars().take(PROFILE_NAME_CHARS_MAX).collect();
    if name.is_empty() { "profile".to_owned() } else { name }
}

/// Whole seconds in UTC.
fn iso_8601(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time).replace_nanosecond(0).expect("0 is a nanosecond");
    time.format(&Rfc3339).expect("the year has four digits")
}
