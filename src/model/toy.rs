//! `ToyLm`: a [`CausalLm`] for tests that has no neural network.
//!
//! Keys hold token ids, values a running hash of token, position and the value before. Logits are a
//! hash of everything read back from `[0, context_len)` through the block table, so a wrong slot, a
//! stale block, a skipped chunk or a block shared by mistake changes the text. A script can decide
//! the next token in place of the hash, and can fail, panic or wait.

use candle_core::{CpuStorage, InplaceOp1, Layout};

use crate::model::config::{Architecture, RopeConfig, RopeLayout, RopeScaling};
use crate::model::{
    BlockId, CausalLm, KvCache, KvCacheConfig, KvDtype, Logits, ModelConfig, ModelError,
    ModelInput, SeqInput,
};
use crate::ops::Device;

/// Token ids and hashes are stored as `f32`, which holds integers below this exactly.
const EXACT_INTEGERS: u64 = 1 << 24;

/// One sequence of one step, as a script sees it.
#[derive(Debug)]
pub struct ToyStep<'a> {
    /// Tokens `[0, context_len)`, read back from the KV cache.
    pub tokens: &'a [u32],
    /// False within a prompt whose end is not in this step.
    pub wants_logits: bool,
}

/// What a script answers for one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToyReply {
    /// The hash of the context, as without a script.
    Hash,
    /// All probability on this token.
    Token(u32),
    /// A row that is not a number.
    NotANumber,
    /// `forward` returns an error.
    Fail(String),
    /// `forward` says that its device is lost.
    Lose,
}

/// Called once for each sequence of a step, in the order of the batch. It may panic or sleep.
pub type ToyScript = Box<dyn FnMut(&ToyStep<'_>) -> ToyReply + Send>;

pub struct ToyLm {
    config: ModelConfig,
    script: ToyScript,
    tokens: Vec<u32>,
}

impl ToyLm {
    pub fn new(vocab_size: usize) -> Self {
        Self::scripted(vocab_size, |_| ToyReply::Hash)
    }

    pub fn scripted(
        vocab_size: usize,
        script: impl FnMut(&ToyStep<'_>) -> ToyReply + Send + 'static,
    ) -> Self {
        assert!(vocab_size as u64 <= EXACT_INTEGERS, "token ids must be exact in f32");
        let config = ModelConfig {
            architecture: Architecture::Llama,
            vocab_size,
            hidden_size: 1,
            intermediate_size: 1,
            num_layers: 1,
            num_attention_heads: 1,
            num_kv_heads: 1,
            head_dim: 1,
            rms_norm_eps: 1e-6,
            rope: RopeConfig {
                theta: 10_000.0,
                layout: RopeLayout::Halves,
                scaling: RopeScaling::None,
            },
            max_position_embeddings: 1 << 20,
            tie_word_embeddings: true,
            qkv_bias: false,
            qk_norm: false,
        };
        Self { config, script: Box::new(script), tokens: Vec::new() }
    }

    /// Answers each prompt with the tokens given for it, and with `end_id` after them and for any
    /// other prompt.
    pub fn reciting(vocab_size: usize, answers: Vec<(Vec<u32>, Vec<u32>)>, end_id: u32) -> Self {
        Self::scripted(vocab_size, move |step| {
            let answer = answers.iter().find_map(|(prompt, answer)| {
                step.tokens.strip_prefix(prompt.as_slice()).map(|said| (said.len(), answer))
            });
            let next = answer.and_then(|(num_said, answer)| answer.get(num_said));
            ToyReply::Token(next.copied().unwrap_or(end_id))
        })
    }

    /// The cache that this model needs, with `num_blocks` blocks of `block_size` tokens.
    pub fn kv_cache(block_size: usize, num_blocks: usize) -> Result<KvCache, ModelError> {
        let config = KvCacheConfig {
            num_layers: 1,
            num_kv_heads: 1,
            head_dim: 1,
            dtype: KvDtype::F32,
            block_size,
            num_blocks,
        };
        KvCache::new(config, &Device::Cpu)
    }

    fn push_logits(&mut self, hash: u64, wants_logits: bool, values: &mut Vec<f32>) -> Reply {
        let reply = (self.script)(&ToyStep { tokens: &self.tokens, wants_logits });
        if let ToyReply::Fail(reason) = reply {
            return Err(candle_core::Error::Msg(reason).into());
        }
        if reply == ToyReply::Lose {
            return Err(ModelError::DeviceLost("an illegal address".into()));
        }
        if !wants_logits {
            return Ok(());
        }
        let vocab_size = self.config.vocab_size as u32;
        match reply {
            ToyReply::Token(chosen) => values.extend(
                (0..vocab_size).map(|id| if id == chosen { 0.0 } else { f32::NEG_INFINITY }),
            ),
            ToyReply::NotANumber => values.extend((0..vocab_size).map(|_| f32::NAN)),
            ToyReply::Hash | ToyReply::Fail(_) | ToyReply::Lose => {
                values.extend((0..vocab_size).map(|id| logit(hash, id)));
            }
        }
        Ok(())
    }
}

type Reply = Result<(), ModelError>;

impl CausalLm for ToyLm {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn forward(
        &mut self,
        input: &ModelInput,
        kv_cache: &mut KvCache,
    ) -> Result<Logits, ModelError> {
        let block_size = kv_cache.config().block_size;
        let (keys, values) = kv_cache.layer(0).tensors();
        keys.inplace_op1(&WriteKeys { input, block_size })?;
        values.inplace_op1(&WriteValues { input, block_size })?;

        let (keys, values) = (keys.storage_and_layout(), values.storage_and_layout());
        let (keys, values) = (cpu_slice(&keys.0)?, cpu_slice(&values.0)?);
        let mut logits = Vec::new();
        for seq in &input.seqs {
            self.tokens.clear();
            let mut hash = 0;
            for position in 0..seq.context_len {
                let slot = slot(&seq.block_table, block_size, position);
                self.tokens.push(keys[slot] as u32);
                hash = mix(hash ^ mix(u64::from(keys[slot].to_bits())))
                    ^ u64::from(values[slot].to_bits());
                if position + 1 < seq.context_len && position + 1 + seq.num_logits > seq.context_len
                {
                    self.push_logits(hash, true, &mut logits)?;
                }
            }
            self.push_logits(hash, seq.num_logits > 0, &mut logits)?;
        }
        Ok(Logits::new(logits, self.config.vocab_size))
    }
}

/// A logit in `[-8, 8)`.
fn logit(hash: u64, id: u32) -> f32 {
    let bits = mix(hash ^ mix(u64::from(id) + 1)) >> 40;
    bits as f32 / (EXACT_INTEGERS as f32) * 16.0 - 8.0
}

/// The finalizer of splitmix64.
fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// Index of a position's slot: one head of one element, so a block is `block_size` floats.
fn slot(block_table: &[BlockId], block_size: usize, position: usize) -> usize {
    block_table[position / block_size] as usize * block_size + position % block_size
}

fn cpu_slice(storage: &candle_core::Storage) -> candle_core::Result<&[f32]> {
    match storage {
        candle_core::Storage::Cpu(storage) => storage.as_slice::<f32>(),
        _ => Err(candle_core::Error::Msg("the toy model runs on the CPU".into())),
    }
}

fn cpu_slice_mut(storage: &mut CpuStorage) -> candle_core::Result<&mut [f32]> {
    match storage {
        CpuStorage::F32(values) => Ok(values),
        _ => Err(candle_core::Error::Msg("the toy model wants a cache of f32".into())),
    }
}

/// Rows of a sequence with their positions and slots.
fn row_slots<'a>(
    input: &'a ModelInput,
    seq: &'a SeqInput,
    block_size: usize,
) -> impl Iterator<Item = (usize, usize, usize)> + 'a {
    seq.rows.clone().map(move |row| {
        let position = input.positions[row] as usize;
        (row, position, slot(&seq.block_table, block_size, position))
    })
}

struct WriteKeys<'a> {
    input: &'a ModelInput,
    block_size: usize,
}

impl InplaceOp1 for WriteKeys<'_> {
    fn name(&self) -> &'static str {
        "toy-write-keys"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        let keys = cpu_slice_mut(storage)?;
        for seq in &self.input.seqs {
            for (row, _, slot) in row_slots(self.input, seq, self.block_size) {
                keys[slot] = self.input.token_ids[row] as f32;
            }
        }
        Ok(())
    }
}

/// The value of a position is a hash over its token, its position and the value before it, so a
/// row that is computed over the wrong context leaves a trace that outlives the step.
struct WriteValues<'a> {
    input: &'a ModelInput,
    block_size: usize,
}

impl InplaceOp1 for WriteValues<'_> {
    fn name(&self) -> &'static str {
        "toy-write-values"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        let values = cpu_slice_mut(storage)?;
        for seq in &self.input.seqs {
            for (row, position, this) in row_slots(self.input, seq, self.block_size) {
                let before = match position.checked_sub(1) {
                    Some(before) => values[slot(&seq.block_table, self.block_size, before)],
                    None => 0.0,
                };
                let token = u64::from(self.input.token_ids[row]);
                let hash = mix(u64::from(before.to_bits()) ^ mix(token << 32 | position as u64));
                values[this] = (hash % EXACT_INTEGERS) as f32;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn step(tokens: &[u32], computed: usize, table: &[BlockId], num_logits: usize) -> ModelInput {
        let new = &tokens[computed..];
        ModelInput {
            token_ids: new.to_vec(),
            positions: (computed as u32..tokens.len() as u32).collect(),
            seqs: vec![SeqInput {
                rows: 0..new.len(),
                context_len: tokens.len(),
                block_table: Arc::from(table),
                num_logits,
            }],
        }
    }

    fn logits_of(tokens: &[u32], splits: &[usize], table: &[BlockId]) -> Vec<f32> {
        let mut model = ToyLm::new(32);
        let mut kv_cache = ToyLm::kv_cache(4, 16).unwrap();
        let mut computed = 0;
        for &end in splits {
            let input = step(&tokens[..end], computed, table, 0);
            assert_eq!(model.forward(&input, &mut kv_cache).unwrap().num_rows(), 0);
            computed = end;
        }
        let input = step(tokens, computed, table, 1);
        model.forward(&input, &mut kv_cache).unwrap().row(0).to_vec()
    }

    #[test]
    fn chunks_and_block_tables_do_not_change_the_logits() {
        let tokens = [3, 1, 4, 1, 5, 9, 2, 6, 5];
        let whole = logits_of(&tokens, &[], &[0, 1, 2]);
        assert_eq!(whole, logits_of(&tokens, &[1, 5, 8], &[0, 1, 2]));
        assert_eq!(whole, logits_of(&tokens, &[4], &[9, 3, 12]));
    }

    #[test]
    fn a_wrong_token_or_block_changes_the_logits() {
        let tokens = [3, 1, 4, 1, 5, 9, 2, 6, 5];
        let whole = logits_of(&tokens, &[], &[0, 1, 2]);
        let mut other = tokens;
        other.swap(1, 2);
        assert_ne!(whole, logits_of(&other, &[], &[0, 1, 2]));
        assert_ne!(whole, logits_of(&tokens, &[], &[0, 1, 1]), "blocks of a table overlap");
    }

    #[test]
    fn several_rows_of_logits_are_those_of_each_position() {
        let tokens = [3, 1, 4, 1, 5];
        let mut model = ToyLm::new(32);
        let mut kv_cache = ToyLm::kv_cache(4, 4).unwrap();
        let input = step(&tokens, 0, &[2, 0], 3);
        let logits = model.forward(&input, &mut kv_cache).unwrap();
        assert_eq!(logits.num_rows(), 3);
        for (row, end) in (3..=5).enumerate() {
            assert_eq!(logits.row(row), logits_of(&tokens[..end], &[], &[0, 1]));
        }
    }

    #[test]
    fn a_recited_answer_follows_its_prompt() {
        let mut model = ToyLm::reciting(32, vec![(vec![1, 2], vec![7, 8])], 31);
        let mut kv_cache = ToyLm::kv_cache(4, 4).unwrap();
        let mut next = |tokens: &[u32]| {
            let logits = model.forward(&step(tokens, 0, &[0, 1], 1), &mut kv_cache).unwrap();
            logits.row(0).iter().position(|&logit| logit == 0.0).unwrap()
        };
        assert_eq!(next(&[1, 2]), 7);
        assert_eq!(next(&[1, 2, 7]), 8);
        assert_eq!(next(&[1, 2, 7, 8]), 31);
        assert_eq!(next(&[5]), 31);
    }
}
