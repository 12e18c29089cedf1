//! A small archive with restarts, a fork, snapshots and restore points, and copies of it to be damaged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _};
use reddb_file::archive::{ArchiveKey, MissingDigest, RecordRun, TimelineReason, sealed};
use reddb_file::{Epoch, Lsn, TimelineId};

use crate::claim::{Claim, Claimant, LocalTimeline, Takeover, TimelineRequest, claim, claim_timeline};
use crate::codec::{CompressionLevel, encode_segment};
use crate::history::{History, read::read};
use crate::progress::Silent;
use crate::ship::{Archiver, ArchiverHandle, ArchiverParts, ArchiverSettings};
use crate::source::LogSource as _;
use crate::store::{RetryPolicy, Store};
use crate::tests::{CLUSTER, Journal, TestClock, watch};

pub(super) const T1: TimelineId = TimelineId::FIRST;
pub(super) const T2: TimelineId = TimelineId::new(2);

/// An archive and the logs that it was made from.
pub(super) struct Archive {
    pub(super) objects: Arc<InMemory>,
    pub(super) store: Store,
    /// Timeline 1: LSNs 1 to 40, shipped by epochs 1 and 2.
    pub(super) first: Journal,
    /// Timeline 2: forked from timeline 1 at LSN 25, up to LSN 45, shipped by epoch 3.
    pub(super) second: Journal,
}

/// A store over these objects that makes one attempt for each request.
pub(super) fn store_of(objects: &Arc<InMemory>) -> Store {
    Store::new(Arc::clone(objects) as Arc<dyn ObjectStore>, "", "test").with_retry(RetryPolicy::once())
}

/// A running archiver.
pub(super) struct Writer {
    pub(super) handle: ArchiverHandle,
    task: tokio::task::JoinHandle<()>,
    pub(super) claim: Claim,
    _staging: tempfile::TempDir,
}

impl Writer {
    pub(super) async fn start(store: &Store, journal: &Journal) -> Self {
        let claimant = Claimant { takeover: Takeover::Allow, ..journal.claimant() };
        let claim = claim(store, &claimant, journal, &watch(), &TestClock::default()).await.unwrap();
        let staging = tempfile::tempdir().unwrap();
        let settings = ArchiverSettings {
            // Only what a test asks for is shipped, so that it knows the segments.
            interval: Duration::from_secs(3600),
            beat_interval: Duration::from_secs(3600),
            ..ArchiverSettings::new(staging.path().join("staging"))
        };
        let (handle, task) = Archiver::start(ArchiverParts {
            store: store.clone(),
            claim: claim.clone(),
            log: Arc::new(journal.clone()),
            checkpoints: Arc::new(journal.clone()),
            clock: Arc::new(TestClock::default()),
            settings,
        });
        Self { handle, task, claim, _staging: staging }
    }

    pub(super) async fn snapshot(&self) {
        self.handle.snapshot("test".parse().unwrap(), Arc::new(|_| ())).await.unwrap();
    }

    pub(super) async fn ship(&self) {
        self.handle.ship_now().await.unwrap();
    }

    pub(super) async fn mark(&self, name: &str) {
        self.handle.mark(name.parse().unwrap()).await.unwrap();
    }

    pub(super) async fn end(self) {
        self.handle.shutdown(Duration::from_secs(5)).await.unwrap();
        self.task.await.unwrap();
    }
}

impl Archive {
    /// Timeline 1: snapshot 0, LSNs 1-8, 9-13, snapshot 13, label `before`, restart, 14-20, 21-28, snapshot 28, 29-40.
    /// Timeline 2, from LSN 25: 26-30, 31-38, snapshot 38, label `after`, 39-45.
    pub(super) async fn make() -> Self {
        let objects = Arc::new(InMemory::new());
        let store = store_of(&objects);
        let first = Journal::new(1);
        let writer = Writer::start(&store, &first).await;
        writer.snapshot().await;
        for count in [8, 5] {
            first.append(count);
            writer.ship().await;
        }
        writer.snapshot().await;
        writer.mark("before").await;
        writer.end().await;

        let writer = Writer::start(&store, &first).await;
        for count in [7, 8] {
            first.append(count);
            writer.ship().await;
        }
        writer.snapshot().await;
        first.append(12);
        writer.ship().await;
        writer.end().await;

        let second = fork(&store, &first, 2, 25).await;
        let writer = Writer::start(&store, &second).await;
        for count in [5, 8] {
            second.append_with(count, 40, 2);
            writer.ship().await;
        }
        writer.snapshot().await;
        writer.mark("after").await;
        second.append_with(7, 40, 2);
        writer.ship().await;
        writer.end().await;
        Self { objects, store, first, second }
    }

    pub(super) fn journal(&self, timeline: TimelineId) -> &Journal {
        if timeline == T1 { &self.first } else { &self.second }
    }

    /// The log of `timeline` up to `lsn`, as the state that a restore must give.
    pub(super) fn state(&self, timeline: TimelineId, lsn: u64) -> Bytes {
        if lsn == 0 {
            return Bytes::new();
        }
        self.journal(timeline).read(Lsn::new(1), Lsn::new(lsn), u64::MAX).unwrap()
    }

    pub(super) async fn history(&self) -> History {
        history_of(&self.store).await
    }

    /// The same archive in objects of its own.
    pub(super) async fn copy(&self) -> (Arc<InMemory>, Store) {
        let copy = Arc::new(InMemory::new());
        for key in keys(&self.objects).await {
            put(&copy, &key, get(&self.objects, &key).await).await;
        }
        let store = store_of(&copy);
        (copy, store)
    }
}

/// A log on a new timeline that forks from `journal`'s at `lsn`.
pub(super) async fn fork(store: &Store, journal: &Journal, node: u8, lsn: u64) -> Journal {
    let parent = journal.point(lsn);
    let request = TimelineRequest {
        cluster: CLUSTER,
        node: reddb_file::NodeId::from_bytes([node; 16]),
        parent,
        claimed: Epoch::ZERO,
        reason: TimelineReason::Restored,
        clock_offset_ms: 0,
        takeover: Takeover::Allow,
    };
    let document = claim_timeline(store, &request, &watch(), &TestClock::default()).await.unwrap().document;
    let timeline =
        LocalTimeline { timeline: document.timeline, parent: Some(parent), id: document.id, clock_offset_ms: 0 };
    journal.fork(node, lsn, Some(timeline))
}

pub(super) async fn history_of(store: &Store) -> History {
    History::conclude(read(store, MissingDigest::Refuse, &Silent::shared()).await.unwrap())
}

/// All keys, sorted.
pub(super) async fn keys(objects: &InMemory) -> Vec<String> {
    let metas: Vec<_> = objects.list(None).try_collect().await.unwrap();
    let mut keys: Vec<_> = metas.into_iter().map(|meta| meta.location.to_string()).collect();
    keys.sort();
    keys
}

pub(super) async fn get(objects: &InMemory, key: &str) -> Bytes {
    objects.get(&ObjectPath::from(key)).await.unwrap().bytes().await.unwrap()
}

pub(super) async fn put(objects: &InMemory, key: &str, bytes: Bytes) {
    objects.put(&ObjectPath::from(key), bytes.into()).await.unwrap();
}

pub(super) async fn delete(objects: &InMemory, key: &str) {
    objects.delete(&ObjectPath::from(key)).await.unwrap();
}

/// Puts the records `first` to `last` into the archive as the holder of `claim` would have, whoever holds it now.
pub(super) async fn ship_stale(store: &Store, journal: &Journal, claim: &Claim, first: u64, last: u64) {
    let before = journal.point(first - 1);
    let bytes = journal.read(Lsn::new(first), Lsn::new(last), u64::MAX).unwrap();
    let run = RecordRun::scan(before.lsn, before.chain, bytes).unwrap();
    let level = CompressionLevel::default();
    let stored = encode_segment(&run, CLUSTER, claim.timeline, claim.epoch, level).unwrap();
    let name = stored.sidecar.name();
    store.put_create_only(&ArchiveKey::Segment(name), stored.object).await.unwrap();
    let sidecar = sealed::encode(&stored.sidecar).unwrap();
    store.put_create_only(&ArchiveKey::SegmentSidecar(name), sidecar.into()).await.unwrap();
}
