//! Archives made by somebody who means harm: right digests, wrong contents.

use bytes::Bytes;
use reddb_file::Lsn;
use reddb_file::archive::{
    ArchiveKey, FileEntry, MissingDigest, SegmentSidecar, Sha256Digest, SnapshotManifest, sealed,
};
use serde_json::Value;

use super::archive::{Archive, T1, get, history_of, keys, put};
use super::sink::{LogSink, Refused, carry_out, restored};
use crate::history::{Base, FaultKind, History, read::read};
use crate::plan::{PlanError, Request, Target, plan};
use crate::progress::Silent;
use crate::restore::{RestoreError, RestoreErrorKind, RestoreOptions, restore};
use crate::verify::{VerifyOptions, verify};

/// Seals any JSON as if it were a document: the digest is right, whatever it says.
pub(super) fn seal(format: &str, body: &Value) -> Bytes {
    let body = serde_json::to_vec_pretty(body).unwrap();
    let digest = Sha256Digest::of(&body);
    let mut sealed = format!("{{\"format\":\"{format}\",\"sha256\":\"{digest}\",\"body\":\n").into_bytes();
    sealed.extend(body);
    sealed.extend(b"\n}\n");
    sealed.into()
}

pub(super) fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice::<Value>(bytes).unwrap()["body"].take()
}

pub(super) async fn key_of(archive: &Archive, start: &str, end: &str) -> String {
    let all = keys(&archive.objects).await;
    all.into_iter().find(|key| key.starts_with(start) && key.ends_with(end)).unwrap()
}

fn to_lsn(lsn: u64) -> Request {
    Request::new(Target::Lsn(Lsn::new(lsn))).on(T1)
}

#[tokio::test]
async fn a_manifest_with_a_path_that_leaves_the_directory_is_refused() {
    let archive = Archive::make().await;
    let key = key_of(&archive, "snapshots/0000000001/00000000000000000013", "json").await;
    for path in ["../escaped", "/etc/escaped", "a/../../escaped", "", ".", "a//b", "a\\b", "c:x", "current/inside"] {
        let (objects, store) = archive.copy().await;
        let mut manifest = body(&get(&objects, &key).await);
        manifest["files"][1]["path"] = path.into();
        put(&objects, &key, seal("reddb-snapshot-1", &manifest)).await;
        let report = verify(&store, &VerifyOptions::default()).await.unwrap();
        assert!(report.faults.iter().any(|fault| fault.key == key), "{path:?}: {:?}", report.faults);
        let history = history_of(&store).await;
        let refused = plan(&history, &to_lsn(13)).unwrap_err();
        let PlanError::DamagedSnapshot { damaged, older, .. } = &refused else { panic!("{path:?}: {refused}") };
        assert_eq!((damaged.lsn, older.unwrap().snapshot().map(|older| older.lsn)), (Lsn::new(13), Some(Lsn::ZERO)));
        // The older one serves when it is named.
        let named = to_lsn(13).from_base(older.unwrap().map(|older| older.id));
        assert_eq!(restored(&store, &history, &named).await.unwrap().log, archive.state(T1, 13));
    }
}

#[tokio::test]
async fn declared_sizes_are_compared_before_anything_is_fetched() {
    let archive = Archive::make().await;
    let key = key_of(&archive, "snapshots/0000000001/00000000000000000013", "json").await;
    let (objects, store) = archive.copy().await;
    let mut manifest = body(&get(&objects, &key).await);
    manifest["files"][1]["size_bytes"] = (1_u64 << 60).into();
    let others: u64 =
        manifest["files"].as_array().unwrap().iter().map(|file| file["size_bytes"].as_u64().unwrap()).sum();
    manifest["total_bytes"] = others.into();
    put(&objects, &key, seal("reddb-snapshot-1", &manifest)).await;
    let history = history_of(&store).await;
    let Err(Refused::Restore(error)) = restored(&store, &history, &to_lsn(13)).await else { panic!("restored") };
    assert!(matches!(error, RestoreError::File { .. }), "{error}");
    assert_eq!(error.kind(), RestoreErrorKind::Integrity);
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    assert!(report.faults.iter().any(|fault| fault.kind == FaultKind::ContentDamaged), "{:?}", report.faults);
}

#[tokio::test]
async fn a_snapshot_with_the_chain_of_another_history_is_never_built_on() {
    let archive = Archive::make().await;
    let key = key_of(&archive, "snapshots/0000000001/00000000000000000013", "json").await;
    let (objects, store) = archive.copy().await;
    let mut manifest = body(&get(&objects, &key).await);
    manifest["chain"] = "ab".repeat(32).into();
    put(&objects, &key, seal("reddb-snapshot-1", &manifest)).await;
    let history = history_of(&store).await;
    for lsn in [13, 18] {
        let refused = restored(&store, &history, &to_lsn(lsn)).await;
        assert!(matches!(refused, Err(Refused::Plan(PlanError::DamagedSnapshot { .. }))), "LSN {lsn}");
    }
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    let mismatch = report.faults.iter().find(|fault| fault.kind == FaultKind::ChainMismatch).unwrap();
    assert_eq!(mismatch.affects.unwrap().first_lsn, Lsn::new(13));
}

#[tokio::test]
async fn a_chain_that_only_the_records_can_refute_is_refuted_by_them() {
    // LSN 11 is inside a segment, where no sidecar says the chain.
    let archive = Archive::make().await;
    let (objects, store) = archive.copy().await;
    let key = key_of(&archive, "points/before", "json").await;
    let mut point = body(&get(&objects, &key).await);
    point["lsn"] = 11.into();
    put(&objects, &key, seal("reddb-restore-point-1", &point)).await;
    let history = history_of(&store).await;
    assert_eq!(history.faults(), [], "documents alone do not tell");
    let request = Request::new(Target::Label("before".parse().unwrap()));
    let Err(Refused::Restore(error)) = restored(&store, &history, &request).await else { panic!("restored") };
    assert!(
        matches!(&error, RestoreError::Chain { lsn, key, .. } if lsn.get() == 11 && key.starts_with("points/")),
        "{error}"
    );
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    let [fault] = &report.faults[..] else { panic!("{:?}", report.faults) };
    assert_eq!((fault.kind, fault.key.as_str()), (FaultKind::ChainMismatch, "points/before.json"));
}

#[tokio::test]
async fn a_sidecar_that_was_made_to_fit_a_wrong_segment_does_not_help() {
    // The segment of LSNs 14 to 20 with one record's payload changed, and a sidecar with the right digests for it.
    let archive = Archive::make().await;
    let (objects, store) = archive.copy().await;
    let key = key_of(&archive, "wal/0000000001/00000000000000000014", "zst").await;
    let plain = zstd::stream::decode_all(&*get(&objects, &key).await).unwrap();
    for at in [plain.len() - 1, 132 + 21, 40, 100, 130] {
        let mut changed = plain.clone();
        changed[at] ^= 1;
        let stored = Bytes::from(zstd::stream::encode_all(&*changed, 3).unwrap());
        let sidecar_key = format!("{key}.json");
        let parsed = sidecar_key.parse().unwrap();
        let mut sidecar: SegmentSidecar =
            archive.store.get_document(&parsed, MissingDigest::Refuse).await.unwrap().document;
        sidecar.stored_bytes = stored.len() as u64;
        sidecar.stored_sha256 = Sha256Digest::of(&stored);
        put(&objects, &key, stored).await;
        put(&objects, &sidecar_key, sealed::encode(&sidecar).unwrap().into()).await;
        let history = history_of(&store).await;
        let Err(Refused::Restore(error)) = restored(&store, &history, &to_lsn(17)).await else { panic!("byte {at}") };
        assert!(matches!(error, RestoreError::Segment { .. }), "byte {at}: {error}");
        let report = verify(&store, &VerifyOptions::default()).await.unwrap();
        let [fault] = &report.faults[..] else { panic!("byte {at}: {:?}", report.faults) };
        let range = fault.affects.unwrap();
        assert_eq!(
            (fault.kind, range.first_lsn, range.last_lsn),
            (FaultKind::SegmentDamaged, Lsn::new(14), Lsn::new(20))
        );
    }
}

#[tokio::test]
async fn a_segments_digest_counts_even_where_its_records_are_right() {
    let archive = Archive::make().await;
    let (objects, store) = archive.copy().await;
    let key = key_of(&archive, "wal/0000000001/00000000000000000014", "json").await;
    let mut sidecar = body(&get(&objects, &key).await);
    sidecar["stored_sha256"] = "cd".repeat(32).into();
    put(&objects, &key, seal("reddb-segment-sidecar-1", &sidecar)).await;
    let history = history_of(&store).await;
    let Err(Refused::Restore(error)) = restored(&store, &history, &to_lsn(17)).await else { panic!("restored") };
    assert!(matches!(error, RestoreError::Segment { .. }), "{error}");
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    assert_eq!(report.faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::ContentDamaged]);
}

#[tokio::test]
async fn a_sidecar_that_says_something_else_than_its_segment_is_damage() {
    let archive = Archive::make().await;
    let key = key_of(&archive, "wal/0000000001/00000000000000000014", "json").await;
    for (field, value) in [("plain_bytes", 1_u64), ("first_time_ms", 1139), ("last_time_ms", 1201)] {
        let (objects, store) = archive.copy().await;
        let mut sidecar = body(&get(&objects, &key).await);
        sidecar[field] = value.into();
        put(&objects, &key, seal("reddb-segment-sidecar-1", &sidecar)).await;
        let history = history_of(&store).await;
        let Err(Refused::Restore(error)) = restored(&store, &history, &to_lsn(17)).await else { panic!("{field}") };
        assert!(error.to_string().contains(field), "{error}");
        let report = verify(&store, &VerifyOptions::default()).await.unwrap();
        assert_eq!(report.faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::SegmentDamaged]);
    }
}

#[tokio::test]
async fn a_snapshots_chain_is_compared_inside_a_segment_too() {
    // The snapshot at LSN 5 lies inside the only segment, and nothing else names that LSN.
    let objects = std::sync::Arc::new(object_store::memory::InMemory::new());
    let store = super::archive::store_of(&objects);
    let journal = crate::tests::Journal::new(1);
    let writer = super::archive::Writer::start(&store, &journal).await;
    for count in [5, 5] {
        journal.append(count);
        writer.snapshot().await;
    }
    super::archive::ship_stale(&store, &journal, &writer.claim, 1, 10).await;
    for key in keys(&objects).await {
        if key.starts_with("wal/") && !key.contains("01-00000000000000000010") || key.contains("/00000000000000000010-")
        {
            super::archive::delete(&objects, &key).await;
        }
    }
    let good = restored(&store, &history_of(&store).await, &to_lsn(8)).await.unwrap();
    assert_eq!((good.snapshot_lsn(), good.report.records), (Some(5), 3));
    let all = keys(&objects).await;
    let key = all.iter().find(|key| key.starts_with("snapshots/")).unwrap();
    let mut manifest = body(&get(&objects, key).await);
    manifest["chain"] = "ab".repeat(32).into();
    put(&objects, key, seal("reddb-snapshot-1", &manifest)).await;
    let Err(Refused::Restore(error)) = restored(&store, &history_of(&store).await, &to_lsn(8)).await else {
        panic!("a state was made of two histories")
    };
    assert!(matches!(&error, RestoreError::Chain { lsn, .. } if lsn.get() == 5), "{error}");
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    assert!(report.faults.iter().any(|fault| fault.kind == FaultKind::ChainMismatch && fault.key == *key));
}

#[tokio::test]
async fn a_chain_that_is_named_on_the_way_is_compared_inside_a_segment() {
    // The snapshots at LSN 3 and 6 lie inside the only segment; the restore begins at the first and passes the second.
    let objects = std::sync::Arc::new(object_store::memory::InMemory::new());
    let store = super::archive::store_of(&objects);
    let journal = crate::tests::Journal::new(1);
    let writer = super::archive::Writer::start(&store, &journal).await;
    for count in [3, 3, 4] {
        journal.append(count);
        writer.snapshot().await;
    }
    super::archive::ship_stale(&store, &journal, &writer.claim, 1, 10).await;
    for key in keys(&objects).await {
        if key.starts_with("wal/") && !key.contains("01-00000000000000000010") {
            super::archive::delete(&objects, &key).await;
        }
    }
    let history = history_of(&store).await;
    let first = history.usable_snapshots(T1).iter().find(|snapshot| snapshot.lsn.get() == 3).unwrap().id;
    let request = to_lsn(8).from_base(Base::Snapshot(first));
    let good = restored(&store, &history, &request).await.unwrap();
    assert_eq!((good.snapshot_lsn(), good.report.records), (Some(3), 5));
    let all = keys(&objects).await;
    let key = all.iter().find(|key| key.starts_with("snapshots/") && key.contains("/00000000000000000006-")).unwrap();
    let mut manifest = body(&get(&objects, key).await);
    manifest["chain"] = "ab".repeat(32).into();
    put(&objects, key, seal("reddb-snapshot-1", &manifest)).await;
    let Err(Refused::Restore(error)) = restored(&store, &history_of(&store).await, &request).await else {
        panic!("a chain that a snapshot contradicts was passed")
    };
    assert!(matches!(&error, RestoreError::Chain { lsn, .. } if lsn.get() == 6), "{error}");
}

#[tokio::test]
async fn a_bomb_in_a_segments_place_is_not_decompressed() {
    let archive = Archive::make().await;
    let (objects, store) = archive.copy().await;
    let key = key_of(&archive, "wal/0000000001/00000000000000000014", "zst").await;
    let plain = zstd::stream::decode_all(&*get(&objects, &key).await).unwrap();
    // A right header and right records, then 256 MiB of zeros.
    let endless = std::io::Read::chain(&*plain, std::io::Read::take(std::io::repeat(0), 256 << 20));
    let stored = Bytes::from(zstd::stream::encode_all(endless, 1).unwrap());
    let sidecar_key = format!("{key}.json");
    let parsed = sidecar_key.parse().unwrap();
    let mut sidecar: SegmentSidecar =
        archive.store.get_document(&parsed, MissingDigest::Refuse).await.unwrap().document;
    sidecar.stored_bytes = stored.len() as u64;
    sidecar.stored_sha256 = Sha256Digest::of(&stored);
    put(&objects, &key, stored).await;
    put(&objects, &sidecar_key, sealed::encode(&sidecar).unwrap().into()).await;
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    let [fault] = &report.faults[..] else { panic!("{:?}", report.faults) };
    assert!(fault.detail.contains("bytes follow"), "{fault}");
}

#[tokio::test]
async fn documents_without_digests_are_used_only_when_that_is_said_and_the_report_names_them() {
    let archive = Archive::make().await;
    let (objects, store) = archive.copy().await;
    let sidecar = key_of(&archive, "wal/0000000001/00000000000000000014", "json").await;
    let manifest = key_of(&archive, "snapshots/0000000001/00000000000000000013", "json").await;
    for (key, format) in [(&sidecar, "reddb-segment-sidecar-1"), (&manifest, "reddb-snapshot-1")] {
        let body = body(&get(&objects, key).await);
        let plain = serde_json::json!({ "format": format, "body": body });
        put(&objects, key, serde_json::to_vec(&plain).unwrap().into()).await;
    }
    let strict = history_of(&store).await;
    assert!(matches!(plan(&strict, &to_lsn(17)), Err(PlanError::DamagedSnapshot { .. })));
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    let kinds: Vec<_> = report.faults.iter().map(|fault| fault.kind).collect();
    assert!(kinds.contains(&FaultKind::DigestMissing), "{:?}", report.faults);

    let contents = read(&store, MissingDigest::Accept, &Silent::shared()).await.unwrap();
    let lenient = History::conclude(contents);
    let allowed = plan(&lenient, &to_lsn(17)).unwrap();
    assert_eq!(allowed.unverified, [manifest.clone(), sidecar.clone()]);
    // The plan alone does not allow it.
    let Err(error) = carry_out(&store, allowed.clone(), LogSink::default()).await else { panic!("restored") };
    assert!(matches!(error, RestoreError::Unverified { .. }), "{error}");
    let parent = tempfile::tempdir().unwrap();
    let into = parent.path().join("restored");
    let options = RestoreOptions { missing_digest: MissingDigest::Accept, ..RestoreOptions::new(&into) };
    let (report, sink) = restore(&store, allowed, options, LogSink::default()).await.unwrap();
    assert_eq!(report.unverified, [manifest, sidecar]);
    assert_eq!(sink.log, archive.state(T1, 17));
    // What does not rest on them is not marked.
    assert!(plan(&lenient, &to_lsn(30)).unwrap().unverified.is_empty());
}

#[tokio::test]
async fn a_segment_without_its_sidecar_is_used_only_when_that_is_said() {
    let archive = Archive::make().await;
    let (objects, store) = archive.copy().await;
    let sidecar = key_of(&archive, "wal/0000000001/00000000000000000014", "json").await;
    super::archive::delete(&objects, &sidecar).await;
    assert!(matches!(plan(&history_of(&store).await, &to_lsn(17)), Err(PlanError::Hole { .. })));
    let accepting = async || History::conclude(read(&store, MissingDigest::Accept, &Silent::shared()).await.unwrap());
    let lenient = accepting().await;
    assert_eq!(lenient.faults(), []);
    let allowed = plan(&lenient, &to_lsn(17)).unwrap();
    assert_eq!(allowed.unverified, std::slice::from_ref(&sidecar));
    let parent = tempfile::tempdir().unwrap();
    let into = parent.path().join("restored");
    let options = RestoreOptions { missing_digest: MissingDigest::Accept, ..RestoreOptions::new(&into) };
    let (report, sink) = restore(&store, allowed, options, LogSink::default()).await.unwrap();
    assert_eq!((report.unverified, &sink.log[..]), (vec![sidecar.clone()], &archive.state(T1, 17)[..]));
    // A damaged one is not a segment, with or without the flag.
    let key = sidecar.strip_suffix(".json").unwrap();
    let mut bytes = get(&objects, key).await.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    put(&objects, key, bytes.into()).await;
    let lenient = accepting().await;
    assert_eq!(lenient.faults().iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::SidecarMissing]);
    assert!(plan(&lenient, &to_lsn(17)).is_err());
}

#[tokio::test]
async fn a_snapshot_of_files_whose_content_was_exchanged_is_refused() {
    let archive = Archive::make().await;
    let (objects, store) = archive.copy().await;
    let key = key_of(&archive, "snapshots/0000000001/00000000000000000013", "json").await;
    let manifest: SnapshotManifest =
        archive.store.get_document(&key.parse().unwrap(), MissingDigest::Refuse).await.unwrap().document;
    let FileEntry { sha256, size_bytes, .. } = &manifest.files[1];
    let size = usize::try_from(*size_bytes).unwrap();
    let object = ArchiveKey::Object(*sha256).to_string();
    put(&objects, &object, Bytes::from(vec![b'x'; size])).await;
    let history = history_of(&store).await;
    let Err(Refused::Restore(error)) = restored(&store, &history, &to_lsn(15)).await else { panic!("restored") };
    assert!(matches!(error, RestoreError::File { .. }), "{error}");
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    assert!(report.faults.iter().any(|fault| fault.key == object), "{:?}", report.faults);
}

#[tokio::test]
async fn a_missing_or_changed_start_of_an_epoch_forbids_every_plan() {
    // It may have declared something void.
    let archive = Archive::make().await;
    for epoch in ["00000000000000000002.start.json", "00000000000000000003.start.json"] {
        let (objects, store) = archive.copy().await;
        super::archive::delete(&objects, &format!("epochs/{epoch}")).await;
        let history = history_of(&store).await;
        for request in [to_lsn(5), to_lsn(40), Request::new(Target::Latest)] {
            let refused = plan(&history, &request).unwrap_err();
            assert!(matches!(refused, PlanError::Undecided { .. }), "{epoch}: {refused}");
        }
    }
}
