//! What the local file system adds: symbolic links, which an archive does not hold, and directories that go away.
//!
//! The object store's local implementation follows links wherever they lead. Before any object is touched, each part
//! of its path below the root is looked at; a link is refused. This guards against links that were left or planted in an
//! archive, not against somebody who changes the directory at the same moment.
//!
//! That implementation also makes every directory that is missing, and finds nothing where nothing is. So an archive on a
//! disk that is not mounted would look like an empty one, and a second archive would be begun in its place. Before any
//! object is touched, the root must be the directory that was opened, or hold an archive.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use reddb_file::archive::ArchiveKey;

use super::error::{Operation, StoreError};

/// A local archive's directory.
#[derive(Clone, Debug)]
pub(crate) struct LocalRoot {
    /// What keys are below: the archive's directory or, while it may be away, the file system's root.
    base: PathBuf,
    directory: PathBuf,
    /// Which directory was opened; `None` where there was none.
    opened: Option<DirectoryId>,
}

/// Device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DirectoryId(u64, u64);

impl DirectoryId {
    fn of(meta: &Metadata) -> Self {
        Self(meta.dev(), meta.ino())
    }
}

impl LocalRoot {
    /// The root at a directory that is there; keys are below it.
    pub(crate) fn present(directory: PathBuf) -> io::Result<Self> {
        let meta = directory.metadata()?;
        Ok(Self { base: directory.clone(), directory, opened: Some(DirectoryId::of(&meta)) })
    }

    /// The root at a directory that is away; keys are below `/`.
    pub(crate) fn away(directory: PathBuf) -> Self {
        Self { base: PathBuf::from("/"), directory, opened: None }
    }

    /// The archive's directory.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the object with this key is.
    pub(crate) fn object_path(&self, key: &str) -> PathBuf {
        self.base.join(key)
    }

    /// Refuses everything while the archive's directory is away, and a key whose path holds a symbolic link.
    pub(crate) fn check(&self, key: &str) -> Result<(), StoreError> {
        self.check_presence(key)?;
        let mut path = self.base.clone();
        for part in Path::new(key).components() {
            path.push(part);
            match path.symlink_metadata() {
                Ok(meta) if meta.file_type().is_symlink() => {
                    return Err(StoreError::SymbolicLink { key: key.into(), path: path.display().to_string() });
                }
                Ok(_) => {}
                // What is not there, or cannot be looked at, is the object store's to report.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn check_presence(&self, key: &str) -> Result<(), StoreError> {
        let found = self.directory.metadata().ok().filter(Metadata::is_dir);
        let is_opened = found.is_some_and(|meta| Some(DirectoryId::of(&meta)) == self.opened);
        if is_opened || self.directory.join(ArchiveKey::Cluster.to_string()).is_file() {
            return Ok(());
        }
        let reason = format!(
            "{} does not hold the archive now; is its disk mounted? To begin a new archive there, start with --new-archive",
            self.directory.display()
        );
        Err(StoreError::Unavailable {
            key: key.into(),
            operation: Operation::Head,
            attempts: 1,
            source: io::Error::new(io::ErrorKind::NotFound, reason).into(),
        })
    }
}
