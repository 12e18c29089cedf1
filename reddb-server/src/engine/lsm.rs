//! The file that knows the `lsm-tree` crate ([`super::scan`] knows how its tables are read): what RedDB relies on, and how it is kept from what it must not do.
//!
//! The tree is [`Memtables`] and levels of immutable tables, which are the crate's. It has no log and no threads: it flushes
//! and compacts when it is told to. The crate's own memtable stays empty. Directory:
//!
//! ```text
//! current        which manifest counts: its number (u64 LE), its xxh3-128 (u128 LE), the kind of checksum (u8, 0)
//! v<number>      a manifest: the levels, and each table's number and checksum
//! tables/<n>     tables
//! ```
//!
//! What is relied on:
//! * Reads at number S see versions below S, in the newest installed state whose own number is below S. See [`super::seqno`].
//! * States are kept until `maintenance` is told a watermark: the newest state below it, and all later ones, stay.
//! * An iterator owns the state it reads; a table's file is removed when the last state with it is dropped.
//! * Files are written once and synced with their directories before a manifest names them; `current` is replaced by a
//!   rename, last. A flush installs all its tables at once.
//!
//! What is avoided:
//! * `current` missing beside tables would open as an empty tree: refused.
//! * `current`'s checksum of the manifest is not checked by the crate: checked here.
//! * A memtable may be sealed between two writes of a record: only the owner of [`Active`] seals.
//! * Dropping the tree during a compaction would install half of its output: whoever compacts holds the tree.
//! * `drop_range` and `clear` are not used: they take tables without regard to what older reads of the new state need.
//! * A failed compaction leaves the files it wrote: they are removed here.
//!
//! Filters and indexes: those of level 0 are whole and pinned, because a read of an absent key asks each of its runs, and their
//! number and size are bounded. Those of all other tables grow with the data: they are cut into partitions of 4 KiB that live in
//! the block cache, and only what finds a partition is pinned, a hundredth of it. A table keeps what it was written with. That
//! level 0 is merged, and not moved down as it is, follows from the entry of the mark, which every flush writes: so its runs
//! overlap with each other and with what is below.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;
use lsm_tree::checksum::ChecksummedWriter;
use lsm_tree::compaction::Leveled;
use lsm_tree::config::{BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry, PinningPolicy};
use lsm_tree::table::filter::standard_bloom::Builder;
use lsm_tree::{
    AbstractTree, AnyTree, Cache, CompressionType, Config, DescriptorTable, Guard, InternalValue,
    SequenceNumberCounter, Slice, Table, Tree, ValueType,
};

use super::config::{Budget, DESCRIPTORS_MAX};
use super::files::{io_error, sync_directory, write_new};
use super::memtable::Memtable;
use super::memtables::{Memtables, Merge, Survivors};
use super::tree_dir::TreeDir;
use super::{CheckpointFile, EngineError, EngineStats, EngineWrite, KeyRange};

const CURRENT: &str = "current";
const TABLES: &str = "tables";
const CURRENT_BYTES: usize = 8 + 16 + 1;
/// Bits a key in the filters: 1 % of the lookups of an absent key read a block.
const FILTER_BITS_PER_KEY: f32 = 10.0;
/// Values of a range up to this size are copied out of their blocks.
const VALUE_BYTES_COPIED: usize = 4096;
/// By level; the last one holds for all that follow.
const LEVEL_0_ONLY: [bool; 2] = [true, false];
/// How often a checkpoint looks again because a compaction was installed meanwhile.
const MANIFEST_ATTEMPTS_MAX: usize = 1000;

/// The memtable that is written to. Whoever holds it decides when it is sealed.
pub(super) struct Active(Arc<Memtable>);

impl Active {
    /// Puts a value.
    pub(super) fn put(&self, key: &[u8], value: &[u8], seqno: u64) {
        self.0.insert(key, Some(value), seqno);
    }

    /// Puts a tombstone.
    pub(super) fn delete(&self, key: &[u8], seqno: u64) {
        self.0.insert(key, None, seqno);
    }

    /// Whether nothing was put.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The lock under which flushes and checkpoints run, one at a time.
pub(super) struct FlushGuard<'a> {
    _turn: MutexGuard<'a, ()>,
}

/// What a step of compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompactionStep {
    /// There was nothing to do.
    Idle,
    /// Tables were merged or moved; there may be more to do.
    Progress,
}

/// One state of the tree, as its files.
struct State {
    tables: Vec<Table>,
    current: Vec<u8>,
    name: String,
    manifest: Vec<u8>,
}

/// The tree of one directory.
pub(super) struct LsmTree {
    dir: Arc<TreeDir>,
    memtables: Memtables,
    tree: Tree,
    counter: SequenceNumberCounter,
    cache: Arc<Cache>,
    strategy: Arc<Leveled>,
}

impl LsmTree {
    /// Opens the tree in `dir`, or makes an empty one where `dir` is absent or empty. Reads of each
    /// table what is pinned, but no data.
    pub(super) fn open(dir: &Path, budget: &Budget) -> Result<Self, EngineError> {
        let exists = check_directory(dir)?;
        let tree_dir = TreeDir::new(dir);
        let counter = SequenceNumberCounter::default();
        let cache = Arc::new(Cache::with_capacity_bytes(budget.block_cache_bytes));
        let opened = Config::new(dir, counter.clone(), SequenceNumberCounter::default())
            .use_cache(Arc::clone(&cache))
            .use_descriptor_table(Some(Arc::new(DescriptorTable::new(DESCRIPTORS_MAX))))
            .data_block_compression_policy(CompressionPolicy::all(CompressionType::Lz4))
            .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(
                FILTER_BITS_PER_KEY,
            ))))
            .filter_block_pinning_policy(PinningPolicy::new(LEVEL_0_ONLY))
            .index_block_pinning_policy(PinningPolicy::new(LEVEL_0_ONLY))
            .filter_block_partitioning_policy(PinningPolicy::new(LEVEL_0_ONLY.map(|is_level_0| !is_level_0)))
            .index_block_partitioning_policy(PinningPolicy::new(LEVEL_0_ONLY.map(|is_level_0| !is_level_0)))
            .open();
        let tree = match opened {
            Ok(AnyTree::Standard(tree)) => tree,
            Ok(AnyTree::Blob(_)) => {
                return Err(EngineError::Corrupt {
                    path: dir.to_owned(),
                    detail: "the tree keeps values apart from keys, which this version never does".to_owned(),
                });
            }
            Err(error) => return Err(tree_dir.tree_error("open the tree", error)),
        };
        if !exists && let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            sync_directory(parent)?;
        }
        let strategy =
            Leveled::default().with_l0_threshold(budget.l0_tables_merged).with_table_target_size(budget.table_bytes);
        Ok(Self {
            dir: Arc::new(tree_dir),
            memtables: Memtables::new(),
            tree,
            counter,
            cache,
            strategy: Arc::new(strategy),
        })
    }

    /// The directory.
    pub(super) fn dir(&self) -> &Arc<TreeDir> {
        &self.dir
    }

    /// Whether no table exists.
    pub(super) fn has_no_tables(&self) -> bool {
        self.tree.table_count() == 0
    }

    /// The highest number in any table. Goes back when a compaction drops the version that had it.
    pub(super) fn highest_in_tables(&self) -> Option<u64> {
        self.tree.get_highest_persisted_seqno()
    }

    /// Raises the counter that flushes and compactions draw from.
    pub(super) fn raise_counter(&self, seqno: u64) {
        self.counter.fetch_max(seqno);
    }

    /// Where the counter stands.
    pub(super) fn counter(&self) -> u64 {
        self.counter.get()
    }

    /// The newest version of `key` below `seqno`. A state with such a number must be kept.
    pub(super) fn get(&self, key: &[u8], seqno: u64) -> Result<Option<Bytes>, EngineError> {
        // Memtables before tables: what is flushed in between is then in both.
        if let Some(found) = self.memtables.get(key, seqno) {
            return Ok(found);
        }
        match self.tree.get(key, seqno) {
            Ok(value) => Ok(value.map(|value| Bytes::copy_from_slice(&value))),
            Err(error) => Err(self.dir.tree_error("read a key", error)),
        }
    }

    /// The hash of a key that the tables' filters go by.
    pub(super) fn hash(key: &[u8]) -> u64 {
        Builder::get_hash(key)
    }

    /// As [`LsmTree::get`], from the newest tables alone: where no memtable has the key, whose hash is given. `None` where
    /// they do not serve, about which `serve` is asked after they were taken: they must hold nothing that is newer than what
    /// is asked for, because they may lack older versions of what they hold newer ones of.
    pub(super) fn get_from_tables(
        &self,
        key: &[u8],
        hash: u64,
        seqno: u64,
        serve: impl FnOnce() -> bool,
    ) -> Result<Option<Option<Bytes>>, EngineError> {
        let tables = self.tree.current_version();
        if !serve() {
            return Ok(None);
        }
        for run in tables.iter_levels().flat_map(|level| level.iter()) {
            let Some(table) = run.get_for_key(key) else { continue };
            match table.get(key, seqno, hash) {
                Ok(Some(found)) if found.is_tombstone() => return Ok(Some(None)),
                Ok(Some(found)) => return Ok(Some(Some(Bytes::copy_from_slice(&found.value)))),
                Ok(None) => {}
                Err(error) => return Err(self.dir.tree_error("read a key", error)),
            }
        }
        Ok(Some(None))
    }

    /// The newest versions of a range of keys below `seqno`. A state with such a number must be kept until this returns.
    pub(super) fn range(
        &self,
        range: KeyRange<'_>,
        seqno: u64,
    ) -> impl DoubleEndedIterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + use<> {
        let dir = Arc::clone(&self.dir);
        // Memtables before tables, as above.
        let cursors = self.memtables.cursors(range, seqno);
        let tables = self.tree.range::<&[u8], _>(range, seqno, None).map(move |entry| match entry.into_inner() {
            Ok((key, value)) => Ok((Bytes::copy_from_slice(&key), shared(value))),
            Err(error) => Err(dir.tree_error("read a range", error)),
        });
        Merge::new(cursors, tables)
    }

    /// The newest state's tables, as sorted runs: those of a run are in key order and do not overlap.
    pub(super) fn newest_runs(&self) -> Vec<Vec<Table>> {
        let version = self.tree.current_version();
        version.iter_levels().flat_map(|level| level.iter()).map(|run| run.iter().cloned().collect()).collect()
    }

    /// The memtable that is written to.
    pub(super) fn active(&self) -> Active {
        Active(self.memtables.active())
    }

    /// Seals the memtable that is written to and returns the next one. Called by the owner of [`Active`] only.
    pub(super) fn seal(&self) -> Active {
        Active(self.memtables.seal())
    }

    /// Sealed memtables that are not in tables yet.
    pub(super) fn sealed(&self) -> usize {
        self.memtables.sealed_count()
    }

    /// Sorted runs in level 0.
    pub(super) fn l0_runs(&self) -> usize {
        self.tree.l0_run_count()
    }

    /// Waits for its turn to flush.
    pub(super) fn lock_flush(&self) -> FlushGuard<'_> {
        FlushGuard { _turn: self.tree.get_flush_lock() }
    }

    /// Writes all memtables that are sealed when it begins to tables and installs those. Versions that no read at `watermark` or above can see are
    /// left out.
    pub(super) fn flush(&self, _guard: &FlushGuard<'_>, watermark: u64) -> Result<(), EngineError> {
        let sealed = self.memtables.sealed();
        let ordered: Vec<_> = sealed.iter().map(|table| table.ordered()).collect();
        let entries = Survivors::new(&ordered, watermark).map(|(key, seqno, value)| match value {
            Some(value) => InternalValue::from_components(key, value, seqno, ValueType::Value),
            None => InternalValue::new_tombstone(key, seqno),
        });
        self.write_tables(entries.map(Ok), watermark)
            .map_err(|error| self.dir.tree_error("flush a memtable", error))?;
        // The new state's number was drawn from the counter, and nothing is written at what has been drawn since.
        self.memtables.flushed(sealed.len(), self.counter().saturating_sub(1));
        Ok(())
    }

    /// Writes entries to tables and installs those, all at once.
    fn write_tables(
        &self,
        entries: impl Iterator<Item = lsm_tree::Result<InternalValue>>,
        watermark: u64,
    ) -> lsm_tree::Result<()> {
        match self.tree.flush_to_tables(entries)? {
            Some((tables, _)) => self.tree.register_tables(&tables, None, None, &[], watermark),
            None => Ok(()),
        }
    }

    /// Writes a sorted run to tables and installs those, all under one number. Nothing in memtables may be newer.
    pub(super) fn add_run<'w>(
        &self,
        _guard: &FlushGuard<'_>,
        writes: impl Iterator<Item = &'w EngineWrite>,
        number: u64,
        watermark: u64,
    ) -> Result<(), EngineError> {
        let entries = writes.map(|write| {
            Ok(match write {
                EngineWrite::Put { key, value } => {
                    InternalValue::from_components(&key[..], &value[..], number, ValueType::Value)
                }
                EngineWrite::Delete { key } => InternalValue::new_tombstone(&key[..], number),
            })
        });
        self.write_tables(entries, watermark).map_err(|error| self.dir.tree_error("write a run", error))
    }

    /// Takes one step of compaction. Called by one thread. Where it fails, the files it wrote are removed.
    pub(super) fn compact(&self, watermark: u64) -> Result<CompactionStep, EngineError> {
        let before = self.tree.current_version().id();
        let first_id = self.tree.get_next_table_id();
        if let Err(error) = self.tree.compact(Arc::clone(&self.strategy) as _, watermark) {
            self.remove_orphans(first_id);
            return Err(self.dir.tree_error("compact tables", error));
        }
        let after = self.tree.current_version().id();
        Ok(if before == after { CompactionStep::Idle } else { CompactionStep::Progress })
    }

    /// Removes table files numbered above `first_id` that the current state does not name. Sound because compactions are the
    /// one thing that takes a table out of the state, the caller is the one compactor, and no flush runs meanwhile.
    fn remove_orphans(&self, first_id: u64) {
        let _guard = self.lock_flush();
        let end_id = self.tree.get_next_table_id();
        let version = self.tree.current_version();
        for id in first_id + 1..end_id {
            let path = self.dir.path().join(TABLES).join(id.to_string());
            if !version.iter_tables().any(|table| table.id() == id)
                && let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "a table of a failed compaction stays until the next start");
            }
        }
    }

    /// Forgets the states that no read at `watermark` or above needs, and with them their memtables and tables.
    pub(super) fn forget_states(&self, watermark: u64) -> Result<(), EngineError> {
        self.memtables.forget(watermark);
        if self.tree.version_free_list_len() == 0 {
            return Ok(());
        }
        let mut states = self.tree.get_version_history_lock();
        states
            .maintenance(self.dir.path(), watermark)
            .map_err(|error| self.dir.tree_error("remove old manifests", error))
    }

    /// The bytes that the next compaction step is likely to write, as far as that can be told.
    pub(super) fn compaction_bytes(&self) -> u64 {
        let version = self.tree.current_version();
        version.level(0).map_or(0, |level| level.size()) * 2
    }

    /// Links the current state into `into`, an empty directory: its manifest, `current` and its tables, all durable. The guard
    /// keeps flushes out, so the state may be reshaped by compactions meanwhile, but holds the same versions. Says
    /// of each file what was written to it, so that whoever reads it can tell damage.
    pub(super) fn link_into(&self, guard: FlushGuard<'_>, into: &Path) -> Result<Vec<CheckpointFile>, EngineError> {
        let state = self.read_state()?;
        drop(guard);
        let mut files = Vec::with_capacity(state.tables.len() + 2);
        let tables = into.join(TABLES);
        fs::create_dir(&tables).map_err(|source| io_error(&tables, "create the directory", source))?;
        for table in &state.tables {
            let relative = Path::new(TABLES).join(table.id().to_string());
            let target = into.join(&relative);
            fs::hard_link(&*table.path, &target).map_err(|source| io_error(&target, "link a table to", source))?;
            let size_bytes = fs::metadata(&target).map_err(|source| io_error(&target, "look at", source))?.len();
            files.push(CheckpointFile { path: relative, size_bytes, written_xxh3: table.checksum().into_u128() });
        }
        sync_directory(&tables)?;
        for (name, bytes) in [(state.name.as_str(), &state.manifest), (CURRENT, &state.current)] {
            write_new(&into.join(name), bytes)?;
            let size_bytes = bytes.len() as u64;
            files.push(CheckpointFile { path: PathBuf::from(name), size_bytes, written_xxh3: xxh3(bytes) });
        }
        sync_directory(into)?;
        files.sort();
        Ok(files)
    }

    /// The current state's tables, `current` and manifest. Tables keep their files while they are held.
    fn read_state(&self) -> Result<State, EngineError> {
        for _ in 0..MANIFEST_ATTEMPTS_MAX {
            let version = self.tree.current_version();
            let (current, id) = read_current(self.dir.path())?;
            if id != version.id() {
                continue;
            }
            match read_manifest(self.dir.path(), &current) {
                Ok((name, manifest)) => {
                    return Ok(State { tables: version.iter_tables().cloned().collect(), current, name, manifest });
                }
                // Removed since: another state is current by now.
                Err(EngineError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(EngineError::Directory {
            path: self.dir.path().to_owned(),
            detail: "the manifest changed too often to be copied; try again",
        })
    }

    /// Fills in the tree's part of the statistics.
    pub(super) fn add_stats(&self, stats: &mut EngineStats) {
        stats.disk_bytes = self.tree.disk_space();
        stats.tables = self.tree.table_count();
        stats.block_cache_bytes = self.cache.size();
        stats.block_cache_capacity_bytes = self.cache.capacity();
        stats.pinned_filter_bytes = self.tree.pinned_filter_size() as u64;
        stats.pinned_index_bytes = self.tree.pinned_block_index_size() as u64;
    }
}

/// Refuses a directory that holds tables but not what names them, and removes what an interrupted replacement of `current`
/// left. Says whether the directory exists.
fn check_directory(dir: &Path) -> Result<bool, EngineError> {
    let current = dir.join(CURRENT);
    let exists = |path: &Path| path.try_exists().map_err(|source| io_error(path, "look for", source));
    if exists(&current)? {
        let (current, _) = read_current(dir)?;
        read_manifest(dir, &current)?;
    } else if exists(&dir.join(TABLES))? && read_names(&dir.join(TABLES))?.next().is_some() {
        return Err(EngineError::Corrupt {
            path: dir.to_owned(),
            detail: "there are tables, but the file `current` that names their manifest is missing".to_owned(),
        });
    }
    let dir_exists = exists(dir)?;
    if dir_exists {
        for name in read_names(dir)? {
            let name = name?;
            if name.to_string_lossy().starts_with(".tmp") {
                let path = dir.join(name);
                fs::remove_file(&path).map_err(|source| io_error(&path, "remove", source))?;
            }
        }
    }
    Ok(dir_exists)
}

fn read_names(dir: &Path) -> Result<impl Iterator<Item = Result<std::ffi::OsString, EngineError>>, EngineError> {
    let entries = fs::read_dir(dir).map_err(|source| io_error(dir, "list the directory", source))?;
    let dir = dir.to_owned();
    Ok(entries.map(move |entry| {
        entry.map(|entry| entry.file_name()).map_err(|source| io_error(&dir, "list the directory", source))
    }))
}

/// The bytes of `current`, and the number of the manifest that it names.
fn read_current(dir: &Path) -> Result<(Vec<u8>, u64), EngineError> {
    let path = dir.join(CURRENT);
    let bytes = fs::read(&path).map_err(|source| io_error(&path, "read", source))?;
    match bytes.first_chunk::<8>() {
        Some(number) if bytes.len() == CURRENT_BYTES => {
            let number = u64::from_le_bytes(*number);
            Ok((bytes, number))
        }
        _ => Err(EngineError::Corrupt {
            detail: format!("it has {} bytes, expected {CURRENT_BYTES}", bytes.len()),
            path,
        }),
    }
}

/// The name and the bytes of the manifest that `current` names, checked against the checksum there.
fn read_manifest(dir: &Path, current: &[u8]) -> Result<(String, Vec<u8>), EngineError> {
    let corrupt = |detail: String| EngineError::Corrupt { path: dir.join(CURRENT), detail };
    let (number, rest) = current.split_first_chunk::<8>().ok_or_else(|| corrupt("it is too short".to_owned()))?;
    let (expected, kind) = rest.split_first_chunk::<16>().ok_or_else(|| corrupt("it is too short".to_owned()))?;
    if kind != [0] {
        return Err(corrupt(format!("it has checksums of kind {kind:?}, expected 0")));
    }
    let name = format!("v{}", u64::from_le_bytes(*number));
    let path = dir.join(&name);
    let manifest = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(EngineError::Corrupt { path, detail: "it is missing, and `current` names it".to_owned() });
        }
        read => read.map_err(|source| io_error(&path, "read", source))?,
    };
    if xxh3(&manifest) != u128::from_le_bytes(*expected) {
        return Err(EngineError::Corrupt { path, detail: "its checksum is not the one in `current`".to_owned() });
    }
    Ok((name, manifest))
}

/// A value without its block, or, where that would copy much, in it.
fn shared(value: Slice) -> Bytes {
    if value.len() <= VALUE_BYTES_COPIED { Bytes::copy_from_slice(&value) } else { Bytes::from_owner(value) }
}

/// The XXH3-128 of `bytes`, as the crate takes it of the files it writes.
pub(super) fn xxh3(bytes: &[u8]) -> u128 {
    let mut hasher = ChecksummedWriter::new(io::sink());
    hasher.write_all(bytes).expect("a sink takes everything");
    hasher.checksum().into_u128()
}
