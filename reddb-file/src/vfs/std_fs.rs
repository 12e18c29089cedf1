//! The operating system's file system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::direct::{DirectFile, is_refusal};
use super::{EntryKind, OpenMode, Vfs, VfsEntry, VfsError, VfsFile, VfsMetadata, VfsOp, VfsResult, check_blocks};

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
            OpenMode::Read | OpenMode::ReadDirect => {}
            OpenMode::ReadWrite | OpenMode::WriteDirect => {
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
        let past_cache = matches!(mode, OpenMode::ReadDirect | OpenMode::WriteDirect);
        let direct = if past_cache { at(VfsOp::Open, path, DirectFile::open(&mut options, path))? } else { None };
        let whole_blocks = mode == OpenMode::WriteDirect;
        Ok(Arc::new(StdFile { file, path: path.to_owned(), direct, refused: AtomicBool::new(false), whole_blocks }))
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
    /// The same file once more, past the page cache.
    direct: Option<DirectFile>,
    /// Whether the system has refused to read or write it so: a file system may take the flag and not what it stands for.
    refused: AtomicBool,
    /// Whether it is written in whole blocks only.
    whole_blocks: bool,
}

impl StdFile {
    /// The file past the page cache, where that is asked for and the system has not refused it.
    fn direct(&self) -> Option<&DirectFile> {
        self.direct.as_ref().filter(|_| !self.refused.load(Ordering::Relaxed))
    }

    /// Goes on through the page cache where the system refuses what was done past it; what was written until then is written again.
    fn unless_refused<T>(&self, done: Option<io::Result<T>>) -> Option<io::Result<T>> {
        match done? {
            Err(error) if is_refusal(&error) => {
                self.refused.store(true, Ordering::Relaxed);
                None
            }
            done => Some(done),
        }
    }

    fn read_some(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.direct().map(|file| file.read_at(buf, offset));
        self.unless_refused(read).unwrap_or_else(|| self.file.read_at(buf, offset))
    }

    fn write_all(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let written = self.direct().map(|file| file.write_all_at(bytes, offset));
        self.unless_refused(written).unwrap_or_else(|| self.file.write_all_at(bytes, offset))
    }
}

impl VfsFile for StdFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> VfsResult<usize> {
        let mut done = 0;
        while done < buf.len() {
            match self.read_some(&mut buf[done..], offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(VfsError::new(VfsOp::Read, &self.path, error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> VfsResult<()> {
        if self.whole_blocks {
            check_blocks(&self.path, bytes, offset)?;
        }
        at(VfsOp::Write, &self.path, self.write_all(bytes, offset))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_through_the_page_cache_where_the_system_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, [0; 8]).unwrap();
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = options.open(&path).unwrap();
        let direct = DirectFile::open(&mut options, &path).unwrap();
        let direct = direct.expect("temporary directories are on file systems that can");
        // Parts of blocks: what a file system that wants larger blocks than ours makes of whole ones. Some take them.
        let refuses = direct.write_all_at(&[0], 7).is_err_and(|error| is_refusal(&error));
        let refused = AtomicBool::new(false);
        let file = StdFile { file, path: path.clone(), direct: Some(direct), refused, whole_blocks: false };
        file.write_at(b"abc", 1).unwrap();
        file.write_at(b"d", 4).unwrap();
        file.sync_data().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"\0abcd\0\0\0");
        let mut buf = [0; 3];
        assert_eq!(file.read_at(&mut buf, 2).unwrap(), 3);
        assert_eq!(&buf, b"bcd");
        assert_eq!(file.refused.load(Ordering::Relaxed), refuses);
    }
}
