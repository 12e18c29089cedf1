//! Checkpoints: each is exactly one LSN, and stays so.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::concurrency::StopOnDrop;
use super::*;
use crate::engine::lsm::xxh3;
use crate::engine::{Checkpoint, EngineError};

fn open_checkpoint(dir: &Path, checkpoint: &Checkpoint) -> LsmEngine {
    let mut found: Vec<_> = Vec::new();
    for below in ["", "tables"] {
        for entry in fs::read_dir(dir.join(below)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                found.push((Path::new(below).join(entry.file_name()), entry.metadata().unwrap().len()));
            }
        }
    }
    found.sort();
    let listed: Vec<_> = checkpoint.files.iter().map(|file| (file.path.clone(), file.size_bytes)).collect();
    assert_eq!(listed, found);
    for file in &checkpoint.files {
        assert_eq!(xxh3(&fs::read(dir.join(&file.path)).unwrap()), file.written_xxh3, "{}", file.path.display());
    }
    let engine = open(dir);
    assert_eq!(engine.applied(), checkpoint.mark);
    engine
}

#[test]
fn checkpoints_under_load_are_each_equal_to_the_model_at_their_lsn() {
    let rig = Rig::new();
    let engine = rig.engine();
    let done = AtomicBool::new(false);
    let mut model = Model::default();
    let mut taken = Vec::new();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut dice = Dice(21);
            let mut model = Model::default();
            let mut number = 0;
            while !done.load(Ordering::SeqCst) {
                number += 1;
                let writes = random_writes(&mut dice, 8, 200);
                engine.apply(mark(number), &writes).unwrap();
                model.apply(lsn(number), &writes);
            }
            model
        });
        // However this ends, the writer ends too.
        let stop = StopOnDrop(&done);
        eventually("a first record", || engine.applied().lsn > Lsn::ZERO);
        for number in 0..40 {
            let dir = rig.dir.path().join(format!("checkpoint-{number}"));
            let checkpoint = engine.checkpoint(&dir).unwrap();
            taken.push((dir, checkpoint));
        }
        // Where the checkpoints were quicker than the writer, there was nothing yet to compact.
        eventually("a compaction", || engine.stats().compactions > 0);
        let dir = rig.dir.path().join("checkpoint-last");
        let checkpoint = engine.checkpoint(&dir).unwrap();
        taken.push((dir, checkpoint));
        drop(stop);
        model = writer.join().unwrap();
    });
    for pair in taken.windows(2) {
        assert!(pair[0].1.mark.lsn <= pair[1].1.mark.lsn);
    }
    let mut distinct = 0;
    for (dir, checkpoint) in &taken {
        let copy = open_checkpoint(dir, checkpoint);
        let at = checkpoint.mark.lsn;
        if at > Lsn::ZERO {
            assert_eq!(checkpoint.mark, mark(at.get()));
            distinct += 1;
        }
        assert_eq!(entries(&copy, at), model.entries(at), "checkpoint at {at}");
    }
    assert!(distinct > 30);
}

#[test]
fn a_checkpoint_holds_everything_applied_before_it_was_asked_for() {
    let mut rig = Rig::new();
    let at = rig.apply(&[put("a", "1"), put("b", "2")]);
    let dir = rig.dir.path().join("checkpoint");
    let checkpoint = rig.engine().checkpoint(&dir).unwrap();
    assert_eq!(checkpoint.mark, mark(at.get()));
    assert_eq!(rig.engine().flushed(), mark(at.get()));
    // What comes after is not in it, and writing to the copy does not reach the original.
    rig.apply(&[put("a", "later"), delete("b")]);
    rig.engine().flush().unwrap();
    let copy = open_checkpoint(&dir, &checkpoint);
    assert_eq!(entries(&copy, at), [("a".into(), "1".into()), ("b".into(), "2".into())]);
    copy.apply(mark(2), &[put("a", "elsewhere")]).unwrap();
    copy.close().unwrap();
    rig.expect_model_at(lsn(2));
}

#[test]
fn a_checkpoint_survives_the_compaction_and_the_end_of_its_origin() {
    let mut dice = Dice(23);
    let mut rig = Rig::new();
    for _ in 0..500 {
        rig.apply_random(&mut dice, 8, 300);
    }
    let dir = rig.dir.path().join("checkpoint");
    let checkpoint = rig.engine().checkpoint(&dir).unwrap();
    let expected = rig.model.entries(checkpoint.mark.lsn);
    for _ in 0..3_000 {
        rig.apply_random(&mut dice, 8, 300);
    }
    rig.engine().close().unwrap();
    rig.engine = None;
    fs::remove_dir_all(rig.path()).unwrap();
    let copy = open_checkpoint(&dir, &checkpoint);
    assert_eq!(entries(&copy, checkpoint.mark.lsn), expected);
}

#[test]
fn an_unchanged_engine_makes_the_same_checkpoint_again() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    let first = rig.engine().checkpoint(&rig.dir.path().join("first")).unwrap();
    rig.restart();
    let flushes = rig.engine().stats().flushes;
    let second = rig.engine().checkpoint(&rig.dir.path().join("second")).unwrap();
    assert_eq!(first.mark, second.mark);
    assert_eq!(rig.engine().stats().flushes, flushes, "nothing had to be written");
}

#[test]
fn an_empty_engine_makes_a_checkpoint_that_opens_empty() {
    let rig = Rig::new();
    let dir = rig.dir.path().join("checkpoint");
    let checkpoint = rig.engine().checkpoint(&dir).unwrap();
    assert_eq!(checkpoint.mark, AppliedMark { lsn: Lsn::ZERO, chain: origin(), time_ms: 0 });
    let copy = open_checkpoint(&dir, &checkpoint);
    assert_eq!(entries(&copy, Lsn::ZERO), []);
}

#[test]
fn a_checkpoint_tells_what_was_written_not_what_the_disk_gives_back() {
    let mut rig = Rig::new();
    for number in 0..2_000 {
        rig.apply(&[put(format!("{number:04}"), "x".repeat(100))]);
    }
    rig.engine().close().unwrap();
    rig.engine = None;
    let table = fs::read_dir(rig.path().join("tables")).unwrap().next().unwrap().unwrap();
    let mut bytes = fs::read(table.path()).unwrap();
    // In the first block: opening reads the one with the mark, the last.
    bytes[100] ^= 1;
    fs::write(table.path(), bytes).unwrap();
    rig.crash();
    let dir = rig.dir.path().join("checkpoint");
    let checkpoint = rig.engine().checkpoint(&dir).unwrap();
    let path = Path::new("tables").join(table.file_name());
    let listed = checkpoint.files.iter().find(|file| file.path == path).unwrap();
    assert_ne!(xxh3(&fs::read(dir.join(path)).unwrap()), listed.written_xxh3);
}

#[test]
fn a_checkpoint_never_goes_into_a_directory_with_something_in_it() {
    let mut rig = Rig::new();
    rig.apply(&[put("a", "1")]);
    let error = rig.engine().checkpoint(&rig.path()).unwrap_err();
    assert!(matches!(error, EngineError::Directory { .. }), "{error}");
    let missing = rig.dir.path().join("no/such/parent");
    let error = rig.engine().checkpoint(&missing).unwrap_err();
    assert!(error.to_string().contains("no/such/parent"), "{error}");
    // A bad target is the caller's mistake, not the engine's end: writes go on.
    rig.apply(&[put("a", "2")]);
    rig.expect_model_at(lsn(2));
}
