//! Why a database cannot be opened or closed, and what a script should make of it.

use std::path::PathBuf;

use reddb_file::control::ControlError;
use reddb_file::identity::IdentityError;
use reddb_file::lock::LockError;
use reddb_file::vfs::VfsError;
use reddb_file::wal::{BatchError, RecoverError, WalError, WalReadError};
use reddb_file::{Lsn, TimelineId};

use crate::engine::EngineError;
use crate::exit::Exit;
use crate::keyspace::StateError;
use crate::replay::ReplayError;

/// Why a database cannot be opened. Its text says what happened, where, and what to do; [`OpenError::exit`] says what a
/// script should make of it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct OpenError(Box<OpenFault>);

impl OpenError {
    /// What a process that cannot go on without the database ends with.
    #[must_use]
    pub fn exit(&self) -> Exit {
        self.0.exit()
    }
}

impl From<OpenFault> for OpenError {
    fn from(fault: OpenFault) -> Self {
        Self(Box::new(fault))
    }
}

/// What is wrong with the directory, the log, the engine or the archive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFault {
    /// Another process has the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The identity file is missing or damaged.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The control file is missing or damaged.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The directory holds something else.
    #[error("{} is not empty and is not a reddb data directory: use an empty directory, or the right one", dir.display())]
    ForeignDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory cannot be made, or this user may not write to it.
    #[error("{} cannot be the data directory: {source}; name a place where this user may make and write files", dir.display())]
    DirectoryUnusable {
        /// The directory.
        dir: PathBuf,
        /// What the system says.
        source: VfsError,
    },
    /// A file or folder in the directory is closed to this user.
    #[error(
        "{} cannot be used: {source}; the files of a data directory must belong to the user that runs the server, and be on a \
         disk that can be written: give them to that user (chown -R USER {}), or start as their owner",
        path.display(),
        dir.display()
    )]
    NoPermission {
        /// The directory.
        dir: PathBuf,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// No write would ever be taken.
    #[error(
        "the disk reserve (--disk-reserve) is {reserve_bytes} bytes, but the whole disk of {} has {disk_bytes}: every write \
         would be refused; choose a smaller reserve",
        dir.display()
    )]
    ReserveBeyondDisk {
        /// The data directory.
        dir: PathBuf,
        /// The reserve.
        reserve_bytes: u64,
        /// The size of the file system.
        disk_bytes: u64,
    },
    /// The log cannot be opened.
    #[error("the log cannot be recovered: {0}")]
    Recover(#[from] RecoverError),
    /// The log cannot be read.
    #[error("the log cannot be read: {0}")]
    Read(#[from] WalReadError),
    /// The log cannot be written.
    #[error("the log cannot be written: {0}")]
    Wal(#[from] WalError),
    /// The first record of a timeline cannot be added.
    #[error("the timeline's first record cannot be logged: {0}")]
    Batch(#[from] BatchError),
    /// The engine cannot be opened.
    #[error("the engine cannot be opened: {0}")]
    Engine(#[from] EngineError),
    /// The engine's files are damaged, or in another format.
    #[error("the engine cannot be opened: {source}: {next}")]
    EngineUnreadable {
        /// What is wrong with them.
        source: EngineError,
        /// What to do.
        next: String,
    },
    /// The log does not hold what the engine lacks.
    #[error(
        "the engine holds records up to {engine}, but the log begins with {log_first}: files of the engine are missing, or \
         are an older copy; keep this directory, and restore from the archive into a new one"
    )]
    EngineBehindLog {
        /// The engine's last record.
        engine: Lsn,
        /// The log's first record.
        log_first: Lsn,
    },
    /// The engine's contents cannot be read.
    #[error("the engine's contents cannot be read: {0}")]
    State(#[from] StateError),
    /// The log cannot be applied to the engine.
    #[error("the log cannot be applied to the engine: {0}")]
    Replay(#[from] ReplayError),
    /// The engine and the log do not belong together.
    #[error(
        "the engine holds records up to {engine} with a chain that the log (up to {log}) does not have: the directory was \
         put together from different histories; restore from the archive into a new directory"
    )]
    EngineNotOfThisLog {
        /// The engine's last record.
        engine: Lsn,
        /// The log's last record.
        log: Lsn,
    },
    /// The engine is on another timeline than the control file says.
    #[error("the engine is on timeline {engine:?}, the control file says {control}; restore into a new directory")]
    TimelineMismatch {
        /// The engine's timeline.
        engine: Option<TimelineId>,
        /// The control file's.
        control: TimelineId,
    },
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] VfsError),
    /// The timeline's first record cannot be made durable.
    #[error("the timeline cannot be begun: {reason}")]
    TimelineNotBegun {
        /// What the log or the engine said.
        reason: String,
    },
    /// A thread cannot be started, or the machine's state cannot be read.
    #[error("{what}: {source}")]
    System {
        /// What was attempted.
        what: &'static str,
        /// The cause.
        source: std::io::Error,
    },
    /// The archive refuses this writer, or cannot be used.
    #[error("{message}")]
    Archive {
        /// What happened and what to do.
        message: String,
        /// What a script should make of it.
        exit: Exit,
    },
}

impl OpenFault {
    const fn exit(&self) -> Exit {
        match self {
            Self::Lock(LockError::Held { .. }) => Exit::Held,
            Self::Archive { exit, .. } => *exit,
            Self::ForeignDirectory { .. }
            | Self::DirectoryUnusable { .. }
            | Self::NoPermission { .. }
            | Self::ReserveBeyondDisk { .. } => Exit::Usage,
            Self::Identity(IdentityError::Io(_)) | Self::Control(ControlError::Io(_)) => Exit::Critical,
            Self::Identity(_)
            | Self::Control(_)
            | Self::Recover(RecoverError::Corrupt(_))
            | Self::Read(WalReadError::Damaged { .. } | WalReadError::OtherLog { .. })
            | Self::Engine(EngineError::Corrupt { .. })
            | Self::State(_)
            | Self::Replay(_)
            | Self::EngineUnreadable { .. }
            | Self::EngineBehindLog { .. }
            | Self::EngineNotOfThisLog { .. }
            | Self::TimelineMismatch { .. } => Exit::Integrity,
            _ => Exit::Critical,
        }
    }
}

/// Why a database was not closed as it should be. Every acknowledged write is in the log all the same, and the next start
/// recovers from it.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct CloseError(#[from] CloseFault);

/// What failed while closing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloseFault {
    /// The committer had stopped on an internal error.
    #[error("the committer had stopped on an internal error; the next start recovers from the log")]
    Committer,
    /// The log or the engine had failed.
    #[error("the log or the engine had failed; the next start recovers from the log")]
    Poisoned,
    /// The engine could not be flushed.
    #[error("the engine could not be flushed, the next start replays the log: {0}")]
    Engine(#[from] EngineError),
    /// The control file could not be written.
    #[error("the control file could not be written, the next start recovers from the log: {0}")]
    Control(#[from] ControlError),
}
