//! An answer that is one piece.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

pub(super) fn json_answer(answer: &impl Serialize) -> Response {
    let json = serde_json::to_string(answer).expect("structs of strings and numbers are JSON");
    with_content_type(json, "application/json")
}

pub(super) fn with_content_type(body: impl IntoResponse, content_type: &'static str) -> Response {
    let mut response = body.into_response();
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
