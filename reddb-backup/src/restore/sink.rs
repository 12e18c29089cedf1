//! What a restore is handed to: implement [`RestoreSink`] to restore something.
//!
//! The order of calls is `open_base`, then `apply` any number of times, then `finish`; after an error nothing more is
//! called. All methods may block; they are called on one thread that may.

use std::path::{Path, PathBuf};

use reddb_file::archive::{RecordRun, SnapshotRef, Text};
use reddb_file::{ClusterId, TimedMark, TimelineId};
use serde::Serialize;

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

    /// Where the snapshot's files are, below [`Self::root`].
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }
}

/// The snapshot whose files have been put in place: each has its size and its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BaseMark {
    /// The cluster.
    pub cluster: ClusterId,
    /// What names the snapshot.
    pub snapshot: SnapshotRef,
    /// The state holds exactly the records up to here.
    pub mark: TimedMark,
    /// Whose files these are.
    pub engine: Text,
    /// That engine's version.
    pub engine_version: Text,
    /// The version of that engine's own layout.
    pub engine_format_version: u32,
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

/// Takes a snapshot's files and the records after it.
pub trait RestoreSink: Send + 'static {
    /// The snapshot's files are in `staged.base()`. The sink opens them and checks that they are at `base.mark`.
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
