//! A memtable: versions of keys, found by hash, and put in order where somebody asks for an order.
//!
//! Whoever writes needs no order, and most reads ask for one key. So an entry is appended, and a hash table leads to the newest
//! version of each key, which leads to the one before it: that touches a few places in memory, where a search tree touches a dozen.
//! A flush sorts a memtable once. A range of keys is read from sorted runs of entries: those that came since the last
//! range was read become a run, and runs are merged so that each is at least twice as long as the next. Who writes and never
//! reads a range pays for none of it.
//!
//! Keys and values are copied, one behind the other, into chunks that are given back as a whole.
//!
//! Invariants:
//! * Versions of a key come with ascending numbers; one with the number of the newest takes its place.
//! * Nothing is taken out. What is below a number that was applied does not change any more, so that an iterator needs no lock
//!   between two entries.
//! * While somebody may write, the lock is held for about [`BLOCK_ENTRIES`] entries at a time.

use std::cmp::Ordering;
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use quick_cache::DefaultHashBuilder;

use super::KeyRange;

/// What is allocated at once for keys and values; what takes more than a quarter of it gets a chunk of its own.
const CHUNK_BYTES: usize = 64 * 1024;
/// Entries that are sorted, merged or passed over while writers wait.
const BLOCK_ENTRIES: usize = 512;
/// Most keys have few versions: so many are looked at one by one before the rest is halved again and again.
const NEAR_ENTRIES: usize = 4;
const SLOTS_MIN: usize = 1024;
/// So much of a key is compared as a number.
const HEAD_BYTES: usize = 16;
/// Fewer entries that begin alike are sorted by their keys, and so is what begins alike beyond this.
const SORT_BY_HEADS_MIN: usize = 8;
const SORT_BY_HEADS_END_MAX: usize = 8 * HEAD_BYTES;
/// No entry.
const NONE: u32 = u32::MAX;
/// The length of the value of a tombstone.
const TOMBSTONE: u32 = u32::MAX;

/// An entry, by its place in the order of writing.
type EntryIndex = u32;

/// Entries in the order of their keys, the newest version of each first.
type Run = Arc<Vec<EntryIndex>>;

/// One version of a key.
#[derive(Clone, Copy)]
struct Entry {
    seqno: u64,
    /// Where its key is, and the value behind it.
    chunk: u32,
    start: u32,
    value_bytes: u32,
    /// The version before it.
    older: EntryIndex,
    key_bytes: u16,
}

/// Leads to the newest version of a key.
#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    newest: EntryIndex,
}

const FREE: Slot = Slot { tag: 0, newest: NONE };

pub(super) struct Entries {
    list: Vec<Entry>,
    chunks: Vec<Vec<u8>>,
    /// The chunk that is being filled.
    open: usize,
    /// A power of two in number, at most half of them taken.
    slots: Vec<Slot>,
    keys: usize,
    /// The lowest number of all; the highest possible where there is none.
    oldest: u64,
}

/// See the module.
pub(super) struct Memtable {
    entries: RwLock<Entries>,
    order: Mutex<Order>,
    /// With a key of its own, so that nobody can choose keys that collide.
    hasher: DefaultHashBuilder,
}

/// The entries that are in order.
#[derive(Default)]
struct Order {
    runs: Vec<Run>,
    /// How many entries the runs hold together: the first ones.
    ordered: usize,
}

impl Entries {
    fn entry(&self, index: EntryIndex) -> &Entry {
        &self.list[index as usize]
    }

    fn key(&self, index: EntryIndex) -> &[u8] {
        let entry = self.entry(index);
        let start = entry.start as usize;
        &self.chunks[entry.chunk as usize][start..start + usize::from(entry.key_bytes)]
    }

    /// `None` for a tombstone.
    fn value(&self, index: EntryIndex) -> Option<&[u8]> {
        let entry = self.entry(index);
        let start = entry.start as usize + usize::from(entry.key_bytes);
        (entry.value_bytes != TOMBSTONE)
            .then(|| &self.chunks[entry.chunk as usize][start..start + entry.value_bytes as usize])
    }

    /// By key, the newest version first.
    fn compare(&self, one: EntryIndex, other: EntryIndex) -> Ordering {
        let by_seqno = || self.entry(other).seqno.cmp(&self.entry(one).seqno);
        self.key(one).cmp(self.key(other)).then_with(by_seqno)
    }

    /// Sorts entries that have a piece of their keys with them, which ends at `end` in each. Numbers that lie together are compared
    /// much faster than keys that lie about, so of entries with the same piece the next one is taken, where they are many.
    fn sort_by_heads(&self, heads: &mut [(u128, EntryIndex)], end: usize) {
        heads.sort_unstable_by_key(|(head, _)| *head);
        for same in heads.chunk_by_mut(|one, other| one.0 == other.0) {
            if same.len() < SORT_BY_HEADS_MIN || end > SORT_BY_HEADS_END_MAX {
                same.sort_unstable_by(|one, other| self.compare(one.1, other.1));
                continue;
            }
            for (next, index) in &mut *same {
                *next = head(self.key(*index).get(end..).unwrap_or_default());
            }
            self.sort_by_heads(same, end + HEAD_BYTES);
        }
    }

    /// The key's slot, or the free one that it would take.
    fn slot(&self, tag: u32, key: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = tag as usize & mask;
        loop {
            let Slot { tag: found, newest } = self.slots[at];
            if newest == NONE || (found == tag && self.key(newest) == key) {
                return at;
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let slots = vec![FREE; self.slots.len() * 2];
        let mask = slots.len() - 1;
        for slot in std::mem::replace(&mut self.slots, slots) {
            if slot.newest != NONE {
                let mut at = slot.tag as usize & mask;
                while self.slots[at].newest != NONE {
                    at = (at + 1) & mask;
                }
                self.slots[at] = slot;
            }
        }
    }

    /// Copies a key and its value to where they stay.
    fn store(&mut self, key: &[u8], value: &[u8]) -> (u32, u32) {
        let bytes = key.len() + value.len();
        let large = bytes > CHUNK_BYTES / 4;
        let has_room = |chunk: &Vec<u8>| chunk.capacity() - chunk.len() >= bytes;
        let at = if !large && self.chunks.get(self.open).is_some_and(has_room) {
            self.open
        } else {
            self.chunks.push(Vec::with_capacity(if large { bytes } else { CHUNK_BYTES }));
            let last = self.chunks.len() - 1;
            if !large {
                self.open = last;
            }
            last
        };
        let chunk = &mut self.chunks[at];
        let start = chunk.len();
        chunk.extend_from_slice(key);
        chunk.extend_from_slice(value);
        (index_u32(at), index_u32(start))
    }

    fn insert(&mut self, tag: u32, key: &[u8], value: Option<&[u8]>, seqno: u64) {
        self.oldest = self.oldest.min(seqno);
        let slot = self.slot(tag, key);
        let before = self.slots[slot].newest;
        let (chunk, start) = self.store(key, value.unwrap_or_default());
        let entry = Entry {
            seqno,
            chunk,
            start,
            value_bytes: value.map_or(TOMBSTONE, |value| index_u32(value.len())),
            older: before,
            key_bytes: u16::try_from(key.len()).expect("keys are checked to be at most 65,535 bytes long"),
        };
        if before != NONE {
            let newest = &mut self.list[before as usize];
            assert!(newest.seqno <= seqno, "versions of a key come in order");
            if newest.seqno == seqno {
                *newest = Entry { older: newest.older, ..entry };
                return;
            }
        }
        self.slots[slot] = Slot { tag, newest: index_u32(self.list.len()) };
        self.list.push(entry);
        if before == NONE {
            self.keys += 1;
            if self.keys * 2 > self.slots.len() {
                self.grow();
            }
        }
    }
}

impl Memtable {
    /// An empty one.
    pub(super) fn new() -> Arc<Self> {
        let slots = vec![FREE; SLOTS_MIN];
        let entries = Entries { list: Vec::new(), chunks: Vec::new(), open: 0, slots, keys: 0, oldest: u64::MAX };
        Arc::new(Self { entries: RwLock::new(entries), order: Mutex::default(), hasher: DefaultHashBuilder::default() })
    }

    fn tag(&self, key: &[u8]) -> u32 {
        // The high half: the lower bits of it choose the slot.
        (self.hasher.hash_one(key) >> 32) as u32
    }

    /// Puts a version: a value, or `None` for a tombstone.
    pub(super) fn insert(&self, key: &[u8], value: Option<&[u8]>, seqno: u64) {
        let tag = self.tag(key);
        self.entries.write().insert(tag, key, value, seqno);
    }

    /// Whether nothing was put.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.read().list.is_empty()
    }

    /// The newest version of a key below a number.
    pub(super) fn get(&self, key: &[u8], below: u64) -> Option<Option<Bytes>> {
        let tag = self.tag(key);
        let entries = self.entries.read();
        if entries.oldest >= below {
            return None;
        }
        let mut index = entries.slots[entries.slot(tag, key)].newest;
        while index != NONE {
            let entry = entries.entry(index);
            if entry.seqno < below {
                return Some(entries.value(index).map(Bytes::copy_from_slice));
            }
            index = entry.older;
        }
        None
    }

    /// Sorted runs that together hold at least every entry that was put before.
    fn runs(&self) -> Vec<Run> {
        let mut order = self.order.lock();
        let end = self.entries.read().list.len();
        while order.ordered < end {
            let block_end = end.min(order.ordered + BLOCK_ENTRIES);
            let run = self.sort(order.ordered, block_end);
            order.runs.push(Arc::new(run));
            order.ordered = block_end;
            self.merge_runs(&mut order.runs, |before, last| before < 2 * last);
        }
        order.runs.clone()
    }

    /// All entries as one run. Nothing may be put any more.
    fn sorted(&self) -> Run {
        let mut order = self.order.lock();
        let end = self.entries.read().list.len();
        if order.ordered < end {
            let run = self.sort(order.ordered, end);
            order.runs.push(Arc::new(run));
            order.ordered = end;
        }
        self.merge_runs(&mut order.runs, |_, _| true);
        order.runs.first().cloned().unwrap_or_default()
    }

    fn sort(&self, start: usize, end: usize) -> Vec<EntryIndex> {
        let entries = self.entries.read();
        let mut heads: Vec<_> = (index_u32(start)..index_u32(end)).map(|at| (head(entries.key(at)), at)).collect();
        entries.sort_by_heads(&mut heads, HEAD_BYTES);
        heads.into_iter().map(|(_, index)| index).collect()
    }

    /// Merges the last two runs as long as their lengths ask for it.
    fn merge_runs(&self, runs: &mut Vec<Run>, wanted: impl Fn(usize, usize) -> bool) {
        while let [.., before, last] = &runs[..]
            && wanted(before.len(), last.len())
        {
            let merged = self.merge(before, last);
            runs.truncate(runs.len() - 2);
            runs.push(Arc::new(merged));
        }
    }

    fn merge(&self, one: &[EntryIndex], other: &[EntryIndex]) -> Vec<EntryIndex> {
        let mut merged = Vec::with_capacity(one.len() + other.len());
        let (mut one, mut other) = (one.iter().copied().peekable(), other.iter().copied().peekable());
        loop {
            // Given up now and then, so that nobody who writes waits for long.
            let entries = self.entries.read();
            for _ in 0..BLOCK_ENTRIES {
                match (one.peek(), other.peek()) {
                    (Some(first), Some(second)) if entries.compare(*first, *second).is_lt() => {
                        merged.extend(one.next())
                    }
                    (_, Some(_)) => merged.extend(other.next()),
                    (Some(_), None) => merged.extend(one.next()),
                    (None, None) => return merged,
                }
            }
        }
    }

    /// Reads the versions below a number in a range of keys, from each run. Where all of it is newer, nothing is put in order.
    pub(super) fn cursors(self: &Arc<Self>, range: KeyRange<'_>, below: u64) -> Vec<Cursor> {
        if self.entries.read().oldest >= below {
            return Vec::new();
        }
        let cursors = self.runs().into_iter().map(|run| Cursor::new(Arc::clone(self), run, range, below));
        cursors.filter(|cursor| !cursor.left.is_empty()).collect()
    }

    /// All entries in order. Nothing may be put any more.
    pub(super) fn ordered(&self) -> Ordered<'_> {
        Ordered { run: self.sorted(), entries: self.entries.read() }
    }
}

/// The entries of a memtable that is sealed, in order.
pub(super) struct Ordered<'a> {
    run: Run,
    entries: RwLockReadGuard<'a, Entries>,
}

/// An entry: key, number, and value or `None` for a tombstone.
pub(super) type OrderedEntry<'a> = (&'a [u8], u64, Option<&'a [u8]>);

impl Ordered<'_> {
    /// The entry at a place.
    pub(super) fn entry(&self, at: usize) -> Option<OrderedEntry<'_>> {
        let index = *self.run.get(at)?;
        Some((self.entries.key(index), self.entries.entry(index).seqno, self.entries.value(index)))
    }
}

/// The newest version of a key that a cursor may see.
struct Head {
    key: Bytes,
    seqno: u64,
    index: EntryIndex,
}

/// Reads a range of a run from both ends, a key at a time: its newest version below a number.
pub(super) struct Cursor {
    table: Arc<Memtable>,
    run: Run,
    /// What was not read yet.
    left: Range<usize>,
    below: u64,
    first: Option<Head>,
    last: Option<Head>,
}

impl Cursor {
    fn new(table: Arc<Memtable>, run: Run, (start, end): KeyRange<'_>, below: u64) -> Self {
        let left = {
            let entries = table.entries.read();
            let first = run.partition_point(|index| match start {
                Bound::Included(key) => entries.key(*index) < key,
                Bound::Excluded(key) => entries.key(*index) <= key,
                Bound::Unbounded => false,
            });
            let last = run.partition_point(|index| match end {
                Bound::Included(key) => entries.key(*index) <= key,
                Bound::Excluded(key) => entries.key(*index) < key,
                Bound::Unbounded => true,
            });
            first..last.max(first)
        };
        Self { table, run, left, below, first: None, last: None }
    }

    /// The first key that is left, and the number of its version.
    pub(super) fn first(&mut self) -> Option<(&Bytes, u64)> {
        while self.first.is_none() && !self.left.is_empty() {
            let entries = self.table.entries.read();
            let upto = self.left.end.min(self.left.start + BLOCK_ENTRIES);
            let found = (self.left.start..upto).find(|at| entries.entry(self.run[*at]).seqno < self.below);
            self.left.start = found.unwrap_or(upto);
            self.first = found.map(|at| Head::new(&entries, self.run[at]));
        }
        self.first.as_ref().map(|head| (&head.key, head.seqno))
    }

    /// The last key that is left, and the number of its version.
    pub(super) fn last(&mut self) -> Option<(&Bytes, u64)> {
        while self.last.is_none() && !self.left.is_empty() {
            let entries = self.table.entries.read();
            let from = self.left.start.max(self.left.end.saturating_sub(BLOCK_ENTRIES));
            let is_seen = |index: EntryIndex| entries.entry(index).seqno < self.below;
            let found = (from..self.left.end).rfind(|at| is_seen(self.run[*at]));
            self.left.end = found.map_or(from, |at| at + 1);
            self.last = found.map(|at| {
                // Its other versions that may be seen are newer, and before it.
                let key = entries.key(self.run[at]);
                let before = &self.run[self.left.start..at];
                let newer = trailing(before, |index| entries.key(index) == key && is_seen(index));
                Head::new(&entries, self.run[at - newer])
            });
        }
        self.last.as_ref().map(|head| (&head.key, head.seqno))
    }

    /// The value of the first key; `None` for a tombstone.
    pub(super) fn first_value(&self) -> Option<Bytes> {
        self.value(self.first.as_ref()?)
    }

    /// The value of the last key; `None` for a tombstone.
    pub(super) fn last_value(&self) -> Option<Bytes> {
        self.value(self.last.as_ref()?)
    }

    fn value(&self, head: &Head) -> Option<Bytes> {
        self.table.entries.read().value(head.index).map(Bytes::copy_from_slice)
    }

    /// Leaves out the first key.
    pub(super) fn skip_first(&mut self) {
        let Some(head) = self.first.take() else { return };
        let entries = self.table.entries.read();
        self.left.start += leading(&self.run[self.left.clone()], |index| entries.key(index) == head.key);
        drop(entries);
        self.forget_what_was_read();
    }

    /// Leaves out the last key.
    pub(super) fn skip_last(&mut self) {
        let Some(head) = self.last.take() else { return };
        let entries = self.table.entries.read();
        self.left.end -= trailing(&self.run[self.left.clone()], |index| entries.key(index) == head.key);
        drop(entries);
        self.forget_what_was_read();
    }

    fn forget_what_was_read(&mut self) {
        if self.left.is_empty() {
            (self.first, self.last) = (None, None);
        }
    }
}

impl Head {
    fn new(entries: &Entries, index: EntryIndex) -> Self {
        Self { key: Bytes::copy_from_slice(entries.key(index)), seqno: entries.entry(index).seqno, index }
    }
}

/// How many entries at the beginning are wanted; behind one that is not, none is.
fn leading(run: &[EntryIndex], wanted: impl Fn(EntryIndex) -> bool) -> usize {
    let near = run.len().min(NEAR_ENTRIES);
    let unwanted = run[..near].iter().position(|index| !wanted(*index));
    unwanted.unwrap_or_else(|| near + run[near..].partition_point(|index| wanted(*index)))
}

/// How many entries at the end are wanted; before one that is not, none is.
fn trailing(run: &[EntryIndex], wanted: impl Fn(EntryIndex) -> bool) -> usize {
    let (far, near) = run.split_at(run.len().saturating_sub(NEAR_ENTRIES));
    let unwanted = near.iter().rev().position(|index| !wanted(*index));
    unwanted.unwrap_or_else(|| run.len() - far.partition_point(|index| !wanted(*index)))
}

/// The first bytes of a key, in the order of keys.
fn head(key: &[u8]) -> u128 {
    let mut head = [0; HEAD_BYTES];
    let len = key.len().min(head.len());
    head[..len].copy_from_slice(&key[..len]);
    u128::from_be_bytes(head)
}

fn index_u32(number: usize) -> u32 {
    u32::try_from(number).expect("a memtable is sealed long before it has so many entries or bytes in a chunk")
}
