//! What all handlers share.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::api::access::Access;
use crate::api::audit::AuditLog;
use crate::api::body::{Bodies, BodyPace};
use crate::api::lifecycle::{Lifecycle, Phase};
use crate::api::metrics::Metrics;
use crate::api::models::{Models, ServedModel};
use crate::api::record::Record;
use crate::api::refusal::Refusal;
use crate::guardrail::Guardrails;
use crate::limits;

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
    pub(super) arriving: Semaphore,
    pub(super) in_flight: Arc<Semaphore>,
    pub(super) bodies: Bodies,
    pub(super) first_request_timeout: Duration,
    pub(super) write_stall_timeout: Duration,
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
            bodies: Bodies::new(BodyPace::DEFAULT),
            first_request_timeout: limits::FIRST_REQUEST_TIMEOUT,
            write_stall_timeout: limits::WRITE_STALL_TIMEOUT,
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
        self.with(|shared| shared.bodies = Bodies::new(pace))
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::get_mut(&mut self.0).expect("nothing else holds a new app"));
        self
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl Shared {
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
