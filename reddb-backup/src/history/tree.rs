//! The timelines as a tree, and the way from its root to any of them.
//!
//! A timeline owns the records after its fork; up to there its history is its parent's. A fork may lie below the parent's
//! own fork: then the parent contributes nothing and its parent does. [`Tree::path`] gives the spans of records that
//! make one timeline's whole history, and [`Tree::owner`] the timeline that a position really belongs to.
//!
//! A timeline is usable if its document can be believed. Where its parent is not, it is usable from its fork on, as a root:
//! an archive may also begin after a fork, and then it holds nothing of the parent.

use std::collections::BTreeMap;

use reddb_file::archive::{ArchiveKey, ForkPoint, TimelineDocument};
use reddb_file::{Lsn, TimelineId};
use serde::Serialize;

use super::contents::{Contents, Slot};
use super::fault::{Fault, FaultKind};

/// The records that one timeline contributes to a history: those after `after`, up to and including `upto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The timeline that owns them.
    pub timeline: TimelineId,
    /// The last record before them: where the timeline forked off; 0 for the first.
    pub after: Lsn,
    /// The last of them: where the next timeline of the path forked off, or [`Lsn::MAX`] on the path's own timeline.
    pub upto: Lsn,
}

impl Span {
    /// Whether the record at `lsn` is in it.
    #[must_use]
    pub fn owns(&self, lsn: Lsn) -> bool {
        self.after < lsn && lsn <= self.upto
    }

    /// Whether a state at `lsn`, on this timeline, is part of the history.
    #[must_use]
    pub(crate) fn holds_state(&self, lsn: Lsn) -> bool {
        self.after <= lsn && lsn <= self.upto
    }
}

/// The usable timelines, and those that anything mentions but cannot be used.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    usable: BTreeMap<TimelineId, TimelineDocument>,
    broken: BTreeMap<TimelineId, Fault>,
}

impl Tree {
    /// Reads the timelines' documents. `mentioned` are the timelines that anything else in the archive names.
    pub(super) fn conclude(
        contents: &Contents,
        mentioned: impl IntoIterator<Item = TimelineId>,
        faults: &mut Vec<Fault>,
    ) -> Self {
        let mut tree = Self::default();
        for (timeline, slot) in &contents.timelines {
            match slot {
                Slot::Present(document) => tree.insert(*timeline, document),
                Slot::Damaged => tree.set_broken(*timeline, FaultKind::DocumentDamaged, "it is damaged"),
                Slot::Absent => {}
            }
        }
        for timeline in mentioned {
            if !tree.usable.contains_key(&timeline) && !tree.broken.contains_key(&timeline) {
                tree.set_broken(
                    timeline,
                    FaultKind::ObjectMissing,
                    "the archive holds something of a timeline without it",
                );
            }
        }
        faults.extend(tree.broken.values().cloned());
        tree
    }

    fn insert(&mut self, timeline: TimelineId, document: &TimelineDocument) {
        // Parents come first, so that no way to the root can be a circle.
        if document.parent.is_some_and(|parent| parent.timeline >= timeline) {
            self.set_broken(timeline, FaultKind::TimelineBroken, "it names itself or a later timeline as its parent");
        } else if document.parent.is_none() && self.usable.values().any(|other| other.parent.is_none()) {
            self.set_broken(timeline, FaultKind::TimelineBroken, "a second timeline without a parent");
        } else {
            self.usable.insert(timeline, document.clone());
        }
    }

    fn set_broken(&mut self, timeline: TimelineId, kind: FaultKind, detail: &str) {
        self.broken.insert(timeline, Fault::new(kind, ArchiveKey::Timeline(timeline), detail));
    }

    /// The usable timelines, ascending.
    pub fn usable(&self) -> impl Iterator<Item = TimelineId> + '_ {
        self.usable.keys().copied()
    }

    /// The timelines that cannot be used, and why.
    #[must_use]
    pub const fn broken(&self) -> &BTreeMap<TimelineId, Fault> {
        &self.broken
    }

    /// The document of a usable timeline.
    #[must_use]
    pub fn document(&self, timeline: TimelineId) -> Option<&TimelineDocument> {
        self.usable.get(&timeline)
    }

    /// Where a usable timeline begins: the last record before its own; none for a cluster's first.
    #[must_use]
    pub fn start(&self, timeline: TimelineId) -> Option<ForkPoint> {
        self.usable.get(&timeline)?.parent
    }

    /// Where a usable timeline forked off a parent that can be used too.
    #[must_use]
    pub fn fork(&self, timeline: TimelineId) -> Option<ForkPoint> {
        self.start(timeline).filter(|start| self.usable.contains_key(&start.timeline))
    }

    /// The timeline that owns the record at `lsn` of `timeline`'s history.
    #[must_use]
    pub fn owner(&self, timeline: TimelineId, lsn: Lsn) -> TimelineId {
        let mut owner = timeline;
        while let Some(fork) = self.fork(owner).filter(|fork| lsn <= fork.lsn) {
            owner = fork.timeline;
        }
        owner
    }

    /// The spans that make `timeline`'s history, from the oldest usable ancestor on. A span may be empty. Empty for an unusable timeline.
    #[must_use]
    pub fn path(&self, timeline: TimelineId) -> Vec<Span> {
        let mut spans = Vec::new();
        let (mut at, mut upto) = (timeline, Lsn::MAX);
        while let Some(document) = self.usable.get(&at) {
            let after = document.parent.map_or(Lsn::ZERO, |fork| fork.lsn);
            spans.push(Span { timeline: at, after, upto });
            let Some(fork) = document.parent else { break };
            (at, upto) = (fork.timeline, upto.min(fork.lsn));
        }
        spans.reverse();
        spans
    }
}
