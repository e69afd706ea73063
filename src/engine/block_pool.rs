//! Who holds which block of the KV cache. Every block is in exactly one state:
//!
//! - *free*: holds nothing of worth;
//! - *used*: referenced by one sequence or, as part of a shared prefix, by several;
//! - *cached*: referenced by none, but findable by its hash until it is evicted.
//!
//! `free + cached + used` is the number of blocks, always.

use crate::engine::prefix_cache::{BlockHash, PrefixCache};
use crate::model::BlockId;

#[derive(Debug)]
pub(super) struct BlockPool {
    /// Sequences that reference the block.
    num_references: Vec<u32>,
    free: Vec<BlockId>,
    num_used: usize,
    prefix_cache: PrefixCache,
}

impl BlockPool {
    pub(super) fn new(num_blocks: usize) -> Self {
        let last = BlockId::try_from(num_blocks).expect("a pool has fewer than 2^32 blocks");
        Self {
            num_references: vec![0; num_blocks],
            free: (0..last).rev().collect(),
            num_used: 0,
            prefix_cache: PrefixCache::new(num_blocks),
        }
    }

    pub(super) fn num_blocks(&self) -> usize {
        self.num_references.len()
    }

    pub(super) fn num_free(&self) -> usize {
        self.free.len()
    }

    pub(super) fn num_cached(&self) -> usize {
        self.prefix_cache.num_unreferenced()
    }

    pub(super) fn num_used(&self) -> usize {
        self.num_used
    }

    /// Blocks that `allocate` can hand out: free ones, and cached ones by evicting them.
    pub(super) fn num_available(&self) -> usize {
        self.num_free() + self.num_cached()
    }

    /// A block for one sequence to write to; the cached block unused for longest if none is free.
    pub(super) fn allocate(&mut self) -> Option<BlockId> {
        let block = self.free.pop().or_else(|| self.prefix_cache.evict())?;
        debug_assert_eq!(self.num_references[block as usize], 0);
        self.num_references[block as usize] = 1;
        self.num_used += 1;
        self.debug_assert_balanced();
        Some(block)
    }

    /// References the block that holds this prefix, if there is one.
    pub(super) fn acquire_cached(&mut self, hash: &BlockHash) -> Option<BlockId> {
        let block = self.prefix_cache.lookup(hash)?;
        let num_references = &mut self.num_references[block as usize];
        *num_references += 1;
        if *num_references == 1 {
            self.prefix_cache.unpark(block);
            self.num_used += 1;
        }
        self.debug_assert_balanced();
        Some(block)
    }

    /// Makes a full block findable, and says whether its tokens were not findable before. Its keys
    /// and values must be known to be finite.
    pub(super) fn publish(&mut self, block: BlockId, hash: BlockHash) -> bool {
        debug_assert!(self.num_references[block as usize] > 0, "only its owner publishes a block");
        self.prefix_cache.publish(block, hash)
    }

    /// Drops one reference to each block. The end of a sequence goes first, so that of a cached
    /// prefix the end is evicted before the start, without which it could not be found.
    pub(super) fn release(&mut self, blocks: &[BlockId]) {
        for &block in blocks.iter().rev() {
            let num_references = &mut self.num_references[block as usize];
            *num_references =
                num_references.checked_sub(1).expect("a block is released once per reference");
            if *num_references == 0 {
                self.num_used -= 1;
                if self.prefix_cache.contains(block) {
                    self.prefix_cache.park(block);
                } else {
                    self.free.push(block);
                }
            }
        }
        self.debug_assert_balanced();
    }

    fn debug_assert_balanced(&self) {
        debug_assert_eq!(
            self.num_free() + self.num_cached() + self.num_used(),
            self.num_blocks(),
            "every block is free, cached or used"
        );
    }

    /// Counts everything anew and compares it with the references that sequences hold.
    #[cfg(test)]
    pub(super) fn assert_consistent<'a>(&self, tables: impl Iterator<Item = &'a [BlockId]>) {
        let mut num_references = vec![0; self.num_blocks()];
        for &block in tables.flatten() {
            num_references[block as usize] += 1;
        }
        assert_eq!(num_references, self.num_references, "a block leaked or was freed twice");
        let num_used = num_references.iter().filter(|&&count| count > 0).count();
        assert_eq!(num_used, self.num_used);
        assert!(self.free.iter().all(|&block| num_references[block as usize] == 0));
        assert!(self.free.iter().all(|&block| !self.prefix_cache.contains(block)));
        self.debug_assert_balanced();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_go_from_free_to_used_to_cached_and_back() {
        let mut pool = BlockPool::new(3);
        let blocks: Vec<_> = (0..3).map(|_| pool.allocate().unwrap()).collect();
        assert_eq!(pool.allocate(), None);
        let hash = BlockHash::ROOT.chain(&[1]);
        pool.publish(blocks[0], hash);
        pool.release(&blocks);
        assert_eq!((pool.num_free(), pool.num_cached(), pool.num_used()), (2, 1, 0));

        assert_eq!(pool.acquire_cached(&hash), Some(blocks[0]));
        assert_eq!(pool.acquire_cached(&hash), Some(blocks[0]), "shared by two sequences");
        assert_eq!((pool.num_free(), pool.num_cached(), pool.num_used()), (2, 0, 1));
        pool.release(&blocks[..1]);
        assert_eq!(pool.num_used(), 1);
        pool.release(&blocks[..1]);
        assert_eq!((pool.num_free(), pool.num_cached(), pool.num_used()), (2, 1, 0));

        assert!((0..3).all(|_| pool.allocate().is_some()), "a cached block is evicted");
        assert_eq!(pool.acquire_cached(&hash), None);
    }

    #[test]
    fn the_end_of_a_prefix_is_evicted_before_its_start() {
        let mut pool = BlockPool::new(2);
        let blocks: Vec<_> = (0..2).map(|_| pool.allocate().unwrap()).collect();
        let start = BlockHash::ROOT.chain(&[1]);
        let end = start.chain(&[2]);
        pool.publish(blocks[0], start);
        pool.publish(blocks[1], end);
        pool.release(&blocks);
        assert_eq!(pool.allocate(), Some(blocks[1]));
        assert_eq!(pool.acquire_cached(&start), Some(blocks[0]));
    }

    #[test]
    #[should_panic(expected = "released once per reference")]
    fn releasing_twice_panics() {
        let mut pool = BlockPool::new(1);
        let block = pool.allocate().unwrap();
        pool.release(&[block]);
        pool.release(&[block]);
    }
}
