//! The storage engine: an ordered map with versions, behind the small trait [`Engine`].
//!
//! The engine is a materialised view of the log. It is told each record's writes once, in LSN order, and it knows which
//! LSN it holds. It decides nothing: keys and values are bytes, their layout belongs to others.
//!
//! Invariants:
//! * A read at LSN L sees every write of the records up to L and none of later ones, whatever is flushed or compacted meanwhile.
//! * [`Engine::applied`] advances only after all writes of a record are in.
//! * What is on disk is a prefix of the log that ends at a record boundary, and names that record's LSN, chain and time.
//! * Every file, once written, is never changed: a checkpoint is hard links.
//! * A failure in the background is a fault: writes are refused from then on, and the process is told once.
//!
//! Keys are 1 to [`KEY_BYTES_MAX`] bytes and do not begin with [`RESERVED_KEY_BYTE`].

mod background;
mod config;
mod core;
mod error;
mod files;
mod hot;
mod lsm;
mod mark;
mod memtable;
mod memtables;
mod ranges;
mod recent;
mod scan;
mod seqno;
mod snapshots;
mod space;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod throttle;
mod tree_dir;
mod types;
mod writer;
mod writes;

use std::ops::Bound;
use std::path::Path;

use bytes::Bytes;
use reddb_file::Lsn;

pub(crate) use self::core::FaultHook;
pub(crate) use config::EngineConfig;
pub(crate) use error::{EngineError, EngineFault};
pub(crate) use scan::{EngineScan, LentEntry};
pub(crate) use store::LsmEngine;
pub(crate) use types::{
    AppliedMark, Checkpoint, CheckpointFile, EngineIter, EngineStats, EngineWrite, RangeDeletion, Snapshot,
};

/// The format version of an engine's directory: of what this module keeps in it, and of the entries that it is given
/// (`docs/format/engine-keys.md`). Each directory carries it in its mark, each snapshot in its manifest.
pub(crate) const ENGINE_FORMAT_VERSION: u8 = 2;

/// The longest key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 65_535;

/// The largest value, in bytes.
pub(crate) const VALUE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// No key given to the engine begins with this byte: keys of the engine's own do.
pub(crate) const RESERVED_KEY_BYTE: u8 = 0xFF;

/// The highest LSN that an engine can hold: LSNs are shifted by 16 bits and must then fit in 63.
pub(crate) const ENGINE_LSN_MAX: Lsn = Lsn::new((1 << 47) - 2);

/// A range of keys, in byte order.
pub(crate) type KeyRange<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// An ordered map with versions, applied in LSN order by one thread and read by many.
pub(crate) trait Engine: Send + Sync + 'static {
    /// The value of `key` at the LSN that `snapshot`, one of this engine's, keeps readable; `None` where it has none.
    ///
    /// # Errors
    ///
    /// Errors of the disk.
    fn get_in(&self, key: &[u8], snapshot: &Snapshot) -> Result<Option<Bytes>, EngineError>;

    /// As [`Engine::get_in`], at an LSN that may not be kept readable.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotApplied`] where `at` is newer than what is applied, [`EngineError::SnapshotGone`] where it is
    /// older than what is kept, and errors of the disk.
    #[cfg(test)]
    fn get(&self, key: &[u8], at: Lsn) -> Result<Option<Bytes>, EngineError>;

    /// The value of `key` in the newest applied state, and the LSN at which it was read.
    ///
    /// # Errors
    ///
    /// Errors of the disk.
    fn get_newest(&self, key: &[u8]) -> Result<(Lsn, Option<Bytes>), EngineError> {
        let snapshot = self.snapshot();
        let value = self.get_in(key, &snapshot)?;
        Ok((snapshot.lsn(), value))
    }

    /// The entries of a range of keys at LSN `at`, in key order (or in reverse from the back), read as it is iterated.
    /// The iterator needs no snapshot to stay valid. While it lives it keeps the files and memory that it reads from.
    ///
    /// # Errors
    ///
    /// [`EngineError::NotApplied`] where `at` is newer than what is applied, [`EngineError::SnapshotGone`] where it is
    /// older than what is kept (hold a [`Snapshot`] to keep an LSN readable), and errors of the disk.
    fn range(&self, range: KeyRange<'_>, at: Lsn) -> Result<EngineIter, EngineError>;

    /// As [`Engine::range`], for who reads a range once, forward, and keeps nothing of it: much cheaper where everything is in
    /// tables and `at` is the newest applied LSN, as after a flush.
    ///
    /// # Errors
    ///
    /// As [`Engine::range`].
    fn scan(&self, range: KeyRange<'_>, at: Lsn) -> Result<EngineScan, EngineError>;

    /// The newest applied LSN.
    fn applied_lsn(&self) -> Lsn;

    /// Keeps the newest applied LSN readable for as long as the returned value lives.
    ///
    /// Meant for the length of a command: what is written meanwhile is kept in memory.
    fn snapshot(&self) -> Snapshot;

    /// Applies the writes of one or several records, which become visible together; `mark` is the last one's. Called by one
    /// thread at a time, with increasing LSNs. Where a key is written twice, the last write wins. The keys and values are kept
    /// as they are, so they should not be parts of larger buffers. Waits while the background is too far behind, but not while it
    /// lacks space: until the caller heeds [`Engine::space_wanted_bytes`], what is applied is then held in memory.
    ///
    /// # Errors
    ///
    /// The writes are refused as a whole, and nothing of it is applied: [`EngineError::OutOfOrder`],
    /// [`EngineError::LsnTooHigh`], keys or values out of bounds, or [`EngineError::Faulted`].
    fn apply(&self, mark: AppliedMark, writes: &[EngineWrite]) -> Result<(), EngineError>;

    /// As [`Engine::apply`], for replay: does not fill the cache of hot values where nobody reads yet.
    ///
    /// # Errors
    ///
    /// As [`Engine::apply`], and [`EngineError::OutOfSpace`] where a full memtable cannot be flushed.
    fn load(&self, mark: AppliedMark, writes: &[EngineWrite]) -> Result<(), EngineError>;

    /// As [`Engine::load`], for writes in ascending order of keys, each key once: they are written to tables at once, and are
    /// durable when this returns, with everything before them. Meant for [`Engine::run_bytes_max`] of them.
    ///
    /// # Errors
    ///
    /// As [`Engine::load`], and errors of the disk.
    ///
    /// # Panics
    ///
    /// Where the keys are not in ascending order.
    fn load_run(&self, mark: AppliedMark, writes: &[EngineWrite]) -> Result<(), EngineError>;

    /// How much of its memory the engine means for one run that is to be loaded, in bytes.
    fn run_bytes_max(&self) -> u64;

    /// The last record applied.
    fn applied(&self) -> AppliedMark;

    /// The last record that is durable in the engine's own files: the log up to it is no longer needed by the engine.
    fn flushed(&self) -> AppliedMark;

    /// Makes everything applied so far durable, and says up to which record.
    ///
    /// # Errors
    ///
    /// Errors of the disk. Nothing is lost by one: the engine's files are as they were.
    fn flush(&self) -> Result<AppliedMark, EngineError>;

    /// Writes a checkpoint into the directory `into`, which must not exist or be empty, and says exactly what it holds.
    /// The directory can be opened as an engine. Its files are durable when this returns, and are never changed by the
    /// engine that they came from. Runs beside reads, writes, flushes and compactions.
    ///
    /// # Errors
    ///
    /// Errors of the disk; what was made of `into` is then left for the caller to remove.
    fn checkpoint(&self, into: &Path) -> Result<Checkpoint, EngineError>;

    /// Physically removes up to `entries_max` entries of a range of keys that nothing refers to at the newest applied LSN
    /// or will ever refer to again. Not part of any record. Reads at older LSNs still see the entries.
    ///
    /// # Errors
    ///
    /// Errors of the disk, [`EngineError::OutOfSpace`] as [`Engine::load`], or [`EngineError::Faulted`].
    fn delete_range_step(&self, range: KeyRange<'_>, entries_max: usize) -> Result<RangeDeletion, EngineError>;

    /// The free bytes of the disk below which no more should be applied, because what is in memory could not be flushed, or
    /// because the background lacks them already.
    fn space_wanted_bytes(&self) -> u64;

    /// Sizes and counts, for metrics.
    fn stats(&self) -> EngineStats;

    /// Makes everything durable and stops the background. Reads go on; writes are refused from then on.
    ///
    /// # Errors
    ///
    /// Errors of the disk; the background is stopped all the same.
    fn close(&self) -> Result<AppliedMark, EngineError>;
}
