//! Physical removal of dead ranges of keys.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::*;
use crate::engine::{KeyRange, RangeDeletion};

fn dead() -> KeyRange<'static> {
    (Included(b"dead:"), Excluded(b"dead;"))
}

/// A rig with 1000 dead entries between live ones, in tables and in memory.
fn rig_with_dead_range() -> Rig {
    let mut rig = Rig::new();
    rig.apply(&[put("alive", "1"), put("zoo", "1")]);
    for chunk in 0..10 {
        let writes: Vec<_> = (0..100).map(|index| put(format!("dead:{chunk}{index:02}"), "x")).collect();
        rig.apply(&writes);
        if chunk == 4 {
            rig.engine().flush().unwrap();
        }
    }
    rig
}

fn delete_all(rig: &Rig, entries_max: usize) -> usize {
    let (mut total, mut steps, mut from) = (0, 0, Bytes::from("dead:"));
    loop {
        steps += 1;
        let range = (Included(from.as_ref()), Excluded(b"dead;".as_slice()));
        match rig.engine().delete_range_step(range, entries_max).unwrap() {
            RangeDeletion::More { entries, resume_from } => {
                assert_eq!(entries, entries_max);
                total += entries;
                from = resume_from;
            }
            RangeDeletion::Done { entries } => {
                assert!(steps > total / entries_max);
                return total + entries;
            }
        }
    }
}

#[test]
fn a_dead_range_goes_in_steps_and_nothing_else_does() {
    let mut rig = rig_with_dead_range();
    let applied = rig.engine().applied();
    assert_eq!(rig.engine().get_newest(b"dead:000").unwrap().1, Some("x".into()), "now in the cache too");
    assert_eq!(delete_all(&rig, 64), 1000);
    assert_eq!(rig.engine().applied(), applied);
    assert_eq!(rig.engine().get_newest(b"dead:000").unwrap().1, None);
    let left = [("alive".into(), "1".into()), ("zoo".into(), "1".into())];
    assert_eq!(entries(rig.engine(), applied.lsn), left);
    rig.restart();
    assert_eq!(rig.engine().applied(), applied);
    assert_eq!(entries(rig.engine(), applied.lsn), left);
    assert_eq!(
        rig.engine().delete_range_step(dead(), 10).unwrap(),
        RangeDeletion::Done { entries: 0 },
        "there is nothing left to do"
    );
}

#[test]
fn reads_at_older_lsns_still_see_the_entries() {
    let mut rig = rig_with_dead_range();
    let before = rig.engine().snapshot();
    let mut iterator = rig.engine().range(dead(), before.lsn()).unwrap();
    assert_eq!(iterator.next().unwrap().unwrap().0, "dead:000");
    // The record that makes the range dead.
    rig.apply(&[put("alive", "2")]);
    assert_eq!(delete_all(&rig, 100), 1000);
    for _ in 0..3 {
        rig.engine().flush().unwrap();
        rig.apply(&[put("alive", "3")]);
    }
    rig.expect_model_at(before.lsn());
    assert_eq!(iterator.count(), 999);
    assert_eq!(rig.engine().range(dead(), rig.engine().applied().lsn).unwrap().count(), 0);
}

#[test]
fn writes_after_a_removal_are_kept_whether_or_not_they_are_in_its_range() {
    let mut rig = rig_with_dead_range();
    rig.apply(&[]);
    delete_all(&rig, 1000);
    let at = rig.apply(&[put("dead:000", "again"), put("alive", "2")]);
    rig.restart();
    let expected: Vec<(Bytes, Bytes)> =
        vec![("alive".into(), "2".into()), ("dead:000".into(), "again".into()), ("zoo".into(), "1".into())];
    assert_eq!(entries(rig.engine(), at), expected);
}

#[test]
fn a_checkpoint_after_a_removal_is_of_the_same_record_without_the_range() {
    let rig = rig_with_dead_range();
    let first = rig.engine().checkpoint(&rig.dir.path().join("first")).unwrap();
    delete_all(&rig, 1000);
    let second = rig.engine().checkpoint(&rig.dir.path().join("second")).unwrap();
    assert_eq!(first.mark, second.mark);
    assert_eq!(entries(&open(&rig.dir.path().join("first")), first.mark.lsn).len(), 1002);
    assert_eq!(entries(&open(&rig.dir.path().join("second")), second.mark.lsn).len(), 2);
}

#[test]
fn everything_can_be_removed_but_the_engines_own_keys() {
    let mut rig = rig_with_dead_range();
    let applied = rig.engine().applied();
    assert_eq!(
        rig.engine().delete_range_step((Unbounded, Unbounded), 5000).unwrap(),
        RangeDeletion::Done { entries: 1002 }
    );
    rig.restart();
    assert_eq!(rig.engine().applied(), applied);
    assert_eq!(entries(rig.engine(), applied.lsn), []);
}
