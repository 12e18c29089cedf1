//! The segments: every one is read to its end, its chain computed, and compared with every document that names an LSN in
//! it, and with every segment that overlaps it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use reddb_file::archive::{ArchiveKey, RecordRun, SegmentName, SegmentSidecar};
use reddb_file::{Chain, Lsn, TimelineId};

use super::report::Checked;
use super::{AT_ONCE_MAX, VerifyError};
use crate::fetch::fetch;
use crate::history::{Fault, FaultKind, History, LsnRange};
use crate::progress::Meter;
use crate::segment::{ReadSegmentError, SegmentFault, Visit, read_segment};
use crate::store::Store;

/// What something says of the chain at an LSN.
#[derive(Clone, Debug)]
struct Claim {
    lsn: Lsn,
    chain: Chain,
    key: String,
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
    contradictions: Vec<(Claim, Chain)>,
    fault: Option<SegmentFault>,
}

/// Reads every segment that counts.
pub(super) async fn check(store: &Store, history: &History, meter: &Meter) -> Result<SegmentsVerdict, VerifyError> {
    let claims: BTreeMap<TimelineId, Arc<Vec<Claim>>> =
        history.tree().usable().map(|timeline| (timeline, Arc::new(claims_of(history, timeline)))).collect();
    let usable = history.tree().usable();
    let segments: Vec<_> = usable.flat_map(|timeline| history.segments(timeline).iter().cloned()).collect();
    let stored = segments.iter().fold(0, |sum: u64, segment| sum.saturating_add(segment.stored_bytes));
    meter.expect(segments.len() as u64, stored);
    let reads = segments.into_iter().map(|sidecar| {
        let claims = claims.get(&sidecar.timeline).cloned().unwrap_or_default();
        read_one(store, sidecar, claims, meter)
    });
    let mut reads = stream::iter(reads).buffered(AT_ONCE_MAX);
    let mut verdict = SegmentsVerdict::default();
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
        for (claim, computed) in read.contradictions {
            let detail =
                format!("it says chain {}, the records of {} give {computed}", claim.chain, ArchiveKey::Segment(name));
            let range = LsnRange::new(name.timeline, claim.lsn, claim.lsn);
            self.faults.push(Fault::new(FaultKind::ChainMismatch, claim.key, detail).affecting(range));
        }
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

/// Compares the claims about a segment's records, which are in LSN order, with their chain.
struct Compare<'a> {
    claims: &'a [Claim],
    records: u64,
    contradictions: Vec<(Claim, Chain)>,
}

impl Visit for Compare<'_> {
    type Refusal = Infallible;

    fn next_stop(&self) -> Lsn {
        self.claims.first().map_or(Lsn::MAX, |claim| claim.lsn)
    }

    fn visit(&mut self, run: RecordRun) -> Result<(), Infallible> {
        self.records += run.record_count();
        while let Some((claim, rest)) = self.claims.split_first().filter(|(first, _)| first.lsn <= run.last_lsn()) {
            if claim.lsn == run.last_lsn() && claim.chain != run.chain_after() {
                self.contradictions.push((claim.clone(), run.chain_after()));
            }
            self.claims = rest;
        }
        Ok(())
    }
}

/// What documents say of the records that `timeline` owns, and segments of the inside of others, in LSN order.
fn claims_of(history: &History, timeline: TimelineId) -> Vec<Claim> {
    let witnesses = history.witnesses_of(timeline).iter();
    let mut claims: Vec<_> =
        witnesses.map(|witness| Claim { lsn: witness.lsn, chain: witness.chain, key: witness.key.clone() }).collect();
    let mut longest = Lsn::ZERO;
    let segments = history.segments(timeline);
    for (index, segment) in segments.iter().enumerate() {
        let next_first = segments.get(index + 1).map(|next| next.first_lsn);
        let overlaps = segment.first_lsn <= longest || next_first.is_some_and(|first| first <= segment.last_lsn);
        if overlaps {
            let key = ArchiveKey::SegmentSidecar(segment.name()).to_string();
            let before = segment.first_lsn.prev().unwrap_or(Lsn::ZERO);
            claims.push(Claim { lsn: before, chain: segment.chain_before, key: key.clone() });
            claims.push(Claim { lsn: segment.last_lsn, chain: segment.chain_after, key });
        }
        longest = longest.max(segment.last_lsn);
    }
    claims.sort_by_key(|claim| claim.lsn);
    claims
}

async fn read_one(
    store: &Store,
    sidecar: Arc<SegmentSidecar>,
    claims: Arc<Vec<Claim>>,
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
        let at = claims.partition_point(|claim| claim.lsn < sidecar.first_lsn);
        let mut compare = Compare { claims: &claims[at..], records: 0, contradictions: Vec::new() };
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
