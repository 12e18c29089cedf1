//! A directory for one checkpoint, removed when its last user lets go.

use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::SnapshotError;

/// An empty directory of one snapshot.
#[derive(Debug)]
pub(super) struct StagingDir(PathBuf);

impl StagingDir {
    /// Makes it below `staging`, which is made where it is missing.
    pub(super) fn create(staging: &Path, id: Uuid) -> Result<Self, SnapshotError> {
        let path = staging.join(format!("snapshot-{}", id.hyphenated()));
        match fs::create_dir_all(staging).and_then(|()| fs::create_dir(&path)) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(SnapshotError::Staging { path: path.display().to_string(), source }),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a snapshot's staging directory stays behind; it may be deleted");
        }
    }
}
