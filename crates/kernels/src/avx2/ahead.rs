//! Fetching weights little by little.

use crate::fetch::{LINE, fetch};

/// Blocks of some groups of weight rows that are unpacked next, fetched little by little while the
/// present ones are multiplied: asked for all at once they would wait for one another, and the
/// products for them.
pub(crate) struct Ahead {
    /// The block of the first group.
    first: *const u8,
    group_bytes: usize,
    block_bytes: usize,
    lines_at_once: usize,
    groups_left: usize,
    offset: usize,
}

impl Ahead {
    /// For the block behind the one at `start` of each of `num_groups` groups, or the first one of
    /// as many groups behind `groups`. Is asked to fetch `num_fetches` times meanwhile.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) fn new(
        groups: &[u8],
        group_bytes: usize,
        num_groups: usize,
        (start, block_bytes): (usize, usize),
        num_fetches: usize,
    ) -> Self {
        let next = start + block_bytes;
        let next = if next < group_bytes { next } else { groups.len() };
        let num_lines = num_groups * block_bytes.div_ceil(LINE);
        Self {
            first: groups.as_ptr().wrapping_add(next),
            group_bytes,
            block_bytes,
            lines_at_once: num_lines.div_ceil(num_fetches),
            groups_left: num_groups,
            offset: 0,
        }
    }

    /// Fetches the next lines, until there are no more.
    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    pub(crate) fn fetch(&mut self) {
        if self.groups_left == 0 {
            return;
        }
        for line in 0..self.lines_at_once {
            fetch(self.first.wrapping_add(self.offset + LINE * line));
        }
        self.offset += LINE * self.lines_at_once;
        if self.offset >= self.block_bytes {
            self.first = self.first.wrapping_add(self.group_bytes);
            (self.groups_left, self.offset) = (self.groups_left - 1, 0);
        }
    }
}
