//! What the archive relies on from an S3 server, asked of a real one.
//!
//! The server is the one that `cargo xtask s3` starts and describes in the environment. Without it these tests say so and
//! check nothing; `.ci/run` runs them with it.

use object_store::path::Path;
use object_store::{Error, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

/// The store and a prefix of this test's own, or `None` where no server was started.
fn store(test: &str) -> Option<(Box<dyn ObjectStore>, Path)> {
    let Ok(url) = std::env::var("REDDB_TEST_S3_URL") else {
        println!("skipped: no S3 server here; run it as `cargo xtask s3 -- cargo test`");
        return None;
    };
    let url = url::Url::parse(&url).unwrap();
    let settings = std::env::vars().map(|(name, value)| (name.to_ascii_lowercase(), value));
    let settings = settings.filter(|(name, _)| name.starts_with("aws_"));
    let (store, prefix) = object_store::parse_url_opts(&url, settings).unwrap();
    Some((store, prefix.join(test)))
}

fn create() -> PutOptions {
    PutOptions { mode: PutMode::Create, ..PutOptions::default() }
}

#[tokio::test]
async fn s3_refuses_a_second_create_and_changes_nothing() {
    let Some((store, prefix)) = store("create") else { return };
    let path = prefix.join("claim.json");
    store.put_opts(&path, PutPayload::from_static(b"first"), create()).await.unwrap();
    let second = store.put_opts(&path, PutPayload::from_static(b"second"), create()).await;
    assert!(matches!(second, Err(Error::AlreadyExists { .. })), "{second:?}");
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap().as_ref(), b"first");
}

#[tokio::test]
async fn s3_lists_what_was_put_and_not_what_was_deleted() {
    let Some((store, prefix)) = store("list") else { return };
    let names = ["b/2", "a/1", "c"].map(|name| prefix.clone().join_all(name));
    for name in &names {
        store.put(name, PutPayload::from_static(b"x")).await.unwrap();
    }
    store.delete(&names[1]).await.unwrap();
    let mut found = list(&*store, &prefix).await;
    found.sort();
    assert_eq!(found, [names[0].clone(), names[2].clone()]);
}

#[tokio::test]
async fn s3_never_invents_bytes_past_the_end() {
    let Some((store, prefix)) = store("range") else { return };
    let path = prefix.join("short");
    store.put(&path, PutPayload::from_static(b"0123456789")).await.unwrap();
    let options = GetOptions { range: Some(GetRange::Bounded(4..100)), ..GetOptions::default() };
    let got = store.get_opts(&path, options).await.unwrap().bytes().await.unwrap();
    assert_eq!(got.as_ref(), b"456789");
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
