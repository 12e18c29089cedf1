//! How an engine divides the memory it was given.
//!
//! | part | share | bounds |
//! |---|---|---|
//! | memtables: one active, [`MEMTABLES_SEALED_MAX`] sealed | 1/4 | each 256 KiB to 64 MiB |
//! | block cache: data, and the filters and indexes of all tables below level 0 | 3/8, and what the memtables leave of their quarter | |
//! | cache of hot values | 1/4 | |
//! | filters and indexes of level 0, open iterators, flush and compaction buffers | 1/8 | |
//!
//! An engine that is only loaded, and read once from end to end, has little use for caches: its memtables, or the runs that go
//! around them, take a half, its block cache an eighth, of which it needs no more than [`LOADING_BLOCK_CACHE_BYTES_MAX`]. What a
//! cache does not hold costs no new pages.

/// Full memtables that may wait to be flushed before writes wait.
pub(super) const MEMTABLES_SEALED_MAX: usize = 3;
/// Runs in level 0 that make writes wait until compaction has caught up.
pub(super) const L0_RUNS_MAX: usize = 24;
/// Tables in level 0 that are merged: every read of an absent key asks each of them.
const L0_TABLES_MERGED: u8 = 4;
/// Nobody reads while an engine is loaded, and the more are merged at once, the less is written. Below where writes slow down.
const LOADING_L0_TABLES_MERGED: u8 = 10;
/// Table files kept open.
pub(super) const DESCRIPTORS_MAX: usize = 512;

const MEMTABLE_BYTES_MIN: u64 = 256 * 1024;
const MEMTABLE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Enough for the blocks that an expiry in the log, which is a read, comes back to.
const LOADING_BLOCK_CACHE_BYTES_MAX: u64 = 32 * 1024 * 1024;
const TABLE_BYTES_MIN: u64 = 2 * 1024 * 1024;
const TABLE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The memory below which an engine does not go: 4 MiB.
pub(crate) const MEMORY_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// The settings of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EngineConfig {
    /// The memory that the engine may use, in bytes. Default 256 MiB; less than [`MEMORY_BYTES_MIN`] counts as that much.
    pub memory_bytes: u64,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self { memory_bytes: 256 * 1024 * 1024 }
    }
}

/// The memory divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// A memtable of this size is sealed.
    pub(super) memtable_bytes: u64,
    /// The capacity of the block cache.
    pub(super) block_cache_bytes: u64,
    /// The capacity of the cache of hot values.
    pub(super) hot_bytes: u64,
    /// The size at which compaction starts another table.
    pub(super) table_bytes: u64,
    /// Tables in level 0 that are merged into level 1.
    pub(super) l0_tables_merged: u8,
}

impl EngineConfig {
    /// Divides the memory.
    pub(super) fn budget(&self) -> Budget {
        let memory = self.memory_bytes.max(MEMORY_BYTES_MIN);
        let quarter = memory / 4;
        let memtable_bytes = memtable_bytes(quarter);
        Budget {
            memtable_bytes,
            block_cache_bytes: memory / 8 * 3 + (quarter - memtable_bytes * MEMTABLES),
            hot_bytes: quarter,
            table_bytes: table_bytes(memtable_bytes),
            l0_tables_merged: L0_TABLES_MERGED,
        }
    }

    /// Divides the memory of an engine that is only loaded.
    pub(super) fn loading_budget(&self) -> Budget {
        let memory = self.memory_bytes.max(MEMORY_BYTES_MIN);
        let memtable_bytes = memtable_bytes(memory / 2);
        Budget {
            memtable_bytes,
            block_cache_bytes: (memory / 8).min(LOADING_BLOCK_CACHE_BYTES_MAX),
            hot_bytes: 0,
            table_bytes: table_bytes(memtable_bytes),
            l0_tables_merged: LOADING_L0_TABLES_MERGED,
        }
    }
}

/// One active memtable and those that wait.
const MEMTABLES: u64 = MEMTABLES_SEALED_MAX as u64 + 1;

fn memtable_bytes(all_bytes: u64) -> u64 {
    (all_bytes / MEMTABLES).clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX)
}

fn table_bytes(memtable_bytes: u64) -> u64 {
    (memtable_bytes * 2).clamp(TABLE_BYTES_MIN, TABLE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_never_exceed_seven_eighths_of_the_memory() {
        for memory_bytes in [0, MEMORY_BYTES_MIN, 8 << 20, 100 << 20, 1 << 30, 64 << 30, u64::MAX / 8] {
            let config = EngineConfig { memory_bytes };
            let memory = memory_bytes.max(MEMORY_BYTES_MIN);
            for budget in [config.budget(), config.loading_budget()] {
                let sum = budget.memtable_bytes * 4 + budget.block_cache_bytes + budget.hot_bytes;
                assert!(sum <= memory / 8 * 7 + 8, "{sum} of {memory}: {budget:?}");
            }
        }
    }

    #[test]
    fn a_small_memory_gives_small_memtables() {
        let budget = EngineConfig { memory_bytes: 8 << 20 }.budget();
        assert_eq!(budget.memtable_bytes, 512 * 1024);
        assert_eq!(budget.hot_bytes, 2 << 20);
    }

    #[test]
    fn an_engine_that_is_only_loaded_has_large_memtables_and_a_small_cache() {
        let budget = EngineConfig { memory_bytes: 512 << 20 }.loading_budget();
        assert_eq!((budget.memtable_bytes, budget.block_cache_bytes), (64 << 20, 32 << 20));
    }

    #[test]
    fn a_large_memory_goes_to_the_caches() {
        let budget = EngineConfig { memory_bytes: 16 << 30 }.budget();
        assert_eq!(budget.memtable_bytes, MEMTABLE_BYTES_MAX);
        assert_eq!(budget.block_cache_bytes, (6 << 30) + (4 << 30) - (256 << 20));
    }
}
