//! Products with weights in super-blocks of 256.
//!
//! A weight times its scale within the block is a number of 16 bits. As a low byte and a high one
//! it is multiplied by tiles, and a block's sums are read once: those of the low bytes and 256
//! times those of the high ones. To multiply a sum for each scale, as AVX-512 does, would take
//! longer than the products.

use std::arch::x86_64::*;

use super::tiles::{ROW_BYTES, ROWS, Stored, Tiles};
use super::{Band, Part, SCRATCH, Scratch, bands};
use crate::avx2::Ahead;
use crate::avx2::super_blocks::formats::{Format, Head, Q2K, Q3K, Q4K, Q5K, Q6K};
use crate::avx512::super_blocks::{STEPS, SUB_BLOCKS, add_dot, linear_of_tile};
use crate::avx512::{PAIR, pair_of};
use crate::columns::Columns;
use crate::quantized::ROW_TILE;
use crate::super_blocks::{SUPER_LEN, SuperFormat, SuperLinearArgs, SuperRow};

/// Most rows of activations that pass weights together: a panel is made once for all of them, and
/// a block of theirs fits the second-level cache, which CPUs with tiles have 2 MiB of.
pub(crate) const ROWS_MAX: usize = 4 * ROW_TILE;
/// Panels of sixteen weight rows that a band of rows passes one after the other.
const PANELS: usize = 2;
/// Most panels that all rows pass block by block, so that activations come once for all of them
/// from a farther cache; as many as leave the nearer one room for their sums.
const STRIP: usize = 8;
/// A block's elements are multiplied in as many parts, beside which as many parts of the sums
/// before are read: tiles and vectors work at once only on what is near in the order of
/// instructions.
const QUARTERS: usize = SUPER_LEN / ROW_BYTES;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn super_linear(args: &SuperLinearArgs<'_>, out: &mut Columns<'_>) {
    SCRATCH.with_borrow_mut(|scratch| match args.format {
        SuperFormat::Q2K => linear_of::<Q2K>(args, scratch, out),
        SuperFormat::Q3K => linear_of::<Q3K>(args, scratch, out),
        SuperFormat::Q4K => linear_of::<Q4K>(args, scratch, out),
        SuperFormat::Q5K => linear_of::<Q5K>(args, scratch, out),
        SuperFormat::Q6K => linear_of::<Q6K>(args, scratch, out),
    });
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn linear_of<F: Format>(args: &SuperLinearArgs<'_>, scratch: &mut Scratch, out: &mut Columns<'_>) {
    let num_blocks = args.k / SUPER_LEN;
    let group_bytes = num_blocks * F::GROUP_BYTES;
    for part in Part::all(args.rows, num_blocks, ROWS_MAX, ROWS) {
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
        for (id, groups) in args.weights.chunks(2 * STRIP * group_bytes).enumerate() {
            let num_panels = strip::<F>(groups, rows, num_blocks, scratch);
            scratch.write(num_panels, first_row, id * STRIP * PAIR, out);
        }
    }
}

/// Products of 1 to [`STRIP`] panels with the bands of `rows`. Returns how many panels there are.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn strip<F: Format>(
    groups: &[u8],
    rows: &[SuperRow],
    num_blocks: usize,
    scratch: &mut Scratch,
) -> usize {
    let group_bytes = num_blocks * F::GROUP_BYTES;
    let num_groups = groups.len() / group_bytes;
    let num_panels = num_groups.div_ceil(2);
    scratch.make_room(num_panels);
    let Scratch { bands, stored: [stored, _], sums } = scratch;
    let sums = &mut sums[..num_panels * bands.len()];
    // SAFETY: whoever runs this has AMX.
    let mut tiles = unsafe { Tiles::<ROW_BYTES>::configure() };
    let mut panels = [Panel::zeroed(), Panel::zeroed()];
    let num_fetches = num_panels * bands.len().div_ceil(2) * QUARTERS;
    for block_id in 0..num_blocks {
        let block = block_id * F::GROUP_BYTES..(block_id + 1) * F::GROUP_BYTES;
        let place = (block.start, F::GROUP_BYTES);
        let mut ahead = Ahead::new(groups, group_bytes, num_groups, place, num_fetches);
        let groups = groups.chunks(2 * PANELS * group_bytes);
        for (groups, sums) in groups.zip(sums.chunks_mut(PANELS * bands.len())) {
            let pairs = groups.chunks(2 * group_bytes);
            for (panel, groups) in panels.iter_mut().zip(pairs) {
                let pair = pair_of(groups, group_bytes);
                panel.unpack::<F>(pair.map(|group| &group[block.clone()]));
            }
            // The sums of one product are read while the next one is made.
            let mut before: Option<Product<'_>> = None;
            for (pair_id, pair) in bands.chunks(2).enumerate() {
                let panels = panels.iter().take(sums.len() / bands.len());
                for (panel_id, panel) in panels.enumerate() {
                    let first_sums = panel_id * bands.len() + 2 * pair_id;
                    let product = Product { bands: pair, rows, block_id, panel, first_sums };
                    tiles.clear();
                    for quarter in 0..QUARTERS {
                        product.multiply(&mut tiles, quarter);
                        ahead.fetch();
                        if let Some(before) = &before {
                            // SAFETY: whoever runs this has AVX-512.
                            unsafe { before.add::<F>(quarter, stored, sums) };
                        }
                    }
                    tiles.store(&mut stored[..pair.len()]);
                    before = Some(product);
                }
            }
            if let Some(last) = before {
                for quarter in 0..QUARTERS {
                    // SAFETY: whoever runs this has AVX-512.
                    unsafe { last.add::<F>(quarter, stored, sums) };
                }
            }
        }
    }
    num_panels
}

/// Products of a block of one or two bands with a panel.
struct Product<'a> {
    bands: &'a [Band],
    rows: &'a [SuperRow],
    block_id: usize,
    panel: &'a Panel,
    first_sums: usize,
}

impl Product<'_> {
    /// Multiplies a quarter of the elements.
    #[inline(always)]
    fn multiply(&self, tiles: &mut Tiles<ROW_BYTES>, quarter: usize) {
        let steps = [&self.panel.low, &self.panel.high].map(|steps| &steps.as_chunks().0[quarter]);
        let of = |band: &Band| {
            &raw const band.block(self.rows, self.block_id)[0].quants[quarter * ROW_BYTES]
        };
        let stride = size_of::<SuperRow>();
        // SAFETY: sixteen rows with as many bytes lie at each place.
        unsafe {
            match self.bands {
                [first, second] => tiles.multiply([of(first), of(second)], stride, steps),
                [first, ..] => tiles.multiply([of(first)], stride, steps),
                [] => {}
            }
        }
    }

    /// Adds a quarter of the stored rows.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    #[inline(always)]
    unsafe fn add<F: Format>(&self, quarter: usize, stored: &Stored, sums: &mut [[__m512; ROWS]]) {
        // SAFETY: the caller's promise.
        unsafe {
            if self.bands.len() == 2 {
                self.add_rows::<F, { 2 * ROWS / QUARTERS }>(quarter, stored, sums);
            } else {
                self.add_rows::<F, { ROWS / QUARTERS }>(quarter, stored, sums);
            }
        }
    }

    /// Adds the `part`-th `R` rows.
    ///
    /// # Safety
    /// The CPU has AVX-512.
    #[inline(always)]
    unsafe fn add_rows<F: Format, const R: usize>(
        &self,
        part: usize,
        stored: &Stored,
        sums: &mut [[__m512; ROWS]],
    ) {
        let (band, part) = (part / (ROWS / R), part % (ROWS / R));
        let [low, high] = &stored[band];
        let [low, high] = [low, high].map(|sums| &sums.0.as_chunks::<R>().0[part]);
        let sums = &mut sums[self.first_sums + band].as_chunks_mut::<R>().0[part];
        let rows = &self.bands[band].block(self.rows, self.block_id).as_chunks::<R>().0[part];
        // What lies there before the first block is of other products.
        let kept = if self.block_id == 0 { 0 } else { u16::MAX };
        for row in 0..R {
            // SAFETY: the caller's promise.
            unsafe {
                let dot = _mm512_add_epi32(low[row], _mm512_slli_epi32::<8>(high[row]));
                let sum = _mm512_maskz_mov_ps(kept, sums[row]);
                sums[row] = add_dot::<F>(sum, dot, &self.panel.head, &rows[row]);
            }
        }
    }
}

/// One block of two groups: each element times its scale.
struct Panel {
    /// Low bytes, unsigned, in steps of four elements of each row.
    low: [__m512i; SUB_BLOCKS * STEPS],
    /// What is above them, signed.
    high: [__m512i; SUB_BLOCKS * STEPS],
    head: Head<__m512i>,
}

impl Panel {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn zeroed() -> Self {
        let zeros = [_mm512_setzero_si512(); SUB_BLOCKS * STEPS];
        // SAFETY: whoever runs this has AVX-512.
        Self { low: zeros, high: zeros, head: unsafe { Head::zeroed() } }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn unpack<F: Format>(&mut self, blocks: [&[u8]; 2]) {
        assert!(blocks.iter().all(|block| block.len() == F::GROUP_BYTES));
        let blocks = blocks.map(<[u8]>::as_ptr);
        // SAFETY: asserted above: whole blocks of eight rows.
        self.head = unsafe { F::head::<__m512i>(blocks) };
        let mut factors = [Factor::new(_mm512_setzero_si512(), F::OFFSET); 16];
        for (factor, &scale) in factors.iter_mut().zip(&self.head.scales) {
            *factor = Factor::new(scale, F::OFFSET);
        }
        let num_scales = if F::HAS_DOUBLE_SCALES { 1 } else { 2 };
        for half in 0..2 {
            for step in 0..STEPS {
                // SAFETY: as above; a half has four sub-blocks of eight steps.
                let unpacked = unsafe { F::steps::<__m512i>(blocks, half, step) };
                for (sub, unpacked) in unpacked.into_iter().enumerate() {
                    let sub_block = 4 * half + sub;
                    let factor = &factors[num_scales * sub_block + step * num_scales / STEPS];
                    let at = sub_block * STEPS + step;
                    [self.low[at], self.high[at]] = factor.multiply(unpacked, F::OFFSET != 0);
                }
            }
        }
    }
}

/// A scale of sixteen weight rows as bytes are multiplied with it.
#[derive(Clone, Copy)]
struct Factor {
    /// For the even bytes, and zeros for the odd ones.
    even: __m512i,
    /// The reverse.
    odd: __m512i,
    /// What an offset adds to a product of 16 bits.
    offset: __m512i,
}

impl Factor {
    /// Of a scale as [`crate::avx2::Word::scale`] has it.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn new(scale: __m512i, offset: i32) -> Self {
        let low_bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(
            0, -1, 0, -1, 4, -1, 4, -1, 8, -1, 8, -1, 12, -1, 12, -1,
        ));
        let even = _mm512_shuffle_epi8(scale, low_bytes);
        let odd = _mm512_slli_epi16::<8>(even);
        let offset = _mm512_maddubs_epi16(_mm512_set1_epi8(offset as i8), even);
        Self { even, odd, offset }
    }

    /// Low and high bytes of the products with unsigned bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn multiply(&self, bytes: __m512i, has_offset: bool) -> [__m512i; 2] {
        const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
        let mut even = _mm512_maddubs_epi16(bytes, self.even);
        let mut odd = _mm512_maddubs_epi16(bytes, self.odd);
        if has_offset {
            even = _mm512_sub_epi16(even, self.offset);
            odd = _mm512_sub_epi16(odd, self.offset);
        }
        let low = _mm512_mask_mov_epi8(even, ODD, _mm512_slli_epi16::<8>(odd));
        let high = _mm512_mask_mov_epi8(_mm512_srli_epi16::<8>(even), ODD, odd);
        [low, high]
    }
}
