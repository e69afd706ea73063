//! Passes over all logits of a row, in loops that become vector instructions.

use crate::engine::SamplingParams;
use crate::model::LOGITS_BLOCK;

/// Tokens less likely than `e^-27.7 = 2^-40` times the most likely one are never drawn. Even 2^18
/// of them together would be less than the rounding of one probability in `f32`.
pub(super) const NEGLIGIBLE_NATS: f32 = 27.7;

/// Logits of a block. Large enough that the list of blocks is short, small enough that a few likely
/// tokens do not have all logits read again.
const BLOCK_LEN: usize = LOGITS_BLOCK;

/// Independent accumulators of a loop.
const LANES: usize = 8;

/// The largest logit, or `None` if the row has a NaN, a positive infinity, or nothing to draw.
pub(in crate::engine) fn finite_max(logits: &[f32]) -> Option<f32> {
    let mut max = f32::NEG_INFINITY;
    for block in logits.chunks(BLOCK_LEN) {
        max = max.max(block_max(block)?);
    }
    (max > f32::NEG_INFINITY).then_some(max)
}

/// `None` if a logit is a NaN or a positive infinity.
pub(super) fn block_max(block: &[f32]) -> Option<f32> {
    let mut max = [f32::NEG_INFINITY; LANES];
    // All bits, as vector comparisons have it.
    let mut all_below_infinity = [u32::MAX; LANES];
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            max[lane] = if chunk[lane] > max[lane] { chunk[lane] } else { max[lane] };
            all_below_infinity[lane] &= u32::from(chunk[lane] < f32::INFINITY).wrapping_neg();
        }
    }
    for (lane, &logit) in rest.iter().enumerate() {
        max[lane] = if logit > max[lane] { logit } else { max[lane] };
        all_below_infinity[lane] &= u32::from(logit < f32::INFINITY).wrapping_neg();
    }
    let max = max.into_iter().fold(f32::NEG_INFINITY, f32::max);
    (all_below_infinity == [u32::MAX; LANES]).then_some(max)
}

/// Tokens' probabilities up to a common factor, by which the most likely one has 1.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    pub(super) max: f32,
    pub(super) inverse_temperature: f32,
    /// Tokens of less weight have none.
    pub(super) min: f32,
}

impl Weights {
    pub(super) fn new(max: f32, params: &SamplingParams) -> Self {
        // A temperature next to 0 has no inverse; the largest number does what it would.
        let inverse_temperature = (1.0 / params.temperature).min(f32::MAX);
        Self { max, inverse_temperature, min: params.min_p }
    }

    /// The least logit of tokens at most so much less likely than the most likely one.
    pub(super) fn least_within(&self, nats: f32) -> f32 {
        self.max - nats / self.inverse_temperature
    }

    /// The logarithm of the weight, before what is too small is taken off.
    fn nats(&self, logit: f32) -> f32 {
        (logit - self.max) * self.inverse_temperature
    }

    pub(super) fn of(&self, logit: f32) -> f32 {
        let nats = self.nats(logit);
        let is_negligible = nats < -NEGLIGIBLE_NATS;
        let weight = exp(if is_negligible { -NEGLIGIBLE_NATS } else { nats });
        if is_negligible | (weight < self.min) { 0.0 } else { weight }
    }

    pub(super) fn sum(&self, block: &[f32]) -> f32 {
        let mut sums = [0.0; LANES];
        let (chunks, rest) = block.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                sums[lane] += self.of(chunk[lane]);
            }
        }
        for (sum, &logit) in sums.iter_mut().zip(rest) {
            *sum += self.of(logit);
        }
        sums.into_iter().sum()
    }
}

/// `e^x` for `x` in `[-28, 0]`, with an error of a few units in the last place, exactly 1 for 0,
/// in operations that vectorize.
///
/// With `x = n ln 2 + r` and `|r| <= ln 2 / 2` it is `2^n e^r`, and the series of `e^r` up to
/// `r^7 / 7!` is off by less than 2^-27.
fn exp(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first of so few bits that its product with n is exact.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let series = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5_040.0));
    let series = 1.0 / 6.0 + r * (1.0 / 24.0 + r * series);
    let series = 1.0 + r * (1.0 + r * (0.5 + r * series));
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    series * f32::from_bits(exponent.wrapping_add(127) << 23)
}

/// The blocks of a row, each with its first id.
pub(super) fn blocks(logits: &[f32]) -> impl Iterator<Item = (u32, &[f32])> {
    (0..).step_by(BLOCK_LEN).zip(logits.chunks(BLOCK_LEN))
}
