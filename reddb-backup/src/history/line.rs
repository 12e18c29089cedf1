//! One timeline's whole history, as far as the archive's segments hold it: runs of records without a hole.
//!
//! `Line::build` walks the path's spans from the root on and chooses, at each position, the segment to read next: one
//! that begins exactly there if there is one (the longest, then the newest epoch's), else one that overlaps. Overlaps are
//! legal if and only if the chains agree. What sidecars can prove is checked here: a segment whose chain before is not
//! the chain after its predecessor, or two that hold the same records with different chains, end the run. The rest is
//! proved by whoever reads the records.
//!
//! Invariants: steps are in LSN order and do not overlap; a run's steps are consecutive; between two runs records are
//! missing or the chain is broken, never nothing.

use std::sync::Arc;

use reddb_file::archive::{ArchiveKey, SegmentSidecar};
use reddb_file::{Chain, Lsn, Mark, TimelineId};

use super::fault::{Fault, FaultKind, LsnRange};
use super::tree::Span;

/// A part of a segment that belongs to a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The segment.
    pub segment: Arc<SegmentSidecar>,
    /// The first record of it to take.
    pub from: Lsn,
    /// The last record of it to take.
    pub to: Lsn,
}

impl Step {
    /// The chain before its first record, where the sidecar says it.
    #[must_use]
    pub fn chain_before(&self) -> Option<Chain> {
        (self.from == self.segment.first_lsn).then_some(self.segment.chain_before)
    }

    /// The chain after its last record, where the sidecar says it.
    #[must_use]
    pub fn chain_after(&self) -> Option<Chain> {
        (self.to == self.segment.last_lsn).then_some(self.segment.chain_after)
    }

    /// The last record's time, where the sidecar says it.
    #[must_use]
    pub fn last_time_ms(&self) -> Option<u64> {
        (self.to == self.segment.last_lsn).then_some(self.segment.last_time_ms)
    }
}

/// Consecutive records without a hole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first record.
    pub first_lsn: Lsn,
    /// The last record.
    pub last_lsn: Lsn,
    /// The segments, in order; never empty.
    pub steps: Vec<Step>,
}

impl Run {
    /// The step that holds `lsn`.
    #[must_use]
    pub(crate) fn step_at(&self, lsn: Lsn) -> Option<&Step> {
        let at = self.steps.partition_point(|step| step.to < lsn);
        self.steps.get(at).filter(|step| step.from <= lsn)
    }

    /// The last record's time, where a sidecar says it.
    #[must_use]
    pub fn last_time_ms(&self) -> Option<u64> {
        self.steps.last().and_then(Step::last_time_ms)
    }
}

/// One timeline's history as far as segments hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The runs, in LSN order.
    pub runs: Vec<Run>,
    /// Where sidecars contradict each other.
    pub conflicts: Vec<Fault>,
}

/// What a span is made from: its segments sorted by first LSN, and what is known of the chain at its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanSource<'a> {
    pub(super) span: Span,
    /// The timeline's segments, sorted by [`reddb_file::archive::SegmentName`].
    pub(super) segments: &'a [Arc<SegmentSidecar>],
    /// The chain at `span.after`, as the timeline's document or the cluster's identity says it.
    pub(super) chain_at_start: Chain,
}

impl Line {
    /// The line of the path made of these spans, from the root on.
    pub(super) fn build(sources: &[SpanSource<'_>]) -> Self {
        let mut builder = Builder::default();
        for source in sources {
            builder.span(source);
        }
        builder.close();
        builder.line
    }

    /// The run that holds `lsn`.
    #[must_use]
    pub(crate) fn run_at(&self, lsn: Lsn) -> Option<&Run> {
        let at = self.runs.partition_point(|run| run.last_lsn < lsn);
        self.runs.get(at).filter(|run| run.first_lsn <= lsn)
    }

    /// What sidecars say of the chain at `lsn`: as the chain after it, or before its successor.
    #[must_use]
    pub(crate) fn chain_at(&self, lsn: Lsn) -> Option<Chain> {
        let after = || {
            let step = self.run_at(lsn)?.step_at(lsn)?;
            (step.to == lsn).then(|| step.chain_after()).flatten()
        };
        let before = || {
            let step = self.run_at(lsn.next()?)?.step_at(lsn.next()?)?;
            (step.from.prev() == Some(lsn)).then(|| step.chain_before()).flatten()
        };
        after().or_else(before)
    }
}

/// What to do about the segments that begin where the walk stands.
enum Choice<'a> {
    /// Take this one.
    Take(&'a Arc<SegmentSidecar>),
    /// Take none: they disagree, and nobody knows which is right. Go on after the longest.
    Contested { last_lsn: Lsn },
}

/// Where the walk stands.
#[derive(Default)]
struct Builder {
    line: Line,
    open: Vec<Step>,
    /// The last record taken, and the chain there where it is known.
    at: Lsn,
    chain: Option<Chain>,
}

impl Builder {
    fn span(&mut self, source: &SpanSource<'_>) {
        let span = source.span;
        if span.after >= span.upto {
            return;
        }
        if self.at < span.after {
            self.close();
            self.at = span.after;
            self.chain = None;
        }
        let start = Mark { lsn: span.after, chain: source.chain_at_start };
        match self.chain {
            Some(chain) if chain != start.chain => self.conflict(
                ArchiveKey::Timeline(span.timeline),
                span.timeline,
                start.lsn,
                format!("it forked at chain {}, its parent's log has {chain} there", start.chain),
            ),
            _ => {}
        }
        self.chain = Some(start.chain);
        self.walk(span, source.segments);
    }

    fn walk(&mut self, span: Span, segments: &[Arc<SegmentSidecar>]) {
        let mut next = 0;
        let mut longest: Option<&Arc<SegmentSidecar>> = None;
        while self.at < span.upto {
            let Some(need) = self.at.next() else { return };
            let begun = next;
            while segments.get(next).is_some_and(|segment| segment.first_lsn <= need) {
                let segment = &segments[next];
                if longest.is_none_or(|longest| longest.last_lsn < segment.last_lsn) {
                    longest = Some(segment);
                }
                next += 1;
            }
            let exact = segments[begun..next].iter().filter(|segment| segment.first_lsn == need);
            let overlapping = longest.filter(|segment| segment.last_lsn >= need);
            if let Some(choice) = self.choose(exact) {
                match choice {
                    Choice::Take(chosen) => self.take(span, chosen, need),
                    Choice::Contested { last_lsn } => {
                        self.at = last_lsn.min(span.upto);
                        self.chain = None;
                    }
                }
            } else if let Some(chosen) = overlapping {
                self.take(span, chosen, need);
            } else {
                self.close();
                let Some(following) = segments.get(next).filter(|segment| segment.first_lsn <= span.upto) else {
                    return;
                };
                self.at = following.first_lsn.prev().unwrap_or(Lsn::ZERO);
                self.chain = None;
            }
        }
    }

    /// What to do about the segments that begin where the walk stands. One whose chain before is not the chain so far begins
    /// a new run. Where two of them disagree, none is taken.
    fn choose<'a>(&mut self, exact: impl Iterator<Item = &'a Arc<SegmentSidecar>> + Clone) -> Option<Choice<'a>> {
        let chosen = exact.clone().max_by_key(|segment| (segment.last_lsn, segment.epoch))?;
        let mut contested = false;
        for segment in exact {
            if let Some(chain) = self.chain.filter(|chain| *chain != segment.chain_before) {
                let detail =
                    format!("its chain before is {}, the log before it ends with {chain}", segment.chain_before);
                self.segment_conflict(segment, detail);
            }
            let same_end = segment.last_lsn == chosen.last_lsn;
            if segment.chain_before != chosen.chain_before || same_end && segment.chain_after != chosen.chain_after {
                let other = ArchiveKey::SegmentSidecar(chosen.name());
                self.segment_conflict(segment, format!("it holds other records than {other} for the same LSNs"));
                contested = true;
            }
        }
        Some(if contested { Choice::Contested { last_lsn: chosen.last_lsn } } else { Choice::Take(chosen) })
    }

    fn take(&mut self, span: Span, segment: &Arc<SegmentSidecar>, from: Lsn) {
        let to = segment.last_lsn.min(span.upto);
        let step = Step { segment: Arc::clone(segment), from, to };
        self.chain = step.chain_after();
        self.at = to;
        self.open.push(step);
    }

    fn segment_conflict(&mut self, segment: &SegmentSidecar, detail: String) {
        let range = LsnRange::new(segment.timeline, segment.first_lsn, segment.last_lsn);
        let key = ArchiveKey::SegmentSidecar(segment.name());
        self.close();
        self.line.conflicts.push(Fault::new(FaultKind::ChainMismatch, key, detail).affecting(range));
    }

    fn conflict(&mut self, key: ArchiveKey, timeline: TimelineId, lsn: Lsn, detail: String) {
        self.close();
        let fault = Fault::new(FaultKind::ChainMismatch, key, detail).affecting(LsnRange::new(timeline, lsn, lsn));
        self.line.conflicts.push(fault);
    }

    fn close(&mut self) {
        let steps = std::mem::take(&mut self.open);
        if let (Some(first), Some(last)) = (steps.first(), steps.last()) {
            let (first_lsn, last_lsn) = (first.from, last.to);
            self.line.runs.push(Run { first_lsn, last_lsn, steps });
        }
    }
}
