//! Tests of the engine as a whole, over a small language: a [`Rig`] is an engine beside a model that remembers every
//! version, and can be asked whether the two agree at any LSN.

mod basics;
mod checkpoints;
mod concurrency;
mod deletion;
mod durability;
mod memory;
mod memtables;
mod runs;
mod scan;
mod traps;
mod versions;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reddb_file::{Chain, Lsn};
use tempfile::TempDir;

use super::config::MEMORY_BYTES_MIN;
use super::lsm::LsmTree;
use super::mark::{self as stored_mark, MARK_KEY};
use super::{AppliedMark, Engine, EngineConfig, EngineWrite, LsmEngine, seqno};

const EVERYTHING: (Bound<&[u8]>, Bound<&[u8]>) = (Bound::Unbounded, Bound::Unbounded);

fn lsn(value: u64) -> Lsn {
    Lsn::new(value)
}

fn origin() -> Chain {
    Chain::from_bytes([9; 32])
}

/// The mark of the record at `value`: its chain and time follow from the LSN, so that a wrong one is seen.
fn mark(value: u64) -> AppliedMark {
    let mut chain = [0; 32];
    chain[..8].copy_from_slice(&value.to_be_bytes());
    AppliedMark { lsn: lsn(value), chain: Chain::from_bytes(chain), time_ms: value.wrapping_add(1_700_000_000_000) }
}

fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> EngineWrite {
    EngineWrite::Put { key: Bytes::copy_from_slice(key.as_ref()), value: Bytes::copy_from_slice(value.as_ref()) }
}

fn delete(key: impl AsRef<[u8]>) -> EngineWrite {
    EngineWrite::Delete { key: Bytes::copy_from_slice(key.as_ref()) }
}

/// The smallest engine: memtables of 256 KiB, so that little data makes many flushes and compactions.
fn tiny() -> EngineConfig {
    EngineConfig { memory_bytes: MEMORY_BYTES_MIN }
}

fn open(dir: &Path) -> LsmEngine {
    LsmEngine::open(dir, tiny(), origin()).unwrap()
}

/// Makes a closed engine's directory one that says it is in another format.
pub(crate) fn set_format(dir: &Path, format: u8) {
    let applied = open(dir).applied();
    let tree = LsmTree::open(dir, &tiny().budget()).unwrap();
    let mut value = stored_mark::encode(&applied);
    value[0] = format;
    tree.active().put(MARK_KEY, &value, seqno::of_writes(applied.lsn) + 1);
    tree.seal();
    tree.flush(&tree.lock_flush(), 0).unwrap();
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Bytes that do not compress.
    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Every version of every key.
#[derive(Clone, Default)]
struct Model {
    versions: BTreeMap<Bytes, Vec<(Lsn, Option<Bytes>)>>,
}

impl Model {
    fn apply(&mut self, at: Lsn, writes: &[EngineWrite]) {
        for write in writes {
            let value = match write {
                EngineWrite::Put { value, .. } => Some(value.clone()),
                EngineWrite::Delete { .. } => None,
            };
            self.versions.entry(write.key().clone()).or_default().push((at, value));
        }
    }

    fn get(&self, key: &[u8], at: Lsn) -> Option<Bytes> {
        let versions = self.versions.get(key)?;
        versions.iter().rev().find(|(lsn, _)| *lsn <= at).and_then(|(_, value)| value.clone())
    }

    fn entries(&self, at: Lsn) -> Vec<(Bytes, Bytes)> {
        self.versions.keys().filter_map(|key| self.get(key, at).map(|value| (key.clone(), value))).collect()
    }
}

fn entries(engine: &dyn Engine, at: Lsn) -> Vec<(Bytes, Bytes)> {
    engine.range(EVERYTHING, at).unwrap().collect::<Result<_, _>>().unwrap()
}

/// An engine, its directory and its model.
struct Rig {
    engine: Option<LsmEngine>,
    model: Model,
    dir: TempDir,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(&dir.path().join("engine"));
        Self { engine: Some(engine), model: Model::default(), dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("engine")
    }

    fn engine(&self) -> &LsmEngine {
        self.engine.as_ref().unwrap()
    }

    /// Applies the next record.
    fn apply(&mut self, writes: &[EngineWrite]) -> Lsn {
        let next = self.engine().applied().lsn.get() + 1;
        self.engine().apply(mark(next), writes).unwrap();
        self.model.apply(lsn(next), writes);
        lsn(next)
    }

    /// Applies the next record: up to `keys_max` writes of `value_bytes`, one in eight a deletion, over 500 keys.
    fn apply_random(&mut self, dice: &mut Dice, keys_max: u64, value_bytes: usize) -> Lsn {
        let writes = random_writes(dice, keys_max, value_bytes);
        self.apply(&writes)
    }

    /// Stops without a flush, as a killed process does, and opens again.
    fn crash(&mut self) {
        self.engine = None;
        self.engine = Some(open(&self.path()));
    }

    /// Closes and opens again.
    fn restart(&mut self) {
        self.engine().close().unwrap();
        self.crash();
    }

    /// Whether the engine agrees with the model at `at`: each key by itself, and all of them in both orders.
    #[track_caller]
    fn expect_model_at(&self, at: Lsn) {
        let expected = self.model.entries(at);
        assert_eq!(entries(self.engine(), at), expected, "range at {at}");
        let mut reversed: Vec<_> = self.engine().range(EVERYTHING, at).unwrap().rev().map(Result::unwrap).collect();
        reversed.reverse();
        assert_eq!(reversed, expected, "reverse range at {at}");
        for key in self.model.versions.keys() {
            assert_eq!(self.engine().get(key, at).unwrap(), self.model.get(key, at), "{key:?} at {at}");
        }
    }
}

fn random_writes(dice: &mut Dice, keys_max: u64, value_bytes: usize) -> Vec<EngineWrite> {
    (0..1 + dice.below(keys_max))
        .map(|_| {
            let key = format!("key:{:03}", dice.below(500));
            if dice.below(8) == 0 { delete(key) } else { put(key, dice.bytes(value_bytes)) }
        })
        .collect()
}

/// Waits until `condition` holds; fails where it does not on the slowest of disks.
#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed().as_secs() < 300, "{what} did not come about");
        // Sleep: the background is seen only by asking again.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}
