//! The archive's JSON documents: one type each, with its rules.
//!
//! Decoding has no defaults: every field is there, an absent value is written as `null`, an unknown field is an error.
//! LSNs and times are JSON numbers up to 2^64 - 1: a reader that keeps numbers as floats is wrong.
//!
//! All times are Unix milliseconds. A "record time" is the time in a record; any other time is the writer's wall clock
//! and is shown to people, never relied on.

use serde::{Deserialize, Deserializer, Serialize};
use uuid::Uuid;

use super::digest::Sha256Digest;
use super::layout::{ArchiveKey, SegmentName};
use super::name::{PointName, RelativePath, Text};
use super::sealed::Document;
use super::segment::SEGMENT_HEADER_BYTES;
use crate::chain::Chain;
use crate::ids::{ClusterId, Epoch, Lsn, NodeId, TimelineId};
use crate::limits::{
    ARCHIVE_CATALOGUE_BYTES_MAX, ARCHIVE_DOCUMENT_BYTES_MAX, ARCHIVE_MANIFEST_BYTES_MAX,
    ARCHIVE_SEGMENT_STORED_BYTES_MAX, ARCHIVE_SNAPSHOT_FILES_MAX, RECORD_BYTES_MAX,
};
use crate::mark::TimedMark;

/// The version of the archive's layout that this crate reads and writes.
pub const ARCHIVE_FORMAT_VERSION: u32 = 1;

/// serde's derive takes an absent `Option` for `None`; this makes an absent member an error.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

fn ensure(holds: bool, detail: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(detail.into()) }
}

/// `cluster.json`: whose history this archive holds. Created once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterDocument {
    /// The cluster.
    pub cluster: ClusterId,
    /// [`ARCHIVE_FORMAT_VERSION`].
    pub format_version: u32,
    /// When the archive was made.
    pub created_ms: u64,
}

impl Document for ClusterDocument {
    const FORMAT: &'static str = "reddb-cluster-1";
    const BYTES_MAX: u64 = ARCHIVE_DOCUMENT_BYTES_MAX;

    fn check(&self) -> Result<(), String> {
        ensure(
            self.format_version == ARCHIVE_FORMAT_VERSION,
            &format!("format_version is {}, this version knows {ARCHIVE_FORMAT_VERSION}", self.format_version),
        )
    }
}

/// A point of the history: everything up to `lsn` on `timeline`, proved by the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkPoint {
    /// The timeline.
    pub timeline: TimelineId,
    /// The last record that counts; 0 for none.
    pub lsn: Lsn,
    /// The chain after it.
    pub chain: Chain,
}

/// `epochs/<epoch>.json`: a claim. Create-only; whoever's token is in it holds the epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochClaim {
    /// The cluster.
    pub cluster: ClusterId,
    /// The claimed epoch.
    pub epoch: Epoch,
    /// The claiming directory.
    pub node: NodeId,
    /// Who claims, for people: a host's name and a process.
    pub holder: Text,
    /// Random for each start of a writer: two writers never share one.
    pub token: Uuid,
    /// When.
    pub time_ms: u64,
}

impl Document for EpochClaim {
    const FORMAT: &'static str = "reddb-epoch-claim-1";
    const BYTES_MAX: u64 = ARCHIVE_DOCUMENT_BYTES_MAX;

    fn check(&self) -> Result<(), String> {
        ensure(self.epoch > Epoch::ZERO, "epoch is 0, which nobody holds")
    }
}

/// How an epoch began, if it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum EpochOutcome {
    /// The holder may ship.
    Begins {
        /// Where the predecessor's timeline ended: on that timeline, what older epochs shipped beyond it is void. `null`
        /// for an archive's first writer.
        #[serde(deserialize_with = "present")]
        closes: Option<ForkPoint>,
        /// Where the holder's own log stands on its own timeline: it ships what follows.
        begins: ForkPoint,
    },
    /// A later claimant closed this epoch before its holder had begun. Its holder must not ship anything.
    Abandoned {
        /// The epoch of that claimant.
        by: Epoch,
    },
}

/// `epochs/<epoch>.start.json`. Create-only: it is either the holder's beginning or a later claimant's `abandoned`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochStart {
    /// The cluster.
    pub cluster: ClusterId,
    /// The epoch.
    pub epoch: Epoch,
    /// The token of the claim of whoever wrote this.
    pub token: Uuid,
    /// When.
    pub time_ms: u64,
    /// What came of the epoch.
    pub outcome: EpochOutcome,
}

impl Document for EpochStart {
    const FORMAT: &'static str = "reddb-epoch-start-1";
    const BYTES_MAX: u64 = ARCHIVE_DOCUMENT_BYTES_MAX;

    fn check(&self) -> Result<(), String> {
        ensure(self.epoch > Epoch::ZERO, "epoch is 0, which nobody holds")?;
        match self.outcome {
            EpochOutcome::Begins { closes, begins } => {
                ensure(begins.timeline.get() > 0, "begins.timeline is 0")?;
                ensure(closes.is_none_or(|point| point.timeline.get() > 0), "closes.timeline is 0")
            }
            EpochOutcome::Abandoned { by } => ensure(by > self.epoch, "abandoned by an epoch that is not a later one"),
        }
    }
}

/// What names a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRef {
    /// The timeline its LSN is on.
    pub timeline: TimelineId,
    /// The newest record it holds.
    pub lsn: Lsn,
    /// Its identity.
    pub id: Uuid,
}

impl SnapshotRef {
    /// The key of its manifest.
    #[must_use]
    pub fn key(&self) -> ArchiveKey {
        ArchiveKey::Snapshot { timeline: self.timeline, lsn: self.lsn, id: self.id }
    }
}

/// `epochs/<epoch>.head.json`: how far its holder has archived. Overwritten by that holder alone, one at a time.
///
/// A lower bound: the archive holds at least this much. Less is a lost tail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochHead {
    /// The cluster.
    pub cluster: ClusterId,
    /// The epoch.
    pub epoch: Epoch,
    /// The holder.
    pub node: NodeId,
    /// The timeline it ships.
    pub timeline: TimelineId,
    /// The newest record whose segment and sidecar are in the archive.
    pub archived: TimedMark,
    /// The newest snapshot this holder published or found.
    #[serde(deserialize_with = "present")]
    pub newest_snapshot: Option<SnapshotRef>,
    /// No record beyond `archived` has this record time or an earlier one.
    pub complete_until_ms: u64,
    /// Goes up with each writing of this document: a watcher sees by it that the holder lives.
    pub beat: u64,
    /// The holder's wall clock at this beat.
    pub beat_time_ms: u64,
    /// Whether the holder still works.
    pub holder: HolderState,
}

/// Whether an epoch's holder still works, by its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HolderState {
    /// It did at this beat.
    Active,
    /// It shipped all it had and ended; nobody need wait for its next beat.
    Ended,
}

impl Document for EpochHead {
    const FORMAT: &'static str = "reddb-epoch-head-1";
    const BYTES_MAX: u64 = ARCHIVE_DOCUMENT_BYTES_MAX;

    fn check(&self) -> Result<(), String> {
        ensure(self.epoch > Epoch::ZERO, "epoch is 0, which nobody holds")?;
        ensure(self.timeline.get() > 0, "timeline is 0")?;
        let snapshot = self.newest_snapshot;
        ensure(snapshot.is_none_or(|snapshot| snapshot.timeline.get() > 0), "newest_snapshot.timeline is 0")
    }
}

/// Why a timeline was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimelineReason {
    /// The cluster's first one.
    Created,
    /// A directory that was restored to a chosen moment.
    Restored,
    /// A replica that took over.
    Promoted,
}

/// `timelines/<timeline>.json`: where a timeline comes from. Create-only, before the timeline's first write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimelineDocument {
    /// The cluster.
    pub cluster: ClusterId,
    /// The timeline.
    pub timeline: TimelineId,
    /// The last record it shares with its parent, on the parent; `null` for the first timeline.
    #[serde(deserialize_with = "present")]
    pub parent: Option<ForkPoint>,
    /// Why it was begun.
    pub reason: TimelineReason,
    /// When.
    pub created_ms: u64,
    /// The directory that claimed it.
    pub node: NodeId,
    /// Random: tells apart two claims of one number.
    pub id: Uuid,
    /// The expiry clock is the wall clock minus this, in milliseconds; may be negative.
    pub clock_offset_ms: i64,
}

impl Document for TimelineDocument {
    const FORMAT: &'static str = "reddb-timeline-1";
    const BYTES_MAX: u64 = ARCHIVE_DOCUMENT_BYTES_MAX;

    fn check(&self) -> Result<(), String> {
        ensure(self.timeline.get() > 0, "timeline is 0")?;
        match self.parent {
            Some(parent) => {
                ensure(parent.timeline.get() > 0, "parent.timeline is 0")?;
                ensure(parent.timeline < self.timeline, "parent.timeline is not an earlier one")?;
                ensure(self.reason != TimelineReason::Created, "a created timeline has no parent")
            }
            None => ensure(self.reason == TimelineReason::Created, "only a created timeline has no parent"),
        }
    }
}

/// How a stored segment is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// One zstd frame.
    Zstd,
}

/// A segment's sidecar: what the segment holds, and how to know that it still does. Create-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentSidecar {
    /// The cluster.
    pub cluster: ClusterId,
    /// The timeline its records are on.
    pub timeline: TimelineId,
    /// The epoch that shipped it.
    pub epoch: Epoch,
    /// Its first record.
    pub first_lsn: Lsn,
    /// Its last record.
    pub last_lsn: Lsn,
    /// The first record's time.
    pub first_time_ms: u64,
    /// The last record's time.
    pub last_time_ms: u64,
    /// How many records it holds: `last_lsn - first_lsn + 1`.
    pub record_count: u64,
    /// The size of its plain form, header and records.
    pub plain_bytes: u64,
    /// The size of the stored object.
    pub stored_bytes: u64,
    /// The digest of the stored object.
    pub stored_sha256: Sha256Digest,
    /// The chain before its first record.
    pub chain_before: Chain,
    /// The chain after its last record.
    pub chain_after: Chain,
    /// How the stored object is compressed.
    pub codec: Codec,
}

impl SegmentSidecar {
    /// The segment's name, which both its keys are built from.
    #[must_use]
    pub fn name(&self) -> SegmentName {
        SegmentName { timeline: self.timeline, first_lsn: self.first_lsn, last_lsn: self.last_lsn, epoch: self.epoch }
    }
}

impl Document for SegmentSidecar {
    const FORMAT: &'static str = "reddb-segment-sidecar-1";
    const BYTES_MAX: u64 = ARCHIVE_DOCUMENT_BYTES_MAX;

    fn check(&self) -> Result<(), String> {
        ensure(self.timeline.get() > 0, "timeline is 0")?;
        ensure(self.epoch > Epoch::ZERO, "epoch is 0, which nobody holds")?;
        ensure(self.first_lsn > Lsn::ZERO, "first_lsn is 0")?;
        ensure(self.first_lsn <= self.last_lsn, "first_lsn is beyond last_lsn")?;
        ensure(self.first_time_ms <= self.last_time_ms, "first_time_ms is beyond last_time_ms")?;
        let before = self.first_lsn.prev().unwrap_or(Lsn::ZERO);
        ensure(self.record_count == self.last_lsn.records_since(before), "record_count does not fit the LSNs")?;
        let plain_max = SEGMENT_HEADER_BYTES as u64 + u64::from(RECORD_BYTES_MAX);
        ensure(self.plain_bytes <= plain_max, "plain_bytes is more than a segment may hold")?;
        ensure(self.stored_bytes <= ARCHIVE_SEGMENT_STORED_BYTES_MAX, "stored_bytes is more than a segment may hold")?;
        ensure(self.chain_before != self.chain_after, "chain_before and chain_after are the same")
    }
}

/// One file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Where it belongs, below the engine's directory.
    pub path: RelativePath,
    /// Its size.
    pub size_bytes: u64,
    /// Its digest, which names its object.
    pub sha256: Sha256Digest,
}

impl FileEntry {
    /// The key of its content.
    #[must_use]
    pub fn key(&self) -> ArchiveKey {
        ArchiveKey::Object(self.sha256)
    }
}

/// `snapshots/<timeline>/<lsn>-<id>.json`: a published checkpoint. Written last, once the archive has reached its LSN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotManifest {
    /// Its identity.
    pub id: Uuid,
    /// The cluster.
    pub cluster: ClusterId,
    /// The timeline its LSN is on.
    pub timeline: TimelineId,
    /// The epoch that published it.
    pub epoch: Epoch,
    /// The newest record it holds; 0 for none.
    pub lsn: Lsn,
    /// The chain after that record.
    pub chain: Chain,
    /// That record's time; 0 for none.
    pub time_ms: u64,
    /// Which engine's files these are.
    pub engine: Text,
    /// That engine's version.
    pub engine_version: Text,
    /// The version of the engine's own layout.
    pub engine_format_version: u32,
    /// The files, sorted by path, without duplicates.
    pub files: Vec<FileEntry>,
    /// The sum of their sizes.
    pub total_bytes: u64,
    /// When it was published.
    pub created_ms: u64,
    /// Why it was made, for people.
    pub reason: Text,
}

impl SnapshotManifest {
    /// What names it.
    #[must_use]
    pub fn reference(&self) -> SnapshotRef {
        SnapshotRef { timeline: self.timeline, lsn: self.lsn, id: self.id }
    }
}

impl Document for SnapshotManifest {
    const FORMAT: &'static str = "reddb-snapshot-1";
    const BYTES_MAX: u64 = ARCHIVE_MANIFEST_BYTES_MAX;

    fn check(&self) -> Result<(), String> {
        ensure(self.timeline.get() > 0, "timeline is 0")?;
        ensure(self.epoch > Epoch::ZERO, "epoch is 0, which nobody holds")?;
        ensure(self.files.len() <= ARCHIVE_SNAPSHOT_FILES_MAX, "too many files")?;
        for pair in self.files.windows(2) {
            let (left, right) = (pair[0].path.as_str(), pair[1].path.as_str());
            ensure(left < right, &format!("files are not sorted and distinct at {right:?}"))?;
        }
        self.check_no_file_is_a_folder()?;
        let sum = self.files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.size_bytes));
        ensure(sum == Some(self.total_bytes), "total_bytes is not the sum of the files' sizes")
    }
}

impl SnapshotManifest {
    fn check_no_file_is_a_folder(&self) -> Result<(), String> {
        for file in &self.files {
            let path = file.path.as_str();
            for (at, _) in path.match_indices('/') {
                let folder = &path[..at];
                let is_file = self.files.binary_search_by(|other| other.path.as_str().cmp(folder)).is_ok();
                ensure(!is_file, &format!("{folder:?} is both a file and a folder"))?;
            }
        }
        Ok(())
    }
}

/// `points/<name>.json`: a named LSN. Create-only, once the archive has reached it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestorePoint {
    /// Its name.
    pub name: PointName,
    /// The cluster.
    pub cluster: ClusterId,
    /// The timeline its LSN is on.
    pub timeline: TimelineId,
    /// The epoch that made it.
    pub epoch: Epoch,
    /// The newest record it covers; 0 for none.
    pub lsn: Lsn,
    /// The chain after that record.
    pub chain: Chain,
    /// That record's time; 0 for none.
    pub time_ms: u64,
    /// When it was made.
    pub created_ms: u64,
}

impl Document for RestorePoint {
    const FORMAT: &'static str = "reddb-restore-point-1";
    const BYTES_MAX: u64 = ARCHIVE_DOCUMENT_BYTES_MAX;

    fn check(&self) -> Result<(), String> {
        ensure(self.timeline.get() > 0, "timeline is 0")?;
        ensure(self.epoch > Epoch::ZERO, "epoch is 0, which nobody holds")
    }
}

/// A run of segments without a hole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueRange {
    /// Its first record.
    pub first_lsn: Lsn,
    /// Its last record.
    pub last_lsn: Lsn,
    /// How many segments make it.
    pub segment_count: u64,
}

/// What the archive holds of one timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueTimeline {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where it forked off, if it did.
    #[serde(deserialize_with = "present")]
    pub parent: Option<ForkPoint>,
    /// Its segments, by unbroken runs in LSN order.
    pub ranges: Vec<CatalogueRange>,
}

/// `manifest.json`: the archive's contents at one moment, for other tools. Derived; nothing here is decided by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// The cluster.
    pub cluster: ClusterId,
    /// Who derived it.
    pub epoch: Epoch,
    /// When.
    pub created_ms: u64,
    /// The timelines, ascending.
    pub timelines: Vec<CatalogueTimeline>,
    /// The snapshots' keys, ascending.
    pub snapshots: Vec<String>,
    /// The restore points' names, ascending.
    pub points: Vec<PointName>,
}

impl Document for Catalogue {
    const FORMAT: &'static str = "reddb-catalogue-1";
    const BYTES_MAX: u64 = ARCHIVE_CATALOGUE_BYTES_MAX;

    fn check(&self) -> Result<(), String> {
        ensure(self.epoch > Epoch::ZERO, "epoch is 0, which nobody holds")?;
        for listed in &self.timelines {
            ensure(listed.timeline.get() > 0, "a timeline is 0")?;
            ensure(listed.parent.is_none_or(|parent| parent.timeline.get() > 0), "a parent.timeline is 0")?;
        }
        for key in &self.snapshots {
            let is_one = matches!(key.parse(), Ok(ArchiveKey::Snapshot { .. }));
            ensure(is_one, &format!("{key:?} among the snapshots is no snapshot's key"))?;
        }
        Ok(())
    }
}
