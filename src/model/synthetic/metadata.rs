//! A configuration written as GGUF metadata: the reverse of `ModelConfig::from_gguf`.

use super::{SyntheticError, vocabulary};
use crate::format::gguf::{Metadata, Value};
use crate::model::{
    config::{ModelConfig, RopeConfig, RopeScaling, yarn_attention_factor},
    rope::Rope,
    weights::Quantization,
};

pub(super) fn build(
    config: &ModelConfig,
    quantization: Quantization,
    name: &str,
) -> Result<Metadata, SyntheticError> {
    let mut metadata = Metadata::default();
    let text = |text: &str| Value::String(text.to_owned());
    metadata.insert("general.architecture", text(config.architecture.name()));
    metadata.insert("general.type", text("model"));
    metadata.insert("general.name", text(name));
    metadata.insert("general.file_type", Value::U32(quantization.file_type()));
    metadata.insert("general.quantization_version", Value::U32(2));
    let prefix = config.architecture.name();
    for (key, value) in model_entries(config) {
        metadata.insert(&format!("{prefix}.{key}"), value);
    }
    for (key, value) in rope_entries(&config.rope) {
        metadata.insert(&format!("{prefix}.rope.{key}"), value);
    }
    vocabulary::insert(&mut metadata, config.vocab_size)?;
    Ok(metadata)
}

fn model_entries(config: &ModelConfig) -> Vec<(&'static str, Value)> {
    let size = |size: usize| Value::U32(size as u32);
    vec![
        ("context_length", size(config.max_position_embeddings)),
        ("embedding_length", size(config.hidden_size)),
        ("block_count", size(config.num_layers)),
        ("feed_forward_length", size(config.intermediate_size)),
        ("attention.head_count", size(config.num_attention_heads)),
        ("attention.head_count_kv", size(config.num_kv_heads)),
        ("attention.key_length", size(config.head_dim)),
        ("attention.value_length", size(config.head_dim)),
        ("attention.layer_norm_rms_epsilon", Value::F32(config.rms_norm_eps)),
        ("rope.dimension_count", size(config.head_dim)),
        ("vocab_size", size(config.vocab_size)),
    ]
}

fn rope_entries(rope: &RopeConfig) -> Vec<(&'static str, Value)> {
    let kind = |kind: &str| ("scaling.type", Value::String(kind.to_owned()));
    let mut entries = vec![("freq_base", Value::F32(rope.theta))];
    match rope.scaling {
        // Llama 3's and explicit factors are a tensor.
        RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Factors(_) => {}
        RopeScaling::Linear { factor } => {
            entries.extend([kind("linear"), ("scaling.factor", Value::F32(factor))]);
        }
        RopeScaling::Yarn {
            factor,
            original_context_len,
            beta_fast,
            beta_slow,
            attention_factor,
        } => {
            let attn_factor = attention_factor / yarn_attention_factor(factor, 1.0);
            entries.extend([
                kind("yarn"),
                ("scaling.factor", Value::F32(factor)),
                ("scaling.original_context_length", Value::U32(original_context_len as u32)),
                ("scaling.yarn_beta_fast", Value::F32(beta_fast)),
                ("scaling.yarn_beta_slow", Value::F32(beta_slow)),
                ("scaling.attn_factor", Value::F32(attn_factor)),
            ]);
        }
    }
    entries
}

/// The content of `rope_freqs.weight`, where the scaling needs one.
pub(super) fn rope_factors(config: &ModelConfig) -> Option<Vec<f32>> {
    match &config.rope.scaling {
        RopeScaling::Factors(factors) => Some(factors.clone()),
        RopeScaling::Llama3 { .. } => {
            let plain = RopeConfig { scaling: RopeScaling::None, ..config.rope.clone() };
            let plain = Rope::new(&plain, config.head_dim);
            let scaled = Rope::new(&config.rope, config.head_dim);
            let pairs = plain.frequencies().iter().zip(scaled.frequencies());
            Some(pairs.map(|(plain, scaled)| (plain / scaled) as f32).collect())
        }
        RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Yarn { .. } => None,
    }
}
