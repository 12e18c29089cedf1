//! What the local file system adds: symbolic links, which an archive does not hold, and directories that go away.
//!
//! The object store's local implementation follows links wherever they lead. Before any object is touched, each part
//! of its path below the root is looked at; a link is refused. This guards against links that were left or planted in an
//! archive, not against somebody who changes the directory at the same moment.
//!
//! That implementation also makes every directory that is missing, and finds nothing where nothing is. So an archive on a
//! disk that is not mounted would look like an empty one, and a second archive would be begun in its place. Before any
//! object is touched, the root must be the directory that was opened, or hold an archive. The one that a writer begins, on a
//! disk that has no space for a directory, is made as soon as there is space.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use reddb_file::archive::ArchiveKey;

use super::error::{Operation, StoreError};

/// A local archive's directory.
#[derive(Clone, Debug)]
pub(crate) struct LocalRoot {
    /// What keys are below: the archive's directory or, while it may be away, the file system's root.
    base: PathBuf,
    directory: PathBuf,
    /// Which directory was opened or made; nothing where there was none.
    opened: Arc<OnceLock<DirectoryId>>,
    absent: Absent,
}

/// What a directory means that was not there when its archive was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// The archive is away.
    Away,
    /// There is no archive yet: the directory is to be made.
    ToBeMade,
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
        let opened = Arc::new(OnceLock::from(DirectoryId::of(&meta)));
        Ok(Self { base: directory.clone(), directory, opened, absent: Absent::Away })
    }

    /// The root at a directory that is not there; keys are below `/`.
    pub(crate) fn absent(directory: PathBuf, absent: Absent) -> Self {
        Self { base: PathBuf::from("/"), directory, opened: Arc::default(), absent }
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
        let unavailable = |operation, source: io::Error| StoreError::Unavailable {
            key: key.into(),
            operation,
            attempts: 1,
            source: source.into(),
        };
        if self.absent == Absent::ToBeMade && self.opened.get().is_none() {
            let made = self.make().map_err(|error| {
                let reason = format!("{}: the archive's directory cannot be made: {error}", self.directory.display());
                unavailable(Operation::Put, io::Error::new(error.kind(), reason))
            })?;
            // Another request may have been first.
            self.opened.get_or_init(|| made);
        }
        let found = self.directory.metadata().ok().filter(Metadata::is_dir);
        let is_opened = found.is_some_and(|meta| Some(&DirectoryId::of(&meta)) == self.opened.get());
        if is_opened || self.directory.join(ArchiveKey::Cluster.to_string()).is_file() {
            return Ok(());
        }
        let reason = format!(
            "{} does not hold the archive now; is its disk mounted? To begin a new archive there, start with --new-archive",
            self.directory.display()
        );
        Err(unavailable(Operation::Head, io::Error::new(io::ErrorKind::NotFound, reason)))
    }

    fn make(&self) -> io::Result<DirectoryId> {
        make_directory(&self.directory)?;
        Ok(DirectoryId::of(&self.directory.metadata()?))
    }
}

/// Makes the directory and its missing parents, durably.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_directory(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => File::open(parent)?.sync_all()?,
        }
    }
    Ok(())
}
