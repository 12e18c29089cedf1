//! RedDB's bytes at rest.
//!
//! This crate owns every on-disk and in-archive format: the identities and positions of the log ([`ids`], [`mark`]), the
//! record and its hash chain ([`record`], [`chain`], [`timeline`]), the local log ([`wal`]), the small files of a data
//! directory ([`identity`], [`lock`], [`control`], laid out by [`layout`]), the archive's keys, documents and segments
//! ([`archive`]), and the limits that encoders and decoders
//! share ([`limits`]). All file access goes through [`vfs`]; [`durable`] owns every change that must survive a crash.
//!
//! It has no threads, no network, no engine and no wall clock; randomness and time are arguments.

pub mod archive;
pub mod chain;
pub mod codec;
pub mod control;
pub mod durable;
mod fields;
pub mod identity;
pub mod ids;
pub mod inspect;
pub mod layout;
pub mod limits;
pub mod lock;
pub mod mark;
pub mod record;
pub mod timeline;
pub mod vfs;
pub mod wal;

pub use chain::Chain;
pub use ids::{ClusterId, Epoch, Lsn, NodeId, TimelineId};
pub use mark::{Mark, TimedMark};
pub use record::{Record, RecordError, RecordKind};
pub use timeline::TimelineRecord;
