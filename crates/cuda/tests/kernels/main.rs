//! Kernels against plain loops in `f64`, on whatever `libcuda.so.1` is there: a GPU's driver, or
//! the stand-in (`stand-in/build DIR`, then `LD_LIBRARY_PATH=DIR`). Without one they say so and
//! skip.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as the test does")]

mod integers;

use std::sync::Arc;

use cuda::{
    Batch, BatchSeq, BatchSpec, CudaError, Float, KvLayer, KvShape, Matrix, Rotations, Rows,
    Session, Vector, WeightFormat,
};
use half::{bf16, f16};

fn session() -> Option<Arc<Session>> {
    match Session::open(0) {
        Ok(session) => Some(session),
        Err(CudaError::NoDriver) => {
            println!("skipped: no libcuda.so.1; stand-in/build makes one that needs no GPU");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Numbers in [-1, 1), the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    fn float(&mut self) -> f32 {
        (self.next() % 20_011) as f32 / 10_005.5 - 1.0
    }

    fn floats(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.float()).collect()
    }
}

fn assert_close(found: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        let difference = (f64::from(*found) - expected).abs();
        let limit = tolerance * expected.abs().max(1.0);
        assert!(difference <= limit, "{what} at {index}: {found} instead of {expected}");
    }
}

fn bytes_of(values: &[f32], format: WeightFormat) -> Vec<u8> {
    match format {
        WeightFormat::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        WeightFormat::F16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
        WeightFormat::Bf16 => {
            values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect()
        }
        other => panic!("{other:?} is not a float"),
    }
}

fn rounded(value: f32, format: WeightFormat) -> f32 {
    match format {
        WeightFormat::F16 => f16::from_f32(value).to_f32(),
        WeightFormat::Bf16 => bf16::from_f32(value).to_f32(),
        _ => value,
    }
}

/// `[rows, n]` of `x` `[rows, k]` and `weights` `[n, k]`.
fn product(x: &[f32], weights: &[f32], k: usize) -> Vec<f64> {
    let dot = |x: &[f32], w: &[f32]| -> f64 {
        x.iter().zip(w).map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
    };
    x.chunks(k).flat_map(|x| weights.chunks(k).map(move |w| dot(x, w))).collect()
}

#[test]
fn few_rows_times_floats_of_any_type() {
    let Some(session) = session() else { return };
    let mut random = Random(1);
    for format in [WeightFormat::F32, WeightFormat::F16, WeightFormat::Bf16] {
        for (num_rows, n, k) in [(1, 5, 8), (2, 9, 264), (3, 66, 512), (8, 17, 1000), (13, 7, 256)]
        {
            let x = random.floats(num_rows * k);
            let biases = random.floats(n);
            let values: Vec<f32> =
                random.floats(n * k).iter().map(|w| rounded(*w, format)).collect();
            let matrix = Matrix::new(&session, format, n, k, &bytes_of(&values, format)).unwrap();
            let bias = Vector::new(&session, &biases).unwrap();
            let rows = Rows::upload(&session, &x, k).unwrap();
            let layers = [(&matrix, Some(&bias)), (&matrix, None)];
            let [with_bias, without] = session.linear(layers, &rows).unwrap();
            let expected = product(&x, &values, k);
            let what = format!("{format:?} [{num_rows}, {n}, {k}]");
            let found = session.download(&without, num_rows).unwrap();
            assert_close(&found, &expected, 1e-4, &what);
            let biased: Vec<f64> = expected
                .iter()
                .enumerate()
                .map(|(index, x)| x + f64::from(biases[index % n]))
                .collect();
            let found = session.download(&with_bias, num_rows).unwrap();
            assert_close(&found, &biased, 1e-4, &what);
        }
    }
}

#[test]
fn a_row_has_the_same_bits_beside_others() {
    let Some(session) = session() else { return };
    let (n, k) = (19, 520);
    let mut random = Random(2);
    let x = random.floats(8 * k);
    let values = random.floats(n * k);
    let bytes = bytes_of(&values, WeightFormat::F32);
    let matrix = Matrix::new(&session, WeightFormat::F32, n, k, &bytes).unwrap();
    let run = |rows: &[f32]| {
        let rows = Rows::upload(&session, rows, k).unwrap();
        let [out] = session.linear([(&matrix, None)], &rows).unwrap();
        session.download(&out, rows.num_rows()).unwrap()
    };
    let together = run(&x);
    for num_rows in 1..8 {
        assert_eq!(run(&x[..num_rows * k]), together[..num_rows * n], "{num_rows} rows");
    }
}

#[test]
fn gates_are_those_of_products_apart() {
    let Some(session) = session() else { return };
    let mut random = Random(3);
    for (num_rows, n, k) in [(1, 7, 256), (2, 6, 264), (5, 9, 512), (11, 4, 64)] {
        let x = random.floats(num_rows * k);
        let (gate, up) = (random.floats(n * k), random.floats(n * k));
        let of = |values: &[f32]| {
            let bytes = bytes_of(values, WeightFormat::F32);
            Matrix::new(&session, WeightFormat::F32, n, k, &bytes).unwrap()
        };
        let rows = Rows::upload(&session, &x, k).unwrap();
        let found = session.gated(&of(&gate), &of(&up), &rows).unwrap();
        let gates = product(&x, &gate, k);
        let expected: Vec<f64> = gates
            .iter()
            .zip(product(&x, &up, k))
            .map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up)
            .collect();
        let found = session.download(&found, num_rows).unwrap();
        assert_close(&found, &expected, 1e-4, &format!("[{num_rows}, {n}, {k}]"));
    }
}

/// What arrives in 16 bits goes through cuBLASLt, its weights unpacked first where they differ. The
/// stand-in's adds no bias to 71 results, and multiplies no 136 elements: then kernels do.
#[test]
fn many_rows_times_weights_of_their_type_and_of_others() {
    let Some(session) = session() else { return };
    for (seed, dtype) in [Float::F16, Float::Bf16].into_iter().enumerate() {
        for shape in [(21, 70, 128), (5, 71, 128), (11, 70, 136), (9, 71, 136)] {
            multiply_rows_of_16_bits(&session, &mut Random(4 + seed as u64), dtype, shape);
        }
    }
}

fn multiply_rows_of_16_bits(
    session: &Session,
    random: &mut Random,
    dtype: Float,
    (num_rows, n, k): (usize, usize, usize),
) {
    for format in [WeightFormat::F32, WeightFormat::F16, WeightFormat::Bf16] {
        let (gate, up) = (random.floats(num_rows * k), random.floats(num_rows * k));
        let values: Vec<f32> =
            random.floats(n * k).iter().map(|w| rounded(*w, WeightFormat::Bf16)).collect();
        let matrix = Matrix::new(session, format, n, k, &bytes_of(&values, format)).unwrap();
        let biases = random.floats(n);
        let bias = Vector::new(session, &biases).unwrap();
        let of = |values: &[f32]| Rows::upload(session, values, k).unwrap();
        let x = session.silu_mul(&of(&gate), &of(&up), dtype).unwrap();
        let [found] = session.linear([(&matrix, Some(&bias))], &x).unwrap();
        let silu_mul = |(gate, up): (&f32, &f32)| gate / (1.0 + (-gate).exp()) * up;
        let x: Vec<f32> = gate.iter().zip(&up).map(silu_mul).collect();
        let products = product(&x, &values, k).into_iter().enumerate();
        let expected: Vec<f64> = products.map(|(at, x)| x + f64::from(biases[at % n])).collect();
        let found = session.download(&found, num_rows).unwrap();
        // More than a hundred products, a factor of each rounded to 8 bits.
        assert_close(&found, &expected, 0.02, &format!("{dtype:?} {format:?} [{n}, {k}]"));
    }
}

#[test]
fn norms_are_of_rows_and_of_heads_after_what_is_added() {
    let Some(session) = session() else { return };
    let mut random = Random(5);
    for (num_rows, width, len) in [(3, 1000, 1000), (2, 256, 64), (5, 24, 24)] {
        let (x, delta) = (random.floats(num_rows * width), random.floats(num_rows * width));
        let weights = random.floats(len);
        let weight = Vector::new(&session, &weights).unwrap();
        let of = |values: &[f32]| Rows::upload(&session, values, width).unwrap();
        let (rows, added) = (of(&x), of(&delta));
        let found = session.rms_norm(&rows, Some(&added), &weight, 1e-5, Float::F32).unwrap();
        let sum: Vec<f64> = x.iter().zip(&delta).map(|(x, d)| f64::from(x + d)).collect();
        let norm = |row: &[f64]| {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / len as f64;
            let scale = 1.0 / (mean + 1e-5).sqrt();
            let scaled = row.iter().zip(&weights).map(|(x, w)| x * scale * f64::from(*w));
            scaled.collect::<Vec<_>>()
        };
        let expected: Vec<f64> = sum.chunks(len).flat_map(norm).collect();
        let what = format!("[{num_rows}, {width}] by {len}");
        assert_close(&session.download(&found, num_rows).unwrap(), &expected, 1e-5, &what);
        assert_close(&session.download(&rows, num_rows).unwrap(), &sum, 1e-6, &what);
    }
}

/// A cache, what it holds, and a batch over it.
struct Paged {
    kv: KvLayer,
    shape: KvShape,
    num_heads: usize,
    /// Of each sequence, by position: keys and values, `[num_kv_heads * head_dim]`.
    contents: Vec<Vec<(Vec<f32>, Vec<f32>)>>,
    tables: Vec<Vec<u32>>,
}

const NO_TURN: [f32; 2] = [1.0, 0.0];

impl Paged {
    /// Writes the contexts through the kernel that the program writes with, rope turning nothing.
    fn new(
        session: &Session,
        contexts: &[usize],
        shape: KvShape,
        num_heads: usize,
        dtype: Float,
        random: &mut Random,
    ) -> Self {
        let kv = KvLayer::new(session, shape, dtype).unwrap();
        let mut free: Vec<u32> = (0..shape.num_blocks as u32).collect();
        let width = shape.num_kv_heads * shape.head_dim;
        let format = if dtype == Float::F16 { WeightFormat::F16 } else { WeightFormat::Bf16 };
        let (mut contents, mut tables) = (Vec::new(), Vec::new());
        for &context in contexts {
            let blocks = context.div_ceil(shape.block_size);
            let table: Vec<u32> =
                (0..blocks).map(|_| free.swap_remove(random.below(free.len()))).collect();
            let mut row = || -> Vec<f32> {
                random.floats(width).iter().map(|x| rounded(*x, format)).collect()
            };
            let context: Vec<_> = (0..context).map(|_| (row(), row())).collect();
            contents.push(context);
            tables.push(table);
        }
        let paged = Self { kv, shape, num_heads, contents, tables };
        for (context, table) in paged.contents.iter().zip(&paged.tables) {
            let num_rows = context.len();
            let seq = BatchSeq { num_rows, context_len: num_rows, block_table: table };
            let batch = paged.batch(session, &[seq]);
            let of = |rows: Vec<&[f32]>| Rows::upload(session, &rows.concat(), width).unwrap();
            let keys = of(context.iter().map(|(key, _)| key.as_slice()).collect());
            let values = of(context.iter().map(|(_, value)| value.as_slice()).collect());
            let queries = vec![0.0; num_rows * num_heads * shape.head_dim];
            let queries = Rows::upload(session, &queries, num_heads * shape.head_dim).unwrap();
            let half = shape.head_dim / 2;
            let rotations =
                Rotations::new(session, &vec![NO_TURN; 1000 * half], half, false).unwrap();
            session.rope_write([&queries, &keys, &values], &rotations, &batch, &paged.kv).unwrap();
            // Buffers that go out of scope are work that is done.
            session.download(&queries, 1).unwrap();
        }
        paged
    }

    fn batch(&self, session: &Session, seqs: &[BatchSeq<'_>]) -> Batch {
        let num_rows = seqs.iter().map(|seq| seq.num_rows).sum();
        let positions: Vec<u32> = seqs
            .iter()
            .flat_map(|seq| seq.context_len as u32 - seq.num_rows as u32..seq.context_len as u32)
            .collect();
        let wanted: Vec<u32> = (0..num_rows as u32).collect();
        let spec = BatchSpec {
            token_ids: &vec![0; num_rows],
            positions: &positions,
            seqs,
            wanted: &wanted,
            block_size: self.shape.block_size,
            num_blocks: self.shape.num_blocks,
            num_heads: self.num_heads,
            num_kv_heads: self.shape.num_kv_heads,
            vocab_size: 1,
            num_positions: 1000,
        };
        Batch::new(session, &spec).unwrap()
    }

    /// Of one row that attends to `[0, end)` of a sequence.
    fn expected(&self, seq: usize, end: usize, query: &[f32]) -> Vec<f64> {
        let (head_dim, group) = (self.shape.head_dim, self.num_heads / self.shape.num_kv_heads);
        let mut out = Vec::new();
        for (head, query) in query.chunks(head_dim).enumerate() {
            let kv = head / group * head_dim..(head / group + 1) * head_dim;
            let context = &self.contents[seq][..end];
            let scores: Vec<f64> = context
                .iter()
                .map(|(key, _)| product(query, &key[kv.clone()], head_dim)[0])
                .map(|score| score / (head_dim as f64).sqrt())
                .collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - max).exp()).collect();
            let total: f64 = weights.iter().sum();
            for i in kv {
                let weighted = weights.iter().zip(context).map(|(w, (_, v))| w * f64::from(v[i]));
                out.push(weighted.sum::<f64>() / total);
            }
        }
        out
    }
}

/// KV dtype, head size, heads of queries and of keys, and of each sequence context and rows.
type Case<'a> = (Float, usize, usize, usize, &'a [(usize, usize)]);

/// Contexts around the tiles' edges, odd ones, blocks in any order, rows of a prompt and of decode
/// steps together, groups of one head, of several and of more than a tile.
#[test]
fn attention_over_any_blocks_lengths_and_groups() {
    let Some(session) = session() else { return };
    let mut random = Random(7);
    let cases: [Case<'_>; 7] = [
        (Float::F16, 64, 2, 2, &[(1, 1), (64, 1), (65, 1)]),
        (Float::F16, 128, 7, 1, &[(200, 1), (3, 1), (129, 1)]),
        (Float::F16, 64, 4, 2, &[(100, 100)]),
        (Float::F16, 64, 40, 2, &[(70, 1), (33, 33)]),
        (Float::Bf16, 64, 6, 2, &[(17, 3), (150, 64), (1, 1)]),
        (Float::Bf16, 128, 5, 5, &[(66, 66), (131, 2)]),
        (Float::Bf16, 128, 12, 2, &[(90, 40)]),
    ];
    for (dtype, head_dim, num_heads, num_kv_heads, seqs) in cases {
        let shape = KvShape { num_blocks: 40, num_kv_heads, block_size: 16, head_dim };
        let contexts: Vec<usize> = seqs.iter().map(|(context, _)| *context).collect();
        let paged = Paged::new(&session, &contexts, shape, num_heads, dtype, &mut random);
        let batch_seqs: Vec<BatchSeq<'_>> = seqs
            .iter()
            .zip(&paged.tables)
            .map(|(&(context_len, num_rows), block_table)| BatchSeq {
                num_rows,
                context_len,
                block_table,
            })
            .collect();
        let batch = paged.batch(&session, &batch_seqs);
        let num_rows: usize = seqs.iter().map(|(_, rows)| rows).sum();
        let width = num_heads * head_dim;
        let mut queries = random.floats(batch.num_rows() * width);
        queries.truncate(batch.num_rows() * width);
        let rows = Rows::upload(&session, &queries, width).unwrap();
        let found = session.attention(&rows, &batch, &paged.kv, Float::F32).unwrap();
        let found = session.download(&found, batch.num_rows()).unwrap();
        let mut expected = Vec::new();
        for (seq, &(context, rows)) in seqs.iter().enumerate() {
            for row in 0..rows {
                let first = expected.len();
                let query = &queries[first..first + width];
                expected.extend(paged.expected(seq, context - (rows - 1 - row), query));
            }
        }
        let what = format!("{dtype:?} {head_dim} {num_heads}/{num_kv_heads} {seqs:?}");
        // Queries and weights are rounded to the cache's type.
        let tolerance = if dtype == Float::F16 { 2e-3 } else { 2e-2 };
        assert_close(&found[..num_rows * width], &expected, tolerance, &what);
        // What fills a decode step up comes out as zeros.
        assert!(found[num_rows * width..].iter().all(|x| *x == 0.0), "{what}");
    }
}

/// Another sequence's NaN lies in the same block of the pool, behind the context.
#[test]
fn nan_in_a_sequence_stays_in_it() {
    let Some(session) = session() else { return };
    let shape = KvShape { num_blocks: 8, num_kv_heads: 1, block_size: 16, head_dim: 64 };
    let mut random = Random(8);
    let paged = Paged::new(&session, &[20, 21], shape, 2, Float::F16, &mut random);
    let write = |seq: usize, at: usize, value: f32| {
        let block_table = &paged.tables[seq];
        let batch_seq = BatchSeq { num_rows: 1, context_len: at + 1, block_table };
        let batch = paged.batch(&session, &[batch_seq]);
        let row = |width: usize| Rows::upload(&session, &vec![value; width], width).unwrap();
        let rotations = Rotations::new(&session, &[NO_TURN; 1000 * 32], 32, true).unwrap();
        let (queries, keys, values) = (row(128), row(64), row(64));
        session.rope_write([&queries, &keys, &values], &rotations, &batch, &paged.kv).unwrap();
        session.download(&queries, 1).unwrap();
    };
    // Behind the first sequence's 20 positions, in its own last block.
    write(0, 20, f32::NAN);
    write(1, 7, f32::NAN);
    let seqs = [
        BatchSeq { num_rows: 1, context_len: 20, block_table: &paged.tables[0] },
        BatchSeq { num_rows: 1, context_len: 21, block_table: &paged.tables[1] },
    ];
    let batch = paged.batch(&session, &seqs);
    let queries = random.floats(2 * 128);
    let rows = Rows::upload(&session, &queries, 128).unwrap();
    let found = session.attention(&rows, &batch, &paged.kv, Float::F32).unwrap();
    let found = session.download(&found, 2).unwrap();
    assert_close(&found[..128], &paged.expected(0, 20, &queries[..128]), 2e-3, "the whole one");
    assert!(found[128..].iter().all(|x| x.is_nan()), "the broken one");
}

#[test]
fn rope_turns_neighbours_or_halves() {
    let Some(session) = session() else { return };
    let shape = KvShape { num_blocks: 4, num_kv_heads: 1, block_size: 16, head_dim: 64 };
    let mut random = Random(9);
    for adjacent in [false, true] {
        let table = [2, 0];
        let paged = Paged {
            kv: KvLayer::new(&session, shape, Float::F16).unwrap(),
            shape,
            num_heads: 2,
            contents: Vec::new(),
            tables: Vec::new(),
        };
        let seq = BatchSeq { num_rows: 3, context_len: 18, block_table: &table };
        let batch = paged.batch(&session, &[seq]);
        let turns: Vec<[f32; 2]> = (0..1000 * 32)
            .map(|i| ((i / 32) as f32 * 0.01 * (i % 32) as f32).sin_cos())
            .map(|(sin, cos)| [cos, sin])
            .collect();
        let rotations = Rotations::new(&session, &turns, 32, adjacent).unwrap();
        let queries = random.floats(3 * 128);
        let rows = Rows::upload(&session, &queries, 128).unwrap();
        let kv = Rows::upload(&session, &random.floats(3 * 64), 64).unwrap();
        session.rope_write([&rows, &kv, &kv], &rotations, &batch, &paged.kv).unwrap();
        let mut expected: Vec<f64> = queries.iter().map(|x| f64::from(*x)).collect();
        for (index, head) in expected.chunks_mut(64).enumerate() {
            for pair in 0..32 {
                let [cos, sin] = turns[(15 + index / 2) * 32 + pair].map(f64::from);
                let (a, b) = if adjacent { (2 * pair, 2 * pair + 1) } else { (pair, pair + 32) };
                let (x, y) = (head[a], head[b]);
                (head[a], head[b]) = (x * cos - y * sin, x * sin + y * cos);
            }
        }
        let found = session.download(&rows, 3).unwrap();
        assert_close(&found, &expected, 1e-5, &format!("adjacent: {adjacent}"));
    }
}

#[test]
fn what_does_not_fit_is_refused_before_a_kernel_runs() {
    let Some(session) = session() else { return };
    let matrix = |k: usize, bytes: usize| {
        Matrix::new(&session, WeightFormat::Q4K, 2, k, &vec![0; bytes]).map(|_| ())
    };
    assert!(matrix(256, 288).is_ok());
    assert!(matches!(matrix(128, 144), Err(CudaError::Shape { .. })));
    assert!(matches!(matrix(256, 287), Err(CudaError::Shape { .. })));
    let shape = KvShape { num_blocks: 2, num_kv_heads: 1, block_size: 16, head_dim: 64 };
    let spec = |token: u32, position: u32, blocks: &[u32]| {
        let seqs = [BatchSeq { num_rows: 1, context_len: 17, block_table: blocks }];
        let spec = BatchSpec {
            token_ids: &[token],
            positions: &[position],
            seqs: &seqs,
            wanted: &[0],
            block_size: 16,
            num_blocks: shape.num_blocks,
            num_heads: 1,
            num_kv_heads: 1,
            vocab_size: 10,
            num_positions: 20,
        };
        Batch::new(&session, &spec).map(|_| ())
    };
    assert!(spec(9, 19, &[0, 1]).is_ok());
    for (token, position, blocks) in
        [(10, 19, vec![0, 1]), (9, 20, vec![0, 1]), (9, 19, vec![0, 2]), (9, 19, vec![0])]
    {
        let result = spec(token, position, &blocks);
        assert!(matches!(result, Err(CudaError::Shape { .. })), "{token} {position} {blocks:?}");
    }
    let wide = KvShape { head_dim: 96, ..shape };
    assert!(matches!(KvLayer::new(&session, wide, Float::F16), Err(CudaError::Shape { .. })));
}

/// A long context's table makes the metadata move, and a graph that read it where it was is not
/// replayed.
#[test]
fn a_captured_step_is_right_after_the_metadata_has_moved() {
    let Some(session) = session() else { return };
    let mut random = Random(13);
    let shape = KvShape { num_blocks: 8, num_kv_heads: 1, block_size: 16, head_dim: 64 };
    let paged = Paged::new(&session, &[20, 37], shape, 2, Float::F16, &mut random);
    let queries = random.floats(2 * 128);
    let seqs = [0, 1].map(|of: usize| BatchSeq {
        num_rows: 1,
        context_len: paged.contents[of].len(),
        block_table: &paged.tables[of],
    });
    // Queries stay where they are while graphs are replayed.
    let queries = Rows::upload(&session, &queries, 128).unwrap();
    let step = || {
        let batch = paged.batch(&session, &seqs);
        let work = || session.attention(&queries, &batch, &paged.kv, Float::F32);
        // SAFETY: every call does this, over this cache, which lives to the end.
        let logits = unsafe { session.compute(&batch, paged.kv.id(), work) }.unwrap();
        logits.rows(0..2).unwrap()
    };
    let expected = step();
    assert_eq!([step(), step()], [expected.clone(), expected.clone()]);
    assert_eq!(session.num_graphs(), 1);
    let table = vec![0; 1 << 15];
    let context_len = 16 * table.len();
    let long = BatchSeq { num_rows: 1, context_len, block_table: &table };
    let spec = BatchSpec {
        token_ids: &[0],
        positions: &[0],
        seqs: &[long],
        wanted: &[0],
        block_size: 16,
        num_blocks: 8,
        num_heads: 2,
        num_kv_heads: 1,
        vocab_size: 1,
        num_positions: 1,
    };
    Batch::new(&session, &spec).unwrap();
    for _ in 0..3 {
        assert_eq!(step(), expected);
    }
    assert_eq!(session.num_graphs(), 1, "the graph that read the old place is gone");
}
