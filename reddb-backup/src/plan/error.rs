//! Why a target cannot be planned, and what can be reached instead.

use std::fmt;

use reddb_file::archive::{PointName, SnapshotRef};
use reddb_file::{Lsn, TimelineId};
use uuid::Uuid;

use super::target::{Target, UnixMs};
use crate::history::{Base, Fault, Moment};

/// The nearest states that can be reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nearest {
    /// The last one before the target.
    pub below: Option<Moment>,
    /// The first one after it.
    pub above: Option<Moment>,
}

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.below, self.above) {
            (None, None) => f.write_str("nothing can be reached"),
            (Some(below), None) => write!(f, "the nearest reachable state is {}", Shown(below)),
            (None, Some(above)) => write!(f, "the nearest reachable state is {}", Shown(above)),
            (Some(below), Some(above)) => {
                write!(f, "the nearest reachable states are {} before it and {} after it", Shown(below), Shown(above))
            }
        }
    }
}

struct Shown(Moment);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LSN {} of timeline {}", self.0.lsn, self.0.timeline)?;
        match self.0.time_ms {
            Some(time_ms) => write!(f, " at {}", UnixMs(time_ms)),
            None => Ok(()),
        }
    }
}

fn listed<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Why there is no plan. Nothing else is ever planned instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The target exists on more than one timeline.
    #[error("{target} exists on timelines {}: name one of them", listed(timelines))]
    AmbiguousTimeline {
        /// What was asked for.
        target: Target,
        /// The timelines.
        timelines: Vec<TimelineId>,
    },
    /// The named timeline is not in the archive.
    #[error("timeline {timeline} is not in the archive; it holds timelines {}", listed(known))]
    UnknownTimeline {
        /// The named one.
        timeline: TimelineId,
        /// Those that can be used.
        known: Vec<TimelineId>,
    },
    /// A timeline that may hold the target cannot be used.
    #[error("{fault}; name a timeline that can be used, or {}", fault.hint)]
    BrokenTimeline {
        /// What is wrong with it.
        fault: Fault,
    },
    /// What is void cannot be told.
    #[error("{fault}; nothing can be restored before this is repaired, because it might bring back what is void: {}", fault.hint)]
    Undecided {
        /// What is wrong.
        fault: Fault,
    },
    /// No snapshot counts, and the log does not begin at LSN 1.
    #[error("timeline {timeline} has nothing to start from: no snapshot, and no log from LSN 1 on")]
    NoBase {
        /// The timeline.
        timeline: TimelineId,
    },
    /// The target lies before the first state: a snapshot's, or the first record's.
    #[error("{target} lies before the first state that can be restored; {nearest}")]
    BeforeFirstState {
        /// What was asked for.
        target: Target,
        /// What can be reached.
        nearest: Nearest,
    },
    /// The target lies beyond the last record.
    #[error("{target} lies beyond the end of the archive; {nearest}")]
    PastEnd {
        /// What was asked for.
        target: Target,
        /// What can be reached.
        nearest: Nearest,
    },
    /// The time is later than the archive is known to be complete.
    #[error(
        "{target} is later than the archive is complete, which is until {}; {nearest}",
        complete_until.map_or_else(|| "an unknown time".to_owned(), |time| time.to_string())
    )]
    BeyondComplete {
        /// What was asked for.
        target: Target,
        /// Until when the timeline that is complete the longest is.
        complete_until: Option<UnixMs>,
        /// What can be reached.
        nearest: Nearest,
    },
    /// No timeline existed at that time and is known to be complete until then.
    #[error("no timeline that existed at {target} is known to be complete until then; {nearest}; or name a timeline")]
    BetweenTimelines {
        /// What was asked for.
        target: Target,
        /// What can be reached.
        nearest: Nearest,
    },
    /// Records on the way to the target are missing.
    #[error(
        "{target} cannot be reached: records {first_missing} to {last_missing} of timeline {timeline} are missing or \
         damaged; {nearest}"
    )]
    Hole {
        /// What was asked for.
        target: Target,
        /// The timeline whose history was looked at.
        timeline: TimelineId,
        /// The first missing record.
        first_missing: Lsn,
        /// The last missing record before what is there again, or before the target.
        last_missing: Lsn,
        /// What can be reached.
        nearest: Nearest,
    },
    /// There is no such restore point.
    #[error("there is no restore point {name}{}", if close.is_empty() { String::new() } else { format!("; similar: {}", listed(close)) })]
    UnknownLabel {
        /// What was asked for.
        name: PointName,
        /// Names like it.
        close: Vec<PointName>,
    },
    /// The restore point's document cannot be believed.
    #[error("restore point {name} is damaged, so its LSN is not known; restore by LSN or time")]
    DamagedLabel {
        /// What was asked for.
        name: PointName,
    },
    /// The restore point was made on a history that a later epoch declared void.
    #[error(
        "restore point {name} (LSN {lsn} of timeline {timeline}) is void: a later epoch closed the timeline before it"
    )]
    VoidLabel {
        /// What was asked for.
        name: PointName,
        /// Its timeline.
        timeline: TimelineId,
        /// Its LSN.
        lsn: Lsn,
    },
    /// The restore point is not in the named timeline's history.
    #[error(
        "restore point {name} is LSN {lsn} of timeline {timeline}, which is not in the history of timeline {named}"
    )]
    LabelElsewhere {
        /// What was asked for.
        name: PointName,
        /// Its timeline.
        timeline: TimelineId,
        /// Its LSN.
        lsn: Lsn,
        /// The timeline that was named.
        named: TimelineId,
    },
    /// The newest snapshot before the target cannot be used, and nobody said to take an older base.
    #[error("the newest snapshot before {target} cannot be believed: {}; {}", damaged.key(), instead(older.as_ref()))]
    DamagedSnapshot {
        /// What was asked for.
        target: Target,
        /// The snapshot that cannot be used.
        damaged: SnapshotRef,
        /// The newest base before it.
        older: Option<Base<SnapshotRef>>,
    },
    /// The named base cannot serve.
    #[error("{} cannot serve: {reason}", called(base))]
    UnusableBase {
        /// The named one.
        base: Base<Uuid>,
        /// Why not.
        reason: String,
    },
}

fn instead(older: Option<&Base<SnapshotRef>>) -> String {
    match older {
        None => "there is no older one".to_owned(),
        Some(Base::Snapshot(older)) => {
            format!("to start from the one at LSN {} instead, name snapshot {}", older.lsn, older.id)
        }
        Some(Base::Genesis) => {
            let name: Base<Uuid> = Base::Genesis;
            format!("to replay the log from LSN 1 on instead, name `{name}` as the snapshot")
        }
    }
}

fn called(base: &Base<Uuid>) -> String {
    match base {
        Base::Genesis => "the empty state before LSN 1".to_owned(),
        Base::Snapshot(id) => format!("snapshot {id}"),
    }
}
