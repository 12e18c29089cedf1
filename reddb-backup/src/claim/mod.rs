//! Fencing: how a starting writer comes to own the archive's next epoch.
//!
//! The steps, each a create-only write or a read:
//! 1. Look: is this our cluster's archive, does our log extend what is there, does another holder live? A start that would
//!    be refused claims nothing, so it disturbs nobody.
//! 2. Create `epochs/<n>.json`, n being one more than the highest claim. Taken by another: look again.
//! 3. Put an `abandoned` start into every lower epoch that has none. A slow claimant finds its start taken, and has lost.
//! 4. Look again: nobody below us can begin any more, so where the archive ends now is where it ends.
//! 5. Create `epochs/<n>.start.json`, which says so. Taken by a later claimant's `abandoned`: we have lost.
//! 6. Write the first head.
//!
//! Safety needs no clock. Whatever an older holder still writes beyond the end that step 5 fixed is void
//! (`crate::epochs::Epochs::is_void`).

mod end;
mod error;
mod holder;
mod plan;
mod timeline;

#[cfg(test)]
mod tests;

use reddb_file::archive::{
    ArchiveKey, ClusterDocument, Document, EpochClaim, EpochHead, EpochOutcome, EpochStart, ForkPoint, HolderState,
    MissingDigest, SnapshotRef, Text, documents::ARCHIVE_FORMAT_VERSION, sealed,
};
use reddb_file::mark::TimedMark;
use reddb_file::{ClusterId, Epoch, Lsn, NodeId, TimelineId};
use uuid::Uuid;

use crate::clock::Clock;
use crate::epochs::Epochs;
use crate::source::LocalHistory;
use crate::store::probe::PROBE_PREFIX;
use crate::store::{ReadError, Store, StoreError};

pub use crate::epochs::EpochsError;
pub(crate) use end::archive_end;
pub use error::ClaimError;
pub(crate) use holder::{Asker, refuse_live_holder};
pub use holder::{HolderInfo, WatchSettings};
use plan::{Relation, relation};
pub use timeline::{ClaimedTimeline, LocalTimeline, TimelineRequest, claim_timeline};

/// How often a claim is tried again because another claimant took the number.
const ATTEMPTS_MAX: u32 = 16;

/// Whether a live holder, or a newer timeline, may be pushed aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Takeover {
    /// They may not.
    #[default]
    Refuse,
    /// They may: an operator said so.
    Allow,
}

/// Who claims, and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimant {
    /// The cluster that the log belongs to.
    pub cluster: ClusterId,
    /// The directory.
    pub node: NodeId,
    /// Who this is, for people: a host's name and a process.
    pub holder: Text,
    /// The timeline the log is on.
    pub timeline: LocalTimeline,
    /// The newest durable record of the log.
    pub durable: TimedMark,
    /// Where the log begins: the record before the first one that it can still read. A new archive starts here.
    pub oldest: TimedMark,
    /// How far the log remembers that an archive holds it. Where that is beyond zero, an empty place is not that archive.
    /// Zero for a log that no archive holds, and where an operator wants a new archive.
    pub archived: Lsn,
    /// The newest epoch that this directory itself is known to have claimed; [`Epoch::ZERO`] for none. Another one of the same
    /// node is a copy's, or the original's of this copy, and is treated as anybody else's.
    pub claimed: Epoch,
    /// Whether others may be pushed aside.
    pub takeover: Takeover,
    /// The newest epoch when the claimant last saw that nobody holds the archive, so that it is not watched twice; see
    /// [`ClaimedTimeline::watched`].
    pub watched: Option<Epoch>,
}

/// An owned epoch. Made only by [`claim`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The epoch.
    pub epoch: Epoch,
    /// The token in its claim.
    pub token: Uuid,
    /// The cluster.
    pub cluster: ClusterId,
    /// The claiming directory.
    pub node: NodeId,
    /// The timeline that it ships.
    pub timeline: TimelineId,
    /// How far the archive holds that timeline; shipping goes on behind it.
    pub archived: TimedMark,
    /// Whether the archive was new.
    pub kind: ArchiveKind,
    /// The newest snapshot that leads to this log, as far as the predecessor's head tells.
    pub newest_snapshot: Option<SnapshotRef>,
    /// Whether no state of this log can be restored from the archive before a snapshot is published: none is known, and what
    /// is before the log's beginning here, which is not LSN 1, is not in this archive.
    pub needs_snapshot: bool,
    /// What predecessors promised: no record beyond `archived` may have this time or an earlier one.
    pub complete_until_ms: u64,
}

/// What a claimant found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    /// No writer had begun here.
    New,
    /// The archive of this log.
    Continued,
}

/// What a look at the archive found: where this writer would begin.
#[derive(Clone, Copy, Debug)]
struct Ground {
    kind: ArchiveKind,
    closes: Option<ForkPoint>,
    begins: ForkPoint,
    begins_time_ms: u64,
    newest_snapshot: Option<SnapshotRef>,
    needs_snapshot: bool,
    complete_until_ms: u64,
}

/// Claims the next epoch of the archive in `store` for `claimant`.
///
/// # Errors
/// Any [`ClaimError`]. After a [`ClaimError::Store`] of kind `Retry` the whole may be tried again.
pub async fn claim(
    store: &Store,
    claimant: &Claimant,
    history: &dyn LocalHistory,
    watch: &WatchSettings,
    clock: &dyn Clock,
) -> Result<Claim, ClaimError> {
    ensure_cluster(store, claimant, clock).await?;
    let mut watched = claimant.watched;
    for _ in 0..ATTEMPTS_MAX {
        let epochs = Epochs::load(store, claimant.cluster, MissingDigest::Refuse).await?;
        look(store, &epochs, claimant, history, clock).await?;
        let standing = epochs.newest_standing().map(|(epoch, _)| epoch);
        if claimant.takeover == Takeover::Refuse && standing.is_some() && watched != standing {
            let asker = Asker { node: claimant.node, claimed: claimant.claimed };
            watched = refuse_live_holder(store, &epochs, asker, watch, clock).await?;
        }
        let Some(epoch) = epochs.newest().next() else { break };
        let token = Uuid::new_v4();
        if !create_claim(store, claimant, epoch, token, clock).await? {
            continue;
        }
        return begin(store, claimant, history, epoch, token, clock).await;
    }
    Err(ClaimError::Contended { attempts: ATTEMPTS_MAX })
}

/// Steps 3 to 6: the epoch's claim is ours.
async fn begin(
    store: &Store,
    claimant: &Claimant,
    history: &dyn LocalHistory,
    epoch: Epoch,
    token: Uuid,
    clock: &dyn Clock,
) -> Result<Claim, ClaimError> {
    abandon_lower(store, claimant.cluster, epoch, token, clock).await?;
    let epochs = Epochs::load(store, claimant.cluster, MissingDigest::Refuse).await?;
    if let Some((by, _)) = epochs.newest_begun().filter(|(other, _)| *other > epoch) {
        return Err(ClaimError::LostRace { epoch, by });
    }
    let ground = look(store, &epochs, claimant, history, clock).await?;
    let start = EpochStart {
        cluster: claimant.cluster,
        epoch,
        token,
        time_ms: clock.now_ms(),
        outcome: EpochOutcome::Begins { closes: ground.closes, begins: ground.begins },
    };
    match put_new(store, &ArchiveKey::EpochStart(epoch), &start).await {
        Err(ClaimError::Store(StoreError::ExistsDifferent { .. })) => {
            return Err(lost_race(store, epoch).await?);
        }
        other => other?,
    }
    let archived = TimedMark { lsn: ground.begins.lsn, chain: ground.begins.chain, time_ms: ground.begins_time_ms };
    let claim = Claim {
        epoch,
        token,
        cluster: claimant.cluster,
        node: claimant.node,
        timeline: ground.begins.timeline,
        archived,
        kind: ground.kind,
        newest_snapshot: ground.newest_snapshot,
        needs_snapshot: ground.needs_snapshot,
        complete_until_ms: ground.complete_until_ms,
    };
    let head = claim.first_head(clock.now_ms());
    store.put_overwrite(&ArchiveKey::EpochHead(epoch), sealed::encode(&head)?.into()).await?;
    Ok(claim)
}

impl Claim {
    /// The head that says: begun, and nothing shipped yet.
    pub(crate) fn first_head(&self, now_ms: u64) -> EpochHead {
        EpochHead {
            cluster: self.cluster,
            epoch: self.epoch,
            node: self.node,
            timeline: self.timeline,
            archived: self.archived,
            newest_snapshot: self.newest_snapshot,
            complete_until_ms: self.complete_until_ms,
            beat: 1,
            beat_time_ms: now_ms,
            holder: HolderState::Active,
        }
    }
}

async fn lost_race(store: &Store, epoch: Epoch) -> Result<ClaimError, ClaimError> {
    let key = ArchiveKey::EpochStart(epoch);
    let start: EpochStart = store.get_document(&key, MissingDigest::Refuse).await?.document;
    let by = match start.outcome {
        EpochOutcome::Abandoned { by } => by,
        EpochOutcome::Begins { .. } => epoch,
    };
    Ok(ClaimError::LostRace { epoch, by })
}

/// Creates `cluster.json` where the place is empty; refuses another cluster's archive and anything else.
async fn ensure_cluster(store: &Store, claimant: &Claimant, clock: &dyn Clock) -> Result<(), ClaimError> {
    let key = ArchiveKey::Cluster;
    let found = match store.get_document::<ClusterDocument>(&key, MissingDigest::Refuse).await {
        Ok(opened) => opened.document,
        Err(ReadError::Store(StoreError::NotFound { .. })) => {
            let strangers = store.list("").await?;
            let probe = format!("{PROBE_PREFIX}/");
            if let Some(stranger) = strangers.into_iter().find(|object| !object.key.starts_with(&probe)) {
                // Another writer may have made the archive since we looked; then this is simply read again.
                if !store.exists(&key).await? {
                    return Err(ClaimError::NotAnArchive { store: store.to_string(), key: stranger.key });
                }
            } else if claimant.archived > Lsn::ZERO {
                return Err(ClaimError::ArchiveGone { store: store.to_string(), archived: claimant.archived });
            } else {
                let document = ClusterDocument {
                    cluster: claimant.cluster,
                    format_version: ARCHIVE_FORMAT_VERSION,
                    created_ms: clock.now_ms(),
                };
                match put_new(store, &key, &document).await {
                    // Made by another writer in the meantime: whose is it?
                    Ok(()) | Err(ClaimError::Store(StoreError::ExistsDifferent { .. })) => {}
                    Err(error) => return Err(error),
                }
            }
            store.get_document::<ClusterDocument>(&key, MissingDigest::Refuse).await?.document
        }
        Err(error) => return Err(error.into()),
    };
    if found.cluster == claimant.cluster {
        return Ok(());
    }
    Err(ClaimError::WrongCluster { store: store.to_string(), archive: found.cluster, local: claimant.cluster })
}

/// Checks that the archive exists and is this cluster's.
async fn ensure_known_cluster(store: &Store, cluster: ClusterId) -> Result<(), ClaimError> {
    let key = ArchiveKey::Cluster;
    let found: ClusterDocument = store.get_document(&key, MissingDigest::Refuse).await?.document;
    if found.cluster == cluster {
        return Ok(());
    }
    Err(ClaimError::WrongCluster { store: store.to_string(), archive: found.cluster, local: cluster })
}

async fn create_claim(
    store: &Store,
    claimant: &Claimant,
    epoch: Epoch,
    token: Uuid,
    clock: &dyn Clock,
) -> Result<bool, ClaimError> {
    let claim = EpochClaim {
        cluster: claimant.cluster,
        epoch,
        node: claimant.node,
        holder: claimant.holder.clone(),
        token,
        time_ms: clock.now_ms(),
    };
    match put_new(store, &ArchiveKey::EpochClaim(epoch), &claim).await {
        Ok(()) => Ok(true),
        Err(ClaimError::Store(StoreError::ExistsDifferent { .. })) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Closes every lower epoch that has not begun, so that none of them can begin any more.
async fn abandon_lower(
    store: &Store,
    cluster: ClusterId,
    by: Epoch,
    token: Uuid,
    clock: &dyn Clock,
) -> Result<(), ClaimError> {
    let epochs = Epochs::load(store, cluster, MissingDigest::Refuse).await?;
    for (epoch, _) in epochs.iter().filter(|(epoch, entry)| *epoch < by && entry.start.is_none()) {
        let outcome = EpochOutcome::Abandoned { by };
        let start = EpochStart { cluster, epoch, token, time_ms: clock.now_ms(), outcome };
        match put_new(store, &ArchiveKey::EpochStart(epoch), &start).await {
            // It has begun, or somebody else has closed it: either is what was wanted.
            Ok(()) | Err(ClaimError::Store(StoreError::ExistsDifferent { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Where this writer would begin, and whether it may.
async fn look(
    store: &Store,
    epochs: &Epochs,
    claimant: &Claimant,
    history: &dyn LocalHistory,
    clock: &dyn Clock,
) -> Result<Ground, ClaimError> {
    let local = &claimant.timeline;
    let related = relation(epochs, local.timeline);
    timeline::check_document(store, claimant, &related, clock).await?;
    let (kind, closes, begins) = match related {
        Relation::New => {
            if claimant.archived > Lsn::ZERO {
                return Err(ClaimError::ArchiveGone { store: store.to_string(), archived: claimant.archived });
            }
            let oldest = claimant.oldest;
            let begins = ForkPoint { timeline: local.timeline, lsn: oldest.lsn, chain: oldest.chain };
            return Ok(Ground {
                kind: ArchiveKind::New,
                closes: None,
                begins,
                begins_time_ms: oldest.time_ms,
                newest_snapshot: None,
                needs_snapshot: plan::needs_snapshot(begins.lsn, local, None),
                complete_until_ms: 0,
            });
        }
        Relation::Continues => {
            let end = archive_end(store, epochs, local.timeline).await?;
            (ArchiveKind::Continued, end, end)
        }
        Relation::Returns { newest, epoch } => {
            if claimant.takeover == Takeover::Refuse {
                let holder = epochs.get(epoch).map(|entry| entry.claim.holder.clone());
                let holder = holder.unwrap_or_else(|| claimant.holder.clone());
                return Err(ClaimError::Superseded { local: local.timeline, newest, epoch, holder });
            }
            (
                ArchiveKind::Continued,
                archive_end(store, epochs, newest).await?,
                archive_end(store, epochs, local.timeline).await?,
            )
        }
        Relation::Forks { newest } => {
            let fork = local.parent.ok_or_else(|| ClaimError::Unrelated {
                timeline: local.timeline,
                detail: "it has no parent, and the archive holds another history".into(),
            })?;
            timeline::check_fork(store, epochs, fork, newest, local.timeline).await?;
            let begins = ForkPoint { timeline: local.timeline, ..fork };
            (ArchiveKind::Continued, archive_end(store, epochs, newest).await?, Some(begins))
        }
    };
    let missing = || ClaimError::Unrelated { timeline: local.timeline, detail: "no epoch has begun on it".into() };
    let begins = begins.ok_or_else(missing)?;
    let mark = compare(claimant, history, begins)?;
    let (newest_snapshot, complete_until_ms) = plan::inherited(epochs, local, begins, mark.time_ms);
    let first = epochs.iter().find_map(|(_, entry)| entry.begins()).unwrap_or(begins);
    Ok(Ground {
        kind,
        closes,
        begins,
        begins_time_ms: mark.time_ms,
        newest_snapshot,
        needs_snapshot: plan::needs_snapshot(first.lsn, local, newest_snapshot),
        complete_until_ms,
    })
}

/// The local record where the archive ends: it must be there, and be the same.
fn compare(claimant: &Claimant, history: &dyn LocalHistory, begins: ForkPoint) -> Result<TimedMark, ClaimError> {
    let ForkPoint { timeline, lsn, chain } = begins;
    let known = [TimedMark::genesis(claimant.cluster), claimant.oldest, claimant.durable];
    if lsn > claimant.durable.lsn {
        return Err(ClaimError::LocalBehindArchive { timeline, local: claimant.durable.lsn, archive: lsn });
    }
    let mark = match known.into_iter().find(|mark| mark.lsn == lsn) {
        Some(mark) => Some(mark),
        None => history.mark_at(lsn).map_err(ClaimError::Local)?,
    };
    match mark {
        Some(mark) if mark.chain == chain => Ok(mark),
        Some(mark) => Err(ClaimError::Diverged { timeline, lsn, archive: chain, local: mark.chain }),
        None => Err(ClaimError::LogBeginsBeyondArchive { timeline, archive: lsn, oldest: claimant.oldest.lsn }),
    }
}

async fn put_new<T: Document>(store: &Store, key: &ArchiveKey, document: &T) -> Result<(), ClaimError> {
    store.put_create_only(key, sealed::encode(document)?.into()).await?;
    Ok(())
}
