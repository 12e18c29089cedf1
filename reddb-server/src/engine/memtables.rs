//! The memtables of a tree: the one that is written to, those that are sealed, and those that were flushed and that an older read
//! may still need.
//!
//! A flush puts what it writes into a new state of the tree's tables, which has a number. A read below that number or at it uses an
//! older state, which lacks what was flushed, so it looks into the memtable; any other read finds it in the tables. See
//! [`super::seqno`].
//!
//! Invariants:
//! * Of a key, every version in a memtable is newer than those in the memtables before it; and a read that sees the memtable uses a
//!   state of the tables that has nothing newer of it.
//! * A memtable is let go of once no read can be at the number of its flush or below.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use super::memtable::{Cursor, Memtable, Ordered, OrderedEntry};
use super::{EngineError, KeyRange};

/// See the module.
pub(super) struct Memtables {
    lists: RwLock<Lists>,
}

/// Each list has the oldest first.
struct Lists {
    flushed: VecDeque<Flushed>,
    sealed: VecDeque<Arc<Memtable>>,
    active: Arc<Memtable>,
}

struct Flushed {
    table: Arc<Memtable>,
    /// The number of the state that has its entries in tables, or a higher one. Whatever came into tables later came at a number
    /// above it.
    number: u64,
}

impl Lists {
    /// The memtables that a read below a number sees, the newest first.
    fn seen(&self, below: u64) -> impl Iterator<Item = &Arc<Memtable>> {
        let flushed = self.flushed.iter().filter(move |flushed| flushed.number >= below).map(|flushed| &flushed.table);
        std::iter::once(&self.active).chain(self.sealed.iter().rev()).chain(flushed.rev())
    }
}

impl Memtables {
    /// One empty memtable.
    pub(super) fn new() -> Self {
        let lists = Lists { flushed: VecDeque::new(), sealed: VecDeque::new(), active: Memtable::new() };
        Self { lists: RwLock::new(lists) }
    }

    /// The memtable that is written to.
    pub(super) fn active(&self) -> Arc<Memtable> {
        Arc::clone(&self.lists.read().active)
    }

    /// Seals the memtable that is written to, where it is not empty, and gives the one that is written to then.
    pub(super) fn seal(&self) -> Arc<Memtable> {
        let mut lists = self.lists.write();
        if !lists.active.is_empty() {
            let full = std::mem::replace(&mut lists.active, Memtable::new());
            lists.sealed.push_back(full);
        }
        Arc::clone(&lists.active)
    }

    /// The memtables that are sealed and not flushed.
    pub(super) fn sealed(&self) -> Vec<Arc<Memtable>> {
        self.lists.read().sealed.iter().cloned().collect()
    }

    /// How many memtables are sealed and not flushed.
    pub(super) fn sealed_count(&self) -> usize {
        self.lists.read().sealed.len()
    }

    /// The oldest sealed memtables, so many, are in tables that a read above `number` uses.
    pub(super) fn flushed(&self, count: usize, number: u64) {
        let mut lists = self.lists.write();
        let Lists { flushed, sealed, .. } = &mut *lists;
        flushed.extend(sealed.drain(..count).map(|table| Flushed { table, number }));
    }

    /// No read is below `watermark` any more.
    pub(super) fn forget(&self, watermark: u64) {
        let mut forgotten = Vec::new();
        let mut lists = self.lists.write();
        while let Some(oldest) = lists.flushed.pop_front_if(|oldest| oldest.number < watermark) {
            forgotten.push(oldest);
        }
        // Given back without the lock: there is much of it.
        drop(lists);
        drop(forgotten);
    }

    /// The newest version of a key below a number, where a memtable has one: its value, or `None` for a tombstone.
    pub(super) fn get(&self, key: &[u8], below: u64) -> Option<Option<Bytes>> {
        self.lists.read().seen(below).find_map(|table| table.get(key, below))
    }

    /// The versions below a number in a range of keys.
    pub(super) fn cursors(&self, range: KeyRange<'_>, below: u64) -> Vec<Cursor> {
        let seen: Vec<_> = self.lists.read().seen(below).cloned().collect();
        seen.iter().flat_map(|table| table.cursors(range, below)).collect()
    }
}

/// The entries of several memtables in order, the newest version of a key first, without those that no read at a watermark or
/// above can see.
pub(super) struct Survivors<'a> {
    tables: &'a [Ordered<'a>],
    /// Where each of them is.
    at: Vec<usize>,
    watermark: u64,
    last: Option<(&'a [u8], u64)>,
}

impl<'a> Survivors<'a> {
    pub(super) fn new(tables: &'a [Ordered<'a>], watermark: u64) -> Self {
        Self { tables, at: vec![0; tables.len()], watermark, last: None }
    }

    fn next_entry(&mut self) -> Option<OrderedEntry<'a>> {
        let tables = self.tables;
        let entries = tables.iter().zip(&mut self.at).filter_map(|(table, at)| Some((table.entry(*at)?, at)));
        let first = entries.min_by(|((one, one_seqno, _), _), ((other, other_seqno, _), _)| {
            one.cmp(other).then_with(|| other_seqno.cmp(one_seqno))
        });
        first.map(|(entry, at)| {
            *at += 1;
            entry
        })
    }
}

impl<'a> Iterator for Survivors<'a> {
    type Item = OrderedEntry<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (key, seqno, value) = self.next_entry()?;
            let newer = self.last.replace((key, seqno)).filter(|(last, _)| *last == key);
            // A read that sees this one stays at or below the number of the next newer one.
            if newer.is_none_or(|(_, newer)| newer >= self.watermark) {
                return Some((key, seqno, value));
            }
        }
    }
}

/// An entry of a range, or why it cannot be read.
type Entry = Result<(Bytes, Bytes), EngineError>;

/// Merges what memtables and tables hold of a range: the newest version of each key, without tombstones.
pub(super) struct Merge<T> {
    cursors: Vec<Cursor>,
    tables: T,
    /// What was taken of the tables' entries and not given out.
    first: Option<Entry>,
    last: Option<Entry>,
}

impl<T: DoubleEndedIterator<Item = Entry>> Merge<T> {
    /// `tables` gives each key once. What the memtables hold of it is newer, or the same.
    pub(super) fn new(cursors: Vec<Cursor>, tables: T) -> Self {
        Self { cursors, tables, first: None, last: None }
    }
}

impl<T: DoubleEndedIterator<Item = Entry>> Iterator for Merge<T> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        loop {
            if self.first.is_none() {
                self.first = self.tables.next().or_else(|| self.last.take());
            }
            if self.cursors.is_empty() || matches!(self.first, Some(Err(_))) {
                return self.first.take();
            }
            let mut key = self.first.as_ref().and_then(|entry| entry.as_ref().ok()).map(|(key, _)| key.clone());
            let mut newest = None;
            for (index, cursor) in self.cursors.iter_mut().enumerate() {
                let Some((other, seqno)) = cursor.first() else { continue };
                if key.as_ref().is_none_or(|key| other < key) {
                    (key, newest) = (Some(other.clone()), Some((seqno, index)));
                } else if key.as_ref() == Some(other) {
                    newest = newest.max(Some((seqno, index)));
                }
            }
            let key = key?;
            let mut value = newest.and_then(|(_, index)| self.cursors[index].first_value());
            for cursor in &mut self.cursors {
                if cursor.first().is_some_and(|(other, _)| *other == key) {
                    cursor.skip_first();
                }
            }
            if let Some(Ok((_, older))) = self.first.take_if(|entry| matches!(entry, Ok((other, _)) if *other == key))
                && newest.is_none()
            {
                value = Some(older);
            }
            if let Some(value) = value {
                return Some(Ok((key, value)));
            }
        }
    }
}

impl<T: DoubleEndedIterator<Item = Entry>> DoubleEndedIterator for Merge<T> {
    fn next_back(&mut self) -> Option<Entry> {
        loop {
            if self.last.is_none() {
                self.last = self.tables.next_back().or_else(|| self.first.take());
            }
            if self.cursors.is_empty() || matches!(self.last, Some(Err(_))) {
                return self.last.take();
            }
            let mut key = self.last.as_ref().and_then(|entry| entry.as_ref().ok()).map(|(key, _)| key.clone());
            let mut newest = None;
            for (index, cursor) in self.cursors.iter_mut().enumerate() {
                let Some((other, seqno)) = cursor.last() else { continue };
                if key.as_ref().is_none_or(|key| other > key) {
                    (key, newest) = (Some(other.clone()), Some((seqno, index)));
                } else if key.as_ref() == Some(other) {
                    newest = newest.max(Some((seqno, index)));
                }
            }
            let key = key?;
            let mut value = newest.and_then(|(_, index)| self.cursors[index].last_value());
            for cursor in &mut self.cursors {
                if cursor.last().is_some_and(|(other, _)| *other == key) {
                    cursor.skip_last();
                }
            }
            if let Some(Ok((_, older))) = self.last.take_if(|entry| matches!(entry, Ok((other, _)) if *other == key))
                && newest.is_none()
            {
                value = Some(older);
            }
            if let Some(value) = value {
                return Some(Ok((key, value)));
            }
        }
    }
}
