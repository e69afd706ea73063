//! Products with weights in super-blocks of 256, eight weight rows at a time.
//!
//! A vector holds four elements of each of eight rows, a row per 32-bit lane; against it four
//! activations are broadcast, so a lane ends as the sum of its row without adding across lanes.
//! Few rows of activations are multiplied with the weights as they are unpacked; for more, weights
//! are unpacked once into panels that stay in the first-level cache while all rows pass.
//!
//! Integer sums are exact and the float operations are those of the reference in its order, so
//! both ways have the reference's bits.

pub(crate) mod formats;

use std::arch::x86_64::*;

use super::store;
use super::words::prefetch;
use crate::columns::Columns;
use crate::packed::GROUP;
use crate::quantized::ROW_TILE;
use crate::super_blocks::{SUPER_LEN, SuperFormat, SuperLinearArgs, SuperRow, tiles};
use formats::{Format, Head, Q2K, Q3K, Q4K, Q5K, Q6K};

/// Vectors of four elements of each of eight weight rows that make a sub-block of 32.
const STEPS: usize = 8;
const SUB_BLOCKS: usize = SUPER_LEN / 4 / STEPS;
/// Most rows of activations for which weights are not unpacked into panels, and how many of them
/// are multiplied at a time: to unpack a group again, from a near cache, costs less than a panel.
const DIRECT_ROWS: usize = 8;
const DIRECT_TILE: usize = 4;
/// Groups of weight rows whose panels are made together, so that activations, which come from the
/// second-level cache, are read once for all of them.
const PANELS: usize = 4;
/// Rows of activations that are multiplied with two panels at a time: twelve sums in registers.
const PANEL_ROWS: usize = 3;

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn quantize_super_rows(rows: &[f32], k: usize, out: &mut [SuperRow]) {
    crate::super_blocks::quantize_super_rows(rows, k, out);
}

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
        if num_rows > DIRECT_ROWS {
            for (id, groups) in args.weights.chunks(PANELS * group_bytes).enumerate() {
                let mut sums = [[_mm256_setzero_ps(); PANELS]; ROW_TILE];
                panels::<F>(groups, group_bytes, tile, &mut sums[..num_rows]);
                for (row, sums) in sums[..num_rows].iter().enumerate() {
                    let out = &mut out.row(first_row + row)[id * PANELS * GROUP..];
                    for (out, &sum) in out.chunks_mut(GROUP).zip(sums) {
                        store(sum, out);
                    }
                }
            }
            continue;
        }
        for (id, group) in args.weights.chunks_exact(group_bytes).enumerate() {
            for first in (0..num_rows).step_by(DIRECT_TILE) {
                let rows = Tile { blocks: tile, num_rows, first };
                let mut sums = [_mm256_setzero_ps(); DIRECT_TILE];
                match num_rows - first {
                    1 => direct::<F, 1>(group, &rows, &mut sums),
                    2 => direct::<F, 2>(group, &rows, &mut sums),
                    3 => direct::<F, 3>(group, &rows, &mut sums),
                    _ => direct::<F, DIRECT_TILE>(group, &rows, &mut sums),
                }
                let rows = first_row + first..first_row + num_rows;
                for (row, &sum) in rows.zip(&sums) {
                    let out = &mut out.row(row)[id * GROUP..];
                    let count = GROUP.min(out.len());
                    store(sum, &mut out[..count]);
                }
            }
        }
    }
}

/// Rows of a tile from `first` on.
struct Tile<'a> {
    blocks: &'a [SuperRow],
    num_rows: usize,
    first: usize,
}

/// Products of one group with `R` rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn direct<F: Format, const R: usize>(
    group: &[u8],
    tile: &Tile<'_>,
    out: &mut [__m256; DIRECT_TILE],
) {
    let mut sums = [_mm256_setzero_ps(); R];
    let blocks = tile.blocks.chunks_exact(tile.num_rows);
    for (block, rows) in group.chunks_exact(F::GROUP_BYTES).zip(blocks) {
        let rows = rows[tile.first..].first_chunk::<R>().expect("a tile has its rows");
        if tile.first == 0 {
            prefetch(block);
        }
        let block: *const __m256i = block.as_ptr().cast();
        // SAFETY: a chunk is a whole block of eight rows.
        let head = unsafe { F::head(block) };
        let mut dots = [_mm256_setzero_si256(); R];
        for half in 0..2 {
            // Their sums need a register for each row, of which there are sixteen.
            // SAFETY: as above; a half has four sub-blocks.
            unsafe {
                if R <= 2 {
                    sub_blocks::<F, R, 0, 4>(block, half, &head, rows, &mut dots);
                } else {
                    sub_blocks::<F, R, 0, 2>(block, half, &head, rows, &mut dots);
                    sub_blocks::<F, R, 2, 2>(block, half, &head, rows, &mut dots);
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
        for i in 0..F::STEPS_SUMMED {
            let step = part * F::STEPS_SUMMED + i;
            // SAFETY: the caller's promise.
            let weights = unsafe { F::steps(block, half, step) };
            for (sub, (pairs, weights)) in pairs.iter_mut().zip(&weights[FIRST..]).enumerate() {
                for (pairs, row) in pairs.iter_mut().zip(rows) {
                    let x = quad(row, (first + sub) * STEPS + step);
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

/// Four activations in each lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn quad(row: &SuperRow, index: usize) -> __m256i {
    let quads = row.quants.as_chunks::<4>().0;
    _mm256_set1_epi32(i32::from_le_bytes(quads[index].map(i8::cast_unsigned)))
}

/// Two sums of activations in each lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn pair(sums: &[i16], index: usize) -> __m256i {
    let [a, b] = sums.as_chunks::<2>().0[index];
    let [a, b] = [a, b].map(|sum| u32::from(sum.cast_unsigned()));
    _mm256_set1_epi32((a | b << 16).cast_signed())
}

/// Adds a block's share: its products `dot`, scaled, and what its minima or its offset take away.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn add_block<F: Format>(sum: __m256, dot: __m256i, head: &Head, row: &SuperRow) -> __m256 {
    let sums: &[i16] = if F::HAS_DOUBLE_SCALES { &row.double_sums } else { &row.sums };
    let mut shares = _mm256_setzero_si256();
    for (index, &share) in head.shares[..sums.len() / 2].iter().enumerate() {
        shares = _mm256_add_epi32(shares, _mm256_madd_epi16(share, pair(sums, index)));
    }
    let scale = _mm256_set1_ps(row.scale);
    if F::HAS_MIN {
        let product = _mm256_mul_ps(_mm256_mul_ps(head.d, scale), _mm256_cvtepi32_ps(dot));
        let taken = _mm256_mul_ps(_mm256_mul_ps(head.dmin, scale), _mm256_cvtepi32_ps(shares));
        return _mm256_sub_ps(_mm256_add_ps(sum, product), taken);
    }
    let offset = _mm256_mullo_epi32(shares, _mm256_set1_epi32(F::OFFSET));
    let dot = _mm256_cvtepi32_ps(_mm256_sub_epi32(dot, offset));
    _mm256_add_ps(sum, _mm256_mul_ps(_mm256_mul_ps(head.d, scale), dot))
}

/// One block of a group, its elements as bytes.
struct Panel {
    /// Steps of the sub-blocks in order.
    steps: [__m256i; SUB_BLOCKS * STEPS],
    head: Head,
}

/// Products of 1 to [`PANELS`] groups with the rows of a tile, added to `sums`.
#[target_feature(enable = "avx2,fma,f16c")]
fn panels<F: Format>(
    groups: &[u8],
    group_bytes: usize,
    tile: &[SuperRow],
    sums: &mut [[__m256; PANELS]],
) {
    let mut panels: [Panel; PANELS] = std::array::from_fn(|_| Panel::zeroed());
    let num_groups = groups.len() / group_bytes;
    for (block_id, rows) in tile.chunks_exact(sums.len()).enumerate() {
        for (panel, group) in panels.iter_mut().zip(groups.chunks_exact(group_bytes)) {
            let start = block_id * F::GROUP_BYTES;
            prefetch_next::<F>(group, start, PANELS * group_bytes);
            panel.unpack::<F>(&group[start..start + F::GROUP_BYTES]);
        }
        // An odd last panel is computed with the one after it, whose results are not used.
        let panels = panels[..num_groups.next_multiple_of(2)].as_chunks::<2>().0;
        for (id, panels) in panels.iter().enumerate() {
            let at = 2 * id;
            let (threes, rest) = rows.as_chunks::<PANEL_ROWS>();
            let (sum_threes, sum_rest) = sums.as_chunks_mut::<PANEL_ROWS>();
            for (rows, sums) in threes.iter().zip(sum_threes) {
                two_panels::<F, PANEL_ROWS>(panels, rows, sums, at);
            }
            if let (Ok(rows), Ok(sums)) = (rest.try_into(), sum_rest.try_into()) {
                last_rows::<F, 2>(panels, rows, sums, at);
            } else if let ([row], [sums]) = (rest, sum_rest) {
                last_rows::<F, 1>(
                    panels,
                    std::array::from_ref(row),
                    std::array::from_mut(sums),
                    at,
                );
            }
        }
    }
}

/// Fetches the block after the one at `start`, to be there when rows have passed this one; after
/// the last, the first of the group that is `stride` bytes on.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn prefetch_next<F: Format>(group: &[u8], start: usize, stride: usize) {
    let next = start + F::GROUP_BYTES;
    let next = if next < group.len() { next } else { stride };
    for line in (0..F::GROUP_BYTES).step_by(64) {
        // An address past the end does no harm.
        _mm_prefetch::<_MM_HINT_T0>(group.as_ptr().wrapping_add(next + line).cast());
    }
}

/// [`two_panels`], not inlined: beside each other, one and two rows would be compiled as one loop
/// that keeps its sums in memory.
#[inline(never)]
#[target_feature(enable = "avx2,fma,f16c")]
fn last_rows<F: Format, const R: usize>(
    panels: &[Panel; 2],
    rows: &[SuperRow; R],
    sums: &mut [[__m256; PANELS]; R],
    at: usize,
) {
    two_panels::<F, R>(panels, rows, sums, at);
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn two_panels<F: Format, const R: usize>(
    panels: &[Panel; 2],
    rows: &[SuperRow; R],
    sums: &mut [[__m256; PANELS]; R],
    at: usize,
) {
    let mut dots = [[_mm256_setzero_si256(); 2]; R];
    for sub in 0..SUB_BLOCKS {
        for part in 0..STEPS / F::STEPS_SUMMED {
            let mut pairs = [[_mm256_setzero_si256(); 2]; R];
            for i in 0..F::STEPS_SUMMED {
                let step = sub * STEPS + part * F::STEPS_SUMMED + i;
                let weights = [panels[0].steps[step], panels[1].steps[step]];
                for (pairs, row) in pairs.iter_mut().zip(rows) {
                    let x = quad(row, step);
                    for (pairs, weights) in pairs.iter_mut().zip(weights) {
                        let products = _mm256_maddubs_epi16(weights, x);
                        *pairs = _mm256_add_epi16(*pairs, products);
                    }
                }
            }
            let scale = F::scale_of(sub, part);
            for (dots, pairs) in dots.iter_mut().zip(pairs) {
                for ((dot, pairs), panel) in dots.iter_mut().zip(pairs).zip(panels) {
                    let scaled = _mm256_madd_epi16(pairs, panel.head.scales[scale]);
                    *dot = _mm256_add_epi32(*dot, scaled);
                }
            }
        }
    }
    for ((sums, dots), row) in sums.iter_mut().zip(dots).zip(rows) {
        for ((sum, dot), panel) in sums[at..].iter_mut().zip(dots).zip(panels) {
            *sum = add_block::<F>(*sum, dot, &panel.head, row);
        }
    }
}

impl Panel {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn zeroed() -> Self {
        Self { steps: [_mm256_setzero_si256(); SUB_BLOCKS * STEPS], head: Head::zeroed() }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    fn unpack<F: Format>(&mut self, block: &[u8]) {
        assert!(block.len() == F::GROUP_BYTES);
        let block: *const __m256i = block.as_ptr().cast();
        // SAFETY: asserted above: a whole block of eight rows.
        self.head = unsafe { F::head(block) };
        let halves = self.steps.as_chunks_mut::<{ 4 * STEPS }>().0;
        for (half, steps) in halves.iter_mut().enumerate() {
            for step in 0..STEPS {
                // SAFETY: as above; a half has four sub-blocks of eight steps.
                let unpacked = unsafe { F::steps(block, half, step) };
                for (sub, unpacked) in unpacked.into_iter().enumerate() {
                    steps[sub * STEPS + step] = unpacked;
                }
            }
        }
    }
}
