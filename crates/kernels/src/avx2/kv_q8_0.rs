//! Keys and values in Q8_0 as floats.

use std::arch::x86_64::*;

use super::words::prefetch_ahead;
use crate::kv::UnpackArgs;
use crate::kv_q8_0::Block;
use crate::quantized::BLOCK_LEN;
use crate::row::LANES;

/// While positions are unpacked, the next block's are asked for: blocks lie apart in the cache, and
/// the CPU foresees none of them.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn unpack_q8_0(args: &UnpackArgs<'_>, cache: &[Block], out: &mut [f32]) {
    let position_blocks = args.shape.head_dim / BLOCK_LEN;
    let (mut out, _) = out.as_chunks_mut::<BLOCK_LEN>();
    let mut start = args.start;
    while start < args.end {
        let (end, run) = args.run(cache, start);
        let next = if end < args.end { args.run(cache, end).1 } else { &[] };
        let mut next = next.chunks_exact(position_blocks);
        for blocks in run.chunks_exact(position_blocks) {
            prefetch_ahead(next.next().unwrap_or_default().as_flattened(), 0);
            let (position_out, behind) = out.split_at_mut(blocks.len());
            for (block, out) in blocks.iter().zip(position_out) {
                unpack_block(block, out);
            }
            out = behind;
        }
        start = end;
    }
}

/// A block's scale in each lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn scale(&[a, b, ..]: &Block) -> __m256 {
    _mm256_cvtph_ps(_mm_set1_epi16(i16::from_le_bytes([a, b])))
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn unpack_block(block: &Block, out: &mut [f32; BLOCK_LEN]) {
    let scale = scale(block);
    for (quants, out) in
        block[2..].as_chunks::<LANES>().0.iter().zip(out.as_chunks_mut::<LANES>().0)
    {
        let quants = _mm256_cvtepi8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*quants)));
        let values = _mm256_mul_ps(_mm256_cvtepi32_ps(quants), scale);
        // SAFETY: eight floats.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) };
    }
}
