//! The engine's invariants with [`ToyLm`], whose text changes if any key or value is not where it
//! should be.

mod equality;
mod lifecycle;

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;

use crate::engine::core::{Core, Submission};
use crate::engine::gate::Shared;
use crate::engine::sequence::SequenceId;
use crate::engine::{
    EngineConfig, EngineStats, GenerationRequest, SamplingParams, SubmitError, TokenEvent,
};
use crate::model::toy::ToyLm;

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
    }
}

/// What a client has seen of one request.
#[derive(Debug)]
struct Client {
    id: SequenceId,
    /// `None` once the client went away.
    events: Option<UnboundedReceiver<TokenEvent>>,
    tokens: Vec<u32>,
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
        let kv_cache = ToyLm::kv_cache(block_size, num_blocks).unwrap();
        let shared = Arc::new(Shared::new(config, VOCAB_SIZE));
        let core = Core::new(Box::new(model), kv_cache, Arc::clone(&shared));
        Self { core, shared, clients: Vec::new() }
    }

    fn submit(&mut self, request: GenerationRequest) -> Result<usize, SubmitError> {
        let (events, receiver) = tokio::sync::mpsc::unbounded_channel();
        let id = self.shared.admit(request.prompt.len(), |_| ())?;
        self.core.add(Submission { id, request, events });
        let client = Client { id, events: Some(receiver), tokens: Vec::new(), end: None };
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

/// The only request on an engine with room to spare and nothing to reuse.
fn alone(request: GenerationRequest, max_model_len: usize) -> Client {
    let config = EngineConfig {
        max_model_len,
        max_num_batched_tokens: 1024,
        prefix_cache: false,
        ..config()
    };
    let mut rig = Rig::new(ToyLm::new(VOCAB_SIZE), 16, max_model_len.div_ceil(16), config);
    rig.submit(request).unwrap();
    rig.run();
    rig.clients.pop().unwrap()
}
