//! Shipping: the log into the archive, continuously, by one task that owns the epoch's head.
//!
//! ```text
//! log ──read──▶ run ──zstd──▶ "our claim" ─▶ segment ─▶ sidecar ─▶ "our claim, no higher one" ─▶ head ─▶ log.archived(mark)
//! ```
//!
//! Each arrow waits for the one before, so at any crash the archive holds a prefix of the log and its head is a lower bound
//! of it. Reading and compressing the next run overlaps with writing the present one; nothing else does.
//!
//! [`Archiver`] is the task, [`ArchiverHandle`] what others talk to it through. A failure changes nothing but the time of
//! the next attempt. A higher claim ends its work for good: [`ArchiverState::Fenced`].

mod archiver;
mod handle;
mod head;
pub(crate) mod owned;
mod plan;
mod publish;
mod shipment;
mod status;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use reddb_file::archive::{DocumentError, SegmentError};
use reddb_file::{Chain, Epoch, Lsn};

use crate::codec::CompressionLevel;
use crate::source::SourceError;
use crate::store::{ReadError, RetryPolicy, StoreError};

pub use crate::points::PointError;
pub use archiver::{Archiver, ArchiverParts};
pub use handle::{ArchiverHandle, HandleError, ShutdownReport};
pub use status::{ArchiverState, ArchiverStatus, RunningSnapshot, Shipped};

/// How an [`Archiver`] works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiverSettings {
    /// How often it looks for something to ship. Default 1 s.
    pub interval: Duration,
    /// How often the head is written where there is nothing to ship. Default 10 s.
    pub beat_interval: Duration,
    /// The most plain record bytes of a segment; a larger single record has one to itself. Default 8 MiB, at most
    /// 64 MiB.
    pub segment_plain_bytes_max: u64,
    /// How hard zstd tries. Default 3.
    pub level: CompressionLevel,
    /// How long it waits between failing attempts (`attempts_max` means nothing here: it never gives up). Default: half a
    /// second, doubling up to 30 s.
    pub backoff: RetryPolicy,
    /// Where checkpoints are made: a directory on the file system of the data. What is in it may be deleted at any time when
    /// no archiver runs.
    pub staging: PathBuf,
    /// How many files of a snapshot are sent at the same time, to a local disk two at most; each holds a part of 8 MiB in memory.
    /// Default 4.
    pub uploads_at_once: usize,
}

impl ArchiverSettings {
    /// The defaults, with checkpoints made below `staging`.
    #[must_use]
    pub fn new(staging: PathBuf) -> Self {
        Self {
            interval: Duration::from_secs(1),
            beat_interval: Duration::from_secs(10),
            segment_plain_bytes_max: 8 * 1024 * 1024,
            level: CompressionLevel::default(),
            backoff: RetryPolicy {
                attempts_max: u32::MAX,
                first_wait: Duration::from_millis(500),
                wait_max: Duration::from_secs(30),
            },
            staging,
            uploads_at_once: 4,
        }
    }
}

/// What keeps something from being shipped.
#[derive(Debug, thiserror::Error)]
pub enum ShipError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is there is not the archive that was claimed.
    #[error(
        "{store} does not hold the claim of epoch {epoch} that this server made ({instead}): it was emptied, or another place \
         answers; nothing is written there and the log is kept: bring this server's archive back (mount its disk, put its \
         bucket back)"
    )]
    ClaimGone {
        /// The store.
        store: String,
        /// The claimed epoch.
        epoch: Epoch,
        /// What is in the claim's place.
        instead: String,
    },
    /// The log does not answer.
    #[error("the log cannot {attempted}: {source}")]
    Log {
        /// What was asked of it.
        attempted: &'static str,
        /// Its answer.
        source: SourceError,
    },
    /// The log handed out bytes that are not its records.
    #[error("the log handed out bytes that are not the records behind LSN {after}: {source}; check the local disk")]
    BadRun {
        /// The archived record before them.
        after: Lsn,
        /// What is wrong.
        source: SegmentError,
    },
    /// The log's records are not the ones that its mark speaks of.
    #[error(
        "the log's records up to LSN {lsn} give the chain {computed}, its own mark says {declared}; check the local disk"
    )]
    ChainMismatch {
        /// The LSN.
        lsn: Lsn,
        /// The mark's chain.
        declared: Chain,
        /// What the records give.
        computed: Chain,
    },
    /// The archive holds something else under this epoch's own name.
    #[error("{key}: the archive holds other content under this name, though only this writer may write it: {detail}")]
    Conflict {
        /// The object.
        key: String,
        /// How it differs.
        detail: String,
    },
    /// Somebody claimed a higher epoch.
    #[error("epoch {by} has been claimed: another writer has taken this archive over, and this one must stop writing")]
    Fenced {
        /// The higher epoch.
        by: Epoch,
    },
    /// A document that cannot be made.
    #[error("a document for the archive cannot be made: {0}")]
    Document(#[from] DocumentError),
    /// The compressor.
    #[error("a segment cannot be compressed: {0}")]
    Compress(std::io::Error),
    /// A thread for blocking work died.
    #[error("a thread that worked for the archiver ended unexpectedly: {0}")]
    Thread(#[from] tokio::task::JoinError),
}
