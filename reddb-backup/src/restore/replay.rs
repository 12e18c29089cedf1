//! Replay: segments are fetched and proved ahead, applied in order, and compared with every chain that is known.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_util::stream::{self, StreamExt as _};
use reddb_file::archive::{RecordRun, RelativePath};
use reddb_file::{Chain, Lsn, Mark, TimedMark};
use tokio::sync::mpsc;

use super::error::RestoreError;
use super::sink::{BaseMark, RestoreSink, RestoredMark};
use super::spool::{Spool, Spooled};
use super::stage::Staging;
use crate::fetch::fetch;
use crate::history::Base;
use crate::plan::{ExpectedChain, Plan, PlannedSegment, Stop};
use crate::progress::Meter;
use crate::segment::{ReadSegmentError, SegmentFault, Visit, read_segment};
use crate::store::Store;

/// How many segments are fetched and proved at once, ahead of the one that is being applied.
const SEGMENTS_AHEAD: usize = 3;

/// What goes to the thread that applies.
enum Message {
    Segment(Spooled),
    /// Everything was sent: the restore may be finished.
    Complete,
}

/// What was applied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    pub(super) end: RestoredMark,
    pub(super) records: u64,
    pub(super) record_bytes: u64,
}

/// Everything that replay needs to know.
pub(super) struct Replay {
    pub(super) plan: Arc<Plan>,
    pub(super) staging: Arc<Staging>,
    pub(super) base_folder: RelativePath,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) segments: Meter,
    pub(super) sync: Meter,
}

/// Opens the base, replays the plan's segments, finishes and publishes the directory. The sink of a failed restore is
/// dropped, so that nobody writes into the staging directory any more when this returns.
pub(super) async fn run<S: RestoreSink>(store: &Store, replay: Replay, sink: S) -> Result<(Applied, S), RestoreError> {
    let (sender, receiver) = mpsc::channel(1);
    let (plan, staging) = (Arc::clone(&replay.plan), Arc::clone(&replay.staging));
    let meter = replay.segments.clone();
    let stored = plan.segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.sidecar.stored_bytes));
    meter.expect(plan.segments.len() as u64, stored);
    let applying = tokio::task::spawn_blocking(move || {
        let mut applier = Applier::new(replay, sink);
        let applied = applier.run(receiver)?;
        Ok((applied, applier.sink))
    });
    let feeding = feed(store, &plan, &staging, &meter, sender).await;
    let applied = applying.await.map_err(|error| RestoreError::Thread { reason: error.to_string() })?;
    match (feeding, applied) {
        // The thread only saw that nothing came any more; why is known here.
        (Err(error), Err(RestoreError::Cancelled)) => Err(error),
        (_, applied) => applied,
    }
}

async fn feed(
    store: &Store,
    plan: &Arc<Plan>,
    staging: &Arc<Staging>,
    meter: &Meter,
    sender: mpsc::Sender<Message>,
) -> Result<(), RestoreError> {
    let indexes = 0..plan.segments.len();
    let prepared = indexes.map(|index| prepare(store, Arc::clone(plan), index, Arc::clone(staging), meter.clone()));
    let mut prepared = std::pin::pin!(stream::iter(prepared).buffered(SEGMENTS_AHEAD));
    while let Some(spooled) = prepared.next().await {
        if sender.send(Message::Segment(spooled?)).await.is_err() {
            return Ok(());
        }
    }
    // A receiver that is gone has failed, and says so itself.
    let _ = sender.send(Message::Complete).await;
    Ok(())
}

/// Fetches and proves one segment, and keeps the records of it that belong to the restore.
async fn prepare(
    store: &Store,
    plan: Arc<Plan>,
    index: usize,
    staging: Arc<Staging>,
    meter: Meter,
) -> Result<Spooled, RestoreError> {
    let segment = &plan.segments[index];
    let key = reddb_file::archive::ArchiveKey::Segment(segment.sidecar.name());
    let object = fetch(store, &key, segment.sidecar.stored_bytes, meter.clone())
        .await
        .map_err(|error| fault_of(segment, error.into()))?;
    let work = move || {
        let segment = &plan.segments[index];
        let mut part = Part::new(&plan, segment, staging);
        read_segment(&segment.key, object, &segment.sidecar, &mut part).map_err(|error| match error {
            ReadSegmentError::Fault(fault) => fault_of(segment, fault),
            ReadSegmentError::Refused(error) => error,
        })?;
        Ok(part.spool.close())
    };
    let spooled =
        tokio::task::spawn_blocking(work).await.map_err(|error| RestoreError::Thread { reason: error.to_string() })?;
    meter.item();
    spooled
}

fn fault_of(segment: &PlannedSegment, fault: SegmentFault) -> RestoreError {
    RestoreError::Segment {
        first_lsn: segment.sidecar.first_lsn,
        last_lsn: segment.sidecar.last_lsn,
        source: Box::new(fault),
    }
}

/// The part of a segment that belongs to the restore.
struct Part<'a> {
    /// The last record that was read.
    at: Lsn,
    from: Lsn,
    to: Lsn,
    until_ms: Option<u64>,
    expected: &'a [ExpectedChain],
    key: &'a str,
    spool: Spool,
}

impl<'a> Part<'a> {
    fn new(plan: &'a Plan, segment: &'a PlannedSegment, staging: Arc<Staging>) -> Self {
        let until_ms = match plan.stop {
            Stop::AtLsn(_) => None,
            Stop::AfterTime { time, .. } => Some(time.0),
        };
        let first = plan.expected.partition_point(|expected| expected.lsn < segment.from);
        let before_first =
            Mark { lsn: segment.sidecar.first_lsn.prev().unwrap_or(Lsn::ZERO), chain: segment.sidecar.chain_before };
        Self {
            at: before_first.lsn,
            from: segment.from,
            to: segment.to,
            until_ms,
            expected: &plan.expected[first..],
            key: &segment.key,
            spool: Spool::new(staging, before_first),
        }
    }

    /// The records of a run that belong to the restore; those before its first one are left out by where runs end.
    fn wanted(&self, run: RecordRun) -> Option<RecordRun> {
        if run.first_lsn() > self.to {
            return None;
        }
        match self.until_ms {
            Some(until_ms) => run.until(until_ms),
            None => Some(run),
        }
    }
}

impl Visit for Part<'_> {
    type Refusal = RestoreError;

    fn next_stop(&self) -> Lsn {
        let stops = [self.from.prev(), Some(self.to), self.expected.first().map(|expected| expected.lsn)];
        stops.into_iter().flatten().filter(|stop| *stop > self.at).min().unwrap_or(Lsn::MAX)
    }

    fn visit(&mut self, run: RecordRun) -> Result<(), RestoreError> {
        self.at = run.last_lsn();
        if run.last_lsn() < self.from {
            self.spool.start_at(Mark { lsn: run.last_lsn(), chain: run.chain_after() });
            return Ok(());
        }
        let Some(run) = self.wanted(run) else { return Ok(()) };
        while let Some((expected, rest)) = self.expected.split_first().filter(|(first, _)| first.lsn <= run.last_lsn())
        {
            compare(expected, run.last_lsn(), run.chain_after(), self.key)?;
            self.expected = rest;
        }
        self.spool.push(run)
    }
}

/// Compares what a document says of the chain with what was found at the same LSN.
pub(super) fn compare(expected: &ExpectedChain, lsn: Lsn, chain: Chain, found_in: &str) -> Result<(), RestoreError> {
    if expected.lsn != lsn || expected.chain == chain {
        return Ok(());
    }
    Err(RestoreError::Chain {
        lsn,
        key: expected.key.clone(),
        declared: expected.chain.to_string(),
        found_in: found_in.to_owned(),
        computed: chain.to_string(),
    })
}

/// The thread that owns the sink.
struct Applier<S> {
    replay: Replay,
    sink: S,
    at: TimedMark,
    records: u64,
    record_bytes: u64,
}

impl<S: RestoreSink> Applier<S> {
    fn new(replay: Replay, sink: S) -> Self {
        let at = replay.plan.base.as_ref().mark(replay.plan.cluster);
        Self { replay, sink, at, records: 0, record_bytes: 0 }
    }

    fn run(&mut self, mut receiver: mpsc::Receiver<Message>) -> Result<Applied, RestoreError> {
        self.open_base()?;
        loop {
            match receiver.blocking_recv() {
                Some(Message::Segment(spooled)) => self.apply(spooled)?,
                Some(Message::Complete) => break,
                None => return Err(RestoreError::Cancelled),
            }
        }
        self.finish()
    }

    fn open_base(&mut self) -> Result<(), RestoreError> {
        let plan = &self.replay.plan;
        let key = match &plan.base {
            Base::Genesis => "the empty state before LSN 1".to_owned(),
            Base::Snapshot(snapshot) => snapshot.reference().key().to_string(),
        };
        for expected in plan.expected.iter().take_while(|expected| expected.lsn <= self.at.lsn) {
            compare(expected, self.at.lsn, self.at.chain, &key)?;
        }
        let base = BaseMark { cluster: plan.cluster, mark: self.at, base: plan.base.clone() };
        let staged = self.replay.staging.directory(&self.replay.base_folder);
        self.sink.open_base(&staged, &base).map_err(|source| RestoreError::Base { base: key, source })
    }

    fn apply(&mut self, spooled: Spooled) -> Result<(), RestoreError> {
        let Some(end) = spooled.end else { return Ok(()) };
        if spooled.start != self.at.mark() {
            return Err(RestoreError::Chain {
                lsn: spooled.start.lsn,
                key: format!("the log up to LSN {}", self.at.lsn),
                declared: self.at.chain.to_string(),
                found_in: format!("the segment of LSN {}", end.lsn),
                computed: spooled.start.chain.to_string(),
            });
        }
        let ordered = matches!(self.replay.plan.stop, Stop::AfterTime { .. });
        let Self { sink, at, records, record_bytes, .. } = self;
        spooled.drain(|run| {
            if ordered && run.first_time_ms() < at.time_ms {
                let (lsn, time_ms) = (run.first_lsn(), run.first_time_ms());
                return Err(RestoreError::Time { lsn, time_ms, before_ms: at.time_ms });
            }
            let place = || format!("LSNs {} to {}", run.first_lsn(), run.last_lsn());
            sink.apply(run).map_err(|source| RestoreError::Sink { at: place(), source })?;
            *at = TimedMark { lsn: run.last_lsn(), chain: run.chain_after(), time_ms: run.last_time_ms() };
            *records = records.saturating_add(run.record_count());
            *record_bytes = record_bytes.saturating_add(run.bytes().len() as u64);
            Ok(())
        })
    }

    fn finish(&mut self) -> Result<Applied, RestoreError> {
        let plan = &self.replay.plan;
        if let Stop::AtLsn(wanted) = plan.stop
            && wanted != self.at.lsn
        {
            return Err(RestoreError::Short { reached: self.at.lsn, wanted });
        }
        let end = RestoredMark { cluster: plan.cluster, timeline: plan.owner(self.at.lsn), mark: self.at };
        let finished = self.sink.finish(&end);
        finished.map_err(|source| RestoreError::Sink { at: format!("the end at LSN {}", self.at.lsn), source })?;
        self.replay.staging.publish(&self.replay.sync, &self.replay.cancelled)?;
        Ok(Applied { end, records: self.records, record_bytes: self.record_bytes })
    }
}
