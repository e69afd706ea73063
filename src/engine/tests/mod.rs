//! The engine's invariants with [`ToyLm`], whose text changes if any key or value is not where it
//! should be.

mod admission;
mod cancellation;
mod constraint;
mod draft;
mod equality;
mod failure;
mod lifecycle;
mod overhead;
mod preemption;
mod priority;
mod soak;
mod speculation;

use std::sync::{Arc, mpsc};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;

use crate::engine::core::{Core, Submission};
use crate::engine::gate::Shared;
use crate::engine::sequence::SequenceId;
use crate::engine::{
    Draft, Engine, EngineConfig, EngineHandle, EngineStats, Generation, GenerationRequest,
    GenerationSummary, Priority, SamplingParams, Speculation, SubmitError, TokenConstraint,
    TokenEvent, TokenLogprobs,
};
use crate::model::toy::{ToyLm, ToyReply};

pub(super) const VOCAB_SIZE: usize = 24;

pub(super) fn greedy() -> SamplingParams {
    SamplingParams {
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        repetition_penalty: 1.0,
        seed: 0,
    }
}

pub(super) fn request(prompt: &[u32]) -> GenerationRequest {
    GenerationRequest {
        prompt: prompt.to_vec(),
        max_tokens: 16,
        stop_ids: Arc::from([]),
        sampling: greedy(),
        reasoning_budget: None,
        priority: Priority::Normal,
        cache_salt: None,
        logprobs: None,
    }
}

fn config() -> EngineConfig {
    EngineConfig {
        max_model_len: 64,
        max_num_seqs: 8,
        max_num_batched_tokens: 16,
        queued_requests_max: usize::MAX,
        queued_tokens_max: usize::MAX,
        prefix_cache: true,
        speculation: Speculation::Off,
    }
}

/// What a client has seen of one request.
#[derive(Debug)]
struct Client {
    id: SequenceId,
    /// `None` once the client went away.
    events: Option<UnboundedReceiver<TokenEvent>>,
    tokens: Vec<u32>,
    logprobs: Vec<TokenLogprobs>,
    end: Option<TokenEvent>,
}

impl Client {
    fn poll(&mut self) {
        let Some(events) = &mut self.events else { return };
        loop {
            match events.try_recv() {
                Ok(TokenEvent::Token(token)) => {
                    assert_eq!(self.end, None, "a token after the end");
                    self.tokens.push(token);
                }
                Ok(TokenEvent::Logprobs(logprobs)) => self.logprobs.push(*logprobs),
                Ok(end) => assert_eq!(self.end.replace(end), None, "a request ends once"),
                Err(TryRecvError::Empty) => {
                    assert_eq!(self.end, None, "the channel closes after the end");
                    return;
                }
                Err(TryRecvError::Disconnected) => {
                    assert!(self.end.is_some(), "the channel closed without an end");
                    self.events = None;
                    return;
                }
            }
        }
    }
}

/// The engine without its thread, so that a test decides what happens between which steps.
struct Rig {
    core: Core,
    shared: Arc<Shared>,
    clients: Vec<Client>,
}

impl Rig {
    fn new(model: ToyLm, block_size: usize, num_blocks: usize, config: EngineConfig) -> Self {
        Self::drafted(model, None, (block_size, num_blocks), config)
    }

    fn drafted(
        model: ToyLm,
        draft: Option<ToyLm>,
        (block_size, num_blocks): (usize, usize),
        config: EngineConfig,
    ) -> Self {
        let draft = draft.map(|model| Draft {
            model: Box::new(model),
            kv_cache: ToyLm::kv_cache(block_size, num_blocks).unwrap(),
        });
        let kv_cache = ToyLm::kv_cache(block_size, num_blocks).unwrap();
        let shared = Arc::new(Shared::new(config, VOCAB_SIZE));
        let core = Core::new(Box::new(model), kv_cache, draft, Arc::clone(&shared));
        Self { core, shared, clients: Vec::new() }
    }

    fn submit(&mut self, request: GenerationRequest) -> Result<usize, SubmitError> {
        self.submit_constrained(request, None)
    }

    fn submit_constrained(
        &mut self,
        request: GenerationRequest,
        constraint: Option<Box<dyn TokenConstraint>>,
    ) -> Result<usize, SubmitError> {
        let (events, receiver) = tokio::sync::mpsc::unbounded_channel();
        let id = self.shared.admit(request.prompt.len(), |_| ())?;
        let cache_use = Arc::default();
        self.core.add(Submission { id, request, events, cache_use, constraint });
        let client = Client {
            id,
            events: Some(receiver),
            tokens: Vec::new(),
            logprobs: Vec::new(),
            end: None,
        };
        self.clients.push(client);
        Ok(self.clients.len() - 1)
    }

    fn abort(&mut self, client: usize) {
        self.clients[client].events = None;
        self.core.abort(self.clients[client].id);
        self.core.scheduler().assert_consistent();
    }

    fn step(&mut self) {
        self.core.step();
        self.core.scheduler().assert_consistent();
        let stats = self.shared.stats();
        assert!(stats.blocks_are_balanced(), "{stats:?}");
        for client in &mut self.clients {
            client.poll();
        }
    }

    fn run(&mut self) {
        while self.core.has_work() {
            self.step();
        }
    }

    fn stats(&self) -> EngineStats {
        self.shared.stats()
    }
}

fn start_with(model: ToyLm, config: EngineConfig) -> EngineHandle {
    Engine::start(Box::new(model), ToyLm::kv_cache(4, 32).unwrap(), None, config).unwrap()
}

fn start(model: ToyLm) -> EngineHandle {
    start_with(model, config())
}

/// Reads a generation to its end.
fn collect(mut generation: Generation) -> (Vec<u32>, TokenEvent) {
    let mut tokens = Vec::new();
    while let Some(event) = generation.blocking_next() {
        match event {
            TokenEvent::Token(token) => tokens.push(token),
            end => {
                assert_eq!(generation.blocking_next(), None, "nothing follows the end");
                return (tokens, end);
            }
        }
    }
    panic!("no final event");
}

fn summary(end: &TokenEvent) -> GenerationSummary {
    match end {
        TokenEvent::Finished(summary) => *summary,
        end => panic!("not finished: {end:?}"),
    }
}

fn assert_idle(stats: &EngineStats) {
    assert_eq!((stats.num_running, stats.num_waiting, stats.num_used_blocks), (0, 0, 0));
    assert!(stats.blocks_are_balanced(), "{stats:?}");
}

/// A model whose every step waits for `open` or `pass`.
struct Barrier {
    entered: mpsc::Receiver<()>,
    permits: Option<mpsc::Sender<()>>,
}

impl Barrier {
    fn new() -> (ToyLm, Self) {
        let (enter, entered) = mpsc::channel();
        let (permits, wait) = mpsc::channel();
        let model = ToyLm::scripted(VOCAB_SIZE, move |_| {
            // Both fail once the test has opened the barrier.
            let _ = enter.send(());
            let _ = wait.recv();
            ToyReply::Hash
        });
        (model, Self { entered, permits: Some(permits) })
    }

    /// Returns when the model is computing the next sequence of a step.
    fn wait_for_sequence(&self) {
        self.entered.recv().unwrap();
    }

    /// Lets the sequence that was waited for go on.
    fn pass(&self) {
        self.permits.as_ref().unwrap().send(()).unwrap();
    }

    /// From now on nothing waits.
    fn open(&mut self) {
        self.permits = None;
    }
}

/// The only request on an engine with room to spare and nothing to reuse.
fn alone(request: GenerationRequest, max_model_len: usize) -> Client {
    alone_constrained(request, None, max_model_len)
}

fn alone_constrained(
    request: GenerationRequest,
    constraint: Option<Box<dyn TokenConstraint>>,
    max_model_len: usize,
) -> Client {
    alone_with(ToyLm::new(VOCAB_SIZE), request, constraint, max_model_len)
}

fn alone_with(
    model: ToyLm,
    request: GenerationRequest,
    constraint: Option<Box<dyn TokenConstraint>>,
    max_model_len: usize,
) -> Client {
    let config = EngineConfig {
        max_model_len,
        max_num_batched_tokens: 1024,
        prefix_cache: false,
        ..config()
    };
    let mut rig = Rig::new(model, 16, max_model_len.div_ceil(16), config);
    rig.submit_constrained(request, constraint).unwrap();
    rig.run();
    rig.clients.pop().unwrap()
}
