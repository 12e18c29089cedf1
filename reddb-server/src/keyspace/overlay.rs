//! What batches have changed and the engine does not hold yet: the batch that is open, and the one that is sealed and on its way
//! to the engine.
//!
//! Nearly every transaction changes its database's counts. So databases are kept apart from other entries and as what they mean;
//! they become entries once for each batch, when it is sealed.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::layout::DatabaseState;
use super::lower::lower_database;
use crate::engine::EngineWrite;

/// An entry that was changed: its key, and its value or `None` for "deleted".
pub(crate) type OverlayEntry = (Bytes, Option<Bytes>);

/// What was changed, and what the open batch had changed it to before that, if it had.
#[derive(Clone, Debug)]
pub(crate) enum OverlayUndo {
    /// An entry.
    Entry(Bytes, Option<Option<Bytes>>),
    /// A database.
    Database(u32, Option<DatabaseState>),
}

/// Databases that were changed, each once: mostly one.
type Databases = Vec<(u32, DatabaseState)>;

fn find(databases: &Databases, db: u32) -> Option<usize> {
    databases.iter().position(|(other, _)| *other == db)
}

/// Engine entries that are newer than the engine: a value, or `None` for "deleted".
#[derive(Debug)]
pub(crate) struct Overlay {
    /// What the open batch changed, without databases.
    open: BTreeMap<Bytes, Option<Bytes>>,
    open_databases: Databases,
    /// What the sealed one changed, databases among it, in key order; lent to whoever tells the engine.
    sealed: Option<Arc<Vec<EngineWrite>>>,
    sealed_databases: Databases,
}

impl Overlay {
    /// Nothing changed.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self { open: BTreeMap::new(), open_databases: Vec::new(), sealed: None, sealed_databases: Vec::new() }
    }

    /// Whether nothing was changed.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.open_databases.is_empty() && self.sealed().is_empty()
    }

    /// Forgets everything: the engine has caught up, or the batches are void.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.open_databases.clear();
        self.settle();
    }

    /// Closes the open batch and begins another: what it changed, in key order. It stays until [`Overlay::settle`]. The engine must
    /// hold the batch that was sealed before.
    #[must_use]
    pub(crate) fn seal(&mut self) -> Arc<Vec<EngineWrite>> {
        // They exchange their rooms, which stay.
        self.sealed_databases.clear();
        std::mem::swap(&mut self.sealed_databases, &mut self.open_databases);
        self.sealed_databases.sort_unstable_by_key(|(db, _)| *db);
        let databases = self.sealed_databases.iter().map(|(db, state)| {
            let (key, value) = lower_database(*db, state);
            (key, Some(value))
        });
        // A database's entry comes before all that transactions change else.
        let entries = databases.chain(std::mem::take(&mut self.open));
        let sealed = Arc::new(entries.map(EngineWrite::from).collect::<Vec<_>>());
        debug_assert!(sealed.is_sorted_by(|one, other| one.key() < other.key()), "entries are found by their order");
        self.sealed = Some(Arc::clone(&sealed));
        sealed
    }

    /// The engine holds the batch that is sealed: only what the open one changed stays.
    pub(crate) fn settle(&mut self) {
        self.sealed = None;
        self.sealed_databases.clear();
    }

    /// Everything that was changed; nothing stays. Nothing may be sealed.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn take(&mut self) -> Vec<OverlayEntry> {
        assert!(self.sealed.is_none(), "what is sealed is told to the engine by whoever sealed it");
        let all = self.seal().iter().map(|write| (write.key().clone(), write.value().cloned())).collect();
        self.clear();
        all
    }

    /// What a database was changed to, or `None` where it was not changed.
    #[must_use]
    pub(crate) fn database(&self, db: u32) -> Option<DatabaseState> {
        let changed = |databases: &Databases| find(databases, db).map(|index| databases[index].1);
        changed(&self.open_databases).or_else(|| changed(&self.sealed_databases))
    }

    /// Changes a database and gives what the open batch had changed it to before.
    pub(crate) fn set_database(&mut self, db: u32, state: DatabaseState) -> Option<DatabaseState> {
        match find(&self.open_databases, db) {
            Some(index) => Some(std::mem::replace(&mut self.open_databases[index].1, state)),
            None => {
                self.open_databases.push((db, state));
                None
            }
        }
    }

    /// What the entry, not one of a database, was changed to (`Some(None)`: deleted), or `None` where it was not changed.
    #[must_use]
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&Bytes>> {
        if let Some(value) = self.open.get(key) {
            return Some(value.as_ref());
        }
        let sealed = self.sealed();
        let found = sealed.binary_search_by(|write| write.key().as_ref().cmp(key));
        found.ok().map(|index| sealed[index].value())
    }

    /// Changes the entry, not one of a database, and gives what the open batch had changed it to before.
    pub(crate) fn set(&mut self, key: Bytes, value: Option<Bytes>) -> Option<Option<Bytes>> {
        self.open.insert(key, value)
    }

    /// Puts back what [`Overlay::set`] or [`Overlay::set_database`] gave.
    pub(crate) fn restore(&mut self, changed: OverlayUndo) {
        match changed {
            OverlayUndo::Entry(key, Some(value)) => drop(self.open.insert(key, value)),
            OverlayUndo::Entry(key, None) => drop(self.open.remove(&key)),
            OverlayUndo::Database(db, Some(before)) => drop(self.set_database(db, before)),
            OverlayUndo::Database(db, None) => self.open_databases.retain(|(other, _)| *other != db),
        }
    }

    /// Puts back a run of changes, the last one first.
    pub(crate) fn undo(&mut self, changed: Vec<OverlayUndo>) {
        changed.into_iter().rev().for_each(|changed| self.restore(changed));
    }

    /// The changed entries of a range, which holds none of databases, in key order.
    pub(crate) fn range(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> OverlayRange<'_> {
        let empty = match (&from, &to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
            _ => false,
        };
        if empty {
            return OverlayRange::default();
        }
        let sealed = self.sealed();
        let start = sealed.partition_point(|write| match &from {
            Bound::Included(from) => write.key() < from,
            Bound::Excluded(from) => write.key() <= from,
            Bound::Unbounded => false,
        });
        let end = sealed.partition_point(|write| match &to {
            Bound::Included(to) => write.key() <= to,
            Bound::Excluded(to) => write.key() < to,
            Bound::Unbounded => true,
        });
        OverlayRange {
            open: self.open.range::<Bytes, _>((from, to)),
            sealed: &sealed[start..end],
            ..OverlayRange::default()
        }
    }

    fn sealed(&self) -> &[EngineWrite] {
        self.sealed.as_ref().map_or(&[], |sealed| sealed)
    }
}

/// Changed entries in key order, from either end; what the open batch changed hides what the sealed one did.
#[derive(Clone, Debug, Default)]
pub(crate) struct OverlayRange<'a> {
    open: btree_map::Range<'a, Bytes, Option<Bytes>>,
    /// The entries of `open` that were looked at from either end and not given yet.
    front: Option<(&'a Bytes, &'a Option<Bytes>)>,
    back: Option<(&'a Bytes, &'a Option<Bytes>)>,
    sealed: &'a [EngineWrite],
}

impl<'a> Iterator for OverlayRange<'a> {
    type Item = (&'a Bytes, Option<&'a Bytes>);

    fn next(&mut self) -> Option<Self::Item> {
        self.front = self.front.or_else(|| self.open.next()).or_else(|| self.back.take());
        if let Some((first, rest)) = self.sealed.split_first()
            && self.front.is_none_or(|(key, _)| first.key() <= key)
        {
            self.sealed = rest;
            if self.front.is_none_or(|(key, _)| first.key() < key) {
                return Some((first.key(), first.value()));
            }
        }
        self.front.take().map(|(key, value)| (key, value.as_ref()))
    }
}

impl DoubleEndedIterator for OverlayRange<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.back = self.back.or_else(|| self.open.next_back()).or_else(|| self.front.take());
        if let Some((last, rest)) = self.sealed.split_last()
            && self.back.is_none_or(|(key, _)| last.key() >= key)
        {
            self.sealed = rest;
            if self.back.is_none_or(|(key, _)| last.key() > key) {
                return Some((last.key(), last.value()));
            }
        }
        self.back.take().map(|(key, value)| (key, value.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(number: u8) -> Bytes {
        vec![number].into()
    }

    fn bound((number, kind): (u8, u8)) -> Bound<Bytes> {
        match kind {
            0 => Bound::Unbounded,
            1 => Bound::Included(key(number)),
            _ => Bound::Excluded(key(number)),
        }
    }

    proptest! {
        /// Two batches over each other are one map, from whichever ends its ranges are read.
        #[test]
        fn is_a_map_in_which_the_open_batch_hides_the_sealed_one(
            sealed in proptest::collection::btree_map(0u8..24, any::<bool>(), 0..12),
            open in proptest::collection::btree_map(0u8..24, any::<bool>(), 0..12),
            (from, to) in ((0u8..24, 0u8..3), (0u8..24, 0u8..3)),
            ends in proptest::collection::vec(any::<bool>(), 26),
        ) {
            let mut overlay = Overlay::new();
            let mut model = BTreeMap::new();
            for (batch, changes) in [sealed, open].into_iter().enumerate() {
                for (number, deleted) in changes {
                    let value = (!deleted).then(|| Bytes::from(vec![number, batch as u8]));
                    overlay.set(key(number), value.clone());
                    model.insert(key(number), value);
                }
                if batch == 0 {
                    let writes: Vec<_> = model.clone().into_iter().map(EngineWrite::from).collect();
                    prop_assert_eq!(&*overlay.seal(), &writes);
                }
            }
            for number in 0..24 {
                prop_assert_eq!(overlay.get(&key(number)), model.get(&key(number)).map(Option::as_ref));
            }
            let (from, to) = (bound(from), bound(to));
            let inside = |found: &Bytes| {
                (match &from {
                    Bound::Included(from) => found >= from,
                    Bound::Excluded(from) => found > from,
                    Bound::Unbounded => true,
                }) && (match &to {
                    Bound::Included(to) => found <= to,
                    Bound::Excluded(to) => found < to,
                    Bound::Unbounded => true,
                })
            };
            let mut expected = model.iter().map(|(key, value)| (key, value.as_ref())).filter(|(key, _)| inside(key));
            let mut range = overlay.range(from.clone(), to.clone());
            for from_the_back in ends {
                let (found, wanted) = if from_the_back {
                    (range.next_back(), expected.next_back())
                } else {
                    (range.next(), expected.next())
                };
                prop_assert_eq!(found, wanted);
            }
        }
    }
    fn counting(key_count: u64) -> DatabaseState {
        DatabaseState { key_count, ..DatabaseState::initial(0) }
    }

    #[test]
    fn a_database_is_an_entry_of_the_batch_before_all_others() {
        let mut overlay = Overlay::new();
        overlay.set(Bytes::from_static(b"F"), None);
        for (db, key_count) in [(3, 1), (0, 1), (3, 2)] {
            overlay.set_database(db, counting(key_count));
        }
        let entries = |writes: &[EngineWrite]| -> Vec<_> {
            writes.iter().map(|write| (write.key().clone(), write.value().cloned())).collect()
        };
        let database = |db, key_count| {
            let (key, value) = lower_database(db, &counting(key_count));
            (key, Some(value))
        };
        let expected = [database(0, 1), database(3, 2), (Bytes::from_static(b"F"), None)];
        assert_eq!(entries(&overlay.seal()), expected);
        // What the open batch does hides what the sealed one did, until that one is settled.
        assert_eq!(overlay.set_database(0, counting(7)), None);
        assert_eq!([0, 1, 3].map(|db| overlay.database(db)), [Some(counting(7)), None, Some(counting(2))]);
        overlay.settle();
        assert_eq!([0, 1, 3].map(|db| overlay.database(db)), [Some(counting(7)), None, None]);
        assert_eq!(entries(&overlay.seal()), [database(0, 7)]);
    }

    #[test]
    fn what_is_put_back_is_as_it_was() {
        let mut overlay = Overlay::new();
        let key = Bytes::from_static(b"F");
        let mut changed = Vec::new();
        for value in ["one", "two"].map(Bytes::from) {
            changed.push(OverlayUndo::Entry(key.clone(), overlay.set(key.clone(), Some(value.clone()))));
            let state = counting(value.len() as u64 + changed.len() as u64);
            changed.push(OverlayUndo::Database(1, overlay.set_database(1, state)));
        }
        let last = changed.split_off(2);
        overlay.undo(last);
        assert_eq!(overlay.get(&key), Some(Some(&Bytes::from_static(b"one"))));
        assert_eq!(overlay.database(1), Some(counting(4)));
        overlay.undo(changed);
        assert!(overlay.is_empty());
    }
}
