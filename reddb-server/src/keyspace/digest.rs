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
use std::thread;

use crossbeam_channel::{Sender, bounded};
use sha2::{Digest, Sha256};

use super::DATABASE_COUNT;
use super::layout::{
    DatabaseState, ValueRef, database_entry, decode_database, decode_entry_ref, field_entry, id_and_name, key_entry,
    prefix_end,
};
use super::state::{State, StateError};
use super::txn::HashRef;
use crate::engine::EngineError;

const TYPE_STRING: u8 = 1;
const TYPE_HASH: u8 = 2;

/// What is hashed at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait to be hashed.
const PIECES_WAITING_MAX: usize = 4;

/// Computes the digest of `state`, in bounded memory: this thread reads, another one hashes.
///
/// # Errors
/// Where the state cannot be read, or a hash does not have the number of fields it counts.
pub(crate) fn digest(state: &dyn State) -> Result<[u8; 32], StateError> {
    thread::scope(|scope| {
        let (sender, pieces) = bounded::<Vec<u8>>(PIECES_WAITING_MAX);
        let hash_all = move || pieces.into_iter().fold(Sha256::new(), |hash, piece| hash.chain_update(piece));
        let hashing = thread::Builder::new().name("reddb-digest".to_owned()).spawn_scoped(scope, hash_all);
        let hashing = hashing.map_err(|source| EngineError::Thread { source })?;
        let walked = walk(state, Pieces { piece: Vec::with_capacity(PIECE_BYTES), sender });
        // The sender is gone, so the thread ends. It has no cause to panic, and a panic is passed on.
        let hash = hashing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        walked.map(|()| hash.finalize().into())
    })
}

/// The bytes that are hashed, gathered.
struct Pieces {
    piece: Vec<u8>,
    sender: Sender<Vec<u8>>,
}

impl Pieces {
    fn update(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(PIECE_BYTES) {
            if self.piece.len() + part.len() > PIECE_BYTES {
                self.send();
            }
            self.piece.extend_from_slice(part);
        }
    }

    /// As [`Pieces::update`], with the length before.
    fn update_sized(&mut self, bytes: &[u8]) {
        self.update(&(bytes.len() as u64).to_le_bytes());
        self.update(bytes);
    }

    fn send(&mut self) {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        // Refused only where the other thread has panicked, which is seen when it is joined.
        drop(self.sender.send(piece));
    }
}

fn walk(state: &dyn State, mut pieces: Pieces) -> Result<(), StateError> {
    for db in 0..DATABASE_COUNT {
        let database = match state.get(&database_entry(db))? {
            Some(value) => decode_database(db, &value)?,
            None => DatabaseState::initial(db),
        };
        let from = key_entry(database.space, b"");
        let to = prefix_end(&from);
        let mut entries = state.scan(Bound::Included(&from), Bound::Excluded(&to))?;
        while let Some((entry_key, value)) = entries.next()? {
            let entry = decode_entry_ref(entry_key, value)?;
            pieces.update(&db.to_le_bytes());
            pieces.update_sized(id_and_name(entry_key)?.1);
            pieces.update(&[match entry.value {
                ValueRef::String(_) => TYPE_STRING,
                ValueRef::Hash(_) => TYPE_HASH,
            }]);
            match entry.expires_at_ms {
                None => pieces.update(&[0]),
                Some(expires_at_ms) => {
                    pieces.update(&[1]);
                    pieces.update(&expires_at_ms.to_le_bytes());
                }
            }
            match &entry.value {
                ValueRef::String(value) => pieces.update_sized(value),
                ValueRef::Hash(fields) => walk_fields(&mut pieces, state, entry_key, fields)?,
            }
        }
    }
    pieces.send();
    Ok(())
}

fn walk_fields(pieces: &mut Pieces, state: &dyn State, entry_key: &[u8], fields: &HashRef) -> Result<(), StateError> {
    pieces.update(&fields.field_count.to_le_bytes());
    let from = field_entry(fields.object, b"");
    let to = prefix_end(&from);
    let mut count = 0u64;
    for item in state.range(Bound::Included(from), Bound::Excluded(to)) {
        let (field_key, value) = item?;
        pieces.update_sized(id_and_name(&field_key)?.1);
        pieces.update_sized(&value);
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
