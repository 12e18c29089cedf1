//! Does the archive's present holder live?
//!
//! The holder is whoever made the newest claim that was not given up, also before its epoch has begun. It is watched: an epoch that
//! begins or a beat that changes while we look is life. Only where its last sign is long past by our wall clock, or it said that it
//! ended, the watching is saved. A wrong answer costs an operator's patience, never data: the epochs fence.

use std::fmt;
use std::time::Duration;

use reddb_file::archive::{
    ArchiveKey, Document, EpochHead, EpochOutcome, EpochStart, HolderState, MissingDigest, Text,
};
use reddb_file::{Epoch, NodeId};
use tokio::time::Instant;

use super::ClaimError;
use crate::clock::Clock;
use crate::epochs::Epochs;
use crate::store::{ReadError, Store, StoreError};

/// How often a holder is looked at while it is watched, at least so many times and at least every second.
const LOOKS_MIN: u32 = 20;
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// How a holder is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// For how long a holder that gives no sign is watched. Default 20 s: two beats.
    pub patience: Duration,
    /// A holder whose last sign is older than this is not watched. Default 60 s.
    pub stale_after: Duration,
}

impl WatchSettings {
    /// For whoever has just seen the store come back: every holder's last sign is as old as the outage, and a holder that lives may
    /// wait for up to half a minute before it tries again.
    #[must_use]
    pub const fn after_outage() -> Self {
        Self { patience: Duration::from_secs(45), stale_after: Duration::MAX }
    }
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self { patience: Duration::from_secs(20), stale_after: Duration::from_secs(60) }
    }
}

/// A holder that lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderInfo {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its directory.
    pub node: NodeId,
    /// Who it is.
    pub holder: Text,
    /// Its wall clock at its last beat.
    pub beat_time_ms: u64,
}

impl fmt::Display for HolderInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "another writer holds this archive: {} (node {}, epoch {}, last beat at {} ms)",
            self.holder, self.node, self.epoch, self.beat_time_ms
        )
    }
}

/// Who asks: a holder that is this one's own past is not waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker {
    /// The directory.
    pub(crate) node: NodeId,
    /// The newest epoch that it remembers as its own.
    pub(crate) claimed: Epoch,
}

impl Asker {
    /// An epoch that the directory does not remember was claimed by a copy of it, or just before a crash.
    fn held(self, node: NodeId, epoch: Epoch) -> bool {
        self.node == node && epoch <= self.claimed
    }
}

/// What is seen of a holder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sign {
    /// What came of its claim, where it has come to anything.
    outcome: Option<EpochOutcome>,
    head: Option<EpochHead>,
}

impl Sign {
    /// Whether the holder is gone by its own word, or can never begin.
    fn is_end(&self) -> bool {
        matches!(self.outcome, Some(EpochOutcome::Abandoned { .. }))
            || self.head.as_ref().is_some_and(|head| head.holder == HolderState::Ended)
    }

    /// Whether the holder has done something since `before`.
    fn is_life_since(&self, before: &Self) -> bool {
        let beat = |sign: &Self| sign.head.as_ref().map(|head| head.beat);
        beat(self) != beat(before) || self.outcome != before.outcome
    }
}

/// Watches the holder of the archive, where there is one and it is not the asker itself; `None` where there is none. Takes up to
/// [`WatchSettings::patience`].
///
/// # Errors
/// [`ClaimError::LiveHolder`] where it lives; [`ClaimError::Store`] and [`ClaimError::Read`].
pub(crate) async fn refuse_live_holder(
    store: &Store,
    epochs: &Epochs,
    asker: Asker,
    watch: &WatchSettings,
    clock: &dyn Clock,
) -> Result<Option<Epoch>, ClaimError> {
    let Some((epoch, entry)) = epochs.newest_standing() else { return Ok(None) };
    if asker.held(entry.claim.node, epoch) {
        return Ok(Some(epoch));
    }
    let first = look(store, epoch).await?;
    let last_sign_ms = first.head.as_ref().map_or(entry.claim.time_ms, |head| head.beat_time_ms);
    let age_ms = u128::from(clock.now_ms().saturating_sub(last_sign_ms));
    if first.is_end() || age_ms > watch.stale_after.as_millis() {
        return Ok(Some(epoch));
    }
    tracing::info!(
        %epoch, holder = %entry.claim.holder, patience = ?watch.patience,
        "another writer may hold this archive; watching it for a while"
    );
    let deadline = Instant::now() + watch.patience;
    let interval = LOOK_INTERVAL_MAX.min(watch.patience / LOOKS_MIN);
    loop {
        tokio::time::sleep(interval).await;
        let sign = look(store, epoch).await?;
        if sign.is_end() {
            return Ok(Some(epoch));
        }
        if sign.is_life_since(&first) {
            let beat_time_ms = sign.head.map_or(last_sign_ms, |head| head.beat_time_ms);
            let (node, holder) = (entry.claim.node, entry.claim.holder.clone());
            return Err(ClaimError::LiveHolder(Box::new(HolderInfo { epoch, node, holder, beat_time_ms })));
        }
        if Instant::now() >= deadline {
            return Ok(Some(epoch));
        }
    }
}

async fn look(store: &Store, epoch: Epoch) -> Result<Sign, ClaimError> {
    let start: Option<EpochStart> = find(store, &ArchiveKey::EpochStart(epoch)).await?;
    let head = find(store, &ArchiveKey::EpochHead(epoch)).await?;
    Ok(Sign { outcome: start.map(|start| start.outcome), head })
}

async fn find<T: Document>(store: &Store, key: &ArchiveKey) -> Result<Option<T>, ClaimError> {
    match store.get_document(key, MissingDigest::Refuse).await {
        Ok(opened) => Ok(Some(opened.document)),
        Err(ReadError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
