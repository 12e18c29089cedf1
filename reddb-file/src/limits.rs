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

/// The longest name of a restore point, in bytes.
pub const ARCHIVE_POINT_NAME_BYTES_MAX: usize = 128;

/// The longest path in a snapshot's manifest, in bytes.
pub const ARCHIVE_PATH_BYTES_MAX: usize = 1024;

/// The longest line for people (a holder, a reason) in an archive document, in bytes.
pub const ARCHIVE_TEXT_BYTES_MAX: usize = 512;

/// The largest small document of the archive, in bytes: everything but snapshot manifests and the catalogue.
pub const ARCHIVE_DOCUMENT_BYTES_MAX: u64 = 64 * 1024;

/// The largest snapshot manifest, in bytes.
pub const ARCHIVE_MANIFEST_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The largest catalogue, in bytes.
pub const ARCHIVE_CATALOGUE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The most files in one snapshot.
pub const ARCHIVE_SNAPSHOT_FILES_MAX: usize = 250_000;

/// The most record bytes in one archived segment that holds more than one record. A single record that is larger has a
/// segment to itself.
pub const ARCHIVE_SEGMENT_RECORD_BYTES_MAX: u32 = 64 * 1024 * 1024;

/// The most bytes of an archived segment as stored: the largest record, the header, and what a compressor may add to what it
/// cannot compress.
pub const ARCHIVE_SEGMENT_STORED_BYTES_MAX: u64 = RECORD_BYTES_MAX as u64 + 4 * 1024 * 1024;
