//! Where a target is: on which timeline, from which base, up to which record.

use std::collections::BTreeSet;

use reddb_file::archive::{PointName, RestorePoint, SnapshotRef};
use reddb_file::{Lsn, TimelineId};
use uuid::Uuid;

use super::error::{Nearest, PlanError};
use super::target::{Request, Target, UnixMs};
use super::{Plan, Stop};
use crate::history::{Base, History, Moment, Slot, Snapshot};

/// How many similar names an unknown label brings.
const CLOSE_NAMES_MAX: usize = 5;

pub(super) fn locate(history: &History, request: &Request) -> Result<Plan, PlanError> {
    if let Some(fault) = history.epochs().undecided.first() {
        return Err(PlanError::Undecided { fault: fault.clone() });
    }
    let locator = Locator { history, request };
    if let Some(timeline) = request.timeline {
        locator.check_usable(timeline)?;
    }
    match &request.target {
        Target::Latest => {
            let timeline = locator.latest_timeline()?;
            locator.to_lsn(timeline, history.end(timeline))
        }
        Target::Lsn(lsn) => locator.to_lsn(locator.timeline_of_lsn(*lsn)?, *lsn),
        Target::Time(time) => locator.to_time(locator.timeline_of_time(*time)?, *time),
        Target::Label(name) => {
            let point = locator.label(name)?;
            let timeline = request.timeline.unwrap_or(point.timeline);
            locator.check_usable(timeline)?;
            locator.to_lsn(timeline, point.lsn)
        }
    }
}

struct Locator<'a> {
    history: &'a History,
    request: &'a Request,
}

impl Locator<'_> {
    fn target(&self) -> Target {
        self.request.target.clone()
    }

    fn check_usable(&self, timeline: TimelineId) -> Result<(), PlanError> {
        let tree = self.history.tree();
        if let Some(fault) = tree.broken().get(&timeline) {
            return Err(PlanError::BrokenTimeline { fault: fault.clone() });
        }
        if tree.document(timeline).is_none() {
            return Err(PlanError::UnknownTimeline { timeline, known: tree.usable().collect() });
        }
        Ok(())
    }

    /// Without a named timeline, one that cannot be read may hold the target too.
    fn check_none_broken(&self) -> Result<(), PlanError> {
        match self.history.tree().broken().values().next() {
            Some(fault) => Err(PlanError::BrokenTimeline { fault: fault.clone() }),
            None => Ok(()),
        }
    }

    fn latest_timeline(&self) -> Result<TimelineId, PlanError> {
        let newest = self.request.timeline.or_else(|| self.history.newest_timeline());
        let timeline = newest.ok_or(PlanError::NoBase { timeline: TimelineId::FIRST })?;
        self.check_usable(timeline)?;
        Ok(timeline)
    }

    /// The timeline that owns the record, where only one does.
    fn timeline_of_lsn(&self, lsn: Lsn) -> Result<TimelineId, PlanError> {
        if let Some(timeline) = self.request.timeline {
            return Ok(timeline);
        }
        self.check_none_broken()?;
        let (history, tree) = (self.history, self.history.tree());
        let holding = tree.usable().filter(|timeline| lsn <= history.end(*timeline));
        let owners: BTreeSet<_> = holding.map(|timeline| tree.owner(timeline, lsn)).collect();
        match owners.len() {
            0 => Err(PlanError::PastEnd { target: self.target(), nearest: self.nearest_anywhere(lsn) }),
            1 => Ok(owners.into_iter().next().unwrap_or(TimelineId::FIRST)),
            _ => Err(self.ambiguous(owners)),
        }
    }

    /// The timeline that existed at that time and is complete until then, where only one did.
    fn timeline_of_time(&self, time: UnixMs) -> Result<TimelineId, PlanError> {
        if let Some(timeline) = self.request.timeline {
            return Ok(timeline);
        }
        self.check_none_broken()?;
        let usable: Vec<_> = self.history.tree().usable().collect();
        let existed = usable.iter().copied().filter(|timeline| {
            self.born_ms(*timeline).is_some_and(|born| born <= time.0)
                && self.history.complete_until_ms(*timeline).is_some_and(|until| time.0 <= until)
        });
        let existed: BTreeSet<_> = existed.collect();
        match existed.len() {
            0 => {
                let target = self.target();
                let nearest = self.nearest_time(&usable, time);
                let complete_until =
                    usable.iter().filter_map(|timeline| self.history.complete_until_ms(*timeline)).max().map(UnixMs);
                Err(if complete_until.is_some_and(|until| time <= until) {
                    PlanError::BetweenTimelines { target, nearest }
                } else {
                    PlanError::BeyondComplete { target, complete_until, nearest }
                })
            }
            1 => Ok(existed.into_iter().next().unwrap_or(TimelineId::FIRST)),
            _ => Err(self.ambiguous(existed)),
        }
    }

    /// The time of a timeline's first own record; the first timeline has always existed.
    fn born_ms(&self, timeline: TimelineId) -> Option<u64> {
        let Some(fork) = self.history.tree().fork(timeline) else { return Some(0) };
        let first = self.history.segments(timeline).iter().find(|segment| Some(segment.first_lsn) == fork.lsn.next());
        let born = first.map(|segment| segment.first_time_ms);
        // Its first segment may be lost: then its document says when it was made, by the wall clock.
        let has_own = self.history.end(timeline) > fork.lsn;
        born.or_else(|| {
            has_own.then(|| self.history.tree().document(timeline).map(|document| document.created_ms)).flatten()
        })
    }

    fn ambiguous(&self, timelines: BTreeSet<TimelineId>) -> PlanError {
        PlanError::AmbiguousTimeline { target: self.target(), timelines: timelines.into_iter().collect() }
    }

    fn label(&self, name: &PointName) -> Result<&RestorePoint, PlanError> {
        let history = self.history;
        match history.contents().points.get(name) {
            None | Some(Slot::Absent) => {
                Err(PlanError::UnknownLabel { name: name.clone(), close: close_names(history, name) })
            }
            Some(Slot::Damaged) => Err(PlanError::DamagedLabel { name: name.clone() }),
            Some(Slot::Present(point)) if history.is_void_point(point) => {
                Err(PlanError::VoidLabel { name: name.clone(), timeline: point.timeline, lsn: point.lsn })
            }
            Some(Slot::Present(point)) => {
                let (named, tree) = (self.request.timeline.unwrap_or(point.timeline), history.tree());
                if tree.owner(named, point.lsn) != tree.owner(point.timeline, point.lsn) {
                    let (timeline, lsn) = (point.timeline, point.lsn);
                    return Err(PlanError::LabelElsewhere { name: name.clone(), timeline, lsn, named });
                }
                Ok(point)
            }
        }
    }

    fn to_lsn(&self, timeline: TimelineId, lsn: Lsn) -> Result<Plan, PlanError> {
        let history = self.history;
        if lsn > history.end(timeline) {
            return Err(PlanError::PastEnd { target: self.target(), nearest: self.nearest(timeline, lsn) });
        }
        let before = self.candidates(timeline, |first| first.lsn <= lsn);
        let base = self.choose(timeline, &before, lsn, || self.nearest(timeline, lsn))?;
        let reach = history.reach_of(timeline, base.lsn());
        if lsn > reach {
            return Err(self.hole(timeline, reach, lsn, self.nearest(timeline, lsn)));
        }
        Ok(Plan::assemble(history, self.request, timeline, base, Stop::AtLsn(lsn)))
    }

    fn to_time(&self, timeline: TimelineId, time: UnixMs) -> Result<Plan, PlanError> {
        let history = self.history;
        let nearest = || self.nearest_time(&[timeline], time);
        let before = self.candidates(timeline, |first| first.time_ms.is_some_and(|first_ms| first_ms <= time.0));
        let newest = before.last().map_or(Lsn::ZERO, Base::lsn);
        let (at_most, proof) = self.last_at(timeline, newest, time);
        let base = self.choose(timeline, &before, at_most, nearest)?;
        match proof {
            Proof::Known => {}
            Proof::Incomplete => {
                return Err(PlanError::BeyondComplete {
                    target: self.target(),
                    complete_until: history.complete_until_ms(timeline).map(UnixMs),
                    nearest: nearest(),
                });
            }
            Proof::Missing => {
                let end = history.end(timeline);
                return Err(self.hole(timeline, at_most, end, nearest()));
            }
        }
        let reach = history.reach_of(timeline, base.lsn());
        if reach < at_most {
            return Err(self.hole(timeline, reach, at_most, nearest()));
        }
        Ok(Plan::assemble(history, self.request, timeline, base, Stop::AfterTime { time, at_most }))
    }

    /// Going on from a state at `from`, whose time is not after `time`: the last record that the time can mean, and
    /// whether it is known that no later one has such a time.
    fn last_at(&self, timeline: TimelineId, from: Lsn, time: UnixMs) -> (Lsn, Proof) {
        let history = self.history;
        let complete = || match history.complete_until_ms(timeline) {
            Some(until) if time.0 <= until => Proof::Known,
            _ => Proof::Incomplete,
        };
        let at_end = |lsn: Lsn| if lsn >= history.end(timeline) { complete() } else { Proof::Missing };
        let Some(run) = history.run_after(timeline, from) else { return (from, at_end(from)) };
        let mut at_most = from;
        for step in run.steps.iter().filter(|step| step.to > from) {
            if step.segment.first_time_ms > time.0 {
                return (at_most, Proof::Known);
            }
            if step.last_time_ms().is_some_and(|last| last > time.0) {
                // Its last record is too late, whichever of the others is meant.
                return (step.to.prev().unwrap_or(step.to), Proof::Known);
            }
            at_most = step.to;
        }
        (at_most, at_end(at_most))
    }

    /// The bases of the timeline whose first state fits, in LSN order; only the named one where one is named.
    fn candidates(&self, timeline: TimelineId, fits: impl Fn(Moment) -> bool) -> Vec<Base<&Snapshot>> {
        let mut bases = self.history.bases(timeline);
        bases.retain(|base| fits(self.history.first_state(timeline, *base)));
        bases.retain(|base| self.request.base.is_none_or(|named| base.name() == named));
        bases
    }

    /// The newest of `before`, unless a newer snapshot, at or before `upto`, cannot be believed.
    fn choose<'a>(
        &self,
        timeline: TimelineId,
        before: &[Base<&'a Snapshot>],
        upto: Lsn,
        nearest: impl Fn() -> Nearest,
    ) -> Result<Base<&'a Snapshot>, PlanError> {
        let chosen = before.last().copied();
        if let Some(named) = self.request.base {
            return chosen.ok_or_else(|| self.unusable(timeline, named));
        }
        let chosen_snapshot = chosen.as_ref().and_then(Base::snapshot);
        let unbelievable = self.unbelievable(timeline, upto);
        if let Some(damaged) =
            unbelievable.filter(|damaged| chosen_snapshot.is_none_or(|older| older.lsn < damaged.lsn))
        {
            let older = chosen.as_ref().map(Base::reference);
            return Err(PlanError::DamagedSnapshot { target: self.target(), damaged, older });
        }
        chosen.ok_or_else(|| {
            if self.history.bases(timeline).is_empty() {
                PlanError::NoBase { timeline }
            } else {
                PlanError::BeforeFirstState { target: self.target(), nearest: nearest() }
            }
        })
    }

    /// The newest snapshot of the path at or before `upto` that is there and cannot be believed.
    fn unbelievable(&self, timeline: TimelineId, upto: Lsn) -> Option<SnapshotRef> {
        let (history, path) = (self.history, self.history.tree().path(timeline));
        let on_path = |timeline: TimelineId, lsn: Lsn| {
            path.iter().any(|span| span.timeline == timeline && span.holds_state(lsn)) && lsn <= upto
        };
        let damaged = history.damaged_snapshots().iter().map(|key| key.reference());
        let disagreeing = history.all_snapshots().filter(|snapshot| !history.agrees(timeline, snapshot));
        damaged
            .chain(disagreeing.map(Snapshot::reference))
            .filter(|snapshot| on_path(snapshot.timeline, snapshot.lsn))
            .max_by_key(|snapshot| snapshot.lsn)
    }

    fn unusable(&self, timeline: TimelineId, base: Base<Uuid>) -> PlanError {
        let history = self.history;
        let Base::Snapshot(id) = base else {
            let reason = if history.begins_with_the_cluster(timeline) {
                format!("{} lies before the first record", self.request.target)
            } else {
                format!("the log of timeline {timeline} in the archive does not begin at LSN 1")
            };
            return PlanError::UnusableBase { base, reason };
        };
        let known = history.all_snapshots().find(|snapshot| snapshot.id == id).map(Snapshot::reference);
        let damaged = history.damaged_snapshots().iter().find(|key| key.id == id);
        let reason = match (known, damaged) {
            (Some(snapshot), _) => format!(
                "it is at LSN {} of timeline {}, which is not before {} in the history of timeline {timeline}",
                snapshot.lsn, snapshot.timeline, self.request.target
            ),
            (None, Some(_)) => "its manifest cannot be believed".into(),
            (None, None) => "no such snapshot is in the archive, or it is void".into(),
        };
        PlanError::UnusableBase { base, reason }
    }

    fn hole(&self, timeline: TimelineId, after: Lsn, upto: Lsn, nearest: Nearest) -> PlanError {
        let missing = self.history.missing(timeline, after, upto.max(after));
        let first_missing = after.next().unwrap_or(after);
        let (first_missing, last_missing) = missing.first().copied().unwrap_or((first_missing, upto));
        PlanError::Hole { target: self.target(), timeline, first_missing, last_missing, nearest }
    }

    fn nearest(&self, timeline: TimelineId, lsn: Lsn) -> Nearest {
        let ranges = self.history.reachable(timeline);
        let below = ranges.iter().rev().find(|range| range.first.lsn <= lsn).map(|range| {
            if range.last.lsn <= lsn {
                range.last
            } else {
                Moment { timeline, lsn, time_ms: self.history.time_at(timeline, lsn) }
            }
        });
        let above = ranges.iter().find(|range| range.first.lsn > lsn).map(|range| range.first);
        Nearest { below, above }
    }

    /// The nearest states of all timelines: the highest below, the lowest above.
    fn nearest_anywhere(&self, lsn: Lsn) -> Nearest {
        let all = self.history.tree().usable().map(|timeline| self.nearest(timeline, lsn));
        all.fold(Nearest::default(), |best, other| Nearest {
            below: best.below.into_iter().chain(other.below).max_by_key(|moment| moment.lsn),
            above: best.above.into_iter().chain(other.above).min_by_key(|moment| moment.lsn),
        })
    }

    /// The nearest states by time: ends of what can be reached, and beginnings.
    fn nearest_time(&self, timelines: &[TimelineId], time: UnixMs) -> Nearest {
        let ranges: Vec<_> = timelines.iter().flat_map(|timeline| self.history.reachable(*timeline)).collect();
        let edges = || ranges.iter().flat_map(|range| [range.first, range.last]);
        let timed = || edges().filter_map(|moment| moment.time_ms.map(|time_ms| (time_ms, moment)));
        let below = timed().filter(|(time_ms, _)| *time_ms <= time.0).max_by_key(|(time_ms, at)| (*time_ms, at.lsn));
        let above = timed().filter(|(time_ms, _)| *time_ms > time.0).min_by_key(|(time_ms, at)| (*time_ms, at.lsn));
        Nearest { below: below.map(|(_, moment)| moment), above: above.map(|(_, moment)| moment) }
    }
}

/// Whether the record that a time means is known to be the last one.
enum Proof {
    /// A later record has a later time, or the timeline is complete.
    Known,
    /// The archive ends before it is complete until then.
    Incomplete,
    /// Records are missing there.
    Missing,
}

/// Names that differ in case or punctuation, contain the name or are contained in it, or begin alike.
fn close_names(history: &History, name: &PointName) -> Vec<PointName> {
    let plain = |name: &PointName| {
        let letters = name.as_str().chars().filter(char::is_ascii_alphanumeric);
        letters.map(|letter| letter.to_ascii_lowercase()).collect::<String>()
    };
    let wanted = plain(name);
    let mut scored: Vec<_> = history
        .points()
        .map(|point| {
            let have = plain(&point.name);
            let alike = have.chars().zip(wanted.chars()).take_while(|(left, right)| left == right).count();
            let contains = !have.is_empty() && !wanted.is_empty() && (have.contains(&wanted) || wanted.contains(&have));
            let likeness = if have == wanted { usize::MAX } else { alike + if contains { 100 } else { 0 } };
            (likeness, point.name.clone())
        })
        .filter(|(likeness, _)| *likeness >= 3)
        .collect();
    scored.sort_by(|left, right| right.0.cmp(&left.0).then_with(|| left.1.cmp(&right.1)));
    scored.into_iter().take(CLOSE_NAMES_MAX).map(|(_, name)| name).collect()
}
