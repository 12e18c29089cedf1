//! Shipping, snapshots and restore points: what the archive holds after faults, and in which order it got there.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reddb_file::archive::layout::{SNAPSHOTS_PREFIX, WAL_PREFIX};
use reddb_file::archive::{
    ArchiveKey, Catalogue, EpochHead, HolderState, MissingDigest, PointName, RecordRun, SegmentSidecar, Sha256Digest,
    SnapshotManifest, Text, sealed,
};
use reddb_file::mark::TimedMark;
use reddb_file::{Epoch, Lsn};
use tokio::task::JoinHandle;

use super::*;
use crate::claim::{Claim, Claimant, Takeover, claim};
use crate::codec::{decode_segment, encode_segment};
use crate::epochs::Epochs;
use crate::points::PointError;
use crate::snapshot::{ProgressFn, SnapshotError};
use crate::source::LogSource;
use crate::store::fault::Op;
use crate::store::{OpenMode, Store, StoreSettings};
use crate::tests::{CLUSTER, Journal, TestClock, faulty_store, until, watch};

pub(crate) struct Running {
    pub(crate) handle: ArchiverHandle,
    task: JoinHandle<()>,
    pub(crate) claim: Claim,
    staging: tempfile::TempDir,
}

fn fast(staging: &Path) -> ArchiverSettings {
    ArchiverSettings {
        interval: Duration::from_millis(5),
        beat_interval: Duration::from_millis(20),
        segment_plain_bytes_max: 2000,
        backoff: RetryPolicy {
            first_wait: Duration::from_millis(1),
            wait_max: Duration::from_millis(4),
            attempts_max: 9,
        },
        ..ArchiverSettings::new(staging.join("staging"))
    }
}

pub(crate) async fn claim_for(store: &Store, journal: &Journal) -> Claim {
    let claimant = Claimant { takeover: Takeover::Allow, ..journal.claimant() };
    claim(store, &claimant, journal, &watch(), &TestClock::default()).await.unwrap()
}

pub(crate) async fn run_with(store: &Store, journal: &Journal, change: impl FnOnce(&mut ArchiverSettings)) -> Running {
    let claim = claim_for(store, journal).await;
    let staging = tempfile::tempdir().unwrap();
    let mut settings = fast(staging.path());
    change(&mut settings);
    let (handle, task) = Archiver::start(ArchiverParts {
        store: store.clone(),
        claim: claim.clone(),
        log: Arc::new(journal.clone()),
        checkpoints: Arc::new(journal.clone()),
        clock: Arc::new(TestClock::default()),
        settings,
    });
    Running { handle, task, claim, staging }
}

pub(crate) async fn run(store: &Store, journal: &Journal) -> Running {
    run_with(store, journal, |_| ()).await
}

impl Running {
    pub(crate) async fn end(self) -> ShutdownReport {
        let report = self.handle.shutdown(Duration::from_secs(5)).await.unwrap();
        self.task.await.unwrap();
        report
    }
}

pub(crate) fn silent() -> ProgressFn {
    Arc::new(|_| ())
}

pub(crate) fn name(text: &str) -> PointName {
    text.parse().unwrap()
}

pub(crate) fn text(text: &str) -> Text {
    text.parse().unwrap()
}

async fn head(store: &Store, epoch: Epoch) -> EpochHead {
    store.get_document(&ArchiveKey::EpochHead(epoch), MissingDigest::Refuse).await.unwrap().document
}

/// Reads the whole archive as a stranger would and compares it with the log: every valid segment with a sidecar is what the
/// sidecar says, their records are the log's, and what every head speaks of is there. Returns how far they reach.
pub(crate) async fn reach(store: &Store, journal: &Journal) -> Lsn {
    let epochs = Epochs::load(store, CLUSTER, MissingDigest::Refuse).await.unwrap();
    let mut end = Lsn::ZERO;
    for object in store.list(WAL_PREFIX).await.unwrap() {
        let key: ArchiveKey = object.key.parse().unwrap();
        let ArchiveKey::SegmentSidecar(name) = key else { continue };
        let sidecar: SegmentSidecar = store.get_document(&key, MissingDigest::Refuse).await.unwrap().document;
        let stored = store.get_bounded(&ArchiveKey::Segment(name), 1 << 20).await.unwrap();
        assert_eq!(Sha256Digest::of(&stored), sidecar.stored_sha256);
        let mut decoder = decode_segment(&*stored).unwrap();
        assert_eq!((sidecar.name(), decoder.header().chain_before), (name, sidecar.chain_before));
        let mut bytes = Vec::new();
        while let Some(record) = decoder.next_record().unwrap() {
            record.encode_into(&mut bytes).unwrap();
        }
        assert_eq!(bytes, journal.read(name.first_lsn, name.last_lsn, u64::MAX).unwrap());
        if !epochs.is_segment_void(&name) && name.first_lsn <= end.next().unwrap() {
            end = end.max(name.last_lsn);
        }
    }
    for (_, entry) in epochs.iter() {
        if let Some(head) = &entry.head {
            assert!(head.archived.lsn <= end, "a head speaks of LSN {}, the archive ends at {end}", head.archived.lsn);
            assert_eq!(head.archived.chain, journal.point(head.archived.lsn.get()).chain);
        }
    }
    assert!(journal.local_archived().lsn <= end, "the log may forget nothing that is not in the archive");
    check_snapshots(store, journal, end).await;
    end
}

async fn check_snapshots(store: &Store, journal: &Journal, end: Lsn) {
    for object in store.list(SNAPSHOTS_PREFIX).await.unwrap() {
        let key = object.key.parse().unwrap();
        let manifest: SnapshotManifest = store.get_document(&key, MissingDigest::Refuse).await.unwrap().document;
        assert!(manifest.lsn <= end, "a published snapshot's LSN is in the archive");
        assert_eq!(manifest.chain, journal.point(manifest.lsn.get()).chain);
        for file in &manifest.files {
            let bytes = store.get_bounded(&file.key(), file.size_bytes).await.unwrap();
            assert_eq!((bytes.len() as u64, Sha256Digest::of(&bytes)), (file.size_bytes, file.sha256), "{}", file.path);
        }
    }
}

#[tokio::test]
async fn everything_durable_is_shipped_in_bounded_segments() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(200);
    journal.append_with(1, 5000, 0);
    journal.append(10);
    let running = run(&store, &journal).await;
    assert_eq!(running.handle.ship_now().await.unwrap(), journal.durable());
    journal.append(3);
    assert_eq!(running.handle.ship_now().await.unwrap().lsn, Lsn::new(214));
    let status = running.handle.status();
    assert_eq!((status.archived, status.lag_records, status.lag_ms), (journal.durable(), 0, 0));
    assert_eq!((status.lag_records, status.state), (0, ArchiverState::Online));
    assert!(status.shipped.segments >= 6, "{:?}", status.shipped);
    assert_eq!(reach(&store, &journal).await, Lsn::new(214));
    assert_eq!(journal.local_archived(), journal.durable());
    for object in store.list(WAL_PREFIX).await.unwrap().iter().filter(|object| object.key.ends_with(".json")) {
        let key = object.key.parse().unwrap();
        let sidecar: SegmentSidecar = store.get_document(&key, MissingDigest::Refuse).await.unwrap().document;
        assert!(sidecar.plain_bytes <= 2132 || sidecar.record_count == 1, "{sidecar:?}");
    }
    let epoch = running.claim.epoch;
    assert_eq!(running.end().await, ShutdownReport { archived: journal.durable(), missing_records: 0 });
    assert_eq!(head(&store, epoch).await.holder, HolderState::Ended);
}

#[tokio::test]
async fn a_shipment_asks_for_its_claim_then_writes_segment_and_sidecar_then_asks_for_claims_then_writes_the_head() {
    let (store, faults) = faulty_store();
    let journal = Journal::new(1);
    let running = run_with(&store, &journal, |settings| settings.beat_interval = Duration::from_secs(99)).await;
    running.handle.ship_now().await.unwrap();
    let before = faults.requests().len();
    journal.append(3);
    running.handle.ship_now().await.unwrap();
    let segment = "wal/0000000001/00000000000000000001-00000000000000000003.00000000000000000001.wal.zst";
    let expected = [
        (Op::Get, "epochs/00000000000000000001.json".to_owned()),
        (Op::Put, segment.to_owned()),
        (Op::Put, format!("{segment}.json")),
        (Op::Get, "epochs/00000000000000000001.json".to_owned()),
        (Op::Head, "epochs/00000000000000000002.json".to_owned()),
        (Op::Put, "epochs/00000000000000000001.head.json".to_owned()),
    ];
    assert_eq!(faults.requests()[before..], expected);
}

#[tokio::test]
async fn an_idle_archiver_beats_and_moves_complete_until() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(4);
    let running = run(&store, &journal).await;
    running.handle.ship_now().await.unwrap();
    let first = head(&store, running.claim.epoch).await;
    assert_eq!(first.complete_until_ms, journal.durable().time_ms);
    loop {
        let later = head(&store, running.claim.epoch).await;
        if later.beat > first.beat + 1 {
            assert_eq!((later.archived, later.holder), (first.archived, HolderState::Active));
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn while_the_store_is_down_nothing_is_lost_and_it_catches_up_by_itself() {
    let (store, faults) = faulty_store();
    let journal = Journal::new(1);
    let running = run(&store, &journal).await;
    faults.go_offline();
    journal.append(50);
    let waiting = tokio::spawn({
        let handle = running.handle.clone();
        async move { handle.ship_now().await }
    });
    until(|| matches!(running.handle.status().state, ArchiverState::Retrying { failures, .. } if failures > 3)).await;
    let status = running.handle.status();
    assert_eq!((status.lag_records, journal.local_archived().lsn), (50, Lsn::ZERO));
    assert!(status.last_error.unwrap().contains("offline"));
    assert!(!waiting.is_finished());
    faults.go_online();
    assert_eq!(waiting.await.unwrap().unwrap().lsn, Lsn::new(50));
    assert_eq!(reach(&store, &journal).await, Lsn::new(50));
    assert_eq!(running.handle.status().state, ArchiverState::Online);
}

/// The story: the archive is a mounted disk. The mount goes away, an empty directory is in its place, and everything
/// written there succeeds.
#[tokio::test]
async fn an_archive_that_was_emptied_is_not_taken_for_the_one_that_was_claimed() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(5);
    let running = run(&store, &journal).await;
    running.handle.ship_now().await.unwrap();
    let claim_key = ArchiveKey::EpochClaim(running.claim.epoch);
    let claim_bytes = store.get_bounded(&claim_key, 1 << 20).await.unwrap();
    store.delete(&claim_key).await.unwrap();
    journal.append(50);
    let marking = tokio::spawn({
        let handle = running.handle.clone();
        async move { handle.mark(name("meanwhile")).await }
    });
    until(|| matches!(running.handle.status().state, ArchiverState::Retrying { failures, .. } if failures > 3)).await;
    assert_eq!(journal.local_archived().lsn, Lsn::new(5), "the log forgets nothing");
    assert_eq!(running.handle.status().archived.lsn, Lsn::new(5));
    assert!(running.handle.status().last_error.unwrap().contains("does not hold the claim of epoch 1"));
    assert!(!marking.is_finished());
    store.put_create_only(&claim_key, claim_bytes).await.unwrap();
    assert_eq!(marking.await.unwrap().unwrap().lsn, Lsn::new(55));
    assert_eq!(reach(&store, &journal).await, Lsn::new(55));
    assert_eq!(running.handle.status().state, ArchiverState::Online);
}

/// Ships, takes a snapshot and names a point, each asked for until it succeeds.
async fn whole_story(store: &Store, journal: &Journal) {
    let running = run(store, journal).await;
    for round in 0..3 {
        journal.append(12);
        while running.handle.snapshot(text("test"), silent()).await.is_err() {}
        running.handle.mark(name(&format!("point-{round}"))).await.unwrap();
    }
    running.end().await;
}

#[tokio::test]
async fn a_failure_of_any_request_never_leaves_an_invalid_archive() {
    for number in 0.. {
        let (store, faults) = faulty_store();
        let journal = Journal::new(1);
        claim_for(&store, &journal).await;
        let before = faults.requests().len() as u64;
        // The claim inside has its own sweep; it is skipped here.
        let skipped = {
            let (store, faults) = faulty_store();
            claim_for(&store, &journal).await;
            let before = faults.requests().len();
            claim_for(&store, &journal).await;
            (faults.requests().len() - before) as u64
        };
        faults.fail_nth(skipped + number);
        whole_story(&store, &journal).await;
        let made = faults.requests().len() as u64 - before;
        faults.heal();
        assert_eq!(reach(&store, &journal).await, Lsn::new(36), "request {number} failed");
        if skipped + number >= made {
            assert!(number > 40, "the sweep covered {number} requests");
            return;
        }
    }
}

#[tokio::test]
async fn a_lost_answer_of_any_write_never_leaves_an_invalid_archive() {
    for skipped in 0..24 {
        let (store, faults) = faulty_store();
        let journal = Journal::new(1);
        let running = run(&store, &journal).await;
        for round in 0..skipped {
            journal.append(1);
            running.handle.ship_now().await.unwrap();
            if round == skipped / 2 {
                faults.lose_answer_next();
                faults.lie_already_exists_next();
            }
        }
        journal.append(5);
        faults.lose_answer_next();
        while running.handle.snapshot(text("test"), silent()).await.is_err() {}
        running.handle.mark(name("end")).await.unwrap();
        running.end().await;
        assert_eq!(reach(&store, &journal).await, Lsn::new(skipped + 5));
    }
}

#[tokio::test]
async fn a_crash_at_any_request_is_caught_up_by_the_next_start() {
    for number in 0..60 {
        let (store, faults) = faulty_store();
        let journal = Journal::new(1);
        journal.append(30);
        let running = run(&store, &journal).await;
        let before = faults.requests().len() as u64;
        let story = tokio::spawn({
            let handle = running.handle.clone();
            async move {
                handle.ship_now().await.unwrap();
                drop(handle.snapshot(text("test"), silent()).await);
                drop(handle.mark(name("a")).await);
            }
        });
        while (faults.requests().len() as u64) < before + number && !story.is_finished() {
            tokio::task::yield_now().await;
        }
        running.task.abort();
        story.abort();
        // What the dead process had under way has landed or not by now.
        drop(running.task.await);
        reach(&store, &journal).await;
        journal.append(5);
        let next = run(&store, &journal).await;
        next.handle.snapshot(text("test"), silent()).await.unwrap();
        assert_eq!(next.end().await.missing_records, 0);
        assert_eq!(reach(&store, &journal).await, Lsn::new(35), "a crash after request {number}");
    }
}

#[tokio::test]
async fn a_higher_claim_ends_the_work_for_good() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(5);
    let slow = run(&store, &journal).await;
    slow.handle.ship_now().await.unwrap();
    let other = journal.fork(2, 5, None);
    let newer = claim_for(&store, &other).await;
    journal.append(5);
    let error = slow.handle.ship_now().await.unwrap_err();
    assert!(matches!(error, HandleError::Fenced { by } if by == newer.epoch), "{error}");
    assert_eq!(slow.handle.status().state, ArchiverState::Fenced { by: newer.epoch });
    assert_eq!(journal.local_archived().lsn, Lsn::new(5), "what came after the claim is not archived");
    assert_eq!(head(&store, slow.claim.epoch).await.archived.lsn, Lsn::new(5));
    for error in [
        slow.handle.mark(name("late")).await.map(|_| ()).unwrap_err(),
        slow.handle.snapshot(text("late"), silent()).await.map(|_| ()).unwrap_err(),
    ] {
        assert!(matches!(error, HandleError::Fenced { .. }), "{error}");
    }
    let epochs = Epochs::load(&store, CLUSTER, MissingDigest::Refuse).await.unwrap();
    assert!(epochs.is_void(slow.claim.epoch, slow.claim.timeline, Lsn::new(6)), "its late segment is void");
    assert_eq!(slow.end().await.missing_records, 5);
}

#[tokio::test]
async fn an_unchanged_file_is_sent_once() {
    let (store, faults) = faulty_store();
    let journal = Journal::new(1);
    journal.append(35);
    let running = run(&store, &journal).await;
    let first = running.handle.snapshot(text("first"), silent()).await.unwrap();
    assert_eq!((first.lsn, first.files.len()), (Lsn::new(35), 5));
    journal.append(2);
    let before = faults.requests().len();
    let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let progress: ProgressFn = Arc::new({
        let told = Arc::clone(&told);
        move |progress| told.lock().push(progress)
    });
    let second = running.handle.snapshot(text("second"), progress).await.unwrap();
    let sent =
        faults.requests()[before..].iter().filter(|(op, key)| *op == Op::Put && key.starts_with("objects")).count();
    assert_eq!(sent, 2, "the last table and `current` have changed");
    let last = *told.lock().last().unwrap();
    assert_eq!((last.done_bytes, last.total_bytes), (second.total_bytes, second.total_bytes));
    assert!(last.sent_bytes < last.total_bytes / 2);
    assert_ne!(first.id, second.id);
    assert_eq!(running.handle.status().newest_snapshot, Some(second.reference()));
    assert!(
        std::fs::read_dir(running.staging.path().join("staging")).unwrap().next().is_none(),
        "nothing stays behind"
    );
    running.end().await;
    assert_eq!(reach(&store, &journal).await, Lsn::new(37));
}

#[tokio::test]
async fn an_object_of_the_wrong_size_is_written_again() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(3);
    let running = run(&store, &journal).await;
    let first = running.handle.snapshot(text("first"), silent()).await.unwrap();
    store.put_overwrite(&first.files[1].key(), Bytes::from_static(b"cut")).await.unwrap();
    running.handle.snapshot(text("second"), silent()).await.unwrap();
    reach(&store, &journal).await;
}

#[tokio::test]
async fn a_file_that_is_not_what_was_written_is_never_published() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(25);
    let running = run(&store, &journal).await;
    running.handle.snapshot(text("sound"), silent()).await.unwrap();
    let published = store.list(SNAPSHOTS_PREFIX).await.unwrap();
    journal.rot(1);
    let error = running.handle.snapshot(text("rotten"), silent()).await.unwrap_err();
    assert!(
        matches!(&error, HandleError::Snapshot(SnapshotError::Damaged { path, .. }) if path.as_str() == "tables/0001"),
        "{error}"
    );
    assert_eq!(store.list(SNAPSHOTS_PREFIX).await.unwrap().len(), published.len());
}

#[tokio::test]
async fn one_snapshot_runs_at_a_time_and_the_second_caller_is_told_which() {
    let (store, faults) = faulty_store();
    let journal = Journal::new(1);
    journal.append(5);
    let running = run(&store, &journal).await;
    running.handle.ship_now().await.unwrap();
    // The manifest cannot be written, so the first snapshot stays under way.
    faults.go_offline_for_writes_of("snapshots/");
    let first = tokio::spawn({
        let handle = running.handle.clone();
        async move { handle.snapshot(text("first"), silent()).await }
    });
    until(|| running.handle.status().snapshot.is_some_and(|snapshot| snapshot.done_bytes > 0)).await;
    let busy = running.handle.snapshot(text("second"), silent()).await.unwrap_err();
    let id = running.handle.status().snapshot.unwrap().id;
    assert!(matches!(&busy, HandleError::Snapshot(SnapshotError::Busy(running)) if running.id == id), "{busy}");
    // Shipping goes on beside it.
    journal.append(5);
    until(|| running.handle.status().archived.lsn >= Lsn::new(10)).await;
    faults.heal();
    assert_eq!(first.await.unwrap().unwrap().id, id);
    assert!(running.handle.status().snapshot.is_none());
}

#[tokio::test]
async fn a_snapshot_that_is_given_up_leaves_no_manifest_and_no_files() {
    let (store, faults) = faulty_store();
    let journal = Journal::new(1);
    journal.append(500);
    let running = run_with(&store, &journal, |settings| settings.uploads_at_once = 1).await;
    running.handle.ship_now().await.unwrap();
    let before = faults.requests().len();
    let snapshot = tokio::spawn({
        let handle = running.handle.clone();
        async move { handle.snapshot(text("first"), silent()).await }
    });
    while !faults.requests()[before..].iter().any(|(op, key)| *op == Op::Put && key.starts_with("objects")) {
        tokio::task::yield_now().await;
    }
    running.handle.shutdown(Duration::from_secs(5)).await.unwrap();
    let error = snapshot.await.unwrap().unwrap_err();
    assert!(matches!(error, HandleError::Snapshot(SnapshotError::Ended)), "{error}");
    assert!(store.list(SNAPSHOTS_PREFIX).await.unwrap().is_empty());
    let staging = running.staging.path().join("staging");
    until(|| std::fs::read_dir(&staging).unwrap().next().is_none()).await;
}

#[tokio::test]
async fn nothing_is_published_before_the_archive_has_reached_it() {
    let (store, faults) = faulty_store();
    let journal = Journal::new(1);
    journal.append(10);
    journal.hold_fence(Some(5));
    let running = run(&store, &journal).await;
    let (snapshot, point) = {
        let (one, two) = (running.handle.clone(), running.handle.clone());
        let snapshot = tokio::spawn(async move { one.snapshot(text("early"), silent()).await });
        (snapshot, tokio::spawn(async move { two.mark(name("early")).await }))
    };
    until(|| {
        running.handle.status().snapshot.is_some_and(|now| now.total_bytes > 0 && now.done_bytes == now.total_bytes)
    })
    .await;
    let beats = head(&store, running.claim.epoch).await.beat;
    until(|| faults.requests().iter().filter(|(_, key)| key.ends_with("head.json")).count() as u64 > beats + 5).await;
    assert_eq!(running.handle.status().archived.lsn, Lsn::new(5));
    let keys: Vec<_> = store.list("").await.unwrap().into_iter().map(|object| object.key).collect();
    assert!(!keys.iter().any(|key| key.starts_with("snapshots/") || key.starts_with("points/")), "{keys:?}");
    journal.hold_fence(None);
    assert_eq!(snapshot.await.unwrap().unwrap().lsn, Lsn::new(10));
    assert_eq!(point.await.unwrap().unwrap().lsn, Lsn::new(10));
    assert_eq!(reach(&store, &journal).await, Lsn::new(10));
}

#[tokio::test]
async fn a_point_names_the_newest_durable_record_and_never_moves() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(7);
    let running = run(&store, &journal).await;
    let point = running.handle.mark(name("before")).await.unwrap();
    assert_eq!((point.lsn, point.chain), (Lsn::new(7), journal.point(7).chain));
    assert!(head(&store, running.claim.epoch).await.archived.lsn >= point.lsn);
    assert_eq!(running.handle.mark(name("before")).await.unwrap(), point, "asking twice is no error");
    journal.append(1);
    let error = running.handle.mark(name("before")).await.unwrap_err();
    assert!(matches!(&error, HandleError::Point(PointError::NameTaken { lsn, .. }) if *lsn == Lsn::new(7)), "{error}");
    assert_eq!(running.handle.mark(name("after")).await.unwrap().lsn, Lsn::new(8));
}

#[tokio::test]
async fn the_catalogue_tells_what_is_there() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(200);
    let running = run(&store, &journal).await;
    let snapshot = running.handle.snapshot(text("first"), silent()).await.unwrap();
    running.handle.mark(name("here")).await.unwrap();
    running.end().await;
    let next = run(&store, &journal).await;
    next.handle.snapshot(text("second"), silent()).await.unwrap();
    next.end().await;
    let found: Catalogue = store.get_document(&ArchiveKey::Catalogue, MissingDigest::Refuse).await.unwrap().document;
    assert_eq!(found.epoch, Epoch::new(2));
    assert_eq!(found.timelines.len(), 1);
    let range = &found.timelines[0].ranges[..];
    assert!(matches!(range, [range] if (range.first_lsn, range.last_lsn) == (Lsn::new(1), Lsn::new(200))), "{range:?}");
    assert!(found.snapshots.contains(&snapshot.reference().key().to_string()) && found.snapshots.len() == 2);
    assert_eq!(found.points, [name("here")]);
}

#[tokio::test]
async fn a_shutdown_keeps_its_deadline_and_says_what_is_missing() {
    let (store, faults) = faulty_store();
    let journal = Journal::new(1);
    let running = run(&store, &journal).await;
    faults.go_offline();
    journal.append(9);
    let report = running.handle.shutdown(Duration::from_millis(50)).await.unwrap();
    assert_eq!(report.missing_records, 9);
    running.task.await.unwrap();
    assert!(matches!(running.handle.ship_now().await, Err(HandleError::Ended)));
    assert_eq!(running.handle.status().state, ArchiverState::Ended);
    faults.go_online();
    let next = run(&store, &journal).await;
    assert_eq!(next.end().await.missing_records, 0);
    assert_eq!(reach(&store, &journal).await, Lsn::new(9));
}

/// A log whose records are not what its mark says.
struct Lying(Journal);

impl LogSource for Lying {
    fn durable(&self) -> TimedMark {
        self.0.durable()
    }

    fn fence(&self) -> Result<crate::source::Fence, SourceError> {
        self.0.fence()
    }

    fn read(&self, from: Lsn, to: Lsn, bytes_max: u64) -> Result<Bytes, SourceError> {
        let mut bytes = self.0.read(from, to, bytes_max)?.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        Ok(bytes.into())
    }

    fn archived(&self, mark: TimedMark) -> Result<(), SourceError> {
        self.0.archived(mark)
    }
}

#[tokio::test]
async fn records_that_do_not_fit_the_logs_own_chain_are_not_shipped() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(9);
    let claim = claim_for(&store, &journal).await;
    let staging = tempfile::tempdir().unwrap();
    let (handle, _task) = Archiver::start(ArchiverParts {
        store: store.clone(),
        claim,
        log: Arc::new(Lying(journal.clone())),
        checkpoints: Arc::new(journal.clone()),
        clock: Arc::new(TestClock::default()),
        settings: fast(staging.path()),
    });
    until(|| handle.status().last_error.is_some()).await;
    assert!(handle.status().last_error.unwrap().contains("check the local disk"));
    assert!(store.list(WAL_PREFIX).await.unwrap().is_empty());
}

async fn put_segment(store: &Store, journal: &Journal, claim: &Claim, level: i32) {
    let bytes = journal.read(Lsn::new(1), Lsn::new(20), u64::MAX).unwrap();
    let run = RecordRun::scan(Lsn::ZERO, claim.archived.chain, bytes).unwrap();
    let level = crate::codec::CompressionLevel::new(level).unwrap();
    let stored = encode_segment(&run, CLUSTER, claim.timeline, claim.epoch, level).unwrap();
    store.put_create_only(&ArchiveKey::Segment(stored.sidecar.name()), stored.object).await.unwrap();
}

#[tokio::test]
async fn a_segment_of_the_same_records_in_other_bytes_is_adopted() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(20);
    let staged = tempfile::tempdir().unwrap();
    let claim = claim_for(&store, &journal).await;
    put_segment(&store, &journal, &claim, 19).await;
    let (handle, _task) = start_with(&store, &journal, claim, staged.path());
    handle.ship_now().await.unwrap();
    assert_eq!(reach(&store, &journal).await, Lsn::new(20));
}

#[tokio::test]
async fn a_segment_of_other_records_is_a_conflict_and_nothing_is_overwritten() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    let other = Journal::new(1);
    journal.append(20);
    other.append_with(20, 30, 77);
    let staged = tempfile::tempdir().unwrap();
    let claim = claim_for(&store, &journal).await;
    put_segment(&store, &other, &claim, 3).await;
    let before = store.list(WAL_PREFIX).await.unwrap();
    let (handle, _task) = start_with(&store, &journal, claim, staged.path());
    until(|| handle.status().last_error.is_some()).await;
    assert!(handle.status().last_error.unwrap().contains("other content"));
    assert_eq!(store.list(WAL_PREFIX).await.unwrap(), before);
    assert_eq!(journal.local_archived().lsn, Lsn::ZERO);
}

fn start_with(store: &Store, journal: &Journal, claim: Claim, staging: &Path) -> (ArchiverHandle, JoinHandle<()>) {
    Archiver::start(ArchiverParts {
        store: store.clone(),
        claim,
        log: Arc::new(journal.clone()),
        checkpoints: Arc::new(journal.clone()),
        clock: Arc::new(TestClock::default()),
        settings: fast(staging),
    })
}

#[tokio::test]
async fn a_local_directory_holds_an_archive() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/archive", directory.path().display()).parse().unwrap();
    let store = Store::open(&url, &StoreSettings::default(), OpenMode::Create).unwrap();
    store.probe().await.unwrap();
    let journal = Journal::new(1);
    whole_story(&store, &journal).await;
    assert_eq!(reach(&store, &journal).await, Lsn::new(36));
    let reopened = Store::open(&url, &StoreSettings::default(), OpenMode::MustExist).unwrap();
    assert_eq!(claim_for(&reopened, &journal).await.archived.lsn, Lsn::new(36));
}

#[tokio::test]
async fn a_remote_store_holds_an_archive() {
    let Some(store) = crate::tests::remote_store() else { return };
    store.probe().await.unwrap();
    let journal = Journal::new(1);
    whole_story(&store, &journal).await;
    assert_eq!(reach(&store, &journal).await, Lsn::new(36));
    assert_eq!(claim_for(&store, &journal).await.archived.lsn, Lsn::new(36));
}

#[tokio::test]
async fn the_checker_of_these_tests_sees_a_head_beyond_the_archive() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(4);
    let claim = claim_for(&store, &journal).await;
    assert_eq!(reach(&store, &journal).await, Lsn::ZERO);
    let mut lie = head(&store, claim.epoch).await;
    lie.archived = journal.durable();
    let bytes = sealed::encode(&lie).unwrap();
    store.put_overwrite(&ArchiveKey::EpochHead(claim.epoch), bytes.into()).await.unwrap();
    let caught = tokio::spawn(async move { reach(&store, &journal).await }).await;
    assert!(caught.is_err());
}
