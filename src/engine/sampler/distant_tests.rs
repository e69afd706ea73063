//! A row on a device gives the token that it would give here.

use candle_core::Result;
use proptest::prelude::*;

use super::distant::{Fetched, RowUse};
use super::weights::{Weights, block_max, blocks};
use super::{Sampler, SamplingParams};
use crate::engine::tests::greedy;
use crate::model::{DistantLogits, LOGITS_BLOCK, Logits, WeighRow};

/// Rows that are here, and pretend not to be.
#[derive(Debug)]
struct Pretended {
    rows: Vec<Vec<f32>>,
    maxima: Vec<Vec<f32>>,
}

impl Pretended {
    fn logits(rows: &[Vec<f32>]) -> Logits {
        let maxima = |row: &Vec<f32>| {
            blocks(row).map(|(_, block)| block_max(block).unwrap_or(f32::INFINITY)).collect()
        };
        let pretended = Self { rows: rows.to_vec(), maxima: rows.iter().map(maxima).collect() };
        Logits::distant(Box::new(pretended), rows[0].len())
    }
}

impl DistantLogits for Pretended {
    fn num_rows(&self) -> usize {
        self.rows.len()
    }

    fn maxima(&self, row: usize) -> &[f32] {
        &self.maxima[row]
    }

    fn weigh(&self, rows: &[WeighRow]) -> Result<Vec<f32>> {
        let weigh = |wanted: &WeighRow| {
            let WeighRow { row, max, inverse_temperature, least } = *wanted;
            let weights = Weights { max, inverse_temperature, min: least };
            blocks(&self.rows[row]).map(|(_, block)| weights.sum(block)).collect::<Vec<_>>()
        };
        Ok(rows.iter().flat_map(weigh).collect())
    }

    fn blocks(&self, wanted: &[(usize, usize)]) -> Result<Vec<f32>> {
        let fetch = |&(row, block): &(usize, usize)| {
            let (_, values) = blocks(&self.rows[row]).nth(block).expect("it is there");
            let mut values = values.to_vec();
            values.resize(LOGITS_BLOCK, f32::NEG_INFINITY);
            values
        };
        Ok(wanted.iter().flat_map(fetch).collect())
    }

    fn rows(&self, rows: std::ops::Range<usize>) -> Result<Vec<f32>> {
        Ok(self.rows[rows].concat())
    }
}

/// The tokens of rows from the few blocks that were fetched, `None` where those did not suffice.
fn draw_fetched(rows: &[Vec<f32>], params: &SamplingParams, index: u64) -> Vec<Option<u32>> {
    let uses = (0..rows.len()).map(|_| RowUse::Draw(params, index));
    let fetched = Fetched::of(&Pretended::logits(rows), uses).expect("nothing fails");
    let mut sampler = Sampler::default();
    let draw = |row| sampler.sample_fetched((&fetched, row), rows[0].len(), params, index);
    (0..rows.len()).map(draw).collect()
}

fn params() -> impl Strategy<Value = SamplingParams> {
    let choice = |values: &'static [f32]| prop::sample::select(values);
    let temperature = choice(&[0.0, 1e-30, 0.6, 1.0, 5.0]);
    (temperature, choice(&[1.0, 0.95, 0.3, 0.0]), 0usize..80, choice(&[0.0, 0.1]), any::<u64>())
        .prop_map(|(temperature, top_p, top_k, min_p, seed)| {
            // Every other one keeps all.
            let top_k = top_k.saturating_sub(40);
            SamplingParams { temperature, top_p, top_k, min_p, seed, ..greedy() }
        })
}

/// Rows of a few blocks and a part of one, with ties, and tokens that are ruled out.
fn row() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        4 => (-40i32..40).prop_map(|x| x as f32 / 4.0),
        2 => -12.0f32..12.0,
        1 => Just(f32::NEG_INFINITY),
    ];
    (prop::collection::vec(logit, 1500), 0usize..1500, 0.0f32..30.0).prop_map(
        |(mut row, likely, peak)| {
            row[likely] = peak;
            row
        },
    )
}

proptest! {
    #[test]
    fn a_draw_of_what_was_fetched_is_the_draw_of_the_row(
        rows in prop::collection::vec(row(), 1..4), params in params(), index in 0u64..1000,
    ) {
        for (row, found) in rows.iter().zip(draw_fetched(&rows, &params, index)) {
            let expected = Sampler::default().sample(row, None, &params, &[], index);
            prop_assert!(found.is_none() || found == expected, "{found:?}, not {expected:?}");
        }
    }
}

/// What servers are mostly asked for is drawn from a few blocks.
#[test]
fn usual_draws_need_no_whole_rows() {
    let mut state = 1u64;
    let mut logit = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((state >> 40) as f32 / (1u64 << 24) as f32 - 0.5) * 12.0
    };
    let mut row: Vec<f32> = (0..50_000).map(|_| logit()).collect();
    for (id, logit) in [(7, 21.0), (31_000, 20.5), (49_999, 19.0)] {
        row[id] = logit;
    }
    let r1 = SamplingParams { temperature: 0.6, top_p: 0.95, ..greedy() };
    for params in [
        greedy(),
        SamplingParams { temperature: 1.0, ..greedy() },
        SamplingParams { top_k: 40, ..r1.clone() },
        r1,
    ] {
        for index in 0..50 {
            let expected = Sampler::default().sample(&row, None, &params, &[], index);
            let found = draw_fetched(std::slice::from_ref(&row), &params, index)[0];
            assert_eq!((found, found.is_some()), (expected, true), "{params:?}");
        }
    }
}

#[test]
fn rows_that_are_not_numbers_are_told_from_others() {
    let whole = vec![1.0; 300];
    let rows: Vec<Vec<f32>> = [f32::NAN, f32::INFINITY, 0.0]
        .iter()
        .map(|value| {
            let mut row = whole.clone();
            row[299] = *value;
            row
        })
        .chain([vec![f32::NEG_INFINITY; 300]])
        .collect();
    let uses = rows.iter().map(|_| RowUse::Other);
    let fetched = Fetched::of(&Pretended::logits(&rows), uses).expect("nothing fails");
    let found: Vec<_> = (0..5).map(|row| fetched.is_finite(row)).collect();
    assert_eq!(found, [Some(false), Some(false), Some(true), Some(false), None]);
}
