//! Where the log ends.
use crate::control::ControlState;
use crate::ids::{ClusterId, Lsn};
use crate::mark::TimedMark;
use crate::vfs::{Vfs, VfsError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Salt, SegmentInfo, SegmentPool, WalError};

/// What recovery found at the end of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The log ends after a whole batch.
    Clean,
    /// The last batch was not written whole, so it was never acknowledged; it was dropped.
    TornTail {
        /// The segment.
        segment: PathBuf,
        /// Where in it.
        offset: u64,
        /// The first record of the dropped batch.
        lsn: Lsn,
    },
}

/// The log as recovery leaves it, for [`super::WalWriter::open`].
#[derive(Clone, Debug)]
pub struct RecoveredLog {}

impl RecoveredLog {
    /// Where the log ends.
    #[must_use]
    pub fn end(&self) -> TimedMark {
        unimplemented!("being written")
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[SegmentInfo] {
        &[]
    }

    /// The log's first record that is still here; none where it is empty.
    #[must_use]
    pub fn first_lsn(&self) -> Option<Lsn> {
        unimplemented!("being written")
    }
}

/// What recovery did.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// What it found at the end of the log.
    pub verdict: Verdict,
    /// The log.
    pub log: RecoveredLog,
}

/// Damage that is not a torn tail.
#[derive(Clone, Debug)]
pub struct Corruption {
    /// The segment, or the directory where a segment is missing.
    pub segment: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// The first record that is damaged or missing.
    pub lsn: Lsn,
    /// What is wrong.
    pub reason: CorruptionReason,
}

/// What is wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CorruptionReason {}

/// A log that cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecoverError {
    /// The log is damaged; nothing was changed.
    #[error("corrupt")]
    Corrupt(Corruption),
    /// Preparing a segment failed.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] VfsError),
}

/// Recovers the log of the control state's timeline in the data directory `dir`, using its marks (durable, archived,
/// checkpoint), `timeline_begin` and `shutdown`. An empty log is one that begins at `timeline_begin` after `durable`.
///
/// # Errors
/// Any [`RecoverError`].
pub fn recover(
    _vfs: &Arc<dyn Vfs>,
    _dir: &Path,
    _cluster: ClusterId,
    _control: &ControlState,
    _pool: &SegmentPool,
    _salt: Salt,
) -> Result<Recovery, RecoverError> {
    unimplemented!("being written")
}
