//! What all handlers share, and the table of routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use uuid::Uuid;

use crate::api::bedrock::{self, BedrockError};
use crate::api::health;
use crate::api::lifecycle::{Lifecycle, Phase};
use crate::api::metrics::Metrics;
use crate::api::record::{Operation, Record, RequestId};
use crate::api::refusal::Refusal;
use crate::limits;
use crate::pipeline::Pipeline;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Ids by which applications name DeepSeek-R1 on Bedrock. Where one model is served these mean it,
/// whatever it is: an application moves here by changing its endpoint and nothing else.
const DEFAULT_ALIASES: [&str; 2] = ["deepseek.r1-v1:0", "us.deepseek.r1-v1:0"];

/// The state behind every handler.
#[derive(Debug, Clone)]
pub struct App(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Shared {
    /// The first is the model's own.
    model_ids: Vec<String>,
    /// `None` while the model is loading.
    pipeline: watch::Receiver<Option<Pipeline>>,
    pub(super) lifecycle: Lifecycle,
    pub(super) metrics: Arc<Metrics>,
    pub(super) in_flight: Arc<Semaphore>,
    /// One permit for each KiB of a body.
    pub(super) body_kib: Arc<Semaphore>,
    pub(super) first_request_timeout: Duration,
}

impl App {
    /// `aliases` are further ids under which clients may ask for the model. The sender takes the
    /// pipeline when the model is loaded; until then requests wait.
    pub fn new(model_id: &str, aliases: &[String]) -> (Self, watch::Sender<Option<Pipeline>>) {
        let (sender, pipeline) = watch::channel(None);
        let mut model_ids = vec![model_id.to_owned()];
        model_ids.extend(aliases.iter().cloned());
        model_ids.extend(DEFAULT_ALIASES.map(str::to_owned));
        let shared = Shared {
            metrics: Arc::new(Metrics::new(model_id, pipeline.clone())),
            model_ids,
            pipeline,
            lifecycle: Lifecycle::new(),
            in_flight: Arc::new(Semaphore::new(limits::REQUESTS_IN_FLIGHT_MAX)),
            body_kib: Arc::new(Semaphore::new(limits::BUFFERED_BODY_BYTES_MAX / 1024)),
            first_request_timeout: limits::FIRST_REQUEST_TIMEOUT,
        };
        (Self(Arc::new(shared)), sender)
    }

    #[cfg(test)]
    pub(super) fn with_first_request_timeout(mut self, timeout: Duration) -> Self {
        let shared = Arc::get_mut(&mut self.0).expect("nothing else holds a new app");
        shared.first_request_timeout = timeout;
        self
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Paths are split before they are decoded, so an id may hold an encoded slash.
    pub(super) fn router(&self) -> Router {
        let admit = |operation| from_fn_with_state((self.clone(), operation), admit);
        let converse = post(bedrock::converse).route_layer(admit(Operation::Converse));
        let converse_stream =
            post(bedrock::converse_stream).route_layer(admit(Operation::ConverseStream));
        Router::new()
            .route("/model/{model_id}/converse", converse)
            .route("/model/{model_id}/converse-stream", converse_stream)
            .route("/health", get(health::health))
            .route("/ready", get(health::ready))
            .route("/metrics", get(health::metrics))
            .fallback(unknown_operation)
            .method_not_allowed_fallback(unknown_operation)
            .layer(from_fn(identify))
            .with_state(self.clone())
    }
}

impl Shared {
    /// `None` while the model is loading.
    pub(super) fn loaded(&self) -> Option<Pipeline> {
        self.pipeline.borrow().clone()
    }

    pub(super) fn check(&self, model_id: &str) -> Result<(), Refusal> {
        if self.serves(model_id) {
            return Ok(());
        }
        let known = format!("`{}`", self.model_ids[0]);
        Err(Refusal::ModelNotFound { id: model_id.to_owned(), known })
    }

    /// Waits while the model is loading.
    pub(super) async fn pipeline(&self) -> Result<Pipeline, Refusal> {
        let mut pipeline = self.pipeline.clone();
        let loaded = timeout(limits::MODEL_LOAD_WAIT, pipeline.wait_for(Option::is_some)).await;
        match loaded {
            Ok(Ok(pipeline)) => Ok(pipeline.clone().expect("it was waited for")),
            Ok(Err(_)) => Err(Refusal::Draining),
            Err(_) => Err(Refusal::ModelNotReady),
        }
    }

    /// An ARN stands for the id in its last part, as in
    /// `arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.deepseek.r1-v1:0`.
    fn serves(&self, id: &str) -> bool {
        let knows = |id: &str| self.model_ids.iter().any(|known| known == id);
        let resource = id.strip_prefix("arn:").and_then(|arn| arn.split_once('/'));
        knows(id) || resource.is_some_and(|(_, resource)| knows(resource))
    }
}

/// The segment of the path that names a model, decoded once.
pub(super) struct ModelId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for ModelId {
    type Rejection = BedrockError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, BedrockError> {
        let invalid =
            |reason: String| BedrockError::Validation(format!("The value at `modelId` {reason}."));
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| invalid("is not UTF-8".to_owned()))?;
        let id = params.iter().find(|(name, _)| *name == "model_id").map_or("", |(_, id)| id);
        if id.is_empty() {
            return Err(invalid("is empty".to_owned()));
        }
        let limit = limits::MODEL_ID_CHARS_MAX;
        if id.chars().count() > limit {
            return Err(invalid(format!("is longer than {limit} characters")));
        }
        Ok(Self(id.to_owned()))
    }
}

/// Gives every answer a request id.
async fn identify(mut request: Request, next: Next) -> Response {
    let id = Uuid::new_v4().to_string();
    let value = HeaderValue::from_str(&id).expect("a UUID is ASCII");
    request.extensions_mut().insert(RequestId(id.into()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(REQUEST_ID, value);
    response
}

/// Takes a permit for a request to a model and keeps its record.
async fn admit(
    State((app, operation)): State<(App, Operation)>,
    mut request: Request,
    next: Next,
) -> Response {
    let shared = app.shared();
    let request_id = request.extensions().get::<RequestId>().cloned();
    let request_id = request_id.expect("the outer layer gives every request its id");
    let mut record = Record::new(operation, request_id, Arc::clone(&shared.metrics));
    let permit = if shared.lifecycle.phase() >= Phase::Draining {
        Err(Refusal::Draining)
    } else {
        let limit = limits::REQUESTS_IN_FLIGHT_MAX;
        let permit = Arc::clone(&shared.in_flight).try_acquire_owned();
        permit.map_err(|_| Refusal::RequestsFull { limit })
    };
    match permit {
        Ok(permit) => record.hold(permit),
        Err(refusal) => {
            let response = BedrockError::from(refusal).into_response();
            record.note_response(&response);
            return response;
        }
    }
    let record = Arc::new(record);
    request.extensions_mut().insert(Arc::clone(&record));
    let response = next.run(request).await;
    record.note_response(&response);
    response
}

async fn unknown_operation() -> BedrockError {
    BedrockError::UnknownOperation("The requested operation is not known.".to_owned())
}
