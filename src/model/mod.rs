//! The model: configuration, weights and the decoder. Knows token ids, positions and blocks;
//! must not know requests, text, or why a row is in the batch.

pub mod checkpoint;
pub mod config;
pub mod decoder;
pub mod input;
pub mod kv_cache;
#[cfg(test)]
mod reference;
pub mod rope;
pub mod synthetic;
pub mod toy;
mod warm_up;
pub mod weights;

use thiserror::Error;

use crate::model::weights::TensorError;

pub use checkpoint::Checkpoint;
pub use config::ModelConfig;
pub use decoder::Decoder;
pub use input::{BlockId, ModelInput, SeqInput};
pub use kv_cache::{KvCache, KvCacheConfig, KvDtype};
pub use warm_up::warm_up;

pub use crate::ops::{Device, DeviceChoice, DistantLogits, LOGITS_BLOCK, Logits, WeighRow};

/// A causal language model over a paged KV cache.
///
/// For each sequence, `forward` writes the keys and values of its rows into the slots that its
/// block table names, attends over `[0, context_len)`, and returns logits for the last
/// `num_logits` rows. On the CPU the result of a row does not depend on the other rows.
pub trait CausalLm: Send {
    fn config(&self) -> &ModelConfig;
    fn forward(&mut self, input: &ModelInput, kv_cache: &mut KvCache)
    -> Result<Logits, ModelError>;
}

#[derive(Debug, Error)]
pub enum ModelError {
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// No later step can succeed, in this process.
    #[error("the device is lost: {0}")]
    DeviceLost(String),
    #[error("head_dim is {head_dim}, but attention takes multiples of 8 up to {limit}")]
    HeadDim { head_dim: usize, limit: usize },
    #[error("head_dim is {head_dim}, but a KV cache of q8_0 takes multiples of {block_len}")]
    QuantizedHeadDim { head_dim: usize, block_len: usize },
    #[cfg(feature = "cuda")]
    #[error("on a GPU the KV cache is f16 or bf16")]
    GpuKvDtype,
}
