//! The cache of hot values above the tree: the newest version of a key, or that it has none.
//!
//! An entry says "from LSN e on, the key has this value". It answers reads at e or later, because a later write replaces
//! the entry before the write's LSN can be read. What keeps a slow reader from putting back a value that has been
//! overwritten meanwhile:
//!
//! * A writer, for each record: (1) notes its LSN in the stamp of each key's hash; (2) writes the tree; (3) puts the new
//!   values here, which also voids any reader's place for the key; (4) lets the LSN be read.
//! * A reader that finds nothing, reading at LSN `at`: (1) reads the tree; (2) takes the place for the key; (3) looks at the
//!   stamp, and gives up the place if it is above `at`; (4) fills the place with what it read if it is still its own.
//!
//! If the reader sees an old stamp in (3), every writer above `at` has its (1) still to come, so that what was read is the
//! newest, and its (3), which voids the place, too. If the reader's place was taken after the writer's (3), it sees the
//! stamp. So no value is ever put back, also not after the writer's own entry was evicted. Stamps are shared by the keys of
//! a hash: a collision only makes a reader give up. That a key has no value is kept where it was deleted; readers that find
//! none leave no entry, because filters answer them next time.
//!
//! Values too large to be kept have an entry that says so, because removing an entry would not void a place. Long keys are
//! never looked up here.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult, PlaceholderGuard};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use reddb_file::Lsn;

use super::EngineWrite;
use crate::per_thread::PerThread;

/// Longer keys are not cached.
const KEY_BYTES_MAX: usize = 1024;
/// Larger values are not cached.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Keys up to this length lie in their entry.
const KEY_BYTES_INLINE: usize = 38;
/// What an entry takes beside its key and value: its slot, the allocations' headers, the map.
const ENTRY_OVERHEAD_BYTES: u64 = 160;
/// Values up to this length are copied when they are read: that costs less than to look up the count of their sharers, which is
/// elsewhere in memory.
const VALUE_BYTES_COPIED: usize = 256;
/// The smallest capacity of one shard.
const SHARD_BYTES_MIN: u64 = 256 * 1024;
const SHARDS_MAX: u64 = 64;
const STAMPS_MIN: u64 = 1024;
const STAMPS_MAX: u64 = 64 * 1024;

/// A key. A short one lies in the entry itself: comparing it touches no other memory.
#[derive(Clone, Debug)]
enum HotKey {
    Short { len: u8, bytes: [u8; KEY_BYTES_INLINE] },
    Long(Box<[u8]>),
}

impl From<&[u8]> for HotKey {
    fn from(key: &[u8]) -> Self {
        let mut bytes = [0; KEY_BYTES_INLINE];
        match (bytes.get_mut(..key.len()), u8::try_from(key.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(key);
                Self::Short { len, bytes }
            }
            _ => Self::Long(key.into()),
        }
    }
}

impl Borrow<[u8]> for HotKey {
    fn borrow(&self) -> &[u8] {
        match self {
            Self::Short { len, bytes } => &bytes[..usize::from(*len)],
            Self::Long(bytes) => bytes,
        }
    }
}

/// As its bytes, which it is looked up by.
impl Hash for HotKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<[u8]>::borrow(self).hash(state);
    }
}

impl PartialEq for HotKey {
    fn eq(&self, other: &Self) -> bool {
        Borrow::<[u8]>::borrow(self) == Borrow::<[u8]>::borrow(other)
    }
}

impl Eq for HotKey {}

#[derive(Clone, Debug)]
enum Cached {
    Small(Box<[u8]>),
    Large(Bytes),
    Absent,
    /// The value is in the tree only.
    TooLarge,
}

impl From<&Bytes> for Cached {
    fn from(value: &Bytes) -> Self {
        if value.len() <= VALUE_BYTES_COPIED { Self::Small(value[..].into()) } else { Self::Large(value.clone()) }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    /// The entry holds from this LSN on.
    since: Lsn,
    cached: Cached,
}

#[derive(Clone, Debug)]
struct Weigh;

impl Weighter<HotKey, Entry> for Weigh {
    fn weight(&self, key: &HotKey, entry: &Entry) -> u64 {
        let value = match &entry.cached {
            Cached::Small(value) => value.len(),
            Cached::Large(value) => value.len(),
            Cached::Absent | Cached::TooLarge => 0,
        };
        bytes_u64(Borrow::<[u8]>::borrow(key).len()) + bytes_u64(value) + ENTRY_OVERHEAD_BYTES
    }
}

type Place<'a> = PlaceholderGuard<'a, HotKey, Entry, Weigh, DefaultHashBuilder, DefaultLifecycle<HotKey, Entry>>;

/// The cache.
pub(super) struct HotCache {
    cache: Cache<HotKey, Entry, Weigh>,
    hasher: DefaultHashBuilder,
    /// The last LSN that writes (or is about to write) a key of each hash.
    stamps: Box<[AtomicU64]>,
    value_bytes_max: usize,
    /// Readers that hold a place, or are about to take one.
    fills: AtomicUsize,
    lookups: PerThread<Lookups>,
}

/// Lookups by one thread.
#[derive(Debug, Default)]
struct Lookups {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl HotCache {
    /// A cache of `capacity_bytes` for reads at `oldest` or later.
    pub(super) fn new(capacity_bytes: u64, oldest: Lsn) -> Self {
        let capacity_bytes = capacity_bytes.max(SHARD_BYTES_MIN);
        let shards = prev_power_of_two(capacity_bytes / SHARD_BYTES_MIN).clamp(1, SHARDS_MAX);
        let options = OptionsBuilder::new()
            .shards(usize_of(shards))
            .estimated_items_capacity(usize_of((capacity_bytes / 512).max(shards * 32)))
            .weight_capacity(capacity_bytes)
            .build()
            .expect("both capacities are set, and the allocations are the defaults");
        let hasher = DefaultHashBuilder::default();
        let cache = Cache::with_options(options, Weigh, hasher.clone(), DefaultLifecycle::default());
        let stamps = prev_power_of_two(capacity_bytes / 1024).clamp(STAMPS_MIN, STAMPS_MAX);
        let value_bytes_max = usize_of(cache.shard_capacity() / 8).min(VALUE_BYTES_MAX);
        Self {
            cache,
            hasher,
            stamps: (0..stamps).map(|_| AtomicU64::new(oldest.get())).collect(),
            value_bytes_max,
            fills: AtomicUsize::new(0),
            lookups: PerThread::default(),
        }
    }

    fn stamp(&self, key: &[u8]) -> &AtomicU64 {
        // The stamps are a power of two in number, so the remainder is a mask; it is below their number, so it fits.
        &self.stamps[usize_of(self.hasher.hash_one(key) % bytes_u64(self.stamps.len()))]
    }

    /// Whether values of such a key are kept.
    pub(super) fn takes(key: &[u8]) -> bool {
        key.len() <= KEY_BYTES_MAX
    }

    /// The value of `key` at `at`, which must be applied; `None` where the tree has to be read.
    pub(super) fn find(&self, key: &[u8], at: Lsn) -> Option<Option<Bytes>> {
        let found = if Self::takes(key) { self.cache.get(key) } else { None };
        let value = match found {
            Some(Entry { since, cached }) if since <= at => match cached {
                Cached::Small(value) => Some(Some(Bytes::from(value))),
                Cached::Large(value) => Some(Some(value)),
                Cached::Absent => Some(None),
                Cached::TooLarge => None,
            },
            _ => None,
        };
        let lookups = self.lookups.mine();
        let counter = if value.is_some() { &lookups.hits } else { &lookups.misses };
        counter.fetch_add(1, Ordering::Relaxed);
        value
    }

    /// Keeps the value that the tree has for the key at `at`.
    pub(super) fn fill(&self, key: &[u8], at: Lsn, value: &Bytes) {
        if !Self::takes(key) || value.len() > self.value_bytes_max {
            return;
        }
        // Counted before the place is taken, so that a writer that counts none has stamped before the stamp is read.
        self.fills.fetch_add(1, Ordering::SeqCst);
        if let GuardResult::Guard(place) = self.cache.get_value_or_guard(&HotKey::from(key), Some(Duration::ZERO)) {
            let since = Lsn::new(self.stamp(key).load(Ordering::SeqCst));
            if since <= at {
                self.fill_place(place, since, value);
            }
        }
        self.fills.fetch_sub(1, Ordering::SeqCst);
    }

    fn fill_place(&self, place: Place<'_>, since: Lsn, value: &Bytes) {
        // Refused where a writer has put a newer value: then that one stays.
        drop(place.insert(Entry { since, cached: Cached::from(value) }));
    }

    /// A writer's first step: before the tree is written.
    pub(super) fn begin<'k>(&self, lsn: Lsn, keys: impl Iterator<Item = &'k [u8]>) {
        for key in keys {
            // Never back, also where a record is refused after its keys were stamped.
            self.stamp(key).fetch_max(lsn.get(), Ordering::SeqCst);
        }
    }

    /// Whether, after [`begin`](Self::begin), no entry or place of its keys can exist, so that [`publish`](Self::publish)
    /// may be left out.
    pub(super) fn is_idle(&self) -> bool {
        self.fills.load(Ordering::SeqCst) == 0 && self.cache.is_empty()
    }

    /// A writer's third step: after the tree is written, before its LSN can be read.
    pub(super) fn publish(&self, lsn: Lsn, write: &EngineWrite) {
        let (key, cached) = match write {
            EngineWrite::Put { key, value } if value.len() <= self.value_bytes_max => (key, Cached::from(value)),
            EngineWrite::Put { key, .. } => (key, Cached::TooLarge),
            EngineWrite::Delete { key } => (key, Cached::Absent),
        };
        if key.len() <= KEY_BYTES_MAX {
            self.cache.insert(HotKey::from(&key[..]), Entry { since: lsn, cached });
        }
    }

    /// Forgets a key that nobody will ask for again.
    pub(super) fn forget(&self, key: &[u8]) {
        self.cache.remove(key);
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// Bytes that may be held.
    pub(super) fn capacity_bytes(&self) -> u64 {
        self.cache.capacity()
    }

    /// Lookups that were answered, and that were not.
    pub(super) fn hits_and_misses(&self) -> (u64, u64) {
        self.lookups.all().fold((0, 0), |(hits, misses), lookups| {
            (hits + lookups.hits.load(Ordering::Relaxed), misses + lookups.misses.load(Ordering::Relaxed))
        })
    }
}

fn prev_power_of_two(value: u64) -> u64 {
    match value {
        0 => 1,
        value => 1 << value.ilog2(),
    }
}

fn bytes_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn usize_of(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsn(value: u64) -> Lsn {
        Lsn::new(value)
    }

    fn put(key: &'static [u8], value: impl Into<Bytes>) -> EngineWrite {
        EngineWrite::Put { key: Bytes::from_static(key), value: value.into() }
    }

    fn write(hot: &HotCache, at: Lsn, write: &EngineWrite) {
        hot.begin(at, std::iter::once(write.key().as_ref()));
        hot.publish(at, write);
    }

    fn fill(hot: &HotCache, key: &[u8], at: Lsn, value: &str) {
        hot.fill(key, at, &Bytes::copy_from_slice(value.as_bytes()));
    }

    fn value(text: &'static str) -> Option<Option<Bytes>> {
        Some(Some(Bytes::from_static(text.as_bytes())))
    }

    #[test]
    fn an_entry_answers_from_its_lsn_on() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        write(&hot, lsn(5), &put(b"k", "five"));
        assert_eq!(hot.find(b"k", lsn(4)), None);
        assert_eq!(hot.find(b"k", lsn(5)), value("five"));
        assert_eq!(hot.find(b"k", lsn(9)), value("five"));
        write(&hot, lsn(10), &EngineWrite::Delete { key: Bytes::from_static(b"k") });
        assert_eq!(hot.find(b"k", lsn(9)), None);
        assert_eq!(hot.find(b"k", lsn(10)), Some(None));
        assert_eq!(hot.hits_and_misses(), (3, 2));
    }

    #[test]
    fn keys_and_values_of_every_length_are_kept_apart() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        let lengths = || (0..2 * KEY_BYTES_INLINE).chain([KEY_BYTES_MAX]);
        for (length, at) in lengths().zip(1..) {
            fill(&hot, &vec![0; length], lsn(at), &"v".repeat(VALUE_BYTES_COPIED - KEY_BYTES_INLINE + length));
        }
        for length in lengths() {
            let wanted = Bytes::from("v".repeat(VALUE_BYTES_COPIED - KEY_BYTES_INLINE + length));
            assert_eq!(hot.find(&vec![0; length], lsn(1000)), Some(Some(wanted)), "{length}");
        }
        assert_eq!(hot.find(&[0; KEY_BYTES_MAX + 1], lsn(1000)), None);
    }

    #[test]
    fn a_reader_fills_what_it_found() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        assert_eq!(hot.find(b"a", lsn(3)), None);
        fill(&hot, b"a", lsn(3), "x");
        assert_eq!(hot.find(b"a", lsn(3)), value("x"));
        assert!(!hot.is_idle());
    }

    #[test]
    fn a_slow_reader_cannot_fill_over_a_writer() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        write(&hot, lsn(4), &put(b"k", "new"));
        fill(&hot, b"k", lsn(3), "old");
        assert_eq!(hot.find(b"k", lsn(4)), value("new"));
    }

    #[test]
    fn a_slow_reader_cannot_fill_under_a_write_whose_entry_is_gone() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        write(&hot, lsn(4), &put(b"k", "new"));
        hot.forget(b"k");
        fill(&hot, b"k", lsn(3), "old");
        assert_eq!(hot.find(b"k", lsn(4)), None);
        fill(&hot, b"k", lsn(4), "new");
        assert_eq!(hot.find(b"k", lsn(4)), value("new"));
    }

    #[test]
    fn a_write_voids_a_place_that_a_reader_has_taken() {
        for (large, expected) in [(false, value("new")), (true, None)] {
            let hot = HotCache::new(1 << 20, Lsn::ZERO);
            let GuardResult::Guard(place) = hot.cache.get_value_or_guard(&HotKey::from(&b"k"[..]), None) else {
                panic!("nothing is there");
            };
            let new = if large { Bytes::from(vec![0; VALUE_BYTES_MAX + 1]) } else { Bytes::from_static(b"new") };
            write(&hot, lsn(4), &put(b"k", new));
            hot.fill_place(place, lsn(3), &Bytes::from_static(b"old"));
            assert_eq!(hot.find(b"k", lsn(4)), expected);
            assert!(hot.bytes() < 1024);
        }
    }

    #[test]
    fn every_admitted_entry_fits_its_shard_so_that_inserting_always_voids_a_place() {
        for capacity in [0, 300 << 10, 1 << 20, 5 << 20, 64 << 20, 1 << 30] {
            let hot = HotCache::new(capacity, Lsn::ZERO);
            let heaviest = Weigh.weight(
                &HotKey::from(&[0; KEY_BYTES_MAX][..]),
                &Entry { since: Lsn::ZERO, cached: Cached::from(&Bytes::from(vec![0; hot.value_bytes_max])) },
            );
            assert!(heaviest <= hot.cache.shard_capacity() / 2, "{capacity}: {heaviest}");
        }
    }

    #[test]
    fn what_is_filled_does_not_answer_reads_older_than_the_cache() {
        let hot = HotCache::new(1 << 20, lsn(7));
        fill(&hot, b"k", lsn(8), "x");
        assert_eq!(hot.find(b"k", lsn(6)), None);
        assert_eq!(hot.find(b"k", lsn(7)), value("x"));
    }

    #[test]
    fn a_second_reader_of_a_key_neither_waits_for_the_first_nor_fills() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        let place = hot.cache.get_value_or_guard(&HotKey::from(&b"k"[..]), None);
        fill(&hot, b"k", lsn(3), "x");
        assert_eq!(hot.find(b"k", lsn(3)), None);
        drop(place);
        assert!(hot.is_idle());
        fill(&hot, b"k", lsn(3), "x");
        assert_eq!(hot.find(b"k", lsn(3)), value("x"));
    }

    #[test]
    fn the_cache_stays_within_its_capacity() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        for index in 1..20_000_u64 {
            let write = EngineWrite::Put { key: index.to_be_bytes().to_vec().into(), value: vec![7; 300].into() };
            hot.publish(lsn(index), &write);
        }
        assert!(hot.bytes() <= hot.capacity_bytes());
        assert!(hot.bytes() > hot.capacity_bytes() / 2);
    }
}
