//! The one thing the local file system adds: symbolic links, which an archive does not hold.
//!
//! The object store's local implementation follows links wherever they lead. Before any object is touched, each part
//! of its path below the root is looked at; a link is refused. This guards against links that were left or planted in an
//! archive, not against somebody who changes the directory at the same moment.

use std::path::{Path, PathBuf};

use super::error::StoreError;

/// A local archive's directory.
#[derive(Clone, Debug)]
pub(crate) struct LocalRoot(pub(crate) PathBuf);

impl LocalRoot {
    /// Refuses a key whose path holds a symbolic link.
    pub(crate) fn check(&self, key: &str) -> Result<(), StoreError> {
        let mut path = self.0.clone();
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
}
