//! Whether a restore may make a directory at a place. Looks, and changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use reddb_file::durable::parent_dir;
use reddb_file::vfs::{EntryKind, Vfs};

use super::error::RestoreError;

/// A target that may be made.
pub(super) struct Target {
    /// The directory above it, which exists.
    pub(super) parent: PathBuf,
    /// Its name there.
    pub(super) name: String,
}

/// Checks the target of a restore from an archive in the local directory `archive`, if it is in one.
pub(super) fn check(vfs: &dyn Vfs, archive: Option<&Path>, into: &Path) -> Result<Target, RestoreError> {
    let unusable = |reason: &str| RestoreError::TargetUnusable { into: into.to_owned(), reason: reason.to_owned() };
    let name = into.file_name().and_then(|name| name.to_str()).ok_or_else(|| unusable("it has no name"))?;
    let parent = parent_dir(into);
    let looked = vfs.metadata(parent).map_err(|error| unusable(&error.to_string()))?;
    if looked.is_none_or(|metadata| metadata.kind != EntryKind::Dir) {
        return Err(unusable("the directory above it does not exist"));
    }
    if let Some(archive) = archive {
        check_apart(archive, parent, name, into)?;
    }
    check_free(vfs, parent, name, into)?;
    Ok(Target { parent: parent.to_owned(), name: name.to_owned() })
}

/// Neither of target and archive is in the other: what a restore makes would be taken for the archive's, or replace it.
fn check_apart(archive: &Path, parent: &Path, name: &str, into: &Path) -> Result<(), RestoreError> {
    // What cannot be resolved is met again, and reported, where it is used.
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (archive, target) = (resolved(archive), resolved(parent).join(name));
    if target.starts_with(&archive) || archive.starts_with(&target) {
        return Err(RestoreError::TargetInArchive { into: into.to_owned(), archive });
    }
    Ok(())
}

/// The target does not exist, or is an empty directory: not a link to one, and not a mount point.
fn check_free(vfs: &dyn Vfs, parent: &Path, name: &str, into: &Path) -> Result<(), RestoreError> {
    let list = |path: &Path| {
        vfs.list(path)
            .map_err(|error| RestoreError::TargetUnusable { into: into.to_owned(), reason: error.to_string() })
    };
    let Some(entry) = list(parent)?.into_iter().find(|entry| entry.name == name) else { return Ok(()) };
    if entry.kind != EntryKind::Dir || !list(into)?.is_empty() {
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
