//! Dot products of weight rows and activation rows, in tiles that keep twelve sums in registers.
//!
//! Each sum is eight lanes over `k` in order and then over the lanes, whatever the tile, so a
//! row's bits do not depend on how many rows there are.

use std::arch::x86_64::*;

use super::{Load, sum_lanes};
use crate::columns::Columns;
use crate::floats::Floats;
use crate::linear::LinearArgs;
use crate::row::LANES;

/// Activation rows of a tile.
const ROWS: usize = 3;
/// Weight rows of a tile.
const WEIGHTS: usize = 4;

#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn linear(args: &LinearArgs<'_>, out: &mut Columns<'_>) {
    match args.weights {
        Floats::F32(weights) => linear_of(args, weights, out),
        Floats::F16(weights) => linear_of(args, weights, out),
        Floats::Bf16(weights) => linear_of(args, weights, out),
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn linear_of<E: Load>(args: &LinearArgs<'_>, weights: &[E], out: &mut Columns<'_>) {
    let &LinearArgs { rows, k, .. } = args;
    let (num_weights, num_rows) = (out.width(), out.num_rows());
    // Rows outside: a tile of rows stays in the first-level cache while the weights of this call,
    // which the caller keeps few, stay in the second.
    for row in (0..num_rows).step_by(ROWS) {
        let rows = &rows[row * k..];
        for weight in (0..num_weights).step_by(WEIGHTS) {
            let last = num_weights - weight;
            let weights = &weights[weight * k..];
            let sums = match num_rows - row {
                1 => tile::<E, 1>(weights, last.min(WEIGHTS), rows, k),
                2 => tile::<E, 2>(weights, last.min(WEIGHTS), rows, k),
                _ => tile::<E, ROWS>(weights, last.min(WEIGHTS), rows, k),
            };
            for (w, sums) in sums.iter().enumerate().take(last) {
                for (r, sum) in sums.iter().enumerate().take(num_rows - row) {
                    out.row(row + r)[weight + w] = *sum;
                }
            }
        }
    }
}

/// Dot products of `R` rows with `num_weights` weight rows, 1 to [`WEIGHTS`]. Missing weight rows
/// are computed as copies of the first.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn tile<E: Load, const R: usize>(
    weights: &[E],
    num_weights: usize,
    rows: &[f32],
    k: usize,
) -> [[f32; ROWS]; WEIGHTS] {
    assert!(weights.len() >= num_weights * k && rows.len() >= R * k);
    let mut starts = [0; WEIGHTS];
    for (w, start) in starts.iter_mut().enumerate().take(num_weights) {
        *start = w * k;
    }
    let whole = k - k % LANES;
    let mut sums = [[_mm256_setzero_ps(); R]; WEIGHTS];
    for i in (0..whole).step_by(LANES) {
        let mut x = [_mm256_setzero_ps(); R];
        for (r, x) in x.iter_mut().enumerate() {
            // SAFETY: asserted above: `R` rows of `k`, and `i + 8 <= k`.
            *x = unsafe { _mm256_loadu_ps(rows.as_ptr().add(r * k + i)) };
        }
        for (sums, start) in sums.iter_mut().zip(starts) {
            // SAFETY: asserted above: each start is that of a whole row of `k`.
            let weight = unsafe { E::load8(weights.as_ptr().add(start + i)) };
            for (sum, x) in sums.iter_mut().zip(x) {
                *sum = _mm256_fmadd_ps(weight, x, *sum);
            }
        }
    }
    let mut out = [[0f32; ROWS]; WEIGHTS];
    let zero = _mm256_setzero_ps();
    for r in 0..R {
        let [a, b, c, d] = sums.map(|sums| sums[r]);
        let dots = sum_lanes([a, b, c, d, zero, zero, zero, zero]);
        for (w, start) in starts.into_iter().enumerate() {
            let tail = weights[start + whole..start + k].iter().zip(&rows[r * k + whole..]);
            out[w][r] = tail.fold(dots[w], |sum, (w, x)| w.to_f32().mul_add(*x, sum));
        }
    }
    out
}
