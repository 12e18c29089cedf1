//! Damage: whatever is deleted, changed or exchanged is reported by name, hides no other fault, and never makes a restore
//! give another state than the one that was asked for.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use reddb_file::archive::ArchiveKey;
use reddb_file::{Lsn, TimelineId};

use super::archive::{Archive, T1, T2, delete, get, history_of, keys, put, store_of};
use super::sink::restored;
use crate::history::read::HistoryError;
use crate::history::{Fault, FaultKind};
use crate::plan::{Request, Target, UnixMs};
use crate::store::Store;
use crate::verify::{VerifyError, VerifyOptions, VerifyReport, verify};

/// One state of each part of the archive: before and after the snapshots and the fork, and the ends.
const TARGETS: [(TimelineId, u64); 6] = [(T1, 5), (T1, 10), (T1, 24), (T1, 40), (T2, 32), (T2, 45)];

async fn verified(store: &Store) -> Result<VerifyReport, VerifyError> {
    verify(store, &VerifyOptions::default()).await
}

/// Restores every target from a damaged archive: each gives the right state or an error. Says how many gave a state.
async fn restore_all(archive: &Archive, store: &Store, what: &str) -> usize {
    let Ok(contents) = crate::history::read::read(
        store,
        reddb_file::archive::MissingDigest::Refuse,
        &crate::progress::Silent::shared(),
    )
    .await
    else {
        return 0;
    };
    let history = crate::history::History::conclude(contents);
    let mut good = 0;
    for (timeline, lsn) in TARGETS {
        let request = Request::new(Target::Lsn(Lsn::new(lsn))).on(timeline);
        if let Ok(restored) = restored(store, &history, &request).await {
            assert_eq!(restored.log, archive.state(timeline, lsn), "{what}: LSN {lsn} of timeline {timeline}");
            good += 1;
        }
        let by_time = Request::new(Target::Time(UnixMs(1000 + 10 * lsn))).on(timeline);
        if let Ok(restored) = restored(store, &history, &by_time).await {
            assert_eq!(
                restored.log,
                archive.state(timeline, lsn),
                "{what}: the time of LSN {lsn} of timeline {timeline}"
            );
        }
        let latest = Request::new(Target::Latest).on(timeline);
        if lsn >= 40
            && let Ok(restored) = restored(store, &history, &latest).await
        {
            assert_eq!(restored.log, archive.state(timeline, lsn), "{what}: the latest of timeline {timeline}");
        }
    }
    good
}

fn names(faults: &[Fault], key: &str) -> bool {
    // A missing half of a segment may be named by either of its keys, a missing segment by its folder.
    let stem = key.strip_suffix(".json").unwrap_or(key);
    faults.iter().any(|fault| fault.key.starts_with(stem))
}

/// What of the archive a fault must name, so that an operator knows which restores it costs.
fn expected_range(key: &str) -> Option<(TimelineId, Lsn, Lsn)> {
    match key.parse().unwrap() {
        ArchiveKey::Segment(name) | ArchiveKey::SegmentSidecar(name) => {
            Some((name.timeline, name.first_lsn, name.last_lsn))
        }
        _ => None,
    }
}

fn covers(faults: &[Fault], (timeline, first, last): (TimelineId, Lsn, Lsn)) -> bool {
    faults
        .iter()
        .filter_map(|fault| fault.affects)
        .any(|affected| affected.timeline == timeline && affected.first_lsn <= first && last <= affected.last_lsn)
}

#[tokio::test]
async fn each_deleted_object_is_missed_and_no_restore_is_wrong() {
    let archive = Archive::make().await;
    for key in keys(&archive.objects).await {
        let (objects, store) = archive.copy().await;
        delete(&objects, &key).await;
        let good = restore_all(&archive, &store, &format!("without {key}")).await;
        let report = match verified(&store).await {
            Ok(report) => report,
            Err(VerifyError::History(HistoryError::ClusterMissing { .. })) if key == "cluster.json" => continue,
            Err(error) => panic!("without {key}: {error}"),
        };
        match key.parse().unwrap() {
            // Derived: may be missing.
            ArchiveKey::Catalogue => assert!(report.is_sound(), "{:?}", report.faults),
            // The catalogue still lists it; the LSN that it named can be restored all the same.
            ArchiveKey::Point(_) => {
                assert!(names(&report.faults, &key), "without {key}: {:?}", report.faults);
                assert_eq!(good, TARGETS.len());
            }
            // The next older one serves, or the log from LSN 1 on.
            ArchiveKey::Snapshot { lsn, timeline, .. } if (timeline, lsn) != (T2, Lsn::new(38)) => {
                assert!(names(&report.faults, &key), "without {key}: {:?}", report.faults);
                assert_eq!(good, TARGETS.len());
            }
            _ => {
                assert!(names(&report.faults, &key), "without {key}: {:?}", report.faults);
                if let Some(range) = expected_range(&key) {
                    assert!(covers(&report.faults, range), "without {key}: {:?}", report.faults);
                    assert!(good < TARGETS.len(), "without {key} something cannot be restored");
                }
            }
        }
    }
}

#[tokio::test]
async fn each_changed_byte_is_seen_and_no_restore_is_wrong() {
    let archive = Archive::make().await;
    for key in keys(&archive.objects).await {
        let good = get(&archive.objects, &key).await;
        let size = good.len();
        for (at, bit) in [
            (0, 0),
            (1, 3),
            (size / 3, 5),
            (size / 2, 1),
            (size * 2 / 3, 6),
            (size.saturating_sub(2), 2),
            (size - 1, 7),
        ] {
            let (objects, store) = archive.copy().await;
            let mut bad = good.to_vec();
            bad[at.min(size - 1)] ^= 1 << bit;
            put(&objects, &key, bad.into()).await;
            let what = format!("bit {bit} of byte {at} of {key}");
            if at == size / 2 {
                restore_all(&archive, &store, &what).await;
            }
            match verified(&store).await {
                Ok(report) => {
                    assert!(names(&report.faults, &key), "{what}: {:?}", report.faults);
                    if let Some(range) = expected_range(&key) {
                        assert!(covers(&report.faults, range), "{what}: {:?}", report.faults);
                    }
                }
                Err(VerifyError::History(HistoryError::Cluster { .. })) if key == "cluster.json" => {}
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn each_truncated_or_emptied_object_is_seen() {
    let archive = Archive::make().await;
    for key in keys(&archive.objects).await {
        let good = get(&archive.objects, &key).await;
        for size in [0, good.len() - 1, good.len() + 1] {
            let (objects, store) = archive.copy().await;
            let mut bad = good.to_vec();
            bad.resize(size, b'\n');
            put(&objects, &key, bad.into()).await;
            match verified(&store).await {
                Ok(report) => assert!(names(&report.faults, &key), "{size} bytes of {key}: {:?}", report.faults),
                Err(VerifyError::History(HistoryError::Cluster { .. })) if key == "cluster.json" => {}
                Err(error) => panic!("{size} bytes of {key}: {error}"),
            }
        }
    }
}

#[tokio::test]
async fn objects_that_changed_places_are_seen() {
    let archive = Archive::make().await;
    let all = keys(&archive.objects).await;
    for folder in ["epochs/", "timelines/", "wal/", "snapshots/", "objects/", "points/"] {
        let of_kind: Vec<_> = all.iter().filter(|key| key.starts_with(folder)).collect();
        for (left, right) in of_kind.iter().zip(of_kind.iter().skip(1)) {
            let (objects, store) = archive.copy().await;
            let (one, other) = (get(&objects, left).await, get(&objects, right).await);
            put(&objects, left, other).await;
            put(&objects, right, one).await;
            let what = format!("{left} and {right} exchanged");
            let report = verified(&store).await.unwrap();
            assert!(names(&report.faults, left) && names(&report.faults, right), "{what}: {:?}", report.faults);
            restore_all(&archive, &store, &what).await;
        }
    }
}

#[tokio::test]
async fn a_lost_tail_is_a_fault_and_the_latest_is_not_silently_an_earlier_one() {
    let archive = Archive::make().await;
    let (objects, store) = archive.copy().await;
    for key in keys(&objects).await {
        if key.starts_with("wal/0000000002/00000000000000000039") {
            delete(&objects, &key).await;
        }
    }
    let report = verified(&store).await.unwrap();
    let [fault] = &report.faults[..] else { panic!("{:?}", report.faults) };
    let range = fault.affects.unwrap();
    assert_eq!((fault.kind, range.first_lsn, range.last_lsn), (FaultKind::TailLost, Lsn::new(39), Lsn::new(45)));
    assert!(fault.detail.contains("epochs/00000000000000000003.head.json"), "{fault}");
    let history = history_of(&store).await;
    let refused = crate::plan::plan(&history, &Request::new(Target::Latest)).unwrap_err();
    let crate::plan::PlanError::Hole { first_missing, last_missing, nearest, .. } = &refused else {
        panic!("{refused}")
    };
    assert_eq!((*first_missing, *last_missing), (Lsn::new(39), Lsn::new(45)));
    assert_eq!(nearest.below.map(|below| below.lsn), Some(Lsn::new(38)));
    assert_eq!(report.timelines[1].restorable[0].last.lsn, Lsn::new(38));
}

#[tokio::test]
async fn one_fault_does_not_hide_another() {
    let archive = Archive::make().await;
    let (objects, store) = archive.copy().await;
    let all = keys(&objects).await;
    let segment = all.iter().find(|key| key.starts_with("wal/0000000001/00000000000000000009") && key.ends_with("zst"));
    let sidecar =
        all.iter().find(|key| key.starts_with("wal/0000000001/00000000000000000021") && key.ends_with("json"));
    let file = all.iter().find(|key| key.starts_with("objects/"));
    let point = all.iter().find(|key| key.starts_with("points/"));
    let broken = [segment, sidecar, file, point].map(Option::unwrap);
    for key in broken {
        let mut bytes = get(&objects, key).await.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        put(&objects, key, bytes.into()).await;
    }
    put(&objects, "notes.txt", Bytes::from_static(b"hello")).await;
    put(&objects, "wal/0000000001/notes.txt", Bytes::from_static(b"hello")).await;
    let report = verified(&store).await.unwrap();
    for key in broken {
        assert!(names(&report.faults, key), "{key}: {:?}", report.faults);
    }
    let unknown: Vec<_> = report.notices.iter().filter(|notice| notice.kind == FaultKind::UnknownObject).collect();
    assert_eq!(unknown.len(), 2, "{:?}", report.notices);
    let first = &report.timelines[0];
    let ends: Vec<_> = first.restorable.iter().map(|range| (range.first.lsn.get(), range.last.lsn.get())).collect();
    assert!(
        !ends.iter().any(|(first, last)| *first < 13 && *last > 8),
        "nothing reaches over the bad segment: {ends:?}"
    );
}

#[tokio::test]
async fn a_segment_that_is_still_being_uploaded_is_no_fault() {
    let archive = Archive::make().await;
    let (objects, store) = archive.copy().await;
    let name = "wal/0000000002/00000000000000000046-00000000000000000050.00000000000000000003.wal.zst";
    put(&objects, name, Bytes::from_static(b"half")).await;
    let report = verified(&store).await.unwrap();
    assert!(report.is_sound(), "{:?}", report.faults);
    assert_eq!(report.notices.iter().map(|notice| notice.kind).collect::<Vec<_>>(), [FaultKind::Unfinished]);
}

#[tokio::test]
async fn an_empty_store_is_no_archive() {
    let store = store_of(&Arc::new(InMemory::new()));
    let refused = verified(&store).await.unwrap_err();
    assert!(matches!(refused, VerifyError::History(HistoryError::NoArchive { .. })), "{refused}");
}
