//! Who is let in: every route but the probes asks for a key, once there are keys.
//!
//! Open routes are not behind this layer, so no way of writing a path can make a closed one look
//! open; what matches no route is closed. Nothing that a client sends to prove itself is logged or
//! repeated in an answer.

mod credentials;
mod live;
mod refusal;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::api::app::App;
use crate::api::record::{Protocol, RequestId};
use crate::api::refusal::{FailureCode, Refusal};
use crate::keys::{Admission, Day, Key, KeyStore, KeysError, Limiter, UsageStore};

use live::LiveKeys;

pub(super) use refusal::AccessRefusal;

#[derive(Debug, Clone, Default)]
pub struct AccessOptions {
    /// The only region that signatures may be for; `None` takes any.
    pub region: Option<String>,
    /// Let everyone read metrics.
    pub metrics_open: bool,
}

/// Decides who may ask for what.
#[derive(Debug)]
pub struct Access {
    /// `None` lets everyone in for ever.
    keys: Option<LiveKeys>,
    options: AccessOptions,
}

impl Access {
    /// Everyone may do everything.
    pub fn open() -> Self {
        Self { keys: None, options: AccessOptions::default() }
    }

    /// Keys are asked for as soon as there is one, and from then on.
    pub fn with_keys(
        store: KeyStore,
        usage: UsageStore,
        options: AccessOptions,
    ) -> Result<Self, KeysError> {
        Ok(Self { keys: Some(LiveKeys::load(store, usage)?), options })
    }

    pub fn is_required(&self) -> bool {
        self.keys.as_ref().is_some_and(LiveKeys::is_required)
    }

    /// Follows the file of keys and writes down what they use; never ends.
    pub(super) async fn follow(&self) {
        match &self.keys {
            Some(keys) => tokio::join!(keys.follow(), keys.keep_recording()),
            None => std::future::pending().await,
        };
    }

    /// Writes down what is not written yet.
    pub(super) async fn record_usage(&self) {
        if let Some(keys) = &self.keys {
            keys.record_usage().await;
        }
    }

    pub(super) fn metrics_are_open(&self) -> bool {
        self.options.metrics_open
    }
}

/// The key that a request was let in with.
#[derive(Debug, Clone)]
pub(super) struct Principal {
    key: Arc<Key>,
    limiter: Arc<Limiter>,
}

impl Principal {
    /// Stands for the owner wherever requests of one must be kept apart from those of others.
    pub(super) fn key_id(&self) -> &Arc<str> {
        &self.key.id
    }

    /// Holds the key to its tokens of a day.
    pub(super) fn check_quota(&self) -> Result<(), Refusal> {
        self.limiter.check_quota(Day::today()).map_err(Refusal::QuotaUsedUp)
    }

    /// Holds the key to its rates and to its number of requests at a time.
    pub(super) fn admit(&self) -> Result<Admission, Refusal> {
        self.limiter.admit(Instant::now()).map_err(Refusal::KeyLimited)
    }

    /// `names` are those of one model.
    pub(super) fn check_model(&self, names: [&str; 2]) -> Result<(), Refusal> {
        match self.key.limits.allow_model(names.into_iter()) {
            true => Ok(()),
            false => Err(Refusal::ModelDenied),
        }
    }
}

/// Lets a request pass with its [`Principal`], or without one where nobody needs any.
pub(super) async fn authenticate(State(app): State<App>, request: Request, next: Next) -> Response {
    let access = &app.shared().access;
    let Some(keys) = access.keys.as_ref().filter(|keys| keys.is_required()) else {
        return next.run(request).await;
    };
    let protocol = Protocol::of(request.uri().path());
    let request_id = request.extensions().get::<RequestId>().cloned();
    match credentials::check(&app, keys, access.options.region.as_deref(), request).await {
        Ok((principal, mut request)) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(refusal) => {
            let response = protocol.refuse(refusal);
            let code = response.extensions().get::<FailureCode>().map_or("", |code| code.0);
            app.shared().metrics.observe_refused(code);
            let request_id = request_id.map_or_else(|| "".into(), |id| id.0);
            tracing::info!(%request_id, code, "a request was not let in");
            response
        }
    }
}
