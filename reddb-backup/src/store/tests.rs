//! Every kind of store runs the conformance suite; then what happens when a store lies.

use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use reddb_file::Epoch;
use reddb_file::archive::ArchiveKey;

use super::error::{StoreError, StoreErrorKind};
use super::fault::{FaultStore, Faults, Op};
use super::local::{Absent, LocalRoot};
use super::open::{OpenError, OpenMode, PlainHttp, StoreSettings};
use super::probe::ProbeError;
use super::{Created, RetryPolicy, Store, conformance};

fn faulty(attempts_max: u32) -> (Store, Faults) {
    let (faulty, faults) = FaultStore::new(Arc::new(InMemory::new()));
    let retry = RetryPolicy { attempts_max, ..RetryPolicy::once() };
    (Store::new(Arc::new(faulty), "some/prefix", "faulty").with_retry(retry), faults)
}

fn claim() -> ArchiveKey {
    ArchiveKey::EpochClaim(Epoch::new(1))
}

const OURS: Bytes = Bytes::from_static(b"ours");

#[tokio::test]
async fn memory_conforms() {
    let url = "memory://conformance/deep/prefix".parse().unwrap();
    let store = Store::open(&url, &StoreSettings::default(), OpenMode::MustExist).unwrap();
    conformance::run(&store).await.unwrap();
    conformance::run_race(&store).await.unwrap();
}

#[tokio::test]
async fn a_local_directory_conforms() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("file://{}/new/archive", directory.path().display()).parse().unwrap();
    assert!(Store::open(&url, &StoreSettings::default(), OpenMode::MustExist).is_err());
    let store = Store::open(&url, &StoreSettings::default(), OpenMode::Create).unwrap();
    conformance::run(&store).await.unwrap();
    conformance::run_race(&store).await.unwrap();
}

#[tokio::test]
async fn a_store_that_does_not_know_where_a_listing_begins_conforms() {
    let (store, faults) = faulty(1);
    faults.ignore_list_offsets();
    conformance::run(&store).await.unwrap();
}

#[tokio::test]
async fn a_remote_store_conforms() {
    let Some(store) = crate::tests::remote_store() else { return };
    conformance::run(&store).await.unwrap();
    // The S3 server of these tests looks first and writes then: two creators at once may both succeed there.
    if !store.to_string().starts_with("s3:") {
        conformance::run_race(&store).await.unwrap();
    }
}

#[test]
fn an_endpoint_without_encryption_needs_permission() {
    let url = "s3://bucket/prefix".parse().unwrap();
    let settings = |plain_http| StoreSettings {
        endpoint: Some("http://127.0.0.1:1".into()),
        plain_http,
        ..StoreSettings::default()
    };
    let refused = Store::open(&url, &settings(PlainHttp::Refuse), OpenMode::MustExist).unwrap_err();
    assert!(matches!(refused, OpenError::PlainHttp { .. }), "{refused}");
    assert!(Store::open(&url, &settings(PlainHttp::Allow), OpenMode::MustExist).is_ok());
}

#[tokio::test]
async fn memories_of_one_name_are_one_store() {
    let open = |url: &str| Store::open(&url.parse().unwrap(), &StoreSettings::default(), OpenMode::Create).unwrap();
    open("memory://shared-name/a").put_create_only(&claim(), OURS).await.unwrap();
    assert_eq!(open("memory://shared-name/a").get_bounded(&claim(), 4).await.unwrap(), OURS);
    assert!(!open("memory://other-name/a").exists(&claim()).await.unwrap());
    assert!(!open("memory://shared-name/b").exists(&claim()).await.unwrap());
}

#[tokio::test]
async fn a_lost_answer_is_found_to_have_been_a_success() {
    let (store, faults) = faulty(1);
    faults.lose_answer_next();
    assert_eq!(store.put_create_only(&claim(), OURS).await.unwrap(), Created::Found);
}

#[tokio::test]
async fn a_lie_about_an_object_that_is_absent_is_seen_and_tried_again() {
    let (store, faults) = faulty(2);
    faults.lie_already_exists_next();
    assert_eq!(store.put_create_only(&claim(), OURS).await.unwrap(), Created::New);
    assert_eq!(store.get_bounded(&claim(), 4).await.unwrap(), OURS);
    let (store, faults) = faulty(1);
    faults.lie_already_exists_next();
    let error = store.put_create_only(&claim(), OURS).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Retry, "{error}");
}

#[tokio::test]
async fn transient_failures_are_retried_and_final_ones_are_not() {
    let (store, faults) = faulty(3);
    for op in [Op::Put, Op::Put, Op::Get, Op::Get, Op::Head, Op::List, Op::List, Op::Delete] {
        faults.fail_next(op);
    }
    store.put_overwrite(&claim(), OURS).await.unwrap();
    assert_eq!(store.get_bounded(&claim(), 4).await.unwrap(), OURS);
    assert_eq!(store.head(&claim()).await.unwrap(), 4);
    assert_eq!(store.list("epochs").await.unwrap().len(), 1);
    store.delete(&claim()).await.unwrap();
    let before = faults.requests().len();
    assert_eq!(store.head(&claim()).await.unwrap_err().kind(), StoreErrorKind::NotFound);
    assert_eq!(faults.requests().len(), before + 1, "an absent object is asked for once");
    assert_eq!(store.requests().failures, 8);
}

#[tokio::test]
async fn an_offline_store_is_unavailable_and_says_how_often_it_was_asked() {
    let (store, faults) = faulty(3);
    faults.go_offline();
    let error = store.list("wal").await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { attempts: 3, .. }), "{error}");
    assert!(store.probe().await.is_err());
    faults.go_online();
    store.probe().await.unwrap();
    assert!(store.list("").await.unwrap().is_empty(), "the probe cleans up");
}

#[tokio::test]
async fn the_probe_catches_stores_that_cannot_fence() {
    let (store, faults) = faulty(2);
    faults.ignore_create_only();
    assert!(matches!(store.probe().await, Err(ProbeError::CreateOnlyNotEnforced)));
    let (store, faults) = faulty(2);
    faults.hide_from_lists("probe");
    assert!(matches!(store.probe().await, Err(ProbeError::ListInconsistent)));
    let (store, faults) = faulty(2);
    faults.lose_answer_next();
    faults.lie_already_exists_next();
    store.probe().await.unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn symbolic_links_in_a_local_archive_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("00000000000000000001.json"), "secret").unwrap();
    let url = format!("file://{}", directory.path().display()).parse().unwrap();
    let store = Store::open(&url, &StoreSettings::default(), OpenMode::Create).unwrap();
    std::os::unix::fs::symlink(outside.path(), directory.path().join("epochs")).unwrap();
    let refused = |error: StoreError| matches!(error, StoreError::SymbolicLink { .. });
    assert!(store.get_bounded(&claim(), 100).await.is_err_and(refused));
    assert!(store.put_overwrite(&claim(), OURS).await.is_err_and(refused));
    assert!(store.delete(&claim()).await.is_err_and(refused));
    assert_eq!(std::fs::read(outside.path().join("00000000000000000001.json")).unwrap(), b"secret");
}

#[tokio::test]
async fn a_local_archive_that_is_away_is_no_empty_archive() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("archive");
    let url = format!("file://{}", directory.display()).parse().unwrap();
    let cluster = ArchiveKey::Cluster;
    let away = Store::open(&url, &StoreSettings::default(), OpenMode::MayBeAway).unwrap();
    let is_away = |error: StoreError| assert_eq!(error.kind(), StoreErrorKind::Retry, "{error}");
    is_away(away.list("").await.unwrap_err());
    is_away(away.put_overwrite(&cluster, Bytes::from_static(b"x")).await.unwrap_err());
    std::fs::create_dir(&directory).unwrap();
    is_away(away.exists(&cluster).await.unwrap_err());

    // Once it holds an archive, it is back.
    let maker = Store::open(&url, &StoreSettings::default(), OpenMode::Create).unwrap();
    maker.put_overwrite(&cluster, Bytes::from_static(b"x")).await.unwrap();
    assert_eq!(away.get_bounded(&cluster, 10).await.unwrap().as_ref(), b"x");
    assert_eq!(away.list("").await.unwrap().len(), 1);

    std::fs::rename(&directory, folder.path().join("elsewhere")).unwrap();
    is_away(maker.put_overwrite(&cluster, Bytes::from_static(b"y")).await.unwrap_err());
    assert!(!directory.exists(), "the directory was made anew");
}

#[tokio::test]
async fn a_directory_that_could_not_be_made_is_made_once_it_can_be_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let parent = folder.path().join("parent");
    let directory = parent.join("archive");
    // Stands for a disk without space: no directory can be made below a file.
    std::fs::write(&parent, b"").unwrap();
    let root = LocalRoot::absent(directory.clone(), Absent::ToBeMade);
    let local = Arc::new(object_store::local::LocalFileSystem::new());
    let store = Store::new(local, directory.to_str().unwrap(), "to be made")
        .with_local_root(root)
        .with_retry(RetryPolicy::once());
    let error = store.put_overwrite(&claim(), OURS).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Retry, "{error}");
    assert!(error.to_string().contains("cannot be made"), "{error}");

    std::fs::remove_file(&parent).unwrap();
    store.put_overwrite(&claim(), OURS).await.unwrap();
    assert_eq!(store.clone().get_bounded(&claim(), 4).await.unwrap(), OURS);

    // From then on it is a directory that was there, which may go away.
    std::fs::remove_dir_all(&directory).unwrap();
    let error = store.put_overwrite(&claim(), OURS).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Retry, "{error}");
    assert!(!directory.exists(), "the directory was made anew");
}
