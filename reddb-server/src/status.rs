//! What the process knows about itself, gathered for `INFO`, the admin port and `reddb check`.

use reddb_file::{ClusterId, Epoch, Lsn, NodeId, TimelineId};

use crate::engine::EngineStats;
use crate::keyspace::layout::DatabaseState;

/// One look at a running database.
#[derive(Clone, Debug)]
pub struct Status {
    /// The cluster.
    pub cluster: ClusterId,
    /// This data directory.
    pub node: NodeId,
    /// The timeline that is written.
    pub timeline: TimelineId,
    /// The writer's epoch; zero while none is claimed.
    pub epoch: Epoch,
    /// The newest durable record.
    pub durable_lsn: Lsn,
    /// Its time, in Unix milliseconds.
    pub durable_time_ms: u64,
    /// The newest record that the archive's head vouches for.
    pub archived_lsn: Lsn,
    /// The newest record in the engine's own files.
    pub flushed_lsn: Lsn,
    /// Bytes of the local log.
    pub wal_bytes: u64,
    /// Records committed since the start.
    pub commits: u64,
    /// Syncs of the log since the start.
    pub syncs: u64,
    /// Why writes are refused, if they are: a code and a sentence.
    pub refusal: Option<(&'static str, String)>,
    /// The databases that hold keys.
    pub(crate) databases: Vec<(u32, DatabaseState)>,
    /// The engine's sizes and counts.
    pub(crate) engine: EngineStats,
    /// The archive.
    pub archive: ArchiveReport,
    /// How many keys have expired and been deleted since the start.
    pub expired_keys: u64,
    /// How far the expiry clock is behind the wall clock, in milliseconds.
    pub clock_offset_ms: i64,
}

/// How archiving goes.
#[derive(Clone, Debug, Default)]
pub struct ArchiveReport {
    /// The archive's URL.
    pub url: String,
    /// Whether the last request succeeded.
    pub online: bool,
    /// What went wrong last, while it has not gone right since.
    pub last_error: Option<String>,
    /// Records that the archive does not have yet.
    pub lag_records: u64,
    /// How long the oldest of them has been waiting, in milliseconds.
    pub lag_ms: u64,
    /// The newest snapshot's LSN, if there is one.
    pub snapshot_lsn: Option<Lsn>,
    /// When it was made, in Unix milliseconds.
    pub snapshot_time_ms: Option<u64>,
    /// Whether a snapshot is being made.
    pub snapshot_running: bool,
    /// The bytes of the snapshot that is being made that are in the archive already; 0 where none is being made.
    pub snapshot_done_bytes: u64,
    /// All its bytes; 0 where none is being made, and while its checkpoint is being made.
    pub snapshot_total_bytes: u64,
    /// Why the last attempt at a snapshot failed, if it did.
    pub snapshot_last_error: Option<String>,
    /// The first damage of the data directory's files that an attempt at a snapshot met.
    pub local_damage: Option<String>,
    /// Requests to the store since the start.
    pub requests: u64,
}
