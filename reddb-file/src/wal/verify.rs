//! Checking one batch against what came before it.

use crate::chain::Chain;
use crate::ids::Lsn;
use crate::mark::TimedMark;
use crate::record::{RecordError, RecordView};

use super::format::{BatchHeader, BatchHeaderError, Salt};

/// Why the bytes at some offset are not the next batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchFault {
    /// The header cannot be read.
    #[error("{0}")]
    Header(#[from] BatchHeaderError),
    /// A valid header says that the batch is longer than the file.
    #[error("the batch needs {needed_bytes} bytes where the file has {available_bytes}: the file was cut")]
    BeyondFile {
        /// What it needs from its first byte on.
        needed_bytes: u64,
        /// What there is.
        available_bytes: u64,
    },
    /// The records are not those that the header was written for: torn or damaged.
    #[error("the records' checksum does not match (torn or damaged)")]
    RecordsChecksum,
    /// A valid batch that belongs elsewhere.
    #[error("LSN {expected} belongs here, LSN {found} was found")]
    OutOfOrder {
        /// What belongs here.
        expected: Lsn,
        /// What is here.
        found: Lsn,
    },
    /// Checksummed records that cannot be decoded.
    #[error("record {lsn} is malformed: {error}")]
    Record {
        /// Which.
        lsn: Lsn,
        /// Why.
        error: RecordError,
    },
    /// Checksummed records that end before or after what the header says.
    #[error("the batch ends with record {found}, its header says {expected}")]
    Count {
        /// What the header says.
        expected: Lsn,
        /// The last record.
        found: Lsn,
    },
    /// A record's time is before its predecessor's.
    #[error("the time of record {lsn} is before its predecessor's")]
    TimeWentBack {
        /// Which.
        lsn: Lsn,
    },
    /// The chain over the records is not what the header says.
    #[error("the chain after record {lsn} does not match the records: history was altered")]
    Chain {
        /// The batch's last record.
        lsn: Lsn,
    },
}

impl BatchFault {
    /// Whether a crash while the batch was being written can have done this. Anything else has a checksum over it that
    /// says that it was written just so, or that it was there and is not any more.
    #[must_use]
    pub(crate) fn may_be_torn(&self) -> bool {
        match self {
            Self::Header(error) => match error {
                BatchHeaderError::Truncated { .. } | BatchHeaderError::Magic | BatchHeaderError::Checksum => true,
                BatchHeaderError::Impossible { .. } => false,
            },
            Self::RecordsChecksum => true,
            Self::BeyondFile { .. }
            | Self::OutOfOrder { .. }
            | Self::Record { .. }
            | Self::Count { .. }
            | Self::TimeWentBack { .. }
            | Self::Chain { .. } => false,
        }
    }
}

/// Whether a batch with this header continues the log after `before`.
pub(super) fn check_order(header: &BatchHeader, before: Lsn) -> Result<(), BatchFault> {
    let expected = before.next().unwrap_or(Lsn::MAX);
    if header.first_lsn != expected {
        return Err(BatchFault::OutOfOrder { expected, found: header.first_lsn });
    }
    Ok(())
}

/// Checks a batch's records against its header and the position before it, shows each record with the chain after it to
/// `each`, and returns the position after the batch.
pub(super) fn verify_records(
    header: &BatchHeader,
    salt: &Salt,
    records: &[u8],
    before: TimedMark,
    mut each: impl FnMut(&RecordView<'_>, &Chain),
) -> Result<TimedMark, BatchFault> {
    check_order(header, before.lsn)?;
    if salt.crc(records) != header.records_crc {
        return Err(BatchFault::RecordsChecksum);
    }
    let mut at = before;
    let mut rest = records;
    while !rest.is_empty() {
        let expected = at.lsn.next().unwrap_or(Lsn::MAX);
        let record = RecordView::decode(rest).map_err(|error| BatchFault::Record { lsn: expected, error })?;
        if record.lsn != expected || at.lsn == Lsn::MAX {
            return Err(BatchFault::OutOfOrder { expected, found: record.lsn });
        }
        if record.time_ms < at.time_ms {
            return Err(BatchFault::TimeWentBack { lsn: record.lsn });
        }
        at = TimedMark { lsn: record.lsn, chain: at.chain.extend(record.bytes), time_ms: record.time_ms };
        each(&record, &at.chain);
        rest = &rest[record.bytes.len()..];
    }
    if at.lsn != header.last_lsn {
        return Err(BatchFault::Count { expected: header.last_lsn, found: at.lsn });
    }
    if at.chain != header.chain_after {
        return Err(BatchFault::Chain { lsn: at.lsn });
    }
    Ok(at)
}
