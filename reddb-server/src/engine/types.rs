//! The values that go into and come out of an [`Engine`](super::Engine).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reddb_file::{Chain, Lsn};

use super::EngineError;
use super::snapshots::Registration;

/// Which record the engine has applied: its position, the chain after it, and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AppliedMark {
    /// The record's position; [`Lsn::ZERO`] before the first.
    pub lsn: Lsn,
    /// The chain after the record.
    pub chain: Chain,
    /// The record's time, in Unix milliseconds; 0 before the first record.
    pub time_ms: u64,
}

/// One write of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EngineWrite {
    /// The key has this value from now on.
    Put {
        /// The key.
        key: Bytes,
        /// Its new value; may be empty.
        value: Bytes,
    },
    /// The key has no value from now on.
    Delete {
        /// The key.
        key: Bytes,
    },
}

impl EngineWrite {
    /// The key that is written.
    #[must_use]
    pub(crate) fn key(&self) -> &Bytes {
        match self {
            Self::Put { key, .. } | Self::Delete { key } => key,
        }
    }

    /// What the key has from now on, if anything.
    #[must_use]
    pub(crate) const fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Put { value, .. } => Some(value),
            Self::Delete { .. } => None,
        }
    }
}

impl From<(Bytes, Option<Bytes>)> for EngineWrite {
    /// A value, or `None` for a deletion.
    fn from((key, value): (Bytes, Option<Bytes>)) -> Self {
        match value {
            Some(value) => Self::Put { key, value },
            None => Self::Delete { key },
        }
    }
}

/// Keeps one LSN readable while it lives. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    registration: Arc<Registration>,
}

impl Snapshot {
    pub(super) fn new(registration: Registration) -> Self {
        Self { registration: Arc::new(registration) }
    }

    /// The LSN to read at.
    #[must_use]
    pub(crate) fn lsn(&self) -> Lsn {
        self.registration.lsn()
    }

    pub(super) fn registration(&self) -> &Registration {
        &self.registration
    }
}

/// Entries in key order; from the back in reverse order. After an error it ends.
pub(crate) struct EngineIter {
    inner: Box<dyn DoubleEndedIterator<Item = Result<(Bytes, Bytes), EngineError>> + Send>,
    failed: bool,
}

impl EngineIter {
    pub(super) fn new(
        inner: impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + 'static,
    ) -> Self {
        Self { inner: Box::new(inner), failed: false }
    }

    fn checked(
        &mut self,
        item: Option<Result<(Bytes, Bytes), EngineError>>,
    ) -> Option<Result<(Bytes, Bytes), EngineError>> {
        self.failed = matches!(item, Some(Err(_)));
        item
    }
}

impl Iterator for EngineIter {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.inner.next();
        self.checked(item)
    }
}

impl DoubleEndedIterator for EngineIter {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = self.inner.next_back();
        self.checked(item)
    }
}

impl fmt::Debug for EngineIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineIter").field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// What a step of [`delete_range_step`](super::Engine::delete_range_step) did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RangeDeletion {
    /// The range has no entries left.
    Done {
        /// Entries removed by this step.
        entries: usize,
    },
    /// There may be more entries: go on from this key, so that what was removed is not walked again.
    More {
        /// Entries removed by this step.
        entries: usize,
        /// The first key not yet looked at (inclusive).
        resume_from: Bytes,
    },
}

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The last record in it.
    pub mark: AppliedMark,
    /// Its files, in path order.
    pub files: Vec<CheckpointFile>,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CheckpointFile {
    /// The path below the checkpoint's directory.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// The XXH3-128 of what was written to it. The file was not read again: it may be damaged since.
    pub written_xxh3: u128,
}

/// Sizes and counts of an engine, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EngineStats {
    /// Written but not yet flushed, in the memory they take (estimated).
    pub memtable_bytes: u64,
    /// Full memtables that wait to be flushed.
    pub memtables_sealed: usize,
    /// The size of all tables.
    pub disk_bytes: u64,
    /// The number of tables.
    pub tables: usize,
    /// Sorted runs in level 0, each of which a read may have to look into.
    pub l0_runs: usize,
    /// Bytes in the block cache.
    pub block_cache_bytes: u64,
    /// What the block cache may hold.
    pub block_cache_capacity_bytes: u64,
    /// Bytes of filters held in memory outside the block cache.
    pub pinned_filter_bytes: u64,
    /// Bytes of indexes held in memory outside the block cache.
    pub pinned_index_bytes: u64,
    /// Bytes in the cache of hot values.
    pub hot_bytes: u64,
    /// What the cache of hot values may hold.
    pub hot_capacity_bytes: u64,
    /// Reads answered by the cache of hot values.
    pub hot_hits: u64,
    /// Reads that went to the tree.
    pub hot_misses: u64,
    /// Open snapshots.
    pub snapshots: usize,
    /// The oldest LSN that an open snapshot keeps.
    pub snapshot_oldest: Option<Lsn>,
    /// Flushes done since the engine was opened.
    pub flushes: u64,
    /// Compactions done since the engine was opened.
    pub compactions: u64,
    /// Time that writes have waited for the background.
    pub stall: Duration,
    /// Whether flushes wait for space on the disk.
    pub out_of_space: bool,
    /// The first damage that was met in its files.
    pub damage: Option<String>,
}
