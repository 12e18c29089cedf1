//! Reading one segment from its header to where its batches end, checking everything on the way. Judges nothing: what an
//! end means is decided in [`super::classify`].

use std::path::Path;

use crate::ids::Lsn;
use crate::mark::{Mark, TimedMark};
use crate::vfs::{OpenMode, Vfs, VfsResult};

use super::format::{BATCH_HEADER, BLOCK, BLOCK_U64, BatchHeader, BatchHeaderError, SegmentHeader, SegmentHeaderError};
use super::verify::{BatchFault, verify_records};
use super::window::{RawBatchError, Window};

/// What one segment holds.
#[derive(Clone, Debug)]
pub(super) struct SegmentScan {
    pub(super) header: SegmentHeader,
    pub(super) file_bytes: u64,
    pub(super) batches: u64,
    pub(super) first_time_ms: Option<u64>,
    /// The position after the last valid batch.
    pub(super) end: TimedMark,
    /// Where the last valid batch ends in the file.
    pub(super) end_offset: u64,
    /// What is there instead of another batch.
    pub(super) stop: Stop,
    /// The chains at those of the asked-for LSNs that lie in this segment, its position before the first included.
    pub(super) chains: Vec<Mark>,
}

/// Where the batches of a segment end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// At the end of the file.
    EndOfFile,
    /// At bytes that are no attempt to write the next batch: zeros, or an earlier use of the file.
    Blank,
    /// At bytes that are, or may be, the next batch, but not a valid one.
    Fault(BatchFault),
}

/// A batch header that is valid under the segment's salt but lies beyond the first bad batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LaterBatch {
    pub(super) offset: u64,
    pub(super) lsn: Lsn,
}

/// Scans the segment at `path`; reports the chains at `lsns` where it holds them.
pub(super) fn scan_segment(
    vfs: &dyn Vfs,
    path: &Path,
    lsns: &[Lsn],
) -> VfsResult<Result<SegmentScan, SegmentHeaderError>> {
    let file = vfs.open(path, OpenMode::Read)?;
    let file_bytes = file.len_bytes()?;
    let mut window = Window::new(file, file_bytes);
    let header = match SegmentHeader::decode(&window.get(0, BLOCK)?) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error)),
    };
    let end = header.before();
    let mut scan = SegmentScan {
        file_bytes,
        batches: 0,
        first_time_ms: None,
        end,
        end_offset: BLOCK_U64,
        stop: Stop::EndOfFile,
        chains: Vec::new(),
        header,
    };
    if lsns.contains(&end.lsn) {
        scan.chains.push(end.mark());
    }
    while scan.end_offset < file_bytes {
        match scan.next_batch(&mut window, lsns) {
            Ok(()) => {}
            Err(RawBatchError::Io(error)) => return Err(error),
            Err(RawBatchError::Fault(fault)) => {
                scan.stop = scan.stop_at(fault, &mut window)?;
                break;
            }
        }
    }
    Ok(Ok(scan))
}

impl SegmentScan {
    fn next_batch(&mut self, window: &mut Window, lsns: &[Lsn]) -> Result<(), RawBatchError> {
        let header = window.batch_header(self.end_offset, &self.header.salt)?;
        let batch = window.batch_records(self.end_offset, header)?;
        let mut chains = Vec::new();
        let mut first_time_ms = self.first_time_ms;
        let end = verify_records(&batch.header, &self.header.salt, &batch.records, self.end, |record, chain| {
            first_time_ms.get_or_insert(record.time_ms);
            if lsns.contains(&record.lsn) {
                chains.push(Mark { lsn: record.lsn, chain: *chain });
            }
        })
        .map_err(RawBatchError::Fault)?;
        self.first_time_ms = first_time_ms;
        self.chains.append(&mut chains);
        self.end = end;
        self.end_offset += batch.header.file_bytes();
        self.batches += 1;
        Ok(())
    }

    /// Tells an attempt to write the next batch from what never was one: a header that does not check out counts as an
    /// attempt only where it names the LSN that comes next.
    fn stop_at(&self, fault: BatchFault, window: &mut Window) -> VfsResult<Stop> {
        let attempt = match &fault {
            BatchFault::Header(BatchHeaderError::Magic | BatchHeaderError::Truncated { .. }) => false,
            BatchFault::Header(BatchHeaderError::Checksum) => {
                let next_lsn = self.end.lsn.next().unwrap_or(Lsn::MAX).get().to_le_bytes();
                window.get(self.end_offset, BATCH_HEADER)?.get(8..16) == Some(next_lsn.as_slice())
            }
            _ => true,
        };
        Ok(if attempt { Stop::Fault(fault) } else { Stop::Blank })
    }

    /// Looks for a batch of this use of the file beyond the end: it proves that the one at the end was acknowledged.
    pub(super) fn find_later(&self, vfs: &dyn Vfs, path: &Path) -> VfsResult<Option<LaterBatch>> {
        let file = vfs.open(path, OpenMode::Read)?;
        let mut window = Window::new(file, self.file_bytes);
        let mut offset = self.end_offset.saturating_add(BLOCK_U64);
        while offset < self.file_bytes {
            let bytes = window.get(offset, BATCH_HEADER)?;
            if let Ok(header) = BatchHeader::decode(&bytes, &self.header.salt)
                && header.first_lsn > self.end.lsn
            {
                return Ok(Some(LaterBatch { offset, lsn: header.first_lsn }));
            }
            offset = offset.saturating_add(BLOCK_U64);
        }
        Ok(None)
    }
}
