//! Reading a segment forwards: a window of the file in memory, larger the longer one reads on.

use std::sync::Arc;

use bytes::Bytes;

use crate::limits::BATCH_HEADER_BYTES;
use crate::vfs::{VfsFile, VfsResult};

use super::format::{BATCH_HEADER, BatchHeader, Salt};
use super::verify::BatchFault;

const WINDOW_BYTES_MIN: usize = 16 * 1024;
const WINDOW_BYTES_MAX: usize = 512 * 1024;

/// A window of a segment's file.
#[derive(Debug)]
pub(super) struct Window {
    file: Arc<dyn VfsFile>,
    file_bytes: u64,
    start: u64,
    bytes: Bytes,
    next_bytes: usize,
}

/// A batch as it lies in the file; its records' checksum and chain have not been checked.
#[derive(Debug)]
pub(super) struct RawBatch {
    pub(super) header: BatchHeader,
    pub(super) records: Bytes,
}

/// A batch that could not be had: the file system failed, or there is none.
pub(super) enum RawBatchError {
    Io(crate::vfs::VfsError),
    Fault(BatchFault),
}

impl Window {
    /// An empty window of `file`, which has so many bytes.
    pub(super) fn new(file: Arc<dyn VfsFile>, file_bytes: u64) -> Self {
        Self { file, file_bytes, start: 0, bytes: Bytes::new(), next_bytes: WINDOW_BYTES_MIN }
    }

    /// Forgets what was read: it may be out of date.
    pub(super) fn forget(&mut self) {
        self.bytes = Bytes::new();
        self.next_bytes = WINDOW_BYTES_MIN;
    }

    /// Whether nothing is remembered.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// `len` bytes from `offset`, fewer where the file ends before. The caller has bounded `len` by the file's size.
    pub(super) fn get(&mut self, offset: u64, len: usize) -> VfsResult<Bytes> {
        if let Some(bytes) = self.cached(offset, len) {
            return Ok(bytes);
        }
        let mut buf = vec![0; len.max(self.readable(offset, self.next_bytes))];
        let count = self.file.read_at(&mut buf, offset)?;
        buf.truncate(count);
        self.next_bytes = (self.next_bytes * 2).min(WINDOW_BYTES_MAX);
        self.start = offset;
        self.bytes = Bytes::from(buf);
        Ok(self.bytes.slice(..len.min(count)))
    }

    /// The header of the batch at `offset`.
    pub(super) fn batch_header(&mut self, offset: u64, salt: &Salt) -> Result<BatchHeader, RawBatchError> {
        let bytes = self.get(offset, self.readable(offset, BATCH_HEADER)).map_err(RawBatchError::Io)?;
        let header = BatchHeader::decode(&bytes, salt).map_err(|error| RawBatchError::Fault(error.into()))?;
        let available_bytes = self.file_bytes.saturating_sub(offset);
        if header.file_bytes() > available_bytes {
            let needed_bytes = header.file_bytes();
            return Err(RawBatchError::Fault(BatchFault::BeyondFile { needed_bytes, available_bytes }));
        }
        Ok(header)
    }

    /// The records of the batch at `offset` that has this header.
    pub(super) fn batch_records(&mut self, offset: u64, header: BatchHeader) -> Result<RawBatch, RawBatchError> {
        let records_at = offset + u64::from(BATCH_HEADER_BYTES);
        let len = self.readable(records_at, usize::try_from(header.records_bytes).unwrap_or(usize::MAX));
        let records = self.get(records_at, len).map_err(RawBatchError::Io)?;
        if u32::try_from(records.len()).ok() != Some(header.records_bytes) {
            let (needed_bytes, available_bytes) = (header.records_bytes.into(), records.len() as u64);
            return Err(RawBatchError::Fault(BatchFault::BeyondFile { needed_bytes, available_bytes }));
        }
        Ok(RawBatch { header, records })
    }

    /// How many of `len` bytes at `offset` the file has.
    fn readable(&self, offset: u64, len: usize) -> usize {
        usize::try_from(self.file_bytes.saturating_sub(offset)).map_or(len, |available| len.min(available))
    }

    fn cached(&self, offset: u64, len: usize) -> Option<Bytes> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(len)?;
        (to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}
