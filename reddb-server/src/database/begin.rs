//! Beginning a timeline: its number in the control file, its empty log, its first record.
//!
//! A new directory's first timeline has its number from the beginning. A restored directory's is claimed in the archive, and
//! until then the directory holds the parent's history up to the fork and takes no writes.

use std::path::PathBuf;
use std::sync::Arc;

use reddb_file::control::{ControlFile, ControlState, RestoredFrom};
use reddb_file::vfs::Vfs;
use reddb_file::wal::{SegmentPool, WalWriter, recover};
use reddb_file::{ClusterId, Epoch, Lsn, TimelineRecord};

use super::archive::TimelineNumber;
use super::error::OpenFault;
use super::local::random_salt;

/// Where a restored directory's new timeline forks off.
#[derive(Clone)]
pub(super) struct Fork {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) dir: PathBuf,
    pub(super) cluster: ClusterId,
    pub(super) pool: Arc<SegmentPool>,
    pub(super) from: RestoredFrom,
    /// How far the timeline's expiry clock is behind the wall clock, in milliseconds.
    pub(super) clock_offset_ms: i64,
}

impl Fork {
    /// Puts the timeline into the control file and opens its log, which is empty and begins after the fork. May be repeated.
    pub(super) fn log(
        &self,
        control: &mut ControlFile,
        number: TimelineNumber,
        epoch: Epoch,
    ) -> Result<WalWriter, OpenFault> {
        let before = control.state().clone();
        let state = ControlState {
            timeline: number.timeline,
            timeline_begin: self.from.fork.lsn.next().unwrap_or(Lsn::MAX),
            timeline_random_id: number.random_id,
            clock_offset_ms: self.clock_offset_ms,
            epoch: epoch.max(before.epoch),
            ..before
        };
        control.write(&state)?;
        let log = recover(&self.vfs, &self.dir, self.cluster, &state, &self.pool, random_salt())?.log;
        Ok(WalWriter::open(
            Arc::clone(&self.vfs),
            &self.dir,
            Arc::clone(&self.pool),
            log,
            state.epoch,
            Box::new(random_salt),
        )?)
    }
}

/// The first record of the control file's timeline.
pub(super) fn first_record(state: &ControlState) -> TimelineRecord {
    let fork = state.restored_from.as_ref();
    TimelineRecord {
        id: state.timeline,
        parent: fork.map(|from| from.parent),
        fork_lsn: fork.map_or(Lsn::ZERO, |from| from.fork.lsn),
        random_id: state.timeline_random_id,
        clock_offset_ms: state.clock_offset_ms,
    }
}
