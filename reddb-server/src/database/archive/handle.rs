//! The handle of the running archiver, and the task that looks after it: it claims where the store was away at the start, begins
//! a restored directory's timeline and lets it take writes, makes the first snapshot and the scheduled ones, and closes the
//! write gate where another writer has taken over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use reddb_backup::claim::Claim;
use reddb_backup::clock::SystemClock;
use reddb_backup::codec::CompressionLevel;
use reddb_backup::ship::{
    Archiver, ArchiverHandle, ArchiverParts, ArchiverSettings, ArchiverState, ArchiverStatus, HandleError, PointError,
};
use reddb_backup::snapshot::{SnapshotError, SnapshotProgress};
use reddb_backup::source::LogSource as _;
use reddb_backup::store::{ReadError, Store, StoreErrorKind};
use reddb_file::archive::{MissingDigest, PointName, SnapshotManifest, SnapshotRef, Text};
use reddb_file::control::ControlFile;
use reddb_file::{Lsn, TimedMark, TimelineId, layout};
use serde::Serialize;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::claim::{ClaimState, Claimed, Claimer, Failure, TimelineNumber};
use crate::clock::Clock;
use crate::commit::gate::{Condition, WriteGate};
use crate::commit::{Committer, NewTimeline};
use crate::config::Config;
use crate::database::begin::{Fork, first_record};
use crate::database::bridge::{Checkpoints, Log, Past};
use crate::database::error::OpenFault;
use crate::engine::EngineError;
use crate::exit::Exit;
use crate::reply::CommandError;
use crate::status::ArchiveReport;

/// How often the schedule and the archiver's state are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// As often where writes wait for it.
const AWAITED_LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a claim that failed waits before it is tried again.
const CLAIM_RETRY: Duration = Duration::from_secs(2);
/// How long a caller waits for the archive to take a restore point.
const MARK_PATIENCE: Duration = Duration::from_secs(30);
/// How long opening a database waits for its first snapshot, and for a restored one's timeline to begin, before it answers reads.
const SETTLE_PATIENCE: Duration = Duration::from_secs(5);
/// How long a snapshot that failed waits before it is tried again where writes wait for it.
const AWAITED_SNAPSHOT_RETRY: Duration = Duration::from_secs(5);
/// How long a snapshot that failed waits before it is tried again by itself.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(60);

/// What an error begins with that comes from an archive that is away.
pub(crate) const ARCHIVE_DOWN: &str = "ARCHIVEDOWN";
/// What the error begins with of a restore point whose name is another record's.
pub(crate) const NAME_TAKEN: &str = "NAMETAKEN";
/// Why no writes are taken yet where the archive is there.
pub(in crate::database) const BEING_BEGUN: &str = "it is being begun";
/// What every restore from an archive starts with that begins at a fork.
const FIRST_SNAPSHOT: &str = "the first snapshot, which any restore from there starts with,";

/// A published snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupSummary {
    /// Its id.
    pub id: Uuid,
    /// Its timeline.
    pub timeline: TimelineId,
    /// The last record in it.
    pub lsn: Lsn,
    /// The chain there, in hex.
    pub chain: String,
    /// The time of that record, in Unix milliseconds.
    pub time_ms: u64,
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
    /// The chain there, in hex.
    pub chain: String,
    /// The record's time, in Unix milliseconds.
    pub time_ms: u64,
}

/// See the module.
pub(in crate::database) struct Archive {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    url: String,
    running: RwLock<Option<ArchiverHandle>>,
    /// When the database was opened, in Unix milliseconds: nothing has been archived since then while no archiver runs.
    opened_ms: u64,
    /// Why nothing is archived, while no archiver runs.
    waiting_for: Mutex<Option<String>>,
    snapshots: Mutex<Snapshots>,
    /// Told when the first snapshot was tried or the timeline begun, whatever came of it.
    settled: Notify,
}

#[derive(Clone, Debug)]
struct Snapshots {
    last_ms: u64,
    last: Option<Lsn>,
    /// Why the last attempt at one failed, if it did.
    last_error: Option<String>,
    /// The first damage of the data directory that an attempt met.
    damage: Option<String>,
}

impl Snapshots {
    fn made(&mut self, manifest: &SnapshotManifest) {
        self.last_ms = manifest.created_ms;
        self.last = Some(manifest.lsn);
        self.last_error = None;
    }
}

/// What the keeper needs.
struct Keeper {
    shared: Arc<Shared>,
    store: Store,
    log: Arc<Log>,
    checkpoints: Arc<Checkpoints>,
    committer: Arc<Committer>,
    control: Arc<Mutex<ControlFile>>,
    gate: Arc<WriteGate>,
    clock: Arc<dyn Clock>,
    settings: ArchiverSettings,
    snapshot_interval: Option<Duration>,
    /// See [`ArchiveParts`].
    fork: Option<Fork>,
    stopped: watch::Receiver<bool>,
}

/// What [`Archive::start`] connects.
pub(in crate::database) struct ArchiveParts {
    pub(in crate::database) claimed: Claimed,
    pub(in crate::database) log: Arc<Log>,
    pub(in crate::database) checkpoints: Arc<Checkpoints>,
    pub(in crate::database) committer: Arc<Committer>,
    pub(in crate::database) control: Arc<Mutex<ControlFile>>,
    pub(in crate::database) gate: Arc<WriteGate>,
    pub(in crate::database) clock: Arc<dyn Clock>,
    /// What the timeline of a restored directory is begun with, where it has not begun.
    pub(in crate::database) fork: Option<Fork>,
}

impl Archive {
    /// Starts the keeper, and with it the archiver.
    pub(in crate::database) fn start(config: &Config, parts: ArchiveParts) -> Result<Self, OpenFault> {
        let ArchiveParts { claimed, log, checkpoints, committer, control, gate, clock, fork } = parts;
        let level = config.archive.compression_level;
        let level = CompressionLevel::new(level).ok_or_else(|| OpenFault::Archive {
            message: format!("a compression level of {level} is not possible: use 1 to 19"),
            exit: Exit::Usage,
        })?;
        let settings = ArchiverSettings {
            interval: config.archive.interval,
            segment_plain_bytes_max: config.archive.segment_bytes_max,
            level,
            ..ArchiverSettings::new(layout::staging_dir(&config.dir))
        };
        let shared = Arc::new(Shared {
            url: claimed.url,
            running: RwLock::new(None),
            opened_ms: clock.wall_ms(),
            waiting_for: Mutex::new(None),
            snapshots: Mutex::new(Snapshots { last_ms: clock.wall_ms(), last: None, last_error: None, damage: None }),
            settled: Notify::new(),
        });
        let (stop, stopped) = watch::channel(false);
        let keeper = Keeper {
            shared: Arc::clone(&shared),
            store: claimed.store,
            log,
            checkpoints,
            committer,
            control,
            gate,
            clock,
            settings,
            snapshot_interval: config.snapshot_interval,
            fork,
            stopped,
        };
        let task = match claimed.claim {
            ClaimState::Owned(claim) if keeper.fork.is_none() => {
                // Running before anybody can ask for it.
                let handle = keeper.start_archiver(&claim);
                tokio::spawn(keeper.keep(handle, *claim))
            }
            ClaimState::Owned(claim) => {
                *shared.waiting_for.lock() = Some(BEING_BEGUN.to_owned());
                tokio::spawn(keeper.begin_then_keep(*claim, claimed.number))
            }
            ClaimState::Pending { claimer, reason } => {
                *shared.waiting_for.lock() = Some(away(&reason));
                tokio::spawn(keeper.claim_then_keep(claimer))
            }
        };
        Ok(Self { shared, stop, keeper: Mutex::new(Some(task)) })
    }

    /// Waits until the first snapshot was made and the timeline begun, whichever of them comes first of those that are still to
    /// come, or could not be; but not for ever.
    pub(in crate::database) async fn settled(&self) {
        if tokio::time::timeout(SETTLE_PATIENCE, self.shared.settled.notified()).await.is_err() {
            tracing::warn!("the archive has no snapshot of this log yet; see `reddb check`");
        }
    }

    pub(in crate::database) async fn backup(&self, reason: &str) -> Result<BackupSummary, CommandError> {
        let handle = self
            .shared
            .handle()
            .inspect_err(|error| self.shared.snapshots.lock().last_error = Some(error.text().into_owned()))?;
        self.shared.snapshot(&handle, reason).await.map_err(|error| refusal(&error))
    }

    pub(in crate::database) async fn mark(&self, name: &str) -> Result<MarkSummary, CommandError> {
        let name = PointName::new(name).map_err(|error| CommandError::new(format!("ERR {error}")))?;
        let handle = self.shared.handle()?;
        let marked = tokio::time::timeout(MARK_PATIENCE, handle.mark(name)).await;
        let point = marked.map_err(|_elapsed| {
            let patience_s = MARK_PATIENCE.as_secs();
            CommandError::new(format!(
                "{ARCHIVE_DOWN} the archive has not taken the restore point within {patience_s} s; it is written when the archive \
                 is back, unless the server stops before: see `reddb check`, and try the same name again to be sure"
            ))
        })?;
        let point = point.map_err(|error| refusal(&error))?;
        Ok(MarkSummary {
            name: point.name.to_string(),
            timeline: point.timeline,
            lsn: point.lsn,
            chain: point.chain.to_string(),
            time_ms: point.time_ms,
        })
    }

    pub(in crate::database) fn last_save_ms(&self) -> u64 {
        self.shared.snapshots.lock().last_ms
    }

    /// What is known of the archive at `now_ms`, in Unix milliseconds.
    pub(in crate::database) fn report(&self, durable: TimedMark, archived: Lsn, now_ms: u64) -> ArchiveReport {
        let snapshots = self.shared.snapshots.lock().clone();
        let lag_records = durable.lsn.records_since(archived);
        let common = ArchiveReport {
            url: self.shared.url.clone(),
            online: false,
            last_error: self.shared.waiting_for.lock().clone(),
            lag_records,
            lag_ms: if lag_records == 0 { 0 } else { now_ms.saturating_sub(self.shared.opened_ms) },
            snapshot_lsn: snapshots.last,
            snapshot_time_ms: snapshots.last.map(|_| snapshots.last_ms),
            snapshot_running: false,
            snapshot_done_bytes: 0,
            snapshot_total_bytes: 0,
            snapshot_last_error: snapshots.last_error,
            local_damage: snapshots.damage,
            requests: 0,
        };
        let Some(status) = self.shared.running.read().as_ref().map(ArchiverHandle::status) else { return common };
        let ArchiverStatus { lag_records, lag_ms, state, last_error, snapshot, requests, .. } = status;
        let online = state == ArchiverState::Online;
        ArchiveReport {
            online,
            last_error: if online { None } else { last_error },
            lag_records,
            lag_ms,
            snapshot_running: snapshot.is_some(),
            snapshot_done_bytes: snapshot.map_or(0, |running| running.done_bytes),
            snapshot_total_bytes: snapshot.map_or(0, |running| running.total_bytes),
            requests: requests.gets + requests.heads + requests.lists + requests.puts + requests.deletes,
            ..common
        }
    }

    /// Ships what is left, for so long at most, and stops.
    pub(in crate::database) async fn stop(&self, timeout: Duration) {
        self.stop.send_replace(true);
        let keeper = self.keeper.lock().take();
        if let Some(keeper) = keeper
            && let Err(error) = keeper.await
        {
            tracing::error!(%error, "the archive's keeper stopped on an internal error");
        }
        let handle = self.shared.running.write().take();
        let Some(handle) = handle else {
            tracing::warn!(
                "nothing was archived since the start; what the archive lacks is in the local log and the next start ships it"
            );
            return;
        };
        match handle.shutdown(timeout).await {
            Ok(report) if report.missing_records == 0 => {
                tracing::info!(lsn = %report.archived.lsn, "the archive holds everything");
            }
            Ok(report) => tracing::warn!(
                lsn = %report.archived.lsn, missing = report.missing_records,
                "the archive lacks the newest records; they are in the local log, and the next start that may write to it ships them"
            ),
            Err(error) => tracing::warn!(%error, "the archiver had stopped"),
        }
    }
}

impl Shared {
    fn handle(&self) -> Result<ArchiverHandle, CommandError> {
        self.running.read().clone().ok_or_else(|| {
            let reason = self.waiting_for.lock().clone().unwrap_or_else(|| "the server is stopping".to_owned());
            CommandError::new(format!("{ARCHIVE_DOWN} the archive is not available: {reason}"))
        })
    }

    /// Says why no archiver runs yet, wherever that is asked.
    fn say(&self, gate: &WriteGate, reason: String) {
        gate.explain(Condition::TimelinePending, || timeline_pending(&self.url, &reason));
        tracing::debug!(%reason, "the archive is not claimed yet; the log is kept");
        *self.waiting_for.lock() = Some(reason);
    }

    async fn snapshot(&self, handle: &ArchiverHandle, reason: &str) -> Result<BackupSummary, HandleError> {
        let started = Instant::now();
        let progress = Arc::new(Mutex::new(SnapshotProgress::default()));
        let seen = Arc::clone(&progress);
        let reason = Text::new(reason).or_else(|_| Text::new("requested")).expect("a short plain text");
        let made = handle.snapshot(reason, Arc::new(move |now| *seen.lock() = now)).await;
        let mut snapshots = self.snapshots.lock();
        match made {
            Ok(manifest) => {
                snapshots.made(&manifest);
                Ok(summary(&manifest, progress.lock().sent_bytes, started.elapsed()))
            }
            Err(error) => {
                // A second caller's refusal says nothing about the first one's snapshot.
                if !matches!(error, HandleError::Snapshot(SnapshotError::Busy(_))) {
                    snapshots.last_error = Some(error.to_string());
                    if is_damage(&error) {
                        snapshots.damage.get_or_insert_with(|| error.to_string());
                    }
                }
                Err(error)
            }
        }
    }
}

/// Whether the data directory's files are not what was written.
fn is_damage(error: &HandleError) -> bool {
    match error {
        HandleError::Snapshot(SnapshotError::Damaged { .. }) => true,
        HandleError::Snapshot(SnapshotError::Checkpoint(source)) => {
            matches!(source.downcast_ref(), Some(EngineError::Corrupt { .. }))
        }
        _ => false,
    }
}

/// What a client is told of a snapshot or a restore point that did not come about.
fn refusal(error: &HandleError) -> CommandError {
    let prefix = match error {
        HandleError::Snapshot(SnapshotError::Busy(_)) => "INPROG",
        error if is_damage(error) => "CORRUPT",
        HandleError::Point(PointError::NameTaken { .. }) => NAME_TAKEN,
        HandleError::Snapshot(SnapshotError::Elsewhere(_)) => ARCHIVE_DOWN,
        HandleError::Snapshot(SnapshotError::Store(store))
        | HandleError::Point(PointError::Read(ReadError::Store(store)))
            if matches!(store.kind(), StoreErrorKind::Retry | StoreErrorKind::Configuration) =>
        {
            ARCHIVE_DOWN
        }
        _ => "ERR",
    };
    CommandError::new(format!("{prefix} {error}"))
}

/// That the archive is away, and how it showed.
pub(in crate::database) fn away(reason: &str) -> String {
    format!("it cannot be reached: {reason}")
}

/// Why no writes are taken yet, given why the directory's timeline has not begun in the archive.
pub(in crate::database) fn timeline_pending(url: &str, reason: &str) -> String {
    format!(
        "what is written could not be restored before this directory's timeline has begun in the archive {url}: {reason}. Reads go \
         on; writes go on by themselves then"
    )
}

fn summary(manifest: &SnapshotManifest, sent_bytes: u64, duration: Duration) -> BackupSummary {
    BackupSummary {
        id: manifest.id,
        timeline: manifest.timeline,
        lsn: manifest.lsn,
        chain: manifest.chain.to_string(),
        time_ms: manifest.time_ms,
        file_count: manifest.files.len() as u64,
        total_bytes: manifest.total_bytes,
        sent_bytes,
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
    }
}

impl Keeper {
    fn start_archiver(&self, claim: &Claim) -> ArchiverHandle {
        let parts = ArchiverParts {
            store: self.store.clone(),
            claim: claim.clone(),
            log: Arc::clone(&self.log) as _,
            checkpoints: Arc::clone(&self.checkpoints) as _,
            clock: Arc::new(SystemClock),
            settings: self.settings.clone(),
        };
        // The task ends with its last handle; a panic in it shows as an archiver that has ended.
        let (handle, _task) = Archiver::start(parts);
        *self.shared.running.write() = Some(handle.clone());
        *self.shared.waiting_for.lock() = None;
        handle
    }

    async fn claim_then_keep(mut self, mut claimer: Box<Claimer>) {
        let Some(claim) = self.claim(&mut claimer).await else { return };
        tracing::info!(epoch = %claim.epoch, "the archive is back and claimed");
        self.begin_then_keep(claim, claimer.number()).await;
    }

    async fn begin_then_keep(mut self, claim: Claim, number: TimelineNumber) {
        while let Err(reason) = self.go_on_in(&claim, number).await {
            let reason = format!("it is claimed, but the log cannot go on: {reason}");
            if self.put_off(reason).await || self.gate.holds(Condition::Poisoned) {
                return;
            }
        }
        let handle = self.start_archiver(&claim);
        self.keep(handle, claim).await;
    }

    /// Claims as soon as the store lets it; `None` where that is refused for good, or the server stops.
    async fn claim(&mut self, claimer: &mut Claimer) -> Option<Claim> {
        loop {
            let durable = self.log.durable();
            let past =
                Past::new(self.log.place(), durable, self.control.lock().state(), self.checkpoints.engine.flushed());
            let (shared, gate) = (Arc::clone(&self.shared), Arc::clone(&self.gate));
            let claiming = async {
                // A disk that is mounted just now makes the store look as if it forgot what it was told.
                claimer.probe(&self.store).await.map_err(|failure| Failure { retry: true, ..failure })?;
                shared.say(&gate, "it answers, and another writer that may hold it is looked for".to_owned());
                claimer.claim(&self.store, durable, &past).await
            };
            let mut stopped = self.stopped.clone();
            let claimed = tokio::select! {
                claimed = claiming => claimed,
                _ = stopped.wait_for(|stopped| *stopped) => return None,
            };
            let reason = match claimed {
                Ok(claim) => return Some(claim),
                // A server that runs waits where a start would end with a definite no: the store may be coming back bit by bit.
                Err(failure) if failure.retry || failure.exit == Exit::Unreachable => away(&failure.message),
                Err(failure) => {
                    self.gate.set(Condition::Fenced, || failure.message.clone());
                    *self.shared.waiting_for.lock() = Some(failure.message);
                    return None;
                }
            };
            if self.put_off(reason).await {
                return None;
            }
        }
    }

    /// Says why nothing is archived yet, and waits before the next attempt; says whether to stop.
    async fn put_off(&mut self, reason: String) -> bool {
        self.shared.say(&self.gate, reason);
        self.shared.settled.notify_one();
        self.wait(CLAIM_RETRY).await
    }

    /// The log goes on under the claim: in its epoch and, where the timeline had no number yet, on that timeline.
    async fn go_on_in(&self, claim: &Claim, number: TimelineNumber) -> Result<(), String> {
        match &self.fork {
            None => self.begin_epoch(claim).await,
            Some(fork) => self.begin_timeline(fork.clone(), claim, number).await,
        }
    }

    async fn begin_timeline(&self, fork: Fork, claim: &Claim, number: TimelineNumber) -> Result<(), String> {
        let control = Arc::clone(&self.control);
        let (epoch, complete_until_ms) = (claim.epoch, claim.complete_until_ms);
        let opened = tokio::task::spawn_blocking(move || {
            let mut control = control.lock();
            let wal = fork.log(&mut control, number, epoch)?;
            Ok(NewTimeline { wal, first: first_record(control.state()), complete_until_ms })
        });
        let new = opened.await.map_err(|error| error.to_string())?.map_err(|error: OpenFault| error.to_string())?;
        match self.committer.begin_timeline(new).await {
            Ok(begun) => begun.map_err(|error| error.to_string()),
            Err(_) => Err("the committer has stopped".to_owned()),
        }
    }

    /// The log goes on in the claimed epoch, or in its own where a newer archive numbers from the beginning.
    async fn begin_epoch(&self, claim: &Claim) -> Result<(), String> {
        let epoch = {
            let mut control = self.control.lock();
            let mut state = control.state().clone();
            state.epoch = state.epoch.max(claim.epoch);
            control.write(&state).map_err(|error| error.to_string())?;
            state.epoch
        };
        match self.committer.start_epoch(epoch, claim.complete_until_ms).await {
            Ok(started) => started.map_err(|error| error.to_string()),
            Err(_) => Err("the committer has stopped".to_owned()),
        }
    }

    async fn keep(mut self, handle: ArchiverHandle, claim: Claim) {
        let mut last_made_ms = match claim.newest_snapshot {
            Some(newest) => self.remember(newest).await,
            None => None,
        };
        if claim.needs_snapshot && last_made_ms.is_none() {
            self.wait_for_a_snapshot();
        }
        // Everything is behind it by now but what a client wrote.
        let begin = if self.gate.holds(Condition::TimelinePending) { self.log.durable().lsn } else { Lsn::ZERO };
        let mut try_at = Instant::now();
        let mut was_online = true;
        loop {
            let state = handle.status().state;
            if self.has_ended(state) {
                return;
            }
            let online = state == ArchiverState::Online;
            // The archiver asks whose the archive is before it ships: what waited to begin may have been replaced meanwhile.
            let has_begun = online && handle.status().archived.lsn >= begin;
            if has_begun && (!claim.needs_snapshot || last_made_ms.is_some()) {
                self.take_writes();
            }
            if online && !was_online {
                // The store is back: what failed while it was away need not wait.
                try_at = Instant::now();
            }
            was_online = online;
            // Writes wait for a snapshot only where nothing can be restored without one.
            let may_make = claim.needs_snapshot || !self.gate.holds(Condition::TimelinePending);
            if may_make && Instant::now() >= try_at && self.is_due(last_made_ms, online) {
                let reason = if last_made_ms.is_none() { "first" } else { "scheduled" };
                let mut stopped = self.stopped.clone();
                let made = tokio::select! {
                    made = self.shared.snapshot(&handle, reason) => made,
                    // The archiver gives a running snapshot up when it is shut down.
                    _ = stopped.wait_for(|stopped| *stopped) => return,
                };
                if let Err(error) = made {
                    tracing::warn!(%error, "the {reason} snapshot was not made; it is tried again");
                    try_at = Instant::now() + self.retry_after(&error);
                    self.shared.settled.notify_one();
                } else if !self.gate.holds(Condition::TimelinePending) {
                    self.shared.settled.notify_one();
                }
            }
            let known_ms = {
                let snapshots = self.shared.snapshots.lock();
                snapshots.last.map(|_| snapshots.last_ms)
            };
            last_made_ms = known_ms.or(last_made_ms);
            let pause = if self.gate.holds(Condition::TimelinePending) { AWAITED_LOOK_INTERVAL } else { LOOK_INTERVAL };
            if self.wait(pause).await {
                return;
            }
        }
    }

    /// What is written before the archive can give anything back could be lost to every restore.
    fn wait_for_a_snapshot(&self) {
        let reason = format!("{FIRST_SNAPSHOT} is being made");
        let refusal = || timeline_pending(&self.shared.url, &reason);
        if !self.gate.set(Condition::TimelinePending, refusal) {
            self.gate.explain(Condition::TimelinePending, refusal);
        }
    }

    /// Closes the write gate for good where the archiver's work is over; says whether it is.
    fn has_ended(&self, state: ArchiverState) -> bool {
        match state {
            ArchiverState::Fenced { by } => self.gate.set(Condition::Fenced, || {
                format!("epoch {by} has been claimed: another writer has taken this archive over; stop this one")
            }),
            ArchiverState::Ended => {
                self.gate.set(Condition::Poisoned, || "the archiver stopped on an internal error; restart".to_owned())
            }
            ArchiverState::Online | ArchiverState::Retrying { .. } => return false,
        };
        self.shared.settled.notify_one();
        true
    }

    /// The archive holds what a restored directory's timeline begins with, so every state from here on can be restored.
    fn take_writes(&self) {
        if self.gate.holds(Condition::TimelinePending) {
            self.gate.clear(Condition::TimelinePending);
            self.shared.settled.notify_one();
        }
    }

    /// How long a snapshot that failed waits. Where writes wait for it, they are told why.
    fn retry_after(&self, error: &HandleError) -> Duration {
        if !self.gate.holds(Condition::TimelinePending) {
            return SNAPSHOT_RETRY;
        }
        let reason = format!("{FIRST_SNAPSHOT} was not made: {error}; it is tried again");
        self.gate.explain(Condition::TimelinePending, || timeline_pending(&self.shared.url, &reason));
        AWAITED_SNAPSHOT_RETRY
    }

    /// Without a snapshot a restore replays the whole log, so the first is always due. Where there is a schedule, an attempt that
    /// failed, whoever asked for it, is made good as soon as the store answers.
    fn is_due(&self, last_made_ms: Option<u64>, online: bool) -> bool {
        match (last_made_ms, self.snapshot_interval) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(_)) if !online => false,
            (Some(last_made_ms), Some(interval)) => {
                if self.shared.snapshots.lock().last_error.is_some() {
                    return true;
                }
                is_far(self.clock.wall_ms(), last_made_ms, interval)
            }
        }
    }

    /// When the newest snapshot was made; `None` where its manifest cannot be read, so that another is made.
    async fn remember(&self, newest: SnapshotRef) -> Option<u64> {
        match self.store.get_document::<SnapshotManifest>(&newest.key(), MissingDigest::Refuse).await {
            Ok(opened) => {
                let manifest = opened.document;
                self.shared.snapshots.lock().made(&manifest);
                Some(manifest.created_ms)
            }
            Err(error) => {
                tracing::warn!(%error, "the newest snapshot's manifest cannot be read; another snapshot will be made");
                None
            }
        }
    }

    /// Waits; says whether to stop.
    async fn wait(&mut self, time: Duration) -> bool {
        // An error means that the database is gone.
        match tokio::time::timeout(time, self.stopped.wait_for(|stopped| *stopped)).await {
            Err(_elapsed) => false,
            Ok(_stopped_or_gone) => true,
        }
    }
}

/// Whether two times are an interval apart. A time in the future was given by a clock that was wrong: waiting for it could take
/// years.
fn is_far(wall_ms: u64, last_made_ms: u64, interval: Duration) -> bool {
    u128::from(wall_ms.abs_diff(last_made_ms)) >= interval.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_due_an_interval_after_the_last_one_and_when_that_is_of_a_future_that_never_was() {
        let interval = Duration::from_secs(60);
        for (wall_ms, last_made_ms, due) in [
            (100_000, 40_001, false),
            (100_000, 40_000, true),
            // The clock was corrected a little.
            (100_000, 101_000, false),
            (100_000, 4_102_444_800_000, true),
        ] {
            assert_eq!(is_far(wall_ms, last_made_ms, interval), due, "{last_made_ms} at {wall_ms}");
        }
    }
}
