//! Keys and values in Q8_0: what is written is read back, the same by every table.

mod inputs;

use half::f16;
use kernels::{
    AttendArgs, Block, Floats, KvElements, KvShape, UnpackArgs, partial_len, write_kv_q8_0,
};

use inputs::{Random, bits, tables};

const SHAPE: KvShape = KvShape { num_blocks: 5, num_kv_heads: 3, block_size: 7, head_dim: 64 };
const NUM_BLOCKS: usize = 5 * 3 * 7 * 2;
const BLOCK_TABLE: [u32; 3] = [4, 0, 2];

fn slots(num: usize) -> Vec<u64> {
    (0..num).map(|at| u64::from(BLOCK_TABLE[at / 7]) * 7 + at as u64 % 7).collect()
}

fn args(cache: &[Block], kv_head: usize, start: usize, end: usize) -> UnpackArgs<'_> {
    let cache = KvElements::Q8_0(cache);
    UnpackArgs { shape: SHAPE, cache, block_table: &BLOCK_TABLE, kv_head, start, end }
}

#[test]
fn what_is_written_is_read_back_within_half_a_step() {
    let mut random = Random(1);
    for magnitude in [1.0, 1e-3, 3e4, 1e-7, 0.0] {
        let num = 20;
        let rows: Vec<f32> = random.floats(num * 192).iter().map(|x| x * magnitude).collect();
        let mut cache = vec![[0xff; 34]; NUM_BLOCKS];
        write_kv_q8_0(&SHAPE, &mut cache, &rows, &slots(num));
        for kv_head in 0..3 {
            let start = random.below(num);
            let mut unpacked = tables().into_iter().map(|table| {
                let mut out = vec![f32::NAN; (num - start) * 64];
                table.unpack_kv(&args(&cache, kv_head, start, num), &mut out);
                out
            });
            let first = unpacked.next().expect("there is a reference");
            assert!(unpacked.all(|other| bits(&other) == bits(&first)));
            for (position, head) in (start..num).zip(first.chunks_exact(64)) {
                let expected = &rows[position * 192 + kv_head * 64..][..64];
                for (found, expected) in head.chunks_exact(32).zip(expected.chunks_exact(32)) {
                    let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
                    // A scale below the normal half floats is coarser.
                    let bound =
                        largest / 127.0 * 0.51 + 127.0 * f16::MIN_POSITIVE_SUBNORMAL.to_f32();
                    for (found, expected) in found.iter().zip(expected) {
                        assert!((found - expected).abs() <= bound, "{found} for {expected}");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_or_too_large_shows() {
    for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e8] {
        let mut rows = vec![1.0; 192];
        rows[40] = broken;
        let mut cache = vec![[0; 34]; NUM_BLOCKS];
        write_kv_q8_0(&SHAPE, &mut cache, &rows, &slots(1));
        for table in tables() {
            let mut out = vec![0.0; 64];
            table.unpack_kv(&args(&cache, 0, 0, 1), &mut out);
            assert!(out[..32].iter().all(|x| (x - 1.0).abs() < 0.01));
            assert!(out[32..].iter().all(|x| x.is_nan()), "{broken}: {out:?}");
        }
    }
}

/// A row of a prompt reads what was unpacked for all rows, one that is written alone does not.
#[test]
fn attention_has_the_bits_of_unpacked_floats() {
    let mut random = Random(2);
    let num = 20;
    let mut cache = vec![[0xff; 34]; NUM_BLOCKS];
    write_kv_q8_0(&SHAPE, &mut cache, &random.floats(num * 192), &slots(num));
    for table in tables() {
        for (kv_head, num_heads) in [(0, 1), (1, 2), (2, 3), (0, 6), (1, 7), (2, 8), (0, 9)] {
            let queries = random.floats(num_heads * 64);
            let end = 1 + random.below(num);
            let mut floats = vec![f32::NAN; 21 * 64];
            table.unpack_kv(&args(&cache, kv_head, 0, end), &mut floats);
            let attend = |shape, elements, block_table: &[u32], kv_head| {
                let args = AttendArgs {
                    shape,
                    keys: elements,
                    values: elements,
                    block_table,
                    kv_head,
                    queries: &queries,
                    num_heads,
                    start: 0,
                    end,
                    scale: 0.125,
                };
                let mut partial = vec![f32::NAN; partial_len(num_heads, 64)];
                table.attend(&args, &mut partial);
                partial
            };
            let quants = attend(SHAPE, KvElements::Q8_0(&cache), &BLOCK_TABLE, kv_head);
            let one = KvShape { num_blocks: 1, num_kv_heads: 1, block_size: 21, head_dim: 64 };
            let floats = attend(one, KvElements::Floats(Floats::F32(&floats)), &[0], 0);
            assert_eq!(bits(&quants), bits(&floats), "{}: {num_heads} heads", table.name());
            assert!(quants.iter().all(|x| x.is_finite()));
        }
    }
}

#[test]
#[should_panic(expected = "outside the cache")]
fn a_block_outside_the_cache_is_refused() {
    let cache = vec![[0; 34]; NUM_BLOCKS];
    let args = UnpackArgs { block_table: &[5], ..args(&cache, 0, 0, 1) };
    tables().into_iter().for_each(|table| table.unpack_kv(&args, &mut [0.0; 64]));
}

#[test]
#[should_panic(expected = "a table holds its context")]
fn a_context_longer_than_its_table_is_refused() {
    let cache = vec![[0; 34]; NUM_BLOCKS];
    tables()[0].unpack_kv(&args(&cache, 0, 0, 22), &mut [0.0; 22 * 64]);
}
