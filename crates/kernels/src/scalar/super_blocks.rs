//! Products with weights in super-blocks of 256, and the formats of these blocks.
//!
//! All numbers are little-endian; `d` and `dmin` are half floats. Elements `[32 s, 32 s + 32)` are
//! sub-block `s`; `b`-bit quants of four or eight sub-blocks share bytes, whose byte `i` holds
//! element `i` of each. `h` is the half `s / 4`.
//!
//! | format | block, in bytes | bits | element, its scale `c` and minimum `m` |
//! |---|---|---|---|
//! | Q2_K | 16 of scales, 64 of quants, d, dmin | 2 | `d * c * q - dmin * m` |
//! | Q3_K | 32 of high bits, 64 of quants, 12 of scales, d | 2 + 1 | `d * (c - 32) * (q - 4)` |
//! | Q4_K | d, dmin, 12 of scales, 128 of quants | 4 | `d * c * q - dmin * m` |
//! | Q5_K | d, dmin, 12 of scales, 32 of high bits, 128 of quants | 4 + 1 | the same |
//! | Q6_K | 128 of quants, 64 of high bits, 16 of scales, d | 4 + 2 | `d * c * (q - 32)` |
//!
//! Q4_K and Q5_K have one scale and minimum of 6 bits for each sub-block, the others a scale for
//! each 16 elements.

use half::f16;

use crate::columns::Columns;
use crate::packed::{GROUP, PackedFormat};
use crate::quantized::ROW_TILE;
use crate::super_blocks::{SUM_LEN, SUPER_LEN, SuperFormat, SuperLinearArgs, SuperRow, tiles};

/// Each sum runs over the blocks in order. What is added to it is rounded as the operations below
/// say, of which two are contracted: the same bits for every instruction set and number of rows.
pub(crate) fn super_linear(args: &SuperLinearArgs<'_>, out: &mut Columns<'_>) {
    let block_bytes = args.format.block_bytes();
    let group_bytes = args.k / SUPER_LEN * block_bytes * GROUP;
    for (first_row, tile) in tiles(args.rows, args.k) {
        let num_rows = tile.len() / (args.k / SUPER_LEN);
        for weight in 0..out.width() {
            let group = &args.weights[weight / GROUP * group_bytes..][..group_bytes];
            let mut sums = [0f32; ROW_TILE];
            let blocks = group.chunks_exact(GROUP * block_bytes);
            for (packed, rows) in blocks.zip(tile.chunks_exact(num_rows)) {
                let mut bytes = vec![0; block_bytes];
                PackedFormat::Supers(args.format).unpack_block(packed, weight % GROUP, &mut bytes);
                let block = Block::unpack(args.format, &bytes);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    let mut scaled = block.d * block.dot(row) as f32;
                    if let Some(dmin) = block.dmin {
                        scaled = (-dmin).mul_add(block.minima(row) as f32, scaled);
                    }
                    *sum = row.scale.mul_add(scaled, *sum);
                }
            }
            for (row, sum) in sums.iter().enumerate().take(num_rows) {
                out.row(first_row + row)[weight] = *sum;
            }
        }
    }
}

struct Block {
    d: f32,
    dmin: Option<f32>,
    /// Of each 16 elements.
    scales: [i32; SUPER_LEN / SUM_LEN],
    minima: [i32; SUPER_LEN / SUM_LEN],
    quants: [i32; SUPER_LEN],
}

impl Block {
    fn unpack(format: SuperFormat, bytes: &[u8]) -> Self {
        let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32_const();
        // Bits `[bits * n, bits * n + bits)` of byte `at`.
        let part = |at: usize, bits: usize, n: usize| {
            i32::from(bytes[at]) >> (bits * n) & ((1 << bits) - 1)
        };
        let elements = |quant: &dyn Fn(usize, usize, usize) -> i32| {
            std::array::from_fn(|i| quant(i / 32, i / 128, i % 32))
        };
        let sixteenths = |scale: &dyn Fn(usize) -> i32| std::array::from_fn(scale);
        match format {
            SuperFormat::Q2K => Self {
                d: half(80),
                dmin: Some(half(82)),
                scales: sixteenths(&|j| part(j, 4, 0)),
                minima: sixteenths(&|j| part(j, 4, 1)),
                quants: elements(&|s, h, i| part(16 + 32 * h + i, 2, s % 4)),
            },
            SuperFormat::Q3K => Self {
                d: half(108),
                dmin: None,
                scales: sixteenths(&|j| {
                    part(96 + j % 8, 4, j / 8) + 16 * part(104 + j % 4, 2, j / 4) - 32
                }),
                minima: Default::default(),
                quants: elements(&|s, h, i| {
                    part(32 + 32 * h + i, 2, s % 4) + 4 * part(i, 1, s) - 4
                }),
            },
            SuperFormat::Q4K | SuperFormat::Q5K => {
                let is_five = format == SuperFormat::Q5K;
                let quants = if is_five { 48 } else { 16 };
                let (scales, minima) = scales_and_minima(&bytes[4..16]);
                Self {
                    d: half(0),
                    dmin: Some(half(2)),
                    scales: sixteenths(&|j| scales[j / 2]),
                    minima: sixteenths(&|j| minima[j / 2]),
                    quants: elements(&|s, _, i| {
                        let high = if is_five { 16 * part(16 + i, 1, s) } else { 0 };
                        part(quants + 32 * (s / 2) + i, 4, s % 2) + high
                    }),
                }
            }
            SuperFormat::Q6K => Self {
                d: half(208),
                dmin: None,
                scales: sixteenths(&|j| i32::from(bytes[192 + j].cast_signed())),
                minima: Default::default(),
                quants: elements(&|s, h, i| {
                    let low = part(64 * h + 32 * (s % 2) + i, 4, s % 4 / 2);
                    low + 16 * part(128 + 32 * h + i, 2, s % 4) - 32
                }),
            },
        }
    }

    fn dot(&self, row: &SuperRow) -> i32 {
        let products = self.quants.iter().zip(&row.quants).map(|(w, &x)| w * i32::from(x));
        let products: Vec<i32> = products.collect();
        let dots = products.chunks_exact(SUM_LEN).map(|products| products.iter().sum::<i32>());
        dots.zip(self.scales).map(|(dot, scale)| dot * scale).sum()
    }

    fn minima(&self, row: &SuperRow) -> i32 {
        self.minima.iter().zip(&row.sums).map(|(min, &sum)| min * i32::from(sum)).sum()
    }
}

/// Eight scales and eight minima of 6 bits in 12 bytes: those of the first four sub-blocks have
/// their low 6 bits in bytes `[0, 4)` and `[4, 8)`; of the others, bytes `[8, 12)` have the low 4
/// bits and the first eight bytes the high 2.
fn scales_and_minima(bytes: &[u8]) -> ([i32; 8], [i32; 8]) {
    let byte = |at: usize| i32::from(bytes[at]);
    let scale = |s: usize| match s {
        0..4 => byte(s) & 63,
        _ => byte(s + 4) & 15 | byte(s - 4) >> 6 << 4,
    };
    let minimum = |s: usize| match s {
        0..4 => byte(s + 4) & 63,
        _ => byte(s + 4) >> 4 | byte(s) >> 6 << 4,
    };
    (std::array::from_fn(scale), std::array::from_fn(minimum))
}
