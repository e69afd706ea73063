//! Attention over one partition: scores of two keys in one vector, each in eight lanes as for
//! AVX2, then values weighted for sixteen elements in one. Up to eight heads share what is read.

use std::arch::x86_64::*;

use super::{LoadPair, split, twice};
use crate::attention::{AttendArgs, PARTITION};
use crate::avx2::attention::{exponentiate_all, weigh_columns as weigh_eight_columns};
use crate::avx2::{prefetch_elements, sum_lanes};
use crate::floats::Floats;
use crate::row::LANES;

/// Query heads that are computed together.
const HEADS: usize = 8;
/// Elements of a value in one vector.
const WIDE: usize = 2 * LANES;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn attend(args: &AttendArgs<'_>, scores: &mut [f32], partial: &mut [f32]) {
    match args.keys {
        Floats::F32(keys) => key_scores(args, keys, scores),
        Floats::F16(keys) => key_scores(args, keys, scores),
        Floats::Bf16(keys) => key_scores(args, keys, scores),
    }
    let weighted = exponentiate_all(args, scores, partial);
    match args.values {
        Floats::F32(values) => weigh_values(args, values, scores, weighted),
        Floats::F16(values) => weigh_values(args, values, scores, weighted),
        Floats::Bf16(values) => weigh_values(args, values, scores, weighted),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn key_scores<E: LoadPair>(args: &AttendArgs<'_>, keys: &[E], scores: &mut [f32]) {
    let head_dim = args.shape.head_dim;
    for (start, keys, mut next) in args.runs_and_next(keys) {
        for head in (0..args.num_heads).step_by(HEADS) {
            let queries = &args.queries[head * head_dim..];
            let scores = &mut scores[head * PARTITION + start..];
            let runs = (keys, std::mem::take(&mut next));
            match args.num_heads - head {
                1 => run_scores::<E, 1>(runs, queries, head_dim, args.scale, scores),
                2 => run_scores::<E, 2>(runs, queries, head_dim, args.scale, scores),
                3 => run_scores::<E, 3>(runs, queries, head_dim, args.scale, scores),
                4 => run_scores::<E, 4>(runs, queries, head_dim, args.scale, scores),
                5 => run_scores::<E, 5>(runs, queries, head_dim, args.scale, scores),
                6 => run_scores::<E, 6>(runs, queries, head_dim, args.scale, scores),
                7 => run_scores::<E, 7>(runs, queries, head_dim, args.scale, scores),
                _ => run_scores::<E, HEADS>(runs, queries, head_dim, args.scale, scores),
            }
        }
    }
}

/// Scores of `H` heads with the keys of one run. Fetches the run after it meanwhile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn run_scores<E: LoadPair, const H: usize>(
    (keys, next): (&[E], &[E]),
    queries: &[f32],
    head_dim: usize,
    scale: f32,
    scores: &mut [f32],
) {
    assert!(queries.len() >= H * head_dim);
    let num_keys = keys.len() / head_dim;
    for key_id in (0..num_keys).step_by(2) {
        prefetch_elements(next, key_id * head_dim..(key_id + 2) * head_dim);
        // An odd key is computed twice: the same operations as in a pair, the same bits.
        let other_id = (key_id + 1).min(num_keys - 1);
        let key = &keys[key_id * head_dim..(key_id + 1) * head_dim];
        let other = &keys[other_id * head_dim..(other_id + 1) * head_dim];
        let mut sums = [_mm512_setzero_ps(); HEADS];
        for i in (0..head_dim).step_by(LANES) {
            // SAFETY: `head_dim` is a multiple of 8 and both keys have that many elements.
            let pair = unsafe { E::load_pair(key.as_ptr().add(i), other.as_ptr().add(i)) };
            for (head, sum) in sums[..H].iter_mut().enumerate() {
                // SAFETY: there are at least `H * head_dim` queries.
                let q = unsafe { twice(queries.as_ptr().add(head * head_dim + i)) };
                *sum = _mm512_fmadd_ps(q, pair, *sum);
            }
        }
        let halves = sums.map(|sum| split(sum));
        for (half, id) in [key_id, other_id].into_iter().enumerate() {
            let dots = sum_lanes(halves.map(|halves| halves[half]));
            for (head, dot) in dots[..H].iter().enumerate() {
                scores[head * PARTITION + id] = dot * scale;
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn weigh_values<E: LoadPair>(
    args: &AttendArgs<'_>,
    values: &[E],
    weights: &[f32],
    weighted: &mut [f32],
) {
    let head_dim = args.shape.head_dim;
    for (start, values, mut next) in args.runs_and_next(values) {
        for head in (0..args.num_heads).step_by(HEADS) {
            let weights = &weights[head * PARTITION + start..];
            let weighted = &mut weighted[head * head_dim..];
            let runs = (values, std::mem::take(&mut next));
            match args.num_heads - head {
                1 => weigh_run::<E, 1>(runs, weights, head_dim, weighted),
                2 => weigh_run::<E, 2>(runs, weights, head_dim, weighted),
                3 => weigh_run::<E, 3>(runs, weights, head_dim, weighted),
                4 => weigh_run::<E, 4>(runs, weights, head_dim, weighted),
                5 => weigh_run::<E, 5>(runs, weights, head_dim, weighted),
                6 => weigh_run::<E, 6>(runs, weights, head_dim, weighted),
                7 => weigh_run::<E, 7>(runs, weights, head_dim, weighted),
                _ => weigh_run::<E, HEADS>(runs, weights, head_dim, weighted),
            }
        }
    }
}

/// Adds the values of one run, weighted for each of `H` heads. Fetches the run after it meanwhile.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn weigh_run<E: LoadPair, const H: usize>(
    (values, next): (&[E], &[E]),
    weights: &[f32],
    head_dim: usize,
    weighted: &mut [f32],
) {
    let num_positions = values.len() / head_dim;
    let mut first = 0;
    while first + 2 * WIDE <= head_dim {
        prefetch_elements(next, first * num_positions..(first + 2 * WIDE) * num_positions);
        weigh_columns::<E, H, 2>(values, weights, head_dim, first, weighted);
        first += 2 * WIDE;
    }
    if first + WIDE <= head_dim {
        weigh_columns::<E, H, 1>(values, weights, head_dim, first, weighted);
        first += WIDE;
    }
    if first < head_dim {
        weigh_eight_columns::<E, H, 1>(values, weights, head_dim, first, weighted);
    }
}

/// The same for the `16 * V` elements from `first` on.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn weigh_columns<E: LoadPair, const H: usize, const V: usize>(
    values: &[E],
    weights: &[f32],
    head_dim: usize,
    first: usize,
    weighted: &mut [f32],
) {
    let num_positions = values.len() / head_dim;
    assert!(first + V * WIDE <= head_dim && weighted.len() >= H * head_dim);
    assert!(weights.len() >= (H - 1) * PARTITION + num_positions);
    let mut sums = [[_mm512_setzero_ps(); V]; H];
    for (head, sums) in sums.iter_mut().enumerate() {
        for (v, sum) in sums.iter_mut().enumerate() {
            let at = head * head_dim + first + v * WIDE;
            // SAFETY: asserted above.
            *sum = unsafe { _mm512_loadu_ps(weighted.as_ptr().add(at)) };
        }
    }
    for position in 0..num_positions {
        let mut value = [_mm512_setzero_ps(); V];
        for (v, value) in value.iter_mut().enumerate() {
            let at = position * head_dim + first + v * WIDE;
            // SAFETY: `position` and the columns are within `values`, as asserted above.
            *value = unsafe {
                let low = values.as_ptr().add(at);
                E::load_pair(low, low.add(LANES))
            };
        }
        for (head, sums) in sums.iter_mut().enumerate() {
            // SAFETY: asserted above.
            let weight = unsafe { *weights.get_unchecked(head * PARTITION + position) };
            let weight = _mm512_set1_ps(weight);
            for (sum, value) in sums.iter_mut().zip(value) {
                *sum = _mm512_fmadd_ps(weight, value, *sum);
            }
        }
    }
    for (head, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            let at = head * head_dim + first + v * WIDE;
            // SAFETY: asserted above.
            unsafe { _mm512_storeu_ps(weighted.as_mut_ptr().add(at), *sum) };
        }
    }
}
