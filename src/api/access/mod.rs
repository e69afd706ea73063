//! Who is let in: every route but the probes asks for a key, once there are keys.
//!
//! Open routes are not behind this layer, so no way of writing a path can make a closed one look
//! open; what matches no route is closed. Nothing that a client sends to prove itself is logged or
//! repeated in an answer.

pub(super) mod authenticate;
mod credentials;
mod live;
pub(super) mod refusal;

use std::sync::Arc;
use std::time::Instant;

use crate::api::refusal::Refusal;
use crate::keys::{Admission, Day, Key, KeyStore, KeysError, Limiter, UsageStore};

use live::LiveKeys;

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
