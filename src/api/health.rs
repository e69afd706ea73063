//! Probes and metrics, which need no permit.
//!
//! Liveness asks whether a restart would help; readiness whether to send requests here.

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::api::app::App;
use crate::api::lifecycle::Phase;

/// Alive while loading and draining; not after a panic in the engine.
pub(super) async fn health(State(app): State<App>) -> Response {
    match app.shared().loaded() {
        Some(pipeline) if !pipeline.engine().is_healthy() => {
            answer(StatusCode::SERVICE_UNAVAILABLE, "the engine has failed")
        }
        Some(_) | None => answer(StatusCode::OK, "ok"),
    }
}

pub(super) async fn ready(State(app): State<App>) -> Response {
    let shared = app.shared();
    let status = if shared.lifecycle.phase() > Phase::Serving {
        Err("draining")
    } else {
        match shared.loaded() {
            None => Err("loading"),
            Some(pipeline) if !pipeline.engine().is_healthy() => Err("the engine has failed"),
            Some(_) => Ok("ready"),
        }
    };
    match status {
        Ok(status) => answer(StatusCode::OK, status),
        Err(status) => answer(StatusCode::SERVICE_UNAVAILABLE, status),
    }
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let mut response = app.shared().metrics.encode().into_response();
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn answer(code: StatusCode, status: &str) -> Response {
    let mut response = (code, json!({ "status": status }).to_string()).into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
