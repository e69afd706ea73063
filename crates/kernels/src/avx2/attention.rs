//! Attention over one partition: scores of two keys and up to six heads at a time, then values
//! weighted for as many heads and sixteen elements at a time. Each sum has its own accumulator and
//! runs over elements or positions in order, so grouping does not change its bits.
//!
//! Blocks of the cache lie apart, and the CPU foresees no stream beyond a page of 4 KiB, so that
//! each run is asked for while the one before it is computed.

use std::arch::x86_64::*;

use super::{Load, kv_q8_0, prefetch_element, prefetch_elements, sum_lanes};
use crate::attention::{AttendArgs, PARTITION};
use crate::floats::{Element, Floats};
use crate::kv::{KvElements, Stored};
use crate::kv_q8_0::Block;
use crate::quantized::BLOCK_LEN;
use crate::row::{self, LANES};

/// Most query heads that are computed together: with two vectors each, twelve sums in registers.
const HEADS: usize = 6;

/// Keys and values of which eight elements are widened at a time.
pub(crate) trait LoadKv: Stored {
    /// Elements whose loads share something.
    const STEP: usize;
    /// What they share.
    type Step: Copy;

    /// # Safety
    /// The CPU has AVX2 and F16C; there are [`Self::STEP`] elements from `first` on.
    unsafe fn step(first: *const Self) -> Self::Step;

    /// Loads eight elements.
    ///
    /// # Safety
    /// As [`Self::step`]; there are as many from element `i` of the step on, a multiple of 8.
    unsafe fn load8(step: Self::Step, i: usize) -> __m256;
}

impl<E: Load + Element> LoadKv for E {
    const STEP: usize = LANES;
    type Step = *const E;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn step(first: *const Self) -> *const E {
        first
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load8(step: *const E, i: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { E::load8(step.add(i)) }
    }
}

impl LoadKv for Block {
    const STEP: usize = BLOCK_LEN;
    /// The quants and their scale.
    type Step = (*const u8, __m256);

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn step(first: *const Self) -> (*const u8, __m256) {
        // SAFETY: the caller's promise.
        let block = unsafe { &*first };
        (block[2..].as_ptr(), kv_q8_0::scale(block))
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load8((quants, scale): Self::Step, i: usize) -> __m256 {
        // SAFETY: the caller's promise.
        let quants = unsafe { _mm_loadl_epi64(quants.add(i).cast()) };
        _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(quants)), scale)
    }
}

/// How many of `left` heads are computed together: no rest so small that it would wait for its own
/// few sums.
fn heads_of(left: usize) -> usize {
    if left <= HEADS { left } else { 4 }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn attend(args: &AttendArgs<'_>, scores: &mut [f32], partial: &mut [f32]) {
    match args.keys {
        KvElements::Floats(Floats::F32(keys)) => key_scores(args, keys, scores),
        KvElements::Floats(Floats::F16(keys)) => key_scores(args, keys, scores),
        KvElements::Floats(Floats::Bf16(keys)) => key_scores(args, keys, scores),
        KvElements::Q8_0(keys) => key_scores(args, keys, scores),
    }
    let weighted = exponentiate_all(args, scores, partial);
    match args.values {
        KvElements::Floats(Floats::F32(values)) => weigh_values(args, values, scores, weighted),
        KvElements::Floats(Floats::F16(values)) => weigh_values(args, values, scores, weighted),
        KvElements::Floats(Floats::Bf16(values)) => weigh_values(args, values, scores, weighted),
        KvElements::Q8_0(values) => weigh_values(args, values, scores, weighted),
    }
}

/// Replaces the scores of each head and notes their maxima and sums in `partial`. Returns what is
/// to hold the weighted values, zeros so far. Plain loops, compiled for the kernel that has them.
#[inline(always)]
pub(crate) fn exponentiate_all<'a>(
    args: &AttendArgs<'_>,
    scores: &mut [f32],
    partial: &'a mut [f32],
) -> &'a mut [f32] {
    let (weighted, maxima_and_sums) = partial.split_at_mut(args.num_heads * args.shape.head_dim);
    let (maxima, sums) = maxima_and_sums.split_at_mut(args.num_heads);
    let num_positions = args.end - args.start;
    for (head, scores) in scores.chunks_exact_mut(PARTITION).take(args.num_heads).enumerate() {
        let padded = num_positions.next_multiple_of(LANES);
        scores[num_positions..padded].fill(f32::NEG_INFINITY);
        (maxima[head], sums[head]) = exponentiate(&mut scores[..padded]);
    }
    weighted.fill(0.0);
    weighted
}

/// Replaces scores by `exp(score - max)`; returns the maximum and the sum.
#[inline(always)]
fn exponentiate(scores: &mut [f32]) -> (f32, f32) {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    for chunk in scores.chunks_exact(LANES) {
        for (max, &score) in maxima.iter_mut().zip(chunk) {
            *max = if score > *max { score } else { *max };
        }
    }
    let max = maxima.iter().fold(f32::NEG_INFINITY, |max, &lane| max.max(lane));
    // One plain loop each, because together they would not be compiled to vectors.
    for score in &mut *scores {
        *score = row::exp(*score - max);
    }
    let mut sums = [0f32; LANES];
    for chunk in scores.chunks_exact(LANES) {
        for (sum, score) in sums.iter_mut().zip(chunk) {
            *sum += *score;
        }
    }
    (max, row::sum_lanes(sums))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn key_scores<E: LoadKv>(args: &AttendArgs<'_>, keys: &[E], scores: &mut [f32]) {
    let head_dim = args.shape.head_dim;
    for (start, keys, mut next) in args.runs_and_next(keys) {
        let mut head = 0;
        while head < args.num_heads {
            let queries = &args.queries[head * head_dim..];
            let scores = &mut scores[head * PARTITION..];
            let (runs, scale) = ((keys, std::mem::take(&mut next)), args.scale);
            let heads = heads_of(args.num_heads - head);
            match heads {
                1 => run_scores::<E, 1>(runs, queries, head_dim, scale, start, scores),
                2 => run_scores::<E, 2>(runs, queries, head_dim, scale, start, scores),
                3 => run_scores::<E, 3>(runs, queries, head_dim, scale, start, scores),
                4 => run_scores::<E, 4>(runs, queries, head_dim, scale, start, scores),
                5 => run_scores::<E, 5>(runs, queries, head_dim, scale, start, scores),
                _ => run_scores::<E, HEADS>(runs, queries, head_dim, scale, start, scores),
            }
            head += heads;
        }
    }
}

/// Scores of `H` heads with the keys of one run, whose first position is `start`. Fetches the run
/// after it meanwhile.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn run_scores<E: LoadKv, const H: usize>(
    (keys, next): (&[E], &[E]),
    queries: &[f32],
    head_dim: usize,
    scale: f32,
    start: usize,
    scores: &mut [f32],
) {
    let num_keys = keys.len() * E::LEN / head_dim;
    assert!(queries.len() >= H * head_dim && head_dim.is_multiple_of(E::STEP));
    for key_id in (0..num_keys).step_by(2) {
        prefetch_elements(next, key_id * head_dim..(key_id + 2) * head_dim);
        // An odd key is computed twice: the same operations as in a pair, the same bits.
        let other_id = if key_id + 1 < num_keys { key_id + 1 } else { key_id };
        // Those of the first key, then those of the other.
        let mut sums = [_mm256_setzero_ps(); 2 * LANES];
        for first in (0..head_dim).step_by(E::STEP) {
            // SAFETY: `head_dim` is a multiple of `STEP` and both keys have that many elements.
            let [step, other] = [key_id, other_id]
                .map(|id| unsafe { E::step(keys.as_ptr().add((id * head_dim + first) / E::LEN)) });
            for i in (0..E::STEP).step_by(LANES) {
                // SAFETY: as above.
                let (k0, k1) = unsafe { (E::load8(step, i), E::load8(other, i)) };
                for head in 0..H {
                    let at = head * head_dim + first + i;
                    // SAFETY: there are at least `H * head_dim` queries.
                    let q = unsafe { _mm256_loadu_ps(queries.as_ptr().add(at)) };
                    sums[head] = _mm256_fmadd_ps(q, k0, sums[head]);
                    sums[H + head] = _mm256_fmadd_ps(q, k1, sums[H + head]);
                }
            }
        }
        let mut dots = [0f32; 2 * LANES];
        let chunks = dots.as_chunks_mut::<LANES>().0.iter_mut().zip(sums.as_chunks().0);
        for (dots, sums) in chunks.take((2 * H).div_ceil(LANES)) {
            *dots = sum_lanes(*sums);
        }
        for head in 0..H {
            scores[head * PARTITION + start + key_id] = dots[head] * scale;
            // The same once more for an odd key.
            scores[head * PARTITION + start + other_id] = dots[H + head] * scale;
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn weigh_values<E: LoadKv>(
    args: &AttendArgs<'_>,
    values: &[E],
    weights: &[f32],
    weighted: &mut [f32],
) {
    let head_dim = args.shape.head_dim;
    for (start, values, mut next) in args.runs_and_next(values) {
        let mut head = 0;
        while head < args.num_heads {
            let weights = &weights[head * PARTITION + start..];
            let weighted = &mut weighted[head * head_dim..];
            let runs = (values, std::mem::take(&mut next));
            let heads = heads_of(args.num_heads - head);
            match heads {
                1 => weigh_run::<E, 1>(runs, weights, head_dim, weighted),
                2 => weigh_run::<E, 2>(runs, weights, head_dim, weighted),
                3 => weigh_run::<E, 3>(runs, weights, head_dim, weighted),
                4 => weigh_run::<E, 4>(runs, weights, head_dim, weighted),
                5 => weigh_run::<E, 5>(runs, weights, head_dim, weighted),
                _ => weigh_run::<E, HEADS>(runs, weights, head_dim, weighted),
            }
            head += heads;
        }
    }
}

/// Adds the values of one run, weighted for each of `H` heads. Fetches the run after it meanwhile.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn weigh_run<E: LoadKv, const H: usize>(
    (values, next): (&[E], &[E]),
    weights: &[f32],
    head_dim: usize,
    weighted: &mut [f32],
) {
    let wide = head_dim - head_dim % (2 * LANES);
    for i in (0..wide).step_by(2 * LANES) {
        weigh_columns::<E, H, 2>((values, next), weights, head_dim, i, weighted);
    }
    if wide < head_dim {
        weigh_columns::<E, H, 1>((values, next), weights, head_dim, wide, weighted);
    }
}

/// The same for the `8 * V` elements from `first` on, with their share of the run after it.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn weigh_columns<E: LoadKv, const H: usize, const V: usize>(
    (values, next): (&[E], &[E]),
    weights: &[f32],
    head_dim: usize,
    first: usize,
    weighted: &mut [f32],
) {
    let num_positions = values.len() * E::LEN / head_dim;
    assert!(first + V * LANES <= head_dim && first.is_multiple_of(LANES));
    assert!(weighted.len() >= H * head_dim);
    assert!(weights.len() >= (H - 1) * PARTITION + num_positions);
    let (column, stride) = (values[first / E::LEN..].as_ptr(), head_dim / E::LEN);
    let mut sums = [[_mm256_setzero_ps(); V]; H];
    for (head, sums) in sums.iter_mut().enumerate() {
        for (v, sum) in sums.iter_mut().enumerate() {
            let at = head * head_dim + first + v * LANES;
            // SAFETY: asserted above.
            *sum = unsafe { _mm256_loadu_ps(weighted.as_ptr().add(at)) };
        }
    }
    for position in 0..num_positions {
        prefetch_element(next, first * num_positions + position * V * LANES);
        // SAFETY: `position` and the columns are within `values`, as asserted above.
        let step = unsafe { E::step(column.add(position * stride)) };
        let mut value = [_mm256_setzero_ps(); V];
        for (v, value) in value.iter_mut().enumerate() {
            // SAFETY: as above; the columns are in one step, or a step is a place.
            *value = unsafe { E::load8(step, first % E::LEN + v * LANES) };
        }
        for (head, sums) in sums.iter_mut().enumerate() {
            // SAFETY: asserted above.
            let weight = unsafe { *weights.get_unchecked(head * PARTITION + position) };
            let weight = _mm256_set1_ps(weight);
            for (sum, value) in sums.iter_mut().zip(value) {
                *sum = _mm256_fmadd_ps(weight, value, *sum);
            }
        }
    }
    for (head, sums) in sums.iter().enumerate() {
        for (v, sum) in sums.iter().enumerate() {
            let at = head * head_dim + first + v * LANES;
            // SAFETY: asserted above.
            unsafe { _mm256_storeu_ps(weighted.as_mut_ptr().add(at), *sum) };
        }
    }
}
