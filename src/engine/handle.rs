//! The way into the engine thread, and the thread's loop.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::engine::core::{Core, Submission};
use crate::engine::gate::Shared;
use crate::engine::sequence::{CacheUse, SequenceId};
use crate::engine::{
    EngineConfig, EngineStats, GenerationError, GenerationRequest, StartError, SubmitError,
    TokenConstraint, TokenEvent,
};
use crate::model::{CausalLm, KvCache};

/// What reaches the engine thread between two steps. As many as there are accepted requests, and
/// one more for each that is dropped.
#[derive(Debug)]
enum Command {
    Submit(Box<Submission>),
    Abort(SequenceId),
}

/// A smaller model of the same vocabulary, which guesses what the model will write.
pub struct Draft {
    pub model: Box<dyn CausalLm>,
    /// Of as many blocks of the same size as the model's.
    pub kv_cache: KvCache,
}

/// Starts the engine thread.
#[derive(Debug)]
pub struct Engine;

impl Engine {
    /// Limits of `config` that model or cache cannot keep are lowered; [`EngineHandle::config`]
    /// says what holds. The thread ends when all handles and generations are dropped. Panics if the
    /// draft's cache has other blocks than the model's.
    pub fn start(
        model: Box<dyn CausalLm>,
        kv_cache: KvCache,
        draft: Option<Draft>,
        config: EngineConfig,
    ) -> Result<EngineHandle, StartError> {
        let config = lowered(config, model.as_ref(), &kv_cache)?;
        let shared = Arc::new(Shared::new(config, model.config().vocab_size));
        let (commands, receiver) = mpsc::channel();
        let core = Core::new(model, kv_cache, draft, Arc::clone(&shared));
        let (alive, ended) = mpsc::channel();
        thread::Builder::new().name("engine".into()).spawn(move || {
            run(core, &receiver);
            drop(alive);
        })?;
        Ok(EngineHandle { shared, commands, end: EngineEnd(Arc::new(Mutex::new(ended))) })
    }
}

/// The limits that can be kept, or why there are none.
fn lowered(
    mut config: EngineConfig,
    model: &dyn CausalLm,
    kv_cache: &KvCache,
) -> Result<EngineConfig, StartError> {
    for (field, limit) in [
        ("max_num_seqs", config.max_num_seqs),
        ("max_num_batched_tokens", config.max_num_batched_tokens),
        ("queued_requests_max", config.queued_requests_max),
    ] {
        if limit == 0 {
            return Err(StartError::ZeroLimit { field });
        }
    }
    let kv_cache = kv_cache.config();
    let num_slots = kv_cache.num_blocks.saturating_mul(kv_cache.block_size);
    config.max_model_len =
        config.max_model_len.min(num_slots).min(model.config().max_position_embeddings);
    if config.max_model_len < 2 {
        return Err(StartError::ContextTooSmall { tokens: config.max_model_len });
    }
    config.max_num_seqs = config.max_num_seqs.min(config.max_num_batched_tokens);
    Ok(config)
}

/// The life of the engine thread.
fn run(mut core: Core, commands: &mpsc::Receiver<Command>) {
    match catch_unwind(AssertUnwindSafe(|| serve(&mut core, commands))) {
        Ok(Served::Unused) => return,
        Ok(Served::DeviceLost) => {
            tracing::error!("the device is lost; the engine accepts nothing from now on");
        }
        Err(_) => tracing::error!("the engine thread panicked; it accepts nothing from now on"),
    }
    core.fail_all();
    // These were accepted before the gate closed. Their clients learn it from the closed channel,
    // as those of `core` would if even `fail_all` could not reach them.
    while commands.try_recv().is_ok() {}
}

/// Why the engine thread has nothing more to do.
enum Served {
    /// All handles and generations are gone.
    Unused,
    DeviceLost,
}

/// Steps while there is work, and between two steps takes every command that has arrived.
fn serve(core: &mut Core, commands: &mpsc::Receiver<Command>) -> Served {
    loop {
        if core.is_device_lost() {
            return Served::DeviceLost;
        }
        if !core.has_work() {
            match commands.recv() {
                Ok(command) => apply(core, command),
                Err(mpsc::RecvError) => return Served::Unused,
            }
        }
        while let Ok(command) = commands.try_recv() {
            apply(core, command);
        }
        core.step();
    }
}

fn apply(core: &mut Core, command: Command) {
    match command {
        Command::Submit(submission) => core.add(*submission),
        Command::Abort(id) => core.abort(id),
    }
}

#[derive(Debug, Clone)]
pub struct EngineHandle {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    end: EngineEnd,
}

/// The end of an engine thread, for whoever ends the program: a GPU's driver is not to be called
/// while the program takes its libraries down.
#[derive(Debug, Clone)]
pub struct EngineEnd(Arc<Mutex<mpsc::Receiver<()>>>);

impl EngineEnd {
    /// Waits until the thread has given back all that it held, for `limit` at most. It begins to
    /// when all handles and generations are dropped.
    pub fn wait(&self, limit: Duration) {
        let alive = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: the channel closes.
        let _ = alive.recv_timeout(limit);
    }
}

impl EngineHandle {
    /// Refused here or never: an accepted request ends in one `Finished` or `Failed`.
    pub fn submit(&self, request: GenerationRequest) -> Result<Generation, SubmitError> {
        self.submit_constrained(request, None)
    }

    /// The same with a constraint on the tokens that are generated.
    pub fn submit_constrained(
        &self,
        request: GenerationRequest,
        constraint: Option<Box<dyn TokenConstraint>>,
    ) -> Result<Generation, SubmitError> {
        self.validate(&request)?;
        let (events, receiver) = tokio::sync::mpsc::unbounded_channel();
        let cache_use: Arc<CacheUse> = Arc::default();
        let id = self.shared.admit(request.prompt.len(), |id| {
            // If the thread is gone the events are dropped with the command, and the generation
            // ends as failed.
            let cache_use = Arc::clone(&cache_use);
            let submission = Submission { id, request, events, cache_use, constraint };
            let _ = self.commands.send(Command::Submit(Box::new(submission)));
        })?;
        let commands = self.commands.clone();
        Ok(Generation { id, events: receiver, cache_use, commands, ended: false })
    }

    fn validate(&self, request: &GenerationRequest) -> Result<(), SubmitError> {
        let (tokens, limit) = (request.prompt.len(), self.shared.config.max_model_len);
        if tokens == 0 {
            return Err(SubmitError::EmptyPrompt);
        }
        if tokens >= limit {
            return Err(SubmitError::PromptTooLong { tokens, limit });
        }
        let vocab_size = self.shared.vocab_size;
        let written = request
            .reasoning_budget
            .iter()
            .flat_map(|it| it.closing_ids.iter().chain(it.leading_ids.iter()));
        let unknown = |&&id: &&u32| id as usize >= vocab_size;
        if let Some(&id) = request.prompt.iter().chain(written).find(unknown) {
            return Err(SubmitError::UnknownToken { id, vocab_size });
        }
        request.sampling.validate()
    }

    /// The limits that hold, which may be lower than those the engine was started with.
    pub fn config(&self) -> &EngineConfig {
        &self.shared.config
    }

    pub fn stats(&self) -> EngineStats {
        self.shared.stats()
    }

    pub fn end(&self) -> EngineEnd {
        self.end.clone()
    }

    /// False after a panic in the engine thread, and once the device is lost.
    pub fn is_healthy(&self) -> bool {
        self.shared.is_healthy()
    }

    /// From now on `submit` refuses; accepted requests go on.
    pub fn start_draining(&self) {
        self.shared.start_draining();
    }

    /// Resolves when nothing is running or waiting.
    pub async fn drained(&self) {
        self.shared.drained().await;
    }
}

/// A running request. Dropping it aborts the request and frees its blocks before the next step.
#[derive(Debug)]
pub struct Generation {
    id: SequenceId,
    events: UnboundedReceiver<TokenEvent>,
    cache_use: Arc<CacheUse>,
    commands: mpsc::Sender<Command>,
    ended: bool,
}

impl Generation {
    /// `None` after the final event. Nothing is lost if the future is dropped before it resolves.
    pub async fn next(&mut self) -> Option<TokenEvent> {
        if self.ended {
            return None;
        }
        let event = self.events.recv().await;
        Some(self.note(event))
    }

    /// Prompt tokens that came from the prefix cache; 0 until the request leaves the queue.
    pub fn num_cached_tokens(&self) -> usize {
        self.cache_use.num_read()
    }

    /// Prompt tokens that this request put into the prefix cache so far.
    pub fn num_written_tokens(&self) -> usize {
        self.cache_use.num_written()
    }

    /// The same as [`Self::next`] from a thread outside the asynchronous runtime.
    pub fn blocking_next(&mut self) -> Option<TokenEvent> {
        if self.ended {
            return None;
        }
        let event = self.events.blocking_recv();
        Some(self.note(event))
    }

    /// A channel that closes without a final event means that the engine thread is gone.
    fn note(&mut self, event: Option<TokenEvent>) -> TokenEvent {
        let event = event.unwrap_or(TokenEvent::Failed(GenerationError::EngineStopped));
        self.ended = matches!(event, TokenEvent::Finished(_) | TokenEvent::Failed(_));
        event
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        if !self.ended {
            // An engine that is gone holds no blocks.
            let _ = self.commands.send(Command::Abort(self.id));
        }
    }
}
