//! Keys and values in blocks of 32 elements with a scale each, GGML's Q8_0: a half float and 32
//! signed bytes. Each head of a token has its own blocks.

use half::f16;

use crate::kv::{KvElements, KvShape, Slot, UnpackArgs};
use crate::quantized::{BLOCK_LEN, BlockFormat};

pub(crate) const BLOCK_BYTES: usize = BlockFormat::Q8_0.block_bytes();

/// A scale and as many quants as a block has elements.
pub type Block = [u8; BLOCK_BYTES];

/// Writes the elements of each position, one after the other: a quant times its block's scale.
#[inline(always)]
pub(crate) fn unpack(args: &UnpackArgs<'_>, cache: &[Block], out: &mut [f32]) {
    let mut start = args.start;
    let (mut out, _) = out.as_chunks_mut::<BLOCK_LEN>();
    while start < args.end {
        let (end, run) = args.run(cache, start);
        let (run_out, behind) = out.split_at_mut(run.len());
        for (block, out) in run.iter().zip(run_out) {
            let scale = scale(block);
            for (out, &quant) in out.iter_mut().zip(&block[2..]) {
                *out = f32::from(quant as i8) * scale;
            }
        }
        (start, out) = (end, behind);
    }
}

#[inline(always)]
fn scale(&[a, b, ..]: &Block) -> f32 {
    f16::from_bits(u16::from_le_bytes([a, b])).to_f32_const()
}

#[inline(always)]
pub(crate) fn element(block: &Block, index: usize) -> f32 {
    f32::from(block[2 + index] as i8) * scale(block)
}

/// Rounds rows of keys or values, `[slots.len(), num_kv_heads, head_dim]`, and stores row `i` in
/// slot `slots[i]`.
///
/// Panics if a slot or a length does not fit `shape`.
pub fn write_kv_q8_0(shape: &KvShape, cache: &mut [Block], rows: &[f32], slots: &[Slot]) {
    KvElements::Q8_0(cache).check(shape);
    for (values, first) in shape.heads(rows, slots) {
        let blocks = &mut cache[first / BLOCK_LEN..];
        for (block, values) in blocks.iter_mut().zip(values.chunks_exact(BLOCK_LEN)) {
            write_block(values, block);
        }
    }
}

/// The largest element becomes 127. A block with an element that is not finite, or too large for
/// the scale, has a scale that is not a number: the scores it takes part in are not either.
fn write_block(values: &[f32], block: &mut Block) {
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
