//! What a checkpoint says about its own shape, read from GGUF metadata or `config.json`.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Qwen2,
    Qwen3,
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
