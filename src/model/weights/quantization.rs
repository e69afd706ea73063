//! Which element type each tensor gets when a model is quantized: the mixtures of llama.cpp's
//! `llama-quantize`, so that a file made here and one made there compute the same amount.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::names::{Role, Slot};
use crate::format::gguf::GgmlType;
use crate::model::config::ModelConfig;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quantization {
    F16,
    Bf16,
    Q4_0,
    /// "Medium": Q6_K where an error costs most, else Q4_K.
    Q4KM,
    Q6K,
    Q8_0,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("unknown quantization `{found}`; known are {}", Quantization::names())]
pub struct UnknownQuantization {
    found: String,
}

impl Quantization {
    pub const ALL: [Self; 6] =
        [Self::F16, Self::Bf16, Self::Q4_0, Self::Q4KM, Self::Q6K, Self::Q8_0];

    pub fn name(self) -> &'static str {
        match self {
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q4_0 => "q4_0",
            Self::Q4KM => "q4_k_m",
            Self::Q6K => "q6_k",
            Self::Q8_0 => "q8_0",
        }
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// `enum llama_ftype`, for `general.file_type`.
    pub fn file_type(self) -> u32 {
        match self {
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4KM => 15,
            Self::Q6K => 18,
            Self::Bf16 => 32,
        }
    }

    /// The type of one tensor. Vectors stay F32. A row that is not whole blocks of 256 takes the
    /// next larger type of blocks of 32, and if it is not whole blocks of these either, F16.
    pub fn dtype(self, slot: &Slot, config: &ModelConfig) -> GgmlType {
        let &[_, row_len] = slot.shape.as_slice() else { return GgmlType::F32 };
        let wanted = match self {
            Self::F16 => GgmlType::F16,
            Self::Bf16 => GgmlType::Bf16,
            Self::Q8_0 => GgmlType::Q8_0,
            Self::Q6K => GgmlType::Q6K,
            Self::Q4_0 if is_head(slot, config) => GgmlType::Q6K,
            Self::Q4_0 => GgmlType::Q4_0,
            Self::Q4KM => q4_k_m(slot, config),
        };
        fitting(wanted, row_len)
    }
}

/// The matrix that makes logits; the embedding serves as it when the two are tied.
fn is_head(slot: &Slot, config: &ModelConfig) -> bool {
    match slot.role {
        Role::Output => true,
        Role::Embedding => config.tie_word_embeddings,
        _ => false,
    }
}

fn q4_k_m(slot: &Slot, config: &ModelConfig) -> GgmlType {
    let more_bits = uses_more_bits(slot.layer_id, config.num_layers);
    match slot.role {
        _ if is_head(slot, config) => GgmlType::Q6K,
        Role::AttentionValue | Role::FfnDown if more_bits => GgmlType::Q6K,
        // Eight query heads share a value head there, so that it is small and weighs much.
        Role::AttentionValue if config.num_layers == LAYERS_OF_70B => GgmlType::Q5K,
        _ => GgmlType::Q4K,
    }
}

const LAYERS_OF_70B: usize = 80;

/// The first and last eighth of the layers, and every third between.
fn uses_more_bits(layer_id: usize, num_layers: usize) -> bool {
    let eighth = num_layers / 8;
    layer_id < eighth || layer_id >= 7 * num_layers / 8 || (layer_id - eighth) % 3 == 2
}

fn fitting(wanted: GgmlType, row_len: usize) -> GgmlType {
    if row_len.is_multiple_of(wanted.block_len()) {
        return wanted;
    }
    let smaller_blocks = match wanted {
        GgmlType::Q4K => GgmlType::Q5_0,
        GgmlType::Q5K => GgmlType::Q5_1,
        GgmlType::Q6K => GgmlType::Q8_0,
        other => other,
    };
    match row_len.is_multiple_of(smaller_blocks.block_len()) {
        true => smaller_blocks,
        false => GgmlType::F16,
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Quantization {
    type Err = UnknownQuantization;

    /// Case is ignored, and `q4_k` means `q4_k_m`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.to_ascii_lowercase();
        let known = Self::ALL.into_iter().find(|quantization| quantization.name() == name);
        match (known, name.as_str()) {
            (Some(quantization), _) => Ok(quantization),
            (None, "q4_k") => Ok(Self::Q4KM),
            (None, _) => Err(UnknownQuantization { found: text.to_owned() }),
        }
    }
}
