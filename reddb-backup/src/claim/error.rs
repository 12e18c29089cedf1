//! Why a claim was refused or did not come about, and what an operator can do.

use reddb_file::archive::{DocumentError, Text};
use reddb_file::{Chain, ClusterId, Epoch, Lsn, TimelineId};
use uuid::Uuid;

use super::holder::HolderInfo;
use crate::epochs::EpochsError;
use crate::source::SourceError;
use crate::store::{ReadError, StoreError};

/// A claim that was refused or did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A document.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The epochs.
    #[error(transparent)]
    Epochs(#[from] EpochsError),
    /// A document that cannot be written.
    #[error("a document for the archive cannot be made: {0}")]
    Document(#[from] DocumentError),
    /// The local log.
    #[error("the local log cannot be asked about its past: {0}")]
    Local(SourceError),
    /// The place holds something that is not an archive.
    #[error(
        "{store} is not empty and has no cluster.json (it holds {key}): it is no RedDB archive, or one that has lost that file; choose \
         another prefix, or put a copy of it back"
    )]
    NotAnArchive {
        /// The store.
        store: String,
        /// The first object that does not belong.
        key: String,
    },
    /// The log was archived, and the place is empty.
    #[error(
        "{store} is empty, but this directory's log is archived up to LSN {archived}: is the archive's disk mounted, and the \
         URL right? Where a new archive is meant, begin it explicitly (--new-archive)"
    )]
    ArchiveGone {
        /// The store.
        store: String,
        /// What the log remembers as archived.
        archived: Lsn,
    },
    /// Another cluster's archive.
    #[error("{store} is the archive of cluster {archive}, this directory belongs to {local}; choose another prefix")]
    WrongCluster {
        /// The store.
        store: String,
        /// Whose it is.
        archive: ClusterId,
        /// Who asks.
        local: ClusterId,
    },
    /// The archive holds records that this log does not have.
    #[error(
        "the archive reaches LSN {archive} on timeline {timeline}, the local log only {local}: this directory is an old \
         copy or has lost data; restore from the archive into a new directory"
    )]
    LocalBehindArchive {
        /// The timeline.
        timeline: TimelineId,
        /// The log's end.
        local: Lsn,
        /// The archive's end.
        archive: Lsn,
    },
    /// The histories differ.
    #[error(
        "the archive's history is not this log's: at LSN {lsn} on timeline {timeline} the archive's chain is {archive}, \
         the log's {local}; use another archive, or restore from this one into a new directory"
    )]
    Diverged {
        /// The timeline.
        timeline: TimelineId,
        /// Where they were compared.
        lsn: Lsn,
        /// The archive's.
        archive: Chain,
        /// The log's.
        local: Chain,
    },
    /// The log has forgotten what the archive lacks.
    #[error(
        "the archive ends at LSN {archive} on timeline {timeline}, but the local log begins behind {oldest}: the records \
         between are in neither; name the archive that this directory was archived to since, or begin a new one in an empty \
         place (--new-archive)"
    )]
    LogBeginsBeyondArchive {
        /// The timeline.
        timeline: TimelineId,
        /// The archive's end.
        archive: Lsn,
        /// The record before the log's first.
        oldest: Lsn,
    },
    /// Another timeline has replaced this log's.
    #[error(
        "the archive has gone on with timeline {newest} (epoch {epoch}, {holder}); this directory is still on timeline \
         {local}: start the newer one, or take over explicitly (--takeover)"
    )]
    Superseded {
        /// The log's timeline.
        local: TimelineId,
        /// The one that replaced it.
        newest: TimelineId,
        /// Its epoch.
        epoch: Epoch,
        /// Its holder.
        holder: Text,
    },
    /// The log's timeline does not come from this archive.
    #[error("timeline {timeline} of this directory does not come from this archive: {detail}")]
    Unrelated {
        /// The log's timeline.
        timeline: TimelineId,
        /// Why.
        detail: String,
    },
    /// The number of the log's timeline belongs to another history.
    #[error(
        "timeline {timeline} in the archive is another one than this directory's (id {archive}, not {local}): two \
         directories chose the same number; use another archive"
    )]
    TimelineTaken {
        /// The number.
        timeline: TimelineId,
        /// The archive's identity of it.
        archive: Uuid,
        /// The directory's.
        local: Uuid,
    },
    /// Another holder is at work.
    #[error("{0}; stop it first, or take over explicitly (--takeover)")]
    LiveHolder(Box<HolderInfo>),
    /// A later claimant closed this epoch before it had begun.
    #[error(
        "epoch {epoch} was claimed by this process and closed by epoch {by} before it began: another writer has started"
    )]
    LostRace {
        /// The lost epoch.
        epoch: Epoch,
        /// Whose claim closed it.
        by: Epoch,
    },
    /// Numbers ran out or kept being taken.
    #[error("no epoch could be claimed in {attempts} attempts: too many writers start at once; try again")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
}
