//! What is there after a stop, and what happens when files are damaged or cannot be written.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::*;
use crate::engine::{ENGINE_FORMAT_VERSION, EngineError, EngineFault};

#[test]
fn after_a_crash_the_engine_is_a_prefix_that_ends_at_the_record_its_mark_names() {
    let mut dice = Dice(31);
    let mut rig = Rig::new();
    for round in 0..12 {
        for _ in 0..dice.below(400) {
            rig.apply_random(&mut dice, 12, 200);
        }
        let flushed = rig.engine().flushed();
        let last = rig.engine().applied();
        rig.crash();
        let applied = rig.engine().applied();
        assert!(applied.lsn >= flushed.lsn && applied.lsn <= last.lsn, "round {round}: {applied:?}");
        assert_eq!(rig.engine().flushed(), applied);
        if applied.lsn > Lsn::ZERO {
            assert_eq!(applied, mark(applied.lsn.get()));
        }
        assert_eq!(entries(rig.engine(), applied.lsn), rig.model.entries(applied.lsn), "round {round}");
        // Replay, as the log would.
        for number in applied.lsn.get() + 1..=last.lsn.get() {
            let at = lsn(number);
            let writes: Vec<_> = rig
                .model
                .versions
                .iter()
                .flat_map(|(key, versions)| {
                    let of_record = versions.iter().rfind(|(lsn, _)| *lsn == at);
                    of_record.map(|(_, value)| match value {
                        Some(value) => put(key, value),
                        None => delete(key),
                    })
                })
                .collect();
            rig.engine().apply(mark(number), &writes).unwrap();
        }
        rig.expect_model_at(last.lsn);
    }
    assert!(rig.engine().applied().lsn > lsn(500));
}

#[test]
fn what_a_flush_returned_is_there_after_a_crash() {
    let mut dice = Dice(33);
    let mut rig = Rig::new();
    for _ in 0..20 {
        let at = rig.apply_random(&mut dice, 5, 100);
        assert_eq!(rig.engine().flush().unwrap(), mark(at.get()));
        rig.crash();
        assert_eq!(rig.engine().applied(), mark(at.get()));
        rig.expect_model_at(at);
    }
}

#[test]
fn opening_reads_no_data() {
    let mut dice = Dice(35);
    let mut rig = Rig::new();
    for _ in 0..3_000 {
        rig.apply_random(&mut dice, 8, 400);
    }
    rig.restart();
    let stats = rig.engine().stats();
    assert!(stats.disk_bytes > 150_000, "{stats:?}");
    assert!(stats.block_cache_bytes < 20_000, "only the block with the mark was read: {stats:?}");
}

#[test]
fn a_missing_current_is_not_taken_for_an_empty_engine() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    rig.engine().close().unwrap();
    rig.engine = None;
    fs::remove_file(rig.path().join("current")).unwrap();
    let error = LsmEngine::open(&rig.path(), tiny(), origin()).unwrap_err();
    assert!(matches!(error, EngineError::Corrupt { .. }), "{error}");
    assert!(error.to_string().contains("restore from the archive"), "{error}");
}

#[test]
fn a_damaged_manifest_is_an_error_whichever_byte_it_is() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    rig.engine().close().unwrap();
    rig.engine = None;
    let names = fs::read_dir(rig.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    for name in names.filter(|name| name != "tables").collect::<Vec<_>>() {
        let path = rig.path().join(&name);
        let good = fs::read(&path).unwrap();
        for index in (0..good.len()).step_by(7).chain([good.len() - 1]) {
            let mut bad = good.clone();
            bad[index] ^= 0x20;
            fs::write(&path, &bad).unwrap();
            let error = LsmEngine::open(&rig.path(), tiny(), origin()).err();
            assert!(error.is_some(), "byte {index} of {name} was flipped unseen");
        }
        fs::write(&path, &good[..good.len() / 2]).unwrap();
        assert!(LsmEngine::open(&rig.path(), tiny(), origin()).is_err(), "{name} was cut unseen");
        fs::write(&path, &good).unwrap();
    }
    assert_eq!(open(&rig.path()).applied(), mark(1));
}

#[test]
fn tables_without_a_mark_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let tree = crate::engine::lsm::LsmTree::open(dir.path(), &tiny().budget()).unwrap();
    tree.active().put(b"a", b"1", 1 << 16);
    tree.seal();
    tree.flush(&tree.lock_flush(), 0).unwrap();
    drop(tree);
    let error = LsmEngine::open(dir.path(), tiny(), origin()).unwrap_err();
    assert!(error.to_string().contains("no applied mark"), "{error}");
}

#[test]
fn versions_beyond_the_mark_are_refused() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    rig.engine().close().unwrap();
    rig.engine = None;
    let tree = crate::engine::lsm::LsmTree::open(&rig.path(), &tiny().budget()).unwrap();
    tree.active().put(b"a", b"2", 2 << 16);
    tree.seal();
    tree.flush(&tree.lock_flush(), 0).unwrap();
    drop(tree);
    let error = LsmEngine::open(&rig.path(), tiny(), origin()).unwrap_err();
    assert!(error.to_string().contains("beyond its applied mark, LSN 1"), "{error}");
}

#[test]
fn a_directory_in_another_format_is_refused_and_not_taken_for_damage() {
    for found in [0, ENGINE_FORMAT_VERSION - 1, ENGINE_FORMAT_VERSION + 1] {
        let mut rig = Rig::new();
        rig.apply(&[put("a", "1")]);
        rig.engine().close().unwrap();
        rig.engine = None;
        set_format(&rig.path(), found);
        let error = LsmEngine::open(&rig.path(), tiny(), origin()).unwrap_err();
        assert!(matches!(error, EngineError::OtherFormat { found: got, .. } if got == found), "{error}");
        assert!(error.to_string().contains(&format!("in format {found}, this program reads format")), "{error}");
    }
}

#[test]
fn what_an_interrupted_replacement_left_is_removed() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    rig.engine().close().unwrap();
    rig.engine = None;
    let left = rig.path().join(".tmpABCDEF");
    fs::write(&left, "half").unwrap();
    rig.engine = Some(open(&rig.path()));
    assert!(!left.exists());
    rig.expect_model_at(lsn(1));
}

#[test]
fn a_failing_disk_is_a_fault_that_is_told_once_and_stops_writes_but_not_reads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine");
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    let hook = Box::new(move |_: &EngineFault| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let engine = LsmEngine::open_with(&path, tiny(), origin(), hook).unwrap();
    engine.apply(mark(1), &[put("a", "1")]).unwrap();
    fs::remove_dir_all(path.join("tables")).unwrap();
    // The background fails on its own; whoever applies must not wait for it for ever.
    let mut dice = Dice(37);
    let error = (2..20_000)
        .find_map(|number| engine.apply(mark(number), &[put("b", dice.bytes(1000))]).err())
        .expect("writes are refused in the end");
    let EngineError::Faulted(fault) = error else { panic!("another error: {error}") };
    assert!(fault.detail().contains("flush"), "{fault}");
    assert!(matches!(engine.flush().unwrap_err(), EngineError::Faulted(_)));
    assert!(matches!(engine.close().unwrap_err(), EngineError::Faulted(_)));
    assert_eq!(engine.get_newest(b"a").unwrap().1, Some("1".into()));
    assert_eq!(entries(&engine, engine.applied().lsn).len(), 2);
    assert_eq!(told.load(Ordering::SeqCst), 1);
}

#[test]
fn on_a_full_disk_records_go_into_memory_and_replay_and_reclaiming_give_up() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1 << 40));
    let probed = Arc::clone(&free);
    let space = Box::new(move |_: &Path| Ok(probed.load(Ordering::SeqCst)));
    let engine = LsmEngine::open_on(&dir.path().join("engine"), tiny(), origin(), Box::new(|_| {}), space).unwrap();
    engine.apply(mark(1), &[put("a", "1")]).unwrap();
    assert_eq!(engine.flush().unwrap(), mark(1));
    let idle_bytes = engine.space_wanted_bytes();
    free.store(1 << 20, Ordering::SeqCst);
    engine.apply(mark(2), &[put("a", "2")]).unwrap();
    let error = engine.flush().unwrap_err();
    assert!(matches!(error, EngineError::OutOfSpace { free_bytes: 1_048_576, .. }), "{error}");
    assert!(engine.checkpoint(&dir.path().join("checkpoint")).unwrap_err().is_out_of_space());
    let mut dice = Dice(43);
    for number in 3..=5_000 {
        engine.apply(mark(number), &[put("b", dice.bytes(1000))]).unwrap();
    }
    let stats = engine.stats();
    assert!(stats.out_of_space && stats.memtable_bytes > 4 << 20, "{stats:?}");
    assert!(engine.space_wanted_bytes() >= idle_bytes + stats.memtable_bytes);
    assert_eq!(engine.get_newest(b"a").unwrap().1, Some("2".into()));
    assert_eq!(engine.flushed(), mark(1));
    assert!(engine.load(mark(5_001), &[put("c", "1")]).unwrap_err().is_out_of_space());
    assert!(engine.delete_range_step(EVERYTHING, 1).unwrap_err().is_out_of_space());
    assert_eq!(engine.applied(), mark(5_000));
    free.store(1 << 40, Ordering::SeqCst);
    eventually("a flush of what waited", || !engine.stats().out_of_space);
    engine.load(mark(5_001), &[put("c", "1")]).unwrap();
    assert_eq!(engine.close().unwrap(), mark(5_001));
}

#[test]
fn a_damaged_block_is_an_error_of_the_read_that_meets_it() {
    let mut dice = Dice(39);
    let mut rig = Rig::new();
    let writes: Vec<_> = (0..300).map(|index| put(format!("key:{index:03}"), dice.bytes(500))).collect();
    rig.apply(&writes);
    rig.restart();
    rig.engine = None;
    let table = fs::read_dir(rig.path().join("tables")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&table).unwrap();
    for byte in &mut bytes[2_000..60_000] {
        *byte ^= 0x55;
    }
    fs::write(&table, bytes).unwrap();
    let engine = open(&rig.path());
    assert_eq!(engine.stats().damage, None, "none was met yet");
    let read: Result<Vec<_>, _> = engine.range(EVERYTHING, lsn(1)).unwrap().collect();
    assert!(matches!(read, Err(EngineError::Corrupt { .. })), "{read:?}");
    assert!(engine.stats().damage.is_some(), "nobody but the reader is told");
    assert!((0..300).any(|index| engine.get(format!("key:{index:03}").as_bytes(), lsn(1)).is_err()));
}
