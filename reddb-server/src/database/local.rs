//! The local side of opening: directory, identity, control file, log, engine.
//!
//! The order is what makes a crash at any point harmless: the identity is created before the control file, the control file
//! before the log, and nothing is acknowledged before all of them and the timeline's first record are durable.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crossbeam_channel::bounded;
use reddb_file::control::{ControlFile, ControlState, RestoredFrom, Shutdown, TtlMode};
use reddb_file::identity::{Identity, IdentityError};
use reddb_file::lock::{DirLock, LockError};
use reddb_file::vfs::{Vfs, VfsError};
use reddb_file::wal::{
    PoolOptions, RecoveredLog, Salt, SegmentPool, Verdict, WalBatch, WalReadError, WalReader, recover,
};
use reddb_file::{Chain, ClusterId, Epoch, Lsn, Mark, NodeId, TimedMark, TimelineId, layout};

use super::access;
use super::error::OpenFault;
use crate::config::Config;
use crate::engine::{Engine, EngineConfig, EngineError, FaultHook, LsmEngine};
use crate::keyspace::layout::{TimelineState, decode_timeline, timeline_entry};
use crate::keyspace::{SnapshotState, State};
use crate::replay::Replayer;

const SPARES_TARGET: u32 = 1;
const SPARES_MAX: u32 = 3;
/// So many bytes of records are replayed while as many are read, unless a batch is larger.
const GROUP_BYTES: usize = 256 * 1024;

/// A data directory that this process holds.
pub(super) struct Directory {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) lock: DirLock,
    pub(super) identity: Identity,
    pub(super) control: ControlFile,
}

impl Directory {
    /// Takes the directory, making it where there is none.
    pub(super) fn open(vfs: Arc<dyn Vfs>, dir: &Path) -> Result<Self, OpenFault> {
        reddb_file::durable::create_dir_durable(&*vfs, dir).map_err(|error| unusable(dir, error))?;
        let lock = match DirLock::acquire(&*vfs, dir, std::process::id()) {
            Err(LockError::Io(error)) => return Err(unusable(dir, error)),
            acquired => acquired?,
        };
        access::check(dir)?;
        let identity = match Identity::read(&*vfs, dir) {
            Ok(identity) => identity,
            Err(IdentityError::Missing { .. }) => {
                if !is_empty(&*vfs, dir)? {
                    return Err(OpenFault::ForeignDirectory { dir: dir.to_owned() });
                }
                let identity =
                    Identity { cluster: ClusterId::from_bytes(random_id()), node: NodeId::from_bytes(random_id()) };
                identity.create(&*vfs, dir)?;
                identity
            }
            Err(error) => return Err(error.into()),
        };
        let fresh = vfs.metadata(&layout::control_path(dir))?.is_none()
            && vfs.metadata(&layout::wal_dir(dir))?.is_none()
            && vfs.metadata(&layout::engine_dir(dir))?.is_none();
        let control = if fresh {
            ControlFile::create(&*vfs, dir, identity.cluster, &new_cluster(identity.cluster))?
        } else {
            ControlFile::open(&*vfs, dir, identity.cluster)?
        };
        remove_staging(&*vfs, dir)?;
        Ok(Self { vfs, lock, identity, control })
    }
}

/// A directory that is no place for data is a mistake in the settings; a disk that is full or broken is none.
fn unusable(dir: &Path, source: VfsError) -> OpenFault {
    match source.kind() {
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::AlreadyExists => OpenFault::DirectoryUnusable { dir: dir.to_owned(), source },
        _ => source.into(),
    }
}

/// Half-built things of a process that is gone; nobody else can be at work, since the lock is held.
fn remove_staging(vfs: &dyn Vfs, dir: &Path) -> Result<(), OpenFault> {
    let staging = layout::staging_dir(dir);
    if vfs.metadata(&staging)?.is_some() {
        vfs.remove_dir_all(&staging)?;
        vfs.sync_dir(dir)?;
    }
    Ok(())
}

fn is_empty(vfs: &dyn Vfs, dir: &Path) -> Result<bool, OpenFault> {
    let ours = [layout::lock_path(dir), reddb_file::durable::temporary_path(&layout::identity_path(dir))];
    let foreign = vfs.list(dir)?.into_iter().find(|entry| !ours.contains(&dir.join(&entry.name)));
    Ok(foreign.is_none_or(|entry| entry.name == "lost+found"))
}

fn new_cluster(cluster: ClusterId) -> ControlState {
    ControlState {
        timeline: TimelineId::FIRST,
        epoch: Epoch::ZERO,
        durable: TimedMark::genesis(cluster),
        archived: Mark::genesis(cluster),
        checkpoint: Mark::genesis(cluster),
        shutdown: Shutdown::Unclean,
        clock_offset_ms: 0,
        timeline_begin: Lsn::new(1),
        timeline_random_id: random_id(),
        restored_from: None,
    }
}

/// The log and the engine, in agreement.
pub(super) struct Recovered {
    pub(super) pool: Arc<SegmentPool>,
    pub(super) log: RecoveredLog,
    pub(super) engine: Arc<LsmEngine>,
}

/// Recovers the log and brings the engine up to its end.
pub(super) fn recover_log(directory: &Directory, config: &Config, on_fault: FaultHook) -> Result<Recovered, OpenFault> {
    let Directory { vfs, identity, control, .. } = directory;
    let options = PoolOptions {
        segment_bytes: config.wal_segment_bytes_fitting(),
        spares_target: SPARES_TARGET,
        spares_max: SPARES_MAX,
    };
    let pool = SegmentPool::open(Arc::clone(vfs), &config.dir, options)?;
    let recovery = recover(vfs, &config.dir, identity.cluster, control.state(), &pool, random_salt())?;
    if let Verdict::TornTail { segment, offset, lsn } = &recovery.verdict {
        tracing::warn!(
            segment = %segment.display(), offset, %lsn,
            "the last batch was not written whole and was never acknowledged; it was dropped"
        );
    }
    let log = recovery.log;
    let engine_dir = layout::engine_dir(&config.dir);
    let engine_config = EngineConfig { memory_bytes: config.memory_bytes };
    let origin = Chain::genesis(identity.cluster);
    let engine = LsmEngine::open_with(&engine_dir, engine_config, origin, on_fault);
    let engine = Arc::new(engine.map_err(|error| engine_fault(error, &engine_dir, log.base().lsn))?);
    replay(directory, config, &log, &engine)?;
    Ok(Recovered { pool, log, engine })
}

/// A log that reaches back to the very first record can build the engine again; any other cannot.
fn engine_fault(error: EngineError, engine_dir: &Path, log_base: Lsn) -> OpenFault {
    let otherwise = match error {
        EngineError::Corrupt { .. } => "keep this directory, and restore from the archive into a new one",
        EngineError::OtherFormat { .. } => "start the version of reddb that wrote this directory",
        error => return error.into(),
    };
    let next = if log_base == Lsn::ZERO {
        let dir = engine_dir.display();
        format!("the log holds every record, so move {dir} away and start again: it is built from the log")
    } else {
        format!("the log does not reach back to the first record; {otherwise}")
    };
    OpenFault::EngineUnreadable { source: error, next }
}

fn replay(
    directory: &Directory,
    config: &Config,
    log: &RecoveredLog,
    engine: &Arc<LsmEngine>,
) -> Result<(), OpenFault> {
    let end = log.end();
    let applied = engine.applied();
    let foreign = || OpenFault::EngineNotOfThisLog { engine: applied.lsn, log: end.lsn };
    if applied.lsn > end.lsn || (applied.lsn == end.lsn && applied.chain != end.chain) {
        return Err(foreign());
    }
    if applied.lsn == end.lsn {
        return Ok(());
    }
    if applied.lsn < log.base().lsn {
        let log_first = log.base().lsn.next().unwrap_or(Lsn::MAX);
        return Err(OpenFault::EngineBehindLog { engine: applied.lsn, log_first });
    }
    let from = applied.lsn.next().ok_or_else(foreign)?;
    let mut reader = WalReader::new(
        Arc::clone(&directory.vfs),
        &config.dir,
        directory.identity.cluster,
        directory.control.state().timeline,
        from,
    );
    let started = std::time::Instant::now();
    let mut replayer = Replayer::into_memtables(Arc::clone(engine) as Arc<dyn Engine>);
    std::thread::scope(|scope| {
        // Without a buffer: while one group is applied, the next one is read and proved.
        let (sender, groups) = bounded(0);
        scope.spawn(move || {
            loop {
                let group = read_group(&mut reader, end.lsn);
                let is_last = !group.as_ref().is_ok_and(|group| !group.is_empty());
                // Where nobody takes it, applying has failed.
                if sender.send(group).is_err() || is_last {
                    return;
                }
            }
        });
        for group in groups {
            for batch in group? {
                if batch.first_lsn == from && batch.chain_before != applied.chain {
                    return Err(foreign());
                }
                replayer.push_batch(&batch)?;
            }
        }
        Ok(())
    })?;
    let reached = replayer.finish()?;
    if reached.lsn != end.lsn || reached.chain != end.chain {
        return Err(foreign());
    }
    let records = end.lsn.records_since(applied.lsn);
    tracing::info!(records, lsn = %end.lsn, elapsed = ?started.elapsed(), "replayed the log");
    Ok(())
}

/// The next batches of the log, enough to be worth handing to another thread; none at its end.
fn read_group(reader: &mut WalReader, end: Lsn) -> Result<Vec<WalBatch>, WalReadError> {
    let mut group = Vec::new();
    let mut bytes = 0;
    while bytes < GROUP_BYTES {
        let Some(batch) = reader.next_batch(end)? else { break };
        bytes += batch.bytes.len();
        group.push(batch);
    }
    Ok(group)
}

/// What the engine says about its timeline; `None` before the first record.
pub(super) fn engine_timeline(engine: &Arc<dyn Engine>) -> Result<Option<TimelineState>, OpenFault> {
    let state = SnapshotState::newest(engine);
    let value = state.get(&timeline_entry())?;
    Ok(value.map(|value| decode_timeline(&value)).transpose().map_err(crate::keyspace::StateError::from)?)
}

/// How far a restored timeline's expiry clock is behind the wall clock, in milliseconds.
pub(super) fn restored_clock_offset_ms(from: &RestoredFrom, wall_ms: u64) -> i64 {
    match from.ttl {
        // Stored expiries keep their meaning on the wall clock that the parent's offset relates them to.
        TtlMode::Absolute => from.parent_clock_offset_ms,
        TtlMode::Continue => {
            // Where that moment is yet to come, the clock that gave it was ahead of the wall clock that expiries followed.
            let passed = i128::from(wall_ms.saturating_sub(from.target_time_ms));
            let offset = i128::from(from.parent_clock_offset_ms) + passed;
            i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX })
        }
    }
}

/// Sixteen random bytes.
pub(super) fn random_id() -> [u8; 16] {
    *uuid::Uuid::new_v4().as_bytes()
}

pub(super) fn random_salt() -> Salt {
    Salt::from_bytes(random_id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_in_another_format_beside_a_log_that_was_cut_wants_the_version_that_wrote_it() {
        let dir = Path::new("/data/engine");
        let said = |log_base| {
            let error = EngineError::OtherFormat { path: dir.to_owned(), found: 1 };
            engine_fault(error, dir, Lsn::new(log_base)).to_string()
        };
        assert!(said(0).contains("move /data/engine away and start again"), "{}", said(0));
        assert!(said(7).ends_with("start the version of reddb that wrote this directory"), "{}", said(7));
    }
}
