//! What recovery says about a log, as a table: torn tails are dropped whole, everything else stops, names the place, and
//! changes nothing.

mod common;

use std::path::PathBuf;
use std::sync::Arc;

use common::{Node, Process, cluster, first_state};
use reddb_file::control::ControlState;
use reddb_file::vfs::sim::Keep;
use reddb_file::wal::{
    CorruptionReason, RecoverError, Recovery, Salt, SegmentEnd, SegmentPool, Verdict, describe_segment, recover,
};
use reddb_file::{ClusterId, Lsn, Mark, TimelineId};

const BLOCK: usize = 4096;

/// Three segments of five batches (one block each), and the start of a fourth; the control file knows of nothing.
fn filled() -> (Node, Process) {
    let mut node = Node::new(11);
    let mut process = node.start().expect("starts");
    for _ in 0..17 {
        node.append(&mut process, &[10, 20]).expect("works");
    }
    assert_eq!(process.writer.segments().len(), 4);
    (node, process)
}

fn segment(process: &Process, index: usize) -> PathBuf {
    process.writer.segments()[index].path.clone()
}

fn try_recover(node: &Node, cluster: ClusterId, state: &ControlState) -> Result<Recovery, RecoverError> {
    let pool = SegmentPool::open(Arc::clone(&node.vfs), &node.dir, common::OPTIONS).expect("opens");
    recover(&node.vfs, &node.dir, cluster, state, &pool, Salt::from_bytes([9; 16]))
}

fn expect_corrupt(node: &Node, state: &ControlState) -> (PathBuf, u64, Lsn, CorruptionReason) {
    let contents = |path: &PathBuf| reddb_file::vfs::read_small_file(node.vfs.as_ref(), path, 1 << 20).ok();
    let paths: Vec<PathBuf> = segment_files(node);
    let before: Vec<_> = paths.iter().map(contents).collect();
    let error = try_recover(node, cluster(), state).expect_err("the log is corrupt");
    assert_eq!(segment_files(node), paths, "nothing is cut");
    assert_eq!(paths.iter().map(contents).collect::<Vec<_>>(), before, "nothing is changed");
    let text = error.to_string();
    match error {
        RecoverError::Corrupt(corruption) => {
            assert!(text.contains(&corruption.segment.display().to_string()), "{text}");
            assert!(text.contains("restore"), "it says what to do: {text}");
            (corruption.segment, corruption.offset, corruption.lsn, *corruption.reason)
        }
        other => panic!("{other}"),
    }
}

fn segment_files(node: &Node) -> Vec<PathBuf> {
    let dir = reddb_file::layout::timeline_dir(&node.dir, TimelineId::FIRST);
    node.vfs.list(&dir).expect("there").into_iter().map(|entry| dir.join(entry.name)).collect()
}

#[test]
fn a_whole_log_is_clean_and_ends_where_it_was_written() {
    let (node, process) = filled();
    let recovery = try_recover(&node, cluster(), &first_state()).expect("clean");
    assert_eq!(recovery.verdict, Verdict::Clean);
    assert_eq!(recovery.log.end(), process.writer.last());
    assert_eq!(recovery.log.first_lsn(), Some(Lsn::new(1)));
    assert_eq!(recovery.log.segments(), process.writer.segments());
}

#[test]
fn a_torn_last_batch_is_dropped_whole() {
    for (what, offset) in [("records", 2 * BLOCK + 70), ("header", 2 * BLOCK + 30)] {
        let (node, process) = filled();
        let path = segment(&process, 3);
        node.sim.rot(&path, |bytes| bytes[offset] ^= 1).expect("there");
        let recovery = try_recover(&node, cluster(), &first_state()).expect("torn");
        let torn = Verdict::TornTail { segment: path, offset: 8192, lsn: Lsn::new(33) };
        assert_eq!(recovery.verdict, torn, "{what}");
        assert_eq!(recovery.log.end().lsn, Lsn::new(32), "{what}");
        let again = try_recover(&node, cluster(), &first_state()).expect("the tail is gone");
        assert_eq!(again.verdict, Verdict::Clean, "{what}");
    }
}

#[test]
fn a_torn_tail_is_dropped_for_good_on_a_full_disk_too() {
    let (mut node, process) = filled();
    let path = segment(&process, 3);
    drop(process);
    let wal = reddb_file::layout::wal_dir(&node.dir);
    for entry in node.vfs.list(&wal).expect("there").into_iter().filter(|entry| entry.name.starts_with("spare")) {
        node.vfs.remove(&wal.join(entry.name)).expect("there");
    }
    node.sim.rot(&path, |bytes| bytes[2 * BLOCK + 70] ^= 1).expect("there");
    node.sim.set_space(Some(node.sim.used_bytes()));
    let recovery = try_recover(&node, cluster(), &first_state()).expect("needs no space");
    assert_eq!(recovery.verdict, Verdict::TornTail { segment: path.clone(), offset: 8192, lsn: Lsn::new(33) });
    // What recovery shows is on the disk, and what it dropped is not.
    node.crash(Keep::Nothing);
    let again = try_recover(&node, cluster(), &first_state()).expect("whole");
    assert_eq!((again.verdict, again.log.end()), (Verdict::Clean, recovery.log.end()));
    let description = describe_segment(node.vfs.as_ref(), &path).expect("valid");
    assert_eq!(description.end, SegmentEnd::Blank);
    let names: Vec<String> = node.vfs.list(&wal).expect("there").into_iter().map(|entry| entry.name).collect();
    assert_eq!(names.iter().filter(|name| name.starts_with("spare")).count(), 0, "{names:?}");
}

#[test]
fn a_bad_last_batch_below_a_mark_is_corrupt() {
    let (node, process) = filled();
    let path = segment(&process, 3);
    node.sim.rot(&path, |bytes| bytes[2 * BLOCK + 70] ^= 1).expect("there");
    let state = ControlState { durable: process.writer.last(), ..first_state() };
    let (segment, offset, lsn, reason) = expect_corrupt(&node, &state);
    assert_eq!((segment, offset, lsn), (path, 8192, Lsn::new(33)));
    assert!(matches!(reason, CorruptionReason::BelowMark { mark: "durable", .. }), "{reason}");
}

#[test]
fn a_bad_batch_before_a_good_one_is_corrupt() {
    for damage in [BLOCK + 70, BLOCK + 2, BLOCK + 40] {
        let (node, process) = filled();
        let path = segment(&process, 3);
        node.sim.rot(&path, |bytes| bytes[damage] ^= 1).expect("there");
        let (segment, offset, lsn, reason) = expect_corrupt(&node, &first_state());
        assert_eq!((segment, offset, lsn), (path, 4096, Lsn::new(31)));
        let CorruptionReason::FollowedByBatch { later_offset, later, .. } = reason else { panic!("{reason}") };
        assert_eq!((later_offset, later), (8192, Lsn::new(33)));
    }
}

#[test]
fn a_bad_batch_before_a_later_segment_is_corrupt() {
    let (node, process) = filled();
    let path = segment(&process, 1);
    node.sim.rot(&path, |bytes| bytes[5 * BLOCK + 70] ^= 1).expect("there");
    let (segment, offset, lsn, reason) = expect_corrupt(&node, &first_state());
    assert_eq!((segment, offset, lsn), (path, 5 * 4096, Lsn::new(19)));
    assert!(matches!(reason, CorruptionReason::FollowedBySegment { next, .. } if next == Lsn::new(21)), "{reason}");
}

#[test]
fn a_segment_that_was_cut_short_is_corrupt_even_at_the_end() {
    let (node, process) = filled();
    let path = segment(&process, 3);
    node.sim.rot(&path, |bytes| bytes.truncate(2 * BLOCK + 70)).expect("there");
    let (.., lsn, reason) = expect_corrupt(&node, &first_state());
    assert_eq!(lsn, Lsn::new(33));
    assert!(matches!(reason, CorruptionReason::NotTorn(_)), "{reason}");
}

#[test]
fn a_missing_segment_is_corrupt_wherever_it_is() {
    for index in [0, 1] {
        let (node, process) = filled();
        node.vfs.remove(&segment(&process, index)).expect("there");
        let (.., reason) = expect_corrupt(&node, &first_state());
        match index {
            0 => assert!(matches!(reason, CorruptionReason::BeginsTooLate { .. }), "{reason}"),
            _ => assert!(matches!(reason, CorruptionReason::FollowedBySegment { .. }), "{reason}"),
        }
    }
    let (node, process) = filled();
    node.vfs.remove(&segment(&process, 3)).expect("there");
    let state = ControlState { durable: process.writer.last(), ..first_state() };
    let (.., lsn, reason) = expect_corrupt(&node, &state);
    assert_eq!(lsn, Lsn::new(31));
    assert!(matches!(reason, CorruptionReason::BelowMark { .. }), "{reason}");
    for index in 0..3 {
        node.vfs.remove(&segment(&process, index)).expect("there");
    }
    let (.., reason) = expect_corrupt(&node, &state);
    assert!(matches!(reason, CorruptionReason::NoSegments { .. }), "{reason}");
}

#[test]
fn a_log_may_begin_after_what_is_archived_and_in_a_checkpoint_but_not_later() {
    let (node, process) = filled();
    node.vfs.remove(&segment(&process, 0)).expect("there");
    let at_10 = mark_at(&process, &node, 10);
    let durable = process.writer.last();
    let state = ControlState { durable, archived: at_10, checkpoint: at_10, ..first_state() };
    let log = try_recover(&node, cluster(), &state).expect("whole").log;
    assert_eq!(log.first_lsn(), Some(Lsn::new(11)));
    assert_eq!(log.base().mark(), at_10);
    let genesis = Mark::genesis(cluster());
    for state in [ControlState { archived: genesis, ..state.clone() }, ControlState { checkpoint: genesis, ..state }] {
        let (.., lsn, reason) = expect_corrupt(&node, &state);
        assert_eq!(lsn, Lsn::new(1));
        assert!(matches!(reason, CorruptionReason::BeginsTooLate { .. }), "{reason}");
    }
}

/// The mark at a record, from the header of the segment that begins after it.
fn mark_at(process: &Process, node: &Node, lsn: u64) -> Mark {
    let info =
        process.writer.segments().into_iter().find(|info| info.first_lsn.get() == lsn + 1).expect("begins there");
    Mark { lsn: Lsn::new(lsn), chain: describe_segment(node.vfs.as_ref(), &info.path).expect("valid").chain_before }
}

#[test]
fn a_log_that_disagrees_with_a_mark_is_another_history() {
    let (node, process) = filled();
    let mut state = ControlState { durable: process.writer.last(), ..first_state() };
    state.archived = Mark { lsn: Lsn::new(17), chain: state.durable.chain };
    let (.., lsn, reason) = expect_corrupt(&node, &state);
    assert_eq!(lsn, Lsn::new(17));
    assert!(matches!(reason, CorruptionReason::MarkDisagrees { mark: "archived", .. }), "{reason}");
}

#[test]
fn another_clusters_or_a_renamed_segment_is_refused() {
    let (node, process) = filled();
    let error = try_recover(&node, ClusterId::from_bytes([1; 16]), &first_state()).expect_err("another cluster");
    assert!(error.to_string().contains("belongs to cluster"), "{error}");
    let (from, to) = (segment(&process, 2), segment(&process, 1));
    node.vfs.rename(&from, &to).expect("there");
    let (.., reason) = expect_corrupt(&node, &first_state());
    assert!(matches!(reason, CorruptionReason::Name { .. }), "{reason}");
}

/// Up to the last batch, whose flipped bits look like a torn tail.
#[test]
fn every_flipped_bit_of_the_log_is_found() {
    const RECORDS_END: usize = 64 + (21 + 10) + (21 + 20);
    let (node, process) = filled();
    let state = ControlState { shutdown: reddb_file::control::Shutdown::Clean, ..first_state() };
    for (index, info) in process.writer.segments().iter().enumerate() {
        let blocks = if index == 3 { 2 } else { 6 };
        // The whole of each segment's and batch's header, the records, and some of the padding after them.
        for at in (0..blocks * BLOCK).filter(|at| at % BLOCK < RECORDS_END + 4 || (*at < BLOCK && at % 97 == 0)) {
            let flip = |bytes: &mut Vec<u8>| bytes[at] ^= 1 << (at % 8);
            node.sim.rot(&info.path, flip).expect("there");
            match try_recover(&node, cluster(), &state) {
                Err(RecoverError::Corrupt(corruption)) => assert!(corruption.lsn >= info.first_lsn),
                Err(error) => panic!("{error}"),
                Ok(recovery) => {
                    assert!(at > BLOCK && at % BLOCK >= RECORDS_END, "segment {index}, offset {at} is not padding");
                    assert_eq!(recovery.verdict, Verdict::Clean);
                    assert_eq!(recovery.log.end(), process.writer.last());
                }
            }
            node.sim.rot(&info.path, flip).expect("there");
        }
    }
}

#[test]
fn a_new_and_a_restored_database_begin_with_an_empty_log() {
    let mut node = Node::new(1);
    let process = node.start().expect("starts");
    assert!(process.writer.segments().is_empty());
    assert_eq!(process.writer.last().lsn, Lsn::ZERO);
    let (node, process) = filled();
    let fork = process.writer.last();
    let state = ControlState {
        timeline: TimelineId::new(2),
        timeline_begin: fork.lsn.next().expect("few"),
        durable: fork,
        archived: fork.mark(),
        checkpoint: fork.mark(),
        ..first_state()
    };
    let recovery = try_recover(&node, cluster(), &state).expect("empty");
    assert_eq!(recovery.verdict, Verdict::Clean);
    assert_eq!(recovery.log.end(), fork);
    assert_eq!(recovery.log.first_lsn(), None);
}

#[test]
fn leftovers_of_a_crash_are_cleared_away_and_spares_are_used_again() {
    let (mut node, mut process) = filled();
    node.prune(&mut process).expect("works");
    while process.pool.fill_step(1).expect("works") != reddb_file::wal::FillProgress::Idle {}
    let spares = process.pool.spares();
    assert!(spares > 0);
    drop(process);
    node.crash(Keep::Nothing);
    let wal = reddb_file::layout::wal_dir(&node.dir);
    reddb_file::durable::create_file(node.vfs.as_ref(), &wal.join("spare-900"), b"too short").expect("works");
    let half = node.vfs.open(&wal.join("spare-901.tmp"), reddb_file::vfs::OpenMode::CreateNew).expect("works");
    half.write_at(&[1; 10], 0).expect("works");
    let process = node.start().expect("starts");
    assert_eq!(process.pool.spares(), spares - 1, "one was used to write the last segment again");
    let names: Vec<String> = node.vfs.list(&wal).expect("there").into_iter().map(|entry| entry.name).collect();
    assert!(!names.iter().any(|name| name.contains("90")), "{names:?}");
}

#[test]
fn a_segment_can_be_described_without_knowing_anything_else() {
    let (node, process) = filled();
    let first = describe_segment(node.vfs.as_ref(), &segment(&process, 0)).expect("valid");
    assert_eq!((first.records, first.batches, first.end.clone()), (10, 5, SegmentEnd::EndOfFile));
    assert_eq!((first.first_lsn, first.last_lsn), (Lsn::new(1), Lsn::new(10)));
    assert_eq!(first.chain_after, mark_at(&process, &node, 10).chain);
    let last = describe_segment(node.vfs.as_ref(), &segment(&process, 3)).expect("valid");
    assert_eq!((last.records, last.end), (4, SegmentEnd::Blank));
    node.sim.rot(&segment(&process, 3), |bytes| bytes[BLOCK + 70] ^= 1).expect("there");
    let damaged = describe_segment(node.vfs.as_ref(), &segment(&process, 3)).expect("the header is valid");
    let SegmentEnd::BadBatch { later_lsn, .. } = damaged.end else { panic!("{:?}", damaged.end) };
    assert_eq!(later_lsn, Some(Lsn::new(33)));
    let json = serde_json::to_value(&first).expect("serializable");
    assert_eq!(json["records"], 10);
    assert_eq!(json["end"]["kind"], "end_of_file");
    let error = describe_segment(node.vfs.as_ref(), &reddb_file::layout::control_path(&node.dir)).expect_err("is none");
    assert!(error.to_string().contains("not a log segment"), "{error}");
}
