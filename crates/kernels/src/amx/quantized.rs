//! Products with weights in blocks of 32.

use std::arch::x86_64::*;

use super::tiles::{ROWS, Stored, Tiles};
use super::{Band, SCRATCH, Scratch, bands};
use crate::avx2::quantized::{Format, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Unpacked};
use crate::avx512::quantized::linear_of_tile;
use crate::avx512::{PAIR, pair_of, prefetch_pair};
use crate::columns::Columns;
use crate::quantized::{BLOCK_LEN, BlockFormat, QuantizedLinearArgs, ROW_TILE, RowBlock};

/// Most rows of activations that pass weights together: as many as leave the first-level cache room
/// for their sums.
const ROWS_MAX: usize = 2 * ROW_TILE;
/// Rows of a tile from which on this is faster than AVX-512: each block's sums are read.
const MANY_ROWS: usize = 2 * ROWS;
/// Panels of sixteen weight rows that a band of rows passes together.
const PANELS: usize = 2;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn quantized_linear(args: &QuantizedLinearArgs<'_>, out: &mut Columns<'_>) {
    SCRATCH.with_borrow_mut(|scratch| match args.format {
        BlockFormat::Q4_0 => linear_of::<Q4_0>(args, scratch, out),
        BlockFormat::Q4_1 => linear_of::<Q4_1>(args, scratch, out),
        BlockFormat::Q5_0 => linear_of::<Q5_0>(args, scratch, out),
        BlockFormat::Q5_1 => linear_of::<Q5_1>(args, scratch, out),
        BlockFormat::Q8_0 => linear_of::<Q8_0>(args, scratch, out),
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn linear_of<F: Format>(
    args: &QuantizedLinearArgs<'_>,
    scratch: &mut Scratch,
    out: &mut Columns<'_>,
) {
    let num_blocks = args.k / BLOCK_LEN;
    let group_bytes = num_blocks * F::GROUP_BYTES;
    for (id, rows) in args.rows.chunks(ROWS_MAX * num_blocks).enumerate() {
        let first_row = id * ROWS_MAX;
        let rest = rows.len() % (ROW_TILE * num_blocks);
        let is_few = rest < MANY_ROWS * num_blocks;
        let (rows, last) = rows.split_at(rows.len() - if is_few { rest } else { 0 });
        if !last.is_empty() {
            linear_of_tile::<F>(args, first_row + rows.len() / num_blocks, last, out);
        }
        if rows.is_empty() {
            continue;
        }
        scratch.bands.clear();
        scratch.bands.extend(bands(rows.len() / num_blocks, num_blocks));
        for (id, groups) in args.weights.chunks(2 * PANELS * group_bytes).enumerate() {
            let num_panels = panels::<F>(groups, rows, num_blocks, scratch);
            scratch.write(num_panels, first_row, id * PANELS * PAIR, out);
        }
    }
}

/// One block of sixteen weight rows.
type Block = Unpacked<__m512i>;

/// Products of one or two panels with the bands of `rows`. Returns how many panels there are.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn panels<F: Format>(
    groups: &[u8],
    rows: &[RowBlock],
    num_blocks: usize,
    scratch: &mut Scratch,
) -> usize {
    let group_bytes = num_blocks * F::GROUP_BYTES;
    let num_panels = groups.len().div_ceil(2 * group_bytes);
    // One that is not there is the first one again, whose results are not used.
    scratch.make_room(PANELS);
    let Scratch { bands, stored, sums } = scratch;
    let sums = &mut sums[..PANELS * bands.len()];
    // SAFETY: whoever runs this has AMX.
    let mut tiles = unsafe { Tiles::<BLOCK_LEN>::configure() };
    for block_id in 0..num_blocks {
        let block = block_id * F::GROUP_BYTES..(block_id + 1) * F::GROUP_BYTES;
        let [first, second] = [0, num_panels - 1].map(|panel| {
            let pair = pair_of(&groups[2 * panel * group_bytes..], group_bytes);
            pair.map(|group| &group[block.clone()])
        });
        prefetch_pair(first, group_bytes - block.start, group_bytes);
        prefetch_pair(second, group_bytes - block.start, group_bytes);
        let panels = [unpack::<F>(first), unpack::<F>(second)];
        tiles.load_weights([&panels[0].steps, &panels[1].steps]);
        // The sums of one product are read while the next one is made.
        let mut before: Option<Product<'_>> = None;
        for (pair_id, pair) in bands.chunks(2).enumerate() {
            let product = Product { bands: pair, rows, block_id, panels: &panels };
            tiles.clear();
            for band in 0..2 {
                product.multiply(&mut tiles, band);
                if let Some(before) = &before {
                    // SAFETY: whoever runs this has AVX-512.
                    unsafe { before.add::<F>(band, 2 * (pair_id - 1), stored, sums) };
                }
            }
            tiles.store(&mut stored[..pair.len()]);
            before = Some(product);
        }
        if let Some(last) = before {
            for band in 0..last.bands.len() {
                // SAFETY: whoever runs this has AVX-512.
                unsafe { last.add::<F>(band, (bands.len() - 1) / 2 * 2, stored, sums) };
            }
        }
    }
    num_panels
}

/// Signed elements.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn unpack<F: Format>(blocks: [&[u8]; 2]) -> Block {
    assert!(blocks.iter().all(|block| block.len() == F::GROUP_BYTES));
    // SAFETY: asserted: whole blocks of eight rows.
    let mut block = unsafe { F::unpack::<__m512i>(blocks.map(<[u8]>::as_ptr)) };
    if F::OFFSET != 0 {
        for step in &mut block.steps {
            *step = _mm512_sub_epi8(*step, _mm512_set1_epi8(F::OFFSET as i8));
        }
    }
    block
}

/// Products of a block of one or two bands with two panels.
struct Product<'a> {
    bands: &'a [Band],
    rows: &'a [RowBlock],
    block_id: usize,
    panels: &'a [Block; PANELS],
}

impl Product<'_> {
    #[inline(always)]
    fn multiply(&self, tiles: &mut Tiles<BLOCK_LEN>, band: usize) {
        let Some(rows) = self.bands.get(band) else { return };
        let rows = &raw const rows.block(self.rows, self.block_id)[0].quants[0];
        // SAFETY: sixteen rows with as many bytes lie there.
        unsafe {
            match band {
                0 => tiles.multiply::<0>(rows, size_of::<RowBlock>()),
                _ => tiles.multiply::<1>(rows, size_of::<RowBlock>()),
            }
        }
    }

    /// Adds what is stored of a band to its sums, the first of which are of band `first`.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    #[inline(always)]
    unsafe fn add<F: Format>(
        &self,
        band: usize,
        first: usize,
        stored: &Stored,
        sums: &mut [[__m512; ROWS]],
    ) {
        let rows = self.bands[band].block(self.rows, self.block_id);
        let num_bands = sums.len() / PANELS;
        // What lies there before the first block is of other products.
        let kept = if self.block_id == 0 { 0 } else { u16::MAX };
        for (panel, (block, stored)) in self.panels.iter().zip(&stored[band]).enumerate() {
            let sums = &mut sums[panel * num_bands + first + band];
            for ((sum, &dots), row) in sums.iter_mut().zip(&stored.0).zip(rows) {
                // SAFETY: the caller's promise.
                unsafe {
                    let scale = _mm512_mul_ps(block.scale, _mm512_set1_ps(row.scale));
                    let product = _mm512_mul_ps(_mm512_cvtepi32_ps(dots), scale);
                    *sum = _mm512_add_ps(_mm512_maskz_mov_ps(kept, *sum), product);
                    if F::HAS_MIN {
                        let share = _mm512_mul_ps(block.min, _mm512_set1_ps(row.scaled_sum));
                        *sum = _mm512_add_ps(*sum, share);
                    }
                }
            }
        }
    }
}
