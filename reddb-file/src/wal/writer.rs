//! Appending.
use crate::ids::{Epoch, Lsn};
use crate::mark::TimedMark;
use crate::vfs::Vfs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{BatchBuilder, RecoveredLog, Salt, SegmentPool, WalError};

/// Where salts come from: called once for each new segment.
pub type SaltSource = Box<dyn FnMut() -> Salt + Send>;

/// One segment of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The file.
    pub path: PathBuf,
    /// Who wrote it.
    pub epoch: Epoch,
    /// Its first record (that is, or will be, in it).
    pub first_lsn: Lsn,
    /// Its last record; the one before the first where it is empty.
    pub last_lsn: Lsn,
    /// The file's size in bytes.
    pub file_bytes: u64,
}

/// What pruning took off the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneSummary {
    /// How many segments.
    pub segments: u32,
    /// Their size in bytes.
    pub bytes: u64,
}

/// The one writer of the log.
#[derive(Debug)]
pub struct WalWriter {}

impl WalWriter {
    /// Takes over a recovered log. Writes nothing: the first append makes the segment that it needs.
    ///
    /// # Errors
    /// `EpochWentBack`, `Io`.
    pub fn open(
        _vfs: Arc<dyn Vfs>,
        _dir: &Path,
        _pool: Arc<SegmentPool>,
        _log: RecoveredLog,
        _epoch: Epoch,
        _salts: SaltSource,
    ) -> Result<Self, WalError> {
        unimplemented!("being written")
    }

    /// Writes and syncs a batch: durable when it returns `Ok`. Starts a new segment where the batch does not fit, or where the
    /// epoch has changed.
    ///
    /// # Errors
    /// `NoSpace` (nothing written, nothing poisoned), `OutOfOrder`, `EmptyBatch`, and `Poisoned` from then on for ever.
    pub fn append(&mut self, _batch: &mut BatchBuilder) -> Result<(), WalError> {
        unimplemented!("being written")
    }

    /// The epoch of everything that is appended from now on.
    ///
    /// # Errors
    /// `EpochWentBack`.
    pub fn start_epoch(&mut self, _epoch: Epoch) -> Result<(), WalError> {
        unimplemented!("being written")
    }

    /// The last durable record: what the next batch continues.
    #[must_use]
    pub fn last(&self) -> TimedMark {
        unimplemented!("being written")
    }

    /// Why the writer refuses, if it does.
    #[must_use]
    pub fn poisoned(&self) -> Option<&WalError> {
        unimplemented!("being written")
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        unimplemented!("being written")
    }

    /// The bytes that the log's segments take on disk, without spares.
    #[must_use]
    pub fn local_bytes(&self) -> u64 {
        unimplemented!("being written")
    }

    /// Takes the segments wholly at or below `up_to` off the log, never the last one. Does no I/O: the pool recycles them in
    /// [`SegmentPool::fill_step`]. The control file's archived and checkpoint marks must be at or above `up_to` already.
    pub fn prune(&mut self, _up_to: Lsn) -> PruneSummary {
        unimplemented!("being written")
    }
}
