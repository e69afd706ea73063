//! Products with weights in blocks of 32.

use std::arch::x86_64::*;

use super::tiles::{ROWS, Stored, Sums, Tiles};
use super::{Band, Part, SCRATCH, Scratch, bands};
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
/// Panels of sixteen weight rows that a band of rows passes one after the other.
const PANELS: usize = 2;
/// Blocks that are multiplied before their sums are read: as many as there are tiles for sums. What
/// they are added to is then read and written once.
const TOGETHER: usize = 4;
/// Parts of a product, beside which as many parts of the sums before are read.
const PARTS: usize = 4;

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
    for part in Part::all(args.rows, num_blocks, ROWS_MAX, MANY_ROWS) {
        let Part { first_row, rows, few } = part;
        let num_rows = rows.len() / num_blocks;
        if !few.is_empty() {
            linear_of_tile::<F>(args, first_row + num_rows, few, out);
        }
        if num_rows == 0 {
            continue;
        }
        scratch.bands.clear();
        scratch.bands.extend(bands(num_rows, num_blocks));
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
    scratch.make_room(num_panels);
    scratch.sums[..num_panels * scratch.bands.len()].fill([_mm512_setzero_ps(); ROWS]);
    // SAFETY: whoever runs this has AMX.
    let mut tiles = unsafe { Tiles::<BLOCK_LEN>::configure() };
    let mut block_id = 0;
    while block_id < num_blocks {
        let pairs = groups.chunks(2 * group_bytes).map(|pair| pair_of(pair, group_bytes));
        block_id += if block_id + TOGETHER <= num_blocks {
            add_blocks::<F, TOGETHER>(pairs, rows, block_id, &mut tiles, scratch)
        } else {
            add_blocks::<F, 1>(pairs, rows, block_id, &mut tiles, scratch)
        };
    }
    num_panels
}

/// Adds the products of `N` blocks from `first` on, and returns `N`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_blocks<'a, F: Format, const N: usize>(
    pairs: impl Iterator<Item = [&'a [u8]; 2]>,
    rows: &[RowBlock],
    first: usize,
    tiles: &mut Tiles<BLOCK_LEN>,
    scratch: &mut Scratch,
) -> usize {
    let Scratch { bands, stored, sums } = scratch;
    // SAFETY: whoever runs this has AVX-512.
    let mut panels = [[unsafe { Block::zeroed() }; N]; PANELS];
    let mut num_panels = 0;
    for (panel, pair) in panels.iter_mut().zip(pairs) {
        for (i, block) in panel.iter_mut().enumerate() {
            let start = (first + i) * F::GROUP_BYTES;
            let block_of = |group: &'a [u8]| &group[start..start + F::GROUP_BYTES];
            let blocks = [block_of(pair[0]), block_of(pair[1])];
            prefetch_pair(blocks, pair[0].len() - start, pair[0].len());
            *block = unpack::<F>(blocks);
        }
        num_panels += 1;
    }
    let num_products = bands.len() * num_panels;
    let product = |id: usize| {
        let (band_id, panel_id) = (id / num_panels, id % num_panels);
        let sums = panel_id * bands.len() + band_id;
        Product { band: &bands[band_id], rows, first, panel: &panels[panel_id], sums }
    };
    // A product takes three turns: it is made, stored where the next one is made, and added.
    for turn in 0..num_products + 2 {
        let made = (turn < num_products).then(|| product(turn));
        let added = turn.checked_sub(2).map(product);
        let [even, odd] = &mut *stored;
        let (read, written) = if turn % 2 == 0 { (even, odd) } else { (odd, even) };
        let mut turn = Turn { tiles, made, written, added, read, sums };
        // SAFETY: whoever runs this has AVX-512.
        unsafe {
            turn.part::<F, 0>();
            turn.part::<F, 1>();
            turn.part::<F, 2>();
            turn.part::<F, 3>();
        }
    }
    N
}

/// What is done beside one another.
struct Turn<'a, const N: usize> {
    tiles: &'a mut Tiles<BLOCK_LEN>,
    made: Option<Product<'a, N>>,
    written: &'a mut Stored,
    added: Option<Product<'a, N>>,
    read: &'a Stored,
    sums: &'a mut [[__m512; ROWS]],
}

impl<const N: usize> Turn<'_, N> {
    /// # Safety
    /// The CPU has AVX-512.
    #[inline(always)]
    unsafe fn part<F: Format, const PART: usize>(&mut self) {
        if PART < N {
            self.tiles.store_one::<PART>(&mut self.written.as_flattened_mut()[PART]);
            if let Some(made) = &self.made {
                made.multiply::<PART>(self.tiles);
            }
        }
        if let Some(added) = &self.added {
            // SAFETY: the caller's promise.
            unsafe { added.add::<F>(PART, self.read, self.sums) };
        }
    }
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

/// Products of `N` blocks of a band with those of a panel, a tile each.
struct Product<'a, const N: usize> {
    band: &'a Band,
    rows: &'a [RowBlock],
    first: usize,
    panel: &'a [Block; N],
    /// Which sums they are added to.
    sums: usize,
}

impl<const N: usize> Product<'_, N> {
    #[inline(always)]
    fn multiply<const PART: usize>(&self, tiles: &mut Tiles<BLOCK_LEN>) {
        let rows = &raw const self.band.block(self.rows, self.first + PART)[0].quants[0];
        // SAFETY: sixteen rows with as many bytes lie there.
        unsafe { tiles.multiply::<PART>(rows, size_of::<RowBlock>(), &self.panel[PART].steps) };
    }

    /// Adds a part of the rows of what is stored, block after block.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    #[inline(always)]
    unsafe fn add<F: Format>(&self, part: usize, stored: &Stored, sums: &mut [[__m512; ROWS]]) {
        const R: usize = ROWS / PARTS;
        let stored: &[Sums; N] = stored.as_flattened().first_chunk().expect("a tile each");
        let sums = &mut sums[self.sums].as_chunks_mut::<R>().0[part];
        let mut rows = [self.band.block(self.rows, self.first); N];
        for (i, rows) in rows.iter_mut().enumerate() {
            *rows = self.band.block(self.rows, self.first + i);
        }
        // In registers meanwhile.
        let (scales, minima) =
            (self.panel.map(|block| block.scale), self.panel.map(|block| block.min));
        for (i, sum) in sums.iter_mut().enumerate() {
            let (row, mut total) = (R * part + i, *sum);
            for block in 0..N {
                let activations = &rows[block][row];
                // SAFETY: the caller's promise.
                unsafe {
                    let scale = _mm512_mul_ps(scales[block], _mm512_set1_ps(activations.scale));
                    let product = _mm512_mul_ps(_mm512_cvtepi32_ps(stored[block].0[row]), scale);
                    total = _mm512_add_ps(total, product);
                    if F::HAS_MIN {
                        let min = _mm512_set1_ps(activations.scaled_sum);
                        total = _mm512_add_ps(total, _mm512_mul_ps(minima[block], min));
                    }
                }
            }
            *sum = total;
        }
    }
}
