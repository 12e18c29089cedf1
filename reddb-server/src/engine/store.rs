//! [`LsmEngine`]: the engine over one directory, with its threads.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use reddb_file::{Chain, Lsn};

use super::background::{Background, Signals};
use super::config::Budget;
use super::core::{Core, FaultHook};
use super::files::free_bytes;
use super::space::{Space, SpaceProbe};
use super::{
    AppliedMark, Checkpoint, Engine, EngineConfig, EngineError, EngineIter, EngineScan, EngineStats, EngineWrite,
    KeyRange, RangeDeletion, Snapshot,
};

/// An [`Engine`] over a log-structured merge tree in one directory.
///
/// Dropping it stops its threads without a flush: what was not flushed is in the log. [`Engine::close`] flushes.
/// One process at a time may have a directory open; who opens it sees to that.
pub(crate) struct LsmEngine {
    core: Arc<Core>,
    background: Background,
}

impl LsmEngine {
    /// As [`open_with`](Self::open_with), with nobody to tell of a failure.
    #[cfg(test)]
    pub(crate) fn open(dir: &Path, config: EngineConfig, origin: Chain) -> Result<Self, EngineError> {
        Self::open_with(dir, config, origin, Box::new(|_| {}))
    }

    /// Opens the engine in `dir`; an absent or empty directory becomes an empty engine. `origin` is the chain before the first
    /// record. Reads no data: the time taken depends on the number of tables, and on the size of what is pinned of them.
    /// `on_fault` is called, once, from the thread that failed, when the background fails.
    ///
    /// The engine is then exactly at the record that [`Engine::applied`] names; the records after it are to be applied again.
    ///
    /// # Errors
    ///
    /// [`EngineError::Corrupt`] where the directory does not hold a tree with its mark, and errors of the disk.
    pub(crate) fn open_with(
        dir: &Path,
        config: EngineConfig,
        origin: Chain,
        on_fault: FaultHook,
    ) -> Result<Self, EngineError> {
        Self::open_on(dir, config, origin, on_fault, Box::new(free_bytes))
    }

    /// As [`open_with`](Self::open_with), for an engine that is only loaded and read once, with nobody to tell of a failure: its
    /// memory goes to its memtables.
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    pub(crate) fn open_to_load(dir: &Path, config: EngineConfig, origin: Chain) -> Result<Self, EngineError> {
        Self::open_within(dir, config.loading_budget(), origin, Box::new(|_| {}), Box::new(free_bytes))
    }

    /// As [`open_with`](Self::open_with), on a disk whose free space is what `space` says.
    pub(super) fn open_on(
        dir: &Path,
        config: EngineConfig,
        origin: Chain,
        on_fault: FaultHook,
        probe: SpaceProbe,
    ) -> Result<Self, EngineError> {
        Self::open_within(dir, config.budget(), origin, on_fault, probe)
    }

    fn open_within(
        dir: &Path,
        budget: Budget,
        origin: Chain,
        on_fault: FaultHook,
        probe: SpaceProbe,
    ) -> Result<Self, EngineError> {
        let (signals, inboxes) = Signals::new();
        let core = Arc::new(Core::open(dir, budget, origin, signals, on_fault, Space::new(probe))?);
        let background = Background::start(&core, inboxes)?;
        Ok(Self { core, background })
    }
}

impl Engine for LsmEngine {
    #[cfg(test)]
    fn get(&self, key: &[u8], at: Lsn) -> Result<Option<Bytes>, EngineError> {
        self.core.get(key, at)
    }

    fn get_in(&self, key: &[u8], snapshot: &Snapshot) -> Result<Option<Bytes>, EngineError> {
        self.core.get_registered(key, snapshot.registration())
    }

    fn range(&self, range: KeyRange<'_>, at: Lsn) -> Result<EngineIter, EngineError> {
        self.core.range(range, at)
    }

    fn scan(&self, range: KeyRange<'_>, at: Lsn) -> Result<EngineScan, EngineError> {
        self.core.scan(range, at)
    }

    fn applied_lsn(&self) -> Lsn {
        self.core.applied_lsn()
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.core.register_newest())
    }

    fn apply(&self, mark: AppliedMark, writes: &[EngineWrite]) -> Result<(), EngineError> {
        self.core.apply(mark, writes)
    }

    fn load(&self, mark: AppliedMark, writes: &[EngineWrite]) -> Result<(), EngineError> {
        self.core.load(mark, writes)
    }

    fn load_run(&self, mark: AppliedMark, writes: &[EngineWrite]) -> Result<(), EngineError> {
        self.core.load_run(mark, writes)
    }

    fn run_bytes_max(&self) -> u64 {
        self.core.run_bytes_max()
    }

    fn applied(&self) -> AppliedMark {
        self.core.applied()
    }

    fn flushed(&self) -> AppliedMark {
        self.core.flushed()
    }

    fn flush(&self) -> Result<AppliedMark, EngineError> {
        self.core.flush()
    }

    fn checkpoint(&self, into: &Path) -> Result<Checkpoint, EngineError> {
        self.core.checkpoint(into)
    }

    fn delete_range_step(&self, range: KeyRange<'_>, entries_max: usize) -> Result<RangeDeletion, EngineError> {
        self.core.delete_range_step(range, entries_max)
    }

    fn space_wanted_bytes(&self) -> u64 {
        self.core.space_wanted_bytes()
    }

    fn stats(&self) -> EngineStats {
        self.core.stats()
    }

    fn close(&self) -> Result<AppliedMark, EngineError> {
        self.core.close_writer();
        let flushed = self.core.flush();
        self.background.stop(&self.core);
        flushed
    }
}

impl Drop for LsmEngine {
    fn drop(&mut self) {
        self.background.stop(&self.core);
    }
}

impl fmt::Debug for LsmEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LsmEngine").field("applied", &self.core.applied()).finish_non_exhaustive()
    }
}
