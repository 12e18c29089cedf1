//! A scan gives what a range gives, whether it reads tables or not.

use std::fs;

use super::*;
use crate::engine::{EngineError, KeyRange};

type Entries = Vec<(Bytes, Bytes)>;

fn scanned(engine: &dyn Engine, range: KeyRange<'_>, at: Lsn) -> Result<Entries, EngineError> {
    let mut scan = engine.scan(range, at)?;
    let mut entries = Vec::new();
    while let Some((key, value)) = scan.next()? {
        entries.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
    }
    Ok(entries)
}

#[track_caller]
fn expect_scans_like_ranges(rig: &Rig) {
    let at = rig.engine().applied().lsn;
    assert_eq!(scanned(rig.engine(), EVERYTHING, at).unwrap(), rig.model.entries(at));
    let names: Vec<String> = (0..=500).step_by(31).map(|number| format!("key:{number:03}")).collect();
    let keys = [b"".as_slice(), b"key:0005", b"z"].into_iter().chain(names.iter().map(String::as_bytes));
    let keys: Vec<&[u8]> = keys.collect();
    for (index, low) in keys.iter().enumerate() {
        let high = keys[(index * 13 + 5) % keys.len()];
        for start in [Bound::Included(*low), Bound::Excluded(*low), Bound::Unbounded] {
            for end in [Bound::Included(high), Bound::Excluded(high), Bound::Unbounded] {
                let range = (start, end);
                let expected: Entries = rig.engine().range(range, at).unwrap().map(Result::unwrap).collect();
                assert_eq!(scanned(rig.engine(), range, at).unwrap(), expected, "{range:?}");
            }
        }
    }
}

#[test]
fn tables_of_many_runs_and_levels_give_the_newest_version_of_each_key() {
    for value_bytes in [10, 400] {
        let mut rig = Rig::new();
        let mut dice = Dice(value_bytes as u64);
        for round in 1..=12 {
            for _ in 0..40 {
                rig.apply_random(&mut dice, 40, value_bytes);
            }
            rig.engine().flush().unwrap();
            // Small values fill no memtable by themselves, and so few tables are moved at most, not merged.
            assert!(value_bytes > 10 || round > 3 || rig.engine().stats().tables == round);
            expect_scans_like_ranges(&rig);
        }
        rig.restart();
        expect_scans_like_ranges(&rig);
    }
}

#[test]
fn a_table_with_a_partitioned_index_is_entered_in_its_middle() {
    let mut rig = Rig::new();
    let mut dice = Dice(3);
    // Several memtables full, each over all keys, so that compaction merges them into tables below level 0.
    for round in 0..8 {
        let writes: Vec<_> = (0..500).map(|number| put(format!("key:{number:03}"), dice.bytes(1000 + round))).collect();
        rig.apply(&writes);
        rig.engine().flush().unwrap();
    }
    eventually("a compaction", || rig.engine().stats().l0_runs < 4);
    expect_scans_like_ranges(&rig);
}

#[test]
fn values_larger_than_what_is_read_at_once_are_read() {
    let mut rig = Rig::new();
    let mut dice = Dice(4);
    for number in 0..6 {
        rig.apply(&[
            put(format!("key:{number:03}"), dice.bytes(1 << (15 + number))),
            put(format!("k{number}"), "small"),
        ]);
    }
    rig.engine().flush().unwrap();
    expect_scans_like_ranges(&rig);
}

#[test]
fn what_is_in_memtables_is_scanned_too_and_older_states_are() {
    let mut rig = Rig::new();
    rig.apply(&[put("key:001", "1"), put("key:002", "1")]);
    rig.engine().flush().unwrap();
    let before = rig.engine().snapshot();
    let at = rig.apply(&[put("key:001", "2"), delete("key:002")]);
    assert_eq!(scanned(rig.engine(), EVERYTHING, at).unwrap(), rig.model.entries(at));
    rig.engine().flush().unwrap();
    assert_eq!(scanned(rig.engine(), EVERYTHING, at).unwrap(), rig.model.entries(at));
    assert_eq!(scanned(rig.engine(), EVERYTHING, before.lsn()).unwrap(), rig.model.entries(before.lsn()));
    assert!(matches!(rig.engine().scan(EVERYTHING, lsn(9)), Err(EngineError::NotApplied { .. })));
}

#[test]
fn a_scan_sees_a_flipped_byte_wherever_it_reads() {
    let mut rig = Rig::new();
    let mut dice = Dice(5);
    rig.apply(&(0..500).map(|number| put(format!("key:{number:03}"), dice.bytes(100))).collect::<Vec<_>>());
    rig.engine().flush().unwrap();
    let at = rig.engine().applied().lsn;
    let table = fs::read_dir(rig.path().join("tables")).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&table).unwrap();
    // The entries are the first part of the file.
    for index in (0..500 * 100).step_by(997) {
        let mut damaged = whole.clone();
        damaged[index] ^= 1;
        fs::write(&table, &damaged).unwrap();
        let scan = scanned(rig.engine(), EVERYTHING, at);
        assert!(matches!(scan, Err(EngineError::Corrupt { .. })), "byte {index} was flipped unseen");
    }
    fs::write(&table, &whole[..whole.len() / 4]).unwrap();
    assert!(scanned(rig.engine(), EVERYTHING, at).is_err());
    fs::write(&table, &whole).unwrap();
    assert_eq!(scanned(rig.engine(), EVERYTHING, at).unwrap(), rig.model.entries(at));
}
