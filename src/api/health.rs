//! Probes and metrics, which need no permit.
//!
//! Liveness asks whether a restart would help; readiness whether to send requests here. With
//! several models the server is ready when all of them are: a load balancer knows one answer.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::api::app::{App, Shared};
use crate::api::lifecycle::Phase;
use crate::api::models::ServedModel;

const READY: &str = "ready";
const FAILED: &str = "the engine has failed";

/// Alive while loading and draining; not after a panic in an engine.
pub(super) async fn health(State(app): State<App>) -> Response {
    let shared = app.shared();
    let failed = shared.models.all().iter().any(|model| status(model) == FAILED);
    answer(shared, if failed { Err(FAILED) } else { Ok("ok") })
}

pub(super) async fn ready(State(app): State<App>) -> Response {
    let shared = app.shared();
    if shared.lifecycle.phase() > Phase::Serving {
        return answer(shared, Err("draining"));
    }
    let mut statuses = shared.models.all().iter().map(|model| status(model));
    answer(shared, statuses.find(|&it| it != READY).map_or(Ok(READY), Err))
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut response = app.shared().metrics.encode().into_response();
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn status(model: &ServedModel) -> &'static str {
    match model.loaded() {
        None => "loading",
        Some(pipeline) if !pipeline.engine().is_healthy() => FAILED,
        Some(_) => READY,
    }
}

fn answer(shared: &Shared, outcome: Result<&str, &str>) -> Response {
    let models = shared.models.all().iter();
    let models: Map<String, Value> =
        models.map(|model| (model.id.to_string(), Value::from(status(model)))).collect();
    let (code, status) = match outcome {
        Ok(status) => (StatusCode::OK, status),
        Err(status) => (StatusCode::SERVICE_UNAVAILABLE, status),
    };
    let body = json!({ "status": status, "models": models });
    let mut response = (code, body.to_string()).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
