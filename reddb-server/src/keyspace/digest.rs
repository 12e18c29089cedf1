//! The digest of the whole logical state: 32 bytes that two nodes, or a node and its restored copy, agree on if and only
//! if they hold the same data.
//!
//! ```text
//! SHA-256 over, for each database in number order and each of its keys in byte order:
//!   database (u32 LE) ‖ len (u64 LE) ‖ key ‖ type (u8: 1 string, 2 hash)
//!   ‖ expires (u8: 0 never, 1 at) ‖ [stored expiry (u64 LE, ms)]
//!   ‖ string: len (u64 LE) ‖ string
//!   ‖ hash:   field count (u64 LE) ‖ for each field in byte order: len ‖ field ‖ len ‖ value
//! ```
//!
//! What has expired but is not yet deleted counts. Object ids, physical layout, clock offsets, timeline records and
//! configuration do not.

use std::ops::Bound;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::DATABASE_COUNT;
use super::layout::{
    DatabaseState, database_entry, decode_database, decode_entry, field_entry, key_entry, name_of, prefix_end,
};
use super::state::{State, StateError};
use super::txn::{HashRef, Value};

const TYPE_STRING: u8 = 1;
const TYPE_HASH: u8 = 2;

/// Computes the digest of `state`, in bounded memory.
///
/// # Errors
/// Where the state cannot be read, or a hash does not have the number of fields it counts.
pub(crate) fn digest(state: &dyn State) -> Result<[u8; 32], StateError> {
    let mut hash = Sha256::new();
    for db in 0..DATABASE_COUNT {
        let database = match state.get(&database_entry(db))? {
            Some(value) => decode_database(db, &value)?,
            None => DatabaseState::initial(db),
        };
        let from = key_entry(database.space, b"");
        let to = prefix_end(&from);
        for item in state.range(Bound::Included(from), Bound::Excluded(to)) {
            let (entry_key, value) = item?;
            let entry = decode_entry(&entry_key, &value)?;
            hash.update(db.to_le_bytes());
            bytes(&mut hash, &name_of(&entry_key));
            hash.update([match entry.value {
                Value::String(_) => TYPE_STRING,
                Value::Hash(_) => TYPE_HASH,
            }]);
            match entry.expires_at_ms {
                None => hash.update([0]),
                Some(expires_at_ms) => {
                    hash.update([1]);
                    hash.update(expires_at_ms.to_le_bytes());
                }
            }
            match &entry.value {
                Value::String(value) => bytes(&mut hash, value),
                Value::Hash(fields) => hash_fields(&mut hash, state, &entry_key, fields)?,
            }
        }
    }
    Ok(hash.finalize().into())
}

fn hash_fields(hash: &mut Sha256, state: &dyn State, entry_key: &Bytes, fields: &HashRef) -> Result<(), StateError> {
    hash.update(fields.field_count.to_le_bytes());
    let from = field_entry(fields.object, b"");
    let to = prefix_end(&from);
    let mut count = 0u64;
    for item in state.range(Bound::Included(from), Bound::Excluded(to)) {
        let (field_key, value) = item?;
        bytes(hash, &name_of(&field_key));
        bytes(hash, &value);
        count += 1;
    }
    if count != fields.field_count {
        return Err(StateError::Mismatch(format!(
            "hash {} counts {} fields and has {count}",
            entry_key.escape_ascii(),
            fields.field_count
        )));
    }
    Ok(())
}

fn bytes(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use crate::keyspace::tests::TestDatabase;

    use super::*;

    fn hex(digest: [u8; 32]) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Asserts that the page gives this digest, on a line of its own.
    fn assert_documented(database: &TestDatabase) {
        let hex = hex(digest(&database.state).unwrap());
        assert!(include_str!("../../../docs/format/digest.md").lines().any(|line| line == hex), "{hex}");
    }

    #[test]
    fn digests_are_what_the_format_page_says() {
        let mut database = TestDatabase::new();
        assert_documented(&database);
        // The order of doing it, and what was there before, leave no trace.
        database.ask("HSET old g x h y");
        database.ask("HSET old f v");
        database.ask("HDEL old h");
        database.ask("HSET old g ''");
        database.ask("RENAME old h");
        database.ask("PEXPIREAT h 1700000000001");
        database.ask("PEXPIREAT h 1700000000000");
        assert_eq!(database.ask("EXISTS h"), "0", "an expiry that is not later than now deletes");
        database.now_ms -= 1;
        database.ask("HSET h g '' f v");
        database.ask("PEXPIREAT h 1700000000000");
        database.ask("SET a 0");
        database.ask("INCR a");
        database.db = 3;
        database.ask("SET a ''");
        assert_documented(&database);
        // Expired, and not deleted: still the same state.
        database.now_ms += 10;
        assert_eq!(database.ask("GET a"), "''");
        assert_documented(&database);
    }

    #[test]
    fn every_part_counts() {
        let of = |commands: &[&str]| {
            let mut database = TestDatabase::new();
            for command in commands {
                database.ask(command);
            }
            digest(&database.state).unwrap()
        };
        let states: &[&[&str]] = &[
            &[],
            &["SET a b"],
            &["SET a c"],
            &["SET ab ''"],
            &["SET a b EX 100"],
            &["SET a b EX 101"],
            &["SET a b", "MOVE a 1"],
            &["HSET a b ''"],
            &["HSET a '' b"],
            &["HSET a b c"],
            &["HSET a b c d e"],
            &["HSET a b cd e ''"],
        ];
        let mut digests: Vec<_> = states.iter().map(|commands| of(commands)).collect();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), states.len());
        assert_eq!(of(&["SET a b"]), of(&["SET x y", "SET a b EX 5", "PERSIST a", "DEL x"]));
        assert_eq!(of(&["HSET a b c"]), of(&["HSET x d e b c", "HDEL x d", "RENAME x a"]));
        assert_eq!(of(&["FLUSHALL"]), of(&["HSET h f v", "FLUSHALL"]));
    }

    #[test]
    fn a_hash_that_miscounts_is_an_error() {
        let mut database = TestDatabase::new();
        database.ask("HSET h f v");
        let field = database.state.entries().keys().find(|key| key[0] == b'F').cloned().unwrap();
        database.state.write(&[(field, None)]);
        assert!(matches!(digest(&database.state), Err(StateError::Mismatch(_))));
    }
}
