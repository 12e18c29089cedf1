//! The logical state: databases of keys that hold strings or hashes, as entries of the engine.
//!
//! * [`layout`] — how keys, fields and databases are spelled as engine entries.
//! * [`lower`] — what a logged change means for those entries: the only place where changes become writes, used by the
//!   live path, by crash recovery and by restore alike.
//! * [`Txn`] — one transaction's view: the engine at an LSN, below what the running batch has changed.
//! * [`digest`] — the digest of the whole logical state.

pub(crate) mod cursors;
pub(crate) mod digest;
pub(crate) mod env;
mod key_id;
pub(crate) mod layout;
pub(crate) mod lower;
mod overlay;
pub(crate) mod state;
#[cfg(test)]
pub(crate) mod tests;
mod txn;

pub(crate) use env::Env;
pub(crate) use overlay::Overlay;
pub(crate) use reddb_wire::DATABASE_COUNT;
pub(crate) use state::{SnapshotState, State, StateError};
pub(crate) use txn::{Entry, FinishedTxn, HashRef, Names, Touched, Txn, TxnMode, Value};
