//! Segments of the local log: what recovery would drop is a notice, what it would refuse is a fault.

use reddb_file::vfs::StdVfs;
use reddb_file::wal::{BatchHeader, Salt, SegmentEnd, SegmentHeader, describe_segment};
use reddb_file::{Chain, Epoch, Lsn, Record, RecordKind, TimelineId};
use reddb_wire::{Change, ObjectId, PayloadBuilder};

use super::tests::{Dir, cluster};
use super::*;

const BLOCK: usize = 4096;
const SALT: Salt = Salt::from_bytes([5; 16]);
/// The name that a segment has which begins with LSN 1.
const NAME: &str = "00000000000000000001.wal";

/// CRC-32 (IEEE) of the salt and `bytes`.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in SALT.as_bytes().iter().chain(bytes) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

fn put_key() -> Vec<u8> {
    let mut payload = PayloadBuilder::new();
    let change =
        Change::PutString { space: ObjectId::initial_space(0), key: b"key", expires_at_ms: None, value: &[b'v'; 5000] };
    payload.push(&change).expect("small");
    payload.finish().expect("one change").to_vec()
}

/// A segment that begins with LSN 1 and has a batch for each payload.
struct Segment {
    batches: Vec<(BatchHeader, Vec<u8>)>,
}

impl Segment {
    fn of(payloads: &[(RecordKind, Vec<u8>)]) -> Self {
        let mut chain = Chain::genesis(cluster());
        let mut batches = Vec::new();
        for (lsn, (kind, payload)) in (1..).map(Lsn::new).zip(payloads) {
            let mut records = Vec::new();
            let record = Record { lsn, time_ms: 1, kind: *kind, payload: payload.clone().into() };
            record.encode_into(&mut records).expect("a small record");
            chain = chain.extend(&records);
            let header = BatchHeader {
                records_bytes: u32::try_from(records.len()).expect("small"),
                first_lsn: lsn,
                last_lsn: lsn,
                chain_after: chain,
                records_crc: crc(&records),
            };
            batches.push((header, records));
        }
        Self { batches }
    }

    /// Two batches of two blocks each.
    fn usual() -> Self {
        Self::of(&[(RecordKind::Changes, put_key()), (RecordKind::Changes, put_key())])
    }

    /// Its bytes, and blank blocks after them.
    fn bytes(&self) -> Vec<u8> {
        let header = SegmentHeader {
            cluster: cluster(),
            timeline: TimelineId::FIRST,
            epoch: Epoch::new(1),
            first_lsn: Lsn::new(1),
            chain_before: Chain::genesis(cluster()),
            time_before_ms: 0,
            salt: SALT,
        };
        let mut bytes = header.encode().expect("valid").to_vec();
        for (header, records) in &self.batches {
            bytes.extend_from_slice(&header.encode(&SALT).expect("valid"));
            bytes.extend_from_slice(records);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }
}

#[test]
fn a_whole_segment_has_nothing_to_say() {
    let found = Dir::new().look(NAME, &Segment::usual().bytes());
    assert_eq!((found.kind, found.ok, found.notices.len(), found.records.len()), (Kind::WalSegment, true, 0, 2));
}

#[test]
fn a_last_batch_that_a_crash_may_have_left_is_a_notice() {
    let dir = Dir::new();
    let whole = Segment::usual().bytes();
    for (offset, what) in [(3 * BLOCK + 100, "records"), (3 * BLOCK + 20, "header")] {
        let mut bytes = whole.clone();
        bytes[offset] ^= 1;
        let found = dir.look(NAME, &bytes);
        assert_eq!((found.ok, found.notices.len()), (true, 1), "{what}: {found:?}");
        assert!(found.notices[0].contains("LSN 2"), "{what}: {:?}", found.notices);
        assert!(found.notices[0].contains("otherwise it is damage"), "{what}: {:?}", found.notices);
    }
}

#[test]
fn a_last_batch_that_no_crash_leaves_is_a_fault_of_just_that() {
    let dir = Dir::new();
    for (said, falsify) in [
        ("the chain after record 2 does not match", falsify_chain as fn(&mut BatchHeader)),
        ("LSN 2 belongs here, LSN 7 was found", falsify_lsn),
        ("the batch ends with record 2, its header says 3", falsify_count),
    ] {
        let mut segment = Segment::usual();
        falsify(&mut segment.batches[1].0);
        let found = dir.look(NAME, &segment.bytes());
        assert_eq!((found.ok, found.faults.len(), found.notices.len()), (false, 1, 0), "{said}: {found:?}");
        for part in [said, "offset 12288", "LSN 2", "a crash does not do this"] {
            assert!(found.faults[0].contains(part), "{part}: {:?}", found.faults);
        }
    }
}

fn falsify_chain(header: &mut BatchHeader) {
    header.chain_after = Chain::genesis(cluster());
}

fn falsify_lsn(header: &mut BatchHeader) {
    (header.first_lsn, header.last_lsn) = (Lsn::new(7), Lsn::new(7));
}

fn falsify_count(header: &mut BatchHeader) {
    header.last_lsn = Lsn::new(3);
}

#[test]
fn a_file_that_was_cut_after_a_valid_header_is_a_fault() {
    let dir = Dir::new();
    let bytes = Segment::usual().bytes();
    let path = dir.file(NAME, &bytes[..4 * BLOCK]);
    let end = describe_segment(&StdVfs, &path).expect("a segment").end;
    assert!(matches!(end, SegmentEnd::BadBatch { may_be_torn: false, later_lsn: None, .. }), "{end:?}");
    let found = inspect(&path, 0).expect("a segment");
    assert!(!found.ok);
    assert!(found.faults[0].contains("the file was cut"), "{:?}", found.faults);
}

#[test]
fn a_segment_under_another_ones_name_is_a_fault() {
    let dir = Dir::new();
    let bytes = Segment::usual().bytes();
    let found = dir.look("00000000000000000002.wal", &bytes);
    assert!(!found.ok);
    assert!(found.faults[0].contains("renamed or swapped"), "{:?}", found.faults);
    assert!(dir.look("a copy of it", &bytes).ok, "a name that is no segment's says nothing");
}

#[test]
fn a_payload_that_cannot_be_read_is_a_fault_whether_it_is_shown_or_not() {
    let dir = Dir::new();
    let (good, cut) = (put_key(), put_key()[..9].to_vec());
    for (kind, payload, said) in [
        (RecordKind::Changes, cut, "its payload is not a list of changes"),
        (RecordKind::Changes, vec![9, 9], "its payload is not a list of changes"),
        (RecordKind::Timeline, vec![0; 39], "its payload is not a timeline record"),
    ] {
        let segment = Segment::of(&[(RecordKind::Changes, good.clone()), (kind, payload)]);
        let path = dir.file(NAME, &segment.bytes());
        for records_max in [0, 1, 10] {
            let found = inspect(&path, records_max).expect("a segment");
            assert_eq!((found.ok, found.faults.len()), (false, 1), "{records_max}: {found:?}");
            for part in ["record 2", said] {
                assert!(found.faults[0].contains(part), "{part}: {:?}", found.faults);
            }
            assert_eq!(found.records.len() as u64, records_max.min(2));
        }
    }
}

#[test]
fn many_payloads_that_cannot_be_read_are_counted() {
    let segment = Segment::of(&vec![(RecordKind::Changes, vec![9]); 30]);
    let found = Dir::new().look(NAME, &segment.bytes());
    assert_eq!((found.records.len(), found.faults.len()), (10, 2), "{:?}", found.faults);
    assert!(found.faults[0].contains("record 1:"), "{:?}", found.faults);
    assert!(found.faults[1].contains("29 more"), "{:?}", found.faults);
}
