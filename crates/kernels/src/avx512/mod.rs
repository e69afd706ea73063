//! Kernels for AVX-512 (F, BW and VL) with VNNI.
//!
//! They read what those for AVX2 read and make the same bits. A vector is two of AVX2's side by
//! side, of two groups of weight rows, two keys or sixteen columns, and never a longer sum; so the
//! order of additions stays, and with it the text that a model writes. For the same reason there
//! is no use of the instructions for bf16, which would round the activations as well.

mod attention;
mod attention_rows;
mod linear;
pub(crate) mod quantized;
pub(crate) mod super_blocks;
mod words;

use std::arch::x86_64::*;

use half::{bf16, f16};

use crate::avx2::{Load, prefetch_ahead};
use crate::fetch::is_into_second_level;
use crate::packed::GROUP;
use crate::row;

pub(crate) use attention::attend;
pub(crate) use attention_rows::attend_rows;
pub(crate) use linear::linear;
pub(crate) use quantized::quantized_linear;
pub(crate) use super_blocks::super_linear;

/// Weight rows of a vector: those of two groups.
pub(crate) const PAIR: usize = 2 * GROUP;
/// Bytes of each of two groups by which fetching is ahead of reading: enough for the memory's
/// latency, and together less than the smallest first-level cache.
const PAIR_AHEAD: usize = 8 * 1024;
/// The same if the second level is what is fetched into.
const PAIR_AHEAD_OF_SECOND: usize = 16 * 1024;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn sum_words(bytes: &[u8]) -> u64 {
    crate::read::sum_words(bytes)
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    row::silu_mul(gate, up, out);
}

/// An element of which eight at one place and eight at another are widened together.
trait LoadPair: Load {
    /// Loads eight elements at `low` and eight at `high` as `f32`.
    ///
    /// # Safety
    /// The CPU has AVX-512; eight elements are readable at both places, aligned or not.
    unsafe fn load_pair(low: *const Self, high: *const Self) -> __m512;
}

impl LoadPair for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn load_pair(low: *const Self, high: *const Self) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { join_floats(_mm256_loadu_ps(low), _mm256_loadu_ps(high)) }
    }
}

impl LoadPair for f16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn load_pair(low: *const Self, high: *const Self) -> __m512 {
        // SAFETY: the caller's promise; eight half floats are 16 bytes.
        _mm512_cvtph_ps(unsafe { halves(low.cast(), high.cast()) })
    }
}

impl LoadPair for bf16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn load_pair(low: *const Self, high: *const Self) -> __m512 {
        // SAFETY: the caller's promise; eight half floats are 16 bytes.
        let halves = unsafe { halves(low.cast(), high.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }
}

/// # Safety
/// The CPU has AVX-512; 16 bytes are readable at both places.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn halves(low: *const __m128i, high: *const __m128i) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe {
        let low = _mm256_castsi128_si256(_mm_loadu_si128(low));
        _mm256_inserti128_si256::<1>(low, _mm_loadu_si128(high))
    }
}

/// How far behind a block of two groups side by side, `rest` bytes before their ends, lies what is
/// to be fetched meanwhile: the bytes ahead, and in place of those behind a group's end the first
/// ones of the group in its place in the next pair. So each byte is asked for once, and equally
/// early.
fn ahead_of_pair(rest: usize, group_bytes: usize) -> usize {
    let ahead = if is_into_second_level() { PAIR_AHEAD_OF_SECOND } else { PAIR_AHEAD };
    let ahead = ahead.min(group_bytes);
    if ahead < rest { ahead } else { ahead + group_bytes }
}

/// Fetches what lies [`ahead_of_pair`] of the same block of two groups.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn prefetch_pair(blocks: [&[u8]; 2], rest: usize, group_bytes: usize) {
    let ahead = ahead_of_pair(rest, group_bytes);
    for block in blocks {
        prefetch_ahead(block, ahead);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn join(low: __m256i, high: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn join_floats(low: __m256, high: __m256) -> __m512 {
    _mm512_castsi512_ps(join(_mm256_castps_si256(low), _mm256_castps_si256(high)))
}

/// The lower and the upper half.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn split(pair: __m512) -> [__m256; 2] {
    let high = _mm512_extracti64x4_epi64::<1>(_mm512_castps_si512(pair));
    [_mm512_castps512_ps256(pair), _mm256_castsi256_ps(high)]
}

/// Eight floats, twice.
///
/// # Safety
/// The CPU has AVX-512; eight floats are readable there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn twice(source: *const f32) -> __m512 {
    // SAFETY: the caller's promise.
    let eight = unsafe { _mm256_loadu_ps(source) };
    _mm512_castpd_ps(_mm512_broadcast_f64x4(_mm256_castps_pd(eight)))
}

/// Four activations in each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn broadcast(quad: [i8; 4]) -> __m512i {
    _mm512_set1_epi32(i32::from_le_bytes(quad.map(i8::cast_unsigned)))
}

/// The first lanes, as many as fit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn store(lanes: __m512, out: &mut [f32]) {
    assert!(!out.is_empty(), "columns have a width");
    let mask = u16::MAX >> (PAIR - PAIR.min(out.len()));
    // SAFETY: the mask leaves as many lanes as `out` has room for.
    unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask, lanes) };
}

/// The bytes of the first group and of the second, which is the first once more where a matrix
/// ends with an odd one.
pub(crate) fn pair_of(groups: &[u8], group_bytes: usize) -> [&[u8]; 2] {
    let (first, second) = groups.split_at(group_bytes);
    [first, if second.is_empty() { first } else { second }]
}
