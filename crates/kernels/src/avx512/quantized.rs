//! Products with weights in blocks of 32, sixteen weight rows at a time: two groups, which are
//! unpacked as for AVX2 and joined, and for many rows four. A block's weights stay in registers
//! while all rows of a tile pass.

use std::arch::x86_64::*;

use super::{PAIR, broadcast, pair_of, prefetch_pair, store};
use crate::avx2::quantized::{Format, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Unpacked};
use crate::columns::Columns;
use crate::quantized::{BLOCK_LEN, BlockFormat, QuantizedLinearArgs, ROW_TILE, RowBlock};

/// Most rows of activations whose sums stay in registers.
const FEW_ROWS: usize = 4;
/// Pairs of groups that many rows pass together, so that what is read of a row serves both.
const PAIRS: usize = 2;
/// Rows from which on that is so. Fewer wait for the weights, which come faster by two streams.
const MANY_ROWS: usize = 16;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn quantized_linear(args: &QuantizedLinearArgs<'_>, out: &mut Columns<'_>) {
    match args.format {
        BlockFormat::Q4_0 => linear_of::<Q4_0>(args, out),
        BlockFormat::Q4_1 => linear_of::<Q4_1>(args, out),
        BlockFormat::Q5_0 => linear_of::<Q5_0>(args, out),
        BlockFormat::Q5_1 => linear_of::<Q5_1>(args, out),
        BlockFormat::Q8_0 => linear_of::<Q8_0>(args, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn linear_of<F: Format>(args: &QuantizedLinearArgs<'_>, out: &mut Columns<'_>) {
    let tile_len = ROW_TILE * (args.k / BLOCK_LEN);
    for (tile_id, tile) in args.rows.chunks(tile_len).enumerate() {
        linear_of_tile::<F>(args, tile_id * ROW_TILE, tile, out);
    }
}

/// Products of the rows of one tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn linear_of_tile<F: Format>(
    args: &QuantizedLinearArgs<'_>,
    first_row: usize,
    tile: &[RowBlock],
    out: &mut Columns<'_>,
) {
    let num_blocks = args.k / BLOCK_LEN;
    let group_bytes = num_blocks * F::GROUP_BYTES;
    let num_rows = tile.len() / num_blocks;
    let mut sums = [[_mm512_setzero_ps(); PAIRS]; ROW_TILE];
    let sums = &mut sums[..num_rows];
    let pairs_together = if num_rows < MANY_ROWS { 1 } else { PAIRS };
    for (id, groups) in args.weights.chunks(2 * pairs_together * group_bytes).enumerate() {
        let mut pairs = groups.chunks(2 * group_bytes).map(|pair| pair_of(pair, group_bytes));
        let first = pairs.next().expect("a chunk is not empty");
        match (num_rows, pairs.next()) {
            (1, _) => few::<F, 1>(first, tile, sums),
            (2, _) => few::<F, 2>(first, tile, sums),
            (3, _) => few::<F, 3>(first, tile, sums),
            (FEW_ROWS, _) => few::<F, FEW_ROWS>(first, tile, sums),
            (_, None) => many::<F, 1>([first], tile, sums),
            (_, Some(second)) => many::<F, PAIRS>([first, second], tile, sums),
        }
        for (row, sums) in sums.iter().enumerate() {
            let out = &mut out.row(first_row + row)[id * pairs_together * PAIR..];
            for (out, &sum) in out.chunks_mut(PAIR).zip(&sums[..pairs_together]) {
                store(sum, out);
            }
        }
    }
}

/// Products of two groups with a tile of `R` rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn few<F: Format, const R: usize>(
    groups: [&[u8]; 2],
    tile: &[RowBlock],
    out: &mut [[__m512; PAIRS]],
) {
    let mut sums = [[_mm512_setzero_ps(); 1]; R];
    let group_bytes = groups[0].len();
    let mut rest = group_bytes;
    let [low, high] = groups.map(|group| group.chunks_exact(F::GROUP_BYTES));
    for ((low, high), rows) in low.zip(high).zip(tile.as_chunks::<R>().0) {
        prefetch_pair([low, high], rest, group_bytes);
        rest -= F::GROUP_BYTES;
        let block = unpack::<F>([low, high]);
        for (sums, row) in sums.iter_mut().zip(rows) {
            add_products::<F, 1>([&block], row, sums);
        }
    }
    for (out, sums) in out.iter_mut().zip(sums) {
        out[0] = sums[0];
    }
}

/// Products of one or two pairs of groups with a tile of any number of rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn many<F: Format, const P: usize>(
    pairs: [[&[u8]; 2]; P],
    tile: &[RowBlock],
    out: &mut [[__m512; PAIRS]],
) {
    out.fill([_mm512_setzero_ps(); PAIRS]);
    let group_bytes = pairs[0][0].len();
    // SAFETY: whoever runs this has AVX-512.
    let mut blocks = [unsafe { Block::zeroed() }; P];
    for (block_id, rows) in tile.chunks_exact(out.len()).enumerate() {
        let start = block_id * F::GROUP_BYTES;
        for (block, [low, high]) in blocks.iter_mut().zip(pairs) {
            let range = start..start + F::GROUP_BYTES;
            let [low, high] = [&low[range.clone()], &high[range]];
            prefetch_pair([low, high], group_bytes - start, group_bytes);
            *block = unpack::<F>([low, high]);
        }
        for (sums, row) in out.iter_mut().zip(rows) {
            let sums = sums.first_chunk_mut().expect("there are at least as many");
            add_products::<F, P>(blocks.each_ref(), row, sums);
        }
    }
}

/// One block of sixteen weight rows.
type Block = Unpacked<__m512i>;

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn unpack<F: Format>(blocks: [&[u8]; 2]) -> Block {
    assert!(blocks.iter().all(|block| block.len() == F::GROUP_BYTES));
    // SAFETY: asserted: whole blocks of eight rows.
    let mut block = unsafe { F::unpack::<__m512i>(blocks.map(<[u8]>::as_ptr)) };
    if F::SIGNED {
        for step in &mut block.steps {
            // One operand is unsigned: 128 more, which the offset takes away again.
            *step = _mm512_xor_si512(*step, _mm512_set1_epi8(i8::MIN));
        }
    }
    block
}

/// Adds the products of a row with one block or two.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_products<F: Format, const P: usize>(
    blocks: [&Block; P],
    row: &RowBlock,
    sums: &mut [__m512; P],
) {
    let offset = if F::SIGNED { 128 } else { F::OFFSET };
    let mut dots = [_mm512_set1_epi32(-offset * row.sum); P];
    for (step, &quad) in row.quants.as_chunks().0.iter().enumerate() {
        let x = broadcast(quad);
        for (dots, block) in dots.iter_mut().zip(blocks) {
            *dots = _mm512_dpbusd_epi32(*dots, block.steps[step], x);
        }
    }
    for ((sum, dots), block) in sums.iter_mut().zip(dots).zip(blocks) {
        let scale = _mm512_mul_ps(block.scale, _mm512_set1_ps(row.scale));
        *sum = _mm512_add_ps(*sum, _mm512_mul_ps(_mm512_cvtepi32_ps(dots), scale));
        if F::HAS_MIN {
            let share = _mm512_mul_ps(block.min, _mm512_set1_ps(row.scaled_sum));
            *sum = _mm512_add_ps(*sum, share);
        }
    }
}
