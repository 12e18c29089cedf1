//! Where the log ends, as a function from what the segments hold and what is known from elsewhere. No I/O.
//!
//! The first bad batch is a torn tail if nothing proves that it was ever whole. What proves it: a mark at or above it (the
//! control file, the archive), a batch or a segment after it (neither is written before it is synced), or a checksum that
//! says that its bytes are exactly what was written.

use std::path::{Path, PathBuf};

use crate::chain::Chain;
use crate::control::ControlState;
use crate::ids::{ClusterId, Epoch, Lsn, TimelineId};
use crate::mark::Mark;

use super::format::SegmentHeaderError;
use super::scan::{LaterBatch, SegmentScan, Stop};
use super::verify::BatchFault;

/// A file that has a segment's name, and what is in it.
#[derive(Clone, Debug)]
pub(super) struct FoundSegment {
    pub(super) path: PathBuf,
    /// What its name says.
    pub(super) named_lsn: Lsn,
    pub(super) scan: Result<SegmentScan, SegmentHeaderError>,
    /// Looked for in the last segment only.
    pub(super) later: Option<LaterBatch>,
}

/// What the segments amount to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Classification {
    /// A log that has not begun.
    Empty,
    /// The log ends after a whole batch.
    Clean,
    /// The batch at this offset of the last segment was never acknowledged.
    TornTail { offset: u64, lsn: Lsn },
    /// Something is damaged or missing.
    Corrupt(Corruption),
}

/// Damage that is not a torn tail: something that was acknowledged cannot be read as it was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} at offset {offset}, LSN {lsn}: {reason}; nothing was changed: keep this directory, see with `reddb info` how far the \
     archive reaches, and restore from it into a new directory",
    segment.display()
)]
pub struct Corruption {
    /// The segment, or the directory in which one is missing.
    pub segment: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// The first record that is damaged or missing.
    pub lsn: Lsn,
    /// What is wrong.
    pub reason: Box<CorruptionReason>,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptionReason {
    /// There is no segment at all.
    #[error("the log has no segment, but the control file says that it is durable up to LSN {durable}")]
    NoSegments {
        /// Where the control file's durable mark is.
        durable: Lsn,
    },
    /// The first segment begins too late.
    #[error(
        "the log begins with LSN {first}, but LSN {needed} is neither archived nor in a checkpoint: segments are missing"
    )]
    BeginsTooLate {
        /// Where it begins.
        first: Lsn,
        /// Where it must begin at the latest.
        needed: Lsn,
    },
    /// The first segment begins before its timeline does.
    #[error("the segment begins with LSN {first}, before its timeline's first, {begin}")]
    BeforeTimeline {
        /// Where it begins.
        first: Lsn,
        /// Where the timeline begins.
        begin: Lsn,
    },
    /// A segment's header is damaged.
    #[error("{0}")]
    Header(SegmentHeaderError),
    /// A segment's name and its header disagree.
    #[error("the segment's header says that it begins with LSN {found}: it was renamed or swapped")]
    Name {
        /// What the header says.
        found: Lsn,
    },
    /// A segment of another log.
    #[error("the segment belongs to cluster {cluster}, timeline {timeline}")]
    OtherLog {
        /// The segment's cluster.
        cluster: ClusterId,
        /// The segment's timeline.
        timeline: TimelineId,
    },
    /// A segment of a lower epoch than the one before it.
    #[error("the segment is of epoch {found}, the one before it of epoch {before}")]
    EpochWentBack {
        /// The epoch before.
        before: Epoch,
        /// The segment's.
        found: Epoch,
    },
    /// Records between two segments are missing.
    #[error("{stop}, but the next segment begins with LSN {next}, so the records before that were acknowledged")]
    FollowedBySegment {
        /// What is there instead of the missing records.
        stop: BadBatch,
        /// Where the next segment begins.
        next: Lsn,
    },
    /// Two segments hold the same records.
    #[error("the segment ends with LSN {end}, but the next one begins with LSN {next}: they overlap")]
    Overlap {
        /// Where the segment ends.
        end: Lsn,
        /// Where the next one begins.
        next: Lsn,
    },
    /// Two segments that should join have different histories.
    #[error("the segment continues the chain {found}, the one before it ends with {expected}: history was altered")]
    ChainBreak {
        /// The end of the segment before.
        expected: Chain,
        /// What the header says.
        found: Chain,
    },
    /// The segment's header says another time of the record before it.
    #[error("the segment follows a record of time {found}, but the one before it has time {expected}")]
    TimeBreak {
        /// The time of the last record of the segment before.
        expected: u64,
        /// What the header says.
        found: u64,
    },
    /// A bad batch below a mark.
    #[error("{stop}, but the {mark} mark is at LSN {known}, so these records were acknowledged")]
    BelowMark {
        /// What is there instead of the missing records.
        stop: BadBatch,
        /// Which mark.
        mark: &'static str,
        /// Where it is.
        known: Lsn,
    },
    /// A bad batch with a good one after it.
    #[error("{stop}, but a later batch at offset {later_offset} begins with LSN {later}, so this one was acknowledged")]
    FollowedByBatch {
        /// What is there instead of the missing records.
        stop: BadBatch,
        /// Where the later one is.
        later_offset: u64,
        /// Its first record.
        later: Lsn,
    },
    /// A bad batch that no crash can have left.
    #[error("{0}; a crash does not do this")]
    NotTorn(BatchFault),
    /// The log and a mark disagree on history.
    #[error("the chain at LSN {lsn} is {found}, but the {mark} mark says {expected}: this is another history")]
    MarkDisagrees {
        /// Which mark.
        mark: &'static str,
        /// Where.
        lsn: Lsn,
        /// What the mark says.
        expected: Chain,
        /// What the log says.
        found: Chain,
    },
}

/// What is there instead of a batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBatch {
    /// The file ends, or nothing was written.
    #[error("the segment's batches end")]
    Missing,
    /// A bad one.
    #[error("{0}")]
    Bad(BatchFault),
}

impl From<&Stop> for BadBatch {
    fn from(stop: &Stop) -> Self {
        match stop {
            Stop::EndOfFile | Stop::Blank => Self::Missing,
            Stop::Fault(fault) => Self::Bad(fault.clone()),
        }
    }
}

/// The control state's marks by name.
pub(super) fn marks(control: &ControlState) -> [(&'static str, Mark); 3] {
    [("durable", control.durable.mark()), ("archived", control.archived), ("checkpoint", control.checkpoint)]
}

/// Judges the segments of the directory `dir`, in the order of their names.
pub(super) fn classify(
    dir: &Path,
    cluster: ClusterId,
    control: &ControlState,
    segments: &[FoundSegment],
) -> Classification {
    match judge(dir, cluster, control, segments) {
        Ok(classification) => classification,
        Err(corruption) => Classification::Corrupt(corruption),
    }
}

fn judge(
    dir: &Path,
    cluster: ClusterId,
    control: &ControlState,
    segments: &[FoundSegment],
) -> Result<Classification, Corruption> {
    let mut before: Option<(&FoundSegment, &SegmentScan)> = None;
    for segment in segments {
        let scan = check_header(segment, cluster, control)?;
        match before {
            None => check_begin(segment, scan, control)?,
            Some(before) => check_join(before, (segment, scan))?,
        }
        check_marks(segment, scan, control)?;
        before = Some((segment, scan));
    }
    match before {
        Some((last, scan)) => judge_tail(last, scan, control),
        None if control.durable.lsn.next() == Some(control.timeline_begin) => Ok(Classification::Empty),
        None => Err(Corruption {
            segment: dir.to_owned(),
            offset: 0,
            lsn: control.timeline_begin,
            reason: Box::new(CorruptionReason::NoSegments { durable: control.durable.lsn }),
        }),
    }
}

fn check_header<'a>(
    segment: &'a FoundSegment,
    cluster: ClusterId,
    control: &ControlState,
) -> Result<&'a SegmentScan, Corruption> {
    let corrupt = |reason| Corruption {
        segment: segment.path.clone(),
        offset: 0,
        lsn: segment.named_lsn,
        reason: Box::new(reason),
    };
    let scan = segment.scan.as_ref().map_err(|error| corrupt(CorruptionReason::Header(error.clone())))?;
    let header = &scan.header;
    if (header.cluster, header.timeline) != (cluster, control.timeline) {
        let (cluster, timeline) = (header.cluster, header.timeline);
        return Err(corrupt(CorruptionReason::OtherLog { cluster, timeline }));
    }
    if header.first_lsn != segment.named_lsn {
        return Err(corrupt(CorruptionReason::Name { found: header.first_lsn }));
    }
    Ok(scan)
}

fn check_begin(segment: &FoundSegment, scan: &SegmentScan, control: &ControlState) -> Result<(), Corruption> {
    let corrupt =
        |lsn, reason| Err(Corruption { segment: segment.path.clone(), offset: 0, lsn, reason: Box::new(reason) });
    let (first, begin) = (scan.header.first_lsn, control.timeline_begin);
    if first < begin {
        return corrupt(first, CorruptionReason::BeforeTimeline { first, begin });
    }
    // Pruning stops at what is both archived and in a checkpoint.
    let pruned = control.archived.lsn.min(control.checkpoint.lsn);
    let needed = pruned.next().unwrap_or(Lsn::MAX).max(begin);
    if first > needed {
        return corrupt(needed, CorruptionReason::BeginsTooLate { first, needed });
    }
    Ok(())
}

fn check_join(before: (&FoundSegment, &SegmentScan), next: (&FoundSegment, &SegmentScan)) -> Result<(), Corruption> {
    let (end, header) = (before.1.end, &next.1.header);
    let expected = end.lsn.next().unwrap_or(Lsn::MAX);
    if header.first_lsn != expected {
        let reason = if header.first_lsn > expected {
            CorruptionReason::FollowedBySegment { stop: (&before.1.stop).into(), next: header.first_lsn }
        } else {
            CorruptionReason::Overlap { end: end.lsn, next: header.first_lsn }
        };
        let lsn = expected.min(header.first_lsn);
        return Err(Corruption {
            segment: before.0.path.clone(),
            offset: before.1.end_offset,
            lsn,
            reason: Box::new(reason),
        });
    }
    let corrupt = |reason| {
        Err(Corruption { segment: next.0.path.clone(), offset: 0, lsn: header.first_lsn, reason: Box::new(reason) })
    };
    if header.chain_before != end.chain {
        return corrupt(CorruptionReason::ChainBreak { expected: end.chain, found: header.chain_before });
    }
    if header.time_before_ms != end.time_ms {
        return corrupt(CorruptionReason::TimeBreak { expected: end.time_ms, found: header.time_before_ms });
    }
    if header.epoch < before.1.header.epoch {
        return corrupt(CorruptionReason::EpochWentBack { before: before.1.header.epoch, found: header.epoch });
    }
    Ok(())
}

fn check_marks(segment: &FoundSegment, scan: &SegmentScan, control: &ControlState) -> Result<(), Corruption> {
    for (name, mark) in marks(control) {
        let disagreeing = scan.chains.iter().find(|found| found.lsn == mark.lsn && found.chain != mark.chain);
        if let Some(found) = disagreeing {
            return Err(Corruption {
                segment: segment.path.clone(),
                offset: 0,
                lsn: mark.lsn,
                reason: Box::new(CorruptionReason::MarkDisagrees {
                    mark: name,
                    lsn: mark.lsn,
                    expected: mark.chain,
                    found: found.chain,
                }),
            });
        }
    }
    Ok(())
}

fn judge_tail(last: &FoundSegment, scan: &SegmentScan, control: &ControlState) -> Result<Classification, Corruption> {
    let (offset, lsn) = (scan.end_offset, scan.end.lsn.next().unwrap_or(Lsn::MAX));
    let corrupt = |reason| Err(Corruption { segment: last.path.clone(), offset, lsn, reason: Box::new(reason) });
    let known = marks(control).into_iter().find(|(_, mark)| mark.lsn > scan.end.lsn);
    if let Some((mark, known)) = known {
        return corrupt(CorruptionReason::BelowMark { stop: (&scan.stop).into(), mark, known: known.lsn });
    }
    if let Some(later) = last.later {
        let stop = (&scan.stop).into();
        return corrupt(CorruptionReason::FollowedByBatch { stop, later_offset: later.offset, later: later.lsn });
    }
    match &scan.stop {
        Stop::EndOfFile | Stop::Blank => Ok(Classification::Clean),
        Stop::Fault(fault) if fault.may_be_torn() => Ok(Classification::TornTail { offset, lsn }),
        Stop::Fault(fault) => corrupt(CorruptionReason::NotTorn(fault.clone())),
    }
}
