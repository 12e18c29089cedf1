//! Why a restore failed. In every case nothing is at the target, and what was there before is as it was.

use std::path::PathBuf;

use reddb_file::Lsn;
use reddb_file::archive::{SegmentError, Sha256Digest};
use reddb_file::vfs::VfsError;

use crate::fetch::FetchError;
use crate::segment::SegmentFault;
use crate::source::SourceError;
use crate::store::{ReadError, StoreError};

/// What to do about a [`RestoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RestoreErrorKind {
    /// The store did not answer: try again later.
    Store,
    /// The archive is damaged: verify it, and see which targets do not need the damaged object.
    Integrity,
    /// The target directory or the local disk.
    Local,
    /// The records or the snapshot were proved and could not be taken.
    Sink,
    /// Somebody stopped it.
    Cancelled,
}

/// What of a base is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseFault {
    /// Nothing of it can be used.
    Whole,
    /// An object, which other snapshots may need too.
    Object(Sha256Digest),
}

/// Why a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The target is there and is not an empty directory.
    #[error("{}: it exists and is not an empty directory; a restore never overwrites anything, choose another", into.display())]
    TargetNotEmpty {
        /// The target.
        into: PathBuf,
    },
    /// The target is a mount point, which nothing can be renamed onto.
    #[error("{}: it is a mount point, so a finished directory cannot be renamed onto it; choose a directory inside it", into.display())]
    TargetIsMountPoint {
        /// The target.
        into: PathBuf,
    },
    /// The target is in the archive's directory, or the archive is in it.
    #[error(
        "{}: it overlaps with the archive in {}; a restore never writes into an archive, choose a directory elsewhere",
        into.display(), archive.display()
    )]
    TargetInArchive {
        /// The target.
        into: PathBuf,
        /// The archive's directory.
        archive: PathBuf,
    },
    /// The target has no name, its parent does not exist, or nothing can be made there.
    #[error("{}: it cannot be a target: {reason}", into.display())]
    TargetUnusable {
        /// The target.
        into: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The plan rests on documents without a digest.
    #[error("{}: no digest, so it cannot be told whether it was changed; it is used only if that is allowed in so many words", keys.join(", "))]
    Unverified {
        /// The documents.
        keys: Vec<String>,
    },
    /// A local file operation failed.
    #[error(transparent)]
    Local(#[from] VfsError),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The snapshot's manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ReadError),
    /// The snapshot's manifest is not the one that was planned with.
    #[error("{key}: it is not what it was when the restore was planned; plan again")]
    ManifestChanged {
        /// The manifest.
        key: String,
    },
    /// A file of the snapshot.
    #[error("file {path} of snapshot {snapshot}: {source}")]
    File {
        /// The snapshot's manifest.
        snapshot: String,
        /// The file's path.
        path: String,
        /// Its declared content.
        sha256: Sha256Digest,
        /// What is wrong.
        source: Box<FetchError>,
    },
    /// A segment.
    #[error("LSNs {first_lsn} to {last_lsn}: {source}")]
    Segment {
        /// The segment's first record.
        first_lsn: Lsn,
        /// Its last record.
        last_lsn: Lsn,
        /// What is wrong.
        source: Box<SegmentFault>,
    },
    /// A document's chain is not the one that the records give.
    #[error("chain mismatch at LSN {lsn}: {key} says {declared}, {found_in} gives {computed}")]
    Chain {
        /// The record.
        lsn: Lsn,
        /// The document.
        key: String,
        /// What it says.
        declared: String,
        /// Where the other chain comes from.
        found_in: String,
        /// What the records give.
        computed: String,
    },
    /// Record times go back on the way to a target time.
    #[error("time goes back at LSN {lsn}: {time_ms} after {before_ms}; restore by LSN instead")]
    Time {
        /// The record.
        lsn: Lsn,
        /// Its time.
        time_ms: u64,
        /// The time before it.
        before_ms: u64,
    },
    /// Proved records did not come back from the staging directory as they went in.
    #[error("staged records after LSN {after} came back changed: {reason}; check the disk")]
    Staging {
        /// The record before them.
        after: Lsn,
        /// What is wrong.
        reason: String,
    },
    /// Replay ended before the target.
    #[error("replay ended at LSN {reached}, before the target LSN {wanted}")]
    Short {
        /// Where it ended.
        reached: Lsn,
        /// Where it should have.
        wanted: Lsn,
    },
    /// The sink refused what the replay was to start from.
    #[error("{base}: {source}")]
    Base {
        /// The snapshot's manifest, or what genesis is.
        base: String,
        /// What it said.
        source: SourceError,
    },
    /// The sink refused.
    #[error("{at}: {source}")]
    Sink {
        /// What it was given.
        at: String,
        /// What it said.
        source: SourceError,
    },
    /// Somebody stopped it.
    #[error("the restore was stopped; nothing was left behind")]
    Cancelled,
    /// A thread of the restore ended without an answer.
    #[error("the restore's thread ended without an answer: {reason}")]
    Thread {
        /// What the runtime said.
        reason: String,
    },
}

impl RestoreError {
    /// What to do about it.
    #[must_use]
    pub fn kind(&self) -> RestoreErrorKind {
        match self {
            Self::TargetNotEmpty { .. }
            | Self::TargetIsMountPoint { .. }
            | Self::TargetInArchive { .. }
            | Self::TargetUnusable { .. }
            | Self::Local(_)
            | Self::Staging { .. } => RestoreErrorKind::Local,
            Self::Store(error) | Self::Manifest(ReadError::Store(error)) => of_store(error),
            Self::File { source, .. } => of_fetch(source),
            Self::Segment { source, .. } => match &**source {
                SegmentFault::Object(error) => of_fetch(error),
                SegmentFault::Decode { .. } | SegmentFault::Sidecar { .. } => RestoreErrorKind::Integrity,
            },
            Self::Unverified { .. }
            | Self::Manifest(ReadError::Document { .. })
            | Self::ManifestChanged { .. }
            | Self::Chain { .. }
            | Self::Time { .. }
            | Self::Short { .. } => RestoreErrorKind::Integrity,
            Self::Base { .. } | Self::Sink { .. } | Self::Thread { .. } => RestoreErrorKind::Sink,
            Self::Cancelled => RestoreErrorKind::Cancelled,
        }
    }

    /// What of the base keeps it from being restored; `None` where it is something else, which every base needs, or where it may
    /// be tried again.
    #[must_use]
    pub fn base_fault(&self) -> Option<BaseFault> {
        match (self, self.kind()) {
            (Self::File { sha256, .. }, RestoreErrorKind::Integrity) => Some(BaseFault::Object(*sha256)),
            (Self::Manifest(_) | Self::ManifestChanged { .. }, RestoreErrorKind::Integrity)
            | (Self::Base { .. }, _) => Some(BaseFault::Whole),
            _ => None,
        }
    }

    pub(super) fn staging(after: Lsn, reason: &SegmentError) -> Self {
        Self::Staging { after, reason: reason.to_string() }
    }
}

fn of_store(error: &StoreError) -> RestoreErrorKind {
    use crate::store::StoreErrorKind as Kind;
    match error.kind() {
        Kind::NotFound | Kind::Integrity | Kind::Conflict => RestoreErrorKind::Integrity,
        Kind::Retry | Kind::Configuration => RestoreErrorKind::Store,
        Kind::Local => RestoreErrorKind::Local,
    }
}

fn of_fetch(error: &FetchError) -> RestoreErrorKind {
    match error {
        FetchError::Store(error) => of_store(error),
        FetchError::Size { .. } | FetchError::Digest { .. } => RestoreErrorKind::Integrity,
    }
}
