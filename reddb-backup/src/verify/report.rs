//! What a verification found.

use reddb_file::{ClusterId, Lsn, TimelineId};
use serde::Serialize;

use crate::history::contents::ObjectTotals;
use crate::history::{Fault, Reachable};

/// What was read of one kind of object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// How many were read to their end, whatever came of it.
    pub objects: u64,
    /// Their stored bytes.
    pub bytes: u64,
}

/// What can be restored of one timeline after everything was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifiedTimeline {
    /// The timeline.
    pub timeline: TimelineId,
    /// Its last record that the archive is proved to have held.
    pub end: Lsn,
    /// Until when it is complete, in Unix milliseconds, where that is known.
    pub complete_until_ms: Option<u64>,
    /// Every state in these ranges can be restored: from the first one's LSN to the last one's, both included.
    pub restorable: Vec<Reachable>,
}

/// What a verification read and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// The cluster.
    pub cluster: ClusterId,
    /// Everything that was listed.
    pub objects: ObjectTotals,
    /// The segments that count.
    pub segments: Checked,
    /// The records whose chain was computed.
    pub records: u64,
    /// Snapshots whose manifests count.
    pub snapshots: u64,
    /// The snapshots' files, each content once.
    pub files: Checked,
    /// The restore points that count.
    pub points: u64,
    /// Files that no snapshot names: left by an upload that did not finish, or by an expiry.
    pub orphans: ObjectTotals,
    /// What can be restored, by timeline.
    pub timelines: Vec<VerifiedTimeline>,
    /// What is wrong. Empty if and only if the archive is sound.
    pub faults: Vec<Fault>,
    /// What is worth knowing and loses nothing.
    pub notices: Vec<Fault>,
    /// Documents without a digest that were accepted because that was allowed.
    pub unverified: Vec<String>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}
