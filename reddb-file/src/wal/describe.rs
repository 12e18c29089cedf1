//! A segment for people: what is in a file, whoever's it is, without changing it and without knowing anything else.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::chain::Chain;
use crate::ids::{ClusterId, Epoch, Lsn, TimelineId};
use crate::vfs::{Vfs, VfsError};

use super::format::{Salt, SegmentHeaderError};
use super::scan::{SegmentScan, Stop, scan_segment};

/// What a segment's file holds. All of it has been checked: checksums, order, times and chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentDescription {
    /// The file.
    pub path: PathBuf,
    /// Whose log it is.
    pub cluster: ClusterId,
    /// Which branch of it.
    pub timeline: TimelineId,
    /// Who wrote it.
    pub epoch: Epoch,
    /// Its first record (that is, or will be, in it).
    pub first_lsn: Lsn,
    /// The chain before that record.
    pub chain_before: Chain,
    /// The time of the record before it, in Unix milliseconds; 0 if there is none.
    pub time_before_ms: u64,
    /// Its last valid record; the one before the first where it holds none.
    pub last_lsn: Lsn,
    /// The chain after that.
    pub chain_after: Chain,
    /// How many records it holds.
    pub records: u64,
    /// In how many batches.
    pub batches: u64,
    /// The time of its first record, in Unix milliseconds.
    pub first_time_ms: Option<u64>,
    /// The time of its last record, in Unix milliseconds.
    pub last_time_ms: Option<u64>,
    /// The salt of this use of the file, as 32 hex digits.
    pub salt: String,
    /// The file's size in bytes.
    pub file_bytes: u64,
    /// How much of that header and batches take.
    pub used_bytes: u64,
    /// What is where the next batch would be.
    pub end: SegmentEnd,
}

/// What is where the next batch would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum SegmentEnd {
    /// The end of the file.
    EndOfFile,
    /// Zeros, or bytes of an earlier use of the file.
    Blank,
    /// A batch that is not valid.
    BadBatch {
        /// What is wrong with it.
        reason: String,
        /// Whether a crash while it was being written can have left it. Then it is a torn tail, if the segment is the log's
        /// last, no mark of the control file is at or beyond it, and no batch follows; otherwise it is damage wherever it is.
        may_be_torn: bool,
        /// A later batch in the same segment, which proves that this one was acknowledged.
        later_lsn: Option<Lsn>,
    },
    /// Nothing, but further on there is a batch of this use of the file: what was here is gone.
    Hole {
        /// Its first record.
        later_lsn: Lsn,
    },
}

/// A file that cannot be described as a segment.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DescribeError {
    /// Its header is not a segment's.
    #[error("{} is not a log segment: {reason}", path.display())]
    NotASegment {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: SegmentHeaderError,
    },
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] VfsError),
}

/// Reads and checks the segment at `path`.
///
/// # Errors
/// Any [`DescribeError`]. Damage after the header is no error but described.
pub fn describe_segment(vfs: &dyn Vfs, path: &Path) -> Result<SegmentDescription, DescribeError> {
    let scan =
        scan_segment(vfs, path, &[])?.map_err(|reason| DescribeError::NotASegment { path: path.to_owned(), reason })?;
    let later_lsn = scan.find_later(vfs, path)?.map(|later| later.lsn);
    let end = match (&scan.stop, later_lsn) {
        (Stop::Fault(fault), later_lsn) => {
            SegmentEnd::BadBatch { reason: fault.to_string(), may_be_torn: fault.may_be_torn(), later_lsn }
        }
        (Stop::Blank | Stop::EndOfFile, Some(later_lsn)) => SegmentEnd::Hole { later_lsn },
        (Stop::Blank, None) => SegmentEnd::Blank,
        (Stop::EndOfFile, None) => SegmentEnd::EndOfFile,
    };
    Ok(describe(path, &scan, end))
}

fn describe(path: &Path, scan: &SegmentScan, end: SegmentEnd) -> SegmentDescription {
    let header = &scan.header;
    SegmentDescription {
        path: path.to_owned(),
        cluster: header.cluster,
        timeline: header.timeline,
        epoch: header.epoch,
        first_lsn: header.first_lsn,
        chain_before: header.chain_before,
        time_before_ms: header.time_before_ms,
        last_lsn: scan.end.lsn,
        chain_after: scan.end.chain,
        records: header.first_lsn.prev().map_or(0, |before| scan.end.lsn.records_since(before)),
        batches: scan.batches,
        first_time_ms: scan.first_time_ms,
        last_time_ms: scan.first_time_ms.map(|_| scan.end.time_ms),
        salt: hex(&header.salt),
        file_bytes: scan.file_bytes,
        used_bytes: scan.end_offset,
        end,
    }
}

fn hex(salt: &Salt) -> String {
    salt.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
