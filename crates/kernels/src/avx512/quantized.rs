//! Products with weights in blocks of 32, sixteen weight rows at a time: two groups, which are
//! unpacked as for AVX2 and joined. A block's weights stay in registers while all rows of a tile
//! pass.

use std::arch::x86_64::*;

use super::{PAIR, broadcast, join, join_floats, pair_of, prefetch_pair, store};
use crate::avx2::quantized::{Format, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, STEPS};
use crate::columns::Columns;
use crate::quantized::{BLOCK_LEN, BlockFormat, QuantizedLinearArgs, ROW_TILE, RowBlock};

/// Most rows of activations whose sums stay in registers.
const FEW_ROWS: usize = 4;

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
    let num_blocks = args.k / BLOCK_LEN;
    let group_bytes = num_blocks * F::GROUP_BYTES;
    let mut sums = [_mm512_setzero_ps(); ROW_TILE];
    for (tile_id, tile) in args.rows.chunks(ROW_TILE * num_blocks).enumerate() {
        let num_rows = tile.len() / num_blocks;
        let sums = &mut sums[..num_rows];
        for (id, groups) in args.weights.chunks(2 * group_bytes).enumerate() {
            let groups = pair_of(groups, group_bytes);
            match num_rows {
                1 => few::<F, 1>(groups, tile, sums),
                2 => few::<F, 2>(groups, tile, sums),
                3 => few::<F, 3>(groups, tile, sums),
                FEW_ROWS => few::<F, FEW_ROWS>(groups, tile, sums),
                _ => many::<F>(groups, tile, sums),
            }
            for (row, &sum) in sums.iter().enumerate() {
                store(sum, &mut out.row(tile_id * ROW_TILE + row)[id * PAIR..]);
            }
        }
    }
}

/// Products of two groups with a tile of `R` rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn few<F: Format, const R: usize>(groups: [&[u8]; 2], tile: &[RowBlock], out: &mut [__m512]) {
    let mut sums = [_mm512_setzero_ps(); R];
    let group_bytes = groups[0].len();
    let mut rest = group_bytes;
    let [low, high] = groups.map(|group| group.chunks_exact(F::GROUP_BYTES));
    for ((low, high), rows) in low.zip(high).zip(tile.as_chunks::<R>().0) {
        prefetch_pair([low, high], rest, group_bytes);
        rest -= F::GROUP_BYTES;
        add_block::<F>([low, high], rows, &mut sums);
    }
    out.copy_from_slice(&sums);
}

/// Products of two groups with a tile of any number of rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn many<F: Format>(groups: [&[u8]; 2], tile: &[RowBlock], sums: &mut [__m512]) {
    sums.fill(_mm512_setzero_ps());
    let group_bytes = groups[0].len();
    let mut rest = group_bytes;
    let [low, high] = groups.map(|group| group.chunks_exact(F::GROUP_BYTES));
    for ((low, high), rows) in low.zip(high).zip(tile.chunks_exact(sums.len())) {
        prefetch_pair([low, high], rest, group_bytes);
        rest -= F::GROUP_BYTES;
        add_block::<F>([low, high], rows, sums);
    }
}

/// Adds the products of one block of sixteen weight rows and each row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_block<F: Format>(blocks: [&[u8]; 2], rows: &[RowBlock], sums: &mut [__m512]) {
    let [low, high] = blocks;
    assert!(low.len() == F::GROUP_BYTES && high.len() == F::GROUP_BYTES);
    // SAFETY: asserted: whole blocks of eight rows.
    let (low, high) = unsafe { (F::unpack(low.as_ptr().cast()), F::unpack(high.as_ptr().cast())) };
    let mut steps = [_mm512_setzero_si512(); STEPS];
    for (step, (low, high)) in steps.iter_mut().zip(low.steps.into_iter().zip(high.steps)) {
        *step = join(low, high);
        if F::SIGNED {
            // One operand is unsigned: 128 more, which the offset takes away again.
            *step = _mm512_xor_si512(*step, _mm512_set1_epi8(i8::MIN));
        }
    }
    let offset = if F::SIGNED { 128 } else { F::OFFSET };
    let (scales, minima) = (join_floats(low.scale, high.scale), join_floats(low.min, high.min));
    for (sum, row) in sums.iter_mut().zip(rows) {
        let mut dots = _mm512_set1_epi32(-offset * row.sum);
        for (&step, &quad) in steps.iter().zip(row.quants.as_chunks().0) {
            dots = _mm512_dpbusd_epi32(dots, step, broadcast(quad));
        }
        let scale = _mm512_mul_ps(scales, _mm512_set1_ps(row.scale));
        *sum = _mm512_add_ps(*sum, _mm512_mul_ps(_mm512_cvtepi32_ps(dots), scale));
        if F::HAS_MIN {
            let share = _mm512_mul_ps(minima, _mm512_set1_ps(row.scaled_sum));
            *sum = _mm512_add_ps(*sum, share);
        }
    }
}
