//! RedDB's change records: what the payload of a [`reddb_file::RecordKind::Changes`] record says.
//!
//! A transaction is a list of post-images ([`Change`]): what is true afterwards, never the command that made it so.
//! Applying them in order to the state before gives the state after, on every node and at every restore.
//!
//! ```text
//! payload = version (u8, = 1) ‖ change ‖ change ‖ …          at least one change, no count: the payload's end ends it
//! change  = bincode 2 `standard` encoding (little endian, variable-length integers) of `Change`
//! ```
//!
//! Decoding borrows from the payload: it allocates nothing, whatever the bytes declare. `docs/format/change.md` gives the
//! encoding byte by byte.
//!
//! ```
//! use reddb_wire::{Change, ObjectId, PayloadBuilder, changes};
//!
//! let space = ObjectId::initial_space(0);
//! let mut payload = PayloadBuilder::new();
//! payload.push(&Change::PutString { space, key: b"greeting", expires_at_ms: None, value: b"hello" })?;
//! let bytes = payload.finish().expect("one change was pushed");
//!
//! let decoded: Vec<_> = changes(&bytes)?.collect::<Result<_, _>>()?;
//! assert_eq!(decoded, [Change::PutString { space, key: b"greeting", expires_at_ms: None, value: b"hello" }]);
//! # Ok::<(), reddb_wire::ChangeError>(())
//! ```

mod change;
mod codec;

pub use change::{Change, ObjectId};
pub use codec::{ChangeError, Changes, PayloadBuilder, changes};

/// The version byte that every payload starts with.
pub const CHANGE_FORMAT_VERSION: u8 = 1;

/// The longest key or hash field, in bytes: an engine's key must fit in 65,535 bytes together with its prefix.
pub const KEY_BYTES_MAX: usize = 65_000;

/// The longest string or hash value, in bytes (128 MiB).
pub const VALUE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// How many databases there are, numbered from 0.
pub const DATABASE_COUNT: u32 = 16;
