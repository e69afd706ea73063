//! A comparison of two tables on made-up inputs, in a few milliseconds, before one is used.
//!
//! The kernels for AVX-512 and AMX run on fewer of the machines that they are tested on. If a
//! processor or a compiler makes something else of them, this finds it before a model does.

use half::{bf16, f16};

use crate::attention::{AttendArgs, AttendRowsArgs, PARTITION, partial_len};
use crate::columns::Columns;
use crate::floats::Floats;
use crate::kv::{KvElements, KvShape};
use crate::kv_q8_0::{BLOCK_BYTES, write_kv_q8_0};
use crate::linear::LinearArgs;
use crate::packed::PackedFormat;
use crate::quantized::{BLOCK_LEN, BlockFormat, QuantizedLinearArgs, RowBlock};
use crate::super_blocks::{SUPER_LEN, SuperFormat, SuperLinearArgs, SuperRow};
use crate::table::KernelTable;

/// Rows of activations: every number that has a way of its own.
const NUM_ROWS: [usize; 11] = [1, 2, 3, 4, 5, 6, 7, 8, 11, 17, 40];
/// Five groups: two panels, the second one with an odd group.
const NUM_WEIGHTS: usize = 37;

/// Whether both tables make the same bits in products and in attention.
pub(crate) fn agree(a: &KernelTable, b: &KernelTable) -> bool {
    let mut random = Random(0x0ddb_1a5e_5bad_5eed);
    let supers = SuperFormat::ALL.into_iter().all(|format| {
        let k = 2 * SUPER_LEN;
        let len = PackedFormat::Supers(format).packed_bytes(NUM_WEIGHTS, k);
        // Any bytes are weights, some of them scaled by what is not a number.
        let weights = random.bytes(len.expect("rows of whole blocks"));
        NUM_ROWS.iter().all(|&num_rows| {
            let floats = random.floats(num_rows * k);
            same([a, b].map(|table| {
                let mut rows = vec![SuperRow::default(); floats.len() / SUPER_LEN];
                table.quantize_super_rows(&floats, k, &mut rows);
                let args = SuperLinearArgs { format, weights: &weights, rows: &rows, k };
                products(num_rows, |out| table.super_linear(&args, out))
            }))
        })
    });
    let blocks = BlockFormat::ALL.into_iter().all(|format| {
        let k = 3 * BLOCK_LEN;
        let len = PackedFormat::Blocks(format).packed_bytes(NUM_WEIGHTS, k);
        let weights = random.bytes(len.expect("rows of whole blocks"));
        NUM_ROWS.iter().all(|&num_rows| {
            let floats = random.floats(num_rows * k);
            same([a, b].map(|table| {
                let mut rows = vec![RowBlock::default(); floats.len() / BLOCK_LEN];
                table.quantize_rows(&floats, k, &mut rows);
                let args = QuantizedLinearArgs { format, weights: &weights, rows: &rows, k };
                products(num_rows, |out| table.quantized_linear(&args, out))
            }))
        })
    });
    supers
        && blocks
        && in_floats(a, b, &mut random)
        && in_q8_0(a, b, &mut random)
        && of_rows(a, b, &mut random)
}

/// Whether attention of several rows, more than a vector has lanes, is the same.
fn of_rows(a: &KernelTable, b: &KernelTable, random: &mut Random) -> bool {
    const HEAD_DIM: usize = 56;
    let (num_rows, num_heads) = (4, 5);
    let (keys, values) = (random.floats(PARTITION * HEAD_DIM), random.floats(PARTITION * HEAD_DIM));
    let queries = random.floats(num_rows * num_heads * HEAD_DIM);
    let args = AttendRowsArgs {
        head_dim: HEAD_DIM,
        keys: &keys,
        values: &values,
        queries: &queries,
        row_len: num_heads * HEAD_DIM,
        num_rows,
        num_heads,
        first_end: 19,
        scale: 0.125,
    };
    same([a, b].map(|table| {
        let mut partials = vec![0.0; num_rows * partial_len(num_heads, HEAD_DIM)];
        table.attend_rows(&args, &mut partials);
        partials
    }))
}

/// Whether products with weights in floats, and attention over them, are the same.
fn in_floats(a: &KernelTable, b: &KernelTable, random: &mut Random) -> bool {
    const K: usize = 27;
    // Columns of 32, 16 and 8.
    const HEAD_DIM: usize = 56;
    let shape = KvShape { num_blocks: 3, num_kv_heads: 1, block_size: 7, head_dim: HEAD_DIM };
    let floats = random.floats((NUM_WEIGHTS * K).max(shape.num_elements()));
    let halves: Vec<f16> = floats.iter().map(|&x| f16::from_f32_const(x)).collect();
    let brains: Vec<bf16> = floats.iter().map(|&x| bf16::from_f32_const(x)).collect();
    [Floats::F32(&floats), Floats::F16(&halves), Floats::Bf16(&brains)].into_iter().all(|all| {
        let weights = all.slice(0..NUM_WEIGHTS * K);
        let products = NUM_ROWS.iter().all(|&num_rows| {
            let rows = random.floats(num_rows * K);
            let args = LinearArgs { weights, rows: &rows, k: K };
            same([a, b].map(|table| products(num_rows, |out| table.linear(&args, out))))
        });
        let cache = KvElements::Floats(all.slice(0..shape.num_elements()));
        products && of_one_row(a, b, shape, cache, random)
    })
}

/// Whether attention over keys and values in Q8_0 is the same.
fn in_q8_0(a: &KernelTable, b: &KernelTable, random: &mut Random) -> bool {
    let shape = KvShape { num_blocks: 3, num_kv_heads: 1, block_size: 7, head_dim: 64 };
    let floats = random.floats(shape.num_elements());
    let mut cache = vec![[0; BLOCK_BYTES]; floats.len() / BLOCK_LEN];
    write_kv_q8_0(&shape, &mut cache, &floats, &(0..21).collect::<Vec<_>>());
    of_one_row(a, b, shape, KvElements::Q8_0(&cache), random)
}

/// Whether attention over 19 positions in three blocks, as keys and as values, is the same.
fn of_one_row(
    a: &KernelTable,
    b: &KernelTable,
    shape: KvShape,
    cache: KvElements<'_>,
    random: &mut Random,
) -> bool {
    (1..=9).all(|num_heads| {
        let queries = random.floats(num_heads * shape.head_dim);
        let args = AttendArgs {
            shape,
            keys: cache,
            values: cache,
            block_table: &[2, 0, 1],
            kv_head: 0,
            queries: &queries,
            num_heads,
            start: 0,
            end: 19,
            scale: 0.125,
        };
        same([a, b].map(|table| {
            let mut partial = vec![0.0; partial_len(num_heads, shape.head_dim)];
            table.attend(&args, &mut partial);
            partial
        }))
    })
}

fn products(num_rows: usize, multiply: impl Fn(&mut Columns<'_>)) -> Vec<f32> {
    let mut out = vec![0.0; num_rows * NUM_WEIGHTS];
    Columns::split(&mut out, NUM_WEIGHTS, NUM_WEIGHTS).for_each(|mut out| multiply(&mut out));
    out
}

/// The same bits, where they are those of a number.
fn same([a, b]: [Vec<f32>; 2]) -> bool {
    let is_same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
    a.len() == b.len() && a.iter().zip(&b).all(is_same)
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 56) as u8).collect()
    }

    /// In `[-1, 1)`.
    fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{avx2, scalar};

    #[test]
    fn the_tables_of_this_cpu_agree() {
        let tables = [KernelTable::amx(), KernelTable::avx512()];
        for (table, name) in tables.iter().zip(["AMX", "AVX-512 with VNNI"]) {
            if table.is_none() {
                eprintln!("skipped: this CPU has no {name}");
            }
        }
        let Some(narrow) = KernelTable::avx2() else { return };
        let mut tables = tables.into_iter().flatten();
        assert!(tables.clone().all(|wide| agree(wide, narrow)));
        assert_eq!(KernelTable::detect().name, tables.next().unwrap_or(narrow).name);
        assert_eq!(KernelTable::distrusted(), None);
    }

    fn wrong_in_one_way(args: &SuperLinearArgs<'_>, out: &mut Columns<'_>) {
        scalar::super_linear(args, out);
        if args.format == SuperFormat::Q6K && out.num_rows() == 4 {
            out.row(3)[NUM_WEIGHTS - 1] += 1.0;
        }
    }

    #[test]
    fn one_wrong_number_of_one_kernel_is_found() {
        let Some(right) = KernelTable::avx2() else {
            eprintln!("skipped: this CPU has no AVX2");
            return;
        };
        assert!(agree(right, right));
        let copy = || KernelTable {
            name: "copy",
            rows_together: right.rows_together,
            attend: avx2::attend,
            attend_rows: None,
            unpack_q8_0: avx2::unpack_q8_0,
            pack_group: avx2::pack_group,
            linear: avx2::linear,
            quantize_rows: avx2::quantize_rows,
            quantized_linear: scalar::quantized_linear,
            quantize_super_rows: avx2::quantize_super_rows,
            super_linear: scalar::super_linear,
            rms_norm: avx2::rms_norm,
            rope: avx2::rope,
            silu_mul: avx2::silu_mul,
            sum_words: avx2::sum_words,
        };
        assert!(agree(&copy(), right), "products of quants are the reference's");
        assert!(!agree(&KernelTable { super_linear: wrong_in_one_way, ..copy() }, right));
        // The reference adds floats up in another order.
        assert!(!agree(&KernelTable { attend: scalar::attend, ..copy() }, right));
        assert!(!agree(&KernelTable { linear: scalar::linear, ..copy() }, right));
    }
}
