//! What all handlers share, and the table of routes.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use uuid::Uuid;

use crate::api::access::{self, Access, Principal};
use crate::api::audit::AuditLog;
use crate::api::bedrock::{self, BedrockError};
use crate::api::body::{self, BodyPace};
use crate::api::health;
use crate::api::lifecycle::{Lifecycle, Phase};
use crate::api::metrics::Metrics;
use crate::api::models::{Models, ServedModel};
use crate::api::openai::{self, OpenAiError};
use crate::api::record::{Operation, Record, RequestId};
use crate::api::refusal::Refusal;
use crate::guardrail::Guardrails;
use crate::limits;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// Where OpenAI's clients look for it.
const OPENAI_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The state behind every handler.
#[derive(Debug, Clone)]
pub struct App(Arc<Shared>);

#[derive(Debug, Clone, Copy)]
pub struct AppOptions {
    /// Requests wait this long for a model that is still loading.
    pub model_load_wait: Duration,
    /// An answer that is not finished this long after its request came is given up.
    pub request_timeout: Option<Duration>,
    /// Refuse reasoning in the history, as Bedrock does for DeepSeek-R1, where it is dropped
    /// otherwise.
    pub strict_reasoning: bool,
    /// Guardrails look at what models think, too.
    pub guard_reasoning: bool,
}

impl Default for AppOptions {
    fn default() -> Self {
        Self {
            model_load_wait: limits::MODEL_LOAD_WAIT_DEFAULT,
            request_timeout: None,
            strict_reasoning: false,
            guard_reasoning: true,
        }
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) models: Models,
    pub(super) options: AppOptions,
    pub(super) lifecycle: Lifecycle,
    pub(super) metrics: Arc<Metrics>,
    /// Requests whose body is still coming.
    arriving: Semaphore,
    pub(super) in_flight: Arc<Semaphore>,
    /// One permit for each KiB of a body.
    pub(super) body_kib: Arc<Semaphore>,
    pub(super) first_request_timeout: Duration,
    pub(super) write_stall_timeout: Duration,
    pub(super) body_pace: BodyPace,
    pub(super) access: Access,
    pub(super) guardrails: Guardrails,
    pub(super) audit: Arc<AuditLog>,
}

impl App {
    pub fn new(models: Models, options: AppOptions) -> Self {
        Self(Arc::new(Shared {
            metrics: Arc::new(Metrics::new(models.all())),
            models,
            options,
            lifecycle: Lifecycle::new(),
            arriving: Semaphore::new(limits::REQUESTS_ARRIVING_MAX),
            in_flight: Arc::new(Semaphore::new(limits::REQUESTS_IN_FLIGHT_MAX)),
            body_kib: Arc::new(Semaphore::new(limits::BUFFERED_BODY_BYTES_MAX / 1024)),
            first_request_timeout: limits::FIRST_REQUEST_TIMEOUT,
            write_stall_timeout: limits::WRITE_STALL_TIMEOUT,
            body_pace: BodyPace::DEFAULT,
            access: Access::open(),
            guardrails: Guardrails::default(),
            audit: Arc::default(),
        }))
    }

    /// Everyone may use an app that was not told otherwise.
    pub fn with_access(self, access: Access) -> Self {
        self.with(|shared| shared.access = access)
    }

    /// An app that was not told otherwise has no guardrails.
    pub fn with_guardrails(self, guardrails: Guardrails) -> Self {
        self.with(|shared| shared.guardrails = guardrails)
    }

    /// An app that was not told otherwise keeps its audit record in the log only.
    pub fn with_audit_log(self, audit: AuditLog) -> Self {
        self.with(|shared| shared.audit = Arc::new(audit))
    }

    #[cfg(test)]
    pub(super) fn with_first_request_timeout(self, timeout: Duration) -> Self {
        self.with(|shared| shared.first_request_timeout = timeout)
    }

    #[cfg(test)]
    pub(super) fn with_strict_reasoning(self, strict_reasoning: bool) -> Self {
        self.with(|shared| shared.options.strict_reasoning = strict_reasoning)
    }

    #[cfg(test)]
    pub(super) fn with_request_timeout(self, timeout: Duration) -> Self {
        self.with(|shared| shared.options.request_timeout = Some(timeout))
    }

    #[cfg(test)]
    pub(super) fn with_write_stall_timeout(self, timeout: Duration) -> Self {
        self.with(|shared| shared.write_stall_timeout = timeout)
    }

    #[cfg(test)]
    pub(super) fn with_body_pace(self, pace: BodyPace) -> Self {
        self.with(|shared| shared.body_pace = pace)
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::get_mut(&mut self.0).expect("nothing else holds a new app"));
        self
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }

    /// Paths are split before they are decoded, so an id may hold an encoded slash.
    pub(super) fn router(&self) -> Router {
        // Probes come from load balancers, which have no keys. Everything else asks for one, paths
        // that name nothing included: what is not put here is closed.
        let mut open =
            Router::new().route("/health", get(health::health)).route("/ready", get(health::ready));
        let mut closed = Router::new()
            .merge(bedrock::routes(self))
            .merge(openai::routes(self))
            .fallback(unknown_operation);
        let metrics = Router::new().route("/metrics", get(health::metrics));
        match self.0.access.metrics_are_open() {
            true => open = open.merge(metrics),
            false => closed = closed.merge(metrics),
        }
        closed
            .method_not_allowed_fallback(unknown_operation)
            .layer(from_fn_with_state(self.clone(), access::authenticate))
            .merge(open.method_not_allowed_fallback(unknown_operation))
            .layer(from_fn(identify))
            .with_state(self.clone())
    }

    /// The route of an operation that takes a permit and has a record.
    pub(super) fn admitted(
        &self,
        operation: Operation,
        route: MethodRouter<Self>,
    ) -> MethodRouter<Self> {
        route.route_layer(from_fn_with_state((self.clone(), operation), admit))
    }
}

impl Shared {
    /// Refuses a request whose body need not be read.
    fn check_open(&self) -> Result<(), Refusal> {
        if self.lifecycle.phase() >= Phase::Draining {
            return Err(Refusal::Draining);
        }
        if self.in_flight.available_permits() == 0 {
            return Err(Refusal::RequestsFull { limit: limits::REQUESTS_IN_FLIGHT_MAX });
        }
        Ok(())
    }

    /// Takes what a request needs to be worked on, until its record is dropped.
    fn let_in(&self, record: &mut Record, principal: Option<Principal>) -> Result<(), Refusal> {
        self.check_open()?;
        let limit = limits::REQUESTS_IN_FLIGHT_MAX;
        let permit = Arc::clone(&self.in_flight).try_acquire_owned();
        record.hold(permit.map_err(|_| Refusal::RequestsFull { limit })?);
        if let Some(principal) = principal {
            if record.operation().is_metered() {
                principal.check_quota()?;
            }
            let admission = principal.admit()?;
            record.belongs_to(principal, admission);
        }
        Ok(())
    }

    /// Resolves when an answer that is being written has to end, and says why.
    pub(super) async fn out_of_time(&self, record: &Record) -> Refusal {
        let timed_out = async {
            match self.options.request_timeout {
                Some(limit) => {
                    sleep(limit.saturating_sub(record.elapsed())).await;
                    Refusal::TimedOut { seconds: limit.as_secs() }
                }
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.lifecycle.reached(Phase::Cut) => Refusal::Draining,
            refusal = timed_out => refusal,
        }
    }

    /// The model that a request names, noted in its record.
    pub(super) fn resolve(&self, record: &Record, id: &str) -> Result<&ServedModel, Refusal> {
        let model = self.models.find(id)?;
        if let Some(principal) = record.principal() {
            principal.check_model([id, &model.id])?;
        }
        record.note_model(&model.id);
        Ok(model)
    }
}

/// The segment `{model_id}` of the path, decoded once.
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
    response.headers_mut().insert(REQUEST_ID, value.clone());
    response.headers_mut().insert(OPENAI_REQUEST_ID, value);
    response
}

/// Takes a permit for a request to a model and keeps its record.
async fn admit(
    State((app, operation)): State<(App, Operation)>,
    request: Request,
    next: Next,
) -> Response {
    let shared = app.shared();
    let request_id = request.extensions().get::<RequestId>().cloned();
    let request_id = request_id.expect("the outer layer gives every request its id");
    let mut record = Record::new(operation, request_id, shared);
    let mut request = match let_in_whole(&app, &mut record, request).await {
        Ok(request) => request,
        Err(refusal) => {
            let response = operation.refuse(refusal);
            record.note_response(&response);
            return response;
        }
    };
    let record = Arc::new(record);
    request.extensions_mut().insert(Arc::clone(&record));
    let response = next.run(request).await;
    record.note_response(&response);
    response
}

/// A request takes its place when all of it is there: until then it costs what its bytes cost, and
/// thousands that come slowly keep nobody out.
async fn let_in_whole(
    app: &App,
    record: &mut Record,
    request: Request,
) -> Result<Request, Refusal> {
    let shared = app.shared();
    shared.check_open()?;
    let limit = limits::REQUESTS_ARRIVING_MAX;
    let arriving = shared.arriving.try_acquire().map_err(|_| Refusal::RequestsFull { limit })?;
    let (parts, body) = request.into_parts();
    let body = body::read(app, body).await?;
    drop(arriving);
    shared.let_in(record, parts.extensions.get::<Principal>().cloned())?;
    Ok(Request::from_parts(parts, body.into_body()))
}

async fn unknown_operation(request: Request) -> Response {
    let path = request.uri().path();
    if openai::owns(path) {
        return OpenAiError::unknown_url(request.method().as_str(), path).into_response();
    }
    BedrockError::UnknownOperation("The requested operation is not known.".to_owned())
        .into_response()
}
