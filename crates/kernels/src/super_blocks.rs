//! Linear layers over weights in super-blocks of 256 elements: their arguments, and activations
//! rounded to 8 bits.
//!
//! Activations are rounded once for all weight rows, to blocks of 256 as well. The scales within a
//! super-block are small integers, so the product of two blocks is an integer and one scale, and
//! where elements have minima, another integer and the minima's scale. Integers are exact however
//! they are added up; that is what makes a row's bits the same in every kernel.

use crate::columns::Columns;
use crate::packed::PackedFormat;
use crate::quantized::ROW_TILE;

/// Elements of a super-block.
pub const SUPER_LEN: usize = 256;

/// Elements that share a sum, see [`SuperRow::sums`].
pub(crate) const SUM_LEN: usize = 16;

/// Offset of weights that [`SuperRow::taken`] takes away: the largest of all formats.
pub(crate) const TAKEN: i16 = 32;

// All eight quants of one sum may be the largest.
const _: () = assert!(8 * 127 * TAKEN as i32 <= i16::MAX as i32);

/// Up to this sum of the magnitudes of each 16 quants, 16 bits hold the sum of their products with
/// signed weights of 6 bits or unsigned ones of 5, or that of two times 16 with unsigned ones of 4.
/// Hardly any block has more: it is half of the largest magnitude on average.
pub(crate) const SPARSE_MAX: i16 = 1023;

const _: () = {
    let most = SPARSE_MAX as i32;
    assert!(TAKEN as i32 * most <= i16::MAX as i32);
    assert!(31 * most <= i16::MAX as i32 && 2 * 15 * most <= i16::MAX as i32);
};

/// Format of super-blocks; the reference kernel explains them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SuperFormat {
    Q2K,
    Q3K,
    Q4K,
    Q5K,
    Q6K,
}

impl SuperFormat {
    pub const ALL: [Self; 5] = [Self::Q2K, Self::Q3K, Self::Q4K, Self::Q5K, Self::Q6K];

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q2K => 84,
            Self::Q3K => 110,
            Self::Q4K => 144,
            Self::Q5K => 176,
            Self::Q6K => 210,
        }
    }
}

/// 256 activations of one row, rounded: element `i` is `scale * quants[i]`.
///
/// A block with an infinite or NaN element has a scale that is NaN, so that all results of its row
/// are.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub struct SuperRow {
    /// In `[-127, 127]`.
    pub(crate) quants: [i8; SUPER_LEN],
    /// Sums of each 16 quants; what a constant added to 16 weights is multiplied with.
    pub(crate) sums: [i16; SUPER_LEN / SUM_LEN],
    /// Sums of each 32 quants.
    pub(crate) double_sums: [i16; SUPER_LEN / SUM_LEN / 2],
    pub(crate) scale: f32,
    /// Whether the magnitudes of some 16 quants make more than [`SPARSE_MAX`].
    pub(crate) is_dense: bool,
    /// What [`TAKEN`] on top of each weight adds to the products with each 16 quants, negative.
    pub(crate) taken: [i32; SUPER_LEN / SUM_LEN],
    /// The same of the first two of each four, then of the last two. Together with it sums of 16
    /// bits hold the products of eight quants and signed weights of 6 bits.
    pub(crate) taken_halves: [i16; 2 * SUPER_LEN / SUM_LEN],
}

impl Default for SuperRow {
    fn default() -> Self {
        Self {
            quants: [0; SUPER_LEN],
            sums: [0; SUPER_LEN / SUM_LEN],
            double_sums: [0; SUPER_LEN / SUM_LEN / 2],
            scale: 0.0,
            is_dense: false,
            taken: [0; SUPER_LEN / SUM_LEN],
            taken_halves: [0; 2 * SUPER_LEN / SUM_LEN],
        }
    }
}

/// Some rows of a weight matrix `[n, k]` and all rows of activations.
#[derive(Debug, Clone, Copy)]
pub struct SuperLinearArgs<'a> {
    pub format: SuperFormat,
    /// Groups of eight weight rows, as [`PackedFormat::pack_group`] makes them.
    pub weights: &'a [u8],
    /// Tiles of [`ROW_TILE`] rows, the last one smaller; a tile of `t` rows is `[k / 256, t]`.
    pub rows: &'a [SuperRow],
    pub k: usize,
}

impl SuperLinearArgs<'_> {
    pub(crate) fn check(&self, out: &Columns<'_>) {
        assert!(self.k > 0 && self.k.is_multiple_of(SUPER_LEN), "rows are whole blocks");
        let format = PackedFormat::Supers(self.format);
        let weight_bytes = format.packed_bytes(out.width(), self.k);
        assert_eq!(Some(self.weights.len()), weight_bytes);
        assert_eq!(Some(self.rows.len()), out.num_rows().checked_mul(self.k / SUPER_LEN));
    }
}

/// Rounds the rows of one tile, `[t, k]`, to blocks `[k / 256, t]`.
///
/// The rounding is that of ggml (`quantize_row_q8_K`), except that the scale is never negative: it
/// takes the sign of the largest element there, which changes no product.
#[inline(always)]
pub(crate) fn quantize_super_rows(rows: &[f32], k: usize, out: &mut [SuperRow]) {
    let num_rows = rows.len() / k;
    for (row_id, row) in rows.chunks_exact(k).enumerate() {
        for (block_id, elements) in row.as_chunks::<SUPER_LEN>().0.iter().enumerate() {
            quantize(elements, &mut out[block_id * num_rows + row_id]);
        }
    }
}

/// What elements are multiplied by to be rounded, given the largest magnitude. If that is zero or
/// not finite, the scale of a block whose quants are all zero.
#[inline(always)]
pub(crate) fn inverse_scale(largest: f32) -> Result<f32, f32> {
    let inverse = 127.0 / largest;
    if largest.is_finite() && inverse.is_finite() {
        return Ok(inverse);
    }
    Err(if largest.is_finite() { 0.0 } else { f32::NAN })
}

#[inline(always)]
fn quantize(elements: &[f32; SUPER_LEN], out: &mut SuperRow) {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the integer in the low bits.
    // As integers, magnitudes compare alike, and NaN is the largest.
    let largest = elements.iter().fold(0, |max, x| max.max(x.to_bits() & 0x7fff_ffff));
    let inverse = match inverse_scale(f32::from_bits(largest)) {
        Ok(inverse) => inverse,
        Err(scale) => return *out = SuperRow { scale, ..SuperRow::default() },
    };
    // One plain loop each, because together they would not be compiled to vectors.
    let mut integers = [0; SUPER_LEN];
    for (integer, x) in integers.iter_mut().zip(elements) {
        *integer = (x * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i16;
    }
    for (quant, integer) in out.quants.iter_mut().zip(integers) {
        *quant = integer as i8;
    }
    let mut pairs = [0; SUPER_LEN / 2];
    for (pair, [a, b]) in pairs.iter_mut().zip(integers.as_chunks::<2>().0) {
        *pair = a + b;
    }
    let mut halves = [[0; 2]; SUPER_LEN / SUM_LEN];
    for (halves, pairs) in halves.iter_mut().zip(pairs.as_chunks::<{ SUM_LEN / 2 }>().0) {
        for [first, last] in pairs.as_chunks::<2>().0 {
            *halves = [halves[0] + first, halves[1] + last];
        }
    }
    for (taken, half) in out.taken_halves.iter_mut().zip(halves.as_flattened()) {
        *taken = -TAKEN * half;
    }
    for (sum, [first, last]) in out.sums.iter_mut().zip(halves) {
        *sum = first + last;
    }
    for (taken, sum) in out.taken.iter_mut().zip(out.sums) {
        *taken = -i32::from(TAKEN) * i32::from(sum);
    }
    let magnitude = |quants: &[i16; SUM_LEN]| quants.iter().map(|quant| quant.abs()).sum::<i16>();
    out.is_dense = integers.as_chunks().0.iter().any(|quants| magnitude(quants) > SPARSE_MAX);
    for (sum, [a, b]) in out.double_sums.iter_mut().zip(out.sums.as_chunks::<2>().0) {
        *sum = a + b;
    }
    out.scale = 1.0 / inverse;
}

/// Tiles of the rows, each with the first of its rows.
pub(crate) fn tiles(rows: &[SuperRow], k: usize) -> impl Iterator<Item = (usize, &[SuperRow])> {
    rows.chunks(ROW_TILE * (k / SUPER_LEN)).enumerate().map(|(id, tile)| (id * ROW_TILE, tile))
}
