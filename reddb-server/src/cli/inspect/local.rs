//! The files of a data directory: segments of the log, the control file, the identity.

use std::ffi::OsStr;
use std::path::Path;

use bytes::Bytes;
use reddb_file::Lsn;
use reddb_file::identity::Identity;
use reddb_file::inspect::{SlotDescription, describe_control};
use reddb_file::layout::parse_segment_name;
use reddb_file::limits::IDENTITY_BYTES_MAX;
use reddb_file::vfs::{StdVfs, Vfs, read_small_file};
use reddb_file::wal::{BatchHeader, DescribeError, SegmentDescription, SegmentEnd, SegmentHeader, describe_segment};

use super::records::RecordsReader;
use super::{CliError, Finding, unreadable};
use crate::cli::output::to_json;

const BLOCK_BYTES: usize = 4096;
const BATCH_HEADER_BYTES: usize = 64;

pub(super) fn segment(path: &Path, records_max: u64) -> Result<Finding, CliError> {
    let vfs = StdVfs;
    let description = match describe_segment(&vfs, path) {
        Ok(description) => description,
        Err(error @ DescribeError::NotASegment { .. }) => return Ok(Finding::fault(error)),
        Err(DescribeError::Io(error)) => return Err(unreadable(path, &error)),
    };
    let mut finding = Finding { content: to_json(&description)?, ..Finding::default() };
    judge(&description, &mut finding);
    if let Some(named) = path.file_name().and_then(OsStr::to_str).and_then(parse_segment_name)
        && named != description.first_lsn
    {
        finding.faults.push(format!(
            "it is named after LSN {named}, but its header says that it begins with LSN {}: it was renamed or swapped",
            description.first_lsn
        ));
    }
    read_records(&vfs, path, description.used_bytes, records_max)?.finish(&mut finding);
    Ok(finding)
}

/// What recovery would say of where the batches end, as far as one segment alone can tell.
fn judge(description: &SegmentDescription, finding: &mut Finding) {
    let at = description.used_bytes;
    let next = description.last_lsn.next().unwrap_or(Lsn::MAX);
    match &description.end {
        SegmentEnd::EndOfFile | SegmentEnd::Blank => {}
        SegmentEnd::BadBatch { reason, later_lsn: Some(later), .. } => finding.faults.push(format!(
            "the batch at offset {at}, which begins with LSN {next}, is damaged: {reason}; a batch with LSN {later} follows, \
             so it was acknowledged. Restore from the archive into a new directory"
        )),
        SegmentEnd::BadBatch { reason, may_be_torn: false, later_lsn: None } => finding.faults.push(format!(
            "the batch at offset {at}, where LSN {next} belongs, is damaged: {reason}; a crash does not do this, and \
             `reddb serve` refuses it. Restore from the archive into a new directory"
        )),
        SegmentEnd::BadBatch { reason, may_be_torn: true, later_lsn: None } => finding.notices.push(format!(
            "the batch at offset {at}, which would begin with LSN {next}, is not whole: {reason}. If no segment follows and \
             no mark of the control file is at LSN {next} or beyond, that is a write that was cut off before anybody was told \
             of it, and `reddb serve` drops it; otherwise it is damage, and `reddb serve` refuses it"
        )),
        SegmentEnd::Hole { later_lsn } => finding.faults.push(format!(
            "nothing at offset {at} where LSN {next} belongs, but a batch with LSN {later_lsn} follows: what was here is \
             gone. Restore from the archive into a new directory"
        )),
    }
}

/// The records of a segment whose first `used_bytes` have been checked, a batch at a time.
fn read_records(vfs: &dyn Vfs, path: &Path, used_bytes: u64, shown_max: u64) -> Result<RecordsReader, CliError> {
    let read = |length: usize, offset: u64| -> Result<Vec<u8>, CliError> {
        let mut bytes = vec![0; length];
        let file = vfs.open(path, reddb_file::vfs::OpenMode::Read).map_err(|error| unreadable(path, &error))?;
        let count = file.read_at(&mut bytes, offset).map_err(|error| unreadable(path, &error))?;
        bytes.truncate(count);
        Ok(bytes)
    };
    let header = SegmentHeader::decode(&read(BLOCK_BYTES, 0)?).map_err(|error| unreadable(path, &error))?;
    let mut offset = BLOCK_BYTES as u64;
    let mut records = RecordsReader::new(shown_max);
    while offset < used_bytes {
        let batch = BatchHeader::decode(&read(BATCH_HEADER_BYTES, offset)?, &header.salt)
            .map_err(|error| unreadable(path, &error))?;
        // The header is checksummed and its length bounded, and the whole batch lies in the part that was checked.
        let length = usize::try_from(batch.records_bytes).map_err(|error| unreadable(path, &error))?;
        let bytes = Bytes::from(read(length, offset + BATCH_HEADER_BYTES as u64)?);
        records.take_encoded(&bytes);
        offset += batch.file_bytes();
    }
    Ok(records)
}

pub(super) fn control(path: &Path) -> Result<Finding, CliError> {
    let description = describe_control(&StdVfs, path).map_err(|error| unreadable(path, &error))?;
    let mut finding = Finding { content: to_json(&description)?, ..Finding::default() };
    for (number, slot) in description.slots.iter().enumerate() {
        if let SlotDescription::Invalid { reason } = slot {
            finding.notices.push(format!("slot {number} cannot be used: {reason}"));
        }
    }
    if description.newest.is_none() {
        finding.faults.append(&mut finding.notices);
        finding.faults.push("neither slot can be used. Restore from the archive into a new directory".into());
    }
    Ok(finding)
}

pub(super) fn identity(path: &Path) -> Result<Finding, CliError> {
    let contents = match read_small_file(&StdVfs, path, IDENTITY_BYTES_MAX) {
        Ok(contents) => contents,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => return Ok(Finding::fault(error)),
        Err(error) => return Err(unreadable(path, &error)),
    };
    match Identity::decode(&contents, path) {
        Ok(identity) => Ok(Finding { content: to_json(&identity)?, ..Finding::default() }),
        Err(error) => Ok(Finding::fault(error)),
    }
}
