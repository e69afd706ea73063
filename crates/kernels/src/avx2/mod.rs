//! Kernels for AVX2 with FMA and F16C.
//!
//! Loads of the storage types and the register-blocked loops are written with intrinsics; row
//! operations are the shared loops, compiled here with the wider instructions.

mod ahead;
pub(crate) mod attention;
mod kv_q8_0;
mod linear;
mod pack;
pub(crate) mod quantized;
mod rounding;
pub(crate) mod super_blocks;
mod words;

use std::arch::x86_64::*;

use half::{bf16, f16};

use crate::read;
use crate::row::{self, RmsNormArgs, RopeArgs};

pub(crate) use ahead::Ahead;
pub(crate) use attention::attend;
pub(crate) use kv_q8_0::{scale as q8_0_scale, unpack_q8_0};
pub(crate) use linear::linear;
pub(crate) use pack::pack_group;
pub(crate) use quantized::quantized_linear;
pub(crate) use rounding::{quantize_rows, quantize_super_rows};
pub(crate) use super_blocks::super_linear;
pub(crate) use words::{FIRST_BYTES, Word, prefetch_ahead, prefetch_element, prefetch_elements};

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn rms_norm(args: &RmsNormArgs<'_>, out: &mut [f32]) {
    row::rms_norm(args, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn rope(args: &RopeArgs<'_>, rows: &mut [f32]) {
    row::rope(args, rows);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    row::silu_mul(gate, up, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn sum_words(bytes: &[u8]) -> u64 {
    read::sum_words(bytes)
}

/// An element of which eight are widened at a time.
pub(crate) trait Load: Copy {
    /// Loads eight elements as `f32`.
    ///
    /// # Safety
    /// The CPU has AVX2 and F16C; eight elements are readable at `source`, aligned or not.
    unsafe fn load8(source: *const Self) -> __m256;

    fn to_f32(self) -> f32;
}

impl Load for f32 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load8(source: *const Self) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(source) }
    }

    #[inline]
    fn to_f32(self) -> f32 {
        self
    }
}

impl Load for f16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load8(source: *const Self) -> __m256 {
        // SAFETY: the caller's promise; eight half floats are 16 bytes.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(source.cast()) })
    }

    #[inline]
    fn to_f32(self) -> f32 {
        self.to_f32_const()
    }
}

impl Load for bf16 {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn load8(source: *const Self) -> __m256 {
        // SAFETY: the caller's promise; eight half floats are 16 bytes.
        let halves = unsafe { _mm_loadu_si128(source.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }

    #[inline]
    fn to_f32(self) -> f32 {
        self.to_f32_const()
    }
}

/// The sums of the lanes of eight vectors.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn sum_lanes(v: [__m256; 8]) -> [f32; 8] {
    let low = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
    let high = _mm256_hadd_ps(_mm256_hadd_ps(v[4], v[5]), _mm256_hadd_ps(v[6], v[7]));
    let first = _mm256_permute2f128_ps::<0x20>(low, high);
    let second = _mm256_permute2f128_ps::<0x31>(low, high);
    let mut sums = [0f32; 8];
    // SAFETY: `sums` has room for eight floats.
    unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), _mm256_add_ps(first, second)) };
    sums
}

/// Stores the lanes, or the first of them, as many as fit.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store(lanes: __m256, out: &mut [f32]) {
    if let Some(out) = out.first_chunk_mut::<8>() {
        // SAFETY: `out` has room for eight floats.
        return unsafe { _mm256_storeu_ps(out.as_mut_ptr(), lanes) };
    }
    let mut values = [0f32; 8];
    // SAFETY: `values` has room for eight floats.
    unsafe { _mm256_storeu_ps(values.as_mut_ptr(), lanes) };
    for (out, value) in out.iter_mut().zip(values) {
        *out = value;
    }
}
