//! The record of one request to a model: its permit, its line in the log, its share of the metrics.
//!
//! Whoever holds the record keeps the request in flight. A record that is dropped without an
//! outcome belongs to a client that went away. It holds no text.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::Response;
use tokio::sync::OwnedSemaphorePermit;

use crate::api::access::Principal;
use crate::api::audit::{AuditLog, Subject};
use crate::api::metrics::{Metrics, Observation};
use crate::api::operation::Operation;
use crate::api::outcome::{DISCONNECTED, FailureCode, OK};
use crate::guardrail::{Assessment, Direction};
use crate::keys::{Admission, Day};
use crate::pipeline::{ChatRequest, ChatSummary, GuardrailObserver, GuardrailTrace, TokenMeter};

#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

#[derive(Debug)]
pub(super) struct Record {
    operation: Operation,
    request_id: RequestId,
    started_at: Instant,
    metrics: Arc<Metrics>,
    audit: Arc<AuditLog>,
    permit: Option<OwnedSemaphorePermit>,
    /// Whose request it is, where keys are asked for.
    owner: Option<Owner>,
    /// The model that the request means, once that is known.
    model_id: OnceLock<Arc<str>>,
    outcome: Mutex<Outcome>,
}

#[derive(Debug)]
struct Owner {
    principal: Principal,
    admission: Admission,
    /// Counts what the key is charged in the end.
    meter: Arc<TokenMeter>,
}

#[derive(Debug, Default)]
struct Outcome {
    /// [`OK`] or the exception; the first one counts.
    code: Option<&'static str>,
    summary: Option<ChatSummary>,
}

impl Record {
    pub(super) fn new(
        operation: Operation,
        request_id: RequestId,
        metrics: Arc<Metrics>,
        audit: Arc<AuditLog>,
    ) -> Self {
        Self {
            operation,
            request_id,
            started_at: Instant::now(),
            metrics,
            audit,
            permit: None,
            owner: None,
            model_id: OnceLock::new(),
            outcome: Mutex::default(),
        }
    }

    pub(super) fn operation(&self) -> Operation {
        self.operation
    }

    pub(super) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    pub(super) fn belongs_to(&mut self, principal: Principal, admission: Admission) {
        self.owner = Some(Owner { principal, admission, meter: Arc::default() });
    }

    pub(super) fn principal(&self) -> Option<&Principal> {
        self.owner.as_ref().map(|owner| &owner.principal)
    }

    /// Marks what the pipeline is asked as the owner's: it shares nothing with requests of others,
    /// its tokens are counted, and what its guardrail finds is noted.
    pub(super) fn mark(self: &Arc<Self>, request: &mut ChatRequest) {
        if let Some(guarding) = &mut request.guarding {
            let record = Arc::clone(self);
            let observer = GuardrailObserver::new(move |trace| record.guarded(trace));
            guarding.observer = Some(observer);
        }
        if let Some(owner) = &self.owner {
            request.tenant = Some(Arc::clone(owner.principal.key_id()));
            request.meter = Some(Arc::clone(&owner.meter));
        }
    }

    /// The first model counts.
    pub(super) fn note_model(&self, model_id: &Arc<str>) {
        let _ = self.model_id.set(Arc::clone(model_id));
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started_at.elapsed()
    }

    pub(super) fn finished(&self, summary: ChatSummary) {
        self.set(OK, Some(summary));
    }

    /// What a guardrail found around a model.
    fn guarded(&self, trace: &GuardrailTrace) {
        for (direction, assessment) in trace.assessments() {
            let is_complete = trace.is_complete || direction == Direction::Input;
            self.note(direction, assessment, is_complete);
        }
    }

    /// What a guardrail found in a text.
    pub(super) fn judged(&self, direction: Direction, assessment: &Assessment) {
        self.note(direction, assessment, true);
    }

    fn note(&self, direction: Direction, assessment: &Assessment, is_complete: bool) {
        self.metrics.observe_guardrail(direction, assessment);
        let subject = Subject {
            request_id: &self.request_id.0,
            key_id: self.principal().map_or("", |principal| principal.key_id()),
            operation: self.operation.name(),
            direction,
            is_complete,
        };
        self.audit.write(&subject, assessment);
    }

    /// Of an operation that no model works on.
    pub(super) fn answered(&self) {
        self.set(OK, None);
    }

    pub(super) fn failed(&self, code: FailureCode) {
        self.set(code.0, None);
    }

    /// Errors that a handler returned. The end of a stream is noted by the stream.
    pub(super) fn note_response(&self, response: &Response) {
        if response.status() != StatusCode::OK {
            let code = response.extensions().get::<FailureCode>();
            self.set(code.map_or("InternalServerException", |code| code.0), None);
        }
    }

    fn set(&self, code: &'static str, summary: Option<ChatSummary>) {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if outcome.code.is_none() {
            *outcome = Outcome { code: Some(code), summary };
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let outcome = self.outcome.get_mut().unwrap_or_else(PoisonError::into_inner);
        let code = outcome.code.unwrap_or(DISCONNECTED);
        let elapsed = self.started_at.elapsed();
        let model_id = self.model_id.get();
        let (operation, summary) = (self.operation, outcome.summary.as_ref());
        self.metrics.observe(&Observation { model_id, operation, code, elapsed, summary });
        let usage = outcome.summary.as_ref().map(|it| it.usage).unwrap_or_default();
        if let Some(owner) = &self.owner {
            let tokens = owner.meter.num_tokens();
            owner.admission.charge(tokens, Instant::now(), Day::today());
        }
        let key_id = self.principal().map_or("", |principal| principal.key_id());
        tracing::info!(
            request_id = %self.request_id.0,
            operation = self.operation.name(),
            key_id,
            model = model_id.map_or("", |id| &**id),
            code,
            elapsed_ms = elapsed.as_millis(),
            prompt_tokens = usage.prompt_tokens,
            cached_prompt_tokens = usage.cached_prompt_tokens,
            generated_tokens = usage.generated_tokens,
            "request"
        );
    }
}
