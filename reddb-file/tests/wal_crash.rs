//! Power loss, again and again, at every moment and with every outcome: what was acknowledged is there, what was not is
//! there whole or not at all. The harness first proves that it would notice.

mod common;

use std::sync::Arc;

use common::{Careless, Failure, Node, Process};
use reddb_file::vfs::sim::Keep;
use reddb_file::vfs::{EntryKind, VfsOp};
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

/// How much space there is when a process starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Space {
    /// As much as it likes.
    Enough,
    /// None, and no spare segment: the last segment is rewritten in place.
    Full,
}

/// Several lives, each ended by a crash; after each the log must be right.
fn campaign(node: Node) -> Result<(), Failure> {
    campaign_with(node, Space::Enough)
}

fn campaign_with(mut node: Node, space: Space) -> Result<(), Failure> {
    for _ in 0..6 {
        node.sim.clear_faults();
        fill_disk(&node, space)?;
        let calls = 1 + node.dice.below(250);
        node.sim.lose_power_at_nth_call(calls);
        let started = node.start();
        node.sim.set_space(None);
        if let Ok(mut process) = started
            && live(&mut node, &mut process).is_ok()
            && node.dice.below(2) == 0
        {
            // Where the power lasts so long, the process ends in order, or tries to.
            let _ = node.stop(process);
        }
        let keep = KEEPS[usize::try_from(node.dice.below(3)).expect("small")];
        node.crash(keep);
        check_with(&mut node, space)?;
        if node.dice.below(3) == 0 {
            node.crash(Keep::Nothing);
            check_with(&mut node, space)?;
        }
    }
    Ok(())
}

fn check_with(node: &mut Node, space: Space) -> Result<(), Failure> {
    fill_disk(node, space)?;
    let checked = node.check();
    node.sim.set_space(None);
    checked
}

/// A directory that has not begun is left alone: nothing can be begun on a full disk.
fn fill_disk(node: &Node, space: Space) -> Result<(), Failure> {
    let begun = node.vfs.metadata(&reddb_file::layout::control_path(&node.dir))?.is_some();
    if space == Space::Full && begun {
        let wal = reddb_file::layout::wal_dir(&node.dir);
        if node.vfs.metadata(&wal)?.is_some() {
            for entry in node.vfs.list(&wal)?.into_iter().filter(|entry| entry.kind == EntryKind::File) {
                node.vfs.remove(&wal.join(&entry.name))?;
            }
            node.vfs.sync_dir(&wal)?;
        }
        node.sim.set_space(Some(node.sim.used_bytes()));
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
fn acknowledged_batches_survive_every_crash_where_each_start_finds_the_disk_full() {
    let violation = (0..400)
        .find_map(|seed| campaign_with(Node::new(seed), Space::Full).err().map(|failure| (seed, failure.to_string())));
    assert_eq!(violation, None);
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
