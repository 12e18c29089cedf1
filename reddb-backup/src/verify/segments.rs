//! The segments: every one is read to its end, its chain computed, and compared with every document that names an LSN in
//! it, and with every segment that overlaps it. So are the times that documents name, and what a timeline's document says of
//! the timeline's first record.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use reddb_file::archive::{ArchiveKey, RecordRun, SegmentName, SegmentSidecar, TimelineDocument};
use reddb_file::record::RecordView;
use reddb_file::timeline::TimelineRecordError;
use reddb_file::{Chain, Lsn, RecordKind, TimelineId, TimelineRecord};
use uuid::Uuid;

use super::report::Checked;
use super::{AT_ONCE_MAX, VerifyError};
use crate::fetch::fetch;
use crate::history::witness::Witness;
use crate::history::{Fault, FaultKind, History, LsnRange};
use crate::progress::Meter;
use crate::segment::{ReadSegmentError, SegmentFault, Visit, read_segment};
use crate::store::Store;

/// What something says of the record at an LSN.
#[derive(Clone, Debug)]
struct Claim {
    lsn: Lsn,
    chain: Chain,
    /// The record's time, where it says one.
    time_ms: Option<u64>,
    key: String,
}

/// What documents say of the records that a timeline owns.
#[derive(Default)]
struct Claims {
    /// In LSN order.
    records: Vec<Claim>,
    /// The timeline's document, which repeats what its first record says.
    timeline: Option<TimelineDocument>,
}

impl Claims {
    fn of(history: &History, timeline: TimelineId) -> Self {
        Self { records: claims_of(history, timeline), timeline: history.tree().document(timeline).cloned() }
    }
}

/// What the proved records of a segment contradict.
enum Contradiction {
    /// A claim about the chain at its LSN.
    Chain { claim: Claim, computed: Chain },
    /// A claim about the time of the record at its LSN.
    Time { claim: Claim, declared_ms: u64, found_ms: u64 },
    /// What a timeline's document says of the timeline's first record.
    Timeline { timeline: TimelineId, lsn: Lsn, detail: String },
}

impl Contradiction {
    fn fault(&self, name: SegmentName) -> Fault {
        let segment = ArchiveKey::Segment(name);
        let at = |lsn| LsnRange::new(name.timeline, lsn, lsn);
        match self {
            Self::Chain { claim, computed } => {
                let detail = format!("it says chain {}, the records of {segment} give {computed}", claim.chain);
                Fault::new(FaultKind::ChainMismatch, &claim.key, detail).affecting(at(claim.lsn))
            }
            Self::Time { claim, declared_ms, found_ms } => {
                let lsn = claim.lsn;
                let detail =
                    format!("it says time {declared_ms} of LSN {lsn}, that record in {segment} has {found_ms}");
                Fault::new(FaultKind::TimeMismatch, &claim.key, detail).affecting(at(lsn))
            }
            Self::Timeline { timeline, lsn, detail } => {
                Fault::new(FaultKind::TimelineBroken, ArchiveKey::Timeline(*timeline), detail).affecting(at(*lsn))
            }
        }
    }
}

/// What was found about the segments.
#[derive(Default)]
pub(super) struct SegmentsVerdict {
    pub(super) checked: Checked,
    pub(super) records: u64,
    pub(super) faults: Vec<Fault>,
    /// The segments that cannot be used.
    pub(super) damaged: Vec<SegmentName>,
}

/// What reading one segment gave.
struct Read {
    sidecar: Arc<SegmentSidecar>,
    records: u64,
    contradictions: Vec<Contradiction>,
    fault: Option<SegmentFault>,
}

/// Reads every segment that counts.
pub(super) async fn check(store: &Store, history: &History, meter: &Meter) -> Result<SegmentsVerdict, VerifyError> {
    let claims: BTreeMap<TimelineId, Arc<Claims>> =
        history.tree().usable().map(|timeline| (timeline, Arc::new(Claims::of(history, timeline)))).collect();
    let usable = history.tree().usable();
    let segments: Vec<_> = usable.flat_map(|timeline| history.segments(timeline).iter().cloned()).collect();
    let stored = segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.stored_bytes));
    meter.expect(segments.len() as u64, stored);
    let reads = segments.into_iter().map(|sidecar| {
        let claims = claims.get(&sidecar.timeline).cloned().unwrap_or_default();
        read_one(store, sidecar, claims, meter)
    });
    let mut reads = stream::iter(reads).buffered(AT_ONCE_MAX);
    let mut verdict = SegmentsVerdict { faults: times_before_the_first(history), ..SegmentsVerdict::default() };
    while let Some(read) = reads.next().await {
        let read = read?;
        verdict.checked.objects += 1;
        verdict.checked.bytes = verdict.checked.bytes.saturating_add(read.sidecar.stored_bytes);
        verdict.records = verdict.records.saturating_add(read.records);
        verdict.judge(read);
    }
    Ok(verdict)
}

impl SegmentsVerdict {
    fn judge(&mut self, read: Read) {
        let name = read.sidecar.name();
        self.faults.extend(read.contradictions.iter().map(|contradiction| contradiction.fault(name)));
        if let Some(fault) = read.fault {
            let kind = match &fault {
                SegmentFault::Object(_) => FaultKind::ContentDamaged,
                SegmentFault::Decode { .. } | SegmentFault::Sidecar { .. } => FaultKind::SegmentDamaged,
            };
            let range = LsnRange::new(name.timeline, name.first_lsn, name.last_lsn);
            self.faults.push(Fault::new(kind, ArchiveKey::Segment(name), &fault).affecting(range));
            self.damaged.push(name);
        }
    }
}

/// Compares the claims about a segment's records, which are in LSN order, with the records.
struct Compare<'a> {
    claims: &'a [Claim],
    timeline: Option<&'a TimelineDocument>,
    records: u64,
    contradictions: Vec<Contradiction>,
}

impl Compare<'_> {
    fn compare(&mut self, claim: &Claim, run: &RecordRun) {
        let computed = run.chain_after();
        if claim.chain != computed {
            // It speaks of another history, so its time says nothing more.
            self.contradictions.push(Contradiction::Chain { claim: claim.clone(), computed });
            return;
        }
        let found_ms = run.last_time_ms();
        if let Some(declared_ms) = claim.time_ms.filter(|declared_ms| *declared_ms != found_ms) {
            self.contradictions.push(Contradiction::Time { claim: claim.clone(), declared_ms, found_ms });
        }
    }

    /// Compares the timeline's document with the timeline's first record, where `run` begins with it.
    fn compare_timeline(&mut self, run: &RecordRun) {
        let lsn = run.first_lsn();
        let before = lsn.prev().unwrap_or(Lsn::ZERO);
        let Some(document) = self.timeline.filter(|document| starts_after(document) == before) else { return };
        // Whoever archives something else than a database may do without such records.
        let Ok(record) = RecordView::decode(run.bytes()) else { return };
        if record.kind != RecordKind::Timeline {
            return;
        }
        if let Some(detail) = differences(document, TimelineRecord::decode(record.payload)) {
            self.contradictions.push(Contradiction::Timeline { timeline: document.timeline, lsn, detail });
        }
    }
}

impl Visit for Compare<'_> {
    type Refusal = Infallible;

    fn next_stop(&self) -> Lsn {
        self.claims.first().map_or(Lsn::MAX, |claim| claim.lsn)
    }

    fn visit(&mut self, run: RecordRun) -> Result<(), Infallible> {
        self.records += run.record_count();
        self.compare_timeline(&run);
        while let Some((claim, rest)) = self.claims.split_first().filter(|(first, _)| first.lsn <= run.last_lsn()) {
            if claim.lsn == run.last_lsn() {
                self.compare(claim, &run);
            }
            self.claims = rest;
        }
        Ok(())
    }
}

/// The last record before the timeline's own.
fn starts_after(document: &TimelineDocument) -> Lsn {
    document.parent.map_or(Lsn::ZERO, |parent| parent.lsn)
}

/// What the first record says otherwise than the timeline's document; `None` where they agree.
fn differences(document: &TimelineDocument, record: Result<TimelineRecord, TimelineRecordError>) -> Option<String> {
    let record = match record {
        Ok(record) => record,
        Err(error) => return Some(format!("the timeline's first record cannot be read: {error}")),
    };
    let parent = |parent: Option<TimelineId>| parent.map_or_else(|| "none".into(), |parent| parent.to_string());
    let members = [
        ("timeline", document.timeline.to_string(), record.id.to_string()),
        ("parent.timeline", parent(document.parent.map(|parent| parent.timeline)), parent(record.parent)),
        ("parent.lsn", starts_after(document).to_string(), record.fork_lsn.to_string()),
        ("id", document.id.to_string(), Uuid::from_bytes(record.random_id).to_string()),
        ("clock_offset_ms", document.clock_offset_ms.to_string(), record.clock_offset_ms.to_string()),
    ];
    let differing = members.into_iter().filter(|(_, declared, found)| declared != found);
    let said: Vec<_> = differing
        .map(|(member, declared, found)| {
            format!("it says {member} {declared}, the timeline's first record says {found}")
        })
        .collect();
    (!said.is_empty()).then(|| said.join("; "))
}

/// Documents that name a time where there is no record.
fn times_before_the_first(history: &History) -> Vec<Fault> {
    let witnesses = history.tree().usable().flat_map(|timeline| history.witnesses_of(timeline));
    let timed = witnesses.filter(|witness| witness.lsn == Lsn::ZERO && witness.time_ms.is_some_and(|time| time > 0));
    timed
        .map(|witness| {
            let range = LsnRange::new(witness.timeline, witness.lsn, witness.lsn);
            let detail = "it says a time of LSN 0, which is no record: it must say 0";
            Fault::new(FaultKind::TimeMismatch, &witness.key, detail).affecting(range)
        })
        .collect()
}

/// What documents say of the records that `timeline` owns, and segments of the inside of others, in LSN order.
fn claims_of(history: &History, timeline: TimelineId) -> Vec<Claim> {
    let witnesses = history.witnesses_of(timeline).iter();
    let mut claims: Vec<_> = witnesses
        .map(|Witness { lsn, chain, time_ms, key, .. }| Claim {
            lsn: *lsn,
            chain: *chain,
            time_ms: *time_ms,
            key: key.clone(),
        })
        .collect();
    let mut longest = Lsn::ZERO;
    let segments = history.segments(timeline);
    for (index, segment) in segments.iter().enumerate() {
        let next_first = segments.get(index + 1).map(|next| next.first_lsn);
        let overlaps = segment.first_lsn <= longest || next_first.is_some_and(|first| first <= segment.last_lsn);
        if overlaps {
            let key = ArchiveKey::SegmentSidecar(segment.name()).to_string();
            let before = segment.first_lsn.prev().unwrap_or(Lsn::ZERO);
            claims.push(Claim { lsn: before, chain: segment.chain_before, time_ms: None, key: key.clone() });
            claims.push(Claim { lsn: segment.last_lsn, chain: segment.chain_after, time_ms: None, key });
        }
        longest = longest.max(segment.last_lsn);
    }
    claims.sort_by_key(|claim| claim.lsn);
    claims
}

async fn read_one(
    store: &Store,
    sidecar: Arc<SegmentSidecar>,
    claims: Arc<Claims>,
    meter: &Meter,
) -> Result<Read, VerifyError> {
    let key = ArchiveKey::Segment(sidecar.name());
    let mut read = Read { sidecar: Arc::clone(&sidecar), records: 0, contradictions: Vec::new(), fault: None };
    let object = match fetch(store, &key, sidecar.stored_bytes, meter.clone()).await {
        Ok(object) => object,
        Err(error) if error.is_damage() => {
            read.fault = Some(error.into());
            return Ok(read);
        }
        Err(error) => return Err(error.into()),
    };
    let work = move || {
        let at = claims.records.partition_point(|claim| claim.lsn < sidecar.first_lsn);
        let (claims, timeline) = (&claims.records[at..], claims.timeline.as_ref());
        let mut compare = Compare { claims, timeline, records: 0, contradictions: Vec::new() };
        let result = read_segment(&key.to_string(), object, &sidecar, &mut compare);
        (compare.records, compare.contradictions, result)
    };
    let done = tokio::task::spawn_blocking(work).await;
    let (records, contradictions, result) = done.map_err(|error| VerifyError::Thread { reason: error.to_string() })?;
    meter.item();
    read.records = records;
    match result {
        Ok(()) => read.contradictions = contradictions,
        // What an unproved segment contradicts says nothing.
        Err(ReadSegmentError::Fault(SegmentFault::Object(error))) if !error.is_damage() => return Err(error.into()),
        Err(ReadSegmentError::Fault(fault)) => read.fault = Some(fault),
        Err(ReadSegmentError::Refused(never)) => match never {},
    }
    Ok(read)
}
