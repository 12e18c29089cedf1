//! What can be restored: from each base of a timeline, a snapshot on its path or genesis, the run of records after it.
//!
//! And until when a timeline is *complete*: no record that its history does not hold has that time or an earlier one.
//! A target time is only answered up to there. The rule:
//! * Log time never goes back. So what follows the last record has its time or a later one: up to one millisecond before
//!   the last record's time, a timeline is always complete.
//! * The head of the newest epoch that began on the timeline may promise more (`complete_until`), unless what it says is
//!   void. Whether the archive still holds what that head speaks of is another question, answered for each target.
//! * That a timeline was closed promises nothing: its last writer may have acknowledged records that never arrived. They
//!   are void, but nobody can prove the state of the moment they were written in. Such a moment is restored by naming the
//!   LSN, or on the timeline that went on.

use reddb_file::{Chain, Lsn, TimelineId};
use serde::Serialize;

use super::{Base, History, Run, Snapshot};

/// A state that can be named: an LSN and, where it is known without reading records, its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Moment {
    /// The timeline whose history it is in.
    pub timeline: TimelineId,
    /// The last record.
    pub lsn: Lsn,
    /// That record's time in Unix milliseconds, where a document says it.
    pub time_ms: Option<u64>,
}

/// Consecutive states that can be restored, all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Reachable {
    /// The first: a snapshot's, or LSN 1.
    pub first: Moment,
    /// The last.
    pub last: Moment,
}

impl History {
    /// The snapshots that a restore on `timeline` may start from, in LSN order: those on its path, at or before the forks,
    /// whose chain is the log's where sidecars can tell.
    #[must_use]
    pub(crate) fn usable_snapshots(&self, timeline: TimelineId) -> Vec<&Snapshot> {
        let path = self.tree().path(timeline);
        let on_path = path
            .iter()
            .flat_map(|span| self.snapshots(span.timeline).iter().filter(|snapshot| span.holds_state(snapshot.lsn)));
        let mut usable: Vec<_> = on_path.filter(|snapshot| self.agrees(timeline, snapshot)).collect();
        usable.sort_by_key(|snapshot| (snapshot.lsn, snapshot.created_ms, snapshot.id));
        usable
    }

    /// What a restore on `timeline` may start from, in LSN order: genesis where the log begins at LSN 1, and the usable
    /// snapshots.
    #[must_use]
    pub fn bases(&self, timeline: TimelineId) -> Vec<Base<&Snapshot>> {
        let genesis = self.begins_with_the_cluster(timeline).then_some(Base::Genesis);
        genesis.into_iter().chain(self.usable_snapshots(timeline).into_iter().map(Base::Snapshot)).collect()
    }

    /// What may take the place of a base at `lsn`, with more of the log, in LSN order.
    #[must_use]
    pub fn bases_before(&self, timeline: TimelineId, lsn: Lsn) -> Vec<Base<&Snapshot>> {
        let mut bases = self.bases(timeline);
        bases.retain(|base| base.lsn() < lsn && self.reach_of(timeline, base.lsn()) >= lsn);
        bases
    }

    /// Whether the log of `timeline`'s history begins at LSN 1, with the cluster's chain before it.
    #[must_use]
    pub(crate) fn begins_with_the_cluster(&self, timeline: TimelineId) -> bool {
        let first = self.run_after(timeline, Lsn::ZERO).and_then(|run| run.steps.first());
        first.is_some_and(|step| step.chain_before() == Some(Chain::genesis(self.cluster())))
    }

    /// The first state that `base` gives: its own, or the first record's where it has none.
    #[must_use]
    pub(crate) fn first_state(&self, timeline: TimelineId, base: Base<&Snapshot>) -> Moment {
        let (lsn, time_ms) = match base {
            Base::Genesis => (Lsn::FIRST, self.time_at(timeline, Lsn::FIRST)),
            Base::Snapshot(snapshot) => (snapshot.lsn, Some(snapshot.time_ms)),
        };
        Moment { timeline, lsn, time_ms }
    }

    /// Whether nothing says that the snapshot's chain is not the log's.
    pub(crate) fn agrees(&self, timeline: TimelineId, snapshot: &Snapshot) -> bool {
        self.chain_at(timeline, snapshot.lsn).is_none_or(|chain| chain == snapshot.chain)
    }

    /// The chain at `lsn` of `timeline`'s history, where the cluster's identity, a fork or a sidecar says it.
    fn chain_at(&self, timeline: TimelineId, lsn: Lsn) -> Option<Chain> {
        let path = self.tree().path(timeline);
        let start = path.iter().find(|span| span.after == lsn).map(|span| self.chain_at_start(span.timeline));
        start.or_else(|| self.line(timeline)?.chain_at(lsn))
    }

    /// The run that goes on from a state at `lsn`, where there is one.
    #[must_use]
    pub(crate) fn run_after(&self, timeline: TimelineId, lsn: Lsn) -> Option<&Run> {
        self.line(timeline)?.run_at(lsn.next()?)
    }

    /// The last state that can be reached from a base at `lsn`.
    #[must_use]
    pub(crate) fn reach_of(&self, timeline: TimelineId, lsn: Lsn) -> Lsn {
        self.run_after(timeline, lsn).map_or(lsn, |run| run.last_lsn)
    }

    /// What can be restored of `timeline`'s whole history, in LSN order, merged where it touches.
    #[must_use]
    pub fn reachable(&self, timeline: TimelineId) -> Vec<Reachable> {
        let mut ranges: Vec<Reachable> = Vec::new();
        for base in self.bases(timeline) {
            let first = self.first_state(timeline, base);
            let last = match self.run_after(timeline, base.lsn()) {
                Some(run) => Moment { timeline, lsn: run.last_lsn, time_ms: run.last_time_ms() },
                None => first,
            };
            match ranges.last_mut() {
                Some(range) if first.lsn <= range.last.lsn => {
                    if first.lsn < range.first.lsn {
                        range.first = first;
                    }
                    if last.lsn > range.last.lsn {
                        range.last = last;
                    }
                }
                _ => ranges.push(Reachable { first, last }),
            }
        }
        ranges
    }

    /// The time of the record at `lsn`, where a document says it.
    #[must_use]
    pub(crate) fn time_at(&self, timeline: TimelineId, lsn: Lsn) -> Option<u64> {
        let owner = self.tree().owner(timeline, lsn);
        let witnesses = self.witnesses_of(owner);
        let from = witnesses.partition_point(|witness| witness.lsn < lsn);
        let at_lsn = witnesses[from..].iter().take_while(|witness| witness.lsn == lsn);
        at_lsn.filter_map(|witness| witness.time_ms).next().or_else(|| {
            let step = self.line(timeline)?.run_at(lsn)?.step_at(lsn)?;
            let segment = &step.segment;
            let first = (segment.first_lsn == lsn).then_some(segment.first_time_ms);
            first.or_else(|| (segment.last_lsn == lsn).then_some(segment.last_time_ms))
        })
    }

    /// Until when `timeline`'s history is complete, in Unix milliseconds; `None` where nothing is known. See the module.
    #[must_use]
    pub fn complete_until_ms(&self, timeline: TimelineId) -> Option<u64> {
        let end = self.end(timeline);
        let by_records = self.time_at(timeline, end).and_then(|time_ms| time_ms.checked_sub(1));
        by_records.max(self.promised_until_ms(timeline, end))
    }

    /// What the newest head on `timeline` promises, if it is not void and the archive holds as much as it says.
    fn promised_until_ms(&self, timeline: TimelineId, end: Lsn) -> Option<u64> {
        let mut on_timeline = self.epochs().begun().filter(|(_, begins)| begins.timeline == timeline);
        let (epoch, _) = on_timeline.next_back()?;
        let head = self.contents().epochs.get(&epoch)?.head.present()?;
        let counts = head.timeline == timeline
            && head.archived.lsn <= end
            && self.epochs().voided_by(timeline, epoch, head.archived.lsn).is_none();
        counts.then_some(head.complete_until_ms)
    }
}
