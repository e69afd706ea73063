//! How far a GPU's logits may be from those of the CPU that computes with the same weights as
//! floats: the length of the difference as a share of the logits'.
//!
//! Both keep keys and values in `f16`. What the GPU rounds beside, by the operation:
//!
//! - what a product of many rows reads is rounded to the 16 bits in which it is computed, and so
//!   are weights that are unpacked for it (sums are `f32`);
//! - queries, keys, values and the weights of attention are of `f16`.
//!
//! A product of few rows with quantized weights takes them as they are, and activations rounded to
//! a 65,024th of the largest of 32: less than any of these by far, so not counted.
//!
//! Roundings are independent of each other, so their squares add up. A layer has three products on
//! the way through attention (queries and keys count as one, since their errors make small ones of
//! attention's weights; values; output) and three on the way through its mlp (gate, up, down). The
//! residual stream carries the error of each sublayer to the end. [`MARGIN`] is for the errors that
//! those make in the layers behind them, and for looking at the worst of hundreds of rows.

use candle_core::quantized::GgmlDType;

use crate::model::ModelConfig;

/// Of a rounding to `p` bits, the root mean square of its relative error is `2^-p / sqrt(3)` at the
/// low end of a binade, and this share of `2^-p` over numbers spread evenly on a logarithmic scale.
const ROUNDING: f64 = 0.425;
const F16_BITS: i32 = 11;
const BF16_BITS: i32 = 8;
const MARGIN: f64 = 2.0;

/// Of a model whose matrices have these types in its file.
pub(super) fn logits_error_max(
    config: &ModelConfig,
    types: impl Iterator<Item = GgmlDType>,
) -> f64 {
    let types: Vec<GgmlDType> = types.collect();
    let is_all = |dtype: GgmlDType| types.iter().all(|found| *found == dtype);
    let bits = if is_all(GgmlDType::F16) { F16_BITS } else { BF16_BITS };
    let is_unpacked = !is_all(GgmlDType::F16) && !is_all(GgmlDType::BF16);
    let of_product = rounding(bits).powi(2) * if is_unpacked { 2.0 } else { 1.0 };
    let of_attention = 4.0 * rounding(F16_BITS).powi(2);
    let layers = config.num_layers as f64;
    let squares = layers * (6.0 * of_product + of_attention) + of_product;
    MARGIN * squares.sqrt()
}

fn rounding(bits: i32) -> f64 {
    ROUNDING * 2f64.powi(-bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::gpu_check::correctness;
    use crate::model::config::Architecture;

    #[test]
    fn a_tolerance_grows_with_layers_and_with_what_is_rounded() {
        let config = correctness::config(Architecture::Llama);
        let of = |num_layers, types: &[GgmlDType]| {
            let config = ModelConfig { num_layers, ..config.clone() };
            logits_error_max(&config, types.iter().copied())
        };
        let f16 = of(2, &[GgmlDType::F16]);
        let bf16 = of(2, &[GgmlDType::BF16, GgmlDType::BF16]);
        let mixed = of(2, &[GgmlDType::Q4K, GgmlDType::Q6K]);
        // A product of bf16 is off by 0.17 %; two layers are off by sqrt(13) times that.
        assert!((bf16 / (2.0 * 0.001_66 * 13f64.sqrt()) - 1.0).abs() < 0.02, "{bf16}");
        assert!(f16 < bf16 / 6.0 && (mixed / bf16 - 2f64.sqrt()).abs() < 0.02);
        // Six products a layer and the head's.
        let growth = (49f64 / 13.0).sqrt();
        assert!((of(8, &[GgmlDType::BF16]) / bf16 - growth).abs() < 0.01);
    }
}
