//! Timelines' documents: claiming a new one's number, and checking that a log's timeline is the archive's.

use reddb_file::archive::layout::TIMELINES_PREFIX;
use reddb_file::archive::{ArchiveKey, ForkPoint, MissingDigest, TimelineDocument, TimelineReason, sealed};
use reddb_file::{ClusterId, Epoch, NodeId, TimelineId};
use uuid::Uuid;

use super::end::archive_end;
use super::holder::{Asker, WatchSettings, refuse_live_holder};
use super::plan::Relation;
use super::{ATTEMPTS_MAX, ClaimError, Claimant, Takeover, ensure_known_cluster, put_new};
use crate::clock::Clock;
use crate::epochs::Epochs;
use crate::store::{ReadError, Store, StoreError};

/// The timeline a local log is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTimeline {
    /// Its number.
    pub timeline: TimelineId,
    /// The last record it shares with its parent; `None` for the first timeline.
    pub parent: Option<ForkPoint>,
    /// Its random identity, as in its first record.
    pub id: Uuid,
    /// Its clock offset, as in its first record, in milliseconds.
    pub clock_offset_ms: i64,
}

/// What a new timeline is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimelineRequest {
    /// The cluster.
    pub cluster: ClusterId,
    /// The directory that will write it.
    pub node: NodeId,
    /// The newest epoch that it claimed before without coming to write; [`Epoch::ZERO`] for none.
    pub claimed: Epoch,
    /// The last record it shares with its parent.
    pub parent: ForkPoint,
    /// Why it is begun.
    pub reason: TimelineReason,
    /// Its clock offset, in milliseconds.
    pub clock_offset_ms: i64,
    /// Whether a live holder may be pushed aside.
    pub takeover: Takeover,
}

/// A timeline whose number was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimedTimeline {
    /// Its document.
    pub document: TimelineDocument,
    /// The newest epoch when nobody was found to hold the archive; `None` where there was none, or nobody looked.
    pub watched: Option<Epoch>,
}

/// Claims the number of a new timeline, create-only, before its first write. The next free number is taken; one whose
/// claimant never wrote to it stays unused. Where the archive does not hold what the timeline forks off, nothing is claimed.
///
/// # Errors
/// [`ClaimError::LiveHolder`] beside another directory's live holder, [`ClaimError::WrongCluster`],
/// [`ClaimError::Unrelated`], or an error of the store.
pub async fn claim_timeline(
    store: &Store,
    request: &TimelineRequest,
    watch: &WatchSettings,
    clock: &dyn Clock,
) -> Result<ClaimedTimeline, ClaimError> {
    ensure_known_cluster(store, request.cluster).await?;
    let mut watched = None;
    let epochs = Epochs::load(store, request.cluster, MissingDigest::Refuse).await?;
    if let Some(newest) = epochs.newest_begun().and_then(|(_, entry)| entry.begins()) {
        check_fork(store, &epochs, request.parent, newest.timeline, request.parent.timeline).await?;
    }
    if request.takeover == Takeover::Refuse {
        let asker = Asker { node: request.node, claimed: request.claimed };
        watched = refuse_live_holder(store, &epochs, asker, watch, clock).await?;
    }
    let id = Uuid::new_v4();
    for _ in 0..ATTEMPTS_MAX {
        let highest = highest_timeline(store).await?.unwrap_or(request.parent.timeline).max(request.parent.timeline);
        let Some(timeline) = highest.next() else { break };
        let document = TimelineDocument {
            cluster: request.cluster,
            timeline,
            parent: Some(request.parent),
            reason: request.reason,
            created_ms: clock.now_ms(),
            node: request.node,
            id,
            clock_offset_ms: request.clock_offset_ms,
        };
        match put_new(store, &ArchiveKey::Timeline(timeline), &document).await {
            Ok(()) => return Ok(ClaimedTimeline { document, watched }),
            Err(ClaimError::Store(StoreError::ExistsDifferent { .. })) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ClaimError::Contended { attempts: ATTEMPTS_MAX })
}

async fn highest_timeline(store: &Store) -> Result<Option<TimelineId>, ClaimError> {
    let listed = store.list(TIMELINES_PREFIX).await?;
    let ids = listed.iter().filter_map(|object| match object.key.parse() {
        Ok(ArchiveKey::Timeline(timeline)) => Some(timeline),
        _ => None,
    });
    Ok(ids.max())
}

/// Checks that the archive's document of the claimant's timeline is that very timeline's; a new archive gets one.
pub(super) async fn check_document(
    store: &Store,
    claimant: &Claimant,
    related: &Relation,
    clock: &dyn Clock,
) -> Result<(), ClaimError> {
    let local = &claimant.timeline;
    let timeline = local.timeline;
    let key = ArchiveKey::Timeline(timeline);
    let found = match read(store, timeline).await? {
        Some(found) => found,
        None if *related == Relation::New => {
            let reason = if local.parent.is_some() { TimelineReason::Restored } else { TimelineReason::Created };
            let document = TimelineDocument {
                cluster: claimant.cluster,
                timeline,
                parent: local.parent,
                reason,
                created_ms: clock.now_ms(),
                node: claimant.node,
                id: local.id,
                clock_offset_ms: local.clock_offset_ms,
            };
            match store.put_create_only(&key, sealed::encode(&document)?.into()).await {
                Ok(_) | Err(StoreError::ExistsDifferent { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            store.get_document(&key, MissingDigest::Refuse).await?.document
        }
        None => {
            return Err(ClaimError::Unrelated { timeline, detail: format!("the archive has no {key}") });
        }
    };
    if found.timeline != timeline || found.cluster != claimant.cluster {
        return Err(ClaimError::Unrelated { timeline, detail: format!("{key} is another timeline's document") });
    }
    if found.id != local.id {
        return Err(ClaimError::TimelineTaken { timeline, archive: found.id, local: local.id });
    }
    Ok(())
}

/// Checks that the archive, whose newest timeline is `newest`, holds what a timeline forks off which no epoch has begun on. An error
/// names `timeline`.
pub(super) async fn check_fork(
    store: &Store,
    epochs: &Epochs,
    fork: ForkPoint,
    newest: TimelineId,
    timeline: TimelineId,
) -> Result<(), ClaimError> {
    let unrelated = |detail: String| ClaimError::Unrelated { timeline, detail };
    let Some(parent) = read(store, fork.timeline).await? else {
        return if is_empty_after(store, epochs, newest, fork).await? {
            Ok(())
        } else {
            Err(unrelated(format!("the archive has no timeline {}", fork.timeline)))
        };
    };
    // A parent that nothing was written to shares its own parent's records up to its fork.
    let end = match archive_end(store, epochs, fork.timeline).await? {
        Some(end) => Some(end.lsn),
        None => parent.parent.map(|point| point.lsn),
    };
    match end {
        Some(end) if fork.lsn <= end => Ok(()),
        _ => Err(unrelated(format!(
            "it forked off timeline {} at LSN {}, beyond what the archive holds of that",
            fork.timeline, fork.lsn
        ))),
    }
}

/// Whether the archive was begun for a fork at `fork` and holds nothing after it: whoever began it stopped before the timeline's
/// first record was shipped.
async fn is_empty_after(
    store: &Store,
    epochs: &Epochs,
    newest: TimelineId,
    fork: ForkPoint,
) -> Result<bool, ClaimError> {
    let begun = read(store, newest).await?.and_then(|document| document.parent);
    let end = archive_end(store, epochs, newest).await?;
    Ok(begun == Some(fork) && end.is_some_and(|end| (end.lsn, end.chain) == (fork.lsn, fork.chain)))
}

async fn read(store: &Store, timeline: TimelineId) -> Result<Option<TimelineDocument>, ClaimError> {
    match store.get_document(&ArchiveKey::Timeline(timeline), MissingDigest::Refuse).await {
        Ok(opened) => Ok(Some(opened.document)),
        Err(ReadError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
