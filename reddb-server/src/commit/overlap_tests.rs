//! What is executed while the batch before it is on its way to the disk.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use reddb_file::vfs::VfsOp;
use tokio::sync::oneshot::Receiver;

use super::gate::Condition;
use super::job::{Invocation, Step};
use super::tests::{FAIL_HALF_WAY, Node, invoke};
use super::{Committer, Job, JobOutcome};
use crate::command::{Args, CommandSpec, Run};
use crate::engine::Engine;
use crate::keyspace::{Env, SnapshotState, Txn};
use crate::reply::{CommandResult, Reply};

fn panic_half_way(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    txn.put_string(&args[1], b"half", None)?;
    panic!("planted")
}

pub(super) static PANIC_HALF_WAY: CommandSpec = CommandSpec {
    name: "panichalfway",
    summary: "Changes something, then panics.",
    run: Run::Write(panic_half_way),
    ..FAIL_HALF_WAY
};

/// A node with a committer's thread, whose first batch can be held up at its sync.
pub(super) struct Running {
    pub(super) vfs: reddb_file::vfs::sim::SimVfs,
    pub(super) gate: Arc<super::gate::WriteGate>,
    engine: Arc<dyn Engine>,
    pub(super) committer: Committer,
    pub(super) crash: Box<dyn FnOnce() -> Node + Send + Sync>,
    _engine_dir: tempfile::TempDir,
}

impl Running {
    pub(super) fn start() -> Self {
        Self::start_node(Node::new())
    }

    pub(super) fn start_node(node: Node) -> Self {
        let (node, crash) = node.disassemble();
        let (vfs, gate, engine) = (node.vfs, node.gate, Arc::clone(node.core.engine()));
        let (env, clock) = (Arc::new(Env::new(0, 1)), Arc::new(crate::clock::SystemClock::new()));
        let parts = (node.core, node.tail);
        let committer = Committer::start_parts(parts, Arc::clone(&gate), env, clock);
        let committer = committer.expect("starts");
        committer.confirm_clock().blocking_recv().expect("answers");
        Self { vfs, gate, engine, committer, crash: Box::new(crash), _engine_dir: node.engine_dir }
    }

    pub(super) fn submit(&self, words: &str) -> Receiver<JobOutcome> {
        self.committer.submit(Job { steps: vec![Step::Run(invoke(words))] })
    }

    /// Submits, and waits until the batch is at its sync, which is paused.
    fn submit_and_hold(&self, words: &str) -> Receiver<JobOutcome> {
        let receiver = self.submit(words);
        while self.vfs.syncs_waiting() == 0 {
            std::thread::yield_now();
        }
        receiver
    }

    pub(super) fn visible(&self) -> u64 {
        SnapshotState::newest(&self.engine).lsn().get()
    }
}

pub(super) fn reply(receiver: Receiver<JobOutcome>) -> Reply {
    let mut outcome = receiver.blocking_recv().expect("answers");
    assert_eq!(outcome.replies.len(), 1);
    outcome.replies.remove(0)
}

pub(super) fn is_misconf(reply: &Reply) -> bool {
    matches!(reply, Reply::Error(error) if error.text().starts_with("MISCONF"))
}

#[test]
fn while_a_batch_is_synced_the_next_one_is_executed_on_top_of_it_and_answered_after_it() {
    let running = Running::start();
    let syncs = running.committer.published().syncs();
    let paused = running.vfs.pause_syncs();
    let first = running.submit_and_hold("INCR counter");
    // Nobody but the submitters can execute these: the committer's thread is held at the sync.
    let mut others: Vec<_> = (0..10).map(|_| running.submit("INCR counter")).collect();
    assert_eq!(running.committer.executed_records(), 11);
    assert_eq!(running.visible(), 0, "nothing is durable");
    assert!(others.iter_mut().all(|other| other.try_recv().is_err()), "nobody is answered");
    drop(paused);
    assert_eq!(reply(first), Reply::Int(1));
    for (number, other) in (2..).zip(others) {
        assert_eq!(reply(other), Reply::Int(number));
    }
    assert_eq!(running.visible(), 11);
    assert_eq!(running.committer.published().syncs(), syncs + 2);
    running.committer.stop();
    assert_eq!((running.crash)().run("GET counter"), Reply::bulk("11"));
}

#[test]
fn what_is_visible_is_never_newer_than_the_newest_record_that_a_receipt_names() {
    let running = Running::start();
    let (committer, engine) = (&running.committer, &running.engine);
    let count = || {
        let increment = Job { steps: vec![Step::Run(invoke("INCR counter"))] };
        assert!(!is_misconf(&reply(committer.submit_or_lead(increment))));
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..5_000).for_each(|_| count()));
        while !writer.is_finished() {
            let visible = SnapshotState::newest(engine).lsn();
            let newest = committer.published().receipt().lsn;
            assert!(visible <= newest, "a reader saw {visible} and was given {newest} for it");
        }
    });
    assert_eq!(running.visible(), 5_000);
    assert!(committer.led() > 0, "some of both kinds");
    running.committer.stop();
}

#[test]
fn a_batch_that_fails_takes_with_it_what_was_executed_on_top_of_it() {
    let running = Running::start();
    assert_eq!(reply(running.submit("SET kept 1")), Reply::Ok);
    let paused = running.vfs.pause_syncs();
    let first = running.submit_and_hold("INCR counter");
    let second = running.submit("INCR counter");
    running.vfs.fail_nth(VfsOp::SyncData, 1, std::io::ErrorKind::Other);
    drop(paused);
    assert!(is_misconf(&reply(first)) && is_misconf(&reply(second)));
    assert!(running.gate.holds(Condition::Poisoned));
    assert_eq!(running.visible(), 1, "readers saw neither");
    assert!(is_misconf(&reply(running.submit("SET more 1"))));
    assert_eq!(reply(running.submit("EXISTS counter kept")), Reply::Int(1));
    running.committer.stop();
}

#[test]
fn a_fence_promises_nothing_about_a_batch_whose_outcome_is_unknown() {
    let running = Running::start();
    assert_eq!(reply(running.submit("SET kept 1")), Reply::Ok);
    let paused = running.vfs.pause_syncs();
    let unknown = running.submit_and_hold("SET unknown 1");
    let meanwhile = running.committer.fence();
    running.vfs.fail_nth(VfsOp::SyncData, 1, std::io::ErrorKind::Other);
    drop(paused);
    assert!(is_misconf(&reply(unknown)));
    for fence in [meanwhile, running.committer.fence()] {
        let fence = fence.blocking_recv().expect("answers");
        assert_eq!(fence.durable.lsn.get(), 1);
        // Recovery may find the record of this moment or a later one, and that would be the next.
        assert!(fence.complete_until_ms < fence.durable.time_ms, "{fence:?}");
    }
    running.committer.stop();
}

#[test]
fn a_command_that_panics_voids_its_batch_and_not_the_one_before() {
    let running = Running::start();
    let paused = running.vfs.pause_syncs();
    let first = running.submit_and_hold("SET first 1");
    let second = running.submit("SET second 1");
    let panics = Invocation { spec: &PANIC_HALF_WAY, args: vec!["panichalfway".into(), "third".into()], db: 0 };
    let submit = AssertUnwindSafe(|| running.committer.submit(Job { steps: vec![Step::Run(panics)] }));
    assert!(catch_unwind(submit).is_err(), "the submitter executed it itself");
    let fourth = running.submit("SET fourth 1");
    drop(paused);
    assert_eq!(reply(first), Reply::Ok);
    assert!(is_misconf(&reply(second)), "what the batch holds is not known");
    assert!(is_misconf(&reply(fourth)), "nothing more is taken");
    assert!(running.gate.holds(Condition::Poisoned));
    assert_eq!(running.visible(), 1);
    running.committer.stop();
    assert_eq!((running.crash)().run("EXISTS first second third fourth"), Reply::Int(1));
}

#[test]
fn whoever_waits_when_the_thread_stops_is_answered() {
    let running = Running::start();
    let paused = running.vfs.pause_syncs();
    let first = running.submit_and_hold("INCR counter");
    let second = running.submit("INCR counter");
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| running.committer.stop());
        drop(paused);
        assert_eq!((reply(first), reply(second)), (Reply::Int(1), Reply::Int(2)));
        assert_eq!(stopping.join().expect("no panic").expect("ends").lsn.get(), 2);
    });
    assert!(running.submit("INCR counter").blocking_recv().is_err(), "told that nobody is there");
}

#[test]
fn a_batch_that_finds_no_space_takes_with_it_what_was_executed_on_top_of_it() {
    let mut node = Node::new();
    node.run("SET kept 1");
    node.vfs.set_space(Some(node.vfs.used_bytes()));
    let filler = "x".repeat(4_000);
    node.execute(&format!("SET filler:0 {filler}"));
    for number in 1_u32.. {
        assert!(number < 1_000, "the disk is full at some point");
        let mut sealed = node.core.seal();
        node.execute(&format!("SET filler:{number} {filler}"));
        node.execute("INCR counter");
        let committed = node.tail.commit(&mut sealed);
        node.core.settle(sealed, node.tail.last(), committed.is_err());
        if committed.is_err() {
            let (failed, on_top) = (number - 1, number);
            assert_eq!(node.execute(&format!("EXISTS filler:{failed} filler:{on_top}")).0, Reply::Int(0));
            assert_eq!(node.execute("GET counter").0, Reply::bulk((failed - 1).to_string()));
            break;
        }
    }
    assert!(!node.gate.holds(Condition::Poisoned));
    node.vfs.set_space(None);
    node.gate.clear(Condition::DiskFull);
    assert_eq!(node.run("SET more 1"), Reply::Ok);
    let before = node.digest();
    assert_eq!(node.crash().digest(), before);
}
