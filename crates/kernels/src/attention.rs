//! Paged attention: its arguments, the split of the context, and merging the parts.
//!
//! The context is split into partitions of [`PARTITION`] positions. For each, a kernel computes
//! `softmax` unnormalized: the maximum score `m`, the sum `l` of `exp(score - m)`, and the values
//! weighted by the same. [`merge_partials`] folds the parts in the order of their positions. The
//! split is a function of the position only, and each part is computed in position order, so a
//! row's bits do not depend on the threads, on the batch, or on how a prompt was chunked.

use std::ops::Range;

use crate::HEAD_DIM_MAX;
use crate::floats::Floats;
use crate::kv::{KvElements, KvShape, Stored};

/// Positions of a partition. Small enough that its keys stay in the second-level cache while the
/// rows of a prompt pass over them, and that a long context gives every core a share.
pub const PARTITION: usize = 256;

/// One row's query heads that share a KV head, and a part of the row's context.
#[derive(Debug, Clone, Copy)]
pub struct AttendArgs<'a> {
    pub shape: KvShape,
    pub keys: KvElements<'a>,
    pub values: KvElements<'a>,
    /// `block_table[p / block_size]` holds position `p`.
    pub block_table: &'a [u32],
    pub kv_head: usize,
    /// `[num_heads, head_dim]`.
    pub queries: &'a [f32],
    /// Query heads that share the KV head.
    pub num_heads: usize,
    /// First position of the part, a multiple of [`PARTITION`].
    pub start: usize,
    /// One past the last position of the part, which has 1 to [`PARTITION`] positions.
    pub end: usize,
    /// What scores are multiplied by: `1 / sqrt(head_dim)`.
    pub scale: f32,
}

impl AttendArgs<'_> {
    pub(crate) fn check(&self) {
        let shape = &self.shape;
        assert!(shape.head_dim.is_multiple_of(8) && shape.head_dim <= HEAD_DIM_MAX);
        assert!(shape.head_dim > 0 && shape.block_size > 0 && self.num_heads > 0);
        self.keys.check(shape);
        self.values.check(shape);
        assert_eq!(self.queries.len(), self.num_heads * shape.head_dim);
        assert!(self.kv_head < shape.num_kv_heads);
        assert!(self.start.is_multiple_of(PARTITION));
        assert!(self.start < self.end && self.end - self.start <= PARTITION);
        let blocks = self.start / shape.block_size..self.end.div_ceil(shape.block_size);
        for &block_id in &self.block_table[blocks] {
            assert!(
                (block_id as usize) < shape.num_blocks,
                "block {block_id} is outside the cache"
            );
        }
    }

    /// Runs of positions that lie in one block: the run relative to `start`, and the element at
    /// which its first position begins in keys and values.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (Range<usize>, usize)> + '_ {
        let block_size = self.shape.block_size;
        let mut position = self.start;
        std::iter::from_fn(move || {
            if position == self.end {
                return None;
            }
            let offset = position % block_size;
            let block_id = self.block_table[position / block_size];
            let next = self.end.min(position - offset + block_size);
            let run = position - self.start..next - self.start;
            position = next;
            Some((run, self.shape.element(block_id, self.kv_head, offset)))
        })
    }

    /// The first position of each run relative to `start`, what stores the run in `cache`, and what
    /// stores the run after it, nothing after the last.
    pub(crate) fn runs_and_next<'a, E: Stored>(
        &'a self,
        cache: &'a [E],
    ) -> impl Iterator<Item = (usize, &'a [E], &'a [E])> {
        let elements = |(run, first): &(Range<usize>, usize)| {
            &cache[first / E::LEN..][..run.len() * self.shape.head_dim / E::LEN]
        };
        let mut runs = self.runs().peekable();
        std::iter::from_fn(move || {
            let run = runs.next()?;
            let next = runs.peek().map_or(&cache[..0], elements);
            Some((run.0.start, elements(&run), next))
        })
    }
}

/// Some rows of one sequence that follow one another, and one partition of their context as floats.
#[derive(Debug, Clone, Copy)]
pub struct AttendRowsArgs<'a> {
    pub head_dim: usize,
    /// `[PARTITION, head_dim]`; positions that no row attends to may hold anything.
    pub keys: &'a [f32],
    pub values: &'a [f32],
    /// Row `r`'s query heads that share a KV head, `[num_heads, head_dim]`, begin at `r * row_len`.
    pub queries: &'a [f32],
    pub row_len: usize,
    pub num_rows: usize,
    pub num_heads: usize,
    /// Positions that the first row attends to, 1 to [`PARTITION`]. Each row attends to one more
    /// than the row before it, until it is all.
    pub first_end: usize,
    /// What scores are multiplied by: `1 / sqrt(head_dim)`.
    pub scale: f32,
}

impl<'a> AttendRowsArgs<'a> {
    pub(crate) fn check(&self) {
        assert!(self.head_dim.is_multiple_of(8) && self.head_dim <= HEAD_DIM_MAX);
        assert!(self.head_dim > 0 && self.num_heads > 0 && self.num_rows > 0);
        assert_eq!(self.keys.len(), PARTITION * self.head_dim);
        assert_eq!(self.values.len(), PARTITION * self.head_dim);
        let last = (self.num_rows - 1).checked_mul(self.row_len).expect("rows are in memory");
        assert!(self.queries.len() >= last + self.num_heads * self.head_dim);
        assert!((1..=PARTITION).contains(&self.first_end));
    }

    /// One past the last position that a row attends to.
    pub(crate) fn end(&self, row: usize) -> usize {
        PARTITION.min(self.first_end + row)
    }

    /// One row alone, as a kernel for one row takes it.
    pub(crate) fn row(&self, row: usize) -> AttendArgs<'a> {
        let (head_dim, first) = (self.head_dim, row * self.row_len);
        AttendArgs {
            shape: KvShape { num_blocks: 1, num_kv_heads: 1, block_size: PARTITION, head_dim },
            keys: KvElements::Floats(Floats::F32(self.keys)),
            values: KvElements::Floats(Floats::F32(self.values)),
            block_table: &[0],
            kv_head: 0,
            queries: &self.queries[first..first + self.num_heads * head_dim],
            num_heads: self.num_heads,
            start: 0,
            end: self.end(row),
            scale: self.scale,
        }
    }
}

/// Elements of one part's result: `[num_heads, head_dim]` weighted values, then `num_heads`
/// maxima, then `num_heads` sums.
pub fn partial_len(num_heads: usize, head_dim: usize) -> usize {
    num_heads * (head_dim + 2)
}

/// The parts of one row and KV head among the results of many.
#[derive(Debug, Clone, Copy)]
pub struct Partials<'a> {
    pub buffer: &'a [f32],
    /// Index of the first part, in units of [`partial_len`].
    pub first: usize,
    /// Distance between two parts, in the same unit.
    pub stride: usize,
    /// Parts, at least one.
    pub count: usize,
    pub num_heads: usize,
    pub head_dim: usize,
}

impl Partials<'_> {
    fn part(&self, index: usize) -> &[f32] {
        let len = partial_len(self.num_heads, self.head_dim);
        let start = (self.first + index * self.stride) * len;
        &self.buffer[start..start + len]
    }
}

/// Folds the parts in order and normalizes into `out`, `[num_heads, head_dim]`.
///
/// Panics if there is no part or `out` has another length.
pub fn merge_partials(partials: &Partials<'_>, out: &mut [f32]) {
    let Partials { count, num_heads, head_dim, .. } = *partials;
    assert!(count > 0 && out.len() == num_heads * head_dim);
    for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
        let values = head * head_dim..(head + 1) * head_dim;
        let max_at = num_heads * head_dim + head;
        let first = partials.part(0);
        out.copy_from_slice(&first[values.clone()]);
        let (mut max, mut sum) = (first[max_at], first[max_at + num_heads]);
        for index in 1..count {
            let part = partials.part(index);
            let (part_max, part_sum) = (part[max_at], part[max_at + num_heads]);
            let new_max = max.max(part_max);
            let (keep, add) = ((max - new_max).exp(), (part_max - new_max).exp());
            for (out, value) in out.iter_mut().zip(&part[values.clone()]) {
                *out = *out * keep + value * add;
            }
            sum = sum * keep + part_sum * add;
            max = new_max;
        }
        let inverse = 1.0 / sum;
        for value in out {
            *value *= inverse;
        }
    }
}
