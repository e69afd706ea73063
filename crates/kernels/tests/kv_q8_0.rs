//! Keys and values in Q8_0: what is written is read back, the same by every table.

mod inputs;

use half::f16;
use kernels::{KvShape, UnpackArgs, write_kv_q8_0};

use inputs::{Random, bits, tables};

const SHAPE: KvShape = KvShape { num_blocks: 5, num_kv_heads: 3, block_size: 7, head_dim: 64 };
const CACHE_BYTES: usize = 5 * 3 * 7 * 2 * 34;
const BLOCK_TABLE: [u32; 3] = [4, 0, 2];

fn slots(num: usize) -> Vec<u64> {
    (0..num).map(|at| u64::from(BLOCK_TABLE[at / 7]) * 7 + at as u64 % 7).collect()
}

fn args(cache: &[u8], kv_head: usize, start: usize, end: usize) -> UnpackArgs<'_> {
    UnpackArgs { shape: SHAPE, cache, block_table: &BLOCK_TABLE, kv_head, start, end }
}

#[test]
fn what_is_written_is_read_back_within_half_a_step() {
    let mut random = Random(1);
    for magnitude in [1.0, 1e-3, 3e4, 1e-7, 0.0] {
        let num = 20;
        let rows: Vec<f32> = random.floats(num * 192).iter().map(|x| x * magnitude).collect();
        let mut cache = vec![0xff; CACHE_BYTES];
        write_kv_q8_0(&SHAPE, &mut cache, &rows, &slots(num));
        for kv_head in 0..3 {
            let start = random.below(num);
            let mut unpacked = tables().into_iter().map(|table| {
                let mut out = vec![f32::NAN; (num - start) * 64];
                table.unpack_q8_0(&args(&cache, kv_head, start, num), &mut out);
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
        let mut cache = vec![0; CACHE_BYTES];
        write_kv_q8_0(&SHAPE, &mut cache, &rows, &slots(1));
        for table in tables() {
            let mut out = vec![0.0; 64];
            table.unpack_q8_0(&args(&cache, 0, 0, 1), &mut out);
            assert!(out[..32].iter().all(|x| (x - 1.0).abs() < 0.01));
            assert!(out[32..].iter().all(|x| x.is_nan()), "{broken}: {out:?}");
        }
    }
}

#[test]
#[should_panic(expected = "outside the cache")]
fn a_block_outside_the_cache_is_refused() {
    let cache = vec![0; CACHE_BYTES];
    let args = UnpackArgs { block_table: &[5], ..args(&cache, 0, 0, 1) };
    tables().into_iter().for_each(|table| table.unpack_q8_0(&args, &mut [0.0; 64]));
}

#[test]
#[should_panic(expected = "a table holds its context")]
fn a_context_longer_than_its_table_is_refused() {
    let cache = vec![0; CACHE_BYTES];
    tables()[0].unpack_q8_0(&args(&cache, 0, 0, 22), &mut [0.0; 22 * 64]);
}
