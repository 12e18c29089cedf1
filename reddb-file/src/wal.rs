//! The local log: segments of batches of records.
//!
//! [`WalWriter`] appends and syncs, [`recover()`] decides at start where the log ends, [`WalReader`] streams what is durable,
//! [`SegmentPool`] keeps preallocated segments ready, [`describe_segment`] shows a file to people. `format` holds the byte
//! tables; `docs/format/wal-segment.md` specifies them for other readers.
//!
//! Invariants:
//! * One batch is written and then synced once, lies in one segment, and is valid or absent as a whole.
//! * The next batch, or the next segment, is not written before this batch's sync has returned: a valid batch proves
//!   everything before it.
//! * A batch begins at a multiple of 4096 bytes, so an acknowledged batch never shares a block with a later one.
//! * After a failed write or sync the writer refuses for ever. Only preallocation takes space, and running out of it there
//!   poisons nothing.
//! * Segments are cut off at the old end only, oldest first.

mod batch;
mod classify;
mod describe;
mod error;
mod format;
mod pool;
mod reader;
mod recent;
mod recover;
mod rewrite;
mod scan;
mod segment;
mod verify;
mod window;
mod writer;

pub use batch::{BatchBuilder, BatchError};
pub use classify::{BadBatch, Corruption, CorruptionReason};
pub use describe::{DescribeError, SegmentDescription, SegmentEnd, describe_segment};
pub use error::{WalError, WalReadError};
pub use format::{BatchHeader, BatchHeaderError, SEGMENT_MAGIC, Salt, SegmentHeader, SegmentHeaderError};
pub use pool::{FillProgress, PoolOptions, SegmentPool};
pub use reader::{WalBatch, WalReader};
pub use recent::RecentBatches;
pub use recover::{RecoverError, RecoveredLog, Recovery, Verdict, recover};
pub use segment::SegmentInfo;
pub use verify::BatchFault;
pub use writer::{PruneSummary, SaltSource, WalWriter};
