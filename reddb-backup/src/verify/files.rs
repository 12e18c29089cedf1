//! The snapshots' files: every manifest's files exist with their sizes, and every content has its digest.

use std::collections::HashMap;

use futures_util::stream::{self, StreamExt as _};
use reddb_file::Lsn;
use reddb_file::archive::{ArchiveKey, Sha256Digest, SnapshotManifest};

use super::report::Checked;
use super::{AT_ONCE_MAX, VerifyError};
use crate::fetch::{FetchError, fetch};
use crate::history::read::Rest;
use crate::history::{Fault, FaultKind, History, LsnRange, Snapshot, SnapshotKey};
use crate::progress::Meter;
use crate::store::{ReadError, Store};

/// What the manifests say of one content.
struct Content {
    size_bytes: u64,
    /// The first path that needs it.
    path: String,
    /// The snapshots that need it, as indexes.
    snapshots: Vec<u32>,
}

/// What was found about the snapshots' files.
#[derive(Default)]
pub(super) struct FilesVerdict {
    pub(super) checked: Checked,
    pub(super) faults: Vec<Fault>,
    /// The snapshots that cannot be restored from.
    pub(super) damaged: Vec<SnapshotKey>,
    /// How many contents the manifests name, of those that were listed.
    pub(super) named: Vec<Sha256Digest>,
}

/// Reads every manifest that counts, then every content once.
pub(super) async fn check(
    store: &Store,
    history: &History,
    rest: &Rest,
    missing: reddb_file::archive::MissingDigest,
    meter: &Meter,
) -> Result<FilesVerdict, VerifyError> {
    let snapshots: Vec<&Snapshot> = history.all_snapshots().collect();
    let mut verdict = FilesVerdict::default();
    let mut contents: HashMap<Sha256Digest, Content> = HashMap::new();
    for (index, snapshot) in snapshots.iter().enumerate() {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        let key = snapshot.reference().key();
        let manifest: SnapshotManifest = match store.get_document(&key, missing).await {
            Ok(opened) => opened.document,
            Err(ReadError::Store(error)) if error.kind() != crate::store::StoreErrorKind::NotFound => {
                return Err(error.into());
            }
            Err(error) => {
                // It was readable a moment ago.
                let fault = Fault::new(FaultKind::DocumentDamaged, &key, &error);
                verdict.faults.push(fault.affecting(needed_by(history, snapshot)));
                verdict.damaged.push(key_of(snapshot));
                continue;
            }
        };
        for file in &manifest.files {
            let content = contents.entry(file.sha256).or_insert_with(|| Content {
                size_bytes: file.size_bytes,
                path: file.path.to_string(),
                snapshots: Vec::new(),
            });
            if content.size_bytes != file.size_bytes {
                let detail = format!(
                    "two files of this content are said to have {} and {} bytes",
                    content.size_bytes, file.size_bytes
                );
                let fault = Fault::new(FaultKind::ContentDamaged, file.key(), detail);
                verdict.faults.push(fault.affecting(needed_by(history, snapshot)));
                verdict.damaged.push(key_of(snapshot));
            }
            if content.snapshots.last() != Some(&index) {
                content.snapshots.push(index);
            }
        }
    }
    let mut damaged = Vec::new();
    let mut to_read = Vec::new();
    for (digest, content) in &contents {
        match rest.files.get(digest) {
            None => damaged.push((FaultKind::ObjectMissing, *digest, "it is not there".to_owned())),
            Some(bytes) if *bytes != content.size_bytes => {
                let detail = format!("it has {bytes} bytes, {} are declared", content.size_bytes);
                damaged.push((FaultKind::ContentDamaged, *digest, detail));
            }
            Some(bytes) => to_read.push((*digest, *bytes)),
        }
    }
    // What no snapshot names may be taken over by the next one that has such a file, so it must be good too.
    let orphans = rest.files.iter().filter(|(digest, _)| !contents.contains_key(digest));
    to_read.extend(orphans.map(|(digest, bytes)| (*digest, *bytes)));
    to_read.sort_unstable();
    meter.expect(to_read.len() as u64, to_read.iter().fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes)));
    let reads = to_read.iter().map(async |(digest, bytes)| {
        let read = read_content(store, *digest, *bytes, meter).await;
        (*digest, *bytes, read)
    });
    let mut reads = stream::iter(reads).buffer_unordered(AT_ONCE_MAX);
    while let Some((digest, bytes, read)) = reads.next().await {
        verdict.checked.objects += 1;
        verdict.checked.bytes = verdict.checked.bytes.saturating_add(bytes);
        match read {
            Ok(()) => {}
            Err(VerifyError::Object(error)) if error.is_damage() => {
                damaged.push((FaultKind::ContentDamaged, digest, error.to_string()));
            }
            Err(error) => return Err(error),
        }
    }
    for (kind, digest, detail) in damaged {
        let Some(content) = contents.get(&digest) else {
            verdict.faults.push(Fault::new(kind, ArchiveKey::Object(digest), detail));
            continue;
        };
        let needing = content.snapshots.iter().filter_map(|index| snapshots.get(usize::try_from(*index).ok()?));
        for snapshot in needing {
            let of = snapshot.reference().key();
            let detail = format!("{detail}; file {} of {of} needs it", content.path);
            verdict
                .faults
                .push(Fault::new(kind, ArchiveKey::Object(digest), detail).affecting(needed_by(history, snapshot)));
            verdict.damaged.push(key_of(snapshot));
        }
    }
    verdict.named = contents.into_keys().collect();
    Ok(verdict)
}

async fn read_content(store: &Store, digest: Sha256Digest, bytes: u64, meter: &Meter) -> Result<(), VerifyError> {
    let object = fetch(store, &ArchiveKey::Object(digest), bytes, meter.clone()).await?;
    let read = tokio::task::spawn_blocking(move || object.finish(digest)).await;
    meter.item();
    read.map_err(|error| VerifyError::Thread { reason: error.to_string() })?.map_err(VerifyError::from)
}

fn key_of(snapshot: &Snapshot) -> SnapshotKey {
    SnapshotKey { timeline: snapshot.timeline, lsn: snapshot.lsn, id: snapshot.id }
}

/// The states that are restored from this snapshot unless one is named: up to the next one, or to the end.
fn needed_by(history: &History, snapshot: &Snapshot) -> LsnRange {
    let on_timeline = history.snapshots(snapshot.timeline);
    let next = on_timeline.iter().find(|other| other.lsn > snapshot.lsn).and_then(|other| other.lsn.prev());
    let end = history.end(snapshot.timeline);
    let last: Lsn = next.unwrap_or(end).max(snapshot.lsn);
    LsnRange::new(snapshot.timeline, snapshot.lsn, last)
}

impl From<FetchError> for VerifyError {
    fn from(error: FetchError) -> Self {
        Self::Object(error)
    }
}
