//! Kernels for AMX, beside AVX-512: products of many rows with quants. All else, and products of
//! few rows, are AVX-512's.
//!
//! A tile instruction multiplies bytes of sixteen rows of activations with those of sixteen weight
//! rows and adds to sums of 32 bits, which are exact; so the bits are those of the other kernels.

mod quantized;
mod super_blocks;
mod tiles;

use std::arch::x86_64::*;
use std::cell::RefCell;

use crate::avx512::{PAIR, store};
use crate::columns::Columns;
use crate::quantized::ROW_TILE;

pub(crate) use quantized::quantized_linear;
pub(crate) use super_blocks::{ROWS_MAX, super_linear};
pub(crate) use tiles::is_available;

use tiles::{ROWS, Stored};

/// Sixteen rows of activations of a tile. The last ones of a tile begin among those before if there
/// are not sixteen otherwise; then their first sums are not used.
#[derive(Clone, Copy)]
struct Band {
    row: usize,
    skipped: usize,
    /// Where its first block is, and how far from there the next one.
    start: usize,
    step: usize,
}

impl Band {
    #[inline(always)]
    fn block<'a, B>(&self, rows: &'a [B], block_id: usize) -> &'a [B; ROWS] {
        let block = &rows[self.start + block_id * self.step..];
        block.first_chunk().expect("a tile has sixteen rows or more")
    }
}

/// Rows of activations that pass weights together.
struct Part<'a, B> {
    first_row: usize,
    /// Of tiles that are multiplied here.
    rows: &'a [B],
    /// A last tile of too few rows, or nothing.
    few: &'a [B],
}

impl<'a, B> Part<'a, B> {
    /// The parts of all rows, `rows_max` each, which are whole tiles. A tile of less than
    /// `rows_min` is one of too few.
    fn all(
        rows: &'a [B],
        num_blocks: usize,
        rows_max: usize,
        rows_min: usize,
    ) -> impl Iterator<Item = Self> {
        rows.chunks(rows_max * num_blocks).enumerate().map(move |(id, rows)| {
            let rest = rows.len() % (ROW_TILE * num_blocks);
            let num_few = if rest < rows_min * num_blocks { rest } else { 0 };
            let (rows, few) = rows.split_at(rows.len() - num_few);
            Self { first_row: id * rows_max, rows, few }
        })
    }
}

/// The bands of tiles of sixteen rows or more, `num_blocks` blocks each.
fn bands(num_rows: usize, num_blocks: usize) -> impl Iterator<Item = Band> {
    (0..num_rows).step_by(ROW_TILE).flat_map(move |tile| {
        let num_rows = ROW_TILE.min(num_rows - tile);
        (0..num_rows).step_by(ROWS).map(move |wanted| {
            let first = wanted.min(num_rows - ROWS);
            Band {
                row: tile + first,
                skipped: wanted - first,
                start: tile * num_blocks + first,
                step: num_rows,
            }
        })
    })
}

/// What is kept from call to call.
struct Scratch {
    bands: Vec<Band>,
    /// Of the last products.
    stored: [Stored; 2],
    /// Of some panels of sixteen weight rows, of all bands each; there may be more.
    sums: Vec<[__m512; ROWS]>,
}

thread_local! {
    /// Made anew for each call, the sums' memory would be cleared by the system first.
    static SCRATCH: RefCell<Scratch> = const {
        // SAFETY: vectors of zeros.
        let stored = unsafe { std::mem::zeroed() };
        RefCell::new(Scratch { bands: Vec::new(), stored, sums: Vec::new() })
    };
}

impl Scratch {
    /// Room for the sums of as many panels, whatever is in it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn make_room(&mut self, num_panels: usize) {
        let num_sums = num_panels * self.bands.len();
        if self.sums.len() < num_sums {
            self.sums.resize(num_sums, [_mm512_setzero_ps(); ROWS]);
        }
    }

    /// Stores the sums of as many panels, those of columns from `column` on.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn write(&self, num_panels: usize, first_row: usize, column: usize, out: &mut Columns<'_>) {
        let sums = self.sums.chunks_exact(self.bands.len()).take(num_panels);
        for (panel, sums) in sums.enumerate() {
            for (band, sums) in self.bands.iter().zip(sums) {
                for (row, &sum) in sums.iter().enumerate().skip(band.skipped) {
                    let out = &mut out.row(first_row + band.row + row)[column + panel * PAIR..];
                    let width = out.len().min(PAIR);
                    store(sum, &mut out[..width]);
                }
            }
        }
    }
}
