//! Every table against the scalar reference, and batch invariance of every table.

mod inputs;

use half::{bf16, f16};
use kernels::{
    AttendArgs, AttendRowsArgs, Columns, Floats, FloatsMut, KernelTable, KvElements, KvShape,
    LinearArgs, PARTITION, Partials, RmsNormArgs, RopeArgs, RopeLayout, UnpackArgs, add_bias,
    add_rows, merge_partials, partial_len, write_kv,
};

use inputs::{Random, bits, tables};

enum Storage {
    F32(Vec<f32>),
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
}

impl Storage {
    const KINDS: usize = 3;

    fn of(kind: usize, values: &[f32]) -> Self {
        match kind {
            0 => Self::F32(values.to_vec()),
            1 => Self::F16(values.iter().map(|&x| f16::from_f32(x)).collect()),
            _ => Self::Bf16(values.iter().map(|&x| bf16::from_f32(x)).collect()),
        }
    }

    fn view(&self) -> Floats<'_> {
        match self {
            Self::F32(values) => Floats::F32(values),
            Self::F16(values) => Floats::F16(values),
            Self::Bf16(values) => Floats::Bf16(values),
        }
    }

    fn view_mut(&mut self) -> FloatsMut<'_> {
        match self {
            Self::F32(values) => FloatsMut::F32(values),
            Self::F16(values) => FloatsMut::F16(values),
            Self::Bf16(values) => FloatsMut::Bf16(values),
        }
    }

    fn to_f32(&self) -> Vec<f32> {
        match self {
            Self::F32(values) => values.clone(),
            Self::F16(values) => values.iter().map(|x| x.to_f32()).collect(),
            Self::Bf16(values) => values.iter().map(|x| x.to_f32()).collect(),
        }
    }
}

/// A context of `len` positions with `num_kv_heads` heads, before it is laid out in blocks.
struct Context {
    len: usize,
    num_kv_heads: usize,
    head_dim: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Context {
    fn random(random: &mut Random, len: usize, num_kv_heads: usize, head_dim: usize) -> Self {
        let num = len * num_kv_heads * head_dim;
        let (keys, values) = (random.floats(num), random.floats(num));
        Self { len, num_kv_heads, head_dim, keys, values }
    }

    /// Lays the context out in `block_table`; all other slots hold NaN, which spreads if read.
    fn paged(&self, kind: usize, block_size: usize, block_table: &[u32]) -> Paged {
        let num_blocks = block_table.iter().max().map_or(1, |&id| id as usize + 1) + 1;
        let shape = KvShape {
            num_blocks,
            num_kv_heads: self.num_kv_heads,
            block_size,
            head_dim: self.head_dim,
        };
        let poison = vec![f32::NAN; shape.num_elements()];
        let mut keys = Storage::of(kind, &poison);
        let mut values = Storage::of(kind, &poison);
        let slots: Vec<u64> = (0..self.len)
            .map(|p| {
                u64::from(block_table[p / block_size]) * block_size as u64 + (p % block_size) as u64
            })
            .collect();
        write_kv(&shape, &mut keys.view_mut(), &self.keys, &slots);
        write_kv(&shape, &mut values.view_mut(), &self.values, &slots);
        Paged { shape, keys, values, block_table: block_table.to_vec() }
    }
}

struct Paged {
    shape: KvShape,
    keys: Storage,
    values: Storage,
    block_table: Vec<u32>,
}

impl Paged {
    /// Of the first head, up to position `end`.
    fn unpack_args<'a>(&'a self, cache: &'a Storage, end: usize) -> UnpackArgs<'a> {
        UnpackArgs {
            shape: self.shape,
            cache: KvElements::Floats(cache.view()),
            block_table: &self.block_table,
            kv_head: 0,
            start: 0,
            end,
        }
    }

    fn attend(&self, table: &KernelTable, kv_head: usize, queries: &[f32], end: usize) -> Vec<f32> {
        let head_dim = self.shape.head_dim;
        let num_heads = queries.len() / head_dim;
        let len = partial_len(num_heads, head_dim);
        let count = end.div_ceil(PARTITION);
        let mut buffer = vec![f32::NAN; count * len];
        for (part, partial) in buffer.chunks_exact_mut(len).enumerate() {
            let args = AttendArgs {
                shape: self.shape,
                keys: KvElements::Floats(self.keys.view()),
                values: KvElements::Floats(self.values.view()),
                block_table: &self.block_table,
                kv_head,
                queries,
                num_heads,
                start: part * PARTITION,
                end: end.min((part + 1) * PARTITION),
                scale: 1.0 / (head_dim as f32).sqrt(),
            };
            table.attend(&args, partial);
        }
        let mut out = vec![f32::NAN; queries.len()];
        let partials =
            Partials { buffer: &buffer, first: 0, stride: 1, count, num_heads, head_dim };
        merge_partials(&partials, &mut out);
        out
    }
}

/// Attention in f64 over the context as it is stored.
fn attention_reference(
    context: &Context,
    kind: usize,
    kv_head: usize,
    queries: &[f32],
    end: usize,
) -> Vec<f64> {
    let d = context.head_dim;
    let keys = Storage::of(kind, &context.keys).to_f32();
    let values = Storage::of(kind, &context.values).to_f32();
    let at = |p: usize| (p * context.num_kv_heads + kv_head) * d;
    let mut out = Vec::new();
    for query in queries.chunks_exact(d) {
        let dot = |p: usize| -> f64 {
            let key = &keys[at(p)..at(p) + d];
            query.iter().zip(key).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum()
        };
        let scores: Vec<f64> = (0..end).map(|p| dot(p) / (d as f64).sqrt()).collect();
        let max = scores.iter().cloned().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for i in 0..d {
            let value = |p: usize| weights[p] * f64::from(values[at(p) + i]);
            out.push((0..end).map(value).sum::<f64>() / sum);
        }
    }
    out
}

fn assert_close(found: &[f32], expected: &[f64], bound: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(found) - expected).abs();
        assert!(difference <= bound, "{what}: element {i}: {found} instead of {expected}");
    }
}

#[test]
fn attention_is_softmax_weighted_values() {
    let mut random = Random(1);
    for table in tables() {
        for round in 0..60 {
            let head_dim = [8, 24, 64, 80, 128, 256][round % 6];
            let kind = round % Storage::KINDS;
            let len = [1, 2, 17, PARTITION - 1, PARTITION, PARTITION + 1, 700][round % 7];
            let num_heads = 1 + random.below(9);
            let context = Context::random(&mut random, len, 2, head_dim);
            let block_size = [1, 7, 16, 32][random.below(4)];
            let block_table: Vec<u32> = (0..len.div_ceil(block_size) as u32).rev().collect();
            let queries: Vec<f32> =
                random.floats(num_heads * head_dim).iter().map(|q| q * 4.0).collect();
            let paged = context.paged(kind, block_size, &block_table);
            for kv_head in 0..2 {
                let found = paged.attend(table, kv_head, &queries, len);
                let expected = attention_reference(&context, kind, kv_head, &queries, len);
                assert_close(&found, &expected, 2e-6, table.name());
            }
        }
    }
}

#[test]
fn attention_has_the_same_bits_wherever_the_context_lies() {
    let mut random = Random(2);
    for table in tables() {
        for kind in 0..Storage::KINDS {
            let (len, head_dim) = (PARTITION + 100, 64);
            let context = Context::random(&mut random, len, 2, head_dim);
            let queries = random.floats(7 * head_dim);
            let blocks = |block_size: usize| len.div_ceil(block_size) as u32;
            let in_order: Vec<u32> = (0..blocks(16)).collect();
            let expected = context.paged(kind, 16, &in_order).attend(table, 1, &queries, len);
            for block_size in [1, 3, 16, 32, 512] {
                let mut block_table: Vec<u32> = (0..blocks(block_size)).map(|id| id * 2).collect();
                for i in (1..block_table.len()).rev() {
                    block_table.swap(i, random.below(i + 1));
                }
                let paged = context.paged(kind, block_size, &block_table);
                let found = paged.attend(table, 1, &queries, len);
                assert_eq!(bits(&found), bits(&expected), "{} {block_size}", table.name());
            }
        }
    }
}

#[test]
fn attention_of_a_head_does_not_depend_on_its_group() {
    let mut random = Random(3);
    for table in tables() {
        let (len, head_dim) = (300, 128);
        let context = Context::random(&mut random, len, 1, head_dim);
        let paged = context.paged(1, 16, &(0..19).collect::<Vec<_>>());
        let queries = random.floats(7 * head_dim);
        let together = paged.attend(table, 0, &queries, len);
        for (head, query) in queries.chunks_exact(head_dim).enumerate() {
            let alone = paged.attend(table, 0, query, len);
            assert_eq!(bits(&alone), bits(&together[head * head_dim..(head + 1) * head_dim]));
        }
    }
}

#[test]
fn attention_survives_extreme_scores_and_shows_nan() {
    for table in tables() {
        let head_dim = 8;
        let mut context = Context::random(&mut Random(4), 20, 1, head_dim);
        // One key far above the others takes all the weight, without overflow.
        context.keys[3 * head_dim..4 * head_dim].fill(1e4);
        let block_table = [0, 1];
        let query = vec![1e3; head_dim];
        let found = context.paged(0, 16, &block_table).attend(table, 0, &query, 20);
        assert_eq!(found, context.values[3 * head_dim..4 * head_dim], "{}", table.name());
        // All keys equal: the mean.
        context.keys.fill(-1e4);
        let found = context.paged(0, 16, &block_table).attend(table, 0, &query, 20);
        let expected = attention_reference(&context, 0, 0, &query, 20);
        assert_close(&found, &expected, 1e-6, table.name());
        // A broken key must not be averaged away.
        context.keys[5] = f32::NAN;
        let found = context.paged(0, 16, &block_table).attend(table, 0, &query, 20);
        assert!(found.iter().all(|value| value.is_nan()), "{}", table.name());
    }
}

/// Rows together, with a NaN in every key and value that none of them attends to and in one that
/// only the last one does.
#[test]
fn attention_of_rows_has_the_bits_of_each_alone() {
    let mut random = Random(8);
    for table in tables() {
        for round in 0..120 {
            let head_dim = [8, 24, 64, 80, 128, 256][round % 6];
            let (num_rows, num_heads) = (1 + random.below(20), 1 + random.below(9));
            let first_end = match round % 4 {
                0 => 1 + random.below(PARTITION),
                1 => 1 + random.below(20),
                2 => PARTITION - random.below(num_rows),
                _ => PARTITION,
            };
            let end = PARTITION.min(first_end + num_rows - 1);
            let row_len = num_heads * head_dim + 8;
            let queries = random.floats(num_rows * row_len);
            let context = Context::random(&mut random, end, 1, head_dim);
            let mut paged = context.paged(1, 16, &(0..16).rev().collect::<Vec<_>>());
            if num_rows > 1 && end < PARTITION {
                let Storage::F16(values) = &mut paged.values else { unreachable!() };
                let block = paged.block_table[(end - 1) / 16] as usize;
                values[(block * 16 + (end - 1) % 16) * head_dim] = f16::NAN;
            }
            let [keys, values] = [&paged.keys, &paged.values].map(|cache| {
                let mut out = vec![f32::NAN; PARTITION * head_dim];
                table.unpack_kv(&paged.unpack_args(cache, end), &mut out);
                out
            });
            let scale = 1.0 / (head_dim as f32).sqrt();
            let args = AttendRowsArgs {
                head_dim,
                keys: &keys,
                values: &values,
                queries: &queries,
                row_len,
                num_rows,
                num_heads,
                first_end,
                scale,
            };
            let len = partial_len(num_heads, head_dim);
            let mut together = vec![f32::NAN; num_rows * len];
            table.attend_rows(&args, &mut together);
            for (row, together) in together.chunks_exact(len).enumerate() {
                let args = AttendArgs {
                    shape: paged.shape,
                    keys: KvElements::Floats(paged.keys.view()),
                    values: KvElements::Floats(paged.values.view()),
                    block_table: &paged.block_table,
                    kv_head: 0,
                    queries: &queries[row * row_len..][..num_heads * head_dim],
                    num_heads,
                    start: 0,
                    end: PARTITION.min(first_end + row),
                    scale,
                };
                let mut alone = vec![f32::NAN; len];
                table.attend(&args, &mut alone);
                let what = format!("{}: round {round}, row {row}", table.name());
                assert_eq!(bits(together), bits(&alone), "{what}");
                let is_last = row + 1 == num_rows;
                assert!(is_last || together.iter().all(|x| x.is_finite()), "{what}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "outside the cache")]
fn a_block_outside_the_cache_is_refused() {
    let context = Context::random(&mut Random(5), 20, 1, 8);
    let mut paged = context.paged(0, 16, &[0, 1]);
    paged.block_table[1] = 9;
    paged.attend(KernelTable::detect(), 0, &[0.0; 8], 20);
}

#[test]
#[should_panic(expected = "block 9 is outside the cache")]
fn floats_of_a_block_outside_the_cache_are_refused() {
    let context = Context::random(&mut Random(5), 20, 1, 8);
    let mut paged = context.paged(0, 16, &[0, 1]);
    paged.block_table[1] = 9;
    KernelTable::detect().unpack_kv(&paged.unpack_args(&paged.keys, 20), &mut [0.0; 160]);
}

#[test]
#[should_panic(expected = "outside the cache")]
fn a_slot_outside_the_cache_is_refused() {
    let shape = KvShape { num_blocks: 2, num_kv_heads: 1, block_size: 4, head_dim: 8 };
    let mut cache = vec![0f32; shape.num_elements()];
    write_kv(&shape, &mut FloatsMut::F32(&mut cache), &[0.0; 8], &[8]);
}

/// `[num_rows, num_weights]`.
fn products(table: &KernelTable, args: &LinearArgs<'_>, num_weights: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; args.rows.len() / args.k * num_weights];
    for mut columns in Columns::split(&mut out, num_weights, num_weights) {
        table.linear(args, &mut columns);
    }
    out
}

#[test]
fn linear_is_the_dot_product() {
    let mut random = Random(6);
    for table in tables() {
        for round in 0..80 {
            let (num_weights, num_rows) = (1 + random.below(9), 1 + random.below(8));
            let k = [1, 7, 8, 9, 64, 257, 896][round % 7];
            let weights = random.floats(num_weights * k);
            let rows = random.floats(num_rows * k);
            let weights = Storage::of(round % Storage::KINDS, &weights);
            let args = LinearArgs { weights: weights.view(), rows: &rows, k };
            let out = products(table, &args, num_weights);
            let weights = weights.to_f32();
            let dot = |w: usize, r: usize| -> f64 {
                (0..k).map(|i| f64::from(weights[w * k + i]) * f64::from(rows[r * k + i])).sum()
            };
            let expected: Vec<f64> =
                (0..out.len()).map(|i| dot(i % num_weights, i / num_weights)).collect();
            assert_close(&out, &expected, 1e-6 * (k as f64).sqrt(), table.name());
        }
    }
}

#[test]
fn linear_has_the_same_bits_for_a_row_alone() {
    let mut random = Random(7);
    for table in tables() {
        for kind in 0..Storage::KINDS {
            let (num_weights, num_rows, k) = (11, 8, 123);
            let weights = Storage::of(kind, &random.floats(num_weights * k));
            let rows = random.floats(num_rows * k);
            let weights = weights.view();
            let together = products(table, &LinearArgs { weights, rows: &rows, k }, num_weights);
            for (row, together) in rows.chunks_exact(k).zip(together.chunks_exact(num_weights)) {
                let alone = products(table, &LinearArgs { weights, rows: row, k }, num_weights);
                assert_eq!(bits(&alone), bits(together), "{}", table.name());
            }
        }
    }
}

#[test]
fn rms_norm_divides_by_the_root_of_the_mean_square() {
    let mut random = Random(8);
    for table in tables() {
        for len in [1, 5, 8, 64, 1536, 1537] {
            let weight = random.floats(len);
            let rows = random.floats(3 * len);
            let mut out = vec![f32::NAN; rows.len()];
            table.rms_norm(&RmsNormArgs { rows: &rows, weight: &weight, eps: 1e-6 }, &mut out);
            for (row, out) in rows.chunks_exact(len).zip(out.chunks_exact(len)) {
                let square: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
                let scale = 1.0 / (square / len as f64 + 1e-6).sqrt();
                let expected: Vec<f64> = row
                    .iter()
                    .zip(&weight)
                    .map(|(&x, &w)| f64::from(x) * scale * f64::from(w))
                    .collect();
                assert_close(out, &expected, 1e-5, table.name());
                let mut alone = vec![0f32; len];
                table.rms_norm(&RmsNormArgs { rows: row, weight: &weight, eps: 1e-6 }, &mut alone);
                assert_eq!(bits(&alone), bits(out));
            }
        }
        // A row of zeros stays zero.
        let mut out = [f32::NAN; 8];
        table.rms_norm(&RmsNormArgs { rows: &[0.0; 8], weight: &[1.0; 8], eps: 1e-6 }, &mut out);
        assert_eq!(out, [0.0; 8]);
    }
}

#[test]
fn rope_rotates_each_pair_by_its_angle() {
    let mut random = Random(9);
    for table in tables() {
        for layout in [RopeLayout::Adjacent, RopeLayout::Halves] {
            let (num_rows, num_heads, head_dim) = (3, 2, 20);
            let half = head_dim / 2;
            let angles: Vec<f32> =
                random.floats(num_rows * half).iter().map(|a| a * 100.0).collect();
            let cos: Vec<f32> = angles.iter().map(|a| a.cos()).collect();
            let sin: Vec<f32> = angles.iter().map(|a| a.sin()).collect();
            let rows = random.floats(num_rows * num_heads * head_dim);
            let mut out = rows.clone();
            let args = RopeArgs { cos: &cos, sin: &sin, num_heads, head_dim, layout };
            table.rope(&args, &mut out);
            let mut expected = vec![0f64; rows.len()];
            for i in 0..num_rows * num_heads * half {
                let (head, pair) = (i / half, i % half);
                let (a, b) = match layout {
                    RopeLayout::Adjacent => (2 * pair, 2 * pair + 1),
                    RopeLayout::Halves => (pair, pair + half),
                };
                let (a, b) = (head * head_dim + a, head * head_dim + b);
                let angle = f64::from(angles[head / num_heads * half + pair]);
                let (x, y) = (f64::from(rows[a]), f64::from(rows[b]));
                expected[a] = x * angle.cos() - y * angle.sin();
                expected[b] = x * angle.sin() + y * angle.cos();
            }
            assert_close(&out, &expected, 1e-6, table.name());
        }
    }
}

#[test]
fn silu_mul_is_gate_times_sigmoid_times_up() {
    let mut random = Random(10);
    for table in tables() {
        let mut gate: Vec<f32> = random.floats(1001).iter().map(|g| g * 90.0).collect();
        gate[0] = 0.0;
        let up = random.floats(gate.len());
        let mut out = vec![f32::NAN; gate.len()];
        table.silu_mul(&gate, &up, &mut out);
        for ((&gate, &up), &out) in gate.iter().zip(&up).zip(&out) {
            let (gate, up) = (f64::from(gate), f64::from(up));
            let expected = gate / (1.0 + (-gate).exp()) * up;
            let bound = 1e-6 * expected.abs().max(1e-6);
            assert!((f64::from(out) - expected).abs() <= bound, "{out} instead of {expected}");
        }
        // Saturation, and no NaN where the exponential overflows; NaN stays visible.
        let gate = [-1e30, -104.0, -88.5, 88.5, 1e30, f32::NAN];
        let mut out = [0f32; 6];
        table.silu_mul(&gate, &[1.0; 6], &mut out);
        assert!(out[..3].iter().all(|out| out.abs() < 1e-35), "{out:?}");
        assert_eq!(out[3..5], gate[3..5]);
        assert!(out[5].is_nan());
    }
}

#[test]
fn sums_are_element_wise() {
    let mut rows = [1.0, 2.0, 3.0, 4.0];
    add_bias(&mut rows, &[10.0, 20.0]);
    add_rows(&mut rows, &[0.5, 0.5, 0.5, -0.5]);
    assert_eq!(rows, [11.5, 22.5, 13.5, 23.5]);
}

/// What memory's bandwidth is measured with reads all of it.
#[test]
fn every_word_is_summed() {
    for table in tables() {
        let mut bytes = vec![0; 1000];
        assert_eq!(table.sum_words(&bytes), 0);
        for at in (0..1000).step_by(8) {
            bytes[at] = 1;
        }
        assert_eq!(table.sum_words(&bytes), 125, "{}", table.name());
    }
}
