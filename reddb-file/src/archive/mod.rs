//! The archive's bytes: where each object lies, what each JSON document says, and what an archived segment holds.
//!
//! * [`layout`]: every key below the archive's prefix, built and parsed in one place.
//! * [`sealed`]: how a JSON document carries the digest of its own content.
//! * [`documents`]: the documents, one type each.
//! * [`segment`]: the plain form of an archived segment.
//!
//! Nothing here talks to a store: `reddb-backup` does. The layouts are specified in `docs/format/archive.md`.

pub mod digest;
pub mod documents;
pub mod layout;
pub mod name;
pub mod sealed;
pub mod segment;

#[cfg(test)]
mod document_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod segment_tests;

pub use digest::Sha256Digest;
pub use documents::{
    Catalogue, CatalogueRange, CatalogueTimeline, ClusterDocument, Codec, EpochClaim, EpochHead, EpochOutcome,
    EpochStart, FileEntry, ForkPoint, HolderState, RestorePoint, SegmentSidecar, SnapshotManifest, SnapshotRef,
    TimelineDocument, TimelineReason,
};
pub use layout::{ArchiveKey, KeyError, SegmentName};
pub use name::{NameError, PointName, RelativePath, Text};
pub use sealed::{Document, DocumentError, MissingDigest, Opened};
pub use segment::{RecordRun, SegmentDecoder, SegmentError, SegmentHeader};
