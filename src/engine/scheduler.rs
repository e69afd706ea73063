//! Which sequences compute how many tokens in the next step, and in which blocks.
//!
//! Everybody has a [`Rank`](crate::engine::sequence::Rank): the order of arrival, in which higher
//! priorities have a head start. Sequences are admitted by rank. Blocks go to the first one first;
//! where they do not suffice, the last one is preempted: it loses its blocks and waits. The first
//! is never preempted, so it finishes unless somebody with a head start comes, and only so many can
//! come before it is first of all. Every accepted request therefore ends.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use crate::engine::batch::{LogitsUse, RowOutcome, ScheduledBatch, ScheduledSeq, StepEvents};
use crate::engine::block_pool::BlockPool;
use crate::engine::sequence::{Sequence, SequenceId};
use crate::engine::speculation::{Drafter, GuessStep, SpeculationPolicy};
use crate::engine::{EngineConfig, EngineStats, FinishReason, GenerationError, TokenEvent};
use crate::limits::PREEMPTIONS_PER_REQUEST_MAX;
use crate::model::BlockId;

/// What left the queue of requests that never ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Dequeued {
    pub(super) num_requests: usize,
    pub(super) num_tokens: usize,
}

#[derive(Debug)]
pub(super) struct Scheduler {
    max_num_seqs: usize,
    max_num_batched_tokens: usize,
    max_model_len: usize,
    prefix_cache: bool,
    block_size: usize,
    pool: BlockPool,
    /// By rank.
    running: Vec<Sequence>,
    /// By rank.
    waiting: VecDeque<Sequence>,
    /// The front of the queue that did not fit. It is tried again when a running sequence has
    /// ended, so that a long queue costs nothing while it stands still.
    refused: Option<SequenceId>,
    dequeued: Dequeued,
    speculation: SpeculationPolicy,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Totals {
    prompt_tokens: u64,
    generated_tokens: u64,
    prefix_cache_queried_tokens: u64,
    prefix_cache_hit_tokens: u64,
    preemptions: u64,
    drafts: u64,
    draft_tokens: u64,
    accepted_draft_tokens: u64,
}

impl Scheduler {
    /// `config` must satisfy what [`crate::engine::Engine::start`] makes of it.
    pub(super) fn new(config: &EngineConfig, block_size: usize, num_blocks: usize) -> Self {
        // Then every sequence that decodes has its token in every step.
        assert!(config.max_num_seqs <= config.max_num_batched_tokens);
        // Then the oldest sequence can always have the blocks it needs.
        assert!(config.max_model_len <= num_blocks * block_size);
        Self {
            max_num_seqs: config.max_num_seqs,
            max_num_batched_tokens: config.max_num_batched_tokens,
            max_model_len: config.max_model_len,
            prefix_cache: config.prefix_cache,
            block_size,
            pool: BlockPool::new(num_blocks),
            running: Vec::new(),
            waiting: VecDeque::new(),
            refused: None,
            dequeued: Dequeued::default(),
            speculation: SpeculationPolicy::new(config.speculation),
            totals: Totals::default(),
        }
    }

    /// The prompt must leave room for a token.
    pub(super) fn add(&mut self, sequence: Sequence) {
        assert!(sequence.num_tokens() < self.max_model_len);
        self.wait(sequence);
    }

    fn wait(&mut self, sequence: Sequence) {
        let place = self.waiting.partition_point(|other| other.rank < sequence.rank);
        self.waiting.insert(place, sequence);
    }

    pub(super) fn has_work(&self) -> bool {
        !self.running.is_empty() || !self.waiting.is_empty()
    }

    pub(super) fn running(&self) -> &[Sequence] {
        &self.running
    }

    /// What left the queue since this was last asked.
    pub(super) fn take_dequeued(&mut self) -> Dequeued {
        std::mem::take(&mut self.dequeued)
    }

    /// The work of the next step: the running sequences by rank, then new ones, as far as
    /// `max_num_batched_tokens` reaches. Empty only if there is no sequence. Must be followed by
    /// `commit` or `fail`.
    ///
    /// Every running sequence has a token at least, so decoding never waits for somebody's long
    /// prompt; and a sequence is admitted only when all others have their share.
    pub(super) fn schedule(&mut self) -> ScheduledBatch {
        let mut batch = ScheduledBatch::default();
        let mut budget = self.max_num_batched_tokens;
        let num_running = self.running.len();
        let mut index = 0;
        while index < self.running.len() {
            let num_behind = self.running.len() - index - 1;
            let num_tokens = self.running[index].num_pending_tokens().min(budget - num_behind);
            if self.grow_or_preempt(index, num_tokens) {
                budget -= num_tokens;
                batch.seqs.push(self.scheduled(index, num_tokens));
            }
            index += 1;
        }
        // A step that had to preempt has no room to admit.
        while self.running.len() >= num_running && budget > 0 {
            let Some(index) = self.admit() else { break };
            let num_tokens = self.running[index].num_pending_tokens().min(budget);
            budget -= num_tokens;
            batch.seqs.insert(index, self.scheduled(index, num_tokens));
        }
        assert!(!batch.is_empty() || !self.has_work(), "the first sequence always progresses");
        debug_assert_eq!(batch.seqs.len(), self.running.len());
        for (index, scheduled) in batch.seqs.iter_mut().enumerate() {
            scheduled.index = index;
        }
        batch
    }

    /// Adds the guesses of `drafters` that are worth a row to what was scheduled.
    pub(super) fn add_guesses(
        &mut self,
        batch: &mut ScheduledBatch,
        drafters: &mut [Box<dyn Drafter>],
    ) {
        let budget = self.max_num_batched_tokens - batch.num_rows();
        let (running, policy) = (&mut self.running, &mut self.speculation);
        let (pool, block_size) = (&mut self.pool, self.block_size);
        let mut step = GuessStep::new(running, pool, block_size, policy, batch, budget);
        for drafter in drafters {
            drafter.propose(&mut step);
        }
        step.schedule(batch, budget);
    }

    /// How long a step of so many rows took.
    pub(super) fn note_step(&mut self, num_rows: usize, seconds: f64) {
        self.speculation.note_step(num_rows, seconds);
    }

    fn scheduled(&self, index: usize, num_tokens: usize) -> ScheduledSeq {
        let sequence = &self.running[index];
        let num_computed_after = sequence.num_computed_tokens + num_tokens;
        let fills_block = num_computed_after / self.block_size > sequence.num_published_blocks;
        let logits = if num_tokens == sequence.num_pending_tokens() {
            LogitsUse::Sample
        } else if self.prefix_cache && fills_block {
            LogitsUse::Check
        } else {
            LogitsUse::None
        };
        ScheduledSeq { id: sequence.id, index, num_tokens, num_drafts: 0, logits }
    }

    /// Gives a running sequence the blocks for its next tokens, at the cost of those behind. False
    /// if it was itself the last and had to go.
    fn grow_or_preempt(&mut self, index: usize, num_tokens: usize) -> bool {
        let end = self.running[index].num_computed_tokens + num_tokens;
        let num_blocks = end.div_ceil(self.block_size);
        while self.running[index].block_table.len() < num_blocks {
            if let Some(block) = self.pool.allocate() {
                self.running[index].append_blocks(&[block]);
                continue;
            }
            self.preempt_last();
            if index == self.running.len() {
                return false;
            }
        }
        true
    }

    fn preempt_last(&mut self) {
        let mut last = self.running.pop().expect("somebody holds the blocks");
        debug_assert!(!self.running.is_empty(), "the first is never preempted");
        debug_assert!(last.num_preemptions < PREEMPTIONS_PER_REQUEST_MAX);
        self.pool.release(&last.take_blocks());
        last.num_preemptions += 1;
        self.totals.preemptions += 1;
        if last.num_preemptions == PREEMPTIONS_PER_REQUEST_MAX {
            last.promote();
        }
        self.wait(last);
    }

    /// Moves the front of the queue to the running ones, if there is room for all its tokens, and
    /// says where it stands among them.
    fn admit(&mut self) -> Option<usize> {
        if self.running.len() >= self.max_num_seqs {
            return None;
        }
        if self.waiting.front().is_some_and(|front| self.refused == Some(front.id)) {
            return None;
        }
        let mut sequence = self.waiting.pop_front()?;
        let hits = self.acquire_prefix(&mut sequence);
        let num_new = sequence.num_tokens().div_ceil(self.block_size) - hits.len();
        if self.pool.num_available() < num_new + self.headroom(&sequence, hits.len() + num_new) {
            self.pool.release(&hits);
            self.refused = Some(sequence.id);
            self.waiting.push_front(sequence);
            return None;
        }
        self.note_admission(&mut sequence, hits.len() * self.block_size);
        sequence.num_computed_tokens = hits.len() * self.block_size;
        sequence.num_published_blocks = hits.len();
        let mut blocks = hits;
        blocks.extend((0..num_new).map(|_| self.pool.allocate().expect("counted above")));
        sequence.append_blocks(&blocks);
        let place = self.running.partition_point(|other| other.rank < sequence.rank);
        self.running.insert(place, sequence);
        Some(place)
    }

    /// References the cached blocks of the longest known prefix. At least the last token is left
    /// to compute, since its logits are needed.
    fn acquire_prefix(&mut self, sequence: &mut Sequence) -> Vec<BlockId> {
        let mut hits = Vec::new();
        if !self.prefix_cache {
            return hits;
        }
        for index in 0..(sequence.num_tokens() - 1) / self.block_size {
            let hash = sequence.block_hash(index, self.block_size);
            let Some(block) = self.pool.acquire_cached(&hash) else { break };
            hits.push(block);
        }
        hits
    }

    /// Blocks that must remain when `candidate` has got its first `num_blocks`.
    ///
    /// Usually one for each running sequence, as the next token may need it. For a candidate that
    /// was preempted too often, all that it and the running ones can still ask for: then it is
    /// never preempted again, since it goes ahead of those to come and all others have enough.
    fn headroom(&self, candidate: &Sequence, num_blocks: usize) -> usize {
        if candidate.num_preemptions < PREEMPTIONS_PER_REQUEST_MAX {
            return self.running.len();
        }
        let blocks_max =
            |sequence: &Sequence| sequence.num_computed_tokens_max().div_ceil(self.block_size);
        let running: usize = self
            .running
            .iter()
            .map(|sequence| blocks_max(sequence).saturating_sub(sequence.block_table.len()))
            .sum();
        running + blocks_max(candidate).saturating_sub(num_blocks)
    }

    fn note_admission(&mut self, sequence: &mut Sequence, num_hit_tokens: usize) {
        if sequence.cache_use.num_read.set(num_hit_tokens).is_err() {
            return;
        }
        let num_prompt_tokens = sequence.num_prompt_tokens();
        self.dequeue(num_prompt_tokens);
        self.totals.prompt_tokens += num_prompt_tokens as u64;
        if self.prefix_cache {
            self.totals.prefix_cache_queried_tokens += num_prompt_tokens as u64;
            self.totals.prefix_cache_hit_tokens += num_hit_tokens as u64;
        }
    }

    fn dequeue(&mut self, num_prompt_tokens: usize) {
        self.dequeued.num_requests += 1;
        self.dequeued.num_tokens += num_prompt_tokens;
    }

    /// Takes over what a step has computed. `outcome` is asked about rows of logits in their order,
    /// and about those behind a wrong guess not at all.
    pub(super) fn commit(
        &mut self,
        batch: &ScheduledBatch,
        events: &mut StepEvents,
        mut outcome: impl FnMut(usize, LogitsUse, &mut Sequence) -> RowOutcome,
    ) {
        let mut row = 0;
        for scheduled in &batch.seqs {
            let sequence = &mut self.running[scheduled.index];
            debug_assert_eq!(sequence.id, scheduled.id);
            sequence.num_computed_tokens += scheduled.num_tokens;
            let num_before = sequence.num_tokens();
            for offset in 0..scheduled.num_logits() {
                let sequence = &mut self.running[scheduled.index];
                let found = outcome(row + offset, scheduled.logits, sequence);
                if !self.take(scheduled, offset, found, events) {
                    break;
                }
            }
            row += scheduled.num_logits();
            self.running[scheduled.index].settle_guesses(num_before, &mut self.speculation);
            self.totals.drafts += u64::from(scheduled.num_drafts > 0);
            self.totals.draft_tokens += scheduled.num_drafts as u64;
        }
        self.remove_ended(events);
    }

    /// Ends every sequence of a step that the model could not compute.
    pub(super) fn fail(
        &mut self,
        batch: &ScheduledBatch,
        error: &GenerationError,
        events: &mut StepEvents,
    ) {
        let failed = batch.seqs.iter().map(|seq| (seq.id, TokenEvent::Failed(error.clone())));
        events.finals.extend(failed);
        self.remove_ended(events);
    }

    /// Takes over one row, and says whether the next one was computed behind the token it gave.
    fn take(
        &mut self,
        scheduled: &ScheduledSeq,
        offset: usize,
        outcome: RowOutcome,
        events: &mut StepEvents,
    ) -> bool {
        let index = scheduled.index;
        let reason = match outcome {
            RowOutcome::Failed(error) => {
                events.finals.push((scheduled.id, TokenEvent::Failed(error)));
                return false;
            }
            RowOutcome::Finite => None,
            RowOutcome::Ended => Some(FinishReason::Stop),
            RowOutcome::Sampled(token, logprobs) => {
                let logprobs = logprobs.map(|it| (scheduled.id, TokenEvent::Logprobs(it)));
                events.tokens.extend(logprobs);
                self.accept(index, token, events)
            }
        };
        self.publish(index);
        if let Some(reason) = reason {
            let summary = self.running[index].summary(reason);
            events.finals.push((scheduled.id, TokenEvent::Finished(summary)));
            return false;
        }
        let sequence = &mut self.running[index];
        let next = &sequence.tokens()[sequence.num_computed_tokens..];
        let is_guessed =
            offset < scheduled.num_drafts && next == &sequence.guesses.tokens()[offset..=offset];
        let num_guessed = usize::from(is_guessed);
        sequence.num_computed_tokens += num_guessed;
        sequence.num_guessed_tokens += num_guessed;
        self.totals.accepted_draft_tokens += num_guessed as u64;
        is_guessed
    }

    fn accept(
        &mut self,
        index: usize,
        token: u32,
        events: &mut StepEvents,
    ) -> Option<FinishReason> {
        let sequence = &mut self.running[index];
        let num_before = sequence.num_tokens();
        let reason = sequence.accept(token);
        let new = &sequence.tokens()[num_before..];
        events.tokens.extend(new.iter().map(|&token| (sequence.id, TokenEvent::Token(token))));
        self.totals.generated_tokens += new.len() as u64;
        reason
    }

    /// Offers the full computed blocks to the prefix cache. Only after finite logits: attention
    /// carries a NaN from any earlier position into them.
    fn publish(&mut self, index: usize) {
        if !self.prefix_cache {
            return;
        }
        let sequence = &mut self.running[index];
        let num_full = sequence.num_computed_tokens / self.block_size;
        for block_index in sequence.num_published_blocks..num_full {
            let hash = sequence.block_hash(block_index, self.block_size);
            let is_new = self.pool.publish(sequence.block_table[block_index], hash);
            if is_new && (block_index + 1) * self.block_size <= sequence.num_prompt_tokens() {
                sequence.cache_use.num_written.fetch_add(self.block_size, Ordering::Relaxed);
            }
        }
        sequence.num_published_blocks = sequence.num_published_blocks.max(num_full);
    }

    fn remove_ended(&mut self, events: &StepEvents) {
        for (id, _) in &events.finals {
            let removed = self.abort(*id);
            debug_assert!(removed, "a sequence ends once");
        }
    }

    /// Forgets a sequence, wherever it is, and gives its blocks back. False if it is not known.
    pub(super) fn abort(&mut self, id: SequenceId) -> bool {
        if let Some(index) = self.running.iter().position(|sequence| sequence.id == id) {
            let sequence = self.running.remove(index);
            self.pool.release(&sequence.block_table);
            self.refused = None;
            return true;
        }
        let Some(index) = self.waiting.iter().position(|sequence| sequence.id == id) else {
            return false;
        };
        let sequence = self.waiting.remove(index).expect("just found");
        if sequence.cache_use.num_read.get().is_none() {
            self.dequeue(sequence.num_prompt_tokens());
        }
        true
    }

    /// The part of the statistics that the scheduler knows.
    pub(super) fn stats(&self) -> EngineStats {
        EngineStats {
            num_running: self.running.len(),
            num_waiting: self.waiting.len(),
            block_size: self.block_size,
            num_blocks: self.pool.num_blocks(),
            num_used_blocks: self.pool.num_used(),
            num_cached_blocks: self.pool.num_cached(),
            num_free_blocks: self.pool.num_free(),
            prompt_tokens_total: self.totals.prompt_tokens,
            generated_tokens_total: self.totals.generated_tokens,
            prefix_cache_queried_tokens_total: self.totals.prefix_cache_queried_tokens,
            prefix_cache_hit_tokens_total: self.totals.prefix_cache_hit_tokens,
            preemptions_total: self.totals.preemptions,
            drafts_total: self.totals.drafts,
            draft_tokens_total: self.totals.draft_tokens,
            accepted_draft_tokens_total: self.totals.accepted_draft_tokens,
            ..EngineStats::default()
        }
    }

    #[cfg(test)]
    pub(super) fn assert_consistent(&self) {
        let running = self.running.iter();
        self.pool.assert_consistent(running.map(|sequence| &*sequence.block_table));
        assert!(self.running.is_sorted_by(|a, b| a.rank < b.rank));
        assert!(self.waiting.iter().is_sorted_by(|a, b| a.rank < b.rank));
        assert!(self.running.len() <= self.max_num_seqs);
        for sequence in &self.running {
            assert!(sequence.num_pending_tokens() > 0, "a running sequence has work");
            assert!(sequence.num_preemptions <= PREEMPTIONS_PER_REQUEST_MAX);
        }
        for sequence in &self.waiting {
            assert!(sequence.block_table.is_empty() && sequence.num_computed_tokens == 0);
        }
    }
}
