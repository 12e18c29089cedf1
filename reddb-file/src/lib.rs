//! RedDB's bytes at rest.
//!
//! This crate owns every on-disk and in-archive format: the identities and positions of the log ([`ids`]), the record
//! and its hash chain ([`record`], [`chain`]), and the limits that encoders and decoders share ([`limits`]).
//!
//! It has no threads, no network, no engine and no wall clock; randomness and time are arguments.

pub mod chain;
pub mod ids;
pub mod limits;
pub mod record;

pub use chain::Chain;
pub use ids::{ClusterId, Epoch, Lsn, NodeId, TimelineId};
pub use record::{Record, RecordError, RecordKind};
