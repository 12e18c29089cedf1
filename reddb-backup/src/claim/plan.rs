//! How a log relates to an archive, and what its writer inherits. Pure.

use reddb_file::archive::{ForkPoint, SnapshotRef};
use reddb_file::{Epoch, Lsn, TimelineId};

use super::timeline::LocalTimeline;
use crate::epochs::Epochs;

/// How a log's timeline stands to those of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// No epoch has begun: there is nothing to extend.
    New,
    /// The log's timeline is the archive's newest.
    Continues,
    /// The archive knows the log's timeline and has gone on with another.
    Returns {
        /// The other.
        newest: TimelineId,
        /// The epoch that began it.
        epoch: Epoch,
    },
    /// No epoch has begun on the log's timeline yet: it must fork off one that the archive holds.
    Forks {
        /// The archive's newest timeline.
        newest: TimelineId,
    },
}

/// Finds out how a log on `local` stands to the archive.
#[must_use]
pub(crate) fn relation(epochs: &Epochs, local: TimelineId) -> Relation {
    let newest = epochs.newest_begun().and_then(|(epoch, entry)| Some((epoch, entry.begins()?.timeline)));
    match newest {
        None => Relation::New,
        Some((_, newest)) if newest == local => Relation::Continues,
        Some((epoch, newest)) if epochs.newest_begun_on(local).is_some() => Relation::Returns { newest, epoch },
        Some((_, newest)) => Relation::Forks { newest },
    }
}

/// Whether a snapshot has to be published before anything of the log can be restored from an archive whose first epoch began after
/// the record `first`. Before LSN 1 everybody knows the state; a fork that lies further on has its parent's records and snapshots
/// before it.
pub(super) fn needs_snapshot(first: Lsn, local: &LocalTimeline, newest: Option<SnapshotRef>) -> bool {
    newest.is_none() && first > Lsn::ZERO && local.parent.is_none_or(|fork| fork.lsn <= first)
}

/// The newest snapshot that leads to a log which begins at `begins`, as far as the heads tell, and what was promised about
/// the time of what follows.
pub(super) fn inherited(
    epochs: &Epochs,
    local: &LocalTimeline,
    begins: ForkPoint,
    time_ms: u64,
) -> (Option<SnapshotRef>, u64) {
    let leads = |snapshot: &SnapshotRef| {
        let on_parent = local.parent.is_some_and(|fork| fork.timeline == snapshot.timeline && snapshot.lsn <= fork.lsn);
        (snapshot.timeline == begins.timeline && snapshot.lsn <= begins.lsn) || on_parent
    };
    let heads = || epochs.iter().filter_map(|(_, entry)| entry.head.as_ref());
    let newest =
        heads().filter_map(|head| head.newest_snapshot).filter(leads).max_by_key(|found| (found.timeline, found.lsn));
    // Records share milliseconds: the next one may have the last one's time, but no earlier one.
    let floor_ms = time_ms.saturating_sub(1);
    let promised = heads().filter(|head| head.timeline == begins.timeline && head.archived.lsn == begins.lsn);
    (newest, promised.map(|head| head.complete_until_ms).fold(floor_ms, u64::max))
}
