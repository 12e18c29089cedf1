//! The limits that encoders and decoders of this crate share.
//!
//! Every constant is enforced on encode and on decode, so that nothing can be written that would be refused when read.

/// The largest payload of one record, in bytes (256 MiB).
pub const RECORD_PAYLOAD_BYTES_MAX: u32 = 256 * 1024 * 1024;

/// The size of a record's fixed part, in bytes: length, LSN, time and kind.
pub const RECORD_HEADER_BYTES: u32 = 4 + 8 + 8 + 1;

/// The largest encoded record, in bytes.
pub const RECORD_BYTES_MAX: u32 = RECORD_HEADER_BYTES + RECORD_PAYLOAD_BYTES_MAX;
