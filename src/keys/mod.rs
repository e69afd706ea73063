//! Who may use the server: keys, what each is allowed, and the file that holds them.
//!
//! Two kinds of keys exist. An access key is an id and a secret with which requests are signed; the
//! secret is needed to check a signature, so it is kept encrypted under a key of its own file. A
//! bearer key is sent as it is; only its digest is kept. This layer knows neither HTTP nor models.

mod error;
mod file;
pub(crate) mod hex;
mod limiter;
mod ring;
mod sealing;
mod store;
mod stored;
mod timestamp;
mod usage;

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;

pub use error::KeysError;
pub use limiter::{Admission, Limiter, QuotaUsedUp, Throttled};
pub use ring::{KeyRefusal, KeyRing};
pub use store::{FileVersion, KeyStore, LimitChanges, NewKey};
pub use timestamp::{Day, Timestamp};
pub use usage::{DailyUsage, UsageStore};

/// One key, as the file has it, with its secret opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Public: it names the key in requests, lists and logs.
    pub id: Arc<str>,
    /// What its owner calls it; unique among keys that are not revoked.
    pub name: String,
    pub created: Timestamp,
    /// The first second at which it is no longer good.
    pub expires: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
    pub limits: KeyLimits,
    pub credential: Credential,
}

/// What proves that a request comes from a key's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// `None` once the key is revoked: its secret is gone.
    Access(Option<Secret>),
    Bearer(Option<Digest>),
}

impl Credential {
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Access(_) => KeyKind::Access,
            Self::Bearer(_) => KeyKind::Bearer,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// An id and a secret, for signatures of AWS's version 4.
    Access,
    /// One word, sent with every request.
    Bearer,
}

impl KeyKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Bearer => "bearer",
        }
    }
}

/// The SHA-256 of a bearer key.
pub type Digest = [u8; 32];

/// Text that must not be shown: it prints as a placeholder.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// For a signature, or for the one time that a new key is shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What a key may do; nothing set means no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyLimits {
    pub requests_per_minute: Option<NonZeroU32>,
    /// Prompt tokens that had to be computed and generated ones together.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Of the same tokens; waiting a moment does not help against it.
    pub tokens_per_day: Option<NonZeroU64>,
    pub max_concurrent: Option<NonZeroU32>,
    /// Ids of the models that it may use; empty means all.
    pub models: Vec<String>,
}

impl KeyLimits {
    /// `names` are all those under which the server knows the model that a request asks for.
    pub fn allow_model<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        self.models.is_empty() || names.any(|name| self.models.iter().any(|it| it == name))
    }
}

/// Where a key stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyStatus {
    Active,
    Expired,
    Revoked,
}

impl KeyStatus {
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Key {
    pub fn status(&self, now: Timestamp) -> KeyStatus {
        match (self.revoked, self.expires) {
            (Some(_), _) => KeyStatus::Revoked,
            (None, Some(expires)) if expires <= now => KeyStatus::Expired,
            (None, _) => KeyStatus::Active,
        }
    }
}

/// A key that was just made: the only time that its secret is seen.
#[derive(Debug, Clone)]
pub struct IssuedKey {
    pub key: Key,
    /// An access key's secret, or the whole of a bearer key.
    pub secret: Secret,
}
