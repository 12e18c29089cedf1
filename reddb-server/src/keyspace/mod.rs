//! The logical state: databases of keys that hold strings or hashes, as entries of the engine.
//!
//! * [`layout`] — how keys, fields and databases are spelled as engine entries.
//! * [`lower`] — what a logged change means for those entries: the only place where changes become writes, used by the
//!   live path, by crash recovery and by restore alike.
//! * [`Txn`] — one transaction's view: the engine at an LSN, below what the running batch has changed.
//! * [`digest`] — the digest of the whole logical state.

pub mod cursors;
pub mod digest;
pub mod env;
pub mod layout;
pub mod lower;
mod overlay;
pub mod state;
#[cfg(test)]
pub(crate) mod tests;
mod txn;

pub use env::Env;
pub use overlay::Overlay;
pub use state::{SnapshotState, State, StateError};
pub use txn::{Entry, FinishedTxn, HashRef, Names, Savepoint, Touched, Txn, TxnMode, Value};

/// How many databases there are.
pub const DATABASE_COUNT: u32 = 16;
