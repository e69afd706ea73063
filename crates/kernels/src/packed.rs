//! Weight matrices in blocks of quants, eight rows side by side.
//!
//! A matrix is cut into groups of [`GROUP`] rows, the last one padded with zeros. A group holds the
//! blocks of its rows in order; within a block, the 32-bit words of the eight rows lie together,
//! so that a vector loads one word of each row and a lane belongs to a row. All that a step of a
//! product reads is one stream in address order. Apart from the padding a matrix takes as many
//! bytes as in the file.

use crate::quantized::{BLOCK_LEN, BlockFormat};
use crate::super_blocks::{SUPER_LEN, SuperFormat};

/// Rows that lie side by side.
pub const GROUP: usize = 8;

pub(crate) const WORD: usize = 4;
pub(crate) const HALF: usize = 2;
/// Words of a row that vector code packs at a time.
pub(crate) const RUN: usize = 4;

/// Format of the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackedFormat {
    Blocks(BlockFormat),
    Supers(SuperFormat),
}

/// The words of a file's block in the order in which they are packed: what scales the block first,
/// then what is read together.
pub(crate) struct Layout {
    words: &'static [u8],
    half: Half,
}

/// Words of a block, [`RUN`] of them if it is whole and else one, from one place to another.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) is_whole: bool,
}

/// Where a block that is not whole words has a half float, which is packed before the words.
#[derive(Clone, Copy, PartialEq)]
enum Half {
    None,
    First,
    Last,
}

const Q2K: Layout = Layout {
    words: &[20, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19],
    half: Half::None,
};
const Q3K: Layout = Layout {
    words: &[
        24, 25, 26, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
        22, 23,
    ],
    half: Half::Last,
};
const Q6K: Layout = Layout {
    words: &[
        48, 49, 50, 51, // scales
        32, 33, 34, 35, 36, 37, 38, 39, // high bits and low nibbles of the first half
        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, //
        40, 41, 42, 43, 44, 45, 46, 47, // and of the second
        16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
    ],
    half: Half::Last,
};
const IN_ORDER: [u8; 44] = {
    let mut words = [0; 44];
    let mut i = 0;
    while i < words.len() {
        words[i] = i as u8;
        i += 1;
    }
    words
};

impl PackedFormat {
    /// Elements of a block.
    pub const fn block_len(self) -> usize {
        match self {
            Self::Blocks(_) => BLOCK_LEN,
            Self::Supers(_) => SUPER_LEN,
        }
    }

    /// Bytes of a block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Blocks(format) => format.block_bytes(),
            Self::Supers(format) => format.block_bytes(),
        }
    }

    pub(crate) fn layout(self) -> Layout {
        let in_order = |count: usize| IN_ORDER.split_at(count).0;
        match self {
            Self::Blocks(BlockFormat::Q4_0) => Layout { words: in_order(4), half: Half::First },
            Self::Blocks(BlockFormat::Q4_1) => Layout { words: in_order(5), half: Half::None },
            Self::Blocks(BlockFormat::Q5_0) => Layout { words: in_order(5), half: Half::First },
            Self::Blocks(BlockFormat::Q5_1) => Layout { words: in_order(6), half: Half::None },
            Self::Blocks(BlockFormat::Q8_0) => Layout { words: in_order(8), half: Half::First },
            Self::Supers(SuperFormat::Q2K) => Q2K,
            Self::Supers(SuperFormat::Q3K) => Q3K,
            Self::Supers(SuperFormat::Q4K) => Layout { words: in_order(36), half: Half::None },
            Self::Supers(SuperFormat::Q5K) => Layout { words: in_order(44), half: Half::None },
            Self::Supers(SuperFormat::Q6K) => Q6K,
        }
    }

    /// Bytes of a packed matrix of `num_weights` rows of `k`. `None` if `k` is not whole blocks or
    /// the number does not fit.
    pub fn packed_bytes(self, num_weights: usize, k: usize) -> Option<usize> {
        if k == 0 || !k.is_multiple_of(self.block_len()) {
            return None;
        }
        let row_bytes = (k / self.block_len()).checked_mul(self.block_bytes())?;
        num_weights.div_ceil(GROUP).checked_mul(GROUP)?.checked_mul(row_bytes)
    }

    /// Packs 1 to [`GROUP`] rows of a file, `row_bytes` each, into one group.
    ///
    /// Panics if the lengths do not fit.
    pub fn pack_group(self, rows: &[u8], row_bytes: usize, group: &mut [u8]) {
        self.check_group(rows, row_bytes, group);
        let block_bytes = self.block_bytes();
        let num_rows = rows.len() / row_bytes;
        if num_rows < GROUP {
            group.fill(0);
        }
        let layout = self.layout();
        for (block_id, packed) in group.chunks_exact_mut(GROUP * block_bytes).enumerate() {
            let (halves, words) = packed.split_at_mut(layout.halves_bytes());
            let (words, _) = words.as_chunks_mut::<WORD>();
            let (words, _) = words.as_chunks_mut::<GROUP>();
            for row in 0..num_rows {
                let start = row * row_bytes + block_id * block_bytes;
                let (half, source) = layout.split(&rows[start..start + block_bytes]);
                if layout.half != Half::None {
                    halves[row * HALF..(row + 1) * HALF].copy_from_slice(half);
                }
                let (source, _) = source.as_chunks::<WORD>();
                for (words, &word) in words.iter_mut().zip(layout.words) {
                    words[row] = source[usize::from(word)];
                }
            }
        }
    }

    pub(crate) fn check_group(self, rows: &[u8], row_bytes: usize, group: &[u8]) {
        let block_bytes = self.block_bytes();
        assert!(row_bytes > 0 && row_bytes.is_multiple_of(block_bytes), "rows are whole blocks");
        assert!(rows.len().is_multiple_of(row_bytes) && rows.len() <= GROUP * row_bytes);
        assert_eq!(group.len(), GROUP * row_bytes);
    }

    /// The reverse for one row: its bytes as the file has them.
    ///
    /// Panics if the lengths do not fit.
    pub fn unpack_row(self, group: &[u8], row: usize, out: &mut [u8]) {
        let block_bytes = self.block_bytes();
        assert!(row < GROUP && out.len().is_multiple_of(block_bytes));
        assert_eq!(group.len(), GROUP * out.len());
        let packed = group.chunks_exact(GROUP * block_bytes);
        for (packed, out) in packed.zip(out.chunks_exact_mut(block_bytes)) {
            self.unpack_block(packed, row, out);
        }
    }

    /// One row's block of a packed one.
    pub(crate) fn unpack_block(self, packed: &[u8], row: usize, out: &mut [u8]) {
        let layout = self.layout();
        let (halves, words) = packed.split_at(layout.halves_bytes());
        let half = &halves[(row * HALF).min(halves.len())..][..halves.len() / GROUP];
        let words_bytes = layout.words.len() * WORD;
        let (half_at, words_at) = layout.offsets();
        out[half_at..half_at + half.len()].copy_from_slice(half);
        let (out, _) = out[words_at..words_at + words_bytes].as_chunks_mut::<WORD>();
        let (words, _) = words.as_chunks::<WORD>();
        for (words, &word) in words.as_chunks::<GROUP>().0.iter().zip(layout.words) {
            out[usize::from(word)] = words[row];
        }
    }
}

impl Layout {
    /// Where a file's block has its half float, if it has one, and its words.
    pub(crate) fn offsets(&self) -> (usize, usize) {
        match self.half {
            Half::None | Half::First => (0, self.halves_bytes() / GROUP),
            Half::Last => (self.words.len() * WORD, 0),
        }
    }

    /// All words as runs, as few as there can be; the last ones may share words.
    pub(crate) fn runs(&self) -> ([Run; IN_ORDER.len()], usize) {
        let mut runs = [Run { from: 0, to: 0, is_whole: false }; IN_ORDER.len()];
        let (mut to, mut count) = (0, 0);
        let is_whole =
            |words: &[u8]| words.len() >= RUN && (1..RUN).all(|i| words[i] == words[0] + i as u8);
        while to < self.words.len() {
            // What is left at the end may be packed along with what has been already.
            let last = self.words.len().saturating_sub(RUN);
            let at = if to > last && is_whole(&self.words[last..]) { last } else { to };
            let is_whole = is_whole(&self.words[at..]);
            runs[count] = Run { from: usize::from(self.words[at]), to: at, is_whole };
            to = at + if is_whole { RUN } else { 1 };
            count += 1;
        }
        (runs, count)
    }

    /// Bytes of the half floats of a packed block.
    pub(crate) fn halves_bytes(&self) -> usize {
        if self.half == Half::None { 0 } else { GROUP * HALF }
    }

    /// A file's block as its half float and its words.
    fn split<'a>(&self, block: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        match self.half {
            Half::None => (&[], block),
            Half::First => block.split_at(HALF),
            Half::Last => {
                let (words, half) = block.split_at(block.len() - HALF);
                (half, words)
            }
        }
    }
}
