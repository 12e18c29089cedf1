//! `<dir>/lock`: one process per data directory.
//!
//! ```text
//! <process id> LF          who holds it
//! <place> LF               which file this was when its holder last came to own the directory's history; absent at first
//! ```
//! The operating system's lock on the open file decides; the process id written inside only tells people who holds it, and
//! is never believed for anything else. The place is a word of the caller's, which a copy of the file brings along although
//! it is another file: so a copy is told from the original. The file stays when the lock goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::layout::lock_path;
use crate::vfs::{OpenMode, Vfs, VfsError, VfsFile};

/// A held lock on a data directory; released when dropped.
#[derive(Debug)]
pub struct DirLock {
    file: Arc<dyn VfsFile>,
    pid: u32,
    place: Option<String>,
}

/// The most bytes that are read of the file; a longer place is none.
const LOCK_BYTES_MAX: usize = 128;

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
        let place = read_lines(file.as_ref()).and_then(|lines| lines.get(1).cloned());
        let lock = Self { file, pid, place };
        lock.write(lock.place.as_deref())?;
        Ok(lock)
    }

    /// The place that was left here last, by this process or an earlier one, in this directory or in the one that it was copied
    /// from.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// Leaves a place, one short line, for whoever locks the directory next.
    ///
    /// # Errors
    /// The file system failed.
    pub fn leave_place(&mut self, place: &str) -> Result<(), VfsError> {
        self.place = Some(place.to_owned());
        self.write(Some(place))
    }

    fn write(&self, place: Option<&str>) -> Result<(), VfsError> {
        let mut text = format!("{}\n", self.pid);
        if let Some(place) = place {
            text.push_str(place);
            text.push('\n');
        }
        // Overwritten, then cut: a full disk gives no block back to a file that was emptied first.
        self.file.write_at(text.as_bytes(), 0)?;
        self.file.set_len(text.len() as u64)
    }

    /// The lock file.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }
}

fn read_holder(file: &dyn VfsFile) -> Option<u32> {
    read_lines(file)?.first()?.parse().ok()
}

/// The lines that are whole.
fn read_lines(file: &dyn VfsFile) -> Option<Vec<String>> {
    let mut buf = [0; LOCK_BYTES_MAX];
    let count = file.read_at(&mut buf, 0).ok()?;
    let text = std::str::from_utf8(&buf[..count]).ok()?;
    Some(text.split_inclusive('\n').filter_map(|line| Some(line.strip_suffix('\n')?.to_owned())).collect())
}
