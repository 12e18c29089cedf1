//! What an archiver is doing, for operators and for the gate that lets writes through.

use parking_lot::Mutex;
use reddb_file::archive::SnapshotRef;
use reddb_file::mark::TimedMark;
use reddb_file::{Epoch, TimelineId};
use uuid::Uuid;

use crate::store::RequestCounts;

/// Whether the archiver gets anything done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiverState {
    /// The last attempt succeeded.
    Online,
    /// It fails and tries again. Nothing is lost while the log is kept.
    Retrying {
        /// Since when, in Unix milliseconds.
        since_ms: u64,
        /// How often it has failed in a row.
        failures: u32,
    },
    /// A higher epoch was claimed; it will never write again.
    Fenced {
        /// The higher epoch.
        by: Epoch,
    },
    /// It was shut down.
    Ended,
}

/// What was shipped since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shipped {
    /// Segments.
    pub segments: u64,
    /// Their records' bytes.
    pub record_bytes: u64,
    /// What the segments take in the store.
    pub stored_bytes: u64,
}

/// A snapshot that is being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunningSnapshot {
    /// Its identity.
    pub id: Uuid,
    /// When it began, in Unix milliseconds.
    pub since_ms: u64,
    /// Bytes of files that are in the archive already.
    pub done_bytes: u64,
    /// Bytes of all its files; 0 while the checkpoint is being made.
    pub total_bytes: u64,
}

/// The archiver's state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiverStatus {
    /// The owned epoch.
    pub epoch: Epoch,
    /// The shipped timeline.
    pub timeline: TimelineId,
    /// The newest record that the head speaks of.
    pub archived: TimedMark,
    /// No record beyond `archived` is at this time or before, as the head says.
    pub complete_until_ms: u64,
    /// The log's newest durable record, at the moment of asking.
    pub durable: TimedMark,
    /// How many durable records are not archived.
    pub lag_records: u64,
    /// How long there has been something to ship without a moment of having caught up, in milliseconds.
    pub lag_ms: u64,
    /// Whether it gets anything done.
    pub state: ArchiverState,
    /// The last failure, if any, with what to do about it; kept after it has passed.
    pub last_error: Option<String>,
    /// When a cycle last succeeded, in Unix milliseconds. One with nothing to do asks the store for nothing, so this may be
    /// ahead of the store's last answer by a beat interval.
    pub last_success_ms: u64,
    /// The newest snapshot that the head speaks of.
    pub newest_snapshot: Option<SnapshotRef>,
    /// The snapshot that is being made.
    pub snapshot: Option<RunningSnapshot>,
    /// What was shipped since the start.
    pub shipped: Shipped,
    /// What was asked of the store.
    pub requests: RequestCounts,
}

/// The part of the status that the task writes down.
#[derive(Debug)]
pub(crate) struct Shared(Mutex<SharedStatus>);

#[derive(Clone, Debug)]
pub(crate) struct SharedStatus {
    pub(crate) archived: TimedMark,
    pub(crate) complete_until_ms: u64,
    pub(crate) state: ArchiverState,
    pub(crate) last_error: Option<String>,
    pub(crate) last_success_ms: u64,
    pub(crate) caught_up_ms: u64,
    pub(crate) newest_snapshot: Option<SnapshotRef>,
    pub(crate) snapshot: Option<RunningSnapshot>,
    pub(crate) shipped: Shipped,
}

impl Shared {
    pub(crate) fn new(status: SharedStatus) -> Self {
        Self(Mutex::new(status))
    }

    pub(crate) fn get(&self) -> SharedStatus {
        self.0.lock().clone()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut SharedStatus)) {
        change(&mut self.0.lock());
    }
}
