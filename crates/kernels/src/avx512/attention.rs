//! Attention over one partition: scores of two keys in one vector, each in eight lanes as for
//! AVX2, four keys at a time, then values weighted for sixteen elements in one. Up to eight heads
//! share what is read.

use std::arch::x86_64::*;

use super::{LoadPair, join_floats, twice};
use crate::attention::{AttendArgs, PARTITION};
use crate::avx2::attention::{LoadKv, exponentiate_all, weigh_columns as weigh_eight_columns};
use crate::avx2::{prefetch_element, prefetch_elements, q8_0_scale};
use crate::floats::{Element, Floats};
use crate::kv::KvElements;
use crate::kv_q8_0::Block;
use crate::row::LANES;

/// Query heads that are computed together.
const HEADS: usize = 8;
/// Keys that are computed together, so that what is read of a query serves all of them.
const KEYS: usize = 4;
/// Elements of a value in one vector.
const WIDE: usize = 2 * LANES;

/// Keys and values of which eight elements at one place and eight at another are widened together.
trait LoadKvPair: LoadKv {
    /// What loads of two steps share.
    type Pair: Copy;

    /// # Safety
    /// The CPU has AVX-512; there are [`LoadKv::STEP`] elements from both places on.
    unsafe fn pair(low: *const Self, high: *const Self) -> Self::Pair;

    /// Loads eight elements of each step.
    ///
    /// # Safety
    /// As [`Self::pair`]; there are as many from element `i` of the steps on, a multiple of 8.
    unsafe fn load_pair(pair: Self::Pair, i: usize) -> __m512;

    /// Loads sixteen elements of the first step that follow one another.
    ///
    /// # Safety
    /// As [`Self::pair`]; there are as many from element `i` on, a multiple of 16.
    unsafe fn load_wide(pair: Self::Pair, i: usize) -> __m512;
}

impl<E: LoadPair + Element> LoadKvPair for E {
    type Pair = [*const E; 2];

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn pair(low: *const E, high: *const E) -> [*const E; 2] {
        [low, high]
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn load_pair([low, high]: [*const E; 2], i: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { E::load_pair(low.add(i), high.add(i)) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn load_wide([first, _]: [*const E; 2], i: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { E::load_pair(first.add(i), first.add(i + LANES)) }
    }
}

impl LoadKvPair for Block {
    /// The quants of both blocks, and their scales.
    type Pair = ([*const u8; 2], __m512);

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn pair(low: *const Block, high: *const Block) -> Self::Pair {
        // SAFETY: the caller's promise.
        let blocks = unsafe { [&*low, &*high] };
        let scales = join_floats(q8_0_scale(blocks[0]), q8_0_scale(blocks[1]));
        (blocks.map(|block| block[2..].as_ptr()), scales)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn load_pair(([low, high], scales): Self::Pair, i: usize) -> __m512 {
        // SAFETY: the caller's promise.
        let (low, high) =
            unsafe { (_mm_loadl_epi64(low.add(i).cast()), _mm_loadl_epi64(high.add(i).cast())) };
        let quants = _mm512_cvtepi8_epi32(_mm_unpacklo_epi64(low, high));
        _mm512_mul_ps(_mm512_cvtepi32_ps(quants), scales)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn load_wide(([first, _], scales): Self::Pair, i: usize) -> __m512 {
        // SAFETY: the caller's promise.
        let quants = unsafe { _mm_loadu_si128(first.add(i).cast()) };
        _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(quants)), scales)
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn key_scores<E: LoadKvPair>(args: &AttendArgs<'_>, keys: &[E], scores: &mut [f32]) {
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
fn run_scores<E: LoadKvPair, const H: usize>(
    (keys, next): (&[E], &[E]),
    queries: &[f32],
    head_dim: usize,
    scale: f32,
    scores: &mut [f32],
) {
    let num_keys = keys.len() * E::LEN / head_dim;
    assert!(queries.len() >= H * head_dim && head_dim.is_multiple_of(E::STEP));
    assert!(scores.len() >= (H - 1) * PARTITION + num_keys);
    for first in (0..num_keys).step_by(KEYS) {
        prefetch_elements(next, first * head_dim..(first + KEYS) * head_dim);
        // Behind the last key it is computed again, and not stored.
        let key = |id: usize| (first + id).min(num_keys - 1) * head_dim / E::LEN;
        let keys_of_pairs = [[key(0), key(1)], [key(2), key(3)]];
        let mut sums = [[_mm512_setzero_ps(); HEADS]; KEYS / 2];
        for step in (0..head_dim).step_by(E::STEP) {
            // SAFETY: `head_dim` is a multiple of `STEP`, and all keys have that many elements.
            let pairs = keys_of_pairs.map(|[low, high]| unsafe {
                let keys = keys.as_ptr().add(step / E::LEN);
                E::pair(keys.add(low), keys.add(high))
            });
            for i in (0..E::STEP).step_by(LANES) {
                // SAFETY: as above.
                let pairs = pairs.map(|pair| unsafe { E::load_pair(pair, i) });
                for head in 0..H {
                    let at = head * head_dim + step + i;
                    // SAFETY: there are at least `H * head_dim` queries.
                    let q = unsafe { twice(queries.as_ptr().add(at)) };
                    for (sums, pair) in sums.iter_mut().zip(pairs) {
                        sums[head] = _mm512_fmadd_ps(q, pair, sums[head]);
                    }
                }
            }
        }
        let dots = sums.map(|sums| _mm512_mul_ps(sum_pairs(sums), _mm512_set1_ps(scale)));
        let mask = u8::MAX >> (8 - KEYS.min(num_keys - first));
        for (head, dots) in by_head(dots).into_iter().enumerate().take(H) {
            // SAFETY: the mask leaves as many lanes as there are keys, asserted above.
            unsafe {
                let scores = scores.as_mut_ptr().add(head * PARTITION + first);
                _mm_mask_storeu_ps(scores, mask, dots);
            }
        }
    }
}

/// Sums of the lower and of the upper half of eight vectors, each half's lanes added up as AVX2's
/// are: of both halves of four vectors, then of the others.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn sum_pairs(v: [__m512; HEADS]) -> __m512 {
    let [a, b] = [[v[0], v[1], v[2], v[3]], [v[4], v[5], v[6], v[7]]]
        .map(|[a, b, c, d]| add_neighbours(add_neighbours(a, b), add_neighbours(c, d)));
    _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b))
}

/// In each 128 bits two sums of neighbouring lanes of `a`, then two of `b`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_neighbours(a: __m512, b: __m512) -> __m512 {
    _mm512_add_ps(_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xdd>(a, b))
}

/// The scores of four keys with each head, from what [`sum_pairs`] makes of two pairs of keys.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn by_head([a, b]: [__m512; 2]) -> [__m128; HEADS] {
    let first = _mm512_setr_epi32(0, 4, 16, 20, 1, 5, 17, 21, 2, 6, 18, 22, 3, 7, 19, 23);
    let second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    let (low, high) = (_mm512_permutex2var_ps(a, first, b), _mm512_permutex2var_ps(a, second, b));
    [
        _mm512_extractf32x4_ps::<0>(low),
        _mm512_extractf32x4_ps::<1>(low),
        _mm512_extractf32x4_ps::<2>(low),
        _mm512_extractf32x4_ps::<3>(low),
        _mm512_extractf32x4_ps::<0>(high),
        _mm512_extractf32x4_ps::<1>(high),
        _mm512_extractf32x4_ps::<2>(high),
        _mm512_extractf32x4_ps::<3>(high),
    ]
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn weigh_values<E: LoadKvPair>(
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
fn weigh_run<E: LoadKvPair, const H: usize>(
    (values, next): (&[E], &[E]),
    weights: &[f32],
    head_dim: usize,
    weighted: &mut [f32],
) {
    let mut first = 0;
    while first + 2 * WIDE <= head_dim {
        weigh_columns::<E, H, 2>((values, next), weights, head_dim, first, weighted);
        first += 2 * WIDE;
    }
    if first + WIDE <= head_dim {
        weigh_columns::<E, H, 1>((values, next), weights, head_dim, first, weighted);
        first += WIDE;
    }
    if first < head_dim {
        weigh_eight_columns::<E, H, 1>((values, next), weights, head_dim, first, weighted);
    }
}

/// The same for the `16 * V` elements from `first` on, with their share of the run after it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn weigh_columns<E: LoadKvPair, const H: usize, const V: usize>(
    (values, next): (&[E], &[E]),
    weights: &[f32],
    head_dim: usize,
    first: usize,
    weighted: &mut [f32],
) {
    let num_positions = values.len() * E::LEN / head_dim;
    assert!(first + V * WIDE <= head_dim && first.is_multiple_of(WIDE));
    assert!(weighted.len() >= H * head_dim);
    assert!(weights.len() >= (H - 1) * PARTITION + num_positions);
    let (column, stride) = (values[first / E::LEN..].as_ptr(), head_dim / E::LEN);
    let mut sums = [[_mm512_setzero_ps(); V]; H];
    for (head, sums) in sums.iter_mut().enumerate() {
        for (v, sum) in sums.iter_mut().enumerate() {
            let at = head * head_dim + first + v * WIDE;
            // SAFETY: asserted above.
            *sum = unsafe { _mm512_loadu_ps(weighted.as_ptr().add(at)) };
        }
    }
    for position in 0..num_positions {
        prefetch_element(next, first * num_positions + position * V * WIDE);
        // SAFETY: `position` and the columns are within `values`, as asserted above.
        let pair = unsafe {
            let step = column.add(position * stride);
            E::pair(step, step)
        };
        let mut value = [_mm512_setzero_ps(); V];
        for (v, value) in value.iter_mut().enumerate() {
            // SAFETY: as above; the columns are in one step, or a step is a place.
            *value = unsafe { E::load_wide(pair, first % E::LEN + v * WIDE) };
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
