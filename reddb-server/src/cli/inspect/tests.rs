//! Whatever is in a file: what it is comes out, and any damage is seen.

use std::path::PathBuf;

use bytes::Bytes;
use reddb_backup::codec::{CompressionLevel, encode_segment};
use reddb_file::archive::sealed::encode;
use reddb_file::archive::{ClusterDocument, RecordRun};
use reddb_file::control::{ControlState, Shutdown, encode_slot};
use reddb_file::identity::Identity;
use reddb_file::{Chain, ClusterId, Epoch, Lsn, Mark, NodeId, Record, RecordKind, TimelineId};
use reddb_wire::{Change, ObjectId, PayloadBuilder};
use tempfile::TempDir;

use super::*;

pub(super) struct Dir(TempDir);

impl Dir {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(super) fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(&path, bytes).expect("written");
        path
    }

    /// Looks at a file of this name with these bytes.
    pub(super) fn look(&self, name: &str, bytes: &[u8]) -> Inspection {
        inspect(&self.file(name, bytes), 10).expect("a file of ours")
    }

    /// Every flipped bit of `bytes`, one in `step`, must show as damage.
    fn every_flip_is_seen(&self, name: &str, bytes: &[u8], step: usize) {
        for bit in (0..bytes.len() * 8).step_by(step) {
            let mut damaged = bytes.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!self.look(name, &damaged).ok, "{name}: bit {bit}");
        }
    }
}

pub(super) fn cluster() -> ClusterId {
    ClusterId::from_bytes([7; 16])
}

fn records() -> Bytes {
    let mut bytes = Vec::new();
    for lsn in 1..=5 {
        let mut payload = PayloadBuilder::new();
        let space = ObjectId::initial_space(0);
        payload
            .push(&Change::PutString { space, key: b"key", expires_at_ms: None, value: &[b'v'; 100] })
            .expect("small");
        let payload = payload.finish().expect("one change");
        let record = Record {
            lsn: Lsn::new(lsn),
            time_ms: 1_767_323_045_000 + lsn,
            kind: RecordKind::Changes,
            payload: payload.into(),
        };
        record.encode_into(&mut bytes).expect("a small record");
    }
    bytes.into()
}

fn stored_segment() -> (Bytes, Vec<u8>, Vec<u8>) {
    store(records())
}

/// A stored segment of these encoded records: the object, its sidecar, its plain form.
fn store(records: Bytes) -> (Bytes, Vec<u8>, Vec<u8>) {
    let run = RecordRun::scan(Lsn::ZERO, Chain::genesis(cluster()), records).expect("records");
    let (timeline, epoch) = (TimelineId::new(1), Epoch::new(1));
    let stored = encode_segment(&run, cluster(), timeline, epoch, CompressionLevel::default()).expect("compressed");
    let plain = [run.header(cluster(), timeline, epoch).encode().as_slice(), run.bytes()].concat();
    (stored.object, encode(&stored.sidecar).expect("a sidecar").to_vec(), plain)
}

#[test]
fn a_good_identity_and_a_damaged_one() {
    let dir = Dir::new();
    let identity = Identity { cluster: cluster(), node: NodeId::from_bytes([8; 16]) }.encode();
    let found = dir.look("anything", identity.as_bytes());
    assert_eq!((found.kind, found.ok), (Kind::Identity, true));
    assert_eq!(found.content["cluster"], cluster().to_string());
    dir.every_flip_is_seen("identity", identity.as_bytes(), 1);
}

#[test]
fn a_control_file_with_one_bad_slot_is_usable_and_with_two_is_not() {
    let chain = Chain::genesis(cluster());
    let mark = Mark { lsn: Lsn::ZERO, chain };
    let state = ControlState {
        timeline: TimelineId::new(1),
        epoch: Epoch::new(1),
        durable: mark.at_time(0),
        archived: mark,
        checkpoint: mark,
        shutdown: Shutdown::Clean,
        clock_offset_ms: 0,
        timeline_begin: Lsn::new(1),
        timeline_random_id: [3; 16],
        restored_from: None,
    };
    let slot = |sequence| encode_slot(sequence, cluster(), &state).expect("a valid state");
    let dir = Dir::new();
    let both = [slot(2), slot(1)].concat();
    let found = dir.look("x", &both);
    assert_eq!((found.kind, found.ok, found.notices.len()), (Kind::Control, true, 0));
    let shown = &found.content["slots"][0]["state"]["timeline_random_id"];
    assert_eq!(shown, "03030303-0303-0303-0303-030303030303");
    let mut one = both.clone();
    one[100] ^= 1;
    let found = dir.look("x", &one);
    assert_eq!((found.ok, found.notices.len()), (true, 1));
    one[5000] ^= 1;
    let found = dir.look("control", &one);
    assert_eq!((found.kind, found.ok, found.faults.len()), (Kind::Control, false, 3));
}

#[test]
fn an_archived_segment_shows_its_records_and_any_damage() {
    let dir = Dir::new();
    let (object, sidecar, plain) = stored_segment();
    dir.file("s.wal.zst.json", &sidecar);
    let found = dir.look("s.wal.zst", &object);
    assert_eq!((found.kind, found.ok, found.records.len()), (Kind::ArchivedSegment, true, 5), "{found:?}");
    assert_eq!(found.content["last_lsn"], 5);
    assert!(found.records[0].lines[0].starts_with("string \"key\" = \"vvvv"), "{:?}", found.records[0]);
    dir.every_flip_is_seen("s.wal.zst", &object, 3);
    let found = dir.look("plain", &plain);
    assert_eq!((found.kind, found.ok), (Kind::ArchivedSegmentPlain, true));
    assert!(!dir.look("plain", &[&plain[..], b"x"].concat()).ok, "trailing bytes");
    assert!(!dir.look("plain", &plain[..plain.len() - 1]).ok, "cut short");
}

#[test]
fn a_damaged_segment_says_up_to_where_it_could_be_read() {
    let dir = Dir::new();
    let (_, _, plain) = stored_segment();
    let found = dir.look("plain", &plain[..plain.len() - 10]);
    assert!(found.faults[0].contains("up to LSN 4 could be read"), "{:?}", found.faults);
}

#[test]
fn an_archived_segment_with_a_payload_that_cannot_be_read_is_damaged() {
    let dir = Dir::new();
    let mut bytes = Vec::new();
    let payload = Bytes::from_static(&[1, 99]);
    let record = Record { lsn: Lsn::new(1), time_ms: 5, kind: RecordKind::Changes, payload };
    record.encode_into(&mut bytes).expect("a small record");
    let (object, sidecar, plain) = store(bytes.into());
    dir.file("s.wal.zst.json", &sidecar);
    for (name, bytes) in [("s.wal.zst", object.as_ref()), ("plain", &plain)] {
        let found = dir.look(name, bytes);
        assert_eq!((found.ok, found.faults.len(), found.records.len()), (false, 1, 1), "{name}: {found:?}");
        assert!(found.faults[0].contains("record 1: its payload is not a list of changes"), "{:?}", found.faults);
    }
}

#[test]
fn a_document_is_known_by_its_format_or_its_place() {
    let dir = Dir::new();
    let document = ClusterDocument { cluster: cluster(), format_version: 1, created_ms: 5 };
    let bytes = encode(&document).expect("a document").to_vec();
    let found = dir.look("renamed.json", &bytes);
    assert_eq!((found.kind, found.ok), (Kind::Document, true));
    assert_eq!(found.content["body"]["cluster"], cluster().to_string());
    dir.every_flip_is_seen("cluster.json", &bytes, 1);
    assert!(!dir.look("epochs/00000000000000000001.json", &bytes).ok, "a document in another's place");
    let text = String::from_utf8(bytes).expect("JSON");
    assert!(!dir.look("cluster.json", text.replace("  ", "   ").as_bytes()).ok, "reformatted");
}

#[test]
fn a_document_without_its_digest_is_a_fault_and_shows_what_it_says() {
    let dir = Dir::new();
    let body = format!(r#"{{"cluster":"{}","format_version":1,"created_ms":5}}"#, cluster());
    let bytes = format!(r#"{{"format":"reddb-cluster-1","body":{body}}}"#);
    let found = dir.look("cluster.json", bytes.as_bytes());
    assert!(!found.ok);
    assert!(found.faults[0].contains("no digest"), "{:?}", found.faults);
    assert_eq!(found.content["body"]["created_ms"], 5);
}

#[test]
fn what_is_none_of_ours_is_a_usage_error() {
    let dir = Dir::new();
    for (name, bytes) in [("a", b"hello".as_slice()), ("b", b""), ("c.json", b"{\"format\":\"other\"}")] {
        let error = inspect(&dir.file(name, bytes), 0).expect_err(name);
        assert_eq!(error.exit(), Exit::Usage);
    }
    assert_eq!(inspect(dir.0.path(), 0).expect_err("a directory").exit(), Exit::Usage);
    assert_eq!(inspect(&dir.0.path().join("absent"), 0).expect_err("absent").exit(), Exit::Usage);
}

#[test]
fn names_say_what_a_wiped_file_should_be() {
    let dir = Dir::new();
    for (name, kind) in [
        ("00000000000000000001.wal", Kind::WalSegment),
        ("x.wal.zst", Kind::ArchivedSegment),
        ("control", Kind::Control),
        ("identity", Kind::Identity),
        ("points/a.json", Kind::Document),
    ] {
        let found = dir.look(name, &[0; 9000]);
        assert_eq!((found.kind, found.ok), (kind, false), "{name}: {found:?}");
    }
}

#[test]
fn files_that_say_nothing_about_themselves_are_known_by_their_place() {
    let dir = Dir::new();
    let empty_sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let object = format!("objects/e3/{empty_sha256}");
    let current = [&7_u64.to_le_bytes()[..], &[1; 16], &[0]].concat();
    for (name, bytes, kind, ok) in [
        ("wal/spare-3", &b"RedDBwal of an earlier use"[..], Kind::SpareSegment, true),
        ("engine/current", &current, Kind::EngineCurrent, true),
        ("engine/current", &current[..24], Kind::EngineCurrent, false),
        ("engine/v7", b"anything", Kind::EngineManifest, true),
        ("engine/tables/12", b"anything", Kind::EngineTable, true),
        (&object, b"", Kind::SnapshotObject, true),
        (&object, b"x", Kind::SnapshotObject, false),
        ("lock", b"123\n", Kind::Lock, true),
        ("lock", b"123\n2049 777\n", Kind::Lock, true),
        ("lock", b"\n2049 777\n", Kind::Lock, false),
        ("lock", b"", Kind::Lock, false),
        ("addresses.json", b"{\"data\":\"127.0.0.1:1\"}\n", Kind::Addresses, true),
        ("addresses.json", b"{", Kind::Addresses, false),
    ] {
        let found = dir.look(name, bytes);
        assert_eq!((found.kind, found.ok), (kind, ok), "{name}: {found:?}");
    }
    let found = dir.look("engine/current", &current);
    assert_eq!((&found.content["manifest"], found.notices.len()), (&Value::from("v7"), 0), "v7 is there");
    for name in ["spare-3", "tables/12", "v7", "objects/e4/x"] {
        assert!(inspect(&dir.file(name, b"anything"), 0).is_err(), "{name} is out of place");
    }
}
