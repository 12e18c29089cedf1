//! Reading an archive's documents into [`Contents`].
//!
//! The order of reading matters, because a writer may be shipping meanwhile: first what says how far the archive has come
//! (epochs, then points and snapshots), then the segments, so that everything a document speaks of is in the listing made
//! after it. Timelines and epochs that appear only in the later listings are fetched once more by key.
//!
//! Bounded: each document has its own limit, each listing at most [`OBJECTS_MAX`] objects. Whatever is wrong with one
//! object becomes a fault and hides no other; only `cluster.json` and the store itself can end the reading.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use reddb_file::archive::layout::{EPOCHS_PREFIX, POINTS_PREFIX, SNAPSHOTS_PREFIX, TIMELINES_PREFIX, WAL_PREFIX};
use reddb_file::archive::{
    ArchiveKey, ClusterDocument, Document, DocumentError, MissingDigest, Opened, SegmentName, SegmentSidecar,
    Sha256Digest, SnapshotManifest,
};
use reddb_file::{ClusterId, Epoch, TimelineId};

use super::contents::{Contents, ObjectTotals, Slot, Snapshot, SnapshotKey};
use super::fault::{Fault, FaultKind, LsnRange};
use crate::fetch::{FetchError, fetch as fetch_object};
use crate::progress::{Meter, Phase, Progress};
use crate::segment::derive_sidecar;
use crate::store::{ReadError, Store, StoreError, StoreErrorKind};

/// The most objects below one folder that a reader takes, the snapshots' files apart.
pub const OBJECTS_MAX: usize = 50_000_000;

/// Where writers test the store; what is there means nothing.
const PROBE_FOLDER: &str = "probe";

/// How many documents are fetched at once.
const FETCHES_MAX: usize = 64;

/// How many snapshots' manifests, which may have 64 MiB each.
const MANIFEST_FETCHES_MAX: usize = 4;

/// An archive that cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no archive here.
    #[error("{store}: no archive is here: cluster.json does not exist; check the URL and its prefix")]
    NoArchive {
        /// The store.
        store: String,
    },
    /// There is the rest of an archive.
    #[error(
        "{store}: cluster.json is missing, and {key} is there: whose archive it is cannot be told; put back a copy of cluster.json"
    )]
    ClusterMissing {
        /// The store.
        store: String,
        /// What is there of it.
        key: String,
    },
    /// Whose archive it is cannot be told.
    #[error("cluster.json cannot be believed, so nothing here can: {source}; put back a good copy of it")]
    Cluster {
        /// What is wrong with it.
        source: DocumentError,
    },
    /// More objects than a reader takes.
    #[error("{folder}/ holds {objects} objects; at most {OBJECTS_MAX} are read")]
    TooManyObjects {
        /// The folder.
        folder: &'static str,
        /// How many.
        objects: usize,
    },
}

/// Reads everything that the archive's documents say.
///
/// `missing` says whether documents without a digest are accepted; those are listed in [`Contents::unverified`].
///
/// # Errors
/// [`HistoryError`]: the store does not answer, or this is no archive. Damage is not an error but a fault in the result.
pub async fn read(
    store: &Store,
    missing: MissingDigest,
    progress: &Arc<dyn Progress>,
) -> Result<Contents, HistoryError> {
    let cluster = read_cluster(store, missing).await?;
    let mut reader = Reader {
        store,
        missing,
        cluster: cluster.document.cluster,
        contents: Contents::empty(cluster.document),
        meter: Meter::new(progress, Phase::Documents),
    };
    if cluster.verified.is_none() {
        reader.contents.unverified.push(ArchiveKey::Cluster.to_string());
    }
    reader.epochs().await?;
    reader.timelines().await?;
    reader.points().await?;
    reader.snapshots().await?;
    reader.segments().await?;
    reader.late_comers().await?;
    reader.contents.unverified.sort();
    Ok(reader.contents)
}

async fn read_cluster(store: &Store, missing: MissingDigest) -> Result<Opened<ClusterDocument>, HistoryError> {
    match store.get_document(&ArchiveKey::Cluster, missing).await {
        Ok(opened) => Ok(opened),
        Err(ReadError::Store(StoreError::NotFound { .. })) => {
            // Every archive has an epoch, or it holds nothing.
            let rest = store.list(EPOCHS_PREFIX).await?.into_iter().next();
            let store = store.to_string();
            Err(match rest {
                Some(object) => HistoryError::ClusterMissing { store, key: object.key },
                None => HistoryError::NoArchive { store },
            })
        }
        Err(ReadError::Store(source)) => Err(HistoryError::Store(source)),
        Err(ReadError::Document { source, .. }) => Err(HistoryError::Cluster { source }),
    }
}

/// What a document must say of itself to be the one that its key promises.
trait Placed: Document {
    fn cluster(&self) -> ClusterId;
    fn key(&self) -> ArchiveKey;
}

macro_rules! placed {
    ($type:ident, |$document:ident| $key:expr) => {
        impl Placed for reddb_file::archive::$type {
            fn cluster(&self) -> ClusterId {
                self.cluster
            }

            fn key(&self) -> ArchiveKey {
                let $document = self;
                $key
            }
        }
    };
}

placed!(EpochClaim, |claim| ArchiveKey::EpochClaim(claim.epoch));
placed!(EpochStart, |start| ArchiveKey::EpochStart(start.epoch));
placed!(EpochHead, |head| ArchiveKey::EpochHead(head.epoch));
placed!(TimelineDocument, |timeline| ArchiveKey::Timeline(timeline.timeline));
placed!(SegmentSidecar, |sidecar| ArchiveKey::SegmentSidecar(sidecar.name()));
placed!(SnapshotManifest, |manifest| manifest.reference().key());
placed!(RestorePoint, |point| ArchiveKey::Point(point.name.clone()));

/// What came of reading one document.
enum Fetched<T> {
    Verified(T),
    Unverified(T),
    Faulty(Fault),
    Gone,
}

struct Reader<'a> {
    store: &'a Store,
    missing: MissingDigest,
    cluster: ClusterId,
    contents: Contents,
    meter: Meter,
}

/// Reads a document that should be `key`'s, of this cluster.
async fn fetch<T: Placed>(
    store: &Store,
    missing: MissingDigest,
    cluster: ClusterId,
    key: &ArchiveKey,
) -> Result<Fetched<T>, StoreError> {
    let faulty = |kind, detail: &dyn fmt::Display| Ok(Fetched::Faulty(Fault::new(kind, key, detail)));
    let opened = match store.get_document::<T>(key, missing).await {
        Ok(opened) => opened,
        Err(ReadError::Document { source: source @ DocumentError::MissingDigest { .. }, .. }) => {
            return faulty(FaultKind::DigestMissing, &source);
        }
        Err(ReadError::Document { source, .. }) => return faulty(FaultKind::DocumentDamaged, &source),
        Err(ReadError::Store(StoreError::NotFound { .. })) => return Ok(Fetched::Gone),
        Err(ReadError::Store(error)) if error.kind() == StoreErrorKind::Integrity => {
            return faulty(FaultKind::DocumentDamaged, &error);
        }
        Err(ReadError::Store(error)) => return Err(error),
    };
    let document = opened.document;
    if document.cluster() != cluster {
        let detail = format!("it says cluster {}, this archive is of {cluster}", document.cluster());
        return faulty(FaultKind::ForeignCluster, &detail);
    }
    if document.key() != *key {
        let detail = format!("its content says that it is {}", document.key());
        return faulty(FaultKind::DocumentDamaged, &detail);
    }
    Ok(if opened.verified.is_some() { Fetched::Verified(document) } else { Fetched::Unverified(document) })
}

impl Reader<'_> {
    /// The keys below a folder; what is no key of an archive is reported.
    async fn list(&mut self, folder: &'static str) -> Result<Vec<(ArchiveKey, u64)>, HistoryError> {
        let listed = self.store.list(folder).await?;
        if listed.len() > OBJECTS_MAX {
            return Err(HistoryError::TooManyObjects { folder, objects: listed.len() });
        }
        let mut keys = Vec::with_capacity(listed.len());
        for object in listed {
            self.contents.totals.add(object.bytes);
            match object.key.parse() {
                Ok(key) => keys.push((key, object.bytes)),
                Err(_) => self.unknown(&object.key),
            }
        }
        Ok(keys)
    }

    fn unknown(&mut self, key: &str) {
        let detail = "it is no part of an archive's layout";
        self.contents.notices.push(Fault::new(FaultKind::UnknownObject, key, detail));
    }

    /// Takes a fetched document into a slot; faults and missing digests are noted.
    fn slot<T>(&mut self, key: &ArchiveKey, fetched: Fetched<T>, affects: Option<LsnRange>) -> Slot<T> {
        match fetched {
            Fetched::Verified(document) => Slot::Present(document),
            Fetched::Unverified(document) => {
                self.contents.unverified.push(key.to_string());
                Slot::Present(document)
            }
            Fetched::Faulty(mut fault) => {
                fault.affects = affects;
                self.contents.faults.push(fault);
                Slot::Damaged
            }
            Fetched::Gone => Slot::Absent,
        }
    }

    /// Fetches the documents at these keys, several at once, and hands over each with its key, in order.
    async fn fetch_all<T: Placed>(
        &mut self,
        keys: Vec<ArchiveKey>,
        mut take: impl FnMut(&mut Self, ArchiveKey, Fetched<T>),
    ) -> Result<(), HistoryError> {
        self.meter.expect(keys.len() as u64, 0);
        let (store, missing, cluster) = (self.store, self.missing, self.cluster);
        let fetches = keys.into_iter().map(async |key| {
            let fetched = fetch::<T>(store, missing, cluster, &key).await?;
            Ok::<_, StoreError>((key, fetched))
        });
        let mut fetched = stream::iter(fetches).buffered(FETCHES_MAX);
        while let Some((key, document)) = fetched.try_next().await? {
            self.meter.item();
            take(self, key, document);
        }
        Ok(())
    }

    async fn epochs(&mut self) -> Result<(), HistoryError> {
        let keys = self.list(EPOCHS_PREFIX).await?;
        // Heads last: a claimant's start, which a head's epoch needs, is older than the head.
        let (mut claims, mut starts, mut heads) = (Vec::new(), Vec::new(), Vec::new());
        for (key, _) in keys {
            match key {
                ArchiveKey::EpochClaim(_) => claims.push(key),
                ArchiveKey::EpochStart(_) => starts.push(key),
                ArchiveKey::EpochHead(_) => heads.push(key),
                other => self.unknown(&other.to_string()),
            }
        }
        self.epoch_documents(claims, starts, heads).await
    }

    async fn epoch_documents(
        &mut self,
        claims: Vec<ArchiveKey>,
        starts: Vec<ArchiveKey>,
        heads: Vec<ArchiveKey>,
    ) -> Result<(), HistoryError> {
        self.fetch_all(claims, |reader, key, fetched| {
            let slot = reader.slot(&key, fetched, None);
            if let ArchiveKey::EpochClaim(epoch) = key {
                reader.contents.epochs.entry(epoch).or_default().claim = slot;
            }
        })
        .await?;
        self.fetch_all(starts, |reader, key, fetched| {
            let slot = reader.slot(&key, fetched, None);
            if let ArchiveKey::EpochStart(epoch) = key {
                reader.contents.epochs.entry(epoch).or_default().start = slot;
            }
        })
        .await?;
        self.fetch_all(heads, |reader, key, fetched| {
            let slot = reader.slot(&key, fetched, None);
            if let ArchiveKey::EpochHead(epoch) = key {
                reader.contents.epochs.entry(epoch).or_default().head = slot;
            }
        })
        .await
    }

    async fn timelines(&mut self) -> Result<(), HistoryError> {
        let keys = self.list(TIMELINES_PREFIX).await?;
        self.timeline_documents(keys.into_iter().map(|(key, _)| key).collect()).await
    }

    async fn timeline_documents(&mut self, keys: Vec<ArchiveKey>) -> Result<(), HistoryError> {
        self.fetch_all(keys, |reader, key, fetched| {
            let slot = reader.slot(&key, fetched, None);
            if let ArchiveKey::Timeline(timeline) = key {
                reader.contents.timelines.insert(timeline, slot);
            }
        })
        .await
    }

    async fn points(&mut self) -> Result<(), HistoryError> {
        let keys = self.list(POINTS_PREFIX).await?;
        self.fetch_all(keys.into_iter().map(|(key, _)| key).collect(), |reader, key, fetched| {
            let slot = reader.slot(&key, fetched, None);
            if let ArchiveKey::Point(name) = key {
                reader.contents.points.insert(name, slot);
            }
        })
        .await
    }

    /// Manifests may be large, so only a few are held at a time, and only the summary of each is kept.
    async fn snapshots(&mut self) -> Result<(), HistoryError> {
        let mut keys = self.list(SNAPSHOTS_PREFIX).await?;
        keys.retain(|(key, _)| matches!(key, ArchiveKey::Snapshot { .. }));
        self.meter.expect(keys.len() as u64, 0);
        let (store, missing, cluster) = (self.store, self.missing, self.cluster);
        let fetches = keys.into_iter().map(async |(key, _)| {
            let fetched = match fetch::<SnapshotManifest>(store, missing, cluster, &key).await? {
                Fetched::Verified(manifest) => Fetched::Verified(Snapshot::from(&manifest)),
                Fetched::Unverified(manifest) => Fetched::Unverified(Snapshot::from(&manifest)),
                Fetched::Faulty(fault) => Fetched::Faulty(fault),
                Fetched::Gone => Fetched::Gone,
            };
            Ok::<_, StoreError>((key, fetched))
        });
        let mut fetched = stream::iter(fetches).buffered(MANIFEST_FETCHES_MAX);
        while let Some((key, fetched)) = fetched.try_next().await? {
            let ArchiveKey::Snapshot { timeline, lsn, id } = key else { continue };
            let slot = self.slot(&key, fetched, Some(LsnRange::new(timeline, lsn, lsn)));
            if !slot.is_absent() {
                self.contents.snapshots.insert(SnapshotKey { timeline, lsn, id }, slot);
            }
            self.meter.item();
        }
        Ok(())
    }

    async fn segments(&mut self) -> Result<(), HistoryError> {
        let mut sidecars = Vec::new();
        for (key, bytes) in self.list(WAL_PREFIX).await? {
            match key {
                ArchiveKey::Segment(name) => {
                    self.contents.segments.entry(name).or_default().stored_bytes = Some(bytes);
                }
                ArchiveKey::SegmentSidecar(_) => sidecars.push(key),
                other => self.unknown(&other.to_string()),
            }
        }
        self.fetch_all(sidecars, |reader, key, fetched| {
            let ArchiveKey::SegmentSidecar(name) = key else { return };
            let affects = LsnRange::new(name.timeline, name.first_lsn, name.last_lsn);
            let slot = reader.slot(&key, fetched, Some(affects));
            reader.contents.segments.entry(name).or_default().sidecar = slot;
        })
        .await?;
        self.half_segments().await
    }

    /// A listing is not one moment: what seems to lack its counterpart is asked for once more.
    async fn half_segments(&mut self) -> Result<(), HistoryError> {
        let halves = self.contents.segments.iter();
        let halves = halves.filter(|(_, objects)| objects.stored_bytes.is_none() || objects.sidecar.is_absent());
        let halves: Vec<SegmentName> = halves.map(|(name, _)| *name).collect();
        for name in halves {
            let stored_bytes = match self.store.head(&ArchiveKey::Segment(name)).await {
                Ok(bytes) => Some(bytes),
                Err(StoreError::NotFound { .. }) => None,
                Err(error) => return Err(error.into()),
            };
            let key = ArchiveKey::SegmentSidecar(name);
            let was_absent = self.contents.segments.get(&name).is_some_and(|objects| objects.sidecar.is_absent());
            let sidecar = if was_absent {
                let fetched = fetch(self.store, self.missing, self.cluster, &key).await?;
                let affects = LsnRange::new(name.timeline, name.first_lsn, name.last_lsn);
                Some(self.slot(&key, fetched, Some(affects)))
            } else {
                None
            };
            let derived = match (stored_bytes, &sidecar) {
                (Some(bytes), Some(Slot::Absent)) => self.derived_sidecar(&name, bytes).await?,
                _ => None,
            };
            let objects = self.contents.segments.entry(name).or_default();
            objects.stored_bytes = stored_bytes;
            if let Some(sidecar) = derived.or(sidecar) {
                objects.sidecar = sidecar;
            }
        }
        Ok(())
    }

    /// Where missing digests are accepted, a segment without its sidecar is read for what the sidecar would say.
    async fn derived_sidecar(
        &mut self,
        name: &SegmentName,
        bytes: u64,
    ) -> Result<Option<Slot<SegmentSidecar>>, HistoryError> {
        if self.missing == MissingDigest::Refuse {
            return Ok(None);
        }
        let object = match fetch_object(self.store, &ArchiveKey::Segment(*name), bytes, self.meter.clone()).await {
            Ok(object) => object,
            Err(FetchError::Store(error)) if error.kind() != StoreErrorKind::NotFound => return Err(error.into()),
            Err(_) => return Ok(None),
        };
        let (cluster, of) = (self.cluster, *name);
        let derived = tokio::task::spawn_blocking(move || derive_sidecar(object, bytes, cluster, &of)).await;
        match derived {
            Ok(Ok(Some(sidecar))) => {
                self.contents.unverified.push(ArchiveKey::SegmentSidecar(*name).to_string());
                Ok(Some(Slot::Present(sidecar)))
            }
            Ok(Err(FetchError::Store(error))) => Err(error.into()),
            // It stays a segment without its sidecar, which is a fault.
            Ok(Ok(None) | Err(_)) | Err(_) => Ok(None),
        }
    }

    /// Timelines and epochs that began after their folders were listed.
    async fn late_comers(&mut self) -> Result<(), HistoryError> {
        let named: BTreeSet<Epoch> = self.contents.segments.keys().map(|name| name.epoch).collect();
        let unknown = named.into_iter().filter(|epoch| !self.contents.epochs.contains_key(epoch));
        let unknown: Vec<_> = unknown.collect();
        let of = |key: fn(Epoch) -> ArchiveKey| unknown.iter().map(|epoch| key(*epoch)).collect::<Vec<_>>();
        let (claims, starts, heads) =
            (of(ArchiveKey::EpochClaim), of(ArchiveKey::EpochStart), of(ArchiveKey::EpochHead));
        self.epoch_documents(claims, starts, heads).await?;
        let begun = self.contents.epochs.values().filter_map(|documents| documents.start.present());
        let begun = begun.filter_map(|start| match start.outcome {
            reddb_file::archive::EpochOutcome::Begins { begins, .. } => Some(begins.timeline),
            reddb_file::archive::EpochOutcome::Abandoned { .. } => None,
        });
        let named = self.contents.segments.keys().map(|name| name.timeline).chain(begun);
        let unknown: BTreeSet<TimelineId> =
            named.filter(|timeline| !self.contents.timelines.contains_key(timeline)).collect();
        self.timeline_documents(unknown.into_iter().map(ArchiveKey::Timeline).collect()).await
    }
}

/// The archive's objects that no document describes by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// The snapshots' files, with their listed sizes.
    pub files: BTreeMap<Sha256Digest, u64>,
    /// Keys that are no part of an archive's layout and lie outside its folders, or among the snapshots' files.
    pub unknown: Vec<String>,
    /// What was listed here.
    pub totals: ObjectTotals,
}

/// Lists what [`read`] does not: the snapshots' files, and what does not belong here at all.
///
/// # Errors
/// [`HistoryError::Store`] and [`HistoryError::TooManyObjects`].
pub async fn read_rest(store: &Store) -> Result<Rest, HistoryError> {
    let known = [EPOCHS_PREFIX, TIMELINES_PREFIX, POINTS_PREFIX, SNAPSHOTS_PREFIX, WAL_PREFIX, PROBE_FOLDER];
    let top = store.list_top().await?;
    let mut listed = top.objects;
    for folder in top.folders.iter().filter(|folder| !known.contains(&folder.as_str())) {
        listed.extend(store.list(folder).await?);
    }
    if listed.len() > OBJECTS_MAX {
        return Err(HistoryError::TooManyObjects { folder: "", objects: listed.len() });
    }
    let mut rest = Rest::default();
    for object in listed {
        rest.totals.add(object.bytes);
        match object.key.parse() {
            Ok(ArchiveKey::Object(digest)) => {
                rest.files.insert(digest, object.bytes);
            }
            Ok(ArchiveKey::Cluster | ArchiveKey::Catalogue) => {}
            Ok(_) | Err(_) => rest.unknown.push(object.key),
        }
    }
    Ok(rest)
}
