//! The committer's core: executes steps against the newest state and collects their records in a batch. No thread, channel or
//! clock of its own.
//!
//! A batch's life: it is open while steps are executed into it; [`Core::seal`] closes it and opens the next one, which goes on
//! from there; [`Tail::commit`] makes the sealed one durable, then visible; [`Core::settle`] tells the core what came of it.
//! One batch at a time is sealed and not settled.
//!
//! Invariants:
//! * Nothing reaches the engine, and so no reader, before the batch that holds it is durable.
//! * No reply of a batch is given out before [`Core::settle`] for it.
//! * A batch that failed voids the open one too, which goes on from it, and leaves no trace in the overlay; after a failure that
//!   poisons, nothing is admitted any more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reddb_file::wal::{BatchBuilder, BatchError, WalWriter};
use reddb_file::{RecordKind, TimedMark, TimelineId, TimelineRecord};

use super::gate::{Condition, WriteGate};
use super::job::{Invocation, Receipt, Step, TxnStep, Watcher};
use super::log_clock::LogClock;
use super::tail::{CommitFailure, Sealed, Tail};
use super::watch::Watches;
use crate::command::Run;
use crate::command::budget::AnswerBudget;
use crate::engine::{Engine, EngineWrite};
use crate::keyspace::layout::{EXPIRY_PREFIX, GARBAGE_PREFIX, decode_expiry_entry};
use crate::keyspace::{Env, FinishedTxn, Overlay, SnapshotState, StateError, Txn, TxnMode};
use crate::replay::timeline_state_entry;
use crate::reply::{CommandError, CommandResult, Reply};

/// A batch with this many bytes of records is committed before more is executed.
const BATCH_RECORDS_BYTES_TARGET: u32 = 1024 * 1024;

/// Both clocks, read together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// The wall clock, in Unix milliseconds.
    pub(super) wall_ms: u64,
    /// The monotonic clock.
    pub(super) elapsed: Duration,
}

/// What the core is made of.
pub(crate) struct CoreParts {
    pub(crate) wal: WalWriter,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) env: Arc<Env>,
    pub(crate) gate: Arc<WriteGate>,
    /// The timeline of the log's last record.
    pub(crate) timeline: TimelineId,
    pub(crate) clock_jump_ms_max: u64,
    /// No record gets a time at or below this (Unix milliseconds): what the archive was promised before this start.
    pub(crate) complete_until_ms: u64,
    pub(crate) wal_local_bytes_max: u64,
}

impl CoreParts {
    /// The two halves: what executes, and what makes it durable.
    pub(super) fn split(self) -> (Core, Tail) {
        let last = self.wal.last();
        let mut log_clock = LogClock::new(last.time_ms, self.clock_jump_ms_max);
        log_clock.keep_after(self.complete_until_ms);
        let core = Core {
            batch: BatchBuilder::new(last),
            spare: None,
            durable: last,
            log_clock,
            engine: Arc::clone(&self.engine),
            env: self.env,
            gate: Arc::clone(&self.gate),
            timeline: self.timeline,
            overlay: Overlay::new(),
            state: None,
            watches: Watches::default(),
            // Not known before somebody has looked.
            expiry_due_ms: 0,
            garbage: true,
            commits: 0,
        };
        (core, Tail::new(self.wal, self.timeline, self.engine, self.gate, self.wal_local_bytes_max))
    }
}

/// See the module.
pub(super) struct Core {
    engine: Arc<dyn Engine>,
    env: Arc<Env>,
    gate: Arc<WriteGate>,
    timeline: TimelineId,
    log_clock: LogClock,
    /// The open batch.
    batch: BatchBuilder,
    /// The buffer of a batch that is settled.
    spare: Option<BatchBuilder>,
    durable: TimedMark,
    overlay: Overlay,
    state: Option<SnapshotState>,
    watches: Watches,
    /// No expiry hint is due before this, on the expiry clock.
    expiry_due_ms: u64,
    /// Whether there may be garbage.
    garbage: bool,
    commits: u64,
}

/// The open batch has no room for a step's record: nothing of the step was done. Once the batch is settled there is room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchFull;

impl Core {
    /// The newest record that is durable and visible.
    pub(super) fn durable(&self) -> TimedMark {
        self.durable
    }

    /// Records so far.
    pub(super) fn commits(&self) -> u64 {
        self.commits
    }

    pub(super) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Whether nothing is to be made durable.
    pub(super) fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// Whether enough is gathered for one sync.
    pub(super) fn is_full(&self) -> bool {
        self.batch.records_bytes() >= BATCH_RECORDS_BYTES_TARGET
    }

    /// Executes one step. The reply may be given out once the open batch is durable; a receipt where it made a record.
    ///
    /// # Errors
    /// [`BatchFull`].
    pub(super) fn execute(&mut self, step: &Step, now: Now) -> Result<(Reply, Option<Receipt>), BatchFull> {
        match step {
            Step::Run(invocation) => match invocation.spec.run {
                Run::Write(_) => self.write(now, |txn| run(txn, invocation)),
                Run::Read(_) | Run::Session => Ok((self.read(now, |txn| run(txn, invocation)), None)),
            },
            Step::Transaction { steps, watcher } => self.transaction(steps, watcher.as_deref(), now),
            Step::Watch { watcher, keys } => {
                // A key that cannot be read may exist.
                let mut exist = vec![true; keys.len()];
                let reply = self.read(now, |txn| {
                    for ((db, key), exists) in keys.iter().zip(&mut exist) {
                        let entry = txn.lookup_in(*db, key)?;
                        *exists = entry.is_some();
                        watcher.expires_by(entry.and_then(|entry| entry.expires_at_ms));
                    }
                    Ok(Reply::Ok)
                });
                for ((db, key), exists) in keys.iter().zip(exist) {
                    self.watches.add(watcher, *db, key.clone(), exists);
                }
                Ok((reply, None))
            }
        }
    }

    /// Runs `work` as one transaction, which becomes one record if it changes anything.
    ///
    /// # Errors
    /// As [`Core::execute`].
    pub(super) fn write(
        &mut self,
        now: Now,
        work: impl FnOnce(&mut Txn<'_>) -> CommandResult,
    ) -> Result<(Reply, Option<Receipt>), BatchFull> {
        let refused = |error: CommandError| Ok((Reply::Error(error), None));
        if let Err(error) = self.gate.admit() {
            return refused(error);
        }
        let time_ms = match self.record_time_ms(now) {
            Ok(time_ms) => time_ms,
            Err(error) => return refused(error),
        };
        let Some(lsn) = self.batch.last().lsn.next() else {
            return refused(CommandError::fixed("MISCONF the log has used every LSN"));
        };
        // Not the record's time: that one stands still while a wall clock that was set back catches up.
        let expiry_ms = self.env.expiry_from_wall_ms(now.wall_ms);
        let state = self.state.get_or_insert_with(|| SnapshotState::newest(&self.engine));
        let mut txn = Txn::new(state, &mut self.overlay, &self.env, TxnMode::Write(lsn), expiry_ms);
        if self.watches.is_empty() {
            txn = txn.unwatched();
        }
        let reply = match work(&mut txn) {
            Ok(reply) => reply,
            Err(error) => {
                txn.abandon();
                return refused(error);
            }
        };
        match txn.finish() {
            Ok(None) => Ok((reply, None)),
            Ok(Some(finished)) => match self.log(time_ms, finished)? {
                Ok(receipt) => Ok((reply, Some(receipt))),
                Err(error) => refused(error),
            },
            Err(error) => refused(error.into()),
        }
    }

    /// The time of a record that is made now, in Unix milliseconds.
    fn record_time_ms(&mut self, now: Now) -> Result<u64, CommandError> {
        self.log_clock.tick(now.wall_ms, now.elapsed).map_err(|jump| {
            self.gate.set(Condition::ClockJump, || jump.to_string());
            CommandError::new(format!("MISCONF writes are refused (clock_jump): {jump}"))
        })
    }

    /// Begins a timeline in `tail`, whose log ends where it forks off: `first` is made durable, then visible. Nothing may be open
    /// or sealed. Asks no gate: what keeps writes out until a timeline has begun need not be opened for it.
    ///
    /// # Errors
    /// Nothing has begun then, and it may be tried again unless the log is poisoned.
    pub(super) fn begin_timeline(
        &mut self,
        tail: &mut Tail,
        first: &TimelineRecord,
        now: Now,
    ) -> Result<(), CommitFailure> {
        let cannot = |reason: &dyn std::fmt::Display| {
            CommitFailure(CommandError::new(format!("ERR timeline {} cannot be begun: {reason}", first.id)))
        };
        if first.clock_offset_ms != self.env.clock_offset_ms() {
            return Err(cannot(&"its clock offset is not the one that keys expire by here"));
        }
        let payload = first.encode().map_err(|error| cannot(&error))?;
        let time_ms = self.record_time_ms(now).map_err(CommitFailure)?;
        self.batch.push(time_ms, RecordKind::Timeline, &payload).map_err(|error| cannot(&error))?;
        let mut sealed = self.seal();
        let (key, value) = timeline_state_entry(first);
        Arc::make_mut(&mut sealed.writes).push(EngineWrite::Put { key, value });
        let committed = tail.commit(&mut sealed);
        self.settle(sealed, tail.last(), committed.is_err());
        committed?;
        self.timeline = first.id;
        Ok(())
    }

    /// No record gets a time at or below this any more, in Unix milliseconds: the archive was promised so.
    pub(super) fn keep_after(&mut self, complete_until_ms: u64) {
        self.log_clock.keep_after(complete_until_ms);
    }

    /// Runs `work` against the newest state, without changing anything.
    fn read(&mut self, now: Now, work: impl FnOnce(&mut Txn<'_>) -> CommandResult) -> Reply {
        let expiry_ms = self.env.expiry_from_wall_ms(now.wall_ms);
        let state = self.state.get_or_insert_with(|| SnapshotState::newest(&self.engine));
        let mut txn = Txn::new(state, &mut self.overlay, &self.env, TxnMode::Read, expiry_ms);
        work(&mut txn).unwrap_or_else(Reply::Error)
    }

    fn transaction(
        &mut self,
        steps: &[TxnStep],
        watcher: Option<&Watcher>,
        now: Now,
    ) -> Result<(Reply, Option<Receipt>), BatchFull> {
        let expiry_ms = self.env.expiry_from_wall_ms(now.wall_ms);
        if watcher.is_some_and(|watcher| watcher.is_touched() || watcher.has_expired(expiry_ms)) {
            return Ok((Reply::NullArray, None));
        }
        let work = |txn: &mut Txn<'_>| {
            let mut budget = AnswerBudget::whole();
            let replies = steps.iter().map(|step| {
                let reply = match step {
                    TxnStep::Ready(reply) => reply.clone(),
                    TxnStep::Run(invocation) => {
                        let before = txn.savepoint();
                        run(txn, invocation).unwrap_or_else(|error| {
                            txn.rollback(&before);
                            Reply::Error(error)
                        })
                    }
                };
                budget.take(reply.held_bytes()).map(|()| reply)
            });
            replies.collect::<Result<_, _>>().map(Reply::Array)
        };
        let writes = |step: &TxnStep| matches!(step, TxnStep::Run(invocation) if invocation.spec.is_write());
        if steps.iter().any(writes) {
            // One record: where it is refused, so is all of it.
            match self.write(now, work)? {
                (Reply::Error(error), _) => Ok((Reply::Error(exec_abort(&error)), None)),
                done => Ok(done),
            }
        } else {
            Ok((self.read(now, work), None))
        }
    }

    /// Adds a transaction's record to the batch. The inner error is the record's alone; either error undoes the transaction.
    fn log(&mut self, time_ms: u64, finished: FinishedTxn) -> Result<Result<Receipt, CommandError>, BatchFull> {
        let FinishedTxn { payload, changed, touched } = finished;
        match self.batch.push(time_ms, RecordKind::Changes, &payload) {
            Ok(mark) => {
                self.watches.touch(touched);
                self.commits += 1;
                Ok(Ok(Receipt { timeline: self.timeline, lsn: mark.lsn, chain: mark.chain }))
            }
            Err(error) => {
                self.overlay.undo(changed);
                match error {
                    BatchError::Full { .. } => Err(BatchFull),
                    error => Ok(Err(CommandError::new(format!("ERR the transaction cannot be logged: {error}")))),
                }
            }
        }
    }

    /// Closes the open batch and opens the next one. The batch sealed before must be settled.
    pub(super) fn seal(&mut self) -> Sealed {
        // The snapshot would keep what the engine wants to drop.
        self.state = None;
        let writes = self.overlay.seal();
        for write in writes.iter() {
            match write.key().first() {
                Some(&EXPIRY_PREFIX) => self.expiry_due_ms = self.expiry_due_ms.min(expiry_of(write.key())),
                Some(&GARBAGE_PREFIX) => self.garbage = true,
                _ => {}
            }
        }
        let last = self.batch.last();
        let mut next = self.spare.take().unwrap_or_else(|| BatchBuilder::new(last));
        next.reset(last);
        Sealed { batch: std::mem::replace(&mut self.batch, next), writes }
    }

    /// Takes in what came of the sealed batch; `durable` is where the log ends now. Where the batch failed, the open one is void.
    /// Gives what the batch changed, of which nobody needs anything any more: to be dropped where nobody waits.
    pub(super) fn settle(&mut self, sealed: Sealed, durable: TimedMark, failed: bool) -> Arc<Vec<EngineWrite>> {
        self.durable = durable;
        self.spare = Some(sealed.batch);
        self.state = None;
        if failed {
            self.void();
        } else {
            self.overlay.settle();
        }
        sealed.writes
    }

    /// Forgets everything that was executed and is not durable.
    pub(super) fn void(&mut self) {
        self.state = None;
        self.overlay.clear();
        self.batch.reset(self.durable);
    }

    /// Makes everything executed so far durable, then visible.
    ///
    /// # Errors
    /// Everything since the last commit is then void.
    pub(super) fn commit(&mut self, tail: &mut Tail) -> Result<(), CommitFailure> {
        if self.is_empty() {
            return Ok(());
        }
        let mut sealed = self.seal();
        let committed = tail.commit(&mut sealed);
        self.settle(sealed, tail.last(), committed.is_err());
        committed
    }

    /// A time at or below which no record will be that is executed from now on.
    pub(super) fn fence_time_ms(&mut self, now: Now) -> u64 {
        self.log_clock.fence(now.wall_ms, now.elapsed)
    }

    /// Believes the wall clock, wherever it is.
    pub(super) fn confirm_clock(&mut self, now: Now) {
        self.log_clock.confirm(now.wall_ms, now.elapsed);
        self.gate.clear(Condition::ClockJump);
    }

    /// Lets writes go on where the clock has come back.
    pub(super) fn recheck_clock(&mut self, now: Now) {
        if self.gate.holds(Condition::ClockJump) && self.log_clock.tick(now.wall_ms, now.elapsed).is_ok() {
            self.gate.clear(Condition::ClockJump);
        }
    }

    /// Runs `work` on what the engine holds; the batch must be committed.
    pub(super) fn read_state<T>(
        &mut self,
        work: impl FnOnce(&SnapshotState) -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let state = self.state.get_or_insert_with(|| SnapshotState::newest(&self.engine));
        work(state)
    }

    /// Whether an expiry hint may be due at this time of the expiry clock.
    pub(super) fn may_expire(&self, expiry_now_ms: u64) -> bool {
        self.expiry_due_ms <= expiry_now_ms
    }

    /// Whether there may be garbage.
    pub(super) fn may_have_garbage(&self) -> bool {
        self.garbage
    }

    /// Whether upkeep has nothing to do at this time of the expiry clock.
    pub(super) fn is_idle(&self, expiry_now_ms: u64) -> bool {
        !self.may_expire(expiry_now_ms) && !self.may_have_garbage()
    }

    /// Whether writes are refused for want of space.
    pub(super) fn disk_is_full(&self) -> bool {
        self.gate.holds(Condition::DiskFull)
    }

    /// No expiry hint that is applied is due before this, on the expiry clock.
    pub(super) fn expects_expiry_at(&mut self, expiry_due_ms: u64) {
        self.expiry_due_ms = expiry_due_ms;
    }

    /// There is no garbage in what is applied.
    pub(super) fn has_no_garbage(&mut self) {
        self.garbage = false;
    }

    /// Lets go of the state that is being read, so that the engine may drop old versions.
    pub(super) fn release_state(&mut self) {
        self.state = None;
    }
}

fn run(txn: &mut Txn<'_>, invocation: &Invocation) -> CommandResult {
    txn.select(invocation.db)?;
    match invocation.spec.run {
        Run::Read(run) | Run::Write(run) => run(txn, &invocation.args),
        Run::Session => Err(CommandError::new(format!("ERR '{}' is not a data command", invocation.spec.name))),
    }
}

/// When an expiry hint is due; at once where it cannot be read, so that whoever follows it says so.
fn expiry_of(hint: &Bytes) -> u64 {
    decode_expiry_entry(hint).map_or(0, |(due_ms, _, _)| due_ms)
}

fn exec_abort(error: &CommandError) -> CommandError {
    CommandError::quoting("EXECABORT Transaction discarded because of: ", error.line(), "")
}
