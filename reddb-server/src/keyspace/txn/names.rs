//! Names in byte order: the keys of a database, the fields of a hash.

use std::cmp::Ordering;
use std::ops::Bound;

use bytes::Bytes;
use reddb_wire::ObjectId;

use super::{Entry, HashRef, Txn};
use crate::keyspace::layout::{self, decode_entry, field_entry, key_entry, name_of};
use crate::keyspace::overlay::OverlayRange;
use crate::keyspace::state::{StateEntry, StateError};

/// A set of names, each with a value: the keys of a database with their encoded entries, or a hash's fields with theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    id: ObjectId,
    /// What the engine's key of each of them starts with.
    prefix: Bytes,
}

impl Names {
    /// The key space, or the hash's object: other names have another.
    #[must_use]
    pub(crate) const fn id(&self) -> ObjectId {
        self.id
    }

    fn entry(&self, name: &[u8]) -> Bytes {
        [&self.prefix, name].concat().into()
    }
}

impl Txn<'_> {
    /// The keys of the selected database, expired ones that are not yet deleted among them; see [`Txn::decode_live`].
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn key_names(&mut self) -> Result<Names, StateError> {
        let id = self.database(self.db)?.space;
        Ok(Names { id, prefix: key_entry(id, b"") })
    }

    /// The fields of a hash.
    #[must_use]
    pub(crate) fn field_names(hash: &HashRef) -> Names {
        Names { id: hash.object, prefix: field_entry(hash.object, b"") }
    }

    /// The names from `from` on that start with `start`, in order, with their values, read as they are asked for.
    pub(crate) fn names(
        &self,
        names: &Names,
        from: Bound<&[u8]>,
        start: &[u8],
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), StateError>> + use<'_> {
        let first = names.entry(start);
        let to = Bound::Excluded(layout::prefix_end(&first));
        let from = match from {
            Bound::Included(name) if name > start => Bound::Included(names.entry(name)),
            Bound::Excluded(name) if name >= start => Bound::Excluded(names.entry(name)),
            _ => Bound::Included(first),
        };
        self.merged(from, to).map(|item| item.and_then(|(key, value)| Ok((name_of(&key)?, value))))
    }

    /// The last name below `below` (without a bound: of all) that starts with `start`.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub(crate) fn last_name(
        &self,
        names: &Names,
        start: &[u8],
        below: Option<&[u8]>,
    ) -> Result<Option<Bytes>, StateError> {
        let from = names.entry(start);
        let mut to = layout::prefix_end(&from);
        if let Some(below) = below {
            to = to.min(names.entry(below));
        }
        if to <= from {
            return Ok(None);
        }
        let (from, end) = (Bound::Included(from), Bound::Excluded(to.clone()));
        let changed = self.changed_range(from.clone(), end).rfind(|(_, value)| value.is_some()).map(|(key, _)| key);
        // What is stored counts unless it was deleted since.
        let stored = loop {
            let Some((key, _)) = self.state.last(from.clone(), Bound::Excluded(to))? else { break None };
            if !matches!(self.changed(&key), Some(None)) {
                break Some(key);
            }
            if matches!(&from, Bound::Included(from) if *from == key) {
                break None;
            }
            to = key;
        };
        Ok(stored.max(changed.cloned()).map(|key| name_of(&key)).transpose()?)
    }

    /// The entry of a key of [`Txn::key_names`], unless it has expired.
    ///
    /// # Errors
    /// Where the value is no entry.
    pub(crate) fn decode_live(&self, key: &[u8], value: &Bytes) -> Result<Option<Entry>, StateError> {
        let entry = decode_entry(key, value)?;
        Ok((!self.is_expired(&entry)).then_some(entry))
    }

    /// The fields of a hash from `from` on, in field order, read as they are asked for.
    pub(crate) fn hash_fields(
        &self,
        hash: &HashRef,
        from: Bound<&[u8]>,
    ) -> impl Iterator<Item = Result<(Bytes, Bytes), StateError>> + use<'_> {
        self.names(&Self::field_names(hash), from, b"")
    }

    fn changed_range(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> OverlayRange<'_> {
        self.overlay.as_ref().map_or_else(OverlayRange::default, |overlay| overlay.range(from, to))
    }

    fn merged(
        &self,
        from: Bound<Bytes>,
        to: Bound<Bytes>,
    ) -> impl Iterator<Item = Result<StateEntry, StateError>> + use<'_> {
        let mut stored = self.state.range(from.clone(), to.clone()).peekable();
        let mut changed = self.changed_range(from, to).peekable();
        std::iter::from_fn(move || {
            loop {
                let order = match (stored.peek(), changed.peek()) {
                    (_, None) | (Some(Err(_)), _) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(Ok((stored_key, _))), Some((changed_key, _))) => stored_key.cmp(changed_key),
                };
                match order {
                    Ordering::Less => return stored.next(),
                    // The change hides what is stored.
                    Ordering::Equal => drop(stored.next()),
                    Ordering::Greater => {}
                }
                if let Some((key, Some(value))) = changed.next() {
                    return Some(Ok((key.clone(), value.clone())));
                }
            }
        })
    }
}
