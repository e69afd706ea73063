//! The keys of a running server, found by id or by the digest of a bearer key.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use thiserror::Error;

use crate::keys::{Credential, Digest, Key, KeyStatus, Secret, Timestamp};

#[derive(Debug, Default)]
pub struct KeyRing {
    by_id: HashMap<Arc<str>, Arc<Key>>,
    /// What is looked up is the digest of what a client sent, so how long the search takes says
    /// nothing about how near a guess was. The digest that is found is compared in constant time.
    by_digest: HashMap<Digest, Arc<Key>>,
}

/// Why a key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum KeyRefusal {
    /// Or revoked: the two are not told apart.
    #[error("the key is not known")]
    Unknown,
    #[error("the key has expired")]
    Expired,
}

impl KeyRing {
    pub fn new(keys: Vec<Key>) -> Self {
        let keys: Vec<Arc<Key>> = keys.into_iter().map(Arc::new).collect();
        let digest = |key: &Arc<Key>| match key.credential {
            Credential::Bearer(Some(digest)) => Some((digest, Arc::clone(key))),
            Credential::Bearer(None) | Credential::Access(_) => None,
        };
        Self {
            by_digest: keys.iter().filter_map(digest).collect(),
            by_id: keys.into_iter().map(|key| (Arc::clone(&key.id), key)).collect(),
        }
    }

    /// Revoked ones included.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.by_id.values()
    }

    /// The access key of this id, and its secret.
    pub fn access_key(&self, id: &str, now: Timestamp) -> Result<(&Arc<Key>, &Secret), KeyRefusal> {
        let key = self.by_id.get(id).ok_or(KeyRefusal::Unknown)?;
        let Credential::Access(Some(secret)) = &key.credential else {
            return Err(KeyRefusal::Unknown);
        };
        usable(key, now)?;
        Ok((key, secret))
    }

    pub fn bearer_key(&self, token: &str, now: Timestamp) -> Result<&Arc<Key>, KeyRefusal> {
        let presented: Digest = Sha256::digest(token.as_bytes()).into();
        let (kept, key) = self.by_digest.get_key_value(&presented).ok_or(KeyRefusal::Unknown)?;
        if !bool::from(kept.ct_eq(&presented)) {
            return Err(KeyRefusal::Unknown);
        }
        usable(key, now)?;
        Ok(key)
    }
}

fn usable(key: &Key, now: Timestamp) -> Result<(), KeyRefusal> {
    match key.status(now) {
        KeyStatus::Active => Ok(()),
        KeyStatus::Expired => Err(KeyRefusal::Expired),
        KeyStatus::Revoked => Err(KeyRefusal::Unknown),
    }
}
