//! Records into the engine: crash recovery and restore.
//!
//! Invariants: records come in LSN order and without holes; each is applied whole; the chain that the engine remembers is
//! the one that the caller proved.

mod memtables;
mod runs;

use bytes::Bytes;
use reddb_file::archive::RecordRun;
use reddb_file::record::{RecordError, RecordView};
use reddb_file::timeline::TimelineRecordError;
use reddb_file::{Chain, Lsn, RecordKind, TimelineRecord};
use reddb_wire::changes;

use crate::engine::{AppliedMark, Engine, EngineError};
use crate::keyspace::StateError;
use crate::keyspace::layout::{TimelineState, encode_timeline, timeline_entry};
use crate::keyspace::lower::lower;

pub(crate) use memtables::Memtables;
pub(crate) use runs::Runs;

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

/// Where the changes of records go on their way into an engine.
pub(crate) trait Target {
    /// The newest value of an entry, of all that was set.
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, StateError>;

    /// Changes an entry, or removes it.
    fn set(&mut self, key: Bytes, value: Option<Bytes>);

    /// Everything up to a record was set, the last of it from so many bytes of records. May hand it to the engine.
    fn taken(&mut self, mark: AppliedMark, record_bytes: usize) -> Result<(), EngineError>;

    /// Hands everything up to a record to the engine.
    fn finish(self, mark: AppliedMark) -> Result<(), EngineError>;
}

/// Applies records in order, many at once.
pub(crate) struct Replayer<T> {
    target: T,
    applied: AppliedMark,
}

impl<T: Target> Replayer<T> {
    /// Goes on where `engine` is, which is the target's.
    #[must_use]
    pub(crate) fn new(engine: &dyn Engine, target: T) -> Self {
        Self { target, applied: engine.applied() }
    }

    /// Takes a record; `chain` is the chain after it.
    ///
    /// # Errors
    /// Any [`ReplayError`]; the engine then ends at an earlier record, and nothing more may be pushed.
    pub(crate) fn push(&mut self, record: &RecordView<'_>, chain: Chain) -> Result<(), ReplayError> {
        self.take(record)?;
        self.applied.chain = chain;
        Ok(self.target.taken(self.applied, record.bytes.len())?)
    }

    /// Takes a run of records, whose chain is proved.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub(crate) fn push_run(&mut self, run: &RecordRun) -> Result<(), ReplayError> {
        let mut rest = &run.bytes()[..];
        while !rest.is_empty() {
            let record =
                RecordView::decode(rest).map_err(|source| ReplayError::Record { after: self.applied.lsn, source })?;
            self.take(&record)?;
            rest = &rest[record.bytes.len()..];
        }
        self.applied.chain = run.chain_after();
        Ok(self.target.taken(self.applied, run.bytes().len())?)
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
                self.target.set(key, Some(value));
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
        self.target.finish(self.applied)?;
        Ok(self.applied)
    }

    fn lower(&mut self, payload: &[u8]) -> Result<(), StateError> {
        for change in changes(payload)? {
            let lowered = lower(&change?, |key| self.target.get(key))?;
            for (key, value) in lowered.into_iter().flatten() {
                self.target.set(key, value);
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
