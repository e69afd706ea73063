//! From a row of logits to a token.
//!
//! The steps and their order are vLLM's: repetition penalty, temperature, `min_p`, `top_k`,
//! `top_p` over what these left, and a draw from what `top_p` left. (llama.cpp applies the
//! temperature last, so that its filters see the unscaled probabilities.) Ties go to the lowest id.
//!
//! The vocabulary is never sorted. One pass notes the largest logit of each block of ids; what
//! follows reads the blocks that can hold what it looks for, which are few unless the distribution
//! is flat. Loops over whole blocks have no branches, so that they become vector instructions.

mod candidates;
mod distant;
#[cfg(test)]
mod distant_tests;
#[cfg(test)]
mod tests;
mod weights;

use crate::engine::{SamplingParams, SubmitError, TokenLogprobs};

use candidates::Draw;
use weights::{Weights, blocks};

pub(super) use distant::{Fetched, RowUse};
pub(super) use weights::finite_max;

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

/// Draws tokens. Holds buffers only: the result depends on nothing but the arguments.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    /// The row after penalties and without what is not allowed, or what is here of a distant one.
    adjusted: Vec<f32>,
    draw: Draw,
}

impl Sampler {
    /// The token to follow `history`, where it would be generated token `index` of its request;
    /// one of those whose bits are set in `allowed`, if there is such a thing.
    /// `None` if the row is not made of numbers.
    pub(super) fn sample(
        &mut self,
        logits: &[f32],
        allowed: Option<&[u32]>,
        params: &SamplingParams,
        history: &[u32],
        index: u64,
    ) -> Option<u32> {
        let mut max = self.draw.scan(logits)?;
        if params.repetition_penalty == 1.0 && allowed.is_none() {
            return Some(self.draw.draw(logits, max, params, index));
        }
        self.adjusted.clear();
        self.adjusted.extend_from_slice(logits);
        if params.repetition_penalty != 1.0 {
            for &id in history {
                // From the row as it was, so that a repeated token is penalized once.
                let logit = logits[id as usize];
                let penalty = params.repetition_penalty;
                self.adjusted[id as usize] =
                    if logit > 0.0 { logit / penalty } else { logit * penalty };
            }
            // A penalty next to 0 can carry a logit beyond the largest number.
            max = self.draw.scan(&self.adjusted)?;
        }
        if let Some(allowed) = allowed {
            keep_allowed(&mut self.adjusted, allowed);
            match self.draw.scan(&self.adjusted) {
                Some(allowed_max) => max = allowed_max,
                // The model rules out all that is allowed; one of them it has to be.
                None => return first_allowed(allowed),
            }
        }
        Some(self.draw.draw(&self.adjusted, max, params, index))
    }

    /// As [`Self::sample`] without penalties and constraint, from what is here of a row of numbers
    /// that is on a device. `None` if the draw reads more of it.
    pub(super) fn sample_fetched(
        &mut self,
        (fetched, row): (&Fetched, usize),
        vocab_size: usize,
        params: &SamplingParams,
        index: u64,
    ) -> Option<u32> {
        // What is not fetched is not read, whatever it is.
        self.adjusted.resize(vocab_size, f32::NAN);
        let max = fetched.load(row, &mut self.draw, &mut self.adjusted)?;
        self.draw.draw_of_known(&self.adjusted, max, params, index)
    }

    /// How likely `token` was in a row of finite logits, and the `num_top` most likely ones.
    pub(super) fn logprobs(&mut self, logits: &[f32], token: u32, num_top: usize) -> TokenLogprobs {
        let max = self.draw.scan(logits).expect("a token was drawn from them");
        let weights = Weights { max, inverse_temperature: 1.0, min: 0.0 };
        let log_total = self.draw.weigh(logits, weights).ln();
        let logprob = |logit: f32| (f64::from(logit - max) - log_total) as f32;
        let mut top: Vec<(u32, f32)> = Vec::with_capacity(num_top + 1);
        for (block, (first, logits)) in self.draw.blocks.iter().zip(blocks(logits)) {
            let is_beaten = |top: &[(u32, f32)], logit: f32| match top
                .last()
                .filter(|_| top.len() == num_top)
            {
                Some(&(_, least)) => logit <= least,
                None => num_top == 0,
            };
            if is_beaten(&top, block.max) {
                continue;
            }
            for (id, &logit) in (first..).zip(logits) {
                if is_beaten(&top, logit) {
                    continue;
                }
                // Behind its equals, which have lower ids.
                let place = top.partition_point(|&(_, other)| other >= logit);
                top.insert(place, (id, logit));
                top.truncate(num_top);
            }
        }
        let top = top.into_iter().map(|(id, logit)| (id, logprob(logit))).collect();
        TokenLogprobs { token, logprob: logprob(logits[token as usize]), top }
    }
}

/// Tokens beyond the last bit are not allowed: tables of embeddings are longer than vocabularies.
fn keep_allowed(logits: &mut [f32], allowed: &[u32]) {
    let words = allowed.iter().copied().chain(std::iter::repeat(0));
    for (chunk, word) in logits.chunks_mut(u32::BITS as usize).zip(words) {
        match word {
            u32::MAX => {}
            0 => chunk.fill(f32::NEG_INFINITY),
            word => {
                for (bit, logit) in chunk.iter_mut().enumerate() {
                    if word >> bit & 1 == 0 {
                        *logit = f32::NEG_INFINITY;
                    }
                }
            }
        }
    }
}

fn first_allowed(allowed: &[u32]) -> Option<u32> {
    let index = allowed.iter().position(|&word| word != 0)?;
    Some(index as u32 * u32::BITS + allowed[index].trailing_zeros())
}
