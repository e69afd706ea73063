//! Dot products of weight rows and activation rows: those of two weight rows in one vector, each
//! in eight lanes as for AVX2.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::{LoadPair, split, twice};
use crate::avx2::{Load, sum_lanes};
use crate::columns::Columns;
use crate::floats::Floats;
use crate::linear::LinearArgs;
use crate::row::LANES;

/// Activation rows of a tile: with [`PAIRS`], 24 sums in registers.
const ROWS: usize = 6;
/// Pairs of weight rows of a tile.
const PAIRS: usize = 4;
const WEIGHTS: usize = 2 * PAIRS;

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn linear(args: &LinearArgs<'_>, out: &mut Columns<'_>) {
    match args.weights {
        Floats::F32(weights) => linear_of::<f32>(args, weights, out),
        Floats::F16(weights) => linear_of::<f16>(args, weights, out),
        Floats::Bf16(weights) => linear_of::<bf16>(args, weights, out),
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn linear_of<E: LoadPair>(args: &LinearArgs<'_>, weights: &[E], out: &mut Columns<'_>) {
    let &LinearArgs { rows, k, .. } = args;
    let (num_weights, num_rows) = (out.width(), out.num_rows());
    let mut row = 0;
    while row < num_rows {
        let rows = &rows[row * k..];
        let mut count = 0;
        for weight in (0..num_weights).step_by(WEIGHTS) {
            let num_weights = WEIGHTS.min(num_weights - weight);
            let tile = Tile { weights: &weights[weight * k..], num_weights, rows, k };
            let mut sums = [[0f32; WEIGHTS]; ROWS];
            count = match num_rows - row {
                1 => tile.products::<1>(&mut sums),
                2 | 3 => tile.products::<2>(&mut sums),
                4 | 5 => tile.products::<4>(&mut sums),
                _ => tile.products::<ROWS>(&mut sums),
            };
            for (r, sums) in sums[..count].iter().enumerate() {
                let out = &mut out.row(row + r)[weight..weight + num_weights];
                out.copy_from_slice(&sums[..num_weights]);
            }
        }
        row += count.max(1);
    }
}

struct Tile<'a, E> {
    weights: &'a [E],
    /// 1 to [`WEIGHTS`]. Missing weight rows are computed as copies of the first.
    num_weights: usize,
    rows: &'a [f32],
    k: usize,
}

impl<E: LoadPair> Tile<'_, E> {
    /// Dot products of the first `R` rows, which is returned.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn products<const R: usize>(&self, out: &mut [[f32; WEIGHTS]; ROWS]) -> usize {
        let &Self { weights, num_weights, rows, k } = self;
        assert!(weights.len() >= num_weights * k && rows.len() >= R * k);
        let mut starts = [0; WEIGHTS];
        for (w, start) in starts.iter_mut().enumerate().take(num_weights) {
            *start = w * k;
        }
        let whole = k - k % LANES;
        let mut sums = [[_mm512_setzero_ps(); PAIRS]; R];
        for i in (0..whole).step_by(LANES) {
            let mut pairs = [_mm512_setzero_ps(); PAIRS];
            for (pair, [low, high]) in pairs.iter_mut().zip(starts.as_chunks().0) {
                let first = weights.as_ptr();
                // SAFETY: asserted above: each start is that of a whole row of `k`.
                *pair = unsafe { E::load_pair(first.add(low + i), first.add(high + i)) };
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: asserted above: `R` rows of `k`, and `i + 8 <= k`.
                let x = unsafe { twice(rows.as_ptr().add(r * k + i)) };
                for (sum, pair) in sums.iter_mut().zip(pairs) {
                    *sum = _mm512_fmadd_ps(pair, x, *sum);
                }
            }
        }
        for ((r, sums), out) in sums.into_iter().enumerate().zip(out) {
            let [a, b, c, d] = sums.map(|sum| split(sum));
            let dots = sum_lanes([a[0], a[1], b[0], b[1], c[0], c[1], d[0], d[1]]);
            for ((out, dot), start) in out.iter_mut().zip(dots).zip(starts) {
                let tail = weights[start + whole..start + k].iter().zip(&rows[r * k + whole..]);
                *out = tail.fold(dot, |sum, (w, x)| Load::to_f32(*w).mul_add(*x, sum));
            }
        }
        R
    }
}
