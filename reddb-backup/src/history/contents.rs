//! What an archive's objects say, before anything is concluded from it.
//!
//! [`Contents`] is a value: the reader fills it from a store, tests fill it by hand. Invariants that the reader keeps:
//! * every document here agrees with its own key, and names the same cluster as `cluster`;
//! * a document that is not here as [`Slot::Present`], though its key was listed, has a fault in `faults`.

use std::collections::BTreeMap;

use reddb_file::archive::{
    ClusterDocument, EpochClaim, EpochHead, EpochStart, PointName, RestorePoint, SegmentName, SegmentSidecar,
    SnapshotManifest, SnapshotRef, Text, TimelineDocument,
};
use reddb_file::{Chain, Epoch, Lsn, TimelineId};
use serde::Serialize;
use uuid::Uuid;

use super::fault::Fault;

/// Where a document should be.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Slot<T> {
    /// There is no such object.
    #[default]
    Absent,
    /// There is an object that cannot be believed. A fault says why.
    Damaged,
    /// The document.
    Present(T),
}

impl<T> Slot<T> {
    /// The document, where there is one to believe.
    #[must_use]
    pub const fn present(&self) -> Option<&T> {
        match self {
            Self::Present(document) => Some(document),
            Self::Absent | Self::Damaged => None,
        }
    }

    /// Whether no object has this key.
    #[must_use]
    pub(crate) const fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Whether an object is there that cannot be believed.
    #[must_use]
    pub(crate) const fn is_damaged(&self) -> bool {
        matches!(self, Self::Damaged)
    }
}

/// What the archive holds of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochDocuments {
    /// Who claimed it.
    pub claim: Slot<EpochClaim>,
    /// How it began, or that it never did.
    pub start: Slot<EpochStart>,
    /// How far it has archived.
    pub head: Slot<EpochHead>,
}

/// The two objects of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentObjects {
    /// The listed size of the stored segment; `None` where there is none.
    pub stored_bytes: Option<u64>,
    /// Its sidecar.
    pub sidecar: Slot<SegmentSidecar>,
}

/// What names a snapshot, in the order that planners want: by timeline, then LSN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotKey {
    /// The timeline its LSN is on.
    pub timeline: TimelineId,
    /// The newest record it holds.
    pub lsn: Lsn,
    /// Its identity.
    pub id: Uuid,
}

impl SnapshotKey {
    /// The same as the archive writes it.
    #[must_use]
    pub(crate) const fn reference(self) -> SnapshotRef {
        SnapshotRef { timeline: self.timeline, lsn: self.lsn, id: self.id }
    }
}

/// A snapshot's manifest without its files, so that an archive of many snapshots fits in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Its identity.
    pub id: Uuid,
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
    /// How many files.
    pub file_count: u64,
    /// The sum of their sizes.
    pub total_bytes: u64,
    /// When it was published.
    pub created_ms: u64,
    /// Why it was made, for people.
    pub reason: Text,
}

impl Snapshot {
    /// What names it.
    #[must_use]
    pub(crate) const fn reference(&self) -> SnapshotRef {
        SnapshotRef { timeline: self.timeline, lsn: self.lsn, id: self.id }
    }
}

impl From<&SnapshotManifest> for Snapshot {
    fn from(manifest: &SnapshotManifest) -> Self {
        Self {
            id: manifest.id,
            timeline: manifest.timeline,
            epoch: manifest.epoch,
            lsn: manifest.lsn,
            chain: manifest.chain,
            time_ms: manifest.time_ms,
            engine: manifest.engine.clone(),
            engine_version: manifest.engine_version.clone(),
            engine_format_version: manifest.engine_format_version,
            file_count: manifest.files.len() as u64,
            total_bytes: manifest.total_bytes,
            created_ms: manifest.created_ms,
            reason: manifest.reason.clone(),
        }
    }
}

/// How many objects an archive was seen to hold, and their sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ObjectTotals {
    /// How many objects.
    pub objects: u64,
    /// Their sizes together.
    pub bytes: u64,
}

impl ObjectTotals {
    /// Counts one object.
    pub fn add(&mut self, bytes: u64) {
        self.objects = self.objects.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Everything that the archive's listing and documents say, but the snapshots' files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// Whose archive it is.
    pub cluster: ClusterDocument,
    /// The epochs that anything is known of.
    pub epochs: BTreeMap<Epoch, EpochDocuments>,
    /// The timelines that have a document.
    pub timelines: BTreeMap<TimelineId, Slot<TimelineDocument>>,
    /// The segments that have an object, a sidecar, or both.
    pub segments: BTreeMap<SegmentName, SegmentObjects>,
    /// The snapshots that have a manifest.
    pub snapshots: BTreeMap<SnapshotKey, Slot<Snapshot>>,
    /// The restore points.
    pub points: BTreeMap<PointName, Slot<RestorePoint>>,
    /// What was listed (everything but the snapshots' files).
    pub totals: ObjectTotals,
    /// Keys of documents that carry no digest and were accepted all the same, because the caller said so.
    pub unverified: Vec<String>,
    /// What is wrong with single objects.
    pub faults: Vec<Fault>,
    /// What is worth knowing about single objects.
    pub notices: Vec<Fault>,
}

impl Contents {
    /// An archive that holds nothing yet.
    #[must_use]
    pub const fn empty(cluster: ClusterDocument) -> Self {
        Self {
            cluster,
            epochs: BTreeMap::new(),
            timelines: BTreeMap::new(),
            segments: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            points: BTreeMap::new(),
            totals: ObjectTotals { objects: 0, bytes: 0 },
            unverified: Vec::new(),
            faults: Vec::new(),
            notices: Vec::new(),
        }
    }
}
