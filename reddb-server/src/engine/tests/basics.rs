//! What a caller sees of one engine, one call at a time.

use std::ops::Bound::{Excluded, Included, Unbounded};

use super::*;
use crate::engine::{ENGINE_LSN_MAX, EngineError, KEY_BYTES_MAX, VALUE_BYTES_MAX};

#[test]
fn a_new_engine_is_empty_and_before_the_first_record() {
    let rig = Rig::new();
    let before = AppliedMark { lsn: Lsn::ZERO, chain: origin(), time_ms: 0 };
    assert_eq!(rig.engine().applied(), before);
    assert_eq!(rig.engine().flushed(), before);
    assert_eq!(rig.engine().flush().unwrap(), before);
    assert_eq!(rig.engine().get(b"k", Lsn::ZERO).unwrap(), None);
    assert_eq!(entries(rig.engine(), Lsn::ZERO), []);
}

#[test]
fn a_key_has_the_value_of_its_last_write() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1"), put("b", "2"), put("empty", "")]);
    rig.apply(&[put("a", "3"), delete("b")]);
    assert_eq!(rig.engine().get_newest(b"a").unwrap(), (lsn(2), Some(Bytes::from("3"))));
    assert_eq!(rig.engine().get_newest(b"b").unwrap(), (lsn(2), None));
    assert_eq!(rig.engine().get_newest(b"empty").unwrap(), (lsn(2), Some(Bytes::new())));
    assert_eq!(rig.engine().applied(), mark(2));
    rig.expect_model_at(lsn(2));
}

#[test]
fn the_last_of_several_writes_of_a_key_in_a_record_wins() {
    for restart in [false, true] {
        let mut rig = Rig::new();
        rig.apply(&[put("a", "1"), put("a", "2"), put("b", "1"), delete("b"), delete("c"), put("c", "1")]);
        rig.apply(&[delete("a"), put("a", "3"), delete("a"), put("a", "4")]);
        if restart {
            rig.restart();
        }
        assert_eq!(entries(rig.engine(), lsn(2)), [("a".into(), "4".into()), ("c".into(), "1".into())]);
        assert_eq!(rig.engine().get(b"b", lsn(2)).unwrap(), None);
    }
}

#[test]
fn a_record_without_writes_moves_the_mark_on() {
    let mut rig = Rig::new();
    rig.apply(&[]);
    assert_eq!(rig.engine().applied(), mark(1));
    rig.restart();
    assert_eq!(rig.engine().applied(), mark(1));
    assert_eq!(entries(rig.engine(), lsn(1)), []);
}

#[test]
fn lsns_may_leave_gaps_but_never_go_back() {
    let rig = Rig::new();
    rig.engine().apply(mark(10), &[put("a", "1")]).unwrap();
    for stale in [0, 9, 10] {
        let error = rig.engine().apply(mark(stale), &[put("a", "2")]).unwrap_err();
        assert!(matches!(error, EngineError::OutOfOrder { applied, .. } if applied == lsn(10)), "{error}");
    }
    assert_eq!(rig.engine().get_newest(b"a").unwrap(), (lsn(10), Some("1".into())));
}

#[test]
fn the_highest_lsn_works_and_the_one_after_it_is_refused() {
    let mut rig = Rig::new();
    let highest = ENGINE_LSN_MAX.get();
    rig.engine().apply(mark(highest), &[put("a", "1")]).unwrap();
    for beyond in [highest + 1, u64::MAX] {
        let error = rig.engine().apply(mark(beyond), &[put("a", "2")]).unwrap_err();
        assert!(matches!(error, EngineError::LsnTooHigh { max, .. } if max == ENGINE_LSN_MAX), "{error}");
    }
    rig.restart();
    assert_eq!(rig.engine().applied(), mark(highest));
    assert_eq!(rig.engine().get_newest(b"a").unwrap(), (lsn(highest), Some("1".into())));
}

#[test]
fn keys_and_values_out_of_bounds_refuse_the_whole_record() {
    let rig = Rig::new();
    let engine = rig.engine();
    let refused = |write| engine.apply(mark(1), &[put("good", "1"), write]).unwrap_err();
    assert!(matches!(refused(put("", "x")), EngineError::KeyLength { bytes: 0, .. }));
    assert!(matches!(refused(delete(vec![b'k'; KEY_BYTES_MAX + 1])), EngineError::KeyLength { .. }));
    assert!(matches!(refused(put(b"\xff", "x")), EngineError::ReservedKey));
    let huge = EngineWrite::Put { key: Bytes::from("k"), value: Bytes::from(vec![0; VALUE_BYTES_MAX + 1]) };
    assert!(matches!(refused(huge), EngineError::ValueLength { .. }));
    assert_eq!(engine.applied().lsn, Lsn::ZERO);
    assert_eq!(engine.get_newest(b"good").unwrap().1, None);
    assert!(matches!(engine.get(b"", Lsn::ZERO).unwrap_err(), EngineError::KeyLength { .. }));
}

#[test]
fn the_longest_key_and_large_values_are_kept() {
    let mut rig = Rig::new();
    let long = vec![b'k'; KEY_BYTES_MAX];
    let large = Dice(1).bytes(3 << 20);
    rig.apply(&[put(&long, "long"), put("large", &large), put(b"\xfe\xff", "last")]);
    rig.expect_model_at(lsn(1));
    rig.restart();
    rig.expect_model_at(lsn(1));
}

#[test]
fn a_range_has_exactly_the_keys_within_its_bounds() {
    let mut rig = Rig::new();
    rig.apply(&["a", "b", "c", "d"].map(|key| put(key, key)));
    for flush in [false, true] {
        if flush {
            rig.engine().flush().unwrap();
        }
        let keys = |start, end| -> String {
            let range = rig.engine().range((start, end), lsn(1)).unwrap();
            range.map(|entry| String::from_utf8(entry.unwrap().0.to_vec()).unwrap()).collect()
        };
        let (b, c) = (b"b".as_slice(), b"c".as_slice());
        assert_eq!(keys(Unbounded, Unbounded), "abcd");
        assert_eq!(keys(Included(b), Included(c)), "bc");
        assert_eq!(keys(Included(b), Excluded(c)), "b");
        assert_eq!(keys(Excluded(b), Included(c)), "c");
        assert_eq!(keys(Excluded(b), Excluded(c)), "");
        assert_eq!(keys(Excluded(b), Unbounded), "cd");
        assert_eq!(keys(Included(c), Included(b)), "");
        assert_eq!(keys(Excluded(b), Excluded(b)), "");
        assert_eq!(keys(Unbounded, Excluded(b)), "a");
        assert_eq!(keys(Unbounded, Included(b"\xff\xff")), "abcd");
    }
}

#[test]
fn an_lsn_that_is_not_applied_cannot_be_read() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    let not_applied = |error| matches!(error, EngineError::NotApplied { applied, .. } if applied == lsn(1));
    assert!(not_applied(rig.engine().get(b"a", lsn(2)).unwrap_err()));
    assert!(not_applied(rig.engine().range(EVERYTHING, lsn(2)).unwrap_err()));
    assert!(not_applied(rig.engine().get(b"a", Lsn::MAX).unwrap_err()));
}

#[test]
fn what_is_loaded_is_as_what_is_applied() {
    let mut dice = Dice(3);
    let mut rig = Rig::new();
    rig.apply(&[put("seen", "before")]);
    assert_eq!(rig.engine().get_newest(b"seen").unwrap().1, Some("before".into()));
    let mut loads = vec![(mark(2), vec![put("seen", "after")])];
    loads.extend((1..30).map(|step| (mark(2 + step * 7), random_writes(&mut dice, 40, 100))));
    for (mark, writes) in &loads {
        rig.engine().load(*mark, writes).unwrap();
        rig.model.apply(mark.lsn, writes);
    }
    assert_eq!(rig.engine().applied(), mark(205));
    rig.expect_model_at(lsn(205));
    rig.restart();
    rig.expect_model_at(lsn(205));
    let error = rig.engine().load(loads[3].0, &loads[3].1).unwrap_err();
    assert!(matches!(error, EngineError::OutOfOrder { .. }), "{error}");
}

#[test]
fn refused_writes_leave_older_reads_as_they_were() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    let first = rig.engine().snapshot();
    rig.apply(&[put("a", "2")]);
    let error = rig.engine().load(mark(1), &[put("a", "stale"), put("b", "stale")]).unwrap_err();
    assert!(matches!(error, EngineError::OutOfOrder { .. }), "{error}");
    assert_eq!(rig.engine().applied(), mark(2));
    assert_eq!(rig.engine().get(b"a", lsn(2)).unwrap(), Some("2".into()));
    assert_eq!(rig.engine().get(b"a", first.lsn()).unwrap(), Some("1".into()));
    assert_eq!(rig.engine().get(b"b", lsn(2)).unwrap(), None);
}

#[test]
fn a_closed_engine_reads_but_does_not_write() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    assert_eq!(rig.engine().close().unwrap(), mark(1));
    assert_eq!(rig.engine().close().unwrap(), mark(1));
    assert!(matches!(rig.engine().apply(mark(2), &[]).unwrap_err(), EngineError::Closed));
    assert!(matches!(rig.engine().delete_range_step(EVERYTHING, 1).unwrap_err(), EngineError::Closed));
    rig.expect_model_at(lsn(1));
}
