//! The bytes of a segment.
//!
//! ```text
//! Segment header, the first 4096 bytes:
//! offset  size  field           encoding
//!      0     8  magic           "RedDBwal"
//!      8     4  format version  u32 LE, 1
//!     12     4  header size     u32 LE, 4096
//!     16    16  cluster id
//!     32     4  timeline        u32 LE, from 1
//!     36     4  zeros
//!     40     8  epoch           u64 LE
//!     48     8  first LSN       u64 LE, from 1: of the first batch that is, or will be, in this segment
//!     56    32  chain           before the first LSN
//!     88     8  time            u64 LE, Unix milliseconds: of the record before the first LSN; 0 if there is none
//!     96    16  salt            random, new for every use of the file
//!    112     …  zeros
//!   4092     4  CRC-32 (IEEE)   u32 LE, of bytes 0..4092
//!
//! Batch, at every multiple of 4096 after that where the one before has ended:
//!      0     4  magic           "RBat"
//!      4     4  length          u32 LE: of the records, in bytes
//!      8     8  first LSN       u64 LE
//!     16     8  last LSN        u64 LE
//!     24    32  chain           after the last LSN
//!     56     4  records' CRC    u32 LE: CRC-32 of salt ‖ records
//!     60     4  header's CRC    u32 LE: CRC-32 of salt ‖ bytes 0..60
//!     64     …  records         as in `crate::record`, back to back; then zeros up to a multiple of 4096
//! ```
//! The salt keeps a batch of an earlier use of the file from being taken for one of this use. The header has a CRC of its
//! own so that a length is believed before as many bytes are read, and looking for later batches takes linear time.

use std::fmt;

use crate::chain::Chain;
use crate::fields::Fields;
use crate::ids::{ClusterId, Epoch, Lsn, TimelineId};
use crate::limits::{BATCH_HEADER_BYTES, BATCH_RECORDS_BYTES_MAX, BLOCK_BYTES, RECORD_HEADER_BYTES};
use crate::mark::TimedMark;

/// A block's size as a length in memory.
pub(crate) const BLOCK: usize = 4096;
/// A block's size as a length in a file.
pub(crate) const BLOCK_U64: u64 = 4096;
/// A batch header's size as a length in memory.
pub(crate) const BATCH_HEADER: usize = 64;

const _: () = assert!(BLOCK == BLOCK_BYTES as usize && BLOCK_U64 == BLOCK_BYTES as u64, "one block size");
const _: () = assert!(BATCH_HEADER == BATCH_HEADER_BYTES as usize, "one batch header size");
const _: () = assert!(BATCH_HEADER == 4 + 4 + 8 + 8 + 32 + 4 + 4, "the fields fill the batch header");

/// How a segment begins.
pub const SEGMENT_MAGIC: [u8; 8] = *b"RedDBwal";
const SEGMENT_FORMAT: u32 = 1;
const SEGMENT_CRC_AT: usize = BLOCK - 4;
const BATCH_MAGIC: [u8; 4] = *b"RBat";
const BATCH_CRC_AT: usize = BATCH_HEADER - 4;

/// Sixteen random bytes, new for every use of a segment's file. From outside: this crate has no randomness.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt([u8; 16]);

impl Salt {
    /// The salt made of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// CRC-32 of this salt followed by `bytes`.
    pub(crate) fn crc(&self, bytes: &[u8]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.0);
        hasher.update(bytes);
        hasher.finalize()
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// What the first block of a segment says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Whose log it is.
    pub cluster: ClusterId,
    /// Which branch of it.
    pub timeline: TimelineId,
    /// Who wrote it.
    pub epoch: Epoch,
    /// The LSN of the first record that is, or will be, in it; never 0.
    pub first_lsn: Lsn,
    /// The chain before that record.
    pub chain_before: Chain,
    /// The time of the record before it, in Unix milliseconds; 0 if there is none.
    pub time_before_ms: u64,
    /// The salt of this use of the file.
    pub salt: Salt,
}

/// Why a block is not a segment's header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentHeaderError {
    /// The file ends within it.
    #[error("the header has {found_bytes} of {BLOCK} bytes")]
    Truncated {
        /// What there is.
        found_bytes: u64,
    },
    /// It does not begin with the magic.
    #[error("it does not begin as a segment does")]
    Magic,
    /// The checksum does not match.
    #[error("the header's checksum does not match")]
    Checksum,
    /// Written by another version.
    #[error(
        "it has format {found}, this program reads format {SEGMENT_FORMAT}: use the version of reddb that wrote it"
    )]
    Format {
        /// What it says.
        found: u32,
    },
    /// A checksummed header that no writer writes.
    #[error("the header's {field} is impossible")]
    Impossible {
        /// Which field.
        field: &'static str,
    },
}

impl SegmentHeader {
    /// The block.
    ///
    /// # Errors
    /// [`SegmentHeaderError::Impossible`] for timeline 0 or LSN 0.
    pub fn encode(&self) -> Result<[u8; BLOCK], SegmentHeaderError> {
        self.check()?;
        let mut block = [0; BLOCK];
        block[0..8].copy_from_slice(&SEGMENT_MAGIC);
        block[8..12].copy_from_slice(&SEGMENT_FORMAT.to_le_bytes());
        block[12..16].copy_from_slice(&BLOCK_BYTES.to_le_bytes());
        block[16..32].copy_from_slice(self.cluster.as_bytes());
        block[32..36].copy_from_slice(&self.timeline.get().to_le_bytes());
        block[40..48].copy_from_slice(&self.epoch.get().to_le_bytes());
        block[48..56].copy_from_slice(&self.first_lsn.get().to_le_bytes());
        block[56..88].copy_from_slice(self.chain_before.as_bytes());
        block[88..96].copy_from_slice(&self.time_before_ms.to_le_bytes());
        block[96..112].copy_from_slice(self.salt.as_bytes());
        let crc = crc32fast::hash(&block[..SEGMENT_CRC_AT]);
        block[SEGMENT_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        Ok(block)
    }

    /// Decodes a segment's first block.
    ///
    /// # Errors
    /// Any [`SegmentHeaderError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, SegmentHeaderError> {
        let block: &[u8; BLOCK] =
            bytes.try_into().map_err(|_| SegmentHeaderError::Truncated { found_bytes: bytes.len() as u64 })?;
        let (covered, crc) = block.split_at(SEGMENT_CRC_AT);
        let mut fields = Fields(covered);
        if fields.take() != SEGMENT_MAGIC {
            return Err(SegmentHeaderError::Magic);
        }
        if crc != crc32fast::hash(covered).to_le_bytes() {
            return Err(SegmentHeaderError::Checksum);
        }
        let format = u32::from_le_bytes(fields.take());
        if format != SEGMENT_FORMAT {
            return Err(SegmentHeaderError::Format { found: format });
        }
        if u32::from_le_bytes(fields.take()) != BLOCK_BYTES {
            return Err(SegmentHeaderError::Impossible { field: "header size" });
        }
        let cluster = ClusterId::from_bytes(fields.take());
        let timeline = TimelineId::new(u32::from_le_bytes(fields.take()));
        let zeros: [u8; 4] = fields.take();
        let header = Self {
            cluster,
            timeline,
            epoch: Epoch::new(u64::from_le_bytes(fields.take())),
            first_lsn: Lsn::new(u64::from_le_bytes(fields.take())),
            chain_before: Chain::from_bytes(fields.take()),
            time_before_ms: u64::from_le_bytes(fields.take()),
            salt: Salt::from_bytes(fields.take()),
        };
        if zeros != [0; 4] || fields.0.iter().any(|byte| *byte != 0) {
            return Err(SegmentHeaderError::Impossible { field: "padding" });
        }
        header.check()?;
        Ok(header)
    }

    /// The position before its first record.
    #[must_use]
    pub fn before(&self) -> TimedMark {
        // A header never has LSN 0: encoding and decoding refuse it.
        let lsn = self.first_lsn.prev().unwrap_or(Lsn::ZERO);
        TimedMark { lsn, chain: self.chain_before, time_ms: self.time_before_ms }
    }

    fn check(&self) -> Result<(), SegmentHeaderError> {
        if self.timeline.get() == 0 {
            return Err(SegmentHeaderError::Impossible { field: "timeline" });
        }
        if self.first_lsn == Lsn::ZERO {
            return Err(SegmentHeaderError::Impossible { field: "first LSN" });
        }
        Ok(())
    }
}

/// What the first 64 bytes of a batch say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The size of its records in bytes, at most [`BATCH_RECORDS_BYTES_MAX`].
    pub records_bytes: u32,
    /// Its first record; never 0.
    pub first_lsn: Lsn,
    /// Its last record; never before the first.
    pub last_lsn: Lsn,
    /// The chain after its last record.
    pub chain_after: Chain,
    /// CRC-32 of the segment's salt and the records.
    pub records_crc: u32,
}

/// Why 64 bytes are not a batch's header.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchHeaderError {
    /// Fewer bytes.
    #[error("the batch header has {found_bytes} of {BATCH_HEADER} bytes")]
    Truncated {
        /// What there is.
        found_bytes: u64,
    },
    /// It does not begin with the magic: nothing was written here.
    #[error("no batch begins here")]
    Magic,
    /// The salted checksum does not match: torn, damaged, or of an earlier use of the file.
    #[error("the batch header's checksum does not match")]
    Checksum,
    /// A checksummed header that no writer writes.
    #[error("the batch header's {field} is impossible")]
    Impossible {
        /// Which field.
        field: &'static str,
    },
}

impl BatchHeader {
    /// The header's bytes in a segment with this salt.
    ///
    /// # Errors
    /// [`BatchHeaderError::Impossible`].
    pub fn encode(&self, salt: &Salt) -> Result<[u8; BATCH_HEADER], BatchHeaderError> {
        self.check()?;
        let mut bytes = [0; BATCH_HEADER];
        bytes[0..4].copy_from_slice(&BATCH_MAGIC);
        bytes[4..8].copy_from_slice(&self.records_bytes.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.first_lsn.get().to_le_bytes());
        bytes[16..24].copy_from_slice(&self.last_lsn.get().to_le_bytes());
        bytes[24..56].copy_from_slice(self.chain_after.as_bytes());
        bytes[56..60].copy_from_slice(&self.records_crc.to_le_bytes());
        let crc = salt.crc(&bytes[..BATCH_CRC_AT]);
        bytes[BATCH_CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    /// Decodes a batch's first 64 bytes in a segment with this salt.
    ///
    /// # Errors
    /// Any [`BatchHeaderError`].
    pub fn decode(bytes: &[u8], salt: &Salt) -> Result<Self, BatchHeaderError> {
        let bytes: &[u8; BATCH_HEADER] =
            bytes.try_into().map_err(|_| BatchHeaderError::Truncated { found_bytes: bytes.len() as u64 })?;
        let (covered, crc) = bytes.split_at(BATCH_CRC_AT);
        let mut fields = Fields(covered);
        if fields.take() != BATCH_MAGIC {
            return Err(BatchHeaderError::Magic);
        }
        if crc != salt.crc(covered).to_le_bytes() {
            return Err(BatchHeaderError::Checksum);
        }
        let header = Self {
            records_bytes: u32::from_le_bytes(fields.take()),
            first_lsn: Lsn::new(u64::from_le_bytes(fields.take())),
            last_lsn: Lsn::new(u64::from_le_bytes(fields.take())),
            chain_after: Chain::from_bytes(fields.take()),
            records_crc: u32::from_le_bytes(fields.take()),
        };
        header.check()?;
        Ok(header)
    }

    /// How much of the file the batch takes: header, records and padding, in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        batch_file_bytes(self.records_bytes)
    }

    fn check(&self) -> Result<(), BatchHeaderError> {
        let impossible = |field| Err(BatchHeaderError::Impossible { field });
        if self.first_lsn == Lsn::ZERO {
            return impossible("first LSN");
        }
        if self.last_lsn < self.first_lsn {
            return impossible("last LSN");
        }
        if self.records_bytes > BATCH_RECORDS_BYTES_MAX {
            return impossible("length");
        }
        let records = u128::from(self.last_lsn.records_since(self.first_lsn)) + 1;
        if records * u128::from(RECORD_HEADER_BYTES) > u128::from(self.records_bytes) {
            return impossible("number of records");
        }
        Ok(())
    }
}

/// How much of a file a batch with so many bytes of records takes, in bytes: a multiple of the block.
pub(crate) fn batch_file_bytes(records_bytes: u32) -> u64 {
    (u64::from(BATCH_HEADER_BYTES) + u64::from(records_bytes)).next_multiple_of(BLOCK_U64)
}
