//! Drives a model through prompts and steps of exact size.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::model::{BlockId, CausalLm, KvCache, ModelConfig, ModelError, ModelInput, SeqInput};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Workload {
    /// `batch` prompts of `tokens` each, behind a context of `depth`.
    Prefill { batch: usize, depth: usize, tokens: usize },
    /// `tokens` steps of one token for each of `batch` sequences, from a context of `depth`.
    Decode { batch: usize, depth: usize, tokens: usize },
}

impl Workload {
    pub(super) fn batch(self) -> usize {
        match self {
            Self::Prefill { batch, .. } | Self::Decode { batch, .. } => batch,
        }
    }

    pub(super) fn depth(self) -> usize {
        match self {
            Self::Prefill { depth, .. } | Self::Decode { depth, .. } => depth,
        }
    }

    pub(super) fn tokens(self) -> usize {
        match self {
            Self::Prefill { tokens, .. } | Self::Decode { tokens, .. } => tokens,
        }
    }
}

impl Workload {
    /// What a model of these shapes computes: a multiplication and an addition count two.
    pub(super) fn operations(self, config: &ModelConfig) -> f64 {
        let (batch, tokens) = (self.batch() as f64, self.tokens() as f64);
        let (hidden, inner) = (config.hidden_size as f64, config.intermediate_size as f64);
        let (query, kv) = (config.query_size() as f64, config.kv_size() as f64);
        let matrices = hidden * (2.0 * query + 2.0 * kv) + 3.0 * hidden * inner;
        // Each token meets those before it twice, as keys and as values.
        let context = self.depth() as f64 + (tokens + 1.0) / 2.0;
        let layers = config.num_layers as f64 * (matrices + 2.0 * query * context);
        let heads = match self {
            Self::Prefill { .. } => 1.0,
            Self::Decode { .. } => tokens,
        };
        2.0 * batch * (tokens * layers + heads * hidden * config.vocab_size as f64)
    }
}

pub(super) struct Runner {
    model: Box<dyn CausalLm>,
    kv_cache: KvCache,
    blocks_per_seq: usize,
    max_num_batched_tokens: usize,
    seed: u64,
}

impl Runner {
    /// `kv_cache` holds the same number of blocks for each of `batch_max` sequences.
    pub(super) fn new(
        model: Box<dyn CausalLm>,
        kv_cache: KvCache,
        batch_max: usize,
        max_num_batched_tokens: usize,
        seed: u64,
    ) -> Self {
        let blocks_per_seq = kv_cache.config().num_blocks / batch_max;
        Self { model, kv_cache, blocks_per_seq, max_num_batched_tokens, seed }
    }

    /// The model, for another cache.
    pub(super) fn into_model(self) -> Box<dyn CausalLm> {
        self.model
    }

    /// Computes keys and values of `[0, depth)` for each sequence. Measurements write behind them,
    /// so one filling serves all at this batch and depth.
    pub(super) fn fill_context(&mut self, batch: usize, depth: usize) -> Result<(), ModelError> {
        self.prefill(batch, 0, depth)
    }

    /// Pages touched, caches filled, lazy repacking done.
    pub(super) fn warm_up(&mut self, workload: Workload) -> Result<(), ModelError> {
        const STEPS: usize = 8;
        match workload {
            Workload::Prefill { batch, depth, tokens } => self.prefill(batch, depth, tokens),
            Workload::Decode { batch, depth, tokens } => {
                self.decode(batch, depth, tokens.min(STEPS))
            }
        }
    }

    pub(super) fn run(&mut self, workload: Workload) -> Result<Duration, ModelError> {
        let started_at = Instant::now();
        match workload {
            Workload::Prefill { batch, depth, tokens } => self.prefill(batch, depth, tokens)?,
            Workload::Decode { batch, depth, tokens } => self.decode(batch, depth, tokens)?,
        }
        Ok(started_at.elapsed())
    }

    /// Bytes of keys and values that a step of `workload` reads, on average over its steps.
    pub(super) fn mean_kv_bytes(&self, workload: Workload) -> f64 {
        let config = self.kv_cache.config();
        let token_bytes = config.block_bytes() as f64 / config.block_size as f64;
        let mean_context = workload.depth() as f64 + (workload.tokens() as f64 + 1.0) / 2.0;
        workload.batch() as f64 * mean_context * token_bytes
    }

    /// One sequence after the other, in chunks that fill a step, as the engine does; logits for the
    /// last token of each.
    fn prefill(&mut self, batch: usize, depth: usize, tokens: usize) -> Result<(), ModelError> {
        let mut input = ModelInput::default();
        for seq_id in 0..batch {
            let mut position = depth;
            let end = depth + tokens;
            while position < end {
                let room = self.max_num_batched_tokens - input.num_rows();
                let stop = end.min(position + room);
                self.add_rows(&mut input, seq_id, position..stop, usize::from(stop == end));
                position = stop;
                if input.num_rows() == self.max_num_batched_tokens {
                    self.step(&mut input)?;
                }
            }
        }
        self.step(&mut input)
    }

    fn decode(&mut self, batch: usize, depth: usize, tokens: usize) -> Result<(), ModelError> {
        let mut input = ModelInput::default();
        for position in depth..depth + tokens {
            for seq_id in 0..batch {
                self.add_rows(&mut input, seq_id, position..position + 1, 1);
            }
            self.step(&mut input)?;
        }
        Ok(())
    }

    fn step(&mut self, input: &mut ModelInput) -> Result<(), ModelError> {
        if input.num_rows() > 0 {
            let logits = self.model.forward(input, &mut self.kv_cache)?;
            std::hint::black_box(logits);
        }
        *input = ModelInput::default();
        Ok(())
    }

    fn add_rows(
        &self,
        input: &mut ModelInput,
        seq_id: usize,
        positions: std::ops::Range<usize>,
        num_logits: usize,
    ) {
        let first_row = input.num_rows();
        let context_len = positions.end;
        for position in positions {
            input.token_ids.push(self.token(seq_id, position));
            input.positions.push(position as u32);
        }
        input.seqs.push(SeqInput {
            rows: first_row..input.num_rows(),
            context_len,
            block_table: self.block_table(seq_id, context_len),
            num_logits,
        });
    }

    /// Sequences lie one after the other in the pool, at the same stride whatever the batch.
    fn block_table(&self, seq_id: usize, context_len: usize) -> Arc<[BlockId]> {
        let blocks = context_len.div_ceil(self.kv_cache.config().block_size);
        let first = seq_id * self.blocks_per_seq;
        (first..first + blocks).map(|block| block as BlockId).collect()
    }

    /// Any token does, but not always the same one: rows of the embedding are read.
    fn token(&self, seq_id: usize, position: usize) -> u32 {
        let mut x = self.seed ^ ((seq_id as u64) << 32 | position as u64);
        // The finalizer of splitmix64.
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
        (x % self.model.config().vocab_size as u64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{KvCacheConfig, KvDtype, Logits, ModelConfig, toy::ToyLm};
    use std::sync::Mutex;

    /// Rows, sequences, logits wanted, longest context.
    type Step = (usize, usize, usize, usize);

    /// Notes the size of each step.
    struct Noting {
        inner: ToyLm,
        steps: Arc<Mutex<Vec<Step>>>,
    }

    impl CausalLm for Noting {
        fn config(&self) -> &ModelConfig {
            self.inner.config()
        }

        fn forward(
            &mut self,
            input: &ModelInput,
            cache: &mut KvCache,
        ) -> Result<Logits, ModelError> {
            let longest = input.seqs.iter().map(|seq| seq.context_len).max().unwrap_or(0);
            let step = (input.num_rows(), input.seqs.len(), input.logits_rows().count(), longest);
            self.steps.lock().expect("no panic").push(step);
            self.inner.forward(input, cache)
        }
    }

    fn steps_of(workload: Workload) -> Vec<Step> {
        let steps = Arc::new(Mutex::new(Vec::new()));
        let model = Noting { inner: ToyLm::new(50), steps: Arc::clone(&steps) };
        let kv_cache = ToyLm::kv_cache(4, 64).expect("small");
        let mut runner = Runner::new(Box::new(model), kv_cache, 4, 8, 1);
        runner.fill_context(workload.batch(), workload.depth()).expect("fits");
        steps.lock().expect("no panic").clear();
        runner.run(workload).expect("fits");
        let steps = steps.lock().expect("no panic");
        steps.clone()
    }

    #[test]
    fn a_prompt_is_read_in_chunks_and_gives_one_row_of_logits() {
        let steps = steps_of(Workload::Prefill { batch: 1, depth: 3, tokens: 20 });
        assert_eq!(steps, [(8, 1, 0, 11), (8, 1, 0, 19), (4, 1, 1, 23)]);
        let steps = steps_of(Workload::Prefill { batch: 3, depth: 0, tokens: 6 });
        assert_eq!(steps, [(8, 2, 1, 6), (8, 2, 1, 6), (2, 1, 1, 6)]);
    }

    #[test]
    fn decode_steps_have_one_row_for_each_sequence() {
        let steps = steps_of(Workload::Decode { batch: 4, depth: 5, tokens: 3 });
        assert_eq!(steps, [(4, 4, 4, 6), (4, 4, 4, 7), (4, 4, 4, 8)]);
    }

    #[test]
    fn the_bytes_of_a_context_are_those_of_its_middle() {
        let config = KvCacheConfig {
            num_layers: 2,
            num_kv_heads: 1,
            head_dim: 8,
            dtype: KvDtype::F32,
            block_size: 4,
            num_blocks: 64,
        };
        let kv_cache = KvCache::new(config, &crate::ops::Device::Cpu).expect("small");
        let runner = Runner::new(Box::new(ToyLm::new(50)), kv_cache, 4, 8, 1);
        let bytes = runner.mean_kv_bytes(Workload::Decode { batch: 2, depth: 10, tokens: 3 });
        // Keys and values of 2 layers of 8 floats, 2 sequences, contexts of 11, 12 and 13.
        assert_eq!(bytes, (2 * 2 * 8 * 4 * 2 * 12) as f64);
    }
}
