//! Products of quantized weights with activations as integers, and whoever makes those.

use cuda::{BatchSeq, Float, KvShape, Matrix, Rows, Vector, WeightFormat};
use half::f16;

use super::{Paged, Random, product, session};

/// Weights of Q8_0, in its bytes, and their elements.
fn eights(random: &mut Random, n: usize, k: usize) -> (Vec<u8>, Vec<f32>) {
    let (mut bytes, mut values) = (Vec::new(), Vec::new());
    for _ in 0..n * k / 32 {
        let scale = f16::from_f32(random.float() * 0.01);
        bytes.extend(scale.to_le_bytes());
        for _ in 0..32 {
            let quant = random.below(255) as i32 - 127;
            bytes.push(quant as i8 as u8);
            values.push(scale.to_f32() * quant as f32);
        }
    }
    (bytes, values)
}

/// Magnitudes of blocks differ by far, as activations' do; one block is of zeros.
#[test]
fn products_of_integers_are_near_those_of_floats_and_have_the_same_bits_beside_others() {
    let Some(session) = session() else { return };
    let mut random = Random(11);
    // Runs that are not whole, and fewer or more than the four that a warp reads at a time.
    for (n, k) in [(5, 32), (9, 256), (6, 1312), (3, 2048)] {
        let (bytes, values) = eights(&mut random, n, k);
        let matrix = Matrix::new(&session, WeightFormat::Q8_0, n, k, &bytes).unwrap();
        let mut x = random.floats(8 * k);
        for (block, x) in x.chunks_mut(32).enumerate() {
            let scale = [1.0, 1e-6, 300.0, 0.0][block % 4];
            x.iter_mut().for_each(|x| *x *= scale);
        }
        let run = |rows: &[f32]| {
            let rows = Rows::upload(&session, rows, k).unwrap();
            let [out] = session.linear([(&matrix, None)], &rows).unwrap();
            session.download(&out, rows.num_rows()).unwrap()
        };
        let together = run(&x);
        for (row, (x, found)) in x.chunks(k).zip(together.chunks(n)).enumerate() {
            assert_eq!(run(x), found, "row {row} alone");
            let length = x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            for (found, expected) in found.iter().zip(product(x, &values, k)) {
                // A weight is at most 1.27, and an activation off by less than 2^-16 of the length.
                let difference = (f64::from(*found) - expected).abs();
                assert!(difference <= 1e-4 * length.max(1e-3), "[{n}, {k}]: {found} {expected}");
            }
        }
        for broken in [f32::NAN, f32::INFINITY] {
            let mut x = x.clone();
            x[k + 3] = broken;
            let found = run(&x[..3 * k]);
            assert!(found[n..2 * n].iter().all(|x| x.is_nan()), "{broken}");
            assert!(found[..n].iter().chain(&found[2 * n..]).all(|x| x.is_finite()), "{broken}");
        }
    }
}

/// What a norm and attention leave beside their floats is what would be made of those.
#[test]
fn integers_made_on_the_way_are_those_made_of_the_floats() {
    let Some(session) = session() else { return };
    let mut random = Random(12);
    let (n, k) = (4, 2 * 64);
    let (bytes, _) = eights(&mut random, n, k);
    let matrix = Matrix::new(&session, WeightFormat::Q8_0, n, k, &bytes).unwrap();
    let assert_alike = |rows: &Rows, what: &str| {
        let multiplied = |rows: &Rows| {
            let [out] = session.linear([(&matrix, None)], rows).unwrap();
            session.download(&out, rows.num_rows()).unwrap()
        };
        let floats = session.download(rows, rows.num_rows()).unwrap();
        assert!(floats.iter().any(|x| *x != 0.0), "{what}");
        let again = Rows::upload(&session, &floats, k).unwrap();
        assert_eq!(multiplied(rows), multiplied(&again), "{what}");
    };
    let x = Rows::upload(&session, &random.floats(3 * k), k).unwrap();
    let weight = Vector::new(&session, &random.floats(k)).unwrap();
    assert_alike(&session.rms_norm(&x, None, &weight, 1e-5, Float::F32).unwrap(), "a norm");

    let shape = KvShape { num_blocks: 8, num_kv_heads: 1, block_size: 16, head_dim: 64 };
    let paged = Paged::new(&session, &[20, 21], shape, 2, Float::F16, &mut random);
    let seq = |num_rows: usize, of: usize, context_len: usize| BatchSeq {
        num_rows,
        context_len,
        block_table: &paged.tables[of],
    };
    // The second batch has a prompt among its sequences, whose kernel makes floats only.
    for seqs in [[seq(1, 0, 20), seq(1, 1, 21)], [seq(20, 0, 20), seq(1, 1, 21)]] {
        let batch = paged.batch(&session, &seqs);
        let num_rows = batch.num_rows();
        let queries = Rows::upload(&session, &random.floats(num_rows * k), k).unwrap();
        let rows = session.attention(&queries, &batch, &paged.kv, Float::F32).unwrap();
        assert_alike(&rows, &format!("attention of {num_rows} rows"));
    }
}
