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
            let block = Block { max: block_max(block)?, weight: 0.0, is_here: true };
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
        if params.needs_total(logits.len()) {
            self.weigh(logits, Weights::new(max, params));
        }
        self.draw_of_known(logits, max, params, index).expect("all blocks are here")
    }

    /// The same where the blocks' maxima are known, and their weights if the draw needs a total.
    /// `None` if it would read a block that is not here.
    pub(super) fn draw_of_known(
        &mut self,
        logits: &[f32],
        max: f32,
        params: &SamplingParams,
        index: u64,
    ) -> Option<u32> {
        if params.temperature == 0.0 {
            return self.most_likely(logits, max);
        }
        let weights = Weights::new(max, params);
        let share = uniform(params.seed, index);
        if params.keeps_top_of(logits.len()) {
            self.keep_top(logits, weights, params.top_k)?;
            if params.top_p < 1.0 {
                let target = f64::from(params.top_p) * total_weight(&self.candidates);
                keep_nucleus(&mut self.candidates, target);
            }
        } else {
            let total = self.total();
            if params.top_p == 1.0 {
                return self.draw_weighed(logits, weights, share * total);
            }
            let target = f64::from(params.top_p) * total;
            self.collect_weighing(logits, weights, target)?;
            keep_nucleus(&mut self.candidates, target);
        }
        Some(self.draw_candidate(share))
    }

    /// The blocks that a draw is expected to read, by what is known of them.
    pub(super) fn needed(
        &mut self,
        num_logits: usize,
        max: f32,
        params: &SamplingParams,
        index: u64,
    ) -> Vec<usize> {
        let weights = Weights::new(max, params);
        let least = if params.temperature == 0.0 {
            let first = self.blocks.iter().position(|block| block.max == max);
            return first.into_iter().collect();
        } else if params.keeps_top_of(num_logits) {
            self.least_of_top(params.top_k)
        } else if params.top_p == 1.0 {
            let remaining = uniform(params.seed, index) * self.total();
            return self.block_at(remaining).map(|(block, _)| block).into_iter().collect();
        } else {
            let target = f64::from(params.top_p) * self.total();
            // Blocks weigh no less than those of their tokens that are candidates.
            let is_too_little = |nats: &f32| {
                let least = weights.least_within(*nats);
                let known = self.blocks.iter().filter(|block| block.max >= least);
                known.map(|block| f64::from(block.weight)).sum::<f64>() < target
            };
            let nats = nats_to_try().find(|nats| !is_too_little(nats));
            nats.map_or(f32::NEG_INFINITY, |nats| weights.least_within(nats))
        };
        let is_read = |block: &Block| block.is_read(weights, least);
        let ids = self.blocks.iter().enumerate();
        ids.filter(|(_, block)| is_read(block)).map(|(id, _)| id).collect()
    }

    fn most_likely(&self, logits: &[f32], max: f32) -> Option<u32> {
        let holds_max = |(block, _): &(&Block, _)| block.max == max;
        let (block, (first, logits)) = self
            .blocks
            .iter()
            .zip(blocks(logits))
            .find(holds_max)
            .expect("a block has the maximum");
        if !block.is_here {
            return None;
        }
        let offset = logits.iter().position(|&logit| logit == max);
        Some(first + offset.expect("the block has the maximum") as u32)
    }

    /// Notes the blocks' weights, and returns their sum.
    pub(super) fn weigh(&mut self, logits: &[f32], weights: Weights) -> f64 {
        for (block, (_, logits)) in self.blocks.iter_mut().zip(blocks(logits)) {
            let is_empty = weights.of(block.max) == 0.0;
            block.weight = if is_empty { 0.0 } else { weights.sum(logits) };
        }
        self.total()
    }

    /// Of all blocks' weights.
    fn total(&self) -> f64 {
        let add = |total: f64, block: &Block| total + f64::from(block.weight);
        self.blocks.iter().fold(0.0, add)
    }

    /// The block in which the sum of weights exceeds `remaining`, and what remains at its start; by
    /// the rounding of the sum it can be the last one that weighs anything.
    fn block_at(&self, mut remaining: f64) -> Option<(usize, f64)> {
        let mut last = None;
        for (id, block) in self.blocks.iter().enumerate().filter(|(_, block)| block.weight > 0.0) {
            let weight = f64::from(block.weight);
            if remaining < weight {
                return Some((id, remaining));
            }
            remaining -= weight;
            last = Some((id, f64::INFINITY));
        }
        last
    }

    /// The token at which the sum of weights, in order of id, exceeds `remaining`.
    fn draw_weighed(&self, logits: &[f32], weights: Weights, remaining: f64) -> Option<u32> {
        let (id, mut remaining) = self.block_at(remaining).expect("the most likely token weighs");
        if !self.blocks[id].is_here {
            return None;
        }
        let (first, logits) = blocks(logits).nth(id).expect("the row has this block");
        let mut last = None;
        for (id, &logit) in (first..).zip(logits) {
            let weight = f64::from(weights.of(logit));
            if weight > 0.0 {
                last = Some(id);
                if remaining < weight {
                    break;
                }
                remaining -= weight;
            }
        }
        // Beyond the last one only by the rounding of the sum.
        last
    }

    /// Makes candidates of the `num` most likely tokens, or of fewer if no more have weight.
    fn keep_top(&mut self, logits: &[f32], weights: Weights, num: usize) -> Option<()> {
        let least = self.least_of_top(num);
        self.collect(logits, weights, least)?;
        if num < self.candidates.len() {
            self.candidates.select_nth_unstable_by_key(num - 1, |it| it.order);
            self.candidates.truncate(num);
        }
        Some(())
    }

    /// What none of the `num` most likely tokens is below.
    fn least_of_top(&mut self, num: usize) -> f32 {
        if num > self.blocks.len() {
            return f32::NEG_INFINITY;
        }
        // As many blocks have a logit that is no less than the last of these maxima.
        self.maxima.clear();
        self.maxima.extend(self.blocks.iter().map(|block| block.max));
        let (_, kth, _) = self.maxima.select_nth_unstable_by(num - 1, |a, b| b.total_cmp(a));
        *kth
    }

    /// Makes candidates of the most likely tokens, as many as weigh `target`, and more.
    fn collect_weighing(&mut self, logits: &[f32], weights: Weights, target: f64) -> Option<()> {
        for nats in nats_to_try() {
            self.collect(logits, weights, weights.least_within(nats))?;
            if total_weight(&self.candidates) >= target {
                return Some(());
            }
        }
        self.collect(logits, weights, f32::NEG_INFINITY)
    }

    /// Makes candidates of the tokens of weight whose logit is `least` or more.
    fn collect(&mut self, logits: &[f32], weights: Weights, least: f32) -> Option<()> {
        self.candidates.clear();
        for (block, (first, logits)) in self.blocks.iter().zip(blocks(logits)) {
            if !block.is_read(weights, least) {
                continue;
            }
            if !block.is_here {
                return None;
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
        Some(())
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
    pub(super) weight: f32,
    /// Not for most blocks of a row that is on a device.
    pub(super) is_here: bool,
}

impl Block {
    /// Whether it may have a token of weight whose logit is `least` or more.
    fn is_read(&self, weights: Weights, least: f32) -> bool {
        self.max >= least && weights.of(self.max) > 0.0
    }
}

/// How far below the most likely token a nucleus is looked for, until all tokens are looked at.
fn nats_to_try() -> impl Iterator<Item = f32> {
    std::iter::successors(Some(4.0f32), |nats| Some(nats * 1.5))
        .take_while(|nats| *nats < NEGLIGIBLE_NATS)
}

impl SamplingParams {
    /// Whether the most likely tokens are counted, of so many.
    fn keeps_top_of(&self, num_logits: usize) -> bool {
        (1..num_logits).contains(&self.top_k)
    }

    /// Whether a draw goes by the weight of all tokens together.
    pub(super) fn needs_total(&self, num_logits: usize) -> bool {
        self.temperature != 0.0 && !self.keeps_top_of(num_logits)
    }
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
