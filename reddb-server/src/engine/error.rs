//! What can go wrong in an engine.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use reddb_file::Lsn;

use super::ENGINE_FORMAT_VERSION;

/// An engine's refusal or failure.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A read at an LSN that is not applied yet.
    #[error("cannot read at LSN {at}: the engine has applied up to {applied}")]
    NotApplied {
        /// The LSN asked for.
        at: Lsn,
        /// The last LSN applied.
        applied: Lsn,
    },
    /// A read at an LSN whose versions may be gone.
    #[error("cannot read at LSN {at}: versions before {oldest} are no longer kept; hold a snapshot to keep an LSN")]
    SnapshotGone {
        /// The LSN asked for.
        at: Lsn,
        /// The oldest LSN that can be read.
        oldest: Lsn,
    },
    /// A record that does not come after the last one.
    #[error("record {lsn} cannot be applied: the engine has applied up to {applied} already")]
    OutOfOrder {
        /// The record's LSN.
        lsn: Lsn,
        /// The last LSN applied.
        applied: Lsn,
    },
    /// An LSN beyond [`ENGINE_LSN_MAX`](super::ENGINE_LSN_MAX).
    #[error("record {lsn} cannot be applied: this engine holds LSNs up to {max}")]
    LsnTooHigh {
        /// The record's LSN.
        lsn: Lsn,
        /// The highest LSN possible.
        max: Lsn,
    },
    /// A key of no or too many bytes.
    #[error("a key is 1 to {max} bytes, got {bytes}")]
    KeyLength {
        /// The key's length.
        bytes: usize,
        /// The longest key.
        max: usize,
    },
    /// A key in the engine's own space.
    #[error("a key may not begin with 0xff: such keys are the engine's own")]
    ReservedKey,
    /// A value of too many bytes.
    #[error("a value is at most {max} bytes, got {bytes}")]
    ValueLength {
        /// The value's length.
        bytes: usize,
        /// The largest value.
        max: usize,
    },
    /// Too many flushes and compactions without a record between them; the next record resolves it.
    #[error("no internal sequence numbers are left at LSN {applied}: apply another record, then try again")]
    SequenceExhausted {
        /// The last LSN applied.
        applied: Lsn,
    },
    /// The background has failed before.
    #[error("{0}")]
    Faulted(EngineFault),
    /// The engine was closed.
    #[error("the engine is closed")]
    Closed,
    /// The disk has no room for a flush or a compaction, with a reserve.
    #[error("{path}: no space: {needed_bytes} bytes are needed, {free_bytes} are free; free some space")]
    OutOfSpace {
        /// The engine's directory.
        path: PathBuf,
        /// Bytes needed.
        needed_bytes: u64,
        /// Bytes free.
        free_bytes: u64,
    },
    /// A file operation failed.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// The cause.
        source: io::Error,
    },
    /// A background thread could not be started.
    #[error("cannot start a thread of the engine: {source}")]
    Thread {
        /// The cause.
        source: io::Error,
    },
    /// The tree's files cannot be read.
    #[error("{path}: {detail}; this engine is damaged: restore from the archive into a new directory")]
    Corrupt {
        /// The engine's directory, or the file in it.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The tree's files are those of another version of reddb.
    #[error("{path}: the files are in format {found}, this program reads format {ENGINE_FORMAT_VERSION}")]
    OtherFormat {
        /// The engine's directory.
        path: PathBuf,
        /// The format version they name.
        found: u8,
    },
    /// The directory is not a place for what was asked.
    #[error("{path}: {detail}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        detail: &'static str,
    },
}

impl EngineError {
    /// Whether the disk had no room, so that trying again later may succeed.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::OutOfSpace { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }
}

/// Why an engine's background stopped: a failed write of its files, or a panic. It is not left again: restart the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineFault {
    thread: &'static str,
    detail: Arc<str>,
}

impl EngineFault {
    pub(super) fn new(thread: &'static str, detail: impl Into<Arc<str>>) -> Self {
        Self { thread, detail: detail.into() }
    }

    /// The thread that failed.
    #[must_use]
    pub fn thread(&self) -> &'static str {
        self.thread
    }

    /// What happened.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }
}

impl fmt::Display for EngineFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the engine's thread {} failed: {}; what was acknowledged is in the log and the archive: restart the server, \
             and where this comes again restore from the archive into a new directory",
            self.thread, self.detail
        )
    }
}

impl std::error::Error for EngineFault {}
