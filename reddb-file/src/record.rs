//! The record: one committed transaction.
//!
//! ```text
//! offset  size  field      encoding
//!      0     4  length     u32 LE: the payload's size in bytes, at most RECORD_PAYLOAD_BYTES_MAX
//!      4     8  LSN        u64 LE, from 1
//!     12     8  time       u64 LE: Unix milliseconds; never less than the record before
//!     20     1  kind       1 = changes, 2 = timeline
//!     21     …  payload    changes: reddb-wire's change records; timeline: `TimelineRecord`
//! ```
//!
//! These bytes, and nothing else, are chained, streamed and archived. They carry no checksum of their own: every holder
//! wraps them in an envelope that has one, and the chain proves the rest.

use bytes::Bytes;

use crate::ids::Lsn;
use crate::limits::{RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX};

/// What a record's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// Post-images of one transaction, encoded by `reddb-wire`.
    Changes = 1,
    /// The first record of a timeline.
    Timeline = 2,
}

impl From<RecordKind> for u8 {
    fn from(kind: RecordKind) -> Self {
        match kind {
            RecordKind::Changes => 1,
            RecordKind::Timeline => 2,
        }
    }
}

impl TryFrom<u8> for RecordKind {
    type Error = RecordError;

    fn try_from(byte: u8) -> Result<Self, Self::Error> {
        match byte {
            1 => Ok(Self::Changes),
            2 => Ok(Self::Timeline),
            other => Err(RecordError::UnknownKind { kind: other }),
        }
    }
}

/// One committed transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position.
    pub lsn: Lsn,
    /// When it was committed, in Unix milliseconds.
    pub time_ms: u64,
    /// What the payload is.
    pub kind: RecordKind,
    /// The payload.
    pub payload: Bytes,
}

/// Bytes that are not a record, or a record that may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the record needs.
    #[error("record is cut short: {needed_bytes} bytes needed, {available_bytes} available")]
    Truncated {
        /// What the record needs from its first byte on.
        needed_bytes: u64,
        /// What there is.
        available_bytes: u64,
    },
    /// A payload larger than any record's.
    #[error("record declares a payload of {payload_bytes} bytes; the limit is {RECORD_PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// The declared size.
        payload_bytes: u64,
    },
    /// A kind that this version does not know.
    #[error("unknown record kind {kind}")]
    UnknownKind {
        /// The kind byte.
        kind: u8,
    },
    /// LSN 0, which is no record's.
    #[error("a record cannot have LSN 0")]
    ZeroLsn,
}

impl Record {
    /// The encoded size in bytes.
    #[must_use]
    pub fn encoded_bytes(&self) -> u64 {
        u64::from(RECORD_HEADER_BYTES) + self.payload.len() as u64
    }

    /// Appends the encoded record to `out`.
    ///
    /// # Errors
    /// [`RecordError::TooLarge`] and [`RecordError::ZeroLsn`], in which case `out` is unchanged.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), RecordError> {
        encode_parts(self.lsn, self.time_ms, self.kind, &self.payload, out)
    }

    /// Decodes the record at the start of `bytes` and says how many bytes it took. The payload shares `bytes`' memory.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn decode(bytes: &Bytes) -> Result<(Self, usize), RecordError> {
        let view = RecordView::decode(bytes)?;
        let used = view.bytes.len();
        Ok((
            Self { lsn: view.lsn, time_ms: view.time_ms, kind: view.kind, payload: bytes.slice(header_usize()..used) },
            used,
        ))
    }
}

/// Appends a record made of these parts to `out`; see [`Record::encode_into`].
///
/// # Errors
/// [`RecordError::TooLarge`] and [`RecordError::ZeroLsn`], in which case `out` is unchanged.
pub fn encode_parts(
    lsn: Lsn,
    time_ms: u64,
    kind: RecordKind,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    if lsn == Lsn::ZERO {
        return Err(RecordError::ZeroLsn);
    }
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|length| *length <= RECORD_PAYLOAD_BYTES_MAX)
        .ok_or(RecordError::TooLarge { payload_bytes: payload.len() as u64 })?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&lsn.get().to_le_bytes());
    out.extend_from_slice(&time_ms.to_le_bytes());
    out.push(u8::from(kind));
    out.extend_from_slice(payload);
    Ok(())
}

/// A record in place: nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Its position.
    pub lsn: Lsn,
    /// When it was committed, in Unix milliseconds.
    pub time_ms: u64,
    /// What the payload is.
    pub kind: RecordKind,
    /// The payload.
    pub payload: &'a [u8],
    /// The whole encoded record: what the chain hashes.
    pub bytes: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// Decodes the record at the start of `bytes`.
    ///
    /// # Errors
    /// Any [`RecordError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let truncated =
            |needed_bytes: u64| RecordError::Truncated { needed_bytes, available_bytes: bytes.len() as u64 };
        let header_bytes = u64::from(RECORD_HEADER_BYTES);
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| truncated(header_bytes))?;
        let (lsn, rest) = rest.split_first_chunk::<8>().ok_or_else(|| truncated(header_bytes))?;
        let (time, rest) = rest.split_first_chunk::<8>().ok_or_else(|| truncated(header_bytes))?;
        let (kind, rest) = rest.split_first_chunk::<1>().ok_or_else(|| truncated(header_bytes))?;
        let length = u32::from_le_bytes(*length);
        if length > RECORD_PAYLOAD_BYTES_MAX {
            return Err(RecordError::TooLarge { payload_bytes: length.into() });
        }
        let lsn = Lsn::new(u64::from_le_bytes(*lsn));
        if lsn == Lsn::ZERO {
            return Err(RecordError::ZeroLsn);
        }
        let kind = RecordKind::try_from(kind[0])?;
        let payload = rest.get(..length as usize).ok_or_else(|| truncated(header_bytes + u64::from(length)))?;
        let used = header_usize() + payload.len();
        Ok(Self { lsn, time_ms: u64::from_le_bytes(*time), kind, payload, bytes: &bytes[..used] })
    }
}

const fn header_usize() -> usize {
    RECORD_HEADER_BYTES as usize
}
