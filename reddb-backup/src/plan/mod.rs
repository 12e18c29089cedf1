//! From a history and a target to a plan: what to start from, what to replay, where to stop. Pure.
//!
//! * A plan is exact or an error that says what can be reached instead. Nothing else is ever planned in its place.
//! * A time means: the last record whose time is not after it, on a timeline that is complete until then
//!   ([`History::complete_until_ms`]). A timeline exists from its first own record on.
//! * An LSN or a time that exists on two timelines needs the timeline's name. What lies before a fork exists once.
//! * The base is the newest snapshot at or before the target on the target's own ancestry; where there is none, genesis, if
//!   the log begins at LSN 1. If there is a newer snapshot that cannot be believed, an older base is taken only when it is
//!   named. A target is a record: the empty state itself is none.
//! * `Latest` is the end that the archive is proved to have reached; where that cannot be reached, it is an error.

mod error;
mod locate;
mod show;
mod target;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use reddb_file::archive::{ArchiveKey, SegmentSidecar};
use reddb_file::{Chain, ClusterId, Lsn, TimelineId};
use serde::Serialize;

pub use error::{Nearest, PlanError};
pub use target::{Request, Target, UnixMs};

use crate::history::{Base, History, Snapshot, Span, Step};

/// One segment, or the part of it, to replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedSegment {
    /// The stored segment's key.
    pub key: String,
    /// The first record to apply.
    pub from: Lsn,
    /// The last record that may be applied.
    pub to: Lsn,
    /// What the segment is.
    pub sidecar: SegmentSidecar,
}

impl PlannedSegment {
    fn new(step: &Step, to: Lsn) -> Self {
        Self {
            key: ArchiveKey::Segment(step.segment.name()).to_string(),
            from: step.from,
            to: step.to.min(to),
            sidecar: SegmentSidecar::clone(&step.segment),
        }
    }
}

/// Where replay stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// After exactly this record.
    AtLsn(Lsn),
    /// Before the first record whose time is later; at the last planned segment's end at the latest.
    AfterTime {
        /// The time.
        time: UnixMs,
        /// The last record that it can be.
        at_most: Lsn,
    },
}

impl Stop {
    /// The last record that may be applied.
    #[must_use]
    pub(crate) const fn at_most(&self) -> Lsn {
        match self {
            Self::AtLsn(lsn) | Self::AfterTime { at_most: lsn, .. } => *lsn,
        }
    }
}

/// What a document says of the chain at an LSN that replay passes, or ends at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpectedChain {
    /// The record.
    pub lsn: Lsn,
    /// The chain after it.
    pub chain: Chain,
    /// The document's key.
    pub key: String,
}

/// How to restore one state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The cluster.
    pub cluster: ClusterId,
    /// What was asked for.
    pub request: Request,
    /// The timeline whose history is restored.
    pub timeline: TimelineId,
    /// The spans of records that make that history, from the root on.
    pub path: Vec<Span>,
    /// What to start from. In JSON `snapshot`, which is null for genesis.
    #[serde(rename = "snapshot")]
    pub base: Base<Snapshot>,
    /// The segments to replay, in order.
    pub segments: Vec<PlannedSegment>,
    /// Where to stop.
    pub stop: Stop,
    /// The chains to compare with on the way, in LSN order; the base's own and the sidecars' apart.
    pub expected: Vec<ExpectedChain>,
    /// The stored bytes to fetch at most: the snapshot's files and the segments.
    pub fetch_bytes: u64,
    /// Documents that the plan rests on which carry no digest. Empty unless that was allowed.
    pub unverified: Vec<String>,
}

impl Plan {
    /// The timeline that owns the record at `lsn` of this plan's history.
    #[must_use]
    pub fn owner(&self, lsn: Lsn) -> TimelineId {
        let owner = self.path.iter().rev().find(|span| span.owns(lsn));
        owner.or(self.path.first()).map_or(self.timeline, |span| span.timeline)
    }

    /// Puts together what was located.
    fn assemble(history: &History, request: &Request, timeline: TimelineId, base: Base<&Snapshot>, stop: Stop) -> Self {
        let at_most = stop.at_most();
        let steps = history.run_after(timeline, base.lsn()).map_or(&[][..], |run| &run.steps);
        let needed = steps.iter().filter(|step| step.to > base.lsn() && step.from <= at_most);
        let mut segments: Vec<_> = needed.map(|step| PlannedSegment::new(step, at_most)).collect();
        if let (Some(first), Some(next)) = (segments.first_mut(), base.lsn().next()) {
            first.from = first.from.max(next);
        }
        let path = history.tree().path(timeline);
        let fetched = segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.sidecar.stored_bytes));
        let mut plan = Self {
            cluster: history.cluster(),
            request: request.clone(),
            timeline,
            expected: expected_chains(history, &path, base.lsn(), at_most),
            path,
            fetch_bytes: fetched.saturating_add(base.snapshot().map_or(0, |snapshot| snapshot.total_bytes)),
            base: base.map(Clone::clone),
            segments,
            stop,
            unverified: Vec::new(),
        };
        plan.unverified = plan.unverified_of(history);
        plan
    }

    /// The documents without a digest among those that this plan rests on: `cluster.json`, all epochs and timelines, and
    /// what it uses.
    fn unverified_of(&self, history: &History) -> Vec<String> {
        let mut used: BTreeSet<String> = self
            .segments
            .iter()
            .map(|segment| ArchiveKey::SegmentSidecar(segment.sidecar.name()).to_string())
            .chain(self.expected.iter().map(|expected| expected.key.clone()))
            .collect();
        used.extend(self.base.snapshot().map(|snapshot| snapshot.reference().key().to_string()));
        if let Target::Label(name) = &self.request.target {
            used.insert(ArchiveKey::Point(name.clone()).to_string());
        }
        let structural = |key: &str| {
            let parsed = key.parse();
            matches!(
                parsed,
                Ok(ArchiveKey::Cluster
                    | ArchiveKey::EpochClaim(_)
                    | ArchiveKey::EpochStart(_)
                    | ArchiveKey::EpochHead(_)
                    | ArchiveKey::Timeline(_))
            )
        };
        let unverified = history.contents().unverified.iter();
        unverified.filter(|key| structural(key) || used.contains(*key)).cloned().collect()
    }
}

/// What documents say of the chain at the LSNs from `from` to `to` of this path.
fn expected_chains(history: &History, path: &[Span], from: Lsn, to: Lsn) -> Vec<ExpectedChain> {
    let mut expected = Vec::new();
    for span in path {
        let within = history.witnesses_of(span.timeline).iter();
        let within = within.filter(|witness| witness.lsn >= from && witness.lsn <= to && span.owns(witness.lsn));
        expected.extend(within.map(|witness| ExpectedChain {
            lsn: witness.lsn,
            chain: witness.chain,
            key: witness.key.clone(),
        }));
    }
    expected
}

/// Plans the restore of one state.
///
/// # Errors
/// [`PlanError`]: the target cannot be reached exactly as it was asked for.
pub fn plan(history: &History, request: &Request) -> Result<Plan, PlanError> {
    locate::locate(history, request)
}
