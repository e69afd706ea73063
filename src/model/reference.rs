//! The decoder against candle-transformers, on random weights, and against itself: a run that is
//! batched, chunked, laid out in other blocks or reuses a prefix.
//!
//! Every operation is batch-invariant, so runs are compared by their bits.

mod golden;

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{llama, qwen2, qwen3};

use crate::model::config::{Architecture, RopeConfig, RopeLayout, RopeScaling};
use crate::model::weights::TensorMap;
use crate::model::{
    CausalLm, Decoder, KvCache, KvCacheConfig, KvDtype, ModelConfig, ModelInput, SeqInput,
};
use crate::ops::Weight;

const LLAMA3: RopeScaling = RopeScaling::Llama3 {
    factor: 8.0,
    low_freq_factor: 1.0,
    high_freq_factor: 4.0,
    original_context_len: 32,
};

fn config(architecture: Architecture) -> ModelConfig {
    let scaling = if architecture == Architecture::Llama { LLAMA3 } else { RopeScaling::None };
    ModelConfig {
        architecture,
        vocab_size: 97,
        hidden_size: 64,
        intermediate_size: 112,
        num_layers: 2,
        num_attention_heads: 4,
        num_kv_heads: 2,
        head_dim: 16,
        rms_norm_eps: 1e-5,
        rope: RopeConfig { theta: 10_000.0, layout: RopeLayout::Halves, scaling },
        max_position_embeddings: 512,
        tie_word_embeddings: architecture == Architecture::Qwen3,
        qkv_bias: architecture == Architecture::Qwen2,
        qk_norm: architecture == Architecture::Qwen3,
    }
}

/// The same with rows of whole blocks of `dtype`.
fn config_for(architecture: Architecture, dtype: GgmlDType) -> ModelConfig {
    let config = config(architecture);
    let hidden_size = config.hidden_size.next_multiple_of(dtype.block_size());
    let intermediate_size = config.intermediate_size.next_multiple_of(dtype.block_size());
    let head_dim = hidden_size / config.num_attention_heads;
    ModelConfig { hidden_size, intermediate_size, head_dim, ..config }
}

/// One tensor under the names of Hugging Face and of GGUF.
struct Named {
    hf: String,
    gguf: String,
    tensor: Tensor,
}

fn random_weights(config: &ModelConfig) -> Vec<Named> {
    let mut weights = Vec::new();
    let mut state = 1u64;
    let mut add = |hf: String, gguf: String, shape: &[usize]| {
        let num: usize = shape.iter().product();
        let values = (0..num).map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let unit = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
            // Norms about one, matrices such that activations keep their size.
            if hf.ends_with("norm.weight") { 1.0 + 0.3 * unit } else { 0.25 * unit }
        });
        let tensor = Tensor::from_iter(values, &Device::Cpu).unwrap().reshape(shape).unwrap();
        weights.push(Named { hf, gguf, tensor });
    };
    let (hidden, inner) = (config.hidden_size, config.intermediate_size);
    let queries = config.num_attention_heads * config.head_dim;
    let kv = config.num_kv_heads * config.head_dim;
    add(
        "model.embed_tokens.weight".into(),
        "token_embd.weight".into(),
        &[config.vocab_size, hidden],
    );
    add("model.norm.weight".into(), "output_norm.weight".into(), &[hidden]);
    if !config.tie_word_embeddings {
        add("lm_head.weight".into(), "output.weight".into(), &[config.vocab_size, hidden]);
    }
    for id in 0..config.num_layers {
        let mut add = |hf: &str, gguf: &str, shape: &[usize]| {
            add(format!("model.layers.{id}.{hf}"), format!("blk.{id}.{gguf}"), shape);
        };
        add("input_layernorm.weight", "attn_norm.weight", &[hidden]);
        add("post_attention_layernorm.weight", "ffn_norm.weight", &[hidden]);
        add("self_attn.q_proj.weight", "attn_q.weight", &[queries, hidden]);
        add("self_attn.k_proj.weight", "attn_k.weight", &[kv, hidden]);
        add("self_attn.v_proj.weight", "attn_v.weight", &[kv, hidden]);
        add("self_attn.o_proj.weight", "attn_output.weight", &[hidden, queries]);
        add("mlp.gate_proj.weight", "ffn_gate.weight", &[inner, hidden]);
        add("mlp.up_proj.weight", "ffn_up.weight", &[inner, hidden]);
        add("mlp.down_proj.weight", "ffn_down.weight", &[hidden, inner]);
        if config.qkv_bias {
            add("self_attn.q_proj.bias", "attn_q.bias", &[queries]);
            add("self_attn.k_proj.bias", "attn_k.bias", &[kv]);
            add("self_attn.v_proj.bias", "attn_v.bias", &[kv]);
        }
        if config.qk_norm {
            add("self_attn.q_norm.weight", "attn_q_norm.weight", &[config.head_dim]);
            add("self_attn.k_norm.weight", "attn_k_norm.weight", &[config.head_dim]);
        }
    }
    weights
}

fn decoder(config: &ModelConfig, weights: &[Named], dtype: GgmlDType) -> Decoder {
    let quantized = |named: &Named| {
        let dtype = if named.tensor.dims().len() == 1 { GgmlDType::F32 } else { dtype };
        let tensor = QTensor::quantize(&named.tensor, dtype).unwrap();
        (named.gguf.clone(), Weight::new(tensor).unwrap())
    };
    let mut tensors: TensorMap = weights.iter().map(quantized).collect();
    Decoder::new(config.clone(), &mut tensors).unwrap()
}

/// Logits of one token at a position, the earlier ones having been fed.
type Step = Box<dyn FnMut(&Tensor, usize) -> Tensor>;

/// Logits of every position from candle-transformers, fed one token at a time: its models return
/// only the last row.
fn oracle(config: &ModelConfig, weights: &[Named], token_ids: &[u32]) -> Vec<Vec<f32>> {
    let tensors: HashMap<String, Tensor> =
        weights.iter().map(|named| (named.hf.clone(), named.tensor.clone())).collect();
    let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let mut step: Step = match config.architecture {
        Architecture::Llama => {
            let config = llama_config(config);
            let model = llama::Llama::load(vb, &config).unwrap();
            let mut cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu).unwrap();
            Box::new(move |ids, position| model.forward(ids, position, &mut cache).unwrap())
        }
        Architecture::Qwen2 => {
            let mut model = qwen2::ModelForCausalLM::new(&qwen2_config(config), vb).unwrap();
            Box::new(move |ids, position| model.forward(ids, position).unwrap())
        }
        Architecture::Qwen3 => {
            let mut model = qwen3::ModelForCausalLM::new(&qwen3_config(config), vb).unwrap();
            Box::new(move |ids, position| model.forward(ids, position).unwrap())
        }
    };
    let row = |(position, id): (usize, &u32)| {
        let ids = Tensor::new(&[[*id]], &Device::Cpu).unwrap();
        step(&ids, position).flatten_all().unwrap().to_vec1().unwrap()
    };
    token_ids.iter().enumerate().map(row).collect()
}

fn llama_config(config: &ModelConfig) -> llama::Config {
    llama::Config {
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        vocab_size: config.vocab_size,
        num_hidden_layers: config.num_layers,
        num_attention_heads: config.num_attention_heads,
        num_key_value_heads: config.num_kv_heads,
        use_flash_attn: false,
        rms_norm_eps: f64::from(config.rms_norm_eps),
        rope_theta: config.rope.theta,
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: Some(llama::Llama3RopeConfig {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 32,
            rope_type: llama::Llama3RopeType::Llama3,
        }),
        max_position_embeddings: config.max_position_embeddings,
        tie_word_embeddings: config.tie_word_embeddings,
    }
}

fn qwen2_config(config: &ModelConfig) -> qwen2::Config {
    qwen2::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.num_layers,
        num_attention_heads: config.num_attention_heads,
        num_key_value_heads: config.num_kv_heads,
        max_position_embeddings: config.max_position_embeddings,
        sliding_window: config.max_position_embeddings,
        max_window_layers: config.num_layers,
        tie_word_embeddings: config.tie_word_embeddings,
        rope_theta: f64::from(config.rope.theta),
        rms_norm_eps: f64::from(config.rms_norm_eps),
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}

fn qwen3_config(config: &ModelConfig) -> qwen3::Config {
    qwen3::Config {
        vocab_size: config.vocab_size,
        hidden_size: config.hidden_size,
        intermediate_size: config.intermediate_size,
        num_hidden_layers: config.num_layers,
        num_attention_heads: config.num_attention_heads,
        head_dim: config.head_dim,
        attention_bias: false,
        num_key_value_heads: config.num_kv_heads,
        max_position_embeddings: config.max_position_embeddings,
        sliding_window: None,
        max_window_layers: config.num_layers,
        tie_word_embeddings: config.tie_word_embeddings,
        rope_theta: f64::from(config.rope.theta),
        rms_norm_eps: f64::from(config.rms_norm_eps),
        use_sliding_window: false,
        hidden_act: Activation::Silu,
    }
}

const BLOCK_SIZE: usize = 16;

fn kv_cache(config: &ModelConfig, dtype: KvDtype) -> KvCache {
    let config = KvCacheConfig {
        num_layers: config.num_layers,
        num_kv_heads: config.num_kv_heads,
        head_dim: config.head_dim,
        dtype,
        block_size: BLOCK_SIZE,
        num_blocks: 128,
    };
    KvCache::new(config, &crate::ops::Device::Cpu).unwrap()
}

/// One sequence's rows: their tokens, how many came before, and the sequence's blocks.
type Rows<'a> = (&'a [u32], usize, &'a Arc<[u32]>);

/// A step of one sequence or several, with the logits of all rows.
fn input(seqs: &[Rows<'_>]) -> ModelInput {
    let mut input = ModelInput::default();
    for &(token_ids, num_computed, block_table) in seqs {
        let start = input.num_rows();
        let context_len = num_computed + token_ids.len();
        input.token_ids.extend(token_ids);
        input.positions.extend(num_computed as u32..context_len as u32);
        input.seqs.push(SeqInput {
            rows: start..start + token_ids.len(),
            context_len,
            block_table: Arc::clone(block_table),
            num_logits: token_ids.len(),
        });
    }
    input
}

fn run(decoder: &mut Decoder, cache: &mut KvCache, input: &ModelInput) -> Vec<Vec<f32>> {
    let logits = decoder.forward(input, cache).unwrap();
    (0..logits.num_rows()).map(|row| logits.row(row).to_vec()).collect()
}

fn tokens(seed: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (i * i * 31 + i * seed + 7) % 97).collect()
}

const ARCHITECTURES: [Architecture; 3] =
    [Architecture::Llama, Architecture::Qwen2, Architecture::Qwen3];

#[test]
fn logits_equal_those_of_candle_transformers() {
    for architecture in ARCHITECTURES {
        let config = config(architecture);
        let weights = random_weights(&config);
        let token_ids = tokens(5, 70);
        let expected = oracle(&config, &weights, &token_ids);
        let mut decoder = decoder(&config, &weights, GgmlDType::F32);
        let block_table = (0..8).collect();
        let input = input(&[(&token_ids, 0, &block_table)]);
        let found = run(&mut decoder, &mut kv_cache(&config, KvDtype::F32), &input);
        for (position, (found, expected)) in found.iter().zip(&expected).enumerate() {
            for (found, expected) in found.iter().zip(expected) {
                let difference = (found - expected).abs();
                assert!(
                    difference < 1e-4,
                    "{architecture:?} at {position}: {found} instead of {expected}"
                );
            }
        }
    }
}

#[test]
fn any_batch_chunk_and_block_gives_the_same_bits() {
    for architecture in ARCHITECTURES {
        for (dtype, kv) in [
            (GgmlDType::F32, KvDtype::F32),
            (GgmlDType::BF16, KvDtype::F16),
            (GgmlDType::F16, KvDtype::Bf16),
            (GgmlDType::Q8_0, KvDtype::F16),
            (GgmlDType::Q4K, KvDtype::F16),
            (GgmlDType::Q6K, KvDtype::F16),
            (GgmlDType::Q4K, KvDtype::Q8_0),
        ] {
            let config = config_for(architecture, dtype);
            let mut decoder = decoder(&config, &random_weights(&config), dtype);
            // Longer than a partition of the attention kernel.
            let (a, b) = (tokens(5, 300), tokens(11, 41));
            let in_order: Arc<[u32]> = (0..19).collect();
            let alone = |decoder: &mut Decoder, token_ids: &[u32]| {
                let input = input(&[(token_ids, 0, &in_order)]);
                run(decoder, &mut kv_cache(&config, kv), &input)
            };
            let (a_alone, b_alone) = (alone(&mut decoder, &a), alone(&mut decoder, &b));

            // Chunks of uneven size, in blocks that are scattered and shared with another
            // sequence's chunks and single tokens.
            let mut cache = kv_cache(&config, kv);
            let a_blocks: Arc<[u32]> = (0..19).map(|i| (i * 37 + 5) % 127).collect();
            let b_blocks: Arc<[u32]> = vec![1, 0, 2].into();
            let (mut a_found, mut b_found) = (Vec::new(), Vec::new());
            for chunk in [1, 16, 100, 1, 1, 150, 31] {
                let (a_done, b_done) = (a_found.len(), b_found.len());
                let b_end = b.len().min(b_done + 7);
                let mut rows = run(
                    &mut decoder,
                    &mut cache,
                    &input(&[
                        (&b[b_done..b_end], b_done, &b_blocks),
                        (&a[a_done..a_done + chunk], a_done, &a_blocks),
                    ]),
                );
                a_found.extend(rows.split_off(b_end - b_done));
                b_found.extend(rows);
            }
            assert!(a_found == a_alone, "{architecture:?} {dtype:?} {kv:?}: chunked");
            assert!(b_found == b_alone, "{architecture:?} {dtype:?} {kv:?}: batched");

            // Another sequence with the same beginning reuses its blocks and computes the rest.
            let mut shared: Vec<u32> = a_blocks[..4].to_vec();
            shared.extend(100..115);
            let rest = input(&[(&a[64..], 64, &shared.into())]);
            let reused = run(&mut decoder, &mut cache, &rest);
            assert!(reused == a_alone[64..], "{architecture:?} {dtype:?} {kv:?}: reused prefix");
        }
    }
}

#[test]
fn sixteen_bit_weights_and_cache_stay_close_to_f32() {
    let config = config(Architecture::Qwen2);
    let weights = random_weights(&config);
    let token_ids = tokens(3, 40);
    let block_table = (0..8).collect();
    let input = input(&[(&token_ids, 0, &block_table)]);
    let mut exact = decoder(&config, &weights, GgmlDType::F32);
    let expected = run(&mut exact, &mut kv_cache(&config, KvDtype::F32), &input).concat();
    for (dtype, kv, bound) in
        [(GgmlDType::F16, KvDtype::F16, 0.01), (GgmlDType::BF16, KvDtype::Bf16, 0.1)]
    {
        let mut decoder = decoder(&config, &weights, dtype);
        let found = run(&mut decoder, &mut kv_cache(&config, kv), &input).concat();
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < bound, "{dtype:?}: {worst}");
    }
}

#[test]
fn only_wanted_rows_have_logits() {
    let config = config(Architecture::Llama);
    let mut decoder = decoder(&config, &random_weights(&config), GgmlDType::F32);
    let (token_ids, block_table) = (tokens(3, 20), (0..2).collect());
    let mut input = input(&[(&token_ids, 0, &block_table)]);
    let all = run(&mut decoder, &mut kv_cache(&config, KvDtype::F32), &input);
    input.seqs[0].num_logits = 2;
    let last = run(&mut decoder, &mut kv_cache(&config, KvDtype::F32), &input);
    assert!(last == all[18..]);
    input.seqs[0].num_logits = 0;
    assert!(run(&mut decoder, &mut kv_cache(&config, KvDtype::F32), &input).is_empty());
}

#[test]
fn a_missing_or_misshapen_tensor_is_named() {
    let config = config(Architecture::Qwen3);
    for (broken, expected) in [
        (None, "tensor `blk.1.attn_k_norm.weight` is missing"),
        (Some(7), "tensor `blk.1.attn_k_norm.weight` has shape [7]"),
    ] {
        let mut tensors: TensorMap = random_weights(&config)
            .into_iter()
            .filter_map(|named| {
                let tensor = match broken {
                    _ if named.gguf != "blk.1.attn_k_norm.weight" => named.tensor,
                    Some(len) => Tensor::zeros(len, DType::F32, &Device::Cpu).unwrap(),
                    None => return None,
                };
                let tensor = QTensor::quantize(&tensor, GgmlDType::F32).unwrap();
                Some((named.gguf, Weight::new(tensor).unwrap()))
            })
            .collect();
        let error = Decoder::new(config.clone(), &mut tensors).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_head_that_attention_cannot_take_is_refused() {
    for head_dim in [12, 264] {
        let config = ModelConfig { head_dim, ..config(Architecture::Qwen3) };
        let error = Decoder::new(config, &mut TensorMap::default()).unwrap_err().to_string();
        assert!(error.starts_with(&format!("head_dim is {head_dim}, but attention")), "{error}");
    }
}
