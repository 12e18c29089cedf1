//! The cache of hot values above the tree: the newest version of a key, or that it has none.
//!
//! An entry says "from LSN e on, the key has this value". It answers reads at e or later, because a later write replaces
//! the entry before the write's LSN can be read. What keeps a slow reader from putting back a value that has been
//! overwritten meanwhile:
//!
//! * A writer, for each record: (1) notes its LSN in the stamp of each key's hash; (2) writes the tree; (3) puts the new
//!   values here, which also voids any reader's place for the key; (4) lets the LSN be read.
//! * A reader that finds nothing, reading at LSN `at`: (1) takes the place for the key; (2) looks at the stamp, and gives up
//!   the place if it is above `at`; (3) reads the tree; (4) fills the place if it is still its own.
//!
//! If the reader sees an old stamp in (2), the writer's (1) is still to come, and so is its (3), which voids the place. If
//! the reader's place was taken after the writer's (3), it sees the stamp. So no value is ever put back, also not after
//! the writer's own entry was evicted. Stamps are shared by the keys of a hash: a collision only makes a reader give up.
//!
//! Values too large to be kept have an entry that says so, because removing an entry would not void a place. Long keys are
//! never looked up here.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult, PlaceholderGuard};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use reddb_file::Lsn;

use super::EngineWrite;

/// Longer keys are not cached.
const KEY_BYTES_MAX: usize = 1024;
/// Larger values are not cached.
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// What an entry takes beside its key and value: its slot, the allocations' headers, the map.
const ENTRY_OVERHEAD_BYTES: u64 = 160;
/// The smallest capacity of one shard.
const SHARD_BYTES_MIN: u64 = 256 * 1024;
const SHARDS_MAX: u64 = 64;
const STAMPS_MIN: u64 = 1024;
const STAMPS_MAX: u64 = 64 * 1024;

#[derive(Clone, Debug)]
enum Cached {
    Value(Bytes),
    Absent,
    /// The value is in the tree only.
    TooLarge,
}

#[derive(Clone, Debug)]
struct Entry {
    /// The entry holds from this LSN on.
    since: Lsn,
    cached: Cached,
}

#[derive(Clone, Debug)]
struct Weigh;

impl Weighter<Vec<u8>, Entry> for Weigh {
    fn weight(&self, key: &Vec<u8>, entry: &Entry) -> u64 {
        let value = match &entry.cached {
            Cached::Value(value) => value.len(),
            Cached::Absent | Cached::TooLarge => 0,
        };
        bytes_u64(key.len()) + bytes_u64(value) + ENTRY_OVERHEAD_BYTES
    }
}

type Place<'a> = PlaceholderGuard<'a, Vec<u8>, Entry, Weigh, DefaultHashBuilder, DefaultLifecycle<Vec<u8>, Entry>>;

/// The cache.
pub(super) struct HotCache {
    cache: Cache<Vec<u8>, Entry, Weigh>,
    hasher: DefaultHashBuilder,
    /// The last LSN that writes (or is about to write) a key of each hash.
    stamps: Box<[AtomicU64]>,
    value_bytes_max: usize,
    /// Readers that hold a place, or are about to take one.
    fills: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What a lookup found.
pub(super) enum Lookup<'a> {
    /// The key's value at the LSN asked for.
    Hit(Option<Bytes>),
    /// Read the tree; where a fill is given, hand it what was found.
    Miss(Option<Fill<'a>>),
}

/// A reader's place for what it finds in the tree.
pub(super) struct Fill<'a> {
    hot: &'a HotCache,
    /// `Some` until it is filled.
    place: Option<Place<'a>>,
    since: Lsn,
}

impl Fill<'_> {
    /// Keeps what the tree has for the key, read at the LSN of the lookup.
    pub(super) fn put(mut self, value: Option<&Bytes>) {
        let cached = match value {
            None => Cached::Absent,
            Some(value) if value.len() <= self.hot.value_bytes_max => Cached::Value(value.clone()),
            Some(_) => return,
        };
        if let Some(place) = self.place.take() {
            // Refused where a writer has put a newer value: then that one stays.
            let _ = place.insert(Entry { since: self.since, cached });
        }
    }
}

impl Drop for Fill<'_> {
    fn drop(&mut self) {
        drop(self.place.take());
        self.hot.fills.fetch_sub(1, Ordering::SeqCst);
    }
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
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    fn stamp(&self, key: &[u8]) -> &AtomicU64 {
        // The stamps are a power of two in number, so the remainder is a mask; it is below their number, so it fits.
        &self.stamps[usize_of(self.hasher.hash_one(key) % bytes_u64(self.stamps.len()))]
    }

    /// The value of `key` at `at`, which must be applied.
    pub(super) fn lookup(&self, key: &[u8], at: Lsn) -> Lookup<'_> {
        if key.len() > KEY_BYTES_MAX {
            return Lookup::Miss(None);
        }
        if let Some(entry) = self.cache.get(key) {
            return self.answer(entry, at);
        }
        // Counted before the place is taken, so that a writer that counts none has stamped before the stamp is read.
        self.fills.fetch_add(1, Ordering::SeqCst);
        let mut fill = Fill { hot: self, place: None, since: Lsn::ZERO };
        match self.cache.get_value_or_guard(key, Some(Duration::ZERO)) {
            GuardResult::Value(entry) => self.answer(entry, at),
            GuardResult::Timeout => self.miss(None),
            GuardResult::Guard(place) => {
                fill.place = Some(place);
                fill.since = Lsn::new(self.stamp(key).load(Ordering::SeqCst));
                if fill.since > at { self.miss(None) } else { self.miss(Some(fill)) }
            }
        }
    }

    fn answer(&self, entry: Entry, at: Lsn) -> Lookup<'_> {
        if entry.since > at {
            return self.miss(None);
        }
        let value = match entry.cached {
            Cached::Value(value) => Some(value),
            Cached::Absent => None,
            Cached::TooLarge => return self.miss(None),
        };
        self.hits.fetch_add(1, Ordering::Relaxed);
        Lookup::Hit(value)
    }

    fn miss<'a>(&self, fill: Option<Fill<'a>>) -> Lookup<'a> {
        self.misses.fetch_add(1, Ordering::Relaxed);
        Lookup::Miss(fill)
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
            EngineWrite::Put { key, value } if value.len() <= self.value_bytes_max => {
                (key, Cached::Value(value.clone()))
            }
            EngineWrite::Put { key, .. } => (key, Cached::TooLarge),
            EngineWrite::Delete { key } => (key, Cached::Absent),
        };
        if key.len() <= KEY_BYTES_MAX {
            self.cache.insert(key.to_vec(), Entry { since: lsn, cached });
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
        (self.hits.load(Ordering::Relaxed), self.misses.load(Ordering::Relaxed))
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

    fn hit(lookup: Lookup<'_>) -> Option<Bytes> {
        match lookup {
            Lookup::Hit(value) => value,
            Lookup::Miss(_) => panic!("expected a hit"),
        }
    }

    fn fill(lookup: Lookup<'_>) -> Option<Fill<'_>> {
        match lookup {
            Lookup::Hit(value) => panic!("expected a miss, got {value:?}"),
            Lookup::Miss(fill) => fill,
        }
    }

    #[test]
    fn an_entry_answers_from_its_lsn_on() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        write(&hot, lsn(5), &put(b"k", "five"));
        assert!(fill(hot.lookup(b"k", lsn(4))).is_none());
        assert_eq!(hit(hot.lookup(b"k", lsn(5))), Some(Bytes::from("five")));
        assert_eq!(hit(hot.lookup(b"k", lsn(9))), Some(Bytes::from("five")));
        write(&hot, lsn(10), &EngineWrite::Delete { key: Bytes::from_static(b"k") });
        assert!(fill(hot.lookup(b"k", lsn(9))).is_none());
        assert_eq!(hit(hot.lookup(b"k", lsn(10))), None);
        assert_eq!(hot.hits_and_misses(), (3, 2));
    }

    #[test]
    fn a_reader_fills_what_it_found_also_that_there_is_nothing() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        fill(hot.lookup(b"a", lsn(3))).unwrap().put(Some(&Bytes::from("x")));
        fill(hot.lookup(b"b", lsn(3))).unwrap().put(None);
        assert_eq!(hit(hot.lookup(b"a", lsn(3))), Some(Bytes::from("x")));
        assert_eq!(hit(hot.lookup(b"b", lsn(3))), None);
        assert!(!hot.is_idle());
    }

    #[test]
    fn a_reader_cannot_fill_over_a_writer() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        let slow = fill(hot.lookup(b"k", lsn(3))).unwrap();
        write(&hot, lsn(4), &put(b"k", "new"));
        slow.put(Some(&Bytes::from("old")));
        assert_eq!(hit(hot.lookup(b"k", lsn(4))), Some(Bytes::from("new")));
    }

    #[test]
    fn a_reader_cannot_fill_under_a_write_whose_entry_is_gone() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        write(&hot, lsn(4), &put(b"k", "new"));
        hot.forget(b"k");
        assert!(fill(hot.lookup(b"k", lsn(3))).is_none(), "LSN 4 is written but cannot be read yet");
        let current = fill(hot.lookup(b"k", lsn(4))).unwrap();
        current.put(Some(&Bytes::from("new")));
        assert_eq!(hit(hot.lookup(b"k", lsn(4))), Some(Bytes::from("new")));
    }

    #[test]
    fn a_value_too_large_to_keep_voids_a_readers_place_all_the_same() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        let slow = fill(hot.lookup(b"k", lsn(3))).unwrap();
        write(&hot, lsn(4), &put(b"k", vec![0; VALUE_BYTES_MAX + 1]));
        slow.put(Some(&Bytes::from("old")));
        assert!(fill(hot.lookup(b"k", lsn(4))).is_none());
        assert!(hot.bytes() < 1024);
    }

    #[test]
    fn every_admitted_entry_fits_its_shard_so_that_inserting_always_voids_a_place() {
        for capacity in [0, 300 << 10, 1 << 20, 5 << 20, 64 << 20, 1 << 30] {
            let hot = HotCache::new(capacity, Lsn::ZERO);
            let heaviest = Weigh.weight(
                &vec![0; KEY_BYTES_MAX],
                &Entry { since: Lsn::ZERO, cached: Cached::Value(vec![0; hot.value_bytes_max].into()) },
            );
            assert!(heaviest <= hot.cache.shard_capacity() / 2, "{capacity}: {heaviest}");
        }
    }

    #[test]
    fn what_is_filled_does_not_answer_reads_older_than_the_cache() {
        let hot = HotCache::new(1 << 20, lsn(7));
        fill(hot.lookup(b"k", lsn(8))).unwrap().put(Some(&Bytes::from("x")));
        assert!(fill(hot.lookup(b"k", lsn(6))).is_none());
        assert_eq!(hit(hot.lookup(b"k", lsn(7))), Some(Bytes::from("x")));
    }

    #[test]
    fn a_second_reader_of_a_key_does_not_wait_for_the_first() {
        let hot = HotCache::new(1 << 20, Lsn::ZERO);
        let first = fill(hot.lookup(b"k", lsn(3)));
        assert!(first.is_some());
        assert!(fill(hot.lookup(b"k", lsn(3))).is_none());
        drop(first);
        assert!(fill(hot.lookup(b"k", lsn(3))).is_some());
        assert!(hot.is_idle());
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
