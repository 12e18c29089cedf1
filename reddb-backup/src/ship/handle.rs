//! How others talk to an [`Archiver`](super::Archiver): a closed set of messages, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use reddb_file::Epoch;
use reddb_file::archive::{PointName, RestorePoint, SnapshotManifest, Text};
use reddb_file::mark::TimedMark;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::status::{ArchiverStatus, Shared};
use crate::claim::Claim;
use crate::clock::Clock;
use crate::points::PointError;
use crate::snapshot::{ProgressFn, SnapshotError};
use crate::source::LogSource;
use crate::store::Store;

/// How many requests may wait in the task.
pub(super) const WAITING_MAX: usize = 1024;

/// What an archiver answers where it did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// It has ended or is ending.
    #[error("the archiver has ended")]
    Ended,
    /// It was fenced.
    #[error("epoch {by} has been claimed: another writer has taken this archive over")]
    Fenced {
        /// The higher epoch.
        by: Epoch,
    },
    /// Too many requests wait already.
    #[error("{WAITING_MAX} requests wait for the archive already; try again later")]
    TooManyWaiting,
    /// A restore point.
    #[error(transparent)]
    Point(#[from] PointError),
    /// A snapshot.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// How an archiver ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// How far the archive reaches.
    pub archived: TimedMark,
    /// How many durable records it lacks. They are in the log, and the next start ships them.
    pub missing_records: u64,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, HandleError>>;

/// What an archiver can be told.
pub(super) enum Message {
    Ship { reply: Reply<TimedMark> },
    Snapshot { reason: Text, progress: ProgressFn, reply: Reply<SnapshotManifest> },
    Point { name: PointName, reply: Reply<RestorePoint> },
    Shutdown(Shutdown),
}

/// The last message.
pub(super) struct Shutdown {
    pub(super) deadline: Instant,
    pub(super) reply: Option<oneshot::Sender<ShutdownReport>>,
}

/// Talks to an [`Archiver`](super::Archiver). Clones talk to the same one.
#[derive(Clone)]
pub struct ArchiverHandle {
    pub(super) sender: mpsc::Sender<Message>,
    pub(super) shared: Arc<Shared>,
    pub(super) log: Arc<dyn LogSource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Store,
    pub(super) claim: Claim,
}

impl ArchiverHandle {
    /// Ships now; returns once everything that was durable when it was asked is archived. While the store is down this waits:
    /// drop the future to stop waiting.
    ///
    /// # Errors
    /// [`HandleError::Ended`], [`HandleError::Fenced`], [`HandleError::TooManyWaiting`].
    pub async fn ship_now(&self) -> Result<TimedMark, HandleError> {
        self.ask(|reply| Message::Ship { reply }).await
    }

    /// Makes a snapshot; returns once it is published.
    ///
    /// # Errors
    /// [`HandleError::Snapshot`], where [`SnapshotError::Busy`] names the one that is running, or as [`Self::ship_now`].
    pub async fn snapshot(&self, reason: Text, progress: ProgressFn) -> Result<SnapshotManifest, HandleError> {
        self.ask(|reply| Message::Snapshot { reason, progress, reply }).await
    }

    /// Names the newest durable record; returns once the archive has reached it and holds the name.
    ///
    /// # Errors
    /// [`HandleError::Point`], or as [`Self::ship_now`].
    pub async fn mark(&self, name: PointName) -> Result<RestorePoint, HandleError> {
        self.ask(|reply| Message::Point { name, reply }).await
    }

    /// Ships what is left, writes the last head, and ends; gives up at the deadline. A running snapshot is given up at once.
    ///
    /// # Errors
    /// [`HandleError::Ended`] where it has ended already.
    pub async fn shutdown(&self, within: Duration) -> Result<ShutdownReport, HandleError> {
        let (reply, answer) = oneshot::channel();
        let shutdown = Shutdown { deadline: Instant::now() + within, reply: Some(reply) };
        self.sender.send(Message::Shutdown(shutdown)).await.map_err(|_| HandleError::Ended)?;
        answer.await.map_err(|_| HandleError::Ended)
    }

    async fn ask<T>(&self, message: impl FnOnce(Reply<T>) -> Message) -> Result<T, HandleError> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(message(reply)).await.map_err(|_| HandleError::Ended)?;
        answer.await.map_err(|_| HandleError::Ended)?
    }

    /// What it is doing. Asks the log for its durable mark and nobody else for anything.
    #[must_use]
    pub fn status(&self) -> ArchiverStatus {
        // The archive first: the log can only have grown since, so the lag is never negative.
        let shared = self.shared.get();
        let durable = self.log.durable();
        let lag_records = durable.lsn.records_since(shared.archived.lsn);
        let behind_ms = self.clock.now_ms().saturating_sub(shared.caught_up_ms);
        ArchiverStatus {
            epoch: self.claim.epoch,
            timeline: self.claim.timeline,
            archived: shared.archived,
            complete_until_ms: shared.complete_until_ms,
            durable,
            lag_records,
            lag_ms: if lag_records == 0 { 0 } else { behind_ms },
            state: shared.state,
            last_error: shared.last_error,
            last_success_ms: shared.last_success_ms,
            newest_snapshot: shared.newest_snapshot,
            snapshot: shared.snapshot,
            shipped: shared.shipped,
            requests: self.store.requests(),
        }
    }
}

/// What the last handle's disappearance means.
pub(super) fn abandoned() -> Message {
    Message::Shutdown(Shutdown { deadline: Instant::now(), reply: None })
}

/// Answers messages with an error.
pub(super) fn refuse(messages: impl IntoIterator<Item = Message>, error: impl Fn() -> HandleError) {
    for message in messages {
        match message {
            Message::Ship { reply } => drop(reply.send(Err(error()))),
            Message::Point { reply, .. } => drop(reply.send(Err(error()))),
            Message::Snapshot { reply, .. } => drop(reply.send(Err(error()))),
            // The sender sees its channel closed.
            Message::Shutdown(_) => {}
        }
    }
}
