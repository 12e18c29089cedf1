//! What submitters and the committer's thread share: the core with its open batch, who waits for that batch, and the end of
//! the log while nobody commits.
//!
//! Whoever holds the lock executes; whoever holds the [`Tail`] commits, and there is only one. The committer's thread has both
//! while it is awake, and gives up the lock while it makes a batch durable; meanwhile submitters execute short jobs into the
//! next batch themselves, which is then ready when the sync ends. A submitter does not wait for the lock to execute: it leaves its
//! job to the committer's thread instead.
//!
//! While that thread sleeps and nothing is under way, a submitter whose thread nobody else depends on may take the tail and
//! commit its job itself: it leads. What others submit meanwhile is executed on top as always, and left to the committer's thread.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::committer::{Fence, Published};
use super::core::{BatchFull, Core, Now};
use super::gate::{Condition, WriteGate};
use super::job::{Invocation, Job, JobOutcome, Step, TxnStep};
use super::mailbox::{ReplyTo, Round};
use super::tail::{CommitFailure, Tail};
use crate::clock::Clock;
use crate::reply::{CommandError, Reply};

/// A job whose answers hold more than so many bytes is cut there: the answers go out before the rest is carried out.
const JOB_REPLY_BYTES_TARGET: usize = 16 * 1024 * 1024;

/// What makes a job short: so many commands, arguments of each, and bytes of arguments in all.
const SHORT_JOB_COMMANDS_MAX: usize = 64;
const SHORT_COMMAND_ARGS_MAX: usize = 64;
const SHORT_JOB_BYTES_MAX: usize = 64 * 1024;

/// What a submitter does beside executing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// It waits.
    Waits,
    /// It may also commit, and be held up by the disk.
    MayLead,
}

/// A job whose answer goes to its sender.
pub(super) type Submitted = (Job, ReplyTo);

/// An answer that waits for the open batch.
pub(super) enum Waiting {
    Job(ReplyTo, JobOutcome),
    Fence(oneshot::Sender<Fence>),
}

/// What is behind the lock.
pub(super) struct Pipeline {
    pub(super) core: Core,
    /// The end of the log; `None` while somebody commits, and for ever where that somebody panicked.
    pub(super) tail: Option<Tail>,
    /// Who waits for the open batch.
    pub(super) waiting: Vec<Waiting>,
    /// Empty: the room in which those were who were answered last.
    answered: Vec<Waiting>,
    /// Whether the committer's thread waits for a message.
    pub(super) asleep: bool,
    /// Jobs that their submitters committed.
    pub(super) led: u64,
    /// Whether the committer's thread takes nothing more.
    pub(super) stopped: bool,
    /// Set while somebody executes. Who gets the lock and finds it set knows that this somebody panicked.
    executing: bool,
}

impl Pipeline {
    /// Whether somebody waits, or something is to be made durable.
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.core.is_empty()
    }

    /// Whoever waits for the open batch; nobody does after that.
    fn take_waiting(&mut self) -> Vec<Waiting> {
        std::mem::replace(&mut self.waiting, std::mem::take(&mut self.answered))
    }

    /// Executes a job into the open batch, up to where its answers are large or the batch is full; the rest goes back with the
    /// answers. Gives the job back where not even its first step fits.
    pub(super) fn execute(&mut self, (mut job, reply): Submitted, now: Now) -> Result<(), Submitted> {
        self.executing = true;
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
                Err(BatchFull) => break,
            }
        }
        self.executing = false;
        if outcome.replies.is_empty() && !job.steps.is_empty() {
            return Err((job, reply));
        }
        outcome.rest = job.steps.split_off(outcome.replies.len());
        self.waiting.push(Waiting::Job(reply, outcome));
        Ok(())
    }

    /// Voids the open batch if somebody panicked in the middle of it: its records and its entries may not be of one mind.
    fn recover(&mut self, gate: &WriteGate) {
        if std::mem::take(&mut self.executing) {
            gate.set(Condition::Poisoned, || "a command stopped on an internal error; restart".to_owned());
            self.core.void();
            let error = CommandError::fixed(
                "MISCONF the write was not taken: a command of its batch stopped on an internal error",
            );
            let failure = CommitFailure(error);
            answer(std::mem::take(&mut self.waiting), &Err(failure), None);
        }
    }
}

impl Waiting {
    /// Tells how the batch ended: why it failed, if it did. A receiver that is gone does not matter.
    fn answer(self, failure: Option<&CommitFailure>, fence: Option<Fence>, round: &mut Round) {
        match (self, failure) {
            (Self::Job(reply, outcome), None) => reply.send(outcome, round),
            (Self::Job(reply, outcome), Some(CommitFailure(error))) => {
                let replies = vec![Reply::Error(error.clone()); outcome.replies.len()];
                reply.send(JobOutcome { replies, receipt: None, rest: outcome.rest }, round);
            }
            // Without a fence the sender's end tells.
            (Self::Fence(reply), _) => drop(fence.map(|fence| reply.send(fence))),
        }
    }
}

/// The pipeline with its lock.
pub(super) struct Shared {
    pipeline: Mutex<Pipeline>,
    /// The committer's thread waits here for the tail.
    tail_back: Condvar,
    pub(super) gate: Arc<WriteGate>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) published: Arc<Published>,
}

impl Shared {
    pub(super) fn new(
        core: Core,
        tail: Tail,
        gate: Arc<WriteGate>,
        clock: Arc<dyn Clock>,
        published: Arc<Published>,
    ) -> Self {
        let pipeline = Pipeline {
            core,
            tail: Some(tail),
            waiting: Vec::new(),
            answered: Vec::new(),
            asleep: false,
            led: 0,
            stopped: false,
            executing: false,
        };
        Self { pipeline: Mutex::new(pipeline), tail_back: Condvar::new(), gate, clock, published }
    }

    pub(super) fn now(&self) -> Now {
        Now { wall_ms: self.clock.wall_ms(), elapsed: self.clock.elapsed() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Pipeline> {
        self.pipeline.lock()
    }

    /// The committer's thread, which has the tail, sleeps until `receive` gives something, and takes the tail again once no
    /// submitter leads. `None` where a leader panicked.
    pub(super) fn sleep<T>(
        &self,
        pipeline: &mut MutexGuard<'_, Pipeline>,
        tail: Tail,
        receive: impl FnOnce() -> T,
    ) -> Option<(T, Tail)> {
        pipeline.core.release_state();
        pipeline.tail = Some(tail);
        pipeline.asleep = true;
        let received = MutexGuard::unlocked(pipeline, receive);
        // From now on nobody leads.
        pipeline.asleep = false;
        Some((received, self.take_tail(pipeline)?))
    }

    /// For the committer's thread: the tail, once no submitter leads. `None` where a leader panicked.
    pub(super) fn take_tail(&self, pipeline: &mut MutexGuard<'_, Pipeline>) -> Option<Tail> {
        while pipeline.tail.is_none() && !pipeline.stopped {
            self.tail_back.wait(pipeline);
        }
        let tail = pipeline.tail.take()?;
        pipeline.recover(&self.gate);
        Some(tail)
    }

    /// Executes a short job if the lock is free. Where nothing else is under way, also commits and answers it if it may lead. Says
    /// whether the committer's thread has to be woken; gives back what it must do itself.
    pub(super) fn try_execute(&self, submitted: Submitted, part: Part) -> Result<bool, Submitted> {
        if !is_short(&submitted.0) {
            return Err(submitted);
        }
        let Some(mut pipeline) = self.pipeline.try_lock() else { return Err(submitted) };
        if pipeline.stopped || pipeline.executing || pipeline.core.is_full() {
            return Err(submitted);
        }
        let idle = pipeline.asleep && !pipeline.has_work();
        pipeline.execute(submitted, self.now())?;
        if idle
            && part == Part::MayLead
            && let Some(tail) = pipeline.tail.take()
        {
            return Ok(self.lead(pipeline, tail));
        }
        // Where a submitter leads, it wakes that thread when it has done.
        Ok(pipeline.tail.is_some() && std::mem::take(&mut pipeline.asleep))
    }

    /// Commits the open batch in a submitter's thread. Says whether the committer's thread has to be woken for the next one.
    fn lead(&self, pipeline: MutexGuard<'_, Pipeline>, mut tail: Tail) -> bool {
        let _guard = Leading(self);
        // After the guard, so that the lock is free when the guard looks.
        let mut pipeline = pipeline;
        pipeline.led += 1;
        self.commit(&mut pipeline, &mut tail);
        pipeline.core.release_state();
        pipeline.tail = Some(tail);
        self.tail_back.notify_one();
        pipeline.has_work() && std::mem::take(&mut pipeline.asleep)
    }

    /// Makes the open batch durable and answers whoever waits for it. Submitters execute into the next one meanwhile.
    pub(super) fn commit(&self, pipeline: &mut MutexGuard<'_, Pipeline>, tail: &mut Tail) {
        let waiting = pipeline.take_waiting();
        let promise = self.promise(&waiting, pipeline);
        let (committed, changed) = if pipeline.core.is_empty() {
            (Ok(()), None)
        } else {
            let mut sealed = pipeline.core.seal();
            let committed = MutexGuard::unlocked(pipeline, || tail.commit(&mut sealed));
            let changed = pipeline.core.settle(sealed, tail.last(), committed.is_err());
            (committed, Some(changed))
        };
        // What was executed on top of a batch that failed is void with it.
        let voided = if committed.is_err() { std::mem::take(&mut pipeline.waiting) } else { Vec::new() };
        pipeline.recover(&self.gate);
        self.publish(pipeline, tail);
        let promised = self.promise(&voided, pipeline);
        let (fence, voided_fence) = (self.fence(promise, pipeline), self.fence(promised, pipeline));
        let answered = MutexGuard::unlocked(pipeline, || {
            let answered = answer(waiting, &committed, fence);
            answer(voided, &committed, voided_fence);
            drop(changed);
            answered
        });
        pipeline.recover(&self.gate);
        pipeline.answered = answered;
    }

    /// As [`Shared::commit`], without giving up the lock.
    pub(super) fn commit_locked(&self, pipeline: &mut Pipeline, tail: &mut Tail) -> Result<(), CommitFailure> {
        let waiting = pipeline.take_waiting();
        let promise = self.promise(&waiting, pipeline);
        let committed = pipeline.core.commit(tail);
        self.publish(pipeline, tail);
        let fence = self.fence(promise, pipeline);
        pipeline.answered = answer(waiting, &committed, fence);
        committed
    }

    /// What whoever waits for a fence is promised: every record in the open batch or before it has this time at most, every
    /// record after it a later one.
    fn promise(&self, waiting: &[Waiting], pipeline: &mut Pipeline) -> Option<u64> {
        let asked = waiting.iter().any(|waiting| matches!(waiting, Waiting::Fence(_)));
        asked.then(|| pipeline.core.fence_time_ms(self.now()))
    }

    /// A promise becomes a fence once the batch that it speaks of is settled. What recovery finds after a poisoned log's last
    /// durable record is not known: no time is promised but what lies before that record.
    fn fence(&self, promise: Option<u64>, pipeline: &Pipeline) -> Option<Fence> {
        let durable = pipeline.core.durable();
        let known_ms = if self.gate.holds(Condition::Poisoned) { durable.time_ms.saturating_sub(1) } else { u64::MAX };
        promise.map(|promised_ms| Fence { durable, complete_until_ms: promised_ms.min(known_ms) })
    }

    /// Lets others see how much there is.
    pub(super) fn publish(&self, pipeline: &Pipeline, tail: &Tail) {
        self.published.update(tail.wal_bytes(), pipeline.core.commits(), tail.syncs());
    }

    /// Nobody commits any more: the answers are gone. A panic is a poisoned process, not a silent absence.
    pub(super) fn end(&self) {
        if std::thread::panicking() {
            self.gate.set(Condition::Poisoned, || "the committer stopped on an internal error; restart".to_owned());
        }
        let mut pipeline = self.pipeline.lock();
        pipeline.stopped = true;
        pipeline.waiting.clear();
        self.tail_back.notify_one();
    }
}

/// A submitter that commits. If it panics, the end of the log is lost with it.
struct Leading<'a>(&'a Shared);

impl Drop for Leading<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end();
        }
    }
}

/// Gives back the room in which they were.
fn answer(mut waiting: Vec<Waiting>, committed: &Result<(), CommitFailure>, fence: Option<Fence>) -> Vec<Waiting> {
    let mut round = Round::default();
    for waiting in waiting.drain(..) {
        waiting.answer(committed.as_ref().err(), fence, &mut round);
    }
    waiting
}

/// Whether a job is carried out in a few microseconds when what it reads is in memory.
fn is_short(job: &Job) -> bool {
    let mut commands = 0;
    let mut bytes = 0;
    let mut is_short = |invocation: &Invocation| {
        commands += 1;
        bytes += invocation.args.iter().map(bytes::Bytes::len).sum::<usize>();
        !invocation.spec.heavy
            && invocation.args.len() <= SHORT_COMMAND_ARGS_MAX
            && commands <= SHORT_JOB_COMMANDS_MAX
            && bytes <= SHORT_JOB_BYTES_MAX
    };
    job.steps.iter().all(|step| match step {
        Step::Run(invocation) => is_short(invocation),
        Step::Transaction { steps, .. } => steps.iter().all(|step| match step {
            TxnStep::Run(invocation) => is_short(invocation),
            TxnStep::Ready(_) => true,
        }),
        Step::Watch { keys, .. } => keys.len() <= SHORT_COMMAND_ARGS_MAX,
    })
}
