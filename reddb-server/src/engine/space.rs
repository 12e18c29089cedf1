//! The disk's free space: what flushes and compactions need of it, and whether one of them waits for it.
//!
//! A wait for space has no end that anybody here could know, so nobody is made to wait for it: whoever applies records goes on
//! in memory, and the write gate, which asks [`Space::wanted_bytes`], refuses the next ones.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::EngineError;
use super::throttle::L0_RUNS_SLOW;

/// Space that a flush or a compaction leaves on the disk.
const DISK_RESERVE_BYTES: u64 = 16 * 1024 * 1024;

/// Says how many bytes are free where a path is.
pub(super) type SpaceProbe = Box<dyn Fn(&Path) -> Result<u64, EngineError> + Send + Sync>;

/// Whose need is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// A flush of all sealed memtables.
    Flush,
    /// A step of compaction.
    Compaction,
}

/// What a writer does that finds no room because the background lacks space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WithoutSpace {
    /// Goes on in memory: the record is in the log already, and the write gate keeps the next ones away.
    GoOn,
    /// Gives up, since nothing else would stop it.
    GiveUp,
}

/// The space of an engine's directory.
pub(super) struct Space {
    probe: SpaceProbe,
    /// What the last attempt lacked, with the reserve; 0 where it lacked nothing.
    flush_lacks_bytes: AtomicU64,
    compaction_lacks_bytes: AtomicU64,
}

impl Space {
    /// Nothing is lacking.
    pub(super) fn new(probe: SpaceProbe) -> Self {
        Self { probe, flush_lacks_bytes: AtomicU64::new(0), compaction_lacks_bytes: AtomicU64::new(0) }
    }

    /// Refuses what would write `bytes` into `dir` where they do not fit beside the reserve.
    pub(super) fn check(&self, dir: &Path, bytes: u64) -> Result<(), EngineError> {
        let free_bytes = (self.probe)(dir)?;
        let needed_bytes = bytes.saturating_add(DISK_RESERVE_BYTES);
        if free_bytes < needed_bytes {
            return Err(EngineError::OutOfSpace { path: dir.to_owned(), needed_bytes, free_bytes });
        }
        Ok(())
    }

    /// Remembers how an attempt in the background ended.
    pub(super) fn note<T>(&self, need: Need, result: &Result<T, EngineError>) {
        let lacks_bytes = match result {
            Err(EngineError::OutOfSpace { needed_bytes, .. }) => *needed_bytes,
            Err(error) if error.is_out_of_space() => DISK_RESERVE_BYTES,
            _ => 0,
        };
        self.lacking(need).store(lacks_bytes, Ordering::Relaxed);
    }

    fn lacking(&self, need: Need) -> &AtomicU64 {
        match need {
            Need::Flush => &self.flush_lacks_bytes,
            Need::Compaction => &self.compaction_lacks_bytes,
        }
    }

    /// Whether flushes wait for space.
    pub(super) fn flush_waits(&self) -> bool {
        self.flush_lacks_bytes.load(Ordering::Relaxed) > 0
    }

    /// The bytes that the background waits for, so that it makes no room for writes. A compaction counts from `l0_runs` on at
    /// which writes are slowed down for it.
    pub(super) fn lacks_bytes(&self, l0_runs: usize) -> u64 {
        let compaction = if l0_runs < L0_RUNS_SLOW { 0 } else { self.compaction_lacks_bytes.load(Ordering::Relaxed) };
        self.flush_lacks_bytes.load(Ordering::Relaxed).max(compaction)
    }

    /// The refusal of a write for which the background makes no room.
    pub(super) fn refusal(&self, dir: &Path, l0_runs: usize) -> EngineError {
        match (self.probe)(dir) {
            Ok(free_bytes) => {
                EngineError::OutOfSpace { path: dir.to_owned(), needed_bytes: self.lacks_bytes(l0_runs), free_bytes }
            }
            Err(error) => error,
        }
    }

    /// The free bytes below which writes are to be refused: those that a flush of the `memtable_bytes` in memory takes, and what
    /// the background lacks already.
    pub(super) fn wanted_bytes(&self, memtable_bytes: u64, l0_runs: usize) -> u64 {
        memtable_bytes.saturating_add(DISK_RESERVE_BYTES).max(self.lacks_bytes(l0_runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_compaction_lacks_counts_where_writes_are_slowed_down_for_it() {
        let space = Space::new(Box::new(|_| Ok(DISK_RESERVE_BYTES + 10)));
        let dir = Path::new("engine");
        assert!(space.check(dir, 10).is_ok());
        let refused = space.check(dir, 100);
        space.note(Need::Compaction, &refused);
        assert_eq!(space.lacks_bytes(L0_RUNS_SLOW - 1), 0);
        assert_eq!(space.lacks_bytes(L0_RUNS_SLOW), DISK_RESERVE_BYTES + 100);
        assert_eq!(space.wanted_bytes(5, 0), DISK_RESERVE_BYTES + 5);
        assert_eq!(space.wanted_bytes(5, L0_RUNS_SLOW), DISK_RESERVE_BYTES + 100);
        assert!(!space.flush_waits());
        space.note(Need::Flush, &refused);
        assert!(space.flush_waits());
        assert_eq!(space.lacks_bytes(0), DISK_RESERVE_BYTES + 100);
        for need in [Need::Flush, Need::Compaction] {
            space.note(need, &Ok(()));
        }
        assert_eq!(space.lacks_bytes(usize::MAX), 0);
    }
}
