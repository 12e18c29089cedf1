//! Changes to payload bytes and back.
//!
//! Invariants: what is encoded decodes to the same; whatever the bytes, decoding neither panics nor allocates.

use bincode::config::{Configuration, standard};
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use reddb_file::limits::RECORD_PAYLOAD_BYTES_MAX;

use crate::{CHANGE_FORMAT_VERSION, Change, DATABASE_COUNT, KEY_BYTES_MAX, VALUE_BYTES_MAX};

const CONFIG: Configuration = standard();

/// At least as many bytes as a change's numbers take, with the version before it.
const NUMBERS_BYTES_MAX: usize = 72;

/// A payload that is not a list of changes, or changes that may not be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No version byte, or no change after it.
    #[error("the payload holds no change")]
    Empty,
    /// A version that this program does not know.
    #[error("unknown change format version {version}; this program knows {CHANGE_FORMAT_VERSION}")]
    UnknownVersion {
        /// The version byte.
        version: u8,
    },
    /// Bytes that are no change.
    #[error("no valid change at byte {offset_bytes} of the payload: {reason}")]
    Malformed {
        /// Where the change starts, from the payload's first byte.
        offset_bytes: usize,
        /// What the codec says.
        reason: String,
    },
    /// A key or field longer than any.
    #[error("a key or field of {bytes} bytes; the limit is {KEY_BYTES_MAX}")]
    KeyTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A value longer than any.
    #[error("a value of {bytes} bytes; the limit is {VALUE_BYTES_MAX}")]
    ValueTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A database that there is not.
    #[error("database {db}; there are {DATABASE_COUNT}, numbered from 0")]
    NoSuchDatabase {
        /// Its number.
        db: u32,
    },
    /// A transaction larger than a record may be.
    #[error("the transaction needs {bytes} bytes; the limit is {RECORD_PAYLOAD_BYTES_MAX}")]
    TransactionTooLarge {
        /// What the payload would have held.
        bytes: usize,
    },
}

/// A change's key or field, and its value; empty where it has none.
const fn contents<'a>(change: &Change<'a>) -> (&'a [u8], &'a [u8]) {
    match change {
        Change::PutString { key, value, .. } => (key, value),
        Change::PutField { field, value, .. } => (field, value),
        Change::PutHash { key, .. } | Change::SetExpiry { key, .. } | Change::DeleteKey { key, .. } => (key, &[]),
        Change::DeleteField { field, .. } => (field, &[]),
        Change::DropObject { .. } | Change::PutDatabase { .. } | Change::DropSpace { .. } => (&[], &[]),
    }
}

/// At least as many bytes as the change takes with the version before it: its numbers at their longest.
const fn encoded_bytes_max(change: &Change<'_>) -> usize {
    let (key, value) = contents(change);
    NUMBERS_BYTES_MAX + key.len() + value.len()
}

/// The limits that the encoding itself does not have.
fn check_limits(change: &Change<'_>) -> Result<(), ChangeError> {
    if let Change::PutDatabase { db, .. } = *change
        && db >= DATABASE_COUNT
    {
        return Err(ChangeError::NoSuchDatabase { db });
    }
    let (key, value) = contents(change);
    if key.len() > KEY_BYTES_MAX {
        return Err(ChangeError::KeyTooLong { bytes: key.len() });
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(ChangeError::ValueTooLong { bytes: value.len() });
    }
    Ok(())
}

struct VecWriter<'a>(&'a mut Vec<u8>);

impl Writer for VecWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Collects the changes of one transaction into a payload.
#[derive(Clone, Debug, Default)]
pub struct PayloadBuilder {
    bytes: Vec<u8>,
}

impl PayloadBuilder {
    /// A payload without changes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The payload's size so far, in bytes; a mark for [`PayloadBuilder::truncate`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets everything pushed since [`PayloadBuilder::len`] was `len_bytes`.
    pub fn truncate(&mut self, len_bytes: usize) {
        self.bytes.truncate(len_bytes);
    }

    /// Adds a change.
    ///
    /// # Errors
    /// Where the change or the transaction is too large, or names a database that there is not; the payload is then unchanged.
    pub fn push(&mut self, change: &Change<'_>) -> Result<(), ChangeError> {
        check_limits(change)?;
        let before = self.bytes.len();
        if self.bytes.is_empty() {
            // Also for the change of a database's counts with which most transactions end.
            self.bytes.reserve(encoded_bytes_max(change) + NUMBERS_BYTES_MAX);
            self.bytes.push(CHANGE_FORMAT_VERSION);
        }
        self.bytes.reserve(encoded_bytes_max(change));
        bincode::encode_into_writer(change, VecWriter(&mut self.bytes), CONFIG)
            .map_err(|error| ChangeError::Malformed { offset_bytes: before, reason: error.to_string() })?;
        let bytes = self.bytes.len();
        if bytes > RECORD_PAYLOAD_BYTES_MAX as usize {
            self.bytes.truncate(before);
            return Err(ChangeError::TransactionTooLarge { bytes });
        }
        Ok(())
    }

    /// The payload, or `None` if it has no change.
    #[must_use]
    pub fn finish(self) -> Option<Vec<u8>> {
        (!self.bytes.is_empty()).then_some(self.bytes)
    }
}

/// The changes of a payload, in order; see [`changes`].
#[derive(Clone, Debug)]
pub struct Changes<'a> {
    payload: &'a [u8],
    offset_bytes: usize,
}

/// Reads a payload.
///
/// # Errors
/// [`ChangeError::Empty`] and [`ChangeError::UnknownVersion`]; the iterator yields the others, and nothing after one.
pub fn changes(payload: &[u8]) -> Result<Changes<'_>, ChangeError> {
    match payload {
        [] | [CHANGE_FORMAT_VERSION] => Err(ChangeError::Empty),
        [CHANGE_FORMAT_VERSION, ..] => Ok(Changes { payload, offset_bytes: 1 }),
        [version, ..] => Err(ChangeError::UnknownVersion { version: *version }),
    }
}

impl<'a> Iterator for Changes<'a> {
    type Item = Result<Change<'a>, ChangeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.payload[self.offset_bytes..];
        if rest.is_empty() {
            return None;
        }
        let offset_bytes = self.offset_bytes;
        let decoded = bincode::borrow_decode_from_slice::<Change<'a>, _>(rest, CONFIG)
            .map_err(|error| ChangeError::Malformed { offset_bytes, reason: error.to_string() })
            .and_then(|(change, used)| check_limits(&change).map(|()| (change, used)));
        match decoded {
            Ok((change, used)) => {
                self.offset_bytes += used;
                Some(Ok(change))
            }
            Err(error) => {
                self.offset_bytes = self.payload.len();
                Some(Err(error))
            }
        }
    }
}
