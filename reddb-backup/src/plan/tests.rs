//! Plans, by tables.

use reddb_file::{Lsn, TimelineId};

use super::{Plan, PlanError, Request, Stop, Target, UnixMs, plan};
use crate::history::contents::Slot;
use crate::history::fixture::{Sketch, snapshot_id, timeline};
use crate::history::{Base, FaultKind, History};
use crate::info::ArchiveInfo;

/// A plan in one line: the timeline, the snapshot, what is replayed, where it stops.
fn summary(planned: Result<Plan, PlanError>) -> String {
    match planned {
        Ok(plan) => {
            let replays = plan
                .segments
                .iter()
                .map(|segment| format!("{}:{}-{}", segment.sidecar.timeline, segment.from, segment.to));
            let stop = match plan.stop {
                Stop::AtLsn(lsn) => format!("at {lsn}"),
                Stop::AfterTime { time, at_most } => format!("by {} within {at_most}", time.0),
            };
            let replays = replays.collect::<Vec<_>>().join(" ");
            let base = match &plan.base {
                Base::Genesis => "genesis".to_owned(),
                Base::Snapshot(snapshot) => format!("{}:{}", snapshot.timeline, snapshot.lsn),
            };
            format!("{} from {base} [{replays}] {stop}", plan.timeline)
        }
        Err(error) => format!("no: {error}"),
    }
}

fn check(history: &History, request: &Request, expected: &str) {
    let got = summary(plan(history, request));
    match expected.strip_suffix('…') {
        Some(start) => assert!(got.starts_with(start), "{}: {got}", request.target),
        None => assert_eq!(got, expected, "{}", request.target),
    }
}

fn lsn(value: u64) -> Request {
    Request::new(Target::Lsn(Lsn::new(value)))
}

fn time(ms: u64) -> Request {
    Request::new(Target::Time(UnixMs(ms)))
}

fn label(name: &str) -> Request {
    Request::new(Target::Label(name.parse().unwrap()))
}

const LATEST: Request = Request::new(Target::Latest);

fn on(number: u32) -> impl Fn(Request) -> Request {
    move |request| request.on(timeline(number))
}

/// One writer, one timeline: snapshots at 0 and 20, LSNs 1 to 40 in segments of ten, complete until 450.
fn simple() -> Sketch {
    [(1, 10), (11, 20), (21, 30), (31, 40)]
        .into_iter()
        .fold(Sketch::new(), |sketch, (first, last)| sketch.segment(1, 1, first, last))
        .snapshot(1, 1, 0)
        .snapshot(1, 1, 20)
        .head(1, 1, 40, 450)
}

/// Timeline 1 up to 40 (times 10 to 400), closed; timeline 2 forked from it at 25 and has 26 to 50 (times 10,260 to
/// 10,500).
fn forked() -> Sketch {
    simple()
        .fork(2, 1, 25)
        .epoch(2, Some((1, 40)), (2, 25))
        .segment(2, 2, 26, 35)
        .segment(2, 2, 36, 50)
        .head(2, 2, 50, 10_600)
}

#[test]
fn one_timeline() {
    let history = simple().history();
    assert_eq!((history.faults(), history.notices()), (&[][..], &[][..]));
    for (request, expected) in [
        (lsn(0), "1 from 1:0 [] at 0"),
        (lsn(1), "1 from 1:0 [1:1-1] at 1"),
        (lsn(10), "1 from 1:0 [1:1-10] at 10"),
        (lsn(15), "1 from 1:0 [1:1-10 1:11-15] at 15"),
        (lsn(20), "1 from 1:20 [] at 20"),
        (lsn(40), "1 from 1:20 [1:21-30 1:31-40] at 40"),
        (LATEST, "1 from 1:20 [1:21-30 1:31-40] at 40"),
        (
            lsn(41),
            "no: LSN 41 lies beyond the end of the archive; the nearest reachable state is LSN 40 of timeline 1 at…",
        ),
        (lsn(u64::MAX), "no: LSN 18446744073709551615 lies beyond…"),
        (time(0), "1 from 1:0 [] by 0 within 0"),
        (time(9), "1 from 1:0 [] by 9 within 0"),
        (time(10), "1 from 1:0 [1:1-9] by 10 within 9"),
        (time(105), "1 from 1:0 [1:1-10] by 105 within 10"),
        (time(199), "1 from 1:0 [1:1-10 1:11-19] by 199 within 19"),
        (time(200), "1 from 1:20 [] by 200 within 20"),
        (time(305), "1 from 1:20 [1:21-30] by 305 within 30"),
        (time(400), "1 from 1:20 [1:21-30 1:31-40] by 400 within 40"),
        (time(450), "1 from 1:20 [1:21-30 1:31-40] by 450 within 40"),
        (
            time(451),
            "no: time 1970-01-01T00:00:00.451Z (451 ms) is later than the archive is complete, which is until 1970-01-01T00:00:00.450Z (450 ms); the nearest reachable state is LSN 40…",
        ),
        (time(u64::MAX), "no: time 18446744073709551615 ms is later…"),
        (label("x"), "no: there is no restore point x"),
    ] {
        check(&history, &request, expected);
    }
}

#[test]
fn a_named_snapshot_is_taken_or_nothing() {
    let history = simple().history();
    for (request, from, expected) in [
        (lsn(25), 0, "1 from 1:0 [1:1-10 1:11-20 1:21-25] at 25"),
        (lsn(25), 20, "1 from 1:20 [1:21-25] at 25"),
        (
            lsn(15),
            20,
            "no: snapshot 00000000-0000-0001-0000-000000000014 cannot serve: it is at LSN 20 of timeline 1, which is not before LSN 15…",
        ),
        (time(250), 0, "1 from 1:0 [1:1-10 1:11-20 1:21-29] by 250 within 29"),
        (lsn(25), 7, "no: snapshot 00000000-0000-0001-0000-000000000007 cannot serve: no such snapshot…"),
    ] {
        check(&history, &request.from_base(Base::Snapshot(snapshot_id(1, from))), expected);
    }
}

#[test]
fn a_fork() {
    let history = forked().history();
    assert_eq!((history.faults(), history.notices()), (&[][..], &[][..]));
    for (request, expected) in [
        // Before the fork there is one history.
        (lsn(25), "1 from 1:20 [1:21-25] at 25"),
        (time(255), "1 from 1:20 [1:21-29] by 255 within 29"),
        // LSNs after it exist twice up to the end of timeline 1.
        (lsn(26), "no: LSN 26 exists on timelines 1, 2: name one of them"),
        (lsn(40), "no: LSN 40 exists on timelines 1, 2: name one of them"),
        (lsn(41), "2 from 1:20 [1:21-25 2:26-35 2:36-41] at 41"),
        (on(1)(lsn(26)), "1 from 1:20 [1:21-26] at 26"),
        (on(2)(lsn(26)), "2 from 1:20 [1:21-25 2:26-26] at 26"),
        (on(2)(lsn(25)), "2 from 1:20 [1:21-25] at 25"),
        (on(1)(lsn(41)), "no: LSN 41 lies beyond…"),
        // At time 300 there was only timeline 1, at 10,300 only timeline 2 is complete.
        (time(300), "1 from 1:20 [1:21-30] by 300 within 30"),
        (time(10_300), "2 from 1:20 [1:21-25 2:26-34] by 10300 within 34"),
        (on(2)(time(300)), "2 from 1:20 [1:21-25] by 300 within 25"),
        // Between the end of what is complete on 1 and the first record of 2, nothing is proved.
        (time(451), "no: no timeline that existed at time 1970-01-01T00:00:00.451Z (451 ms) is known to be complete…"),
        (on(2)(time(451)), "2 from 1:20 [1:21-25] by 451 within 25"),
        (on(1)(time(10_300)), "no: time 1970-01-01T00:00:10.300Z (10300 ms) is later than the archive is complete…"),
        (LATEST, "2 from 1:20 [1:21-25 2:26-35 2:36-50] at 50"),
        (on(1)(LATEST), "1 from 1:20 [1:21-30 1:31-40] at 40"),
        (on(3)(LATEST), "no: timeline 3 is not in the archive; it holds timelines 1, 2"),
    ] {
        check(&history, &request, expected);
    }
}

#[test]
fn a_closed_timeline_is_complete_only_as_far_as_it_was_promised() {
    // Its head promised nothing beyond its last record: a lost commit may have had time 400 too.
    let history = forked().head(1, 1, 40, 0).history();
    check(&history, &on(1)(time(399)), "1 from 1:20 [1:21-30 1:31-39] by 399 within 39");
    check(&history, &on(1)(time(400)), "no: time 1970-01-01T00:00:00.400Z (400 ms) is later…");
    // A head beyond the closing is void, and so is its promise.
    let history = forked().head(1, 1, 45, 9000).history();
    check(&history, &on(1)(time(400)), "no: time 1970-01-01T00:00:00.400Z (400 ms) is later…");
    check(&history, &on(1)(LATEST), "1 from 1:20 [1:21-30 1:31-40] at 40");
}

#[test]
fn two_live_timelines_make_a_time_ambiguous() {
    let history = forked().head(1, 1, 40, 20_000).history();
    check(
        &history,
        &time(10_300),
        "no: time 1970-01-01T00:00:10.300Z (10300 ms) exists on timelines 1, 2: name one of them",
    );
}

#[test]
fn a_timeline_without_a_record_yet_has_its_parents_state() {
    let history = simple().fork(2, 1, 25).epoch(2, Some((1, 40)), (2, 25)).head(2, 2, 25, 700).history();
    for (request, expected) in [
        (LATEST, "2 from 1:20 [1:21-25] at 25"),
        (on(2)(time(300)), "2 from 1:20 [1:21-25] by 300 within 25"),
        (time(300), "1 from 1:20 [1:21-30] by 300 within 30"),
        (lsn(26), "1 from 1:20 [1:21-26] at 26"),
    ] {
        check(&history, &request, expected);
    }
}

#[test]
fn what_is_void_is_never_planned() {
    // Epoch 2 closed timeline 1 at 30 and went on with it; what epoch 1 shipped beyond is void.
    let history = simple()
        .point("late", 1, 1, 35)
        .point("early", 1, 1, 25)
        .epoch(2, Some((1, 30)), (1, 30))
        .segment(1, 2, 31, 33)
        .head(2, 1, 33, 340)
        .history();
    assert_eq!(history.faults(), []);
    let void = history.notices().iter().filter(|notice| notice.kind == FaultKind::Void).count();
    assert_eq!(void, 3, "a segment, a point, a head: {:?}", history.notices());
    for (request, expected) in [
        (LATEST, "1 from 1:20 [1:21-30 1:31-33] at 33"),
        (lsn(34), "no: LSN 34 lies beyond…"),
        (label("early"), "1 from 1:20 [1:21-25] at 25"),
        (label("late"), "no: restore point late (LSN 35 of timeline 1) is void…"),
    ] {
        check(&history, &request, expected);
    }
}

#[test]
fn what_an_epoch_shipped_that_never_began_does_not_count() {
    use reddb_file::Epoch;
    use reddb_file::archive::{EpochOutcome, EpochStart};

    let abandoned = |contents: &mut crate::history::Contents| {
        let documents = contents.epochs.get_mut(&Epoch::new(2)).unwrap();
        let Slot::Present(start) = &mut documents.start else { panic!("drawn with a start") };
        *start = EpochStart { outcome: EpochOutcome::Abandoned { by: Epoch::new(3) }, ..start.clone() };
    };
    let sketch = || simple().epoch(2, None, (1, 40)).segment(1, 2, 41, 50).epoch(3, Some((1, 40)), (1, 40));
    let history = sketch().but(abandoned).but(|contents| {
        // Without the closing, only the missing beginning speaks against it.
        contents.epochs.remove(&Epoch::new(3));
    });
    let history = history.history();
    assert_eq!(history.faults().iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::EpochNotBegun]);
    check(&history, &LATEST, "1 from 1:20 [1:21-30 1:31-40] at 40");
    // Nor does what it put on a timeline that it did not begin on.
    let history = forked().segment(1, 2, 41, 50).history();
    assert_eq!(history.faults().iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::EpochNotBegun]);
    check(&history, &on(1)(LATEST), "1 from 1:20 [1:21-30 1:31-40] at 40");
    // A start that is gone leaves everything open.
    let history = sketch().but(|contents| contents.epochs.get_mut(&Epoch::new(2)).unwrap().start = Slot::Absent);
    check(&history.history(), &lsn(5), "no: missing object: epochs/00000000000000000002.start.json…");
}

#[test]
fn a_timeline_that_is_its_own_ancestor_is_broken_and_not_an_endless_way() {
    let history = forked().but(|contents| {
        let Some(Slot::Present(document)) = contents.timelines.get_mut(&timeline(1)) else { panic!("drawn") };
        let parent = reddb_file::Mark { lsn: Lsn::new(3), chain: reddb_file::Chain::from_bytes([1; 32]) };
        document.parent =
            Some(reddb_file::archive::ForkPoint { timeline: timeline(1), lsn: parent.lsn, chain: parent.chain });
    });
    check(&history.history(), &on(1)(lsn(5)), "no: broken timeline: timelines/0000000001.json…");
}

fn without_segment(sketch: Sketch, first: u64) -> Sketch {
    sketch.but(|contents| contents.segments.retain(|name, _| name.first_lsn != Lsn::new(first)))
}

#[test]
fn a_hole_is_named_and_never_jumped() {
    let history = without_segment(simple(), 21).history();
    let kinds: Vec<_> = history.faults().iter().map(|fault| (fault.kind, fault.affects.unwrap())).collect();
    let [(FaultKind::Hole, range)] = kinds[..] else { panic!("{kinds:?}") };
    assert_eq!((range.first_lsn, range.last_lsn), (Lsn::new(21), Lsn::new(30)));
    let hole = "cannot be reached: records 21 to 30 of timeline 1 are missing or damaged; \
                the nearest reachable state is LSN 20 of timeline 1 at 1970-01-01T00:00:00.200Z (200 ms)";
    for (request, expected) in [
        (lsn(20), "1 from 1:20 [] at 20".to_owned()),
        (lsn(21), format!("no: LSN 21 {}", hole.replace("21 to 30", "21 to 21"))),
        (lsn(40), format!("no: LSN 40 {hole}")),
        (LATEST, format!("no: the latest record {hole}")),
        (time(200), format!("no: time 1970-01-01T00:00:00.200Z (200 ms) {hole}")),
        (time(199), "1 from 1:0 [1:1-10 1:11-19] by 199 within 19".to_owned()),
    ] {
        check(&history, &request, &expected);
    }
}

#[test]
fn beyond_a_hole_another_snapshot_serves() {
    let history = without_segment(simple().snapshot(1, 1, 30), 21).history();
    for (request, expected) in [
        (lsn(30), "1 from 1:30 [] at 30"),
        (LATEST, "1 from 1:30 [1:31-40] at 40"),
        (
            lsn(25),
            "no: LSN 25 cannot be reached: records 21 to 25 of timeline 1 are missing or damaged; the nearest reachable \
             states are LSN 20 of timeline 1 at 1970-01-01T00:00:00.200Z (200 ms) before it and LSN 30 of timeline 1 at \
             1970-01-01T00:00:00.300Z (300 ms) after it",
        ),
    ] {
        check(&history, &request, expected);
    }
}

#[test]
fn a_lost_tail_is_not_the_latest() {
    let history = without_segment(simple(), 31).history();
    let [fault] = history.faults() else { panic!("{:?}", history.faults()) };
    assert_eq!(fault.kind, FaultKind::TailLost);
    check(&history, &LATEST, "no: the latest record cannot be reached: records 31 to 40 of timeline 1 are missing…");
    check(&history, &lsn(30), "1 from 1:20 [1:21-30] at 30");
    check(&history, &time(300), "no: time 1970-01-01T00:00:00.300Z (300 ms) cannot be reached…");
    check(&history, &time(299), "1 from 1:20 [1:21-29] by 299 within 29");
}

#[test]
fn a_damaged_snapshot_is_not_silently_replaced_by_an_older_one() {
    let history = simple().damaged_snapshot(1, 20).history();
    let refused = "no: the newest snapshot before LSN 25 cannot be believed: \
                   snapshots/0000000001/00000000000000000020-00000000-0000-0001-0000-000000000014.json; to start from the \
                   one at LSN 0 instead, name snapshot 00000000-0000-0001-0000-000000000000";
    for (request, expected) in [
        (lsn(25), refused),
        (lsn(25).from_base(Base::Snapshot(snapshot_id(1, 0))), "1 from 1:0 [1:1-10 1:11-20 1:21-25] at 25"),
        (lsn(19), "1 from 1:0 [1:1-10 1:11-19] at 19"),
        (time(250), "no: the newest snapshot before time…"),
        (time(150), "1 from 1:0 [1:1-10 1:11-19] by 150 within 19"),
    ] {
        check(&history, &request, expected);
    }
}

fn without_snapshots(sketch: Sketch) -> Sketch {
    sketch.but(|contents| contents.snapshots.clear())
}

/// Only the snapshot at LSN 20.
fn without_the_first_snapshot(sketch: Sketch) -> Sketch {
    sketch.but(|contents| contents.snapshots.retain(|key, _| key.lsn > Lsn::ZERO))
}

/// What can be restored of a timeline, by LSN.
fn ranges(history: &History, number: u32) -> Vec<(u64, u64)> {
    let ranges = history.reachable(timeline(number));
    ranges.iter().map(|range| (range.first.lsn.get(), range.last.lsn.get())).collect()
}

#[test]
fn without_a_snapshot_the_log_is_replayed_from_lsn_1_on() {
    let history = without_snapshots(simple()).history();
    assert_eq!((history.faults(), history.notices()), (&[][..], &[][..]));
    assert_eq!(ranges(&history, 1), [(1, 40)]);
    let first_is = "lies before the first state that can be restored; the nearest reachable state is LSN 1 of timeline 1 \
                    at 1970-01-01T00:00:00.010Z (10 ms)";
    for (request, expected) in [
        // The empty state is what everything begins with, and no record.
        (lsn(0), format!("no: LSN 0 {first_is}")),
        (time(0), format!("no: time 1970-01-01T00:00:00.000Z (0 ms) {first_is}")),
        (time(9), format!("no: time 1970-01-01T00:00:00.009Z (9 ms) {first_is}")),
        (lsn(1), "1 from genesis [1:1-1] at 1".to_owned()),
        (lsn(10), "1 from genesis [1:1-10] at 10".to_owned()),
        (lsn(25), "1 from genesis [1:1-10 1:11-20 1:21-25] at 25".to_owned()),
        (time(10), "1 from genesis [1:1-9] by 10 within 9".to_owned()),
        (time(199), "1 from genesis [1:1-10 1:11-19] by 199 within 19".to_owned()),
        (LATEST, "1 from genesis [1:1-10 1:11-20 1:21-30 1:31-40] at 40".to_owned()),
        (lsn(41), "no: LSN 41 lies beyond the end…".to_owned()),
    ] {
        check(&history, &request, &expected);
    }
    let planned = plan(&history, &lsn(25)).unwrap();
    assert_eq!(planned.fetch_bytes, 300, "three segments and no file");
    assert!(planned.to_string().contains("start     the empty state before LSN 1"), "{planned}");
}

#[test]
fn a_snapshot_is_preferred_to_genesis() {
    let history = without_the_first_snapshot(simple()).history();
    assert_eq!(ranges(&history, 1), [(1, 40)]);
    for (request, expected) in [
        (lsn(19), "1 from genesis [1:1-10 1:11-19] at 19"),
        (lsn(20), "1 from 1:20 [] at 20"),
        (lsn(25), "1 from 1:20 [1:21-25] at 25"),
        (time(199), "1 from genesis [1:1-10 1:11-19] by 199 within 19"),
        (time(200), "1 from 1:20 [] by 200 within 20"),
        (lsn(25).from_base(Base::Genesis), "1 from genesis [1:1-10 1:11-20 1:21-25] at 25"),
        (time(200).from_base(Base::Genesis), "1 from genesis [1:1-10 1:11-20] by 200 within 20"),
        (
            lsn(0).from_base(Base::Genesis),
            "no: the empty state before LSN 1 cannot serve: LSN 0 lies before the first record",
        ),
    ] {
        check(&history, &request, expected);
    }
}

#[test]
fn genesis_in_place_of_a_damaged_snapshot_must_be_named() {
    let history = without_the_first_snapshot(simple()).damaged_snapshot(1, 20).history();
    let refused = "no: the newest snapshot before LSN 25 cannot be believed: \
                   snapshots/0000000001/00000000000000000020-00000000-0000-0001-0000-000000000014.json; to replay the log \
                   from LSN 1 on instead, name `none` as the snapshot";
    for (request, expected) in [
        (lsn(25), refused),
        (time(250), "no: the newest snapshot before time…"),
        (lsn(25).from_base(Base::Genesis), "1 from genesis [1:1-10 1:11-20 1:21-25] at 25"),
        (lsn(19), "1 from genesis [1:1-10 1:11-19] at 19"),
    ] {
        check(&history, &request, expected);
    }
    // Also where the two are of the same LSN.
    let history = without_snapshots(simple()).damaged_snapshot(1, 0).history();
    check(&history, &lsn(5), "no: the newest snapshot before LSN 5 cannot be believed…");
    check(&history, &lsn(5).from_base(Base::Genesis), "1 from genesis [1:1-5] at 5");
}

#[test]
fn genesis_is_on_the_path_of_a_fork_that_the_roots_log_reaches() {
    let history = without_snapshots(forked()).history();
    assert_eq!((history.faults(), history.notices()), (&[][..], &[][..]));
    assert_eq!((ranges(&history, 1), ranges(&history, 2)), (vec![(1, 40)], vec![(1, 50)]));
    check(&history, &on(2)(lsn(26)), "2 from genesis [1:1-10 1:11-20 1:21-25 2:26-26] at 26");
    check(&history, &on(2)(lsn(0)), "no: LSN 0 lies before the first state…");
    check(&history, &lsn(25), "1 from genesis [1:1-10 1:11-20 1:21-25] at 25");
    // The fork's own records are there, the way to them is not.
    let history = without_segment(without_snapshots(forked()), 11).history();
    assert_eq!((ranges(&history, 1), ranges(&history, 2)), (vec![(1, 10)], vec![(1, 10)]));
    check(&history, &on(2)(lsn(26)), "no: LSN 26 cannot be reached: records 11 to 20 of timeline 2 are missing…");
    // A timeline may fork before the first record: then only its own records are its history.
    let history = simple().fork(2, 1, 0).epoch(2, Some((1, 40)), (2, 0)).segment(2, 2, 1, 5).head(2, 2, 5, 0);
    check(&without_snapshots(history).history(), &on(2)(lsn(5)), "2 from genesis [2:1-5] at 5");
}

#[test]
fn a_hole_behind_genesis_is_a_hole() {
    // 11 to 20 lie between genesis and the first snapshot.
    let history = without_segment(without_the_first_snapshot(simple()), 11).history();
    let [fault] = history.faults() else { panic!("{:?}", history.faults()) };
    let range = fault.affects.unwrap();
    assert_eq!((fault.kind, range.first_lsn.get(), range.last_lsn.get()), (FaultKind::Hole, 11, 20));
    assert_eq!(history.holes(timeline(1)), [range]);
    assert_eq!(history.notices(), []);
    assert_eq!(ranges(&history, 1), [(1, 10), (20, 40)]);
    for (request, expected) in [
        (lsn(10), "1 from genesis [1:1-10] at 10"),
        (lsn(20), "1 from 1:20 [] at 20"),
        (
            lsn(15),
            "no: LSN 15 cannot be reached: records 11 to 15 of timeline 1 are missing or damaged; the nearest reachable \
             states are LSN 10 of timeline 1 at 1970-01-01T00:00:00.100Z (100 ms) before it and LSN 20 of timeline 1 at…",
        ),
    ] {
        check(&history, &request, expected);
    }
}

#[test]
fn an_archive_that_began_at_lsn_1_and_lost_it_is_damaged() {
    for (sketch, expected) in [
        (
            without_snapshots(simple()),
            "no: timeline 1 has nothing to start from: no snapshot, and no log from LSN 1 on",
        ),
        (
            without_the_first_snapshot(simple()),
            "no: LSN 15 lies before the first state that can be restored; the nearest reachable state is LSN 20…",
        ),
    ] {
        let history = without_segment(sketch, 1).history();
        let [fault] = history.faults() else { panic!("{:?}", history.faults()) };
        let range = fault.affects.unwrap();
        assert_eq!((fault.kind, range.first_lsn.get(), range.last_lsn.get()), (FaultKind::Hole, 1, 10));
        check(&history, &lsn(15), expected);
        let refused = "no: the empty state before LSN 1 cannot serve: the log of timeline 1 in the archive does not…";
        check(&history, &lsn(15).from_base(Base::Genesis), refused);
    }
}

#[test]
fn a_log_that_begins_later_needs_a_snapshot() {
    // Epoch 1 began to ship after LSN 10.
    let later = |sketch: Sketch| without_segment(sketch.epoch(1, None, (1, 10)), 1);
    let history = later(without_snapshots(simple())).history();
    check(&history, &lsn(15), "no: timeline 1 has nothing to start from: no snapshot, and no log from LSN 1 on");
    check(&history, &time(150), "no: timeline 1 has nothing to start from: no snapshot, and no log from LSN 1 on");
    assert_eq!(ranges(&history, 1), []);
    assert!(ArchiveInfo::of(&history).to_string().contains("NO STATE  40 records"), "{}", ArchiveInfo::of(&history));
    let history = later(without_the_first_snapshot(simple())).history();
    assert_eq!(history.faults(), []);
    let [notice] = history.notices() else { panic!("{:?}", history.notices()) };
    let range = notice.affects.unwrap();
    assert_eq!((notice.kind, range.first_lsn.get(), range.last_lsn.get()), (FaultKind::NoSnapshotBefore, 11, 19));
    assert_eq!(ranges(&history, 1), [(20, 40)]);
    let first_is = "lies before the first state that can be restored; the nearest reachable state is LSN 20…";
    check(&history, &lsn(15), &format!("no: LSN 15 {first_is}"));
    check(&history, &lsn(5), &format!("no: LSN 5 {first_is}"));
    check(&history, &time(199), &format!("no: time 1970-01-01T00:00:00.199Z (199 ms) {first_is}"));
}

#[test]
fn a_first_segment_of_another_history_is_not_replayed_on_genesis() {
    let history = without_snapshots(simple()).but(|contents| {
        let first = contents.segments.values_mut().next().unwrap();
        let Slot::Present(sidecar) = &mut first.sidecar else { panic!("drawn with a sidecar") };
        sidecar.chain_before = reddb_file::Chain::from_bytes([6; 32]);
    });
    let history = history.history();
    assert!(history.faults().iter().any(|fault| fault.kind == FaultKind::ChainMismatch), "{:?}", history.faults());
    assert_eq!(ranges(&history, 1), []);
    check(&history, &lsn(5), "no: timeline 1 has nothing to start from…");
}

#[test]
fn in_json_a_base_is_a_snapshot_or_null_and_a_named_one_is_a_text() {
    let history = without_the_first_snapshot(simple()).history();
    let json = |request: Request| serde_json::to_value(plan(&history, &request).unwrap()).unwrap();
    let planned = json(lsn(25));
    assert_eq!((&planned["snapshot"]["lsn"], &planned["request"]["snapshot"]), (&20.into(), &serde_json::Value::Null));
    let id = snapshot_id(1, 20);
    let planned = json(lsn(25).from_base(Base::Snapshot(id)));
    assert_eq!(planned["request"]["snapshot"], id.to_string());
    let planned = json(lsn(25).from_base(Base::Genesis));
    assert_eq!((&planned["snapshot"], &planned["request"]["snapshot"]), (&serde_json::Value::Null, &"none".into()));
    for base in [Base::Genesis, Base::Snapshot(id)] {
        assert_eq!(base.to_string().parse(), Ok(base));
    }
    assert!("genesis?".parse::<Base<uuid::Uuid>>().is_err());
}

#[test]
fn segments_that_contradict_each_other_end_the_log_there() {
    // Two epochs' segments of the same records with different chains, neither void.
    let history = simple()
        .epoch(2, None, (1, 40))
        .segment(1, 2, 21, 30)
        .but(|contents| {
            let other = contents.segments.iter_mut().find(|(name, _)| name.epoch.get() == 2).unwrap().1;
            let Slot::Present(sidecar) = &mut other.sidecar else { panic!("drawn with a sidecar") };
            sidecar.chain_after = reddb_file::Chain::from_bytes([6; 32]);
        })
        .history();
    assert!(history.faults().iter().any(|fault| fault.kind == FaultKind::ChainMismatch), "{:?}", history.faults());
    check(&history, &lsn(20), "1 from 1:20 [] at 20");
    check(&history, &lsn(25), "no: LSN 25 cannot be reached…");
    check(&history, &LATEST, "no: the latest record cannot be reached…");
}

#[test]
fn overlapping_segments_are_taken_one_after_the_other() {
    let history = Sketch::new()
        .snapshot(1, 1, 0)
        .segment(1, 1, 1, 10)
        .segment(1, 1, 6, 15)
        .segment(1, 1, 8, 12)
        .segment(1, 1, 14, 20)
        .head(1, 1, 20, 200)
        .history();
    assert_eq!(history.faults(), []);
    check(&history, &LATEST, "1 from 1:0 [1:1-10 1:11-15 1:16-20] at 20");
}

#[test]
fn a_timeline_that_cannot_be_read_forbids_guessing_and_not_what_is_named() {
    let history = forked().but(|contents| {
        contents.timelines.insert(TimelineId::new(2), Slot::Damaged);
    });
    let history = history.history();
    check(&history, &lsn(5), "no: damaged document: timelines/0000000002.json…");
    check(&history, &on(1)(lsn(5)), "1 from 1:0 [1:1-5] at 5");
    check(&history, &on(2)(lsn(45)), "no: damaged document: timelines/0000000002.json…");
    check(&history, &LATEST, "no: damaged document: timelines/0000000002.json…");
}

#[test]
fn the_expected_chains_are_those_that_replay_meets() {
    let history = forked().point("inside", 1, 1, 23).point("elsewhere", 1, 1, 30).history();
    let planned = plan(&history, &on(2)(lsn(45))).unwrap();
    let met: Vec<_> = planned.expected.iter().map(|expected| expected.lsn.get()).collect();
    // The snapshot itself, the point, the fork twice (the timeline and the epoch that began on it): nothing of timeline 1
    // beyond the fork.
    assert_eq!(met, [20, 23, 25, 25]);
    assert_eq!((planned.owner(Lsn::new(25)), planned.owner(Lsn::new(26))), (timeline(1), timeline(2)));
}
