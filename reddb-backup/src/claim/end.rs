//! Where the archive really ends on a timeline: the unbroken run of segments that have their sidecars.

use std::collections::BTreeMap;

use reddb_file::archive::layout::wal_prefix;
use reddb_file::archive::{ArchiveKey, ForkPoint, MissingDigest, SegmentName, SegmentSidecar};
use reddb_file::{Epoch, Lsn, TimelineId};

use super::ClaimError;
use crate::epochs::Epochs;
use crate::store::Store;

/// Where `timeline` ends in the archive; `None` where no epoch has begun on it.
///
/// Begins at what the newest epoch on it last said (its head, else its beginning) and follows the segments from there. A
/// later epoch that closed the timeline has the last word.
///
/// # Errors
/// Any [`ClaimError`] of the store, and [`ClaimError::Read`] for a sidecar that is damaged or is another segment's.
pub(crate) async fn archive_end(
    store: &Store,
    epochs: &Epochs,
    timeline: TimelineId,
) -> Result<Option<ForkPoint>, ClaimError> {
    let Some((epoch, entry)) = epochs.newest_begun_on(timeline) else { return Ok(None) };
    if let Some(closed) = epochs.closed_at(epoch, timeline) {
        return Ok(Some(closed));
    }
    let Some(mut end) = entry.begins() else { return Ok(None) };
    if let Some(head) = &entry.head {
        end = ForkPoint { timeline, lsn: head.archived.lsn, chain: head.archived.chain };
    }
    let segments = segments_beyond(store, epoch, &end).await?;
    while let Some(sidecar) = next_segment(store, &segments, &end).await? {
        end = ForkPoint { timeline, lsn: sidecar.last_lsn, chain: sidecar.chain_after };
    }
    Ok(Some(end))
}

/// The epoch's segments that begin behind `end`, by first LSN, where segment and sidecar are both there.
async fn segments_beyond(
    store: &Store,
    epoch: Epoch,
    end: &ForkPoint,
) -> Result<BTreeMap<Lsn, (SegmentName, u64)>, ClaimError> {
    let folder = wal_prefix(end.timeline);
    // Sorts behind every name that begins at this LSN or before, since digits and `-` sort before it.
    let after = format!("{folder}/{:020}_", end.lsn.get());
    let listed = store.list_after(&folder, Some(&after)).await?;
    let mut segments = BTreeMap::new();
    let mut whole = BTreeMap::new();
    for object in listed {
        match object.key.parse() {
            Ok(ArchiveKey::Segment(name)) if name.epoch == epoch => {
                segments.insert(name, object.bytes);
            }
            Ok(ArchiveKey::SegmentSidecar(name)) if name.epoch == epoch => {
                if let Some(bytes) = segments.get(&name) {
                    whole.insert(name.first_lsn, (name, *bytes));
                }
            }
            _ => {}
        }
    }
    Ok(whole)
}

async fn next_segment(
    store: &Store,
    segments: &BTreeMap<Lsn, (SegmentName, u64)>,
    end: &ForkPoint,
) -> Result<Option<SegmentSidecar>, ClaimError> {
    let Some((name, bytes)) = end.lsn.next().and_then(|first| segments.get(&first)) else { return Ok(None) };
    let key = ArchiveKey::SegmentSidecar(*name);
    let sidecar: SegmentSidecar = store.get_document(&key, MissingDigest::Refuse).await?.document;
    let fits = sidecar.name() == *name && sidecar.stored_bytes == *bytes && sidecar.chain_before == end.chain;
    if fits {
        return Ok(Some(sidecar));
    }
    Err(ClaimError::Unrelated {
        timeline: end.timeline,
        detail: format!("{key} does not describe its segment, or does not follow LSN {}; verify the archive", end.lsn),
    })
}
