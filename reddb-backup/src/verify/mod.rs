//! Verification: are the bytes good?
//!
//! Every document's digest, every segment's digest and every record's chain link, every snapshot file's size and digest;
//! that the chains of snapshots, points, heads, forks and overlapping segments are the log's, and so are the times that the
//! first three name; that a timeline's document says what the timeline's first record says; that what documents prove to
//! have been archived is there. One fault hides no other. Everything streams, a few objects at once.
//!
//! What is void is not read; it is a notice. What no snapshot names is counted as an orphan.

mod files;
mod report;
mod segments;

use std::collections::BTreeSet;
use std::sync::Arc;

use reddb_file::Lsn;
use reddb_file::archive::{ArchiveKey, Catalogue, MissingDigest};

pub use report::{Checked, VerifiedTimeline, VerifyReport};

use crate::fetch::FetchError;
use crate::history::contents::{ObjectTotals, SnapshotKey};
use crate::history::read::{HistoryError, read, read_rest};
use crate::history::{Fault, FaultKind, History, LsnRange};
use crate::progress::{Meter, Phase, Progress, Silent};
use crate::store::{ReadError, Store, StoreError, StoreErrorKind};

/// How many objects are read at once.
const AT_ONCE_MAX: usize = 4;

/// How to verify.
#[derive(Clone)]
pub struct VerifyOptions {
    /// Whether documents without a digest are accepted; the report names them. Default: each is a fault.
    pub missing_digest: MissingDigest,
    /// Is told how far it has come. Default: nobody.
    pub progress: Arc<dyn Progress>,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { missing_digest: MissingDigest::Refuse, progress: Silent::shared() }
    }
}

/// Why a verification could not be carried through. Damage is not an error but a fault in the report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The archive cannot be read at all.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The store stopped answering.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store stopped answering while an object was read.
    #[error(transparent)]
    Object(FetchError),
    /// A thread ended without an answer.
    #[error("a thread of the verification ended without an answer: {reason}")]
    Thread {
        /// What the runtime said.
        reason: String,
    },
}

/// Verifies a whole archive.
///
/// # Errors
/// [`VerifyError`] where the store does not answer, or this is no archive that could be verified.
pub async fn verify(store: &Store, options: &VerifyOptions) -> Result<VerifyReport, VerifyError> {
    // First: what it lists must then be found, since nothing else is ever taken away.
    let catalogue = read_catalogue(store, options.missing_digest).await?;
    let contents = read(store, options.missing_digest, &options.progress).await?;
    let rest = read_rest(store).await?;
    let mut objects = contents.totals;
    objects.objects = objects.objects.saturating_add(rest.totals.objects);
    objects.bytes = objects.bytes.saturating_add(rest.totals.bytes);
    let history = History::conclude(contents);

    let meter = Meter::new(&options.progress, Phase::Files);
    let files = files::check(store, &history, &rest, options.missing_digest, &meter).await?;
    let meter = Meter::new(&options.progress, Phase::Segments);
    let segments = segments::check(store, &history, &meter).await?;

    let mut faults = history.faults().to_vec();
    let mut notices = history.notices().to_vec();
    match &catalogue {
        Slot::Present(catalogue) => faults.extend(missing_from(catalogue, &history)),
        Slot::Damaged(fault) => faults.push(fault.clone()),
        Slot::Absent => notices.extend(no_catalogue(&history)),
    }
    faults.extend(files.faults);
    faults.extend(segments.faults);
    faults.extend(times_that_go_back(&history));
    notices.extend(broken_promises(&history));
    for key in &rest.unknown {
        notices.push(Fault::new(FaultKind::UnknownObject, key, "it is no part of an archive's layout"));
    }
    let named: BTreeSet<_> = files.named.into_iter().collect();
    let mut orphans = ObjectTotals::default();
    rest.files.iter().filter(|(digest, _)| !named.contains(digest)).for_each(|(_, bytes)| orphans.add(*bytes));

    let damaged_segments = segments.damaged.into_iter().collect();
    let damaged_snapshots = files.damaged.into_iter().collect();
    let sound = history.without(&damaged_segments, &damaged_snapshots);
    sort(&mut faults);
    sort(&mut notices);
    Ok(VerifyReport {
        cluster: history.cluster(),
        objects,
        segments: segments.checked,
        records: segments.records,
        snapshots: history.all_snapshots().count() as u64,
        files: files.checked,
        points: history.points().count() as u64,
        orphans,
        timelines: history
            .tree()
            .usable()
            .map(|timeline| VerifiedTimeline {
                timeline,
                end: history.end(timeline),
                complete_until_ms: history.complete_until_ms(timeline),
                restorable: sound.reachable(timeline),
            })
            .collect(),
        faults,
        notices,
        unverified: history.contents().unverified.clone(),
    })
}

/// The archive's catalogue, as it is found.
enum Slot {
    Present(Box<Catalogue>),
    Damaged(Fault),
    Absent,
}

/// The catalogue is derived and may be missing or old, but what is there is to be whole.
async fn read_catalogue(store: &Store, missing: MissingDigest) -> Result<Slot, VerifyError> {
    let key = ArchiveKey::Catalogue;
    match store.get_document::<Catalogue>(&key, missing).await {
        Ok(opened) => Ok(Slot::Present(Box::new(opened.document))),
        Err(ReadError::Store(StoreError::NotFound { .. })) => Ok(Slot::Absent),
        Err(ReadError::Store(error)) if error.kind() != StoreErrorKind::Integrity => Err(error.into()),
        Err(error) => {
            let fault = Fault::new(FaultKind::DocumentDamaged, key, error);
            let hint = "nothing is lost: the next snapshot or restore point writes it anew";
            Ok(Slot::Damaged(Fault { hint, ..fault }))
        }
    }
}

/// Snapshots and restore points that the catalogue lists and that have no object any more.
fn missing_from(catalogue: &Catalogue, history: &History) -> Vec<Fault> {
    let contents = history.contents();
    let detail = format!("manifest.json lists it, and it is not there (written at {} ms)", catalogue.created_ms);
    let mut faults = Vec::new();
    for key in &catalogue.snapshots {
        let Ok(ArchiveKey::Snapshot { timeline, lsn, id }) = key.parse() else { continue };
        if !contents.snapshots.contains_key(&SnapshotKey { timeline, lsn, id }) {
            let next = history.snapshots(timeline).iter().map(|snapshot| snapshot.lsn).find(|next| *next > lsn);
            let last = next.and_then(Lsn::prev).unwrap_or_else(|| history.end(timeline).max(lsn));
            let fault = Fault::new(FaultKind::ObjectMissing, key, &detail);
            faults.push(fault.affecting(LsnRange::new(timeline, lsn, last)));
        }
    }
    for name in &catalogue.points {
        if !contents.points.contains_key(name) {
            faults.push(Fault::new(FaultKind::ObjectMissing, ArchiveKey::Point(name.clone()), &detail));
        }
    }
    faults
}

/// Without a catalogue, a restore point or an old snapshot that was taken away leaves no trace.
fn no_catalogue(history: &History) -> Option<Fault> {
    let has_listed = !history.contents().points.is_empty() || !history.contents().snapshots.is_empty();
    let detail = "it is missing, so restore points and old snapshots that were taken away are not noticed";
    has_listed.then(|| {
        let hint = "the next snapshot or restore point writes it anew";
        Fault { hint, ..Fault::new(FaultKind::ObjectMissing, ArchiveKey::Catalogue, detail) }
    })
}

fn sort(faults: &mut Vec<Fault>) {
    faults.sort_by(|left, right| (left.affects, &left.key, left.kind).cmp(&(right.affects, &right.key, right.kind)));
    faults.dedup();
}

/// Times go back between segments.
fn times_that_go_back(history: &History) -> Vec<Fault> {
    let mut faults = Vec::new();
    for timeline in history.tree().usable() {
        let Some(line) = history.line(timeline) else { continue };
        let fork = history.tree().fork(timeline).map(|fork| fork.lsn);
        for run in &line.runs {
            let own = run.steps.windows(2).filter(|pair| fork.is_none_or(|fork| pair[1].from > fork));
            for pair in own {
                let (before, after) = (&pair[0], &pair[1]);
                let (Some(last_ms), first_ms) = (before.last_time_ms(), after.segment.first_time_ms) else { continue };
                if after.from == after.segment.first_lsn && first_ms < last_ms {
                    let key = ArchiveKey::SegmentSidecar(after.segment.name());
                    let detail =
                        format!("its first record's time is {first_ms}, that of the record before is {last_ms}");
                    let range = LsnRange::new(after.segment.timeline, after.from, after.from);
                    faults.push(Fault::new(FaultKind::TimeOrder, key, detail).affecting(range));
                }
            }
        }
    }
    faults
}

/// A head promised that no later record would have a time that one has: a restore to that time gave less then than now.
fn broken_promises(history: &History) -> Vec<Fault> {
    let mut notices = Vec::new();
    for (epoch, begins) in history.epochs().begun() {
        let documents = history.contents().epochs.get(&epoch);
        let Some(head) = documents.and_then(|documents| documents.head.present()) else { continue };
        let Some(next) = head.archived.lsn.next().filter(|_| head.timeline == begins.timeline) else { continue };
        if history.epochs().voided_by(head.timeline, epoch, head.archived.lsn).is_some() {
            continue;
        }
        let after = history.segments(head.timeline).iter().find(|segment| segment.first_lsn == next);
        if let Some(segment) = after.filter(|segment| segment.first_time_ms <= head.complete_until_ms) {
            let detail = format!(
                "it promised that no later record would be at or before {}, and LSN {next} is at {}",
                head.complete_until_ms, segment.first_time_ms
            );
            let range = LsnRange::new(head.timeline, next, next);
            let key = ArchiveKey::EpochHead(epoch);
            notices.push(Fault::new(FaultKind::TimeOrder, key, detail).affecting(range));
        }
    }
    notices
}
