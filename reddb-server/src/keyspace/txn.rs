//! One transaction's view of the logical state, and what it changes.
//!
//! Invariants:
//! * A change is checked and logged before its writes reach the overlay; both happen or neither.
//! * A [`Savepoint`] undoes both, so that a command that fails half-way leaves nothing behind.
//! * In [`TxnMode::Read`] nothing changes: asking for a change is an error.
//! * Keys that have expired are not there. In [`TxnMode::Write`] the first touch of one logs its deletion.

mod hash;
mod names;
mod random;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use reddb_file::Lsn;
use reddb_wire::{Change, KEY_BYTES_MAX, ObjectId, PayloadBuilder};
use smallvec::SmallVec;

pub(crate) use names::Names;

use super::DATABASE_COUNT;
use super::env::Env;
use super::layout::{DatabaseState, EntryKey, into_entry};
use super::lower::lower;
use super::overlay::{Overlay, OverlayUndo};
use super::state::{State, StateError};
use crate::reply::CommandError;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// A string.
    String(Bytes),
    /// A hash, whose fields are read through the transaction.
    Hash(HashRef),
}

/// A hash: where its fields are and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HashRef {
    /// The object that holds the fields.
    pub object: ObjectId,
    /// How many fields there are; at least one.
    pub field_count: u64,
}

/// A key's value and expiry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it holds.
    pub value: Value,
    /// When it expires, in milliseconds of the expiry clock; `None` for never.
    pub expires_at_ms: Option<u64>,
}

impl Entry {
    /// The string, if that is what the key holds.
    ///
    /// # Errors
    /// `WRONGTYPE` where it holds another type.
    pub(crate) fn into_string(self) -> Result<Bytes, CommandError> {
        match self.value {
            Value::String(value) => Ok(value),
            Value::Hash(_) => Err(CommandError::WRONG_TYPE),
        }
    }

    /// The hash, if that is what the key holds.
    ///
    /// # Errors
    /// `WRONGTYPE` where it holds another type.
    pub(crate) const fn as_hash(&self) -> Result<HashRef, CommandError> {
        match self.value {
            Value::Hash(hash) => Ok(hash),
            Value::String(_) => Err(CommandError::WRONG_TYPE),
        }
    }
}

/// Whether a transaction may change anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TxnMode {
    /// It reads.
    Read,
    /// It becomes the record at this LSN, if it changes anything.
    Write(Lsn),
}

/// A key, or keys of a database, that a transaction changed; what `WATCH` waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// One key.
    Key(u32, Bytes),
    /// Every key that was in the database.
    Flushed(u32),
    /// Any key of the database, whether it was there or not.
    Database(u32),
}

/// Where a transaction stood; see [`Txn::savepoint`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Savepoint {
    payload_bytes: usize,
    undo: usize,
    touched: usize,
    objects_created: u32,
    databases: Databases,
}

/// What a transaction that changed something leaves: the record's payload and its meaning for the engine.
#[derive(Debug)]
pub(crate) struct FinishedTxn {
    /// The payload of its record.
    pub payload: Vec<u8>,
    /// The entries that it set or removed in the overlay, in that order, with what they were there before.
    pub changed: Vec<OverlayUndo>,
    /// The keys that it changed.
    pub touched: Vec<Touched>,
}

#[derive(Clone, Copy, Debug)]
struct Database {
    db: u32,
    state: DatabaseState,
    changed: bool,
}

type Databases = SmallVec<[Database; 1]>;

/// One transaction.
pub(crate) struct Txn<'a> {
    state: &'a dyn State,
    /// Nothing where only what is in `state` is read.
    overlay: Option<&'a mut Overlay>,
    env: &'a Env,
    mode: TxnMode,
    now_ms: u64,
    db: u32,
    /// Those that were looked at: mostly one.
    databases: Databases,
    objects_created: u32,
    payload: PayloadBuilder,
    undo: Vec<OverlayUndo>,
    watched: bool,
    touched: Vec<Touched>,
}

impl<'a> Txn<'a> {
    /// A transaction over `state` and what `overlay` holds above it, at `now_ms` of the expiry clock, in database 0.
    #[must_use]
    pub(crate) fn new(
        state: &'a dyn State,
        overlay: &'a mut Overlay,
        env: &'a Env,
        mode: TxnMode,
        now_ms: u64,
    ) -> Self {
        Self { overlay: Some(overlay), mode, ..Self::reading(state, env, now_ms) }
    }

    /// A transaction that reads `state` alone, at `now_ms` of the expiry clock, in database 0.
    #[must_use]
    pub(crate) fn reading(state: &'a dyn State, env: &'a Env, now_ms: u64) -> Self {
        Self {
            state,
            overlay: None,
            env,
            mode: TxnMode::Read,
            now_ms,
            db: 0,
            databases: Databases::new(),
            objects_created: 0,
            payload: PayloadBuilder::new(),
            undo: Vec::new(),
            watched: true,
            touched: Vec::new(),
        }
    }

    /// The same, where nobody watches a key: [`FinishedTxn::touched`] stays empty.
    #[must_use]
    pub(crate) const fn unwatched(mut self) -> Self {
        self.watched = false;
        self
    }

    /// The services that commands share: scan cursors, randomness, the clock's offset.
    #[must_use]
    pub(crate) const fn env(&self) -> &'a Env {
        self.env
    }

    /// The selected database.
    #[must_use]
    pub(crate) const fn db(&self) -> u32 {
        self.db
    }

    /// Selects a database.
    ///
    /// # Errors
    /// `ERR DB index is out of range`.
    pub(crate) const fn select(&mut self, db: u32) -> Result<(), CommandError> {
        if db >= DATABASE_COUNT {
            return Err(CommandError::DB_OUT_OF_RANGE);
        }
        self.db = db;
        Ok(())
    }

    /// The time on the expiry clock, in Unix milliseconds. Stored expiries are compared with this.
    #[must_use]
    pub(crate) const fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// The key's entry in the selected database.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn lookup(&mut self, key: &[u8]) -> Result<Option<Entry>, StateError> {
        self.lookup_in(self.db, key)
    }

    /// The key's entry in a database.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn lookup_in(&mut self, db: u32, key: &[u8]) -> Result<Option<Entry>, StateError> {
        let entry = self.lookup_raw(db, key)?;
        match entry {
            Some(entry) if self.is_expired(&entry) => {
                if matches!(self.mode, TxnMode::Write(_)) {
                    self.remove_entry(db, key, &entry)?;
                }
                Ok(None)
            }
            entry => Ok(entry),
        }
    }

    /// Whether the key exists in the selected database and holds a string, a hash, or nothing; the string.
    ///
    /// # Errors
    /// `WRONGTYPE` where it holds another type; where the state cannot be read.
    pub(crate) fn string(&mut self, key: &[u8]) -> Result<Option<Bytes>, CommandError> {
        self.lookup(key)?.map(Entry::into_string).transpose()
    }

    /// The hash at a key of the selected database.
    ///
    /// # Errors
    /// `WRONGTYPE` where it holds another type; where the state cannot be read.
    pub(crate) fn hash(&mut self, key: &[u8]) -> Result<Option<HashRef>, CommandError> {
        self.lookup(key)?.map(|entry| entry.as_hash()).transpose()
    }

    /// Makes the key of the selected database hold a string, whatever it held, with this expiry (`None`: no expiry).
    ///
    /// # Errors
    /// Where the key or the value is too long, or the state cannot be read.
    pub(crate) fn put_string(
        &mut self,
        key: &[u8],
        value: &[u8],
        expires_at_ms: Option<u64>,
    ) -> Result<(), StateError> {
        self.put_string_in(self.db, key, value, expires_at_ms)
    }

    /// [`Txn::put_string`] in a database.
    ///
    /// # Errors
    /// Where the key or the value is too long, or the state cannot be read.
    pub(crate) fn put_string_in(
        &mut self,
        db: u32,
        key: &[u8],
        value: &[u8],
        expires_at_ms: Option<u64>,
    ) -> Result<(), StateError> {
        let before = self.lookup_raw(db, key)?;
        let space = self.database(db)?.space;
        self.change(&Change::PutString { space, key, expires_at_ms, value })?;
        if let Some(Entry { value: Value::Hash(hash), .. }) = &before {
            self.change(&Change::DropObject { object: hash.object })?;
        }
        self.recount(db, key, before.as_ref(), Some(expires_at_ms))
    }

    /// Sets or removes the expiry of a key of the selected database; does nothing where there is no such key.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn set_expiry(&mut self, key: &[u8], expires_at_ms: Option<u64>) -> Result<(), StateError> {
        let db = self.db;
        let Some(before) = self.lookup_in(db, key)? else { return Ok(()) };
        let space = self.database(db)?.space;
        self.change(&Change::SetExpiry { space, key, expires_at_ms })?;
        self.recount(db, key, Some(&before), Some(expires_at_ms))
    }

    /// Deletes a key of the selected database, in one change however big it is; says whether it was there.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn delete(&mut self, key: &[u8]) -> Result<bool, StateError> {
        self.delete_in(self.db, key)
    }

    /// [`Txn::delete`] in a database.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn delete_in(&mut self, db: u32, key: &[u8]) -> Result<bool, StateError> {
        let Some(entry) = self.lookup_in(db, key)? else { return Ok(false) };
        self.remove_entry(db, key, &entry)?;
        Ok(true)
    }

    /// Copies a key with its value and expiry to another name or database, over whatever is there; says whether there was
    /// such a key. Source and target must differ.
    ///
    /// # Errors
    /// Where the target's name is too long, the copy of a hash is too large for one record, or the state cannot be read.
    pub(crate) fn copy(&mut self, from: (u32, &[u8]), to: (u32, &[u8])) -> Result<bool, StateError> {
        let Some(entry) = self.lookup_in(from.0, from.1)? else { return Ok(false) };
        match &entry.value {
            Value::String(value) => self.put_string_in(to.0, to.1, value, entry.expires_at_ms)?,
            Value::Hash(hash) => self.copy_hash(hash, to, entry.expires_at_ms)?,
        }
        Ok(true)
    }

    /// Moves a key with its value and expiry to another name or database, over whatever is there, in O(1); says whether
    /// there was such a key. Source and target must differ.
    ///
    /// # Errors
    /// Where the target's name is too long, or the state cannot be read.
    pub(crate) fn rename(&mut self, from: (u32, &[u8]), to: (u32, &[u8])) -> Result<bool, StateError> {
        let Some(entry) = self.lookup_in(from.0, from.1)? else { return Ok(false) };
        self.delete_in(to.0, to.1)?;
        let source_space = self.database(from.0)?.space;
        self.change(&Change::DeleteKey { space: source_space, key: from.1 })?;
        self.recount(from.0, from.1, Some(&entry), None)?;
        let (space, expires_at_ms) = (self.database(to.0)?.space, entry.expires_at_ms);
        match &entry.value {
            Value::String(value) => {
                self.change(&Change::PutString { space, key: to.1, expires_at_ms, value })?;
            }
            Value::Hash(HashRef { object, field_count }) => {
                let (object, field_count) = (*object, *field_count);
                self.change(&Change::PutHash { space, key: to.1, expires_at_ms, object, field_count })?;
            }
        }
        self.recount(to.0, to.1, None, Some(expires_at_ms))?;
        Ok(true)
    }

    /// Where a database's keys are and how many it has.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn database(&mut self, db: u32) -> Result<DatabaseState, StateError> {
        Ok(self.database_mut(db)?.state)
    }

    /// Deletes every key of a database, in two changes; does nothing where it is empty.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn flush_database(&mut self, db: u32) -> Result<(), StateError> {
        let before = self.database(db)?;
        if before.key_count == 0 {
            return Ok(());
        }
        let space = self.new_object()?;
        self.change(&Change::DropSpace { space: before.space })?;
        self.set_database(db, DatabaseState { space, key_count: 0, expiring_count: 0 })?;
        if self.watched {
            self.touched.push(Touched::Flushed(db));
        }
        Ok(())
    }

    /// Exchanges the contents of two databases, in two changes.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn swap_databases(&mut self, one: u32, other: u32) -> Result<(), StateError> {
        if one == other {
            return Ok(());
        }
        let (first, second) = (self.database(one)?, self.database(other)?);
        self.set_database(one, second)?;
        self.set_database(other, first)?;
        if self.watched {
            self.touched.extend([Touched::Database(one), Touched::Database(other)]);
        }
        Ok(())
    }

    /// Where the transaction stands now, for [`Txn::rollback`].
    #[must_use]
    pub(crate) fn savepoint(&self) -> Savepoint {
        Savepoint {
            payload_bytes: self.payload.len(),
            undo: self.undo.len(),
            touched: self.touched.len(),
            objects_created: self.objects_created,
            databases: self.databases.clone(),
        }
    }

    /// Undoes everything since `savepoint`.
    pub(crate) fn rollback(&mut self, savepoint: &Savepoint) {
        while self.undo.len() > savepoint.undo {
            // Without an overlay there is nothing to undo.
            if let (Some(changed), Some(overlay)) = (self.undo.pop(), &mut self.overlay) {
                overlay.restore(changed);
            }
        }
        self.payload.truncate(savepoint.payload_bytes);
        self.touched.truncate(savepoint.touched);
        self.objects_created = savepoint.objects_created;
        self.databases.clone_from(&savepoint.databases);
    }

    /// Undoes everything.
    pub(crate) fn abandon(mut self) {
        self.rollback(&Savepoint::default());
    }

    /// Ends the transaction: `None` where it changed nothing. Its changes stay in the overlay.
    ///
    /// # Errors
    /// Where the transaction is too large for a record; everything is then undone.
    pub(crate) fn finish(mut self) -> Result<Option<FinishedTxn>, StateError> {
        if let Err(error) = self.log_databases() {
            self.abandon();
            return Err(error);
        }
        let Some(payload) = self.payload.finish() else { return Ok(None) };
        Ok(Some(FinishedTxn { payload, changed: self.undo, touched: self.touched }))
    }

    fn log_databases(&mut self) -> Result<(), StateError> {
        self.databases.sort_unstable_by_key(|database| database.db);
        for index in 0..self.databases.len() {
            let Database { db, state: DatabaseState { space, key_count, expiring_count }, changed } =
                self.databases[index];
            if changed {
                let overlay = writable(self.mode, &mut self.overlay)?;
                self.payload.push(&Change::PutDatabase { db, space, key_count, expiring_count })?;
                let before = overlay.set_database(db, DatabaseState { space, key_count, expiring_count });
                self.undo.push(OverlayUndo::Database(db, before));
            }
        }
        Ok(())
    }

    fn is_expired(&self, entry: &Entry) -> bool {
        has_expired(entry, self.now_ms)
    }

    fn lookup_raw(&mut self, db: u32, key: &[u8]) -> Result<Option<Entry>, StateError> {
        if key.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let entry_key = EntryKey::key(self.database(db)?.space, key);
        let value = self.read(&entry_key)?;
        value.map(|value| into_entry(&entry_key, value).map_err(StateError::from)).transpose()
    }

    /// What the overlay says of an entry; see [`Overlay::get`].
    fn changed(&self, entry_key: &[u8]) -> Option<Option<&Bytes>> {
        self.overlay.as_ref()?.get(entry_key)
    }

    fn read(&self, entry_key: &[u8]) -> Result<Option<Bytes>, StateError> {
        match self.changed(entry_key) {
            Some(changed) => Ok(changed.cloned()),
            None => self.state.get(entry_key),
        }
    }

    /// Logs a change of anything but a database and makes it.
    fn change(&mut self, change: &Change<'_>) -> Result<(), StateError> {
        let lowered = lower(change, |key| self.read(key))?;
        let overlay = writable(self.mode, &mut self.overlay)?;
        self.payload.push(change)?;
        for (key, value) in lowered.into_iter().flatten() {
            let before = overlay.set(key.clone(), value);
            self.undo.push(OverlayUndo::Entry(key, before));
        }
        Ok(())
    }

    fn remove_entry(&mut self, db: u32, key: &[u8], entry: &Entry) -> Result<(), StateError> {
        let space = self.database(db)?.space;
        self.change(&Change::DeleteKey { space, key })?;
        if let Value::Hash(hash) = &entry.value {
            self.change(&Change::DropObject { object: hash.object })?;
        }
        self.recount(db, key, Some(entry), None)
    }

    /// Keeps the database's counts: what the key was (`None`: absent), and what it is now (`Some(expiry)`, or absent).
    fn recount(
        &mut self,
        db: u32,
        key: &[u8],
        before: Option<&Entry>,
        after: Option<Option<u64>>,
    ) -> Result<(), StateError> {
        // Who watched the key while it lived sees by the clock that it has expired; to others it is as absent as it was.
        if after.is_some() || before.is_none_or(|entry| !self.is_expired(entry)) {
            self.touch(db, key);
        }
        let mut state = self.database(db)?;
        let counts = |count: u64, was: bool, is: bool| match (was, is) {
            (false, true) => count.checked_add(1),
            (true, false) => count.checked_sub(1),
            _ => Some(count),
        };
        let mismatch = || StateError::Mismatch(format!("database {db} has more or fewer keys than it counts"));
        let (did_expire, does_expire) =
            (before.is_some_and(|entry| entry.expires_at_ms.is_some()), after.is_some_and(|expiry| expiry.is_some()));
        state.key_count = counts(state.key_count, before.is_some(), after.is_some()).ok_or_else(mismatch)?;
        state.expiring_count = counts(state.expiring_count, did_expire, does_expire).ok_or_else(mismatch)?;
        self.set_database(db, state)
    }

    fn touch(&mut self, db: u32, key: &[u8]) {
        if !self.watched {
            return;
        }
        self.touched.push(Touched::Key(db, Bytes::copy_from_slice(key)));
    }

    fn new_object(&mut self) -> Result<ObjectId, StateError> {
        let TxnMode::Write(lsn) = self.mode else {
            return Err(StateError::Mismatch("a reading command tried to create something".to_owned()));
        };
        let index = self.objects_created;
        self.objects_created = index
            .checked_add(1)
            .ok_or_else(|| StateError::Mismatch("one transaction created 2^32 objects".to_owned()))?;
        Ok(ObjectId::new(lsn, index))
    }

    fn database_mut(&mut self, db: u32) -> Result<&mut Database, StateError> {
        let index = match self.databases.iter().position(|database| database.db == db) {
            Some(index) => index,
            None => {
                if db >= DATABASE_COUNT {
                    return Err(StateError::Mismatch(format!("database {db} of {DATABASE_COUNT}")));
                }
                let changed = self.overlay.as_ref().and_then(|overlay| overlay.database(db));
                let state = match changed {
                    Some(state) => state,
                    None => self.state.database(db)?,
                };
                self.databases.push(Database { db, state, changed: false });
                self.databases.len() - 1
            }
        };
        Ok(&mut self.databases[index])
    }

    fn set_database(&mut self, db: u32, state: DatabaseState) -> Result<(), StateError> {
        let database = self.database_mut(db)?;
        if database.state != state {
            *database = Database { db, state, changed: true };
        }
        Ok(())
    }
}

/// Where changes are made.
fn writable<'o>(mode: TxnMode, overlay: &'o mut Option<&mut Overlay>) -> Result<&'o mut Overlay, StateError> {
    match (mode, overlay) {
        (TxnMode::Write(_), Some(overlay)) => Ok(overlay),
        _ => Err(StateError::Mismatch("a reading command tried to change something".to_owned())),
    }
}

const fn has_expired(entry: &Entry, now_ms: u64) -> bool {
    matches!(entry.expires_at_ms, Some(expires_at_ms) if expires_at_ms <= now_ms)
}
