//! The directory that a restore builds beside its target, and the one rename that makes it the target.
//!
//! Invariants: nothing at the target is touched before everything below the staging directory is durable; the staging
//! directory is removed with the last handle to it, unless it became the target.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reddb_file::archive::RelativePath;
use reddb_file::durable::{parent_dir, rename_durable};
use reddb_file::vfs::{EntryKind, OpenMode, Vfs, VfsError, VfsOp};

use super::error::RestoreError;
use super::sink::StagedDirectory;
use crate::progress::Meter;

/// What the name of a staging directory begins with, after a dot and the target's name.
const STAGING_INFIX: &str = ".staging-";

/// How often the removal of a staging directory is tried.
const REMOVALS_MAX: u32 = 10;

/// A directory under construction.
pub(super) struct Staging {
    vfs: Arc<dyn Vfs>,
    into: PathBuf,
    root: PathBuf,
    published: AtomicBool,
}

impl Staging {
    /// Checks the target and makes the staging directory beside it.
    pub(super) fn create(vfs: Arc<dyn Vfs>, into: &Path) -> Result<Self, RestoreError> {
        let unusable = |reason| RestoreError::TargetUnusable { into: into.to_owned(), reason };
        let name = into.file_name().and_then(|name| name.to_str()).ok_or_else(|| unusable("it has no name"))?;
        let parent = parent_dir(into);
        if vfs.metadata(parent)?.is_none_or(|metadata| metadata.kind != EntryKind::Dir) {
            return Err(unusable("the directory above it does not exist"));
        }
        check_target(&*vfs, parent, name, into)?;
        let random = uuid::Uuid::new_v4().simple();
        let root = parent.join(format!(".{name}{STAGING_INFIX}{random}"));
        vfs.create_dir_all(&root)?;
        Ok(Self { vfs, into: into.to_owned(), root, published: AtomicBool::new(false) })
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

    /// Removes what was built. Threads that still write into it find it gone, and may make this take more than one try.
    pub(super) fn discard(&self) {
        for _ in 0..REMOVALS_MAX {
            match self.vfs.remove_dir_all(&self.root) {
                Ok(()) => return,
                Err(error) if error.is_not_found() => return,
                Err(error) => {
                    tracing::debug!(path = %self.root.display(), %error, "removing a staging directory again")
                }
            }
        }
    }

    /// Makes everything durable and renames the directory to its target. `cancelled` is asked just before the rename.
    pub(super) fn publish(&self, meter: &Meter, cancelled: &AtomicBool) -> Result<(), RestoreError> {
        sync_tree(&*self.vfs, &self.root, meter)?;
        let parent = parent_dir(&self.into);
        let name = self.into.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        check_target(&*self.vfs, parent, name, &self.into)?;
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
        if !self.published.load(Ordering::SeqCst)
            && let Err(error) = self.vfs.remove_dir_all(&self.root)
            && !error.is_not_found()
        {
            tracing::warn!(path = %self.root.display(), %error, "a staging directory could not be removed; it may be deleted");
        }
    }
}

/// The target does not exist, or is an empty directory: not a link to one, and not a mount point.
fn check_target(vfs: &dyn Vfs, parent: &Path, name: &str, into: &Path) -> Result<(), RestoreError> {
    let Some(entry) = vfs.list(parent)?.into_iter().find(|entry| entry.name == name) else { return Ok(()) };
    if entry.kind != EntryKind::Dir || !vfs.list(into)?.is_empty() {
        return Err(RestoreError::TargetNotEmpty { into: into.to_owned() });
    }
    let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
    if let (Some(inside), Some(outside)) = (device(into), device(parent))
        && inside != outside
    {
        return Err(RestoreError::TargetIsMountPoint { into: into.to_owned() });
    }
    Ok(())
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
