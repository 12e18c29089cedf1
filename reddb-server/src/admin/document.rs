//! The JSON that the admin port answers with. `reddb check` and other clients read it back with these same types.
//!
//! LSNs, sizes and times are JSON numbers up to 2^64 - 1: a reader that keeps numbers as floats is wrong.

use reddb_file::{ClusterId, Epoch, Lsn, NodeId, TimelineId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::database::{BackupSummary, MarkSummary};
use crate::status::Status;

/// `GET /admin/status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StatusDocument {
    /// The program's version.
    pub version: String,
    /// The cluster.
    pub cluster: ClusterId,
    /// The data directory.
    pub node: NodeId,
    /// The timeline that is written.
    pub timeline: TimelineId,
    /// The writer's epoch; 0 while none is claimed.
    pub epoch: Epoch,
    /// The newest durable record.
    pub durable_lsn: Lsn,
    /// Its time, in Unix milliseconds.
    pub durable_time_ms: u64,
    /// The newest record that the archive's head vouches for.
    pub archived_lsn: Lsn,
    /// The newest record in the engine's own files.
    pub flushed_lsn: Lsn,
    /// Records committed since the start.
    pub commits: u64,
    /// Syncs of the log since the start.
    pub syncs: u64,
    /// Keys that have expired and been deleted since the start.
    pub expired_keys: u64,
    /// How far the expiry clock is behind the wall clock, in milliseconds.
    pub clock_offset_ms: i64,
    /// The server's wall clock, in Unix milliseconds.
    pub wall_time_ms: u64,
    /// How long the server has been running, in milliseconds.
    pub uptime_ms: u64,
    /// Why writes are refused; `null` while they are taken.
    pub refusal: Option<RefusalDocument>,
    /// The local log.
    pub wal: WalDocument,
    /// The data directory's disk.
    pub disk: DiskDocument,
    /// The archive.
    pub archive: ArchiveDocument,
    /// The engine.
    pub engine: EngineDocument,
    /// The databases that hold keys.
    pub databases: Vec<DatabaseDocument>,
    /// The data port.
    pub clients: ClientsDocument,
}

/// Why writes are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusalDocument {
    /// For programs.
    pub code: String,
    /// For people.
    pub reason: String,
}

/// The local log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WalDocument {
    /// What it takes.
    pub bytes: u64,
    /// What it may take while the archive does not take it.
    pub bytes_max: u64,
}

/// The data directory's disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiskDocument {
    /// What this process may still take; `null` where the system does not say.
    pub free_bytes: Option<u64>,
    /// Below this, writes are refused: `--disk-reserve`, or what the engine needs where that is more.
    pub reserve_bytes: u64,
}

/// The archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ArchiveDocument {
    /// Where it is.
    pub url: String,
    /// Whether the last request succeeded.
    pub online: bool,
    /// What went wrong last, while it has not gone right since.
    pub last_error: Option<String>,
    /// Records that it does not have yet.
    pub lag_records: u64,
    /// How long the oldest of them has been waiting, in milliseconds.
    pub lag_ms: u64,
    /// The newest snapshot's LSN.
    pub snapshot_lsn: Option<Lsn>,
    /// When it was made, in Unix milliseconds.
    pub snapshot_time_ms: Option<u64>,
    /// Whether a snapshot is being made.
    pub snapshot_running: bool,
    /// Its bytes that are in the archive already.
    pub snapshot_done_bytes: u64,
    /// All its bytes; 0 while its checkpoint is being made.
    pub snapshot_total_bytes: u64,
    /// Whether the last attempt at a snapshot succeeded.
    pub snapshot_last_ok: bool,
    /// Why it failed, if it did.
    pub snapshot_last_error: Option<String>,
    /// Requests to the store since the start.
    pub requests: u64,
}

/// The engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EngineDocument {
    /// Written but not yet flushed.
    pub memtable_bytes: u64,
    /// The size of all tables.
    pub disk_bytes: u64,
    /// The number of tables.
    pub tables: u64,
    /// Sorted runs in level 0.
    pub l0_runs: u64,
    /// Bytes in the block cache.
    pub block_cache_bytes: u64,
    /// Bytes of filter and index blocks held in memory.
    pub pinned_bytes: u64,
    /// Bytes in the cache of hot values.
    pub hot_bytes: u64,
    /// Reads answered by the cache of hot values.
    pub hot_hits: u64,
    /// Reads that went to the tree.
    pub hot_misses: u64,
    /// Open snapshots.
    pub snapshots: u64,
    /// Flushes since the start.
    pub flushes: u64,
    /// Compactions since the start.
    pub compactions: u64,
    /// Time that writes have waited for the background, in milliseconds.
    pub stall_ms: u64,
    /// The first damage that was met in its files; `null` where none was.
    pub damage: Option<String>,
}

/// A database that holds keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DatabaseDocument {
    /// Its number.
    pub db: u32,
    /// How many keys, expired ones that are not yet deleted among them.
    pub key_count: u64,
    /// How many of them expire.
    pub expiring_count: u64,
}

/// The data port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClientsDocument {
    /// Clients connected now.
    pub connected: u64,
    /// How many may be connected.
    pub connected_max: u64,
    /// Connections accepted since the start.
    pub connections: u64,
    /// Connections refused because there were too many.
    pub connections_refused: u64,
    /// Commands executed.
    pub commands: u64,
    /// Errors answered.
    pub errors: u64,
    /// Bytes received.
    pub input_bytes: u64,
    /// Bytes sent.
    pub output_bytes: u64,
}

/// `POST /admin/backup`: the snapshot that was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupDocument {
    /// Its id.
    pub id: Uuid,
    /// Its timeline.
    pub timeline: TimelineId,
    /// The newest record it holds.
    pub lsn: Lsn,
    /// The chain after that record, in hex.
    pub chain: String,
    /// That record's time, in Unix milliseconds.
    pub time_ms: u64,
    /// How many files it has.
    pub file_count: u64,
    /// Their size.
    pub total_bytes: u64,
    /// How much of it had to be sent; the rest was in the archive already.
    pub sent_bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl From<BackupSummary> for BackupDocument {
    fn from(summary: BackupSummary) -> Self {
        let BackupSummary { id, timeline, lsn, chain, time_ms, file_count, total_bytes, sent_bytes, duration_ms } =
            summary;
        Self { id, timeline, lsn, chain, time_ms, file_count, total_bytes, sent_bytes, duration_ms }
    }
}

/// The body of `POST /admin/backup`; may be left out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct BackupRequest {
    /// Why, for people who look at the archive later.
    pub reason: Option<String>,
}

/// The body of `POST /admin/mark`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MarkRequest {
    /// The restore point's name.
    pub name: String,
}

/// `POST /admin/mark`: the restore point that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarkDocument {
    /// Its name.
    pub name: String,
    /// The timeline.
    pub timeline: TimelineId,
    /// The newest record it covers.
    pub lsn: Lsn,
    /// The chain after that record, in hex.
    pub chain: String,
    /// That record's time, in Unix milliseconds.
    pub time_ms: u64,
}

impl From<MarkSummary> for MarkDocument {
    fn from(summary: MarkSummary) -> Self {
        let MarkSummary { name, timeline, lsn, chain, time_ms } = summary;
        Self { name, timeline, lsn, chain, time_ms }
    }
}

/// `GET /health/live` and `GET /health/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HealthDocument {
    /// `ok`, or the code of what is wrong.
    pub status: String,
    /// For people; `null` where all is well.
    pub reason: Option<String>,
}

/// What [`StatusDocument`] holds beside the database's own [`Status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Surroundings {
    pub(super) wall_time_ms: u64,
    pub(super) uptime_ms: u64,
    pub(super) wal_bytes_max: u64,
    pub(super) disk_free_bytes: Option<u64>,
    pub(super) disk_reserve_bytes: u64,
    pub(super) clients: ClientsDocument,
}

impl StatusDocument {
    pub(super) fn new(status: Status, around: Surroundings) -> Self {
        let Status { engine, archive, .. } = status;
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            cluster: status.cluster,
            node: status.node,
            timeline: status.timeline,
            epoch: status.epoch,
            durable_lsn: status.durable_lsn,
            durable_time_ms: status.durable_time_ms,
            archived_lsn: status.archived_lsn,
            flushed_lsn: status.flushed_lsn,
            commits: status.commits,
            syncs: status.syncs,
            expired_keys: status.expired_keys,
            clock_offset_ms: status.clock_offset_ms,
            wall_time_ms: around.wall_time_ms,
            uptime_ms: around.uptime_ms,
            refusal: status.refusal.map(|(code, reason)| RefusalDocument { code: code.into(), reason }),
            wal: WalDocument { bytes: status.wal_bytes, bytes_max: around.wal_bytes_max },
            disk: DiskDocument { free_bytes: around.disk_free_bytes, reserve_bytes: around.disk_reserve_bytes },
            archive: ArchiveDocument {
                url: archive.url,
                online: archive.online,
                last_error: archive.last_error,
                lag_records: archive.lag_records,
                lag_ms: archive.lag_ms,
                snapshot_lsn: archive.snapshot_lsn,
                snapshot_time_ms: archive.snapshot_time_ms,
                snapshot_running: archive.snapshot_running,
                snapshot_done_bytes: archive.snapshot_done_bytes,
                snapshot_total_bytes: archive.snapshot_total_bytes,
                snapshot_last_ok: archive.snapshot_last_error.is_none(),
                snapshot_last_error: archive.snapshot_last_error,
                requests: archive.requests,
            },
            engine: EngineDocument {
                memtable_bytes: engine.memtable_bytes,
                disk_bytes: engine.disk_bytes,
                tables: engine.tables as u64,
                l0_runs: engine.l0_runs as u64,
                block_cache_bytes: engine.block_cache_bytes,
                pinned_bytes: engine.pinned_filter_bytes + engine.pinned_index_bytes,
                hot_bytes: engine.hot_bytes,
                hot_hits: engine.hot_hits,
                hot_misses: engine.hot_misses,
                snapshots: engine.snapshots as u64,
                flushes: engine.flushes,
                compactions: engine.compactions,
                stall_ms: u64::try_from(engine.stall.as_millis()).unwrap_or(u64::MAX),
                damage: engine.damage.or(archive.local_damage),
            },
            databases: status
                .databases
                .into_iter()
                .map(|(db, state)| DatabaseDocument {
                    db,
                    key_count: state.key_count,
                    expiring_count: state.expiring_count,
                })
                .collect(),
            clients: around.clients,
        }
    }
}

#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;

    /// A server that has everything as it should be.
    pub(crate) fn healthy() -> StatusDocument {
        let mut status = StatusDocument {
            version: "0".into(),
            cluster: ClusterId::from_bytes([1; 16]),
            node: NodeId::from_bytes([2; 16]),
            timeline: TimelineId::new(1),
            epoch: Epoch::new(3),
            durable_lsn: Lsn::new(100),
            durable_time_ms: 1_767_323_045_000,
            archived_lsn: Lsn::new(100),
            flushed_lsn: Lsn::new(50),
            commits: 100,
            syncs: 10,
            expired_keys: 0,
            clock_offset_ms: 0,
            wall_time_ms: 1_767_323_046_000,
            uptime_ms: 3_600_000,
            refusal: None,
            wal: WalDocument { bytes: 1 << 20, bytes_max: 1 << 30 },
            disk: DiskDocument { free_bytes: Some(100 << 30), reserve_bytes: 256 << 20 },
            archive: ArchiveDocument {
                url: "file:///a".into(),
                online: true,
                last_error: None,
                lag_records: 0,
                lag_ms: 0,
                snapshot_lsn: Some(Lsn::new(10)),
                snapshot_time_ms: None,
                snapshot_running: false,
                snapshot_done_bytes: 0,
                snapshot_total_bytes: 0,
                snapshot_last_ok: true,
                snapshot_last_error: None,
                requests: 5,
            },
            engine: EngineDocument {
                memtable_bytes: 1,
                disk_bytes: 2,
                tables: 3,
                l0_runs: 4,
                block_cache_bytes: 5,
                pinned_bytes: 6,
                hot_bytes: 7,
                hot_hits: 8,
                hot_misses: 9,
                snapshots: 10,
                flushes: 11,
                compactions: 12,
                stall_ms: 1500,
                damage: None,
            },
            databases: vec![DatabaseDocument { db: 0, key_count: 7, expiring_count: 1 }],
            clients: ClientsDocument::default(),
        };
        status.archive.snapshot_time_ms = Some(status.wall_time_ms - 3_600_000);
        status
    }
}
