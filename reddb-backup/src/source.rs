//! What the archive is fed from: a log and a maker of checkpoints. Implement these to archive something.
//!
//! All methods may block; they are called on threads that may.

use std::path::Path;

use bytes::Bytes;
use reddb_file::Lsn;
use reddb_file::archive::{RelativePath, Text};
use reddb_file::mark::TimedMark;

/// An error of the thing that is archived, opaque to this crate.
pub type SourceError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A point up to which a log is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// Every record up to here is durable.
    pub mark: TimedMark,
    /// Every record beyond `mark`, now and for ever, has a later time than this (Unix milliseconds).
    pub complete_until_ms: u64,
}

/// A log of records (`reddb_file::record`): LSNs without holes, times that never go back, durable up to a mark.
pub trait LogSource: Send + Sync + 'static {
    /// The newest durable record.
    fn durable(&self) -> TimedMark;

    /// The newest durable record, with a promise about the time of what follows it. A log that cannot promise anything
    /// better returns its durable mark and one millisecond less than that mark's time.
    ///
    /// # Errors
    /// Whatever keeps the log from answering; it is asked again.
    fn fence(&self) -> Result<Fence, SourceError>;

    /// Whole encoded records from `from` on: at least one, none beyond `to`, and as many as fit into `bytes_max` (the
    /// first one is returned whatever its size). Only asked for durable records beyond the archived mark.
    ///
    /// # Errors
    /// Whatever keeps the log from reading them; it is asked again.
    fn read(&self, from: Lsn, to: Lsn, bytes_max: u64) -> Result<Bytes, SourceError>;

    /// The archive holds everything up to `mark` and its head says so. The log writes that down durably and may then
    /// forget these records.
    ///
    /// # Errors
    /// Whatever keeps the log from writing it down; it is told again.
    fn archived(&self, mark: TimedMark) -> Result<(), SourceError>;
}

/// What a local log knows of its own past.
pub trait LocalHistory: Send + Sync {
    /// The record at `lsn` with the chain after it, where the log (or its control file) still knows it.
    ///
    /// # Errors
    /// Whatever keeps the log from being read.
    fn mark_at(&self, lsn: Lsn) -> Result<Option<TimedMark>, SourceError>;
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Its path below the checkpoint's directory.
    pub path: RelativePath,
    /// The XXH3-128 of the bytes that were once written to it, where its maker remembers. A file that reads back as anything
    /// else is not archived: its digest would only prove that the damage is preserved.
    pub written_xxh3: Option<u128>,
}

/// A consistent copy of the state at one LSN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The state holds exactly the records up to here. Fixed before the first byte was written.
    pub mark: TimedMark,
    /// The files, below the directory that the checkpoint was made in. They do not change any more.
    pub files: Vec<CheckpointFile>,
    /// Whose files these are.
    pub engine: Text,
    /// That engine's version.
    pub engine_version: Text,
    /// The version of that engine's own layout.
    pub engine_format_version: u32,
}

/// Makes checkpoints.
pub trait CheckpointSource: Send + Sync + 'static {
    /// Writes a checkpoint into `into`, an empty directory on the file system of the data, so that files may be hard
    /// links. The caller removes the directory afterwards.
    ///
    /// # Errors
    /// Whatever keeps it from being made.
    fn checkpoint(&self, into: &Path) -> Result<Checkpoint, SourceError>;
}
