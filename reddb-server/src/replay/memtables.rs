//! Records into memtables: what a start replays is read and written to at once, and may never have to go to tables.

use std::sync::Arc;

use bytes::Bytes;

use super::Target;
use crate::engine::{AppliedMark, Engine, EngineError, EngineWrite};
use crate::keyspace::{Overlay, StateError};

/// Bytes of records handed to the engine at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Hands changes to an engine as its writers do.
pub(crate) struct Memtables {
    engine: Arc<dyn Engine>,
    /// What was set and the engine was not told yet.
    chunk: Overlay,
    chunk_bytes: usize,
}

impl Memtables {
    /// Loads `engine`.
    pub(crate) fn new(engine: Arc<dyn Engine>) -> Self {
        Self { engine, chunk: Overlay::new(), chunk_bytes: 0 }
    }
}

impl Target for Memtables {
    fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self.chunk.get(key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.engine.get_newest(key)?.1),
        }
    }

    fn set(&mut self, key: Bytes, value: Option<Bytes>) {
        self.chunk.set(key, value);
    }

    fn taken(&mut self, mark: AppliedMark, record_bytes: usize) -> Result<(), EngineError> {
        self.chunk_bytes += record_bytes;
        if self.chunk_bytes < CHUNK_BYTES {
            return Ok(());
        }
        self.chunk_bytes = 0;
        let writes: Vec<EngineWrite> = self.chunk.take().into_iter().map(EngineWrite::from).collect();
        self.engine.load(mark, &writes)
    }

    fn finish(mut self, mark: AppliedMark) -> Result<(), EngineError> {
        if self.chunk_bytes == 0 { Ok(()) } else { self.taken(mark, CHUNK_BYTES) }
    }
}
