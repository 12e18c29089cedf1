//! The committer's thread: has the core execute what is asked, commits once, answers everyone.
//!
//! While a sync runs, the next batch gathers, executed by its submitters or waiting in the channel, so batches grow with the
//! load by themselves. While the thread sleeps, a submitter that is alone commits its job itself, which saves handing it over
//! and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use parking_lot::Mutex;
use reddb_file::wal::{RecentBatches, WalWriter};
use reddb_file::{Epoch, Lsn, TimedMark, TimelineId, TimelineRecord};
use tokio::sync::oneshot;

use super::core::{Core, CoreParts, Now};
use super::gate::{Condition, WriteGate};
use super::job::{Job, JobOutcome, Receipt};
use super::mailbox::{Mailbox, ReplyTo, Round};
use super::pipeline::{Part, Pipeline, Shared, Submitted, Waiting};
use super::tail::{CommitFailure, DurableEnd, Tail};
use super::upkeep::{UpkeepDone, UpkeepError, expire_step, reclaim_step};
use crate::clock::Clock;
use crate::keyspace::Env;
use crate::reply::{CommandError, Reply};

/// How many messages share one sync at most.
const BATCH_MESSAGES_MAX: usize = 4096;
/// How often expired keys and garbage are looked for.
const UPKEEP_INTERVAL: Duration = Duration::from_millis(100);

/// What the committer is asked.
enum Message {
    Run(Submitted),
    /// Somebody executed into the open batch.
    Wake,
    Fence(oneshot::Sender<Fence>),
    Prune(Lsn),
    StartEpoch(Epoch, u64, oneshot::Sender<Result<(), CommandError>>),
    BeginTimeline(Box<NewTimeline>, oneshot::Sender<Result<(), CommandError>>),
    ConfirmClock(oneshot::Sender<()>),
    Stop,
}

/// A timeline that is to be begun.
pub(crate) struct NewTimeline {
    /// Its log, which is empty and continues the one before.
    pub wal: WalWriter,
    /// Its first record.
    pub first: TimelineRecord,
    /// No record of it gets a time at or below this (Unix milliseconds): so the archive was promised.
    pub complete_until_ms: u64,
}

/// A committer that did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The system gave no thread.
    #[error("cannot start the committer's thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The timeline's first record could not be made durable.
    #[error("{0}")]
    Begin(CommandError),
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
    durable: Arc<Mutex<DurableEnd>>,
    recent: Arc<RecentBatches>,
    wal_bytes: AtomicU64,
    commits: AtomicU64,
    syncs: AtomicU64,
    expired_keys: AtomicU64,
}

impl Published {
    /// The newest durable record. What a reader sees is never newer; it may be older for a moment.
    #[must_use]
    pub(crate) fn durable(&self) -> TimedMark {
        self.durable.lock().mark
    }

    /// The timeline of the newest durable record.
    #[must_use]
    pub(crate) fn timeline(&self) -> TimelineId {
        self.durable.lock().timeline
    }

    /// What was committed last, for a reader that follows.
    #[must_use]
    pub(crate) fn recent(&self) -> Arc<RecentBatches> {
        Arc::clone(&self.recent)
    }

    /// The newest durable record as a receipt.
    #[must_use]
    pub(crate) fn receipt(&self) -> Receipt {
        let DurableEnd { timeline, mark } = *self.durable.lock();
        Receipt { timeline, lsn: mark.lsn, chain: mark.chain }
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

    pub(super) fn update(&self, wal_bytes: u64, commits: u64, syncs: u64) {
        self.wal_bytes.store(wal_bytes, Ordering::Relaxed);
        self.commits.store(commits, Ordering::Relaxed);
        self.syncs.store(syncs, Ordering::Relaxed);
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
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Option<TimedMark>>>>,
}

impl Committer {
    /// Starts the thread. Where the log's timeline has no record yet, `first` is made durable before.
    ///
    /// # Errors
    /// [`StartError`]; a timeline has not begun then, or its first record is durable and nobody has seen it.
    pub(crate) fn start(
        parts: CoreParts,
        first: Option<&TimelineRecord>,
        env: Arc<Env>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let gate = Arc::clone(&parts.gate);
        let (mut core, mut tail) = parts.split();
        if let Some(first) = first {
            let now = Now { wall_ms: clock.wall_ms(), elapsed: clock.elapsed() };
            core.begin_timeline(&mut tail, first, now).map_err(|CommitFailure(error)| StartError::Begin(error))?;
        }
        Ok(Self::start_parts((core, tail), gate, env, clock)?)
    }

    pub(super) fn start_parts(
        (core, tail): (Core, Tail),
        gate: Arc<WriteGate>,
        env: Arc<Env>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Self> {
        // Bounded by who asks: a connection has one job under way, everybody else one question. This kind of channel lets go
        // of what waits when the thread ends, so that whoever asked learns that there will be no answer.
        let (sender, receiver) = unbounded();
        let published = Arc::new(Published {
            durable: tail.durable(),
            recent: tail.recent(),
            wal_bytes: AtomicU64::new(tail.wal_bytes()),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            expired_keys: AtomicU64::new(0),
        });
        let shared = Arc::new(Shared::new(core, tail, gate, clock, published));
        let worker = Worker { receiver, shared: Arc::clone(&shared), env };
        let guard = Ended(Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("reddb-commit".to_owned()).spawn(move || {
            let guard = guard;
            let end = worker.run();
            drop(guard);
            end
        })?;
        Ok(Self { sender, shared, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn published(&self) -> &Arc<Published> {
        &self.shared.published
    }

    /// The job is executed here where that is quick and nobody else executes; its answer comes when it is durable.
    pub(crate) fn submit(&self, job: Job) -> oneshot::Receiver<JobOutcome> {
        let (sender, answer) = oneshot::channel();
        if self.hand_over((job, ReplyTo { sender, mailbox: None }), Part::Waits) {
            self.wake();
        }
        answer
    }

    /// As [`Committer::submit`], for a submitter in the thread that serves `mailbox`.
    pub(crate) fn submit_from(&self, mailbox: &Arc<Mailbox>, job: Job) -> oneshot::Receiver<JobOutcome> {
        let (sender, answer) = oneshot::channel();
        let reply = ReplyTo { sender, mailbox: Some(Arc::clone(mailbox)) };
        if self.hand_over((job, reply), Part::Waits) {
            mailbox.call_later();
        }
        answer
    }

    /// As [`Committer::submit`], but where nothing else is under way this may also commit the job, and blocks until it is
    /// durable: for a submitter whose thread nobody else depends on.
    pub(crate) fn submit_or_lead(&self, job: Job) -> oneshot::Receiver<JobOutcome> {
        let (sender, answer) = oneshot::channel();
        if self.hand_over((job, ReplyTo { sender, mailbox: None }), Part::MayLead) {
            self.wake();
        }
        answer
    }

    /// Says whether the thread has to be woken for the open batch.
    fn hand_over(&self, submitted: Submitted, part: Part) -> bool {
        self.shared.try_execute(submitted, part).unwrap_or_else(|submitted| {
            drop(self.sender.send(Message::Run(submitted)));
            false
        })
    }

    /// Somebody executed into the open batch while the thread slept.
    pub(super) fn wake(&self) {
        drop(self.sender.send(Message::Wake));
    }

    /// Records executed since the start, durable or not.
    #[cfg(test)]
    pub(super) fn executed_records(&self) -> u64 {
        self.shared.lock().core.commits()
    }

    /// Whether the thread does nothing but wait for a submitter that leads.
    #[cfg(test)]
    pub(super) fn waits_for_leader(&self) -> bool {
        let pipeline = self.shared.lock();
        !pipeline.asleep && pipeline.tail.is_none()
    }

    /// Jobs that their submitters committed since the start.
    #[cfg(test)]
    pub(crate) fn led(&self) -> u64 {
        self.shared.lock().led
    }

    pub(crate) fn fence(&self) -> oneshot::Receiver<Fence> {
        self.ask(Message::Fence)
    }

    /// What is logged from now on is of `epoch`, and gets times after `complete_until_ms` (Unix milliseconds): so the archive was
    /// promised.
    pub(crate) fn start_epoch(
        &self,
        epoch: Epoch,
        complete_until_ms: u64,
    ) -> oneshot::Receiver<Result<(), CommandError>> {
        self.ask(|reply| Message::StartEpoch(epoch, complete_until_ms, reply))
    }

    /// Begins a timeline that forks off where the log ends. No write may be admitted meanwhile.
    pub(crate) fn begin_timeline(&self, new: NewTimeline) -> oneshot::Receiver<Result<(), CommandError>> {
        self.ask(|reply| Message::BeginTimeline(Box::new(new), reply))
    }

    pub(crate) fn confirm_clock(&self) -> oneshot::Receiver<()> {
        self.ask(Message::ConfirmClock)
    }

    pub(crate) fn prune(&self, up_to: Lsn) {
        // Where the thread has stopped there is nothing left to prune.
        drop(self.sender.send(Message::Prune(up_to)));
    }

    /// Commits what was submitted before, and ends the thread. Gives the end of the log; `None` where the thread had
    /// panicked or was stopped before, or a submitter panicked that committed.
    pub(crate) fn stop(&self) -> Option<TimedMark> {
        drop(self.sender.send(Message::Stop));
        let thread = self.thread.lock().take()?;
        thread.join().ok()?
    }

    /// The receiver gives an error where the thread has stopped.
    fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> oneshot::Receiver<T> {
        let (reply, answer) = oneshot::channel();
        drop(self.sender.send(message(reply)));
        answer
    }
}

/// The thread's end: whoever waits is let go.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct Worker {
    receiver: Receiver<Message>,
    shared: Arc<Shared>,
    env: Arc<Env>,
}

impl Worker {
    /// Gives the end of the log; `None` where it was lost to a submitter's panic.
    fn run(mut self) -> Option<TimedMark> {
        let shared = Arc::clone(&self.shared);
        let mut pipeline = shared.lock();
        let mut tail = shared.take_tail(&mut pipeline)?;
        let mut upkeep_at = shared.clock.elapsed() + UPKEEP_INTERVAL;
        while !pipeline.stopped {
            self.take_waiting(&mut pipeline, &mut tail);
            if pipeline.has_work() {
                shared.commit(&mut pipeline, &mut tail);
            }
            if shared.clock.elapsed() >= upkeep_at && !pipeline.stopped {
                let more = self.upkeep(&mut pipeline, &mut tail);
                let pause = if more && self.receiver.is_empty() { Duration::ZERO } else { UPKEEP_INTERVAL };
                upkeep_at = shared.clock.elapsed() + pause;
            }
            if pipeline.stopped || pipeline.has_work() {
                continue;
            }
            let pause = upkeep_at.saturating_sub(shared.clock.elapsed());
            let received;
            (received, tail) = shared.sleep(&mut pipeline, tail, || self.receiver.recv_timeout(pause))?;
            match received {
                Ok(message) => self.take(message, &mut pipeline, &mut tail),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => pipeline.stopped = true,
            }
        }
        // What was executed before the end.
        if pipeline.has_work() {
            shared.commit(&mut pipeline, &mut tail);
        }
        Some(tail.last())
    }

    /// Takes what waits in the channel, as much as shares one sync.
    fn take_waiting(&mut self, pipeline: &mut Pipeline, tail: &mut Tail) {
        for _ in 0..BATCH_MESSAGES_MAX {
            if pipeline.stopped || pipeline.core.is_full() {
                return;
            }
            let Ok(message) = self.receiver.try_recv() else { return };
            self.take(message, pipeline, tail);
        }
    }

    fn take(&mut self, message: Message, pipeline: &mut Pipeline, tail: &mut Tail) {
        match message {
            Message::Run(submitted) => {
                if let Err(submitted) = pipeline.execute(submitted, self.shared.now()) {
                    // It fits into an empty batch, or is answered with an error. Who waits for the full one is told how it ends.
                    let _told = self.shared.commit_locked(pipeline, tail);
                    if let Err((job, reply)) = pipeline.execute(submitted, self.shared.now()) {
                        let error = CommandError::fixed("ERR the record does not fit into a batch of the log");
                        let replies = vec![Reply::Error(error); job.steps.len()];
                        reply.send(JobOutcome { replies, receipt: None, rest: Vec::new() }, &mut Round::default());
                    }
                }
            }
            Message::Wake => {}
            Message::Fence(reply) => pipeline.waiting.push(Waiting::Fence(reply)),
            Message::Prune(up_to) => {
                tail.prune(up_to);
                self.shared.publish(pipeline, tail);
            }
            Message::StartEpoch(epoch, complete_until_ms, reply) => {
                // The batch so far belongs to the epoch before.
                let committed = self.shared.commit_locked(pipeline, tail);
                let started = committed.and_then(|()| {
                    pipeline.core.keep_after(complete_until_ms);
                    tail.start_epoch(epoch).map_err(|error| CommitFailure(CommandError::new(error.to_string())))
                });
                drop(reply.send(started.map_err(|CommitFailure(error)| error)));
            }
            Message::BeginTimeline(new, reply) => {
                let NewTimeline { wal, first, complete_until_ms } = *new;
                let committed = self.shared.commit_locked(pipeline, tail);
                let begun = committed.and_then(|()| tail.go_on_in(wal)).and_then(|()| {
                    pipeline.core.keep_after(complete_until_ms);
                    pipeline.core.begin_timeline(tail, &first, self.shared.now())
                });
                self.shared.publish(pipeline, tail);
                drop(reply.send(begun.map_err(|CommitFailure(error)| error)));
            }
            Message::ConfirmClock(reply) => {
                pipeline.core.confirm_clock(self.shared.now());
                let _gone = reply.send(());
            }
            Message::Stop => pipeline.stopped = true,
        }
    }

    /// A little of everything; says whether there is more.
    fn upkeep(&mut self, pipeline: &mut Pipeline, tail: &mut Tail) -> bool {
        let now = self.shared.now();
        pipeline.core.recheck_clock(now);
        if self.shared.gate.holds(Condition::Poisoned) {
            return false;
        }
        let expiry_now_ms = self.env.expiry_from_wall_ms(now.wall_ms);
        if pipeline.core.is_idle(expiry_now_ms) {
            return false;
        }
        // Upkeep reads what the engine holds.
        if self.shared.commit_locked(pipeline, tail).is_err() {
            return false;
        }
        let core = &mut pipeline.core;
        let expired = done("expiry", expire_step(core, tail, now, expiry_now_ms));
        let reclaimed = done("reclaiming", reclaim_step(core));
        self.shared.published.expired_keys.fetch_add(expired.expired, Ordering::Relaxed);
        self.shared.publish(pipeline, tail);
        expired.more || reclaimed.more
    }
}

fn done(what: &'static str, step: Result<UpkeepDone, UpkeepError>) -> UpkeepDone {
    match step {
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
