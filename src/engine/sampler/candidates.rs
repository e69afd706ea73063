//! A draw from the tokens that the filters keep.

use crate::engine::SamplingParams;
use crate::engine::random::uniform;
use crate::engine::sampler::weights::{NEGLIGIBLE_NATS, Weights, block_max, blocks};

/// Draws from rows as they are, with buffers for what it finds in them.
#[derive(Debug, Default)]
pub(super) struct Draw {
    pub(super) blocks: Vec<Block>,
    pub(super) candidates: Vec<Candidate>,
    maxima: Vec<f32>,
}

impl Draw {
    /// As [`finite_max`], and notes the blocks' maxima.
    pub(super) fn scan(&mut self, logits: &[f32]) -> Option<f32> {
        self.blocks.clear();
        let mut max = f32::NEG_INFINITY;
        for (_, block) in blocks(logits) {
            let block = Block { max: block_max(block)?, weight: 0.0 };
            max = max.max(block.max);
            self.blocks.push(block);
        }
        (max > f32::NEG_INFINITY).then_some(max)
    }

    /// From a row that was scanned last.
    pub(super) fn draw(
        &mut self,
        logits: &[f32],
        max: f32,
        params: &SamplingParams,
        index: u64,
    ) -> u32 {
        if params.temperature == 0.0 {
            return self.most_likely(logits, max);
        }
        let weights = Weights::new(max, params);
        let share = uniform(params.seed, index);
        if (1..logits.len()).contains(&params.top_k) {
            self.keep_top(logits, weights, params.top_k);
            if params.top_p < 1.0 {
                let target = f64::from(params.top_p) * total_weight(&self.candidates);
                keep_nucleus(&mut self.candidates, target);
            }
        } else {
            let total = self.weigh(logits, weights);
            if params.top_p == 1.0 {
                return self.draw_weighed(logits, weights, share * total);
            }
            let target = f64::from(params.top_p) * total;
            self.collect_weighing(logits, weights, target);
            keep_nucleus(&mut self.candidates, target);
        }
        self.draw_candidate(share)
    }

    fn most_likely(&self, logits: &[f32], max: f32) -> u32 {
        let holds_max = |(block, _): &(&Block, _)| block.max == max;
        let (_, (first, logits)) = self
            .blocks
            .iter()
            .zip(blocks(logits))
            .find(holds_max)
            .expect("a block has the maximum");
        let offset = logits.iter().position(|&logit| logit == max);
        first + offset.expect("the block has the maximum") as u32
    }

    /// Notes the blocks' weights, and returns their sum.
    pub(super) fn weigh(&mut self, logits: &[f32], weights: Weights) -> f64 {
        let mut total = 0.0;
        for (block, (_, logits)) in self.blocks.iter_mut().zip(blocks(logits)) {
            let is_empty = weights.of(block.max) == 0.0;
            block.weight = if is_empty { 0.0 } else { weights.sum(logits) };
            total += f64::from(block.weight);
        }
        total
    }

    /// The token at which the sum of weights, in order of id, exceeds `remaining`.
    fn draw_weighed(&self, logits: &[f32], weights: Weights, mut remaining: f64) -> u32 {
        let mut last = 0;
        for (block, (first, logits)) in self.blocks.iter().zip(blocks(logits)) {
            if block.weight == 0.0 {
                continue;
            }
            let block_weight = f64::from(block.weight);
            if remaining >= block_weight {
                remaining -= block_weight;
                continue;
            }
            for (id, &logit) in (first..).zip(logits) {
                let weight = weights.of(logit);
                if weight > 0.0 {
                    last = id;
                    if remaining < f64::from(weight) {
                        return id;
                    }
                    remaining -= f64::from(weight);
                }
            }
            return last;
        }
        // Reached only by the rounding of the sum, like the end of a block.
        self.last_with_weight(logits, weights)
    }

    /// The last token that may be drawn.
    fn last_with_weight(&self, logits: &[f32], weights: Weights) -> u32 {
        let last = logits.iter().rposition(|&logit| weights.of(logit) > 0.0);
        last.expect("the most likely token has weight") as u32
    }

    /// Makes candidates of the `num` most likely tokens, or of fewer if no more have weight.
    fn keep_top(&mut self, logits: &[f32], weights: Weights, num: usize) {
        let mut least = f32::NEG_INFINITY;
        if num <= self.blocks.len() {
            // As many blocks have a logit that is no less than the last of these maxima.
            self.maxima.clear();
            self.maxima.extend(self.blocks.iter().map(|block| block.max));
            let (_, kth, _) = self.maxima.select_nth_unstable_by(num - 1, |a, b| b.total_cmp(a));
            least = *kth;
        }
        self.collect(logits, weights, least);
        if num < self.candidates.len() {
            self.candidates.select_nth_unstable_by_key(num - 1, |it| it.order);
            self.candidates.truncate(num);
        }
    }

    /// Makes candidates of the most likely tokens, as many as weigh `target`, and more.
    fn collect_weighing(&mut self, logits: &[f32], weights: Weights, target: f64) {
        let mut nats = 4.0f32;
        loop {
            let is_all = nats >= NEGLIGIBLE_NATS;
            let least = match is_all {
                true => f32::NEG_INFINITY,
                false => weights.max - nats / weights.inverse_temperature,
            };
            self.collect(logits, weights, least);
            if is_all || total_weight(&self.candidates) >= target {
                return;
            }
            nats *= 1.5;
        }
    }

    /// Makes candidates of the tokens of weight whose logit is `least` or more.
    fn collect(&mut self, logits: &[f32], weights: Weights, least: f32) {
        self.candidates.clear();
        for (block, (first, logits)) in self.blocks.iter().zip(blocks(logits)) {
            if block.max < least || weights.of(block.max) == 0.0 {
                continue;
            }
            for (id, &logit) in (first..).zip(logits) {
                if logit >= least {
                    let weight = weights.of(logit);
                    if weight > 0.0 {
                        self.candidates.push(Candidate::new(id, logit, weight));
                    }
                }
            }
        }
    }

    fn draw_candidate(&self, share: f64) -> u32 {
        let mut remaining = share * total_weight(&self.candidates);
        for candidate in &self.candidates {
            let weight = f64::from(candidate.weight);
            if remaining < weight {
                return candidate.id();
            }
            remaining -= weight;
        }
        // Reached only by the rounding of the sum.
        self.candidates.last().expect("the most likely token is a candidate").id()
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) max: f32,
    /// Of all its tokens together.
    weight: f32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Ascends from the most likely token to the least, and among equals with the id. One number,
    /// since selecting is comparing.
    order: u64,
    weight: f32,
}

impl Candidate {
    fn new(id: u32, logit: f32, weight: f32) -> Self {
        // Zero has two representations that are equal; adding it leaves one.
        let bits = (logit + 0.0).to_bits();
        // As integers, the bits of negative numbers descend and those of positive ones ascend.
        let descending = if logit < 0.0 { bits } else { !bits & !(1 << 31) };
        Self { order: u64::from(descending) << 32 | u64::from(id), weight }
    }

    pub(super) fn id(&self) -> u32 {
        self.order as u32
    }
}

fn total_weight(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

/// Keeps the fewest most likely candidates that together weigh `target`.
///
/// A search by halves, each of which is partitioned around its middle: O(n) on average, and the
/// kept ones are never sorted.
fn keep_nucleus(candidates: &mut Vec<Candidate>, target: f64) {
    // The nucleus is the `[0, n)` of the sorted candidates for an `n` in `(start, end]`, and
    // `[0, start)` of these already are the most likely ones, in some order.
    let (mut start, mut end) = (0, candidates.len());
    let mut weight_before_start = 0.0;
    while end - start > 1 {
        let middle = start + (end - start) / 2;
        candidates[start..end].select_nth_unstable_by_key(middle - start, |it| it.order);
        let weight_to_middle = weight_before_start + total_weight(&candidates[start..middle]);
        if weight_to_middle >= target {
            end = middle;
        } else {
            start = middle;
            weight_before_start = weight_to_middle;
        }
    }
    candidates.truncate(end);
}
