//! Operations on rows: norm, rope, activation, sums.
//!
//! The bodies are plain loops, `inline(always)`, which each instruction set compiles for itself.
//! They never contract `a * b + c`, so element-wise results are the same bits everywhere.

/// Arguments of the root mean square norm, `x / sqrt(mean(x^2) + eps) * weight`.
#[derive(Debug, Clone, Copy)]
pub struct RmsNormArgs<'a> {
    /// `[num_rows, weight.len()]`.
    pub rows: &'a [f32],
    pub weight: &'a [f32],
    pub eps: f32,
}

impl RmsNormArgs<'_> {
    pub(crate) fn check(&self, out_len: usize) {
        assert!(!self.weight.is_empty() && self.rows.len().is_multiple_of(self.weight.len()));
        assert_eq!(self.rows.len(), out_len);
    }
}

/// Which elements of a head are rotated together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopeLayout {
    /// `2 i` with `2 i + 1`.
    Adjacent,
    /// `i` with `i + head_dim / 2`.
    Halves,
}

/// Arguments of rope: pair `i` of a head is rotated by the angle `i` of the head's row.
#[derive(Debug, Clone, Copy)]
pub struct RopeArgs<'a> {
    /// `[num_rows, head_dim / 2]`.
    pub cos: &'a [f32],
    /// `[num_rows, head_dim / 2]`.
    pub sin: &'a [f32],
    pub num_heads: usize,
    pub head_dim: usize,
    pub layout: RopeLayout,
}

impl RopeArgs<'_> {
    pub(crate) fn check(&self, rows_len: usize) {
        assert!(self.head_dim > 0 && self.head_dim.is_multiple_of(2));
        assert!(self.cos.len() == self.sin.len());
        assert!(self.cos.len().is_multiple_of(self.head_dim / 2));
        let num_rows = self.cos.len() / (self.head_dim / 2);
        assert_eq!(rows_len, num_rows * self.num_heads * self.head_dim);
    }
}

/// Adds `bias` to each row of its length.
///
/// Panics if `rows` is not a whole number of rows.
pub fn add_bias(rows: &mut [f32], bias: &[f32]) {
    assert!(!bias.is_empty() && rows.len().is_multiple_of(bias.len()));
    for row in rows.chunks_exact_mut(bias.len()) {
        for (value, bias) in row.iter_mut().zip(bias) {
            *value += bias;
        }
    }
}

/// Adds `other` to `rows`, element by element.
///
/// Panics if the lengths differ.
pub fn add_rows(rows: &mut [f32], other: &[f32]) {
    assert_eq!(rows.len(), other.len());
    for (value, other) in rows.iter_mut().zip(other) {
        *value += other;
    }
}

/// Lanes in which sums are kept, whatever the instruction set.
pub(crate) const LANES: usize = 8;

#[inline(always)]
pub(crate) fn sum_lanes(lanes: [f32; LANES]) -> f32 {
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

#[inline(always)]
pub(crate) fn rms_norm(args: &RmsNormArgs<'_>, out: &mut [f32]) {
    let len = args.weight.len();
    for (row, out) in args.rows.chunks_exact(len).zip(out.chunks_exact_mut(len)) {
        let mut lanes = [0f32; LANES];
        let chunks = row.chunks_exact(LANES);
        for (lane, x) in lanes.iter_mut().zip(chunks.remainder()) {
            *lane += x * x;
        }
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane += x * x;
            }
        }
        let scale = 1.0 / (sum_lanes(lanes) / len as f32 + args.eps).sqrt();
        for ((out, x), weight) in out.iter_mut().zip(row).zip(args.weight) {
            *out = x * scale * weight;
        }
    }
}

#[inline(always)]
pub(crate) fn rope(args: &RopeArgs<'_>, rows: &mut [f32]) {
    let half = args.head_dim / 2;
    let angles = args.cos.chunks_exact(half).zip(args.sin.chunks_exact(half));
    for (row, (cos, sin)) in rows.chunks_exact_mut(args.num_heads * args.head_dim).zip(angles) {
        for head in row.chunks_exact_mut(args.head_dim) {
            match args.layout {
                RopeLayout::Halves => {
                    let (first, second) = head.split_at_mut(half);
                    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
                    }
                }
                RopeLayout::Adjacent => {
                    for ((pair, cos), sin) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                        let (a, b) = (pair[0], pair[1]);
                        pair[0] = a * cos - b * sin;
                        pair[1] = b * cos + a * sin;
                    }
                }
            }
        }
    }
}

#[inline(always)]
pub(crate) fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
    for ((out, &gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp(-gate)) * up;
    }
}

/// `e^x` within 2 units in the last place, in operations that vectorize: where it branched, loops
/// around it would be compiled one element at a time. 0 below -87.3, infinite above 88.73, NaN for
/// NaN, and exactly 1 for 0.
///
/// Range reduction to `x = n ln 2 + r` with `|r| <= ln 2 / 2` and a polynomial in `r`, as in
/// Cephes' `expf` (S. Moshier, <https://netlib.org/cephes/>).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it leaves the integer in the low bits.
    // Above, the factors below would wrap around; `e^89` is infinite already.
    let capped = if x > 89.0 { 89.0 } else { x };
    let shifted = capped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, so that n * LN_2_HIGH is exact.
    let r = (capped - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5] {
        p = p * r + c;
    }
    let y = p * (r * r) + r + 1.0;
    // 2^n in two factors, because n may be 128 where the result is still finite.
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let low = exponent >> 1;
    let power = |e: i32| f32::from_bits((e.wrapping_add(127) as u32) << 23);
    let result = y * power(low) * power(exponent.wrapping_sub(low));
    let mask = if x < -87.3 { 0 } else { u32::MAX };
    f32::from_bits(result.to_bits() & mask)
}
