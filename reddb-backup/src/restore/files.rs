//! Putting a snapshot's files in place: each is streamed to its path while its size and its digest are checked.

use std::collections::BTreeSet;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reddb_file::archive::{FileEntry, SnapshotManifest};
use reddb_file::durable::parent_dir;
use reddb_file::vfs::{OpenMode, Vfs, VfsError, VfsOp};

use super::error::RestoreError;
use super::stage::Staging;
use crate::fetch::{FetchError, ObjectReader, fetch};
use crate::progress::Meter;
use crate::store::Store;

/// How many files are fetched at once.
const FILES_AT_ONCE_MAX: usize = 4;

/// Fetches every file of `manifest` into `base`, which is below the staging directory.
pub(super) async fn place(
    store: &Store,
    manifest: &SnapshotManifest,
    staging: &Arc<Staging>,
    base: &Path,
    meter: &Meter,
) -> Result<(), RestoreError> {
    meter.expect(manifest.files.len() as u64, manifest.total_bytes);
    let vfs = staging.vfs();
    // A manifest's paths are relative, normalised, and no file is another's folder: so they stay below `base`.
    let folders: BTreeSet<PathBuf> =
        manifest.files.iter().map(|file| parent_dir(&base.join(file.path.as_str())).to_owned()).collect();
    vfs.create_dir_all(base)?;
    folders.iter().try_for_each(|folder| vfs.create_dir_all(folder))?;
    let snapshot = manifest.reference().key().to_string();
    let fetches = manifest.files.iter().map(async |file| {
        let path = base.join(file.path.as_str());
        place_one(store, file, path, staging, meter).await.map_err(|error| match error {
            PlaceError::Object(source) => {
                let (snapshot, path) = (snapshot.clone(), file.path.to_string());
                RestoreError::File { snapshot, path, sha256: file.sha256, source: Box::new(source) }
            }
            PlaceError::Local(error) => RestoreError::Local(error),
            PlaceError::Thread(reason) => RestoreError::Thread { reason },
        })
    });
    stream::iter(fetches).buffer_unordered(FILES_AT_ONCE_MAX).try_collect::<()>().await
}

enum PlaceError {
    Object(FetchError),
    Local(VfsError),
    Thread(String),
}

async fn place_one(
    store: &Store,
    file: &FileEntry,
    path: PathBuf,
    staging: &Arc<Staging>,
    meter: &Meter,
) -> Result<(), PlaceError> {
    let object = fetch(store, &file.key(), file.size_bytes, meter.clone()).await.map_err(PlaceError::Object)?;
    let digest = file.sha256;
    // The thread holds the staging directory too: it is not removed under its hands.
    let staging = Arc::clone(staging);
    let write = move || {
        let mut object = object;
        write_all(&**staging.vfs(), &path, &mut object).map_err(PlaceError::Local)?;
        object.finish(digest).map_err(PlaceError::Object)
    };
    tokio::task::spawn_blocking(write).await.map_err(|error| PlaceError::Thread(error.to_string()))??;
    meter.item();
    Ok(())
}

fn write_all(vfs: &dyn Vfs, path: &Path, object: &mut ObjectReader) -> Result<(), VfsError> {
    let file = vfs.open(path, OpenMode::CreateNew)?;
    let mut offset: u64 = 0;
    loop {
        let written = match object.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => {
                file.write_at(bytes, offset)?;
                bytes.len()
            }
            // Kept by the reader, which says it exactly when it is finished.
            Err(error) if error.kind() == std::io::ErrorKind::Other => return Ok(()),
            Err(error) => return Err(VfsError::new(VfsOp::Read, path, error)),
        };
        object.consume(written);
        offset = offset.saturating_add(written as u64);
    }
    // Everything is synced again before the directory is published; here it costs the least, beside the other files.
    file.sync_all()
}
