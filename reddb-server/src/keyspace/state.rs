//! What a transaction reads from: the engine's entries as of one LSN.

use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use reddb_wire::ChangeError;

use super::layout::{DatabaseState, LayoutError, database_key, decode_database};
use crate::engine::{Engine, EngineError, EngineScan, LentEntry, Snapshot};
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

    /// As [`State::range`], for who keeps nothing of what is read.
    ///
    /// # Errors
    /// Where the engine cannot read.
    fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<StateScan, StateError> {
        let iter = self.range(from.map(Bytes::copy_from_slice), to.map(Bytes::copy_from_slice));
        Ok(StateScan::Iter { iter, entry: None })
    }

    /// The last entry of a key range.
    ///
    /// # Errors
    /// Where the engine cannot read.
    fn last(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> Result<Option<StateEntry>, StateError>;

    /// A database.
    ///
    /// # Errors
    /// Where the engine cannot read, or holds what is no database.
    fn database(&self, db: u32) -> Result<DatabaseState, StateError> {
        read_database(self, db)
    }
}

fn read_database(state: &(impl State + ?Sized), db: u32) -> Result<DatabaseState, StateError> {
    match state.get(&database_key(db))? {
        Some(value) => Ok(decode_database(db, &value)?),
        None => Ok(DatabaseState::initial(db)),
    }
}

/// Lends the entries of a key range, in key order. After an error it is not asked again.
pub(crate) enum StateScan {
    /// What an engine reads.
    Engine(EngineScan),
    /// What is iterated.
    Iter {
        /// The entries.
        iter: StateIter,
        /// The one that is lent.
        entry: Option<StateEntry>,
    },
}

impl StateScan {
    /// The next key and its value; none at the end.
    ///
    /// # Errors
    /// Where the engine cannot read.
    pub(crate) fn next(&mut self) -> Result<Option<LentEntry<'_>>, StateError> {
        match self {
            Self::Engine(scan) => Ok(scan.next()?),
            Self::Iter { iter, entry } => {
                *entry = iter.next().transpose()?;
                Ok(entry.as_ref().map(|(key, value)| (&key[..], &value[..])))
            }
        }
    }
}

/// An engine, read at an LSN that a snapshot keeps readable.
pub(crate) struct SnapshotState {
    engine: Arc<dyn Engine>,
    snapshot: Snapshot,
    /// The database that was asked for first: mostly all ask for the same one.
    first_database: OnceLock<(u32, DatabaseState)>,
}

impl SnapshotState {
    /// The newest state that the engine has applied.
    #[must_use]
    pub(crate) fn newest(engine: &Arc<dyn Engine>) -> Self {
        Self { engine: Arc::clone(engine), snapshot: engine.snapshot(), first_database: OnceLock::new() }
    }

    /// The LSN that is read.
    #[must_use]
    pub(crate) fn lsn(&self) -> reddb_file::Lsn {
        self.snapshot.lsn()
    }
}

impl State for SnapshotState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.engine.get_in(key, &self.snapshot)?)
    }

    fn range(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> StateIter {
        let range = (from.as_ref().map(|key| &key[..]), to.as_ref().map(|key| &key[..]));
        match self.engine.range(range, self.snapshot.lsn()) {
            Ok(entries) => Box::new(entries.map(|entry| entry.map_err(StateError::from))),
            Err(error) => Box::new(std::iter::once(Err(error.into()))),
        }
    }

    fn scan(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Result<StateScan, StateError> {
        Ok(StateScan::Engine(self.engine.scan((from, to), self.snapshot.lsn())?))
    }

    fn last(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> Result<Option<StateEntry>, StateError> {
        let range = (from.as_ref().map(|key| &key[..]), to.as_ref().map(|key| &key[..]));
        Ok(self.engine.range(range, self.snapshot.lsn())?.next_back().transpose()?)
    }

    fn database(&self, db: u32) -> Result<DatabaseState, StateError> {
        if let Some((first, state)) = self.first_database.get()
            && *first == db
        {
            return Ok(*state);
        }
        let state = read_database(self, db)?;
        // Who was first stays: others ask each time.
        let _ = self.first_database.set((db, state));
        Ok(state)
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
