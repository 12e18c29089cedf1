//! What can go wrong with the log while the process runs. What can be wrong with it at start is in [`super::recover()`].

use std::path::PathBuf;

use crate::ids::{ClusterId, Epoch, Lsn, TimelineId};
use crate::vfs::VfsError;

use super::format::{BatchHeaderError, SegmentHeaderError};

/// A write to the log that did not take place, or may not have.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalError {
    /// No space for another segment. Nothing was written and nothing is poisoned: the same batch may be tried again.
    #[error("no space for another log segment ({source}): writes are refused until there is; free space on that disk")]
    NoSpace {
        /// What the system said.
        source: VfsError,
    },
    /// A write or a sync failed now or earlier: what the disk holds is unknown to this process, and it may never
    /// acknowledge anything again.
    #[error(
        "the log is poisoned since LSN {lsn}: {cause}; nothing after the last acknowledged LSN is promised; check the disk, \
         then restart: recovery finds out what is there"
    )]
    Poisoned {
        /// The first LSN that was not acknowledged.
        lsn: Lsn,
        /// What failed.
        cause: VfsError,
    },
    /// The batch does not continue the log. Nothing was written.
    #[error(
        "a batch that continues LSN {found} was given to a log that ends at LSN {expected} (or their chains differ)"
    )]
    OutOfOrder {
        /// Where the log ends.
        expected: Lsn,
        /// Where the batch begins, minus one.
        found: Lsn,
    },
    /// The batch has no records. Nothing was written.
    #[error("an empty batch cannot be written")]
    EmptyBatch,
    /// An epoch below the current one. Nothing was changed.
    #[error("epoch {requested} was requested, but the log is in epoch {current} already")]
    EpochWentBack {
        /// The log's.
        current: Epoch,
        /// The requested one.
        requested: Epoch,
    },
    /// A header field that no header can have: an LSN or a timeline out of range.
    #[error("the batch header cannot be written: {0}")]
    BatchHeader(#[from] BatchHeaderError),
    /// As above, for a segment's header.
    #[error("the segment header cannot be written: {0}")]
    SegmentHeader(#[from] SegmentHeaderError),
    /// Options out of range.
    #[error(
        "a segment size of {segment_bytes} bytes is not possible: it must be a multiple of 4096 from 8192 to 1 GiB"
    )]
    SegmentBytes {
        /// The requested size.
        segment_bytes: u64,
    },
    /// Preparing spare segments failed. The log itself is not affected.
    #[error(transparent)]
    Io(#[from] VfsError),
}

/// A record that cannot be read from the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalReadError {
    /// The log does not reach back to that record any more: read it from the archive.
    #[error(
        "LSN {requested} is not in the local log any more{}: read it from the archive",
        first_available.map_or_else(String::new, |first| format!(" (it begins at LSN {first})"))
    )]
    Pruned {
        /// What was asked for.
        requested: Lsn,
        /// The log's first record; none where it has no segment.
        first_available: Option<Lsn>,
    },
    /// A durable record is not there, or not as it was written.
    #[error(
        "{} is damaged at offset {offset} (LSN {lsn}): {reason}; do not delete anything: `reddb verify` tells whether the \
         archive has these records, `reddb restore` brings them back",
        segment.display()
    )]
    Damaged {
        /// The segment.
        segment: PathBuf,
        /// Where in it.
        offset: u64,
        /// The first record that cannot be read.
        lsn: Lsn,
        /// What is wrong.
        reason: String,
    },
    /// A segment of another log.
    #[error(
        "{} belongs to cluster {found_cluster}, timeline {found_timeline}, not to cluster {cluster}, timeline {timeline}",
        segment.display()
    )]
    OtherLog {
        /// The segment.
        segment: PathBuf,
        /// The expected cluster.
        cluster: ClusterId,
        /// The expected timeline.
        timeline: TimelineId,
        /// The segment's cluster.
        found_cluster: ClusterId,
        /// The segment's timeline.
        found_timeline: TimelineId,
    },
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] VfsError),
}
