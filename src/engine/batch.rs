//! What one step computes, and what came of it.

use std::sync::Arc;

use crate::engine::sequence::{Sequence, SequenceId};
use crate::engine::{GenerationError, TokenEvent, TokenLogprobs};
use crate::model::{ModelInput, SeqInput};

/// The share of one sequence in a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScheduledSeq {
    pub(super) id: SequenceId,
    /// Where the sequence stands among the running ones, until the step is committed.
    pub(super) index: usize,
    /// Tokens computed in this step: the first that are not computed yet.
    pub(super) num_tokens: usize,
    /// Guesses that are computed behind them.
    pub(super) num_drafts: usize,
    pub(super) logits: LogitsUse,
}

impl ScheduledSeq {
    pub(super) fn num_rows(&self) -> usize {
        self.num_tokens + self.num_drafts
    }

    pub(super) fn num_logits(&self) -> usize {
        match self.logits {
            LogitsUse::None => 0,
            LogitsUse::Check => 1,
            LogitsUse::Sample => 1 + self.num_drafts,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogitsUse {
    /// Not wanted: the step ends within the tokens of the sequence.
    None,
    /// Only to learn that the blocks filled so far are finite, so that others may share them. One
    /// row at the end of a chunk is cheap beside the chunk, and attention carries a NaN anywhere
    /// before it into that row.
    Check,
    /// The next token is drawn from them, and as far as guesses are right those behind it.
    Sample,
}

#[derive(Debug, Default)]
pub(super) struct ScheduledBatch {
    pub(super) seqs: Vec<ScheduledSeq>,
}

impl ScheduledBatch {
    pub(super) fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }

    pub(super) fn num_rows(&self) -> usize {
        self.seqs.iter().map(ScheduledSeq::num_rows).sum()
    }

    /// Writes the model's view of this step into `input`, whose buffers are reused.
    pub(super) fn fill(&self, running: &[Sequence], input: &mut ModelInput) {
        input.token_ids.clear();
        input.positions.clear();
        input.seqs.clear();
        for scheduled in &self.seqs {
            let sequence = &running[scheduled.index];
            let start = sequence.num_computed_tokens;
            let end = start + scheduled.num_tokens;
            let row = input.token_ids.len();
            input.token_ids.extend_from_slice(&sequence.tokens()[start..end]);
            let drafts = &sequence.guesses.tokens()[..scheduled.num_drafts];
            input.token_ids.extend_from_slice(drafts);
            let context_len = end + drafts.len();
            // A context is shorter than 2^32 tokens: the pool has fewer slots.
            input.positions.extend(start as u32..context_len as u32);
            input.seqs.push(SeqInput {
                rows: row..row + scheduled.num_rows(),
                context_len,
                block_table: Arc::clone(&sequence.block_table),
                num_logits: scheduled.num_logits(),
            });
        }
    }
}

/// What one row of the step's logits said.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum RowOutcome {
    Finite,
    Sampled(u32, Option<Box<TokenLogprobs>>),
    /// The answer is complete as it is.
    Ended,
    Failed(GenerationError),
}

/// What a step has to tell the clients.
#[derive(Debug, Default)]
pub(super) struct StepEvents {
    /// Tokens and what there is to say about them.
    pub(super) tokens: Vec<(SequenceId, TokenEvent)>,
    /// The last event of each sequence that ended: it has left the scheduler already.
    pub(super) finals: Vec<(SequenceId, TokenEvent)>,
}

impl StepEvents {
    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.finals.clear();
    }
}
