//! Hashes: one engine entry a field, so that a field's update logs a field.

use std::ops::Bound;

use bytes::Bytes;
use reddb_wire::{Change, KEY_BYTES_MAX, ObjectId};

use super::{Entry, HashRef, Txn};
use crate::keyspace::layout::EntryKey;
use crate::keyspace::state::StateError;
use crate::reply::CommandError;

impl Txn<'_> {
    /// The value of a hash's field.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn hash_get(&self, hash: &HashRef, field: &[u8]) -> Result<Option<Bytes>, StateError> {
        if field.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        self.read(&EntryKey::field(hash.object, field))
    }

    /// Sets fields of the hash at a key of the selected database, which is created where there is none; says how many
    /// fields are new. The expiry stays.
    ///
    /// # Errors
    /// `WRONGTYPE` where the key holds another type; where a field or value is too long, or the state cannot be read.
    pub(crate) fn hash_put<'f>(
        &mut self,
        key: &[u8],
        fields: impl IntoIterator<Item = (&'f [u8], &'f [u8])>,
    ) -> Result<u64, CommandError> {
        let db = self.db;
        let before = self.lookup_in(db, key)?;
        let (object, count_before) = match &before {
            Some(entry) => {
                let hash = entry.as_hash()?;
                (hash.object, hash.field_count)
            }
            None => (self.new_object()?, 0),
        };
        let mut field_count = count_before;
        let mut touched = false;
        for (field, value) in fields {
            touched = true;
            let existed = match self.changed(&EntryKey::field(object, field)) {
                Some(changed) => changed.is_some(),
                // What the engine holds cannot be of an object that this transaction made.
                None => before.is_some() && self.hash_has_stored(object, field)?,
            };
            if !existed {
                field_count += 1;
            }
            self.change(&Change::PutField { object, field, value })?;
        }
        if field_count != count_before {
            self.put_hash(db, key, before.as_ref(), HashRef { object, field_count })?;
        } else if touched {
            self.touch(db, key);
        }
        Ok(field_count - count_before)
    }

    /// Deletes fields of the hash at a key of the selected database, and the key with the last of them; says how many
    /// were there.
    ///
    /// # Errors
    /// `WRONGTYPE` where the key holds another type; where the state cannot be read.
    pub(crate) fn hash_delete<'f>(
        &mut self,
        key: &[u8],
        fields: impl IntoIterator<Item = &'f [u8]>,
    ) -> Result<u64, CommandError> {
        let db = self.db;
        let Some(before) = self.lookup_in(db, key)? else { return Ok(0) };
        let hash = before.as_hash()?;
        let HashRef { object, field_count: count_before } = hash;
        let mut field_count = count_before;
        for field in fields {
            if field_count > 0 && self.hash_get(&hash, field)?.is_some() {
                self.change(&Change::DeleteField { object, field })?;
                field_count -= 1;
            }
        }
        if field_count == 0 {
            self.remove_entry(db, key, &before)?;
        } else if field_count != count_before {
            self.put_hash(db, key, Some(&before), HashRef { object, field_count })?;
        }
        Ok(count_before - field_count)
    }

    /// Makes the key hold a new hash with the fields of another.
    pub(super) fn copy_hash(
        &mut self,
        source: &HashRef,
        to: (u32, &[u8]),
        expires_at_ms: Option<u64>,
    ) -> Result<(), StateError> {
        self.delete_in(to.0, to.1)?;
        let object = self.new_object()?;
        let mut field_count = 0;
        let mut from = Bound::Unbounded;
        loop {
            // Reading and changing take turns, so that no more than a page of the hash is held twice.
            let page = self.hash_page(source, from.as_ref().map(|field: &Bytes| &field[..]))?;
            let Some((last, _)) = page.last() else { break };
            from = Bound::Excluded(last.clone());
            for (field, value) in &page {
                self.change(&Change::PutField { object, field, value })?;
                field_count += 1;
            }
        }
        if field_count != source.field_count {
            return Err(StateError::Mismatch(format!(
                "a hash counts {} fields and has {field_count}",
                source.field_count
            )));
        }
        let space = self.database(to.0)?.space;
        self.change(&Change::PutHash { space, key: to.1, expires_at_ms, object, field_count })?;
        self.recount(to.0, to.1, None, Some(expires_at_ms))
    }

    fn hash_page(&self, hash: &HashRef, from: Bound<&[u8]>) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        const PAGE_FIELDS_MAX: usize = 1024;
        const PAGE_BYTES_MAX: usize = 1024 * 1024;
        let mut page = Vec::new();
        let mut page_bytes = 0;
        for item in self.hash_fields(hash, from) {
            let (field, value) = item?;
            page_bytes += field.len() + value.len();
            page.push((field, value));
            if page.len() >= PAGE_FIELDS_MAX || page_bytes >= PAGE_BYTES_MAX {
                break;
            }
        }
        Ok(page)
    }

    fn put_hash(&mut self, db: u32, key: &[u8], before: Option<&Entry>, hash: HashRef) -> Result<(), StateError> {
        let space = self.database(db)?.space;
        let expires_at_ms = before.and_then(|entry| entry.expires_at_ms);
        let HashRef { object, field_count } = hash;
        self.change(&Change::PutHash { space, key, expires_at_ms, object, field_count })?;
        self.recount(db, key, before, Some(expires_at_ms))
    }

    fn hash_has_stored(&self, object: ObjectId, field: &[u8]) -> Result<bool, StateError> {
        Ok(field.len() <= KEY_BYTES_MAX && self.state.get(&EntryKey::field(object, field))?.is_some())
    }
}
