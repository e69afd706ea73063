//! Attention of many rows over one partition: the queries of sixteen heads, of one row or of
//! several, in the lanes of vectors, so that a key is read once for all of them and no sum runs
//! across lanes. Then values weighted for four heads at a time.
//!
//! The operations of each head are those of [`super::attention`] in their order: where a sum has
//! eight lanes there, it has eight vectors here.

use std::arch::x86_64::*;
use std::ops::Range;

use crate::HEAD_DIM_MAX;
use crate::attention::{AttendRowsArgs, PARTITION, partial_len};
use crate::row::{self, LANES};

/// Heads whose queries share vectors, and elements of a vector.
const WIDE: usize = 16;
/// Keys that are multiplied together: with half of the eight sums of each, 24 sums in registers.
const KEYS: usize = 6;
/// Heads whose values are summed together.
const HEADS: usize = 4;
/// Positions whose values stay in the first-level cache meanwhile.
const POSITIONS: usize = 32;

/// Scores of sixteen heads at each position, then their weights.
type Scores = [__m512; PARTITION];

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub(crate) fn attend_rows(args: &AttendRowsArgs<'_>, partials: &mut [f32]) {
    let mut queries = [_mm512_setzero_ps(); HEAD_DIM_MAX];
    let mut scores = [_mm512_setzero_ps(); PARTITION];
    let num_queries = args.num_rows * args.num_heads;
    for first in (0..num_queries).step_by(WIDE) {
        let ids = first..num_queries.min(first + WIDE);
        transpose_queries(args, ids.clone(), &mut queries);
        let ends = ends(args, ids.clone());
        let longest = ends[ids.len() - 1];
        for key in (0..longest).step_by(KEYS) {
            // Those behind the longest row's last one are computed and not used.
            let key = key.min(PARTITION - KEYS);
            match args.head_dim {
                64 => score_keys::<64>(args, &queries, key, &mut scores),
                128 => score_keys::<128>(args, &queries, key, &mut scores),
                _ => score_keys::<0>(args, &queries, key, &mut scores),
            }
        }
        hide(&ends, longest, &mut scores);
        let (maxima, sums) = exponentiate(&mut scores[..longest]);
        note(args, ids.clone(), maxima, sums, partials);
        weigh_values(args, ids, longest, &scores, partials);
    }
}

/// Ends of the rows to which the queries belong, in order; that of the last one once more where
/// lanes have none.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn ends(args: &AttendRowsArgs<'_>, ids: Range<usize>) -> [usize; WIDE] {
    let mut ends = [0; WIDE];
    for (lane, end) in ends.iter_mut().enumerate() {
        *end = args.end((ids.start + lane).min(ids.end - 1) / args.num_heads);
    }
    ends
}

/// One vector for each element of a head. Lanes without a query repeat the last one.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn transpose_queries(
    args: &AttendRowsArgs<'_>,
    ids: Range<usize>,
    out: &mut [__m512; HEAD_DIM_MAX],
) {
    for (chunk_id, out) in out.as_chunks_mut::<WIDE>().0.iter_mut().enumerate() {
        let start = chunk_id * WIDE;
        if start >= args.head_dim {
            return;
        }
        let mask = mask_of(args.head_dim - start);
        for (lane, out) in out.iter_mut().enumerate() {
            let id = (ids.start + lane).min(ids.end - 1);
            let (row, head) = (id / args.num_heads, id % args.num_heads);
            let query = &args.queries[row * args.row_len + head * args.head_dim..];
            let query = &query[start..args.head_dim];
            // SAFETY: the mask leaves what the query still has.
            *out = unsafe { _mm512_maskz_loadu_ps(mask, query.as_ptr()) };
        }
        transpose(out);
    }
}

/// Lanes for `left` elements, at most all.
fn mask_of(left: usize) -> u16 {
    u16::MAX >> (WIDE - WIDE.min(left))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn transpose(rows: &mut [__m512; WIDE]) {
    let mut quarters = [_mm512_setzero_ps(); WIDE];
    for (rows, out) in rows.as_chunks::<4>().0.iter().zip(quarters.as_chunks_mut::<4>().0) {
        let [a, b, c, d] = *rows;
        // The first two elements of each quarter, then the last two.
        let ab = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
        let cd = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
        out[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
        out[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
        let ab = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
        let cd = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
        out[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
        out[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
    }
    for column in 0..4 {
        let [a, b, c, d] =
            [quarters[column], quarters[4 + column], quarters[8 + column], quarters[12 + column]];
        let (even, odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let (even_high, odd_high) =
            (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
        rows[column] = _mm512_shuffle_f32x4::<0x88>(even, even_high);
        rows[4 + column] = _mm512_shuffle_f32x4::<0x88>(odd, odd_high);
        rows[8 + column] = _mm512_shuffle_f32x4::<0xdd>(even, even_high);
        rows[12 + column] = _mm512_shuffle_f32x4::<0xdd>(odd, odd_high);
    }
}

/// Scores of [`KEYS`] keys from `first` on. `D` is the heads' length, or 0 for any: where it is
/// known, no key needs a register of its own.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn score_keys<const D: usize>(
    args: &AttendRowsArgs<'_>,
    queries: &[__m512; HEAD_DIM_MAX],
    first: usize,
    scores: &mut Scores,
) {
    let head_dim = if D == 0 { args.head_dim } else { D };
    assert!(head_dim <= queries.len() && head_dim.is_multiple_of(LANES));
    let keys = &args.keys[first * head_dim..(first + KEYS) * head_dim];
    let mut dots = [_mm512_setzero_ps(); KEYS];
    for half in 0..2 {
        let mut sums = [[_mm512_setzero_ps(); LANES / 2]; KEYS];
        for i in (half * LANES / 2..head_dim).step_by(LANES) {
            for lane in i..i + LANES / 2 {
                // SAFETY: `head_dim` is a multiple of eight, and asserted above.
                let q = unsafe { *queries.get_unchecked(lane) };
                for (key, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: an element of one of the keys.
                    let k = unsafe { *keys.get_unchecked(key * head_dim + lane) };
                    sums[lane - i] = _mm512_fmadd_ps(q, _mm512_set1_ps(k), sums[lane - i]);
                }
            }
        }
        for (dot, [a, b, c, d]) in dots.iter_mut().zip(sums) {
            let sum = _mm512_add_ps(_mm512_add_ps(a, b), _mm512_add_ps(c, d));
            *dot = if half == 0 { sum } else { _mm512_add_ps(*dot, sum) };
        }
    }
    for (score, dot) in scores[first..first + KEYS].iter_mut().zip(dots) {
        *score = _mm512_mul_ps(dot, _mm512_set1_ps(args.scale));
    }
}

/// Takes away the scores of positions that lanes do not attend to.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn hide(ends: &[usize; WIDE], longest: usize, scores: &mut Scores) {
    for (position, score) in scores[..longest].iter_mut().enumerate().skip(ends[0]) {
        let mut mask = 0;
        for (lane, &end) in ends.iter().enumerate() {
            mask |= u16::from(position < end) << lane;
        }
        *score = _mm512_mask_mov_ps(_mm512_set1_ps(f32::NEG_INFINITY), mask, *score);
    }
}

/// Replaces scores by `exp(score - max)`; returns the maxima and the sums.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn exponentiate(scores: &mut [__m512]) -> ([f32; WIDE], [f32; WIDE]) {
    let mut max = _mm512_set1_ps(f32::NEG_INFINITY);
    for &score in &*scores {
        // The second one where one is not a number.
        max = _mm512_max_ps(score, max);
    }
    let mut maxima = [0f32; WIDE];
    // SAFETY: `maxima` has room for sixteen floats.
    unsafe { _mm512_storeu_ps(maxima.as_mut_ptr(), max) };
    for score in &mut *scores {
        // SAFETY: a vector of sixteen floats is the floats.
        let lanes: &mut [f32; WIDE] = unsafe { &mut *std::ptr::from_mut(score).cast() };
        for (lane, max) in lanes.iter_mut().zip(maxima) {
            *lane = row::exp(*lane - max);
        }
    }
    let mut sums = [_mm512_setzero_ps(); LANES];
    for scores in scores.chunks(LANES) {
        for (sum, &score) in sums.iter_mut().zip(scores) {
            *sum = _mm512_add_ps(*sum, score);
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    let even = _mm512_add_ps(_mm512_add_ps(a, e), _mm512_add_ps(c, g));
    let odd = _mm512_add_ps(_mm512_add_ps(b, f), _mm512_add_ps(d, h));
    let mut sums = [0f32; WIDE];
    // SAFETY: `sums` has room for sixteen floats.
    unsafe { _mm512_storeu_ps(sums.as_mut_ptr(), _mm512_add_ps(even, odd)) };
    (maxima, sums)
}

/// Writes maxima and sums to where the rows have theirs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn note(
    args: &AttendRowsArgs<'_>,
    ids: Range<usize>,
    maxima: [f32; WIDE],
    sums: [f32; WIDE],
    partials: &mut [f32],
) {
    let len = partial_len(args.num_heads, args.head_dim);
    for ((id, max), sum) in ids.zip(maxima).zip(sums) {
        let (row, head) = (id / args.num_heads, id % args.num_heads);
        let at = row * len + args.num_heads * args.head_dim + head;
        (partials[at], partials[at + args.num_heads]) = (max, sum);
    }
}

/// Adds up the values, weighted for each head. Some positions at a time and some columns of them,
/// so that what all heads read lies in the first-level cache.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
fn weigh_values(
    args: &AttendRowsArgs<'_>,
    ids: Range<usize>,
    longest: usize,
    scores: &Scores,
    partials: &mut [f32],
) {
    let mut column = 0;
    while column < args.head_dim {
        let num_vectors = match (args.head_dim - column).div_ceil(WIDE) {
            1 => 1,
            2 | 3 => 2,
            _ => 4,
        };
        for start in (0..longest).step_by(POSITIONS) {
            let positions = start..longest.min(start + POSITIONS);
            for id in ids.clone().step_by(HEADS) {
                let heads = Heads { ids: id..ids.end.min(id + HEADS), lane: id - ids.start };
                match num_vectors {
                    1 => heads.weigh::<1>(args, positions.clone(), column, scores, partials),
                    2 => heads.weigh::<2>(args, positions.clone(), column, scores, partials),
                    _ => heads.weigh::<4>(args, positions.clone(), column, scores, partials),
                }
            }
        }
        column += num_vectors * WIDE;
    }
}

/// 1 to [`HEADS`] heads, whose weights are in the lanes from `lane` on.
struct Heads {
    ids: Range<usize>,
    lane: usize,
}

impl Heads {
    /// Adds the values at some positions to the sums of `16 * V` columns from `column` on, or as
    /// many as there are. At the first positions the sums are zeros.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    fn weigh<const V: usize>(
        &self,
        args: &AttendRowsArgs<'_>,
        positions: Range<usize>,
        column: usize,
        scores: &Scores,
        partials: &mut [f32],
    ) {
        let (head_dim, num_heads) = (args.head_dim, args.num_heads);
        let width = (V * WIDE).min(head_dim - column);
        assert!((V - 1) * WIDE < width && self.lane + HEADS <= WIDE && positions.end <= PARTITION);
        assert_eq!(args.values.len(), PARTITION * head_dim);
        let last = mask_of(width - (V - 1) * WIDE);
        let place = |id: usize| {
            let row = id / num_heads * partial_len(num_heads, head_dim);
            row + id % num_heads * head_dim + column
        };
        let mut sums = [[_mm512_setzero_ps(); V]; HEADS];
        if positions.start > 0 {
            for (sums, id) in sums.iter_mut().zip(self.ids.clone()) {
                let before = &partials[place(id)..][..width];
                // SAFETY: so many floats were just taken.
                *sums = unsafe { load::<V>(before.as_ptr(), last) };
            }
        }
        let values = args.values.as_ptr().wrapping_add(column);
        let weights = scores.as_ptr().cast::<f32>().wrapping_add(self.lane);
        let common = args.end(self.ids.start / num_heads).clamp(positions.start, positions.end);
        for position in positions.start..common {
            // SAFETY: a position of the partition, and `width` columns of a value.
            let value = unsafe { load::<V>(values.add(position * head_dim), last) };
            for (head, sums) in sums.iter_mut().enumerate() {
                // SAFETY: there are sixteen weights at each position.
                let weight = _mm512_set1_ps(unsafe { *weights.add(position * WIDE + head) });
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = _mm512_fmadd_ps(weight, value, *sum);
                }
            }
        }
        for (head, (id, sums)) in self.ids.clone().zip(&mut sums).enumerate() {
            // Later rows attend to a few positions more.
            for position in common..args.end(id / num_heads).min(positions.end) {
                // SAFETY: as above.
                let (value, weight) = unsafe {
                    let value = load::<V>(values.add(position * head_dim), last);
                    (value, _mm512_set1_ps(*weights.add(position * WIDE + head)))
                };
                for (sum, value) in sums.iter_mut().zip(value) {
                    *sum = _mm512_fmadd_ps(weight, value, *sum);
                }
            }
            let out = &mut partials[place(id)..][..width];
            for (sum, out) in sums.iter().zip(out.chunks_mut(WIDE)) {
                // SAFETY: the mask leaves as many lanes as `out` has room for.
                unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask_of(out.len()), *sum) };
            }
        }
    }
}

/// `V` vectors, of the last one the lanes of a mask.
///
/// # Safety
/// The CPU has AVX-512; so many elements are readable there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn load<const V: usize>(source: *const f32, last: u16) -> [__m512; V] {
    let mut vectors = [_mm512_setzero_ps(); V];
    for (v, vector) in vectors.iter_mut().enumerate() {
        let mask = if v + 1 == V { last } else { u16::MAX };
        // SAFETY: the caller's promise.
        *vector = unsafe { _mm512_maskz_loadu_ps(mask, source.add(v * WIDE)) };
    }
    vectors
}
