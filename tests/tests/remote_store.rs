//! What the archive relies on from a provider's store, asked of a real server; and a database lost and restored through it.
//!
//! The server is the one that `cargo xtask s3`, `azure` or `gcs` starts and describes in the environment. Without it
//! these tests say so and check nothing; `.ci/run` runs them with each.

use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions,
    PutPayload,
};
use reddb_tests::cli::reddb;
use reddb_tests::digest::digest;
use reddb_tests::load::{History, Load};
use reddb_tests::scene::wait_until_archived;
use reddb_tests::{Node, Scene, wait};

/// The bucket and prefix of the server, or `None` where none was started.
fn url() -> Option<String> {
    let url = std::env::var("REDDB_TEST_STORE_URL").ok();
    if url.is_none() {
        println!("skipped: no store here; run it as `cargo xtask s3 -- cargo test remote`");
    }
    url
}

/// The store and a prefix of this test's own, or `None` where no server was started.
fn store(test: &str) -> Option<(Box<dyn ObjectStore>, Path)> {
    let url = url::Url::parse(&url()?).unwrap();
    let settings = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let settings =
        settings.filter(|(name, _)| ["aws_", "azure_", "google_"].iter().any(|theirs| name.starts_with(theirs)));
    let (store, prefix) = object_store::parse_url_opts(&url, settings).unwrap();
    Some((store, prefix.join(test)))
}

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..PutOptions::default() }
}

#[tokio::test]
async fn a_remote_store_refuses_a_second_create_and_changes_nothing() {
    let Some((store, prefix)) = store("create") else { return };
    let path = prefix.join("claim.json");
    store.put_opts(&path, PutPayload::from_static(b"first"), create()).await.unwrap();
    let second = store.put_opts(&path, PutPayload::from_static(b"second"), create()).await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap().as_ref(), b"first");
}

#[tokio::test]
async fn a_remote_store_lists_what_was_put_and_not_what_was_deleted() {
    let Some((store, prefix)) = store("list") else { return };
    // More than a page where pages are short.
    let mut names: Vec<Path> = (0..20).map(|index| prefix.clone().join_all(&format!("b/{index:02}"))).collect();
    names.extend(["a/1", "c"].map(|name| prefix.clone().join_all(name)));
    for name in &names {
        store.put(name, PutPayload::from_static(b"x")).await.unwrap();
    }
    store.delete(&names.remove(13)).await.unwrap();
    names.sort();
    let mut found = list(&*store, &prefix).await;
    found.sort();
    assert_eq!(found, names);
    let whole: Vec<ObjectMeta> = store.list(Some(&prefix)).try_collect().await.unwrap();
    let mut found: Vec<Path> = whole.into_iter().map(|object| object.location).collect();
    found.sort();
    assert_eq!(found, names);
}

#[tokio::test]
async fn a_remote_store_makes_one_object_of_many_parts_when_it_is_told_that_these_are_all() {
    let Some((store, prefix)) = store("parts") else { return };
    let (path, gone) = (prefix.clone().join("large"), prefix.join("abandoned"));
    let parts: Vec<Bytes> =
        [5 << 20, 6 << 20, 7].iter().zip(1..).map(|(size, byte)| vec![byte; *size].into()).collect();
    let mut upload = store.put_multipart(&path).await.unwrap();
    for part in &parts {
        upload.put_part(PutPayload::from_bytes(part.clone())).await.unwrap();
    }
    assert!(matches!(store.head(&path).await, Err(Error::NotFound { .. })));
    upload.complete().await.unwrap();
    assert!(store.get(&path).await.unwrap().bytes().await.unwrap() == parts.concat());

    let mut abandoned = store.put_multipart(&gone).await.unwrap();
    abandoned.put_part(PutPayload::from_static(b"x")).await.unwrap();
    abandoned.abort().await.unwrap();
    assert!(matches!(store.head(&gone).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_remote_store_never_invents_bytes_past_the_end() {
    let Some((store, prefix)) = store("range") else { return };
    let path = prefix.join("short");
    store.put(&path, PutPayload::from_static(b"0123456789")).await.unwrap();
    let options = GetOptions { range: Some(GetRange::Bounded(4..100)), ..GetOptions::default() };
    let got = store.get_opts(&path, options).await.unwrap().bytes().await.unwrap();
    assert_eq!(got.as_ref(), b"456789");
}

#[test]
fn a_database_comes_back_from_a_remote_store() {
    let Some(url) = url() else { return };
    let scene = Scene::below(&url);
    let node = scene.start("node");
    let load = Load::start(node.data, vec![History::new(0), History::new(1)]);
    let mut observer = node.client();
    let mut at_least = |lsn| wait::until("the writers get on", || (digest(&mut observer).lsn > lsn).then_some(()));
    at_least(100);
    let made = reddb(&["backup", "--admin", &node.admin_url(), "--json"]).expect_code(0).json();
    at_least(made["lsn"].as_u64().unwrap() + 100);
    drop(load.finish());
    let wanted = digest(&mut node.client());
    let _ = reddb(&["mark", "good", "--admin", &node.admin_url()]).expect_code(0);
    node.client().expect(&["FLUSHALL"]);
    wait_until_archived(&node);
    node.kill9();

    let report = scene.restore("restored", &["--to-label", "good", "--json"]).expect_code(0).json();
    assert_eq!(report["mark"]["lsn"].as_u64(), Some(wanted.lsn), "{report}");
    assert_eq!(report["digest"].as_str(), Some(wanted.sha256.as_str()), "{report}");
    let restored = Node::start(&scene.path("restored"), &scene.options().switch("--takeover"));
    assert_eq!(digest(&mut restored.client()).sha256, wanted.sha256);
    restored.client().expect(&["SET", "after", "restore"]);
    wait_until_archived(&restored);
    let _ = scene.verify().expect_code(0);
}

/// `a/b` below a prefix.
trait JoinAll {
    fn join_all(self, parts: &str) -> Self;
}

impl JoinAll for Path {
    fn join_all(self, parts: &str) -> Self {
        parts.split('/').fold(self, |path, part| path.join(part))
    }
}

async fn list(store: &dyn ObjectStore, prefix: &Path) -> Vec<Path> {
    let listing = store.list_with_delimiter(Some(prefix)).await.unwrap();
    let mut found: Vec<Path> = listing.objects.into_iter().map(|object| object.location).collect();
    for folder in listing.common_prefixes {
        let below = store.list_with_delimiter(Some(&folder)).await.unwrap();
        found.extend(below.objects.into_iter().map(|object| object.location));
    }
    found
}
