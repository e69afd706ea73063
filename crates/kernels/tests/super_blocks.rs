//! Linear layers over super-blocks of 256 quants: every table against sums in f64, the same bits
//! from every table, for every number of rows and for every cut of the weights.

mod inputs;

use half::f16;
use kernels::{
    Columns, GROUP, KernelTable, PackedFormat, ROW_TILE, SUPER_LEN, SuperFormat, SuperLinearArgs,
    SuperRow,
};

use inputs::{Random, bits, tables};

/// A weight matrix of random quants.
struct Weights {
    format: SuperFormat,
    /// As in a file.
    bytes: Vec<u8>,
    packed: Vec<u8>,
    num_weights: usize,
    k: usize,
}

impl Weights {
    fn new(format: SuperFormat, bytes: Vec<u8>, num_weights: usize, k: usize) -> Self {
        let row_bytes = k / SUPER_LEN * format.block_bytes();
        assert_eq!(bytes.len(), num_weights * row_bytes);
        let mut packed = vec![0xff; packed_bytes(format, num_weights, k)];
        let groups = packed.chunks_mut(GROUP * row_bytes);
        for (rows, group) in bytes.chunks(GROUP * row_bytes).zip(groups) {
            PackedFormat::Supers(format).pack_group(rows, row_bytes, group);
        }
        Self { format, bytes, packed, num_weights, k }
    }

    fn random(random: &mut Random, format: SuperFormat, num_weights: usize, k: usize) -> Self {
        let len = num_weights * k / SUPER_LEN * format.block_bytes();
        let mut bytes: Vec<u8> = (0..len).map(|_| (random.next() >> 40) as u8).collect();
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            for at in half_floats(format) {
                let d = f16::from_f32(random.float() / 64.0);
                block[*at..at + 2].copy_from_slice(&d.to_le_bytes());
            }
        }
        Self::new(format, bytes, num_weights, k)
    }

    fn linear(&self, table: &KernelTable, rows: &[f32]) -> Vec<f32> {
        self.linear_by(table, rows, self.num_weights)
    }

    /// Computes `width` weight rows at a time. The result is `[num_rows, num_weights]`.
    fn linear_by(&self, table: &KernelTable, rows: &[f32], width: usize) -> Vec<f32> {
        let mut blocks = vec![SuperRow::default(); rows.len() / SUPER_LEN];
        let tiles = rows.chunks(ROW_TILE * self.k);
        for (rows, blocks) in tiles.zip(blocks.chunks_mut(ROW_TILE * self.k / SUPER_LEN)) {
            table.quantize_super_rows(rows, self.k, blocks);
        }
        let mut out = vec![f32::NAN; rows.len() / self.k * self.num_weights];
        let bytes = packed_bytes(self.format, width, self.k);
        let columns = Columns::split(&mut out, self.num_weights, width);
        for (mut columns, weights) in columns.zip(self.packed.chunks(bytes)) {
            let args = SuperLinearArgs { format: self.format, weights, rows: &blocks, k: self.k };
            table.super_linear(&args, &mut columns);
        }
        out
    }

    /// Every result against the sum in f64; an element of `rows` may have been rounded by half a
    /// step of its block's scale.
    fn check(&self, rows: &[f32], out: &[f32], what: &str) {
        let blocks = self.bytes.chunks_exact(self.format.block_bytes());
        let elements: Vec<_> = blocks.flat_map(|block| elements(self.format, block)).collect();
        for (row, out) in rows.chunks_exact(self.k).zip(out.chunks_exact(self.num_weights)) {
            for (parts, &found) in elements.chunks_exact(self.k).zip(out) {
                let (mut expected, mut bound) = (0.0, 0.0);
                for (parts, xs) in parts.chunks(SUPER_LEN).zip(row.chunks(SUPER_LEN)) {
                    let largest = xs.iter().fold(0f32, |max, x| max.max(x.abs()));
                    let step = f64::from(largest) * (0.5 / 127.0 + 1e-6);
                    for (part, &x) in parts.iter().zip(xs) {
                        expected += (part.0 - part.1) * f64::from(x);
                        bound += (part.0.abs() + part.1.abs()) * step;
                    }
                }
                let difference = (f64::from(found) - expected).abs();
                assert!(difference <= bound, "{what}: {found} is not {expected} within {bound}");
            }
        }
    }
}

fn packed_bytes(format: SuperFormat, num_weights: usize, k: usize) -> usize {
    PackedFormat::Supers(format).packed_bytes(num_weights, k).expect("rows of whole blocks")
}

/// Where a block has half floats.
fn half_floats(format: SuperFormat) -> &'static [usize] {
    match format {
        SuperFormat::Q2K => &[80, 82],
        SuperFormat::Q3K => &[108],
        SuperFormat::Q4K | SuperFormat::Q5K => &[0, 2],
        SuperFormat::Q6K => &[208],
    }
}

/// What is added and what is taken away to make each element, written after ggml's
/// `dequantize_row_q*_K`, which goes over the bytes where the kernels go over the elements.
fn elements(format: SuperFormat, block: &[u8]) -> Vec<(f64, f64)> {
    match format {
        SuperFormat::Q2K => elements_of_q2(block),
        SuperFormat::Q3K => elements_of_q3(block),
        SuperFormat::Q4K => elements_of_sixes(block, None, &block[16..]),
        SuperFormat::Q5K => elements_of_sixes(block, Some(&block[16..48]), &block[48..]),
        SuperFormat::Q6K => elements_of_q6(block),
    }
}

fn half(block: &[u8], at: usize) -> f64 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f64()
}

fn elements_of_q2(block: &[u8]) -> Vec<(f64, f64)> {
    let (mut out, mut scale) = (Vec::new(), 0);
    for quants in [&block[16..48], &block[48..80]] {
        for shift in [0, 2, 4, 6] {
            for quants in quants.chunks_exact(16) {
                let d = half(block, 80) * f64::from(block[scale] & 15);
                let min = half(block, 82) * f64::from(block[scale] >> 4);
                out.extend(quants.iter().map(|q| (d * f64::from(q >> shift & 3), min)));
                scale += 1;
            }
        }
    }
    out
}

fn elements_of_q3(block: &[u8]) -> Vec<(f64, f64)> {
    let words = block[96..108].as_chunks::<4>().0;
    let word = |i: usize| u32::from_le_bytes(words[i]);
    let (low, two) = (0x0f0f_0f0f, 0x0303_0303);
    let scales = [
        (word(0) & low) | (word(2) & two) << 4,
        (word(1) & low) | (word(2) >> 2 & two) << 4,
        (word(0) >> 4 & low) | (word(2) >> 4 & two) << 4,
        (word(1) >> 4 & low) | (word(2) >> 6 & two) << 4,
    ];
    let mut scales = scales.iter().flat_map(|word| word.to_le_bytes());
    let (mut out, mut bit) = (Vec::new(), 1u32);
    for quants in [&block[32..64], &block[64..96]] {
        for shift in [0, 2, 4, 6] {
            for (quants, bits) in quants.chunks_exact(16).zip(block[..32].chunks_exact(16)) {
                let scale = scales.next().expect("sixteen scales");
                let d = half(block, 108) * (f64::from(scale) - 32.0);
                for (q, bits) in quants.iter().zip(bits) {
                    let taken = if u32::from(*bits) & bit == 0 { 4.0 } else { 0.0 };
                    out.push((d * (f64::from(q >> shift & 3) - taken), 0.0));
                }
            }
            bit <<= 1;
        }
    }
    out
}

/// Q4_K and Q5_K: scales and minima of 6 bits.
fn elements_of_sixes(block: &[u8], bits: Option<&[u8]>, quants: &[u8]) -> Vec<(f64, f64)> {
    let q = &block[4..16];
    let scale_min = |j: usize| {
        let (d, min) = match j {
            0..4 => (q[j] & 63, q[j + 4] & 63),
            _ => (q[j + 4] & 15 | q[j - 4] >> 6 << 4, q[j + 4] >> 4 | q[j] >> 6 << 4),
        };
        (half(block, 0) * f64::from(d), half(block, 2) * f64::from(min))
    };
    let mut out = Vec::new();
    for (j, quants) in quants.chunks_exact(32).enumerate() {
        for (sub, shift) in [(2 * j, 0), (2 * j + 1, 4)] {
            let (d, min) = scale_min(sub);
            for (i, q) in quants.iter().enumerate() {
                let bit = bits.map_or(0, |bits| bits[i] >> sub & 1);
                out.push((d * f64::from((q >> shift & 15) + 16 * bit), min));
            }
        }
    }
    out
}

fn elements_of_q6(block: &[u8]) -> Vec<(f64, f64)> {
    let mut out = vec![(0.0, 0.0); SUPER_LEN];
    for n in 0..2 {
        let (low, high) = (&block[64 * n..], &block[128 + 32 * n..]);
        let scales = &block[192 + 8 * n..];
        for l in 0..32 {
            let quants = [
                low[l] & 15 | (high[l] & 3) << 4,
                low[l + 32] & 15 | (high[l] >> 2 & 3) << 4,
                low[l] >> 4 | (high[l] >> 4 & 3) << 4,
                low[l + 32] >> 4 | (high[l] >> 6 & 3) << 4,
            ];
            for (j, q) in quants.into_iter().enumerate() {
                let scale = f64::from(scales[l / 16 + 2 * j].cast_signed());
                out[128 * n + l + 32 * j] = (half(block, 208) * scale * (f64::from(q) - 32.0), 0.0);
            }
        }
    }
    out
}

#[test]
fn products_are_those_of_the_numbers_that_the_blocks_stand_for() {
    let mut random = Random(1);
    for table in tables() {
        for format in SuperFormat::ALL {
            for (num_weights, num_rows, k) in [(1, 1, 256), (8, 3, 512), (45, 7, 768)] {
                let weights = Weights::random(&mut random, format, num_weights, k);
                let rows = random.floats(num_rows * k);
                let out = weights.linear(table, &rows);
                weights.check(&rows, &out, &format!("{} {format:?} {k}", table.name()));
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_every_table_batch_and_cut_of_the_weights() {
    let mut random = Random(2);
    for format in SuperFormat::ALL {
        let (num_weights, k) = (77, 768);
        let weights = Weights::random(&mut random, format, num_weights, k);
        let rows = random.floats(512 * k);
        let expected = weights.linear(KernelTable::detect(), &rows);
        let reference = weights.linear(KernelTable::scalar(), &rows[..9 * k]);
        assert_eq!(bits(&reference), bits(&expected[..9 * num_weights]), "{format:?}");
        for table in tables() {
            for num_rows in
                [1, 2, 3, 4, 5, 6, 7, 8, 16, 33, ROW_TILE, ROW_TILE + 1, 4 * ROW_TILE + 87]
            {
                // The reference is slow.
                if num_rows > 7 && table.name() == "scalar" {
                    continue;
                }
                for (first, width) in [(0, num_weights), (random.below(160), 8), (3, 40)] {
                    let rows = &rows[first * k..(first + num_rows) * k];
                    let out = weights.linear_by(table, rows, width);
                    let expected = &expected[first * num_weights..(first + num_rows) * num_weights];
                    let what = format!("{} {format:?}: {num_rows} rows by {width}", table.name());
                    assert_eq!(bits(&out), bits(expected), "{what}");
                }
            }
        }
    }
}

#[test]
fn the_largest_quants_do_not_overflow() {
    let mut random = Random(3);
    for table in tables() {
        for format in SuperFormat::ALL {
            for fill in [0xff, 0x80, 0x7f, 0] {
                let mut weights = Weights::random(&mut random, format, 9, 512);
                let mut bytes = weights.bytes.clone();
                for block in bytes.chunks_exact_mut(format.block_bytes()) {
                    let kept: Vec<_> =
                        half_floats(format).iter().map(|&at| [block[at], block[at + 1]]).collect();
                    block.fill(fill);
                    for (&at, kept) in half_floats(format).iter().zip(kept) {
                        block[at..at + 2].copy_from_slice(&kept);
                    }
                }
                weights = Weights::new(format, bytes, 9, 512);
                let rows: Vec<f32> = [1.0f32, -1.0, 1.0, 1.0, -1.0]
                    .repeat(8)
                    .iter()
                    .flat_map(|&x| [x; 512])
                    .collect();
                let what = format!("{} {format:?} {fill}", table.name());
                weights.check(&rows[..512], &weights.linear(table, &rows[..512]), &what);
                weights.check(&rows, &weights.linear(table, &rows), &what);
                // As many that are half as large as 16 bits hold the products of, and some more:
                // 16 quants that make 1,007, 1,023 and 1,024, each block with a largest one.
                let close = [(63.0, 63.0), (64.0, 63.0), (64.0, 64.0)].map(|(some, last)| {
                    let mut row = [some; 512];
                    row.iter_mut().skip(15).step_by(16).for_each(|x| *x = last);
                    row.iter_mut().step_by(256).for_each(|x| *x = 127.0);
                    row
                });
                let signs = [1.0f32, -1.0, 1.0, -1.0];
                let rows: Vec<f32> = signs
                    .iter()
                    .flat_map(|sign| close.as_flattened().iter().map(move |x| sign * x))
                    .collect();
                weights.check(&rows, &weights.linear(table, &rows), &what);
                for row in rows.chunks_exact(512) {
                    weights.check(row, &weights.linear(table, row), &what);
                }
            }
        }
    }
}

#[test]
fn zeros_and_traces_make_zero_and_what_is_not_finite_stays_visible() {
    let mut random = Random(4);
    for table in tables() {
        for format in SuperFormat::ALL {
            let (num_weights, k) = (11, 512);
            let weights = Weights::random(&mut random, format, num_weights, k);
            let healthy = random.floats(k);
            let alone = weights.linear(table, &healthy);
            for (bad, is_zero) in [
                (0.0, true),
                (-0.0, true),
                (f32::from_bits(1), true),
                (-1e-38, true),
                (f32::NAN, false),
                (f32::INFINITY, false),
                (f32::NEG_INFINITY, false),
            ] {
                let mut rows = [vec![0.0; k], healthy.repeat(20)].concat();
                rows[k / 2] = bad;
                let out = weights.linear(table, &rows);
                let what = format!("{} {format:?} {bad}", table.name());
                for out in out.chunks_exact(num_weights).skip(1) {
                    assert_eq!(bits(out), bits(&alone), "{what}");
                }
                for out in &out[..num_weights] {
                    let right = if is_zero { *out == 0.0 } else { !out.is_finite() };
                    assert!(right, "{what}: {out}");
                }
            }
        }
    }
}

#[test]
fn a_packed_row_is_unpacked_to_the_bytes_of_the_file() {
    let mut random = Random(5);
    for format in SuperFormat::ALL {
        let weights = Weights::random(&mut random, format, 11, 768);
        let row_bytes = 3 * format.block_bytes();
        for (id, row) in weights.bytes.chunks_exact(row_bytes).enumerate() {
            let group = &weights.packed[id / GROUP * GROUP * row_bytes..][..GROUP * row_bytes];
            let mut out = vec![0; row_bytes];
            PackedFormat::Supers(format).unpack_row(group, id % GROUP, &mut out);
            assert_eq!(out, row, "{format:?}");
        }
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn weights_that_are_too_short_are_refused() {
    let mut weights = Weights::random(&mut Random(6), SuperFormat::Q4K, 4, 512);
    weights.packed.pop();
    weights.linear(KernelTable::detect(), &[1.0; 512]);
}
