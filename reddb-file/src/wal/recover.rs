//! Opening the log at start: read every segment, let [`super::classify`] judge, then make the disk hold what was read.
//!
//! What can be read after a crash is not yet what the disk holds: after a kill or a failed sync, a batch may be in the page
//! cache only, and a sync of today does not write pages that yesterday's failed sync marked clean. So, unless the last
//! process said that it ended in order, the last segment's valid batches are written again before anyone sees them (`rewrite`). The
//! segments before need no such thing: a segment is begun only after the last batch of the one before it has been synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::control::{ControlState, Shutdown};
use crate::durable::remove_temporaries;
use crate::ids::{ClusterId, Lsn, TimelineId};
use crate::layout::{parse_segment_name, timeline_dir};
use crate::mark::TimedMark;
use crate::vfs::{EntryKind, Vfs, VfsError};

use super::classify::{Classification, Corruption, FoundSegment, classify, marks};
use super::error::WalError;
use super::format::Salt;
use super::pool::SegmentPool;
use super::rewrite::rewrite;
use super::scan::scan_segment;
use super::segment::SegmentInfo;

/// What recovery found at the end of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The log ends after a whole batch.
    Clean,
    /// The last batch was not written whole, so it was never acknowledged; it was dropped.
    TornTail {
        /// The segment.
        segment: PathBuf,
        /// Where in it.
        offset: u64,
        /// The first record of the dropped batch.
        lsn: Lsn,
    },
}

/// The log as recovery leaves it, for [`super::WalWriter::open`].
#[derive(Clone, Debug)]
pub struct RecoveredLog {
    pub(super) cluster: ClusterId,
    pub(super) timeline: TimelineId,
    pub(super) base: TimedMark,
    pub(super) end: TimedMark,
    pub(super) segments: Vec<SegmentInfo>,
    /// Where appending goes on in the last segment, if there is one.
    pub(super) tail: Option<Tail>,
}

/// Where appending goes on in the last segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) salt: Salt,
    pub(super) end_offset: u64,
}

impl RecoveredLog {
    /// Where the log ends: durable.
    #[must_use]
    pub fn end(&self) -> TimedMark {
        self.end
    }

    /// The position before the first record that is, or will be, in it: where it was pruned to, or where it begins.
    #[must_use]
    pub fn base(&self) -> TimedMark {
        self.base
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[SegmentInfo] {
        &self.segments
    }

    /// The log's first record that is still here; none where it holds none.
    #[must_use]
    pub fn first_lsn(&self) -> Option<Lsn> {
        self.segments.first().filter(|info| !info.is_empty()).map(|info| info.first_lsn)
    }
}

/// What recovery did.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// What it found at the end of the log.
    pub verdict: Verdict,
    /// The log.
    pub log: RecoveredLog,
}

/// A log that cannot be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RecoverError {
    /// The log is damaged; nothing was changed.
    #[error("the log is corrupt: {0}")]
    Corrupt(#[from] Corruption),
    /// The last segment could not be read the second time as it was the first time.
    #[error("{} changed while it was being recovered (offset {offset}): check the disk", segment.display())]
    Unstable {
        /// The segment.
        segment: PathBuf,
        /// Where in it.
        offset: u64,
    },
    /// Preparing a segment failed; nothing was lost, and recovery may be tried again.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// The file system failed; nothing was lost, and recovery may be tried again.
    #[error(transparent)]
    Io(#[from] VfsError),
}

/// Recovers the log of the control state's timeline in the data directory `dir`.
///
/// Uses the state's `timeline`, `timeline_begin`, `shutdown` and its durable, archived and checkpoint marks, each of which the
/// log must contain or reach. A log without segments is one that has not begun: then `durable` must be the position just before
/// `timeline_begin`, and the log continues it. Writes nothing before it has judged; `salt` must be random, as every salt.
///
/// # Errors
/// [`RecoverError::Corrupt`], naming the segment, the offset, the LSN and what to do; `Wal` and `Io`.
pub fn recover(
    vfs: &Arc<dyn Vfs>,
    dir: &Path,
    cluster: ClusterId,
    control: &ControlState,
    pool: &SegmentPool,
    salt: Salt,
) -> Result<Recovery, RecoverError> {
    let log_dir = timeline_dir(dir, control.timeline);
    let mut found = find_segments(vfs.as_ref(), &log_dir, control)?;
    if let Some(last) = found.last_mut()
        && let Ok(scan) = &last.scan
    {
        last.later = scan.find_later(vfs.as_ref(), &last.path)?;
    }
    let torn = match classify(&log_dir, cluster, control, &found) {
        Classification::Corrupt(corruption) => return Err(corruption.into()),
        Classification::Empty | Classification::Clean => None,
        Classification::TornTail { offset, lsn } => Some((offset, lsn)),
    };
    if vfs.metadata(&log_dir)?.is_some() {
        remove_temporaries(vfs.as_ref(), &log_dir)?;
    }
    let mut log = RecoveredLog {
        cluster,
        timeline: control.timeline,
        base: found
            .first()
            .and_then(|first| Some(first.scan.as_ref().ok()?.header.before()))
            .unwrap_or(control.durable),
        end: control.durable,
        segments: found.iter().filter_map(segment_info).collect(),
        tail: None,
    };
    let last = found.last().and_then(|last| Some((last, last.scan.as_ref().ok()?)));
    if let Some((last, scan)) = last {
        log.end = scan.end;
        log.tail = Some(Tail { salt: scan.header.salt, end_offset: scan.end_offset });
        if control.shutdown == Shutdown::Unclean || torn.is_some() {
            let rewritten = rewrite(vfs.as_ref(), dir, &last.path, scan, pool, salt)?;
            log.tail = Some(Tail { salt: rewritten.salt, end_offset: scan.end_offset });
            if let Some(info) = log.segments.last_mut() {
                info.file_bytes = rewritten.file_bytes;
            }
        }
    }
    let verdict = match (torn, last) {
        (Some((offset, lsn)), Some((last, _))) => Verdict::TornTail { segment: last.path.clone(), offset, lsn },
        _ => Verdict::Clean,
    };
    Ok(Recovery { verdict, log })
}

fn find_segments(vfs: &dyn Vfs, log_dir: &Path, control: &ControlState) -> Result<Vec<FoundSegment>, VfsError> {
    if vfs.metadata(log_dir)?.is_none() {
        return Ok(Vec::new());
    }
    let lsns = marks(control).map(|(_, mark)| mark.lsn);
    let mut found = Vec::new();
    for entry in vfs.list(log_dir)? {
        let Some(named_lsn) = parse_segment_name(&entry.name).filter(|_| entry.kind == EntryKind::File) else {
            continue;
        };
        let path = log_dir.join(&entry.name);
        let scan = scan_segment(vfs, &path, &lsns)?;
        found.push(FoundSegment { path, named_lsn, scan, later: None });
    }
    Ok(found)
}

fn segment_info(found: &FoundSegment) -> Option<SegmentInfo> {
    let scan = found.scan.as_ref().ok()?;
    Some(SegmentInfo {
        path: found.path.clone(),
        epoch: scan.header.epoch,
        first_lsn: scan.header.first_lsn,
        last_lsn: scan.end.lsn,
        file_bytes: scan.file_bytes,
    })
}
