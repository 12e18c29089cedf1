//! What an archiver publishes beside segments: restore points and snapshots, once the archive has reached them.

use std::sync::Arc;

use reddb_file::Lsn;
use reddb_file::archive::{PointName, RestorePoint, SnapshotManifest, Text, sealed};
use reddb_file::mark::TimedMark;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::ShipError;
use super::archiver::Archiver;
use super::handle::{HandleError, Reply};
use super::head::HeadChange;
use super::status::RunningSnapshot;
use crate::catalogue;
use crate::points::{PointError, write_point};
use crate::snapshot::{ProgressFn, SnapshotError, SnapshotProgress, Uploaded};
use crate::store::{ReadError, Store, StoreErrorKind};

/// Something that waits for the archive to reach an LSN.
pub(super) enum Waiting {
    Ship { to: Lsn, reply: Reply<TimedMark> },
    Point { point: RestorePoint, reply: Reply<RestorePoint> },
}

impl Waiting {
    pub(super) fn fail(self, error: HandleError) {
        // Nobody listens any more where the caller has gone; that is its right.
        match self {
            Self::Ship { reply, .. } => drop(reply.send(Err(error))),
            Self::Point { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

/// A snapshot on its way.
pub(super) enum Snapshotting {
    Uploading {
        id: Uuid,
        reason: Text,
        task: JoinHandle<Result<Uploaded, SnapshotError>>,
        reply: Reply<SnapshotManifest>,
    },
    Publishing {
        manifest: SnapshotManifest,
        reply: Reply<SnapshotManifest>,
    },
}

impl Archiver {
    pub(super) fn point(&self, name: PointName) -> RestorePoint {
        let mark = self.log.durable();
        RestorePoint {
            name,
            cluster: self.claim.cluster,
            timeline: self.claim.timeline,
            epoch: self.claim.epoch,
            lsn: mark.lsn,
            chain: mark.chain,
            time_ms: mark.time_ms,
            created_ms: self.clock.now_ms(),
        }
    }

    pub(super) fn begin_snapshot(&mut self, reason: Text, progress: ProgressFn, reply: Reply<SnapshotManifest>) {
        if let Some(by) = self.fenced {
            drop(reply.send(Err(HandleError::Fenced { by })));
            return;
        }
        if let (Some(_), Some(running)) = (&self.snapshot, self.shared.get().snapshot) {
            drop(reply.send(Err(SnapshotError::Busy(running).into())));
            return;
        }
        // Random: two snapshots never share a name, however close they are.
        let id = Uuid::new_v4();
        let running = RunningSnapshot { id, since_ms: self.clock.now_ms(), done_bytes: 0, total_bytes: 0 };
        self.shared.update(|status| status.snapshot = Some(running));
        let shared = Arc::clone(&self.shared);
        let tell: ProgressFn = Arc::new(move |now: SnapshotProgress| {
            shared.update(|status| {
                if let Some(snapshot) = &mut status.snapshot {
                    (snapshot.done_bytes, snapshot.total_bytes) = (now.done_bytes, now.total_bytes);
                }
            });
            progress(now);
        });
        let task = tokio::spawn(self.uploader.clone().run(id, tell));
        self.snapshot = Some(Snapshotting::Uploading { id, reason, task, reply });
    }

    pub(super) fn accept_upload(&mut self, result: Result<Uploaded, SnapshotError>) {
        let Some(Snapshotting::Uploading { id, reason, reply, .. }) = self.snapshot.take() else { return };
        match result {
            Ok(uploaded) => {
                let manifest = uploaded.manifest(id, &self.claim, reason, self.clock.now_ms());
                self.snapshot = Some(Snapshotting::Publishing { manifest, reply });
            }
            Err(error) => self.end_snapshot(reply, Err(error.into())),
        }
    }

    fn end_snapshot(&self, reply: Reply<SnapshotManifest>, result: Result<SnapshotManifest, HandleError>) {
        self.shared.update(|status| status.snapshot = None);
        drop(reply.send(result));
    }

    pub(super) fn answer_ships(&mut self) {
        let archived = self.head.head().archived;
        let reached = |waiting: &mut Waiting| matches!(waiting, Waiting::Ship { to, .. } if *to <= archived.lsn);
        for waiting in self.waiting.extract_if(.., reached) {
            if let Waiting::Ship { reply, .. } = waiting {
                drop(reply.send(Ok(archived)));
            }
        }
    }

    /// Writes the points that the archive has reached. A failing store leaves them for the next cycle.
    pub(super) async fn publish_points(&mut self) -> Result<(), ShipError> {
        let archived = self.head.head().archived.lsn;
        let reached = |waiting: &Waiting| matches!(waiting, Waiting::Point { point, .. } if point.lsn <= archived);
        let mut published = false;
        while let Some(at) = self.waiting.iter().position(reached) {
            let Waiting::Point { point, .. } = &self.waiting[at] else { break };
            self.check_owned().await?;
            let result = match write_point(&self.store, point).await {
                Err(PointError::Read(ReadError::Store(error))) if error.kind() == StoreErrorKind::Retry => {
                    return Err(error.into());
                }
                result => result,
            };
            published |= result.is_ok();
            if let Waiting::Point { reply, .. } = self.waiting.swap_remove(at) {
                drop(reply.send(result.map_err(HandleError::from)));
            }
        }
        if published {
            self.refresh_catalogue();
        }
        Ok(())
    }

    /// Writes the manifest of a snapshot whose LSN the archive has reached, then the head.
    pub(super) async fn publish_snapshot(&mut self) -> Result<(), ShipError> {
        let archived = self.head.head().archived.lsn;
        let reference = match &self.snapshot {
            Some(Snapshotting::Publishing { manifest, .. }) if manifest.lsn <= archived => {
                self.check_owned().await?;
                match put_manifest(&self.store, manifest).await {
                    Err(SnapshotError::Store(error)) if error.kind() == StoreErrorKind::Retry => {
                        return Err(error.into());
                    }
                    result => result.map(|()| manifest.reference()),
                }
            }
            _ => return Ok(()),
        };
        if let Ok(reference) = reference {
            self.write_head(HeadChange::Snapshot(reference)).await?;
        }
        if let Some(Snapshotting::Publishing { manifest, reply }) = self.snapshot.take() {
            self.end_snapshot(reply, reference.map(|_| manifest).map_err(HandleError::from));
        }
        self.refresh_catalogue();
        Ok(())
    }

    /// Derives the catalogue beside everything else. Nothing depends on it, so a failure is only told.
    fn refresh_catalogue(&mut self) {
        // One after the other, so that the last one written is the last one derived.
        let before = self.catalogue.take();
        let (store, claim, now_ms) = (self.store.clone(), self.claim.clone(), self.clock.now_ms());
        self.catalogue = Some(tokio::spawn(async move {
            if let Some(before) = before {
                // However it ended, this one derives everything anew.
                drop(before.await);
            }
            if let Err(error) = catalogue::write(&store, &claim, now_ms).await {
                tracing::warn!(%error, "the archive's catalogue could not be written; the archive itself is not affected");
            }
        }));
    }

    /// Answers everything that waits with an error.
    pub(super) fn give_up(&mut self, error: impl Fn() -> HandleError) {
        for waiting in self.waiting.drain(..) {
            waiting.fail(error());
        }
        self.give_up_snapshot(error);
    }

    /// Gives up a snapshot that is not published. Where another place has answered, its objects may be there: the next one
    /// sends what the archive lacks.
    pub(super) fn give_up_snapshot(&mut self, error: impl Fn() -> HandleError) {
        self.abort_upload_with(&error);
        if let Some(Snapshotting::Publishing { reply, .. }) = self.snapshot.take() {
            self.end_snapshot(reply, Err(error()));
        }
    }

    /// Gives up a snapshot whose files are still being sent.
    pub(super) fn abort_upload(&mut self) {
        self.abort_upload_with(&|| SnapshotError::Ended.into());
    }

    fn abort_upload_with(&mut self, error: &dyn Fn() -> HandleError) {
        match self.snapshot.take() {
            Some(Snapshotting::Uploading { task, reply, .. }) => {
                task.abort();
                self.end_snapshot(reply, Err(error()));
            }
            other => self.snapshot = other,
        }
    }
}

/// The end of the upload, if one runs; otherwise never.
pub(super) async fn uploaded(snapshot: &mut Option<Snapshotting>) -> Result<Uploaded, SnapshotError> {
    match snapshot {
        Some(Snapshotting::Uploading { task, .. }) => task.await?,
        _ => std::future::pending().await,
    }
}

async fn put_manifest(store: &Store, manifest: &SnapshotManifest) -> Result<(), SnapshotError> {
    let bytes = sealed::encode(manifest)?;
    match store.put_create_only(&manifest.reference().key(), bytes.into()).await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
