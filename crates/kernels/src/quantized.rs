//! Linear layers over weights in blocks of 32 elements: their arguments, and activations rounded
//! to 8 bits.
//!
//! [`crate::scalar`] explains the formats. Activations are rounded once for all weight rows, to
//! blocks of 32 as well, so that a product of two blocks is a sum of integers and one scale.

use half::f16;

use crate::columns::Columns;
use crate::packed::PackedFormat;

/// Elements of a block, of weights and of activations.
pub const BLOCK_LEN: usize = 32;

/// Rows of activations whose blocks lie together, see [`QuantizedLinearArgs::rows`]: a block of
/// weights is unpacked once for all of them, and with `k` of 8,960 they fit the second-level cache.
pub const ROW_TILE: usize = 64;

/// Format of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockFormat {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
}

impl BlockFormat {
    pub const ALL: [Self; 5] = [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0];

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
        }
    }
}

/// Activations of one row, rounded: element `i` is `scale * quants[i]`.
///
/// A block with an infinite or NaN element, or one too large for the scale, has a scale that is
/// not finite, so that all results of its row are not finite either.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowBlock {
    /// In `[-127, 127]`.
    pub(crate) quants: [i8; BLOCK_LEN],
    /// A half float.
    pub(crate) scale: f32,
    /// Sum of the elements, a half float; what a constant added to each weight is multiplied with.
    pub(crate) scaled_sum: f32,
    /// Sum of the quants.
    pub(crate) sum: i32,
    /// What 8 on top of each weight adds to the products, negative: of the first two of each four
    /// quants, and of the last two. Together with twice that, sums of products of 5 bits fit 16.
    pub(crate) taken: [i16; 2],
}

impl RowBlock {
    pub(crate) fn not_finite() -> Self {
        Self { scale: f32::NAN, scaled_sum: f32::NAN, ..Self::default() }
    }
}

/// Some rows of a weight matrix `[n, k]` and all rows of activations.
#[derive(Debug, Clone, Copy)]
pub struct QuantizedLinearArgs<'a> {
    pub format: BlockFormat,
    /// Groups of eight weight rows, as [`PackedFormat::pack_group`] makes them.
    pub weights: &'a [u8],
    /// Tiles of [`ROW_TILE`] rows, the last one smaller; a tile of `t` rows is `[k / 32, t]`.
    pub rows: &'a [RowBlock],
    pub k: usize,
}

impl QuantizedLinearArgs<'_> {
    pub(crate) fn check(&self, out: &Columns<'_>) {
        assert!(self.k > 0 && self.k.is_multiple_of(BLOCK_LEN), "rows are whole blocks");
        let format = PackedFormat::Blocks(self.format);
        assert_eq!(Some(self.weights.len()), format.packed_bytes(out.width(), self.k));
        assert_eq!(Some(self.rows.len()), out.num_rows().checked_mul(self.k / BLOCK_LEN));
    }
}

/// Rounds the rows of one tile, `[t, k]`, to blocks `[k / 32, t]`.
///
/// The rounding is that of ggml on x86 (`quantize_row_q8_0`, `quantize_row_q8_1`).
#[inline(always)]
pub(crate) fn quantize_rows(rows: &[f32], k: usize, out: &mut [RowBlock]) {
    let num_rows = rows.len() / k;
    for (row_id, row) in rows.chunks_exact(k).enumerate() {
        for (block_id, elements) in row.as_chunks::<BLOCK_LEN>().0.iter().enumerate() {
            out[block_id * num_rows + row_id] = quantize(elements);
        }
    }
}

#[inline(always)]
fn quantize(elements: &[f32; BLOCK_LEN]) -> RowBlock {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the integer in the low bits.
    // As integers, magnitudes compare alike, and NaN is the largest.
    let largest = elements.iter().fold(0, |max, x| max.max(x.to_bits() & 0x7fff_ffff));
    let largest = f32::from_bits(largest);
    if !largest.is_finite() {
        return RowBlock::not_finite();
    }
    let scale = largest / 127.0;
    let half_scale = round_to_half(scale);
    if half_scale == 0.0 {
        return RowBlock::default();
    }
    let inverse = 127.0 / largest;
    // One plain loop each, because together they would not be compiled to vectors.
    let mut integers = [0; BLOCK_LEN];
    for (integer, x) in integers.iter_mut().zip(elements) {
        *integer = (x * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()).cast_signed();
    }
    let mut half_sums = [0; 2];
    for &[a, b, c, d] in integers.as_chunks::<4>().0 {
        half_sums = [half_sums[0] + a + b, half_sums[1] + c + d];
    }
    let sum = half_sums[0] + half_sums[1];
    let mut quants = [0; BLOCK_LEN];
    for (quant, integer) in quants.iter_mut().zip(integers) {
        *quant = integer as i8;
    }
    RowBlock {
        quants,
        scale: half_scale,
        scaled_sum: round_to_half(scale * sum as f32),
        sum,
        taken: half_sums.map(|sum| -8 * sum as i16),
    }
}

#[inline(always)]
fn round_to_half(x: f32) -> f32 {
    // `half` would look up the CPU's features at each call.
    f16::from_f32_const(x).to_f32_const()
}
