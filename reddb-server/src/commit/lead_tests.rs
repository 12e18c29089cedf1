//! A submitter that commits its own job: what the committer's thread promises holds in its hands too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::thread::{Scope, ScopedJoinHandle};

use reddb_file::vfs::VfsOp;
use tokio::sync::oneshot::Receiver;

use super::gate::Condition;
use super::job::{Invocation, Step};
use super::overlap_tests::{PANIC_HALF_WAY, Running, is_misconf, reply};
use super::tests::{Node, invoke};
use super::{Job, JobOutcome};
use crate::reply::Reply;

fn job(words: &str) -> Job {
    Job { steps: vec![Step::Run(invoke(words))] }
}

/// A submitter that leads, in a thread of its own.
type Leader<'s> = ScopedJoinHandle<'s, std::thread::Result<Receiver<JobOutcome>>>;

impl Running {
    fn submit_or_lead(&self, words: &str) -> Receiver<JobOutcome> {
        self.committer.submit_or_lead(job(words))
    }

    /// Submits until a submitter has led; gives the reply to its job.
    fn lead(&self, words: &str) -> Reply {
        loop {
            let led = self.committer.led();
            let reply = reply(self.submit_or_lead(words));
            if self.committer.led() > led {
                return reply;
            }
        }
    }

    /// Submits until a submitter leads and is at its sync, which is paused until the first of what this returns is dropped.
    fn lead_and_hold<'s>(&'s self, scope: &'s Scope<'s, '_>, words: &'static str) -> (impl Drop + 's, Leader<'s>) {
        loop {
            self.lead("DEL nothing");
            let led = self.committer.led();
            let paused = self.vfs.pause_syncs();
            let submit = move || catch_unwind(AssertUnwindSafe(|| self.submit_or_lead(words)));
            let submitter = scope.spawn(submit);
            while self.vfs.syncs_waiting() == 0 {
                std::thread::yield_now();
            }
            if self.committer.led() > led {
                // From now on nobody but the submitters has the lock.
                while !self.committer.waits_for_leader() {
                    std::thread::yield_now();
                }
                return (paused, submitter);
            }
            drop(paused);
            reply(ended(submitter));
        }
    }
}

fn ended(leader: Leader<'_>) -> Receiver<JobOutcome> {
    leader.join().expect("is caught").expect("no panic")
}

#[test]
fn while_a_submitter_leads_others_execute_on_top_and_are_answered_after_it() {
    let running = Running::start();
    let records = std::thread::scope(|scope| {
        let (paused, leader) = running.lead_and_hold(scope, "INCR counter");
        let (syncs, visible) = (running.committer.published().syncs(), running.visible());
        let executed = running.committer.executed_records();
        let mut others: Vec<_> = (0..10).map(|_| running.submit_or_lead("INCR counter")).collect();
        assert_eq!(running.committer.executed_records(), executed + 10);
        assert_eq!(running.visible(), visible, "nothing more is durable");
        assert!(others.iter_mut().all(|other| other.try_recv().is_err()), "nobody is answered");
        assert!(!leader.is_finished(), "nor is the leader");
        drop(paused);
        let Reply::Int(first) = reply(ended(leader)) else { panic!("a number") };
        for (number, other) in (first + 1..).zip(others) {
            assert_eq!(reply(other), Reply::Int(number));
        }
        assert_eq!(running.committer.published().syncs(), syncs + 2);
        first + 10
    });
    running.committer.stop();
    assert_eq!((running.crash)().run("GET counter"), Reply::bulk(records.to_string()));
}

#[test]
fn a_leader_is_answered_when_it_comes_back() {
    let running = Running::start();
    for _ in 0..100 {
        running.lead("INCR counter");
    }
    let led = running.committer.led();
    let mut answer = running.submit_or_lead("INCR counter");
    if running.committer.led() > led {
        assert!(answer.try_recv().is_ok(), "no other thread had to answer");
    }
    running.committer.stop();
}

#[test]
fn whoever_submitted_and_is_gone_does_not_stop_the_batch() {
    let running = Running::start();
    let counted = std::thread::scope(|scope| {
        let (paused, leader) = running.lead_and_hold(scope, "INCR counter");
        drop(running.submit_or_lead("INCR counter"));
        drop(paused);
        let Reply::Int(first) = reply(ended(leader)) else { panic!("a number") };
        drop(running.submit_or_lead("INCR counter"));
        first + 2
    });
    assert_eq!(reply(running.submit("GET counter")), Reply::bulk(counted.to_string()));
    running.committer.stop();
    assert_eq!((running.crash)().run("GET counter"), Reply::bulk(counted.to_string()));
}

#[test]
fn a_sync_that_fails_under_a_leader_voids_what_is_on_top_and_poisons() {
    let running = Running::start();
    assert_eq!(running.lead("SET kept 1"), Reply::Ok);
    std::thread::scope(|scope| {
        let (paused, leader) = running.lead_and_hold(scope, "INCR counter");
        let before = running.visible();
        let second = running.submit_or_lead("INCR counter");
        running.vfs.fail_nth(VfsOp::SyncData, 1, std::io::ErrorKind::Other);
        drop(paused);
        assert!(is_misconf(&reply(ended(leader))) && is_misconf(&reply(second)));
        assert!(running.gate.holds(Condition::Poisoned));
        assert_eq!(running.visible(), before, "readers saw neither");
    });
    assert!(is_misconf(&running.lead("SET more 1")), "a leader takes nothing more either");
    assert_eq!(reply(running.submit("EXISTS kept more")), Reply::Int(1));
    running.committer.stop();
}

#[test]
fn a_leader_that_finds_no_space_refuses_with_a_reason_and_poisons_nothing() {
    let running = Running::start();
    running.vfs.set_space(Some(running.vfs.used_bytes()));
    let filler = "x".repeat(4_000);
    let refused = loop {
        match running.lead(&format!("SET filler {filler}")) {
            Reply::Ok => {}
            refused => break refused,
        }
    };
    assert!(is_misconf(&refused), "{refused:?}");
    assert!(running.gate.holds(Condition::DiskFull) && !running.gate.holds(Condition::Poisoned));
    running.vfs.set_space(None);
    running.gate.clear(Condition::DiskFull);
    assert_eq!(running.lead("SET more 1"), Reply::Ok);
    running.committer.stop();
    assert_eq!((running.crash)().run("GET more"), Reply::bulk("1"));
}

fn panics() -> Job {
    let args = vec!["panichalfway".into(), "half".into()];
    Job { steps: vec![Step::Run(Invocation { spec: &PANIC_HALF_WAY, args, db: 0 })] }
}

#[test]
fn a_command_that_panics_on_top_of_a_leaders_batch_does_not_void_that() {
    let running = Running::start();
    std::thread::scope(|scope| {
        let (paused, leader) = running.lead_and_hold(scope, "SET first 1");
        let second = running.submit_or_lead("SET second 1");
        let submit = AssertUnwindSafe(|| running.committer.submit_or_lead(panics()));
        assert!(catch_unwind(submit).is_err(), "the submitter executed it itself");
        let fourth = running.submit_or_lead("SET fourth 1");
        drop(paused);
        assert_eq!(reply(ended(leader)), Reply::Ok);
        assert!(is_misconf(&reply(second)), "what the batch holds is not known");
        assert!(is_misconf(&reply(fourth)), "nothing more is taken");
    });
    assert!(running.gate.holds(Condition::Poisoned));
    running.committer.stop().expect("ends");
    assert_eq!((running.crash)().run("EXISTS first second half fourth"), Reply::Int(1));
}

#[test]
fn a_command_that_panics_before_its_submitter_leads_leaves_nothing_locked() {
    let running = Running::start();
    assert_eq!(running.lead("SET first 1"), Reply::Ok);
    let submit = AssertUnwindSafe(|| running.committer.submit_or_lead(panics()));
    assert!(catch_unwind(submit).is_err());
    assert!(is_misconf(&reply(running.submit_or_lead("SET second 1"))));
    running.committer.stop().expect("ends");
    assert_eq!((running.crash)().run("EXISTS first half second"), Reply::Int(1));
}

#[test]
fn a_leader_that_panics_lets_everyone_go_and_poisons() {
    let node = Node::new();
    let panics = node.tail.panic_switch();
    let running = Running::start_node(node);
    std::thread::scope(|scope| {
        let (paused, leader) = running.lead_and_hold(scope, "SET first 1");
        let on_top = running.submit_or_lead("SET second 1");
        let fence = running.committer.fence();
        panics.store(true, Ordering::Relaxed);
        drop(paused);
        assert!(leader.join().expect("is caught").is_err(), "planted");
        assert!(on_top.blocking_recv().is_err() && fence.blocking_recv().is_err(), "there will be no answer");
    });
    assert!(running.gate.holds(Condition::Poisoned));
    assert!(running.submit_or_lead("SET third 1").blocking_recv().is_err());
    assert_eq!(running.committer.stop(), None, "the end of the log is not known");
}

#[test]
fn stopping_while_a_submitter_leads_commits_what_it_leads_and_what_is_on_top() {
    let running = Running::start();
    std::thread::scope(|scope| {
        let (paused, leader) = running.lead_and_hold(scope, "INCR counter");
        let before = running.visible();
        let second = running.submit_or_lead("INCR counter");
        let stopping = scope.spawn(|| running.committer.stop());
        drop(paused);
        assert!(!is_misconf(&reply(ended(leader))) && !is_misconf(&reply(second)));
        assert_eq!(stopping.join().expect("no panic").expect("ends").lsn.get(), before + 2);
    });
    assert!(running.submit_or_lead("INCR counter").blocking_recv().is_err(), "told that nobody is there");
}
