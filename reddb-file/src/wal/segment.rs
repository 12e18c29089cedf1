//! One segment of the log, as the writer and recovery keep track of it.

use std::path::PathBuf;

use serde::Serialize;

use crate::ids::{Epoch, Lsn};

/// One segment of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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

impl SegmentInfo {
    /// Whether it holds no record yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last_lsn < self.first_lsn
    }
}
