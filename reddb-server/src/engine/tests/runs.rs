//! Runs that go around the memtables.

use super::*;
use crate::engine::EngineError;

/// Loads the next records as one run.
fn load(rig: &mut Rig, records: u64, mut writes: Vec<EngineWrite>) -> Lsn {
    writes.sort_by(|one, other| one.key().cmp(other.key()));
    writes.dedup_by(|one, other| one.key() == other.key());
    let last = rig.engine().applied().lsn.get() + records;
    rig.engine().load_run(mark(last), &writes).unwrap();
    rig.model.apply(lsn(last), &writes);
    lsn(last)
}

#[test]
fn runs_and_memtables_take_turns_and_every_held_version_stays_readable() {
    let mut rig = Rig::new();
    let mut dice = Dice(11);
    let mut held = Vec::new();
    for round in 0..40 {
        let writes = random_writes(&mut dice, 200, 60);
        let at = load(&mut rig, 1 + dice.below(1000), writes);
        assert_eq!((rig.engine().applied(), rig.engine().flushed()), (mark(at.get()), mark(at.get())));
        if round % 3 == 0 {
            held.push(rig.engine().snapshot());
            rig.apply_random(&mut dice, 20, 60);
            // Cached, and then overwritten by a run.
            rig.expect_model_at(rig.engine().applied().lsn);
        }
    }
    for snapshot in &held {
        rig.expect_model_at(snapshot.lsn());
    }
    rig.expect_model_at(rig.engine().applied().lsn);
    rig.restart();
    rig.expect_model_at(rig.engine().applied().lsn);
}

#[test]
fn a_run_is_durable_when_it_is_loaded() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1"), put("b", "1")]);
    let at = load(&mut rig, 5, vec![put("a", "2"), delete("b"), put("c", "2")]);
    rig.crash();
    assert_eq!(rig.engine().applied(), mark(at.get()));
    rig.expect_model_at(at);
    // A run of records that change nothing moves the mark.
    let at = load(&mut rig, 3, Vec::new());
    rig.crash();
    assert_eq!(rig.engine().applied(), mark(at.get()));
    rig.expect_model_at(at);
}

#[test]
fn a_run_that_does_not_come_next_is_refused_whole() {
    let mut rig = Rig::new();
    let at = rig.apply(&[put("a", "1")]);
    for refused in [0, at.get()] {
        let error = rig.engine().load_run(mark(refused), &[put("a", "2")]).unwrap_err();
        assert!(matches!(error, EngineError::OutOfOrder { .. }), "{error}");
    }
    let error = rig.engine().load_run(mark(9), &[put("b", "2"), put("\u{ff}", "2"), put([0xff], "2")]).unwrap_err();
    assert!(matches!(error, EngineError::ReservedKey), "{error}");
    rig.expect_model_at(at);
    rig.engine().close().unwrap();
    assert!(matches!(rig.engine().load_run(mark(9), &[put("b", "2")]), Err(EngineError::Closed)));
}

#[test]
#[should_panic(expected = "a run is sorted")]
fn a_run_that_is_not_sorted_is_a_mistake_of_the_caller() {
    let rig = Rig::new();
    drop(rig.engine().load_run(mark(1), &[put("b", "1"), put("a", "1")]));
}

#[test]
fn a_held_version_stays_readable_though_compaction_takes_it_from_under_newer_runs() {
    let mut rig = Rig::new();
    let all = |round: u64| (0..500).map(|key| put(format!("key:{key:03}"), round.to_string())).collect::<Vec<_>>();
    let at = load(&mut rig, 1, all(0));
    let held = rig.engine().snapshot();
    assert_eq!(held.lsn(), at);
    let compactions = rig.engine().stats().compactions;
    for round in 1..=8 {
        load(&mut rig, 1, all(round));
    }
    eventually("a compaction", || {
        let stats = rig.engine().stats();
        stats.compactions > compactions && stats.l0_runs < 4
    });
    rig.expect_model_at(at);
    rig.expect_model_at(rig.engine().applied().lsn);
}
