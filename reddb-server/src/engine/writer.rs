//! What the thread that applies records owns: the active memtable, the mark of the last record in it, and the list of sealed
//! memtables.
//!
//! Invariant: a memtable is sealed between two records, after the mark of the last one was put into it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use reddb_file::Lsn;

use super::config::{L0_RUNS_MAX, MEMTABLES_SEALED_MAX};
use super::hot::HotCache;
use super::lsm::{Active, LsmTree};
use super::mark::{self, MARK_KEY};
use super::recent::{Filter, Recent};
use super::throttle::Throttle;
use super::writes::memtable_bytes;
use super::{AppliedMark, EngineWrite, seqno};

/// The state behind the writer lock.
pub(super) struct Writer {
    active: Active,
    /// The active memtable's keys.
    filter: Arc<Filter>,
    recent: Arc<Recent>,
    active_bytes: u64,
    /// The last record applied.
    mark: AppliedMark,
    /// The last record whose mark was put into a memtable, or is in tables.
    marked: Lsn,
    /// The sealed memtables that are not in tables yet, oldest first: the same ones, in the same order, as the tree's.
    sealed: VecDeque<Sealed>,
    pub(super) l0_runs: usize,
    pub(super) throttle: Throttle,
    pub(super) closed: bool,
}

/// A sealed memtable.
struct Sealed {
    /// The last record in it.
    mark: AppliedMark,
    bytes: u64,
}

impl Writer {
    /// The writer of a tree that ends at `mark`.
    pub(super) fn new(tree: &LsmTree, mark: AppliedMark, recent: Arc<Recent>) -> Self {
        Self {
            active: tree.active(),
            filter: recent.active(),
            recent,
            active_bytes: 0,
            mark,
            marked: mark.lsn,
            sealed: VecDeque::with_capacity(MEMTABLES_SEALED_MAX + 1),
            l0_runs: tree.l0_runs(),
            throttle: Throttle::default(),
            closed: false,
        }
    }

    /// The last record applied.
    pub(super) fn mark(&self) -> AppliedMark {
        self.mark
    }

    /// The memory that the active memtable takes.
    pub(super) fn active_bytes(&self) -> u64 {
        self.active_bytes
    }

    /// The memory that the sealed memtables take.
    pub(super) fn sealed_bytes(&self) -> u64 {
        self.sealed.iter().map(|sealed| sealed.bytes).sum()
    }

    /// How many memtables are sealed.
    pub(super) fn sealed(&self) -> usize {
        self.sealed.len()
    }

    /// Everything up to a record was put into tables, beside the memtables, which are empty.
    pub(super) fn skip_to(&mut self, mark: AppliedMark, l0_runs: usize) {
        debug_assert!(self.is_in_tables(), "what is in memtables would be taken for newer than the tables");
        (self.mark, self.marked, self.l0_runs) = (mark, mark.lsn, l0_runs);
    }

    /// Whether the memtables hold nothing.
    pub(super) fn is_in_tables(&self) -> bool {
        self.active.is_empty() && self.sealed.is_empty()
    }

    /// Whether the background is not so far behind that sealing must wait.
    pub(super) fn may_seal(&self) -> bool {
        self.sealed.len() < MEMTABLES_SEALED_MAX && self.l0_runs < L0_RUNS_MAX
    }

    /// Puts checked writes into the tree, and into the cache where they are to be published there. Returns the
    /// memory they take.
    pub(super) fn insert(
        &mut self,
        tree: &LsmTree,
        publish: Option<&HotCache>,
        mark: AppliedMark,
        writes: &[EngineWrite],
    ) -> u64 {
        tree.raise_counter(seqno::counter_floor(mark.lsn));
        let number = seqno::of_writes(mark.lsn);
        let mut bytes = 0;
        for write in writes {
            // One write replaces another of the same key and number, so the last one wins.
            bytes += memtable_bytes(write);
            self.filter.add(LsmTree::hash(write.key()));
            match write {
                EngineWrite::Put { key, value } => self.active.put(key, value, number),
                EngineWrite::Delete { key } => self.active.delete(key, number),
            }
            if let Some(hot) = publish {
                hot.publish(mark.lsn, write);
            }
        }
        self.active_bytes += bytes;
        self.mark = mark;
        bytes
    }

    /// Puts the tombstone of an entry in a dead range.
    pub(super) fn bury(&mut self, key: &[u8]) {
        self.active_bytes += memtable_bytes(&EngineWrite::Delete { key: Bytes::copy_from_slice(key) });
        self.filter.add(LsmTree::hash(key));
        self.active.delete(key, seqno::of_range_deletion(self.mark.lsn));
    }

    /// Seals the active memtable at the last record, so that everything applied is in sealed memtables or tables.
    pub(super) fn seal(&mut self, tree: &LsmTree) {
        if self.marked < self.mark.lsn {
            self.active.put(MARK_KEY, &mark::encode(&self.mark), seqno::of_writes(self.mark.lsn));
            self.marked = self.mark.lsn;
        }
        if self.active.is_empty() {
            return;
        }
        self.filter = self.recent.seal(self.mark.lsn);
        self.active = tree.seal();
        self.sealed.push_back(Sealed { mark: self.mark, bytes: self.active_bytes });
        self.active_bytes = 0;
    }

    /// Counts off what a flush took, given how many sealed memtables the tree has left. Returns the last record flushed.
    pub(super) fn count_flushed(&mut self, left: usize) -> Option<AppliedMark> {
        let mut mark = None;
        while self.sealed.len() > left {
            mark = self.sealed.pop_front().map(|flushed| flushed.mark);
        }
        self.recent.keep(self.sealed.len());
        mark
    }
}
