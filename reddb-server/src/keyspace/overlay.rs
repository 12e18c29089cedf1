//! What batches have changed and the engine does not hold yet: the batch that is open, and the one that is sealed and on its way
//! to the engine.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use crate::engine::EngineWrite;

/// An entry that was changed: its key, and its value or `None` for "deleted".
pub(crate) type OverlayEntry = (Bytes, Option<Bytes>);

/// An entry that was changed, and what the open batch had changed it to before that, if it had.
pub(crate) type OverlayUndo = (Bytes, Option<Option<Bytes>>);

/// Engine entries that are newer than the engine: a value, or `None` for "deleted".
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    /// What the open batch changed.
    open: BTreeMap<Bytes, Option<Bytes>>,
    /// What the sealed one changed, in key order; lent to whoever tells the engine.
    sealed: Option<Arc<Vec<EngineWrite>>>,
}

impl Overlay {
    /// Nothing changed.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self { open: BTreeMap::new(), sealed: None }
    }

    /// Whether nothing was changed.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.sealed().is_empty()
    }

    /// Forgets everything: the engine has caught up, or the batches are void.
    pub(crate) fn clear(&mut self) {
        self.open.clear();
        self.sealed = None;
    }

    /// Closes the open batch and begins another: what it changed, in key order. It stays until [`Overlay::settle`]. The engine must
    /// hold the batch that was sealed before.
    #[must_use]
    pub(crate) fn seal(&mut self) -> Arc<Vec<EngineWrite>> {
        let sealed = Arc::new(std::mem::take(&mut self.open).into_iter().map(EngineWrite::from).collect());
        self.sealed = Some(Arc::clone(&sealed));
        sealed
    }

    /// The engine holds the batch that is sealed: only what the open one changed stays.
    pub(crate) fn settle(&mut self) {
        self.sealed = None;
    }

    /// Everything that was changed, in key order; nothing stays.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn take(&mut self) -> Vec<OverlayEntry> {
        let all = self.range(Bound::Unbounded, Bound::Unbounded);
        let all = all.map(|(key, value)| (key.clone(), value.cloned())).collect();
        self.clear();
        all
    }

    /// What the entry was changed to (`Some(None)`: deleted), or `None` where it was not changed.
    #[must_use]
    pub(crate) fn get(&self, key: &[u8]) -> Option<Option<&Bytes>> {
        if let Some(value) = self.open.get(key) {
            return Some(value.as_ref());
        }
        let sealed = self.sealed();
        let found = sealed.binary_search_by(|write| write.key().as_ref().cmp(key));
        found.ok().map(|index| sealed[index].value())
    }

    /// Changes the entry and gives what the open batch had changed it to before.
    pub(crate) fn set(&mut self, key: Bytes, value: Option<Bytes>) -> Option<Option<Bytes>> {
        self.open.insert(key, value)
    }

    /// Puts back what [`Overlay::set`] gave.
    pub(crate) fn restore(&mut self, key: Bytes, before: Option<Option<Bytes>>) {
        match before {
            Some(value) => self.open.insert(key, value),
            None => self.open.remove(&key),
        };
    }

    /// Puts back what a run of [`Overlay::set`] gave, the last one first.
    pub(crate) fn undo(&mut self, changed: Vec<OverlayUndo>) {
        for (key, before) in changed.into_iter().rev() {
            self.restore(key, before);
        }
    }

    /// The changed entries of a range, in key order.
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
        let sealed = sealed.get(start..end).unwrap_or_default();
        OverlayRange { open: self.open.range::<Bytes, _>((from, to)), sealed, ..OverlayRange::default() }
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
}
