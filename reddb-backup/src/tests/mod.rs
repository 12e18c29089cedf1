//! What this crate's tests archive: a journal in memory, a clock that is set, and stores with faults.

mod reading;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use reddb_file::archive::{ForkPoint, Text};
use reddb_file::mark::TimedMark;
use reddb_file::record::encode_parts;
use reddb_file::{ClusterId, Epoch, Lsn, NodeId, RecordKind, TimelineId, TimelineRecord};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_128;

use crate::claim::{Claimant, LocalTimeline, Takeover, WatchSettings};
use crate::clock::Clock;
use crate::source::{Checkpoint, CheckpointFile, CheckpointSource, Fence, LocalHistory, LogSource, SourceError};
use crate::store::fault::{FaultStore, Faults};
use crate::store::{OpenMode, PlainHttp, RetryPolicy, Store, StoreSettings};

/// A clock that a test sets.
#[derive(Debug, Default)]
pub(crate) struct TestClock(pub(crate) AtomicU64);

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);

/// A store in memory that makes one attempt for each request.
pub(crate) fn faulty_store() -> (Store, Faults) {
    let (faulty, faults) = FaultStore::new(Arc::new(InMemory::new()));
    (Store::new(Arc::new(faulty), "", "test").with_retry(RetryPolicy::once()), faults)
}

/// Returns once `condition` holds. Never gives up: a test that hangs here says where.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        // Sleep: the condition is another task's doing and nothing announces it.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// A fresh prefix of the service that `REDDB_TEST_STORE_URL` (bucket) and `REDDB_ARCHIVE_ENDPOINT` name; keys come from
/// the provider's own variables. `None`, and a line that says so, where there is none.
pub(crate) fn remote_store() -> Option<Store> {
    let Ok(url) = std::env::var("REDDB_TEST_STORE_URL") else {
        println!("skipped: no store to test against; run it as `cargo xtask s3 -- cargo test remote`");
        return None;
    };
    let settings = StoreSettings {
        endpoint: std::env::var("REDDB_ARCHIVE_ENDPOINT").ok(),
        plain_http: PlainHttp::Allow,
        ..StoreSettings::default()
    };
    let url = format!("{}/{}", url.trim_end_matches('/'), Uuid::new_v4());
    Some(Store::open(&url.parse().unwrap(), &settings, OpenMode::MustExist).unwrap())
}

/// Settings that watch a holder for 20 ms.
pub(crate) fn watch() -> WatchSettings {
    WatchSettings { patience: std::time::Duration::from_millis(20), ..WatchSettings::default() }
}

#[derive(Debug)]
struct Inner {
    timeline: LocalTimeline,
    base: TimedMark,
    records: Vec<(Bytes, TimedMark)>,
    archived: TimedMark,
    fence_held_at: Option<Lsn>,
    rotten_file: Option<usize>,
}

/// What a timeline's first record says.
fn first_record(timeline: &LocalTimeline) -> TimelineRecord {
    TimelineRecord {
        id: timeline.timeline,
        parent: timeline.parent.map(|parent| parent.timeline),
        fork_lsn: timeline.parent.map_or(Lsn::ZERO, |parent| parent.lsn),
        random_id: timeline.id.into_bytes(),
        clock_offset_ms: timeline.clock_offset_ms,
    }
}

/// A log in memory. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pub(crate) node: NodeId,
    inner: Arc<Mutex<Inner>>,
}

impl Journal {
    /// An empty log on timeline 1 of [`CLUSTER`].
    pub(crate) fn new(node: u8) -> Self {
        let timeline = LocalTimeline {
            timeline: TimelineId::FIRST,
            parent: None,
            id: Uuid::from_bytes([7; 16]),
            clock_offset_ms: 0,
        };
        Self::starting(node, timeline, TimedMark::genesis(CLUSTER))
    }

    /// A log whose first record follows `base`.
    pub(crate) fn starting(node: u8, timeline: LocalTimeline, base: TimedMark) -> Self {
        let inner =
            Inner { timeline, base, records: Vec::new(), archived: base, fence_held_at: None, rotten_file: None };
        Self { node: NodeId::from_bytes([node; 16]), inner: Arc::new(Mutex::new(inner)) }
    }

    /// A log of its own with the records up to `lsn`, on another timeline where one is given.
    pub(crate) fn fork(&self, node: u8, lsn: u64, timeline: Option<LocalTimeline>) -> Self {
        let inner = self.inner.lock();
        let records: Vec<_> = inner.records.iter().filter(|(_, mark)| mark.lsn.get() <= lsn).cloned().collect();
        let timeline = timeline.unwrap_or(inner.timeline);
        let copy =
            Inner { timeline, base: inner.base, archived: inner.base, records, fence_held_at: None, rotten_file: None };
        Self { node: NodeId::from_bytes([node; 16]), inner: Arc::new(Mutex::new(copy)) }
    }

    /// Appends `count` records with payloads of `bytes` bytes that differ by `seed`; a timeline's first says what it is.
    pub(crate) fn append_with(&self, count: u64, bytes: usize, seed: u64) {
        let mut inner = self.inner.lock();
        for _ in 0..count {
            let last = inner.records.last().map_or(inner.base, |(_, mark)| *mark);
            let lsn = last.lsn.next().unwrap();
            let time_ms = 1000 + lsn.get() * 10;
            let mut record = Vec::new();
            if last.lsn == inner.timeline.parent.map_or(Lsn::ZERO, |parent| parent.lsn) {
                let payload = first_record(&inner.timeline).encode().unwrap();
                encode_parts(lsn, time_ms, RecordKind::Timeline, &payload, &mut record).unwrap();
            } else {
                let mut payload = format!("{seed}:{lsn}:").into_bytes();
                payload.resize(payload.len().max(bytes), b'x');
                encode_parts(lsn, time_ms, RecordKind::Changes, &payload, &mut record).unwrap();
            }
            let mark = TimedMark { lsn, chain: last.chain.extend(&record), time_ms };
            inner.records.push((record.into(), mark));
        }
    }

    /// Appends `count` small records.
    pub(crate) fn append(&self, count: u64) {
        self.append_with(count, 30, 0);
    }

    /// Forgets the records up to `lsn`.
    pub(crate) fn prune(&self, lsn: u64) {
        let mut inner = self.inner.lock();
        if let Some((_, mark)) = inner.records.iter().find(|(_, mark)| mark.lsn.get() == lsn) {
            inner.base = *mark;
        }
        inner.records.retain(|(_, mark)| mark.lsn.get() > lsn);
    }

    /// Flips a bit of that file of every later checkpoint, behind the back of whoever wrote it.
    pub(crate) fn rot(&self, file: usize) {
        self.inner.lock().rotten_file = Some(file);
    }

    /// Lets fences reach `lsn` only, or as far as they can again.
    pub(crate) fn hold_fence(&self, lsn: Option<u64>) {
        self.inner.lock().fence_held_at = lsn.map(Lsn::new);
    }

    pub(crate) fn local_archived(&self) -> TimedMark {
        self.inner.lock().archived
    }

    pub(crate) fn point(&self, lsn: u64) -> ForkPoint {
        let timeline = self.inner.lock().timeline.timeline;
        let mark = self.mark_at(Lsn::new(lsn)).unwrap().unwrap();
        ForkPoint { timeline, lsn: mark.lsn, chain: mark.chain }
    }

    pub(crate) fn claimant(&self) -> Claimant {
        let inner = self.inner.lock();
        Claimant {
            cluster: CLUSTER,
            node: self.node,
            holder: Text::new(format!("node {}", self.node)).unwrap(),
            timeline: inner.timeline,
            durable: inner.records.last().map_or(inner.base, |(_, mark)| *mark),
            oldest: inner.base,
            archived: Lsn::ZERO,
            claimed: Epoch::new(u64::MAX),
            takeover: Takeover::Refuse,
            watched: None,
        }
    }
}

impl LocalHistory for Journal {
    fn mark_at(&self, lsn: Lsn) -> Result<Option<TimedMark>, SourceError> {
        let inner = self.inner.lock();
        let base = [inner.base];
        let mut marks = base.iter().chain(inner.records.iter().map(|(_, mark)| mark));
        Ok(marks.find(|mark| mark.lsn == lsn).copied())
    }
}

impl LogSource for Journal {
    fn durable(&self) -> TimedMark {
        self.claimant().durable
    }

    fn fence(&self) -> Result<Fence, SourceError> {
        let held = self.inner.lock().fence_held_at;
        let mark = held.map(|lsn| self.mark_at(lsn)).transpose()?.flatten().unwrap_or_else(|| self.durable());
        Ok(Fence { mark, complete_until_ms: mark.time_ms })
    }

    fn read(&self, from: Lsn, to: Lsn, bytes_max: u64) -> Result<Bytes, SourceError> {
        let inner = self.inner.lock();
        let mut out = Vec::new();
        let wanted = inner.records.iter().filter(|(_, mark)| mark.lsn >= from && mark.lsn <= to);
        for (record, _) in wanted {
            if !out.is_empty() && (out.len() + record.len()) as u64 > bytes_max {
                break;
            }
            out.extend_from_slice(record);
        }
        Ok(out.into())
    }

    fn archived(&self, mark: TimedMark) -> Result<(), SourceError> {
        let mut inner = self.inner.lock();
        assert!(mark.lsn >= inner.archived.lsn, "the archived mark never goes back");
        inner.archived = mark;
        Ok(())
    }
}

impl CheckpointSource for Journal {
    fn checkpoint(&self, into: &Path) -> Result<Checkpoint, SourceError> {
        let mark = self.durable();
        let inner = self.inner.lock();
        std::fs::create_dir(into.join("tables"))?;
        let mut files = Vec::new();
        // One file for each ten records: a later checkpoint shares the full ones.
        for (number, records) in inner.records.chunks(10).enumerate() {
            let path = format!("tables/{number:04}");
            let mut content: Vec<u8> = records.iter().flat_map(|(record, _)| record.to_vec()).collect();
            let written_xxh3 = Some(xxh3_128(&content));
            if inner.rotten_file == Some(number) {
                content[0] ^= 1;
            }
            std::fs::write(into.join(&path), content)?;
            files.push(CheckpointFile { path: path.parse()?, written_xxh3 });
        }
        std::fs::write(into.join("current"), mark.lsn.to_string())?;
        files.push(CheckpointFile { path: "current".parse()?, written_xxh3: None });
        Ok(Checkpoint {
            mark,
            files,
            engine: Text::new("journal")?,
            engine_version: Text::new("1")?,
            engine_format_version: 1,
        })
    }
}
