//! Rounding of activations to 8 bits, with the numbers of the reference.

use std::arch::x86_64::*;

use crate::quantized::{BLOCK_LEN, RowBlock};
use crate::row::LANES;
use crate::super_blocks::{SPARSE_MAX, SUPER_LEN, SuperRow, TAKEN, inverse_scale};

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn quantize_super_rows(rows: &[f32], k: usize, out: &mut [SuperRow]) {
    let num_rows = rows.len() / k;
    for (row_id, row) in rows.chunks_exact(k).enumerate() {
        for (block_id, elements) in row.as_chunks().0.iter().enumerate() {
            quantize_super(elements, &mut out[block_id * num_rows + row_id]);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn quantize_rows(rows: &[f32], k: usize, out: &mut [RowBlock]) {
    let num_rows = rows.len() / k;
    for (row_id, row) in rows.chunks_exact(k).enumerate() {
        for (block_id, elements) in row.as_chunks().0.iter().enumerate() {
            quantize(elements, &mut out[block_id * num_rows + row_id]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn quantize_super(elements: &[f32; SUPER_LEN], out: &mut SuperRow) {
    let inverse = match inverse_scale(largest(elements)) {
        Ok(inverse) => inverse,
        Err(scale) => return *out = SuperRow { scale, ..SuperRow::default() },
    };
    out.scale = 1.0 / inverse;
    let mut sixteenths = [_mm256_setzero_si256(); 8];
    let mut magnitudes = _mm256_setzero_si256();
    let chunks = elements.as_chunks::<BLOCK_LEN>().0.iter().zip(out.quants.as_chunks_mut().0);
    for ((elements, quants), sums) in chunks.zip(&mut sixteenths) {
        let quants = round(elements, inverse, quants);
        *sums = pair_sums(quants);
        let halves = _mm256_sad_epu8(_mm256_abs_epi8(quants), _mm256_setzero_si256());
        let both = _mm256_add_epi32(halves, _mm256_shuffle_epi32::<0b01_00_11_10>(halves));
        magnitudes = _mm256_max_epi32(magnitudes, both);
    }
    let most = _mm256_set1_epi32(SPARSE_MAX.into());
    out.is_dense = _mm256_movemask_epi8(_mm256_cmpgt_epi32(magnitudes, most)) != 0;
    // Those of eight times sixteen elements in order.
    let (first, last) = sixteenths.split_at(4);
    let (first, last) = (in_order(first), in_order(last));
    let ones = _mm256_set1_epi16(1);
    let sums = _mm256_packs_epi32(_mm256_madd_epi16(first, ones), _mm256_madd_epi16(last, ones));
    let sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(sums);
    let doubles = _mm256_madd_epi16(sums, ones);
    let doubles = _mm256_packs_epi32(doubles, doubles);
    let doubles = _mm256_permute4x64_epi64::<0b11_01_10_00>(doubles);
    let halves = [_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums)];
    for (taken, sums) in out.taken.as_chunks_mut::<LANES>().0.iter_mut().zip(halves) {
        let factor = _mm256_set1_epi32((-TAKEN).into());
        let numbers = _mm256_mullo_epi32(_mm256_cvtepi16_epi32(sums), factor);
        // SAFETY: eight numbers of 32 bits.
        unsafe { _mm256_storeu_si256(taken.as_mut_ptr().cast(), numbers) };
    }
    let taken = _mm256_set1_epi16(-TAKEN);
    let (taken_first, taken_last) = out.taken_halves.split_at_mut(16);
    // SAFETY: there are twice sixteen, sixteen and eight numbers of 16 bits.
    unsafe {
        let [first, last] = [first, last].map(|sums| _mm256_mullo_epi16(sums, taken));
        _mm256_storeu_si256(taken_first.as_mut_ptr().cast(), first);
        _mm256_storeu_si256(taken_last.as_mut_ptr().cast(), last);
        _mm256_storeu_si256(out.sums.as_mut_ptr().cast(), sums);
        _mm_storeu_si128(out.double_sums.as_mut_ptr().cast(), _mm256_castsi256_si128(doubles));
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn quantize(elements: &[f32; BLOCK_LEN], out: &mut RowBlock) {
    let largest = largest(elements);
    if !largest.is_finite() {
        return *out = RowBlock::not_finite();
    }
    let scale = largest / 127.0;
    out.scale = round_to_half(scale);
    if out.scale == 0.0 {
        return *out = RowBlock::default();
    }
    let sums = pair_sums(round(elements, 127.0 / largest, &mut out.quants));
    let halves = _mm_add_epi16(_mm256_castsi256_si128(sums), _mm256_extracti128_si256::<1>(sums));
    let pair = _mm_cvtsi128_si32(halves);
    let half_sums = [pair as i16, (pair >> 16) as i16];
    out.sum = i32::from(half_sums[0]) + i32::from(half_sums[1]);
    out.scaled_sum = round_to_half(scale * out.sum as f32);
    out.taken = [-8 * half_sums[0], -8 * half_sums[1]];
}

/// The largest magnitude; NaN if one is.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn largest(elements: &[f32]) -> f32 {
    let magnitude = _mm256_set1_epi32(i32::MAX);
    let mut largest = _mm256_setzero_si256();
    for elements in elements.as_chunks::<LANES>().0 {
        // SAFETY: eight floats.
        let elements = unsafe { _mm256_loadu_si256(elements.as_ptr().cast()) };
        // As integers, magnitudes compare alike, and NaN is the largest.
        largest = _mm256_max_epi32(largest, _mm256_and_si256(elements, magnitude));
    }
    let half =
        _mm_max_epi32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256::<1>(largest));
    let half = _mm_max_epi32(half, _mm_shuffle_epi32::<0b01_00_11_10>(half));
    let half = _mm_max_epi32(half, _mm_shuffle_epi32::<0b10_11_00_01>(half));
    f32::from_bits(_mm_cvtsi128_si32(half).cast_unsigned())
}

/// Multiplies and rounds 32 elements to integers from -127 to 127.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn round(elements: &[f32; BLOCK_LEN], factor: f32, out: &mut [i8; BLOCK_LEN]) -> __m256i {
    let factor = _mm256_set1_ps(factor);
    let mut integers = [_mm256_setzero_si256(); 4];
    for (integers, elements) in integers.iter_mut().zip(elements.as_chunks::<LANES>().0) {
        // SAFETY: eight floats.
        let elements = unsafe { _mm256_loadu_ps(elements.as_ptr()) };
        *integers = _mm256_cvtps_epi32(_mm256_mul_ps(elements, factor));
    }
    let [a, b, c, d] = integers;
    // Packing works in each half of a vector by itself.
    let quants = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let quants = _mm256_permutevar8x32_epi32(quants, order);
    // SAFETY: 32 bytes.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), quants) };
    quants
}

/// Of each sixteen quants the sums of the first two of each four, and of the last two: a pair of
/// 16 bits, the same in all lanes of a half.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn pair_sums(quants: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), quants);
    let pairs = _mm256_add_epi16(pairs, _mm256_shuffle_epi32::<0b01_00_11_10>(pairs));
    _mm256_add_epi16(pairs, _mm256_shuffle_epi32::<0b10_11_00_01>(pairs))
}

/// Pairs of the halves of four vectors one after the other.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn in_order(sums: &[__m256i]) -> __m256i {
    let &[a, b, c, d] = sums else { unreachable!("four vectors") };
    let ab = _mm256_blend_epi32::<0b1010_1010>(a, b);
    let cd = _mm256_blend_epi32::<0b1010_1010>(c, d);
    let all = _mm256_blend_epi32::<0b1100_1100>(ab, cd);
    // All first halves, then all second ones.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_permutevar8x32_epi32(all, order)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn round_to_half(x: f32) -> f32 {
    let half = _mm_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(_mm_set_ss(x));
    _mm_cvtss_f32(_mm_cvtph_ps(half))
}
