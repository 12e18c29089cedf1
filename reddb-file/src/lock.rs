//! `<dir>/lock`: one process per data directory.
//!
//! The operating system's lock on the open file decides; the process id written inside only tells people who holds it, and
//! is never believed for anything else. The file stays when the lock goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::layout::lock_path;
use crate::vfs::{OpenMode, Vfs, VfsError, VfsFile};

/// A held lock on a data directory; released when dropped.
#[derive(Debug)]
pub struct DirLock {
    file: Arc<dyn VfsFile>,
}

/// A lock that could not be had.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "{} is held by {}: one process per data directory; stop it, or use another --dir",
        path.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// The process that says it holds it, where that can be read.
        holder: Option<u32>,
    },
    /// The file system failed.
    #[error(transparent)]
    Io(#[from] VfsError),
}

impl DirLock {
    /// Locks the data directory `dir`, which must exist, for the process `pid`.
    ///
    /// # Errors
    /// [`LockError::Held`] at once where another handle holds it, and `Io`.
    pub fn acquire(vfs: &dyn Vfs, dir: &Path, pid: u32) -> Result<Self, LockError> {
        let path = lock_path(dir);
        let file = vfs.open(&path, OpenMode::OpenOrCreate)?;
        if !file.try_lock()? {
            return Err(LockError::Held { holder: read_holder(file.as_ref()), path });
        }
        let text = format!("{pid}\n");
        // Overwritten, then cut: a full disk gives no block back to a file that was emptied first.
        file.write_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        Ok(Self { file })
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

fn read_holder(file: &dyn VfsFile) -> Option<u32> {
    let mut buf = [0; 16];
    let count = file.read_at(&mut buf, 0).ok()?;
    std::str::from_utf8(&buf[..count]).ok()?.strip_suffix('\n')?.parse().ok()
}
