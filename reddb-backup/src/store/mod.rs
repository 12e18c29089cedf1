//! The object store below an archive's prefix, made to tell the truth.
//!
//! [`Store`] wraps any [`object_store::ObjectStore`]. What it adds:
//! * Sizes are checked before anything is read, and the bytes that arrive are counted: a short answer is an error.
//! * [`Store::put_create_only`] believes no answer but success: anything else is read back and compared.
//! * One place decides what is retried ([`retry`]), one place what an error means ([`error`]).
//! * A local directory is never followed out of by a symbolic link, and every write to it is synced.
//!
//! [`Store::probe`] finds out whether a store keeps the promises that fencing needs. [`fault`] breaks them on purpose,
//! and [`conformance`] is the suite that every kind of store must pass.

pub mod conformance;
pub mod error;
pub mod fault;
pub mod open;
pub mod probe;
pub mod retry;
pub mod url;

mod counters;
mod credentials;
mod local;
mod local_upload;
mod object;
mod stream;
mod upload;

#[cfg(test)]
mod tests;

pub use counters::RequestCounts;
pub use credentials::CredentialsError;
pub use error::{StoreError, StoreErrorKind};
pub use object::{Created, Listed, ReadError, Store, Top};
pub use open::{Addressing, OpenError, OpenMode, PlainHttp, StoreSettings};
pub use probe::ProbeError;
pub use retry::RetryPolicy;
pub use stream::ObjectStream;
pub use url::{ArchiveUrl, UrlError};
