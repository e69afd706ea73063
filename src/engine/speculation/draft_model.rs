//! Guesses of a second, smaller model of the same vocabulary.
//!
//! Its cache has the blocks of the model's own: what a sequence holds, shares or gives back it
//! holds, shares or gives back in both. The draft model computes only what it is asked to guess
//! behind, so it may lag behind in some blocks; which of them it has computed it knows by the hash
//! of what it computed there, and not by what happened to the block since.
//!
//! It draws as the model will: by the same sampling, seed and index, so by the same random number.
//! Two models of the same opinion therefore draw the same token.

use std::sync::Arc;
use std::time::Instant;

use super::cost::{Line, StepCost};
use super::guesses::DraftProgress;
use super::policy::{DraftRates, StepPlan};
use super::step::Wanted;
use super::{Drafter, GuessStep};
use crate::engine::Draft;
use crate::engine::prefix_cache::BlockHash;
use crate::engine::sampler::Sampler;
use crate::engine::sequence::Sequence;
use crate::limits::{DRAFT_HORIZON_TOKENS, DRAFT_RETRY_STEPS, SPECULATED_TOKENS_MAX};
use crate::model::{CausalLm, KvCache, Logits, ModelError, ModelInput, SeqInput};

/// A step of the draft model in that of the model, before one was seen.
const ASSUMED_SHARE: f64 = 0.2;

/// Of the time of a row of catching up, what an observation is worth when the next one comes.
const CATCH_UP_KEPT: f64 = 0.7;

pub(in crate::engine) struct DraftModel {
    model: Box<dyn CausalLm>,
    kv_cache: KvCache,
    /// Of the model that verifies. Tables of embeddings are longer than vocabularies, and not all
    /// by the same.
    vocab_size: usize,
    max_num_batched_tokens: usize,
    /// By block: the tokens, and all before them, whose keys and values are in it.
    contents: Vec<Option<BlockHash>>,
    sampler: Sampler,
    cost: StepCost,
    /// Of a row in a pass that reads a prompt.
    catch_up_seconds: Option<f64>,
    num_idle_steps: usize,
    has_failed: bool,
    input: ModelInput,
    history: Vec<u32>,
}

/// A sequence that is guessed for in this step.
#[derive(Debug)]
struct Seat {
    wanted: Wanted,
    /// First position of its rows in the latest pass.
    start: usize,
    /// Tokens that are computed, guesses included.
    num_computed: usize,
    /// How likely it is that all guesses so far are right.
    chance: f64,
}

impl DraftModel {
    /// Panics unless the draft's cache has the blocks of the model's.
    pub(in crate::engine) fn new(
        draft: Draft,
        kv_cache: &KvCache,
        vocab_size: usize,
        max_num_batched_tokens: usize,
    ) -> Self {
        let (own, other) = (draft.kv_cache.config(), kv_cache.config());
        assert_eq!(own.block_size, other.block_size, "the blocks of two caches are the same");
        assert_eq!(own.num_blocks, other.num_blocks, "the blocks of two caches are the same");
        Self {
            contents: vec![None; own.num_blocks],
            model: draft.model,
            kv_cache: draft.kv_cache,
            vocab_size,
            max_num_batched_tokens,
            sampler: Sampler::default(),
            cost: StepCost::default(),
            catch_up_seconds: None,
            num_idle_steps: 0,
            has_failed: false,
            input: ModelInput::default(),
            history: Vec::new(),
        }
    }

    /// The sequences for which a pass is likely to pay.
    fn seats(&self, step: &mut GuessStep<'_>) -> Vec<Seat> {
        let mean = step.policy.draft_rates.mean();
        let mut seats = Vec::new();
        for at in 0..step.wanted.len() {
            let wanted = step.wanted[at];
            let sequence = &mut step.running[wanted.index];
            // What was looked up costs nothing.
            if sequence.guesses.chance(1) >= mean {
                continue;
            }
            if let Some(num_computed) = self.progress(sequence, step.block_size) {
                seats.push(Seat { wanted, start: num_computed, num_computed, chance: 1.0 });
            }
        }
        if step.policy.is_always() {
            return seats;
        }
        let saved_seconds = self.saved_seconds(&step.plan(), step, seats.len());
        let row_seconds = self.catch_up_seconds.unwrap_or(self.line(step).row_seconds);
        seats.retain(|seat| {
            let sequence = &step.running[seat.wanted.index];
            let horizon = sequence.num_guesses_max().min(DRAFT_HORIZON_TOKENS);
            // The last token is computed in each pass.
            let num_behind = sequence.num_tokens() - seat.num_computed - 1;
            num_behind as f64 * row_seconds < saved_seconds * horizon as f64
        });
        seats
    }

    /// How many tokens of the sequence are computed; `None` if it cannot be guessed for.
    fn progress(&self, sequence: &mut Sequence, block_size: usize) -> Option<usize> {
        let num_tokens = sequence.num_tokens();
        let num_computed = match sequence.guesses.draft_progress {
            DraftProgress::Never => return None,
            // More guesses may have come true than were verified. The last token is computed again,
            // since its logits are needed.
            DraftProgress::At(num_computed) => num_computed.min(num_tokens - 1),
            DraftProgress::Unknown => {
                let mut num_blocks = 0;
                while num_blocks < (num_tokens - 1) / block_size {
                    let hash = sequence.block_hash(num_blocks, block_size);
                    let block = sequence.block_table[num_blocks] as usize;
                    if self.contents[block] != Some(hash) {
                        break;
                    }
                    num_blocks += 1;
                }
                num_blocks * block_size
            }
        };
        let config = self.model.config();
        let is_known = |&token: &u32| (token as usize) < config.vocab_size;
        let is_readable = num_tokens + SPECULATED_TOKENS_MAX <= config.max_position_embeddings
            && sequence.tokens()[num_computed..].iter().all(is_known);
        sequence.guesses.draft_progress =
            if is_readable { DraftProgress::At(num_computed) } else { DraftProgress::Never };
        is_readable.then_some(num_computed)
    }

    /// What guessing is expected to take off the time of a token.
    fn saved_seconds(&self, plan: &StepPlan, step: &GuessStep<'_>, num_seqs: usize) -> f64 {
        let (mut guessed, mut chance) = (plan.clone(), 1.0);
        for _ in 0..SPECULATED_TOKENS_MAX {
            chance *= step.policy.draft_rates.mean();
            let gain = num_seqs as f64 * chance;
            let seconds = self.pass_seconds(step, num_seqs);
            if !guessed.pays(gain, seconds) {
                break;
            }
            guessed.add(gain, seconds);
        }
        (plan.token_seconds() - guessed.token_seconds()) * plan.num_tokens()
    }

    /// Of a pass that guesses a token of each of so many sequences, and of verifying them.
    fn pass_seconds(&self, step: &GuessStep<'_>, num_seqs: usize) -> f64 {
        self.line(step).seconds(num_seqs) + num_seqs as f64 * step.plan().row_seconds
    }

    fn line(&self, step: &GuessStep<'_>) -> Line {
        self.cost.known_line().unwrap_or_else(|| step.policy.line().scaled(ASSUMED_SHARE))
    }

    /// Leaves the sequences for which one more guess pays. None if it does not for all together.
    fn retain_paying(&self, seats: &mut Vec<Seat>, plan: &mut StepPlan, step: &mut GuessStep<'_>) {
        let mean = step.policy.draft_rates.mean();
        let seat_seconds = self.line(step).row_seconds + plan.row_seconds;
        seats.retain(|seat| {
            let sequence = &step.running[seat.wanted.index];
            let num_drafted = sequence.guesses.num_drafted();
            let num_slots = sequence.num_tokens() + num_drafted;
            num_drafted < seat.wanted.num_max
                && plan.pays(seat.chance * mean, seat_seconds)
                && step.reserve(seat.wanted.index, num_slots)
        });
        let gain = seats.iter().map(|seat| seat.chance * mean).sum();
        let seconds = self.pass_seconds(step, seats.len());
        if !plan.pays(gain, seconds) {
            seats.clear();
        }
        plan.add(gain, seconds);
    }

    /// Computes what the sequences have not computed, guesses included, and one guess more of those
    /// that are then at their end. The others leave: they go on in the next step.
    fn pass(&mut self, seats: &mut Vec<Seat>, step: &mut GuessStep<'_>) -> Result<(), ModelError> {
        let started_at = Instant::now();
        self.fill(seats, step);
        let logits = self.model.forward(&self.input, &mut self.kv_cache)?.fetched()?;
        let mut row = 0;
        seats.retain_mut(|seat| {
            row += 1;
            self.take(seat, &logits, row - 1, step)
        });
        let (num_rows, seconds) = (self.input.num_rows(), started_at.elapsed().as_secs_f64());
        step.spend(seconds);
        self.cost.note(num_rows, seconds);
        if num_rows > StepCost::NUM_ROWS_MAX {
            let found = seconds / num_rows as f64;
            let before = self.catch_up_seconds.unwrap_or(found);
            self.catch_up_seconds = Some(before * CATCH_UP_KEPT + found * (1.0 - CATCH_UP_KEPT));
        }
        Ok(())
    }

    fn fill(&mut self, seats: &mut Vec<Seat>, step: &GuessStep<'_>) {
        self.input.token_ids.clear();
        self.input.positions.clear();
        self.input.seqs.clear();
        let mut budget = self.max_num_batched_tokens;
        seats.retain_mut(|seat| {
            let sequence = &step.running[seat.wanted.index];
            let (start, known) = (seat.num_computed, sequence.num_tokens());
            let num_drafted = sequence.guesses.num_drafted();
            let end = (known + num_drafted).min(start + budget);
            if start == end {
                return false;
            }
            let guesses = &sequence.guesses.tokens()[..num_drafted];
            let at = |position: usize| match position.checked_sub(known) {
                Some(guess) => guesses[guess],
                None => sequence.tokens()[position],
            };
            let row = self.input.num_rows();
            self.input.token_ids.extend((start..end).map(at));
            // A context is shorter than 2^32 tokens: the pool has fewer slots.
            self.input.positions.extend(start as u32..end as u32);
            self.input.seqs.push(SeqInput {
                rows: row..self.input.token_ids.len(),
                context_len: end,
                block_table: Arc::clone(&sequence.block_table),
                num_logits: 1,
            });
            for index in start / step.block_size..end.div_ceil(step.block_size) {
                self.contents[sequence.block_table[index] as usize] = None;
            }
            budget -= end - start;
            (seat.start, seat.num_computed) = (start, end);
            true
        });
    }

    /// Takes over what a pass has computed of a sequence, and says whether it may go on.
    fn take(
        &mut self,
        seat: &mut Seat,
        logits: &Logits,
        row: usize,
        step: &mut GuessStep<'_>,
    ) -> bool {
        let sequence = &mut step.running[seat.wanted.index];
        let known = sequence.num_tokens();
        let num_drafted = sequence.guesses.num_drafted();
        self.history.clear();
        self.history.extend_from_slice(sequence.tokens());
        self.history.extend_from_slice(&sequence.guesses.tokens()[..num_drafted]);
        let index = (sequence.num_generated_tokens() + num_drafted) as u64;
        let (row, params) = (logits.row(row), &sequence.sampling);
        let drawn = self.sampler.sample(row, None, params, &self.history, index);
        // Attention carries a NaN from anywhere before into this row.
        let Some(token) = drawn else {
            sequence.guesses.draft_progress = DraftProgress::Never;
            return false;
        };
        let num_full = seat.num_computed.min(known) / step.block_size;
        for index in seat.start / step.block_size..num_full {
            let hash = sequence.block_hash(index, step.block_size);
            self.contents[sequence.block_table[index] as usize] = Some(hash);
        }
        sequence.guesses.draft_progress = DraftProgress::At(seat.num_computed);
        let is_of_use = (token as usize) < self.vocab_size && !sequence.ends_with(token);
        if seat.num_computed < known || !is_of_use {
            return false;
        }
        let probability = self.sampler.logprobs(row, token, 0).logprob.exp();
        let class = DraftRates::class(probability);
        let expected = step.policy.draft_rates.probability(class);
        sequence.guesses.push_drafted(token, class, expected);
        seat.chance *= expected;
        true
    }
}

impl Drafter for DraftModel {
    fn propose(&mut self, step: &mut GuessStep<'_>) {
        if self.has_failed || step.wanted.is_empty() {
            return;
        }
        let mut seats = self.seats(step);
        let mut plan = step.plan();
        let mut num_passes = 0;
        while !seats.is_empty() {
            self.retain_paying(&mut seats, &mut plan, step);
            if seats.is_empty() {
                break;
            }
            num_passes += 1;
            if let Err(error) = self.pass(&mut seats, step) {
                tracing::error!(%error, "the draft model failed and is not asked again");
                self.has_failed = true;
                return;
            }
        }
        self.num_idle_steps = if num_passes > 0 { 0 } else { self.num_idle_steps + 1 };
        if self.num_idle_steps == DRAFT_RETRY_STEPS {
            self.num_idle_steps = 0;
            self.cost = StepCost::default();
            step.policy.draft_rates = DraftRates::default();
        }
    }
}
