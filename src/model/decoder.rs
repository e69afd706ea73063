//! The decoder of Llama, Qwen2 and Qwen3: one transformer, told apart by its configuration.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::model::kv_cache::{KvCache, KvLayer};
use crate::model::rope::Rope;
use crate::model::weights::TensorMap;
use crate::model::{CausalLm, Logits, ModelConfig, ModelError, ModelInput};
use crate::ops::{
    ATTENTION_HEAD_DIM_MAX, Embedding, Linear, PagedBatch, PagedSeq, RmsNorm, Rotation, Weight,
    add_rows, apply_rope, paged_attention, write_kv,
};

/// A causal language model over weights on one device.
#[derive(Debug)]
pub struct Decoder {
    config: ModelConfig,
    device: Device,
    rope: Rope,
    embedding: Embedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    lm_head: Linear,
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
        let blocks = (0..config.num_layers)
            .map(|id| Block::new(&config, &mut Scope { tensors, prefix: format!("blk.{id}.") }))
            .collect::<Result<_, _>>()?;
        let mut top = Scope { tensors, prefix: String::new() };
        Ok(Self {
            device: table.device(),
            rope: Rope::new(&config.rope, config.head_dim),
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
        let batch = paged_batch(input, kv_cache.config().block_size);
        let rotation = self.rope.rotation(&input.positions, &self.device)?;
        let hidden = self.embedding.forward(&input.token_ids)?;
        for (layer_id, block) in self.blocks.iter().enumerate() {
            block.forward(&hidden, &rotation, &batch, kv_cache.layer(layer_id))?;
        }
        let wanted: Vec<u32> = input.logits_rows().map(|row| row as u32).collect();
        if wanted.is_empty() {
            return Ok(Logits::new(Vec::new(), self.config.vocab_size));
        }
        let wanted = Tensor::new(wanted, &self.device)?;
        let hidden = self.norm.forward(&hidden.index_select(&wanted, 0)?)?;
        let logits = self.lm_head.forward(&hidden)?;
        Ok(Logits::new(logits.flatten_all()?.to_vec1()?, self.config.vocab_size))
    }
}

fn paged_batch(input: &ModelInput, block_size: usize) -> PagedBatch {
    let seqs = input
        .seqs
        .iter()
        .map(|seq| PagedSeq {
            rows: seq.rows.clone(),
            context_len: seq.context_len,
            block_table: Arc::clone(&seq.block_table),
        })
        .collect();
    PagedBatch::new(seqs, block_size)
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

    /// Adds this layer's contribution to `hidden`, `[num_rows, hidden_size]`, in place.
    fn forward(
        &self,
        hidden: &Tensor,
        rotation: &Rotation,
        batch: &PagedBatch,
        kv: &KvLayer,
    ) -> Result<(), ModelError> {
        let x = self.attention_norm.forward(hidden)?;
        add_rows(hidden, &self.attention.forward(&x, rotation, batch, kv)?)?;
        let x = self.mlp_norm.forward(hidden)?;
        add_rows(hidden, &self.mlp.forward(&x)?)?;
        Ok(())
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

    fn forward(
        &self,
        x: &Tensor,
        rotation: &Rotation,
        batch: &PagedBatch,
        kv: &KvLayer,
    ) -> Result<Tensor, ModelError> {
        let layers = [&self.query, &self.key, &self.value];
        let [mut query, mut key, value] = Linear::forward_all(layers, x)?;
        if let Some((query_norm, key_norm)) = &self.head_norms {
            query = query_norm.forward(&query)?;
            key = key_norm.forward(&key)?;
        }
        apply_rope(&query, rotation)?;
        apply_rope(&key, rotation)?;
        write_kv(&kv.keys, &key, batch)?;
        write_kv(&kv.values, &value, batch)?;
        let attended = paged_attention(&query, &kv.keys, &kv.values, batch)?;
        Ok(self.output.forward(&attended)?)
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

    fn forward(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        Ok(self.down.forward(&Linear::gated(&self.gate, &self.up, x)?)?)
    }
}

/// The tensors under one prefix.
struct Scope<'a> {
    tensors: &'a mut TensorMap,
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
        Ok(RmsNorm::new(vector(&weight)?, eps))
    }

    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Arc<Weight>, ModelError> {
        Ok(self.tensors.take(&format!("{}{name}", self.prefix), shape)?)
    }
}

/// Norm weights and biases are small and used in `f32`.
fn vector(weight: &Weight) -> Result<Tensor, ModelError> {
    Ok(weight.dequantize()?)
}
