//! Readers beside the writer, the flushes and the compactions.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use parking_lot::RwLock;

use super::*;

/// Raises the flag when dropped, so that a failed assertion ends the other threads too.
pub(super) struct StopOnDrop<'a>(pub(super) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_record_is_seen_whole_or_not_at_all() {
    // Each record writes one value under twenty keys; a snapshot in which two differ has seen half a record.
    let rig = Rig::new();
    let engine = rig.engine();
    let keys: Vec<String> = (0..20).map(|index| format!("{:02}:key", index * 5)).collect();
    let done = AtomicBool::new(false);
    let checks = AtomicU64::new(0);
    thread::scope(|scope| {
        for reader in 0..3 {
            let (keys, done, checks) = (&keys, &done, &checks);
            scope.spawn(move || {
                let _stop = StopOnDrop(done);
                let mut dice = Dice(reader);
                while !done.load(Ordering::SeqCst) {
                    let snapshot = engine.snapshot();
                    let expected = match snapshot.lsn().get() {
                        0 => None,
                        number => Some(number),
                    };
                    if dice.below(3) == 0 {
                        let range = engine.range(EVERYTHING, snapshot.lsn()).unwrap();
                        let mut count = 0;
                        for entry in range {
                            let value = entry.unwrap().1;
                            assert_eq!(value.first_chunk().map(|number| u64::from_le_bytes(*number)), expected);
                            count += 1;
                        }
                        assert_eq!(count, if expected.is_some() { keys.len() } else { 0 });
                    } else {
                        for key in keys {
                            let value = engine.get(key.as_bytes(), snapshot.lsn()).unwrap();
                            let got = value.map(|value| u64::from_le_bytes(*value.first_chunk().unwrap()));
                            assert_eq!(got, expected, "{key} at {}", snapshot.lsn());
                        }
                    }
                    checks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = StopOnDrop(&done);
        let mut dice = Dice(99);
        for number in 1..=6_000_u64 {
            let mut value = number.to_le_bytes().to_vec();
            value.extend(dice.bytes(200));
            let writes: Vec<_> = keys.iter().map(|key| put(key, &value)).collect();
            engine.apply(mark(number), &writes).unwrap();
        }
    });
    let stats = engine.stats();
    assert!(stats.flushes > 20 && stats.compactions > 0, "{stats:?}");
    assert!(checks.load(Ordering::Relaxed) > 100);
}

#[test]
fn no_reader_ever_sees_a_value_older_than_its_lsn() {
    // Few keys, so that writers, cache and readers collide; together larger than the cache, so that entries are evicted all
    // the time; some too large to be kept. A value is the LSN of its write, so a reader knows what it must not be older than.
    let rig = Rig::new();
    let engine = rig.engine();
    const KEYS: u64 = 200;
    let key = |index: u64| format!("key:{index}").into_bytes();
    // The LSN of the newest finished write of each key, published after `apply` returned.
    let newest: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let done = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    thread::scope(|scope| {
        for reader in 0..3 {
            let (newest, done, reads) = (&newest, &done, &reads);
            scope.spawn(move || {
                let _stop = StopOnDrop(done);
                let mut dice = Dice(100 + reader);
                while !done.load(Ordering::SeqCst) {
                    let index = dice.below(KEYS);
                    let floor = newest[index as usize].load(Ordering::SeqCst);
                    let (at, value) = engine.get_newest(&key(index)).unwrap();
                    let got = value.map_or(0, |value| u64::from_le_bytes(*value.first_chunk().unwrap()));
                    assert!(at.get() >= floor && got <= at.get());
                    assert!(got >= floor, "key {index}: read {got} at {at}, but {floor} was applied before");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = StopOnDrop(&done);
        let mut dice = Dice(5);
        for number in 1..=3_000_u64 {
            let index = dice.below(KEYS);
            let mut value = number.to_le_bytes().to_vec();
            value.resize(if dice.below(40) == 0 { 40_000 } else { 4_000 + dice.below(6_000) as usize }, 0);
            engine.apply(mark(number), &[put(key(index), &value)]).unwrap();
            newest[index as usize].store(number, Ordering::SeqCst);
        }
    });
    let stats = engine.stats();
    assert!(reads.load(Ordering::Relaxed) > 1_000);
    assert!(stats.hot_hits > 100 && stats.hot_misses > 100, "{stats:?}");
    for index in 0..KEYS {
        let (_, value) = engine.get_newest(&key(index)).unwrap();
        let got = value.map_or(0, |value| u64::from_le_bytes(*value.first_chunk().unwrap()));
        assert_eq!(got, newest[index as usize].load(Ordering::SeqCst));
    }
}

#[test]
fn a_range_read_from_both_ends_is_that_of_its_lsn_while_memtables_come_and_go() {
    let rig = Rig::new();
    let engine = rig.engine();
    let model = RwLock::new(Model::default());
    let done = AtomicBool::new(false);
    let checks = AtomicU64::new(0);
    thread::scope(|scope| {
        for reader in 0..3 {
            let (model, done, checks) = (&model, &done, &checks);
            scope.spawn(move || {
                let _stop = StopOnDrop(done);
                let mut dice = Dice(1_000 + reader);
                while !done.load(Ordering::SeqCst) {
                    let snapshot = engine.snapshot();
                    let [one, other] = [dice.below(500), dice.below(500)].map(|number| format!("key:{number:03}"));
                    let (low, high) = (one.as_bytes().min(other.as_bytes()), one.as_bytes().max(other.as_bytes()));
                    let mut range =
                        engine.range((Bound::Included(low), Bound::Included(high)), snapshot.lsn()).unwrap();
                    if dice.below(2) == 0 {
                        // What it reads from goes to tables meanwhile.
                        engine.flush().unwrap();
                    }
                    let mut expected: VecDeque<_> = model.read().entries(snapshot.lsn()).into();
                    expected.retain(|(key, _)| low <= &key[..] && &key[..] <= high);
                    let at = snapshot.lsn();
                    drop(snapshot);
                    loop {
                        let (found, wanted) = match dice.below(2) {
                            0 => (range.next(), expected.pop_front()),
                            _ => (range.next_back(), expected.pop_back()),
                        };
                        let found = found.map(Result::unwrap);
                        assert_eq!(found, wanted, "at {at}");
                        if found.is_none() {
                            break;
                        }
                    }
                    checks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _stop = StopOnDrop(&done);
        let mut dice = Dice(77);
        let mut number = 0;
        while !done.load(Ordering::SeqCst) && (number < 4_000 || checks.load(Ordering::Relaxed) < 100) {
            number += 1;
            let writes = random_writes(&mut dice, 8, 200);
            model.write().apply(lsn(number), &writes);
            engine.apply(mark(number), &writes).unwrap();
        }
    });
    let stats = engine.stats();
    assert!(stats.flushes > 10 && stats.compactions > 0, "{stats:?}");
}
