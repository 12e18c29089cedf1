//! What a logged change means for the engine's entries.
//!
//! The only place where changes become writes: commands, crash recovery and restore all come through here, so that they
//! cannot disagree.

use bytes::Bytes;
use reddb_wire::{Change, ObjectId};

use super::layout::{
    DatabaseState, Garbage, database_entry, decode_entry, encode_database, encode_entry, encode_hash, expiry_entry,
    field_entry, field_value_entry, garbage_entry, key_entry, string_entry,
};
use super::overlay::OverlayEntry;
use super::state::StateError;
use super::txn::{Entry, HashRef};

/// The entries that one change sets (`Some`) or removes (`None`), in order: one or two.
pub(crate) type Lowered = [Option<OverlayEntry>; 2];

/// The entries that `change` sets or removes, each in an allocation of its own. `read` gives an entry as it is before the
/// change; only [`Change::SetExpiry`] needs it.
///
/// # Errors
/// Where `read` fails, or the change does not fit what it gives.
pub(crate) fn lower(
    change: &Change<'_>,
    read: impl FnOnce(&[u8]) -> Result<Option<Bytes>, StateError>,
) -> Result<Lowered, StateError> {
    let put = |(key, value): (Bytes, Bytes)| Some((key, Some(value)));
    Ok(match *change {
        Change::PutString { space, key, expires_at_ms, value } => {
            [put(string_entry(space, key, value, expires_at_ms)), hint(space, key, expires_at_ms)]
        }
        Change::PutHash { space, key, expires_at_ms, object, field_count } => {
            let value = encode_hash(&HashRef { object, field_count }, expires_at_ms);
            [put((key_entry(space, key), value)), hint(space, key, expires_at_ms)]
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
            [put((entry_key, encode_entry(&entry))), hint(space, key, expires_at_ms)]
        }
        Change::DeleteKey { space, key } => [Some((key_entry(space, key), None)), None],
        Change::PutField { object, field, value } => [put(field_value_entry(object, field, value)), None],
        Change::DeleteField { object, field } => [Some((field_entry(object, field), None)), None],
        Change::DropObject { object } => [put((garbage_entry(Garbage::Object(object)), Bytes::new())), None],
        Change::PutDatabase { db, space, key_count, expiring_count } => {
            [put(lower_database(db, &DatabaseState { space, key_count, expiring_count })), None]
        }
        Change::DropSpace { space } => [put((garbage_entry(Garbage::Space(space)), Bytes::new())), None],
    })
}

/// The entry that [`Change::PutDatabase`] sets. Of several changes of a database the last one alone matters.
pub(crate) fn lower_database(db: u32, state: &DatabaseState) -> (Bytes, Bytes) {
    (database_entry(db), encode_database(state))
}

fn hint(space: ObjectId, key: &[u8], expires_at_ms: Option<u64>) -> Option<OverlayEntry> {
    expires_at_ms.map(|expires_at_ms| (expiry_entry(expires_at_ms, space, key), Some(Bytes::new())))
}
