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
use crate::engine::{SamplingParams, SubmitError, TokenLogprobs};

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
    /// The row after penalties and without what is not allowed.
    adjusted: Vec<f32>,
    candidates: Vec<Candidate>,
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
        let mut max = finite_max(logits)?;
        if params.repetition_penalty == 1.0 && allowed.is_none() {
            return Some(draw(&mut self.candidates, logits, max, params, index));
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
            max = finite_max(&self.adjusted)?;
        }
        if let Some(allowed) = allowed {
            keep_allowed(&mut self.adjusted, allowed);
            match finite_max(&self.adjusted) {
                Some(allowed_max) => max = allowed_max,
                // The model rules out all that is allowed; one of them it has to be.
                None => return first_allowed(allowed),
            }
        }
        Some(draw(&mut self.candidates, &self.adjusted, max, params, index))
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

/// How likely `token` was in a row of finite logits, and the `num_top` most likely ones.
pub(super) fn logprobs(logits: &[f32], token: u32, num_top: usize) -> TokenLogprobs {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - max).exp()).sum();
    let logprob = |logit: f32| (f64::from(logit - max) - sum.ln()) as f32;
    let mut top: Vec<(u32, f32)> = Vec::with_capacity(num_top + 1);
    for (id, &logit) in logits.iter().enumerate() {
        if top.len() == num_top && top.last().is_none_or(|&(_, least)| logit <= least) {
            continue;
        }
        // Behind its equals, which have lower ids.
        let place = top.partition_point(|&(_, other)| other >= logit);
        top.insert(place, (id as u32, logit));
        top.truncate(num_top);
    }
    let top = top.into_iter().map(|(id, logit)| (id, logprob(logit))).collect();
    TokenLogprobs { token, logprob: logprob(logits[token as usize]), top }
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
    let total = mass(candidates);
    let target = top_p * total;
    // Below this, even all candidates together have less than what may be left out, so none of
    // them is in the nucleus. Few are above it, unless the distribution is flat.
    let least = (total - target) / candidates.len() as f64;
    candidates.retain(|candidate| candidate.weight >= least);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::tests::greedy;

    fn warm() -> SamplingParams {
        SamplingParams { temperature: 1.0, ..greedy() }
    }

    fn sample(logits: &[f32], params: &SamplingParams) -> Option<u32> {
        Sampler::default().sample(logits, None, params, &[], 0)
    }

    /// The definition: sort everything, filter in the order of the module's documentation.
    /// Returns the kept tokens and their probabilities.
    fn reference(logits: &[f32], params: &SamplingParams, history: &[u32]) -> Vec<(u32, f64)> {
        let mut tokens: Vec<(u32, f64)> = (0u32..)
            .zip(logits)
            .map(|(id, &logit)| {
                let penalty = if history.contains(&id) { params.repetition_penalty } else { 1.0 };
                let logit = if logit > 0.0 { logit / penalty } else { logit * penalty };
                (id, f64::from(logit))
            })
            .collect();
        let max = tokens.iter().map(|token| token.1).fold(f64::NEG_INFINITY, f64::max);
        tokens.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for token in &mut tokens {
            token.1 = ((token.1 - max) / f64::from(params.temperature)).exp();
        }
        tokens.retain(|token| token.1 >= f64::from(params.min_p));
        if params.top_k > 0 {
            tokens.truncate(params.top_k);
        }
        let total: f64 = tokens.iter().map(|token| token.1).sum();
        let mut sum = 0.0;
        let nucleus = tokens.iter().position(|token| {
            sum += token.1;
            sum >= f64::from(params.top_p) * total
        });
        tokens.truncate(nucleus.map_or(tokens.len(), |last| last + 1));
        let total: f64 = tokens.iter().map(|token| token.1).sum();
        tokens.iter().map(|&(id, weight)| (id, weight / total)).collect()
    }

    /// Pearson's statistic of `num_draws` draws against the reference, where `df + 5 sqrt(2 df)`
    /// is exceeded less than once in 10^5 by a correct sampler; the seeds are fixed.
    fn assert_distribution(logits: &[f32], params: &SamplingParams, history: &[u32]) {
        let num_draws = 20_000;
        let expected = reference(logits, params, history);
        let mut counts = vec![0u32; logits.len()];
        let mut sampler = Sampler::default();
        for index in 0..num_draws {
            counts[sampler.sample(logits, None, params, history, index).unwrap() as usize] += 1;
        }
        let mut statistic = 0.0;
        for &(id, probability) in &expected {
            let mean = probability * num_draws as f64;
            let difference = f64::from(std::mem::take(&mut counts[id as usize])) - mean;
            statistic += difference * difference / mean;
        }
        assert!(counts.iter().all(|&count| count == 0), "{params:?} drew a filtered token");
        let degrees = (expected.len() as f64 - 1.0).max(1.0);
        let bound = degrees + 5.0 * (2.0 * degrees).sqrt();
        assert!(statistic <= bound, "{params:?}: {statistic} > {bound}");
    }

    fn some_logits() -> Vec<f32> {
        (0..40).map(|at| ((at * 17 + 5) % 40) as f32 * 0.12 - 1.7).collect()
    }

    #[test]
    fn draws_follow_the_filtered_distribution() {
        let cases = [
            warm(),
            SamplingParams { temperature: 0.6, seed: 1, ..warm() },
            SamplingParams { temperature: 2.5, seed: 2, ..warm() },
            SamplingParams { top_p: 0.7, seed: 3, ..warm() },
            SamplingParams { top_k: 7, seed: 4, ..warm() },
            SamplingParams { min_p: 0.3, seed: 5, ..warm() },
            SamplingParams { top_k: 12, top_p: 0.5, min_p: 0.1, temperature: 0.8, ..warm() },
            SamplingParams { repetition_penalty: 1.5, top_p: 0.95, seed: 6, ..warm() },
        ];
        for params in cases {
            assert_distribution(&some_logits(), &params, &[1, 5, 5, 9, 30]);
        }
    }

    proptest! {
        #[test]
        fn the_filters_keep_what_sorting_would_keep(
            logits in prop::collection::vec((-60i8..60).prop_map(|it| f32::from(it) / 8.0), 1..60),
            top_p in 0.0f32..1.0,
            top_k in 0usize..20,
            min_p in prop::sample::select(&[0.0f32, 0.01, 0.2]),
            seed in any::<u64>(),
        ) {
            let params = SamplingParams { top_p, top_k, min_p, seed, ..warm() };
            let mut sampler = Sampler::default();
            let drawn = sampler.sample(&logits, None, &params, &[], 0).unwrap();
            let mut kept: Vec<u32> = sampler.candidates.iter().map(|it| it.id).collect();
            kept.sort_unstable();
            let mut expected: Vec<u32> =
                reference(&logits, &params, &[]).iter().map(|token| token.0).collect();
            expected.sort_unstable();
            prop_assert_eq!(&kept, &expected);
            prop_assert!(kept.contains(&drawn));
        }
    }

    #[test]
    fn greedy_takes_the_lowest_of_equal_tokens() {
        assert_eq!(sample(&[1.0, 3.0, 2.0, 3.0], &greedy()), Some(1));
        assert_eq!(sample(&[0.0, -0.0, 0.0], &greedy()), Some(0));
    }

    #[test]
    fn parameters_at_their_edge_leave_the_most_likely_token() {
        let logits = [1.0, 3.0, 2.9, 3.0];
        for params in [
            SamplingParams { top_p: 0.0, ..warm() },
            SamplingParams { top_k: 1, ..warm() },
            SamplingParams { top_k: 1, top_p: 0.0, min_p: 1.0, ..warm() },
        ] {
            for seed in 0..50 {
                let params = SamplingParams { seed, ..params.clone() };
                assert_eq!(sample(&logits, &params), Some(1), "{params:?}");
            }
        }
        for seed in 0..50 {
            let cold = SamplingParams { temperature: 1e-6, seed, ..warm() };
            assert!(matches!(sample(&logits, &cold), Some(1 | 3)), "both are most likely");
            let denormal = SamplingParams { temperature: f32::from_bits(1), ..cold };
            assert!(matches!(sample(&logits, &denormal), Some(1 | 3)));
        }
    }

    #[test]
    fn filters_wider_than_the_vocabulary_change_nothing() {
        let logits = some_logits();
        for seed in 0..50 {
            let plain = SamplingParams { seed, ..warm() };
            let wide = SamplingParams { top_k: 1000, ..plain.clone() };
            assert_eq!(sample(&logits, &plain), sample(&logits, &wide));
        }
    }

    #[test]
    fn a_token_of_probability_zero_is_never_drawn() {
        let mut logits = vec![f32::NEG_INFINITY; 50];
        logits[33] = -7.0;
        for params in [greedy(), warm(), SamplingParams { temperature: f32::MAX, ..warm() }] {
            assert_eq!(sample(&logits, &params), Some(33), "{params:?}");
        }
    }

    #[test]
    fn rows_that_are_not_numbers_are_refused_wherever_the_value_is() {
        for len in [1, 15, 16, 17, 64, 100] {
            for at in 0..len {
                for bad in [f32::NAN, f32::INFINITY] {
                    let mut logits = vec![0.5; len];
                    logits[at] = bad;
                    assert_eq!(sample(&logits, &greedy()), None, "{bad} at {at} of {len}");
                    assert_eq!(sample(&logits, &warm()), None, "{bad} at {at} of {len}");
                }
            }
            assert_eq!(sample(&vec![f32::NEG_INFINITY; len], &warm()), None);
        }
    }

    #[test]
    fn a_repeated_token_is_penalized_once() {
        let params = SamplingParams { repetition_penalty: 2.0, ..greedy() };
        let mut sampler = Sampler::default();
        assert_eq!(sampler.sample(&[4.0, 1.5, -1.0], None, &params, &[0, 0], 0), Some(0));
        assert_eq!(sampler.sample(&[4.0, 2.5, -1.0], None, &params, &[0, 0], 0), Some(1));
        assert_eq!(sampler.sample(&[-1.0, -1.5, -3.0], None, &params, &[0], 0), Some(1));
    }

    #[test]
    fn a_draw_depends_on_seed_and_index_only() {
        let logits = some_logits();
        let mut used = Sampler::default();
        let first = used.sample(&logits, None, &warm(), &[], 3);
        used.sample(&logits, None, &SamplingParams { top_k: 3, ..warm() }, &[], 4);
        assert_eq!(used.sample(&logits, None, &warm(), &[], 3), first);
        let mut draws: Vec<_> =
            (0..40).map(|index| used.sample(&logits, None, &warm(), &[], index)).collect();
        draws.dedup();
        assert!(draws.len() > 20, "another index is another draw: {draws:?}");
    }

    #[test]
    fn parameters_out_of_range_are_refused_by_name() {
        let cases = [
            ("temperature", SamplingParams { temperature: f32::NAN, ..warm() }),
            ("temperature", SamplingParams { temperature: -0.1, ..warm() }),
            ("temperature", SamplingParams { temperature: f32::INFINITY, ..warm() }),
            ("top_p", SamplingParams { top_p: 1.1, ..warm() }),
            ("top_p", SamplingParams { top_p: f32::NAN, ..warm() }),
            ("min_p", SamplingParams { min_p: -0.1, ..warm() }),
            ("repetition_penalty", SamplingParams { repetition_penalty: 0.0, ..warm() }),
            ("repetition_penalty", SamplingParams { repetition_penalty: f32::NAN, ..warm() }),
        ];
        for (name, params) in cases {
            match params.validate() {
                Err(SubmitError::SamplingOutOfRange { field, .. }) => assert_eq!(field, name),
                other => panic!("{params:?}: {other:?}"),
            }
        }
        assert_eq!(warm().validate(), Ok(()));
    }

    fn bits(ids: &[u32]) -> Vec<u32> {
        let mut words = vec![0; 3];
        for id in ids {
            words[*id as usize / 32] |= 1 << (id % 32);
        }
        words
    }

    proptest! {
        /// A mask is the same as a row in which the model itself rules the others out.
        #[test]
        fn only_what_is_allowed_is_drawn(
            logits in prop::collection::vec(-9.0f32..9.0, 90..130),
            ids in prop::collection::btree_set(0u32..90, 1..40),
            params in prop::sample::select(vec![greedy(), warm()]),
            penalty in prop::sample::select(vec![1.0f32, 1.3]),
            index in 0u64..50,
        ) {
            let params = SamplingParams { repetition_penalty: penalty, ..params };
            let ids: Vec<u32> = ids.into_iter().collect();
            let mut sampler = Sampler::default();
            let drawn = sampler.sample(&logits, Some(&bits(&ids)), &params, &[1, 50], index);
            let ruled_out: Vec<f32> = (0u32..)
                .zip(&logits)
                .map(|(id, &logit)| if ids.contains(&id) { logit } else { f32::NEG_INFINITY })
                .collect();
            prop_assert!(ids.contains(&drawn.unwrap()));
            prop_assert_eq!(drawn, sampler.sample(&ruled_out, None, &params, &[1, 50], index));
        }
    }

    #[test]
    fn what_is_allowed_is_drawn_even_if_the_model_rules_it_out() {
        let mut logits = vec![f32::NEG_INFINITY; 96];
        logits[3] = 0.0;
        let drawn = Sampler::default().sample(&logits, Some(&bits(&[70, 71])), &warm(), &[], 0);
        assert_eq!(drawn, Some(70));
        logits[70] = f32::NAN;
        let drawn = Sampler::default().sample(&logits, Some(&bits(&[71])), &warm(), &[], 0);
        assert_eq!(drawn, None, "a broken row is noticed wherever it is broken");
    }

    #[test]
    fn log_probabilities_are_those_of_the_row() {
        let logits = [1.0, f32::NEG_INFINITY, 3.0, 1.0, 2.0];
        let total: f32 = logits.iter().map(|logit: &f32| logit.exp()).sum();
        let of = |logit: f32| (logit.exp() / total).ln();
        let found = logprobs(&logits, 3, 3);
        assert!((found.logprob - of(1.0)).abs() < 1e-6);
        let ids: Vec<u32> = found.top.iter().map(|&(id, _)| id).collect();
        assert_eq!(ids, [2, 4, 0]);
        assert!((found.top[1].1 - of(2.0)).abs() < 1e-6);
        assert_eq!(logprobs(&logits, 0, 0).top, []);
        assert_eq!(logprobs(&logits, 0, 9).top.len(), 5);
    }
}
