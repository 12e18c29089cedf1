//! The small files of a data directory, when power is lost or a call fails at every single step.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{BROKEN, Careless, cluster, first_state};
use reddb_file::control::{self, ControlError, ControlFile, ControlState, SLOT_BYTES};
use reddb_file::identity::{Identity, IdentityError};
use reddb_file::inspect::{FileKind, SlotDescription, describe_control};
use reddb_file::lock::{DirLock, LockError};
use reddb_file::vfs::sim::{Keep, SimVfs};
use reddb_file::vfs::{OpenMode, Vfs, VfsOp, read_small_file};
use reddb_file::{ClusterId, Epoch, NodeId, durable, layout};

const DIR: &str = "/db";

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn machine(seed: u64) -> SimVfs {
    let sim = SimVfs::new(seed);
    durable::create_dir_durable(&sim, dir()).expect("works");
    sim
}

/// Runs `act` with the power going at its every call; afterwards `check` gets the disk and whether `act` had succeeded.
fn at_every_call(prepare: impl Fn(&SimVfs), act: impl Fn(&SimVfs) -> bool, check: impl Fn(&SimVfs, bool)) {
    for keep in [Keep::Nothing, Keep::Random, Keep::Everything] {
        for nth in 1.. {
            let sim = machine(nth);
            prepare(&sim);
            let calls = sim.calls();
            sim.lose_power_at_nth_call(nth);
            let done = act(&sim);
            let reached = sim.calls() >= calls + nth;
            sim.crash(keep);
            check(&sim, done);
            if !reached {
                assert!(done, "with power it works");
                break;
            }
        }
    }
}

#[test]
fn replacing_a_file_leaves_the_old_contents_or_the_new() {
    let path = dir().join("file");
    at_every_call(
        |sim| durable::replace_file(sim, &path, b"old contents").expect("works"),
        |sim| durable::replace_file(sim, &path, b"new").is_ok(),
        |sim, done| {
            let contents = read_small_file(sim, &path, 100).expect("there is always a file");
            assert!(contents == b"new" || (!done && contents == b"old contents"), "{contents:?}");
        },
    );
}

#[test]
fn creating_a_file_leaves_none_or_a_whole_one_and_never_replaces() {
    let path = dir().join("file");
    at_every_call(
        |_| (),
        |sim| durable::create_file(sim, &path, b"contents").is_ok(),
        |sim, done| match read_small_file(sim, &path, 100) {
            Ok(contents) => assert_eq!(contents, b"contents"),
            Err(error) => assert!(!done && error.is_not_found(), "{error}"),
        },
    );
    let sim = machine(1);
    durable::create_file(&sim, &path, b"first").expect("works");
    let error = durable::create_file(&sim, &path, b"second").expect_err("exists");
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(read_small_file(&sim, &path, 100).expect("there"), b"first");
    assert_eq!(sim.metadata(&durable::temporary_path(&path)).expect("works"), None, "nothing is left behind");
}

#[test]
fn made_directories_survive() {
    let sim = SimVfs::new(1);
    let path = Path::new("/a/b/c");
    durable::create_dir_durable(&sim, path).expect("works");
    sim.crash(Keep::Nothing);
    assert!(sim.metadata(path).expect("works").is_some());
}

#[test]
fn the_harness_catches_a_replacement_that_does_not_sync() {
    let path = dir().join("file");
    for skipped in [&[VfsOp::SyncAll], &[VfsOp::SyncDir]] {
        let caught = (0..50).any(|seed| {
            let sim = machine(seed);
            durable::replace_file(&sim, &path, b"old").expect("works");
            let careless = Careless { inner: sim.shared(), skipped };
            durable::replace_file(&careless, &path, b"new").expect("works");
            sim.crash(Keep::Random);
            read_small_file(&sim, &path, 100).ok().as_deref() != Some(b"new")
        });
        assert!(caught, "{skipped:?}");
    }
}

fn state(epoch: u64) -> ControlState {
    ControlState { epoch: Epoch::new(epoch), ..first_state() }
}

#[test]
fn a_control_write_leaves_the_old_state_or_the_new() {
    at_every_call(
        |sim| {
            let mut control = ControlFile::create(sim, dir(), cluster(), &state(1)).expect("works");
            control.write(&state(2)).expect("works");
        },
        |sim| {
            ControlFile::open(sim, dir(), cluster())
                .and_then(|mut control| (3..6).try_for_each(|epoch| control.write(&state(epoch))))
                .is_ok()
        },
        |sim, done| {
            let epoch = control::read(sim, dir(), cluster()).expect("one slot is always valid").epoch.get();
            assert!((2..=5).contains(&epoch) && (!done || epoch == 5), "epoch {epoch}");
        },
    );
}

#[test]
fn a_written_control_state_is_never_older_after_a_crash() {
    for seed in 0..300 {
        let sim = machine(seed);
        let mut control = ControlFile::create(&sim, dir(), cluster(), &state(1)).expect("works");
        let mut written = 1;
        sim.lose_power_at_nth_call(1 + seed % 40);
        while control.write(&state(written + 1)).is_ok() {
            written += 1;
        }
        sim.crash(Keep::Random);
        let read = control::read(&sim, dir(), cluster()).expect("one slot is valid").epoch.get();
        assert!(read == written || read == written + 1, "wrote {written}, read {read}");
    }
}

#[test]
fn a_failed_control_write_may_be_tried_again_and_loses_nothing() {
    for seed in 0..100 {
        let sim = machine(seed);
        let mut control = ControlFile::create(&sim, dir(), cluster(), &state(1)).expect("works");
        control.write(&state(2)).expect("works");
        sim.fail_nth(VfsOp::SyncData, 1, BROKEN);
        control.write(&state(3)).expect_err("fails");
        assert_eq!(control.state(), &state(2), "the newest durable state");
        if seed % 2 == 0 {
            control.write(&state(4)).expect("works");
        }
        sim.crash(Keep::Random);
        let epoch = control::read(&sim, dir(), cluster()).expect("one slot is valid").epoch.get();
        if seed % 2 == 0 {
            assert_eq!(epoch, 4);
        } else {
            assert!(epoch == 2 || epoch == 3, "{epoch}");
        }
    }
}

#[test]
fn opening_makes_durable_what_it_returns() {
    for seed in 0..100 {
        let sim = machine(seed);
        let mut control = ControlFile::create(&sim, dir(), cluster(), &state(1)).expect("works");
        sim.fail_nth(VfsOp::SyncData, 1, BROKEN);
        control.write(&state(2)).expect_err("fails");
        sim.crash(Keep::Everything);
        let seen = ControlFile::open(&sim, dir(), cluster()).expect("opens").state().epoch;
        sim.crash(Keep::Nothing);
        assert_eq!(control::read(&sim, dir(), cluster()).expect("valid").epoch, seen, "seed {seed}");
    }
}

#[test]
fn one_bad_slot_is_survived_and_two_are_an_error_that_says_what_to_do() {
    let sim = machine(1);
    let mut control = ControlFile::create(&sim, dir(), cluster(), &state(1)).expect("works");
    control.write(&state(2)).expect("works");
    control.write(&state(3)).expect("works");
    let path = layout::control_path(dir());
    sim.rot(&path, |bytes| bytes[SLOT_BYTES + 50] ^= 1).expect("there");
    assert_eq!(control::read(&sim, dir(), cluster()).expect("slot 0 is valid").epoch.get(), 2);
    let description = describe_control(&sim, &path).expect("readable");
    assert_eq!(description.newest, Some(0));
    assert!(matches!(&description.slots[1], SlotDescription::Invalid { reason } if reason.contains("checksum")));
    sim.rot(&path, |bytes| bytes[50] ^= 1).expect("there");
    let error = control::read(&sim, dir(), cluster()).expect_err("both are bad");
    assert!(matches!(error, ControlError::BothSlotsBad { .. }), "{error}");
    assert!(error.to_string().contains("restore"), "{error}");
}

#[test]
fn a_control_file_of_another_cluster_or_swapped_slots_is_refused() {
    let sim = machine(1);
    ControlFile::create(&sim, dir(), cluster(), &state(1)).expect("works");
    let error = control::read(&sim, dir(), ClusterId::from_bytes([1; 16])).expect_err("another's");
    assert!(error.to_string().contains("belongs to cluster"), "{error}");
    let again = ControlFile::create(&sim, dir(), cluster(), &state(9)).expect_err("exists");
    assert!(matches!(again, ControlError::Exists { .. }), "{again}");
    sim.rot(&layout::control_path(dir()), |bytes| bytes.rotate_left(SLOT_BYTES)).expect("there");
    assert!(matches!(control::read(&sim, dir(), cluster()), Err(ControlError::BothSlotsBad { .. })));
    sim.rot(&layout::control_path(dir()), |bytes| bytes.truncate(100)).expect("there");
    assert!(matches!(control::read(&sim, dir(), cluster()), Err(ControlError::BothSlotsBad { .. })));
    sim.remove(&layout::control_path(dir())).expect("there");
    assert!(matches!(control::read(&sim, dir(), cluster()), Err(ControlError::Missing { .. })));
}

#[test]
fn an_identity_is_given_once() {
    let identity = Identity { cluster: cluster(), node: NodeId::from_bytes([3; 16]) };
    let sim = machine(1);
    assert!(matches!(Identity::read(&sim, dir()), Err(IdentityError::Missing { .. })));
    identity.create(&sim, dir()).expect("works");
    sim.crash(Keep::Nothing);
    assert_eq!(Identity::read(&sim, dir()).expect("there"), identity);
    assert!(matches!(identity.create(&sim, dir()), Err(IdentityError::Exists { .. })));
    let path = layout::identity_path(dir());
    let newer = identity.encode().replace("identity 1", "identity 2");
    let (body, _) = newer.split_once("crc32").expect("has a checksum");
    let newer = format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes()));
    durable::replace_file(&sim, &path, newer.as_bytes()).expect("works");
    assert!(matches!(Identity::read(&sim, dir()), Err(IdentityError::Version { found: 2, .. })));
    durable::replace_file(&sim, &path, &[b'x'; 2000]).expect("works");
    assert!(matches!(Identity::read(&sim, dir()), Err(IdentityError::Damaged { .. })));
}

#[test]
fn one_process_holds_the_lock_and_the_other_is_told_which() {
    let sim = machine(1);
    let vfs: Arc<dyn Vfs> = sim.shared();
    let lock = DirLock::acquire(vfs.as_ref(), dir(), 4711).expect("free");
    let error = DirLock::acquire(vfs.as_ref(), dir(), 4712).expect_err("held");
    assert!(matches!(error, LockError::Held { holder: Some(4711), .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("/db/lock") && text.contains("process 4711"), "{text}");
    drop(lock);
    DirLock::acquire(vfs.as_ref(), dir(), 4712).expect("free again");
}

#[test]
fn the_lock_keeps_the_place_that_was_left_in_it() {
    let sim = machine(1);
    let vfs: Arc<dyn Vfs> = sim.shared();
    let mut lock = DirLock::acquire(vfs.as_ref(), dir(), 4711).expect("free");
    assert_eq!(lock.place(), None);
    lock.leave_place("2049 77123456").expect("works");
    drop(lock);
    for pid in [4, 123_456] {
        let mut lock = DirLock::acquire(vfs.as_ref(), dir(), pid).expect("free");
        assert_eq!(lock.place(), Some("2049 77123456"));
        let error = DirLock::acquire(vfs.as_ref(), dir(), 1).expect_err("held");
        assert!(matches!(error, LockError::Held { holder: Some(holder), .. } if holder == pid), "{error}");
        lock.leave_place("2049 77123456").expect("works");
    }
    let mut lock = DirLock::acquire(vfs.as_ref(), dir(), 5).expect("free");
    lock.leave_place("1 2").expect("works");
    drop(lock);
    assert_eq!(DirLock::acquire(vfs.as_ref(), dir(), 5).expect("free").place(), Some("1 2"));
}

#[test]
fn local_files_are_told_apart_by_how_they_begin() {
    let sim = machine(1);
    ControlFile::create(&sim, dir(), cluster(), &state(1)).expect("works");
    Identity { cluster: cluster(), node: NodeId::from_bytes([3; 16]) }.create(&sim, dir()).expect("works");
    let kind = |path: &Path| FileKind::of(&sim, path).expect("readable");
    assert_eq!(kind(&layout::control_path(dir())), Some(FileKind::Control), "slot 0 was never written");
    assert_eq!(kind(&layout::identity_path(dir())), Some(FileKind::Identity));
    let other = dir().join("other");
    sim.open(&other, OpenMode::CreateNew).expect("works").write_at(b"something else", 0).expect("works");
    assert_eq!(kind(&other), None);
}
