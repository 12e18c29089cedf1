//! Preallocated segments.
use crate::vfs::Vfs;
use std::path::Path;
use std::sync::Arc;

use super::WalError;

/// How big segments are and how many are kept ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// A segment's size in bytes: a multiple of 4096.
    pub segment_bytes: u64,
    /// So many spare segments are filled ahead of need.
    pub spares_target: u32,
    /// At most so many are kept; a pruned segment beyond that is deleted.
    pub spares_max: u32,
}

/// What one step of background work did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillProgress {
    /// There is nothing to do until a segment is taken or pruned.
    Idle,
    /// A pruned segment became a spare, or was deleted.
    Retired,
    /// So many bytes of a new spare were written; so many are left.
    Filled {
        /// Written by this step.
        bytes: u64,
        /// Still to be written.
        left_bytes: u64,
    },
}

/// The pool, shared between the writer's thread and the background thread that the server owns.
#[derive(Debug)]
pub struct SegmentPool {}

impl SegmentPool {
    /// Opens the pool of the data directory `dir`.
    ///
    /// # Errors
    /// `SegmentBytes`, `Io`.
    pub fn open(_vfs: Arc<dyn Vfs>, _dir: &Path, _options: PoolOptions) -> Result<Arc<Self>, WalError> {
        unimplemented!("being written")
    }

    /// One step of background work (recycling, filling), writing at most `bytes_max` bytes.
    ///
    /// # Errors
    /// `NoSpace`, `Io`; may be called again later.
    pub fn fill_step(&self, _bytes_max: u64) -> Result<FillProgress, WalError> {
        unimplemented!("being written")
    }

    /// The bytes that spares and pruned segments take.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        unimplemented!("being written")
    }
}
