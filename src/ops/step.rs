//! A step of a decoder: its operations, on whichever device computes.
//!
//! The decoder says what is computed in which order; what differs between devices is here and
//! below.

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use super::attention::PagedSeq;
use super::attention::{PagedBatch, paged_attention, write_kv};
#[cfg(feature = "cuda")]
use super::cuda::CudaStep;
use super::device::{KvLayer, Rows};
use super::linear::{Embedding, Linear};
use super::logits::Logits;
use super::rows::{RmsNorm, Rotation, add_rows, apply_rope};

/// The rows of a step and where they belong.
pub enum Step<'a> {
    Cpu(CpuStep<'a>),
    #[cfg(feature = "cuda")]
    Cuda(CudaStep<'a>),
}

pub struct CpuStep<'a> {
    pub token_ids: &'a [u32],
    pub batch: PagedBatch,
    pub rotation: Rotation,
    /// Rows whose results are wanted.
    pub wanted: &'a [u32],
}

/// What a step computes, in the words of the model's input.
#[cfg(feature = "cuda")]
#[derive(Debug, Clone, Copy)]
pub struct StepSpec<'a> {
    pub token_ids: &'a [u32],
    pub positions: &'a [u32],
    pub seqs: &'a [PagedSeq],
    /// Rows whose results are wanted.
    pub wanted: &'a [u32],
    pub block_size: usize,
    pub num_blocks: usize,
    pub num_heads: usize,
    pub num_kv_heads: usize,
    pub vocab_size: usize,
}

/// The layers that make queries, keys and values of one input.
pub struct Projections<'a> {
    pub query: &'a Linear,
    pub key: &'a Linear,
    pub value: &'a Linear,
    /// Norms of each head's queries and keys.
    pub head_norms: Option<&'a (RmsNorm, RmsNorm)>,
}

impl Step<'_> {
    /// The rows that `work` makes: those that are wanted, `[num_wanted, vocab_size]`.
    pub fn run(&self, vocab_size: usize, work: impl Fn() -> Result<Rows>) -> Result<Logits> {
        match self {
            Self::Cpu(step) => {
                let rows = work()?;
                let values = match step.wanted {
                    [] => Vec::new(),
                    _ => cpu(&rows).flatten_all()?.to_vec1()?,
                };
                Ok(Logits::new(values, vocab_size))
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(step) => step.run(vocab_size, work),
        }
    }

    /// Whether nothing but keys and values is to come of it.
    pub fn wants_nothing(&self) -> bool {
        match self {
            Self::Cpu(step) => step.wanted.is_empty(),
            #[cfg(feature = "cuda")]
            Self::Cuda(step) => step.wants_nothing(),
        }
    }

    /// The embeddings of the step's tokens, `[num_rows, hidden_size]`.
    pub fn embed(&self, table: &Embedding) -> Result<Rows> {
        match self {
            Self::Cpu(step) => table.forward(step.token_ids).map(Rows::Cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(step) => step.embed(table),
        }
    }

    /// Adds `delta` to `x` in place, if there is one, and norms the sum for the next layer.
    pub fn add_and_norm(&self, x: &Rows, delta: Option<Rows>, norm: &RmsNorm) -> Result<Rows> {
        match self {
            Self::Cpu(_) => {
                let x = cpu(x);
                if let Some(delta) = delta {
                    add_rows(x, cpu(&delta))?;
                }
                norm.forward(x).map(Rows::Cpu)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(step) => step.add_and_norm(x, delta, norm),
        }
    }

    /// The same of the rows that are wanted, and of no others.
    pub fn add_and_norm_wanted(
        &self,
        x: &Rows,
        delta: Option<Rows>,
        norm: &RmsNorm,
    ) -> Result<Rows> {
        match self {
            Self::Cpu(step) => {
                let x = cpu(x);
                if let Some(delta) = delta {
                    add_rows(x, cpu(&delta))?;
                }
                let wanted = Tensor::new(step.wanted, x.device())?;
                norm.forward(&x.index_select(&wanted, 0)?).map(Rows::Cpu)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(step) => step.add_and_norm_wanted(x, delta, norm),
        }
    }

    pub fn linear(&self, layer: &Linear, x: &Rows) -> Result<Rows> {
        match self {
            Self::Cpu(_) => layer.forward(cpu(x)).map(Rows::Cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(step) => step.linear(layer, x),
        }
    }

    /// `down (silu(gate x) * (up x))`.
    pub fn feed_forward(
        &self,
        gate: &Linear,
        up: &Linear,
        down: &Linear,
        x: &Rows,
    ) -> Result<Rows> {
        match self {
            Self::Cpu(_) => Linear::feed_forward(gate, up, down, cpu(x)).map(Rows::Cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(step) => step.linear(down, &step.gated(gate, up, x)?),
        }
    }

    /// Queries, keys and values of `x`, turned by rope; keys and values written to `kv`; and what
    /// the queries find there, `[num_rows, num_heads * head_dim]`.
    pub fn attend(&self, layers: &Projections<'_>, x: &Rows, kv: &KvLayer) -> Result<Rows> {
        match self {
            Self::Cpu(step) => step.attend(layers, cpu(x), kv).map(Rows::Cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(step) => step.attend(layers, x, kv),
        }
    }
}

impl CpuStep<'_> {
    fn attend(&self, layers: &Projections<'_>, x: &Tensor, kv: &KvLayer) -> Result<Tensor> {
        let (keys, values) = kv.tensors();
        let projections = [layers.query, layers.key, layers.value];
        let [mut query, mut key, value] = Linear::forward_all(projections, x)?;
        if let Some((query_norm, key_norm)) = layers.head_norms {
            query = query_norm.forward(&query)?;
            key = key_norm.forward(&key)?;
        }
        apply_rope(&query, &self.rotation)?;
        apply_rope(&key, &self.rotation)?;
        write_kv(keys, &key, &self.batch)?;
        write_kv(values, &value, &self.batch)?;
        paged_attention(&query, keys, values, &self.batch)
    }
}

fn cpu(rows: &Rows) -> &Tensor {
    match rows {
        Rows::Cpu(tensor) => tensor,
        #[cfg(feature = "cuda")]
        Rows::Cuda(_) => unreachable!("rows are where the step is"),
    }
}
