//! What a transaction reads from: the engine's entries as of one LSN.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use reddb_wire::ChangeError;

use super::layout::LayoutError;
use crate::engine::{Engine, EngineError, Snapshot};
use crate::reply::CommandError;

/// An engine entry.
pub(crate) type StateEntry = (Bytes, Bytes);

/// Entries in key order.
pub(crate) type StateIter = Box<dyn Iterator<Item = Result<StateEntry, StateError>> + Send>;

/// The engine's entries as of one LSN.
pub(crate) trait State: Send + Sync {
    /// The entry's value.
    ///
    /// # Errors
    /// Where the engine cannot read.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError>;

    /// The entries of a key range, in key order, read as they are asked for.
    fn range(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> StateIter;

    /// The last entry of a key range.
    ///
    /// # Errors
    /// Where the engine cannot read.
    fn last(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> Result<Option<StateEntry>, StateError>;
}

/// An engine, read at an LSN that a snapshot keeps readable.
pub(crate) struct SnapshotState {
    engine: Arc<dyn Engine>,
    snapshot: Snapshot,
}

impl SnapshotState {
    /// The newest state that the engine has applied.
    #[must_use]
    pub(crate) fn newest(engine: &Arc<dyn Engine>) -> Self {
        Self { engine: Arc::clone(engine), snapshot: engine.snapshot() }
    }

    /// The LSN that is read.
    #[must_use]
    pub(crate) fn lsn(&self) -> reddb_file::Lsn {
        self.snapshot.lsn()
    }
}

impl State for SnapshotState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.engine.get(key, self.snapshot.lsn())?)
    }

    fn range(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> StateIter {
        let range = (from.as_ref().map(|key| &key[..]), to.as_ref().map(|key| &key[..]));
        match self.engine.range(range, self.snapshot.lsn()) {
            Ok(entries) => Box::new(entries.map(|entry| entry.map_err(StateError::from))),
            Err(error) => Box::new(std::iter::once(Err(error.into()))),
        }
    }

    fn last(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> Result<Option<StateEntry>, StateError> {
        let range = (from.as_ref().map(|key| &key[..]), to.as_ref().map(|key| &key[..]));
        Ok(self.engine.range(range, self.snapshot.lsn())?.next_back().transpose()?)
    }
}

/// Why the state cannot be read, or a change cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine holds what this program did not write.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A change that may not be logged, or a logged change that cannot be read.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// A logged change that does not fit the state before it.
    #[error("change does not fit the state: {0}; the log and the engine disagree, restore from the archive")]
    Mismatch(String),
}

impl From<StateError> for CommandError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Change(ChangeError::ValueTooLong { .. }) => {
                Self::fixed("ERR string exceeds maximum allowed size (proto-max-bulk-len)")
            }
            error => Self::new(format!("ERR {error}")),
        }
    }
}
