//! What submitters and the committer's thread share: the core with its open batch, and who waits for that batch.
//!
//! Whoever holds the lock executes. The committer's thread holds it except while it makes a batch durable; meanwhile
//! submitters execute short jobs into the next batch themselves, which is then ready when the sync ends. A submitter never
//! waits for the lock: it leaves its job to the committer's thread instead.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;

use super::committer::Fence;
use super::core::{BatchFull, Core, Now};
use super::gate::{Condition, WriteGate};
use super::job::{Invocation, Job, JobOutcome, Step, TxnStep};
use super::tail::CommitFailure;
use crate::clock::Clock;
use crate::reply::{CommandError, Reply};

/// A job whose answers hold more than so many bytes is cut there: the answers go out before the rest is carried out.
const JOB_REPLY_BYTES_TARGET: usize = 16 * 1024 * 1024;

/// What makes a job short: so many commands, arguments of each, and bytes of arguments in all.
const SHORT_JOB_COMMANDS_MAX: usize = 64;
const SHORT_COMMAND_ARGS_MAX: usize = 64;
const SHORT_JOB_BYTES_MAX: usize = 64 * 1024;

/// A job whose answer goes to its sender.
pub(super) type Submitted = (Job, oneshot::Sender<JobOutcome>);

/// An answer that waits for the open batch.
pub(super) enum Waiting {
    Job(oneshot::Sender<JobOutcome>, JobOutcome),
    Fence(oneshot::Sender<Fence>),
}

/// What is behind the lock.
pub(super) struct Pipeline {
    pub(super) core: Core,
    /// Who waits for the open batch.
    pub(super) waiting: Vec<Waiting>,
    /// Whether the committer's thread waits for a message.
    pub(super) asleep: bool,
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
            for waiting in self.waiting.drain(..) {
                waiting.answer(Some(&failure), None);
            }
        }
    }
}

impl Waiting {
    /// Tells how the batch ended: why it failed, if it did. A receiver that is gone does not matter.
    pub(super) fn answer(self, failure: Option<&CommitFailure>, fence: Option<Fence>) {
        match (self, failure) {
            (Self::Job(reply, outcome), None) => drop(reply.send(outcome)),
            (Self::Job(reply, outcome), Some(CommitFailure(error))) => {
                let replies = vec![Reply::Error(error.clone()); outcome.replies.len()];
                drop(reply.send(JobOutcome { replies, receipt: None, rest: outcome.rest }));
            }
            // Without a fence the sender's end tells.
            (Self::Fence(reply), _) => drop(fence.map(|fence| reply.send(fence))),
        }
    }
}

/// The pipeline with its lock.
pub(super) struct Shared {
    pipeline: Mutex<Pipeline>,
    pub(super) gate: Arc<WriteGate>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Shared {
    pub(super) fn new(core: Core, gate: Arc<WriteGate>, clock: Arc<dyn Clock>) -> Self {
        let pipeline = Pipeline { core, waiting: Vec::new(), asleep: false, stopped: false, executing: false };
        Self { pipeline: Mutex::new(pipeline), gate, clock }
    }

    pub(super) fn now(&self) -> Now {
        Now { wall_ms: self.clock.wall_ms(), elapsed: self.clock.elapsed() }
    }

    /// For the committer's thread.
    pub(super) fn lock(&self) -> MutexGuard<'_, Pipeline> {
        let mut pipeline = self.pipeline.lock();
        pipeline.recover(&self.gate);
        pipeline
    }

    /// The lock was given up for a while.
    pub(super) fn locked_again(&self, pipeline: &mut Pipeline) {
        pipeline.recover(&self.gate);
    }

    /// Executes a short job if the lock is free. Says whether the committer's thread has to be woken; gives back what it must
    /// do itself.
    pub(super) fn try_execute(&self, submitted: Submitted) -> Result<bool, Submitted> {
        if !is_short(&submitted.0) {
            return Err(submitted);
        }
        let Some(mut pipeline) = self.pipeline.try_lock() else { return Err(submitted) };
        if pipeline.stopped || pipeline.executing || pipeline.core.is_full() {
            return Err(submitted);
        }
        pipeline.execute(submitted, self.now())?;
        Ok(std::mem::take(&mut pipeline.asleep))
    }

    /// The committer's thread is gone, and so are the answers.
    pub(super) fn close(&self) {
        let mut pipeline = self.pipeline.lock();
        pipeline.stopped = true;
        pipeline.waiting.clear();
    }
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
