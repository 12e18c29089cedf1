//! The promise of the SCAN family, under everything that may happen between two calls.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::keyspace::Env;
use crate::keyspace::tests::{TestDatabase, show};
use crate::reply::Reply;

/// The cursor and the items of a scan's answer.
fn parts(reply: &Reply) -> (u64, Vec<Vec<u8>>) {
    let Reply::Array(parts) = reply else { panic!("{}", show(reply)) };
    let [Reply::Bulk(cursor), Reply::Array(items)] = &parts[..] else { panic!("{}", show(reply)) };
    let items = items.iter().map(|item| match item {
        Reply::Bulk(bytes) => bytes.to_vec(),
        other => panic!("{}", show(other)),
    });
    (std::str::from_utf8(cursor).unwrap().parse().unwrap(), items.collect())
}

fn scan(db: &TestDatabase, cursor: u64, options: &[&[u8]]) -> (u64, Vec<Vec<u8>>) {
    let cursor = cursor.to_string();
    let command = [&[b"SCAN", cursor.as_bytes()], options].concat();
    parts(&db.read(&command))
}

fn scan_all(db: &TestDatabase, options: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut cursor = 0;
    loop {
        let (next, items) = scan(db, cursor, options);
        found.extend(items);
        if next == 0 {
            return found;
        }
        assert!(next < 1 << 53);
        cursor = next;
    }
}

fn with_keys(count: usize) -> TestDatabase {
    let mut db = TestDatabase::new();
    for index in 0..count {
        db.run_unchecked(&[b"SET", format!("key:{index:04}").as_bytes(), b"v"]);
    }
    db
}

#[test]
fn a_quiet_scan_gives_everything_once_and_in_steps() {
    let db = with_keys(25);
    let (cursor, first) = scan(&db, 0, &[]);
    assert_eq!(first.len(), 10);
    let (_, second) = scan(&db, cursor, &[b"COUNT", b"3"]);
    assert_eq!(second, [b"key:0010", b"key:0011", b"key:0012"]);
    assert_eq!(scan_all(&db, &[b"COUNT", b"7"]).len(), 25);
    assert_eq!(scan(&db, 0, &[b"COUNT", b"25"]).0, 0);
    assert_eq!(scan(&db, 0, &[b"COUNT", b"9223372036854775807"]).1.len(), 25);
}

#[test]
fn a_cursor_can_be_used_twice() {
    let db = with_keys(25);
    let (cursor, _) = scan(&db, 0, &[]);
    assert_eq!(scan(&db, cursor, &[]).1, scan(&db, cursor, &[]).1);
}

#[test]
fn a_cursor_of_an_earlier_process_starts_over() {
    let mut db = with_keys(25);
    let (cursor, _) = scan(&db, 0, &[]);
    db.env = Env::new(0, 99);
    assert_eq!(scan(&db, cursor, &[]).1[0], b"key:0000");
    assert_eq!(scan(&db, 1 << 62, &[]).1[0], b"key:0000");
}

#[test]
fn nothing_comes_after_the_largest_number() {
    let mut db = with_keys(25);
    assert_eq!(scan(&db, u64::MAX, &[]), (0, vec![]));
    assert_eq!(parts(&db.read(&[b"SCAN", b"-1"])), (0, vec![]));
    db.ask("HSET h f v");
    assert_eq!(parts(&db.read(&[b"HSCAN", b"h", b"-1"])), (0, vec![]));
}

#[test]
fn a_cursor_of_other_keys_starts_over() {
    let mut db = with_keys(25);
    let (cursor, _) = scan(&db, 0, &[]);
    db.ask("FLUSHDB");
    db.ask("SET a v");
    assert_eq!(scan(&db, cursor, &[]).1, [b"a"]);
    let mut db = with_keys(25);
    let (cursor, _) = scan(&db, 0, &[]);
    db.ask("SWAPDB 0 1");
    assert_eq!(scan(&db, cursor, &[]).1.len(), 0);
    db.db = 1;
    assert_eq!(scan(&db, cursor, &[]).1[0], b"key:0010");
}

#[test]
fn matches_types_and_expired_keys_are_filtered() {
    let mut db = with_keys(25);
    db.expect(&[("HSET key:hash f v", "1"), ("SET key:0003 v PX 5", "OK"), ("SET other v", "OK")]);
    db.now_ms += 5;
    assert_eq!(scan_all(&db, &[b"MATCH", b"key:000?"]).len(), 9);
    assert_eq!(scan_all(&db, &[b"TYPE", b"Hash"]), [b"key:hash"]);
    assert_eq!(scan_all(&db, &[b"TYPE", b"list"]).len(), 0);
    assert_eq!(scan_all(&db, &[b"MATCH", b"*e*", b"COUNT", b"1"]).len(), 26);
    // What starts otherwise than the pattern is not even looked at.
    assert_eq!(scan(&db, 0, &[b"MATCH", b"o*"]), (0, vec![b"other".to_vec()]));
}

#[test]
fn a_scan_among_expired_keys_ends() {
    let mut db = TestDatabase::new();
    for index in 0..50 {
        db.run(&[b"SET", format!("{index}").as_bytes(), b"v", b"PX", b"1"]);
    }
    db.now_ms += 1;
    let (cursor, found) = scan(&db, 0, &[]);
    assert!(cursor != 0 && found.is_empty());
    assert_eq!(scan_all(&db, &[]).len(), 0);
    assert_eq!(show(&db.read(&[b"RANDOMKEY"])), "nil");
    assert_eq!(show(&db.read(&[b"KEYS", b"*"])), "[]");
}

#[test]
fn what_scan_refuses() {
    TestDatabase::new().expect(&[
        ("SCAN x", "ERR invalid cursor"),
        ("SCAN 18446744073709551616", "ERR invalid cursor"),
        ("SCAN ''", "['0' []]"),
        ("SCAN 0 COUNT 0", "ERR syntax error"),
        ("SCAN 0 COUNT x", "ERR value is not an integer or out of range"),
        ("SCAN 0 MATCH", "ERR syntax error"),
        ("SCAN 0 FOO bar", "ERR syntax error"),
        ("HSCAN none x", "ERR invalid cursor"),
        ("HSCAN none 0 FOO", "['0' []]"),
        ("HSET h f v", "1"),
        ("HSCAN h 0 TYPE string", "ERR syntax error"),
        ("HSCAN h 0", "['0' ['f' 'v']]"),
        ("SET s v", "OK"),
        ("HSCAN s 0 FOO", "WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

#[test]
fn a_small_hash_comes_whole_and_a_large_one_in_steps() {
    let mut db = TestDatabase::new();
    let fields: Vec<String> = (0..600).map(|index| format!("f{index:03}")).collect();
    for field in &fields[..512] {
        db.run(&[b"HSET", b"h", field.as_bytes(), b"v"]);
    }
    let (cursor, items) = parts(&db.read(&[b"HSCAN", b"h", b"0", b"COUNT", b"1"]));
    assert_eq!((cursor, items.len()), (0, 1024));
    for field in &fields[512..] {
        db.run(&[b"HSET", b"h", field.as_bytes(), b"v"]);
    }
    let (cursor, items) = parts(&db.read(&[b"HSCAN", b"h", b"0", b"COUNT", b"20"]));
    assert_eq!(items.len(), 40);
    let text = cursor.to_string();
    // Where the hash moves, its scan goes on; where it is made anew, the scan starts over.
    db.ask("RENAME h g");
    let (_, items) = parts(&db.read(&[b"HSCAN", b"g", text.as_bytes()]));
    assert_eq!(items[0], b"f020");
    db.ask("DEL g");
    db.ask("HSET g f000 v");
    let (_, items) = parts(&db.read(&[b"HSCAN", b"g", text.as_bytes()]));
    assert_eq!(items[0], b"f000");
}

#[test]
fn every_key_and_field_can_be_met() {
    for count in [1usize, 20, 270] {
        let mut db = with_keys(count);
        for index in 0..count {
            db.run_unchecked(&[b"HSET", b"h", format!("{index}").as_bytes(), b"v"]);
        }
        let mut keys = BTreeSet::new();
        let mut fields = BTreeSet::new();
        for _ in 0..count * 12 {
            keys.insert(show(&db.read(&[b"RANDOMKEY"])));
            fields.insert(show(&db.read(&[b"HRANDFIELD", b"h"])));
        }
        assert_eq!((keys.len(), fields.len()), (count + 1, count));
    }
}

#[test]
fn an_uneven_spread_does_not_hide_most_keys() {
    let mut db = with_keys(1000);
    db.ask("SET a v");
    let lonely = (0..1000).filter(|_| show(&db.read(&[b"RANDOMKEY"])) == "'a'").count();
    // A descent meets it every other time; a fair choice would meet it once.
    assert!(lonely < 30, "met {lonely} times of 1000");
}

#[test]
fn random_fields_in_numbers() {
    let mut db = TestDatabase::new();
    let fields = |reply: Reply| match reply {
        Reply::Array(items) => items.iter().map(show).collect::<Vec<_>>(),
        other => panic!("{}", show(&other)),
    };
    for index in 0..6001u32 {
        if [3, 100, 6000].contains(&index) {
            for (count, wanted) in [("2", 2), ("3", 3), ("60", index.min(60)), ("99999", index), ("0", 0)] {
                let found = fields(db.read(&[b"HRANDFIELD", b"h", count.as_bytes()]));
                let distinct: BTreeSet<_> = found.iter().collect();
                assert_eq!((found.len(), distinct.len()), (wanted as usize, wanted as usize), "{count} of {index}");
            }
            assert_eq!(fields(db.read(&[b"HRANDFIELD", b"h", b"-250"])).len(), 250);
        }
        db.run_unchecked(&[b"HSET", b"h", format!("{index}").as_bytes(), b"v"]);
    }
    assert_eq!(fields(db.read(&[b"HRANDFIELD", b"h", b"4"])).len(), 4);
    assert_eq!(fields(db.read(&[b"HRANDFIELD", b"h", b"-4"])).len(), 4);
    assert_eq!(fields(db.read(&[b"HRANDFIELD", b"h", b"5999"])).len(), 5999);
    let pairs = db.read(&[b"HRANDFIELD", b"h", b"2", b"WITHVALUES"]);
    assert!(matches!(&pairs, Reply::Pairs(pairs) if pairs.len() == 2), "{}", show(&pairs));
    db.expect(&[
        ("HRANDFIELD h x", "ERR value is not an integer or out of range"),
        ("HRANDFIELD h 1 FOO", "ERR syntax error"),
        ("HRANDFIELD h 1 WITHVALUES x", "ERR syntax error"),
        (
            "HRANDFIELD h -9223372036854775808",
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        ("HRANDFIELD h -9223372036854775807 WITHVALUES", "ERR value is out of range"),
        ("HRANDFIELD h -9223372036854775807", "ERR value is out of range"),
        ("HRANDFIELD none 5", "[]"),
        ("HRANDFIELD none", "nil"),
    ]);
}

/// What may happen between two calls of a scan.
#[derive(Clone, Debug)]
enum Meanwhile {
    Nothing,
    Add(u16),
    Delete(u16),
    Restart,
    OtherScan,
}

fn meanwhile() -> impl Strategy<Value = Meanwhile> {
    prop_oneof![
        3 => Just(Meanwhile::Nothing),
        4 => (0u16..200).prop_map(Meanwhile::Add),
        4 => (0u16..200).prop_map(Meanwhile::Delete),
        1 => Just(Meanwhile::Restart),
        1 => Just(Meanwhile::OtherScan),
    ]
}

proptest! {
    #[test]
    fn what_stays_is_given(
        start in proptest::collection::btree_set(0u16..200, 0..60),
        events in proptest::collection::vec(meanwhile(), 0..40),
        count in 1u8..20,
    ) {
        let mut db = TestDatabase::new();
        let name = |index: &u16| format!("k{index}").into_bytes();
        for index in &start {
            db.run(&[b"SET", &name(index), b"v"]);
        }
        let mut stays: BTreeSet<Vec<u8>> = start.iter().map(name).collect();
        let mut found = BTreeSet::new();
        let mut events = events.into_iter();
        let mut cursor = 0;
        let count = count.to_string();
        loop {
            let (next, items) = scan(&db, cursor, &[b"COUNT", count.as_bytes()]);
            found.extend(items);
            if next == 0 {
                break;
            }
            cursor = next;
            match events.next().unwrap_or(Meanwhile::Nothing) {
                Meanwhile::Nothing => {}
                Meanwhile::Add(index) => drop(db.run(&[b"SET", &name(&index), b"v"])),
                Meanwhile::Delete(index) => {
                    stays.remove(&name(&index));
                    db.run(&[b"DEL", &name(&index)]);
                }
                Meanwhile::Restart => db.env = Env::new(0, 1000),
                Meanwhile::OtherScan => drop(scan_all(&db, &[])),
            }
        }
        prop_assert!(stays.is_subset(&found), "missed {:?}", stays.difference(&found).collect::<Vec<_>>());
    }
}
