//! RedDB's archive: everything between a log with its checkpoints and an object store.
//!
//! The writing side: a [`store`] that does not lie, the [`claim`] that fences writers, the [`ship`]ping of the log,
//! [`snapshot`]s, restore points and the derived catalogue.
//!
//! The reading side: an archive's [`history`] as a value, the [`plan`] of a restore, the [`restore`] itself, and [`verify`].
//!
//! This crate knows no engine and no server. It is handed a log ([`source::LogSource`]) and checkpoints
//! ([`source::CheckpointSource`]), and it writes what `docs/format/archive.md` in the repository specifies.
//!
//! `examples/journal.rs` archives and restores something that is not RedDB with everything that takes.
//!
//! Architecture invariants:
//! * A record is in the archive once its segment and its sidecar are; only then does the head say so; only then is the
//!   log told that it may forget it.
//! * Nothing is dropped: what could not be shipped is shipped later, in order.
//! * Every document and every segment is bounded before it is allocated and checked before it is believed.
//! * Only create-only writes fence. Clocks decide when somebody may try, never who wins.

mod background;
mod catalogue;
pub mod claim;
pub mod clock;
pub mod codec;
mod epochs;
mod fetch;
pub mod history;
pub mod info;
pub mod plan;
mod points;
pub mod progress;
pub mod restore;
mod segment;
pub mod ship;
pub mod snapshot;
pub mod source;
pub mod store;
pub mod verify;

#[cfg(test)]
mod tests;
