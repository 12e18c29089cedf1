//! The handle of the running archiver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reddb_file::{Lsn, TimedMark, TimelineId};
use serde::Serialize;
use uuid::Uuid;

use super::claim::Claimed;
use crate::clock::Clock;
use crate::commit::gate::WriteGate;
use crate::config::Config;
use crate::database::bridge::{Checkpoints, Log};
use crate::database::error::OpenError;
use crate::reply::CommandError;
use crate::status::ArchiveReport;

/// A published snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupSummary {
    /// Its id.
    pub id: Uuid,
    /// Its timeline.
    pub timeline: TimelineId,
    /// The last record in it.
    pub lsn: Lsn,
    /// How many files it has.
    pub file_count: u64,
    /// Their size, in bytes.
    pub total_bytes: u64,
    /// What had to be sent because the archive did not have it, in bytes.
    pub sent_bytes: u64,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// A named LSN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MarkSummary {
    /// The name.
    pub name: String,
    /// Its timeline.
    pub timeline: TimelineId,
    /// The record it names.
    pub lsn: Lsn,
    /// The chain there.
    pub chain: String,
    /// The record's time, in Unix milliseconds.
    pub time_ms: u64,
}

/// See the module.
pub(in crate::database) struct Archive {
    url: String,
    last_save_ms: AtomicU64,
}

impl Archive {
    pub(in crate::database) fn start(
        _config: &Config,
        claimed: Claimed,
        _log: Arc<Log>,
        _checkpoints: Arc<Checkpoints>,
        _gate: Arc<WriteGate>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        Ok(Self { url: claimed.url, last_save_ms: AtomicU64::new(clock.wall_ms()) })
    }

    pub(in crate::database) async fn backup(&self, _reason: &str) -> Result<BackupSummary, CommandError> {
        Err(CommandError::fixed("ERR the archiver does not run"))
    }

    pub(in crate::database) async fn mark(&self, _name: &str) -> Result<MarkSummary, CommandError> {
        Err(CommandError::fixed("ERR the archiver does not run"))
    }

    pub(in crate::database) fn last_save_ms(&self) -> u64 {
        self.last_save_ms.load(Ordering::Relaxed)
    }

    pub(in crate::database) fn report(&self, _durable: TimedMark) -> ArchiveReport {
        ArchiveReport { url: self.url.clone(), ..ArchiveReport::default() }
    }

    pub(in crate::database) async fn stop(&self, _timeout: Duration) {}
}
