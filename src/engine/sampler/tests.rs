//! The sampler against its definition: sort everything, then filter.

use proptest::prelude::*;

use super::*;
use crate::engine::random::uniform;
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
    tokens.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap().then(a.0.cmp(&b.0)));
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
    for &(id, probability) in expected.iter().filter(|token| token.1 > 1e-9) {
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

/// The likely tokens far apart, so that most blocks are passed over.
fn spread_out_logits() -> Vec<f32> {
    let mut logits = vec![-60.0; 3000];
    for (place, logit) in some_logits().into_iter().enumerate() {
        logits[place * 73] = logit;
    }
    logits
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
        assert_distribution(&spread_out_logits(), &params, &[73, 365, 365, 657, 2190]);
    }
}

/// Rows with ties, within one block and over several; some are flat, most have few likely tokens.
fn some_row() -> impl Strategy<Value = Vec<f32>> {
    let spread = prop::sample::select(vec![0.0f32, 0.125, 0.125, 0.5]);
    (prop_oneof![1usize..60, 250usize..1500], spread, any::<u64>()).prop_map(
        |(len, spread, seed)| {
            let level = |id| (uniform(seed, id) * 120.0) as i32 - 60;
            (0..len as u64).map(|id| level(id) as f32 * spread).collect()
        },
    )
}

proptest! {
    #[test]
    fn the_filters_keep_what_sorting_would_keep(
        logits in some_row(),
        top_p in 0.0f32..1.0,
        top_k in 0usize..20,
        min_p in prop::sample::select(&[0.0f32, 0.01, 0.2]),
        seed in any::<u64>(),
    ) {
        let params = SamplingParams { top_p, top_k, min_p, seed, ..warm() };
        let mut sampler = Sampler::default();
        let drawn = sampler.sample(&logits, None, &params, &[], 0).unwrap();
        let mut kept: Vec<u32> = sampler.draw.candidates.iter().map(|it| it.id()).collect();
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
    let mut sampler = Sampler::default();
    let found = sampler.logprobs(&logits, 3, 3);
    assert!((found.logprob - of(1.0)).abs() < 1e-6);
    let ids: Vec<u32> = found.top.iter().map(|&(id, _)| id).collect();
    assert_eq!(ids, [2, 4, 0]);
    assert!((found.top[1].1 - of(2.0)).abs() < 1e-6);
    assert_eq!(sampler.logprobs(&logits, 0, 0).top, []);
    assert_eq!(sampler.logprobs(&logits, 0, 9).top.len(), 5);
}
