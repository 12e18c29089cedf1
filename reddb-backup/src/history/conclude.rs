//! From [`Contents`] to [`History`]: what counts, and what is wrong. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;

use reddb_file::archive::{ArchiveKey, EpochOutcome, SegmentName};
use reddb_file::{Chain, Epoch, Lsn, TimelineId};

use super::contents::{Contents, SegmentObjects, Slot, SnapshotKey};
use super::epochs::Epochs;
use super::fault::{Fault, FaultKind, LsnRange};
use super::line::{Line, SpanSource};
use super::tree::Tree;
use super::witness::{self, Reach};
use super::{History, Segments, Snapshots};

/// A segment that cannot be used, and the fault to report unless other segments hold its records.
struct Lost {
    name: SegmentName,
    has_sidecar: bool,
    fault: Fault,
}

impl History {
    /// Concludes what counts and what is wrong.
    #[must_use]
    pub fn conclude(mut contents: Contents) -> Self {
        let mut faults = mem::take(&mut contents.faults);
        let mut notices = mem::take(&mut contents.notices);
        let epochs = Epochs::conclude(&contents, &mut faults);
        let tree = Tree::conclude(&contents, mentioned(&contents), &mut faults);
        let mut sorter = Sorter { epochs: &epochs, tree: &tree, faults: &mut faults, notices: &mut notices };
        let (segments, lost) = sorter.segments(mem::take(&mut contents.segments));
        let snapshots = sorter.snapshots(&contents);
        let void_points = sorter.points(&contents);
        let damaged = contents.snapshots.iter().filter(|(_, slot)| slot.is_damaged()).map(|(key, _)| *key).collect();
        let witnesses = witness::collect(&contents, &epochs, &tree, &snapshots);
        let mut history = Self {
            contents,
            epochs,
            tree,
            segments,
            snapshots,
            damaged_snapshots: damaged,
            void_points,
            ends: BTreeMap::new(),
            witnesses,
            lines: BTreeMap::new(),
            faults,
            notices,
        };
        history.build_lines();
        history.find_ends();
        history.judge_lost(lost);
        history.check_heads();
        history.check_closings();
        history.check_witnesses();
        history.check_coverage();
        // A line holds its ancestors' part too, so that one conflict may have been met more than once.
        let mut seen = BTreeSet::new();
        history.faults.retain(|fault| seen.insert((fault.kind, fault.key.clone(), fault.detail.clone())));
        history
    }

    /// The same history without these segments and snapshots: what is left when they turn out to be damaged.
    #[must_use]
    pub fn without(&self, segments: &BTreeSet<SegmentName>, snapshots: &BTreeSet<SnapshotKey>) -> Self {
        let mut rest = self.clone();
        for list in rest.segments.values_mut() {
            list.retain(|segment| !segments.contains(&segment.name()));
        }
        for list in rest.snapshots.values_mut() {
            list.retain(|snapshot| {
                !snapshots.contains(&SnapshotKey { timeline: snapshot.timeline, lsn: snapshot.lsn, id: snapshot.id })
            });
        }
        rest.build_lines();
        rest
    }

    fn build_lines(&mut self) {
        let mut lines = BTreeMap::new();
        for timeline in self.tree.usable() {
            let path = self.tree.path(timeline);
            let sources: Vec<_> = path
                .iter()
                .map(|span| SpanSource {
                    span: *span,
                    segments: self.segments(span.timeline),
                    chain_at_start: self.chain_at_start(span.timeline),
                })
                .collect();
            lines.insert(timeline, Line::build(&sources));
        }
        self.faults.extend(lines.values().flat_map(|line| line.conflicts.iter().cloned()));
        self.lines = lines;
    }

    fn find_ends(&mut self) {
        let mut ends = BTreeMap::new();
        for timeline in self.tree.usable() {
            let fork = self.tree.start(timeline).map_or(Lsn::ZERO, |start| start.lsn);
            let reached = self.witnesses_of(timeline).iter().filter(|witness| witness.reach == Reach::Reached);
            let segments = self.segments(timeline).iter().map(|segment| segment.last_lsn).max();
            let end = reached.map(|witness| witness.lsn).chain(segments).fold(fork, Lsn::max);
            ends.insert(timeline, end);
        }
        self.ends = ends;
    }

    /// A segment that cannot be used is a fault where its records are in no other, and may be an unfinished upload where
    /// nothing proves that it was ever finished.
    fn judge_lost(&mut self, lost: Vec<Lost>) {
        for Lost { name, has_sidecar, fault } in lost {
            let covered = self.covers(name.timeline, name.first_lsn, name.last_lsn);
            let beyond = name.last_lsn > self.end(name.timeline);
            if covered {
                self.notices
                    .push(Fault { detail: format!("{}; other segments hold its records", fault.detail), ..fault });
            } else if beyond && !has_sidecar {
                let detail = "its sidecar is not there yet, and nothing says that it was";
                let key = ArchiveKey::Segment(name);
                self.notices.push(Fault::new(FaultKind::Unfinished, key, detail).affecting(range_of(&name)));
            } else {
                self.faults.push(fault);
            }
            if has_sidecar {
                let end = self.ends.entry(name.timeline).or_insert(name.last_lsn);
                *end = name.last_lsn.max(*end);
            }
        }
    }

    /// Whether segments that count hold all these records of `timeline`.
    fn covers(&self, timeline: TimelineId, first_lsn: Lsn, last_lsn: Lsn) -> bool {
        let run = self.lines.get(&timeline).and_then(|line| line.run_at(first_lsn));
        run.is_some_and(|run| run.last_lsn >= last_lsn)
    }

    /// An epoch that shipped has a head; the newest head's newest snapshot is there.
    fn check_heads(&mut self) {
        let mut shipped: BTreeSet<Epoch> = self.segments.values().flatten().map(|segment| segment.epoch).collect();
        shipped.extend(self.snapshots.values().flatten().map(|snapshot| snapshot.epoch));
        let mut newest_head = None;
        for (epoch, documents) in &self.contents.epochs {
            match &documents.head {
                Slot::Present(head) => newest_head = Some((*epoch, head)),
                Slot::Absent if shipped.contains(epoch) => {
                    let detail = "the epoch shipped, and its head is not there: a lost tail could not be seen";
                    self.faults.push(Fault::new(FaultKind::ObjectMissing, ArchiveKey::EpochHead(*epoch), detail));
                }
                Slot::Absent if self.epochs.has_begun(*epoch) => {
                    let detail = "the epoch began, and nothing of it is here: its writer stopped at once";
                    self.notices.push(Fault::new(FaultKind::Unfinished, ArchiveKey::EpochHead(*epoch), detail));
                }
                Slot::Absent | Slot::Damaged => {}
            }
        }
        let Some((epoch, snapshot)) = newest_head.and_then(|(epoch, head)| Some((epoch, head.newest_snapshot?))) else {
            return;
        };
        let key = SnapshotKey { timeline: snapshot.timeline, lsn: snapshot.lsn, id: snapshot.id };
        if !self.contents.snapshots.contains_key(&key) {
            let detail = format!("{} says that it was published", ArchiveKey::EpochHead(epoch));
            let range = LsnRange::new(snapshot.timeline, snapshot.lsn, self.end(snapshot.timeline).max(snapshot.lsn));
            self.faults.push(Fault::new(FaultKind::ObjectMissing, snapshot.key(), detail).affecting(range));
        }
    }

    /// Nobody closes a timeline below where an older epoch had closed it, and what a head says beyond a closing is void.
    fn check_closings(&mut self) {
        for timeline in self.epochs.closed_timelines().collect::<Vec<_>>() {
            let closings = self.epochs.closings(timeline);
            for pair in closings.windows(2).filter(|pair| pair[1].lsn < pair[0].lsn) {
                let (older, newer) = (pair[0], pair[1]);
                let detail = format!(
                    "it closed timeline {timeline} at LSN {}, where {} had closed it at LSN {}: the archive had lost its tail",
                    newer.lsn,
                    ArchiveKey::EpochStart(older.epoch),
                    older.lsn
                );
                let range = LsnRange::new(timeline, newer.lsn.next().unwrap_or(newer.lsn), older.lsn);
                let fault = Fault::new(FaultKind::TailLost, ArchiveKey::EpochStart(newer.epoch), detail);
                self.faults.push(fault.affecting(range));
            }
        }
        for (epoch, documents) in &self.contents.epochs {
            let Some(head) = documents.head.present() else { continue };
            let key = ArchiveKey::EpochHead(*epoch);
            if let Some(closing) = self.epochs.voided_by(head.timeline, *epoch, head.archived.lsn) {
                let detail = format!(
                    "it says LSN {}, but epoch {} closed the timeline at LSN {}: what lies beyond is void",
                    head.archived.lsn, closing.epoch, closing.lsn
                );
                let first = closing.lsn.next().unwrap_or(closing.lsn);
                let range = LsnRange::new(head.timeline, first, head.archived.lsn);
                self.notices.push(Fault::new(FaultKind::Void, key, detail).affecting(range));
            } else if !self.epochs.has_begun_on(*epoch, head.timeline) {
                let detail = format!("the epoch has not begun on timeline {}, which it names", head.timeline);
                self.faults.push(Fault::new(FaultKind::EpochNotBegun, key, detail));
            }
        }
    }

    /// Witnesses agree with each other, and with the sidecars where those say the chain.
    fn check_witnesses(&mut self) {
        let mut found = Vec::new();
        for pair in self.witnesses.windows(2) {
            let (left, right) = (&pair[0], &pair[1]);
            if (left.timeline, left.lsn) == (right.timeline, right.lsn) && left.chain != right.chain {
                let detail = format!("its chain is {}, that of {} is {}", right.chain, left.key, left.chain);
                let range = LsnRange::new(right.timeline, right.lsn, right.lsn);
                found.push(Fault::new(FaultKind::ChainMismatch, &right.key, detail).affecting(range));
            }
        }
        for witness in &self.witnesses {
            let chain = if witness.lsn == Lsn::ZERO {
                Some(Chain::genesis(self.cluster()))
            } else {
                self.line(witness.timeline).and_then(|line| line.chain_at(witness.lsn))
            };
            if let Some(chain) = chain.filter(|chain| *chain != witness.chain) {
                let detail = format!("its chain is {}, the log's there is {chain}", witness.chain);
                let range = LsnRange::new(witness.timeline, witness.lsn, witness.lsn);
                found.push(Fault::new(FaultKind::ChainMismatch, &witness.key, detail).affecting(range));
            }
        }
        self.faults.extend(found);
    }

    /// Between the first base and the end that is proved, no record is missing.
    fn check_coverage(&mut self) {
        let named = self.named_by_faults();
        for timeline in self.tree.usable().collect::<Vec<_>>() {
            let named = named.get(&timeline).map_or(&[][..], Vec::as_slice);
            let end = self.end(timeline);
            let base = self.base_lsn(timeline);
            let needed = base.unwrap_or(end);
            for (first_lsn, last_lsn) in self.missing(timeline, needed, end) {
                let range = LsnRange::new(timeline, first_lsn, last_lsn);
                let at = named.partition_point(|(_, last)| *last < first_lsn);
                if named.get(at).is_some_and(|(first, last)| *first <= first_lsn && last_lsn <= *last) {
                    continue;
                }
                let key = reddb_file::archive::layout::wal_prefix(timeline);
                let fault = if last_lsn == end {
                    let witness = self.reach_witness(timeline, end);
                    Fault::new(FaultKind::TailLost, key, format!("{witness} proves that the archive reached LSN {end}"))
                } else {
                    Fault::new(FaultKind::Hole, key, "no segment holds these records, and later ones are there")
                };
                self.faults.push(fault.affecting(range));
            }
            let first = self.segments(timeline).first().map(|segment| segment.first_lsn);
            if let Some(first_lsn) = first.filter(|first| first.prev().is_some_and(|before| before < needed)) {
                let detail = "no snapshot lies before these records, nor does the log go back to LSN 1 from them, so no \
                              restore can reach them";
                let key = reddb_file::archive::layout::snapshots_prefix(timeline);
                let last_lsn = base.and_then(Lsn::prev).unwrap_or(end);
                if first_lsn <= last_lsn {
                    let range = LsnRange::new(timeline, first_lsn, last_lsn);
                    self.notices.push(Fault::new(FaultKind::NoSnapshotBefore, key, detail).affecting(range));
                }
            }
        }
    }

    /// After which record none of `timeline`'s own may be missing: its fork, where a base lies at or before it, else its first
    /// snapshot.
    fn base_lsn(&self, timeline: TimelineId) -> Option<Lsn> {
        let fork = self.tree.start(timeline).map_or(Lsn::ZERO, |start| start.lsn);
        let path = self.tree.path(timeline);
        // An archive whose log began at LSN 1 is to hold it from there on, also where its first segments are lost.
        let begun_at_genesis = self.epochs.begun().any(|(_, begins)| begins.lsn == Lsn::ZERO);
        let root_at_genesis = path.first().is_some_and(|root| root.after == Lsn::ZERO);
        if root_at_genesis && (begun_at_genesis || self.begins_with_the_cluster(timeline)) {
            return Some(fork);
        }
        let on_path = path
            .iter()
            .flat_map(|span| self.snapshots(span.timeline).iter().filter(|snapshot| span.holds_state(snapshot.lsn)));
        on_path.map(|snapshot| snapshot.lsn.max(fork)).min()
    }

    /// The records of `timeline`'s own that a restore would need and no segment holds: between its first base and its proved
    /// end.
    #[must_use]
    pub fn holes(&self, timeline: TimelineId) -> Vec<LsnRange> {
        let end = self.end(timeline);
        let missing = self.missing(timeline, self.base_lsn(timeline).unwrap_or(end), end);
        missing.into_iter().map(|(first, last)| LsnRange::new(timeline, first, last)).collect()
    }

    /// The records after `after`, up to and including `end`, that no run of `timeline`'s line holds.
    pub(crate) fn missing(&self, timeline: TimelineId, after: Lsn, end: Lsn) -> Vec<(Lsn, Lsn)> {
        let mut missing = Vec::new();
        let mut at = after;
        for run in self.line(timeline).map_or(&[][..], |line| &line.runs) {
            if run.last_lsn <= at {
                continue;
            }
            if run.first_lsn > end {
                break;
            }
            if let (Some(first), Some(last)) = (at.next(), run.first_lsn.prev())
                && first <= last
            {
                missing.push((first, last));
            }
            at = run.last_lsn;
        }
        if let Some(first) = at.next().filter(|first| *first <= end) {
            missing.push((first, end));
        }
        missing
    }

    /// The records that faults of single segments already name, as merged ranges by timeline.
    fn named_by_faults(&self) -> BTreeMap<TimelineId, Vec<(Lsn, Lsn)>> {
        let of_segments = self.faults.iter().filter(|fault| {
            fault.kind != FaultKind::ChainMismatch && fault.key.starts_with(reddb_file::archive::layout::WAL_PREFIX)
        });
        let mut ranges: Vec<_> = of_segments.filter_map(|fault| fault.affects).collect();
        ranges.sort_unstable();
        let mut named: BTreeMap<_, Vec<(Lsn, Lsn)>> = BTreeMap::new();
        for range in ranges {
            let merged = named.entry(range.timeline).or_default();
            match merged.last_mut() {
                Some((_, last)) if last.next().is_none_or(|next| range.first_lsn <= next) => {
                    *last = range.last_lsn.max(*last);
                }
                _ => merged.push((range.first_lsn, range.last_lsn)),
            }
        }
        named
    }

    fn reach_witness(&self, timeline: TimelineId, end: Lsn) -> String {
        let of = self.witnesses_of(timeline).iter();
        let mut reached = of.filter(|witness| witness.reach == Reach::Reached && witness.lsn == end);
        reached.next().map_or_else(|| "a sidecar".into(), |witness| witness.key.clone())
    }
}

/// The timelines that anything in the archive names.
fn mentioned(contents: &Contents) -> BTreeSet<TimelineId> {
    let mut mentioned: BTreeSet<_> = contents.segments.keys().map(|name| name.timeline).collect();
    mentioned.extend(contents.snapshots.keys().map(|key| key.timeline));
    mentioned.extend(contents.points.values().filter_map(Slot::present).map(|point| point.timeline));
    for documents in contents.epochs.values() {
        mentioned.extend(documents.head.present().map(|head| head.timeline));
        if let Some(EpochOutcome::Begins { closes, begins }) = documents.start.present().map(|start| start.outcome) {
            mentioned.insert(begins.timeline);
            mentioned.extend(closes.map(|closes| closes.timeline));
        }
    }
    mentioned
}

fn range_of(name: &SegmentName) -> LsnRange {
    LsnRange::new(name.timeline, name.first_lsn, name.last_lsn)
}

/// Sorts what counts from what does not.
struct Sorter<'a> {
    epochs: &'a Epochs,
    tree: &'a Tree,
    faults: &'a mut Vec<Fault>,
    notices: &'a mut Vec<Fault>,
}

impl Sorter<'_> {
    /// Whether something that `epoch` put on `timeline` at `lsn` counts; if not, why goes to the faults or notices.
    fn counts(&mut self, timeline: TimelineId, epoch: Epoch, lsn: Lsn, key: &ArchiveKey, range: LsnRange) -> bool {
        if let Some(closing) = self.epochs.voided_by(timeline, epoch, lsn) {
            let detail = format!("epoch {} closed the timeline at LSN {}", closing.epoch, closing.lsn);
            self.notices.push(Fault::new(FaultKind::Void, key, detail).affecting(range));
            return false;
        }
        if !self.epochs.has_begun_on(epoch, timeline) {
            let detail = format!("epoch {epoch} has not begun on timeline {timeline}");
            self.faults.push(Fault::new(FaultKind::EpochNotBegun, key, detail).affecting(range));
            return false;
        }
        true
    }

    fn segments(&mut self, all: BTreeMap<SegmentName, SegmentObjects>) -> (Segments, Vec<Lost>) {
        let mut counting = Segments::new();
        let mut lost = Vec::new();
        for (name, objects) in all {
            let range = range_of(&name);
            let key = ArchiveKey::Segment(name);
            if !self.counts(name.timeline, name.epoch, name.last_lsn, &key, range) {
                continue;
            }
            if self.tree.start(name.timeline).is_some_and(|start| name.first_lsn <= start.lsn) {
                let detail = "it begins before its timeline forked off";
                self.faults.push(Fault::new(FaultKind::TimelineBroken, &key, detail).affecting(range));
                continue;
            }
            match (objects.stored_bytes, objects.sidecar) {
                (Some(bytes), Slot::Present(sidecar)) if bytes == sidecar.stored_bytes => {
                    counting.entry(name.timeline).or_default().push(Arc::new(sidecar));
                }
                (Some(bytes), Slot::Present(sidecar)) => {
                    let detail = format!("it has {bytes} bytes, its sidecar says {}", sidecar.stored_bytes);
                    let fault = Fault::new(FaultKind::ContentDamaged, &key, detail).affecting(range);
                    lost.push(Lost { name, has_sidecar: true, fault });
                }
                (None, Slot::Absent) => {}
                (None, _) => {
                    let detail = "its sidecar is there, the segment is not";
                    let fault = Fault::new(FaultKind::SegmentMissing, &key, detail).affecting(range);
                    lost.push(Lost { name, has_sidecar: true, fault });
                }
                (Some(_), Slot::Damaged) => {
                    let detail = "the segment is there, its sidecar cannot be believed";
                    let sidecar = ArchiveKey::SegmentSidecar(name);
                    let fault = Fault::new(FaultKind::DocumentDamaged, sidecar, detail).affecting(range);
                    lost.push(Lost { name, has_sidecar: true, fault });
                }
                (Some(_), Slot::Absent) => {
                    let detail = "the segment is there, its sidecar is not: it cannot be verified";
                    let sidecar = ArchiveKey::SegmentSidecar(name);
                    let fault = Fault::new(FaultKind::SidecarMissing, sidecar, detail).affecting(range);
                    lost.push(Lost { name, has_sidecar: false, fault });
                }
            }
        }
        (counting, lost)
    }

    fn snapshots(&mut self, contents: &Contents) -> Snapshots {
        let mut counting = Snapshots::new();
        for (key, slot) in &contents.snapshots {
            let Some(snapshot) = slot.present() else { continue };
            let range = LsnRange::new(key.timeline, key.lsn, key.lsn);
            let object = key.reference().key();
            if !self.counts(key.timeline, snapshot.epoch, key.lsn, &object, range) {
                continue;
            }
            if self.tree.start(key.timeline).is_some_and(|start| key.lsn < start.lsn) {
                let detail = "it lies before its timeline forked off";
                self.faults.push(Fault::new(FaultKind::TimelineBroken, object, detail).affecting(range));
                continue;
            }
            counting.entry(key.timeline).or_default().push(snapshot.clone());
        }
        for snapshots in counting.values_mut() {
            snapshots.sort_by_key(|snapshot| (snapshot.lsn, snapshot.created_ms, snapshot.id));
        }
        counting
    }

    fn points(&mut self, contents: &Contents) -> BTreeSet<reddb_file::archive::PointName> {
        let mut void = BTreeSet::new();
        for point in contents.points.values().filter_map(Slot::present) {
            let range = LsnRange::new(point.timeline, point.lsn, point.lsn);
            let key = ArchiveKey::Point(point.name.clone());
            if !self.counts(point.timeline, point.epoch, point.lsn, &key, range) {
                void.insert(point.name.clone());
            }
        }
        void
    }
}
