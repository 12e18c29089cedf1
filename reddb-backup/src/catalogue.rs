//! The catalogue `manifest.json`: what the archive holds, derived from its listings, for other tools.
//!
//! Never an authority: nothing in this crate reads it. It is written after snapshots and restore points, and may be
//! older than the archive or missing.

use std::collections::{BTreeMap, BTreeSet};

use reddb_file::archive::layout::{POINTS_PREFIX, SNAPSHOTS_PREFIX, TIMELINES_PREFIX, WAL_PREFIX};
use reddb_file::archive::{
    ArchiveKey, Catalogue, CatalogueRange, CatalogueTimeline, DocumentError, MissingDigest, PointName, SegmentName,
    TimelineDocument, sealed,
};
use reddb_file::{ClusterId, Epoch, TimelineId};

use crate::claim::Claim;
use crate::epochs::{Epochs, EpochsError};
use crate::ship::ShipError;
use crate::ship::owned::check_claim;
use crate::store::{ReadError, Store, StoreError};

/// A catalogue that could not be derived or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogueError {
    /// The store, or a damaged document.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The epochs.
    #[error(transparent)]
    Epochs(#[from] EpochsError),
    /// The place is not the archive that was claimed.
    #[error(transparent)]
    Claim(#[from] ShipError),
    /// It cannot be written.
    #[error("the catalogue cannot be made: {0}")]
    Document(#[from] DocumentError),
}

impl From<StoreError> for CatalogueError {
    fn from(error: StoreError) -> Self {
        Self::Read(error.into())
    }
}

/// Derives the catalogue from the archive's listings.
///
/// # Errors
/// Any [`CatalogueError`] but of writing.
pub(crate) async fn derive(
    store: &Store,
    cluster: ClusterId,
    epoch: Epoch,
    now_ms: u64,
) -> Result<Catalogue, CatalogueError> {
    let epochs = Epochs::load(store, cluster, MissingDigest::Refuse).await?;
    let mut segments = segments(store, &epochs).await?;
    let mut timelines = Vec::new();
    for object in store.list(TIMELINES_PREFIX).await? {
        let Ok(key @ ArchiveKey::Timeline(timeline)) = object.key.parse() else { continue };
        let document: TimelineDocument = store.get_document(&key, MissingDigest::Refuse).await?.document;
        let ranges = ranges(&segments.remove(&timeline).unwrap_or_default());
        timelines.push(CatalogueTimeline { timeline, parent: document.parent, ranges });
    }
    let snapshots = store.list(SNAPSHOTS_PREFIX).await?.into_iter().filter(|object| is_valid(&epochs, &object.key));
    Ok(Catalogue {
        cluster,
        epoch,
        created_ms: now_ms,
        timelines,
        snapshots: snapshots.map(|object| object.key).collect(),
        points: points(store).await?,
    })
}

/// Derives the catalogue and writes it, where `store` is still the archive that was claimed.
///
/// # Errors
/// Any [`CatalogueError`].
pub(crate) async fn write(store: &Store, claim: &Claim, now_ms: u64) -> Result<(), CatalogueError> {
    let catalogue = derive(store, claim.cluster, claim.epoch, now_ms).await?;
    check_claim(store, claim).await?;
    store.put_overwrite(&ArchiveKey::Catalogue, sealed::encode(&catalogue)?.into()).await?;
    Ok(())
}

/// The valid segments that have their sidecars.
async fn segments(
    store: &Store,
    epochs: &Epochs,
) -> Result<BTreeMap<TimelineId, BTreeSet<SegmentName>>, CatalogueError> {
    let mut alone = None;
    let mut whole: BTreeMap<TimelineId, BTreeSet<SegmentName>> = BTreeMap::new();
    for object in store.list(WAL_PREFIX).await? {
        match object.key.parse() {
            // In the listing's order a sidecar follows its segment.
            Ok(ArchiveKey::Segment(name)) => alone = Some(name),
            Ok(ArchiveKey::SegmentSidecar(name)) if alone == Some(name) && !epochs.is_segment_void(&name) => {
                whole.entry(name.timeline).or_default().insert(name);
            }
            _ => {}
        }
    }
    Ok(whole)
}

/// Joins segments that follow or overlap each other.
fn ranges(segments: &BTreeSet<SegmentName>) -> Vec<CatalogueRange> {
    let mut ranges: Vec<CatalogueRange> = Vec::new();
    for name in segments {
        match ranges.last_mut() {
            Some(last) if last.last_lsn.next().is_none_or(|next| name.first_lsn <= next) => {
                last.last_lsn = last.last_lsn.max(name.last_lsn);
                last.segment_count += 1;
            }
            _ => ranges.push(CatalogueRange { first_lsn: name.first_lsn, last_lsn: name.last_lsn, segment_count: 1 }),
        }
    }
    ranges
}

/// Whether a key is a snapshot's that some begun epoch on its timeline could have published and no closing excludes. The
/// manifest names its epoch; this is derived from names alone, so it asks for the newest epoch on the timeline.
fn is_valid(epochs: &Epochs, key: &str) -> bool {
    match key.parse() {
        Ok(ArchiveKey::Snapshot { timeline, lsn, .. }) => {
            epochs.newest_begun_on(timeline).is_some_and(|(epoch, _)| !epochs.is_void(epoch, timeline, lsn))
        }
        _ => false,
    }
}

async fn points(store: &Store) -> Result<Vec<PointName>, CatalogueError> {
    let listed = store.list(POINTS_PREFIX).await?;
    let names = listed.into_iter().filter_map(|object| match object.key.parse() {
        Ok(ArchiveKey::Point(name)) => Some(name),
        _ => None,
    });
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use reddb_file::Lsn;

    use super::*;

    #[test]
    fn segments_that_touch_or_overlap_are_one_range() {
        let name = |first, last, epoch| SegmentName {
            timeline: TimelineId::FIRST,
            first_lsn: Lsn::new(first),
            last_lsn: Lsn::new(last),
            epoch: Epoch::new(epoch),
        };
        let range = |first, last, segment_count| CatalogueRange {
            first_lsn: Lsn::new(first),
            last_lsn: Lsn::new(last),
            segment_count,
        };
        let of = |names: &[SegmentName]| ranges(&names.iter().copied().collect());
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[name(1, 4, 1), name(5, 9, 1)]), [range(1, 9, 2)]);
        assert_eq!(of(&[name(1, 9, 1), name(2, 4, 2), name(8, 12, 2)]), [range(1, 12, 3)]);
        assert_eq!(of(&[name(1, 4, 1), name(6, 9, 1)]), [range(1, 4, 1), range(6, 9, 1)]);
        assert_eq!(of(&[name(1, u64::MAX, 1), name(3, 5, 1)]), [range(1, u64::MAX, 2)]);
    }
}
