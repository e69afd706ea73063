//! Which blocks hold which tokens, so that a later sequence can start behind a prefix it shares.
//!
//! A full block is known by a hash over its tokens and the hash of the block before it, hence by
//! everything from the start of its sequence. The hash is SHA-256: a client who could make two
//! prefixes collide would read another client's context.

use std::collections::{HashMap, hash_map::Entry};

use sha2::{Digest, Sha256};

use crate::model::BlockId;

/// Identity of a full block: its tokens and all tokens before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct BlockHash([u8; 32]);

impl BlockHash {
    /// The hash before the first block of requests without a salt.
    pub(super) const ROOT: Self = Self([0; 32]);

    /// The hash before the first block. Sequences share blocks only under the same root, so one
    /// salt's cannot be found, and its presence not be measured, under another.
    pub(super) fn root(salt: Option<&str>) -> Self {
        salt.map_or(Self::ROOT, |salt| Self(Sha256::digest(salt).into()))
    }

    pub(super) fn chain(self, tokens: &[u32]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        for token in tokens {
            hasher.update(token.to_le_bytes());
        }
        Self(hasher.finalize().into())
    }
}

/// Full blocks by their hash, and of those that nobody references, which was used longest ago.
#[derive(Debug)]
pub(super) struct PrefixCache {
    by_hash: HashMap<BlockHash, BlockId>,
    hash_of: Vec<Option<BlockHash>>,
    unreferenced: LruList,
}

impl PrefixCache {
    pub(super) fn new(num_blocks: usize) -> Self {
        Self {
            by_hash: HashMap::new(),
            hash_of: vec![None; num_blocks],
            unreferenced: LruList::new(num_blocks),
        }
    }

    /// Blocks that hold a known prefix and are not referenced by any sequence.
    pub(super) fn num_unreferenced(&self) -> usize {
        self.unreferenced.len
    }

    pub(super) fn lookup(&self, hash: &BlockHash) -> Option<BlockId> {
        self.by_hash.get(hash).copied()
    }

    pub(super) fn contains(&self, block: BlockId) -> bool {
        self.hash_of[block as usize].is_some()
    }

    /// Makes a referenced block findable. Where another block holds the same tokens already, that
    /// one stays and this one remains private. Says whether the tokens are new to the cache.
    pub(super) fn publish(&mut self, block: BlockId, hash: BlockHash) -> bool {
        debug_assert!(!self.contains(block), "block {block} is published once");
        let Entry::Vacant(entry) = self.by_hash.entry(hash) else { return false };
        entry.insert(block);
        self.hash_of[block as usize] = Some(hash);
        true
    }

    /// The last reference to a published block went away: it may be evicted from now on.
    pub(super) fn park(&mut self, block: BlockId) {
        debug_assert!(self.contains(block));
        self.unreferenced.push_newest(block);
    }

    /// A published block without references is referenced again.
    pub(super) fn unpark(&mut self, block: BlockId) {
        self.unreferenced.remove(block);
    }

    /// Forgets the block that was parked longest ago.
    pub(super) fn evict(&mut self) -> Option<BlockId> {
        let block = self.unreferenced.pop_oldest()?;
        let hash = self.hash_of[block as usize].take().expect("a parked block is published");
        self.by_hash.remove(&hash);
        Some(block)
    }
}

/// "No block" in the links of [`LruList`].
const NIL: BlockId = BlockId::MAX;

/// A doubly linked list through the blocks, so that every operation is O(1) without allocation.
#[derive(Debug)]
struct LruList {
    older: Vec<BlockId>,
    newer: Vec<BlockId>,
    oldest: BlockId,
    newest: BlockId,
    len: usize,
}

impl LruList {
    fn new(num_blocks: usize) -> Self {
        Self {
            older: vec![NIL; num_blocks],
            newer: vec![NIL; num_blocks],
            oldest: NIL,
            newest: NIL,
            len: 0,
        }
    }

    fn push_newest(&mut self, block: BlockId) {
        self.older[block as usize] = self.newest;
        self.newer[block as usize] = NIL;
        match self.newest {
            NIL => self.oldest = block,
            newest => self.newer[newest as usize] = block,
        }
        self.newest = block;
        self.len += 1;
    }

    fn remove(&mut self, block: BlockId) {
        let (older, newer) = (self.older[block as usize], self.newer[block as usize]);
        match older {
            NIL => self.oldest = newer,
            older => self.newer[older as usize] = newer,
        }
        match newer {
            NIL => self.newest = older,
            newer => self.older[newer as usize] = older,
        }
        self.len -= 1;
    }

    fn pop_oldest(&mut self) -> Option<BlockId> {
        let block = self.oldest;
        if block == NIL {
            return None;
        }
        self.remove(block);
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_names_the_tokens_and_everything_before_them() {
        let first = BlockHash::ROOT.chain(&[1, 2]);
        assert_eq!(first, BlockHash::ROOT.chain(&[1, 2]));
        assert_ne!(first, BlockHash::ROOT.chain(&[2, 1]));
        assert_ne!(first.chain(&[3, 4]), BlockHash::ROOT.chain(&[3, 4]));
        assert_ne!(first.chain(&[3, 4]), BlockHash::ROOT.chain(&[1, 2, 3, 4]));
    }

    #[test]
    fn the_block_parked_longest_ago_is_evicted_first() {
        let mut cache = PrefixCache::new(4);
        let hashes: Vec<_> = (0..4).map(|token| BlockHash::ROOT.chain(&[token])).collect();
        for block in 0..4 {
            cache.publish(block, hashes[block as usize]);
            cache.park(block);
        }
        cache.unpark(1);
        cache.unpark(0);
        cache.park(0);
        assert_eq!(cache.num_unreferenced(), 3);
        assert_eq!([cache.evict(), cache.evict(), cache.evict()], [Some(2), Some(3), Some(0)]);
        assert_eq!(cache.evict(), None);
        assert_eq!(cache.lookup(&hashes[0]), None);
        assert_eq!(cache.lookup(&hashes[1]), Some(1), "a referenced block stays findable");
    }

    #[test]
    fn the_first_block_with_the_same_tokens_wins() {
        let mut cache = PrefixCache::new(2);
        let hash = BlockHash::ROOT.chain(&[7]);
        cache.publish(1, hash);
        cache.publish(0, hash);
        assert_eq!(cache.lookup(&hash), Some(1));
        assert!(!cache.contains(0));
    }
}
