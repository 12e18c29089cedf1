//! Every single call on the file system fails once, in turn: nothing acknowledged is lost, whether the process goes on or is
//! killed and whatever the disk holds afterwards; a poisoned writer stays poisoned; a full disk poisons nothing.

mod common;

use std::io;

use common::{BROKEN, Failure, Node, Process};
use reddb_file::vfs::VfsOp;
use reddb_file::vfs::sim::Keep;
use reddb_file::wal::{FillProgress, WalError};

/// A life that uses everything: rotation, an oversized batch, pruning, recycling, filling, another epoch, an orderly end.
fn whole_life(node: &mut Node) -> Result<(), Failure> {
    let mut process = node.start()?;
    let result = work(node, &mut process);
    expect_poison_to_hold(node, &mut process)?;
    result?;
    node.stop(process)
}

fn work(node: &mut Node, process: &mut Process) -> Result<(), Failure> {
    for round in 0..3 {
        for _ in 0..6 {
            node.append(process, &[100, 4000])?;
        }
        node.append(process, &[40_000])?;
        node.prune(process)?;
        while process.pool.fill_step(8192)? != FillProgress::Idle {}
        if round == 1 {
            let epoch = process.writer.epoch().next().ok_or("epochs")?;
            process.writer.start_epoch(epoch)?;
            let mut state = process.control.state().clone();
            state.epoch = epoch;
            process.control.write(&state)?;
        }
    }
    Ok(())
}

/// Once poisoned, the writer refuses everything, with the same words, and does not touch the disk.
fn expect_poison_to_hold(node: &mut Node, process: &mut Process) -> Result<(), Failure> {
    let Some(poison) = process.writer.poisoned().map(ToString::to_string) else { return Ok(()) };
    let acked = node.acked();
    for _ in 0..3 {
        let calls = node.sim.calls();
        let refused = node.append(process, &[10]).expect_err("a poisoned writer refuses");
        assert_eq!(refused.to_string(), poison);
        assert_eq!(node.sim.calls(), calls, "a poisoned writer does nothing");
        assert_eq!(node.acked(), acked);
    }
    Ok(())
}

fn sweep(keep: Keep, kind: io::ErrorKind) {
    let mut failed = 0;
    for nth in 1.. {
        let mut node = Node::new(nth);
        node.sim.fail_nth_call(nth, kind);
        let result = whole_life(&mut node);
        let reached = node.sim.calls() >= nth;
        failed += u32::from(result.is_err());
        node.crash(keep);
        let checked = node.check();
        assert!(checked.is_ok(), "call {nth} failed ({result:?}), then {keep:?}: {checked:?}");
        if !reached {
            assert!(result.is_ok(), "without a fault the life succeeds: {result:?}");
            assert!(failed > 200, "most of the {nth} faults are noticed, {failed} were");
            return;
        }
    }
}

#[test]
fn any_call_may_fail_before_a_crash_that_keeps_nothing() {
    sweep(Keep::Nothing, BROKEN);
}

#[test]
fn any_call_may_fail_before_a_crash_that_keeps_something() {
    sweep(Keep::Random, BROKEN);
}

#[test]
fn any_call_may_fail_before_a_kill() {
    sweep(Keep::Everything, BROKEN);
}

#[test]
fn any_call_may_find_the_disk_full() {
    sweep(Keep::Nothing, io::ErrorKind::StorageFull);
}

#[test]
fn any_call_of_recovery_may_fail_and_the_next_recovery_works() {
    for nth in 1.. {
        let mut node = Node::new(nth);
        let mut process = node.start().expect("the first start works");
        work(&mut node, &mut process).expect("the first life works");
        node.crash(Keep::Random);
        let calls = node.sim.calls();
        node.sim.fail_nth_call(nth, BROKEN);
        let started = node.start();
        let reached = node.sim.calls() >= calls + nth;
        assert_eq!(started.is_err(), reached, "a start does not swallow errors (call {nth})");
        drop(started);
        node.crash(Keep::Nothing);
        node.check().unwrap_or_else(|failure| panic!("recovery's call {nth} failed: {failure}"));
        if !reached {
            return;
        }
    }
}

#[test]
fn a_failed_sync_of_a_batch_poisons_and_the_batch_is_there_whole_or_not_at_all() {
    for seed in 0..200 {
        let mut node = Node::new(seed);
        let mut process = node.start().expect("starts");
        node.append(&mut process, &[10]).expect("works");
        node.sim.fail_nth(VfsOp::SyncData, 1, BROKEN);
        let error = node.append(&mut process, &[5000, 5000]).expect_err("the sync fails");
        assert!(
            matches!(&error, WalError::Poisoned { lsn, .. } if lsn.get() == 2),
            "the error names the first LSN that was not acknowledged: {error}"
        );
        expect_poison_to_hold(&mut node, &mut process).expect("holds");
        drop(process);
        // The process is killed; what it left in the page cache is seen, and lost if it is not made durable before that.
        node.crash(Keep::Everything);
        let process = node.start().expect("recovers");
        let seen = process.writer.last();
        drop(process);
        node.crash(Keep::Nothing);
        let process = node.start().expect("recovers again");
        assert_eq!(process.writer.last(), seen, "what a recovery has shown is durable (seed {seed})");
    }
}

#[test]
fn a_full_disk_refuses_and_poisons_nothing_and_space_brings_writes_back() {
    let mut node = Node::new(1);
    let mut process = node.start().expect("starts");
    node.append(&mut process, &[10]).expect("works");
    node.sim.set_space(Some(node.sim.used_bytes()));
    let mut refused = 0;
    for _ in 0..20 {
        match node.append(&mut process, &[4000]) {
            Ok(()) => assert_eq!(refused, 0, "there is no space to come back to"),
            Err(WalError::NoSpace { .. }) => refused += 1,
            Err(error) => panic!("a full disk is not an I/O error: {error}"),
        }
    }
    assert!(refused > 0, "the segment is full at some time");
    assert!(process.writer.poisoned().is_none());
    assert!(matches!(process.pool.fill_step(4096), Err(WalError::NoSpace { .. })), "filling ahead says so too");
    node.check_contents(&process).expect("reads go on");
    node.sim.set_space(None);
    node.append(&mut process, &[4000]).expect("space is back");
    drop(process);
    node.crash(Keep::Nothing);
    node.check().expect("everything acknowledged is there");
}

#[test]
fn a_batch_larger_than_a_segment_is_refused_without_space_and_gets_its_own_segment_with() {
    let mut node = Node::new(1);
    let mut process = node.start().expect("starts");
    node.append(&mut process, &[10]).expect("works");
    node.sim.set_space(Some(node.sim.used_bytes() + 50_000));
    let refused = node.append(&mut process, &[200_000]).expect_err("no space");
    assert!(matches!(refused, WalError::NoSpace { .. }), "{refused}");
    node.sim.set_space(None);
    node.append(&mut process, &[200_000]).expect("has space");
    let bytes: Vec<u64> = process.writer.segments().iter().map(|info| info.file_bytes).collect();
    assert_eq!(bytes, [6 * 4096, 4096 + 200_704]);
    node.append(&mut process, &[10]).expect("goes on in a segment of the usual size");
    assert_eq!(process.writer.segments().last().map(|info| info.file_bytes), Some(6 * 4096));
}

#[test]
fn the_harness_catches_a_recovery_that_believes_the_page_cache() {
    let lost = (0..50).any(|seed| {
        let mut node = Node::new(seed);
        let mut process = node.start().expect("starts");
        node.append(&mut process, &[10]).expect("works");
        node.sim.fail_nth(VfsOp::SyncData, 1, BROKEN);
        node.append(&mut process, &[5000]).expect_err("the sync fails");
        // The lie: this was no orderly end, so the next start leaves the last segment as it reads it.
        let mut state = process.control.state().clone();
        state.shutdown = reddb_file::control::Shutdown::Clean;
        process.control.write(&state).expect("works");
        drop(process);
        node.crash(Keep::Everything);
        let seen = node.start().expect("recovers").writer.last();
        node.crash(Keep::Nothing);
        node.start().map_or(true, |process| process.writer.last() != seen)
    });
    assert!(lost, "without the rewrite, something that was shown is lost");
}
