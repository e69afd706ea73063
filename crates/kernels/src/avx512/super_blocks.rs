//! Products with weights in super-blocks of 256, sixteen weight rows at a time: two groups, which
//! are unpacked as for AVX2 and joined.
//!
//! Four products of bytes are summed to 32 bits by one instruction, so steps that share a scale
//! need no room for sums of 16 bits. Twice as many registers let more rows be multiplied with
//! weights as they are read. Otherwise this is [`crate::avx2`]'s.

use std::arch::x86_64::*;

use super::{PAIR, ahead_of_pair, broadcast, pair_of, store};
use crate::avx2::super_blocks::formats::{Format, Head, Q2K, Q3K, Q4K, Q5K, Q6K};
use crate::avx2::{Ahead, Word};
use crate::columns::Columns;
use crate::fetch::{LINE, fetch, is_into_second_level};
use crate::quantized::ROW_TILE;
use crate::super_blocks::{SUPER_LEN, SuperFormat, SuperLinearArgs, SuperRow, TAKEN, tiles};

/// A block for each number below a limit, one after the other: what a loop that is not unrolled
/// takes the elements of is kept in the memory.
macro_rules! unrolled {
    ($index:ident in [$($at:literal)*] below $limit:expr => $block:block) => {
        $({
            const $index: usize = $at;
            if $index < $limit $block
        })*
    };
}

/// Vectors of four elements of each of sixteen weight rows that make a sub-block of 32.
pub(crate) const STEPS: usize = 8;
pub(crate) const SUB_BLOCKS: usize = SUPER_LEN / 4 / STEPS;
/// Most rows of activations for which weights are not unpacked into panels.
const DIRECT_ROWS: usize = 8;
/// Panels of sixteen weight rows that are made together and multiplied with rows of activations.
const PANELS: usize = 2;
/// Most rows of activations multiplied at a time: as many as leave room for their sums in the
/// registers.
const MULTIPLIED_ROWS: usize = 6;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn super_linear(args: &SuperLinearArgs<'_>, out: &mut Columns<'_>) {
    match args.format {
        SuperFormat::Q2K => linear_of::<Q2K>(args, out),
        SuperFormat::Q3K => linear_of::<Q3K>(args, out),
        SuperFormat::Q4K => linear_of::<Q4K>(args, out),
        SuperFormat::Q5K => linear_of::<Q5K>(args, out),
        SuperFormat::Q6K => linear_of::<Q6K>(args, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn linear_of<F: Format>(args: &SuperLinearArgs<'_>, out: &mut Columns<'_>) {
    for (first_row, tile) in tiles(args.rows, args.k) {
        linear_of_tile::<F>(args, first_row, tile, out);
    }
}

/// Products of the rows of one tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn linear_of_tile<F: Format>(
    args: &SuperLinearArgs<'_>,
    first_row: usize,
    tile: &[SuperRow],
    out: &mut Columns<'_>,
) {
    let num_blocks = args.k / SUPER_LEN;
    let group_bytes = num_blocks * F::GROUP_BYTES;
    let num_rows = tile.len() / num_blocks;
    if num_rows > DIRECT_ROWS {
        for (id, groups) in args.weights.chunks(2 * PANELS * group_bytes).enumerate() {
            let mut sums = [[_mm512_setzero_ps(); PANELS]; ROW_TILE];
            panels::<F>(groups, group_bytes, tile, &mut sums[..num_rows]);
            for (row, sums) in sums[..num_rows].iter().enumerate() {
                let out = &mut out.row(first_row + row)[id * PANELS * PAIR..];
                for (out, &sum) in out.chunks_mut(PAIR).zip(sums) {
                    store(sum, out);
                }
            }
        }
        return;
    }
    for (id, groups) in args.weights.chunks(2 * group_bytes).enumerate() {
        let groups = pair_of(groups, group_bytes);
        let mut sums = [_mm512_setzero_ps(); DIRECT_ROWS];
        match num_rows {
            1 => direct::<F, 1>(groups, tile, &mut sums),
            2 => direct::<F, 2>(groups, tile, &mut sums),
            3 => direct::<F, 3>(groups, tile, &mut sums),
            4 => direct::<F, 4>(groups, tile, &mut sums),
            5 => direct::<F, 5>(groups, tile, &mut sums),
            6 => direct::<F, 6>(groups, tile, &mut sums),
            7 => direct::<F, 7>(groups, tile, &mut sums),
            _ => direct::<F, DIRECT_ROWS>(groups, tile, &mut sums),
        }
        for (row, &sum) in sums[..num_rows].iter().enumerate() {
            store(sum, &mut out.row(first_row + row)[id * PAIR..]);
        }
    }
}

/// The same block of two groups.
type Blocks = <__m512i as Word>::Blocks;

/// Products of two groups with a tile of `R` rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn direct<F: Format, const R: usize>(
    groups: [&[u8]; 2],
    tile: &[SuperRow],
    out: &mut [__m512; DIRECT_ROWS],
) {
    let mut sums = [_mm512_setzero_ps(); R];
    let (rows, _) = tile.as_chunks::<R>();
    let group_bytes = groups[0].len();
    let mut rest = group_bytes;
    let [low, high] = groups.map(|group| group.chunks_exact(F::GROUP_BYTES));
    for ((low, high), rows) in low.zip(high).zip(rows) {
        let ahead = ahead_of_pair(rest, group_bytes);
        rest -= F::GROUP_BYTES;
        let blocks = [low.as_ptr(), high.as_ptr()];
        let next = blocks.map(|block| block.wrapping_add(ahead));
        // SAFETY: a chunk is a whole block of eight rows.
        let head = unsafe { F::head::<__m512i>(blocks) };
        let mut dots = [_mm512_setzero_si512(); R];
        // SAFETY: as above.
        unsafe {
            if are_dense(rows) {
                halves::<F, R, true>((blocks, next), &head, rows, &mut dots);
            } else {
                halves::<F, R, false>((blocks, next), &head, rows, &mut dots);
            }
        }
        unrolled!(ROW in [0 1 2 3 4 5 6 7] below R => {
            sums[ROW] = add_dot::<F>(sums[ROW], dots[ROW], &head, &rows[ROW]);
        });
    }
    out[..R].copy_from_slice(&sums);
}

/// Whether there is a row whose sums of products may take more than 16 bits.
#[inline(always)]
fn are_dense<const R: usize>(rows: &[SuperRow; R]) -> bool {
    rows.iter().fold(false, |are_dense, row| are_dense | row.is_dense)
}

/// Adds the scaled products of two blocks.
///
/// # Safety
/// As [`Format::head`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn halves<F: Format, const R: usize, const DENSE: bool>(
    places: (Blocks, Blocks),
    head: &Head<__m512i>,
    rows: &[SuperRow; R],
    dots: &mut [__m512i; R],
) {
    for half in 0..2 {
        // SAFETY: the caller's promise; a half has four sub-blocks.
        unsafe {
            if R <= 4 {
                sub_blocks::<F, R, 4, 0, DENSE>(places, half, head, rows, dots);
            } else {
                sub_blocks::<F, R, 2, 0, DENSE>(places, half, head, rows, dots);
                sub_blocks::<F, R, 2, 1, DENSE>(places, half, head, rows, dots);
            }
        }
    }
}

/// Adds the scaled products of the `PART`-th `S` sub-blocks of a half: of all four, or of two at a
/// time where the sums of more rows leave no room. Fetches a half of the blocks that are read
/// later, a few lines beside each step: asked for all at once they would wait for one another.
///
/// # Safety
/// As [`Format::head`]; `half` is 0 or 1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn sub_blocks<
    F: Format,
    const R: usize,
    const S: usize,
    const PART: usize,
    const DENSE: bool,
>(
    (blocks, next): (Blocks, Blocks),
    half: usize,
    head: &Head<__m512i>,
    rows: &[SuperRow; R],
    dots: &mut [__m512i; R],
) {
    let subs: [usize; S] = const { neighbours(F::ORDER, PART) };
    for part in 0..STEPS / F::STEPS_SUMMED {
        let mut products = [[_mm512_setzero_si512(); R]; S];
        for (sub, products) in subs.into_iter().zip(&mut products) {
            for (products, row) in products.iter_mut().zip(rows) {
                *products = first_sum::<F>(row, F::scale_of(4 * half + sub, part));
            }
        }
        for step in part * F::STEPS_SUMMED..(part + 1) * F::STEPS_SUMMED {
            if PART == 0 {
                fetch_step::<F>(next, half * STEPS + step);
            }
            // SAFETY: the caller's promise.
            let weights = unsafe { F::steps::<__m512i>(blocks, half, step) };
            for (sub, products) in subs.into_iter().zip(&mut products) {
                for (products, row) in products.iter_mut().zip(rows) {
                    let x = broadcast(row.quants.as_chunks().0[(4 * half + sub) * STEPS + step]);
                    *products = _mm512_dpbusd_epi32(*products, weights[sub], x);
                }
            }
        }
        unrolled!(SUB in [0 1 2 3] below S => {
            let scale = head.scales[F::scale_of(4 * half + subs[SUB], part)];
            for (dot, products) in dots.iter_mut().zip(products[SUB]) {
                *dot = add_scaled::<DENSE>(*dot, products, scale);
            }
        });
    }
}

/// The `part`-th `S` of all.
const fn neighbours<const S: usize>(all: [usize; 4], part: usize) -> [usize; S] {
    let mut some = [0; S];
    let mut i = 0;
    while i < S {
        some[i] = all[part * S + i];
        i += 1;
    }
    some
}

/// What the sum of products that share the `scale`-th scale begins with: what the offset takes away
/// from it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn first_sum<F: Format>(row: &SuperRow, scale: usize) -> __m512i {
    if F::OFFSET == 0 {
        return _mm512_setzero_si512();
    }
    // Exact, since what is taken is a multiple of `TAKEN`.
    let shift = (i32::from(TAKEN) / F::OFFSET).trailing_zeros().cast_signed();
    let taken = _mm512_set1_epi32(row.taken[scale]);
    if shift == 0 { taken } else { _mm512_sra_epi32(taken, _mm_cvtsi32_si128(shift)) }
}

/// Fetches what a step has of two blocks: a sixteenth.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn fetch_step<F: Format>(blocks: Blocks, step: usize) {
    let step_bytes = F::GROUP_BYTES / (2 * STEPS);
    // Where a line is skipped now and then, the first level's own foresight has it.
    let is_foreseen = step_bytes <= 80 && !is_into_second_level();
    let fetches = if is_foreseen { 1 } else { step_bytes.div_ceil(LINE) };
    for part in step * fetches..(step + 1) * fetches {
        for block in blocks {
            fetch(block.wrapping_add(part * step_bytes / fetches));
        }
    }
}

/// Adds sums of products times a scale as [`Word::scale`] has it. Those of dense rows, of 24 bits
/// at most, are multiplied in two parts: their low byte, and what is above it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_scaled<const DENSE: bool>(dot: __m512i, products: __m512i, scale: __m512i) -> __m512i {
    if !DENSE {
        return _mm512_dpwssd_epi32(dot, products, scale);
    }
    let low = _mm512_and_si512(products, _mm512_set1_epi32(0xff));
    let high = _mm512_madd_epi16(_mm512_srai_epi32::<8>(products), scale);
    _mm512_add_epi32(_mm512_dpwssd_epi32(dot, low, scale), _mm512_slli_epi32::<8>(high))
}

/// Adds a block's share: its products `dot`, scaled, and what its minima take away.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn add_dot<F: Format>(
    sum: __m512,
    dot: __m512i,
    head: &Head<__m512i>,
    row: &SuperRow,
) -> __m512 {
    let scale = _mm512_set1_ps(row.scale);
    let mut scaled = _mm512_mul_ps(head.d, _mm512_cvtepi32_ps(dot));
    if F::HAS_MIN {
        let taken = _mm512_cvtepi32_ps(minima::<F>(head, row));
        scaled = _mm512_fnmadd_ps(head.dmin, taken, scaled);
    }
    _mm512_fmadd_ps(scale, scaled, sum)
}

/// Sums of a block's activations, each times its minima.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn minima<F: Format>(head: &Head<__m512i>, row: &SuperRow) -> __m512i {
    let sums: &[i16] = if F::HAS_DOUBLE_SCALES { &row.double_sums } else { &row.sums };
    let mut taken = _mm512_setzero_si512();
    for (&minima, &[a, b]) in head.minima.iter().zip(sums.as_chunks::<2>().0) {
        let [a, b] = [a, b].map(|sum| u32::from(sum.cast_unsigned()));
        let pair = _mm512_set1_epi32((a | b << 16).cast_signed());
        taken = _mm512_dpwssd_epi32(taken, minima, pair);
    }
    taken
}

/// One block of two groups, its elements as bytes.
struct Panel {
    /// Steps of the sub-blocks in order.
    steps: [__m512i; SUB_BLOCKS * STEPS],
    head: Head<__m512i>,
}

/// Products of the groups of 1 to [`PANELS`] panels with the rows of a tile, added to `sums`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn panels<F: Format>(
    groups: &[u8],
    group_bytes: usize,
    tile: &[SuperRow],
    sums: &mut [[__m512; PANELS]],
) {
    // One that is not there is computed as zeros, whose results are not used.
    let mut panels: [Panel; PANELS] = std::array::from_fn(|_| Panel::zeroed());
    let num_rows = sums.len();
    for (block_id, rows) in tile.chunks_exact(num_rows).enumerate() {
        let block = block_id * F::GROUP_BYTES..(block_id + 1) * F::GROUP_BYTES;
        for (panel, groups) in panels.iter_mut().zip(groups.chunks(2 * group_bytes)) {
            let groups = pair_of(groups, group_bytes);
            panel.unpack::<F>(groups.map(|group| &group[block.clone()]));
        }
        let num_fetches = num_rows.div_ceil(MULTIPLIED_ROWS) * SUB_BLOCKS;
        let place = (block.start, F::GROUP_BYTES);
        let mut ahead = Ahead::new(groups, group_bytes, 2 * PANELS, place, num_fetches);
        let mut at = 0;
        while at < num_rows {
            let (rows, sums) = (&rows[at..], &mut sums[at..]);
            at += match num_rows - at {
                1 => multiply::<F, 1>(&panels, rows, sums, &mut ahead),
                2 | 3 => multiply::<F, 2>(&panels, rows, sums, &mut ahead),
                4 | 5 => multiply::<F, 4>(&panels, rows, sums, &mut ahead),
                _ => multiply::<F, MULTIPLIED_ROWS>(&panels, rows, sums, &mut ahead),
            };
        }
    }
}

/// Adds the products of the panels with the first `R` rows, and returns `R`. Fetches a part of what
/// is `ahead` beside each sub-block.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn multiply<F: Format, const R: usize>(
    panels: &[Panel; PANELS],
    rows: &[SuperRow],
    sums: &mut [[__m512; PANELS]],
    ahead: &mut Ahead,
) -> usize {
    let rows: &[SuperRow; R] = rows.first_chunk().expect("there are R rows");
    let mut dots = [[_mm512_setzero_si512(); PANELS]; R];
    if are_dense(rows) {
        add_products::<F, R, true>(panels, rows, &mut dots, ahead);
    } else {
        add_products::<F, R, false>(panels, rows, &mut dots, ahead);
    }
    let sums: &mut [[__m512; PANELS]; R] = sums.first_chunk_mut().expect("there are R sums");
    unrolled!(ROW in [0 1 2 3 4 5] below R => {
        for ((sum, dot), panel) in sums[ROW].iter_mut().zip(dots[ROW]).zip(panels) {
            *sum = add_dot::<F>(*sum, dot, &panel.head, &rows[ROW]);
        }
    });
    R
}

/// Adds the scaled products of a block of the panels with `R` rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_products<F: Format, const R: usize, const DENSE: bool>(
    panels: &[Panel; PANELS],
    rows: &[SuperRow; R],
    dots: &mut [[__m512i; PANELS]; R],
    ahead: &mut Ahead,
) {
    for sub_block in 0..SUB_BLOCKS {
        ahead.fetch();
        for part in 0..STEPS / F::STEPS_SUMMED {
            let scale = F::scale_of(sub_block, part);
            let mut products = [[_mm512_setzero_si512(); PANELS]; R];
            for (products, row) in products.iter_mut().zip(rows) {
                *products = [first_sum::<F>(row, scale); PANELS];
            }
            let first = sub_block * STEPS + part * F::STEPS_SUMMED;
            for step in first..first + F::STEPS_SUMMED {
                let weights = [panels[0].steps[step], panels[1].steps[step]];
                for (products, row) in products.iter_mut().zip(rows) {
                    let x = broadcast(row.quants.as_chunks().0[step]);
                    for (products, weights) in products.iter_mut().zip(weights) {
                        *products = _mm512_dpbusd_epi32(*products, weights, x);
                    }
                }
            }
            for (dots, products) in dots.iter_mut().zip(products) {
                for ((dot, products), panel) in dots.iter_mut().zip(products).zip(panels) {
                    *dot = add_scaled::<DENSE>(*dot, products, panel.head.scales[scale]);
                }
            }
        }
    }
}

impl Panel {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn zeroed() -> Self {
        // SAFETY: whoever runs this has AVX-512.
        let head = unsafe { Head::zeroed() };
        Self { steps: [_mm512_setzero_si512(); SUB_BLOCKS * STEPS], head }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn unpack<F: Format>(&mut self, blocks: [&[u8]; 2]) {
        assert!(blocks.iter().all(|block| block.len() == F::GROUP_BYTES));
        let blocks = blocks.map(<[u8]>::as_ptr);
        // SAFETY: asserted above: whole blocks of eight rows.
        self.head = unsafe { F::head::<__m512i>(blocks) };
        let halves = self.steps.as_chunks_mut::<{ 4 * STEPS }>().0;
        for (half, steps) in halves.iter_mut().enumerate() {
            for step in 0..STEPS {
                // SAFETY: as above; a half has four sub-blocks of eight steps.
                let unpacked = unsafe { F::steps::<__m512i>(blocks, half, step) };
                for (sub, unpacked) in unpacked.into_iter().enumerate() {
                    steps[sub * STEPS + step] = unpacked;
                }
            }
        }
    }
}
