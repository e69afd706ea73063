//! The engine without its thread: a step, and what may happen between two steps.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc::UnboundedSender;

use crate::engine::batch::{LogitsUse, RowOutcome, ScheduledBatch, ScheduledSeq, StepEvents};
use crate::engine::gate::Shared;
use crate::engine::sampler::{Fetched, RowUse, Sampler, finite_max};
use crate::engine::scheduler::Scheduler;
use crate::engine::sequence::{CacheUse, Sequence, SequenceId};
use crate::engine::speculation::{DraftModel, Drafter, Lookup};
use crate::engine::{Draft, GenerationError, GenerationRequest, TokenConstraint, TokenEvent};
use crate::model::{CausalLm, KvCache, Logits, ModelError, ModelInput};

/// An accepted request and the way to its client.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) id: SequenceId,
    pub(super) request: GenerationRequest,
    /// Sending never waits, so a slow client cannot hold up a step; and the channel is bounded by
    /// what a request may generate, two events per token and one at the end.
    pub(super) events: UnboundedSender<TokenEvent>,
    pub(super) cache_use: Arc<CacheUse>,
    pub(super) constraint: Option<Box<dyn TokenConstraint>>,
}

pub(super) struct Core {
    model: Box<dyn CausalLm>,
    kv_cache: KvCache,
    scheduler: Scheduler,
    drafters: Vec<Box<dyn Drafter>>,
    sampler: Sampler,
    clients: HashMap<SequenceId, UnboundedSender<TokenEvent>>,
    shared: Arc<Shared>,
    totals: Totals,
    /// The step being computed; after a panic it tells whose it was.
    batch: ScheduledBatch,
    input: ModelInput,
    /// The tokens that a constraint allows, one sequence after the other.
    allowed: Vec<u32>,
    events: StepEvents,
    is_device_lost: bool,
}

#[derive(Debug, Default)]
struct Totals {
    steps: u64,
    computed_tokens: u64,
    finished_requests: u64,
    failed_requests: u64,
    aborted_requests: u64,
    not_a_number: u64,
}

impl Core {
    pub(super) fn new(
        model: Box<dyn CausalLm>,
        kv_cache: KvCache,
        draft: Option<Draft>,
        shared: Arc<Shared>,
    ) -> Self {
        let mut drafters: Vec<Box<dyn Drafter>> = vec![Box::new(Lookup)];
        if let Some(draft) = draft {
            let num_rows_max = shared.config.max_num_batched_tokens;
            let vocab_size = model.config().vocab_size;
            drafters.push(Box::new(DraftModel::new(draft, &kv_cache, vocab_size, num_rows_max)));
        }
        let (block_size, num_blocks) = (kv_cache.config().block_size, kv_cache.config().num_blocks);
        let core = Self {
            model,
            kv_cache,
            scheduler: Scheduler::new(&shared.config, block_size, num_blocks),
            drafters,
            sampler: Sampler::default(),
            clients: HashMap::new(),
            shared,
            totals: Totals::default(),
            batch: ScheduledBatch::default(),
            input: ModelInput::default(),
            allowed: Vec::new(),
            events: StepEvents::default(),
            is_device_lost: false,
        };
        core.publish_stats();
        core
    }

    pub(super) fn has_work(&self) -> bool {
        self.scheduler.has_work()
    }

    pub(super) fn add(&mut self, submission: Submission) {
        let Submission { id, request, events, cache_use, constraint } = submission;
        self.clients.insert(id, events);
        let max_model_len = self.shared.config.max_model_len;
        let mut sequence = Sequence::new(id, request, constraint, max_model_len);
        sequence.cache_use = cache_use;
        self.scheduler.add(sequence);
    }

    /// Its client is gone. Does nothing for a request that has ended.
    pub(super) fn abort(&mut self, id: SequenceId) {
        if self.scheduler.abort(id) {
            self.clients.remove(&id);
            self.totals.aborted_requests += 1;
            self.publish_stats();
            self.shared.settle(1, self.scheduler.take_dequeued());
        }
    }

    pub(super) fn step(&mut self) {
        self.batch = self.scheduler.schedule();
        if self.batch.is_empty() {
            return;
        }
        self.publish_stats();
        self.shared.settle(0, self.scheduler.take_dequeued());
        self.scheduler.add_guesses(&mut self.batch, &mut self.drafters);
        self.batch.fill(self.scheduler.running(), &mut self.input);
        self.events.clear();
        let started_at = Instant::now();
        match self.compute() {
            Ok(logits) => {
                self.commit(&logits);
                let num_rows = self.batch.num_rows();
                self.scheduler.note_step(num_rows, started_at.elapsed().as_secs_f64());
            }
            Err(error) => {
                tracing::error!(%error, "the model failed; the requests of this step end");
                self.is_device_lost = matches!(error, ModelError::DeviceLost(_));
                let error = GenerationError::Model(error.to_string());
                self.scheduler.fail(&self.batch, &error, &mut self.events);
            }
        }
        self.totals.steps += 1;
        self.totals.computed_tokens += self.batch.num_rows() as u64;
        self.deliver();
    }

    /// Whether every later step would fail as the last one did.
    pub(super) fn is_device_lost(&self) -> bool {
        self.is_device_lost
    }

    /// Logits of the step, and what of them is drawn from where they are on a device.
    fn compute(&mut self) -> Result<StepLogits, ModelError> {
        let logits = self.model.forward(&self.input, &mut self.kv_cache)?;
        let num_rows: usize = self.batch.seqs.iter().map(ScheduledSeq::num_logits).sum();
        assert_eq!(num_rows, logits.num_rows(), "the model answers the rows it was asked for");
        let running = self.scheduler.running();
        let uses = self.batch.seqs.iter().flat_map(|scheduled| {
            let sequence = &running[scheduled.index];
            let is_drawn = scheduled.logits == LogitsUse::Sample && sequence.draws_by_row_alone();
            let first = sequence.num_generated_tokens();
            (first..first + scheduled.num_logits()).map(move |index| match is_drawn {
                true => RowUse::Draw(&sequence.sampling, index as u64),
                false => RowUse::Other,
            })
        });
        let fetched = Fetched::of(&logits, uses)?;
        Ok(StepLogits { logits, fetched })
    }

    fn commit(&mut self, logits: &StepLogits) {
        let (sampler, allowed) = (&mut self.sampler, &mut self.allowed);
        self.scheduler.commit(&self.batch, &mut self.events, |row, wanted, sequence| {
            let outcome = match wanted {
                LogitsUse::Sample => draw(sampler, allowed, sequence, logits, row),
                LogitsUse::Check | LogitsUse::None => match logits.is_finite(row) {
                    true => Ok(RowOutcome::Finite),
                    false => Err(GenerationError::NotANumber),
                },
            };
            outcome.unwrap_or_else(RowOutcome::Failed)
        });
    }

    /// Final events go last: a client that sees one finds its blocks given back in the statistics.
    fn deliver(&mut self) {
        for (id, event) in self.events.tokens.drain(..) {
            // A client that is gone has sent an abort, which is handled before the next step.
            let _ = self.clients[&id].send(event);
        }
        for (_, event) in &self.events.finals {
            match event {
                TokenEvent::Failed(GenerationError::NotANumber) => {
                    self.totals.failed_requests += 1;
                    self.totals.not_a_number += 1;
                }
                TokenEvent::Failed(_) => self.totals.failed_requests += 1,
                TokenEvent::Finished(_) | TokenEvent::Token(_) | TokenEvent::Logprobs(_) => {
                    self.totals.finished_requests += 1;
                }
            }
        }
        self.publish_stats();
        self.shared.settle(self.events.finals.len(), self.scheduler.take_dequeued());
        for (id, event) in self.events.finals.drain(..) {
            let client = self.clients.remove(&id).expect("a sequence ends once");
            let _ = client.send(event);
        }
    }

    fn publish_stats(&self) {
        let mut stats = self.scheduler.stats();
        stats.steps_total = self.totals.steps;
        stats.computed_tokens_total = self.totals.computed_tokens;
        stats.finished_requests_total = self.totals.finished_requests;
        stats.failed_requests_total = self.totals.failed_requests;
        stats.aborted_requests_total = self.totals.aborted_requests;
        stats.not_a_number_total = self.totals.not_a_number;
        if !self.has_work() && !stats.blocks_are_balanced() {
            tracing::error!(?stats, "blocks leaked");
        }
        self.shared.publish_stats(stats);
    }

    /// After a panic or the loss of the device: every request ends, those of a step that panicked
    /// as the model's failure.
    pub(super) fn fail_all(&mut self) {
        self.shared.fail();
        for scheduled in &self.batch.seqs {
            if let Some(client) = self.clients.remove(&scheduled.id) {
                let error = GenerationError::Model("it panicked".into());
                let _ = client.send(TokenEvent::Failed(error));
            }
        }
        // A channel that closes without a final event says that the engine stopped.
        self.clients.clear();
    }

    #[cfg(test)]
    pub(super) fn keep_draft_model_only(&mut self) {
        self.drafters.remove(0);
    }

    #[cfg(test)]
    pub(super) fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }
}

/// What the model answered.
struct StepLogits {
    logits: Logits,
    fetched: Fetched,
}

impl StepLogits {
    fn is_finite(&self, row: usize) -> bool {
        match self.fetched.is_finite(row) {
            Some(is_finite) => is_finite,
            None => finite_max(self.logits.row(row)).is_some(),
        }
    }

    fn row(&self, row: usize) -> Result<Cow<'_, [f32]>, GenerationError> {
        let Some(distant) = self.logits.as_distant() else {
            return Ok(self.logits.row(row).into());
        };
        let values = distant.rows(row..row + 1);
        values.map(Cow::Owned).map_err(|error| GenerationError::Model(error.to_string()))
    }
}

/// The next token of a sequence. `allowed` is a buffer.
fn draw(
    sampler: &mut Sampler,
    allowed: &mut Vec<u32>,
    sequence: &mut Sequence,
    logits: &StepLogits,
    row: usize,
) -> Result<RowOutcome, GenerationError> {
    let allowed = sequence.write_allowed(allowed)?.then_some(allowed.as_slice());
    let index = sequence.num_generated_tokens() as u64;
    let (params, history) = (&sequence.sampling, sequence.tokens());
    if logits.fetched.is_finite(row) == Some(false) {
        return Err(GenerationError::NotANumber);
    }
    if sequence.draws_by_row_alone() {
        let (fetched, vocab_size) = ((&logits.fetched, row), logits.logits.vocab_size());
        if let Some(token) = sampler.sample_fetched(fetched, vocab_size, params, index) {
            let settled = sequence.settle(token)?;
            return Ok(settled.map_or(RowOutcome::Ended, |token| RowOutcome::Sampled(token, None)));
        }
    }
    let row = logits.row(row)?;
    let drawn = sampler.sample(&row, allowed, params, history, index);
    let Some(token) = sequence.settle(drawn.ok_or(GenerationError::NotANumber)?)? else {
        return Ok(RowOutcome::Ended);
    };
    let logprobs =
        sequence.logprobs.map(|num_top| Box::new(sampler.logprobs(&row, token, num_top)));
    Ok(RowOutcome::Sampled(token, logprobs))
}
