//! Reading packed blocks: a word of eight weight rows is a vector.

use std::arch::x86_64::*;
use std::ops::Range;

/// # Safety
/// The CPU has AVX2; 32 bytes are readable there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn load(words: *const __m256i, word: usize) -> __m256i {
    // SAFETY: the caller's promise.
    unsafe { _mm256_loadu_si256(words.add(word)) }
}

/// Eight half floats.
///
/// # Safety
/// The CPU has AVX2 and F16C; 16 bytes are readable there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn half_floats(halves: *const __m256i) -> __m256 {
    // SAFETY: the caller's promise.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(halves.cast()) })
}

/// The low and the high half floats of a word.
///
/// # Safety
/// The CPU has AVX2 and F16C; 32 bytes are readable there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn half_pairs(word: *const __m256i) -> (__m256, __m256) {
    // SAFETY: the caller's promise.
    let pairs = unsafe { load(word, 0) };
    let low = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff));
    let packed = _mm256_packus_epi32(low, _mm256_srli_epi32::<16>(pairs));
    let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
    let first = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
    (first, _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(packed)))
}

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
    for line in (0..block.len()).step_by(64) {
        // An address past the end does no harm.
        _mm_prefetch::<_MM_HINT_T0>(block.as_ptr().wrapping_add(ahead + line).cast());
    }
}

/// Fetches elements `range` of `elements`, as far as there are as many.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn prefetch_elements<E>(elements: &[E], range: Range<usize>) {
    let range = range.start.min(elements.len())..range.end.min(elements.len());
    for element in elements[range].iter().step_by(64 / size_of::<E>()) {
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(element).cast());
    }
}
