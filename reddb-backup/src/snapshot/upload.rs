//! A checkpoint's files into the archive: each hashed, looked for, and sent where it is missing.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use reddb_file::archive::{ArchiveKey, FileEntry};
use uuid::Uuid;

use super::digests::DigestCache;
use super::staging::StagingDir;
use super::{ProgressFn, SnapshotError, SnapshotProgress, Uploaded};
use crate::background::in_background;
use crate::claim::Claim;
use crate::ship::ShipError;
use crate::ship::owned::check_claim;
use crate::source::{CheckpointFile, CheckpointSource};
use crate::store::{ReadError, Store, StoreError};

/// How many files go to a local disk at once: more would be in the way of whoever syncs other files of that disk.
const LOCAL_UPLOADS_AT_ONCE_MAX: usize = 2;

/// What an upload needs.
#[derive(Clone)]
pub(crate) struct Uploader {
    pub(crate) store: Store,
    pub(crate) claim: Claim,
    pub(crate) source: Arc<dyn CheckpointSource>,
    pub(crate) staging: PathBuf,
    pub(crate) uploads_at_once: usize,
    pub(crate) digests: Arc<DigestCache>,
}

/// Adds up progress from concurrent uploads.
struct Meter {
    progress: Mutex<SnapshotProgress>,
    tell: ProgressFn,
}

impl Meter {
    fn add(&self, done_bytes: u64, sent_bytes: u64) {
        let mut progress = self.progress.lock();
        progress.done_bytes += done_bytes;
        progress.sent_bytes += sent_bytes;
        (self.tell)(*progress);
    }

    fn start(&self, total_bytes: u64) {
        let mut progress = self.progress.lock();
        progress.total_bytes = total_bytes;
        (self.tell)(*progress);
    }
}

impl Uploader {
    /// Makes the checkpoint and sends its files. May be dropped at any time.
    pub(crate) async fn run(self, id: Uuid, tell: ProgressFn) -> Result<Uploaded, SnapshotError> {
        // Held by the blocking threads too, so that it outlives whatever still writes into it.
        let staging = Arc::new(StagingDir::create(&self.staging, id)?);
        let checkpoint = {
            let (staging, source) = (Arc::clone(&staging), Arc::clone(&self.source));
            let made = tokio::task::spawn_blocking(move || source.checkpoint(staging.path()));
            made.await?.map_err(SnapshotError::Checkpoint)?
        };
        let at_once = match self.store.local_directory() {
            Some(_) => self.uploads_at_once.min(LOCAL_UPLOADS_AT_ONCE_MAX),
            None => self.uploads_at_once,
        };
        let hashed = futures_util::stream::iter(checkpoint.files.clone())
            .map(|file| self.hash(&staging, file))
            .buffer_unordered(at_once);
        let mut files: Vec<FileEntry> = hashed.try_collect().await?;
        files.sort_unstable_by(|left, right| left.path.cmp(&right.path));
        // An object that went elsewhere would be missing where the manifest is published.
        check_claim(&self.store, &self.claim).await.map_err(|error| match error {
            ShipError::Read(ReadError::Store(error)) => error.into(),
            error => SnapshotError::Elsewhere(error.to_string()),
        })?;
        let meter = Meter { progress: Mutex::default(), tell };
        meter.start(files.iter().map(|file| file.size_bytes).sum());
        futures_util::stream::iter(&files)
            .map(Ok)
            .try_for_each_concurrent(at_once, |file| self.send(&staging, file, &meter))
            .await?;
        self.digests.end_of_snapshot();
        Ok(Uploaded { checkpoint, files })
    }

    async fn hash(&self, staging: &Arc<StagingDir>, file: CheckpointFile) -> Result<FileEntry, SnapshotError> {
        let (staging, digests) = (Arc::clone(staging), Arc::clone(&self.digests));
        let staged_path = staging.path().join(file.path.as_str()).display().to_string();
        let hashed = in_background(move || {
            let CheckpointFile { path, written_xxh3 } = file;
            let staged = staging.path().join(path.as_str());
            match digests.digest(&staged, written_xxh3) {
                Ok((size_bytes, sha256)) => Ok(FileEntry { path, size_bytes, sha256 }),
                Err(source) if source.kind() == io::ErrorKind::InvalidData => {
                    Err(SnapshotError::Damaged { path, detail: source.to_string() })
                }
                Err(source) => Err(SnapshotError::File { path: staged.display().to_string(), source }),
            }
        });
        hashed.await.map_err(|source| SnapshotError::File { path: staged_path, source })?
    }

    async fn send(&self, staging: &StagingDir, file: &FileEntry, meter: &Meter) -> Result<(), SnapshotError> {
        match self.store.head(&ArchiveKey::Object(file.sha256)).await {
            Ok(bytes) if bytes == file.size_bytes => {
                meter.add(file.size_bytes, 0);
                return Ok(());
            }
            // One of another size is not that content, whatever its name says: it is written again.
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let path = staging.path().join(file.path.as_str());
        self.store.put_object_file(file.sha256, file.size_bytes, &path, &|bytes| meter.add(bytes, bytes)).await?;
        Ok(())
    }
}
