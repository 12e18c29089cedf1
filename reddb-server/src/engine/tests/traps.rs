//! How the tree itself behaves where that is surprising: each of these is a reason for something in [`crate::engine::lsm`] or
//! [`crate::engine::seqno`], and would be seen here first if another version of the tree behaved otherwise.

use std::fs;

use super::*;
use crate::engine::lsm::{CompactionStep, LsmTree};
use crate::engine::{EngineError, seqno};

const EVERY_NUMBER: u64 = 1 << 62;

fn tree(dir: &Path) -> LsmTree {
    LsmTree::open(dir, &tiny().budget()).unwrap()
}

fn put_raw(tree: &LsmTree, key: &'static str, value: impl AsRef<[u8]>, number: u64) {
    tree.active().put(key.as_bytes(), value.as_ref(), number);
}

fn flush(tree: &LsmTree, watermark: u64) {
    tree.seal();
    tree.flush(&tree.lock_flush(), watermark).unwrap();
}

fn compact_all(tree: &LsmTree, watermark: u64) {
    while tree.compact(watermark).unwrap() == CompactionStep::Progress {}
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir.join("tables")).unwrap().count()
}

#[test]
fn a_flush_draws_a_number_and_hides_what_is_written_below_it_afterwards() {
    // Without the shift: the number of the next run may be below the flush's, and then a read above the run but not above the
    // flush uses the state from before both.
    let dir = tempfile::tempdir().unwrap();
    let unshifted = tree(dir.path());
    unshifted.raise_counter(10);
    put_raw(&unshifted, "a", "1", 1);
    flush(&unshifted, 0);
    assert_eq!(unshifted.counter(), 11);
    unshifted.add_run(&unshifted.lock_flush(), [put("b", "2")].iter(), 2, 0).unwrap();
    assert_eq!(unshifted.get(b"b", 4).unwrap(), None, "written at 2, and yet not there below 4");
    assert_eq!(unshifted.get(b"b", 12).unwrap(), Some("2".into()));

    // With it: whatever is drawn while an LSN is the newest is below what a read at that LSN stays below.
    let dir = tempfile::tempdir().unwrap();
    let shifted = tree(dir.path());
    for number in 1..50 {
        shifted.raise_counter(seqno::counter_floor(lsn(number)));
        put_raw(&shifted, "a", number.to_string(), seqno::of_writes(lsn(number)));
        flush(&shifted, 0);
        assert!(shifted.counter() < seqno::read_below(lsn(number)));
    }
    for number in 1..50 {
        let read = shifted.get(b"a", seqno::read_below(lsn(number))).unwrap();
        assert_eq!(read, Some(number.to_string().into()));
    }
}

#[test]
fn the_counter_starts_at_zero_again_after_an_opening() {
    let dir = tempfile::tempdir().unwrap();
    let first = tree(dir.path());
    first.raise_counter(1000);
    put_raw(&first, "a", "1", 999);
    flush(&first, 0);
    drop(first);
    let second = tree(dir.path());
    assert_eq!(second.counter(), 0, "so whoever opens must raise it");
    assert_eq!(second.highest_in_tables(), Some(999));
}

#[test]
fn the_highest_number_in_tables_goes_back_when_a_compaction_drops_a_tombstone() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path());
    tree.raise_counter(100);
    for round in 0..8 {
        put_raw(&tree, "a", "1", 1 + round);
        put_raw(&tree, "z", "1", 1 + round);
        flush(&tree, 0);
    }
    tree.active().delete(b"a", 50);
    tree.active().delete(b"z", 50);
    put_raw(&tree, "m", "1", 20);
    flush(&tree, 0);
    assert_eq!(tree.highest_in_tables(), Some(50));
    for round in 0..8 {
        put_raw(&tree, "b", "1", 30 + round);
        put_raw(&tree, "y", "1", 30 + round);
        flush(&tree, EVERY_NUMBER);
    }
    compact_all(&tree, EVERY_NUMBER);
    assert!(tree.highest_in_tables() < Some(50), "{:?}", tree.highest_in_tables());
    assert_eq!(tree.get(b"a", EVERY_NUMBER).unwrap(), None);
    assert_eq!(tree.get(b"m", EVERY_NUMBER).unwrap(), Some("1".into()));
}

#[test]
fn a_state_is_kept_as_long_as_the_watermark_says_a_read_may_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path());
    let at = |number| seqno::read_below(lsn(number));
    for number in 1..10 {
        tree.raise_counter(seqno::counter_floor(lsn(number)));
        put_raw(&tree, "a", number.to_string(), seqno::of_writes(lsn(number)));
        flush(&tree, at(3));
        tree.forget_states(at(3)).unwrap();
        compact_all(&tree, at(3));
    }
    for number in 3..10 {
        assert_eq!(tree.get(b"a", at(number)).unwrap(), Some(number.to_string().into()));
    }
    tree.forget_states(at(9)).unwrap();
    assert_eq!(tree.get(b"a", at(9)).unwrap(), Some("9".into()));
    let manifests = fs::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('v'));
    assert_eq!(manifests.count(), 1);
    assert_eq!(files(dir.path()), tree_tables(&tree));
}

fn tree_tables(tree: &LsmTree) -> usize {
    let mut stats = Default::default();
    tree.add_stats(&mut stats);
    stats.tables
}

#[test]
fn a_failed_compaction_is_an_error_that_leaves_the_state_and_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path());
    let mut dice = Dice(51);
    tree.raise_counter(1 << 40);
    for round in 0..8_u64 {
        for key in 0..200_u64 {
            let key = format!("{:04}", key * 8 + if key == 0 || key == 199 { 0 } else { round });
            tree.active().put(key.as_bytes(), &dice.bytes(300), round + 1);
        }
        flush(&tree, 0);
    }
    let tables = tree_tables(&tree);
    for entry in fs::read_dir(dir.path().join("tables")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        for byte in &mut bytes[30_000..34_000] {
            *byte ^= 0x55;
        }
        fs::write(path, bytes).unwrap();
    }
    let error = loop {
        match tree.compact(0) {
            Ok(CompactionStep::Progress) => {}
            Ok(CompactionStep::Idle) => panic!("there is something to compact"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, EngineError::Corrupt { .. }), "{error}");
    assert_eq!(tree_tables(&tree), tables);
    assert_eq!(files(dir.path()), tables);
}

#[test]
fn what_a_flush_leaves_out_is_only_what_no_read_at_the_watermark_can_see() {
    let dir = tempfile::tempdir().unwrap();
    let tree = tree(dir.path());
    tree.raise_counter(100);
    for number in 1..=9 {
        put_raw(&tree, "a", number.to_string(), number);
    }
    flush(&tree, 5);
    drop(tree);
    // Opened again, so that the state from before the flush does not help.
    let tree = LsmTree::open(dir.path(), &tiny().budget()).unwrap();
    for number in 5..=9 {
        assert_eq!(tree.get(b"a", number + 1).unwrap(), Some(number.to_string().into()));
    }
}
