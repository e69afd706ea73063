//! The decoder of Llama, Qwen2 and Qwen3: one transformer, told apart by its configuration.

use std::sync::Arc;

use candle_core::{Result as OpResult, Tensor};

use crate::model::kv_cache::KvCache;
use crate::model::rope::Rope;
use crate::model::weights::TensorMap;
use crate::model::{CausalLm, Logits, ModelConfig, ModelError, ModelInput, SeqInput};
use crate::ops::{
    ATTENTION_HEAD_DIM_MAX, CpuStep, Device, Embedding, KvLayer, Linear, PagedBatch, PagedSeq,
    Projections, RmsNorm, Rows, Step, Weight,
};
#[cfg(feature = "cuda")]
use crate::ops::{CudaDecoder, StepSpec};

/// A causal language model over weights on one device.
#[derive(Debug)]
pub struct Decoder {
    config: ModelConfig,
    compute: Compute,
    rope: Rope,
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    lm_head: Linear,
}

/// What a device needs beside the weights.
#[derive(Debug)]
enum Compute {
    Cpu,
    #[cfg(feature = "cuda")]
    Cuda(Box<CudaDecoder>),
}

impl Decoder {
    /// Takes the tensors that `config` implies out of `tensors`, each checked to have its shape.
    pub fn new(config: ModelConfig, tensors: &mut TensorMap) -> Result<Self, ModelError> {
        if !config.head_dim.is_multiple_of(8) || config.head_dim > ATTENTION_HEAD_DIM_MAX {
            return Err(ModelError::HeadDim {
                head_dim: config.head_dim,
                limit: ATTENTION_HEAD_DIM_MAX,
            });
        }
        let (vocab_size, hidden_size) = (config.vocab_size, config.hidden_size);
        let table = tensors.take("token_embd.weight", &[vocab_size, hidden_size])?;
        let lm_head = if config.tie_word_embeddings {
            Arc::clone(&table)
        } else {
            tensors.take("output.weight", &[vocab_size, hidden_size])?
        };
        let device = table.device();
        let rope = Rope::new(&config.rope, config.head_dim);
        let compute = Compute::new(&device, &config, &rope, tensors)?;
        let blocks = (0..config.num_layers)
            .map(|id| {
                let prefix = format!("blk.{id}.");
                Block::new(&config, &mut Scope { tensors, device: &device, prefix })
            })
            .collect::<Result<_, _>>()?;
        let mut top = Scope { tensors, device: &device, prefix: String::new() };
        Ok(Self {
            compute,
            rope,
            blocks,
            norm: top.norm("output_norm", hidden_size, config.rms_norm_eps)?,
            embedding: Embedding::new(table),
            lm_head: Linear::new(&lm_head, None)?,
            config,
        })
    }
}

impl CausalLm for Decoder {
    fn config(&self) -> &ModelConfig {
        &self.config
    }

    fn forward(
        &mut self,
        input: &ModelInput,
        kv_cache: &mut KvCache,
    ) -> Result<Logits, ModelError> {
        let kv_cache = &*kv_cache;
        let seqs = paged_seqs(input);
        let wanted: Vec<u32> = input.logits_rows().map(|row| row as u32).collect();
        let step = self.step(input, seqs, &wanted, kv_cache)?;
        let logits = step.run(self.config.vocab_size, || self.compute(&step, kv_cache));
        logits.map_err(|error| self.compute.failure(error))
    }
}

impl Decoder {
    fn step<'a>(
        &'a self,
        input: &'a ModelInput,
        seqs: Vec<PagedSeq>,
        wanted: &'a [u32],
        kv_cache: &'a KvCache,
    ) -> OpResult<Step<'a>> {
        let cache = kv_cache.config();
        match &self.compute {
            Compute::Cpu => Ok(Step::Cpu(CpuStep {
                token_ids: &input.token_ids,
                batch: PagedBatch::new(seqs, cache.block_size),
                rotation: self.rope.rotation(&input.positions)?,
                wanted,
            })),
            #[cfg(feature = "cuda")]
            Compute::Cuda(decoder) => {
                let spec = StepSpec {
                    token_ids: &input.token_ids,
                    positions: &input.positions,
                    seqs: &seqs,
                    wanted,
                    block_size: cache.block_size,
                    num_blocks: cache.num_blocks,
                    num_heads: self.config.num_attention_heads,
                    num_kv_heads: self.config.num_kv_heads,
                    vocab_size: self.config.vocab_size,
                };
                Ok(Step::Cuda(decoder.step(&spec, kv_cache.layer(0))?))
            }
        }
    }

    /// The logits of the wanted rows.
    fn compute(&self, step: &Step<'_>, kv_cache: &KvCache) -> OpResult<Rows> {
        let hidden = step.embed(&self.embedding)?;
        let mut delta = None;
        for (layer_id, block) in self.blocks.iter().enumerate() {
            delta = Some(block.forward(&hidden, delta, step, kv_cache.layer(layer_id))?);
        }
        if step.wants_nothing() {
            return Ok(hidden);
        }
        let x = step.add_and_norm_wanted(&hidden, delta, &self.norm)?;
        step.linear(&self.lm_head, &x)
    }
}

impl Compute {
    /// What an error of a step means for the steps behind it.
    #[cfg(feature = "cuda")]
    fn failure(&self, error: candle_core::Error) -> ModelError {
        match self {
            Self::Cuda(decoder) if decoder.is_lost() => ModelError::DeviceLost(error.to_string()),
            Self::Cpu | Self::Cuda(_) => error.into(),
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn failure(&self, error: candle_core::Error) -> ModelError {
        error.into()
    }

    #[cfg(not(feature = "cuda"))]
    fn new(_: &Device, _: &ModelConfig, _: &Rope, _: &TensorMap) -> OpResult<Self> {
        Ok(Self::Cpu)
    }

    #[cfg(feature = "cuda")]
    fn new(
        device: &Device,
        config: &ModelConfig,
        rope: &Rope,
        tensors: &TensorMap,
    ) -> OpResult<Self> {
        let Device::Cuda(session) = device else { return Ok(Self::Cpu) };
        let pairs = rope.table(config.max_position_embeddings);
        let table = (pairs.as_slice(), config.head_dim / 2, rope.is_adjacent());
        Ok(Self::Cuda(Box::new(CudaDecoder::new(session, table, tensors.matrix_types())?)))
    }
}

fn paged_seqs(input: &ModelInput) -> Vec<PagedSeq> {
    let of = |seq: &SeqInput| PagedSeq {
        rows: seq.rows.clone(),
        context_len: seq.context_len,
        block_table: Arc::clone(&seq.block_table),
    };
    input.seqs.iter().map(of).collect()
}

/// One layer: attention and feed-forward, each behind a norm and added to the residual stream.
#[derive(Debug)]
struct Block {
    attention_norm: RmsNorm,
    attention: Attention,
    mlp_norm: RmsNorm,
    mlp: Mlp,
}

impl Block {
    fn new(config: &ModelConfig, tensors: &mut Scope<'_>) -> Result<Self, ModelError> {
        Ok(Self {
            attention_norm: tensors.norm("attn_norm", config.hidden_size, config.rms_norm_eps)?,
            attention: Attention::new(config, tensors)?,
            mlp_norm: tensors.norm("ffn_norm", config.hidden_size, config.rms_norm_eps)?,
            mlp: Mlp::new(config, tensors)?,
        })
    }

    /// Adds `delta`, which the layer before returned, to `hidden`, `[num_rows, hidden_size]`, in
    /// place, so that a device can do it while it norms; and returns what to add next.
    fn forward(
        &self,
        hidden: &Rows,
        delta: Option<Rows>,
        step: &Step<'_>,
        kv: &KvLayer,
    ) -> OpResult<Rows> {
        let x = step.add_and_norm(hidden, delta, &self.attention_norm)?;
        let attended = self.attention.forward(&x, step, kv)?;
        let x = step.add_and_norm(hidden, Some(attended), &self.mlp_norm)?;
        self.mlp.forward(&x, step)
    }
}

#[derive(Debug)]
struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    output: Linear,
    /// Norms of each head's queries and keys (Qwen3).
    head_norms: Option<(RmsNorm, RmsNorm)>,
}

impl Attention {
    fn new(config: &ModelConfig, tensors: &mut Scope<'_>) -> Result<Self, ModelError> {
        let hidden_size = config.hidden_size;
        let query_size = config.num_attention_heads * config.head_dim;
        let kv_size = config.num_kv_heads * config.head_dim;
        let bias = config.qkv_bias;
        let head_norms = if config.qk_norm {
            let query = tensors.norm("attn_q_norm", config.head_dim, config.rms_norm_eps)?;
            let key = tensors.norm("attn_k_norm", config.head_dim, config.rms_norm_eps)?;
            Some((query, key))
        } else {
            None
        };
        Ok(Self {
            query: tensors.linear("attn_q", query_size, hidden_size, bias)?,
            key: tensors.linear("attn_k", kv_size, hidden_size, bias)?,
            value: tensors.linear("attn_v", kv_size, hidden_size, bias)?,
            output: tensors.linear("attn_output", hidden_size, query_size, false)?,
            head_norms,
        })
    }

    fn forward(&self, x: &Rows, step: &Step<'_>, kv: &KvLayer) -> OpResult<Rows> {
        let projections = Projections {
            query: &self.query,
            key: &self.key,
            value: &self.value,
            head_norms: self.head_norms.as_ref(),
        };
        let attended = step.attend(&projections, x, kv)?;
        step.linear(&self.output, &attended)
    }
}

/// The gated feed-forward network.
#[derive(Debug)]
struct Mlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Mlp {
    fn new(config: &ModelConfig, tensors: &mut Scope<'_>) -> Result<Self, ModelError> {
        let (hidden_size, inner_size) = (config.hidden_size, config.intermediate_size);
        Ok(Self {
            gate: tensors.linear("ffn_gate", inner_size, hidden_size, false)?,
            up: tensors.linear("ffn_up", inner_size, hidden_size, false)?,
            down: tensors.linear("ffn_down", hidden_size, inner_size, false)?,
        })
    }

    fn forward(&self, x: &Rows, step: &Step<'_>) -> OpResult<Rows> {
        step.feed_forward(&self.gate, &self.up, &self.down, x)
    }
}

/// The tensors under one prefix.
struct Scope<'a> {
    tensors: &'a mut TensorMap,
    device: &'a Device,
    prefix: String,
}

impl Scope<'_> {
    fn linear(
        &mut self,
        name: &str,
        num_outputs: usize,
        num_inputs: usize,
        has_bias: bool,
    ) -> Result<Linear, ModelError> {
        let weight = self.take(&format!("{name}.weight"), &[num_outputs, num_inputs])?;
        let bias = if has_bias {
            Some(vector(&*self.take(&format!("{name}.bias"), &[num_outputs])?)?)
        } else {
            None
        };
        Ok(Linear::new(&weight, bias)?)
    }

    fn norm(&mut self, name: &str, size: usize, eps: f32) -> Result<RmsNorm, ModelError> {
        let weight = self.take(&format!("{name}.weight"), &[size])?;
        Ok(RmsNorm::new(vector(&weight)?, eps, self.device)?)
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Arc<Weight>, ModelError> {
        Ok(self.tensors.take(&format!("{}{name}", self.prefix), shape)?)
    }
}

/// Norm weights and biases are small and used in `f32`.
fn vector(weight: &Weight) -> Result<Tensor, ModelError> {
    Ok(weight.dequantize()?)
}
