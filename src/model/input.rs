//! One step's input and output: rows of tokens, and the sequences that own them.

use std::{ops::Range, sync::Arc};

/// Index of a block in the KV cache's pool.
pub type BlockId = u32;

/// The rows of one step. Row `i` is token `token_ids[i]` at `positions[i]` of its sequence.
#[derive(Debug, Clone, Default)]
pub struct ModelInput {
    pub token_ids: Vec<u32>,
    pub positions: Vec<u32>,
    pub seqs: Vec<SeqInput>,
}

#[derive(Debug, Clone)]
pub struct SeqInput {
    /// This sequence's rows `[start, end)`; sequences tile the input in order.
    pub rows: Range<usize>,
    /// Tokens whose keys and values exist after this step, the rows of this step included.
    pub context_len: usize,
    /// `block_table[p / block_size]` holds position `p`, for every `p` in `[0, context_len)`.
    pub block_table: Arc<[BlockId]>,
    /// Logits are wanted for the last `num_logits` rows: 0 within a prompt, 1 to sample, more to
    /// verify drafts or to score a text.
    pub num_logits: usize,
}

impl ModelInput {
    pub fn num_rows(&self) -> usize {
        self.token_ids.len()
    }

    /// Rows whose logits are wanted, in the order in which [`Logits`](crate::model::Logits) holds
    /// them.
    pub fn logits_rows(&self) -> impl Iterator<Item = usize> {
        self.seqs.iter().flat_map(|seq| seq.rows.end - seq.num_logits..seq.rows.end)
    }
}
