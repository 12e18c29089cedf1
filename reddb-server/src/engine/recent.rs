//! Which keys may be in memtables: lets most reads of other keys skip them.
//!
//! Searching a memtable costs more than all else that a read in memory does, and most keys are in none. Each memtable, the
//! active one and every sealed one, therefore has a blocked Bloom filter of its keys.
//!
//! Why skipping is safe for a reader that looks at the filters before it takes the tree's tables: a key is added before its
//! write can be read; a memtable's filter is dropped only after the flush that put its entries into tables was installed.
//!
//! Tables may lack older versions of what they hold newer ones of, so they serve only readers for whom they hold nothing
//! that is too new: what was sealed last ([`Recent::sealed_lsn`], asked after the tables were taken) is not above the
//! reader's LSN.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use reddb_file::Lsn;

/// A key takes at least so much of a memtable.
const KEY_MEMTABLE_BYTES: u64 = 256;
/// Keys that share a block of 512 bits, when the memtable is full: about 1 in 300 others is then taken for one of them.
const KEYS_PER_BLOCK: u64 = 32;
const BITS_PER_KEY: u32 = 6;
const WORDS_PER_BLOCK: usize = 8;

type Block = [AtomicU64; WORDS_PER_BLOCK];

/// The keys of one memtable.
pub(super) struct Filter {
    blocks: Box<[Block]>,
}

/// The filters of the memtables, oldest first, the active one's last.
pub(super) struct Recent {
    filters: RwLock<VecDeque<Arc<Filter>>>,
    blocks_per_filter: u64,
    sealed_lsn: AtomicU64,
}

impl Filter {
    fn new(blocks: u64) -> Arc<Self> {
        Arc::new(Self { blocks: (0..blocks.max(1)).map(|_| Block::default()).collect() })
    }

    /// Adds a key by its hash. Called by the writer only.
    pub(super) fn add(&self, hash: u64) {
        let (block, bits) = self.place(hash);
        for (word, mask) in bits {
            // Published with the LSN of the write.
            block[word].fetch_or(mask, Ordering::Relaxed);
        }
    }

    fn may_hold(&self, hash: u64) -> bool {
        let (block, mut bits) = self.place(hash);
        bits.all(|(word, mask)| block[word].load(Ordering::Relaxed) & mask != 0)
    }

    fn place(&self, hash: u64) -> (&Block, impl Iterator<Item = (usize, u64)>) {
        let blocks = self.blocks.len() as u128;
        // The high part of the product spreads the hash evenly over any number of blocks.
        let index = usize::try_from((u128::from(hash) * blocks) >> 64).unwrap_or(0);
        let mixed = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bits = (0..BITS_PER_KEY).map(move |bit| {
            let position = (mixed >> (bit * 9)) & 511;
            (usize::try_from(position / 64).unwrap_or(0), 1 << (position % 64))
        });
        (&self.blocks[index], bits)
    }
}

impl Recent {
    /// One empty memtable, which is full at `memtable_bytes`.
    /// All records up to `flushed` are in tables.
    pub(super) fn new(memtable_bytes: u64, flushed: Lsn) -> Self {
        let blocks_per_filter = memtable_bytes / KEY_MEMTABLE_BYTES / KEYS_PER_BLOCK;
        Self {
            filters: RwLock::new(VecDeque::from([Filter::new(blocks_per_filter)])),
            blocks_per_filter,
            sealed_lsn: AtomicU64::new(flushed.get()),
        }
    }

    /// The active memtable's filter.
    pub(super) fn active(&self) -> Arc<Filter> {
        self.filters.read().back().map_or_else(|| Filter::new(self.blocks_per_filter), Arc::clone)
    }

    /// The active memtable is about to be sealed; `last` is the last record in it. Gives the next one's filter.
    pub(super) fn seal(&self, last: Lsn) -> Arc<Filter> {
        self.sealed_lsn.store(last.get(), Ordering::Release);
        let next = Filter::new(self.blocks_per_filter);
        self.filters.write().push_back(Arc::clone(&next));
        next
    }

    /// Records up to `last` are about to come into tables without having been in a memtable.
    pub(super) fn raise_sealed_lsn(&self, last: Lsn) {
        self.sealed_lsn.store(last.get(), Ordering::Release);
    }

    /// So many memtables are sealed and not in tables: what came before them is.
    pub(super) fn keep(&self, sealed: usize) {
        let mut filters = self.filters.write();
        while filters.len() > sealed + 1 {
            filters.pop_front();
        }
    }

    /// The last record that may be in tables.
    pub(super) fn sealed_lsn(&self) -> Lsn {
        Lsn::new(self.sealed_lsn.load(Ordering::Acquire))
    }

    /// Whether a key may be in a memtable, by its hash.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.filters.read().iter().any(|filter| filter.may_hold(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads like a hash.
    fn hash(number: u64) -> u64 {
        let mixed = (number ^ (number >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    }

    #[test]
    fn what_was_added_is_found_until_its_memtable_is_flushed() {
        let recent = Recent::new(1 << 20, Lsn::ZERO);
        let mut filter = recent.active();
        for memtable in 0..3 {
            (0..4096).for_each(|key| filter.add(hash(memtable * 4096 + key)));
            filter = recent.seal(Lsn::new(memtable + 1));
        }
        let held = |memtable: u64| (0..4096).filter(|key| recent.may_hold(hash(memtable * 4096 + key))).count();
        assert_eq!([held(0), held(1), held(2)], [4096; 3]);
        assert_eq!(recent.sealed_lsn(), Lsn::new(3));
        recent.keep(1);
        assert_eq!(held(2), 4096);
        assert!(held(0) < 100 && held(1) < 100, "{} {}", held(0), held(1));
        recent.keep(0);
        assert_eq!([held(0), held(1), held(2)], [0; 3]);
    }

    #[test]
    fn few_other_keys_are_taken_for_one_of_a_full_memtables() {
        let recent = Recent::new(64 << 20, Lsn::ZERO);
        let filter = recent.active();
        (0..(64 << 20) / KEY_MEMTABLE_BYTES).for_each(|key| filter.add(hash(key)));
        let wrong = (0..100_000).filter(|key| recent.may_hold(hash((1 << 40) + key))).count();
        assert!(wrong < 1000, "{wrong} of 100,000");
    }
}
