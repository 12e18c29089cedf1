//! What a restore is handed to: implement [`RestoreSink`] to restore something.
//!
//! The order of calls is `open_base`, then `apply` any number of times, then `finish`; after an error nothing more is
//! called. All methods may block; they are called on one thread that may.

use std::path::{Path, PathBuf};

use reddb_file::archive::RecordRun;
use reddb_file::{ClusterId, TimedMark, TimelineId};
use serde::Serialize;

use crate::history::{Base, Snapshot};
use crate::source::SourceError;

/// The directory that is being built. It becomes the restored directory when everything is proved, by one rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedDirectory {
    root: PathBuf,
    base: PathBuf,
}

impl StagedDirectory {
    pub(super) const fn new(root: PathBuf, base: PathBuf) -> Self {
        Self { root, base }
    }

    /// What becomes the restored directory. A sink may add files of its own (an identity, a control file); nothing may
    /// remember this path, for it changes.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the snapshot's files are, below [`Self::root`]; an empty directory for genesis.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }
}

/// What has been put in place to replay on: a snapshot's files, each with its size and its digest, or nothing for genesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BaseMark {
    /// The cluster.
    pub cluster: ClusterId,
    /// The state holds exactly the records up to here: for genesis none, LSN 0 with the cluster's chain.
    pub mark: TimedMark,
    /// The snapshot, which says whose files these are and in which version; or genesis.
    #[serde(rename = "snapshot")]
    pub base: Base<Snapshot>,
}

/// Where a restore ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RestoredMark {
    /// The cluster.
    pub cluster: ClusterId,
    /// The timeline that owns the last record: what follows is a new timeline that forks from it at `mark`.
    pub timeline: TimelineId,
    /// The last record of the state.
    pub mark: TimedMark,
}

/// Takes a snapshot's files, or none, and the records after them.
pub trait RestoreSink: Send + 'static {
    /// The snapshot's files are in `staged.base()`. The sink opens them and checks that they are at `base.mark`. For
    /// [`Base::Genesis`] that directory is empty: the sink begins with the state before LSN 1 there, and records follow.
    ///
    /// # Errors
    /// Whatever keeps it from being opened: the restore ends and leaves nothing.
    fn open_base(&mut self, staged: &StagedDirectory, base: &BaseMark) -> Result<(), SourceError>;

    /// The next records, in order and without a hole. They are proved before this is called: the segment they come from
    /// was read to its end, and its digest, its chain and the chain before it were right.
    ///
    /// # Errors
    /// Whatever keeps them from being applied: the restore ends and leaves nothing.
    fn apply(&mut self, records: &RecordRun) -> Result<(), SourceError>;

    /// There are no more records. The sink flushes, adds what a directory needs and closes every file; the caller then
    /// syncs all files and directories below `staged.root()` and renames it into place.
    ///
    /// # Errors
    /// Whatever keeps it from being finished: the restore ends and leaves nothing.
    fn finish(&mut self, end: &RestoredMark) -> Result<(), SourceError>;
}
