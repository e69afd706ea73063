//! Products with weights in blocks of 32, eight weight rows at a time.
//!
//! The same block of eight rows is transposed so that a vector holds four elements of each row,
//! one row per 32-bit lane. Against it four elements of a row of activations are broadcast, so
//! that a lane ends as the whole sum of its row without adding across lanes. Unpacked weights stay
//! in registers while all rows of a tile pass.
//!
//! Integer sums are exact and the float operations are those of the reference in its order, so
//! results have the reference's bits.

use std::arch::x86_64::*;

use crate::quantized::{BLOCK_LEN, BlockFormat, QuantizedLinearArgs, ROW_TILE, RowBlock};

/// Weight rows that are computed together.
const WEIGHTS: usize = 8;
/// Vectors of four elements of each of eight weight rows that make a block.
const STEPS: usize = BLOCK_LEN / 4;

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn quantize_rows(rows: &[f32], k: usize, out: &mut [RowBlock]) {
    crate::quantized::quantize_rows(rows, k, out);
}

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn quantized_linear(args: &QuantizedLinearArgs<'_>, out: &mut [f32]) {
    match args.format {
        BlockFormat::Q4_0 => linear_of::<Q4_0>(args, out),
        BlockFormat::Q4_1 => linear_of::<Q4_1>(args, out),
        BlockFormat::Q5_0 => linear_of::<Q5_0>(args, out),
        BlockFormat::Q5_1 => linear_of::<Q5_1>(args, out),
        BlockFormat::Q8_0 => linear_of::<Q8_0>(args, out),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn linear_of<F: Format>(args: &QuantizedLinearArgs<'_>, out: &mut [f32]) {
    let &QuantizedLinearArgs { weights, num_weights, num_rows, k, .. } = args;
    let num_blocks = k / BLOCK_LEN;
    let weight_bytes = num_blocks * F::FORMAT.block_bytes();
    let mut sums = [_mm256_setzero_ps(); ROW_TILE];
    for (tile_id, tile) in args.rows.chunks(ROW_TILE * num_blocks).enumerate() {
        let sums = &mut sums[..tile.len() / num_blocks];
        for first in (0..num_weights).step_by(WEIGHTS) {
            let count = WEIGHTS.min(num_weights - first);
            sums.fill(_mm256_setzero_ps());
            group::<F>(&weights[first * weight_bytes..], weight_bytes, count, tile, sums);
            for (row, sum) in sums.iter().enumerate() {
                let mut lanes = [0f32; WEIGHTS];
                // SAFETY: `lanes` has room for eight floats.
                unsafe { _mm256_storeu_ps(lanes.as_mut_ptr(), *sum) };
                for (weight, lane) in lanes.into_iter().enumerate().take(count) {
                    out[(first + weight) * num_rows + tile_id * ROW_TILE + row] = lane;
                }
            }
        }
    }
}

/// Adds the products of the first `count` weight rows, 1 to 8, and each row of the tile. Missing
/// weight rows are computed as copies of the last.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn group<F: Format>(
    weights: &[u8],
    weight_bytes: usize,
    count: usize,
    tile: &[RowBlock],
    sums: &mut [__m256],
) {
    let num_blocks = tile.len() / sums.len();
    assert!((1..=WEIGHTS).contains(&count) && weights.len() >= count * weight_bytes);
    assert!(weight_bytes == num_blocks * F::FORMAT.block_bytes());
    let starts: [usize; WEIGHTS] = std::array::from_fn(|row| row.min(count - 1) * weight_bytes);
    for (block_id, rows) in tile.chunks_exact(sums.len()).enumerate() {
        let at = block_id * F::FORMAT.block_bytes();
        // SAFETY: asserted above: each start is that of a row of `num_blocks` blocks.
        let blocks = starts.map(|start| unsafe { weights.as_ptr().add(start + at) });
        // SAFETY: each pointer is that of a whole block.
        let unpacked = unsafe { F::unpack(blocks) };
        // Eight short streams are more than what the hardware foresees: the next eight rows, which
        // lie behind these, are fetched meanwhile. An address past the end does no harm.
        let next = weights.as_ptr().wrapping_add(WEIGHTS * (weight_bytes + at));
        for line in 0..(WEIGHTS * F::FORMAT.block_bytes()).div_ceil(64) {
            _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line * 64).cast());
        }
        for (sum, row) in sums.iter_mut().zip(rows) {
            let dots = _mm256_cvtepi32_ps(dots::<F>(&unpacked.steps, row));
            let scale = _mm256_mul_ps(unpacked.scale, _mm256_set1_ps(row.scale));
            *sum = _mm256_add_ps(*sum, _mm256_mul_ps(dots, scale));
            if F::HAS_MIN {
                let share = _mm256_mul_ps(unpacked.min, _mm256_set1_ps(row.scaled_sum));
                *sum = _mm256_add_ps(*sum, share);
            }
        }
    }
}

/// Integer dot products of eight blocks of weights with one of activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dots<F: Format>(steps: &[__m256i; STEPS], row: &RowBlock) -> __m256i {
    let (quads, _) = row.quants.as_chunks::<4>();
    let ones = _mm256_set1_epi16(1);
    if F::SIGNED {
        let mut sum = _mm256_setzero_si256();
        for (&weight, &quad) in steps.iter().zip(quads) {
            let x = broadcast(quad);
            // Unsigned times signed is what there is: |w| * (x with the sign of w). At most
            // 2 * 128 * 127, which fits 16 bits.
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weight), _mm256_sign_epi8(x, weight));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, ones));
        }
        return sum;
    }
    let mut halves = [_mm256_setzero_si256(); 2];
    let half_len = STEPS / 2;
    for (half, sum) in halves.iter_mut().enumerate() {
        for step in half * half_len..(half + 1) * half_len {
            let x = broadcast(quads[step]);
            // Four steps make at most 4 * 2 * 31 * 127, which fits 16 bits.
            *sum = _mm256_add_epi16(*sum, _mm256_maddubs_epi16(steps[step], x));
        }
    }
    let [low, high] = halves.map(|sum| _mm256_madd_epi16(sum, ones));
    let sum = _mm256_add_epi32(low, high);
    match F::OFFSET {
        0 => sum,
        offset => _mm256_sub_epi32(sum, _mm256_set1_epi32(offset * row.sum)),
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn broadcast(quad: [i8; 4]) -> __m256i {
    _mm256_set1_epi32(i32::from_le_bytes(quad.map(i8::cast_unsigned)))
}

/// The same block of eight weight rows, a row per lane.
struct Unpacked {
    /// Elements `[4 i, 4 i + 4)` in step `i`: bytes, signed if the format is.
    steps: [__m256i; STEPS],
    scale: __m256,
    min: __m256,
}

trait Format {
    const FORMAT: BlockFormat;
    const SIGNED: bool = false;
    /// What is to be subtracted from each unsigned element.
    const OFFSET: i32 = 0;
    const HAS_MIN: bool = false;

    /// # Safety
    /// The CPU has AVX2 and F16C; each pointer is that of a readable block.
    unsafe fn unpack(blocks: [*const u8; WEIGHTS]) -> Unpacked;
}

struct Q4_0;
struct Q4_1;
struct Q5_0;
struct Q5_1;
struct Q8_0;

impl Format for Q4_0 {
    const FORMAT: BlockFormat = BlockFormat::Q4_0;
    const OFFSET: i32 = 8;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(blocks: [*const u8; WEIGHTS]) -> Unpacked {
        // SAFETY: a block has 2 bytes of scale and 16 of nibbles.
        let (scale, quads) = unsafe { (scales(blocks), quads(blocks, 2)) };
        Unpacked { steps: nibbles(quads), scale, min: _mm256_setzero_ps() }
    }
}

impl Format for Q4_1 {
    const FORMAT: BlockFormat = BlockFormat::Q4_1;
    const HAS_MIN: bool = true;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(blocks: [*const u8; WEIGHTS]) -> Unpacked {
        // SAFETY: a block has 4 bytes of scale and minimum and 16 of nibbles.
        let ((scale, min), quads) = unsafe { (scales_and_minima(blocks), quads(blocks, 4)) };
        Unpacked { steps: nibbles(quads), scale, min }
    }
}

impl Format for Q5_0 {
    const FORMAT: BlockFormat = BlockFormat::Q5_0;
    const OFFSET: i32 = 16;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(blocks: [*const u8; WEIGHTS]) -> Unpacked {
        // SAFETY: a block has 2 bytes of scale, 4 of high bits and 16 of nibbles.
        let (scale, bits, quads) = unsafe { (scales(blocks), words(blocks, 2), quads(blocks, 6)) };
        Unpacked { steps: with_bits(nibbles(quads), bits), scale, min: _mm256_setzero_ps() }
    }
}

impl Format for Q5_1 {
    const FORMAT: BlockFormat = BlockFormat::Q5_1;
    const HAS_MIN: bool = true;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(blocks: [*const u8; WEIGHTS]) -> Unpacked {
        // SAFETY: a block has 4 bytes of scale and minimum, 4 of high bits and 16 of nibbles.
        let ((scale, min), bits, quads) =
            unsafe { (scales_and_minima(blocks), words(blocks, 4), quads(blocks, 8)) };
        Unpacked { steps: with_bits(nibbles(quads), bits), scale, min }
    }
}

impl Format for Q8_0 {
    const FORMAT: BlockFormat = BlockFormat::Q8_0;
    const SIGNED: bool = true;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn unpack(blocks: [*const u8; WEIGHTS]) -> Unpacked {
        // SAFETY: a block has 2 bytes of scale and 32 of elements.
        let (scale, [a, b, c, d], [e, f, g, h]) =
            unsafe { (scales(blocks), quads(blocks, 2), quads(blocks, 18)) };
        Unpacked { steps: [a, b, c, d, e, f, g, h], scale, min: _mm256_setzero_ps() }
    }
}

/// The half floats at the start of each block.
///
/// # Safety
/// The CPU has AVX2 and F16C; two bytes are readable at each pointer.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn scales(blocks: [*const u8; WEIGHTS]) -> __m256 {
    // SAFETY: the caller's promise.
    let [a, b, c, d, e, f, g, h] =
        blocks.map(|block| unsafe { block.cast::<i16>().read_unaligned() });
    _mm256_cvtph_ps(_mm_setr_epi16(a, b, c, d, e, f, g, h))
}

/// The pairs of half floats at the start of each block.
///
/// # Safety
/// The CPU has AVX2 and F16C; four bytes are readable at each pointer.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn scales_and_minima(blocks: [*const u8; WEIGHTS]) -> (__m256, __m256) {
    // SAFETY: the caller's promise.
    let pairs = unsafe { words(blocks, 0) };
    let low = _mm256_and_si256(pairs, _mm256_set1_epi32(0xffff));
    let packed = _mm256_packus_epi32(low, _mm256_srli_epi32::<16>(pairs));
    let packed = _mm256_permute4x64_epi64::<0b11_01_10_00>(packed);
    let scales = _mm256_cvtph_ps(_mm256_castsi256_si128(packed));
    (scales, _mm256_cvtph_ps(_mm256_extracti128_si256::<1>(packed)))
}

/// The 32-bit word at `offset` of each block.
///
/// # Safety
/// The CPU has AVX2; four bytes are readable there in each block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn words(blocks: [*const u8; WEIGHTS], offset: usize) -> __m256i {
    // SAFETY: the caller's promise.
    let [a, b, c, d, e, f, g, h] =
        blocks.map(|block| unsafe { block.add(offset).cast::<i32>().read_unaligned() });
    _mm256_setr_epi32(a, b, c, d, e, f, g, h)
}

/// The 16 bytes at `offset` of each block, transposed: vector `i` has bytes `[4 i, 4 i + 4)`.
///
/// # Safety
/// The CPU has AVX2; 16 bytes are readable there in each block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn quads(blocks: [*const u8; WEIGHTS], offset: usize) -> [__m256i; 4] {
    let both = |row: usize| {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm_loadu_si128(blocks[row].add(offset).cast());
            let high = _mm_loadu_si128(blocks[row + 4].add(offset).cast());
            _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(low), high)
        }
    };
    let rows = [both(0), both(1), both(2), both(3)];
    let low01 = _mm256_unpacklo_epi32(rows[0], rows[1]);
    let high01 = _mm256_unpackhi_epi32(rows[0], rows[1]);
    let low23 = _mm256_unpacklo_epi32(rows[2], rows[3]);
    let high23 = _mm256_unpackhi_epi32(rows[2], rows[3]);
    [
        _mm256_unpacklo_epi64(low01, low23),
        _mm256_unpackhi_epi64(low01, low23),
        _mm256_unpacklo_epi64(high01, high23),
        _mm256_unpackhi_epi64(high01, high23),
    ]
}

/// The low and then the high nibbles.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles(quads: [__m256i; 4]) -> [__m256i; STEPS] {
    let mask = _mm256_set1_epi8(15);
    let [a, b, c, d] = quads.map(|quad| _mm256_and_si256(quad, mask));
    let [e, f, g, h] = quads.map(|quad| _mm256_and_si256(_mm256_srli_epi16::<4>(quad), mask));
    [a, b, c, d, e, f, g, h]
}

/// Adds 16 to each element whose bit of its row's word is set.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn with_bits(mut steps: [__m256i; STEPS], bits: __m256i) -> [__m256i; STEPS] {
    // Byte `i` of the word, four times in each lane, has the bits of steps `2 i` and `2 i + 1`.
    let in_lane = _mm256_setr_epi8(
        0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12, 0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12,
        12, 12, 12,
    );
    let even = _mm256_set1_epi32(0x0804_0201);
    let odd = _mm256_set1_epi32(0x8040_2010_u32.cast_signed());
    let sixteen = _mm256_set1_epi8(16);
    for (i, steps) in steps.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        let byte = _mm256_add_epi8(in_lane, _mm256_set1_epi8(i as i8));
        let spread = _mm256_shuffle_epi8(bits, byte);
        for (step, mask) in steps.iter_mut().zip([even, odd]) {
            let is_set = _mm256_cmpeq_epi8(_mm256_and_si256(spread, mask), mask);
            *step = _mm256_or_si256(*step, _mm256_and_si256(is_set, sixteen));
        }
    }
    steps
}
