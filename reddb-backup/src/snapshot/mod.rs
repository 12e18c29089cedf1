//! Snapshots: a checkpoint's files by content, then the manifest that names them.
//!
//! Order: checkpoint (which fixes LSN and chain) → our claim is there → files as `objects/<2>/<sha256>` → the archive reaches the LSN → manifest
//! → head. A file whose object is in the archive with the right size is not sent again, so an unchanged file is sent once
//! in the archive's life. Whatever fails or is given up before the manifest leaves objects that the next snapshot finds.
//!
//! A file whose maker knows what was written must read back as that: a digest of damaged bytes would prove nothing.
//!
//! One snapshot runs at a time, in the archiver; a second caller is told which one.

mod digests;
mod staging;
mod upload;

use std::io;
use std::sync::Arc;

use reddb_file::Epoch;
use reddb_file::archive::{DocumentError, FileEntry, RelativePath, SnapshotManifest, Text};
use uuid::Uuid;

use crate::claim::Claim;
use crate::ship::RunningSnapshot;
use crate::source::{Checkpoint, SourceError};
use crate::store::StoreError;

pub(crate) use digests::DigestCache;
pub(crate) use upload::Uploader;

/// How far a snapshot has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotProgress {
    /// Bytes of files that are in the archive.
    pub done_bytes: u64,
    /// The part of them that was sent now; the others were there already.
    pub sent_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// Told of progress. Must not block.
pub(crate) type ProgressFn = Arc<dyn Fn(SnapshotProgress) + Send + Sync>;

/// A snapshot that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Another one is running.
    #[error("a snapshot is running already: {} (since {} ms, {} of {} bytes)", .0.id, .0.since_ms, .0.done_bytes, .0.total_bytes)]
    Busy(RunningSnapshot),
    /// The checkpoint could not be made.
    #[error("the checkpoint could not be made: {0}")]
    Checkpoint(SourceError),
    /// The staging directory.
    #[error("{path}: the snapshot's staging directory cannot be used: {source}")]
    Staging {
        /// The directory.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file of the checkpoint.
    #[error("{path}: a file of the checkpoint cannot be read: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A file of the checkpoint is not what was written.
    #[error(
        "{path}: this file of the checkpoint is damaged on the disk ({detail}): a snapshot with it could not be restored. The \
         archive has every shipped record and the snapshots before: restore from it into a new directory, and serve that"
    )]
    Damaged {
        /// The file, below the checkpoint's directory.
        path: RelativePath,
        /// What its bytes are, and what they were.
        detail: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The place that answers is not the archive that was claimed, or was not for a while, or cannot be told apart from it.
    #[error("the snapshot is given up: {0}")]
    Elsewhere(String),
    /// The manifest cannot be written.
    #[error("the snapshot's manifest cannot be made: {0}")]
    Document(#[from] DocumentError),
    /// A higher epoch was claimed.
    #[error("epoch {by} has been claimed: another writer has taken this archive over")]
    Fenced {
        /// The higher epoch.
        by: Epoch,
    },
    /// The archiver ended first.
    #[error("the archiver ended before the snapshot was published")]
    Ended,
    /// A thread for blocking work died.
    #[error("a thread that worked for the snapshot ended unexpectedly: {0}")]
    Thread(#[from] tokio::task::JoinError),
}

/// A checkpoint whose files are all in the archive.
#[derive(Debug)]
pub(crate) struct Uploaded {
    pub(crate) checkpoint: Checkpoint,
    /// Sorted by path.
    pub(crate) files: Vec<FileEntry>,
}

impl Uploaded {
    /// The manifest that publishes it.
    pub(crate) fn manifest(self, id: Uuid, claim: &Claim, reason: Text, now_ms: u64) -> SnapshotManifest {
        let Checkpoint { mark, files: _, engine, engine_version, engine_format_version } = self.checkpoint;
        SnapshotManifest {
            id,
            cluster: claim.cluster,
            timeline: claim.timeline,
            epoch: claim.epoch,
            lsn: mark.lsn,
            chain: mark.chain,
            time_ms: mark.time_ms,
            engine,
            engine_version,
            engine_format_version,
            total_bytes: self.files.iter().map(|file| file.size_bytes).sum(),
            files: self.files,
            created_ms: now_ms,
            reason,
        }
    }
}
