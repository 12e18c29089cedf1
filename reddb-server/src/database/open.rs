//! Opening a database, step by step.
//!
//! ```text
//! directory ▸ log and engine ▸ claim an epoch in the archive ▸ the timeline's first record ▸ threads
//! ```
//! Nothing is acknowledged before the last step. Each step may be repeated after a crash: a claim that came to nothing
//! leaves an epoch that nobody writes in, a timeline without a first record is begun again. A restored directory is opened without
//! its timeline's first record, for reading; the archive's keeper begins the timeline, at once where it can.

use std::sync::Arc;

use parking_lot::Mutex;
use reddb_file::control::{ControlState, Shutdown};
use reddb_file::vfs::{StdVfs, Vfs};
use reddb_file::wal::WalWriter;
use reddb_file::{Epoch, Lsn, TimelineId, TimelineRecord};

use super::archive::{
    Archive, ArchiveParts, BEING_BEGUN, Begun, ClaimState, Claimed, Claiming, away, claim_at_start, timeline_pending,
};
use super::begin::{Fork, first_record};
use super::bridge::{Checkpoints, Log, LogPlace, Past};
use super::error::OpenFault;
use super::janitor::{Duties, Janitor, disk_bytes};
use super::local::{
    Directory, Recovered, engine_timeline, random_id, random_salt, recover_log, restored_clock_offset_ms,
};
use super::place::FileId;
use super::{Database, Inner};
use crate::clock::Clock;
use crate::commit::gate::{Condition, WriteGate};
use crate::commit::{Committer, CoreParts, StartError};
use crate::config::Config;
use crate::engine::{Engine, FaultHook};
use crate::keyspace::Env;

/// How far the log's time may be ahead of the wall clock before the operator is told.
const LOG_AHEAD_MS_SAID: u64 = 60_000;

pub(super) async fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Database, OpenFault> {
    let gate = Arc::new(WriteGate::new());
    let config_for_disk = config.clone();
    let hook = fault_hook(&gate);
    let (mut directory, recovered, own_place) = blocking(move || {
        let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
        let directory = Directory::open(vfs, &config_for_disk.dir)?;
        check_reserve(&config_for_disk)?;
        let recovered = recover_log(&directory, &config_for_disk, hook)?;
        let place = FileId::of(directory.lock.path())
            .map_err(|source| OpenFault::System { what: "the lock file cannot be looked at", source })?;
        Ok((directory, recovered, place.to_string()))
    })
    .await?;
    let control = directory.control.state().clone();
    let end = recovered.log.end();
    let ahead_ms = end.time_ms.saturating_sub(clock.wall_ms());
    if ahead_ms > LOG_AHEAD_MS_SAID {
        tracing::warn!(
            last_record_ms = end.time_ms,
            ahead_ms,
            "the newest record's time is ahead of the wall clock; records keep that time until the clock gets there, so \
             meanwhile restore by LSN or label; is the clock right?"
        );
    }
    let place = LogPlace {
        vfs: Arc::clone(&directory.vfs),
        dir: config.dir.clone(),
        cluster: directory.identity.cluster,
        timeline: control.timeline,
    };
    let past = Past::new(place.clone(), end, &control, recovered.engine.flushed());
    // A restored directory stays one; what it still needs shows in its log.
    let fork = control.restored_from.clone();
    let begun = match &fork {
        Some(from) if end.lsn <= from.fork.lsn => Begun::NeedsNumber,
        _ if end.lsn < control.timeline_begin => Begun::No,
        _ => Begun::Yes,
    };
    let clock_offset_ms = match (&fork, begun) {
        (Some(from), Begun::NeedsNumber) => restored_clock_offset_ms(from, clock.wall_ms()),
        _ => control.clock_offset_ms,
    };
    // Whether the archive holds what a restored directory's timeline begins with is known at the latest when a first write follows
    // the timeline's first record.
    let has_yet_to_write = fork.as_ref().is_some_and(|from| end.lsn <= from.fork.lsn.next().unwrap_or(Lsn::MAX));
    let claiming = Claiming {
        identity: directory.identity,
        timeline: control.timeline,
        parent: fork.as_ref().map(|from| (from.parent, from.fork)),
        random_id: control.timeline_random_id,
        clock_offset_ms,
        begun,
        end,
        oldest: recovered.log.base(),
        epoch: control.epoch,
        own_epoch: own_epoch(directory.lock.place(), &own_place, control.epoch),
        archived: control.archived,
    };
    let nobodys_copy = claiming.own_epoch == claiming.epoch;
    let claimed = claim_at_start(&config, claiming, &past).await?;
    let fork = match (fork, begun) {
        (Some(from), Begun::NeedsNumber) => Some(Fork {
            vfs: Arc::clone(&directory.vfs),
            dir: config.dir.clone(),
            cluster: directory.identity.cluster,
            pool: Arc::clone(&recovered.pool),
            from,
            clock_offset_ms,
        }),
        _ => None,
    };
    let is_owned = matches!(claimed.claim, ClaimState::Owned(_));
    let waits =
        is_owned && (has_yet_to_write || claimed.needs_snapshot() || (begun == Begun::No && claimed.lacks_snapshot()));
    let database = blocking(move || {
        let wal = start_log(&config, &mut directory, &recovered, &claimed)?;
        // A new directory is nobody's copy, whenever it comes to claim.
        if is_owned || (begun != Begun::Yes && nobodys_copy) {
            directory.lock.leave_place(&own_place)?;
        }
        let begins = begun == Begun::No;
        let started = Started { directory, recovered, claimed, wal, begins, fork, has_yet_to_write };
        run(config, clock, gate, started, place)
    })
    .await?;
    if waits {
        // A restored directory takes writes when its timeline has begun in the archive. A new one's archive has a snapshot from the beginning: that
        // is cheap, and spares a restore the replay of the whole log.
        database.inner.archive.settled().await;
    }
    database.inner.gate.say(Condition::TimelinePending);
    Ok(database)
}

/// The newest epoch that this directory itself is known to have claimed. What a copy remembers is the original's, which may
/// still be at work.
fn own_epoch(left: Option<&str>, own_place: &str, remembered: Epoch) -> Epoch {
    if left == Some(own_place) { remembered } else { Epoch::ZERO }
}

/// A reserve that the disk cannot have at all is a mistake, and is found before anybody waits for a write.
fn check_reserve(config: &Config) -> Result<(), OpenFault> {
    let disk_bytes = disk_bytes(&config.dir)
        .map_err(|source| OpenFault::System { what: "the size of the disk cannot be read", source })?;
    let reserve_bytes = config.disk_reserve_bytes;
    // A file system that does not say how large it is says 0.
    if reserve_bytes == 0 || disk_bytes == 0 || reserve_bytes < disk_bytes {
        return Ok(());
    }
    let dir = config.dir.clone();
    Err(OpenFault::ReserveBeyondDisk { dir, reserve_bytes, disk_bytes })
}

struct Started {
    directory: Directory,
    recovered: Recovered,
    claimed: Claimed,
    wal: WalWriter,
    /// Whether the log still lacks its timeline's first record, and may get it.
    begins: bool,
    /// What a timeline that has no number yet is begun with.
    fork: Option<Fork>,
    /// Whether a restored directory has written nothing yet but its timeline's first record.
    has_yet_to_write: bool,
}

/// Fixes the epoch in the control file, and opens the log.
fn start_log(
    config: &Config,
    directory: &mut Directory,
    recovered: &Recovered,
    claimed: &Claimed,
) -> Result<WalWriter, OpenFault> {
    let end = recovered.log.end();
    let before = directory.control.state().clone();
    // An archive numbers its epochs from 1. Where this one is newer than the log, its numbers are lower than those that the
    // log knows; in the log they never go back.
    let logged = recovered.log.segments().last().map_or(Epoch::ZERO, |last| last.epoch);
    let epoch = claimed.epoch.max(before.epoch).max(logged);
    let mut state = ControlState { shutdown: Shutdown::Unclean, epoch, ..before };
    if end.lsn > state.durable.lsn {
        state.durable = end;
    }
    directory.control.write(&state)?;
    Ok(WalWriter::open(
        Arc::clone(&directory.vfs),
        &config.dir,
        Arc::clone(&recovered.pool),
        recovered.log.clone(),
        epoch,
        Box::new(random_salt),
    )?)
}

/// The timeline that the state is on or, with `first`, begins; and how far its expiry clock is behind the wall clock, in
/// milliseconds. `fork` is where a timeline is still to fork off.
fn state_timeline(
    engine: &Arc<dyn Engine>,
    control: &ControlState,
    first: Option<&TimelineRecord>,
    fork: Option<&Fork>,
) -> Result<(TimelineId, i64), OpenFault> {
    let found = engine_timeline(engine)?;
    let mismatch = |control| OpenFault::TimelineMismatch { engine: found.map(|state| state.timeline), control };
    if let Some(first) = first {
        // What it continues: its parent, or nothing at all.
        return if found.map(|state| state.timeline) == first.parent {
            Ok((first.id, first.clock_offset_ms))
        } else {
            Err(mismatch(first.parent.unwrap_or(first.id)))
        };
    }
    let timeline = fork.map_or(control.timeline, |fork| fork.from.parent);
    let state = found.filter(|state| state.timeline == timeline).ok_or_else(|| mismatch(timeline))?;
    Ok((timeline, fork.map_or(state.clock_offset_ms, |fork| fork.clock_offset_ms)))
}

fn run(
    config: Config,
    clock: Arc<dyn Clock>,
    gate: Arc<WriteGate>,
    started: Started,
    place: LogPlace,
) -> Result<Database, OpenFault> {
    let Started { directory, recovered, claimed, wal, begins, fork, has_yet_to_write } = started;
    let Directory { vfs: _, lock, identity, control } = directory;
    let engine: Arc<dyn Engine> = recovered.engine;
    let first = begins.then(|| first_record(control.state()));
    let (timeline, clock_offset_ms) = state_timeline(&engine, control.state(), first.as_ref(), fork.as_ref())?;
    if has_yet_to_write || claimed.needs_snapshot() {
        gate.set_silently(Condition::TimelinePending, || match &claimed.claim {
            ClaimState::Owned(_) => timeline_pending(&claimed.url, BEING_BEGUN),
            ClaimState::Pending { reason, .. } => timeline_pending(&claimed.url, &away(reason)),
        });
    }
    let seed = u64::from_le_bytes(*random_id().first_chunk().unwrap_or(&[0; 8]));
    let env = Arc::new(Env::new(clock_offset_ms, seed));
    let control = Arc::new(Mutex::new(control));
    // A promise about time outlives the process that gave it, whatever the wall clock does in between.
    let complete_until_ms = match &claimed.claim {
        ClaimState::Owned(claim) => claim.complete_until_ms,
        ClaimState::Pending { .. } => 0,
    };
    let parts = CoreParts {
        wal,
        engine: Arc::clone(&engine),
        env: Arc::clone(&env),
        gate: Arc::clone(&gate),
        timeline,
        clock_jump_ms_max: u64::try_from(config.clock_jump_max.as_millis()).unwrap_or(u64::MAX),
        complete_until_ms,
        wal_local_bytes_max: config.wal_local_bytes_max,
    };
    let committer =
        Committer::start(parts, first.as_ref(), Arc::clone(&env), Arc::clone(&clock)).map_err(|error| match error {
            StartError::Thread(source) => OpenFault::System { what: "cannot start the committer's thread", source },
            StartError::Begin(reason) => OpenFault::TimelineNotBegun { reason: reason.text().into_owned() },
        })?;
    let committer = Arc::new(committer);
    let place = LogPlace { timeline, ..place };
    let janitor = Janitor::start(Duties {
        dir: config.dir.clone(),
        disk_reserve_bytes: config.disk_reserve_bytes,
        wal_local_bytes_max: config.wal_local_bytes_max,
        pool: recovered.pool,
        engine: Arc::clone(&engine),
        committer: Arc::clone(&committer),
        gate: Arc::clone(&gate),
        control: Arc::clone(&control),
    })
    .map_err(|source| OpenFault::System { what: "cannot start the janitor's thread", source })?;
    let log = Arc::new(Log::new(place, Arc::clone(&committer), Arc::clone(&control)));
    let checkpoints = Arc::new(Checkpoints { engine: Arc::clone(&engine) });
    let parts = ArchiveParts {
        claimed,
        log,
        checkpoints,
        committer: Arc::clone(&committer),
        control: Arc::clone(&control),
        gate: Arc::clone(&gate),
        clock: Arc::clone(&clock),
        fork,
    };
    let archive = Archive::start(&config, parts)?;
    Ok(Database {
        inner: Arc::new(Inner {
            config,
            identity,
            clock,
            env,
            gate,
            engine,
            control,
            committer,
            janitor,
            archive,
            lock: Mutex::new(Some(lock)),
        }),
    })
}

fn fault_hook(gate: &Arc<WriteGate>) -> FaultHook {
    let gate = Arc::clone(gate);
    Box::new(move |fault| {
        gate.set(Condition::Poisoned, || fault.to_string());
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OpenFault> + Send + 'static,
) -> Result<T, OpenFault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(OpenFault::System {
            what: "opening stopped on an internal error",
            source: std::io::Error::other(error),
        }),
    }
}
