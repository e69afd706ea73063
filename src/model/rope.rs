//! Rotary position embedding: the frequencies of a checkpoint, and the angles of a step's rows.
//!
//! Angles are computed in `f64` and rounded once as cosine and sine: at position 100,000 an `f32`
//! angle would be off by several thousandths of a radian.

use std::f64::consts::TAU;

use candle_core::{Device, Result, Tensor};

use crate::model::config::{RopeConfig, RopeLayout, RopeScaling};
use crate::ops::{self, Rotation};

/// Frequencies of the pairs of a head.
#[derive(Debug, Clone)]
pub struct Rope {
    /// Radians per position, `head_dim / 2` of them.
    frequencies: Vec<f64>,
    /// What cosine and sine are multiplied by.
    amplitude: f64,
    layout: ops::RopeLayout,
}

impl Rope {
    pub fn new(config: &RopeConfig, head_dim: usize) -> Self {
        let theta = f64::from(config.theta);
        let base = (0..head_dim / 2).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64));
        let (frequencies, amplitude) = match &config.scaling {
            RopeScaling::None => (base.collect(), 1.0),
            RopeScaling::Linear { factor } => {
                (base.map(|frequency| frequency / f64::from(*factor)).collect(), 1.0)
            }
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context_len,
            } => {
                let scaled = |frequency: f64| {
                    let turns = *original_context_len as f64 * frequency / TAU;
                    let (low, high) = (f64::from(*low_freq_factor), f64::from(*high_freq_factor));
                    let keep = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                    frequency * (keep + (1.0 - keep) / f64::from(*factor))
                };
                (base.map(scaled).collect(), 1.0)
            }
            RopeScaling::Factors(factors) => (
                base.zip(factors)
                    .map(|(frequency, factor)| frequency / f64::from(*factor))
                    .collect(),
                1.0,
            ),
            RopeScaling::Yarn {
                factor,
                original_context_len,
                beta_fast,
                beta_slow,
                attention_factor,
            } => {
                // The pair that turns `beta` times over the original context.
                let pair = |beta: f32| {
                    let turns = *original_context_len as f64 / (f64::from(beta) * TAU);
                    head_dim as f64 * turns.ln() / (2.0 * theta.ln())
                };
                let low = pair(*beta_fast).floor().max(0.0);
                let high = pair(*beta_slow).ceil().min(head_dim as f64 - 1.0);
                let width = if high == low { 0.001 } else { high - low };
                let scaled = |(i, frequency): (usize, f64)| {
                    let keep = 1.0 - ((i as f64 - low) / width).clamp(0.0, 1.0);
                    frequency * (keep + (1.0 - keep) / f64::from(*factor))
                };
                (base.enumerate().map(scaled).collect(), f64::from(*attention_factor))
            }
        };
        let layout = match config.layout {
            RopeLayout::Adjacent => ops::RopeLayout::Adjacent,
            RopeLayout::Halves => ops::RopeLayout::Halves,
        };
        Self { frequencies, amplitude, layout }
    }

    /// Radians per position of each pair.
    pub fn frequencies(&self) -> &[f64] {
        &self.frequencies
    }

    /// Cosine and sine of each pair at positions `[0, num_positions)`, position by position.
    #[cfg(feature = "cuda")]
    pub fn table(&self, num_positions: usize) -> Vec<[f32; 2]> {
        use rayon::prelude::*;

        let positions = (0..num_positions).into_par_iter();
        let pairs = positions.flat_map_iter(|position| {
            self.frequencies.iter().map(move |frequency| self.pair(position as f64, *frequency))
        });
        pairs.collect()
    }

    /// Whether pairs are neighbours.
    #[cfg(feature = "cuda")]
    pub fn is_adjacent(&self) -> bool {
        self.layout == ops::RopeLayout::Adjacent
    }

    fn pair(&self, position: f64, frequency: f64) -> [f32; 2] {
        let (sin, cos) = (position * frequency).sin_cos();
        [(cos * self.amplitude) as f32, (sin * self.amplitude) as f32]
    }

    /// Rotations of rows at `positions`.
    pub fn rotation(&self, positions: &[u32]) -> Result<Rotation> {
        let shape = (positions.len(), self.frequencies.len());
        let mut cos = Vec::with_capacity(shape.0 * shape.1);
        let mut sin = Vec::with_capacity(shape.0 * shape.1);
        for &position in positions {
            for frequency in &self.frequencies {
                let [c, s] = self.pair(f64::from(position), *frequency);
                cos.push(c);
                sin.push(s);
            }
        }
        Ok(Rotation {
            cos: Tensor::from_vec(cos, shape, &Device::Cpu)?,
            sin: Tensor::from_vec(sin, shape, &Device::Cpu)?,
            layout: self.layout,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(scaling: RopeScaling) -> Vec<f64> {
        let config = RopeConfig { theta: 10_000.0, layout: RopeLayout::Halves, scaling };
        Rope::new(&config, 8).frequencies
    }

    #[test]
    fn llama3_keeps_fast_pairs_and_slows_down_slow_ones() {
        let plain = frequencies(RopeScaling::None);
        let scaled = frequencies(RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context_len: 128,
        });
        assert_eq!(scaled[0], plain[0]);
        assert!(scaled[1] < plain[1] && scaled[1] > plain[1] / 8.0);
        assert_eq!(scaled[3], plain[3] / 8.0);
    }

    #[test]
    fn factors_divide_each_frequency() {
        let plain = frequencies(RopeScaling::None);
        let scaled = frequencies(RopeScaling::Factors(vec![1.0, 2.0, 4.0, 8.0]));
        let divided: Vec<f64> =
            plain.iter().zip([1.0, 2.0, 4.0, 8.0]).map(|(f, by)| f / by).collect();
        assert_eq!(scaled, divided);
    }

    #[test]
    fn angles_stay_exact_far_into_a_context() {
        let config =
            RopeConfig { theta: 1e6, layout: RopeLayout::Halves, scaling: RopeScaling::None };
        let rotation = Rope::new(&config, 4).rotation(&[131_071]).unwrap();
        let cos = rotation.cos.to_vec2::<f32>().unwrap();
        assert_eq!(cos[0][0], 131_071f64.cos() as f32);
        assert_eq!(cos[0][1], 131.071f64.cos() as f32);
    }
}
