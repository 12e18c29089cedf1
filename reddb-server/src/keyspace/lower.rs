//! What a logged change means for the engine's entries.
//!
//! The only place where changes become writes: commands, crash recovery and restore all come through here, so that they
//! cannot disagree.

use bytes::Bytes;
use reddb_wire::Change;

use super::layout::{
    DatabaseState, Garbage, database_entry, decode_entry, encode_database, encode_entry, encode_hash, encode_string,
    expiry_entry, field_entry, garbage_entry, key_entry,
};
use super::state::StateError;
use super::txn::{Entry, HashRef};

/// How many entries one change sets or removes at most.
pub(crate) const WRITES_MAX: usize = 2;

/// Calls `write` for every entry that `change` sets (`Some`) or removes (`None`), in order. `read` gives an entry as it
/// is before the change; only [`Change::SetExpiry`] needs it.
///
/// # Errors
/// Where `read` fails, or the change does not fit what it gives.
pub(crate) fn lower(
    change: &Change<'_>,
    read: impl FnOnce(&[u8]) -> Result<Option<Bytes>, StateError>,
    mut write: impl FnMut(Bytes, Option<Bytes>),
) -> Result<(), StateError> {
    match *change {
        Change::PutString { space, key, expires_at_ms, value } => {
            write(key_entry(space, key), Some(encode_string(value, expires_at_ms)));
            hint(space, key, expires_at_ms, write);
        }
        Change::PutHash { space, key, expires_at_ms, object, field_count } => {
            write(key_entry(space, key), Some(encode_hash(&HashRef { object, field_count }, expires_at_ms)));
            hint(space, key, expires_at_ms, write);
        }
        Change::SetExpiry { space, key, expires_at_ms } => {
            let entry_key = key_entry(space, key);
            let Some(value) = read(&entry_key)? else {
                return Err(StateError::Mismatch(format!(
                    "an expiry for key \"{}\", which does not exist",
                    key[..key.len().min(80)].escape_ascii()
                )));
            };
            let entry = Entry { expires_at_ms, ..decode_entry(&entry_key, &value)? };
            write(entry_key, Some(encode_entry(&entry)));
            hint(space, key, expires_at_ms, write);
        }
        Change::DeleteKey { space, key } => write(key_entry(space, key), None),
        Change::PutField { object, field, value } => {
            write(field_entry(object, field), Some(Bytes::copy_from_slice(value)));
        }
        Change::DeleteField { object, field } => write(field_entry(object, field), None),
        Change::DropObject { object } => write(garbage_entry(Garbage::Object(object)), Some(Bytes::new())),
        Change::PutDatabase { db, space, key_count, expiring_count } => {
            let state = DatabaseState { space, key_count, expiring_count };
            write(database_entry(db), Some(encode_database(&state)));
        }
        Change::DropSpace { space } => write(garbage_entry(Garbage::Space(space)), Some(Bytes::new())),
    }
    Ok(())
}

fn hint(
    space: reddb_wire::ObjectId,
    key: &[u8],
    expires_at_ms: Option<u64>,
    mut write: impl FnMut(Bytes, Option<Bytes>),
) {
    if let Some(expires_at_ms) = expires_at_ms {
        write(expiry_entry(expires_at_ms, space, key), Some(Bytes::new()));
    }
}
