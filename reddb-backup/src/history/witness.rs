//! Witnesses: what the archive's documents say of the chain at some LSN.
//!
//! Every document that names an LSN names the chain there too. Two uses: whoever reads the record at that LSN compares
//! (any disagreement is a fault), and a document that is written only once the archive has reached its LSN proves that
//! the archive did: less is a lost tail.

use reddb_file::archive::{ArchiveKey, ForkPoint};
use reddb_file::{Chain, Lsn, TimelineId};

use super::Snapshots;
use super::contents::Contents;
use super::epochs::Epochs;
use super::tree::Tree;

/// Whether the archive had reached a witness's LSN when it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Reach {
    /// It had: the records up to there are or were in the archive.
    Reached,
    /// Not necessarily.
    Unknown,
}

/// What one document says of the chain at one LSN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    /// The timeline that it names.
    pub named: TimelineId,
    /// The timeline that owns the record at `lsn`.
    pub timeline: TimelineId,
    /// The record.
    pub lsn: Lsn,
    /// The chain after it.
    pub chain: Chain,
    /// The record's time, where the document says it.
    pub time_ms: Option<u64>,
    /// Whether it proves that the archive held the record.
    pub reach: Reach,
    /// The document's key.
    pub key: String,
}

/// All witnesses that count, by owning timeline and LSN. What is void bears no witness.
pub(super) fn collect(contents: &Contents, epochs: &Epochs, tree: &Tree, snapshots: &Snapshots) -> Vec<Witness> {
    let mut witnesses = Vec::new();
    let mut add = |at: ForkPoint, time_ms: Option<u64>, reach: Reach, key: ArchiveKey| {
        let timeline = tree.owner(at.timeline, at.lsn);
        let key = key.to_string();
        witnesses.push(Witness { named: at.timeline, timeline, lsn: at.lsn, chain: at.chain, time_ms, reach, key });
    };
    for (epoch, begins) in epochs.begun() {
        let void = |at: ForkPoint| epochs.voided_by(at.timeline, epoch, at.lsn).is_some();
        if !void(begins) {
            add(begins, None, Reach::Unknown, ArchiveKey::EpochStart(epoch));
        }
        let head = contents.epochs.get(&epoch).and_then(|documents| documents.head.present());
        if let Some(head) = head {
            let at = ForkPoint { timeline: head.timeline, lsn: head.archived.lsn, chain: head.archived.chain };
            if at.timeline == begins.timeline && !void(at) {
                add(at, Some(head.archived.time_ms), Reach::Reached, ArchiveKey::EpochHead(epoch));
            }
        }
    }
    for timeline in epochs.closed_timelines() {
        for closing in epochs.closings(timeline) {
            let at = ForkPoint { timeline, lsn: closing.lsn, chain: closing.chain };
            add(at, None, Reach::Reached, ArchiveKey::EpochStart(closing.epoch));
        }
    }
    for timeline in tree.usable() {
        if let Some(fork) = tree.fork(timeline) {
            add(fork, None, Reach::Reached, ArchiveKey::Timeline(timeline));
        }
    }
    for snapshot in snapshots.values().flatten() {
        let at = ForkPoint { timeline: snapshot.timeline, lsn: snapshot.lsn, chain: snapshot.chain };
        add(at, Some(snapshot.time_ms), Reach::Reached, snapshot.reference().key());
    }
    for point in contents.points.values().filter_map(|slot| slot.present()) {
        let at = ForkPoint { timeline: point.timeline, lsn: point.lsn, chain: point.chain };
        let counts = epochs.has_begun_on(point.epoch, point.timeline)
            && epochs.voided_by(point.timeline, point.epoch, point.lsn).is_none();
        if counts {
            add(at, Some(point.time_ms), Reach::Reached, ArchiveKey::Point(point.name.clone()));
        }
    }
    witnesses.retain(|witness| tree.document(witness.named).is_some());
    witnesses.sort_by(|left, right| (left.timeline, left.lsn, &left.key).cmp(&(right.timeline, right.lsn, &right.key)));
    witnesses
}
