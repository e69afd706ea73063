//! Products with weights in super-blocks of 256, eight weight rows at a time.
//!
//! A vector holds four elements of each of eight rows, a row per 32-bit lane; against it four
//! activations are broadcast, so a lane ends as the sum of its row without adding across lanes.
//! Few rows of activations have their sums in registers while a block passes. For more, blocks are
//! unpacked first, and what is read of them serves several rows, as what is read of rows serves two
//! groups.
//!
//! Integer sums are exact and the float operations are those of the reference in its order, so
//! both ways have the reference's bits.

pub(crate) mod formats;

use std::arch::x86_64::*;
use std::ops::Range;

use super::quantized::broadcast;
use super::words::prefetch;
use super::{Ahead, store};
use crate::columns::Columns;
use crate::packed::GROUP;
use crate::super_blocks::{SUPER_LEN, SuperFormat, SuperLinearArgs, SuperRow, TAKEN, tiles};
use formats::{Format, Head, Q2K, Q3K, Q4K, Q5K, Q6K};

/// Vectors of four elements of each of eight weight rows that make a sub-block of 32.
const STEPS: usize = 8;
const SUB_BLOCKS: usize = SUPER_LEN / 4 / STEPS;
/// Most rows of activations whose sums stay in registers.
const FEW_ROWS: usize = 4;
/// Groups of weight rows that take turns by blocks if there are more, so that activations, which
/// come from the second-level cache, are read once for all of them.
const GROUPS: usize = 4;
/// Most rows of a tile that take part at a time: with the unpacked groups, their blocks fit the
/// first-level cache, and those of a `k` of 8,960 the second-level one.
const PART_ROWS: usize = 32;
/// Most rows that are multiplied with two groups at a time; by measurement, of 3, 4 and 5.
const MULTIPLIED_ROWS: usize = 4;

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
    for (first_row, tile) in tiles(args.rows, args.k) {
        let num_rows = tile.len() / num_blocks;
        if num_rows > FEW_ROWS {
            for part in parts(num_rows) {
                for (id, groups) in args.weights.chunks(GROUPS * group_bytes).enumerate() {
                    let mut sums = [[_mm256_setzero_ps(); GROUPS]; PART_ROWS];
                    let sums = &mut sums[..part.len()];
                    let blocks = tile.chunks_exact(num_rows).map(|rows| &rows[part.clone()]);
                    many::<F>(groups, group_bytes, blocks, sums);
                    for (row, sums) in part.clone().zip(sums) {
                        let out = &mut out.row(first_row + row)[id * GROUPS * GROUP..];
                        for (out, &sum) in out.chunks_mut(GROUP).zip(&*sums) {
                            store(sum, out);
                        }
                    }
                }
            }
            continue;
        }
        for (id, group) in args.weights.chunks(group_bytes).enumerate() {
            let mut sums = [_mm256_setzero_ps(); FEW_ROWS];
            match num_rows {
                1 => few::<F, 1>(group, tile, &mut sums),
                2 => few::<F, 2>(group, tile, &mut sums),
                3 => few::<F, 3>(group, tile, &mut sums),
                _ => few::<F, FEW_ROWS>(group, tile, &mut sums),
            }
            for (row, &sum) in sums[..num_rows].iter().enumerate() {
                store(sum, &mut out.row(first_row + row)[id * GROUP..]);
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
        let block = block.as_ptr();
        // SAFETY: a chunk is a whole block of eight rows.
        let head = unsafe { F::head::<__m256i>(block) };
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
    block: *const u8,
    half: usize,
    head: &Head<__m256i>,
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
            let weights = unsafe { F::steps::<__m256i>(block, half, step) };
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

/// One block of a group, its elements as bytes.
struct Unpacked {
    /// Steps of the sub-blocks in order.
    steps: [__m256i; SUB_BLOCKS * STEPS],
    head: Head<__m256i>,
}

impl Unpacked {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn zeroed() -> Self {
        // SAFETY: whoever runs this has AVX2.
        let head = unsafe { Head::zeroed() };
        Self { steps: [_mm256_setzero_si256(); SUB_BLOCKS * STEPS], head }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn unpack<F: Format>(&mut self, block: &[u8]) {
        assert!(block.len() == F::GROUP_BYTES);
        let block = block.as_ptr();
        // SAFETY: asserted above: a whole block of eight rows.
        self.head = unsafe { F::head::<__m256i>(block) };
        let halves = self.steps.as_chunks_mut::<{ 4 * STEPS }>().0;
        for (half, steps) in halves.iter_mut().enumerate() {
            for step in 0..STEPS {
                // SAFETY: as above; a half has four sub-blocks of eight steps.
                let unpacked = unsafe { F::steps::<__m256i>(block, half, step) };
                for (sub, unpacked) in unpacked.into_iter().enumerate() {
                    steps[sub * STEPS + step] = unpacked;
                }
            }
        }
    }
}

/// Products of 1 to [`GROUPS`] groups with 1 to [`PART_ROWS`] rows, whose `blocks` come in order,
/// added to `sums`.
#[target_feature(enable = "avx2,fma,f16c")]
fn many<'a, F: Format>(
    groups: &[u8],
    group_bytes: usize,
    blocks: impl Iterator<Item = &'a [SuperRow]>,
    sums: &mut [[__m256; GROUPS]],
) {
    // One that is not there is computed as zeros, whose results are not used.
    let mut unpacked: [Unpacked; GROUPS] = std::array::from_fn(|_| Unpacked::zeroed());
    let num_rows = sums.len();
    for (block_id, rows) in blocks.enumerate() {
        let block = block_id * F::GROUP_BYTES..(block_id + 1) * F::GROUP_BYTES;
        for (unpacked, group) in unpacked.iter_mut().zip(groups.chunks(group_bytes)) {
            unpacked.unpack::<F>(&group[block.clone()]);
        }
        let num_fetches = num_rows.div_ceil(MULTIPLIED_ROWS) * GROUPS / 2 * SUB_BLOCKS;
        let place = (block.start, F::GROUP_BYTES);
        let mut ahead = Ahead::new(groups, group_bytes, GROUPS, place, num_fetches);
        let mut at = 0;
        while at < num_rows {
            let (rows, sums) = (&rows[at..], &mut sums[at..]);
            at += match num_rows - at {
                1 => multiply::<F, 1>(&unpacked, rows, sums, &mut ahead),
                2 | 3 => multiply::<F, 2>(&unpacked, rows, sums, &mut ahead),
                _ => multiply::<F, MULTIPLIED_ROWS>(&unpacked, rows, sums, &mut ahead),
            };
        }
    }
}

/// Adds the products of the groups with the first `R` rows, and returns `R`. Fetches a part of what
/// is `ahead` beside each sub-block.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply<F: Format, const R: usize>(
    groups: &[Unpacked; GROUPS],
    rows: &[SuperRow],
    sums: &mut [[__m256; GROUPS]],
    ahead: &mut Ahead,
) -> usize {
    let rows: &[SuperRow; R] = rows.first_chunk().expect("there are R rows");
    for (pair_id, groups) in groups.as_chunks::<2>().0.iter().enumerate() {
        let mut dots = [[_mm256_setzero_si256(); 2]; R];
        for sub in 0..SUB_BLOCKS {
            ahead.fetch();
            for part in 0..STEPS / F::STEPS_SUMMED {
                let mut pairs = [[_mm256_setzero_si256(); 2]; R];
                for (pairs, row) in pairs.iter_mut().zip(rows) {
                    *pairs = [first_sum::<F>(row, sub, part); 2];
                }
                let first = sub * STEPS + part * F::STEPS_SUMMED;
                for step in first..first + F::STEPS_SUMMED {
                    let weights = [groups[0].steps[step], groups[1].steps[step]];
                    for (pairs, row) in pairs.iter_mut().zip(rows) {
                        let x = broadcast(row.quants.as_chunks().0[step]);
                        for (pairs, weights) in pairs.iter_mut().zip(weights) {
                            *pairs = _mm256_add_epi16(*pairs, _mm256_maddubs_epi16(weights, x));
                        }
                    }
                }
                let scale = F::scale_of(sub, part);
                for (dots, pairs) in dots.iter_mut().zip(pairs) {
                    for ((dot, pairs), group) in dots.iter_mut().zip(pairs).zip(groups) {
                        let scaled = _mm256_madd_epi16(pairs, group.head.scales[scale]);
                        *dot = _mm256_add_epi32(*dot, scaled);
                    }
                }
            }
        }
        for ((sums, dots), row) in sums.iter_mut().zip(dots).zip(rows) {
            for ((sum, dot), group) in sums[2 * pair_id..].iter_mut().zip(dots).zip(groups) {
                *sum = add_block::<F>(*sum, dot, &group.head, row);
            }
        }
    }
    R
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
    _mm256_sra_epi16(pair(&row.taken_halves, F::scale_of(sub, part)), shift)
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
fn add_block<F: Format>(sum: __m256, dot: __m256i, head: &Head<__m256i>, row: &SuperRow) -> __m256 {
    let mut scaled = _mm256_mul_ps(head.d, _mm256_cvtepi32_ps(dot));
    if F::HAS_MIN {
        let sums: &[i16] = if F::HAS_DOUBLE_SCALES { &row.double_sums } else { &row.sums };
        let mut taken = _mm256_setzero_si256();
        for (index, &minima) in head.minima[..sums.len() / 2].iter().enumerate() {
            taken = _mm256_add_epi32(taken, _mm256_madd_epi16(minima, pair(sums, index)));
        }
        scaled = _mm256_fnmadd_ps(head.dmin, _mm256_cvtepi32_ps(taken), scaled);
    }
    _mm256_fmadd_ps(_mm256_set1_ps(row.scale), scaled, sum)
}
