//! Building a batch: records are encoded once, into the buffer that will be written.
//!
//! The builder gives out LSNs and extends the chain, so a batch continues its predecessor by construction: LSNs without
//! holes, times that never go back. Header and padding are filled in by the writer, which knows the salt.

use crate::ids::Lsn;
use crate::limits::{BATCH_RECORDS_BYTES_MAX, RECORD_HEADER_BYTES};
use crate::mark::TimedMark;
use crate::record::{RecordError, RecordKind, RecordView, encode_parts};

use super::format::{BATCH_HEADER, BLOCK, BatchHeader, BatchHeaderError, Salt};

/// How much of its buffer an emptied batch keeps at most, in bytes: more than usual batches need.
const BUFFER_BYTES_KEPT: usize = 4 * 1024 * 1024;

/// A record that cannot be added to a batch; the batch is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The batch would exceed [`BATCH_RECORDS_BYTES_MAX`]: write it and begin another.
    #[error("the batch holds {held_bytes} bytes of records and cannot take {record_bytes} more")]
    Full {
        /// What it holds.
        held_bytes: u64,
        /// What was to be added.
        record_bytes: u64,
    },
    /// The record's time is before its predecessor's.
    #[error("record {lsn} has time {time_ms}, before its predecessor's {before_ms}: log time never goes back")]
    TimeWentBack {
        /// The record.
        lsn: Lsn,
        /// Its time.
        time_ms: u64,
        /// The time of the record before it.
        before_ms: u64,
    },
    /// An encoded record does not continue the log.
    #[error("record {found} was added where record {expected} belongs")]
    OutOfOrder {
        /// The LSN that comes next.
        expected: Lsn,
        /// The record's.
        found: Lsn,
    },
    /// There is no LSN after the last one.
    #[error("the log has used every LSN")]
    LsnExhausted,
    /// The record is too large or malformed.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// A batch being built. Reuse it with [`BatchBuilder::reset`]: it keeps its buffer, unless that is large.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// Room for the header, then records; after sealing also padding.
    buf: Vec<u8>,
    /// Where the records end in `buf`.
    records_end: usize,
    /// The time of the first record, if there is one.
    first_time_ms: u64,
    before: TimedMark,
    last: TimedMark,
}

impl BatchBuilder {
    /// An empty batch that continues the log after `before`.
    #[must_use]
    pub fn new(before: TimedMark) -> Self {
        Self { buf: vec![0; BATCH_HEADER], records_end: BATCH_HEADER, first_time_ms: 0, before, last: before }
    }

    /// Empties the batch; the next record follows `before`. What a large batch took of memory is given back.
    pub fn reset(&mut self, before: TimedMark) {
        self.buf.truncate(BATCH_HEADER);
        self.buf.shrink_to(BUFFER_BYTES_KEPT);
        self.records_end = BATCH_HEADER;
        self.before = before;
        self.last = before;
    }

    /// Adds a record and returns its LSN, chain and time (Unix milliseconds).
    ///
    /// # Errors
    /// [`BatchError::Full`], `TimeWentBack`, `LsnExhausted`, and `Record` for a payload above the limit.
    pub fn push(&mut self, time_ms: u64, kind: RecordKind, payload: &[u8]) -> Result<TimedMark, BatchError> {
        let lsn = self.next_lsn()?;
        self.check_time(lsn, time_ms)?;
        self.check_room(u64::from(RECORD_HEADER_BYTES) + payload.len() as u64)?;
        self.unseal();
        encode_parts(lsn, time_ms, kind, payload, &mut self.buf)?;
        Ok(self.extend(lsn, time_ms))
    }

    /// Adds a record that is encoded already, as received from another holder of the log.
    ///
    /// # Errors
    /// As [`BatchBuilder::push`], and `OutOfOrder`, and `Record` where the bytes are not exactly one record.
    pub fn push_encoded(&mut self, record_bytes: &[u8]) -> Result<TimedMark, BatchError> {
        let record = RecordView::decode(record_bytes)?;
        if record.bytes.len() != record_bytes.len() {
            return Err(BatchError::Record(RecordError::Truncated {
                needed_bytes: record.bytes.len() as u64,
                available_bytes: record_bytes.len() as u64,
            }));
        }
        let lsn = self.next_lsn()?;
        if record.lsn != lsn {
            return Err(BatchError::OutOfOrder { expected: lsn, found: record.lsn });
        }
        self.check_time(lsn, record.time_ms)?;
        self.check_room(record_bytes.len() as u64)?;
        self.unseal();
        self.buf.extend_from_slice(record_bytes);
        Ok(self.extend(lsn, record.time_ms))
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records_end == BATCH_HEADER
    }

    /// The position before the batch.
    #[must_use]
    pub fn before(&self) -> TimedMark {
        self.before
    }

    /// The position after the batch so far.
    #[must_use]
    pub fn last(&self) -> TimedMark {
        self.last
    }

    /// The time of its first record, in Unix milliseconds. The batch must not be empty.
    pub(super) fn first_time_ms(&self) -> u64 {
        self.first_time_ms
    }

    /// The encoded records, back to back.
    #[must_use]
    pub fn records(&self) -> &[u8] {
        &self.buf[BATCH_HEADER..self.records_end]
    }

    /// The size of the records so far, in bytes.
    #[must_use]
    pub fn records_bytes(&self) -> u32 {
        u32::try_from(self.records().len()).expect("adding a record checks BATCH_RECORDS_BYTES_MAX, a u32")
    }

    /// The bytes to write in a segment with this salt: header, records and padding.
    pub(super) fn seal(&mut self, salt: &Salt) -> Result<&[u8], BatchHeaderError> {
        self.unseal();
        let header = BatchHeader {
            records_bytes: self.records_bytes(),
            first_lsn: self.before.lsn.next().ok_or(BatchHeaderError::Impossible { field: "first LSN" })?,
            last_lsn: self.last.lsn,
            chain_after: self.last.chain,
            records_crc: salt.crc(self.records()),
        };
        self.buf[..BATCH_HEADER].copy_from_slice(&header.encode(salt)?);
        self.buf.resize(self.records_end.next_multiple_of(BLOCK), 0);
        Ok(&self.buf)
    }

    /// Takes the padding off again.
    fn unseal(&mut self) {
        self.buf.truncate(self.records_end);
    }

    fn next_lsn(&self) -> Result<Lsn, BatchError> {
        self.last.lsn.next().ok_or(BatchError::LsnExhausted)
    }

    fn check_time(&self, lsn: Lsn, time_ms: u64) -> Result<(), BatchError> {
        if time_ms < self.last.time_ms {
            return Err(BatchError::TimeWentBack { lsn, time_ms, before_ms: self.last.time_ms });
        }
        Ok(())
    }

    fn check_room(&self, record_bytes: u64) -> Result<(), BatchError> {
        let held_bytes = self.records().len() as u64;
        if !self.is_empty() && held_bytes + record_bytes > u64::from(BATCH_RECORDS_BYTES_MAX) {
            return Err(BatchError::Full { held_bytes, record_bytes });
        }
        Ok(())
    }

    /// Takes the record that was just appended to the buffer into the batch.
    fn extend(&mut self, lsn: Lsn, time_ms: u64) -> TimedMark {
        if self.is_empty() {
            self.first_time_ms = time_ms;
        }
        let chain = self.last.chain.extend(&self.buf[self.records_end..]);
        self.records_end = self.buf.len();
        self.last = TimedMark { lsn, chain, time_ms };
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;

    #[test]
    fn an_emptied_batch_keeps_a_usual_buffer_and_gives_a_large_one_back() {
        let genesis = TimedMark::genesis(ClusterId::from_bytes([1; 16]));
        let mut batch = BatchBuilder::new(genesis);
        for (payload_bytes, kept_bytes_max) in
            [(BUFFER_BYTES_KEPT / 2, 2 * BUFFER_BYTES_KEPT), (1 << 25, BUFFER_BYTES_KEPT)]
        {
            batch.push(1, RecordKind::Changes, &vec![0; payload_bytes]).unwrap();
            batch.reset(genesis);
            assert!(batch.buf.capacity() >= BUFFER_BYTES_KEPT / 2, "{payload_bytes}");
            assert!(batch.buf.capacity() <= kept_bytes_max, "{payload_bytes}: {}", batch.buf.capacity());
        }
    }
}
