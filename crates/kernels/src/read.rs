//! Reading memory as fast as a thread can, to measure how fast that is.

/// The sum of the whole words of 8 bytes. A plain loop, compiled with the widest loads of each
/// instruction set: narrow ones keep too few lines on their way for the memory to be what is waited
/// for.
#[inline(always)]
pub(crate) fn sum_words(bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0.iter();
    words.fold(0, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}
