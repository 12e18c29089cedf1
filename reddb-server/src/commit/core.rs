//! The committer's core: executes steps against the newest state, collects their records in a batch, makes the batch
//! durable, applies it. No thread, channel or clock of its own.
//!
//! Invariants:
//! * Nothing reaches the engine, and so no reader, before the batch that holds it is durable.
//! * No reply of a batch is given out before [`Core::commit`] has returned `Ok` for it.
//! * A batch that failed leaves no trace in the overlay; after a failure that poisons, nothing is admitted any more.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reddb_file::wal::{BatchBuilder, BatchError, PruneSummary, WalError, WalWriter};
use reddb_file::{Epoch, Lsn, RecordKind, TimedMark, TimelineId};

use super::gate::{Condition, WriteGate};
use super::job::{Invocation, Receipt, Step, TxnStep, Watcher};
use super::log_clock::LogClock;
use super::watch::Watches;
use crate::command::Run;
use crate::command::budget::AnswerBudget;
use crate::engine::{AppliedMark, Engine, EngineWrite};
use crate::keyspace::layout::{EXPIRY_PREFIX, GARBAGE_PREFIX, decode_expiry_entry};
use crate::keyspace::{Env, FinishedTxn, Overlay, SnapshotState, StateError, Txn, TxnMode};
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
    pub(crate) timeline: TimelineId,
    pub(crate) clock_jump_ms_max: u64,
    /// No record gets a time at or below this (Unix milliseconds): what the archive was promised before this start.
    pub(crate) complete_until_ms: u64,
    pub(crate) wal_local_bytes_max: u64,
}

/// See the module.
pub(super) struct Core {
    wal: WalWriter,
    engine: Arc<dyn Engine>,
    env: Arc<Env>,
    gate: Arc<WriteGate>,
    timeline: TimelineId,
    wal_local_bytes_max: u64,
    log_clock: LogClock,
    batch: BatchBuilder,
    overlay: Overlay,
    state: Option<SnapshotState>,
    watches: Watches,
    /// No expiry hint is due before this, on the expiry clock.
    expiry_due_ms: u64,
    /// Whether there may be garbage.
    garbage: bool,
    commits: u64,
    syncs: u64,
}

/// Why a batch did not become durable; told to everyone who waits for it.
#[derive(Clone, Debug)]
pub(super) struct CommitFailure(pub(super) CommandError);

impl Core {
    pub(super) fn new(parts: CoreParts) -> Self {
        let last = parts.wal.last();
        let core = Self {
            batch: BatchBuilder::new(last),
            log_clock: LogClock::new(
                last.time_ms.max(parts.complete_until_ms.saturating_add(1)),
                parts.clock_jump_ms_max,
            ),
            wal: parts.wal,
            engine: parts.engine,
            env: parts.env,
            gate: parts.gate,
            timeline: parts.timeline,
            wal_local_bytes_max: parts.wal_local_bytes_max,
            overlay: Overlay::new(),
            state: None,
            watches: Watches::default(),
            // Not known before somebody has looked.
            expiry_due_ms: 0,
            garbage: true,
            commits: 0,
            syncs: 0,
        };
        // A log that was over its limit before this start still is.
        core.watch_wal_size();
        core
    }

    /// The newest durable record.
    pub(super) fn durable(&self) -> TimedMark {
        self.wal.last()
    }

    /// The bytes of the local log.
    pub(super) fn wal_bytes(&self) -> u64 {
        self.wal.local_bytes()
    }

    /// Records and syncs so far.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.commits, self.syncs)
    }

    pub(super) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// Whether enough is gathered for one sync.
    pub(super) fn is_full(&self) -> bool {
        self.batch.records_bytes() >= BATCH_RECORDS_BYTES_TARGET
    }

    /// Executes one step. The reply may be given out once [`Core::commit`] returns `Ok`; a receipt where it committed.
    ///
    /// # Errors
    /// Where an earlier part of the batch had to be committed first and that failed.
    pub(super) fn execute(&mut self, step: &Step, now: Now) -> Result<(Reply, Option<Receipt>), CommitFailure> {
        match step {
            Step::Run(invocation) => match invocation.spec.run {
                Run::Write(_) => self.write(now, |txn| run(txn, invocation)),
                Run::Read(_) | Run::Session => Ok((self.read(now, |txn| run(txn, invocation)), None)),
            },
            Step::Transaction { steps, watcher } => self.transaction(steps, watcher.as_deref(), now),
            Step::Watch { watcher, keys } => {
                let reply = self.read(now, |txn| {
                    for (db, key) in keys {
                        let entry = txn.lookup_in(*db, key)?;
                        watcher.expires_by(entry.and_then(|entry| entry.expires_at_ms));
                    }
                    Ok(Reply::Ok)
                });
                for (db, key) in keys {
                    self.watches.add(watcher, *db, key.clone());
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
    ) -> Result<(Reply, Option<Receipt>), CommitFailure> {
        let refused = |error: CommandError| Ok((Reply::Error(error), None));
        if let Err(error) = self.gate.admit() {
            return refused(error);
        }
        let time_ms = match self.log_clock.tick(now.wall_ms, now.elapsed) {
            Ok(time_ms) => time_ms,
            Err(jump) => {
                self.gate.set(Condition::ClockJump, || jump.to_string());
                return refused(CommandError::new(format!("MISCONF writes are refused (clock_jump): {jump}")));
            }
        };
        let Some(lsn) = self.batch.last().lsn.next() else {
            return refused(CommandError::fixed("MISCONF the log has used every LSN"));
        };
        let expiry_ms = self.env.expiry_from_wall_ms(time_ms);
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
    ) -> Result<(Reply, Option<Receipt>), CommitFailure> {
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

    /// Adds a transaction's record to the batch. The inner error is the record's alone.
    fn log(&mut self, time_ms: u64, finished: FinishedTxn) -> Result<Result<Receipt, CommandError>, CommitFailure> {
        let FinishedTxn { payload, mut changed, touched } = finished;
        let pushed = match self.batch.push(time_ms, RecordKind::Changes, &payload) {
            Err(BatchError::Full { .. }) => {
                // The record belongs to the next batch, and so do its entries.
                let entries = self.overlay.withdraw(changed);
                self.commit()?;
                let set_again = entries.into_iter().map(|(key, value)| {
                    let before = self.overlay.set(key.clone(), value);
                    (key, before)
                });
                changed = set_again.collect();
                self.batch.push(time_ms, RecordKind::Changes, &payload)
            }
            pushed => pushed,
        };
        let mark = match pushed {
            Ok(mark) => mark,
            Err(error) => {
                self.overlay.undo(changed);
                return Ok(Err(CommandError::new(format!("ERR the transaction cannot be logged: {error}"))));
            }
        };
        self.watches.touch(touched);
        self.commits += 1;
        Ok(Ok(Receipt { timeline: self.timeline, lsn: mark.lsn, chain: mark.chain }))
    }

    /// Makes everything executed so far durable, then visible.
    ///
    /// # Errors
    /// Everything since the last commit is then void.
    pub(super) fn commit(&mut self) -> Result<(), CommitFailure> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let appended = self.wal.append(&mut self.batch);
        let result = match appended {
            Ok(()) => {
                self.syncs += 1;
                self.apply()
            }
            Err(error @ WalError::NoSpace { .. }) => {
                self.gate.set(Condition::DiskFull, || error.to_string());
                Err(CommitFailure(CommandError::new(format!("MISCONF the write was not taken (disk_full): {error}"))))
            }
            Err(error) => {
                self.gate.set(Condition::Poisoned, || error.to_string());
                Err(CommitFailure(CommandError::new(format!(
                    "MISCONF the write's outcome is unknown, it was not acknowledged: {error}"
                ))))
            }
        };
        self.overlay.clear();
        self.state = None;
        self.batch.reset(self.wal.last());
        self.watch_wal_size();
        result
    }

    /// Gives the engine what the batch changed, each entry once: no reader sees a state within a batch.
    fn apply(&mut self) -> Result<(), CommitFailure> {
        // The snapshot would keep what the engine wants to drop.
        self.state = None;
        let mark = applied(self.batch.last());
        let writes: Vec<EngineWrite> = self.overlay.take().into_iter().map(EngineWrite::from).collect();
        for write in &writes {
            match write.key().first() {
                Some(&EXPIRY_PREFIX) => self.expiry_due_ms = self.expiry_due_ms.min(expiry_of(write.key())),
                Some(&GARBAGE_PREFIX) => self.garbage = true,
                _ => {}
            }
        }
        self.engine.apply(mark, &writes).map_err(|error| {
            let reason = format!(
                "record {} is durable in the log but the engine cannot take it: {error}; restart to replay the log",
                mark.lsn
            );
            self.gate.set(Condition::Poisoned, || reason.clone());
            CommitFailure(CommandError::new(format!("MISCONF {reason}")))
        })
    }

    fn watch_wal_size(&self) {
        let (bytes, bytes_max) = (self.wal.local_bytes(), self.wal_local_bytes_max);
        if bytes > bytes_max {
            self.gate.set(Condition::ArchiveLag, || {
                format!(
                    "the local log has {bytes} bytes and its limit (--wal-local-max) is {bytes_max}: it waits for the \
                     archive; writes go on by themselves when the archive has caught up, see `reddb check`"
                )
            });
        } else {
            self.gate.clear(Condition::ArchiveLag);
        }
    }

    /// Another limit for the local log, in bytes.
    #[cfg(test)]
    pub(super) fn limit_wal(&mut self, bytes_max: u64) {
        self.wal_local_bytes_max = bytes_max;
    }

    /// Gives up log segments wholly at or below `up_to`.
    pub(super) fn prune(&mut self, up_to: Lsn) -> PruneSummary {
        let summary = self.wal.prune(up_to);
        self.watch_wal_size();
        summary
    }

    /// The durable mark, and a time at or below which no record after it will be.
    pub(super) fn fence(&mut self, now: Now) -> (TimedMark, u64) {
        (self.wal.last(), self.log_clock.fence(now.wall_ms, now.elapsed))
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

    /// The epoch of everything logged from now on.
    ///
    /// # Errors
    /// Where the log knows a later one.
    pub(super) fn start_epoch(&mut self, epoch: Epoch) -> Result<(), WalError> {
        self.wal.start_epoch(epoch)
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
    CommandError::new(format!("EXECABORT Transaction discarded because of: {}", error.text()))
}

fn applied(mark: TimedMark) -> AppliedMark {
    AppliedMark { lsn: mark.lsn, chain: mark.chain, time_ms: mark.time_ms }
}
