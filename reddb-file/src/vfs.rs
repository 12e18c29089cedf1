//! File access as a trait, so that a test can lose, tear, reorder and fail it.
//!
//! All of this crate's I/O goes through [`Vfs`]. [`StdVfs`] is the operating system; [`sim::SimVfs`] is a machine in memory
//! that distinguishes what was written from what the disk holds, and can lose power. Three promises that code may lean on,
//! and no others:
//! * [`VfsFile::sync_data`] and [`VfsFile::sync_all`] returning `Ok` mean that the bytes and the length written before are on disk;
//! * [`Vfs::sync_dir`] returning `Ok` means that the entries made, renamed or removed in that directory before are on disk
//!   (syncing a file says nothing about its name);
//! * a rename replaces its target at once: after a crash the name is the old file or the new one.

mod direct;
pub mod sim;
mod std_fs;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use std_fs::StdVfs;

use crate::limits::BLOCK_BYTES;

/// The result of a file operation.
pub type VfsResult<T> = Result<T, VfsError>;

/// What was asked of the file system; names the operation in errors and in injected faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VfsOp {
    /// Opening or creating a file.
    Open,
    /// Reading bytes.
    Read,
    /// Writing bytes.
    Write,
    /// Changing a file's length.
    SetLen,
    /// Asking for a file's length.
    Len,
    /// Syncing bytes and length.
    SyncData,
    /// Syncing bytes, length and all other metadata.
    SyncAll,
    /// Locking a file.
    Lock,
    /// Renaming an entry.
    Rename,
    /// Making a second name for a file.
    Link,
    /// Removing an entry, or a tree.
    Remove,
    /// Listing a directory.
    List,
    /// Creating directories.
    CreateDir,
    /// Syncing a directory's entries.
    SyncDir,
    /// Looking up what a path is.
    Metadata,
}

impl fmt::Display for VfsOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
            Self::SetLen => "set the length of",
            Self::Len => "get the length of",
            Self::SyncData | Self::SyncAll => "sync",
            Self::Lock => "lock",
            Self::Rename => "rename",
            Self::Link => "link",
            Self::Remove => "remove",
            Self::List => "list",
            Self::CreateDir => "create directory",
            Self::SyncDir => "sync directory",
            Self::Metadata => "look up",
        })
    }
}

/// A failed file operation: what was tried, on which path, and what the system said.
#[derive(Clone, Debug, thiserror::Error)]
#[error("cannot {op} {}: {source}", path.display())]
pub struct VfsError {
    /// What was tried.
    pub op: VfsOp,
    /// On which path (the first, for operations on two).
    pub path: PathBuf,
    /// What the system said. Shared, so that a poisoned writer can repeat it for ever.
    pub source: Arc<io::Error>,
}

impl VfsError {
    /// The error `source` of `op` on `path`.
    #[must_use]
    pub fn new(op: VfsOp, path: &Path, source: io::Error) -> Self {
        Self { op, path: path.to_owned(), source: Arc::new(source) }
    }

    /// The system's kind of error.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Whether space ran out: the disk is full, or a quota or file size limit was met.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
    }

    /// Whether the path does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading past the page cache, where the file system can: what is read is not read again soon, and
    /// somebody else writes to the file past the page cache meanwhile.
    ReadDirect,
    /// An existing file, for reading and writing.
    ReadWrite,
    /// An existing file, for reading, and for writing whole blocks of [`BLOCK_BYTES`] bytes at
    /// multiples of that, past the page cache where the file system can: a sync has then nothing left to write.
    WriteDirect,
    /// An existing file or a new empty one, for reading and writing; the contents stay.
    OpenOrCreate,
    /// A new empty file, or an existing one cut to nothing, for reading and writing.
    CreateTruncate,
    /// A new empty file for reading and writing; `AlreadyExists` where there is one.
    CreateNew,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VfsMetadata {
    /// A file or a directory.
    pub kind: EntryKind,
    /// A file's length; 0 for a directory.
    pub len_bytes: u64,
}

/// A file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Anything else (a device, a socket, a symbolic link): never RedDB's.
    Other,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VfsEntry {
    /// The entry's own name. Names that are not UTF-8 are never RedDB's and come with replacement characters.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
}

/// A file system.
pub trait Vfs: fmt::Debug + Send + Sync {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// As the system says; `NotFound` and `AlreadyExists` as [`OpenMode`] says.
    fn open(&self, path: &Path, mode: OpenMode) -> VfsResult<Arc<dyn VfsFile>>;

    /// Gives `from` the name `to`, replacing a file of that name at once. Durable after [`Vfs::sync_dir`] of both parents.
    ///
    /// # Errors
    /// As the system says.
    fn rename(&self, from: &Path, to: &Path) -> VfsResult<()>;

    /// Gives the file `from` a second name `to` (a hard link). Durable after [`Vfs::sync_dir`] of `to`'s parent.
    ///
    /// # Errors
    /// As the system says; `AlreadyExists` where `to` exists.
    fn link(&self, from: &Path, to: &Path) -> VfsResult<()>;

    /// Removes the file at `path`. Durable after [`Vfs::sync_dir`] of its parent.
    ///
    /// # Errors
    /// As the system says.
    fn remove(&self, path: &Path) -> VfsResult<()>;

    /// Removes the directory at `path` with everything in it.
    ///
    /// # Errors
    /// As the system says.
    fn remove_dir_all(&self, path: &Path) -> VfsResult<()>;

    /// The entries of the directory `path`, sorted by name.
    ///
    /// # Errors
    /// As the system says.
    fn list(&self, path: &Path) -> VfsResult<Vec<VfsEntry>>;

    /// Creates the directory `path` and what is missing above it. Not durable: see [`crate::durable::create_dir_durable`].
    ///
    /// # Errors
    /// As the system says.
    fn create_dir_all(&self, path: &Path) -> VfsResult<()>;

    /// Makes the entries of the directory `path` durable.
    ///
    /// # Errors
    /// As the system says.
    fn sync_dir(&self, path: &Path) -> VfsResult<()>;

    /// What `path` is, or `None` where nothing has that name.
    ///
    /// # Errors
    /// As the system says, except for `NotFound`.
    fn metadata(&self, path: &Path) -> VfsResult<Option<VfsMetadata>>;
}

/// An open file. Reads and writes say their position, so that a handle can be shared.
pub trait VfsFile: fmt::Debug + Send + Sync {
    /// The path that it was opened at.
    fn path(&self) -> &Path;

    /// Reads into `buf` from `offset` and says how many bytes; fewer than asked only at the end of the file.
    ///
    /// # Errors
    /// As the system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> VfsResult<usize>;

    /// Writes all of `bytes` at `offset`. After an error any part of it may have been written.
    ///
    /// # Errors
    /// As the system says; `InvalidInput` where a file that is open for writing whole blocks is given anything else, of which
    /// nothing has been written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> VfsResult<()>;

    /// The length in bytes.
    ///
    /// # Errors
    /// As the system says.
    fn len_bytes(&self) -> VfsResult<u64>;

    /// Cuts the file, or extends it with zeros.
    ///
    /// # Errors
    /// As the system says.
    fn set_len(&self, len_bytes: u64) -> VfsResult<()>;

    /// Makes the bytes and the length durable.
    ///
    /// # Errors
    /// As the system says. What was not yet durable may then be lost even if a later sync succeeds.
    fn sync_data(&self) -> VfsResult<()>;

    /// Makes the bytes, the length and all other metadata durable.
    ///
    /// # Errors
    /// As [`VfsFile::sync_data`].
    fn sync_all(&self) -> VfsResult<()>;

    /// Locks the file against every other handle, in this process or another; says whether that worked. The lock ends with
    /// the handle.
    ///
    /// # Errors
    /// As the system says; a lock held elsewhere is `Ok(false)`.
    fn try_lock(&self) -> VfsResult<bool>;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// As the system says; `UnexpectedEof` where the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> VfsResult<()> {
        if self.read_at(buf, offset)? == buf.len() {
            return Ok(());
        }
        let text = format!("the file ends within the {} bytes at offset {offset}", buf.len());
        Err(VfsError::new(VfsOp::Read, self.path(), io::Error::new(io::ErrorKind::UnexpectedEof, text)))
    }
}

/// Whether a write is of whole blocks.
fn check_blocks(path: &Path, bytes: &[u8], offset: u64) -> VfsResult<()> {
    let block_bytes = u64::from(BLOCK_BYTES);
    if offset.is_multiple_of(block_bytes) && (bytes.len() as u64).is_multiple_of(block_bytes) {
        return Ok(());
    }
    let text = format!("{} bytes at offset {offset} are not whole blocks of {block_bytes}", bytes.len());
    Err(VfsError::new(VfsOp::Write, path, io::Error::new(io::ErrorKind::InvalidInput, text)))
}

/// The whole contents of the file at `path`, which may be at most `bytes_max` long.
///
/// # Errors
/// As the system says; `InvalidData` where it is longer, before anything is allocated for it.
pub fn read_small_file(vfs: &dyn Vfs, path: &Path, bytes_max: u32) -> VfsResult<Vec<u8>> {
    let file = vfs.open(path, OpenMode::Read)?;
    let len_bytes = file.len_bytes()?;
    let len = u32::try_from(len_bytes).ok().filter(|len| *len <= bytes_max).and_then(|len| usize::try_from(len).ok());
    let Some(len) = len else {
        let text = format!("it is {len_bytes} bytes long; at most {bytes_max} were expected");
        return Err(VfsError::new(VfsOp::Read, path, io::Error::new(io::ErrorKind::InvalidData, text)));
    };
    let mut contents = vec![0; len];
    file.read_exact_at(&mut contents, 0)?;
    Ok(contents)
}
