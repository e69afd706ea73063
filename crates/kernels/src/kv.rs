//! The paged KV cache's layout, and writing to it.

use std::ops::Range;

use crate::floats::{Floats, FloatsMut};

/// Shape of one layer's keys or values: `[num_blocks, num_kv_heads, block_size, head_dim]`,
/// contiguous. Position `p` of a sequence lies in block `block_table[p / block_size]` at offset
/// `p % block_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    pub num_blocks: usize,
    pub num_kv_heads: usize,
    /// Tokens a block holds.
    pub block_size: usize,
    /// A multiple of 8 up to [`HEAD_DIM_MAX`](crate::HEAD_DIM_MAX).
    pub head_dim: usize,
}

impl KvShape {
    /// Elements of the whole layer.
    pub fn num_elements(&self) -> usize {
        self.num_blocks * self.num_kv_heads * self.block_size * self.head_dim
    }

    /// Element at which `head_dim` values of one token and head begin.
    pub(crate) fn element(&self, block_id: u32, kv_head: usize, offset: usize) -> usize {
        let head = block_id as usize * self.num_kv_heads + kv_head;
        (head * self.block_size + offset) * self.head_dim
    }

    /// The heads of each row, and the element at which a head is kept in the row's slot.
    pub(crate) fn heads<'a>(
        &'a self,
        rows: &'a [f32],
        slots: &'a [Slot],
    ) -> impl Iterator<Item = (&'a [f32], usize)> {
        let row_len = self.num_kv_heads * self.head_dim;
        assert_eq!(rows.len(), slots.len() * row_len, "one row per slot");
        rows.chunks_exact(row_len).zip(slots).flat_map(move |(row, &slot)| {
            let block_id = slot / self.block_size as u64;
            let offset = (slot % self.block_size as u64) as usize;
            assert!(block_id < self.num_blocks as u64, "slot {slot} is outside the cache");
            let heads = row.chunks_exact(self.head_dim).enumerate();
            heads.map(move |(head, values)| (values, self.element(block_id as u32, head, offset)))
        })
    }
}

/// Where a token's keys and values are kept: `block_id * block_size + offset`.
pub type Slot = u64;

/// Converts rows of keys or values, `[slots.len(), num_kv_heads, head_dim]`, and stores row `i` in
/// slot `slots[i]`.
///
/// Panics if a slot or a length does not fit `shape`.
pub fn write_kv(shape: &KvShape, cache: &mut FloatsMut<'_>, rows: &[f32], slots: &[Slot]) {
    assert_eq!(cache.len(), shape.num_elements(), "cache does not have its shape");
    for (values, first) in shape.heads(rows, slots) {
        cache.store(first, values);
    }
}

/// Reads keys or values of one head and some positions of a context, one after the other.
/// `block_table[p / block_size]` holds position `p`.
///
/// Panics if a block is outside the cache or a length does not fit `shape`.
pub fn read_kv(
    shape: &KvShape,
    cache: Floats<'_>,
    block_table: &[u32],
    kv_head: usize,
    positions: Range<usize>,
    out: &mut [f32],
) {
    assert_eq!(cache.len(), shape.num_elements(), "cache does not have its shape");
    assert!(kv_head < shape.num_kv_heads);
    let mut rest = &mut out[..positions.len() * shape.head_dim];
    let mut position = positions.start;
    while position < positions.end {
        let (block, offset) = (position / shape.block_size, position % shape.block_size);
        let len = (shape.block_size - offset).min(positions.end - position);
        assert!((block_table[block] as usize) < shape.num_blocks, "a block outside the cache");
        let (run, behind) = rest.split_at_mut(len * shape.head_dim);
        cache.load(shape.element(block_table[block], kv_head, offset), run);
        (rest, position) = (behind, position + len);
    }
}
