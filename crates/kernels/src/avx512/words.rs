//! Words of sixteen weight rows: of two packed groups side by side.

use std::arch::x86_64::*;

use super::{halves, join};
use crate::avx2::{FIRST_BYTES, Word};

/// Kernels multiply sums of 32 bits with a scale as pairs of numbers: their low 16 bits with the
/// scale itself, and what is above with zero.
impl Word for __m512i {
    type Blocks = [*const u8; 2];
    type Floats = __m512;

    #[inline(always)]
    unsafe fn load(blocks: [*const u8; 2], byte: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let [low, high] = blocks.map(|block| block.add(byte).cast());
            join(_mm256_loadu_si256(low), _mm256_loadu_si256(high))
        }
    }

    #[inline(always)]
    unsafe fn half_floats(blocks: [*const u8; 2], byte: usize) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe {
            let [low, high] = blocks.map(|block| block.add(byte).cast());
            _mm512_cvtph_ps(halves(low, high))
        }
    }

    #[inline(always)]
    unsafe fn half_pairs(self) -> (__m512, __m512) {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm512_cvtepi32_epi16(self);
            let high = _mm512_cvtepi32_epi16(_mm512_srli_epi32::<16>(self));
            (_mm512_cvtph_ps(low), _mm512_cvtph_ps(high))
        }
    }

    #[inline(always)]
    unsafe fn no_floats() -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(byte: u8) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_epi8(byte.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_and_si512(self, other) }
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_or_si512(self, other) }
    }

    #[inline(always)]
    unsafe fn shl(self, bits: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_sll_epi16(self, _mm_cvtsi32_si128(bits.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn shr(self, bits: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_srl_epi16(self, _mm_cvtsi32_si128(bits.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_sub_epi8(self, other) }
    }

    #[inline(always)]
    unsafe fn shuffle(self, index: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            // The instruction counts in 16 bytes.
            let lanes = _mm512_broadcast_i32x4(_mm_loadu_si128(FIRST_BYTES.as_ptr().cast()));
            let index = _mm512_or_si512(lanes, _mm512_set1_epi32(index.cast_signed()));
            _mm512_shuffle_epi8(self, index)
        }
    }

    #[inline(always)]
    unsafe fn sixteen_where_set(self, mask: u32) -> Self {
        // SAFETY: the caller's promise. A byte of `mask` has one bit.
        unsafe {
            let is_set = _mm512_test_epi8_mask(self, _mm512_set1_epi32(mask.cast_signed()));
            _mm512_maskz_mov_epi8(is_set, _mm512_set1_epi8(16))
        }
    }

    #[inline(always)]
    unsafe fn high_bytes(self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm512_srai_epi16::<8>(self) }
    }

    #[inline(always)]
    unsafe fn scale(self, index: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.shuffle(0x8080_8000_u32 | index as u32) }
    }

    #[inline(always)]
    unsafe fn signed_scale(self, index: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.shuffle(0x8080_0080_u32 | (index << 8) as u32).high_bytes() }
    }
}
