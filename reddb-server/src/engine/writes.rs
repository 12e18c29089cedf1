//! Checks of keys and values, and what a write costs.

use super::{EngineError, EngineWrite, KEY_BYTES_MAX, RESERVED_KEY_BYTE, VALUE_BYTES_MAX};

/// What an entry of a memtable takes beside its key and value: its record, its places in the hash table and in the order, what is
/// left over of a chunk, and the key's bits in the filter. Rather too much, so that the budget holds whatever the sizes.
const MEMTABLE_ENTRY_BYTES: u64 = 192;

/// Whether the engine can have such a key.
pub(super) fn check_key(key: &[u8]) -> Result<(), EngineError> {
    match key.first() {
        _ if key.len() > KEY_BYTES_MAX => Err(EngineError::KeyLength { bytes: key.len(), max: KEY_BYTES_MAX }),
        None => Err(EngineError::KeyLength { bytes: 0, max: KEY_BYTES_MAX }),
        Some(&RESERVED_KEY_BYTE) => Err(EngineError::ReservedKey),
        Some(_) => Ok(()),
    }
}

/// Whether the engine can hold a record's writes.
pub(super) fn check_writes(writes: &[EngineWrite]) -> Result<(), EngineError> {
    writes.iter().try_for_each(|write| {
        check_key(write.key())?;
        match write {
            EngineWrite::Put { value, .. } if value.len() > VALUE_BYTES_MAX => {
                Err(EngineError::ValueLength { bytes: value.len(), max: VALUE_BYTES_MAX })
            }
            EngineWrite::Put { .. } | EngineWrite::Delete { .. } => Ok(()),
        }
    })
}

/// The memory that a write takes in a memtable.
pub(super) fn memtable_bytes(write: &EngineWrite) -> u64 {
    let value = match write {
        EngineWrite::Put { value, .. } => value.len(),
        EngineWrite::Delete { .. } => 0,
    };
    u64::try_from(write.key().len() + value).unwrap_or(u64::MAX) + MEMTABLE_ENTRY_BYTES
}
