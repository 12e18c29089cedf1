//! Where scans stand.
//!
//! Names are in byte order, so a scan's place is the last name it looked at, and a cursor is a number under which the
//! server remembers one.
//!
//! Invariants:
//! * A cursor is at least 1 and below 2^53, so that a client may hold it in a double; it is random, so that one from before
//!   a restart is not taken for another.
//! * A cursor is only good for the names it was made for: another database's, a flushed database's or a new hash's names
//!   have another [`ObjectId`].
//! * The table is bounded in entries and bytes. What was used longest ago is forgotten first. A forgotten cursor has no
//!   place, and its scan starts over: names come twice then, but none is skipped.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use reddb_wire::ObjectId;

/// How many cursors are remembered.
pub(crate) const CURSORS_MAX: usize = 65_536;
/// How many bytes of names the remembered cursors hold.
pub(crate) const CURSOR_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Every cursor is below this.
pub(crate) const CURSOR_END: u64 = 1 << 53;

/// Where a scan stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScanPlace {
    /// Whose names are scanned: a key space, or a hash's object.
    pub names: ObjectId,
    /// The last name looked at.
    pub after: Bytes,
}

#[derive(Debug)]
struct Slot {
    place: ScanPlace,
    used: u64,
}

/// The remembered cursors.
#[derive(Debug, Default)]
pub(crate) struct CursorTable {
    slots: HashMap<u64, Slot>,
    /// Cursors by when they were last used.
    by_use: BTreeMap<u64, u64>,
    uses: u64,
    bytes: usize,
}

impl CursorTable {
    /// Remembers a place under a cursor made of `random`, any number.
    pub(crate) fn remember(&mut self, place: ScanPlace, mut random: impl FnMut() -> u64) -> u64 {
        let cursor = loop {
            let cursor = random() % CURSOR_END;
            if cursor != 0 && !self.slots.contains_key(&cursor) {
                break cursor;
            }
        };
        self.bytes += place.after.len();
        let used = self.next_use(cursor);
        self.slots.insert(cursor, Slot { place, used });
        while self.slots.len() > 1 && (self.slots.len() > CURSORS_MAX || self.bytes > CURSOR_BYTES_MAX) {
            self.forget_oldest();
        }
        cursor
    }

    /// The place under a cursor, if it is remembered and one of these names. It stays remembered.
    pub(crate) fn place(&mut self, cursor: u64, names: ObjectId) -> Option<Bytes> {
        let used = self.uses;
        let slot = self.slots.get_mut(&cursor)?;
        let before = std::mem::replace(&mut slot.used, used);
        let after = (slot.place.names == names).then(|| slot.place.after.clone());
        self.by_use.remove(&before);
        self.next_use(cursor);
        after
    }

    /// How many cursors are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    fn next_use(&mut self, cursor: u64) -> u64 {
        let used = self.uses;
        self.uses += 1;
        self.by_use.insert(used, cursor);
        used
    }

    fn forget_oldest(&mut self) {
        if let Some((_, cursor)) = self.by_use.pop_first()
            && let Some(slot) = self.slots.remove(&cursor)
        {
            self.bytes -= slot.place.after.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(index: u32, after: &[u8]) -> ScanPlace {
        ScanPlace { names: ObjectId::initial_space(index), after: Bytes::copy_from_slice(after) }
    }

    fn counter() -> impl FnMut() -> u64 {
        let mut next = 0;
        move || {
            next += 1;
            next
        }
    }

    #[test]
    fn a_cursor_can_be_used_again_and_again() {
        let mut table = CursorTable::default();
        let cursor = table.remember(place(0, b"k"), counter());
        for _ in 0..3 {
            assert_eq!(table.place(cursor, ObjectId::initial_space(0)).as_deref(), Some(&b"k"[..]));
        }
        assert_eq!(table.place(cursor + 1, ObjectId::initial_space(0)), None);
    }

    #[test]
    fn a_cursor_is_no_place_among_other_names() {
        let mut table = CursorTable::default();
        let cursor = table.remember(place(0, b"k"), counter());
        assert_eq!(table.place(cursor, ObjectId::initial_space(1)), None);
        assert!(table.place(cursor, ObjectId::initial_space(0)).is_some());
    }

    #[test]
    fn a_cursor_is_never_zero_nor_taken_nor_too_big() {
        let mut table = CursorTable::default();
        let mut randoms = [0, CURSOR_END, 7, 7, u64::MAX].into_iter();
        let mut random = || randoms.next().unwrap();
        assert_eq!(table.remember(place(0, b"a"), &mut random), 7);
        assert_eq!(table.remember(place(0, b"b"), &mut random), CURSOR_END - 1);
    }

    #[test]
    fn what_was_used_longest_ago_is_forgotten_first() {
        let mut table = CursorTable::default();
        let mut random = counter();
        let first = table.remember(place(0, b"first"), &mut random);
        let second = table.remember(place(0, b"second"), &mut random);
        for _ in 2..CURSORS_MAX {
            table.remember(place(0, b""), &mut random);
        }
        assert!(table.place(first, ObjectId::initial_space(0)).is_some());
        table.remember(place(0, b""), &mut random);
        assert_eq!(table.len(), CURSORS_MAX);
        assert!(table.place(first, ObjectId::initial_space(0)).is_some());
        assert!(table.place(second, ObjectId::initial_space(0)).is_none());
        assert_eq!(table.by_use.len(), table.slots.len());
    }

    #[test]
    fn long_names_are_bounded_too() {
        let mut table = CursorTable::default();
        let mut random = counter();
        let name = vec![b'x'; 65_000];
        for _ in 0..1_000 {
            table.remember(place(0, &name), &mut random);
        }
        assert!(table.bytes <= CURSOR_BYTES_MAX);
        assert_eq!(table.len(), CURSOR_BYTES_MAX / 65_000);
    }
}
