//! The vocabulary of changes.

use bincode::{BorrowDecode, Decode, Encode};
use reddb_file::Lsn;

/// The identity of a collection's contents or of a database's keys; never reused.
///
/// Made of the LSN of the record that created it and an index within that record, so that deleting or flushing one is a
/// single change however much it holds: what carries a dropped id is garbage, reclaimed out of band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ObjectId {
    lsn: u64,
    index: u32,
}

impl ObjectId {
    /// The size of [`ObjectId::to_bytes`].
    pub const BYTES: usize = 12;

    /// The object that the record at `lsn` created as its `index`-th.
    #[must_use]
    pub const fn new(lsn: Lsn, index: u32) -> Self {
        Self { lsn: lsn.get(), index }
    }

    /// The key space that database `db` has in a new cluster, before anything flushed or swapped it.
    #[must_use]
    pub const fn initial_space(db: u32) -> Self {
        Self { lsn: 0, index: db }
    }

    /// The LSN of the record that created the object.
    #[must_use]
    pub const fn lsn(self) -> Lsn {
        Lsn::new(self.lsn)
    }

    /// Which of that record's objects it is.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// Twelve bytes whose text order is the order of creation: LSN and index, both big endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.lsn.to_be_bytes());
        bytes[8..].copy_from_slice(&self.index.to_be_bytes());
        bytes
    }

    /// The inverse of [`ObjectId::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [l0, l1, l2, l3, l4, l5, l6, l7, i0, i1, i2, i3] = bytes;
        Self { lsn: u64::from_be_bytes([l0, l1, l2, l3, l4, l5, l6, l7]), index: u32::from_be_bytes([i0, i1, i2, i3]) }
    }
}

/// One post-image. Expiries are Unix milliseconds on the timeline's expiry clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Change<'a> {
    /// The key holds this string.
    PutString {
        /// The key space of its database.
        space: ObjectId,
        /// The key.
        key: &'a [u8],
        /// When it expires, if it does.
        expires_at_ms: Option<u64>,
        /// The string.
        value: &'a [u8],
    },
    /// The key holds a hash whose fields are those of `object`.
    PutHash {
        /// The key space of its database.
        space: ObjectId,
        /// The key.
        key: &'a [u8],
        /// When it expires, if it does.
        expires_at_ms: Option<u64>,
        /// Where its fields are.
        object: ObjectId,
        /// How many fields it has after this transaction.
        field_count: u64,
    },
    /// The key, which exists, expires then, or never; its value stays.
    SetExpiry {
        /// The key space of its database.
        space: ObjectId,
        /// The key.
        key: &'a [u8],
        /// When it expires, if it does.
        expires_at_ms: Option<u64>,
    },
    /// The key does not exist.
    DeleteKey {
        /// The key space of its database.
        space: ObjectId,
        /// The key.
        key: &'a [u8],
    },
    /// The field of the object has this value.
    PutField {
        /// The hash's object.
        object: ObjectId,
        /// The field.
        field: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// The object has no such field.
    DeleteField {
        /// The hash's object.
        object: ObjectId,
        /// The field.
        field: &'a [u8],
    },
    /// Nothing refers to the object any more: its fields are garbage.
    DropObject {
        /// The object.
        object: ObjectId,
    },
    /// Database `db` consists of the keys of `space`, which are this many.
    PutDatabase {
        /// The database's number.
        db: u32,
        /// Its key space.
        space: ObjectId,
        /// How many keys it has after this transaction, expired ones that are not yet deleted among them.
        key_count: u64,
        /// How many of them expire.
        expiring_count: u64,
    },
    /// No database refers to the space any more: its keys, and what they hold, are garbage.
    DropSpace {
        /// The key space.
        space: ObjectId,
    },
}
