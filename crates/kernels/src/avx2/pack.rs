//! Packing: words of eight rows are laid side by side, four of each row at a time.

use std::arch::x86_64::*;

use crate::packed::{GROUP, HALF, PackedFormat, RUN, Run, WORD};

/// [`PackedFormat::pack_group`], whose bytes these are.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn pack_group(format: PackedFormat, rows: &[u8], row_bytes: usize, group: &mut [u8]) {
    // At most one group of a matrix has fewer rows.
    if rows.len() != GROUP * row_bytes {
        return format.pack_group(rows, row_bytes, group);
    }
    format.check_group(rows, row_bytes, group);
    let layout = format.layout();
    let (runs, num_runs) = layout.runs();
    let block_bytes = format.block_bytes();
    let (half_at, words_at) = layout.offsets();
    let halves_bytes = layout.halves_bytes();
    for (block_id, packed) in group.chunks_exact_mut(GROUP * block_bytes).enumerate() {
        let block = block_id * block_bytes;
        let (halves, words) = packed.split_at_mut(halves_bytes);
        for (row, half) in halves.chunks_exact_mut(HALF).enumerate() {
            let at = row * row_bytes + block + half_at;
            half.copy_from_slice(&rows[at..at + HALF]);
        }
        for &Run { from, to, is_whole } in &runs[..num_runs] {
            let source = block + words_at + from * WORD;
            let out = &mut words[to * GROUP * WORD..];
            if is_whole {
                let source = &rows[source..];
                let out = out.first_chunk_mut().expect("a block has the words of its runs");
                // The slice's bounds are those of the last row, which the others lie before.
                assert!(source.len() >= (GROUP - 1) * row_bytes + RUN * WORD);
                // SAFETY: asserted.
                unsafe { transpose(source.as_ptr(), row_bytes, out) };
            } else {
                for (row, word) in out.chunks_exact_mut(WORD).take(GROUP).enumerate() {
                    let at = row * row_bytes + source;
                    word.copy_from_slice(&rows[at..at + WORD]);
                }
            }
        }
    }
}

/// Four words of each of eight rows, which lie `stride` bytes apart: the first words of all rows,
/// then the second ones and so on.
///
/// # Safety
/// The CPU has AVX2; 16 bytes are readable at each row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn transpose(source: *const u8, stride: usize, out: &mut [u8; GROUP * RUN * WORD]) {
    // SAFETY: the caller's promise.
    let row = |row: usize| unsafe { _mm_loadu_si128(source.add(row * stride).cast()) };
    // A row and the fourth behind it.
    let two = |first: usize| _mm256_set_m128i(row(first + 4), row(first));
    let [a, b, c, d] = [two(0), two(1), two(2), two(3)];
    let (ab, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    let (cd, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    let words = [
        _mm256_unpacklo_epi64(ab, cd),
        _mm256_unpackhi_epi64(ab, cd),
        _mm256_unpacklo_epi64(ab_high, cd_high),
        _mm256_unpackhi_epi64(ab_high, cd_high),
    ];
    for (word, out) in words.into_iter().zip(out.as_chunks_mut::<{ GROUP * WORD }>().0) {
        // SAFETY: a chunk has room for a vector.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), word) };
    }
}
