//! Every local format: round trips, golden bytes, and damage. Any flipped bit, any truncation, any extension is an error,
//! never a panic, and never believed.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use reddb_file::control::{ControlState, RestoredFrom, SLOT_BYTES, Shutdown, Slot, TtlMode, decode_slot, encode_slot};
use reddb_file::identity::Identity;
use reddb_file::limits::{BATCH_RECORDS_BYTES_MAX, RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX};
use reddb_file::record::{RecordView, encode_parts};
use reddb_file::timeline::{TimelineRecord, TimelineRecordError};
use reddb_file::wal::{BatchBuilder, BatchError, BatchHeader, Salt, SegmentHeader};
use reddb_file::{
    Chain, ClusterId, Epoch, Lsn, Mark, NodeId, Record, RecordError, RecordKind, TimedMark, TimelineId, codec,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `decode` refuses these bytes with any one bit flipped, cut anywhere, or with a byte more.
fn expect_fragile<T>(bytes: &[u8], decode: impl Fn(&[u8]) -> Option<T>) {
    assert!(decode(bytes).is_some(), "the bytes themselves are fine");
    for at in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[at / 8] ^= 1 << (at % 8);
        assert!(decode(&flipped).is_none(), "bit {at} is flipped");
    }
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len]).is_none(), "only {len} bytes");
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(decode(&longer).is_none(), "a byte too many");
}

fn lsn() -> impl Strategy<Value = Lsn> {
    prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()].prop_map(Lsn::new)
}

fn real_lsn() -> impl Strategy<Value = Lsn> {
    prop_oneof![Just(1), Just(u64::MAX), 1..=u64::MAX].prop_map(Lsn::new)
}

fn timeline() -> impl Strategy<Value = TimelineId> {
    prop_oneof![Just(1), Just(u32::MAX), 1..=u32::MAX].prop_map(TimelineId::new)
}

fn mark() -> impl Strategy<Value = Mark> {
    (lsn(), any::<[u8; 32]>()).prop_map(|(lsn, chain)| Mark { lsn, chain: Chain::from_bytes(chain) })
}

fn restored_from() -> impl Strategy<Value = RestoredFrom> {
    (timeline(), mark(), any::<u64>(), any::<bool>(), any::<i64>()).prop_map(
        |(parent, fork, target_time_ms, continues, parent_clock_offset_ms)| RestoredFrom {
            parent,
            fork,
            target_time_ms,
            ttl: if continues { TtlMode::Continue } else { TtlMode::Absolute },
            parent_clock_offset_ms,
        },
    )
}

prop_compose! {
    fn control_state()(
        timeline in timeline(),
        epoch in any::<u64>(),
        marks in (mark(), mark(), mark()),
        times in (any::<u64>(), any::<i64>()),
        clean in any::<bool>(),
        timeline_begin in lsn(),
        timeline_random_id in any::<[u8; 16]>(),
        restored_from in proptest::option::of(restored_from()),
    ) -> ControlState {
        let mut marks = [marks.0, marks.1, marks.2];
        marks.sort_by_key(|mark| std::cmp::Reverse(mark.lsn));
        let [durable, archived, checkpoint] = marks;
        let at_most = |mark: Mark| if mark.lsn == durable.lsn { durable } else { mark };
        ControlState {
            timeline,
            epoch: Epoch::new(epoch),
            durable: durable.at_time(times.0),
            archived: at_most(archived),
            checkpoint: at_most(checkpoint),
            shutdown: if clean { Shutdown::Clean } else { Shutdown::Unclean },
            clock_offset_ms: times.1,
            timeline_begin,
            timeline_random_id,
            restored_from,
        }
    }
}

prop_compose! {
    fn segment_header()(
        cluster in any::<[u8; 16]>(),
        timeline in timeline(),
        epoch in any::<u64>(),
        first_lsn in real_lsn(),
        chain in any::<[u8; 32]>(),
        time_before_ms in any::<u64>(),
        salt in any::<[u8; 16]>(),
    ) -> SegmentHeader {
        SegmentHeader {
            cluster: ClusterId::from_bytes(cluster),
            timeline,
            epoch: Epoch::new(epoch),
            first_lsn,
            chain_before: Chain::from_bytes(chain),
            time_before_ms,
            salt: Salt::from_bytes(salt),
        }
    }
}

prop_compose! {
    fn timeline_record()(
        id in timeline(),
        parent in proptest::option::of(timeline()),
        fork in lsn(),
        random_id in any::<[u8; 16]>(),
        clock_offset_ms in any::<i64>(),
    ) -> TimelineRecord {
        let parent = parent.filter(|parent| *parent != id);
        let fork_lsn = if parent.is_some() { fork } else { Lsn::ZERO };
        TimelineRecord { id, parent, fork_lsn, random_id, clock_offset_ms }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn control_slots_round_trip(state in control_state(), sequence in 1..=u64::MAX, cluster in any::<[u8; 16]>()) {
        let cluster = ClusterId::from_bytes(cluster);
        let slot = encode_slot(sequence, cluster, &state).expect("valid");
        prop_assert_eq!(decode_slot(&slot), Ok(Slot { sequence, cluster, state }));
    }

    #[test]
    fn segment_headers_round_trip(header in segment_header()) {
        prop_assert_eq!(SegmentHeader::decode(&header.encode().expect("valid")), Ok(header));
    }

    #[test]
    fn batch_headers_round_trip_under_their_own_salt_only(
        first in 1..u64::MAX,
        records in 1..1000_u32,
        chain in any::<[u8; 32]>(),
        records_crc in any::<u32>(),
        salts in any::<([u8; 16], [u8; 16])>(),
    ) {
        let header = BatchHeader {
            records_bytes: records * RECORD_HEADER_BYTES,
            first_lsn: Lsn::new(first),
            last_lsn: Lsn::new(first.saturating_add(u64::from(records) - 1)),
            chain_after: Chain::from_bytes(chain),
            records_crc,
        };
        let bytes = header.encode(&Salt::from_bytes(salts.0)).expect("valid");
        prop_assert_eq!(BatchHeader::decode(&bytes, &Salt::from_bytes(salts.0)), Ok(header));
        prop_assume!(salts.0 != salts.1);
        prop_assert!(BatchHeader::decode(&bytes, &Salt::from_bytes(salts.1)).is_err());
    }

    #[test]
    fn timeline_records_round_trip(record in timeline_record()) {
        prop_assert_eq!(TimelineRecord::decode(&record.encode().expect("valid")), Ok(record));
    }

    #[test]
    fn records_round_trip(lsn in real_lsn(), time_ms in any::<u64>(), payload in vec(any::<u8>(), 0..300)) {
        let record = Record { lsn, time_ms, kind: RecordKind::Changes, payload: payload.into() };
        let mut bytes = Vec::new();
        record.encode_into(&mut bytes).expect("valid");
        prop_assert_eq!(bytes.len() as u64, record.encoded_bytes());
        let used = bytes.len();
        bytes.extend_from_slice(b"what follows");
        prop_assert_eq!(Record::decode(&bytes.into()), Ok((record, used)));
    }

    #[test]
    fn identities_round_trip(cluster in any::<[u8; 16]>(), node in any::<[u8; 16]>()) {
        let identity = Identity { cluster: ClusterId::from_bytes(cluster), node: NodeId::from_bytes(node) };
        let decoded = Identity::decode(identity.encode().as_bytes(), Path::new("identity"));
        prop_assert_eq!(decoded.expect("valid"), identity);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), pad in any::<bool>()) {
        let mut bytes = bytes;
        if pad {
            bytes.resize(SLOT_BYTES, 0);
        }
        let _ = decode_slot(&bytes);
        let _ = SegmentHeader::decode(&bytes);
        let _ = BatchHeader::decode(&bytes, &Salt::from_bytes([0; 16]));
        let _ = TimelineRecord::decode(&bytes);
        let _ = RecordView::decode(&bytes);
        let _ = Identity::decode(&bytes, Path::new("identity"));
        let _ = codec::decode::<(u64, [u8; 32])>(1, &bytes);
    }
}

fn sample_state() -> ControlState {
    let durable = TimedMark { lsn: Lsn::new(u64::MAX), chain: Chain::from_bytes([1; 32]), time_ms: u64::MAX };
    ControlState {
        timeline: TimelineId::new(3),
        epoch: Epoch::new(300),
        durable,
        archived: Mark { lsn: Lsn::new(70_000), chain: Chain::from_bytes([2; 32]) },
        checkpoint: Mark { lsn: Lsn::new(5), chain: Chain::from_bytes([3; 32]) },
        shutdown: Shutdown::Unclean,
        clock_offset_ms: -2,
        timeline_begin: Lsn::new(251),
        timeline_random_id: [4; 16],
        restored_from: Some(RestoredFrom {
            parent: TimelineId::new(2),
            fork: Mark { lsn: Lsn::new(250), chain: Chain::from_bytes([5; 32]) },
            target_time_ms: 1_700_000_000_000,
            ttl: TtlMode::Absolute,
            parent_clock_offset_ms: i64::MIN,
        }),
    }
}

fn sample_segment() -> SegmentHeader {
    SegmentHeader {
        cluster: ClusterId::from_bytes(*b"0123456789abcdef"),
        timeline: TimelineId::new(1),
        epoch: Epoch::new(2),
        first_lsn: Lsn::new(u64::MAX),
        chain_before: Chain::from_bytes([0xcc; 32]),
        time_before_ms: u64::MAX,
        salt: Salt::from_bytes([0x55; 16]),
    }
}

fn sample_batch() -> BatchHeader {
    BatchHeader {
        records_bytes: 42,
        first_lsn: Lsn::new(7),
        last_lsn: Lsn::new(8),
        chain_after: Chain::from_bytes([0xdd; 32]),
        records_crc: 0x0403_0201,
    }
}

#[test]
fn golden_control_slot() {
    let slot = encode_slot(9, ClusterId::from_bytes(*b"0123456789abcdef"), &sample_state()).expect("valid");
    let used = slot[..4092].iter().rposition(|byte| *byte != 0).expect("not blank") + 1;
    let expected = concat!(
        "526564444263746c", // magic
        "01000000",         // format
        "c9000000",         // payload length
        "0900000000000000", // sequence
        "30313233343536373839616263646566",
        "0100",   // payload version
        "03",     // timeline
        "fb2c01", // epoch 300
        "fdffffffffffffffff",
        "0101010101010101010101010101010101010101010101010101010101010101",
        "fdffffffffffffffff", // durable time
        "fc70110100",         // 70000
        "0202020202020202020202020202020202020202020202020202020202020202",
        "05",
        "0303030303030303030303030303030303030303030303030303030303030303",
        "01",     // unclean
        "03",     // offset -2, zigzag
        "fbfb00", // begin 251
        "04040404040404040404040404040404",
        "01", // restored from
        "02",
        "fa",
        "0505050505050505050505050505050505050505050505050505050505050505",
        "fd0068e5cf8b010000", // target time
        "01",                 // absolute
        "fdffffffffffffffff", // i64::MIN, zigzag
    );
    assert_eq!(hex(&slot[..used]), expected);
    assert_eq!(slot[4092..], crc32fast::hash(&slot[..4092]).to_le_bytes());
}

#[test]
fn golden_segment_header() {
    let block = sample_segment().encode().expect("valid");
    let expected = concat!(
        "526564444277616c",
        "01000000",
        "00100000",
        "30313233343536373839616263646566",
        "01000000",
        "00000000",
        "0200000000000000",
        "ffffffffffffffff",
        "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
        "ffffffffffffffff",
        "55555555555555555555555555555555",
    );
    assert_eq!(hex(&block[..112]), expected);
    assert!(block[112..4092].iter().all(|byte| *byte == 0));
    assert_eq!(block[4092..], crc32fast::hash(&block[..4092]).to_le_bytes());
}

#[test]
fn golden_batch_header() {
    let bytes = sample_batch().encode(&Salt::from_bytes([0x55; 16])).expect("valid");
    let expected = concat!(
        "52426174",
        "2a000000",
        "0700000000000000",
        "0800000000000000",
        "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd",
        "01020304",
    );
    assert_eq!(hex(&bytes[..60]), expected);
    let salted = [&[0x55; 16], &bytes[..60]].concat();
    assert_eq!(bytes[60..], crc32fast::hash(&salted).to_le_bytes());
}

#[test]
fn golden_timeline_record() {
    let record = TimelineRecord {
        id: TimelineId::new(2),
        parent: Some(TimelineId::FIRST),
        fork_lsn: Lsn::new(u64::MAX),
        random_id: *b"0123456789abcdef",
        clock_offset_ms: -1,
    };
    let expected =
        concat!("02000000", "01000000", "ffffffffffffffff", "30313233343536373839616263646566", "ffffffffffffffff");
    assert_eq!(hex(&record.encode().expect("valid")), expected);
}

#[test]
fn golden_record_and_chain() {
    let mut bytes = Vec::new();
    encode_parts(Lsn::new(1), 0x0102, RecordKind::Timeline, b"abc", &mut bytes).expect("valid");
    assert_eq!(hex(&bytes), concat!("03000000", "0100000000000000", "0201000000000000", "02", "616263"));
    let genesis = Chain::genesis(ClusterId::from_bytes([0; 16]));
    assert_eq!(genesis.to_string(), GENESIS, "SHA-256 of `reddb-chain-1` and 16 zeros");
    assert_eq!(genesis.extend(&bytes).to_string(), AFTER, "SHA-256 of that and the record");
}

const GENESIS: &str = "92d6db5e880e5a53efc2e681feb5dc63d8b77ed2e71e6fb1f0db72b9a7a18190";
const AFTER: &str = "763185d3bc51322c3891640bf53b3b39612b927692401bf39183c93453feb8a1";

#[test]
fn golden_identity() {
    let identity =
        Identity { cluster: ClusterId::from_bytes(*b"0123456789abcdef"), node: NodeId::from_bytes([0xff; 16]) };
    let body =
        "reddb identity 1\ncluster 30313233-3435-3637-3839-616263646566\nnode ffffffff-ffff-ffff-ffff-ffffffffffff\n";
    assert_eq!(identity.encode(), format!("{body}crc32 {:08x}\n", crc32fast::hash(body.as_bytes())));
}

#[test]
fn a_damaged_control_slot_is_refused() {
    let slot = encode_slot(9, ClusterId::from_bytes([1; 16]), &sample_state()).expect("valid");
    expect_fragile(&slot, |bytes| decode_slot(bytes).ok());
}

#[test]
fn a_damaged_segment_header_is_refused() {
    expect_fragile(&sample_segment().encode().expect("valid"), |bytes| SegmentHeader::decode(bytes).ok());
}

#[test]
fn a_damaged_batch_header_is_refused() {
    let salt = Salt::from_bytes([0x55; 16]);
    expect_fragile(&sample_batch().encode(&salt).expect("valid"), |bytes| BatchHeader::decode(bytes, &salt).ok());
}

#[test]
fn a_damaged_identity_is_refused() {
    let identity = Identity { cluster: ClusterId::from_bytes([1; 16]), node: NodeId::from_bytes([2; 16]) };
    expect_fragile(identity.encode().as_bytes(), |bytes| Identity::decode(bytes, Path::new("identity")).ok());
}

/// It carries no checksum of its own (its batch has one), but its length is exact and its rules are checked.
#[test]
fn a_timeline_record_of_another_length_or_against_the_rules_is_refused() {
    let record = TimelineRecord {
        id: TimelineId::FIRST,
        parent: None,
        fork_lsn: Lsn::ZERO,
        random_id: [0; 16],
        clock_offset_ms: 0,
    };
    let bytes = record.encode().expect("valid");
    for len in 0..bytes.len() {
        let error = TimelineRecord::decode(&bytes[..len]).expect_err("too short");
        assert_eq!(error, TimelineRecordError::Length { found_bytes: len as u64 });
    }
    assert!(TimelineRecord::decode(&[bytes.as_slice(), &[0]].concat()).is_err());
    let bad = |change: &dyn Fn(&mut TimelineRecord)| {
        let mut record = record;
        change(&mut record);
        record.encode().expect_err("against the rules")
    };
    assert_eq!(bad(&|record| record.id = TimelineId::new(0)), TimelineRecordError::ZeroId);
    let own = TimelineRecordError::OwnParent { id: TimelineId::FIRST };
    assert_eq!(bad(&|record| record.parent = Some(TimelineId::FIRST)), own);
    let fork = TimelineRecordError::ForkWithoutParent { id: TimelineId::FIRST, fork_lsn: Lsn::new(1) };
    assert_eq!(bad(&|record| record.fork_lsn = Lsn::new(1)), fork);
}

#[test]
fn a_records_declared_length_is_bounded_before_anything_else() {
    let mut bytes = Vec::new();
    encode_parts(Lsn::new(1), 0, RecordKind::Changes, b"abc", &mut bytes).expect("valid");
    bytes[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(RecordView::decode(&bytes), Err(RecordError::TooLarge { payload_bytes: u32::MAX.into() }));
    bytes[..4].copy_from_slice(&RECORD_PAYLOAD_BYTES_MAX.to_le_bytes());
    assert!(matches!(RecordView::decode(&bytes), Err(RecordError::Truncated { .. })));
}

#[test]
fn a_batch_header_that_promises_the_impossible_is_refused_on_both_sides() {
    let salt = Salt::from_bytes([0; 16]);
    let cases = [
        BatchHeader { first_lsn: Lsn::ZERO, ..sample_batch() },
        BatchHeader { last_lsn: Lsn::new(6), ..sample_batch() },
        BatchHeader { last_lsn: Lsn::MAX, ..sample_batch() },
        BatchHeader { records_bytes: BATCH_RECORDS_BYTES_MAX + 1, ..sample_batch() },
        BatchHeader { records_bytes: 41, ..sample_batch() },
    ];
    for header in cases {
        assert!(header.encode(&salt).is_err(), "{header:?}");
    }
    // A header with a right checksum over wrong fields, as a hostile file has it.
    let mut bytes = sample_batch().encode(&salt).expect("valid");
    bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let crc = crc32fast::hash(&[&[0; 16], &bytes[..60]].concat());
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    assert!(BatchHeader::decode(&bytes, &salt).is_err());
}

#[test]
fn a_control_state_against_the_rules_is_neither_written_nor_read() {
    let cluster = ClusterId::from_bytes([1; 16]);
    let durable = TimedMark { lsn: Lsn::new(10), chain: Chain::from_bytes([1; 32]), time_ms: 0 };
    let above = Mark { lsn: Lsn::new(11), chain: Chain::from_bytes([1; 32]) };
    let other = Mark { lsn: Lsn::new(10), chain: Chain::from_bytes([9; 32]) };
    let fine = ControlState { durable, archived: durable.mark(), checkpoint: durable.mark(), ..sample_state() };
    assert!(encode_slot(1, cluster, &fine).is_ok());
    let cases = [
        ControlState { archived: above, ..fine.clone() },
        ControlState { checkpoint: above, ..fine.clone() },
        ControlState { archived: other, ..fine.clone() },
        ControlState { timeline: TimelineId::new(0), ..fine.clone() },
    ];
    for state in cases {
        assert!(encode_slot(1, cluster, &state).is_err(), "{state:?}");
    }
    assert!(encode_slot(0, cluster, &fine).is_err(), "sequence 0 means never");
}

#[test]
fn an_integer_that_is_encoded_longer_than_it_needs_is_refused() {
    assert_eq!(codec::encode(1, &5_u64), Ok(vec![1, 0, 5]));
    assert_eq!(codec::decode::<u64>(1, &[1, 0, 5]), Ok(5));
    assert_eq!(codec::decode::<u64>(1, &[1, 0, 251, 5, 0]), Err(codec::CodecError::NotCanonical));
    assert_eq!(codec::decode::<u64>(1, &[1, 0, 5, 0]), Err(codec::CodecError::TrailingBytes { left_bytes: 1 }));
    assert_eq!(codec::decode::<u64>(1, &[2, 0, 5]), Err(codec::CodecError::Version { expected: 1, found: 2 }));
    assert_eq!(codec::decode::<u64>(1, &[1]), Err(codec::CodecError::NoVersion { available_bytes: 1 }));
    assert!(codec::decode::<Vec<u8>>(1, &[1, 0, 253, 255, 255, 255, 255, 255, 255, 255, 255]).is_err());
}

#[test]
fn a_batch_gives_out_lsns_without_holes_and_refuses_what_does_not_continue() {
    let start = TimedMark { lsn: Lsn::new(4), chain: Chain::from_bytes([0; 32]), time_ms: 100 };
    let mut batch = BatchBuilder::new(start);
    assert!(batch.is_empty());
    let first = batch.push(100, RecordKind::Changes, b"a").expect("continues");
    assert_eq!(first.lsn, Lsn::new(5));
    let back = BatchError::TimeWentBack { lsn: Lsn::new(6), time_ms: 99, before_ms: 100 };
    assert_eq!(batch.push(99, RecordKind::Changes, b"b"), Err(back));
    let mut encoded = Vec::new();
    encode_parts(Lsn::new(7), 100, RecordKind::Changes, b"c", &mut encoded).expect("valid");
    let order = BatchError::OutOfOrder { expected: Lsn::new(6), found: Lsn::new(7) };
    assert_eq!(batch.push_encoded(&encoded), Err(order));
    encoded.clear();
    encode_parts(Lsn::new(6), 101, RecordKind::Changes, b"c", &mut encoded).expect("valid");
    let second = batch.push_encoded(&encoded).expect("continues");
    assert_eq!(second.chain, first.chain.extend(&encoded));
    assert_eq!((batch.before(), batch.last()), (start, second));
    assert_eq!(u64::from(batch.records_bytes()), 22 + encoded.len() as u64);
    let mut exhausted = BatchBuilder::new(TimedMark { lsn: Lsn::MAX, ..start });
    assert_eq!(exhausted.push(100, RecordKind::Changes, b""), Err(BatchError::LsnExhausted));
}
