//! The end of the log: makes a sealed batch durable, then visible.
//!
//! Belongs to whoever commits. What it needs from the core it gets with the batch, so that the core can execute what
//! comes next while a sync runs.

use std::sync::Arc;

use parking_lot::Mutex;
use reddb_file::wal::{BatchBuilder, PruneSummary, RecentBatches, WalError, WalWriter};
use reddb_file::{Epoch, Lsn, TimedMark, TimelineId};

use super::gate::{Condition, WriteGate};
use crate::engine::{AppliedMark, Engine, EngineWrite};
use crate::reply::CommandError;

/// What was committed last stays in memory up to this size, for the archiver: more than a second of most loads.
const RECENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A batch that is complete, with what it means for the engine.
pub(super) struct Sealed {
    /// The records.
    pub(super) batch: BatchBuilder,
    /// Each entry that they changed, once.
    pub(super) writes: Arc<Vec<EngineWrite>>,
}

/// The newest durable record, and the timeline that it is looked at from.
#[derive(Clone, Copy, Debug)]
pub(super) struct DurableEnd {
    pub(super) timeline: TimelineId,
    pub(super) mark: TimedMark,
}

/// Why a batch did not become durable; told to everyone who waits for it.
#[derive(Clone, Debug)]
pub(super) struct CommitFailure(pub(super) CommandError);

/// See the module.
pub(super) struct Tail {
    wal: WalWriter,
    engine: Arc<dyn Engine>,
    gate: Arc<WriteGate>,
    wal_local_bytes_max: u64,
    syncs: u64,
    /// What others see of the end of the log; set before the engine shows what is there.
    durable: Arc<Mutex<DurableEnd>>,
    /// What was committed last, for the archiver.
    recent: Arc<RecentBatches>,
    #[cfg(test)]
    panics: Arc<std::sync::atomic::AtomicBool>,
}

impl Tail {
    /// `timeline` is that of the log's last record.
    pub(super) fn new(
        mut wal: WalWriter,
        timeline: TimelineId,
        engine: Arc<dyn Engine>,
        gate: Arc<WriteGate>,
        wal_local_bytes_max: u64,
    ) -> Self {
        let recent = Arc::new(RecentBatches::new(RECENT_BYTES_MAX));
        wal.remember_in(Arc::clone(&recent));
        let durable = Arc::new(Mutex::new(DurableEnd { timeline, mark: wal.last() }));
        let tail = Self {
            wal,
            engine,
            gate,
            wal_local_bytes_max,
            syncs: 0,
            durable,
            recent,
            #[cfg(test)]
            panics: Arc::default(),
        };
        // A log that was over its limit before this start still is.
        tail.watch_wal_size();
        tail
    }

    /// The newest durable record.
    pub(super) fn last(&self) -> TimedMark {
        self.wal.last()
    }

    /// The newest durable record, for others to look at: no reader sees anything newer.
    pub(super) fn durable(&self) -> Arc<Mutex<DurableEnd>> {
        Arc::clone(&self.durable)
    }

    /// What was committed last, for readers that follow.
    pub(super) fn recent(&self) -> Arc<RecentBatches> {
        Arc::clone(&self.recent)
    }

    /// The bytes of the local log.
    pub(super) fn wal_bytes(&self) -> u64 {
        self.wal.local_bytes()
    }

    /// Syncs so far.
    pub(super) fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Makes a batch durable, then visible: the engine gets each entry once, so that no reader sees a state within a batch.
    ///
    /// # Errors
    /// Nothing of the batch was or will be visible in this process.
    pub(super) fn commit(&mut self, sealed: &mut Sealed) -> Result<(), CommitFailure> {
        let committed = match self.wal.append(&mut sealed.batch) {
            Ok(()) => {
                self.syncs += 1;
                #[cfg(test)]
                assert!(!self.panics.load(std::sync::atomic::Ordering::Relaxed), "planted");
                *self.durable.lock() = DurableEnd { timeline: self.wal.timeline(), mark: self.wal.last() };
                self.apply(sealed.batch.last(), &sealed.writes)
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
        self.watch_wal_size();
        committed
    }

    fn apply(&self, last: TimedMark, writes: &[EngineWrite]) -> Result<(), CommitFailure> {
        let mark = AppliedMark { lsn: last.lsn, chain: last.chain, time_ms: last.time_ms };
        self.engine.apply(mark, writes).map_err(|error| {
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

    /// Once this is set, committing panics after the sync.
    #[cfg(test)]
    pub(super) fn panic_switch(&self) -> Arc<std::sync::atomic::AtomicBool> {
        Arc::clone(&self.panics)
    }

    /// Gives up log segments wholly at or below `up_to`.
    pub(super) fn prune(&mut self, up_to: Lsn) -> PruneSummary {
        let summary = self.wal.prune(up_to);
        self.watch_wal_size();
        summary
    }

    /// Goes on in `wal`, the log of a timeline that forks off where this log ends; nothing may be sealed and not committed.
    ///
    /// # Errors
    /// Where it does not continue this log.
    pub(super) fn go_on_in(&mut self, wal: WalWriter) -> Result<(), CommitFailure> {
        let (end, fork) = (self.wal.last(), wal.last());
        if (end.lsn, end.chain) != (fork.lsn, fork.chain) {
            return Err(CommitFailure(CommandError::new(format!(
                "ERR the log of timeline {} continues LSN {}, and this one ends at LSN {} or with another chain",
                wal.timeline(),
                fork.lsn,
                end.lsn
            ))));
        }
        self.wal = wal;
        self.wal.remember_in(Arc::clone(&self.recent));
        Ok(())
    }

    /// The epoch of every batch that is sealed from now on; none may be sealed and not committed.
    ///
    /// # Errors
    /// Where the log knows a later one.
    pub(super) fn start_epoch(&mut self, epoch: Epoch) -> Result<(), WalError> {
        self.wal.start_epoch(epoch)
    }
}
