//! Reading packed blocks: a word of eight weight rows is a vector.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::fetch::{LINE, fetch};
use crate::kv::Stored;
use crate::packed::GROUP;

/// Bytes of a word of eight rows.
pub(crate) const WORD: usize = 4 * GROUP;
/// Bytes of a half float of each of eight rows.
pub(crate) const HALVES: usize = 2 * GROUP;

/// A word of each of some weight rows, a row per lane of 32 bits: of eight rows, or with AVX-512 of
/// sixteen. Formats are unpacked by one code for both, which is compiled where it is used, with the
/// instructions of the kernel there.
///
/// # Safety
/// What all functions ask for: the CPU has the instructions of the vector, and what is loaded is
/// readable.
pub(crate) trait Word: Copy {
    /// Where packed blocks of eight rows each begin, one block or several.
    type Blocks: Copy;
    type Floats: Copy;

    /// The word at `byte` of the blocks.
    unsafe fn load(blocks: Self::Blocks, byte: usize) -> Self;
    /// Half floats of 16 bits for each row, at `byte` of the blocks.
    unsafe fn half_floats(blocks: Self::Blocks, byte: usize) -> Self::Floats;
    /// The low and the high half float of each lane.
    unsafe fn half_pairs(self) -> (Self::Floats, Self::Floats);
    unsafe fn no_floats() -> Self::Floats;
    unsafe fn splat(byte: u8) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    unsafe fn or(self, other: Self) -> Self;
    /// Of 16 bits each.
    unsafe fn shl(self, bits: u32) -> Self;
    /// Of 16 bits each.
    unsafe fn shr(self, bits: u32) -> Self;
    /// Of bytes.
    unsafe fn minus(self, other: Self) -> Self;
    /// Bytes of each lane by their indices: those of `index`, or 0 where its top bit is set.
    unsafe fn shuffle(self, index: u32) -> Self;
    /// 16 in each byte that has the one bit of the same byte of `mask`.
    unsafe fn sixteen_where_set(self, mask: u32) -> Self;
    /// High bytes of 16 bits each, as signed numbers of 16 bits.
    unsafe fn high_bytes(self) -> Self;
    /// Of each lane the byte `index`, unsigned, as what kernels multiply products with.
    unsafe fn scale(self, index: usize) -> Self;
    /// The same of a signed byte.
    unsafe fn signed_scale(self, index: usize) -> Self;

    /// Bytes `a` and `b` of each lane as a pair of unsigned 16 bits.
    #[inline(always)]
    unsafe fn pair(self, a: usize, b: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.shuffle(0x8000_8000_u32 | (a | b << 16) as u32) }
    }

    /// The same of signed bytes.
    #[inline(always)]
    unsafe fn signed_pair(self, a: usize, b: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.shuffle(0x0080_0080_u32 | (a << 8 | b << 24) as u32).high_bytes() }
    }
}

/// Kernels multiply pairs of sums of 16 bits with a scale, which is there twice.
impl Word for __m256i {
    type Blocks = *const u8;
    type Floats = __m256;

    #[inline(always)]
    unsafe fn load(blocks: *const u8, byte: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_si256(blocks.add(byte).cast()) }
    }

    #[inline(always)]
    unsafe fn half_floats(blocks: *const u8, byte: usize) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(blocks.add(byte).cast())) }
    }

    #[inline(always)]
    unsafe fn half_pairs(self) -> (__m256, __m256) {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm256_and_si256(self, _mm256_set1_epi32(0xffff));
            let packed = _mm256_packus_epi32(low, _mm256_srli_epi32::<16>(self));
            let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
            let first = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
            (first, _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(packed)))
        }
    }

    #[inline(always)]
    unsafe fn no_floats() -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_setzero_ps() }
    }

    #[inline(always)]
    unsafe fn splat(byte: u8) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_set1_epi8(byte.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_and_si256(self, other) }
    }

    #[inline(always)]
    unsafe fn or(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_or_si256(self, other) }
    }

    #[inline(always)]
    unsafe fn shl(self, bits: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_sll_epi16(self, _mm_cvtsi32_si128(bits.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn shr(self, bits: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_srl_epi16(self, _mm_cvtsi32_si128(bits.cast_signed())) }
    }

    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_sub_epi8(self, other) }
    }

    #[inline(always)]
    unsafe fn shuffle(self, index: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            // The instruction counts in 16 bytes.
            let lanes = _mm256_broadcastsi128_si256(_mm_loadu_si128(FIRST_BYTES.as_ptr().cast()));
            let index = _mm256_or_si256(lanes, _mm256_set1_epi32(index.cast_signed()));
            _mm256_shuffle_epi8(self, index)
        }
    }

    #[inline(always)]
    unsafe fn sixteen_where_set(self, mask: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let mask = _mm256_set1_epi32(mask.cast_signed());
            let is_set = _mm256_cmpeq_epi8(_mm256_and_si256(self, mask), mask);
            _mm256_and_si256(is_set, _mm256_set1_epi8(16))
        }
    }

    #[inline(always)]
    unsafe fn high_bytes(self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { _mm256_srai_epi16::<8>(self) }
    }

    #[inline(always)]
    unsafe fn scale(self, index: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.pair(index, index) }
    }

    #[inline(always)]
    unsafe fn signed_scale(self, index: usize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.signed_pair(index, index) }
    }
}

/// Of each byte of four lanes, the lane's first one.
pub(crate) static FIRST_BYTES: [u8; 16] = [0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12];

/// Fetches what lies [`AHEAD`] of `block`. The CPU foresees a stream by itself, but only as far as
/// the next page of 4 KiB.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn prefetch(block: &[u8]) {
    const AHEAD: usize = 6 * 1024;
    prefetch_ahead(block, AHEAD);
}

/// Fetches as many bytes as `block` has from `ahead` bytes behind its beginning on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn prefetch_ahead(block: &[u8], ahead: usize) {
    for line in (0..block.len()).step_by(LINE) {
        fetch(block.as_ptr().wrapping_add(ahead + line));
    }
}

/// Fetches elements `range` of `stored`, as far as there are as many.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn prefetch_elements<E: Stored>(stored: &[E], range: Range<usize>) {
    let bytes = size_of_val(stored);
    let byte = |element: usize| (element / E::LEN * size_of::<E>()).min(bytes);
    for line in (byte(range.start)..byte(range.end)).step_by(LINE) {
        fetch(stored.as_ptr().cast::<u8>().wrapping_add(line));
    }
}

/// Fetches what has element `index` of `stored`, if anything is stored.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn prefetch_element<E: Stored>(stored: &[E], index: usize) {
    if !stored.is_empty() {
        fetch(stored.as_ptr().wrapping_add(index / E::LEN).cast());
    }
}
