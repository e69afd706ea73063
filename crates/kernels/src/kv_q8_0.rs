//! Keys and values in blocks of 32 elements with a scale each, GGML's Q8_0: a half float and 32
//! signed bytes. Each head of a token has its own blocks.

use half::f16;

use crate::kv::{KvShape, Slot};
use crate::quantized::{BLOCK_LEN, BlockFormat};

pub(crate) const BLOCK_BYTES: usize = BlockFormat::Q8_0.block_bytes();

/// A part of a context that is to be unpacked.
#[derive(Debug, Clone, Copy)]
pub struct UnpackArgs<'a> {
    /// Of the elements.
    pub shape: KvShape,
    /// `[num_blocks, num_kv_heads, block_size, head_dim / 32]` blocks of Q8_0.
    pub cache: &'a [u8],
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
        assert!(shape.block_size > 0 && self.kv_head < shape.num_kv_heads);
        assert!(shape.head_dim.is_multiple_of(BLOCK_LEN), "heads are whole blocks");
        assert_eq!(self.cache.len() / BLOCK_BYTES * BLOCK_LEN, shape.num_elements());
        assert!(self.start <= self.end && out.len() >= (self.end - self.start) * shape.head_dim);
        assert!(self.end <= self.block_table.len() * shape.block_size, "a table holds its context");
    }

    /// Positions of the part that lie together, from one on: its end, and the bytes of all of them.
    ///
    /// Panics if they are not in the cache.
    #[inline(always)]
    pub(crate) fn run(&self, start: usize) -> (usize, &[u8]) {
        let shape = &self.shape;
        let (index, offset) = (start / shape.block_size, start % shape.block_size);
        let block_id = self.block_table[index];
        assert!((block_id as usize) < shape.num_blocks, "block {block_id} is outside the cache");
        let first = shape.element(block_id, self.kv_head, offset) / BLOCK_LEN * BLOCK_BYTES;
        let end = self.end.min(start - offset + shape.block_size);
        (end, &self.cache[first..][..(end - start) * self.position_bytes()])
    }

    pub(crate) fn position_bytes(&self) -> usize {
        self.shape.head_dim / BLOCK_LEN * BLOCK_BYTES
    }
}

/// Writes the elements of each position, one after the other: a quant times its block's scale.
#[inline(always)]
pub(crate) fn unpack(args: &UnpackArgs<'_>, out: &mut [f32]) {
    let mut start = args.start;
    let (mut out, _) = out.as_chunks_mut::<BLOCK_LEN>();
    while start < args.end {
        let (end, run) = args.run(start);
        let (blocks, _) = run.as_chunks::<BLOCK_BYTES>();
        let (run_out, behind) = out.split_at_mut(blocks.len());
        for ([a, b, quants @ ..], out) in blocks.iter().zip(run_out) {
            let scale = f16::from_bits(u16::from_le_bytes([*a, *b])).to_f32_const();
            for (out, &quant) in out.iter_mut().zip(quants) {
                *out = f32::from(quant as i8) * scale;
            }
        }
        (start, out) = (end, behind);
    }
}

/// Rounds rows of keys or values, `[slots.len(), num_kv_heads, head_dim]`, and stores row `i` in
/// slot `slots[i]`.
///
/// Panics if a slot or a length does not fit `shape`.
pub fn write_kv_q8_0(shape: &KvShape, cache: &mut [u8], rows: &[f32], slots: &[Slot]) {
    assert!(shape.head_dim.is_multiple_of(BLOCK_LEN), "heads are whole blocks");
    assert_eq!(cache.len() / BLOCK_BYTES * BLOCK_LEN, shape.num_elements());
    for (values, first) in shape.heads(rows, slots) {
        let blocks = cache[first / BLOCK_LEN * BLOCK_BYTES..].chunks_exact_mut(BLOCK_BYTES);
        for (block, values) in blocks.zip(values.chunks_exact(BLOCK_LEN)) {
            write_block(values, block);
        }
    }
}

/// The largest element becomes 127. A block with an element that is not finite, or too large for
/// the scale, has a scale that is not a number: the scores it takes part in are not either.
fn write_block(values: &[f32], block: &mut [u8]) {
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    let scale = f16::from_f32_const(largest / 127.0);
    let is_finite = values.iter().all(|value| value.is_finite()) && scale.is_finite();
    let scale = if is_finite { scale } else { f16::NAN };
    let factor = match scale.to_f32_const() {
        0.0 => 0.0,
        scale => 1.0 / scale,
    };
    block[..2].copy_from_slice(&scale.to_bits().to_le_bytes());
    for (quant, value) in block[2..].iter_mut().zip(values) {
        // The conversion of a NaN gives 0.
        *quant = (value * factor).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
    }
}
