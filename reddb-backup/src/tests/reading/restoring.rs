//! What is restored is what was written: at every LSN, time and label, from every snapshot, on every timeline.

use std::sync::Arc;

use object_store::ObjectStore;
use reddb_file::archive::TimelineReason;
use reddb_file::lock::DirLock;
use reddb_file::vfs::StdVfs;
use reddb_file::{Lsn, TimelineId};

use super::archive::{Archive, T1, T2, Writer, delete, fork, get, history_of, keys, put, store_of};
use super::sink::{LogSink, Misbehaviour, Refused, carry_out, restored};
use crate::history::{Base, FaultKind, Moment};
use crate::info::ArchiveInfo;
use crate::plan::{PlanError, Request, Target, UnixMs, plan};
use crate::progress::Silent;
use crate::restore::{RestoreError, RestoreErrorKind, RestoreOptions, check_target, restore};
use crate::source::LogSource as _;
use crate::store::fault::{FaultStore, Op};
use crate::store::open::StoreSettings;
use crate::store::{OpenMode, Store};
use crate::verify::{VerifyOptions, verify};

fn lsn(value: u64) -> Lsn {
    Lsn::new(value)
}

fn to_lsn(value: u64) -> Request {
    Request::new(Target::Lsn(lsn(value)))
}

fn to_time(ms: u64) -> Request {
    Request::new(Target::Time(UnixMs(ms)))
}

/// The journals give LSN n the time 1000 + 10 n.
fn time_of(value: u64) -> u64 {
    1000 + 10 * value
}

#[tokio::test]
async fn a_fresh_archive_is_sound_and_all_of_it_can_be_restored() {
    let archive = Archive::make().await;
    let report = verify(&archive.store, &VerifyOptions::default()).await.unwrap();
    assert_eq!(report.faults, []);
    assert_eq!(report.notices, []);
    assert_eq!((report.segments.objects, report.records, report.snapshots, report.points), (8, 60, 4, 2));
    let ranges: Vec<_> = report
        .timelines
        .iter()
        .map(|timeline| {
            let [range] = &timeline.restorable[..] else { panic!("{timeline:?}") };
            (timeline.timeline, range.first.lsn.get(), range.last.lsn.get(), timeline.end.get())
        })
        .collect();
    assert_eq!(ranges, [(T1, 0, 40, 40), (T2, 0, 45, 45)]);
}

#[tokio::test]
async fn every_lsn_of_every_timeline_is_restored_as_it_was() {
    let archive = Archive::make().await;
    let history = archive.history().await;
    for (timeline, end) in [(T1, 40), (T2, 45)] {
        for target in 0..=end {
            let restored = restored(&archive.store, &history, &to_lsn(target).on(timeline)).await;
            let restored = restored.unwrap_or_else(|error| panic!("LSN {target} of {timeline}: {error:?}"));
            assert_eq!(restored.log, archive.state(timeline, target), "LSN {target} of timeline {timeline}");
            let report = restored.report;
            assert_eq!(report.mark.lsn, lsn(target));
            assert_eq!(report.mark.chain, archive.journal(timeline).point(target).chain);
            assert_eq!(report.forks_from, if target > 25 { timeline } else { T1 });
            assert_eq!(
                report.records,
                target - report.base.snapshot().unwrap().lsn.get(),
                "only what follows the snapshot is replayed"
            );
        }
    }
}

#[tokio::test]
async fn an_archive_without_a_snapshot_is_restored_from_its_first_record_on() {
    let archive = Archive::make().await;
    for key in keys(&archive.objects).await {
        if key.starts_with("snapshots/") {
            delete(&archive.objects, &key).await;
        }
    }
    let history = archive.history().await;
    for (timeline, end) in [(T1, 40), (T2, 45)] {
        assert_eq!(
            history.reachable(timeline).iter().map(|range| (range.first, range.last)).collect::<Vec<_>>(),
            [(moment(timeline, 1), moment(timeline, end))]
        );
        for target in 1..=end {
            let by_lsn = restored(&archive.store, &history, &to_lsn(target).on(timeline)).await.unwrap();
            assert_eq!(by_lsn.log, archive.state(timeline, target), "LSN {target} of timeline {timeline}");
            assert_eq!((by_lsn.snapshot_lsn(), by_lsn.report.records), (None, target));
            assert_eq!(by_lsn.report.mark.chain, archive.journal(timeline).point(target).chain);
            let by_time = to_time(time_of(target)).on(timeline);
            let by_time = restored(&archive.store, &history, &by_time).await.unwrap();
            assert_eq!(by_time.log, by_lsn.log, "the time of LSN {target} of timeline {timeline}");
        }
    }
    // That the snapshots are gone is said, and nothing else is wrong.
    let report = verify(&archive.store, &VerifyOptions::default()).await.unwrap();
    assert!(report.faults.iter().all(|fault| fault.key.starts_with("snapshots/")), "{:?}", report.faults);
    let named: std::collections::BTreeSet<_> = report.faults.iter().map(|fault| &fault.key).collect();
    assert_eq!(named.len(), 4, "each of them: {:?}", report.faults);
}

#[tokio::test]
async fn an_archive_that_never_had_a_snapshot_is_sound_and_a_flipped_bit_in_its_first_segment_is_seen() {
    let objects = Arc::new(object_store::memory::InMemory::new());
    let store = store_of(&objects);
    let journal = crate::tests::Journal::new(1);
    let writer = Writer::start(&store, &journal).await;
    for count in [10, 5] {
        journal.append(count);
        writer.ship().await;
    }
    writer.end().await;
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    assert_eq!((&report.faults[..], &report.notices[..]), (&[][..], &[][..]));
    let info = ArchiveInfo::read(&store, &Silent::shared()).await.unwrap();
    assert_eq!(info.gap.as_ref().map(|gap| (gap.newest, gap.records_missing)), Some((Some(moment(T1, 15)), 0)));
    let text = info.to_string();
    assert!(text.contains("restorable  LSN 1 to 15") && !text.contains("NO STATE"), "{text}");

    let all = keys(&objects).await;
    let first = all.iter().find(|key| key.starts_with("wal/0000000001/00000000000000000001-") && key.ends_with("zst"));
    let first = first.unwrap();
    let mut bytes = get(&objects, first).await.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    put(&objects, first, bytes.into()).await;
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    let [fault] = &report.faults[..] else { panic!("{:?}", report.faults) };
    assert_eq!(fault.affects.map(|range| (range.first_lsn.get(), range.last_lsn.get())), Some((1, 10)));
    assert_eq!(report.timelines[0].restorable, []);
    let history = history_of(&store).await;
    for target in [1, 10, 15] {
        let refused = restored(&store, &history, &to_lsn(target)).await;
        let Err(Refused::Restore(error)) = refused else { panic!("LSN {target} was restored from damaged bytes") };
        assert_eq!(error.kind(), RestoreErrorKind::Integrity);
    }
}

#[tokio::test]
async fn any_snapshot_will_do() {
    let archive = Archive::make().await;
    let history = archive.history().await;
    for timeline in [T1, T2] {
        for snapshot in history.usable_snapshots(timeline) {
            for target in [snapshot.lsn.get(), 39] {
                let request = to_lsn(target).on(timeline).from_base(Base::Snapshot(snapshot.id));
                let restored = restored(&archive.store, &history, &request).await.unwrap();
                assert_eq!(restored.report.base.snapshot().unwrap().id, snapshot.id);
                assert_eq!(restored.log, archive.state(timeline, target));
            }
        }
    }
    let too_new = history.snapshots(T2)[0].id;
    let refused = plan(&history, &to_lsn(30).on(T2).from_base(Base::Snapshot(too_new))).unwrap_err();
    assert!(matches!(refused, PlanError::UnusableBase { .. }), "{refused}");
}

#[tokio::test]
async fn a_time_means_the_last_record_that_is_not_later() {
    let archive = Archive::make().await;
    let history = archive.history().await;
    for (timeline, end) in [(T1, 40), (T2, 45)] {
        for target in [1, 5, 13, 14, 25, 26, 30, 31, end] {
            for extra in [0, 9] {
                let request = to_time(time_of(target) + extra).on(timeline);
                // The journal promises completeness until its last record's time, and not a millisecond more.
                if target == end && extra > 0 {
                    let refused = plan(&history, &request).unwrap_err();
                    let PlanError::BeyondComplete { complete_until, nearest, .. } = &refused else {
                        panic!("{refused}")
                    };
                    assert_eq!(*complete_until, Some(UnixMs(time_of(end))));
                    assert_eq!(nearest.below, Some(moment(timeline, end)));
                    continue;
                }
                let restored = restored(&archive.store, &history, &request).await.unwrap();
                assert_eq!(restored.report.mark.lsn, lsn(target), "{extra} ms after LSN {target} of {timeline}");
                assert_eq!(restored.log, archive.state(timeline, target));
            }
        }
    }
}

fn moment(timeline: TimelineId, value: u64) -> Moment {
    Moment { timeline, lsn: lsn(value), time_ms: Some(time_of(value)) }
}

#[tokio::test]
async fn a_label_is_its_lsn_on_its_timeline() {
    let archive = Archive::make().await;
    let history = archive.history().await;
    let label = |name: &str| Request::new(Target::Label(name.parse().unwrap()));
    for (name, timeline, target) in [("before", T1, 13), ("after", T2, 38)] {
        let restored = restored(&archive.store, &history, &label(name)).await.unwrap();
        assert_eq!((restored.report.timeline, restored.report.mark.lsn), (timeline, lsn(target)));
        assert_eq!(restored.log, archive.state(timeline, target));
    }
    // What lies before the fork is in the history of both.
    let restored = restored(&archive.store, &history, &label("before").on(T2)).await.unwrap();
    assert_eq!((restored.report.timeline, restored.report.forks_from), (T2, T1));
    let refused = plan(&history, &label("after").on(T1)).unwrap_err();
    assert!(matches!(refused, PlanError::LabelElsewhere { .. }), "{refused}");
    let refused = plan(&history, &label("Befor")).unwrap_err();
    assert_eq!(refused.to_string(), "there is no restore point Befor; similar: before");
}

#[tokio::test]
async fn the_latest_is_the_end_of_the_timeline_that_is_written() {
    let archive = Archive::make().await;
    let history = archive.history().await;
    let restored = restored(&archive.store, &history, &Request::new(Target::Latest)).await.unwrap();
    assert_eq!((restored.report.timeline, restored.report.mark.lsn), (T2, lsn(45)));
    let of_first = plan(&history, &Request::new(Target::Latest).on(T1)).unwrap();
    assert_eq!(of_first.stop.at_most(), lsn(40));
}

#[tokio::test]
async fn what_exists_twice_needs_its_timelines_name_and_what_lies_before_the_fork_does_not() {
    let archive = Archive::make().await;
    let history = archive.history().await;
    for target in [1, 24, 25] {
        assert_eq!(plan(&history, &to_lsn(target)).unwrap().timeline, T1);
        assert_eq!(plan(&history, &to_time(time_of(target))).unwrap().timeline, T1);
    }
    for request in [to_lsn(26), to_lsn(40), to_time(time_of(26)), to_time(time_of(40))] {
        let refused = plan(&history, &request).unwrap_err();
        let PlanError::AmbiguousTimeline { timelines, .. } = &refused else { panic!("{refused}") };
        assert_eq!(timelines, &[T1, T2]);
    }
    for request in [to_lsn(41), to_time(time_of(41))] {
        assert_eq!(plan(&history, &request).unwrap().timeline, T2, "only timeline 2 has it");
    }
    let refused = plan(&history, &to_lsn(46)).unwrap_err();
    let PlanError::PastEnd { nearest, .. } = &refused else { panic!("{refused}") };
    assert_eq!((nearest.below, nearest.above), (Some(moment(T2, 45)), None));
    let unknown = plan(&history, &to_lsn(1).on(TimelineId::new(9))).unwrap_err();
    assert_eq!(unknown.to_string(), "timeline 9 is not in the archive; it holds timelines 1, 2");
}

#[tokio::test]
async fn a_fork_of_a_fork_below_its_parents_own_fork_is_the_grandparents_history() {
    let archive = Archive::make().await;
    // Timeline 3 says that it forked from timeline 2 at LSN 20, which timeline 1 owns.
    let third = fork(&archive.store, &archive.second, 3, 20).await;
    let writer = Writer::start(&archive.store, &third).await;
    third.append_with(6, 50, 3);
    writer.ship().await;
    writer.end().await;
    let history = archive.history().await;
    assert_eq!(history.faults(), []);
    let t3 = TimelineId::new(3);
    for target in [19, 20, 21, 26] {
        let restored = restored(&archive.store, &history, &to_lsn(target).on(t3)).await.unwrap();
        assert_eq!(restored.log, third.read(lsn(1), lsn(target), u64::MAX).unwrap());
        assert_eq!(restored.report.forks_from, if target > 20 { t3 } else { T1 });
    }
    assert_eq!(history.tree().document(t3).unwrap().reason, TimelineReason::Restored);
    assert!(verify(&archive.store, &VerifyOptions::default()).await.unwrap().is_sound());
}

#[tokio::test]
async fn a_timeline_without_records_of_its_own_is_its_parent_at_the_fork() {
    let archive = Archive::make().await;
    let third = fork(&archive.store, &archive.first, 3, 30).await;
    Writer::start(&archive.store, &third).await.end().await;
    let history = archive.history().await;
    let restored = restored(&archive.store, &history, &Request::new(Target::Latest)).await.unwrap();
    assert_eq!((restored.report.timeline, restored.report.forks_from), (TimelineId::new(3), T1));
    assert_eq!(restored.log, archive.state(T1, 30));
}

#[tokio::test]
async fn an_archive_may_begin_after_a_fork() {
    let archive = Archive::make().await;
    let objects = std::sync::Arc::new(object_store::memory::InMemory::new());
    let store = super::archive::store_of(&objects);
    let moved = archive.second.fork(4, 30, None);
    moved.prune(28);
    let writer = Writer::start(&store, &moved).await;
    writer.snapshot().await;
    moved.append(6);
    writer.ship().await;
    writer.end().await;
    let history = history_of(&store).await;
    assert_eq!(history.faults(), []);
    for target in [30, 33, 36] {
        let restored = restored(&store, &history, &to_lsn(target)).await.unwrap();
        assert_eq!((restored.report.timeline, restored.report.forks_from), (T2, T2));
        assert_eq!(restored.log, moved.read(lsn(29), lsn(target), u64::MAX).unwrap());
    }
    for target in [0, 25, 29] {
        let refused = plan(&history, &to_lsn(target)).unwrap_err();
        let PlanError::BeforeFirstState { nearest, .. } = &refused else { panic!("LSN {target}: {refused}") };
        assert_eq!(nearest.above, Some(moment(T2, 30)));
    }
    assert!(verify(&store, &VerifyOptions::default()).await.unwrap().is_sound());
}

#[tokio::test]
async fn each_folder_of_an_archive_is_listed_once() {
    let archive = Archive::make().await;
    let (counted, requests) = FaultStore::new(Arc::clone(&archive.objects) as Arc<dyn ObjectStore>);
    let store = Store::new(Arc::new(counted), "", "counted");
    let info = ArchiveInfo::read(&store, &Silent::shared()).await.unwrap();
    assert_eq!(info.objects.objects, super::archive::keys(&archive.objects).await.len() as u64);
    let requests = requests.requests();
    let mut listed: Vec<_> = requests.iter().filter(|(op, _)| *op == Op::List).map(|(_, folder)| &folder[..]).collect();
    listed.sort_unstable();
    assert_eq!(listed, ["/", "epochs", "objects", "points", "snapshots", "timelines", "wal"]);
}

#[tokio::test]
async fn what_an_archive_holds_is_said_without_reading_it() {
    let archive = Archive::make().await;
    let before = archive.store.requests().bytes_received;
    let info = ArchiveInfo::read(&archive.store, &Silent::shared()).await.unwrap();
    let read = archive.store.requests().bytes_received - before;
    assert!(read < info.objects.bytes, "documents only");
    assert_eq!(info.cluster.cluster, crate::tests::CLUSTER);
    assert_eq!(info.objects.objects, super::archive::keys(&archive.objects).await.len() as u64);
    let timelines: Vec<_> = info
        .timelines
        .iter()
        .map(|timeline| (timeline.timeline, timeline.segments.objects, timeline.records, timeline.complete_until_ms))
        .collect();
    assert_eq!(timelines, [(T1, 5, 40, Some(time_of(40))), (T2, 3, 20, Some(time_of(45)))]);
    assert_eq!(info.timelines[1].restorable[0].last, moment(T2, 45));
    assert_eq!(
        info.points.iter().map(|point| (point.name.as_str(), point.restorable)).collect::<Vec<_>>(),
        [("after", true), ("before", true)]
    );
    assert_eq!(info.epochs.iter().map(|epoch| epoch.archived.unwrap().lsn.get()).collect::<Vec<_>>(), [13, 40, 45]);
    let gap = info.gap.as_ref().unwrap();
    assert_eq!((gap.newest, gap.head.lsn, gap.records_missing), (Some(moment(T2, 45)), lsn(45), 0));
    let text = info.to_string();
    for expected in ["timeline  2 from timeline 1 at LSN 25", "restorable  LSN 0 to 45", "point     after"] {
        assert!(text.contains(expected), "{text}");
    }
    serde_json::to_string(&info).unwrap();
}

#[tokio::test]
async fn overlapping_segments_of_two_writers_are_read_as_one_log() {
    use crate::codec::{CompressionLevel, encode_segment};
    use reddb_file::archive::{ArchiveKey, RecordRun, sealed};

    let archive = Archive::make().await;
    // Epoch 2 shipped 14-20 and 21-28; the same records once more, cut elsewhere.
    let bytes = archive.first.read(lsn(17), lsn(24), u64::MAX).unwrap();
    let run = RecordRun::scan(lsn(16), archive.first.point(16).chain, bytes).unwrap();
    let epoch = reddb_file::Epoch::new(2);
    let stored = encode_segment(&run, crate::tests::CLUSTER, T1, epoch, CompressionLevel::default()).unwrap();
    let name = stored.sidecar.name();
    archive.store.put_create_only(&ArchiveKey::Segment(name), stored.object).await.unwrap();
    let sidecar = sealed::encode(&stored.sidecar).unwrap();
    archive.store.put_create_only(&ArchiveKey::SegmentSidecar(name), sidecar.into()).await.unwrap();
    assert_eq!(verify(&archive.store, &VerifyOptions::default()).await.unwrap().faults, []);
    // Without 14-20's neighbour, the overlapping one leads on to LSN 24.
    for missing in ["14", "21"] {
        let (objects, store) = archive.copy().await;
        for key in super::archive::keys(&objects).await {
            if key.contains(&format!("/000000000000000000{missing}-")) && key.starts_with("wal/0000000001") {
                super::archive::delete(&objects, &key).await;
            }
        }
        let history = history_of(&store).await;
        if missing == "21" {
            let restored = restored(&store, &history, &to_lsn(24).on(T1)).await.unwrap();
            assert_eq!(restored.log, archive.state(T1, 24));
        } else {
            let refused = plan(&history, &to_lsn(20).on(T1)).unwrap_err();
            let PlanError::Hole { first_missing, last_missing, .. } = refused else { panic!("{refused}") };
            assert_eq!((first_missing, last_missing), (lsn(14), lsn(16)));
        }
    }
}

#[tokio::test]
async fn a_target_that_is_not_empty_is_never_touched() {
    let archive = Archive::make().await;
    let history = archive.history().await;
    let parent = tempfile::tempdir().unwrap();
    let of = |name: &str| parent.path().join(name);
    std::fs::create_dir(of("full")).unwrap();
    std::fs::write(of("full").join("mine"), "precious").unwrap();
    std::fs::write(of("file"), "precious").unwrap();
    std::fs::create_dir(of("empty")).unwrap();
    std::os::unix::fs::symlink(of("empty"), of("link")).unwrap();
    for name in ["full", "file", "link"] {
        let plan = plan(&history, &to_lsn(3)).unwrap();
        let refused = restore(&archive.store, plan, RestoreOptions::new(of(name)), LogSink::default()).await;
        let Err(error) = refused else { panic!("{name} was overwritten") };
        assert!(matches!(error, RestoreError::TargetNotEmpty { .. }), "{error}");
        assert_eq!(error.kind(), RestoreErrorKind::Local);
    }
    assert_eq!(std::fs::read_to_string(of("full").join("mine")).unwrap(), "precious");
    for unusable in [of("missing").join("below"), of("full").join("..")] {
        let plan = plan(&history, &to_lsn(3)).unwrap();
        let refused = restore(&archive.store, plan, RestoreOptions::new(unusable), LogSink::default()).await;
        assert!(matches!(refused, Err(RestoreError::TargetUnusable { .. })));
    }
    let into = RestoreOptions::new(of("empty"));
    let (report, _) =
        restore(&archive.store, plan(&history, &to_lsn(3)).unwrap(), into, LogSink::default()).await.unwrap();
    assert_eq!(report.mark.lsn, lsn(3));
    assert!(of("empty").join("engine/current").exists());
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 4, "no staging directory is left");
}

#[tokio::test]
async fn what_a_killed_restore_left_is_removed_unless_somebody_holds_it() {
    let archive = Archive::make().await;
    let history = archive.history().await;
    let parent = tempfile::tempdir().unwrap();
    let of = |name: &str| parent.path().join(name);
    let staging = |target: &str, digit: &str| format!(".{target}.staging-{}", digit.repeat(32));
    let (abandoned, held) = (staging("into", "a"), staging("into", "b"));
    let kept = [held.clone(), staging("other", "a"), staging("into.old", "a"), ".into.staging-mine".into()];
    for name in kept.iter().chain([&abandoned]) {
        std::fs::create_dir_all(of(name).join("engine")).unwrap();
    }
    let _lock = DirLock::acquire(&StdVfs, &of(&held), 1).unwrap();
    let options = RestoreOptions::new(of("into"));
    check_target(&archive.store, &options).unwrap();
    assert!(of(&abandoned).exists(), "a check changes nothing");
    let plan = plan(&history, &to_lsn(3)).unwrap();
    let (report, _) = restore(&archive.store, plan, options, LogSink::default()).await.unwrap();
    assert_eq!(report.removed_staging, [of(&abandoned)]);
    let mut left: Vec<_> = std::fs::read_dir(parent.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    let mut expected: Vec<_> = kept.into_iter().chain(["into".to_owned()]).collect();
    expected.sort();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn a_check_of_the_target_says_what_a_restore_would_say() {
    let local = tempfile::tempdir().unwrap();
    let directory = local.path().join("archive");
    let url = format!("file://{}", directory.display()).parse().unwrap();
    let store = Store::open(&url, &StoreSettings::default(), OpenMode::Create).unwrap();
    let of = |name: &str| local.path().join(name);
    std::fs::create_dir_all(of("full/x")).unwrap();
    std::fs::create_dir_all(directory.join("empty")).unwrap();
    std::os::unix::fs::symlink(&directory, of("link")).unwrap();
    let said = |into: std::path::PathBuf| check_target(&store, &RestoreOptions::new(into)).expect_err("refused");
    assert!(matches!(said(of("full")), RestoreError::TargetNotEmpty { .. }));
    assert!(matches!(said(of("missing/below")), RestoreError::TargetUnusable { .. }));
    assert!(matches!(said("/proc/here".into()), RestoreError::TargetUnusable { .. }));
    for into in [directory.clone(), directory.join("empty"), of("link/new"), local.path().to_owned()] {
        assert!(matches!(said(into.clone()), RestoreError::TargetInArchive { .. }), "{}", into.display());
    }
    check_target(&store, &RestoreOptions::new(of("archive-2"))).unwrap();
    assert_eq!(std::fs::read_dir(local.path()).unwrap().count(), 3, "nothing is left");
}

#[tokio::test]
async fn a_sink_that_refuses_ends_the_restore_and_nothing_is_left() {
    let archive = Archive::make().await;
    let history = archive.history().await;
    for misbehaviour in [Misbehaviour::RefuseBase, Misbehaviour::RefuseRecords, Misbehaviour::RefuseEnd] {
        let plan = plan(&history, &to_lsn(45)).unwrap();
        let sink = LogSink { misbehaviour, ..LogSink::default() };
        let Err(error) = carry_out(&archive.store, plan, sink).await else { panic!("{misbehaviour:?}") };
        assert_eq!(error.kind(), RestoreErrorKind::Sink, "{error}");
    }
}

#[tokio::test]
async fn a_restore_that_is_dropped_leaves_nothing() {
    let archive = Archive::make().await;
    let history = archive.history().await;
    for polls in 0..40_u32 {
        let parent = tempfile::tempdir().unwrap();
        let into = parent.path().join("restored");
        let plan = plan(&history, &to_lsn(45)).unwrap();
        let restoring = restore(&archive.store, plan, RestoreOptions::new(&into), LogSink::default());
        let mut restoring = Box::pin(restoring);
        let mut done = false;
        for _ in 0..polls {
            if futures_util::poll!(&mut restoring).is_ready() {
                done = true;
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(restoring);
        // Threads end by themselves: the directory is gone once they have, or the restore had been complete.
        let entries = || std::fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let settled = || entries().all(|name| name == "restored");
        crate::tests::until(settled).await;
        if done || into.exists() {
            assert_eq!(std::fs::read(into.join("log")).unwrap(), archive.state(T2, 45));
        }
    }
}

#[tokio::test]
async fn what_a_slow_writer_ships_after_a_takeover_is_void_and_never_restored() {
    let objects = std::sync::Arc::new(object_store::memory::InMemory::new());
    let store = super::archive::store_of(&objects);
    let journal = crate::tests::Journal::new(1);
    let writer = Writer::start(&store, &journal).await;
    writer.snapshot().await;
    journal.append(10);
    writer.ship().await;
    // Another directory with the same log takes over; the first one does not know and has other records.
    let other = journal.fork(2, 10, None);
    let taker = Writer::start(&store, &other).await;
    other.append_with(5, 60, 9);
    taker.ship().await;
    journal.append(7);
    super::archive::ship_stale(&store, &journal, &writer.claim, 11, 17).await;
    let history = history_of(&store).await;
    assert_eq!(history.faults(), []);
    let void: Vec<_> = history.notices().iter().filter(|notice| notice.kind == FaultKind::Void).collect();
    assert_eq!(void.len(), 1, "{:?}", history.notices());
    let restored = restored(&store, &history, &Request::new(Target::Latest)).await.unwrap();
    assert_eq!(restored.log, other.read(lsn(1), lsn(15), u64::MAX).unwrap());
    let refused = plan(&history, &to_lsn(17)).unwrap_err();
    assert!(matches!(refused, PlanError::PastEnd { .. }), "{refused}");
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    assert_eq!((report.faults.len(), report.records), (0, 15));
}

#[tokio::test]
async fn errors_name_what_can_be_reached() {
    let archive = Archive::make().await;
    let mut history = archive.history().await;
    // Without the snapshot at LSN 0 and without LSN 1, history begins at LSN 13.
    let first = history.snapshots(T1)[0].clone();
    let key = crate::history::SnapshotKey { timeline: T1, lsn: first.lsn, id: first.id };
    let segment = history.segments(T1)[0].name();
    history = history.without(&[segment].into(), &[key].into());
    let refused = plan(&history, &to_lsn(12)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "LSN 12 lies before the first state that can be restored; the nearest reachable state is LSN 13 of timeline 1 \
         at 1970-01-01T00:00:01.130Z (1130 ms)"
    );
    let refused = plan(&history, &to_time(1129)).unwrap_err();
    assert!(matches!(refused, PlanError::BeforeFirstState { .. }), "{refused}");
    assert!(matches!(restored(&archive.store, &history, &to_lsn(12)).await, Err(Refused::Plan(_))));
}
