//! Power loss, again and again, at every moment and with every outcome: what was acknowledged is there, what was not is
//! there whole or not at all. The harness first proves that it would notice.

mod common;

use std::sync::Arc;

use common::{Careless, Failure, Node, Process};
use reddb_file::vfs::VfsOp;
use reddb_file::vfs::sim::Keep;
use reddb_file::wal::FillProgress;

const KEEPS: [Keep; 3] = [Keep::Nothing, Keep::Random, Keep::Everything];

/// One life of a process: it works until the power goes, or stops in order.
fn live(node: &mut Node, process: &mut Process) -> Result<(), Failure> {
    for _ in 0..(5 + node.dice.below(30)) {
        match node.dice.below(10) {
            0 => node.prune(process)?,
            1 | 2 => {
                process.pool.fill_step(8192)?;
            }
            3 => while process.pool.fill_step(4096)? != FillProgress::Idle {},
            _ => node.append_random(process)?,
        }
    }
    Ok(())
}

/// Several lives, each ended by a crash; after each the log must be right.
fn campaign(mut node: Node) -> Result<(), Failure> {
    for _ in 0..6 {
        node.sim.clear_faults();
        let calls = 1 + node.dice.below(250);
        node.sim.lose_power_at_nth_call(calls);
        if let Ok(mut process) = node.start()
            && live(&mut node, &mut process).is_ok()
            && node.dice.below(2) == 0
        {
            // Where the power lasts so long, the process ends in order, or tries to.
            let _ = node.stop(process);
        }
        let keep = KEEPS[usize::try_from(node.dice.below(3)).expect("small")];
        node.crash(keep);
        node.check()?;
        if node.dice.below(3) == 0 {
            node.crash(Keep::Nothing);
            node.check()?;
        }
    }
    Ok(())
}

fn first_violation(seeds: u64, node: impl Fn(u64) -> Node) -> Option<(u64, String)> {
    (0..seeds).find_map(|seed| campaign(node(seed)).err().map(|failure| (seed, failure.to_string())))
}

fn careless(skipped: &'static [VfsOp]) -> Option<(u64, String)> {
    first_violation(400, |seed| Node::with_vfs(seed, |inner| Arc::new(Careless { inner, skipped })))
}

#[test]
fn acknowledged_batches_survive_every_crash_and_no_other_is_half_there() {
    assert_eq!(first_violation(400, Node::new), None);
}

#[test]
fn the_harness_catches_a_writer_that_does_not_sync_data() {
    assert!(careless(&[VfsOp::SyncData]).is_some());
}

#[test]
fn the_harness_catches_a_writer_that_does_not_sync_new_files() {
    assert!(careless(&[VfsOp::SyncAll]).is_some());
}

#[test]
fn the_harness_catches_a_writer_that_does_not_sync_directories() {
    assert!(careless(&[VfsOp::SyncDir]).is_some());
}

#[test]
fn the_harness_catches_salts_that_repeat() {
    let careless = |seed| {
        let mut node = Node::new(seed);
        node.repeats_salts = true;
        node
    };
    assert!(first_violation(400, careless).is_some());
}

#[test]
fn a_campaign_is_repeatable_from_its_seed() {
    let calls = |seed| {
        let node = Node::new(seed);
        let sim = node.sim.clone();
        campaign(node).expect("the campaign holds");
        (sim.calls(), sim.used_bytes())
    };
    assert_eq!(calls(42), calls(42));
}
