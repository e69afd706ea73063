//! The file of keys: TOML, which people can read, with nothing in it that is not expected.
//!
//! `secret` of an access key is sealed and `digest` of a bearer key is its SHA-256, so the file
//! alone lets nobody in. A revoked key keeps its line, for whoever asks later, and loses both.

use std::collections::HashSet;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::keys::sealing::Sealer;
use crate::keys::{Credential, Key, KeyKind, KeyLimits, KeysError, Timestamp, hex};
use crate::limits;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeys {
    version: u32,
    #[serde(default, rename = "key")]
    keys: Vec<StoredKey>,
}

/// Another version may have other members, so it is looked at first.
#[derive(Debug, Deserialize)]
struct StoredVersion {
    version: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredKey {
    pub(super) id: String,
    pub(super) name: String,
    kind: StoredKind,
    created: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) revoked: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requests_per_minute: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens_per_minute: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokens_per_day: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_concurrent: Option<NonZeroU32>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    models: Vec<String>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredKind {
    Access,
    Bearer,
}

/// Entries that are well-formed, each of its own id.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<StoredKey>, KeysError> {
    let syntax = |error: toml::de::Error| {
        // The error's own display quotes the line, which may hold a secret.
        let reason = match error.span() {
            Some(span) => {
                let before = &text.as_bytes()[..span.start.min(text.len())];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                format!("line {line}: {}", error.message())
            }
            None => error.message().to_owned(),
        };
        KeysError::Syntax { path: path.to_owned(), reason }
    };
    let StoredVersion { version } = toml::from_str(text).map_err(syntax)?;
    if version != VERSION {
        return Err(KeysError::Version { path: path.to_owned(), version, known: VERSION });
    }
    let StoredKeys { keys, .. } = toml::from_str(text).map_err(syntax)?;
    let mut ids = HashSet::new();
    for key in &keys {
        key.check()
            .and_then(|()| match ids.insert(key.id.as_str()) {
                true => Ok(()),
                false => Err("the id occurs twice".to_owned()),
            })
            .map_err(|reason| KeysError::Key {
                path: path.to_owned(),
                id: key.id.clone(),
                reason,
            })?;
    }
    if keys.len() > limits::KEYS_MAX {
        let reason = format!("{} keys, the limit is {}", keys.len(), limits::KEYS_MAX);
        return Err(KeysError::Syntax { path: path.to_owned(), reason });
    }
    Ok(keys)
}

pub(super) fn write(keys: Vec<StoredKey>) -> String {
    let keys = StoredKeys { version: VERSION, keys };
    let text = toml::to_string(&keys).expect("strings, numbers and lists are TOML");
    format!("# Written by `outcrop keys`. Secrets are sealed or hashed.\n{text}")
}

impl StoredKey {
    pub(super) fn new(key: &Key, sealed_secret: Option<String>) -> Self {
        let digest = match key.credential {
            Credential::Bearer(digest) => digest.map(|digest| hex::encode(&digest)),
            Credential::Access(_) => None,
        };
        let kind = match key.credential.kind() {
            KeyKind::Access => StoredKind::Access,
            KeyKind::Bearer => StoredKind::Bearer,
        };
        let mut stored = Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            kind,
            created: key.created,
            expires: key.expires,
            revoked: key.revoked,
            secret: sealed_secret,
            digest,
            requests_per_minute: None,
            tokens_per_minute: None,
            tokens_per_day: None,
            max_concurrent: None,
            models: Vec::new(),
        };
        stored.set_limits(key.limits.clone());
        stored
    }

    pub(super) fn limits(&self) -> KeyLimits {
        KeyLimits {
            requests_per_minute: self.requests_per_minute,
            tokens_per_minute: self.tokens_per_minute,
            tokens_per_day: self.tokens_per_day,
            max_concurrent: self.max_concurrent,
            models: self.models.clone(),
        }
    }

    pub(super) fn set_limits(&mut self, limits: KeyLimits) {
        self.requests_per_minute = limits.requests_per_minute;
        self.tokens_per_minute = limits.tokens_per_minute;
        self.tokens_per_day = limits.tokens_per_day;
        self.max_concurrent = limits.max_concurrent;
        self.models = limits.models;
    }

    pub(super) fn revoke(&mut self, now: Timestamp) {
        self.revoked = Some(now);
        self.secret = None;
        self.digest = None;
    }

    /// Whether opening it takes the key file.
    pub(super) fn is_sealed(&self) -> bool {
        self.secret.is_some()
    }

    /// `None` if its secret cannot be opened.
    pub(super) fn open(&self, sealer: Option<&Sealer>) -> Option<Key> {
        let credential = match (self.kind, &self.secret) {
            (StoredKind::Access, None) => Credential::Access(None),
            (StoredKind::Access, Some(sealed)) => {
                Credential::Access(Some(sealer?.unseal(&self.id, sealed)?))
            }
            (StoredKind::Bearer, _) => {
                Credential::Bearer(self.digest.as_deref().and_then(hex::decode))
            }
        };
        Some(self.key(credential))
    }

    /// Without its secret: what lists show.
    pub(super) fn describe(&self) -> Key {
        self.key(match self.kind {
            StoredKind::Access => Credential::Access(None),
            StoredKind::Bearer => Credential::Bearer(None),
        })
    }

    fn key(&self, credential: Credential) -> Key {
        Key {
            id: self.id.as_str().into(),
            name: self.name.clone(),
            created: self.created,
            expires: self.expires,
            revoked: self.revoked,
            limits: self.limits(),
            credential,
        }
    }

    fn check(&self) -> Result<(), String> {
        let is_id = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let id_bytes = 1..=limits::KEY_ID_BYTES_MAX;
        if !id_bytes.contains(&self.id.len()) || !self.id.bytes().all(is_id) {
            let limit = limits::KEY_ID_BYTES_MAX;
            return Err(format!("the id must be 1 to {limit} letters, digits, `-` and `_`"));
        }
        check_name(&self.name)?;
        check_models(&self.models)?;
        let is_live = self.revoked.is_none();
        match self.kind {
            StoredKind::Access if self.secret.is_some() != is_live || self.digest.is_some() => {
                Err("an access key has a `secret` until it is revoked, and no `digest`".to_owned())
            }
            StoredKind::Bearer if self.digest.is_some() != is_live || self.secret.is_some() => {
                Err("a bearer key has a `digest` until it is revoked, and no `secret`".to_owned())
            }
            StoredKind::Access | StoredKind::Bearer => {
                match self.digest.as_deref().map(hex::decode) {
                    Some(None) => Err("`digest` must be 64 hexadecimal digits".to_owned()),
                    Some(Some(_)) | None => Ok(()),
                }
            }
        }
    }
}

pub(super) fn check_name(name: &str) -> Result<(), String> {
    let chars = 1..=limits::KEY_NAME_CHARS_MAX;
    if !chars.contains(&name.chars().count()) || name.chars().any(char::is_control) {
        let limit = limits::KEY_NAME_CHARS_MAX;
        return Err(format!("a name must be 1 to {limit} printable characters"));
    }
    Ok(())
}

pub(super) fn check_models(models: &[String]) -> Result<(), String> {
    let limit = limits::KEY_MODELS_MAX;
    if models.len() > limit {
        return Err(format!("{} models, the limit is {limit}", models.len()));
    }
    let chars = 1..=limits::MODEL_ID_CHARS_MAX;
    if models.iter().any(|model| !chars.contains(&model.chars().count())) {
        let limit = limits::MODEL_ID_CHARS_MAX;
        return Err(format!("a model's id must have 1 to {limit} characters"));
    }
    Ok(())
}
