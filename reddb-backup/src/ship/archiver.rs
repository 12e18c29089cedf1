//! The task: one component that owns the epoch's head.
//!
//! Everything that writes a head (shipping, publishing a snapshot, beating, ending) happens in `Archiver::cycle`, one after
//! the other. A snapshot's files are sent beside it, because shipping must not wait for them. A message that arrives during
//! a cycle waits for its end; a shutdown's deadline does not.

use std::collections::VecDeque;
use std::sync::Arc;

use reddb_file::Epoch;
use reddb_file::Lsn;
use reddb_file::limits::ARCHIVE_SEGMENT_RECORD_BYTES_MAX;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::handle::{ArchiverHandle, HandleError, Message, Shutdown, ShutdownReport, WAITING_MAX, abandoned, refuse};
use super::head::{HeadChange, HeadKeeper};
use super::owned::{check_claim, check_owned};
use super::plan::{Step, next_step};
use super::publish::{Snapshotting, Waiting, uploaded};
use super::shipment::Shipping;
use super::status::{ArchiverState, Shared, SharedStatus, Shipped};
use super::{ArchiverSettings, ShipError};
use crate::claim::Claim;
use crate::clock::Clock;
use crate::snapshot::{DigestCache, SnapshotError, Uploader};
use crate::source::{CheckpointSource, Fence, LogSource};
use crate::store::Store;

/// How many messages may wait in the channel.
const CHANNEL_MAX: usize = 64;

/// What an archiver is made of.
pub struct ArchiverParts {
    /// The archive.
    pub store: Store,
    /// The owned epoch.
    pub claim: Claim,
    /// What is shipped.
    pub log: Arc<dyn LogSource>,
    /// What makes checkpoints.
    pub checkpoints: Arc<dyn CheckpointSource>,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
    /// How it works.
    pub settings: ArchiverSettings,
}

/// The task that ships one epoch. Made and driven by [`Archiver::start`].
pub struct Archiver {
    pub(super) store: Store,
    pub(super) claim: Claim,
    shipping: Shipping,
    pub(super) log: Arc<dyn LogSource>,
    pub(super) clock: Arc<dyn Clock>,
    settings: ArchiverSettings,
    pub(super) uploader: Uploader,
    pub(super) head: HeadKeeper,
    pub(super) shared: Arc<Shared>,
    /// The mark that the log was last told.
    told: Option<Lsn>,
    /// When the log was last asked for a fence: a cycle that succeeds has shipped everything there was then.
    fence_ms: u64,
    pub(super) fenced: Option<Epoch>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) snapshot: Option<Snapshotting>,
    pub(super) catalogue: Option<JoinHandle<()>>,
}

impl Archiver {
    /// Starts the task on the present tokio runtime. The returned task ends after a shutdown, or when the last handle is
    /// dropped (then without shipping what is left); it never fails, and a panic in it is a defect.
    #[must_use]
    pub fn start(parts: ArchiverParts) -> (ArchiverHandle, JoinHandle<()>) {
        let (sender, inbox) = mpsc::channel(CHANNEL_MAX);
        let ArchiverParts { store, claim, log, checkpoints, clock, settings } = parts;
        let now_ms = clock.now_ms();
        let shared = Arc::new(Shared::new(SharedStatus {
            archived: claim.archived,
            complete_until_ms: claim.complete_until_ms,
            state: ArchiverState::Online,
            last_error: None,
            last_success_ms: now_ms,
            caught_up_ms: now_ms,
            newest_snapshot: claim.newest_snapshot,
            snapshot: None,
            shipped: Shipped::default(),
        }));
        let handle = ArchiverHandle {
            sender,
            shared: Arc::clone(&shared),
            log: Arc::clone(&log),
            clock: Arc::clone(&clock),
            store: store.clone(),
            claim: claim.clone(),
        };
        let archiver = Self {
            shipping: Shipping {
                cluster: claim.cluster,
                timeline: claim.timeline,
                epoch: claim.epoch,
                plain_bytes_max: settings.segment_plain_bytes_max.min(ARCHIVE_SEGMENT_RECORD_BYTES_MAX.into()),
                level: settings.level,
            },
            head: HeadKeeper::new(store.clone(), claim.first_head(now_ms)),
            uploader: Uploader {
                store: store.clone(),
                claim: claim.clone(),
                source: checkpoints,
                staging: settings.staging.clone(),
                uploads_at_once: settings.uploads_at_once.max(1),
                digests: Arc::new(DigestCache::default()),
            },
            store,
            claim,
            log,
            clock,
            settings,
            shared,
            told: None,
            fence_ms: now_ms,
            fenced: None,
            waiting: Vec::new(),
            snapshot: None,
            catalogue: None,
        };
        (handle, tokio::spawn(archiver.run(inbox)))
    }

    async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        let mut queue = VecDeque::new();
        let mut next = Instant::now();
        let mut failures = 0;
        let shutdown = loop {
            // Whatever wakes it, a cycle follows.
            tokio::select! {
                message = inbox.recv() => queue.push_back(message.unwrap_or_else(abandoned)),
                result = uploaded(&mut self.snapshot) => self.accept_upload(result),
                () = sleep_until(next) => {}
            }
            if let Some(shutdown) = self.accept_all(&mut queue) {
                break shutdown;
            }
            let (result, shutdown) = attend(self.cycle(), &mut inbox, &mut queue).await;
            if let Some(result) = result {
                failures = if self.note(&result, failures) { 0 } else { failures.saturating_add(1) };
                next = Instant::now()
                    + if failures == 0 { self.settings.interval } else { self.settings.backoff.wait(failures) };
            }
            if !queue.is_empty() {
                next = Instant::now();
            }
            if let Some(shutdown) = shutdown.or_else(|| self.accept_all(&mut queue)) {
                break shutdown;
            }
        };
        inbox.close();
        while let Some(message) = inbox.recv().await {
            queue.push_back(message);
        }
        refuse(queue, || HandleError::Ended);
        self.end(shutdown, failures).await;
    }

    /// Takes what arrived; a shutdown is returned, and what follows it stays.
    fn accept_all(&mut self, queue: &mut VecDeque<Message>) -> Option<Shutdown> {
        while let Some(message) = queue.pop_front() {
            match message {
                Message::Shutdown(shutdown) => return Some(shutdown),
                Message::Ship { reply } => {
                    let to = self.log.durable().lsn;
                    self.wait(Waiting::Ship { to, reply });
                }
                Message::Point { name, reply } => {
                    let point = self.point(name);
                    self.wait(Waiting::Point { point, reply });
                }
                Message::Snapshot { reason, progress, reply } => self.begin_snapshot(reason, progress, reply),
            }
        }
        None
    }

    fn wait(&mut self, waiting: Waiting) {
        match self.fenced {
            Some(by) => waiting.fail(HandleError::Fenced { by }),
            None if self.waiting.len() >= WAITING_MAX => waiting.fail(HandleError::TooManyWaiting),
            None => self.waiting.push(waiting),
        }
    }

    /// Ships what there is, then publishes what has waited for it.
    async fn cycle(&mut self) -> Result<(), ShipError> {
        if let Some(by) = self.fenced {
            return Err(ShipError::Fenced { by });
        }
        self.tell_log().await?;
        let fence = self.fence().await?;
        let archived = self.head.head().archived.lsn;
        match next_step(archived, fence.mark.lsn, self.head.age(), self.settings.beat_interval) {
            Step::Ship { .. } => self.ship(fence).await?,
            Step::Beat => {
                self.check_owned().await?;
                self.write_head(HeadChange::Beat { complete_until_ms: self.promise(&fence) }).await?;
            }
            Step::Rest => {}
        }
        self.answer_ships();
        self.publish_points().await?;
        self.publish_snapshot().await
    }

    async fn fence(&mut self) -> Result<Fence, ShipError> {
        self.fence_ms = self.clock.now_ms();
        let log = Arc::clone(&self.log);
        let fence = tokio::task::spawn_blocking(move || log.fence()).await?;
        fence.map_err(|source| ShipError::Log { attempted: "give a fence", source })
    }

    /// The fence's promise is about what follows it; it is only the archive's where they meet.
    fn promise(&self, fence: &Fence) -> u64 {
        if fence.mark.lsn == self.head.head().archived.lsn { fence.complete_until_ms } else { 0 }
    }

    /// Ships everything up to the fence.
    async fn ship(&mut self, fence: Fence) -> Result<(), ShipError> {
        let mut next = Some(self.shipping.prepare(&self.log, self.head.head().archived, fence.mark));
        while let Some(preparing) = next.take() {
            let prepared = preparing.await??;
            let mark = prepared.mark();
            let last = mark.lsn >= fence.mark.lsn;
            // Begun before the present one is written, so that neither waits for the other.
            next = (!last).then(|| self.shipping.prepare(&self.log, mark, fence.mark));
            check_claim(&self.store, &self.claim).await?;
            self.shipping.write(&self.store, &prepared).await?;
            self.check_owned().await?;
            // Before the fence, only the order of times says something: a later record may share the last one's millisecond.
            let complete_until_ms = if last { fence.complete_until_ms } else { mark.time_ms.saturating_sub(1) };
            self.write_head(HeadChange::Archived { mark, complete_until_ms }).await?;
            self.shared.update(|status| {
                status.shipped.segments += 1;
                status.shipped.record_bytes += prepared.record_bytes();
                status.shipped.stored_bytes += prepared.stored_bytes();
            });
            self.tell_log().await?;
            self.answer_ships();
        }
        Ok(())
    }

    /// Tells the log what the head says, where it does not know yet.
    async fn tell_log(&mut self) -> Result<(), ShipError> {
        let mark = self.head.head().archived;
        if self.told == Some(mark.lsn) {
            return Ok(());
        }
        let log = Arc::clone(&self.log);
        let told = tokio::task::spawn_blocking(move || log.archived(mark)).await?;
        told.map_err(|source| ShipError::Log { attempted: "write down what is archived", source })?;
        self.told = Some(mark.lsn);
        Ok(())
    }

    /// See [`check_owned`].
    pub(super) async fn check_owned(&self) -> Result<(), ShipError> {
        check_owned(&self.store, &self.claim).await
    }

    pub(super) async fn write_head(&mut self, change: HeadChange) -> Result<(), ShipError> {
        self.head.write(change, self.clock.now_ms()).await?;
        let head = self.head.head();
        self.shared.update(|status| {
            status.archived = head.archived;
            status.complete_until_ms = head.complete_until_ms;
            status.newest_snapshot = head.newest_snapshot;
        });
        Ok(())
    }

    /// Writes down how a cycle went. True where the next one need not wait longer.
    fn note(&mut self, result: &Result<(), ShipError>, failures: u32) -> bool {
        let now_ms = self.clock.now_ms();
        match result {
            Ok(()) => {
                self.shared.update(|status| {
                    status.state = ArchiverState::Online;
                    status.last_success_ms = now_ms;
                    status.caught_up_ms = self.fence_ms;
                });
                if failures > 0 {
                    tracing::info!(archived = %self.head.head().archived.lsn, "the archive answers again");
                }
                true
            }
            Err(ShipError::Fenced { by }) => {
                self.fence_off(*by);
                true
            }
            Err(error) => {
                if let ShipError::ClaimGone { .. } = error {
                    self.give_up_snapshot(|| SnapshotError::Elsewhere(error.to_string()).into());
                }
                if failures == 0 {
                    tracing::warn!(%error, "archiving fails; the log is kept and it is tried again");
                }
                self.shared.update(|status| {
                    let since_ms = match status.state {
                        ArchiverState::Retrying { since_ms, .. } => since_ms,
                        _ => now_ms,
                    };
                    status.state = ArchiverState::Retrying { since_ms, failures: failures.saturating_add(1) };
                    status.last_error = Some(error.to_string());
                });
                false
            }
        }
    }

    fn fence_off(&mut self, by: Epoch) {
        if self.fenced.replace(by).is_none() {
            tracing::error!(epoch = %self.claim.epoch, %by, "another writer has claimed the archive; this one has stopped archiving");
        }
        self.shared.update(|status| {
            status.state = ArchiverState::Fenced { by };
            status.last_error = Some(ShipError::Fenced { by }.to_string());
        });
        self.give_up(|| HandleError::Fenced { by });
    }

    /// Ships what is left until the deadline, then writes the last head.
    async fn end(mut self, shutdown: Shutdown, mut failures: u32) {
        self.abort_upload();
        let last = tokio::time::timeout_at(shutdown.deadline, async {
            while self.fenced.is_none() {
                let result = self.finish().await;
                if let Ok(Finished::Whole) = result {
                    break;
                }
                let result = result.map(|_| ());
                failures = if self.note(&result, failures) { 0 } else { failures.saturating_add(1) };
                if failures > 0 {
                    tokio::time::sleep(self.settings.backoff.wait(failures)).await;
                }
            }
            if let Some(catalogue) = &mut self.catalogue {
                // It only ever tells of its failures; nothing depends on it.
                drop(catalogue.await);
            }
        });
        if last.await.is_err() {
            tracing::warn!("the archiver ended at its deadline; what is missing is shipped at the next start");
        }
        if let Some(catalogue) = &self.catalogue {
            catalogue.abort();
        }
        self.give_up(|| HandleError::Ended);
        if self.fenced.is_none() {
            self.shared.update(|status| status.state = ArchiverState::Ended);
        }
        let archived = self.head.head().archived;
        let missing_records = self.log.durable().lsn.records_since(archived.lsn);
        if let Some(reply) = shutdown.reply {
            // Nobody listens where the caller has gone.
            let _gone = reply.send(ShutdownReport { archived, missing_records });
        }
    }

    /// A last cycle, and the last head where nothing is left.
    async fn finish(&mut self) -> Result<Finished, ShipError> {
        self.cycle().await?;
        let fence = self.fence().await?;
        if fence.mark.lsn > self.head.head().archived.lsn {
            return Ok(Finished::Partly);
        }
        self.check_owned().await?;
        self.write_head(HeadChange::Ended { complete_until_ms: self.promise(&fence) }).await?;
        Ok(Finished::Whole)
    }
}

/// How far [`Archiver::finish`] came.
enum Finished {
    Whole,
    Partly,
}

/// Drives a cycle to its end, putting aside what arrives. A shutdown gives the cycle until its deadline; then it is dropped
/// wherever it stands, which at any point leaves a valid archive.
async fn attend<T>(
    cycle: impl Future<Output = T>,
    inbox: &mut mpsc::Receiver<Message>,
    queue: &mut VecDeque<Message>,
) -> (Option<T>, Option<Shutdown>) {
    tokio::pin!(cycle);
    loop {
        tokio::select! {
            biased;
            result = &mut cycle => return (Some(result), None),
            message = inbox.recv() => match message.unwrap_or_else(abandoned) {
                Message::Shutdown(shutdown) => {
                    let result = tokio::time::timeout_at(shutdown.deadline, cycle).await.ok();
                    return (result, Some(shutdown));
                }
                message if queue.len() < WAITING_MAX => queue.push_back(message),
                message => refuse([message], || HandleError::TooManyWaiting),
            }
        }
    }
}
