//! Golden bytes: what is written today must be what is read for ever. And every changed byte of a document is seen.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::chain::Chain;
use crate::ids::{ClusterId, Epoch, Lsn, NodeId, TimelineId};
use crate::mark::TimedMark;

fn cluster() -> ClusterId {
    ClusterId::from_bytes([7; 16])
}

fn sidecar() -> SegmentSidecar {
    SegmentSidecar {
        cluster: cluster(),
        timeline: TimelineId::new(u32::MAX),
        epoch: Epoch::new(u64::MAX),
        first_lsn: Lsn::new(1),
        last_lsn: Lsn::MAX,
        first_time_ms: 0,
        last_time_ms: u64::MAX,
        record_count: u64::MAX,
        plain_bytes: 132 + u64::from(crate::limits::RECORD_BYTES_MAX),
        stored_bytes: crate::limits::ARCHIVE_SEGMENT_STORED_BYTES_MAX,
        stored_sha256: Sha256Digest::of(b"stored"),
        chain_before: Chain::genesis(cluster()),
        chain_after: Chain::genesis(cluster()).extend(b"x"),
        codec: Codec::Zstd,
    }
}

fn start() -> EpochStart {
    EpochStart {
        cluster: cluster(),
        epoch: Epoch::new(2),
        token: Uuid::from_bytes([3; 16]),
        time_ms: 5,
        outcome: EpochOutcome::Begins {
            closes: None,
            begins: ForkPoint { timeline: TimelineId::FIRST, lsn: Lsn::ZERO, chain: Chain::genesis(cluster()) },
        },
    }
}

fn reread<T: Document>(document: &T) -> T {
    sealed::decode::<T>(&sealed::encode(document).unwrap(), MissingDigest::Refuse).unwrap().document
}

fn snapshot(paths: &[&str]) -> SnapshotManifest {
    SnapshotManifest {
        id: Uuid::from_bytes([1; 16]),
        cluster: cluster(),
        timeline: TimelineId::FIRST,
        epoch: Epoch::new(1),
        lsn: Lsn::new(12),
        chain: Chain::genesis(cluster()),
        time_ms: 9,
        engine: Text::new("lsm-tree").unwrap(),
        engine_version: Text::new("3.1.10").unwrap(),
        engine_format_version: 1,
        files: paths
            .iter()
            .map(|path| FileEntry {
                path: path.parse().unwrap(),
                size_bytes: 10,
                sha256: Sha256Digest::of(path.as_bytes()),
            })
            .collect(),
        total_bytes: 10 * paths.len() as u64,
        created_ms: 10,
        reason: Text::new("").unwrap(),
    }
}

#[test]
fn the_bytes_of_a_start_are_these() {
    let expected = concat!(
        "{\"format\":\"reddb-epoch-start-1\",",
        "\"sha256\":\"d1b44001010c56b7bd3299d92560176d61be187aca931da3d3a979339efb6a5f\",\"body\":\n",
        "{\n  \"cluster\": \"07070707-0707-0707-0707-070707070707\",\n  \"epoch\": 2,\n",
        "  \"token\": \"03030303-0303-0303-0303-030303030303\",\n  \"time_ms\": 5,\n",
        "  \"outcome\": {\n    \"begins\": {\n      \"closes\": null,\n      \"begins\": {\n        \"timeline\": 1,\n",
        "        \"lsn\": 0,\n        \"chain\": \"389c7dd177f02fc0b7855dcfaf0b7ae87d0bdc293084b4fd1a6687aee12a087e\"\n      }\n    }\n  }\n}\n}\n"
    );
    assert_eq!(String::from_utf8(sealed::encode(&start()).unwrap()).unwrap(), expected);
}

#[test]
fn the_bytes_of_a_segment_header_are_these() {
    let header = SegmentHeader {
        cluster: cluster(),
        timeline: TimelineId::new(2),
        epoch: Epoch::new(3),
        first_lsn: Lsn::new(4),
        last_lsn: Lsn::new(5),
        record_bytes: 42,
        chain_before: Chain::from_bytes([8; 32]),
        chain_after: Chain::from_bytes([9; 32]),
    };
    let mut expected = b"RDBARSEG\x01\0\0\0".to_vec();
    expected.extend([7; 16]);
    expected.extend([2, 0, 0, 0]);
    expected.extend([3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([8; 32]);
    expected.extend([9; 32]);
    expected.extend([0x70, 0x76, 0x06, 0x4f]);
    assert_eq!(header.encode().as_slice(), expected);
    assert_eq!(SegmentHeader::decode(&header.encode()).unwrap(), header);
}

#[test]
fn the_largest_numbers_survive_json() {
    assert_eq!(reread(&sidecar()), sidecar());
    assert_eq!(reread(&start()), start());
    assert_eq!(reread(&snapshot(&["a", "b/c"])), snapshot(&["a", "b/c"]));
    let head = EpochHead {
        cluster: cluster(),
        epoch: Epoch::new(u64::MAX),
        node: NodeId::from_bytes([2; 16]),
        timeline: TimelineId::new(u32::MAX),
        archived: TimedMark { lsn: Lsn::MAX, chain: Chain::genesis(cluster()), time_ms: u64::MAX },
        newest_snapshot: Some(snapshot(&[]).reference()),
        complete_until_ms: u64::MAX,
        beat: u64::MAX,
        beat_time_ms: u64::MAX,
        holder: HolderState::Ended,
    };
    assert_eq!(reread(&head), head);
    let timeline = TimelineDocument {
        cluster: cluster(),
        timeline: TimelineId::new(2),
        parent: Some(ForkPoint { timeline: TimelineId::FIRST, lsn: Lsn::MAX, chain: Chain::genesis(cluster()) }),
        reason: TimelineReason::Restored,
        created_ms: 1,
        node: NodeId::from_bytes([2; 16]),
        id: Uuid::from_bytes([4; 16]),
        clock_offset_ms: i64::MIN,
    };
    assert_eq!(reread(&timeline), timeline);
}

#[test]
fn a_sidecar_beyond_the_limits_is_neither_written_nor_read() {
    let refused = |change: fn(&mut SegmentSidecar)| {
        let mut bad = sidecar();
        change(&mut bad);
        let bytes = sealed_body(SegmentSidecar::FORMAT, &serde_json::to_string(&bad).unwrap());
        sealed::encode(&bad).is_err() && sealed::decode::<SegmentSidecar>(&bytes, MissingDigest::Refuse).is_err()
    };
    assert!(!refused(|_| ()));
    assert!(refused(|bad| bad.plain_bytes += 1));
    assert!(refused(|bad| bad.stored_bytes += 1));
    assert!(refused(|bad| bad.record_count -= 1));
    assert!(refused(|bad| bad.first_lsn = Lsn::ZERO));
    assert!(refused(|bad| (bad.first_time_ms, bad.last_time_ms) = (2, 1)));
    assert!(refused(|bad| bad.epoch = Epoch::ZERO));
    assert!(refused(|bad| bad.timeline = TimelineId::new(0)));
    assert!(refused(|bad| bad.chain_after = bad.chain_before));
}

#[test]
fn every_flipped_bit_of_a_document_is_an_error_whatever_is_accepted() {
    let good = sealed::encode(&start()).unwrap();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            for missing in [MissingDigest::Refuse, MissingDigest::Accept] {
                assert!(sealed::decode::<EpochStart>(&bad, missing).is_err(), "byte {at} bit {bit} {missing:?}");
            }
        }
    }
}

#[test]
fn every_other_length_of_a_document_is_an_error() {
    let good = sealed::encode(&start()).unwrap();
    for end in 0..good.len() {
        assert!(sealed::decode::<EpochStart>(&good[..end], MissingDigest::Accept).is_err(), "cut at {end}");
    }
    for extra in [b" ".as_slice(), b"\n", b"\0", b"{}"] {
        let longer = [good.as_slice(), extra].concat();
        assert!(sealed::decode::<EpochStart>(&longer, MissingDigest::Accept).is_err(), "{extra:?} appended");
    }
}

#[test]
fn a_document_without_a_digest_needs_permission() {
    let body = serde_json::to_string(&start()).unwrap();
    let bytes = format!("{{\"format\": \"reddb-epoch-start-1\", \"body\": {body}}}");
    let refused = sealed::decode::<EpochStart>(bytes.as_bytes(), MissingDigest::Refuse);
    assert!(matches!(refused, Err(DocumentError::MissingDigest { .. })));
    let opened = sealed::decode::<EpochStart>(bytes.as_bytes(), MissingDigest::Accept).unwrap();
    assert_eq!((opened.document, opened.verified), (start(), None));
    // A wrong digest is not a missing one.
    let wrong = bytes.replacen("\"body\"", "\"sha256\": \"00\", \"body\"", 1);
    assert!(sealed::decode::<EpochStart>(wrong.as_bytes(), MissingDigest::Accept).is_err());
}

#[test]
fn another_documents_bytes_are_refused() {
    let bytes = sealed::encode(&sidecar()).unwrap();
    let error = sealed::decode::<EpochStart>(&bytes, MissingDigest::Accept).unwrap_err();
    assert!(error.to_string().contains("reddb-segment-sidecar-1"), "{error}");
}

/// Seals any body, as a writer with a defect would.
fn sealed_body(format: &str, body: &str) -> Vec<u8> {
    let digest = Sha256Digest::of(body.as_bytes());
    format!("{{\"format\":\"{format}\",\"sha256\":\"{digest}\",\"body\":\n{body}\n}}\n").into_bytes()
}

#[test]
fn missing_unknown_and_repeated_fields_are_errors() {
    let body = serde_json::to_string(&start()).unwrap();
    let decode =
        |body: &str| sealed::decode::<EpochStart>(&sealed_body(EpochStart::FORMAT, body), MissingDigest::Refuse);
    assert!(decode(&body).is_ok());
    for bad in [
        body.replace("\"closes\":null,", ""),
        body.replace("\"time_ms\":5,", ""),
        body.replace("\"time_ms\":5,", "\"time_ms\":5,\"more\":1,"),
        body.replace("\"closes\":null,", "\"closes\":null,\"more\":1,"),
        body.replace("\"time_ms\":5,", "\"time_ms\":5,\"time_ms\":5,"),
        body.replace("\"time_ms\":5,", "\"time_ms\":5.0,"),
        body.replace("\"time_ms\":5,", "\"time_ms\":-5,"),
        body.replace("\"time_ms\":5,", "\"time_ms\":18446744073709551616,"),
        body.replace("\"lsn\":0", "\"lsn\":\"0\""),
        body.replace("\"epoch\":2", "\"epoch\":0"),
    ] {
        assert_ne!(bad, body);
        assert!(decode(&bad).is_err(), "{bad}");
    }
}

#[test]
fn a_snapshot_whose_files_contradict_each_other_is_neither_written_nor_read() {
    for paths in [["a", "a"].as_slice(), &["b", "a"], &["a", "a/b"], &["a", "a-b", "a/b"]] {
        let bad = snapshot(paths);
        assert!(matches!(sealed::encode(&bad), Err(DocumentError::Inconsistent { .. })), "{paths:?}");
        let bytes = sealed_body(SnapshotManifest::FORMAT, &serde_json::to_string(&bad).unwrap());
        assert!(sealed::decode::<SnapshotManifest>(&bytes, MissingDigest::Refuse).is_err(), "{paths:?}");
    }
    let mut bad = snapshot(&["a"]);
    bad.files[0].size_bytes = u64::MAX;
    assert!(sealed::encode(&bad).is_err());
}

#[test]
fn an_oversized_document_is_refused_before_it_is_parsed() {
    let bytes = vec![b' '; 64 * 1024 + 1];
    let refused = sealed::decode::<EpochStart>(&bytes, MissingDigest::Accept);
    assert!(matches!(refused, Err(DocumentError::TooLarge { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(sealed::decode::<EpochStart>(&bytes, MissingDigest::Accept).is_err());
    }
}
