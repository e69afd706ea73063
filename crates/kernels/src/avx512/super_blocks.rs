//! Products with weights in super-blocks of 256, sixteen weight rows at a time: two groups, which
//! are unpacked as for AVX2 and joined.
//!
//! Four products of bytes are summed to 32 bits by one instruction, so steps that share a scale
//! need no room for sums of 16 bits. Otherwise, and in its ways for few and for many rows of
//! activations, this is [`crate::avx2`]'s.

use std::arch::x86_64::*;

use super::{PAIR, broadcast, join, join_floats, pair_of, prefetch_pair, store};
use crate::avx2::Ahead;
use crate::avx2::super_blocks::formats::{Format, Head as GroupHead, Q2K, Q3K, Q4K, Q5K, Q6K};
use crate::columns::Columns;
use crate::quantized::ROW_TILE;
use crate::super_blocks::{SUPER_LEN, SuperFormat, SuperLinearArgs, SuperRow, tiles};

/// Vectors of four elements of each of sixteen weight rows that make a sub-block of 32.
const STEPS: usize = 8;
const SUB_BLOCKS: usize = SUPER_LEN / 4 / STEPS;
/// Most rows of activations for which weights are not unpacked into panels.
const DIRECT_ROWS: usize = 4;
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
    let num_blocks = args.k / SUPER_LEN;
    let group_bytes = num_blocks * F::GROUP_BYTES;
    for (first_row, tile) in tiles(args.rows, args.k) {
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
            continue;
        }
        for (id, groups) in args.weights.chunks(2 * group_bytes).enumerate() {
            let groups = pair_of(groups, group_bytes);
            let mut sums = [_mm512_setzero_ps(); DIRECT_ROWS];
            match num_rows {
                1 => direct::<F, 1>(groups, tile, &mut sums),
                2 => direct::<F, 2>(groups, tile, &mut sums),
                3 => direct::<F, 3>(groups, tile, &mut sums),
                _ => direct::<F, DIRECT_ROWS>(groups, tile, &mut sums),
            }
            for (row, &sum) in sums[..num_rows].iter().enumerate() {
                store(sum, &mut out.row(first_row + row)[id * PAIR..]);
            }
        }
    }
}

/// What scales a block of sixteen rows; see the head of a group.
struct Head {
    d: __m512,
    dmin: __m512,
    /// In 32 bits.
    scales: [__m512i; 16],
    shares: [__m512i; 8],
}

impl Head {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn zeroed() -> Self {
        let zero = _mm512_setzero_si512();
        let (d, dmin) = (_mm512_setzero_ps(), _mm512_setzero_ps());
        Self { d, dmin, scales: [zero; 16], shares: [zero; 8] }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn join(low: &GroupHead, high: &GroupHead) -> Self {
        let (d, dmin) = (join_floats(low.d, high.d), join_floats(low.dmin, high.dmin));
        let mut head = Self { d, dmin, ..Self::zeroed() };
        for (scale, (&low, &high)) in
            head.scales.iter_mut().zip(low.scales.iter().zip(&high.scales))
        {
            *scale = _mm512_srai_epi32::<16>(join(low, high));
        }
        for (share, (&low, &high)) in
            head.shares.iter_mut().zip(low.shares.iter().zip(&high.shares))
        {
            *share = join(low, high);
        }
        head
    }
}

/// The same block of two groups.
struct Blocks([*const __m256i; 2]);

impl Blocks {
    /// # Safety
    /// The CPU has AVX-512; both are whole blocks of eight rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn head<F: Format>(&self) -> Head {
        // SAFETY: the caller's promise.
        unsafe { Head::join(&F::head(self.0[0]), &F::head(self.0[1])) }
    }

    /// # Safety
    /// As [`Self::head`]; `half` is 0 or 1 and `step` 0 to 7.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn steps<F: Format>(&self, half: usize, step: usize) -> [__m512i; 4] {
        // SAFETY: the caller's promise.
        let (low, high) =
            unsafe { (F::steps(self.0[0], half, step), F::steps(self.0[1], half, step)) };
        let mut steps = [_mm512_setzero_si512(); 4];
        for (joined, (low, high)) in steps.iter_mut().zip(low.into_iter().zip(high)) {
            *joined = join(low, high);
        }
        steps
    }
}

/// Steps that share a scale.
const fn steps_of_scale<F: Format>() -> usize {
    if F::HAS_DOUBLE_SCALES { STEPS } else { STEPS / 2 }
}

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
        prefetch_pair([low, high], rest, group_bytes);
        rest -= F::GROUP_BYTES;
        let blocks = Blocks([low.as_ptr().cast(), high.as_ptr().cast()]);
        // SAFETY: a chunk is a whole block of eight rows.
        let head = unsafe { blocks.head::<F>() };
        let mut dots = [_mm512_setzero_si512(); R];
        for half in 0..2 {
            // SAFETY: as above; a half has four sub-blocks.
            unsafe { sub_blocks::<F, R>(&blocks, half, &head, rows, &mut dots) };
        }
        for ((sum, dot), row) in sums.iter_mut().zip(dots).zip(rows) {
            *sum = add_block::<F>(*sum, dot, &head, row);
        }
    }
    out[..R].copy_from_slice(&sums);
}

/// Adds the scaled products of the four sub-blocks of a half.
///
/// # Safety
/// As [`Blocks::head`]; `half` is 0 or 1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn sub_blocks<F: Format, const R: usize>(
    blocks: &Blocks,
    half: usize,
    head: &Head,
    rows: &[SuperRow; R],
    dots: &mut [__m512i; R],
) {
    let parts = STEPS / steps_of_scale::<F>();
    for part in 0..parts {
        let mut products = [[_mm512_setzero_si512(); R]; 4];
        for step in part * steps_of_scale::<F>()..(part + 1) * steps_of_scale::<F>() {
            // SAFETY: the caller's promise.
            let weights = unsafe { blocks.steps::<F>(half, step) };
            for (sub, (products, weights)) in products.iter_mut().zip(weights).enumerate() {
                for (products, row) in products.iter_mut().zip(rows) {
                    let x = broadcast(row.quants.as_chunks().0[(4 * half + sub) * STEPS + step]);
                    *products = _mm512_dpbusd_epi32(*products, weights, x);
                }
            }
        }
        for (sub, products) in products.into_iter().enumerate() {
            let scale = head.scales[parts * (4 * half + sub) + part];
            for (dot, products) in dots.iter_mut().zip(products) {
                *dot = _mm512_add_epi32(*dot, _mm512_mullo_epi32(products, scale));
            }
        }
    }
}

/// Adds a block's share: its products `dot`, scaled, and what its minima or its offset take away.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn add_block<F: Format>(sum: __m512, dot: __m512i, head: &Head, row: &SuperRow) -> __m512 {
    let sums: &[i16] = if F::HAS_DOUBLE_SCALES { &row.double_sums } else { &row.sums };
    let mut shares = _mm512_setzero_si512();
    for (&share, &[a, b]) in head.shares.iter().zip(sums.as_chunks::<2>().0) {
        let [a, b] = [a, b].map(|sum| u32::from(sum.cast_unsigned()));
        let pair = _mm512_set1_epi32((a | b << 16).cast_signed());
        shares = _mm512_dpwssd_epi32(shares, share, pair);
    }
    let scale = _mm512_set1_ps(row.scale);
    if F::HAS_MIN {
        let product = _mm512_mul_ps(_mm512_mul_ps(head.d, scale), _mm512_cvtepi32_ps(dot));
        let taken = _mm512_mul_ps(_mm512_mul_ps(head.dmin, scale), _mm512_cvtepi32_ps(shares));
        return _mm512_sub_ps(_mm512_add_ps(sum, product), taken);
    }
    let offset = _mm512_mullo_epi32(shares, _mm512_set1_epi32(F::OFFSET));
    let dot = _mm512_cvtepi32_ps(_mm512_sub_epi32(dot, offset));
    _mm512_add_ps(sum, _mm512_mul_ps(_mm512_mul_ps(head.d, scale), dot))
}

/// One block of two groups, its elements as bytes.
struct Panel {
    /// Steps of the sub-blocks in order.
    steps: [__m512i; SUB_BLOCKS * STEPS],
    head: Head,
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
    let parts = STEPS / steps_of_scale::<F>();
    for sub_block in 0..SUB_BLOCKS {
        ahead.fetch();
        for part in 0..parts {
            let scale = parts * sub_block + part;
            let mut products = [[_mm512_setzero_si512(); PANELS]; R];
            for step in scale * steps_of_scale::<F>()..(scale + 1) * steps_of_scale::<F>() {
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
                    let scaled = _mm512_mullo_epi32(products, panel.head.scales[scale]);
                    *dot = _mm512_add_epi32(*dot, scaled);
                }
            }
        }
    }
    for ((sums, dots), row) in sums.iter_mut().zip(dots).zip(rows) {
        for ((sum, dot), panel) in sums.iter_mut().zip(dots).zip(panels) {
            *sum = add_block::<F>(*sum, dot, &panel.head, row);
        }
    }
    R
}

impl Panel {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn zeroed() -> Self {
        Self { steps: [_mm512_setzero_si512(); SUB_BLOCKS * STEPS], head: Head::zeroed() }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn unpack<F: Format>(&mut self, blocks: [&[u8]; 2]) {
        assert!(blocks.iter().all(|block| block.len() == F::GROUP_BYTES));
        let blocks = Blocks(blocks.map(|block| block.as_ptr().cast()));
        // SAFETY: asserted above: whole blocks of eight rows.
        self.head = unsafe { blocks.head::<F>() };
        let halves = self.steps.as_chunks_mut::<{ 4 * STEPS }>().0;
        for (half, steps) in halves.iter_mut().enumerate() {
            for step in 0..STEPS {
                // SAFETY: as above; a half has four sub-blocks of eight steps.
                let unpacked = unsafe { blocks.steps::<F>(half, step) };
                for (sub, unpacked) in unpacked.into_iter().enumerate() {
                    steps[sub * STEPS + step] = unpacked;
                }
            }
        }
    }
}
