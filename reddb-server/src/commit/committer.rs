//! The committer's thread: gathers what is asked, has the core execute it, commits once, answers everyone.
//!
//! One loop that gathers everything, syncs and answers: while a sync runs, the next batch gathers in the channel, so
//! batches grow with the load by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use parking_lot::Mutex;
use reddb_file::{Epoch, Lsn, TimedMark, TimelineId};
use tokio::sync::oneshot;

use super::core::{CommitFailure, Core, CoreParts, Now};
use super::gate::{Condition, WriteGate};
use super::job::{Job, JobOutcome, Receipt};
use super::upkeep::{UpkeepDone, UpkeepError, expire_step, reclaim_step};
use crate::clock::Clock;
use crate::keyspace::Env;
use crate::reply::{CommandError, Reply};

/// How many messages share one sync at most.
const BATCH_MESSAGES_MAX: usize = 4096;
/// A job whose answers hold more than so many bytes is cut there: the answers go out before the rest is carried out.
const JOB_REPLY_BYTES_TARGET: usize = 16 * 1024 * 1024;
/// How often expired keys and garbage are looked for.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(100);

/// What the committer is asked.
enum Message {
    Run(Job, oneshot::Sender<JobOutcome>),
    Fence(oneshot::Sender<Fence>),
    Prune(Lsn),
    StartEpoch(Epoch, oneshot::Sender<Result<(), CommandError>>),
    ConfirmClock(oneshot::Sender<()>),
    Stop,
}

/// A promise about time: every record with a time at or below `complete_until_ms` is at or below `durable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    /// The newest durable record.
    pub durable: TimedMark,
    /// The promise, in Unix milliseconds.
    pub complete_until_ms: u64,
}

/// What the committer lets others see.
#[derive(Debug)]
pub(crate) struct Published {
    timeline: TimelineId,
    durable: Mutex<TimedMark>,
    wal_bytes: AtomicU64,
    commits: AtomicU64,
    syncs: AtomicU64,
    expired_keys: AtomicU64,
}

impl Published {
    /// The newest durable record, applied and visible.
    #[must_use]
    pub(crate) fn durable(&self) -> TimedMark {
        *self.durable.lock()
    }

    /// The newest durable record as a receipt.
    #[must_use]
    pub(crate) fn receipt(&self) -> Receipt {
        let mark = self.durable();
        Receipt { timeline: self.timeline, lsn: mark.lsn, chain: mark.chain }
    }

    /// The bytes of the local log.
    #[must_use]
    pub(crate) fn wal_bytes(&self) -> u64 {
        self.wal_bytes.load(Ordering::Relaxed)
    }

    /// Records committed since the start.
    #[must_use]
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Syncs of the log since the start.
    #[must_use]
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Keys deleted since the start because they had expired.
    #[must_use]
    pub(crate) fn expired_keys(&self) -> u64 {
        self.expired_keys.load(Ordering::Relaxed)
    }
}

/// A handle to the committer's thread.
pub(crate) struct Committer {
    sender: Sender<Message>,
    published: Arc<Published>,
    thread: Mutex<Option<JoinHandle<TimedMark>>>,
}

impl Committer {
    /// Starts the thread.
    pub(crate) fn start(parts: CoreParts, env: Arc<Env>, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        let (gate, timeline) = (Arc::clone(&parts.gate), parts.timeline);
        Self::start_core(Core::new(parts), timeline, gate, env, clock)
    }

    pub(super) fn start_core(
        core: Core,
        timeline: TimelineId,
        gate: Arc<WriteGate>,
        env: Arc<Env>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        // Bounded by who asks: a connection has one job under way, everybody else one question. This kind of channel lets go
        // of what waits when the thread ends, so that whoever asked learns that there will be no answer.
        let (sender, receiver) = unbounded();
        let published = Arc::new(Published {
            timeline,
            durable: Mutex::new(core.durable()),
            wal_bytes: AtomicU64::new(core.wal_bytes()),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            expired_keys: AtomicU64::new(0),
        });
        let worker = Worker { core, receiver, published: Arc::clone(&published), gate: Arc::clone(&gate), env, clock };
        let thread = std::thread::Builder::new().name("reddb-commit".to_owned()).spawn(move || {
            // A panic here is a poisoned process, not a silent absence.
            let guard = PoisonOnPanic(gate);
            let end = worker.run();
            drop(guard);
            end
        })?;
        Ok(Self { sender, published, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    pub(crate) fn submit(&self, job: Job) -> oneshot::Receiver<JobOutcome> {
        self.ask(|reply| Message::Run(job, reply))
    }

    pub(crate) fn fence(&self) -> oneshot::Receiver<Fence> {
        self.ask(Message::Fence)
    }

    pub(crate) fn start_epoch(&self, epoch: Epoch) -> oneshot::Receiver<Result<(), CommandError>> {
        self.ask(|reply| Message::StartEpoch(epoch, reply))
    }

    pub(crate) fn confirm_clock(&self) -> oneshot::Receiver<()> {
        self.ask(Message::ConfirmClock)
    }

    pub(crate) fn prune(&self, up_to: Lsn) {
        // Where the thread has stopped there is nothing left to prune.
        drop(self.sender.send(Message::Prune(up_to)));
    }

    /// Commits what was submitted before, and ends the thread. Gives the end of the log; `None` where the thread had
    /// panicked or was stopped before.
    pub(crate) fn stop(&self) -> Option<TimedMark> {
        drop(self.sender.send(Message::Stop));
        let thread = self.thread.lock().take()?;
        thread.join().ok()
    }

    /// The receiver gives an error where the thread has stopped.
    fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        drop(self.sender.send(message(reply)));
        answer
    }
}

struct PoisonOnPanic(Arc<WriteGate>);

impl Drop for PoisonOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(Condition::Poisoned, || "the committer stopped on an internal error; restart".to_owned());
        }
    }
}

/// An answer that waits for the batch.
enum Waiting {
    Job(oneshot::Sender<JobOutcome>, JobOutcome),
    Fence(oneshot::Sender<Fence>),
}

struct Worker {
    core: Core,
    receiver: Receiver<Message>,
    published: Arc<Published>,
    gate: Arc<WriteGate>,
    env: Arc<Env>,
    clock: Arc<dyn Clock>,
}

impl Worker {
    fn run(mut self) -> TimedMark {
        let mut waiting = Vec::new();
        let mut upkeep_at = self.clock.elapsed() + UPKEEP_INTERVAL;
        loop {
            let first = match self.receiver.recv_timeout(upkeep_at.saturating_sub(self.clock.elapsed())) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut stop = false;
            let mut next = first;
            let mut count = 0;
            while let Some(message) = next {
                count += 1;
                stop = self.take(message, &mut waiting);
                let enough = stop || count >= BATCH_MESSAGES_MAX || self.core.is_full();
                next = if enough { None } else { self.receiver.try_recv().ok() };
            }
            let committed = self.core.commit();
            self.answer(&mut waiting, committed);
            if stop {
                break;
            }
            if self.clock.elapsed() >= upkeep_at {
                let more = self.upkeep();
                let pause = if more && self.receiver.is_empty() { Duration::ZERO } else { UPKEEP_INTERVAL };
                upkeep_at = self.clock.elapsed() + pause;
            }
        }
        self.core.durable()
    }

    fn now(&self) -> Now {
        Now { wall_ms: self.clock.wall_ms(), elapsed: self.clock.elapsed() }
    }

    /// Carries a message out; says whether it was the last.
    fn take(&mut self, message: Message, waiting: &mut Vec<Waiting>) -> bool {
        match message {
            Message::Run(job, reply) => self.run_job(job, reply, waiting),
            Message::Fence(reply) => waiting.push(Waiting::Fence(reply)),
            Message::Prune(up_to) => {
                self.core.prune(up_to);
            }
            Message::StartEpoch(epoch, reply) => {
                // The batch so far belongs to the epoch before.
                let committed = self.core.commit();
                self.answer(waiting, committed.clone());
                let started = committed.and_then(|()| {
                    self.core.start_epoch(epoch).map_err(|error| CommitFailure(CommandError::new(error.to_string())))
                });
                drop(reply.send(started.map_err(|CommitFailure(error)| error)));
            }
            Message::ConfirmClock(reply) => {
                let now = self.now();
                self.core.confirm_clock(now);
                let _gone = reply.send(());
            }
            Message::Stop => return true,
        }
        false
    }

    fn run_job(&mut self, mut job: Job, reply: oneshot::Sender<JobOutcome>, waiting: &mut Vec<Waiting>) {
        let now = self.now();
        let mut outcome = JobOutcome { replies: Vec::with_capacity(job.steps.len()), receipt: None, rest: Vec::new() };
        let mut held_bytes = 0;
        for step in &job.steps {
            if held_bytes > JOB_REPLY_BYTES_TARGET {
                break;
            }
            match self.core.execute(step, now) {
                Ok((answer, receipt)) => {
                    held_bytes += answer.held_bytes();
                    outcome.replies.push(answer);
                    outcome.receipt = receipt.or(outcome.receipt);
                }
                Err(failure) => {
                    // What came before in this batch is void with it; what comes after begins a new one.
                    self.answer(waiting, Err(failure.clone()));
                    outcome.receipt = None;
                    outcome.replies = vec![Reply::Error(failure.0); job.steps.len()];
                    break;
                }
            }
        }
        outcome.rest = job.steps.split_off(outcome.replies.len());
        waiting.push(Waiting::Job(reply, outcome));
    }

    /// Publishes what is durable, then gives everyone their answer. A receiver that is gone does not matter.
    fn answer(&mut self, waiting: &mut Vec<Waiting>, committed: Result<(), CommitFailure>) {
        *self.published.durable.lock() = self.core.durable();
        self.published.wal_bytes.store(self.core.wal_bytes(), Ordering::Relaxed);
        let (commits, syncs) = self.core.counts();
        self.published.commits.store(commits, Ordering::Relaxed);
        self.published.syncs.store(syncs, Ordering::Relaxed);
        for answer in waiting.drain(..) {
            match (answer, &committed) {
                (Waiting::Job(reply, outcome), Ok(())) => drop(reply.send(outcome)),
                (Waiting::Job(reply, outcome), Err(CommitFailure(error))) => {
                    let replies = vec![Reply::Error(error.clone()); outcome.replies.len()];
                    drop(reply.send(JobOutcome { replies, receipt: None, rest: outcome.rest }));
                }
                (Waiting::Fence(reply), _) => {
                    let now = Now { wall_ms: self.clock.wall_ms(), elapsed: self.clock.elapsed() };
                    let (durable, complete_until_ms) = self.core.fence(now);
                    let _gone = reply.send(Fence { durable, complete_until_ms });
                }
            }
        }
    }

    /// A little of everything; says whether there is more.
    fn upkeep(&mut self) -> bool {
        let now = self.now();
        self.core.recheck_clock(now);
        if self.gate.holds(Condition::Poisoned) {
            return false;
        }
        let expiry_now_ms = self.env.expiry_from_wall_ms(now.wall_ms);
        let expired = self.upkeep_step("expiry", |core| expire_step(core, now, expiry_now_ms));
        self.published.expired_keys.fetch_add(expired.expired, Ordering::Relaxed);
        let reclaimed = self.upkeep_step("reclaiming", reclaim_step);
        let nothing_waits = Ok(());
        self.answer(&mut Vec::new(), nothing_waits);
        expired.more || reclaimed.more
    }

    fn upkeep_step(
        &mut self,
        what: &'static str,
        step: impl FnOnce(&mut Core) -> Result<UpkeepDone, UpkeepError>,
    ) -> UpkeepDone {
        match step(&mut self.core) {
            Ok(done) => done,
            Err(UpkeepError::Commit(CommitFailure(error))) => {
                tracing::warn!(%error, "{what} was put off");
                UpkeepDone::default()
            }
            Err(UpkeepError::State(error)) => {
                tracing::error!(%error, "{what} failed");
                UpkeepDone::default()
            }
        }
    }
}
