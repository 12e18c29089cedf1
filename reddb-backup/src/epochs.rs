//! Who held the archive when: the claims, starts and heads below `epochs/`, and what they make void.
//!
//! The rule that everything else rests on, [`Epochs::is_void`]: an epoch that began may name where its predecessor's
//! timeline ended (`closes`). On that timeline, what an **older** epoch shipped beyond that LSN is void: its writer was
//! slow, and nobody may ever read it. Other timelines are untouched.
//!
//! Epochs are never skipped and never deleted, so a missing claim is damage.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, TryStreamExt as _};
use reddb_file::archive::layout::EPOCHS_PREFIX;
use reddb_file::archive::{
    ArchiveKey, EpochClaim, EpochHead, EpochOutcome, EpochStart, ForkPoint, MissingDigest, SegmentName,
};
use reddb_file::{ClusterId, Epoch, Lsn, TimelineId};

use crate::store::{ReadError, Store, StoreError};

/// What the archive says about one epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EpochEntry {
    /// Who claimed it.
    pub claim: EpochClaim,
    /// What came of it; `None` where its claimant has neither begun nor been closed out.
    pub start: Option<EpochStart>,
    /// How far its holder says it has archived.
    pub head: Option<EpochHead>,
}

impl EpochEntry {
    /// Where it began, if it did.
    #[must_use]
    pub(crate) fn begins(&self) -> Option<ForkPoint> {
        match self.start.as_ref()?.outcome {
            EpochOutcome::Begins { begins, .. } => Some(begins),
            EpochOutcome::Abandoned { .. } => None,
        }
    }

    /// Where it says that its predecessor's timeline ended.
    #[must_use]
    pub(crate) fn closes(&self) -> Option<ForkPoint> {
        match self.start.as_ref()?.outcome {
            EpochOutcome::Begins { closes, .. } => closes,
            EpochOutcome::Abandoned { .. } => None,
        }
    }
}

/// All epochs of an archive, from 1, without a gap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    entries: BTreeMap<Epoch, EpochEntry>,
}

/// Epochs that cannot be read, or contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum EpochsError {
    /// An object could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An object below `epochs/` that is not one of its documents.
    #[error("{key} does not belong below {EPOCHS_PREFIX}/; move it away")]
    Stranger {
        /// The object.
        key: String,
    },
    /// A claim is missing.
    #[error(
        "epoch {epoch} has no claim although a later one exists or it has a start or head: {EPOCHS_PREFIX}/ was damaged"
    )]
    Missing {
        /// The epoch.
        epoch: Epoch,
    },
    /// A document says that it is another's.
    #[error("{key} speaks of another epoch or cluster than its place: {EPOCHS_PREFIX}/ was damaged")]
    Misplaced {
        /// The object.
        key: String,
    },
    /// A head without a beginning.
    #[error("epoch {epoch} has a head but never began: {EPOCHS_PREFIX}/ was damaged")]
    HeadWithoutStart {
        /// The epoch.
        epoch: Epoch,
    },
}

impl From<StoreError> for EpochsError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

impl Epochs {
    /// Reads all epochs of the archive of `cluster`.
    ///
    /// # Errors
    /// Any [`EpochsError`].
    pub(crate) async fn load(store: &Store, cluster: ClusterId, missing: MissingDigest) -> Result<Self, EpochsError> {
        let listed = store.list(EPOCHS_PREFIX).await?;
        let read = futures_util::stream::iter(listed).map(|object| read(store, cluster, object.key, missing));
        let documents: Vec<EpochDocument> = read.buffered(READS_AT_ONCE).try_collect().await?;
        let mut epochs = Self::default();
        let mut starts = BTreeMap::new();
        let mut heads = BTreeMap::new();
        for document in documents {
            match document {
                EpochDocument::Claim(claim) => {
                    epochs.entries.insert(claim.epoch, EpochEntry { claim, start: None, head: None });
                }
                EpochDocument::Start(start) => {
                    starts.insert(start.epoch, start);
                }
                EpochDocument::Head(head) => {
                    heads.insert(head.epoch, head);
                }
            }
        }
        epochs.attach(starts, heads)?;
        Ok(epochs)
    }

    fn attach(
        &mut self,
        starts: BTreeMap<Epoch, EpochStart>,
        heads: BTreeMap<Epoch, EpochHead>,
    ) -> Result<(), EpochsError> {
        for (epoch, start) in starts {
            self.entries.get_mut(&epoch).ok_or(EpochsError::Missing { epoch })?.start = Some(start);
        }
        for (epoch, head) in heads {
            let entry = self.entries.get_mut(&epoch).ok_or(EpochsError::Missing { epoch })?;
            let begins = entry.begins().ok_or(EpochsError::HeadWithoutStart { epoch })?;
            if head.timeline != begins.timeline || head.node != entry.claim.node {
                return Err(EpochsError::Misplaced { key: ArchiveKey::EpochHead(epoch).to_string() });
            }
            entry.head = Some(head);
        }
        let mut expected = Epoch::ZERO;
        for epoch in self.entries.keys() {
            expected = expected.next().unwrap_or(expected);
            if *epoch != expected {
                return Err(EpochsError::Missing { epoch: expected });
            }
        }
        Ok(())
    }

    /// All epochs, ascending.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Epoch, &EpochEntry)> {
        self.entries.iter().map(|(epoch, entry)| (*epoch, entry))
    }

    /// One epoch.
    #[must_use]
    pub(crate) fn get(&self, epoch: Epoch) -> Option<&EpochEntry> {
        self.entries.get(&epoch)
    }

    /// The highest claimed epoch; [`Epoch::ZERO`] where there is none.
    #[must_use]
    pub(crate) fn newest(&self) -> Epoch {
        self.entries.keys().next_back().copied().unwrap_or(Epoch::ZERO)
    }

    /// The highest epoch that began or still may: whose claim was not given up.
    #[must_use]
    pub(crate) fn newest_standing(&self) -> Option<(Epoch, &EpochEntry)> {
        self.iter().rev().find(|(_, entry)| entry.start.is_none() || entry.begins().is_some())
    }

    /// The highest epoch that began.
    #[must_use]
    pub(crate) fn newest_begun(&self) -> Option<(Epoch, &EpochEntry)> {
        self.iter().rev().find(|(_, entry)| entry.begins().is_some())
    }

    /// The highest epoch that began on `timeline`.
    #[must_use]
    pub(crate) fn newest_begun_on(&self, timeline: TimelineId) -> Option<(Epoch, &EpochEntry)> {
        self.iter().rev().find(|(_, entry)| entry.begins().is_some_and(|begins| begins.timeline == timeline))
    }

    /// The lowest LSN at which a later epoch than `epoch` closed `timeline`: what `epoch` shipped beyond it is void.
    #[must_use]
    pub(crate) fn closed_at(&self, epoch: Epoch, timeline: TimelineId) -> Option<ForkPoint> {
        let later = self.iter().filter(|(other, _)| *other > epoch);
        let closings = later.filter_map(|(_, entry)| entry.closes()).filter(|point| point.timeline == timeline);
        closings.min_by_key(|point| point.lsn)
    }

    /// Whether what `epoch` wrote about `lsn` on `timeline` is void. An epoch that never began has written nothing valid.
    #[must_use]
    pub(crate) fn is_void(&self, epoch: Epoch, timeline: TimelineId, lsn: Lsn) -> bool {
        let begun = self.get(epoch).and_then(EpochEntry::begins).is_some_and(|begins| begins.timeline == timeline);
        !begun || self.closed_at(epoch, timeline).is_some_and(|point| lsn > point.lsn)
    }

    /// Whether a segment is void: the part of it that counts, if any, is also in another one.
    #[must_use]
    pub(crate) fn is_segment_void(&self, name: &SegmentName) -> bool {
        self.is_void(name.epoch, name.timeline, name.last_lsn)
    }
}

/// How many documents are read at the same time.
const READS_AT_ONCE: usize = 16;

enum EpochDocument {
    Claim(EpochClaim),
    Start(EpochStart),
    Head(EpochHead),
}

async fn read(
    store: &Store,
    cluster: ClusterId,
    key: String,
    missing: MissingDigest,
) -> Result<EpochDocument, EpochsError> {
    let Ok(parsed) = key.parse::<ArchiveKey>() else { return Err(EpochsError::Stranger { key }) };
    let (place, said, document) = match parsed {
        ArchiveKey::EpochClaim(epoch) => {
            let claim: EpochClaim = store.get_document(&parsed, missing).await?.document;
            (epoch, (claim.cluster, claim.epoch), EpochDocument::Claim(claim))
        }
        ArchiveKey::EpochStart(epoch) => {
            let start: EpochStart = store.get_document(&parsed, missing).await?.document;
            (epoch, (start.cluster, start.epoch), EpochDocument::Start(start))
        }
        ArchiveKey::EpochHead(epoch) => {
            let head: EpochHead = store.get_document(&parsed, missing).await?.document;
            (epoch, (head.cluster, head.epoch), EpochDocument::Head(head))
        }
        _ => return Err(EpochsError::Stranger { key }),
    };
    if said == (cluster, place) { Ok(document) } else { Err(EpochsError::Misplaced { key }) }
}

#[cfg(test)]
mod tests;
