//! What a checkpoint says about its own shape, read from GGUF metadata or `config.json`.
//!
//! A [`ModelConfig`] from either reader has passed [`ModelConfig::check`].

mod gguf;
mod hf;
mod rope;

use thiserror::Error;

pub use gguf::TensorShapes;
pub(in crate::model) use rope::yarn_attention_factor;

use crate::format::gguf::MetadataError;
use crate::limits::{
    HEAD_DIM_MAX, HIDDEN_SIZE_MAX, INTERMEDIATE_SIZE_MAX, MAX_POSITION_EMBEDDINGS_MAX,
    NUM_ATTENTION_HEADS_MAX, NUM_LAYERS_MAX, VOCAB_SIZE_MAX,
};

#[derive(Debug, Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    #[error("config.json is not valid: {reason}")]
    Json { reason: String },
    #[error("config.json lacks `{field}`")]
    Missing { field: String },
    #[error("architecture `{found}` is not supported; supported are llama, qwen2 and qwen3")]
    Architecture { found: String },
    #[error("`{field}` is {found}, but {expected}")]
    Value { field: String, found: String, expected: String },
    #[error("rope scaling `{found}` is not supported; supported are {supported}")]
    RopeScaling { found: String, supported: &'static str },
}

impl ConfigError {
    fn value(field: impl Into<String>, found: impl ToString, expected: impl Into<String>) -> Self {
        Self::Value { field: field.into(), found: found.to_string(), expected: expected.into() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
}

impl Architecture {
    /// By the name that GGUF's `general.architecture` and `model_type` of `config.json` share.
    fn from_name(name: &str) -> Result<Self, ConfigError> {
        match name {
            "llama" => Ok(Self::Llama),
            "qwen2" => Ok(Self::Qwen2),
            "qwen3" => Ok(Self::Qwen3),
            _ => Err(ConfigError::Architecture { found: name.to_owned() }),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }
}

/// Which elements of a head are rotated together. GGUF stores Llama's query and key rows permuted
/// so that pairs are adjacent; every other combination of format and architecture pairs `i` with
/// `i + head_dim / 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    Adjacent,
    Halves,
}

#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    None,
    Linear {
        factor: f32,
    },
    /// Llama 3.1's frequency-dependent interpolation.
    Llama3 {
        factor: f32,
        low_freq_factor: f32,
        high_freq_factor: f32,
        original_context_len: usize,
    },
    /// Divisors of each frequency, as `rope_freqs.weight` of a GGUF file gives them.
    Factors(Vec<f32>),
    /// <https://arxiv.org/abs/2309.00071>. `attention_factor` multiplies cosine and sine.
    Yarn {
        factor: f32,
        original_context_len: usize,
        beta_fast: f32,
        beta_slow: f32,
        attention_factor: f32,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct RopeConfig {
    pub theta: f32,
    pub layout: RopeLayout,
    pub scaling: RopeScaling,
}

#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    pub architecture: Architecture,
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_layers: usize,
    pub num_attention_heads: usize,
    pub num_kv_heads: usize,
    pub head_dim: usize,
    pub rms_norm_eps: f32,
    pub rope: RopeConfig,
    /// The longest context that the checkpoint was trained or scaled for, in tokens.
    pub max_position_embeddings: usize,
    pub tie_word_embeddings: bool,
    /// Query, key and value projections have a bias (Qwen2).
    pub qkv_bias: bool,
    /// Queries and keys are normalized per head before rope (Qwen3).
    pub qk_norm: bool,
}

impl ModelConfig {
    /// Columns of the query projection's output: all heads together.
    pub fn query_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Columns of the key and of the value projection's output.
    pub fn kv_size(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// What the decoder relies on, whichever reader the numbers came from.
    pub fn check(&self) -> Result<(), ConfigError> {
        let sizes = [
            ("vocabulary size", self.vocab_size, VOCAB_SIZE_MAX),
            ("hidden size", self.hidden_size, HIDDEN_SIZE_MAX),
            ("intermediate size", self.intermediate_size, INTERMEDIATE_SIZE_MAX),
            ("number of layers", self.num_layers, NUM_LAYERS_MAX),
            ("number of attention heads", self.num_attention_heads, NUM_ATTENTION_HEADS_MAX),
            ("number of kv heads", self.num_kv_heads, NUM_ATTENTION_HEADS_MAX),
            ("head dimension", self.head_dim, HEAD_DIM_MAX),
            ("context length", self.max_position_embeddings, MAX_POSITION_EMBEDDINGS_MAX),
        ];
        for (field, found, limit) in sizes {
            if !(1..=limit).contains(&(found as u64)) {
                let expected = format!("it must be between 1 and {limit}");
                return Err(ConfigError::value(field, found, expected));
            }
        }
        if !self.num_attention_heads.is_multiple_of(self.num_kv_heads) {
            let expected = format!("it must divide the {} heads", self.num_attention_heads);
            return Err(ConfigError::value("number of kv heads", self.num_kv_heads, expected));
        }
        if !self.head_dim.is_multiple_of(2) {
            let expected = "it must be even, since rope rotates pairs";
            return Err(ConfigError::value("head dimension", self.head_dim, expected));
        }
        if !(self.rms_norm_eps > 0.0 && self.rms_norm_eps < 1.0) {
            let expected = "it must be between 0 and 1";
            return Err(ConfigError::value("rms norm epsilon", self.rms_norm_eps, expected));
        }
        self.rope.check(self.head_dim)
    }
}
