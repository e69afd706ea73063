//! `GET /models`: the models served, by every name that a request may use.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{RawPathParams, State};
use axum::response::Response;
use serde::Serialize;

use crate::api::app::App;
use crate::api::models::ServedModel;
use crate::api::openai::answer::unix_seconds;
use crate::api::openai::call;
use crate::api::openai::error::OpenAiError;
use crate::api::record::Record;

#[derive(Serialize)]
struct ModelList<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    /// When this server began to serve it, in seconds since 1970.
    created: u64,
    owned_by: &'static str,
}

impl<'a> Model<'a> {
    fn new(id: &'a str, model: &ServedModel) -> Self {
        Self { id, object: "model", created: unix_seconds(model.since), owned_by: "outcrop" }
    }
}

pub(super) async fn list(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
) -> Response {
    // Those that the key may ask for.
    let is_allowed = |id: &str, model: &ServedModel| {
        record.principal().is_none_or(|key| key.check_model([id, &model.id]).is_ok())
    };
    let listed = app.shared().models.listed().filter(|(id, model)| is_allowed(id, model));
    let data = listed.map(|(id, model)| Model::new(id, model)).collect();
    record.answered();
    call::json(&ModelList { object: "list", data })
}

/// An id may hold slashes, encoded or not. One that a `*` stands for is known here too.
pub(super) async fn retrieve(
    State(app): State<App>,
    Extension(record): Extension<Arc<Record>>,
    params: RawPathParams,
) -> Result<Response, OpenAiError> {
    let id = params.iter().next().map_or("", |(_, id)| id);
    let model = app.shared().resolve(&record, id)?;
    record.answered();
    Ok(call::json(&Model::new(id, model)))
}
