//! The paged KV cache's layout, and writing to it.

use crate::floats::{Element, Floats, FloatsMut};
use crate::kv_q8_0::{self, Block};
use crate::quantized::BLOCK_LEN;

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

/// A layer's keys or values as the cache stores them.
#[derive(Debug, Clone, Copy)]
pub enum KvElements<'a> {
    Floats(Floats<'a>),
    /// Blocks of Q8_0, each with 32 elements of one head of a token.
    Q8_0(&'a [Block]),
}

impl KvElements<'_> {
    /// Panics unless there are as many elements as `shape` has, in whole blocks.
    pub(crate) fn check(&self, shape: &KvShape) {
        let len = match self {
            Self::Floats(floats) => floats.len(),
            Self::Q8_0(blocks) => {
                assert!(shape.head_dim.is_multiple_of(BLOCK_LEN), "heads are whole blocks");
                blocks.len() * BLOCK_LEN
            }
        };
        assert_eq!(len, shape.num_elements(), "keys or values do not have their shape");
    }
}

/// What a slice of stored keys or values consists of.
pub(crate) trait Stored: Copy {
    /// Elements in one.
    const LEN: usize;

    fn element(all: &[Self], index: usize) -> f32;
}

impl<E: Element> Stored for E {
    const LEN: usize = 1;

    #[inline(always)]
    fn element(all: &[Self], index: usize) -> f32 {
        all[index].to_f32()
    }
}

impl Stored for Block {
    const LEN: usize = BLOCK_LEN;

    #[inline(always)]
    fn element(all: &[Self], index: usize) -> f32 {
        kv_q8_0::element(&all[index / BLOCK_LEN], index % BLOCK_LEN)
    }
}

/// A part of a context that is to be unpacked.
#[derive(Debug, Clone, Copy)]
pub struct UnpackArgs<'a> {
    pub shape: KvShape,
    pub cache: KvElements<'a>,
    /// `block_table[p / block_size]` holds position `p`.
    pub block_table: &'a [u32],
    pub kv_head: usize,
    /// Positions `[start, end)`.
    pub start: usize,
    pub end: usize,
}

impl UnpackArgs<'_> {
    pub(crate) fn check(&self, out: &[f32]) {
        let shape = &self.shape;
        self.cache.check(shape);
        assert!(shape.block_size > 0 && self.kv_head < shape.num_kv_heads);
        assert!(self.start <= self.end && out.len() >= (self.end - self.start) * shape.head_dim);
        assert!(self.end <= self.block_table.len() * shape.block_size, "a table holds its context");
    }

    /// Positions of the part that lie together, from one on: their end, and their first element.
    ///
    /// Panics if they are not in the cache.
    #[inline(always)]
    fn place(&self, start: usize) -> (usize, usize) {
        let shape = &self.shape;
        let (index, offset) = (start / shape.block_size, start % shape.block_size);
        let block_id = self.block_table[index];
        assert!((block_id as usize) < shape.num_blocks, "block {block_id} is outside the cache");
        let end = self.end.min(start - offset + shape.block_size);
        (end, shape.element(block_id, self.kv_head, offset))
    }

    /// The end of the same positions, and what stores all of them. Panics likewise.
    #[inline(always)]
    pub(crate) fn run<'e, E: Stored>(&self, cache: &'e [E], start: usize) -> (usize, &'e [E]) {
        let (end, first) = self.place(start);
        (end, &cache[first / E::LEN..][..(end - start) * self.shape.head_dim / E::LEN])
    }
}

/// Writes the elements of each position, one after the other.
pub(crate) fn unpack_floats(args: &UnpackArgs<'_>, cache: Floats<'_>, out: &mut [f32]) {
    let mut rest = out;
    let mut start = args.start;
    while start < args.end {
        let (end, first) = args.place(start);
        let (run, behind) = rest.split_at_mut((end - start) * args.shape.head_dim);
        cache.load(first, run);
        (rest, start) = (behind, end);
    }
}
