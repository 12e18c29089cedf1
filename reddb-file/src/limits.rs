//! The limits that encoders and decoders of this crate share.
//!
//! Every constant is enforced on encode and on decode, so that nothing can be written that would be refused when read.

/// The largest payload of one record, in bytes (256 MiB).
pub const RECORD_PAYLOAD_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// The size of a record's fixed part, in bytes: length, LSN, time and kind.
pub const RECORD_HEADER_BYTES: u32 = 4 + 8 + 8 + 1;

/// The largest encoded record, in bytes.
pub const RECORD_BYTES_MAX: u32 = RECORD_HEADER_BYTES + RECORD_PAYLOAD_BYTES_MAX;

/// The largest identity file, in bytes.
pub const IDENTITY_BYTES_MAX: u32 = 512;

/// What storage writes at once or not at all, as far as this crate relies on it being the unit of alignment, in bytes:
/// things that must not be damaged by each other's torn writes never share such a block.
pub const BLOCK_BYTES: u32 = 4096;

/// The size of a batch's header, in bytes.
pub const BATCH_HEADER_BYTES: u32 = 64;

/// The most bytes of records in one batch: room for one record of the largest size.
pub const BATCH_RECORDS_BYTES_MAX: u32 = RECORD_BYTES_MAX;

/// The smallest segment, in bytes: a header and one block.
pub const SEGMENT_BYTES_MIN: u64 = 8192;

/// The largest size that segments may be configured to, in bytes (1 GiB).
pub const SEGMENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
