//! Changes to directories that survive a crash: the one place of the tree that replaces, creates, renames or removes
//! files which must be there, or be gone, afterwards.
//!
//! Replacing a file is: write a temporary, sync it, rename it over the target, sync the directory. Whoever reads the
//! target sees the old contents or the new, whole, at every moment, also after a crash. The temporary's name is derived
//! from the target's, so a directory has one writer ([`crate::lock`]) and what a crash leaves behind is overwritten by
//! the next attempt.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::vfs::{OpenMode, Vfs, VfsError, VfsResult};

/// The end of a temporary's name. Whatever ends so may be deleted at start.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

/// The name under which the next contents of `path` are prepared: `<path>.tmp`.
#[must_use]
pub fn temporary_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(TEMPORARY_SUFFIX);
    PathBuf::from(name)
}

/// The directory that holds `path`'s entry; `.` for a bare name.
#[must_use]
pub fn parent_dir(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Durably makes `contents` the contents of the file at `path`, new or not.
///
/// # Errors
/// The first failed operation. The file then has its old contents or, where the last step failed, possibly the new.
pub fn replace_file(vfs: &dyn Vfs, path: &Path, contents: &[u8]) -> VfsResult<()> {
    let temporary = temporary_path(path);
    write_synced(vfs, &temporary, contents)?;
    rename_durable(vfs, &temporary, path)
}

/// Durably creates the file at `path` with `contents`; fails with `AlreadyExists` where there is one.
///
/// # Errors
/// The first failed operation. The file then does not exist or, where the last steps failed, possibly does, whole.
pub fn create_file(vfs: &dyn Vfs, path: &Path, contents: &[u8]) -> VfsResult<()> {
    let temporary = temporary_path(path);
    write_synced(vfs, &temporary, contents)?;
    let linked = vfs.link(&temporary, path);
    let removed = vfs.remove(&temporary);
    linked.and(removed)?;
    vfs.sync_dir(parent_dir(path))
}

/// Renames `from` to `to`, replacing what is there, and makes both directories' entries durable.
///
/// # Errors
/// The first failed operation; after a failed sync the rename may or may not survive a crash.
pub fn rename_durable(vfs: &dyn Vfs, from: &Path, to: &Path) -> VfsResult<()> {
    vfs.rename(from, to)?;
    vfs.sync_dir(parent_dir(to))?;
    if parent_dir(from) != parent_dir(to) {
        vfs.sync_dir(parent_dir(from))?;
    }
    Ok(())
}

/// Durably creates the directory `path` and whatever is missing above it. A directory that exists is synced all the same:
/// the process that made it may have died before it did.
///
/// # Errors
/// The first failed operation.
pub fn create_dir_durable(vfs: &dyn Vfs, path: &Path) -> VfsResult<()> {
    let mut made = vec![path];
    let mut above = path;
    loop {
        let parent = parent_dir(above);
        if parent == above || parent == Path::new(".") || vfs.metadata(parent)?.is_some() {
            break;
        }
        made.push(parent);
        above = parent;
    }
    vfs.create_dir_all(path)?;
    made.into_iter().rev().try_for_each(|dir| vfs.sync_dir(parent_dir(dir)))
}

/// Removes the temporaries that a crash left in `dir` and says how many.
///
/// # Errors
/// The first failed operation.
pub(crate) fn remove_temporaries(vfs: &dyn Vfs, dir: &Path) -> VfsResult<u32> {
    let mut removed = 0;
    for entry in vfs.list(dir)? {
        if entry.name.ends_with(TEMPORARY_SUFFIX) {
            match vfs.remove(&dir.join(&entry.name)) {
                Ok(()) => removed += 1,
                Err(error) if VfsError::is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(removed)
}

fn write_synced(vfs: &dyn Vfs, path: &Path, contents: &[u8]) -> VfsResult<()> {
    let file = vfs.open(path, OpenMode::CreateTruncate)?;
    file.write_at(contents, 0)?;
    file.sync_all()
}
