//! The operating system's file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{EntryKind, OpenMode, Vfs, VfsEntry, VfsError, VfsFile, VfsMetadata, VfsOp, VfsResult};

/// The operating system's file system. Stateless.
#[derive(Clone, Copy, Debug, Default)]
pub struct StdVfs;

impl StdVfs {
    /// The file system, shared.
    #[must_use]
    pub fn shared() -> Arc<dyn Vfs> {
        Arc::new(Self)
    }
}

/// Adds the operation and the path to a system error.
fn at<T>(op: VfsOp, path: &Path, result: io::Result<T>) -> VfsResult<T> {
    result.map_err(|error| VfsError::new(op, path, error))
}

impl Vfs for StdVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> VfsResult<Arc<dyn VfsFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::OpenOrCreate => {
                options.write(true).create(true).truncate(false);
            }
            OpenMode::CreateTruncate => {
                options.write(true).create(true).truncate(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        let file = at(VfsOp::Open, path, options.open(path))?;
        Ok(Arc::new(StdFile { file, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> VfsResult<()> {
        at(VfsOp::Rename, from, fs::rename(from, to))
    }

    fn link(&self, from: &Path, to: &Path) -> VfsResult<()> {
        at(VfsOp::Link, from, fs::hard_link(from, to))
    }

    fn remove(&self, path: &Path) -> VfsResult<()> {
        at(VfsOp::Remove, path, fs::remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> VfsResult<()> {
        at(VfsOp::Remove, path, fs::remove_dir_all(path))
    }

    fn list(&self, path: &Path) -> VfsResult<Vec<VfsEntry>> {
        let mut entries = Vec::new();
        for entry in at(VfsOp::List, path, fs::read_dir(path))? {
            let entry = at(VfsOp::List, path, entry)?;
            let kind = kind_of(at(VfsOp::List, path, entry.file_type())?);
            entries.push(VfsEntry { name: entry.file_name().to_string_lossy().into_owned(), kind });
        }
        entries.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(entries)
    }

    fn create_dir_all(&self, path: &Path) -> VfsResult<()> {
        at(VfsOp::CreateDir, path, fs::create_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> VfsResult<()> {
        at(VfsOp::SyncDir, path, File::open(path).and_then(|dir| dir.sync_all()))
    }

    fn metadata(&self, path: &Path) -> VfsResult<Option<VfsMetadata>> {
        match fs::metadata(path) {
            Ok(metadata) => {
                let kind = kind_of(metadata.file_type());
                let len_bytes = if kind == EntryKind::File { metadata.len() } else { 0 };
                Ok(Some(VfsMetadata { kind, len_bytes }))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(VfsError::new(VfsOp::Metadata, path, error)),
        }
    }
}

fn kind_of(file_type: fs::FileType) -> EntryKind {
    if file_type.is_file() {
        EntryKind::File
    } else if file_type.is_dir() {
        EntryKind::Dir
    } else {
        EntryKind::Other
    }
}

#[derive(Debug)]
struct StdFile {
    file: File,
    path: PathBuf,
}

impl VfsFile for StdFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> VfsResult<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.file.read_at(&mut buf[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(VfsError::new(VfsOp::Read, &self.path, error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> VfsResult<()> {
        at(VfsOp::Write, &self.path, self.file.write_all_at(bytes, offset))
    }

    fn len_bytes(&self) -> VfsResult<u64> {
        at(VfsOp::Len, &self.path, self.file.metadata()).map(|metadata| metadata.len())
    }

    fn set_len(&self, len_bytes: u64) -> VfsResult<()> {
        at(VfsOp::SetLen, &self.path, self.file.set_len(len_bytes))
    }

    fn sync_data(&self) -> VfsResult<()> {
        at(VfsOp::SyncData, &self.path, self.file.sync_data())
    }

    fn sync_all(&self) -> VfsResult<()> {
        at(VfsOp::SyncAll, &self.path, self.file.sync_all())
    }

    fn try_lock(&self) -> VfsResult<bool> {
        match self.file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(VfsError::new(VfsOp::Lock, &self.path, error)),
        }
    }
}
