//! Linear layers over blocks of 32 quants: every table against sums in f64, the same bits from
//! every table and for every number of rows.

mod inputs;

use half::f16;
use kernels::{
    BLOCK_LEN, BlockFormat, Columns, GROUP, KernelTable, PackedFormat, QuantizedLinearArgs,
    ROW_TILE, RowBlock,
};

use inputs::{Random, bits, tables};

/// Weight rows that are computed together.
const WIDTH: usize = 16;

/// A weight matrix of random quants, and its elements.
struct Weights {
    format: BlockFormat,
    bytes: Vec<u8>,
    /// `d * quant` and `m` of each element, whose sum it is.
    parts: Vec<(f64, f64)>,
    num_weights: usize,
    k: usize,
}

impl Weights {
    fn random(random: &mut Random, format: BlockFormat, num_weights: usize, k: usize) -> Self {
        let quants = |_| (random.next() >> 40) as u8;
        let len = num_weights * k / BLOCK_LEN * format.block_bytes();
        let mut weights =
            Self { format, bytes: (0..len).map(quants).collect(), parts: vec![], num_weights, k };
        for block in weights.bytes.chunks_exact_mut(format.block_bytes()) {
            block[..2].copy_from_slice(&f16::from_f32(random.float() / 64.0).to_le_bytes());
            if matches!(format, BlockFormat::Q4_1 | BlockFormat::Q5_1) {
                block[2..4].copy_from_slice(&f16::from_f32(random.float()).to_le_bytes());
            }
        }
        weights.take_apart();
        weights
    }

    fn take_apart(&mut self) {
        let blocks = self.bytes.chunks_exact(self.format.block_bytes());
        self.parts = blocks.flat_map(|block| parts(self.format, block)).collect();
    }

    /// `[num_weights, num_rows]`.
    fn linear(&self, table: &KernelTable, rows: &[f32]) -> Vec<f32> {
        let mut blocks = vec![RowBlock::default(); rows.len() / BLOCK_LEN];
        let tiles = rows.chunks(ROW_TILE * self.k);
        for (rows, blocks) in tiles.zip(blocks.chunks_mut(ROW_TILE * self.k / BLOCK_LEN)) {
            table.quantize_rows(rows, self.k, blocks);
        }
        let num_rows = rows.len() / self.k;
        let packed = self.packed();
        let mut by_row = vec![f32::NAN; num_rows * self.num_weights];
        let bytes = PackedFormat::Blocks(self.format).packed_bytes(WIDTH, self.k);
        let weights = packed.chunks(bytes.expect("rows of whole blocks"));
        for (mut columns, weights) in
            Columns::split(&mut by_row, self.num_weights, WIDTH).zip(weights)
        {
            let (format, rows) = (self.format, &blocks[..]);
            let args = QuantizedLinearArgs { format, weights, rows, k: self.k };
            table.quantized_linear(&args, &mut columns);
        }
        (0..self.num_weights)
            .flat_map(|w| by_row.iter().skip(w).step_by(self.num_weights).copied())
            .collect()
    }

    fn packed(&self) -> Vec<u8> {
        let format = PackedFormat::Blocks(self.format);
        let row_bytes = self.k / BLOCK_LEN * format.block_bytes();
        let groups = self.bytes.chunks(GROUP * row_bytes);
        let mut packed = vec![0xff; groups.len() * GROUP * row_bytes];
        for (rows, group) in groups.zip(packed.chunks_mut(GROUP * row_bytes)) {
            format.pack_group(rows, row_bytes, group);
        }
        packed
    }

    /// Every result against the sum in f64; an element of `rows` may have been rounded by half a
    /// step of its block's scale, and scale and sum to 11 bits.
    fn check(&self, rows: &[f32], out: &[f32], what: &str) {
        let num_rows = rows.len() / self.k;
        for (w, parts) in self.parts.chunks_exact(self.k).enumerate() {
            for (r, row) in rows.chunks_exact(self.k).enumerate() {
                let (mut expected, mut bound) = (0.0, 0.0);
                for (parts, xs) in parts.chunks(BLOCK_LEN).zip(row.chunks(BLOCK_LEN)) {
                    let largest = xs.iter().fold(0f32, |max, x| max.max(x.abs()));
                    let step = f64::from(largest) * (0.5 / 127.0 + 1.0 / 1024.0);
                    for (part, &x) in parts.iter().zip(xs) {
                        expected += (part.0 + part.1) * f64::from(x);
                        bound += (part.0.abs() + part.1.abs()) * step;
                    }
                }
                let found = f64::from(out[w * num_rows + r]);
                let difference = (found - expected).abs();
                assert!(difference <= bound, "{what}: {found} is not {expected} within {bound}");
            }
        }
    }
}

fn parts(format: BlockFormat, block: &[u8]) -> Vec<(f64, f64)> {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f64();
    let nibble = |at: usize, i: usize| f64::from(block[at + i % 16] >> (i / 16 * 4) & 15);
    let bit = |at: usize, i: usize| f64::from(block[at + i / 8] >> (i % 8) & 1) * 16.0;
    let part = |i: usize| match format {
        BlockFormat::Q4_0 => (half(0) * (nibble(2, i) - 8.0), 0.0),
        BlockFormat::Q4_1 => (half(0) * nibble(4, i), half(2)),
        BlockFormat::Q5_0 => (half(0) * (nibble(6, i) + bit(2, i) - 16.0), 0.0),
        BlockFormat::Q5_1 => (half(0) * (nibble(8, i) + bit(4, i)), half(2)),
        BlockFormat::Q8_0 => (half(0) * f64::from(block[2 + i] as i8), 0.0),
    };
    (0..BLOCK_LEN).map(part).collect()
}

#[test]
fn products_are_those_of_the_numbers_that_the_blocks_stand_for() {
    let mut random = Random(1);
    for table in tables() {
        for format in BlockFormat::ALL {
            for (num_weights, num_rows, k) in [(1, 1, 32), (8, 3, 64), (13, 5, 896), (3, 2, 1536)] {
                let weights = Weights::random(&mut random, format, num_weights, k);
                let rows = random.floats(num_rows * k);
                let out = weights.linear(table, &rows);
                weights.check(&rows, &out, &format!("{} {format:?} {k}", table.name()));
            }
        }
    }
}

#[test]
fn every_table_makes_the_same_bits_for_every_number_of_rows() {
    let mut random = Random(2);
    for format in BlockFormat::ALL {
        let k = 224;
        // Six groups: four that are multiplied together, and two, the last one not whole.
        let weights = Weights::random(&mut random, format, 41, k);
        let rows = random.floats((2 * ROW_TILE + 3) * k);
        let expected = weights.linear(KernelTable::scalar(), &rows);
        let of_row = |out: &[f32], num_rows: usize, row: usize| -> Vec<u32> {
            bits(&out.chunks_exact(num_rows).map(|weight| weight[row]).collect::<Vec<_>>())
        };
        for table in tables() {
            let what = format!("{} {format:?}", table.name());
            assert_eq!(bits(&weights.linear(table, &rows)), bits(&expected), "{what}");
            for num_rows in [1, 2, 5, 17, 43, ROW_TILE, ROW_TILE + 1] {
                for first in [0, 1 + random.below(ROW_TILE)] {
                    let out = weights.linear(table, &rows[first * k..(first + num_rows) * k]);
                    for row in 0..num_rows {
                        let expected = of_row(&expected, 2 * ROW_TILE + 3, first + row);
                        assert_eq!(of_row(&out, num_rows, row), expected, "{what} {num_rows}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_largest_quants_do_not_overflow() {
    let mut random = Random(3);
    for table in tables() {
        for format in BlockFormat::ALL {
            // The scale stays; all else is the largest or, with the sign, the smallest.
            let largest = if format == BlockFormat::Q8_0 { [0x80, 0x7f] } else { [0xff, 0] };
            for quant in largest {
                let mut weights = Weights::random(&mut random, format, 9, 64);
                for block in weights.bytes.chunks_exact_mut(format.block_bytes()) {
                    let has_min = matches!(format, BlockFormat::Q4_1 | BlockFormat::Q5_1);
                    block[if has_min { 4 } else { 2 }..].fill(quant);
                }
                weights.take_apart();
                let rows: Vec<f32> =
                    [1.0f32, -1.0].repeat(20).iter().flat_map(|&x| [x; 64]).collect();
                let out = weights.linear(table, &rows);
                weights.check(&rows, &out, &format!("{} {format:?} {quant}", table.name()));
            }
        }
    }
}

#[test]
fn zeros_and_traces_make_zero_and_what_is_not_finite_stays_visible() {
    let mut random = Random(4);
    for table in tables() {
        for format in BlockFormat::ALL {
            let (num_weights, k) = (11, 96);
            let weights = Weights::random(&mut random, format, num_weights, k);
            let healthy = random.floats(k);
            let alone = weights.linear(table, &healthy);
            for (bad, is_zero) in [
                (0.0, true),
                (-0.0, true),
                (f32::from_bits(1), true),
                (-1e-30, true),
                (f32::NAN, false),
                (f32::INFINITY, false),
                (f32::NEG_INFINITY, false),
                (f32::MAX, false),
                (-1e7, false),
            ] {
                let mut rows = [vec![0.0; k], healthy.repeat(39)].concat();
                rows[k / 2] = bad;
                let out = weights.linear(table, &rows);
                let what = format!("{} {format:?} {bad}", table.name());
                for (out, alone) in out.chunks_exact(40).zip(&alone) {
                    let right = if is_zero { out[0] == 0.0 } else { !out[0].is_finite() };
                    assert!(right, "{what}: {}", out[0]);
                    assert_eq!(bits(&out[1..]), [alone.to_bits(); 39], "{what}");
                }
            }
        }
    }
}

#[test]
fn a_packed_row_is_unpacked_to_the_bytes_of_the_file() {
    let mut random = Random(6);
    for format in BlockFormat::ALL {
        let weights = Weights::random(&mut random, format, 11, 96);
        let packed = weights.packed();
        let row_bytes = 3 * format.block_bytes();
        for (id, row) in weights.bytes.chunks_exact(row_bytes).enumerate() {
            let group = &packed[id / GROUP * GROUP * row_bytes..][..GROUP * row_bytes];
            let mut out = vec![0; row_bytes];
            PackedFormat::Blocks(format).unpack_row(group, id % GROUP, &mut out);
            assert_eq!(out, row, "{format:?}");
        }
    }
}

fn multiply(weights: &[u8], k: usize) {
    let rows = [RowBlock::default(); 2];
    let args = QuantizedLinearArgs { format: BlockFormat::Q8_0, weights, rows: &rows, k };
    for mut columns in Columns::split(&mut [0.0; 8], 8, 8) {
        KernelTable::detect().quantized_linear(&args, &mut columns);
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn weights_that_are_too_short_are_refused() {
    multiply(&[0; 2 * 8 * 34 - 1], 64);
}

#[test]
#[should_panic(expected = "whole blocks")]
fn rows_that_are_not_whole_blocks_are_refused() {
    multiply(&[0; 8 * 34], 33);
}
