//! The table of routes: which are open, which are closed, and what every answer carries.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use uuid::Uuid;

use crate::api::access::authenticate::authenticate;
use crate::api::app::App;
use crate::api::bedrock::error::BedrockError;
use crate::api::openai::error::OpenAiError;
use crate::api::operation::Protocol;
use crate::api::record::RequestId;
use crate::api::{bedrock, health, openai};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// Where OpenAI's clients look for it.
const OPENAI_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Paths are split before they are decoded, so an id may hold an encoded slash.
pub(super) fn router(app: &App) -> Router {
    // Probes come from load balancers, which have no keys. Everything else asks for one, paths
    // that name nothing included: what is not put here is closed.
    let mut open =
        Router::new().route("/health", get(health::health)).route("/ready", get(health::ready));
    let mut closed = Router::new()
        .merge(bedrock::routes(app))
        .merge(openai::routes(app))
        .fallback(unknown_operation);
    let metrics = Router::new().route("/metrics", get(health::metrics));
    match app.shared().access.metrics_are_open() {
        true => open = open.merge(metrics),
        false => closed = closed.merge(metrics),
    }
    closed
        .method_not_allowed_fallback(unknown_operation)
        .layer(from_fn_with_state(app.clone(), authenticate))
        .merge(open.method_not_allowed_fallback(unknown_operation))
        .layer(from_fn(identify))
        .with_state(app.clone())
}

/// Gives every answer a request id.
async fn identify(mut request: Request, next: Next) -> Response {
    let id = Uuid::new_v4().to_string();
    let value = HeaderValue::from_str(&id).expect("a UUID is ASCII");
    request.extensions_mut().insert(RequestId(id.into()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, value.clone());
    response.headers_mut().insert(OPENAI_REQUEST_ID, value);
    response
}

async fn unknown_operation(request: Request) -> Response {
    let path = request.uri().path();
    match Protocol::of(path) {
        Protocol::OpenAi => {
            OpenAiError::unknown_url(request.method().as_str(), path).into_response()
        }
        Protocol::Bedrock => {
            let message = "The requested operation is not known.".to_owned();
            BedrockError::UnknownOperation(message).into_response()
        }
    }
}
