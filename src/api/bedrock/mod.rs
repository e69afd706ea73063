//! The Bedrock protocol: the runtime's operations on models, and what the control plane says of
//! the models that there are.

mod apply_guardrail;
mod chat;
mod control;
mod converse;
mod count_tokens;
mod document;
mod error;
mod frame;
mod guardrail;
mod guardrail_checks;
mod invoke;
mod json;
mod service;
mod stream;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::app::App;
use crate::api::record::Operation;

pub(in crate::api) use error::BedrockError;

pub(in crate::api) fn routes(app: &App) -> Router<App> {
    let mut routes = Router::new();
    for (path, operation, route) in [
        ("converse", Operation::Converse, converse::converse()),
        ("converse-stream", Operation::ConverseStream, converse::converse_stream()),
        ("invoke", Operation::InvokeModel, invoke::invoke()),
        (
            "invoke-with-response-stream",
            Operation::InvokeModelWithResponseStream,
            invoke::invoke_with_response_stream(),
        ),
        ("count-tokens", Operation::CountTokens, count_tokens::count_tokens()),
    ] {
        let path = format!("/model/{{model_id}}/{path}");
        routes = routes.route(&path, app.admitted(operation, route));
    }
    routes
        .merge(apply_guardrail::routes(app))
        .merge(guardrail_checks::routes(app))
        .merge(control::routes(app))
}

fn json_answer(answer: &impl Serialize) -> Response {
    let json = serde_json::to_string(answer).expect("structs of strings and numbers are JSON");
    with_content_type(json, "application/json")
}

fn with_content_type(body: impl IntoResponse, content_type: &'static str) -> Response {
    let mut response = body.into_response();
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
pub(in crate::api) mod tests {
    //! What the tests of the protocol share with those of its parts.

    pub(in crate::api) use crate::api::bedrock::document::tests::docx_of;
}
