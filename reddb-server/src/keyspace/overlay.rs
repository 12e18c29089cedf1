//! What the running batch has changed and the engine does not hold yet.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

/// An entry that was changed: its key, and its value or `None` for "deleted".
pub(crate) type OverlayEntry = (Bytes, Option<Bytes>);

/// An entry that was changed, and what it was changed to before that, if it was.
pub(crate) type OverlayUndo = (Bytes, Option<Option<Bytes>>);

/// Engine entries that are newer than the engine: a value, or `None` for "deleted".
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    entries: BTreeMap<Bytes, Option<Bytes>>,
}

impl Overlay {
    /// Nothing changed.
    #[must_use]
    pub(crate) const fn new() -> Self {
        Self { entries: BTreeMap::new() }
    }

    /// Whether nothing was changed.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets everything: the engine has caught up.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Everything that was changed, in key order; nothing stays.
    #[must_use]
    pub(crate) fn take(&mut self) -> Vec<OverlayEntry> {
        std::mem::take(&mut self.entries).into_iter().collect()
    }

    /// What the entry was changed to, or `None` where it was not changed.
    #[must_use]
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Option<Bytes>> {
        self.entries.get(key)
    }

    /// Changes the entry and gives what it was changed to before.
    pub(crate) fn set(&mut self, key: Bytes, value: Option<Bytes>) -> Option<Option<Bytes>> {
        self.entries.insert(key, value)
    }

    /// Puts back what [`Overlay::set`] gave.
    pub(crate) fn restore(&mut self, key: Bytes, before: Option<Option<Bytes>>) {
        match before {
            Some(value) => self.entries.insert(key, value),
            None => self.entries.remove(&key),
        };
    }

    /// Puts back what a run of [`Overlay::set`] gave, the last one first.
    pub(crate) fn undo(&mut self, changed: Vec<OverlayUndo>) {
        for (key, before) in changed.into_iter().rev() {
            self.restore(key, before);
        }
    }

    /// As [`Overlay::undo`], and gives what the entries were changed to.
    #[must_use]
    pub(crate) fn withdraw(&mut self, changed: Vec<OverlayUndo>) -> Vec<OverlayEntry> {
        let mut entries = BTreeMap::new();
        for (key, _) in &changed {
            if let Some(value) = self.entries.get(key) {
                entries.insert(key.clone(), value.clone());
            }
        }
        self.undo(changed);
        entries.into_iter().collect()
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
        range.into_iter().flatten()
    }
}
