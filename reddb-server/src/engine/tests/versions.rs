//! Reads at past LSNs, whatever is flushed and compacted meanwhile.

use super::*;
use crate::engine::{EngineError, Snapshot};

#[test]
fn every_held_lsn_reads_as_it_was_through_flushes_and_compactions_and_restarts() {
    for seed in 0..4 {
        let mut dice = Dice(seed);
        let mut rig = Rig::new();
        let mut held: Vec<Snapshot> = Vec::new();
        for step in 0..2_000 {
            rig.apply_random(&mut dice, 6, 300);
            match dice.below(40) {
                0 => held.push(rig.engine().snapshot()),
                1 => drop(held.pop()),
                2 => drop(rig.engine().flush().unwrap()),
                3 if held.len() > 3 => drop(held.remove(0)),
                _ => {}
            }
            if step % 400 == 399 {
                for snapshot in &held {
                    rig.expect_model_at(snapshot.lsn());
                }
                held.clear();
                rig.restart();
                rig.expect_model_at(rig.engine().applied().lsn);
            }
        }
        assert!(rig.engine().stats().tables > 0);
    }
}

#[test]
fn all_lsns_in_a_row_can_be_held_and_read() {
    let mut dice = Dice(7);
    let mut rig = Rig::new();
    let mut held = Vec::new();
    for _ in 0..150 {
        rig.apply_random(&mut dice, 20, 100);
        held.push(rig.engine().snapshot());
        if dice.below(4) == 0 {
            rig.engine().flush().unwrap();
        }
    }
    let stats = rig.engine().stats();
    assert_eq!((stats.snapshots, stats.snapshot_oldest), (150, Some(lsn(1))));
    assert!(stats.flushes > 15, "{stats:?}");
    for snapshot in &held {
        rig.expect_model_at(snapshot.lsn());
    }
}

#[test]
fn an_lsn_that_is_not_held_is_refused_once_its_versions_may_be_gone() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    let first = rig.engine().snapshot();
    rig.apply(&[put("a", "2")]);
    rig.engine().flush().unwrap();
    rig.apply(&[put("a", "3")]);
    rig.engine().flush().unwrap();
    assert_eq!(rig.engine().get(b"a", first.lsn()).unwrap(), Some("1".into()));
    assert_eq!(rig.engine().get(b"a", lsn(2)).unwrap(), Some("2".into()), "newer than the oldest held");
    drop(first);
    rig.apply(&[put("a", "4")]);
    rig.engine().flush().unwrap();
    for gone in [1, 2] {
        let error = rig.engine().get(b"a", lsn(gone)).unwrap_err();
        assert!(matches!(error, EngineError::SnapshotGone { oldest, .. } if oldest == lsn(4)), "{error}");
        assert!(rig.engine().range(EVERYTHING, lsn(gone)).is_err());
    }
}

#[test]
fn lsns_before_an_opening_are_not_readable_after_it_not_even_from_the_cache() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    rig.apply(&[put("a", "2")]);
    rig.restart();
    assert_eq!(rig.engine().get(b"a", lsn(2)).unwrap(), Some("2".into()));
    assert_eq!(rig.engine().stats().hot_misses, 1);
    assert!(matches!(rig.engine().get(b"a", lsn(1)).unwrap_err(), EngineError::SnapshotGone { .. }));
    assert_eq!(rig.engine().get(b"a", lsn(2)).unwrap(), Some("2".into()));
    assert_eq!(rig.engine().stats().hot_hits, 1);
}

#[test]
fn an_iterator_outlives_everything_it_reads() {
    let mut dice = Dice(11);
    let mut rig = Rig::new();
    for _ in 0..400 {
        rig.apply_random(&mut dice, 8, 300);
    }
    let at = rig.engine().applied().lsn;
    let expected = rig.model.entries(at);
    let mut entries = rig.engine().range(EVERYTHING, at).unwrap();
    let mut seen: Vec<_> = entries.by_ref().take(10).map(Result::unwrap).collect();
    for _ in 0..3_000 {
        rig.apply_random(&mut dice, 8, 300);
    }
    eventually("a compaction", || rig.engine().stats().compactions > 0);
    assert!(rig.engine().get(b"key:001", at).is_err(), "the LSN itself is no longer kept");
    seen.extend(entries.map(Result::unwrap));
    assert_eq!(seen, expected);
}

#[test]
fn the_mark_survives_that_the_highest_sequence_number_goes_back() {
    // The newest writes are tombstones of all keys, which a compaction into the last level drops, and their numbers with them.
    let mut dice = Dice(13);
    let mut rig = Rig::new();
    for _ in 0..300 {
        rig.apply_random(&mut dice, 8, 300);
    }
    rig.engine().flush().unwrap();
    let keys: Vec<_> = rig.model.versions.keys().cloned().collect();
    for key in keys {
        rig.apply(&[delete(key)]);
        rig.engine().flush().unwrap();
    }
    eventually("compactions", || rig.engine().stats().l0_runs < 4);
    let applied = rig.engine().applied();
    rig.restart();
    assert_eq!(rig.engine().applied(), applied);
    let next = rig.apply(&[put("a", "1")]);
    rig.engine().flush().unwrap();
    rig.expect_model_at(next);
}

#[test]
fn tables_with_many_partitions_agree_with_the_model_at_every_held_lsn() {
    // A partition of an index holds some 50 blocks of 4 KiB, one of a filter some 3,000 keys: these are dozens of both, and
    // the versions of one key alone fill several.
    const KEYS: u64 = 8_000;
    const VERSIONS: u64 = 200;
    let name = |number: u64| format!("key:{number:06}");
    let mut dice = Dice(17);
    let mut rig = Rig::new();
    let mut held = Vec::new();
    for number in 0..KEYS {
        rig.apply(&[put(name(number * 7919 % KEYS * 2), dice.bytes(400))]);
        if number % (KEYS / VERSIONS) == 0 {
            rig.apply(&[put(name(KEYS), dice.bytes(1_000))]);
            held.push(rig.engine().snapshot());
        }
    }
    // Until compactions have taken the tables of level 0, which are not partitioned, away.
    rig.engine().flush().unwrap();
    eventually("an empty level 0", || match rig.engine().stats().l0_runs {
        0 => true,
        // Too few to be merged.
        1..4 => {
            rig.apply(&[put("later", "x")]);
            rig.engine().flush().unwrap();
            false
        }
        _ => false,
    });
    let stats = rig.engine().stats();
    assert!(stats.disk_bytes > 3_000_000 && stats.pinned_index_bytes < 2_000, "whole indexes: {stats:?}");
    let newest = rig.engine().snapshot();
    for at in held.iter().step_by(90).chain([held.last().unwrap(), &newest]).map(Snapshot::lsn) {
        rig.expect_model_at(at);
        for _ in 0..10 {
            let (one, other) = (dice.below(2 * KEYS), dice.below(2 * KEYS));
            let (from, to) = (name(one.min(other)), name(one.max(other)));
            let range = (Bound::Included(from.as_bytes()), Bound::Excluded(to.as_bytes()));
            let mut expected = rig.model.entries(at);
            expected.retain(|(key, _)| from.as_bytes() <= key && &key[..] < to.as_bytes());
            let found = || rig.engine().range(range, at).unwrap().map(Result::unwrap);
            assert_eq!(found().collect::<Vec<_>>(), expected, "{from} to {to} at {at}");
            expected.reverse();
            assert_eq!(found().rev().collect::<Vec<_>>(), expected, "{from} to {to} backwards at {at}");
            let absent = name(one | 1);
            assert_eq!(rig.engine().get(absent.as_bytes(), at).unwrap(), None, "{absent} at {at}");
        }
    }
    for snapshot in &held {
        let key = name(KEYS);
        assert_eq!(
            rig.engine().get(key.as_bytes(), snapshot.lsn()).unwrap(),
            rig.model.get(key.as_bytes(), snapshot.lsn())
        );
    }
}
