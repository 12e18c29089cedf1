//! File operations of the engine: each says in its error what was attempted on which path.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::EngineError;

/// A failed operation on `path`.
pub(super) fn io_error(path: &Path, action: &'static str, source: io::Error) -> EngineError {
    EngineError::Io { path: path.to_owned(), action, source }
}

/// Creates a file that must not exist, and syncs it.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), EngineError> {
    let mut file = File::create_new(path).map_err(|source| io_error(path, "create", source))?;
    file.write_all(bytes).map_err(|source| io_error(path, "write", source))?;
    file.sync_all().map_err(|source| io_error(path, "sync", source))
}

/// Makes the names in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<(), EngineError> {
    File::open(path).and_then(|dir| dir.sync_all()).map_err(|source| io_error(path, "sync the directory", source))
}

/// Makes sure that `path` is an empty directory whose own name is durable.
pub(super) fn prepare_empty_directory(path: &Path) -> Result<(), EngineError> {
    match fs::create_dir(path) {
        Ok(()) => match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
            _ => sync_directory(Path::new(".")),
        },
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut entries = fs::read_dir(path).map_err(|source| io_error(path, "list the directory", source))?;
            match entries.next() {
                None => Ok(()),
                Some(_) => Err(EngineError::Directory {
                    path: path.to_owned(),
                    detail: "a checkpoint needs an empty directory; name another one",
                }),
            }
        }
        Err(source) => Err(io_error(path, "create the directory", source)),
    }
}

/// The bytes that this process may still write to the file system that holds `path`.
pub(super) fn free_bytes(path: &Path) -> Result<u64, EngineError> {
    let status =
        rustix::fs::statvfs(path).map_err(|errno| io_error(path, "ask for the free space of", errno.into()))?;
    Ok(status.f_bavail.saturating_mul(status.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_absent_or_empty_directory_is_prepared() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("checkpoint");
        prepare_empty_directory(&target).unwrap();
        prepare_empty_directory(&target).unwrap();
        write_new(&target.join("file"), b"x").unwrap();
        let error = prepare_empty_directory(&target).unwrap_err();
        assert!(error.to_string().contains("needs an empty directory"), "{error}");
        assert!(write_new(&target.join("file"), b"y").unwrap_err().to_string().contains("cannot create"));
        assert!(free_bytes(dir.path()).unwrap() > 0);
    }
}
