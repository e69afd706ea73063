//! Products with weights in blocks of 32, and the formats of these blocks.
//!
//! All numbers are little-endian; `d` and `m` are half floats. Of 16 bytes of nibbles the low ones
//! are elements `[0, 16)`, the high ones elements `[16, 32)`. Formats whose name ends in 0 are
//! symmetric, those that end in 1 add a minimum:
//!
//! | format | block | element `i` |
//! |---|---|---|
//! | Q4_0 | d, 16 bytes of nibbles | `d * (nibble - 8)` |
//! | Q4_1 | d, m, 16 bytes of nibbles | `d * nibble + m` |
//! | Q5_0 | d, 32 high bits, 16 bytes of nibbles | `d * (nibble + 16 * bit i - 16)` |
//! | Q5_1 | d, m, 32 high bits, 16 bytes of nibbles | `d * (nibble + 16 * bit i) + m` |
//! | Q8_0 | d, 32 bytes | `d * signed byte` |

use half::f16;

use crate::columns::Columns;
use crate::packed::{GROUP, PackedFormat};
use crate::quantized::{BLOCK_LEN, BlockFormat, QuantizedLinearArgs, ROW_TILE, RowBlock};

/// Each sum runs over the blocks in order, first the product and then the minimum's share, and
/// never contracts `a * b + c`: the same bits for every instruction set and number of rows.
pub(crate) fn quantized_linear(args: &QuantizedLinearArgs<'_>, out: &mut Columns<'_>) {
    let num_blocks = args.k / BLOCK_LEN;
    let block_bytes = args.format.block_bytes();
    let group_bytes = num_blocks * block_bytes * GROUP;
    for (tile_id, tile) in args.rows.chunks(ROW_TILE * num_blocks).enumerate() {
        let num_rows = tile.len() / num_blocks;
        for weight in 0..out.width() {
            let group = &args.weights[weight / GROUP * group_bytes..][..group_bytes];
            let mut sums = [0f32; ROW_TILE];
            let blocks = group.chunks_exact(GROUP * block_bytes);
            for (packed, rows) in blocks.zip(tile.chunks_exact(num_rows)) {
                let mut bytes = vec![0; block_bytes];
                PackedFormat::Blocks(args.format).unpack_block(packed, weight % GROUP, &mut bytes);
                let block = Block::unpack(args.format, &bytes);
                for (sum, row) in sums.iter_mut().zip(rows) {
                    *sum += block.dot(row) as f32 * (block.d * row.scale);
                    if let Some(m) = block.m {
                        *sum += m * row.scaled_sum;
                    }
                }
            }
            for (row, sum) in sums.iter().enumerate().take(num_rows) {
                out.row(tile_id * ROW_TILE + row)[weight] = *sum;
            }
        }
    }
}

struct Block {
    d: f32,
    m: Option<f32>,
    quants: [i32; BLOCK_LEN],
}

impl Block {
    fn unpack(format: BlockFormat, bytes: &[u8]) -> Self {
        let half = |at: usize| f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32_const();
        let high_bits = |at: usize| {
            u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were taken"))
        };
        let nibbles = |at: usize, high_bits: u32, offset: i32| {
            std::array::from_fn(|i| {
                let byte = bytes[at + i % 16];
                let nibble = if i < 16 { byte & 15 } else { byte >> 4 };
                i32::from(nibble) + (high_bits >> i & 1) as i32 * 16 - offset
            })
        };
        let (m, quants) = match format {
            BlockFormat::Q4_0 => (None, nibbles(2, 0, 8)),
            BlockFormat::Q4_1 => (Some(half(2)), nibbles(4, 0, 0)),
            BlockFormat::Q5_0 => (None, nibbles(6, high_bits(2), 16)),
            BlockFormat::Q5_1 => (Some(half(2)), nibbles(8, high_bits(4), 0)),
            BlockFormat::Q8_0 => {
                (None, std::array::from_fn(|i| i32::from(bytes[2 + i].cast_signed())))
            }
        };
        Self { d: half(0), m, quants }
    }

    fn dot(&self, row: &RowBlock) -> i32 {
        self.quants.iter().zip(row.quants).map(|(weight, x)| weight * i32::from(x)).sum()
    }
}
