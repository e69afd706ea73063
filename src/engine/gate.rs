//! What handles and engine thread share: whether requests are accepted, and how many there are.
//!
//! It is entered once or twice per request, never per step or token. A step that goes on while a
//! thousand clients knock is not slowed by them.

use tokio::sync::watch;

use crate::engine::scheduler::Dequeued;
use crate::engine::sequence::SequenceId;
use crate::engine::{EngineConfig, EngineStats, SubmitError};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GateState {
    Open,
    Draining,
    Failed,
}

#[derive(Debug)]
pub(super) struct Gate {
    state: GateState,
    next_id: u64,
    /// Accepted requests that never ran, and the tokens of their prompts.
    queued: Dequeued,
    /// Accepted requests that have not ended.
    num_in_flight: usize,
}

impl Gate {
    fn admit(
        &mut self,
        num_tokens: usize,
        config: &EngineConfig,
    ) -> Result<SequenceId, SubmitError> {
        match self.state {
            GateState::Open => {}
            GateState::Draining => return Err(SubmitError::Draining),
            GateState::Failed => return Err(SubmitError::Failed),
        }
        let Dequeued { num_requests, num_tokens: queued } = self.queued;
        // Those for which there is room count as waiting until the engine thread has seen them.
        let num_running = self.num_in_flight - num_requests;
        let num_seats = config.max_num_seqs.saturating_sub(num_running);
        if num_requests >= config.queued_requests_max.saturating_add(num_seats) {
            return Err(SubmitError::QueueFull { limit: config.queued_requests_max });
        }
        // An empty queue takes any prompt: otherwise a long one could never be accepted.
        if num_requests > 0 && queued.saturating_add(num_tokens) > config.queued_tokens_max {
            return Err(SubmitError::QueuedTokensFull { queued, limit: config.queued_tokens_max });
        }
        let id = SequenceId(self.next_id);
        self.next_id += 1;
        self.queued.num_requests += 1;
        self.queued.num_tokens += num_tokens;
        self.num_in_flight += 1;
        Ok(id)
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    /// As lowered on start.
    pub(super) config: EngineConfig,
    pub(super) vocab_size: usize,
    gate: watch::Sender<Gate>,
    stats: watch::Sender<EngineStats>,
}

impl Shared {
    pub(super) fn new(config: EngineConfig, vocab_size: usize) -> Self {
        let gate = Gate {
            state: GateState::Open,
            next_id: 0,
            queued: Dequeued::default(),
            num_in_flight: 0,
        };
        Self {
            config,
            vocab_size,
            gate: watch::Sender::new(gate),
            stats: watch::Sender::new(EngineStats::default()),
        }
    }

    /// Counts a request in, or says why not. `send` is called inside the gate, so that requests
    /// reach the engine in the order of their ids and none can slip past a closing gate.
    pub(super) fn admit(
        &self,
        num_tokens: usize,
        send: impl FnOnce(SequenceId),
    ) -> Result<SequenceId, SubmitError> {
        let mut admitted = Err(SubmitError::Failed);
        self.gate.send_if_modified(|gate| {
            admitted = gate.admit(num_tokens, &self.config);
            if let Ok(id) = admitted {
                send(id);
            }
            admitted.is_ok()
        });
        admitted
    }

    pub(super) fn is_healthy(&self) -> bool {
        self.gate.borrow().state != GateState::Failed
    }

    pub(super) fn start_draining(&self) {
        self.gate.send_if_modified(|gate| {
            let open = gate.state == GateState::Open;
            if open {
                gate.state = GateState::Draining;
            }
            open
        });
    }

    pub(super) async fn drained(&self) {
        let idle = self.gate.subscribe().wait_for(|gate| gate.num_in_flight == 0).await.is_ok();
        debug_assert!(idle, "the sender of the gate lives as long as self");
    }

    pub(super) fn stats(&self) -> EngineStats {
        let num_in_flight = self.gate.borrow().num_in_flight;
        let stats = self.stats.borrow().clone();
        // A request that the engine thread has not seen yet waits as well.
        EngineStats { num_waiting: num_in_flight.saturating_sub(stats.num_running), ..stats }
    }

    pub(super) fn publish_stats(&self, stats: EngineStats) {
        self.stats.send_replace(stats);
    }

    /// Takes ended requests and those that left the queue off the counts.
    pub(super) fn settle(&self, num_ended: usize, dequeued: Dequeued) {
        if num_ended == 0 && dequeued == Dequeued::default() {
            return;
        }
        self.gate.send_modify(|gate| {
            gate.num_in_flight -= num_ended;
            gate.queued.num_requests -= dequeued.num_requests;
            gate.queued.num_tokens -= dequeued.num_tokens;
        });
    }

    /// The engine is gone for good: nothing is accepted from now on, and nothing runs.
    pub(super) fn fail(&self) {
        self.stats.send_modify(|stats| {
            stats.failed_requests_total += self.gate.borrow().num_in_flight as u64;
            stats.num_running = 0;
            stats.num_free_blocks = stats.num_blocks;
            stats.num_used_blocks = 0;
            stats.num_cached_blocks = 0;
        });
        self.gate.send_modify(|gate| {
            gate.state = GateState::Failed;
            gate.queued = Dequeued::default();
            gate.num_in_flight = 0;
        });
    }
}
