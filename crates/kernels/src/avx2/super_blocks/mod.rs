//! Products with weights in super-blocks of 256, eight weight rows at a time.
//!
//! A vector holds four elements of each of eight rows, a row per 32-bit lane; against it four
//! activations are broadcast, so a lane ends as the sum of its row without adding across lanes.
//! Few rows of activations have their sums in registers while a block passes. For more, 32 elements
//! of each weight row are unpacked into registers, where they stay while all rows of a tile pass.
//!
//! Integer sums are exact and the float operations are those of the reference in its order, so
//! both ways have the reference's bits.

pub(crate) mod formats;

use std::arch::x86_64::*;
use std::ops::Range;

use super::quantized::broadcast;
use super::store;
use super::words::{prefetch, prefetch_ahead};
use crate::columns::Columns;
use crate::packed::GROUP;
use crate::super_blocks::{SUPER_LEN, SuperFormat, SuperLinearArgs, SuperRow, TAKEN, tiles};
use formats::{Format, Head, Q2K, Q3K, Q4K, Q5K, Q6K};

/// Vectors of four elements of each of eight weight rows that make a sub-block of 32.
const STEPS: usize = 8;
/// Most rows of activations whose sums stay in registers.
const FEW_ROWS: usize = 4;
/// Groups of weight rows that take turns by blocks if there are many rows of activations, so that
/// those of a block, which come from the second-level cache, are read once for all of them.
const GROUPS: usize = 8;
/// Most rows of a tile that take part at a time: with the sums of all groups, their blocks fit the
/// first-level cache, and those of a `k` of 8,960 the second-level one.
const PART_ROWS: usize = 32;
/// Most rows of activations whose blocks of a whole `k` stay in a near cache.
const NEAR_ROWS: usize = 8;

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn super_linear(args: &SuperLinearArgs<'_>, out: &mut Columns<'_>) {
    match args.format {
        SuperFormat::Q2K => linear_of::<Q2K>(args, out),
        SuperFormat::Q3K => linear_of::<Q3K>(args, out),
        SuperFormat::Q4K => linear_of::<Q4K>(args, out),
        SuperFormat::Q5K => linear_of::<Q5K>(args, out),
        SuperFormat::Q6K => linear_of::<Q6K>(args, out),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn linear_of<F: Format>(args: &SuperLinearArgs<'_>, out: &mut Columns<'_>) {
    let num_blocks = args.k / SUPER_LEN;
    let group_bytes = num_blocks * F::GROUP_BYTES;
    let mut sums = [[_mm256_setzero_ps(); PART_ROWS]; GROUPS];
    for (first_row, tile) in tiles(args.rows, args.k) {
        let num_rows = tile.len() / num_blocks;
        let num_groups = if num_rows > NEAR_ROWS { GROUPS } else { 1 };
        for part in parts(num_rows) {
            for (id, groups) in args.weights.chunks(num_groups * group_bytes).enumerate() {
                match num_rows {
                    1 => few::<F, 1>(groups, tile, &mut sums[0]),
                    2 => few::<F, 2>(groups, tile, &mut sums[0]),
                    3 => few::<F, 3>(groups, tile, &mut sums[0]),
                    FEW_ROWS => few::<F, FEW_ROWS>(groups, tile, &mut sums[0]),
                    _ => {
                        let blocks = tile.chunks_exact(num_rows).map(|rows| &rows[part.clone()]);
                        many::<F>(groups, group_bytes, blocks, &mut sums);
                    }
                }
                let first = id * num_groups * GROUP;
                for (index, row) in part.clone().enumerate() {
                    let out = &mut out.row(first_row + row)[first..];
                    for (sums, out) in sums[..num_groups].iter().zip(out.chunks_mut(GROUP)) {
                        store(sums[index], out);
                    }
                }
            }
        }
    }
}

/// Cuts the rows of a tile into as few parts as there can be, of about the same size.
fn parts(num_rows: usize) -> impl Iterator<Item = Range<usize>> {
    let len = num_rows.div_ceil(num_rows.div_ceil(PART_ROWS));
    (0..num_rows).step_by(len).map(move |start| start..num_rows.min(start + len))
}

/// Products of one group with the `R` rows of a tile.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn few<F: Format, const R: usize>(group: &[u8], tile: &[SuperRow], out: &mut [__m256]) {
    // Of sixteen registers; by measurement, fewer where sums do not begin with zero.
    let sums_held = if F::OFFSET == 0 { 8 } else { 4 };
    let mut sums = [_mm256_setzero_ps(); R];
    let blocks = group.chunks_exact(F::GROUP_BYTES);
    for (block, rows) in blocks.zip(tile.as_chunks::<R>().0) {
        prefetch(block);
        let block: *const __m256i = block.as_ptr().cast();
        // SAFETY: a chunk is a whole block of eight rows.
        let head = unsafe { F::head(block) };
        let mut dots = [_mm256_setzero_si256(); R];
        for half in 0..2 {
            // SAFETY: as above; a half has four sub-blocks.
            unsafe {
                match sums_held / R {
                    4.. => sub_blocks::<F, R, 0, 4>(block, half, &head, rows, &mut dots),
                    2..4 => {
                        sub_blocks::<F, R, 0, 2>(block, half, &head, rows, &mut dots);
                        sub_blocks::<F, R, 2, 2>(block, half, &head, rows, &mut dots);
                    }
                    _ => {
                        sub_blocks::<F, R, 0, 1>(block, half, &head, rows, &mut dots);
                        sub_blocks::<F, R, 1, 1>(block, half, &head, rows, &mut dots);
                        sub_blocks::<F, R, 2, 1>(block, half, &head, rows, &mut dots);
                        sub_blocks::<F, R, 3, 1>(block, half, &head, rows, &mut dots);
                    }
                }
            }
        }
        for ((sum, dot), row) in sums.iter_mut().zip(dots).zip(rows) {
            *sum = add_block::<F>(*sum, dot, &head, row);
        }
    }
    out[..R].copy_from_slice(&sums);
}

/// Adds the scaled products of `COUNT` sub-blocks of a half from `FIRST` on.
///
/// # Safety
/// The CPU has AVX2; `block` is that of eight rows and `half` is 0 or 1.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn sub_blocks<F: Format, const R: usize, const FIRST: usize, const COUNT: usize>(
    block: *const __m256i,
    half: usize,
    head: &Head,
    rows: &[SuperRow; R],
    dots: &mut [__m256i; R],
) {
    let first = 4 * half + FIRST;
    for part in 0..STEPS / F::STEPS_SUMMED {
        let mut pairs = [[_mm256_setzero_si256(); R]; COUNT];
        for (sub, pairs) in pairs.iter_mut().enumerate() {
            for (pairs, row) in pairs.iter_mut().zip(rows) {
                *pairs = first_sum::<F>(row, first + sub, part);
            }
        }
        for i in 0..F::STEPS_SUMMED {
            let step = part * F::STEPS_SUMMED + i;
            // SAFETY: the caller's promise.
            let weights = unsafe { F::steps(block, half, step) };
            for (sub, (pairs, weights)) in pairs.iter_mut().zip(&weights[FIRST..]).enumerate() {
                for (pairs, row) in pairs.iter_mut().zip(rows) {
                    let quads = row.quants.as_chunks::<4>().0;
                    let x = broadcast(quads[(first + sub) * STEPS + step]);
                    *pairs = _mm256_add_epi16(*pairs, _mm256_maddubs_epi16(*weights, x));
                }
            }
        }
        for (sub, pairs) in pairs.into_iter().enumerate() {
            let scale = head.scales[F::scale_of(first + sub, part)];
            for (dot, pairs) in dots.iter_mut().zip(pairs) {
                *dot = _mm256_add_epi32(*dot, _mm256_madd_epi16(pairs, scale));
            }
        }
    }
}

/// Products of 1 to [`GROUPS`] groups with 1 to [`PART_ROWS`] rows, whose `blocks` come in order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn many<'a, F: Format>(
    groups: &[u8],
    group_bytes: usize,
    blocks: impl Iterator<Item = &'a [SuperRow]>,
    out: &mut [[__m256; PART_ROWS]; GROUPS],
) {
    let mut dots = [_mm256_setzero_si256(); PART_ROWS];
    for sums in &mut out[..groups.len() / group_bytes] {
        sums.fill(_mm256_setzero_ps());
    }
    for (block_id, rows) in blocks.enumerate() {
        let dots = &mut dots[..rows.len()];
        for (group, sums) in groups.chunks_exact(group_bytes).zip(&mut *out) {
            let start = block_id * F::GROUP_BYTES;
            let block = &group[start..start + F::GROUP_BYTES];
            if groups.len() == group_bytes {
                prefetch(block);
            } else {
                // The next block's turn comes when all rows have passed all groups; after the last
                // one it is that of the first block of the groups behind these.
                let next = start + F::GROUP_BYTES;
                let is_last = next == group_bytes;
                prefetch_ahead(block, if is_last { groups.len() - start } else { F::GROUP_BYTES });
            }
            dots.fill(_mm256_setzero_si256());
            add_products::<F>(block, rows, dots, &mut sums[..rows.len()]);
        }
    }
}

/// Adds the products of one block of eight weight rows with a block of each row. `dots` are zeros,
/// as many as there are rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_products<F: Format>(
    block: &[u8],
    rows: &[SuperRow],
    dots: &mut [__m256i],
    sums: &mut [__m256],
) {
    assert!(block.len() == F::GROUP_BYTES);
    let block: *const __m256i = block.as_ptr().cast();
    // SAFETY: asserted above: a whole block of eight rows.
    let head = unsafe { F::head(block) };
    for half in 0..2 {
        // SAFETY: as above; a half has four sub-blocks.
        unsafe {
            add_sub_block::<F, 0>(block, half, &head, rows, dots);
            add_sub_block::<F, 1>(block, half, &head, rows, dots);
            add_sub_block::<F, 2>(block, half, &head, rows, dots);
            add_sub_block::<F, 3>(block, half, &head, rows, dots);
        }
    }
    for ((sum, &dot), row) in sums.iter_mut().zip(&*dots).zip(rows) {
        *sum = add_block::<F>(*sum, dot, &head, row);
    }
}

/// Adds the scaled products of sub-block `SUB` of a half.
///
/// # Safety
/// The CPU has AVX2; `block` is that of eight rows and `half` is 0 or 1.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_sub_block<F: Format, const SUB: usize>(
    block: *const __m256i,
    half: usize,
    head: &Head,
    rows: &[SuperRow],
    dots: &mut [__m256i],
) {
    let sub = 4 * half + SUB;
    let mut weights = [_mm256_setzero_si256(); STEPS];
    for (step, weights) in weights.iter_mut().enumerate() {
        // SAFETY: the caller's promise.
        *weights = unsafe { F::steps(block, half, step) }[SUB];
    }
    let mut scales = [_mm256_setzero_si256(); STEPS];
    for (part, scale) in scales[..STEPS / F::STEPS_SUMMED].iter_mut().enumerate() {
        *scale = head.scales[F::scale_of(sub, part)];
    }
    for (row, dot) in rows.iter().zip(dots) {
        let quads = &row.quants.as_chunks::<4>().0.as_chunks::<STEPS>().0[sub];
        let mut sum = *dot;
        for (part, &scale) in scales.iter().enumerate().take(STEPS / F::STEPS_SUMMED) {
            let mut pairs = first_sum::<F>(row, sub, part);
            for step in part * F::STEPS_SUMMED..(part + 1) * F::STEPS_SUMMED {
                let products = _mm256_maddubs_epi16(weights[step], broadcast(quads[step]));
                pairs = _mm256_add_epi16(pairs, products);
            }
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, scale));
        }
        *dot = sum;
    }
}

/// What the sum of a sub-block's `part`-th steps begins with: what the offset takes away from it.
/// The sum may wrap on the way, but not in the end.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn first_sum<F: Format>(row: &SuperRow, sub: usize, part: usize) -> __m256i {
    if F::OFFSET == 0 {
        return _mm256_setzero_si256();
    }
    // Exact, since what is taken is a multiple of `TAKEN`.
    let shift = (i32::from(TAKEN) / F::OFFSET).trailing_zeros();
    let shift = _mm_cvtsi32_si128(shift.cast_signed());
    _mm256_sra_epi16(pair(&row.taken, F::scale_of(sub, part)), shift)
}

/// Two sums of activations in each lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn pair(sums: &[i16], index: usize) -> __m256i {
    let [a, b] = sums.as_chunks::<2>().0[index];
    let [a, b] = [a, b].map(|sum| u32::from(sum.cast_unsigned()));
    _mm256_set1_epi32((a | b << 16).cast_signed())
}

/// Adds a block's share: its products `dot`, scaled, and what its minima take away.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_block<F: Format>(sum: __m256, dot: __m256i, head: &Head, row: &SuperRow) -> __m256 {
    let scale = _mm256_set1_ps(row.scale);
    let product = _mm256_mul_ps(_mm256_mul_ps(head.d, scale), _mm256_cvtepi32_ps(dot));
    let sum = _mm256_add_ps(sum, product);
    if !F::HAS_MIN {
        return sum;
    }
    let sums: &[i16] = if F::HAS_DOUBLE_SCALES { &row.double_sums } else { &row.sums };
    let mut shares = _mm256_setzero_si256();
    for (index, &share) in head.shares[..sums.len() / 2].iter().enumerate() {
        shares = _mm256_add_epi32(shares, _mm256_madd_epi16(share, pair(sums, index)));
    }
    let taken = _mm256_mul_ps(_mm256_mul_ps(head.dmin, scale), _mm256_cvtepi32_ps(shares));
    _mm256_sub_ps(sum, taken)
}
