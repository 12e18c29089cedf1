//! Making the disk hold what recovery read of the last segment, before anybody sees it.
//!
//! The rule is another file under a new salt, renamed over the segment: at every moment the name leads to a whole segment.
//! Where the disk has no room for another file, the same bytes are written over themselves instead, and zeros over the rest
//! of the file. Neither takes space. It is as safe against what a disk does by the sector: a sector of an acknowledged
//! batch holds the same bytes before and after. It is the second choice because a disk that tears within a sector could
//! damage one.

use std::path::Path;

use crate::durable::parent_dir;
use crate::layout::wal_dir;
use crate::limits::BATCH_HEADER_BYTES;
use crate::vfs::{OpenMode, Vfs, VfsFile};

use super::error::WalError;
use super::format::{BLOCK_U64, BatchHeader, Salt, SegmentHeader};
use super::pool::{SegmentPool, Taken, no_space_or_io, write_zeros};
use super::recover::RecoverError;
use super::scan::SegmentScan;
use super::verify::BatchFault;
use super::window::{RawBatchError, Window};

/// The segment as it is on disk now.
pub(super) struct Rewritten {
    pub(super) salt: Salt,
    pub(super) file_bytes: u64,
}

/// Writes the valid batches of the segment at `path` again, and syncs them; drops what is after them.
pub(super) fn rewrite(
    vfs: &dyn Vfs,
    dir: &Path,
    path: &Path,
    scan: &SegmentScan,
    pool: &SegmentPool,
    salt: Salt,
) -> Result<Rewritten, RecoverError> {
    match pool.take(scan.end_offset) {
        Ok(taken) => rewrite_elsewhere(vfs, dir, path, scan, taken, salt),
        Err(WalError::NoSpace { .. }) => rewrite_in_place(vfs, path, scan),
        Err(error) => Err(error.into()),
    }
}

fn rewrite_elsewhere(
    vfs: &dyn Vfs,
    dir: &Path,
    path: &Path,
    scan: &SegmentScan,
    taken: Taken,
    salt: Salt,
) -> Result<Rewritten, RecoverError> {
    let target = vfs.open(&taken.path, OpenMode::ReadWrite)?;
    copy_batches(vfs, path, scan, target.as_ref(), salt)?;
    target.sync_all()?;
    vfs.rename(&taken.path, path)?;
    vfs.sync_dir(parent_dir(path))?;
    vfs.sync_dir(&wal_dir(dir))?;
    Ok(Rewritten { salt, file_bytes: taken.file_bytes })
}

/// On a file system that cannot even overwrite without space this fails as it would have failed elsewhere.
fn rewrite_in_place(vfs: &dyn Vfs, path: &Path, scan: &SegmentScan) -> Result<Rewritten, RecoverError> {
    let salt = scan.header.salt;
    let target = vfs.open(path, OpenMode::ReadWrite)?;
    copy_batches(vfs, path, scan, target.as_ref(), salt)?;
    let rest_bytes = scan.file_bytes.saturating_sub(scan.end_offset);
    write_zeros(target.as_ref(), scan.end_offset, rest_bytes)
        .and_then(|()| target.sync_all())
        .and_then(|()| vfs.sync_dir(parent_dir(path)))
        .map_err(no_space_or_io)?;
    Ok(Rewritten { salt, file_bytes: scan.file_bytes })
}

/// Writes the segment's header and its valid batches to `target` under `salt`, at the offsets that they have.
fn copy_batches(
    vfs: &dyn Vfs,
    path: &Path,
    scan: &SegmentScan,
    target: &dyn VfsFile,
    salt: Salt,
) -> Result<(), RecoverError> {
    let header = SegmentHeader { salt, ..scan.header.clone() };
    target.write_at(&header.encode().map_err(WalError::from)?, 0).map_err(no_space_or_io)?;
    let mut source = Window::new(vfs.open(path, OpenMode::Read)?, scan.file_bytes);
    let mut offset = BLOCK_U64;
    while offset < scan.end_offset {
        let read = source.batch_header(offset, &scan.header.salt).and_then(|header| {
            let batch = source.batch_records(offset, header)?;
            if scan.header.salt.crc(&batch.records) == batch.header.records_crc {
                Ok(batch)
            } else {
                Err(RawBatchError::Fault(BatchFault::RecordsChecksum))
            }
        });
        let batch = match read {
            Ok(batch) => batch,
            Err(RawBatchError::Io(error)) => return Err(error.into()),
            Err(RawBatchError::Fault(_)) => return Err(RecoverError::Unstable { segment: path.to_owned(), offset }),
        };
        let file_bytes = batch.header.file_bytes();
        let header = BatchHeader { records_crc: salt.crc(&batch.records), ..batch.header };
        let header = header.encode(&salt).map_err(WalError::from)?;
        target.write_at(&header, offset).map_err(no_space_or_io)?;
        target.write_at(&batch.records, offset + u64::from(BATCH_HEADER_BYTES)).map_err(no_space_or_io)?;
        offset += file_bytes;
    }
    Ok(())
}
