//! The epoch's head: one owner, one write at a time.
//!
//! A write whose answer was lost may still land after a later one. The head is a lower bound, so an older head is never
//! wrong.

use reddb_file::archive::{ArchiveKey, EpochHead, HolderState, SnapshotRef, sealed};
use reddb_file::mark::TimedMark;
use tokio::time::Instant;

use super::ShipError;
use crate::store::Store;

/// What the head says, and when it was last written.
#[derive(Debug)]
pub(crate) struct HeadKeeper {
    store: Store,
    head: EpochHead,
    beat: u64,
    written: Instant,
}

/// What a new head says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeadChange {
    Archived { mark: TimedMark, complete_until_ms: u64 },
    Beat { complete_until_ms: u64 },
    Snapshot(SnapshotRef),
    Ended { complete_until_ms: u64 },
}

impl HeadKeeper {
    /// The keeper of a head that was just written.
    pub(crate) fn new(store: Store, head: EpochHead) -> Self {
        Self { store, beat: head.beat, head, written: Instant::now() }
    }

    pub(crate) fn head(&self) -> &EpochHead {
        &self.head
    }

    pub(crate) fn age(&self) -> std::time::Duration {
        self.written.elapsed()
    }

    /// Writes the head with this change.
    pub(crate) async fn write(&mut self, change: HeadChange, now_ms: u64) -> Result<(), ShipError> {
        let mut head = self.head.clone();
        match change {
            HeadChange::Archived { mark, complete_until_ms } => {
                assert!(mark.lsn >= head.archived.lsn, "the archive never shrinks under its own writer");
                head.archived = mark;
                head.complete_until_ms = head.complete_until_ms.max(complete_until_ms);
            }
            HeadChange::Beat { complete_until_ms } => {
                head.complete_until_ms = head.complete_until_ms.max(complete_until_ms);
            }
            HeadChange::Snapshot(snapshot) => head.newest_snapshot = Some(snapshot),
            HeadChange::Ended { complete_until_ms } => {
                head.complete_until_ms = head.complete_until_ms.max(complete_until_ms);
                head.holder = HolderState::Ended;
            }
        }
        // A failed write may have landed: its beat is never used again.
        self.beat = self.beat.saturating_add(1);
        head.beat = self.beat;
        head.beat_time_ms = now_ms;
        let bytes = sealed::encode(&head)?;
        self.store.put_overwrite(&ArchiveKey::EpochHead(head.epoch), bytes.into()).await?;
        self.head = head;
        self.written = Instant::now();
        Ok(())
    }
}
