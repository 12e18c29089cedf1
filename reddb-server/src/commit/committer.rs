//! Who commits: whoever finds the core free. It gathers what is asked, has the core execute it, commits once, answers
//! everyone.
//!
//! A job's submitter that finds the core free leads one round itself, so that a lone client waits for no other thread. What
//! was asked meanwhile is left to the committer's own thread, which goes on while there is anything: while a sync runs, the
//! next batch gathers in the queue, so batches grow with the load by themselves.
//!
//! Nothing is forgotten: a message is queued before its sender tries to lead, and whoever has led looks at the queue after
//! letting go of the core.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
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

/// What was asked and nobody has taken yet. Bounded by who asks: a connection has one job under way, everybody else one
/// question.
#[derive(Default)]
struct Queue {
    messages: Vec<Message>,
    /// Nobody will answer any more: whoever asks learns that from a channel that is closed at once.
    closed: bool,
    /// The committer's thread is to look.
    called: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// The committer's thread waits here.
    call: Condvar,
    /// Whoever holds it leads. Absent after it stopped, or while it is in a leader's hands.
    leader: Mutex<Option<Worker>>,
    gate: Arc<WriteGate>,
}

/// The committer.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    published: Arc<Published>,
    thread: Mutex<Option<JoinHandle<()>>>,
    end: Arc<Mutex<Option<TimedMark>>>,
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
        let published = Arc::new(Published {
            timeline,
            durable: Mutex::new(core.durable()),
            wal_bytes: AtomicU64::new(core.wal_bytes()),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            expired_keys: AtomicU64::new(0),
        });
        let end = Arc::default();
        let worker = Worker {
            core,
            published: Arc::clone(&published),
            gate: Arc::clone(&gate),
            env,
            clock: Arc::clone(&clock),
            waiting: Vec::new(),
            end: Arc::clone(&end),
        };
        let shared =
            Arc::new(Shared { queue: Mutex::default(), call: Condvar::new(), leader: Mutex::new(Some(worker)), gate });
        let leading = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("reddb-commit".to_owned())
            .spawn(move || leading.lead_in_background(clock.as_ref()))?;
        Ok(Self { shared, published, thread: Mutex::new(Some(thread)), end })
    }

    pub(crate) fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// May carry the job out before it returns, which takes as long as a sync.
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
        self.shared.tell(Message::Prune(up_to));
    }

    /// Commits what was submitted before, and ends the thread. Gives the end of the log; `None` where the committer had
    /// panicked or was stopped before.
    pub(crate) fn stop(&self) -> Option<TimedMark> {
        self.shared.tell(Message::Stop);
        let thread = self.thread.lock().take()?;
        thread.join().ok()?;
        self.end.lock().take()
    }

    /// The receiver gives an error where the committer has stopped.
    fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        self.shared.tell(message(reply));
        answer
    }
}

impl Shared {
    fn tell(&self, message: Message) {
        {
            let mut queue = self.queue.lock();
            if queue.closed {
                return;
            }
            queue.messages.push(message);
        }
        // Where another leads, it or the thread that it calls sees the message.
        if let Some(mut leader) = self.leader.try_lock() {
            self.round(&mut leader, |_| {});
            drop(leader);
            self.call_for_the_rest();
        }
    }

    /// Has the committer's thread go on where something was asked during a round.
    fn call_for_the_rest(&self) {
        let mut queue = self.queue.lock();
        if !queue.messages.is_empty() && !queue.called {
            queue.called = true;
            self.call.notify_one();
        }
    }

    /// The committer's thread: what submitters leave, and upkeep.
    fn lead_in_background(&self, clock: &dyn Clock) {
        let mut upkeep_at = clock.elapsed() + UPKEEP_INTERVAL;
        loop {
            let pause = upkeep_at.saturating_sub(clock.elapsed());
            {
                let mut queue = self.queue.lock();
                if !queue.closed && !queue.called && queue.messages.is_empty() {
                    self.call.wait_for(&mut queue, pause);
                }
                if queue.closed {
                    return;
                }
                queue.called = false;
            }
            let mut upkeep = None;
            let mut leader = self.leader.lock();
            self.round(&mut leader, |worker| {
                if clock.elapsed() >= upkeep_at {
                    upkeep = Some(worker.upkeep());
                }
            });
            drop(leader);
            if let Some(more) = upkeep {
                let at_once = more && self.queue.lock().messages.is_empty();
                upkeep_at = clock.elapsed() + if at_once { Duration::ZERO } else { UPKEEP_INTERVAL };
            }
        }
    }

    /// One round, and `then` something where there is more to go on with. Ends everything where a stop was asked, or where
    /// the round panics: then the worker is gone, with whatever waits in it.
    fn round(&self, leader: &mut Option<Worker>, then: impl FnOnce(&mut Worker)) {
        let guard = EndOnPanic(self);
        let Some(mut worker) = leader.take() else { return };
        if worker.round(&self.queue) {
            *worker.end.lock() = Some(worker.core.durable());
            self.close();
        } else {
            then(&mut worker);
            *leader = Some(worker);
        }
        drop(guard);
    }

    fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.messages.clear();
        self.call.notify_one();
    }
}

/// A panic is a poisoned process, not a silent absence.
struct EndOnPanic<'a>(&'a Shared);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.gate.set(Condition::Poisoned, || "the committer stopped on an internal error; restart".to_owned());
            self.0.close();
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
    published: Arc<Published>,
    gate: Arc<WriteGate>,
    env: Arc<Env>,
    clock: Arc<dyn Clock>,
    waiting: Vec<Waiting>,
    end: Arc<Mutex<Option<TimedMark>>>,
}

impl Worker {
    /// Carries out what is queued, and what is queued meanwhile, with one sync. Says whether the committer is to stop.
    fn round(&mut self, queue: &Mutex<Queue>) -> bool {
        let (mut stop, mut count) = (false, 0);
        let mut waiting = std::mem::take(&mut self.waiting);
        while !stop && count < BATCH_MESSAGES_MAX && !self.core.is_full() {
            let messages = std::mem::take(&mut queue.lock().messages);
            if messages.is_empty() {
                break;
            }
            for message in messages {
                if self.core.is_full() {
                    let committed = self.core.commit();
                    self.answer(&mut waiting, committed);
                }
                count += 1;
                stop = self.take(message, &mut waiting);
                if stop {
                    break;
                }
            }
        }
        let committed = self.core.commit();
        if count > 0 {
            self.answer(&mut waiting, committed);
        }
        self.waiting = waiting;
        stop
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
