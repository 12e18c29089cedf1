//! What an archive holds and what can be restored from it, as its documents say. Reads no segment and no snapshot file:
//! whether the bytes are good is [`crate::verify`]'s question.

use std::fmt;
use std::sync::Arc;

use reddb_file::archive::{
    ClusterDocument, EpochOutcome, ForkPoint, HolderState, MissingDigest, PointName, SnapshotRef, TimelineReason,
};
use reddb_file::{Epoch, Lsn, NodeId, TimedMark, TimelineId};
use serde::Serialize;

use crate::history::contents::ObjectTotals;
use crate::history::read::{HistoryError, read, read_rest};
use crate::history::{Fault, History, LsnRange, Moment, Reachable, Snapshot};
use crate::plan::UnixMs;
use crate::progress::Progress;
use crate::store::Store;

/// How far the archive reaches, and how far it promises to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// The last state that can be restored of the timeline that is written.
    pub newest: Option<Moment>,
    /// The record that the newest head says is archived.
    pub head: TimedMark,
    /// Records up to there are complete: no later record has this time or an earlier one.
    pub complete_until_ms: u64,
    /// How many records that the archive is proved to have held cannot be restored. 0 in a sound archive.
    pub records_missing: u64,
    /// When the head was last written, by its holder's clock.
    pub beat_time_ms: u64,
}

/// What is known of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochInfo {
    /// The epoch.
    pub epoch: Epoch,
    /// Who claimed it.
    pub node: Option<NodeId>,
    /// Who claimed it, for people.
    pub holder: Option<String>,
    /// When it was claimed, by the claimant's clock.
    pub claimed_ms: Option<u64>,
    /// Where it began; none where it never did.
    pub begins: Option<ForkPoint>,
    /// Where it closed its predecessor's timeline.
    pub closes: Option<ForkPoint>,
    /// How far it has archived.
    pub archived: Option<TimedMark>,
    /// Whether its holder still ships, as far as it said.
    pub state: Option<HolderState>,
}

/// What is known of one timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineInfo {
    /// The timeline.
    pub timeline: TimelineId,
    /// Where it forked off.
    pub parent: Option<ForkPoint>,
    /// Why it was begun.
    pub reason: TimelineReason,
    /// When, by its first holder's clock.
    pub created_ms: u64,
    /// The states of its whole history that can be restored: each range from its first LSN to its last.
    pub restorable: Vec<Reachable>,
    /// Records of its own that are missing.
    pub holes: Vec<LsnRange>,
    /// The last record that the archive is proved to have held.
    pub end: Lsn,
    /// Until when it is complete, in Unix milliseconds, where that is known.
    pub complete_until_ms: Option<u64>,
    /// Its own segments that count.
    pub segments: ObjectTotals,
    /// The plain size of these segments.
    pub plain_bytes: u64,
    /// How many records they hold, what overlaps counted once for each.
    pub records: u64,
}

/// A restore point that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PointInfo {
    /// Its name.
    pub name: PointName,
    /// Its timeline.
    pub timeline: TimelineId,
    /// Its LSN.
    pub lsn: Lsn,
    /// That record's time.
    pub time_ms: u64,
    /// Whether it can be restored, as far as documents tell.
    pub restorable: bool,
}

/// What an archive holds and what can be restored from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveInfo {
    /// Whose archive it is.
    pub cluster: ClusterDocument,
    /// Everything that was listed.
    pub objects: ObjectTotals,
    /// The snapshots' files among that.
    pub files: ObjectTotals,
    /// The timelines, ascending.
    pub timelines: Vec<TimelineInfo>,
    /// The snapshots that count, by timeline, then LSN.
    pub snapshots: Vec<Snapshot>,
    /// Snapshots whose manifests cannot be believed.
    pub damaged_snapshots: Vec<SnapshotRef>,
    /// The restore points that count, by name.
    pub points: Vec<PointInfo>,
    /// The epochs, ascending.
    pub epochs: Vec<EpochInfo>,
    /// How far the archive reaches; none where nobody has begun.
    pub gap: Option<Gap>,
    /// What is wrong, as far as documents tell.
    pub faults: Vec<Fault>,
    /// What is worth knowing.
    pub notices: Vec<Fault>,
}

impl ArchiveInfo {
    /// Reads what the archive in `store` holds.
    ///
    /// # Errors
    /// [`HistoryError`]: the store does not answer, or this is no archive.
    pub async fn read(store: &Store, progress: &Arc<dyn Progress>) -> Result<Self, HistoryError> {
        let contents = read(store, MissingDigest::Refuse, progress).await?;
        let rest = read_rest(store).await?;
        let mut objects = contents.totals;
        objects.objects = objects.objects.saturating_add(rest.totals.objects);
        objects.bytes = objects.bytes.saturating_add(rest.totals.bytes);
        let mut files = ObjectTotals::default();
        rest.files.values().for_each(|bytes| files.add(*bytes));
        let mut info = Self::of(&History::conclude(contents));
        (info.objects, info.files) = (objects, files);
        Ok(info)
    }

    /// What a history says; `objects` and `files` count only what its contents were listed with.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let timelines: Vec<_> =
            history.tree().usable().filter_map(|timeline| timeline_info(history, timeline)).collect();
        let restorable = |timeline: TimelineId, lsn: Lsn| {
            let ranges = timelines.iter().find(|info| info.timeline == timeline).map(|info| &info.restorable);
            ranges.is_some_and(|ranges| ranges.iter().any(|range| range.first.lsn <= lsn && lsn <= range.last.lsn))
        };
        let points = history.points().map(|point| PointInfo {
            name: point.name.clone(),
            timeline: point.timeline,
            lsn: point.lsn,
            time_ms: point.time_ms,
            restorable: restorable(point.timeline, point.lsn),
        });
        Self {
            cluster: history.contents().cluster.clone(),
            objects: history.contents().totals,
            files: ObjectTotals::default(),
            points: points.collect(),
            snapshots: history.all_snapshots().cloned().collect(),
            damaged_snapshots: history.damaged_snapshots().iter().map(|key| key.reference()).collect(),
            epochs: epoch_infos(history),
            gap: gap(history),
            faults: history.faults().to_vec(),
            notices: history.notices().to_vec(),
            timelines,
        }
    }
}

fn timeline_info(history: &History, timeline: TimelineId) -> Option<TimelineInfo> {
    let document = history.tree().document(timeline)?;
    let mut segments = ObjectTotals::default();
    let (mut plain_bytes, mut records) = (0_u64, 0_u64);
    for segment in history.segments(timeline) {
        segments.add(segment.stored_bytes);
        plain_bytes = plain_bytes.saturating_add(segment.plain_bytes);
        records = records.saturating_add(segment.record_count);
    }
    let holes = history.holes(timeline);
    Some(TimelineInfo {
        timeline,
        parent: document.parent,
        reason: document.reason,
        created_ms: document.created_ms,
        restorable: history.reachable(timeline),
        holes,
        end: history.end(timeline),
        complete_until_ms: history.complete_until_ms(timeline),
        segments,
        plain_bytes,
        records,
    })
}

fn epoch_infos(history: &History) -> Vec<EpochInfo> {
    let documents = history.contents().epochs.iter();
    let infos = documents.map(|(epoch, documents)| {
        let claim = documents.claim.present();
        let outcome = documents.start.present().map(|start| start.outcome);
        let (begins, closes) = match outcome {
            Some(EpochOutcome::Begins { begins, closes }) => (Some(begins), closes),
            Some(EpochOutcome::Abandoned { .. }) | None => (None, None),
        };
        let head = documents.head.present();
        EpochInfo {
            epoch: *epoch,
            node: claim.map(|claim| claim.node),
            holder: claim.map(|claim| claim.holder.to_string()),
            claimed_ms: claim.map(|claim| claim.time_ms),
            begins,
            closes,
            archived: head.map(|head| head.archived),
            state: head.map(|head| head.holder),
        }
    });
    infos.collect()
}

fn gap(history: &History) -> Option<Gap> {
    let (epoch, begins) = history.epochs().newest()?;
    let head = history.contents().epochs.get(&epoch)?.head.present()?;
    let newest = history.reachable(begins.timeline).last().map(|range| range.last);
    let reached = newest.map_or(Lsn::ZERO, |newest| newest.lsn);
    Some(Gap {
        newest,
        head: head.archived,
        complete_until_ms: head.complete_until_ms,
        records_missing: history.end(begins.timeline).records_since(reached),
        beat_time_ms: head.beat_time_ms,
    })
}

impl fmt::Display for ArchiveInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "cluster   {}", self.cluster.cluster)?;
        writeln!(
            f,
            "objects   {} ({} bytes), of these {} snapshot files ({} bytes)",
            self.objects.objects, self.objects.bytes, self.files.objects, self.files.bytes
        )?;
        for timeline in &self.timelines {
            timeline.show(f)?;
        }
        for snapshot in &self.snapshots {
            writeln!(
                f,
                "snapshot  {} timeline {} LSN {}, {}, {} files, {} bytes",
                snapshot.id,
                snapshot.timeline,
                snapshot.lsn,
                UnixMs(snapshot.time_ms),
                snapshot.file_count,
                snapshot.total_bytes
            )?;
        }
        for point in &self.points {
            let lost = if point.restorable { "" } else { ", CANNOT BE RESTORED" };
            let (name, timeline, lsn) = (&point.name, point.timeline, point.lsn);
            writeln!(f, "point     {name} timeline {timeline} LSN {lsn}, {}{lost}", UnixMs(point.time_ms))?;
        }
        if let Some(gap) = &self.gap {
            writeln!(f, "head      LSN {}, {}", gap.head.lsn, UnixMs(gap.head.time_ms))?;
            writeln!(f, "complete  until {}", UnixMs(gap.complete_until_ms))?;
            if gap.newest.is_none() {
                writeln!(
                    f,
                    "NO STATE  {} records are archived, without LSN 1 and without a snapshot to replay them on",
                    gap.records_missing
                )?;
            } else if gap.records_missing > 0 {
                writeln!(f, "LOST      the last {} records that were archived", gap.records_missing)?;
            }
        }
        for fault in &self.faults {
            writeln!(f, "FAULT     {fault}; {}", fault.hint)?;
        }
        for notice in &self.notices {
            writeln!(f, "notice    {notice}")?;
        }
        Ok(())
    }
}

impl TimelineInfo {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (segments, records) = (self.segments, self.records);
        write!(f, "timeline  {}", self.timeline)?;
        if let Some(parent) = self.parent {
            write!(f, " from timeline {} at LSN {}", parent.timeline, parent.lsn)?;
        }
        writeln!(f, ": {} segments, {records} records, {} bytes", segments.objects, segments.bytes)?;
        for range in &self.restorable {
            let time = |moment: Moment| moment.time_ms.map_or_else(|| "?".to_owned(), |ms| UnixMs(ms).to_string());
            writeln!(f, "  restorable  LSN {} to {}", range.first.lsn, range.last.lsn)?;
            writeln!(f, "              {} to {}", time(range.first), time(range.last))?;
        }
        for hole in &self.holes {
            writeln!(f, "  MISSING     LSN {} to {}", hole.first_lsn, hole.last_lsn)?;
        }
        match self.complete_until_ms {
            Some(until) => writeln!(f, "  complete    until {}", UnixMs(until)),
            None => writeln!(f, "  complete    until an unknown time"),
        }
    }
}
