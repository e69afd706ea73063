//! The keys as they are now, and what each has used: the file may change while the server runs.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::api::access::Principal;
use crate::keys::{FileVersion, Key, KeyRing, KeyStore, KeysError, Limiter};
use crate::limits;

#[derive(Debug)]
pub(super) struct LiveKeys {
    store: KeyStore,
    /// Of the file that was read first.
    first_version: FileVersion,
    state: RwLock<Arc<State>>,
    /// Stays set: no change of the file may open a server that was closed.
    required: AtomicBool,
}

#[derive(Debug)]
struct State {
    ring: KeyRing,
    limiters: HashMap<Arc<str>, Arc<Limiter>>,
}

impl LiveKeys {
    pub(super) fn load(store: KeyStore) -> Result<Self, KeysError> {
        // Looked at first: a change in between is then read twice, and never missed.
        let first_version = store.version();
        let keys = store.load()?;
        let required = AtomicBool::new(!keys.is_empty());
        let state = RwLock::new(Arc::new(State::new(keys, &HashMap::new())));
        Ok(Self { store, first_version, state, required })
    }

    pub(super) fn is_required(&self) -> bool {
        self.required.load(Ordering::Acquire)
    }

    /// The owner of a key that `find` picks from those there are now.
    pub(super) fn find<E>(
        &self,
        find: impl FnOnce(&KeyRing) -> Result<Arc<Key>, E>,
    ) -> Result<Principal, E> {
        let state = Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner));
        let key = find(&state.ring)?;
        let limiter = state.limiters.get(&key.id).expect("every key has its limiter");
        Ok(Principal { limiter: Arc::clone(limiter), key })
    }

    /// Reads the file again whenever it has changed. A file that cannot be read changes nothing:
    /// the keys that were good stay so, and the log says why.
    pub(super) async fn follow(&self) {
        let mut version = self.first_version.clone();
        loop {
            sleep(limits::RELOAD_INTERVAL).await;
            let now = self.store.version();
            if now == version {
                continue;
            }
            version = now;
            let store = self.store.clone();
            match spawn_blocking(move || store.load()).await {
                Ok(Ok(keys)) => self.replace(keys),
                Ok(Err(error)) => tracing::error!(%error, "the keys stay as they were"),
                Err(error) => tracing::error!(%error, "reading the keys panicked"),
            }
        }
    }

    fn replace(&self, keys: Vec<Key>) {
        let num_keys = keys.len();
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = Arc::new(State::new(keys, &state.limiters));
        if num_keys > 0 {
            self.required.store(true, Ordering::Release);
        }
        tracing::info!(num_keys, "read the keys again");
    }
}

impl State {
    /// What a key has used so far counts on.
    fn new(keys: Vec<Key>, known: &HashMap<Arc<str>, Arc<Limiter>>) -> Self {
        let now = Instant::now();
        let ring = KeyRing::new(keys);
        let limiter = |key: &Arc<Key>| {
            let limiter = match known.get(&key.id) {
                Some(limiter) => {
                    limiter.set_limits(&key.limits, now);
                    Arc::clone(limiter)
                }
                None => Arc::new(Limiter::new(&key.limits, now)),
            };
            (Arc::clone(&key.id), limiter)
        };
        Self { limiters: ring.keys().map(limiter).collect(), ring }
    }
}
