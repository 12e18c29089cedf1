//! The database's side of archiving: the claim, the archiver's task, what `INFO` and the admin port hear of it.

mod claim;
mod handle;

pub(crate) use claim::store_settings;
pub(in crate::database) use claim::{Begun, ClaimState, Claimed, Claiming, TimelineNumber, claim_at_start};
pub(crate) use handle::{ARCHIVE_DOWN, NAME_TAKEN};
pub(in crate::database) use handle::{Archive, ArchiveParts, BEING_BEGUN, away, timeline_pending};
pub use handle::{BackupSummary, MarkSummary};
