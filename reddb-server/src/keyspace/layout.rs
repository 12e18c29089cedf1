//! How the logical state is spelled as engine entries.
//!
//! ```text
//! key                                          value
//! 'D' db (u32 BE)                              space (12) ‖ key count (u64 LE) ‖ expiring count (u64 LE)
//! 'F' object ‖ field                           the field's value
//! 'G' kind (u8: 1 object, 2 space) ‖ id        empty: garbage that is still to be reclaimed
//! 'K' space ‖ key                              tag (u8) ‖ [expiry (u64 LE, ms)] ‖ body
//! 'T'                                          timeline id (u32 LE) ‖ clock offset (i64 LE, ms)
//! 'X' expiry (u64 BE, ms) ‖ space ‖ key        empty: a hint that the key may expire then
//! ```
//!
//! The tag's low bits are the type (1 string, 2 hash); bit 7 says that an expiry follows. A string's body is the string, a
//! hash's is object (12) ‖ field count (u64 LE). Ids are [`ObjectId`]s: in keys in the short form of [`super::key_id`], in
//! values in their 12-byte form.
//!
//! `X` entries are hints: one is written whenever a key gets an expiry, and none is removed when the key changes. Whoever
//! follows one checks the key itself.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use reddb_wire::{DATABASE_COUNT, ObjectId};

use super::key_id::KeyId;
use super::txn::{Entry, HashRef, Value};

const TAG_STRING: u8 = 1;
const TAG_HASH: u8 = 2;
const TAG_EXPIRES: u8 = 0x80;
const OBJECT: usize = ObjectId::BYTES;

const KEY_PREFIX: u8 = b'K';
const FIELD_PREFIX: u8 = b'F';
/// The first byte of garbage markers.
pub(crate) const GARBAGE_PREFIX: u8 = b'G';
/// The first byte of expiry hints.
pub(crate) const EXPIRY_PREFIX: u8 = b'X';

/// An engine entry that this program did not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("engine entry {key} is not one of ours: {reason}; the engine's files are damaged, restore from the archive")]
pub struct LayoutError {
    /// The entry's key, escaped and shortened.
    pub key: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl LayoutError {
    pub(crate) fn new(key: &[u8], reason: &'static str) -> Self {
        Self { key: key[..key.len().min(80)].escape_ascii().to_string(), reason }
    }
}

fn put_prefixed(out: &mut BytesMut, first: u8, id: &KeyId, rest: &[u8]) {
    out.put_u8(first);
    out.put_slice(id);
    out.put_slice(rest);
}

fn prefixed(first: u8, id: ObjectId, rest: &[u8]) -> Bytes {
    let id = KeyId::new(id);
    let mut key = BytesMut::with_capacity(1 + id.len() + rest.len());
    put_prefixed(&mut key, first, &id, rest);
    key.freeze()
}

/// The entry of a key.
#[must_use]
pub(crate) fn key_entry(space: ObjectId, key: &[u8]) -> Bytes {
    prefixed(KEY_PREFIX, space, key)
}

/// The entry of a hash field.
#[must_use]
pub(crate) fn field_entry(object: ObjectId, field: &[u8]) -> Bytes {
    prefixed(FIELD_PREFIX, object, field)
}

/// An entry's key to read by; a short one takes no allocation.
#[derive(Debug)]
pub(crate) enum EntryKey {
    /// One of at most [`EntryKey::SHORT`] bytes.
    Short {
        /// The key, padded.
        bytes: [u8; EntryKey::SHORT],
        /// Its length.
        len: usize,
    },
    /// A longer one.
    Long(Bytes),
}

impl EntryKey {
    /// How long a key can be without an allocation, in bytes.
    pub(crate) const SHORT: usize = 96;

    /// [`key_entry`].
    #[must_use]
    pub(crate) fn key(space: ObjectId, key: &[u8]) -> Self {
        Self::prefixed(KEY_PREFIX, space, key)
    }

    /// [`field_entry`].
    #[must_use]
    pub(crate) fn field(object: ObjectId, field: &[u8]) -> Self {
        Self::prefixed(FIELD_PREFIX, object, field)
    }

    fn prefixed(first: u8, id: ObjectId, rest: &[u8]) -> Self {
        let form = KeyId::new(id);
        let rest_at = 1 + form.len();
        let len = rest_at + rest.len();
        if len > Self::SHORT {
            return Self::Long(prefixed(first, id, rest));
        }
        let mut bytes = [0; Self::SHORT];
        bytes[0] = first;
        bytes[1..rest_at].copy_from_slice(&form);
        bytes[rest_at..len].copy_from_slice(rest);
        Self::Short { bytes, len }
    }
}

impl std::ops::Deref for EntryKey {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Short { bytes, len } => &bytes[..*len],
            Self::Long(bytes) => bytes,
        }
    }
}

/// The end (exclusive) of all entries that start with `prefix`; such prefixes never consist of 0xff bytes alone.
#[must_use]
pub(crate) fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end.into()
}

/// The space and the key, or the object and the field, of an entry as [`key_entry`] and [`field_entry`] spell it.
///
/// # Errors
/// Where the entry is neither.
pub(crate) fn id_and_name(entry_key: &[u8]) -> Result<(ObjectId, &[u8]), LayoutError> {
    let error = |reason| LayoutError::new(entry_key, reason);
    let [KEY_PREFIX | FIELD_PREFIX, rest @ ..] = entry_key else { return Err(error("neither a key nor a field")) };
    KeyId::split(rest).map_err(error)
}

/// As [`id_and_name`], the name alone.
///
/// # Errors
/// Where the entry is neither.
pub(crate) fn name_of(entry_key: &Bytes) -> Result<Bytes, LayoutError> {
    id_and_name(entry_key).map(|(_, name)| entry_key.slice_ref(name))
}

/// The key of a database's entry, to read by.
#[must_use]
pub(crate) const fn database_key(db: u32) -> [u8; 5] {
    let [a, b, c, d] = db.to_be_bytes();
    [b'D', a, b, c, d]
}

/// The entry of a database.
#[must_use]
pub(crate) fn database_entry(db: u32) -> Bytes {
    static KEYS: [[u8; 5]; DATABASE_COUNT as usize] = {
        let mut keys = [[0; 5]; DATABASE_COUNT as usize];
        let mut db = 0;
        while db < DATABASE_COUNT {
            keys[db as usize] = database_key(db);
            db += 1;
        }
        keys
    };
    match KEYS.get(db as usize) {
        Some(key) => Bytes::from_static(key),
        None => Bytes::copy_from_slice(&database_key(db)),
    }
}

/// The entry of the timeline.
#[must_use]
pub(crate) fn timeline_entry() -> Bytes {
    Bytes::from_static(b"T")
}

/// A hint that the key may expire at `expires_at_ms`.
#[must_use]
pub(crate) fn expiry_entry(expires_at_ms: u64, space: ObjectId, key: &[u8]) -> Bytes {
    let space = KeyId::new(space);
    let mut entry = BytesMut::with_capacity(1 + 8 + space.len() + key.len());
    entry.put_u8(EXPIRY_PREFIX);
    entry.put_u64(expires_at_ms);
    entry.put_slice(&space);
    entry.put_slice(key);
    entry.freeze()
}

/// When, where and which key an expiry hint speaks of.
///
/// # Errors
/// Where the entry is no expiry hint.
pub(crate) fn decode_expiry_entry(entry: &Bytes) -> Result<(u64, ObjectId, Bytes), LayoutError> {
    let error = |reason| LayoutError::new(entry, reason);
    let [EXPIRY_PREFIX, rest @ ..] = &entry[..] else { return Err(error("not an expiry hint")) };
    let (when, rest) = rest.split_first_chunk::<8>().ok_or_else(|| error("too short for an expiry hint"))?;
    let (space, key) = KeyId::split(rest).map_err(error)?;
    Ok((u64::from_be_bytes(*when), space, entry.slice_ref(key)))
}

/// What a garbage marker marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Garbage {
    /// The fields of an object.
    Object(ObjectId),
    /// The keys of a space, and the objects they refer to.
    Space(ObjectId),
}

/// The marker of a piece of garbage.
#[must_use]
pub(crate) fn garbage_entry(garbage: Garbage) -> Bytes {
    let (kind, id) = match garbage {
        Garbage::Object(id) => (1, id),
        Garbage::Space(id) => (2, id),
    };
    [&[GARBAGE_PREFIX, kind], &*KeyId::new(id)].concat().into()
}

/// The inverse of [`garbage_entry`].
///
/// # Errors
/// Where the entry is no garbage marker.
pub(crate) fn decode_garbage_entry(entry: &[u8]) -> Result<Garbage, LayoutError> {
    let error = |reason| LayoutError::new(entry, reason);
    let [GARBAGE_PREFIX, kind, id @ ..] = entry else { return Err(error("not a garbage marker")) };
    let (id, rest) = KeyId::split(id).map_err(error)?;
    match kind {
        _ if !rest.is_empty() => Err(error("a garbage marker that goes on after its id")),
        1 => Ok(Garbage::Object(id)),
        2 => Ok(Garbage::Space(id)),
        _ => Err(error("unknown kind of garbage")),
    }
}

/// One database: where its keys are and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DatabaseState {
    /// The key space.
    pub space: ObjectId,
    /// How many keys, expired ones that are not yet deleted among them.
    pub key_count: u64,
    /// How many of them expire.
    pub expiring_count: u64,
}

impl DatabaseState {
    /// What a database is before any record mentions it.
    #[must_use]
    pub(crate) const fn initial(db: u32) -> Self {
        Self { space: ObjectId::initial_space(db), key_count: 0, expiring_count: 0 }
    }
}

/// The value of a database's entry.
#[must_use]
pub(crate) fn encode_database(state: &DatabaseState) -> Bytes {
    let mut value = BytesMut::with_capacity(OBJECT + 16);
    value.put_slice(&state.space.to_bytes());
    value.put_u64_le(state.key_count);
    value.put_u64_le(state.expiring_count);
    value.freeze()
}

/// The inverse of [`encode_database`].
///
/// # Errors
/// Where the value has another length.
pub(crate) fn decode_database(db: u32, value: &[u8]) -> Result<DatabaseState, LayoutError> {
    let malformed = || LayoutError::new(&database_key(db), "a database entry of another length");
    let (space, rest) = value.split_first_chunk::<OBJECT>().ok_or_else(malformed)?;
    let (keys, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
    let expiring = <[u8; 8]>::try_from(rest).map_err(|_| malformed())?;
    Ok(DatabaseState {
        space: ObjectId::from_bytes(*space),
        key_count: u64::from_le_bytes(*keys),
        expiring_count: u64::from_le_bytes(expiring),
    })
}

/// The timeline that the state is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimelineState {
    /// Its id.
    pub timeline: reddb_file::TimelineId,
    /// How far the expiry clock is behind the wall clock, in milliseconds.
    pub clock_offset_ms: i64,
}

/// The value of the timeline's entry.
#[must_use]
pub(crate) fn encode_timeline(state: &TimelineState) -> Bytes {
    let mut value = BytesMut::with_capacity(12);
    value.put_u32_le(state.timeline.get());
    value.put_i64_le(state.clock_offset_ms);
    value.freeze()
}

/// The inverse of [`encode_timeline`].
///
/// # Errors
/// Where the value has another length.
pub(crate) fn decode_timeline(value: &[u8]) -> Result<TimelineState, LayoutError> {
    let malformed = || LayoutError::new(b"T", "a timeline entry of another length");
    let (id, rest) = value.split_first_chunk::<4>().ok_or_else(malformed)?;
    let offset = <[u8; 8]>::try_from(rest).map_err(|_| malformed())?;
    Ok(TimelineState {
        timeline: reddb_file::TimelineId::new(u32::from_le_bytes(*id)),
        clock_offset_ms: i64::from_le_bytes(offset),
    })
}

const fn head_bytes(expires_at_ms: Option<u64>) -> usize {
    if expires_at_ms.is_some() { 1 + 8 } else { 1 }
}

fn put_head(out: &mut BytesMut, tag: u8, expires_at_ms: Option<u64>) {
    match expires_at_ms {
        Some(expires_at_ms) => {
            out.put_u8(tag | TAG_EXPIRES);
            out.put_u64_le(expires_at_ms);
        }
        None => out.put_u8(tag),
    }
}

fn entry_head(tag: u8, expires_at_ms: Option<u64>, body_bytes: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(head_bytes(expires_at_ms) + body_bytes);
    put_head(&mut out, tag, expires_at_ms);
    out
}

/// The entry of a string key, [`key_entry`] and [`encode_string`], in one allocation.
#[must_use]
pub(crate) fn string_entry(space: ObjectId, key: &[u8], value: &[u8], expires_at_ms: Option<u64>) -> (Bytes, Bytes) {
    let space = KeyId::new(space);
    let key_bytes = 1 + space.len() + key.len();
    let mut out = BytesMut::with_capacity(key_bytes + head_bytes(expires_at_ms) + value.len());
    put_prefixed(&mut out, KEY_PREFIX, &space, key);
    put_head(&mut out, TAG_STRING, expires_at_ms);
    out.put_slice(value);
    let mut key = out.freeze();
    let value = key.split_off(key_bytes);
    (key, value)
}

/// The entry of a hash's field, [`field_entry`] and the value, in one allocation.
#[must_use]
pub(crate) fn field_value_entry(object: ObjectId, field: &[u8], value: &[u8]) -> (Bytes, Bytes) {
    let object = KeyId::new(object);
    let key_bytes = 1 + object.len() + field.len();
    let mut out = BytesMut::with_capacity(key_bytes + value.len());
    put_prefixed(&mut out, FIELD_PREFIX, &object, field);
    out.put_slice(value);
    let mut key = out.freeze();
    let value = key.split_off(key_bytes);
    (key, value)
}

/// The value of a string key's entry.
#[must_use]
pub(crate) fn encode_string(value: &[u8], expires_at_ms: Option<u64>) -> Bytes {
    let mut out = entry_head(TAG_STRING, expires_at_ms, value.len());
    out.put_slice(value);
    out.freeze()
}

/// The value of a hash key's entry.
#[must_use]
pub(crate) fn encode_hash(hash: &HashRef, expires_at_ms: Option<u64>) -> Bytes {
    let mut out = entry_head(TAG_HASH, expires_at_ms, OBJECT + 8);
    out.put_slice(&hash.object.to_bytes());
    out.put_u64_le(hash.field_count);
    out.freeze()
}

/// The value of a key's entry.
#[must_use]
pub(crate) fn encode_entry(entry: &Entry) -> Bytes {
    match &entry.value {
        Value::String(value) => encode_string(value, entry.expires_at_ms),
        Value::Hash(hash) => encode_hash(hash, entry.expires_at_ms),
    }
}

/// An [`Entry`] that borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryRef<'a> {
    /// The value.
    pub value: ValueRef<'a>,
    /// When the key expires, in Unix milliseconds; `None` for never.
    pub expires_at_ms: Option<u64>,
}

/// A [`Value`] that borrows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ValueRef<'a> {
    /// A string.
    String(&'a [u8]),
    /// A hash.
    Hash(HashRef),
}

/// The inverse of [`encode_entry`]; a string shares `value`'s memory.
///
/// # Errors
/// Where the value is no key's.
pub(crate) fn decode_entry(entry_key: &[u8], value: &Bytes) -> Result<Entry, LayoutError> {
    let entry = decode_entry_ref(entry_key, value)?;
    let value = match entry.value {
        ValueRef::String(string) => Value::String(value.slice_ref(string)),
        ValueRef::Hash(hash) => Value::Hash(hash),
    };
    Ok(Entry { value, expires_at_ms: entry.expires_at_ms })
}

/// As [`decode_entry`], for who needs `value` for nothing else: a string goes on in its memory, unshared.
///
/// # Errors
/// Where the value is no key's.
pub(crate) fn into_entry(entry_key: &[u8], mut value: Bytes) -> Result<Entry, LayoutError> {
    let EntryRef { value: found, expires_at_ms } = decode_entry_ref(entry_key, &value)?;
    let found = match found {
        ValueRef::String(string) => {
            let head_bytes = value.len() - string.len();
            value.advance(head_bytes);
            Value::String(value)
        }
        ValueRef::Hash(hash) => Value::Hash(hash),
    };
    Ok(Entry { value: found, expires_at_ms })
}

/// As [`decode_entry`].
///
/// # Errors
/// Where the value is no key's.
pub(crate) fn decode_entry_ref<'a>(entry_key: &[u8], value: &'a [u8]) -> Result<EntryRef<'a>, LayoutError> {
    let error = |reason| LayoutError::new(entry_key, reason);
    let (tag, rest) = value.split_first().ok_or_else(|| error("an empty entry"))?;
    let (expires_at_ms, body) = if tag & TAG_EXPIRES == 0 {
        (None, rest)
    } else {
        let (when, body) = rest.split_first_chunk::<8>().ok_or_else(|| error("cut short in its expiry"))?;
        (Some(u64::from_le_bytes(*when)), body)
    };
    let value = match tag & !TAG_EXPIRES {
        TAG_STRING => ValueRef::String(body),
        TAG_HASH => {
            let (object, count) = body.split_first_chunk::<OBJECT>().ok_or_else(|| error("cut short in its object"))?;
            let count = <[u8; 8]>::try_from(count).map_err(|_| error("a hash entry of another length"))?;
            ValueRef::Hash(HashRef { object: ObjectId::from_bytes(*object), field_count: u64::from_le_bytes(count) })
        }
        _ => return Err(error("unknown type")),
    };
    Ok(EntryRef { value, expires_at_ms })
}

#[cfg(test)]
mod tests {
    use reddb_file::{Lsn, TimelineId};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn entries_are_spelled_as_the_format_page_says() {
        let page = include_str!("../../../docs/format/engine-keys.md");
        let shown: Vec<String> = page.lines().map(|line| line.replace(' ', "")).collect();
        let (space, object) = (ObjectId::initial_space(0), ObjectId::new(Lsn::new(258), 3));
        let string = |expires_at_ms| Entry { value: Value::String("v".into()), expires_at_ms };
        let hash = Entry { value: Value::Hash(HashRef { object, field_count: 2 }), expires_at_ms: None };
        let at_ms = 1_700_000_000_000;
        let database = DatabaseState { space: object, key_count: 2, expiring_count: 1 };
        let timeline = TimelineState { timeline: TimelineId::new(2), clock_offset_ms: 1000 };
        let spelled = [
            database_entry(1),
            encode_database(&database),
            key_entry(space, b"k"),
            encode_entry(&string(None)),
            encode_entry(&string(Some(at_ms))),
            encode_entry(&hash),
            field_entry(object, b"f"),
            garbage_entry(Garbage::Object(object)),
            garbage_entry(Garbage::Space(space)),
            expiry_entry(at_ms, space, b"k"),
            timeline_entry(),
            encode_timeline(&timeline),
        ];
        for bytes in &spelled {
            let hex = hex(bytes);
            assert!(shown.iter().any(|line| line.ends_with(&hex)), "docs/format/engine-keys.md does not show {hex}");
        }
        assert_eq!(decode_database(1, &spelled[1]), Ok(database));
        assert_eq!(decode_entry(&spelled[2], &spelled[4]), Ok(string(Some(at_ms))));
        assert_eq!(decode_entry(&spelled[2], &spelled[5]), Ok(hash));
        assert_eq!(decode_garbage_entry(&spelled[7]), Ok(Garbage::Object(object)));
        assert_eq!(decode_garbage_entry(&spelled[8]), Ok(Garbage::Space(space)));
        assert_eq!(decode_expiry_entry(&spelled[9]), Ok((at_ms, space, "k".into())));
        assert_eq!(decode_timeline(&spelled[11]), Ok(timeline));
        assert_eq!(
            (id_and_name(&spelled[2]), id_and_name(&spelled[6])),
            (Ok((space, &b"k"[..])), Ok((object, &b"f"[..])))
        );
        assert_eq!(&*EntryKey::key(space, b"k"), &spelled[2][..]);
        assert_eq!(&*EntryKey::field(object, b"f"), &spelled[6][..]);
        assert_eq!(string_entry(space, b"k", b"v", None), (spelled[2].clone(), spelled[3].clone()));
        assert_eq!(string_entry(space, b"k", b"v", Some(at_ms)), (spelled[2].clone(), spelled[4].clone()));
        assert_eq!(field_value_entry(object, b"f", b"v"), (spelled[6].clone(), "v".into()));
        let long = [b'x'; EntryKey::SHORT];
        assert_eq!(&*EntryKey::key(space, &long), &key_entry(space, &long)[..]);
    }

    #[test]
    fn damaged_entries_are_errors() {
        let string = encode_string(b"", Some(u64::MAX));
        let hash = encode_hash(&HashRef { object: ObjectId::initial_space(1), field_count: u64::MAX }, None);
        for whole in [&string, &hash, &encode_string(b"body", None), &encode_string(b"body", Some(1))] {
            assert_eq!(decode_entry(b"K", whole).unwrap(), into_entry(b"K", whole.clone()).unwrap());
        }
        for cut in 0..string.len() {
            assert!(decode_entry(b"K", &string.slice(..cut)).is_err(), "{cut}");
        }
        for cut in 0..hash.len() {
            assert!(decode_entry(b"K", &hash.slice(..cut)).is_err(), "{cut}");
        }
        assert!(decode_entry(b"K", &[&hash[..], &[0]].concat().into()).is_err());
        assert!(decode_entry(b"K", &Bytes::from_static(&[3, 0])).is_err());
        assert!(decode_database(0, &[0; 27]).is_err() && decode_database(0, &[0; 29]).is_err());
        assert!(decode_timeline(&[0; 11]).is_err() && decode_timeline(&[0; 13]).is_err());
        assert!(decode_garbage_entry(&[b'G', 2, 0, 0]).is_ok() && decode_garbage_entry(&[b'G', 3, 0, 0]).is_err());
        for damaged in [&b"G"[..], b"G\x02\0", b"G\x02\0\0\0", b"G\x02\xf8\x01\0", b"X\x02\0\0"] {
            assert!(decode_garbage_entry(damaged).is_err(), "{damaged:x?}");
        }
        assert!(decode_expiry_entry(&Bytes::from_static(b"X12345678\0\0")).is_ok());
        for damaged in [&b"X1234567"[..], b"X12345678\0", b"X12345678\xf8\x01\0k", b"K12345678\0\0k"] {
            assert!(decode_expiry_entry(&Bytes::from_static(damaged)).is_err(), "{damaged:x?}");
        }
        assert!(id_and_name(b"K\0\0").is_ok());
        for damaged in [&b""[..], b"K", b"K\0", b"F\0\xf9\x01", b"F\0\xf8\x01f", b"D\0\0\0\0"] {
            assert!(id_and_name(damaged).is_err(), "{damaged:x?}");
        }
    }

    #[test]
    fn the_entries_of_one_id_are_apart_from_all_others_and_in_the_order_of_ids() {
        let numbers = [0, 1, 247, 248, 255, 256, 65_535, 65_536, u64::from(u32::MAX), u64::MAX];
        let ids = numbers.iter().flat_map(|lsn| {
            let indices = numbers.iter().filter_map(|index| u32::try_from(*index).ok());
            indices.map(|index| ObjectId::new(Lsn::new(*lsn), index))
        });
        let ids: Vec<ObjectId> = ids.collect();
        for entry in [key_entry, field_entry] {
            let mut end = Bytes::new();
            for id in &ids {
                let prefix = entry(*id, b"");
                assert!(end <= prefix, "{id:?} begins before the one below it ends");
                end = prefix_end(&prefix);
                for name in [&b""[..], b"\0", &[0xff; 300]] {
                    let key = entry(*id, name);
                    assert!(prefix <= key && key < end, "{id:?}");
                    assert_eq!(name_of(&key), Ok(Bytes::copy_from_slice(name)));
                }
            }
        }
    }

    #[test]
    fn a_prefix_ends_where_the_next_begins() {
        assert_eq!(&prefix_end(b"Ka")[..], b"Kb");
        assert_eq!(&prefix_end(&[b'K', 0xff, 0xff])[..], b"L");
    }
}
