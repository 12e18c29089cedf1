//! The change codec: what goes in comes out, damage is seen, and the bytes are the ones that `docs/format/change.md` gives.

use proptest::prelude::*;
use reddb_file::Lsn;
use reddb_file::limits::RECORD_PAYLOAD_BYTES_MAX;
use reddb_wire::{
    CHANGE_FORMAT_VERSION, Change, ChangeError, DATABASE_COUNT, KEY_BYTES_MAX, ObjectId, PayloadBuilder,
    VALUE_BYTES_MAX, changes,
};

/// A change that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    PutString(ObjectId, Vec<u8>, Option<u64>, Vec<u8>),
    PutHash(ObjectId, Vec<u8>, Option<u64>, ObjectId, u64),
    SetExpiry(ObjectId, Vec<u8>, Option<u64>),
    DeleteKey(ObjectId, Vec<u8>),
    PutField(ObjectId, Vec<u8>, Vec<u8>),
    DeleteField(ObjectId, Vec<u8>),
    DropObject(ObjectId),
    PutDatabase(u32, ObjectId, u64, u64),
    DropSpace(ObjectId),
}

impl Owned {
    fn lend(&self) -> Change<'_> {
        match self {
            Self::PutString(space, key, expires_at_ms, value) => {
                Change::PutString { space: *space, key, expires_at_ms: *expires_at_ms, value }
            }
            Self::PutHash(space, key, expires_at_ms, object, field_count) => Change::PutHash {
                space: *space,
                key,
                expires_at_ms: *expires_at_ms,
                object: *object,
                field_count: *field_count,
            },
            Self::SetExpiry(space, key, expires_at_ms) => {
                Change::SetExpiry { space: *space, key, expires_at_ms: *expires_at_ms }
            }
            Self::DeleteKey(space, key) => Change::DeleteKey { space: *space, key },
            Self::PutField(object, field, value) => Change::PutField { object: *object, field, value },
            Self::DeleteField(object, field) => Change::DeleteField { object: *object, field },
            Self::DropObject(object) => Change::DropObject { object: *object },
            Self::PutDatabase(db, space, key_count, expiring_count) => {
                Change::PutDatabase { db: *db, space: *space, key_count: *key_count, expiring_count: *expiring_count }
            }
            Self::DropSpace(space) => Change::DropSpace { space: *space },
        }
    }
}

/// Numbers on both sides of every length that the encoding has for them.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0u64..300,
        proptest::sample::select(vec![250, 251, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX - 1, u64::MAX]),
    ]
}

fn object() -> impl Strategy<Value = ObjectId> {
    (number(), prop_oneof![any::<u32>(), Just(u32::MAX), 0u32..300])
        .prop_map(|(lsn, index)| ObjectId::new(Lsn::new(lsn), index))
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => proptest::collection::vec(any::<u8>(), 0..20),
        1 => proptest::collection::vec(any::<u8>(), 240..300),
    ]
}

fn change() -> impl Strategy<Value = Owned> {
    let expiry = || proptest::option::of(number());
    prop_oneof![
        (object(), bytes(), expiry(), bytes()).prop_map(|(s, k, e, v)| Owned::PutString(s, k, e, v)),
        (object(), bytes(), expiry(), object(), number()).prop_map(|(s, k, e, o, c)| Owned::PutHash(s, k, e, o, c)),
        (object(), bytes(), expiry()).prop_map(|(s, k, e)| Owned::SetExpiry(s, k, e)),
        (object(), bytes()).prop_map(|(s, k)| Owned::DeleteKey(s, k)),
        (object(), bytes(), bytes()).prop_map(|(o, f, v)| Owned::PutField(o, f, v)),
        (object(), bytes()).prop_map(|(o, f)| Owned::DeleteField(o, f)),
        object().prop_map(Owned::DropObject),
        (0u32..16, object(), number(), number()).prop_map(|(d, s, k, e)| Owned::PutDatabase(d, s, k, e)),
        object().prop_map(Owned::DropSpace),
    ]
}

fn encode(list: &[Owned]) -> Vec<u8> {
    let mut payload = PayloadBuilder::new();
    for change in list {
        payload.push(&change.lend()).unwrap();
    }
    payload.finish().unwrap()
}

fn decode(payload: &[u8]) -> Result<Vec<Change<'_>>, ChangeError> {
    changes(payload)?.collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(list in proptest::collection::vec(change(), 1..8)) {
        let payload = encode(&list);
        let decoded = decode(&payload).unwrap();
        prop_assert_eq!(decoded, list.iter().map(Owned::lend).collect::<Vec<_>>());
    }

    #[test]
    fn a_flipped_bit_is_never_overlooked(list in proptest::collection::vec(change(), 1..5), at in any::<u32>()) {
        let mut payload = encode(&list);
        let bit = at as usize % (payload.len() * 8);
        payload[bit / 8] ^= 1 << (bit % 8);
        if let Ok(decoded) = decode(&payload) {
            prop_assert_ne!(decoded, list.iter().map(Owned::lend).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_truncation_is_an_error_or_fewer_changes(list in proptest::collection::vec(change(), 1..5), at in any::<u32>()) {
        let payload = encode(&list);
        let cut = &payload[..at as usize % payload.len()];
        if let Ok(decoded) = decode(cut) {
            prop_assert!(decoded.len() < list.len());
            prop_assert_eq!(&decoded[..], &list[..decoded.len()].iter().map(Owned::lend).collect::<Vec<_>>()[..]);
        }
    }

    #[test]
    fn nothing_is_left_over(list in proptest::collection::vec(change(), 1..5), tail in bytes()) {
        let payload = [encode(&list), tail.clone()].concat();
        match decode(&payload) {
            Ok(decoded) => prop_assert!(tail.is_empty() && decoded.len() == list.len() || decoded.len() > list.len()),
            Err(error) => prop_assert!(!tail.is_empty(), "{}", error),
        }
    }

    #[test]
    fn any_bytes_are_changes_or_an_error(tail in proptest::collection::vec(any::<u8>(), 0..200), versioned in any::<bool>()) {
        let payload = if versioned { [&[CHANGE_FORMAT_VERSION], &tail[..]].concat() } else { tail };
        if let Ok(decoded) = decode(&payload) {
            // What was read is written again in no more bytes: numbers have one shortest form.
            let mut again = PayloadBuilder::new();
            for change in &decoded {
                again.push(change).unwrap();
            }
            let again = again.finish().unwrap();
            prop_assert!(again.len() <= payload.len());
            prop_assert_eq!(decode(&again).unwrap(), decoded);
        }
    }

    #[test]
    fn an_object_id_keeps_its_order_as_bytes(one in object(), other in object()) {
        prop_assert_eq!(ObjectId::from_bytes(one.to_bytes()), one);
        prop_assert_eq!(one.cmp(&other), one.to_bytes().cmp(&other.to_bytes()));
    }
}

#[test]
fn golden_bytes_of_every_change() {
    let space = ObjectId::new(Lsn::new(258), 3);
    let object = ObjectId::new(Lsn::new(7), 0);
    let at_ms = Some(1_700_000_000_000);
    let golden = [
        (
            Change::PutString { space, key: b"k", expires_at_ms: at_ms, value: b"v" },
            "00 fb 02 01 03 01 6b 01 fd 00 68 e5 cf 8b 01 00 00 01 76",
        ),
        (Change::PutString { space, key: b"k", expires_at_ms: None, value: b"" }, "00 fb 02 01 03 01 6b 00 00"),
        (
            Change::PutHash { space, key: b"h", expires_at_ms: None, object, field_count: 251 },
            "01 fb 02 01 03 01 68 00 07 00 fb fb 00",
        ),
        (
            Change::SetExpiry { space, key: b"k", expires_at_ms: at_ms },
            "02 fb 02 01 03 01 6b 01 fd 00 68 e5 cf 8b 01 00 00",
        ),
        (Change::DeleteKey { space, key: b"k" }, "03 fb 02 01 03 01 6b"),
        (Change::PutField { object, field: b"f", value: b"vw" }, "04 07 00 01 66 02 76 77"),
        (Change::DeleteField { object, field: b"f" }, "05 07 00 01 66"),
        (Change::DropObject { object }, "06 07 00"),
        (
            Change::PutDatabase { db: 15, space, key_count: 250, expiring_count: 65_536 },
            "07 0f fb 02 01 03 fa fc 00 00 01 00",
        ),
        (Change::DropSpace { space }, "08 fb 02 01 03"),
        (
            Change::PutDatabase {
                db: 0,
                space: ObjectId::new(Lsn::new(u64::MAX), u32::MAX),
                key_count: u64::MAX,
                expiring_count: u64::MAX,
            },
            "07 00 fd ff ff ff ff ff ff ff ff fc ff ff ff ff fd ff ff ff ff ff ff ff ff \
             fd ff ff ff ff ff ff ff ff",
        ),
    ];
    let page = include_str!("../../docs/format/change.md");
    let mut all = PayloadBuilder::new();
    let mut all_hex = vec![hex(&[CHANGE_FORMAT_VERSION])];
    for (change, expected) in golden {
        let mut payload = PayloadBuilder::new();
        payload.push(&change).unwrap();
        let payload = payload.finish().unwrap();
        assert_eq!(hex(&payload), format!("01 {expected}"), "{change:?}");
        assert_eq!(decode(&payload).unwrap(), [change]);
        let extreme = matches!(change, Change::PutDatabase { key_count: u64::MAX, .. });
        assert!(extreme || page.contains(expected), "docs/format/change.md does not show {expected}");
        all.push(&change).unwrap();
        all_hex.push(expected.to_owned());
    }
    assert_eq!(hex(&all.finish().unwrap()), all_hex.join(" "));
}

#[test]
fn payloads_that_are_none() {
    assert_eq!(changes(&[]).err(), Some(ChangeError::Empty));
    assert_eq!(changes(&[CHANGE_FORMAT_VERSION]).err(), Some(ChangeError::Empty));
    assert_eq!(changes(&[2, 6, 7, 0]).err(), Some(ChangeError::UnknownVersion { version: 2 }));
    assert_eq!(PayloadBuilder::new().finish(), None);
    for malformed in [&[1, 9, 0, 0][..], &[1, 3, 0, 0, 254], &[1, 2, 0, 0, 0, 2], &[1, 6, 255, 0]] {
        let error = decode(malformed).unwrap_err();
        assert!(matches!(error, ChangeError::Malformed { offset_bytes: 1, .. }), "{error}");
    }
}

#[test]
fn an_error_ends_the_changes_and_says_where() {
    let mut payload = PayloadBuilder::new();
    payload.push(&Change::DropSpace { space: ObjectId::initial_space(4) }).unwrap();
    let mut bytes = payload.finish().unwrap();
    let good_bytes = bytes.len();
    bytes.extend([200, 6, 7, 0]);
    let mut decoded = changes(&bytes).unwrap();
    assert!(decoded.next().unwrap().is_ok());
    let error = decoded.next().unwrap().unwrap_err();
    assert!(matches!(error, ChangeError::Malformed { offset_bytes, .. } if offset_bytes == good_bytes), "{error}");
    assert!(decoded.next().is_none());
}

#[test]
fn a_declared_length_beyond_the_end_is_an_error() {
    for length in [2u64, 1 << 20, 1 << 40, u64::MAX] {
        let mut bytes = vec![CHANGE_FORMAT_VERSION, 3, 0, 0, 253];
        bytes.extend(length.to_le_bytes());
        bytes.push(b'k');
        assert!(decode(&bytes).is_err(), "{length}");
    }
}

#[test]
fn keys_and_fields_have_a_longest_length_both_ways() {
    let object = ObjectId::initial_space(0);
    let key = vec![b'k'; KEY_BYTES_MAX + 1];
    let too_long = ChangeError::KeyTooLong { bytes: KEY_BYTES_MAX + 1 };
    let with = |key| {
        [
            Change::PutString { space: object, key, expires_at_ms: None, value: b"" },
            Change::PutHash { space: object, key, expires_at_ms: None, object, field_count: 1 },
            Change::SetExpiry { space: object, key, expires_at_ms: None },
            Change::DeleteKey { space: object, key },
            Change::PutField { object, field: key, value: b"" },
            Change::DeleteField { object, field: key },
        ]
    };
    for (refused, accepted) in with(&key).iter().zip(&with(&key[1..])) {
        let mut payload = PayloadBuilder::new();
        assert_eq!(payload.push(refused), Err(too_long.clone()));
        assert!(payload.is_empty());
        payload.push(accepted).unwrap();
        assert_eq!(decode(&payload.finish().unwrap()).unwrap(), [*accepted]);
    }
    // What the encoder refuses, the decoder refuses too.
    let mut bytes = vec![CHANGE_FORMAT_VERSION, 3, 0, 0, 251];
    bytes.extend(65_001u16.to_le_bytes());
    bytes.extend(&key);
    assert_eq!(decode(&bytes), Err(too_long));
}

#[test]
fn databases_have_a_highest_number_both_ways() {
    let space = ObjectId::initial_space(0);
    for (db, encoded) in [(16, &[16][..]), (250, &[250]), (251, &[251, 251, 0]), (u32::MAX, &[252, 255, 255, 255, 255])]
    {
        let refused = ChangeError::NoSuchDatabase { db };
        let mut payload = PayloadBuilder::new();
        let put = Change::PutDatabase { db, space, key_count: 0, expiring_count: 0 };
        assert_eq!(payload.push(&put), Err(refused.clone()));
        assert!(payload.is_empty());
        let bytes = [&[CHANGE_FORMAT_VERSION, 7][..], encoded, &[0, 0, 0, 0]].concat();
        assert_eq!(decode(&bytes), Err(refused));
    }
    let last = Change::PutDatabase { db: DATABASE_COUNT - 1, space, key_count: 0, expiring_count: 0 };
    assert_eq!(decode(&[CHANGE_FORMAT_VERSION, 7, 15, 0, 0, 0, 0]).unwrap(), [last]);
}

#[test]
fn values_and_transactions_have_a_largest_size_both_ways() {
    let space = ObjectId::initial_space(0);
    let value = vec![0; VALUE_BYTES_MAX + 1];
    let put = |value| Change::PutString { space, key: b"k", expires_at_ms: None, value };
    let mut payload = PayloadBuilder::new();
    let too_long = ChangeError::ValueTooLong { bytes: VALUE_BYTES_MAX + 1 };
    assert_eq!(payload.push(&put(&value)), Err(too_long.clone()));
    payload.push(&put(&value[1..])).unwrap();
    let one_bytes = payload.len();
    let error = payload.push(&put(&value[1..])).unwrap_err();
    let bytes = one_bytes * 2 - 1;
    assert!(bytes > RECORD_PAYLOAD_BYTES_MAX as usize);
    assert_eq!(error, ChangeError::TransactionTooLarge { bytes });
    // What did not fit left nothing behind.
    assert_eq!(payload.len(), one_bytes);
    payload.push(&Change::DropSpace { space }).unwrap();
    payload.truncate(one_bytes);
    assert_eq!(decode(&payload.finish().unwrap()).unwrap(), [put(&value[1..])]);

    let mut bytes = vec![CHANGE_FORMAT_VERSION, 4, 0, 0, 0, 252];
    bytes.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
    bytes.extend(&value);
    assert_eq!(decode(&bytes), Err(too_long));
}

#[test]
fn truncating_to_nothing_makes_it_empty() {
    let mut payload = PayloadBuilder::new();
    let before = payload.len();
    payload.push(&Change::DropSpace { space: ObjectId::initial_space(1) }).unwrap();
    payload.truncate(before);
    assert!(payload.is_empty());
    payload.push(&Change::DropSpace { space: ObjectId::initial_space(2) }).unwrap();
    let bytes = payload.finish().unwrap();
    assert_eq!(decode(&bytes).unwrap(), [Change::DropSpace { space: ObjectId::initial_space(2) }]);
}
