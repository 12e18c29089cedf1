//! What batches have changed and the engine does not hold yet: the batch that is open, and those that are on their way to the
//! engine.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// An entry that was changed: its key, and its value or `None` for "deleted".
pub(crate) type OverlayEntry = (Bytes, Option<Bytes>);

/// An entry that was changed, and what it was changed to before that, if it was.
pub(crate) type OverlayUndo = (Bytes, Option<Version>);

/// What an entry was changed to, and by which batch.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    batch: u64,
    value: Option<Bytes>,
}

/// Engine entries that are newer than the engine: a value, or `None` for "deleted".
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    entries: BTreeMap<Bytes, Version>,
    /// The open batch, by its number.
    batch: u64,
}

impl Overlay {
    /// Nothing changed.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self { entries: BTreeMap::new(), batch: 0 }
    }

    /// Whether nothing was changed.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything: the engine has caught up, or the batches are void.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Closes the open batch and begins another: what it changed, in key order. It stays until [`Overlay::settle`].
    #[must_use]
    pub(crate) fn seal(&mut self) -> Vec<OverlayEntry> {
        let sealed = self.entries.iter().filter(|(_, version)| version.batch == self.batch);
        let sealed = sealed.map(|(key, version)| (key.clone(), version.value.clone())).collect();
        self.batch += 1;
        sealed
    }

    /// The engine holds every batch that is sealed: only what the open one changed stays.
    pub(crate) fn settle(&mut self) {
        let open = self.batch;
        self.entries.retain(|_, version| version.batch == open);
    }

    /// Everything that was changed, in key order; nothing stays.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn take(&mut self) -> Vec<OverlayEntry> {
        std::mem::take(&mut self.entries).into_iter().map(|(key, version)| (key, version.value)).collect()
    }

    /// What the entry was changed to, or `None` where it was not changed.
    #[must_use]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.entries.get(key).map(|version| &version.value)
    }

    /// Changes the entry and gives what it was changed to before.
    pub(crate) fn set(&mut self, key: Bytes, value: Option<Bytes>) -> Option<Version> {
        self.entries.insert(key, Version { batch: self.batch, value })
    }

    /// Puts back what [`Overlay::set`] gave.
    pub(crate) fn restore(&mut self, key: Bytes, before: Option<Version>) {
        match before {
            Some(version) => self.entries.insert(key, version),
            None => self.entries.remove(&key),
        };
    }

    /// Puts back what a run of [`Overlay::set`] gave, the last one first.
    pub(crate) fn undo(&mut self, changed: Vec<OverlayUndo>) {
        for (key, before) in changed.into_iter().rev() {
            self.restore(key, before);
        }
    }

    /// The changed entries of a range, in key order.
    pub(crate) fn range(
        &self,
        from: Bound<Bytes>,
        to: Bound<Bytes>,
    ) -> impl DoubleEndedIterator<Item = (&Bytes, &Option<Bytes>)> + '_ {
        let empty = match (&from, &to) {
            (Bound::Included(from), Bound::Included(to)) => from > to,
            (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
            _ => false,
        };
        let range = (!empty).then(|| self.entries.range::<Bytes, _>((from, to)));
        range.into_iter().flatten().map(|(key, version)| (key, &version.value))
    }
}
