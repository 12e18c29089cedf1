//! Records into the engine: crash recovery and restore.
//!
//! Invariants: records come in LSN order and without holes; each is applied whole; the chain that the engine remembers is
//! the one that the caller proved.

mod runs;

use std::sync::Arc;

use bytes::Bytes;
use reddb_file::archive::RecordRun;
use reddb_file::record::{RecordError, RecordView};
use reddb_file::timeline::TimelineRecordError;
use reddb_file::wal::WalBatch;
use reddb_file::{Chain, Lsn, RecordKind, TimelineRecord};
use reddb_wire::changes;

use crate::engine::{AppliedMark, Engine, EngineError};
use crate::keyspace::StateError;
use crate::keyspace::layout::{TimelineState, encode_timeline, timeline_entry};
use crate::keyspace::lower::lower;

use runs::Runs;

/// A record that cannot be applied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// It does not come next.
    #[error("record {found} was to be applied where record {expected} belongs; the log has a hole")]
    OutOfOrder {
        /// The LSN that comes next.
        expected: u64,
        /// The record's.
        found: Lsn,
    },
    /// It is no record.
    #[error("the record after {after} cannot be decoded: {source}")]
    Record {
        /// The record before it.
        after: Lsn,
        /// Why.
        source: RecordError,
    },
    /// It cannot be understood, or does not fit the state.
    #[error("record {lsn} cannot be applied: {source}")]
    Changes {
        /// The record.
        lsn: Lsn,
        /// Why.
        source: StateError,
    },
    /// Its timeline cannot be understood.
    #[error("record {lsn} cannot be applied: {source}")]
    Timeline {
        /// The record.
        lsn: Lsn,
        /// Why.
        source: TimelineRecordError,
    },
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

/// Applies records in order, many at once.
pub(crate) struct Replayer {
    runs: Runs,
    applied: AppliedMark,
}

impl Replayer {
    /// Goes on where `engine` is; what it takes goes to the engine's tables.
    #[must_use]
    pub(crate) fn into_tables(engine: Arc<dyn Engine>) -> Self {
        Self { applied: engine.applied(), runs: Runs::into_tables(engine) }
    }

    /// Goes on where `engine` is; what it takes goes to the engine's memtables.
    #[must_use]
    pub(crate) fn into_memtables(engine: Arc<dyn Engine>) -> Self {
        Self { applied: engine.applied(), runs: Runs::into_memtables(engine) }
    }

    /// Takes a batch of the log, whose chain is proved.
    ///
    /// # Errors
    /// Any [`ReplayError`]; the engine then ends at an earlier record, and nothing more may be pushed.
    pub(crate) fn push_batch(&mut self, batch: &WalBatch) -> Result<(), ReplayError> {
        self.take_all(&batch.bytes, batch.last.chain)
    }

    /// Takes a run of records, whose chain is proved.
    ///
    /// # Errors
    /// As [`Self::push_batch`].
    pub(crate) fn push_run(&mut self, run: &RecordRun) -> Result<(), ReplayError> {
        self.take_all(run.bytes(), run.chain_after())
    }

    fn take_all(&mut self, bytes: &[u8], chain_after: Chain) -> Result<(), ReplayError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let record =
                RecordView::decode(rest).map_err(|source| ReplayError::Record { after: self.applied.lsn, source })?;
            self.take(&record)?;
            rest = &rest[record.bytes.len()..];
        }
        self.applied.chain = chain_after;
        Ok(self.runs.taken(self.applied)?)
    }

    /// Takes a record; the chain after it is still to be said.
    fn take(&mut self, record: &RecordView<'_>) -> Result<(), ReplayError> {
        if self.applied.lsn.next() != Some(record.lsn) {
            return Err(ReplayError::OutOfOrder {
                expected: self.applied.lsn.get().saturating_add(1),
                found: record.lsn,
            });
        }
        match record.kind {
            RecordKind::Timeline => {
                let (key, value) = timeline_write(record)?;
                self.runs.set(key, Some(value));
            }
            RecordKind::Changes => {
                self.lower(record.payload).map_err(|source| ReplayError::Changes { lsn: record.lsn, source })?;
            }
        }
        self.applied = AppliedMark { lsn: record.lsn, time_ms: record.time_ms, ..self.applied };
        Ok(())
    }

    /// Hands everything taken to the engine.
    ///
    /// # Errors
    /// Where the engine fails.
    pub(crate) fn finish(self) -> Result<AppliedMark, ReplayError> {
        self.runs.finish(self.applied)?;
        Ok(self.applied)
    }

    fn lower(&mut self, payload: &[u8]) -> Result<(), StateError> {
        for change in changes(payload)? {
            let lowered = lower(&change?, |key| self.runs.get(key))?;
            for (key, value) in lowered.into_iter().flatten() {
                self.runs.set(key, value);
            }
        }
        Ok(())
    }
}

/// What a timeline record means for the engine.
fn timeline_write(record: &RecordView<'_>) -> Result<(Bytes, Bytes), ReplayError> {
    let timeline =
        TimelineRecord::decode(record.payload).map_err(|source| ReplayError::Timeline { lsn: record.lsn, source })?;
    Ok(timeline_state_entry(&timeline))
}

/// The engine's memory of the timeline it is on.
#[must_use]
pub(crate) fn timeline_state_entry(timeline: &TimelineRecord) -> (Bytes, Bytes) {
    let state = TimelineState { timeline: timeline.id, clock_offset_ms: timeline.clock_offset_ms };
    (timeline_entry(), encode_timeline(&state))
}
