//! Does the archive's present holder live?
//!
//! It is watched: a beat that changes while we look is life. Only where its last beat is long past by our wall clock, or it
//! said that it ended, the watching is saved. A wrong answer costs an operator's patience, never data: the epochs fence.

use std::fmt;
use std::time::Duration;

use reddb_file::archive::{ArchiveKey, EpochHead, HolderState, MissingDigest, Text};
use reddb_file::{Epoch, NodeId};

use super::ClaimError;
use crate::clock::Clock;
use crate::epochs::Epochs;
use crate::store::{ReadError, Store, StoreError};

/// How a holder is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// How often a holder beats at least. Default 10 s.
    pub beat_interval: Duration,
    /// A beat older than this is not waited for. Default 60 s.
    pub stale_after: Duration,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self { beat_interval: Duration::from_secs(10), stale_after: Duration::from_secs(60) }
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

/// The holder of the archive, where there is one, it is not the asker itself, and it lives. Takes up to two beat intervals.
///
/// # Errors
/// [`ClaimError::Store`] and [`ClaimError::Read`].
pub(crate) async fn live_holder(
    store: &Store,
    epochs: &Epochs,
    asker: Asker,
    watch: &WatchSettings,
    clock: &dyn Clock,
) -> Result<Option<HolderInfo>, ClaimError> {
    let Some((epoch, entry)) = epochs.newest_begun() else { return Ok(None) };
    if asker.held(entry.claim.node, epoch) {
        return Ok(None);
    }
    let first = read_head(store, epoch).await?;
    if first.as_ref().is_some_and(|head| head.holder == HolderState::Ended) {
        return Ok(None);
    }
    let last_sign_ms = first.as_ref().map_or(entry.claim.time_ms, |head| head.beat_time_ms);
    let age_ms = u128::from(clock.now_ms().saturating_sub(last_sign_ms));
    if age_ms > watch.stale_after.as_millis() {
        return Ok(None);
    }
    tracing::info!(%epoch, holder = %entry.claim.holder, "another writer may hold this archive; watching it for a while");
    tokio::time::sleep(watch.beat_interval.saturating_mul(2)).await;
    let second = read_head(store, epoch).await?;
    let beat = |head: &Option<EpochHead>| head.as_ref().map(|head| head.beat);
    let ended = second.as_ref().is_some_and(|head| head.holder == HolderState::Ended);
    if beat(&first) == beat(&second) || ended {
        return Ok(None);
    }
    Ok(Some(HolderInfo {
        epoch,
        node: entry.claim.node,
        holder: entry.claim.holder.clone(),
        beat_time_ms: second.map_or(last_sign_ms, |head| head.beat_time_ms),
    }))
}

async fn read_head(store: &Store, epoch: Epoch) -> Result<Option<EpochHead>, ClaimError> {
    match store.get_document(&ArchiveKey::EpochHead(epoch), MissingDigest::Refuse).await {
        Ok(opened) => Ok(Some(opened.document)),
        Err(ReadError::Store(StoreError::NotFound { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
