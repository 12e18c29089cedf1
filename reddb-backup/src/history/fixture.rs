//! Histories drawn by hand for tests of pure functions: no store, no records.
//!
//! The chain at an LSN is made up from the timeline that owns it, so documents of one history agree. A record's time is ten
//! times its LSN, plus 10,000 for each timeline after the first: a later timeline begins later, as after a restore.

use std::collections::BTreeMap;

use reddb_file::archive::{
    ClusterDocument, Codec, EpochClaim, EpochHead, EpochOutcome, EpochStart, ForkPoint, HolderState, PointName,
    RestorePoint, SegmentSidecar, Sha256Digest, TimelineDocument, TimelineReason,
};
use reddb_file::{Chain, ClusterId, Epoch, Lsn, NodeId, TimedMark, TimelineId};
use uuid::Uuid;

use super::contents::{Contents, SegmentObjects, Slot, Snapshot, SnapshotKey};
use super::{Fault, FaultKind, History};

const CLUSTER: ClusterId = ClusterId::from_bytes([3; 16]);
const NODE: NodeId = NodeId::from_bytes([4; 16]);

/// Draws the contents of an archive.
pub(crate) struct Sketch {
    contents: Contents,
    forks: BTreeMap<u32, (u32, u64)>,
}

pub(crate) fn timeline(number: u32) -> TimelineId {
    TimelineId::new(number)
}

/// A snapshot's id, by its LSN.
pub(crate) fn snapshot_id(timeline: u32, lsn: u64) -> Uuid {
    Uuid::from_u64_pair(timeline.into(), lsn)
}

impl Sketch {
    /// Timeline 1, and epoch 1 that began it.
    pub(crate) fn new() -> Self {
        let cluster = ClusterDocument { cluster: CLUSTER, format_version: 1, created_ms: 0 };
        let sketch = Self { contents: Contents::empty(cluster), forks: BTreeMap::new() };
        sketch.document(1, None).epoch(1, None, (1, 0))
    }

    fn document(mut self, number: u32, parent: Option<ForkPoint>) -> Self {
        let document = TimelineDocument {
            cluster: CLUSTER,
            timeline: timeline(number),
            parent,
            reason: if parent.is_some() { TimelineReason::Restored } else { TimelineReason::Created },
            created_ms: 0,
            node: NODE,
            id: Uuid::nil(),
            clock_offset_ms: 0,
        };
        self.contents.timelines.insert(timeline(number), Slot::Present(document));
        self
    }

    /// A timeline that forked from `parent` at `lsn`.
    pub(crate) fn fork(mut self, number: u32, parent: u32, lsn: u64) -> Self {
        self.forks.insert(number, (parent, lsn));
        let point = self.at(parent, lsn);
        self.document(number, Some(point))
    }

    fn owner(&self, mut number: u32, lsn: u64) -> u32 {
        while let Some((parent, _)) = self.forks.get(&number).filter(|(_, fork)| lsn <= *fork) {
            number = *parent;
        }
        number
    }

    fn chain(&self, number: u32, lsn: u64) -> Chain {
        if lsn == 0 {
            return Chain::genesis(CLUSTER);
        }
        let owner = self.owner(number, lsn);
        Chain::from_bytes(*Sha256Digest::of(format!("{owner}:{lsn}").as_bytes()).as_bytes())
    }

    /// The time of a record.
    pub(crate) fn time(&self, number: u32, lsn: u64) -> u64 {
        10 * lsn + 10_000 * u64::from(self.owner(number, lsn) - 1)
    }

    fn at(&self, number: u32, lsn: u64) -> ForkPoint {
        ForkPoint { timeline: timeline(number), lsn: Lsn::new(lsn), chain: self.chain(number, lsn) }
    }

    /// An epoch that began: where it closed its predecessor's timeline, and where it began.
    pub(crate) fn epoch(mut self, number: u64, closes: Option<(u32, u64)>, begins: (u32, u64)) -> Self {
        let epoch = Epoch::new(number);
        let closes = closes.map(|(timeline, lsn)| self.at(timeline, lsn));
        let begins = self.at(begins.0, begins.1);
        let token = Uuid::from_u64_pair(9, number);
        let documents = self.contents.epochs.entry(epoch).or_default();
        let holder = "a test".parse().unwrap();
        documents.claim = Slot::Present(EpochClaim { cluster: CLUSTER, epoch, node: NODE, holder, token, time_ms: 0 });
        let outcome = EpochOutcome::Begins { closes, begins };
        documents.start = Slot::Present(EpochStart { cluster: CLUSTER, epoch, token, time_ms: 0, outcome });
        self
    }

    /// The epoch's head.
    pub(crate) fn head(mut self, number: u64, of: u32, lsn: u64, complete_until_ms: u64) -> Self {
        let epoch = Epoch::new(number);
        let archived = TimedMark { lsn: Lsn::new(lsn), chain: self.chain(of, lsn), time_ms: self.time(of, lsn) };
        let head = EpochHead {
            cluster: CLUSTER,
            epoch,
            node: NODE,
            timeline: timeline(of),
            archived,
            newest_snapshot: None,
            complete_until_ms,
            beat: 1,
            beat_time_ms: 0,
            holder: HolderState::Active,
        };
        self.contents.epochs.entry(epoch).or_default().head = Slot::Present(head);
        self
    }

    /// A segment with its sidecar.
    pub(crate) fn segment(mut self, of: u32, epoch: u64, first: u64, last: u64) -> Self {
        let sidecar = SegmentSidecar {
            cluster: CLUSTER,
            timeline: timeline(of),
            epoch: Epoch::new(epoch),
            first_lsn: Lsn::new(first),
            last_lsn: Lsn::new(last),
            first_time_ms: self.time(of, first),
            last_time_ms: self.time(of, last),
            record_count: last - first + 1,
            plain_bytes: 1000,
            stored_bytes: 100,
            stored_sha256: Sha256Digest::of(b""),
            chain_before: self.chain(of, first - 1),
            chain_after: self.chain(of, last),
            codec: Codec::Zstd,
        };
        let objects = SegmentObjects { stored_bytes: Some(100), sidecar: Slot::Present(sidecar.clone()) };
        self.contents.segments.insert(sidecar.name(), objects);
        self
    }

    /// A snapshot.
    pub(crate) fn snapshot(mut self, of: u32, epoch: u64, lsn: u64) -> Self {
        let snapshot = Snapshot {
            id: snapshot_id(of, lsn),
            timeline: timeline(of),
            epoch: Epoch::new(epoch),
            lsn: Lsn::new(lsn),
            chain: self.chain(of, lsn),
            time_ms: self.time(of, lsn),
            engine: "none".parse().unwrap(),
            engine_version: "1".parse().unwrap(),
            engine_format_version: 1,
            file_count: 1,
            total_bytes: 1000,
            created_ms: 0,
            reason: "test".parse().unwrap(),
        };
        let key = SnapshotKey { timeline: snapshot.timeline, lsn: snapshot.lsn, id: snapshot.id };
        self.contents.snapshots.insert(key, Slot::Present(snapshot));
        self
    }

    /// A restore point.
    pub(crate) fn point(mut self, name: &str, of: u32, epoch: u64, lsn: u64) -> Self {
        let name: PointName = name.parse().unwrap();
        let point = RestorePoint {
            name: name.clone(),
            cluster: CLUSTER,
            timeline: timeline(of),
            epoch: Epoch::new(epoch),
            lsn: Lsn::new(lsn),
            chain: self.chain(of, lsn),
            time_ms: self.time(of, lsn),
            created_ms: 0,
        };
        self.contents.points.insert(name, Slot::Present(point));
        self
    }

    /// Any other change.
    pub(crate) fn but(mut self, change: impl FnOnce(&mut Contents)) -> Self {
        change(&mut self.contents);
        self
    }

    /// Makes the snapshot's manifest one that cannot be believed.
    pub(crate) fn damaged_snapshot(self, of: u32, lsn: u64) -> Self {
        let key = SnapshotKey { timeline: timeline(of), lsn: Lsn::new(lsn), id: snapshot_id(of, lsn) };
        self.but(|contents| {
            contents.snapshots.insert(key, Slot::Damaged);
            contents.faults.push(Fault::new(FaultKind::DocumentDamaged, key.reference().key(), "planted"));
        })
    }

    pub(crate) fn history(self) -> History {
        History::conclude(self.contents)
    }
}
