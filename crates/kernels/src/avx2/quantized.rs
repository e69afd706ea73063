//! Products with weights in blocks of 32, eight weight rows at a time.
//!
//! A vector holds four elements of each of eight rows, a row per 32-bit lane; against it four
//! activations are broadcast, so a lane ends as the sum of its row without adding across lanes.
//!
//! Integer sums are exact and the float operations are those of the reference in its order, so
//! results have the reference's bits.

use std::arch::x86_64::*;

use super::store;
use super::words::{HALVES, WORD, Word, prefetch, prefetch_ahead};
use crate::columns::Columns;
use crate::packed::GROUP;
use crate::quantized::{BLOCK_LEN, BlockFormat, QuantizedLinearArgs, ROW_TILE, RowBlock};

/// Vectors of four elements of each of eight weight rows that make a block.
pub(crate) const STEPS: usize = BLOCK_LEN / 4;
/// Most rows of activations whose sums stay in registers.
const FEW_ROWS: usize = 4;
/// Groups of weight rows that take turns by blocks if there are more, so that activations, which
/// come from the second-level cache, are read once for all of them.
const GROUPS: usize = 4;
/// Most rows that are multiplied with two groups at a time: what is read then serves as many
/// products as registers have room for.
const MULTIPLIED_ROWS: usize = 4;
/// Blocks of each of them between the one that is multiplied and the one that is fetched.
const BLOCKS_AHEAD: usize = 4;

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn quantized_linear(args: &QuantizedLinearArgs<'_>, out: &mut Columns<'_>) {
    match args.format {
        BlockFormat::Q4_0 => linear_of::<Q4_0>(args, out),
        BlockFormat::Q4_1 => linear_of::<Q4_1>(args, out),
        BlockFormat::Q5_0 => linear_of::<Q5_0>(args, out),
        BlockFormat::Q5_1 => linear_of::<Q5_1>(args, out),
        BlockFormat::Q8_0 => linear_of::<Q8_0>(args, out),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn linear_of<F: Format>(args: &QuantizedLinearArgs<'_>, out: &mut Columns<'_>) {
    let num_blocks = args.k / BLOCK_LEN;
    let group_bytes = num_blocks * F::GROUP_BYTES;
    for (tile_id, tile) in args.rows.chunks(ROW_TILE * num_blocks).enumerate() {
        let num_rows = tile.len() / num_blocks;
        if num_rows > FEW_ROWS {
            for (id, groups) in args.weights.chunks(GROUPS * group_bytes).enumerate() {
                let mut sums = [[_mm256_setzero_ps(); GROUPS]; ROW_TILE];
                many::<F>(groups, group_bytes, tile, &mut sums[..num_rows]);
                for (row, sums) in sums[..num_rows].iter().enumerate() {
                    let out = &mut out.row(tile_id * ROW_TILE + row)[id * GROUPS * GROUP..];
                    for (out, &sum) in out.chunks_mut(GROUP).zip(sums) {
                        store(sum, out);
                    }
                }
            }
            continue;
        }
        for (id, group) in args.weights.chunks_exact(group_bytes).enumerate() {
            let mut sums = [_mm256_setzero_ps(); FEW_ROWS];
            match num_rows {
                1 => few::<F, 1>(group, tile, &mut sums),
                2 => few::<F, 2>(group, tile, &mut sums),
                3 => few::<F, 3>(group, tile, &mut sums),
                _ => few::<F, FEW_ROWS>(group, tile, &mut sums),
            }
            for (row, &sum) in sums[..num_rows].iter().enumerate() {
                store(sum, &mut out.row(tile_id * ROW_TILE + row)[id * GROUP..]);
            }
        }
    }
}

/// Products of one group with a tile of `R` rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn few<F: Format, const R: usize>(group: &[u8], tile: &[RowBlock], out: &mut [__m256]) {
    let mut sums = [_mm256_setzero_ps(); R];
    let (tile, _) = tile.as_chunks::<R>();
    for (block, rows) in group.chunks_exact(F::GROUP_BYTES).zip(tile) {
        prefetch(block);
        // SAFETY: a chunk is a whole block of eight rows.
        let weights = unsafe { F::unpack(block.as_ptr()) };
        let dots = dots::<F, R, 1>(std::array::from_ref(&weights), rows);
        for ((sum, [dot]), row) in sums.iter_mut().zip(dots).zip(rows) {
            *sum = add_block::<F>(*sum, dot, &weights, row);
        }
    }
    out[..R].copy_from_slice(&sums);
}

/// Products of 1 to [`GROUPS`] groups with a tile of rows, added to `sums`.
#[target_feature(enable = "avx2,fma,f16c")]
fn many<F: Format>(
    groups: &[u8],
    group_bytes: usize,
    tile: &[RowBlock],
    sums: &mut [[__m256; GROUPS]],
) {
    let num_rows = sums.len();
    for (block_id, rows) in tile.chunks_exact(num_rows).enumerate() {
        let start = block_id * F::GROUP_BYTES;
        // Behind a group's last block it is one of the group whose turn is next.
        let is_within = start + BLOCKS_AHEAD * F::GROUP_BYTES < group_bytes;
        let skipped = if is_within { 0 } else { groups.len() - group_bytes };
        for (pair_id, groups) in groups.chunks(2 * group_bytes).enumerate() {
            // One that is not there is computed as zeros, whose results are not used.
            // SAFETY: whoever runs this has AVX2.
            let mut pair = [unsafe { Unpacked::zeroed() }; 2];
            for (weights, group) in pair.iter_mut().zip(groups.chunks_exact(group_bytes)) {
                let block = &group[start..start + F::GROUP_BYTES];
                prefetch_ahead(block, skipped + BLOCKS_AHEAD * F::GROUP_BYTES);
                // SAFETY: a whole block of eight rows.
                *weights = unsafe { F::unpack(block.as_ptr()) };
            }
            let mut at = 0;
            while at < num_rows {
                let (rows, sums) = (&rows[at..], &mut sums[at..]);
                at += match num_rows - at {
                    1 => multiply::<F, 1>(&pair, rows, pair_id, sums),
                    2 | 3 => multiply::<F, 2>(&pair, rows, pair_id, sums),
                    _ => multiply::<F, MULTIPLIED_ROWS>(&pair, rows, pair_id, sums),
                };
            }
        }
    }
}

/// Adds the products of a pair of groups with the first `R` rows, and returns `R`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<F: Format, const R: usize>(
    pair: &[Unpacked<__m256i>; 2],
    rows: &[RowBlock],
    pair_id: usize,
    sums: &mut [[__m256; GROUPS]],
) -> usize {
    let rows: &[RowBlock; R] = rows.first_chunk().expect("there are R rows");
    let dots = dots::<F, R, 2>(pair, rows);
    for ((sums, dots), row) in sums.iter_mut().zip(dots).zip(rows) {
        for ((sum, dot), weights) in sums[2 * pair_id..].iter_mut().zip(dots).zip(pair) {
            *sum = add_block::<F>(*sum, dot, weights, row);
        }
    }
    R
}

/// Adds a block's share: its products `dot`, scaled, and that of its minima.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_block<F: Format>(
    sum: __m256,
    dot: __m256i,
    weights: &Unpacked<__m256i>,
    row: &RowBlock,
) -> __m256 {
    let scale = _mm256_mul_ps(weights.scale, _mm256_set1_ps(row.scale));
    let sum = _mm256_add_ps(sum, _mm256_mul_ps(_mm256_cvtepi32_ps(dot), scale));
    if !F::HAS_MIN {
        return sum;
    }
    let share = _mm256_mul_ps(weights.min, _mm256_set1_ps(row.scaled_sum));
    _mm256_add_ps(sum, share)
}

/// Integer dot products of a block of `G` groups with one of `R` rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dots<F: Format, const R: usize, const G: usize>(
    groups: &[Unpacked<__m256i>; G],
    rows: &[RowBlock; R],
) -> [[__m256i; G]; R] {
    let ones = _mm256_set1_epi16(1);
    let mut dots = [[_mm256_setzero_si256(); G]; R];
    for first in (0..STEPS).step_by(F::STEPS_SUMMED) {
        // Of 16 bits, or of 32 if weights are signed.
        let mut sums = [[_mm256_setzero_si256(); G]; R];
        for (sums, row) in sums.iter_mut().zip(rows) {
            *sums = [first_sum::<F>(row); G];
        }
        for step in first..first + F::STEPS_SUMMED {
            for (sums, row) in sums.iter_mut().zip(rows) {
                let x = broadcast(row.quants.as_chunks().0[step]);
                for (sum, weights) in sums.iter_mut().zip(groups) {
                    *sum = add_step::<F>(*sum, weights.steps[step], x);
                }
            }
        }
        for (dots, sums) in dots.iter_mut().zip(sums) {
            for (dot, sum) in dots.iter_mut().zip(sums) {
                let sum = if F::SIGNED { sum } else { _mm256_madd_epi16(sum, ones) };
                *dot = _mm256_add_epi32(*dot, sum);
            }
        }
    }
    dots
}

/// Adds the products of a step of eight weight rows and four activations.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_step<F: Format>(sums: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    if F::SIGNED {
        // Unsigned times signed is what there is: |w| * (x with the sign of w). At most
        // 2 * 128 * 127, which fits 16 bits.
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
        return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    _mm256_add_epi16(sums, _mm256_maddubs_epi16(weights, x))
}

/// What sums of 16 bits begin with: what the offset takes away from them. They may wrap on the way,
/// but not in the end.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn first_sum<F: Format>(row: &RowBlock) -> __m256i {
    if F::OFFSET == 0 {
        return _mm256_setzero_si256();
    }
    let [a, b] = row.taken.map(|sum| u32::from(sum.cast_unsigned()));
    let taken = _mm256_set1_epi32((a | b << 16).cast_signed());
    _mm256_mullo_epi16(taken, _mm256_set1_epi16((F::OFFSET / 8) as i16))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn broadcast(quad: [i8; 4]) -> __m256i {
    _mm256_set1_epi32(i32::from_le_bytes(quad.map(i8::cast_unsigned)))
}

/// The same block of some weight rows, a row per lane.
#[derive(Clone, Copy)]
pub(crate) struct Unpacked<W: Word> {
    /// Elements `[4 i, 4 i + 4)` in step `i`: bytes, signed if the format is.
    pub(crate) steps: [W; STEPS],
    pub(crate) scale: W::Floats,
    pub(crate) min: W::Floats,
}

impl<W: Word> Unpacked<W> {
    /// # Safety
    /// As [`Word`].
    #[inline(always)]
    pub(crate) unsafe fn zeroed() -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self { steps: [W::splat(0); STEPS], scale: W::no_floats(), min: W::no_floats() } }
    }
}

pub(crate) trait Format {
    const FORMAT: BlockFormat;
    const GROUP_BYTES: usize = GROUP * Self::FORMAT.block_bytes();
    const SIGNED: bool = false;
    /// Steps whose products fit 16 bits together: a step makes at most `2 * weight * 127`. All of
    /// them if there is an offset, which is taken away first, and if weights are signed, whose sums
    /// have 32 bits.
    const STEPS_SUMMED: usize = STEPS;
    /// What is to be subtracted from each unsigned element, a multiple of 8.
    const OFFSET: i32 = 0;
    const HAS_MIN: bool = false;

    /// # Safety
    /// As [`Word`]; each of `blocks` is that of eight rows.
    unsafe fn unpack<W: Word>(blocks: W::Blocks) -> Unpacked<W>;
}

pub(crate) struct Q4_0;
pub(crate) struct Q4_1;
pub(crate) struct Q5_0;
pub(crate) struct Q5_1;
pub(crate) struct Q8_0;

impl Format for Q4_0 {
    const FORMAT: BlockFormat = BlockFormat::Q4_0;
    const OFFSET: i32 = 8;

    #[inline(always)]
    unsafe fn unpack<W: Word>(blocks: W::Blocks) -> Unpacked<W> {
        // SAFETY: the caller's promise: half floats, then four words of nibbles.
        unsafe {
            let (scale, min) = (W::half_floats(blocks, 0), W::no_floats());
            Unpacked { steps: nibbles(blocks, HALVES), scale, min }
        }
    }
}

impl Format for Q4_1 {
    const FORMAT: BlockFormat = BlockFormat::Q4_1;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn unpack<W: Word>(blocks: W::Blocks) -> Unpacked<W> {
        // SAFETY: the caller's promise: a word of half floats, then four of nibbles.
        unsafe {
            let (scale, min) = W::load(blocks, 0).half_pairs();
            Unpacked { steps: nibbles(blocks, WORD), scale, min }
        }
    }
}

impl Format for Q5_0 {
    const FORMAT: BlockFormat = BlockFormat::Q5_0;
    const OFFSET: i32 = 16;

    #[inline(always)]
    unsafe fn unpack<W: Word>(blocks: W::Blocks) -> Unpacked<W> {
        // SAFETY: the caller's promise: half floats, then a word of bits and four of nibbles.
        unsafe {
            let (scale, min) = (W::half_floats(blocks, 0), W::no_floats());
            let bits = W::load(blocks, HALVES);
            Unpacked { steps: with_bits(nibbles(blocks, HALVES + WORD), bits), scale, min }
        }
    }
}

impl Format for Q5_1 {
    const FORMAT: BlockFormat = BlockFormat::Q5_1;
    const STEPS_SUMMED: usize = STEPS / 2;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn unpack<W: Word>(blocks: W::Blocks) -> Unpacked<W> {
        // SAFETY: the caller's promise: words of half floats, of bits, and four of nibbles.
        unsafe {
            let (scale, min) = W::load(blocks, 0).half_pairs();
            let bits = W::load(blocks, WORD);
            Unpacked { steps: with_bits(nibbles(blocks, 2 * WORD), bits), scale, min }
        }
    }
}

impl Format for Q8_0 {
    const FORMAT: BlockFormat = BlockFormat::Q8_0;
    const SIGNED: bool = true;

    #[inline(always)]
    unsafe fn unpack<W: Word>(blocks: W::Blocks) -> Unpacked<W> {
        // SAFETY: the caller's promise: half floats, then eight words of elements.
        unsafe {
            let mut unpacked = Unpacked::zeroed();
            unpacked.scale = W::half_floats(blocks, 0);
            for (step, word) in unpacked.steps.iter_mut().enumerate() {
                *word = W::load(blocks, HALVES + step * WORD);
            }
            unpacked
        }
    }
}

/// The low and then the high nibbles of four words from `first` on.
///
/// # Safety
/// As [`Word`].
#[inline(always)]
unsafe fn nibbles<W: Word>(blocks: W::Blocks, first: usize) -> [W; STEPS] {
    // SAFETY: the caller's promise.
    unsafe {
        let nibble = W::splat(0x0f);
        let mut steps = [nibble; STEPS];
        for i in 0..STEPS / 2 {
            let word = W::load(blocks, first + i * WORD);
            steps[i] = word.and(nibble);
            steps[STEPS / 2 + i] = word.shr(4).and(nibble);
        }
        steps
    }
}

/// Adds 16 to each element whose bit of its row's word is set.
///
/// # Safety
/// As [`Word`].
#[inline(always)]
unsafe fn with_bits<W: Word>(mut steps: [W; STEPS], bits: W) -> [W; STEPS] {
    for (i, steps) in steps.as_chunks_mut::<2>().0.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            // Byte `i` of the word, four times in each lane, has the bits of steps `2 i` and
            // `2 i + 1`.
            let spread = bits.shuffle(i as u32 * 0x0101_0101);
            for (step, mask) in steps.iter_mut().zip([0x0804_0201, 0x8040_2010]) {
                *step = step.or(spread.sixteen_where_set(mask));
            }
        }
    }
    steps
}
