//! Whether this user may do with the files of a data directory what the server does with them.
//!
//! Looked at before any of them is touched: what would fail later would fail in the middle of something, and say less.

use std::fs::DirEntry;
use std::io::{Error, ErrorKind};
use std::path::Path;

use reddb_file::layout::{control_path, engine_dir, identity_path, staging_dir, wal_dir};
use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::error::OpenFault;

/// Folders lie no deeper than this below the data directory.
const DEPTH_MAX: u32 = 4;

/// Refuses where a file that is there cannot be used as the server uses it. A file that is not there is not its business.
pub(super) fn check(dir: &Path) -> Result<(), OpenFault> {
    let read_write = Access::READ_OK | Access::WRITE_OK;
    let refused = |(path, source): Refused| OpenFault::NoPermission { dir: dir.to_owned(), path: path.into(), source };
    may(dir, read_write | Access::EXEC_OK).map_err(refused)?;
    may(&identity_path(dir), Access::READ_OK).map_err(refused)?;
    may(&control_path(dir), read_write).map_err(refused)?;
    below(&wal_dir(dir), read_write, DEPTH_MAX).map_err(refused)?;
    below(&engine_dir(dir), Access::READ_OK, DEPTH_MAX).map_err(refused)?;
    below(&staging_dir(dir), Access::EXISTS, DEPTH_MAX).map_err(refused)
}

/// What cannot be used, and what the system says.
type Refused = (Box<Path>, Error);

/// A folder that can be written, and below it folders likewise and files for this use.
fn below(folder: &Path, files: Access, depth: u32) -> Result<(), Refused> {
    let failed = |source| (folder.into(), source);
    may(folder, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)?;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed)?,
    };
    for entry in entries {
        let path = entry.as_ref().map(DirEntry::path).map_err(|error| failed(Error::from(error.kind())))?;
        if path.is_dir() && depth > 0 {
            below(&path, files, depth - 1)?;
        } else {
            may(&path, files)?;
        }
    }
    Ok(())
}

/// Whether this process, as the user that it acts as, may use a path so.
fn may(path: &Path, how: Access) -> Result<(), Refused> {
    match accessat(CWD, path, how, AtFlags::EACCESS).map_err(Error::from) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err((path.into(), error)),
        _ => Ok(()),
    }
}
