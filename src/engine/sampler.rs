//! From a row of logits to a token.
//!
//! The steps and their order are vLLM's: repetition penalty, temperature, `min_p`, `top_k`,
//! `top_p` over what these left, and a draw from what `top_p` left. (llama.cpp applies the
//! temperature last, so that its filters see the unscaled probabilities.) Ties go to the lowest id.
//!
//! The vocabulary is never sorted: candidates are collected by comparing logits with a threshold,
//! and the filters select partially among those.

use std::cmp::Ordering;

use crate::engine::random::uniform;
use crate::engine::{SamplingParams, SubmitError};

/// Tokens less likely than `e^-27.7 = 2^-40` times the most likely one are never drawn. Even 2^18
/// of them together would be less than the rounding of one probability in `f32`.
const NEGLIGIBLE_NATS: f32 = 27.7;

impl SamplingParams {
    pub(super) fn validate(&self) -> Result<(), SubmitError> {
        let refused = |field, range| Err(SubmitError::SamplingOutOfRange { field, range });
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return refused("temperature", "a finite number of at least 0");
        }
        if !(0.0..=1.0).contains(&self.top_p) {
            return refused("top_p", "between 0 and 1");
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            return refused("min_p", "between 0 and 1");
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            return refused("repetition_penalty", "a finite number above 0");
        }
        Ok(())
    }
}

/// The largest logit, or `None` if the row has a NaN, a positive infinity, or nothing to draw.
pub(super) fn finite_max(logits: &[f32]) -> Option<f32> {
    // Independent lanes without branches, which the compiler turns into vector instructions.
    const LANES: usize = 16;
    let mut max = [f32::NEG_INFINITY; LANES];
    let mut all_below_infinity = [true; LANES];
    let (chunks, rest) = logits.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            max[lane] = if chunk[lane] > max[lane] { chunk[lane] } else { max[lane] };
            all_below_infinity[lane] &= chunk[lane] < f32::INFINITY;
        }
    }
    for (lane, &logit) in rest.iter().enumerate() {
        max[lane] = if logit > max[lane] { logit } else { max[lane] };
        all_below_infinity[lane] &= logit < f32::INFINITY;
    }
    let max = max.into_iter().fold(f32::NEG_INFINITY, f32::max);
    (all_below_infinity == [true; LANES] && max > f32::NEG_INFINITY).then_some(max)
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
    /// The probability, up to a common factor.
    weight: f64,
}

/// Most likely first, the lowest id first among equals.
fn by_likelihood(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).expect("candidates are finite").then(a.id.cmp(&b.id))
}

/// Draws tokens. Holds buffers only: the result depends on nothing but the arguments.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    penalized: Vec<f32>,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// The token to follow `history`, where it would be generated token `index` of its request.
    /// `None` if the row is not made of numbers.
    pub(super) fn sample(
        &mut self,
        logits: &[f32],
        params: &SamplingParams,
        history: &[u32],
        index: u64,
    ) -> Option<u32> {
        let max = finite_max(logits)?;
        if params.repetition_penalty == 1.0 {
            return Some(draw(&mut self.candidates, logits, max, params, index));
        }
        self.penalized.clear();
        self.penalized.extend_from_slice(logits);
        for &id in history {
            // From the row as it was, so that a repeated token is penalized once.
            let logit = logits[id as usize];
            let penalty = params.repetition_penalty;
            self.penalized[id as usize] =
                if logit > 0.0 { logit / penalty } else { logit * penalty };
        }
        // A penalty next to 0 can carry a logit beyond the largest number.
        let max = finite_max(&self.penalized)?;
        Some(draw(&mut self.candidates, &self.penalized, max, params, index))
    }
}

fn draw(
    candidates: &mut Vec<Candidate>,
    logits: &[f32],
    max: f32,
    params: &SamplingParams,
    index: u64,
) -> u32 {
    if params.temperature == 0.0 {
        let first = logits.iter().position(|&logit| logit == max);
        return first.expect("the maximum is one of them") as u32;
    }
    collect(candidates, logits, max, params);
    if (1..candidates.len()).contains(&params.top_k) {
        candidates.select_nth_unstable_by(params.top_k - 1, by_likelihood);
        candidates.truncate(params.top_k);
    }
    if params.top_p < 1.0 {
        keep_nucleus(candidates, f64::from(params.top_p));
    }
    let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
    let mut remaining = uniform(params.seed, index) * total;
    for candidate in candidates.iter() {
        if remaining < candidate.weight {
            return candidate.id;
        }
        remaining -= candidate.weight;
    }
    // Reached only by the rounding of the sum.
    candidates.last().expect("the most likely token is a candidate").id
}

/// The tokens that `min_p` keeps, in order of id, with their weights at this temperature.
fn collect(candidates: &mut Vec<Candidate>, logits: &[f32], max: f32, params: &SamplingParams) {
    // `ln(0)` is minus infinity, which keeps all that is not negligible. The comparison is a coarse
    // one, a little below the threshold; the weights decide.
    let nats = (-params.min_p.ln() + 0.01).min(NEGLIGIBLE_NATS);
    let threshold = max - nats * params.temperature;
    candidates.clear();
    for (id, &logit) in logits.iter().enumerate() {
        if logit >= threshold && logit > f32::NEG_INFINITY {
            let weight = f64::from(((logit - max) / params.temperature).exp());
            if weight >= f64::from(params.min_p) {
                candidates.push(Candidate { id: id as u32, logit, weight });
            }
        }
    }
}

/// Keeps the fewest most likely candidates whose weights sum to at least `top_p` of the total.
///
/// A search by halves, each of which is partitioned around its middle: O(n) on average, and the
/// kept ones are never sorted.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f64) {
    let mass = |part: &[Candidate]| part.iter().map(|candidate| candidate.weight).sum::<f64>();
    let target = top_p * mass(candidates);
    // The nucleus is the `[0, n)` of the sorted candidates for an `n` in `(start, end]`, and
    // `[0, start)` of these already are the most likely ones, in some order.
    let (mut start, mut end) = (0, candidates.len());
    let mut mass_before_start = 0.0;
    while end - start > 1 {
        let middle = start + (end - start) / 2;
        candidates[start..end].select_nth_unstable_by(middle - start, by_likelihood);
        let mass_to_middle = mass_before_start + mass(&candidates[start..middle]);
        if mass_to_middle >= target {
            end = middle;
        } else {
            start = middle;
            mass_before_start = mass_to_middle;
        }
    }
    candidates.truncate(end);
}
