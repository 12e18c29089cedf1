//! Plans, by tables.

use reddb_file::{Lsn, TimelineId};

use super::{Plan, PlanError, Request, Stop, Target, UnixMs, plan};
use crate::history::contents::Slot;
use crate::history::fixture::{Sketch, snapshot_id, timeline};
use crate::history::{FaultKind, History};

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
            let snapshot = &plan.snapshot;
            format!("{} from {}:{} [{replays}] {stop}", plan.timeline, snapshot.timeline, snapshot.lsn)
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
        check(&history, &request.from_snapshot(snapshot_id(1, from)), expected);
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
        (lsn(25).from_snapshot(snapshot_id(1, 0)), "1 from 1:0 [1:1-10 1:11-20 1:21-25] at 25"),
        (lsn(19), "1 from 1:0 [1:1-10 1:11-19] at 19"),
        (time(250), "no: the newest snapshot before time…"),
        (time(150), "1 from 1:0 [1:1-10 1:11-19] by 150 within 19"),
    ] {
        check(&history, &request, expected);
    }
}

#[test]
fn no_snapshot_no_plan() {
    let history = simple().but(|contents| contents.snapshots.clear()).history();
    check(&history, &lsn(5), "no: timeline 1 has no snapshot to start from");
    check(&history, &time(50), "no: timeline 1 has no snapshot to start from");
    let history = simple().but(|contents| contents.snapshots.retain(|key, _| key.lsn > Lsn::ZERO)).history();
    check(&history, &lsn(5), "no: LSN 5 lies before the first snapshot; the nearest reachable state is LSN 20…");
    check(&history, &time(199), "no: time 1970-01-01T00:00:00.199Z (199 ms) lies before the first snapshot…");
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
