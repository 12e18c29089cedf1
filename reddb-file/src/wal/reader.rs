//! Streaming the durable log.
use crate::chain::Chain;
use crate::ids::{ClusterId, Epoch, Lsn, TimelineId};
use crate::mark::TimedMark;
use crate::record::RecordView;
use crate::vfs::Vfs;
use bytes::Bytes;
use std::path::Path;
use std::sync::Arc;

use super::WalReadError;

/// A run of consecutive records of one batch; CRC and chain have been checked.
#[derive(Clone, Debug)]
pub struct WalBatch {
    /// The epoch of the segment that it lies in.
    pub epoch: Epoch,
    /// Its first record.
    pub first_lsn: Lsn,
    /// The chain before its first record.
    pub chain_before: Chain,
    /// The time of its first record, in Unix milliseconds.
    pub first_time_ms: u64,
    /// Its last record.
    pub last: TimedMark,
    /// The encoded records, back to back.
    pub bytes: Bytes,
}

impl WalBatch {
    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        std::iter::empty()
    }

    /// Its records, each with the chain after it (hashed again: 160 ns a record).
    pub fn records_with_chain(&self) -> impl Iterator<Item = (RecordView<'_>, Chain)> {
        std::iter::empty()
    }
}

/// Reads batches in LSN order, while the writer goes on.
#[derive(Debug)]
pub struct WalReader {}

impl WalReader {
    /// A reader of the log in the data directory `dir` that begins with record `from`. Opens nothing yet.
    #[must_use]
    pub fn new(_vfs: Arc<dyn Vfs>, _dir: &Path, _cluster: ClusterId, _timeline: TimelineId, _from: Lsn) -> Self {
        unimplemented!("being written")
    }

    /// The next records, up to and including `durable`; `None` where there are none yet.
    ///
    /// # Errors
    /// Any [`WalReadError`]. The reader stays where it was.
    pub fn next_batch(&mut self, _durable: Lsn) -> Result<Option<WalBatch>, WalReadError> {
        unimplemented!("being written")
    }

    /// The record that the next batch begins with.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        unimplemented!("being written")
    }
}
