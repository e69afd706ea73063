//! Unpacking of super-blocks; the reference explains their formats, [`crate::packed`] the order of
//! a packed block's words. Here, a word is a vector: that word of eight rows.

use std::arch::x86_64::*;

use crate::avx2::words::{half_floats, half_pairs, load};
use crate::packed::GROUP;
use crate::super_blocks::SuperFormat;

/// What scales a block of eight rows.
pub(crate) struct Head {
    pub(crate) d: __m256,
    /// Zeros if the format has no minima.
    pub(crate) dmin: __m256,
    /// Scales twice in each lane, in 16 bits: of each sub-block or of each half of one.
    pub(crate) scales: [__m256i; 16],
    /// Pairs of numbers in 16 bits that sums of activations are multiplied with: minima, or the
    /// scales themselves if elements have an offset. Four or, with a scale for each half of a
    /// sub-block, eight.
    pub(crate) shares: [__m256i; 8],
}

impl Head {
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) fn zeroed() -> Self {
        let zero = _mm256_setzero_si256();
        let (d, dmin) = (_mm256_setzero_ps(), _mm256_setzero_ps());
        Self { d, dmin, scales: [zero; 16], shares: [zero; 8] }
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
    /// What is to be subtracted from each element, a power of two up to [`TAKEN`], or 0.
    const OFFSET: i32 = 0;

    /// Index of the scale of the `part`-th [`Self::STEPS_SUMMED`] steps of a sub-block.
    fn scale_of(sub: usize, part: usize) -> usize {
        match Self::HAS_DOUBLE_SCALES {
            true => sub,
            false => 2 * sub + part * Self::STEPS_SUMMED / 4,
        }
    }

    /// # Safety
    /// The CPU has AVX2 and F16C; `block` is that of eight rows.
    unsafe fn head(block: *const __m256i) -> Head;

    /// Elements `[4 step, 4 step + 4)` of the four sub-blocks of a half, which share words, as
    /// unsigned bytes.
    ///
    /// # Safety
    /// As [`Self::head`]; `half` is 0 or 1 and `step` 0 to 7.
    unsafe fn steps(block: *const __m256i, half: usize, step: usize) -> [__m256i; 4];
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

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn head(block: *const __m256i) -> Head {
        // SAFETY: the caller's promise.
        unsafe { head_of_sixes(block) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn steps(block: *const __m256i, half: usize, step: usize) -> [__m256i; 4] {
        // SAFETY: the caller's promise: 32 words of nibbles follow four of scales.
        unsafe { nibbles(block.add(4), half, step) }
    }
}

impl Format for Q5K {
    const FORMAT: SuperFormat = SuperFormat::Q5K;
    const STEPS_SUMMED: usize = 4;
    const HAS_DOUBLE_SCALES: bool = true;
    const HAS_MIN: bool = true;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn head(block: *const __m256i) -> Head {
        // SAFETY: the caller's promise.
        unsafe { head_of_sixes(block) }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn steps(block: *const __m256i, half: usize, step: usize) -> [__m256i; 4] {
        // SAFETY: the caller's promise: 8 words of high bits and 32 of nibbles follow four.
        let (low, bits) = unsafe { (nibbles(block.add(12), half, step), load(block, 4 + step)) };
        let bits = _mm256_srl_epi16(bits, _mm_cvtsi32_si128(4 * half as i32));
        let sixteen = _mm256_set1_epi8(16);
        let high = [
            _mm256_and_si256(_mm256_slli_epi16::<4>(bits), sixteen),
            _mm256_and_si256(_mm256_slli_epi16::<3>(bits), sixteen),
            _mm256_and_si256(_mm256_slli_epi16::<2>(bits), sixteen),
            _mm256_and_si256(_mm256_slli_epi16::<1>(bits), sixteen),
        ];
        or(low, high)
    }
}

impl Format for Q6K {
    const FORMAT: SuperFormat = SuperFormat::Q6K;
    const STEPS_SUMMED: usize = 4;
    const OFFSET: i32 = 32;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn head(block: *const __m256i) -> Head {
        // SAFETY: the caller's promise: half floats, then four words of scales.
        let (d, words) = unsafe {
            let words = block.byte_add(16);
            (half_floats(block), [load(words, 0), load(words, 1), load(words, 2), load(words, 3)])
        };
        head_of_signed(d, words)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn steps(block: *const __m256i, half: usize, step: usize) -> [__m256i; 4] {
        // SAFETY: the caller's promise: a half is 8 words of high bits and 16 of nibbles.
        let (first, second, high) = unsafe {
            let words = block.byte_add(16).add(4 + 24 * half);
            (load(words, 8 + step), load(words, 16 + step), load(words, step))
        };
        let nibble = _mm256_set1_epi8(0x0f);
        let two = _mm256_set1_epi8(0x30);
        let low = [
            _mm256_and_si256(first, nibble),
            _mm256_and_si256(second, nibble),
            _mm256_and_si256(_mm256_srli_epi16::<4>(first), nibble),
            _mm256_and_si256(_mm256_srli_epi16::<4>(second), nibble),
        ];
        let high = [
            _mm256_and_si256(_mm256_slli_epi16::<4>(high), two),
            _mm256_and_si256(_mm256_slli_epi16::<2>(high), two),
            _mm256_and_si256(high, two),
            _mm256_and_si256(_mm256_srli_epi16::<2>(high), two),
        ];
        or(low, high)
    }
}

impl Format for Q3K {
    const FORMAT: SuperFormat = SuperFormat::Q3K;
    const STEPS_SUMMED: usize = 4;
    const OFFSET: i32 = 4;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn head(block: *const __m256i) -> Head {
        // SAFETY: the caller's promise: half floats, then three words of scales.
        let (d, [low, high, twos]) = unsafe {
            let words = block.byte_add(16);
            (half_floats(block), [load(words, 0), load(words, 1), load(words, 2)])
        };
        let nibble = _mm256_set1_epi8(15);
        let two = _mm256_set1_epi8(0x30);
        let join = |low: __m256i, high: __m256i| {
            let joined =
                _mm256_or_si256(_mm256_and_si256(low, nibble), _mm256_and_si256(high, two));
            _mm256_sub_epi8(joined, _mm256_set1_epi8(32))
        };
        let words = [
            join(low, _mm256_slli_epi16::<4>(twos)),
            join(high, _mm256_slli_epi16::<2>(twos)),
            join(_mm256_srli_epi16::<4>(low), twos),
            join(_mm256_srli_epi16::<4>(high), _mm256_srli_epi16::<2>(twos)),
        ];
        head_of_signed(d, words)
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn steps(block: *const __m256i, half: usize, step: usize) -> [__m256i; 4] {
        // SAFETY: the caller's promise: 8 words of high bits and 16 of quants follow three.
        let (low, bits) = unsafe {
            let words = block.byte_add(16);
            (twos(words.add(11), half, step), load(words, 3 + step))
        };
        let bits = _mm256_srl_epi16(bits, _mm_cvtsi32_si128(4 * half as i32));
        let four = _mm256_set1_epi8(4);
        let high = [
            _mm256_and_si256(_mm256_slli_epi16::<2>(bits), four),
            _mm256_and_si256(_mm256_slli_epi16::<1>(bits), four),
            _mm256_and_si256(bits, four),
            _mm256_and_si256(_mm256_srli_epi16::<1>(bits), four),
        ];
        or(low, high)
    }
}

impl Format for Q2K {
    const FORMAT: SuperFormat = SuperFormat::Q2K;
    const STEPS_SUMMED: usize = 4;
    const HAS_MIN: bool = true;

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn head(block: *const __m256i) -> Head {
        // SAFETY: the caller's promise: a word of half floats, then four of scales and minima.
        let ((d, dmin), words) = unsafe {
            (half_pairs(block), [load(block, 1), load(block, 2), load(block, 3), load(block, 4)])
        };
        let nibble = _mm256_set1_epi8(15);
        let mut head = Head { d, dmin, ..Head::zeroed() };
        for (i, word) in words.into_iter().enumerate() {
            let scales = _mm256_and_si256(word, nibble);
            let minima = _mm256_and_si256(_mm256_srli_epi16::<4>(word), nibble);
            for j in 0..4 {
                head.scales[4 * i + j] = widened(scales, j, j);
            }
            for j in 0..2 {
                head.shares[2 * i + j] = widened(minima, 2 * j, 2 * j + 1);
            }
        }
        head
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn steps(block: *const __m256i, half: usize, step: usize) -> [__m256i; 4] {
        // SAFETY: the caller's promise: 16 words of quants follow five.
        unsafe { twos(block.add(5), half, step) }
    }
}

/// Of 32 words of nibbles, those of a step of a half.
///
/// # Safety
/// The CPU has AVX2; the words are readable, and there is such a step.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn nibbles(words: *const __m256i, half: usize, step: usize) -> [__m256i; 4] {
    // SAFETY: the caller's promise.
    let (first, second) =
        unsafe { (load(words, 16 * half + step), load(words, 16 * half + 8 + step)) };
    let nibble = _mm256_set1_epi8(15);
    [
        _mm256_and_si256(first, nibble),
        _mm256_and_si256(_mm256_srli_epi16::<4>(first), nibble),
        _mm256_and_si256(second, nibble),
        _mm256_and_si256(_mm256_srli_epi16::<4>(second), nibble),
    ]
}

/// Of 16 words of 2-bit quants, those of a step of a half.
///
/// # Safety
/// The CPU has AVX2; the words are readable, and there is such a step.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn twos(words: *const __m256i, half: usize, step: usize) -> [__m256i; 4] {
    // SAFETY: the caller's promise.
    let all = unsafe { load(words, 8 * half + step) };
    let three = _mm256_set1_epi8(3);
    [
        _mm256_and_si256(all, three),
        _mm256_and_si256(_mm256_srli_epi16::<2>(all), three),
        _mm256_and_si256(_mm256_srli_epi16::<4>(all), three),
        _mm256_and_si256(_mm256_srli_epi16::<6>(all), three),
    ]
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn or(mut a: [__m256i; 4], b: [__m256i; 4]) -> [__m256i; 4] {
    for (a, b) in a.iter_mut().zip(b) {
        *a = _mm256_or_si256(*a, b);
    }
    a
}

/// Bytes `a` and `b` of each lane as a pair of unsigned 16 bits.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widened(word: __m256i, a: usize, b: usize) -> __m256i {
    // The high bytes come from an index whose top bit makes a zero.
    let index = 0x8000_8000_u32 | (a | b << 16) as u32;
    _mm256_shuffle_epi8(word, in_lanes(index))
}

/// The same of signed bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widened_signed(word: __m256i, a: usize, b: usize) -> __m256i {
    let index = 0x0080_0080_u32 | (a << 8 | b << 24) as u32;
    _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(word, in_lanes(index)))
}

/// Indices within a lane's four bytes as those of a shuffle, which counts in sixteen.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn in_lanes(index: u32) -> __m256i {
    let lane = _mm256_setr_epi32(
        0,
        0x0404_0404,
        0x0808_0808,
        0x0c0c_0c0c,
        0,
        0x0404_0404,
        0x0808_0808,
        0x0c0c_0c0c,
    );
    _mm256_or_si256(lane, _mm256_set1_epi32(index.cast_signed()))
}

/// A word of half floats, then three of scales and minima of 6 bits.
///
/// # Safety
/// The CPU has AVX2 and F16C; four words are readable there.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn head_of_sixes(block: *const __m256i) -> Head {
    // SAFETY: the caller's promise.
    let ((d, dmin), [first, second, third]) =
        unsafe { (half_pairs(block), [load(block, 1), load(block, 2), load(block, 3)]) };
    let six = _mm256_set1_epi8(0x3f);
    let nibble = _mm256_set1_epi8(0x0f);
    let two = _mm256_set1_epi8(0x30);
    let high_of = |word: __m256i| _mm256_and_si256(_mm256_srli_epi16::<2>(word), two);
    let low_of = |word: __m256i| _mm256_and_si256(word, nibble);
    let scales = [_mm256_and_si256(first, six), _mm256_or_si256(low_of(third), high_of(first))];
    let minima = [
        _mm256_and_si256(second, six),
        _mm256_or_si256(low_of(_mm256_srli_epi16::<4>(third)), high_of(second)),
    ];
    let mut head = Head { d, dmin, ..Head::zeroed() };
    for i in 0..2 {
        for j in 0..4 {
            head.scales[4 * i + j] = widened(scales[i], j, j);
        }
        for j in 0..2 {
            head.shares[2 * i + j] = widened(minima[i], 2 * j, 2 * j + 1);
        }
    }
    head
}

/// Four words of signed scales, which are also what the offset is multiplied with.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn head_of_signed(d: __m256, words: [__m256i; 4]) -> Head {
    let mut head = Head { d, ..Head::zeroed() };
    for (i, word) in words.into_iter().enumerate() {
        for j in 0..4 {
            head.scales[4 * i + j] = widened_signed(word, j, j);
        }
        for j in 0..2 {
            head.shares[2 * i + j] = widened_signed(word, 2 * j, 2 * j + 1);
        }
    }
    head
}
