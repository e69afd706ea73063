//! Reads and changes the file of keys.
//!
//! Every change reads the file anew under a lock and replaces it as a whole, so that commands that
//! run at the same time lose nothing and a server never reads half a file.

use std::fs;
use std::io::ErrorKind;
use std::num::{NonZeroU32, NonZeroU64};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::keys::file::{Replace, lock_changes, read_private, write_private};
use crate::keys::sealing::{Sealer, digest, new_bearer_secret, new_id, new_signing_secret};
use crate::keys::stored::{self, StoredKey, check_models, check_name};
use crate::keys::{Credential, IssuedKey, Key, KeyKind, KeyLimits, KeysError, Secret, Timestamp};
use crate::limits;

/// Where keys are kept.
#[derive(Debug, Clone)]
pub struct KeyStore {
    path: PathBuf,
    /// Opens the secrets of access keys.
    key_file: PathBuf,
}

/// Changes whenever the file does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileVersion(Option<(u64, u64, u64, SystemTime)>);

impl FileVersion {
    /// A file that cannot be looked at is as good as none.
    pub fn of(path: &Path) -> Self {
        let version = fs::metadata(path)
            .ok()
            .and_then(|it| Some((it.dev(), it.ino(), it.len(), it.modified().ok()?)));
        Self(version)
    }
}

/// A key that is to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub name: String,
    pub kind: KeyKind,
    pub expires: Option<Timestamp>,
    pub limits: KeyLimits,
}

/// `None` leaves a limit as it is, `Some(None)` takes it away.
#[derive(Debug, Clone, Default)]
pub struct LimitChanges {
    pub requests_per_minute: Option<Option<NonZeroU32>>,
    pub tokens_per_minute: Option<Option<NonZeroU32>>,
    pub tokens_per_day: Option<Option<NonZeroU64>>,
    pub max_concurrent: Option<Option<NonZeroU32>>,
    pub models: Option<Vec<String>>,
}

impl KeyStore {
    pub fn new(path: PathBuf, key_file: PathBuf) -> Self {
        Self { path, key_file }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn version(&self) -> FileVersion {
        FileVersion::of(&self.path)
    }

    /// All keys with what is needed to check them. No file means no keys.
    pub fn load(&self) -> Result<Vec<Key>, KeysError> {
        let stored = self.read()?;
        let sealer = match stored.iter().any(StoredKey::is_sealed) {
            true => Some(self.sealer()?),
            false => None,
        };
        let open = |stored: &StoredKey| {
            stored.open(sealer.as_ref()).ok_or_else(|| KeysError::Key {
                path: self.path.clone(),
                id: stored.id.clone(),
                reason: format!(
                    "its secret was not sealed with the key file `{}`",
                    self.key_file.display()
                ),
            })
        };
        stored.iter().map(open).collect()
    }

    /// All keys without their secrets: no key file is needed.
    pub fn list(&self) -> Result<Vec<Key>, KeysError> {
        Ok(self.read()?.iter().map(StoredKey::describe).collect())
    }

    pub fn create(&self, new: NewKey, now: Timestamp) -> Result<IssuedKey, KeysError> {
        let invalid = |field| move |reason| KeysError::Invalid { field, reason };
        check_name(&new.name).map_err(invalid("name"))?;
        check_models(&new.limits.models).map_err(invalid("models"))?;
        if new.expires.is_some_and(|expires| expires <= now) {
            return Err(invalid("expires")("it is in the past".to_owned()));
        }
        self.change(|keys| {
            if keys.len() >= limits::KEYS_MAX {
                let reason = format!("there are {} already, the limit", keys.len());
                return Err(invalid("keys")(reason));
            }
            if keys.iter().any(|it| it.revoked.is_none() && it.name == new.name) {
                let reason = format!("there is a key `{}` already", new.name);
                return Err(invalid("name")(reason));
            }
            let (secret, credential) = new_credential(new.kind)?;
            let key = Key {
                id: new_id(new.kind)?.into(),
                name: new.name,
                created: now,
                expires: new.expires,
                revoked: None,
                limits: new.limits,
                credential,
            };
            let sealed = match new.kind {
                KeyKind::Access => {
                    Some(Sealer::open_or_create(&self.key_file)?.seal(&key.id, &secret)?)
                }
                KeyKind::Bearer => None,
            };
            keys.push(StoredKey::new(&key, sealed));
            Ok(IssuedKey { key, secret })
        })
    }

    /// `selector` is an id, or the name of a key that is not revoked.
    pub fn revoke(&self, selector: &str, now: Timestamp) -> Result<Key, KeysError> {
        self.change(|keys| {
            let key = select(keys, selector)?;
            key.revoke(now);
            Ok(key.describe())
        })
    }

    pub fn limit(&self, selector: &str, changes: LimitChanges) -> Result<Key, KeysError> {
        if let Some(models) = &changes.models {
            check_models(models)
                .map_err(|reason| KeysError::Invalid { field: "models", reason })?;
        }
        self.change(|keys| {
            let key = select(keys, selector)?;
            let old = key.limits();
            key.set_limits(KeyLimits {
                requests_per_minute: changes.requests_per_minute.unwrap_or(old.requests_per_minute),
                tokens_per_minute: changes.tokens_per_minute.unwrap_or(old.tokens_per_minute),
                tokens_per_day: changes.tokens_per_day.unwrap_or(old.tokens_per_day),
                max_concurrent: changes.max_concurrent.unwrap_or(old.max_concurrent),
                models: changes.models.unwrap_or(old.models),
            });
            Ok(key.describe())
        })
    }

    fn read(&self) -> Result<Vec<StoredKey>, KeysError> {
        match read_private(&self.path, limits::KEYS_FILE_BYTES_MAX) {
            Ok(text) => stored::parse(&text, &self.path),
            Err(KeysError::Io { cause, .. }) if cause.kind() == ErrorKind::NotFound => {
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    fn sealer(&self) -> Result<Sealer, KeysError> {
        Sealer::open(&self.key_file)?.ok_or_else(|| KeysError::NoKeyFile(self.key_file.clone()))
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<StoredKey>) -> Result<T, KeysError>,
    ) -> Result<T, KeysError> {
        let _lock = lock_changes(&self.path)?;
        let mut keys = self.read()?;
        let changed = change(&mut keys)?;
        write_private(&self.path, &stored::write(keys), Replace::Always)?;
        Ok(changed)
    }
}

fn new_credential(kind: KeyKind) -> Result<(Secret, Credential), KeysError> {
    Ok(match kind {
        KeyKind::Access => {
            let secret = new_signing_secret()?;
            (secret.clone(), Credential::Access(Some(secret)))
        }
        KeyKind::Bearer => {
            let secret = new_bearer_secret()?;
            let digest = digest(&secret);
            (secret, Credential::Bearer(Some(digest)))
        }
    })
}

fn select<'a>(keys: &'a mut [StoredKey], selector: &str) -> Result<&'a mut StoredKey, KeysError> {
    let by_id = keys.iter().position(|key| key.id == selector);
    let live_name = |key: &StoredKey| key.name == selector && key.revoked.is_none();
    let index = by_id.or_else(|| keys.iter().position(live_name));
    let Some(index) = index else {
        return match keys.iter().any(|key| key.name == selector) {
            true => Err(KeysError::Revoked(selector.to_owned())),
            false => Err(KeysError::Unknown(selector.to_owned())),
        };
    };
    match keys[index].revoked {
        Some(_) => Err(KeysError::Revoked(selector.to_owned())),
        None => Ok(&mut keys[index]),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
