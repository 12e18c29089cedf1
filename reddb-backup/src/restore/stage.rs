//! The directory that a restore builds beside its target, and the one rename that makes it the target.
//!
//! Invariants: nothing at the target is touched before everything below the staging directory is durable; the staging
//! directory is removed with the last handle to it, unless it became the target. While a process is at work in it, it holds
//! the lock in it; one that nobody holds is what a killed restore left, and the next restore into the same target removes
//! it. The lock's file stays in the finished directory.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reddb_file::archive::RelativePath;
use reddb_file::durable::{parent_dir, rename_durable};
use reddb_file::lock::{DirLock, LockError};
use reddb_file::vfs::{EntryKind, OpenMode, Vfs, VfsError, VfsOp};

use super::error::RestoreError;
use super::sink::StagedDirectory;
use super::target::{self, Target};
use crate::progress::Meter;

/// What the name of a staging directory begins with, after a dot and the target's name.
const STAGING_INFIX: &str = ".staging-";

/// How often a staging directory is removed: a thread may make it anew, or something in it.
const REMOVALS_MAX: u32 = 10;

/// A directory under construction.
pub(super) struct Staging {
    vfs: Arc<dyn Vfs>,
    into: PathBuf,
    archive: Option<PathBuf>,
    root: PathBuf,
    /// The target's name.
    name: String,
    removed: Vec<PathBuf>,
    published: AtomicBool,
    /// Held until the directory has its final name: nobody takes it for abandoned.
    _lock: DirLock,
}

impl Staging {
    /// Checks the target and makes the staging directory beside it. Removes what interrupted restores into the same target
    /// left there.
    pub(super) fn create(vfs: Arc<dyn Vfs>, archive: Option<PathBuf>, into: &Path) -> Result<Self, RestoreError> {
        let target = target::check(&*vfs, archive.as_deref(), into)?;
        let removed = remove_abandoned(&*vfs, &target)?;
        let root = make_root(&*vfs, &target, into)?;
        let lock = match DirLock::acquire(&*vfs, &root, std::process::id()) {
            Ok(lock) => lock,
            Err(error) => {
                // Empty, apart from the lock's file.
                drop(vfs.remove_dir_all(&root));
                return Err(lock_error(error, into));
            }
        };
        let into = into.to_owned();
        let name = target.name;
        Ok(Self { vfs, into, archive, root, name, removed, published: AtomicBool::new(false), _lock: lock })
    }

    /// The abandoned staging directories that were removed.
    pub(super) fn removed(&self) -> &[PathBuf] {
        &self.removed
    }

    pub(super) fn vfs(&self) -> &Arc<dyn Vfs> {
        &self.vfs
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory as a sink sees it, with the snapshot's files below `base`.
    pub(super) fn directory(&self, base: &RelativePath) -> StagedDirectory {
        StagedDirectory::new(self.root.clone(), self.root.join(base.as_str()))
    }

    /// Removes what was built. Under another name first, because threads may still be at work in it: who looks for a place in
    /// it from then on finds none.
    pub(super) fn discard(&self) {
        for _ in 0..REMOVALS_MAX {
            let unfindable = self.root.with_file_name(staging_name(&self.name));
            let removed = match self.vfs.rename(&self.root, &unfindable) {
                Ok(()) => remove_unfindable(&*self.vfs, &unfindable),
                Err(error) if error.is_not_found() => return,
                Err(error) => Err(error),
            };
            if let Err(error) = removed {
                tracing::warn!(path = %self.root.display(), %error, "a staging directory could not be removed; it may be deleted");
                return;
            }
        }
    }

    /// Makes everything durable and renames the directory to its target. `cancelled` is asked just before the rename.
    pub(super) fn publish(&self, meter: &Meter, cancelled: &AtomicBool) -> Result<(), RestoreError> {
        sync_tree(&*self.vfs, &self.root, meter)?;
        let parent = parent_dir(&self.into);
        target::check(&*self.vfs, self.archive.as_deref(), &self.into)?;
        if cancelled.load(Ordering::SeqCst) {
            return Err(RestoreError::Cancelled);
        }
        self.vfs.sync_dir(parent)?;
        rename_durable(&*self.vfs, &self.root, &self.into)?;
        self.published.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.published.load(Ordering::SeqCst) {
            self.discard();
        }
    }
}

/// Makes an empty directory beside the target and removes it again: what only trying can tell.
pub(super) fn probe(vfs: &dyn Vfs, archive: Option<&Path>, into: &Path) -> Result<(), RestoreError> {
    let target = target::check(vfs, archive, into)?;
    let root = make_root(vfs, &target, into)?;
    Ok(vfs.remove_dir_all(&root)?)
}

/// Removes a directory that nobody finds any more. A thread that had found its place before may have made its file after the
/// place was emptied: once each, so trying again comes to an end.
fn remove_unfindable(vfs: &dyn Vfs, dir: &Path) -> Result<(), VfsError> {
    for _ in 1..REMOVALS_MAX {
        match vfs.remove_dir_all(dir) {
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
            removed => return removed,
        }
    }
    vfs.remove_dir_all(dir)
}

/// A name for a staging directory of the target of this name; another one each time.
fn staging_name(target: &str) -> String {
    format!(".{target}{STAGING_INFIX}{}", uuid::Uuid::new_v4().simple())
}

fn make_root(vfs: &dyn Vfs, target: &Target, into: &Path) -> Result<PathBuf, RestoreError> {
    let root = target.parent.join(staging_name(&target.name));
    match vfs.create_dir_all(&root) {
        Ok(()) => Ok(root),
        Err(error) if error.is_no_space() => Err(error.into()),
        Err(error) => Err(RestoreError::TargetUnusable { into: into.to_owned(), reason: error.to_string() }),
    }
}

/// Removes the staging directories for this target that no process holds: their restores were killed.
fn remove_abandoned(vfs: &dyn Vfs, target: &Target) -> Result<Vec<PathBuf>, RestoreError> {
    let mut removed = Vec::new();
    for entry in vfs.list(&target.parent)? {
        if entry.kind != EntryKind::Dir || !is_staging_name(&entry.name, &target.name) {
            continue;
        }
        let path = target.parent.join(&entry.name);
        // One that is held is a running restore's; one that cannot be locked or removed is left to people.
        let Ok(_lock) = DirLock::acquire(vfs, &path, std::process::id()) else { continue };
        match vfs.remove_dir_all(&path) {
            Ok(()) => removed.push(path),
            Err(error) => tracing::warn!(path = %path.display(), %error, "cannot be removed; it may be deleted"),
        }
    }
    Ok(removed)
}

/// Whether a directory's name is one that [`staging_name`] gives, for a target of this name.
fn is_staging_name(entry: &str, target: &str) -> bool {
    let random = entry.strip_prefix('.').and_then(|rest| rest.strip_prefix(target)?.strip_prefix(STAGING_INFIX));
    random.is_some_and(|random| random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn lock_error(error: LockError, into: &Path) -> RestoreError {
    match error {
        LockError::Io(error) => error.into(),
        held @ LockError::Held { .. } => {
            RestoreError::TargetUnusable { into: into.to_owned(), reason: held.to_string() }
        }
    }
}

/// Syncs every file and directory below `dir`, and `dir`.
fn sync_tree(vfs: &dyn Vfs, dir: &Path, meter: &Meter) -> Result<(), VfsError> {
    let entries = vfs.list(dir)?;
    meter.expect(entries.len() as u64, 0);
    for entry in entries {
        let path = dir.join(&entry.name);
        match entry.kind {
            EntryKind::Dir => sync_tree(vfs, &path, meter)?,
            EntryKind::File => vfs.open(&path, OpenMode::Read)?.sync_all()?,
            EntryKind::Other => {
                let error =
                    std::io::Error::other("neither a file nor a directory; it has no place in a restored directory");
                return Err(VfsError::new(VfsOp::SyncAll, &path, error));
            }
        }
        meter.item();
    }
    vfs.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use reddb_file::vfs::{StdVfs, VfsFile, VfsMetadata, VfsResult};

    use super::*;

    /// The system's files, and as many threads that had each found the place for a file before the directory was renamed,
    /// and make it when a removal has emptied the place.
    #[derive(Debug)]
    struct LateFiles(std::sync::atomic::AtomicU32);

    impl Vfs for LateFiles {
        fn remove_dir_all(&self, path: &Path) -> VfsResult<()> {
            let left = self.0.load(Ordering::SeqCst);
            if left == 0 {
                return StdVfs.remove_dir_all(path);
            }
            self.0.store(left - 1, Ordering::SeqCst);
            for entry in fs::read_dir(path).expect("there") {
                fs::remove_file(entry.expect("an entry").path()).expect("is removed");
            }
            fs::write(path.join(left.to_string()), "late").expect("is made");
            fs::remove_dir(path).map_err(|error| VfsError::new(VfsOp::Remove, path, error))
        }

        fn open(&self, path: &Path, mode: OpenMode) -> VfsResult<Arc<dyn VfsFile>> {
            StdVfs.open(path, mode)
        }

        fn rename(&self, from: &Path, to: &Path) -> VfsResult<()> {
            StdVfs.rename(from, to)
        }

        fn link(&self, from: &Path, to: &Path) -> VfsResult<()> {
            StdVfs.link(from, to)
        }

        fn remove(&self, path: &Path) -> VfsResult<()> {
            StdVfs.remove(path)
        }

        fn list(&self, path: &Path) -> VfsResult<Vec<reddb_file::vfs::VfsEntry>> {
            StdVfs.list(path)
        }

        fn create_dir_all(&self, path: &Path) -> VfsResult<()> {
            StdVfs.create_dir_all(path)
        }

        fn sync_dir(&self, path: &Path) -> VfsResult<()> {
            StdVfs.sync_dir(path)
        }

        fn metadata(&self, path: &Path) -> VfsResult<Option<VfsMetadata>> {
            StdVfs.metadata(path)
        }
    }

    #[test]
    fn a_file_that_is_made_while_everything_is_removed_is_removed_too() {
        let parent = tempfile::tempdir().expect("a directory");
        let vfs = Arc::new(LateFiles(3.into()));
        let staging = Staging::create(vfs, None, &parent.path().join("into")).expect("is made");
        staging.discard();
        assert_eq!(fs::read_dir(parent.path()).expect("readable").count(), 0);
    }
}
