//! Faults: what is wrong with an archive, where, which records it touches, and what to do.
//!
//! A fault never hides another: whoever looks at an archive collects faults and goes on. A *fault* means that something
//! which should be restorable is not, or that its proof is gone; a *notice* is worth an operator's eye and loses nothing.

use std::fmt;

use reddb_file::archive::layout::{EPOCHS_PREFIX, POINTS_PREFIX, TIMELINES_PREFIX};
use reddb_file::{Lsn, TimelineId};
use serde::Serialize;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// A JSON object whose bytes are not what its digest says, or that is not what its key promises.
    DocumentDamaged,
    /// A JSON object that carries no digest.
    DigestMissing,
    /// An object that something else in the archive proves to have been there.
    ObjectMissing,
    /// A sidecar without its segment.
    SegmentMissing,
    /// A segment without its sidecar.
    SidecarMissing,
    /// A stored segment or snapshot file whose size or SHA-256 is not the declared one.
    ContentDamaged,
    /// A segment whose records do not decode, or are not what its sidecar says.
    SegmentDamaged,
    /// Two holders of the same LSN disagree about the chain there.
    ChainMismatch,
    /// Records missing between others.
    Hole,
    /// Records missing at the end: something proves that the archive held more.
    TailLost,
    /// Record times that go back, or a record at or before a moment that was declared complete.
    TimeOrder,
    /// A document that says another time of a record than the record has.
    TimeMismatch,
    /// The timelines do not form a tree, or one is not what its first record says.
    TimelineBroken,
    /// Something that belongs to another cluster.
    ForeignCluster,
    /// Something shipped under an epoch that never began.
    EpochNotBegun,
    /// Records that no snapshot lies before, of a log that does not begin at LSN 1.
    NoSnapshotBefore,
    /// An object that is no part of an archive's layout.
    UnknownObject,
    /// An upload that did not finish, or is going on.
    Unfinished,
    /// Something that a later epoch declared void.
    Void,
}

impl FaultKind {
    /// What an operator can do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::DocumentDamaged | Self::ContentDamaged | Self::SegmentDamaged => {
                "put back a good copy of this object from a replica of the bucket or an older object version; \
                 if there is none, take a new snapshot: restores from it on do not need this object"
            }
            Self::DigestMissing => {
                "put back the object as it was written; a restore that shall use it as it is needs the explicit flag"
            }
            Self::ObjectMissing | Self::SegmentMissing | Self::SidecarMissing => {
                "put back this object from a replica of the bucket or an older object version; \
                 if there is none, take a new snapshot: restores from it on do not need this object"
            }
            Self::ChainMismatch => {
                "two histories were mixed: find out which of the named objects is not this cluster's, and move it away"
            }
            Self::Hole | Self::TailLost => {
                "put the missing segments and sidecars back; if they are lost, take a new snapshot now"
            }
            Self::TimeOrder => "restore by LSN instead of time around these records; check the writer's clock",
            Self::TimeMismatch => {
                "put back this document as it was written; until then restore by LSN instead of time around this record"
            }
            Self::TimelineBroken => "put back the timeline's document as it was written",
            Self::ForeignCluster => "move the object away: it belongs to another cluster's archive",
            Self::EpochNotBegun => "put back the epoch's start document; if it never had one, move the object away",
            Self::NoSnapshotBefore => {
                "put back an older snapshot's manifest if one was deleted; else these records serve no restore"
            }
            Self::UnknownObject => "move it away if it is not yours; nothing here reads it",
            Self::Unfinished => "nothing, if a writer is running: it finishes or repeats the upload",
            Self::Void => "nothing: a later epoch closed the timeline before it",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DocumentDamaged => "damaged document",
            Self::DigestMissing => "document without digest",
            Self::ObjectMissing => "missing object",
            Self::SegmentMissing => "sidecar without segment",
            Self::SidecarMissing => "segment without sidecar",
            Self::ContentDamaged => "damaged content",
            Self::SegmentDamaged => "damaged segment",
            Self::ChainMismatch => "chain mismatch",
            Self::Hole => "hole",
            Self::TailLost => "lost tail",
            Self::TimeOrder => "times out of order",
            Self::TimeMismatch => "wrong time",
            Self::TimelineBroken => "broken timeline",
            Self::ForeignCluster => "foreign cluster",
            Self::EpochNotBegun => "epoch that never began",
            Self::NoSnapshotBefore => "no snapshot before",
            Self::UnknownObject => "unknown object",
            Self::Unfinished => "unfinished upload",
            Self::Void => "void",
        })
    }
}

/// Consecutive records of one timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct LsnRange {
    /// The timeline that owns them.
    pub timeline: TimelineId,
    /// The first.
    pub first_lsn: Lsn,
    /// The last.
    pub last_lsn: Lsn,
}

impl LsnRange {
    /// The records `first_lsn` to `last_lsn` of `timeline`.
    #[must_use]
    pub const fn new(timeline: TimelineId, first_lsn: Lsn, last_lsn: Lsn) -> Self {
        Self { timeline, first_lsn, last_lsn }
    }
}

impl fmt::Display for LsnRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first_lsn == self.last_lsn {
            write!(f, "LSN {} of timeline {}", self.first_lsn, self.timeline)
        } else {
            write!(f, "LSNs {} to {} of timeline {}", self.first_lsn, self.last_lsn, self.timeline)
        }
    }
}

/// One thing that is wrong, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// The object's key below the archive's prefix, or the folder where objects are missing.
    pub key: String,
    /// The records that it touches, where it is about some.
    pub affects: Option<LsnRange>,
    /// What was found, in one sentence.
    pub detail: String,
    /// What to do.
    pub hint: &'static str,
}

impl Fault {
    /// A fault of the object at `key`.
    #[must_use]
    pub fn new(kind: FaultKind, key: impl fmt::Display, detail: impl fmt::Display) -> Self {
        let key = key.to_string();
        let hint = hint(kind, &key);
        Self { kind, key, affects: None, detail: detail.to_string(), hint }
    }

    /// The same fault, which touches these records.
    #[must_use]
    pub(crate) fn affecting(mut self, range: LsnRange) -> Self {
        self.affects = Some(range);
        self
    }
}

/// What an operator can do about an object of this kind of fault. No snapshot makes up for a document that every restore and
/// every writer reads.
fn hint(kind: FaultKind, key: &str) -> &'static str {
    let lost = matches!(kind, FaultKind::DocumentDamaged | FaultKind::ObjectMissing);
    match key.split('/').next() {
        Some(EPOCHS_PREFIX | TIMELINES_PREFIX) if lost => {
            "put back a good copy of this object from a replica of the bucket or an older object version; \
             if there is none, begin a new archive in an empty place, and keep this one for what it can still restore"
        }
        Some(POINTS_PREFIX) if lost => {
            "put back a good copy of this object from a replica of the bucket or an older object version; \
             if there is none, restore by LSN or time instead of this name"
        }
        _ => kind.hint(),
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.kind, self.key, self.detail)?;
        if let Some(range) = self.affects {
            write!(f, " ({range})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_advised_where_it_makes_up_for_what_is_lost() {
        for kind in [FaultKind::DocumentDamaged, FaultKind::ObjectMissing] {
            for key in ["epochs/00000000000000000001.start.json", "timelines/0000000001.json", "points/noon.json"] {
                let hint = Fault::new(kind, key, "gone").hint;
                assert!(hint.contains("good copy") && !hint.contains("snapshot"), "{key}: {hint}");
            }
            for key in ["wal/0000000001/00000000000000000001.json", "snapshots/0000000001/1.json", "objects/ab/abcd"] {
                let hint = Fault::new(kind, key, "gone").hint;
                assert!(hint.contains("new snapshot"), "{key}: {hint}");
            }
        }
    }
}
