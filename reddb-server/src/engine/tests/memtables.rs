//! Memtables by themselves, beside a model that remembers every version.

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::engine::EngineError;
use crate::engine::memtable::Memtable;
use crate::engine::memtables::{Memtables, Merge, Survivors};

const EVERY_NUMBER: u64 = 1 << 62;

/// Every version: key, number, and value or `None` for a tombstone.
type Versions = BTreeMap<(Bytes, u64), Option<Bytes>>;

/// What a read below a number sees of a key.
fn newest<'v>(versions: &'v Versions, key: &Bytes, below: u64) -> Option<(u64, &'v Option<Bytes>)> {
    versions.range((key.clone(), 0)..(key.clone(), below)).next_back().map(|((_, number), value)| (*number, value))
}

fn keys(versions: &Versions) -> Vec<Bytes> {
    let mut keys: Vec<_> = versions.keys().map(|(key, _)| key.clone()).collect();
    keys.dedup();
    keys
}

/// What a read below a number finds in a range, in order.
fn entries_in(versions: &Versions, range: (Bound<Bytes>, Bound<Bytes>), below: u64) -> VecDeque<(Bytes, Bytes)> {
    let keys = keys(versions).into_iter().filter(|key| std::ops::RangeBounds::contains(&range, key));
    keys.filter_map(|key| newest(versions, &key, below)?.1.clone().map(|value| (key, value))).collect()
}

/// Some keys begin with the same 16 bytes, some with another byte, some are longer than a quarter of what is allocated at once.
fn random_key(dice: &mut Dice) -> Bytes {
    match dice.below(20) {
        0 => format!("{:c<20000}", dice.below(3)).into(),
        1..4 => format!("D{}", dice.below(5)).into(),
        _ => format!("a long beginning:{:03}", dice.below(400)).into(),
    }
}

/// Writes a version of a random key at a number.
fn write_random(dice: &mut Dice, table: &Memtable, versions: &mut Versions, number: u64) {
    let key = random_key(dice);
    let value_bytes = if dice.below(50) == 0 { 70_000 } else { dice.below(40) as usize };
    let value = (dice.below(5) > 0).then(|| Bytes::from(dice.bytes(value_bytes)));
    table.insert(&key, value.as_deref(), number);
    versions.insert((key, number), value);
}

#[test]
fn every_version_is_found_below_every_number() {
    let mut dice = Dice(1);
    let (table, mut versions) = (Memtable::new(), Versions::new());
    for step in 0..3_000 {
        // Now and then several of a key have one number: the last one counts.
        write_random(&mut dice, &table, &mut versions, 1 + step / 4);
    }
    for key in keys(&versions) {
        for below in [0, 1, 2, 100, 399, 400, 750, 751, EVERY_NUMBER] {
            let expected = newest(&versions, &key, below).map(|(_, value)| value.clone());
            assert_eq!(table.get(&key, below), expected, "{key:?} below {below}");
        }
    }
    assert_eq!(table.get(b"absent", EVERY_NUMBER), None);
}

#[test]
fn a_range_is_read_from_both_ends_as_of_its_number_whatever_is_written_meanwhile() {
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let mut versions = Versions::new();
        let memtables = Memtables::new();
        let mut number = 0;
        // What is in tables: the newest versions, some of which memtables hold too.
        let mut tables = Versions::new();
        for memtable in 0..1 + dice.below(3) {
            let in_tables_too = memtable == 0;
            for _ in 0..dice.below(1_500) {
                number += dice.below(3);
                write_random(&mut dice, &memtables.active(), &mut versions, number);
                if dice.below(200) == 0 {
                    // Puts in order what is there.
                    drop(memtables.cursors(EVERYTHING, EVERY_NUMBER));
                }
            }
            if in_tables_too {
                tables = versions.clone();
            }
            memtables.seal();
            number += 1;
        }
        let below = 1 + dice.below(number + 2);
        let mut bounds = [random_key(&mut dice), random_key(&mut dice)];
        bounds.sort();
        let [low, high] = bounds;
        let range = match dice.below(4) {
            0 => (Bound::Included(low), Bound::Excluded(high)),
            1 => (Bound::Excluded(low), Bound::Included(high)),
            2 => (Bound::Unbounded, Bound::Included(high)),
            _ => (Bound::Unbounded, Bound::Unbounded),
        };
        let mut expected = entries_in(&versions, range.clone(), below);
        let in_tables = entries_in(&tables, range.clone(), below).into_iter().map(Ok::<_, EngineError>);
        let borrowed = (range.0.as_ref().map(|key| &key[..]), range.1.as_ref().map(|key| &key[..]));
        let mut merge = Merge::new(memtables.cursors(borrowed, below), in_tables);
        let mut later = Versions::new();
        loop {
            if dice.below(3) == 0 {
                number += 1;
                write_random(&mut dice, &memtables.active(), &mut later, number.max(below));
                memtables.forget(EVERY_NUMBER);
            }
            let (found, wanted) = match dice.below(2) {
                0 => (merge.next(), expected.pop_front()),
                _ => (merge.next_back(), expected.pop_back()),
            };
            let found = found.map(Result::unwrap);
            assert_eq!(found, wanted, "{range:?} below {below}, seed {seed}");
            if found.is_none() {
                break;
            }
        }
        assert!(merge.next().is_none() && merge.next_back().is_none());
    }
}

#[test]
fn what_is_put_in_order_again_and_again_stays_in_few_runs() {
    let mut dice = Dice(3);
    let (memtables, mut versions) = (Memtables::new(), Versions::new());
    for number in 1..=4_000 {
        write_random(&mut dice, &memtables.active(), &mut versions, number);
        let runs = memtables.cursors(EVERYTHING, EVERY_NUMBER).len();
        assert!(runs <= 12, "{runs} runs of {number} entries");
    }
}

#[test]
fn what_a_flush_leaves_out_no_read_at_the_watermark_or_above_can_see() {
    for seed in 0..30 {
        let mut dice = Dice(seed);
        let mut versions = Versions::new();
        let mut number = 0;
        let tables: Vec<Arc<Memtable>> = (0..1 + dice.below(3)).map(|_| Memtable::new()).collect();
        for table in &tables {
            for _ in 0..dice.below(800) {
                number += dice.below(3);
                write_random(&mut dice, table, &mut versions, number);
            }
            number += 1;
        }
        let watermark = dice.below(number + 2);
        let ordered: Vec<_> = tables.iter().map(|table| table.ordered()).collect();
        let kept: Vec<_> = Survivors::new(&ordered, watermark).collect();
        let in_order = kept.is_sorted_by(|one, other| (one.0, other.1) < (other.0, one.1));
        assert!(in_order, "not in order, or twice");
        let kept: Versions = kept
            .into_iter()
            .map(|(key, number, value)| ((Bytes::copy_from_slice(key), number), value.map(Bytes::copy_from_slice)))
            .collect();
        for key in keys(&versions) {
            for below in watermark..number + 2 {
                assert_eq!(newest(&kept, &key, below), newest(&versions, &key, below), "{key:?} below {below}");
            }
            let old = kept.range((key.clone(), 0)..(key.clone(), watermark)).count();
            assert!(old <= 1, "{old} versions of {key:?} are older than every read");
        }
    }
}

#[test]
fn an_old_read_does_not_look_into_memtables_that_are_newer() {
    // However many there are: what a long read keeps from being let go of must not make that read slower.
    let memtables = Memtables::new();
    for number in 1..=20 {
        memtables.active().insert(b"a", Some(b"1"), number * 10);
        memtables.seal();
    }
    let looked_into = |below| memtables.cursors(EVERYTHING, below).len();
    assert_eq!([0, 10, 11, 20, 21, 200, 201].map(looked_into), [0, 0, 1, 1, 2, 19, 20]);
    memtables.flushed(20, 300);
    assert_eq!([10, 11, 21, 201, 301].map(looked_into), [0, 1, 2, 20, 0]);
    assert_eq!((memtables.get(b"a", 10), memtables.get(b"a", 11)), (None, Some(Some("1".into()))));
}

#[test]
fn a_flushed_memtable_serves_reads_at_its_number_and_below_until_there_are_none() {
    let memtables = Memtables::new();
    memtables.active().insert(b"a", Some(b"1"), 5);
    memtables.seal();
    memtables.active().insert(b"a", Some(b"2"), 8);
    let found = |below| {
        let mut range = Merge::new(memtables.cursors(EVERYTHING, below), std::iter::empty());
        let in_range = range.next().map(|entry| entry.unwrap().1);
        assert_eq!(memtables.get(b"a", below).flatten(), in_range);
        in_range
    };
    assert_eq!((found(5), found(6), found(7), found(9)), (None, Some("1".into()), Some("1".into()), Some("2".into())));
    assert_eq!(memtables.sealed_count(), 1);
    memtables.flushed(1, 6);
    assert_eq!(memtables.sealed_count(), 0);
    assert_eq!((found(6), found(7), found(9)), (Some("1".into()), None, Some("2".into())));
    memtables.forget(6);
    assert_eq!(found(6), Some("1".into()));
    memtables.forget(7);
    assert_eq!(found(6), None);
}

#[test]
fn keys_that_begin_alike_are_put_in_order_however_long_and_whatever_comes_then() {
    let mut dice = Dice(7);
    let (table, mut versions) = (Memtable::new(), Versions::new());
    // Pieces of 16 bytes that differ in the last one only or not at all, zeros, and ends within a piece or between two.
    let pieces = [[0; 16], [b'a'; 16], *b"aaaaaaaaaaaaaaa\0", *b"aaaaaaaaaaaaaaab"];
    for number in 1..20_000 {
        let alike = [0, 1, 3, 8, 9][dice.below(5) as usize];
        let different = (0..dice.below(3)).flat_map(|_| pieces[dice.below(4) as usize]);
        let mut key: Vec<u8> = std::iter::repeat_n(b'a', 16 * alike).chain(different).collect();
        key.truncate(key.len().saturating_sub(dice.below(3) as usize));
        table.insert(&key, Some(&key), number);
        versions.insert((key.clone().into(), number), Some(key.into()));
    }
    let ordered = table.ordered();
    let found: Vec<_> = (0..).map_while(|at| ordered.entry(at)).collect();
    assert_eq!(found.len(), versions.len());
    // By key, the newest version first.
    assert!(found.is_sorted_by(|one, other| (one.0, other.1) < (other.0, one.1)));
}
