//! Unpacking of super-blocks; the reference explains their formats, [`crate::packed`] the order of
//! a packed block's words. Here, a word is a vector: that word of eight rows or more.

use crate::avx2::words::{HALVES, WORD, Word};
use crate::packed::GROUP;
use crate::super_blocks::SuperFormat;

/// What scales a block of some rows.
#[derive(Clone, Copy)]
pub(crate) struct Head<W: Word> {
    pub(crate) d: W::Floats,
    /// Zeros if the format has no minima.
    pub(crate) dmin: W::Floats,
    /// Of each sub-block or of each half of one, as [`Word::scale`] has it.
    pub(crate) scales: [W; 16],
    /// Minima in pairs of 16 bits, which sums of activations are multiplied with: four or, with one
    /// for each half of a sub-block, eight. Zeros if the format has none.
    pub(crate) minima: [W; 8],
}

impl<W: Word> Head<W> {
    /// # Safety
    /// As [`Word`].
    #[inline(always)]
    pub(crate) unsafe fn zeroed() -> Self {
        // SAFETY: the caller's promise.
        let (zero, none) = unsafe { (W::splat(0), W::no_floats()) };
        Self { d: none, dmin: none, scales: [zero; 16], minima: [zero; 8] }
    }
}

pub(crate) trait Format {
    const FORMAT: SuperFormat;
    const GROUP_BYTES: usize = GROUP * Self::FORMAT.block_bytes();
    /// Steps of products of the largest quant and activation that 16 bits hold, and that share a
    /// scale: a step makes at most `2 * quant * 127`, where a quant is what is left of it when the
    /// offset has been taken away.
    const STEPS_SUMMED: usize;
    /// Whether a scale is that of 32 elements, not of 16.
    const HAS_DOUBLE_SCALES: bool = false;
    const HAS_MIN: bool = false;
    /// What is to be subtracted from each element, a power of two up to
    /// [`TAKEN`](crate::super_blocks::TAKEN), or 0.
    const OFFSET: i32 = 0;
    /// The four sub-blocks of a half, those whose elements are in the same words side by side.
    const ORDER: [usize; 4] = [0, 1, 2, 3];

    /// Index of the scale of the `part`-th [`Self::STEPS_SUMMED`] steps of a sub-block.
    fn scale_of(sub: usize, part: usize) -> usize {
        match Self::HAS_DOUBLE_SCALES {
            true => sub,
            false => 2 * sub + part * Self::STEPS_SUMMED / 4,
        }
    }

    /// # Safety
    /// As [`Word`]; each of `blocks` is that of eight rows.
    unsafe fn head<W: Word>(blocks: W::Blocks) -> Head<W>;

    /// Elements `[4 step, 4 step + 4)` of the four sub-blocks of a half, which share words, as
    /// unsigned bytes.
    ///
    /// # Safety
    /// As [`Self::head`]; `half` is 0 or 1 and `step` 0 to 7.
    unsafe fn steps<W: Word>(blocks: W::Blocks, half: usize, step: usize) -> [W; 4];
}

pub(crate) struct Q2K;
pub(crate) struct Q3K;
pub(crate) struct Q4K;
pub(crate) struct Q5K;
pub(crate) struct Q6K;

impl Format for Q4K {
    const FORMAT: SuperFormat = SuperFormat::Q4K;
    const STEPS_SUMMED: usize = 8;
    const HAS_DOUBLE_SCALES: bool = true;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn head<W: Word>(blocks: W::Blocks) -> Head<W> {
        // SAFETY: the caller's promise.
        unsafe { head_of_sixes(blocks) }
    }

    #[inline(always)]
    unsafe fn steps<W: Word>(blocks: W::Blocks, half: usize, step: usize) -> [W; 4] {
        // SAFETY: the caller's promise: 32 words of nibbles follow four of scales.
        unsafe { nibbles(blocks, 4 * WORD, half, step) }
    }
}

impl Format for Q5K {
    const FORMAT: SuperFormat = SuperFormat::Q5K;
    const STEPS_SUMMED: usize = 4;
    const HAS_DOUBLE_SCALES: bool = true;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn head<W: Word>(blocks: W::Blocks) -> Head<W> {
        // SAFETY: the caller's promise.
        unsafe { head_of_sixes(blocks) }
    }

    #[inline(always)]
    unsafe fn steps<W: Word>(blocks: W::Blocks, half: usize, step: usize) -> [W; 4] {
        // SAFETY: the caller's promise: 8 words of high bits and 32 of nibbles follow four.
        unsafe {
            let bits = W::load(blocks, (4 + step) * WORD).shr(4 * half as u32);
            let sixteen = W::splat(16);
            let high = [
                bits.shl(4).and(sixteen),
                bits.shl(3).and(sixteen),
                bits.shl(2).and(sixteen),
                bits.shl(1).and(sixteen),
            ];
            or(nibbles(blocks, 12 * WORD, half, step), high)
        }
    }
}

impl Format for Q6K {
    const FORMAT: SuperFormat = SuperFormat::Q6K;
    const STEPS_SUMMED: usize = 4;
    const OFFSET: i32 = 32;
    const ORDER: [usize; 4] = [0, 2, 1, 3];

    #[inline(always)]
    unsafe fn head<W: Word>(blocks: W::Blocks) -> Head<W> {
        // SAFETY: the caller's promise: half floats, then four words of scales.
        unsafe {
            let word = |index| W::load(blocks, HALVES + index * WORD);
            head_of_signed(W::half_floats(blocks, 0), [word(0), word(1), word(2), word(3)])
        }
    }

    #[inline(always)]
    unsafe fn steps<W: Word>(blocks: W::Blocks, half: usize, step: usize) -> [W; 4] {
        // SAFETY: the caller's promise: a half is 8 words of high bits and 16 of nibbles.
        unsafe {
            let word = |index| W::load(blocks, HALVES + (4 + 24 * half + index + step) * WORD);
            let (high, first, second) = (word(0), word(8), word(16));
            let (nibble, two) = (W::splat(0x0f), W::splat(0x30));
            let low = [
                first.and(nibble),
                second.and(nibble),
                first.shr(4).and(nibble),
                second.shr(4).and(nibble),
            ];
            let high =
                [high.shl(4).and(two), high.shl(2).and(two), high.and(two), high.shr(2).and(two)];
            or(low, high)
        }
    }
}

impl Format for Q3K {
    const FORMAT: SuperFormat = SuperFormat::Q3K;
    const STEPS_SUMMED: usize = 4;
    const OFFSET: i32 = 4;

    #[inline(always)]
    unsafe fn head<W: Word>(blocks: W::Blocks) -> Head<W> {
        // SAFETY: the caller's promise: half floats, then three words of scales.
        unsafe {
            let word = |index| W::load(blocks, HALVES + index * WORD);
            let (low, high, twos) = (word(0), word(1), word(2));
            let (nibble, two, offset) = (W::splat(0x0f), W::splat(0x30), W::splat(32));
            let join = |low: W, high: W| low.and(nibble).or(high.and(two)).minus(offset);
            let words = [
                join(low, twos.shl(4)),
                join(high, twos.shl(2)),
                join(low.shr(4), twos),
                join(high.shr(4), twos.shr(2)),
            ];
            head_of_signed(W::half_floats(blocks, 0), words)
        }
    }

    #[inline(always)]
    unsafe fn steps<W: Word>(blocks: W::Blocks, half: usize, step: usize) -> [W; 4] {
        // SAFETY: the caller's promise: 8 words of high bits and 16 of quants follow three.
        unsafe {
            let bits = W::load(blocks, HALVES + (3 + step) * WORD).shr(4 * half as u32);
            let four = W::splat(4);
            let high = [
                bits.shl(2).and(four),
                bits.shl(1).and(four),
                bits.and(four),
                bits.shr(1).and(four),
            ];
            or(twos(blocks, HALVES + 11 * WORD, half, step), high)
        }
    }
}

impl Format for Q2K {
    const FORMAT: SuperFormat = SuperFormat::Q2K;
    const STEPS_SUMMED: usize = 4;
    const HAS_MIN: bool = true;

    #[inline(always)]
    unsafe fn head<W: Word>(blocks: W::Blocks) -> Head<W> {
        // SAFETY: the caller's promise: a word of half floats, then four of scales and minima.
        unsafe {
            let (d, dmin) = W::load(blocks, 0).half_pairs();
            let nibble = W::splat(0x0f);
            let mut head = Head { d, dmin, ..Head::zeroed() };
            for i in 0..4 {
                let word = W::load(blocks, (1 + i) * WORD);
                let (scales, minima) = (word.and(nibble), word.shr(4).and(nibble));
                for j in 0..4 {
                    head.scales[4 * i + j] = scales.scale(j);
                }
                for j in 0..2 {
                    head.minima[2 * i + j] = minima.pair(2 * j, 2 * j + 1);
                }
            }
            head
        }
    }

    #[inline(always)]
    unsafe fn steps<W: Word>(blocks: W::Blocks, half: usize, step: usize) -> [W; 4] {
        // SAFETY: the caller's promise: 16 words of quants follow five.
        unsafe { twos(blocks, 5 * WORD, half, step) }
    }
}

/// Of 32 words of nibbles from `first` on, those of a step of a half.
///
/// # Safety
/// As [`Word`]; there is such a step.
#[inline(always)]
unsafe fn nibbles<W: Word>(blocks: W::Blocks, first: usize, half: usize, step: usize) -> [W; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let word = |index| W::load(blocks, first + (16 * half + index + step) * WORD);
        let (a, b) = (word(0), word(8));
        let nibble = W::splat(0x0f);
        [a.and(nibble), a.shr(4).and(nibble), b.and(nibble), b.shr(4).and(nibble)]
    }
}

/// Of 16 words of 2-bit quants from `first` on, those of a step of a half.
///
/// # Safety
/// As [`Word`]; there is such a step.
#[inline(always)]
unsafe fn twos<W: Word>(blocks: W::Blocks, first: usize, half: usize, step: usize) -> [W; 4] {
    // SAFETY: the caller's promise.
    unsafe {
        let all = W::load(blocks, first + (8 * half + step) * WORD);
        let three = W::splat(3);
        [all.and(three), all.shr(2).and(three), all.shr(4).and(three), all.shr(6).and(three)]
    }
}

/// # Safety
/// As [`Word`].
#[inline(always)]
unsafe fn or<W: Word>(mut a: [W; 4], b: [W; 4]) -> [W; 4] {
    for (a, b) in a.iter_mut().zip(b) {
        // SAFETY: the caller's promise.
        *a = unsafe { a.or(b) };
    }
    a
}

/// A word of half floats, then three of scales and minima of 6 bits.
///
/// # Safety
/// As [`Word`]; there are four words.
#[inline(always)]
unsafe fn head_of_sixes<W: Word>(blocks: W::Blocks) -> Head<W> {
    // SAFETY: the caller's promise.
    unsafe {
        let (d, dmin) = W::load(blocks, 0).half_pairs();
        let word = |index| W::load(blocks, index * WORD);
        let (first, second, third) = (word(1), word(2), word(3));
        let (six, nibble, two) = (W::splat(0x3f), W::splat(0x0f), W::splat(0x30));
        let high_of = |word: W| word.shr(2).and(two);
        let scales = [first.and(six), third.and(nibble).or(high_of(first))];
        let minima = [second.and(six), third.shr(4).and(nibble).or(high_of(second))];
        let mut head = Head { d, dmin, ..Head::zeroed() };
        for i in 0..2 {
            for j in 0..4 {
                head.scales[4 * i + j] = scales[i].scale(j);
            }
            for j in 0..2 {
                head.minima[2 * i + j] = minima[i].pair(2 * j, 2 * j + 1);
            }
        }
        head
    }
}

/// Four words of signed scales.
///
/// # Safety
/// As [`Word`].
#[inline(always)]
unsafe fn head_of_signed<W: Word>(d: W::Floats, words: [W; 4]) -> Head<W> {
    // SAFETY: the caller's promise.
    unsafe {
        let mut head = Head { d, ..Head::zeroed() };
        for (i, word) in words.into_iter().enumerate() {
            for j in 0..4 {
                head.scales[4 * i + j] = word.signed_scale(j);
            }
        }
        head
    }
}
