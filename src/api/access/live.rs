//! The keys as they are now, and what each has used: the file may change while the server runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::api::access::Principal;
use crate::keys::{
    DailyUsage, Day, FileVersion, Key, KeyRing, KeyStore, KeysError, Limiter, UsageStore,
};
use crate::limits;

#[derive(Debug)]
pub(super) struct LiveKeys {
    store: KeyStore,
    recorder: Arc<Recorder>,
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

/// Writes down what keys use, one time after the other.
#[derive(Debug)]
struct Recorder {
    usage: UsageStore,
    /// Whether the last time went well: a failure is told once.
    works: Mutex<bool>,
}

impl Recorder {
    fn record(&self, state: &State) {
        let mut works = self.works.lock().unwrap_or_else(PoisonError::into_inner);
        let used = state.unrecorded(Day::today());
        match self.usage.add(&used) {
            Ok(total) => {
                state.recorded(&used, &total);
                if !*works {
                    tracing::info!("what keys use is written down again");
                }
                *works = true;
            }
            // It stays counted here, and is tried again.
            Err(error) if *works => {
                tracing::error!(%error, "what keys use is not written down");
                *works = false;
            }
            Err(_) => {}
        }
    }
}

impl LiveKeys {
    pub(super) fn load(store: KeyStore, usage: UsageStore) -> Result<Self, KeysError> {
        // Looked at first: a change in between is then read twice, and never missed.
        let first_version = store.version();
        let keys = store.load()?;
        let required = AtomicBool::new(!keys.is_empty());
        let state = State::new(keys, &HashMap::new());
        state.learn(&usage.read(Day::today())?);
        let state = RwLock::new(Arc::new(state));
        let recorder = Arc::new(Recorder { usage, works: Mutex::new(true) });
        Ok(Self { store, recorder, first_version, state, required })
    }

    pub(super) fn is_required(&self) -> bool {
        self.required.load(Ordering::Acquire)
    }

    /// The owner of a key that `find` picks from those there are now.
    pub(super) fn find<E>(
        &self,
        find: impl FnOnce(&KeyRing) -> Result<Arc<Key>, E>,
    ) -> Result<Principal, E> {
        let state = self.state();
        let key = find(&state.ring)?;
        let limiter = state.limiters.get(&key.id).expect("every key has its limiter");
        Ok(Principal { limiter: Arc::clone(limiter), key })
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes down what keys use, now and then.
    pub(super) async fn keep_recording(&self) {
        loop {
            sleep(limits::KEY_USAGE_INTERVAL).await;
            self.record_usage().await;
        }
    }

    /// Writes down what keys have used since the last time, and learns what other servers have.
    pub(super) async fn record_usage(&self) {
        let (recorder, state) = (Arc::clone(&self.recorder), self.state());
        // Whole, even if nobody waits for it any more: what is written is no longer to be written.
        if let Err(error) = spawn_blocking(move || recorder.record(&state)).await {
            tracing::error!(%error, "writing down what keys use panicked");
        }
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
        let (now, today) = (Instant::now(), Day::today());
        let ring = KeyRing::new(keys);
        let limiter = |key: &Arc<Key>| {
            let limiter = match known.get(&key.id) {
                Some(limiter) => {
                    limiter.set_limits(&key.limits, now);
                    Arc::clone(limiter)
                }
                None => Arc::new(Limiter::new(&key.limits, now, today)),
            };
            (Arc::clone(&key.id), limiter)
        };
        Self { limiters: ring.keys().map(limiter).collect(), ring }
    }

    fn unrecorded(&self, today: Day) -> DailyUsage {
        let unrecorded = |(id, limiter): (&Arc<str>, &Arc<Limiter>)| {
            let tokens = limiter.unrecorded(today);
            (tokens > 0).then(|| (id.to_string(), tokens))
        };
        let tokens: BTreeMap<_, _> = self.limiters.iter().filter_map(unrecorded).collect();
        DailyUsage { day: today, tokens }
    }

    /// `used` is what was added, `total` what all have used.
    fn recorded(&self, used: &DailyUsage, total: &DailyUsage) {
        // What was of a day that is over for other servers was not added.
        let added = |id| if used.day == total.day { used.of(id) } else { 0 };
        for (id, limiter) in &self.limiters {
            limiter.record(total.day, added(id), total.of(id));
        }
    }

    fn learn(&self, total: &DailyUsage) {
        self.recorded(&DailyUsage::none(total.day), total);
    }
}
