//! An archive's history as a value: what it holds, what of it counts, and what is wrong with it.
//!
//! [`read`] fills [`Contents`] from a store; [`History::conclude`] is pure. The rules, which `docs/format/archive.md`
//! specifies for second implementations:
//! * What an older epoch shipped beyond the LSN at which a later one closed the timeline is void ([`epochs`]).
//! * A timeline's history is its ancestors' up to the forks, then its own ([`tree`]).
//! * A segment counts if both its objects are there, its epoch began on its timeline, it is not void, and it begins
//!   after the timeline's fork. Overlapping segments are legal if and only if their chains agree ([`mod@line`]).
//! * The archive must reach what its documents prove that it had reached (`witness`): less is a lost tail. Between the
//!   base of its first state (LSN 1's is [`Base::Genesis`], else it is a snapshot) and that end, nothing may be missing.
//! * Whatever is wrong is collected, never skipped over in silence ([`fault`]).

pub mod base;
pub mod contents;
pub mod epochs;
pub mod fault;
pub mod line;
pub mod read;
pub mod tree;
pub(crate) mod witness;

mod conclude;
mod reach;

#[cfg(test)]
pub(crate) mod fixture;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reddb_file::archive::{ForkPoint, PointName, RestorePoint, SegmentSidecar};
use reddb_file::{Chain, ClusterId, Lsn, TimelineId};

pub use base::Base;
pub use contents::{Contents, Slot, Snapshot, SnapshotKey};
pub use epochs::{Closing, Epochs};
pub use fault::{Fault, FaultKind, LsnRange};
pub use line::{Line, Run, Step};
pub use reach::{Moment, Reachable};
pub use tree::{Span, Tree};
use witness::Witness;

/// The snapshots that count, by timeline, in LSN order.
pub(crate) type Snapshots = BTreeMap<TimelineId, Vec<Snapshot>>;
/// The segments that count, by timeline, in the order of their names.
pub(crate) type Segments = BTreeMap<TimelineId, Vec<Arc<SegmentSidecar>>>;

/// What an archive holds and what counts of it.
#[derive(Clone, Debug)]
pub struct History {
    contents: Contents,
    epochs: Epochs,
    tree: Tree,
    segments: Segments,
    snapshots: Snapshots,
    /// Manifests that are there and cannot be believed.
    damaged_snapshots: BTreeSet<SnapshotKey>,
    void_points: BTreeSet<PointName>,
    /// Per timeline the last record that it is proved to have had in the archive.
    ends: BTreeMap<TimelineId, Lsn>,
    witnesses: Vec<Witness>,
    lines: BTreeMap<TimelineId, Line>,
    faults: Vec<Fault>,
    notices: Vec<Fault>,
}

impl History {
    /// The cluster whose history this is.
    #[must_use]
    pub const fn cluster(&self) -> ClusterId {
        self.contents.cluster.cluster
    }

    /// The documents that the history was concluded from, but the segments, which are moved out of it.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Which epochs began, and what they declared void.
    #[must_use]
    pub const fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// The timelines.
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The segments of `timeline` that count, in the order of their names.
    #[must_use]
    pub fn segments(&self, timeline: TimelineId) -> &[Arc<SegmentSidecar>] {
        self.segments.get(&timeline).map_or(&[], Vec::as_slice)
    }

    /// The snapshots on `timeline` that count, in LSN order.
    #[must_use]
    pub fn snapshots(&self, timeline: TimelineId) -> &[Snapshot] {
        self.snapshots.get(&timeline).map_or(&[], Vec::as_slice)
    }

    /// All snapshots that count, by timeline, then LSN.
    pub(crate) fn all_snapshots(&self) -> impl Iterator<Item = &Snapshot> + '_ {
        self.snapshots.values().flatten()
    }

    /// Snapshots whose manifests are there and cannot be believed.
    #[must_use]
    pub(crate) const fn damaged_snapshots(&self) -> &BTreeSet<SnapshotKey> {
        &self.damaged_snapshots
    }

    /// Whether the restore point was made beyond a closing, or by an epoch that never began.
    #[must_use]
    pub(crate) fn is_void_point(&self, point: &RestorePoint) -> bool {
        self.void_points.contains(&point.name)
    }

    /// The restore points that count.
    pub fn points(&self) -> impl Iterator<Item = &RestorePoint> + '_ {
        self.contents.points.values().filter_map(|slot| slot.present()).filter(|point| !self.is_void_point(point))
    }

    /// The witnesses of the records that `timeline` owns, in LSN order.
    #[must_use]
    pub(crate) fn witnesses_of(&self, timeline: TimelineId) -> &[Witness] {
        let from = self.witnesses.partition_point(|witness| witness.timeline < timeline);
        let to = self.witnesses.partition_point(|witness| witness.timeline <= timeline);
        &self.witnesses[from..to]
    }

    /// The whole history of `timeline` as far as segments hold it; `None` for a timeline that cannot be used.
    #[must_use]
    pub fn line(&self, timeline: TimelineId) -> Option<&Line> {
        self.lines.get(&timeline)
    }

    /// What is wrong.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What is worth knowing and loses nothing.
    #[must_use]
    pub fn notices(&self) -> &[Fault] {
        &self.notices
    }

    /// The chain at the beginning of a timeline's own records.
    fn chain_at_start(&self, timeline: TimelineId) -> Chain {
        self.tree.start(timeline).map_or_else(|| Chain::genesis(self.cluster()), |start: ForkPoint| start.chain)
    }

    /// The timeline that "the latest" means: the one that the newest epoch writes.
    #[must_use]
    pub(crate) fn newest_timeline(&self) -> Option<TimelineId> {
        match self.epochs.newest() {
            Some((_, begins)) => Some(begins.timeline),
            None => self.tree.usable().last(),
        }
    }

    /// The last record that `timeline` is proved to have had in the archive: its fork's where it has none of its own.
    #[must_use]
    pub fn end(&self, timeline: TimelineId) -> Lsn {
        self.ends.get(&timeline).copied().unwrap_or(Lsn::ZERO)
    }
}
