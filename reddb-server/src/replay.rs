//! Records into the engine: crash recovery and restore.
//!
//! Invariants: records come in LSN order and without holes; each is applied whole; the chain that the engine remembers is
//! the one that the caller proved.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use reddb_file::record::RecordView;
use reddb_file::timeline::TimelineRecordError;
use reddb_file::{Chain, Lsn, RecordKind, TimelineRecord};
use reddb_wire::changes;

use crate::engine::{AppliedMark, Engine, EngineError, EngineWrite, RecordWrites};
use crate::keyspace::StateError;
use crate::keyspace::layout::{TimelineState, encode_timeline, timeline_entry};
use crate::keyspace::lower::lower;

/// Records handed to the engine at once.
const CHUNK_RECORDS: usize = 4096;
/// Bytes of records handed to the engine at once.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

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

/// Applies records in order.
pub(crate) struct Replayer {
    engine: Arc<dyn Engine>,
    applied: AppliedMark,
    chunk: Vec<RecordWrites>,
    chunk_bytes: usize,
    /// The chunk's key entries, which later changes of the chunk may read.
    fresh: HashMap<Bytes, Option<Bytes>>,
}

impl Replayer {
    /// Goes on where the engine is.
    #[must_use]
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        let applied = engine.applied();
        Self { engine, applied, chunk: Vec::new(), chunk_bytes: 0, fresh: HashMap::new() }
    }

    /// Takes a record; `chain` is the chain after it.
    ///
    /// # Errors
    /// Any [`ReplayError`]; nothing of the record is applied.
    pub(crate) fn push(&mut self, record: &RecordView<'_>, chain: Chain) -> Result<(), ReplayError> {
        if self.applied.lsn.next() != Some(record.lsn) {
            return Err(ReplayError::OutOfOrder {
                expected: self.applied.lsn.get().saturating_add(1),
                found: record.lsn,
            });
        }
        let mark = AppliedMark { lsn: record.lsn, chain, time_ms: record.time_ms };
        let writes = match record.kind {
            RecordKind::Timeline => vec![timeline_write(record)?],
            RecordKind::Changes => {
                self.lower(record.payload).map_err(|source| ReplayError::Changes { lsn: record.lsn, source })?
            }
        };
        self.chunk.push(RecordWrites { mark, writes });
        self.chunk_bytes += record.bytes.len();
        self.applied = mark;
        if self.chunk.len() >= CHUNK_RECORDS || self.chunk_bytes >= CHUNK_BYTES {
            self.flush_chunk()?;
        }
        Ok(())
    }

    /// Hands everything taken to the engine.
    ///
    /// # Errors
    /// Where the engine fails.
    pub(crate) fn finish(mut self) -> Result<AppliedMark, ReplayError> {
        self.flush_chunk()?;
        Ok(self.applied)
    }

    fn flush_chunk(&mut self) -> Result<(), ReplayError> {
        if !self.chunk.is_empty() {
            self.engine.apply_many(&self.chunk)?;
            self.chunk.clear();
            self.chunk_bytes = 0;
            self.fresh.clear();
        }
        Ok(())
    }

    fn lower(&mut self, payload: &[u8]) -> Result<Vec<EngineWrite>, StateError> {
        let mut writes = Vec::new();
        for change in changes(payload)? {
            let (engine, fresh) = (&self.engine, &self.fresh);
            let mut lowered = Vec::with_capacity(2);
            let read = |key: &[u8]| match fresh.get(key) {
                Some(value) => Ok(value.clone()),
                None => Ok(engine.get_newest(key)?.1),
            };
            lower(&change?, read, |key, value| lowered.push((key, value)))?;
            for (key, value) in lowered {
                if key.first() == Some(&b'K') {
                    self.fresh.insert(key.clone(), value.clone());
                }
                writes.push(match value {
                    Some(value) => EngineWrite::Put { key, value },
                    None => EngineWrite::Delete { key },
                });
            }
        }
        Ok(writes)
    }
}

/// What a timeline record means for the engine.
fn timeline_write(record: &RecordView<'_>) -> Result<EngineWrite, ReplayError> {
    let timeline =
        TimelineRecord::decode(record.payload).map_err(|source| ReplayError::Timeline { lsn: record.lsn, source })?;
    Ok(timeline_writes(&timeline))
}

/// The engine's memory of the timeline it is on.
#[must_use]
pub(crate) fn timeline_writes(timeline: &TimelineRecord) -> EngineWrite {
    let state = TimelineState { timeline: timeline.id, clock_offset_ms: timeline.clock_offset_ms };
    EngineWrite::Put { key: timeline_entry(), value: encode_timeline(&state) }
}
