//! The suite that every kind of store must pass to hold an archive.
//!
//! Public, so that a program with a store of its own can run it. It works at the top and below `points/`, `objects/` and
//! `epochs/` of the store that it is handed, which must be empty, and leaves it empty.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use reddb_file::Epoch;
use reddb_file::archive::{ArchiveKey, Sha256Digest};

use super::error::{StoreError, StoreErrorKind};
use super::object::{Created, Listed, Store};
use super::upload::PART_BYTES;

/// Runs the whole suite, but for [`run_race`].
///
/// # Errors
/// A sentence that names the promise that was broken.
pub async fn run(store: &Store) -> Result<(), String> {
    ensure(fails(store.list("").await)?.is_empty(), "the store must be empty")?;
    fails(store.probe().await)?;
    absent_objects_are_not_found(store).await?;
    create_only_writes_happen_once(store).await?;
    overwrites_replace(store).await?;
    reads_are_bounded_and_can_begin_anywhere(store).await?;
    listings_are_sorted_and_complete(store).await?;
    files_become_objects(store).await?;
    ensure(fails(store.list("").await)?.is_empty(), "the suite must leave the store empty")
}

fn ensure(holds: bool, promise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(promise.into()) }
}

fn fails<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

fn point(name: &str) -> Result<ArchiveKey, String> {
    fails(name.parse()).map(ArchiveKey::Point)
}

async fn absent_objects_are_not_found(store: &Store) -> Result<(), String> {
    let key = point("absent")?;
    let missing = |error: StoreError| error.kind() == StoreErrorKind::NotFound;
    ensure(store.get_bounded(&key, 10).await.is_err_and(missing), "reading an absent object is NotFound")?;
    ensure(store.head(&key).await.is_err_and(missing), "the size of an absent object is NotFound")?;
    ensure(store.get_stream(&key, 0).await.is_err_and(missing), "streaming an absent object is NotFound")?;
    ensure(!fails(store.exists(&key).await)?, "an absent object does not exist")?;
    ensure(fails(store.list("points").await)?.is_empty(), "an absent folder lists as empty")?;
    fails(store.delete(&key).await)
}

async fn create_only_writes_happen_once(store: &Store) -> Result<(), String> {
    let key = ArchiveKey::EpochClaim(Epoch::new(1));
    let first = fails(store.put_create_only(&key, Bytes::from_static(b"first")).await)?;
    ensure(first == Created::New, "the first create-only write creates")?;
    let again = fails(store.put_create_only(&key, Bytes::from_static(b"first")).await)?;
    ensure(again == Created::Found, "the same bytes again are found")?;
    for other in ["other", "longer than the first", ""] {
        let refused = store.put_create_only(&key, Bytes::from(other)).await;
        ensure(
            refused.is_err_and(|error| matches!(error, StoreError::ExistsDifferent { .. })),
            "other bytes are refused",
        )?;
    }
    ensure(fails(store.get_bounded(&key, 5).await)? == "first", "a refused write changes nothing")?;
    fails(store.delete(&key).await)
}

/// Runs what only a store with atomic create-only writes passes: of racing creators exactly one wins. Apart from the suite,
/// because some test servers look first and write then.
///
/// # Errors
/// A sentence that names the promise that was broken.
pub async fn run_race(store: &Store) -> Result<(), String> {
    let key = Arc::new(ArchiveKey::EpochClaim(Epoch::new(2)));
    let mut claims = tokio::task::JoinSet::new();
    for claimant in 0..8_u8 {
        let (store, key) = (store.clone(), Arc::clone(&key));
        claims.spawn(async move {
            let bytes = Bytes::from(vec![claimant; 32]);
            (bytes.clone(), store.put_create_only(&key, bytes).await)
        });
    }
    let mut winners = Vec::new();
    while let Some(claim) = claims.join_next().await {
        let (bytes, result) = fails(claim)?;
        match result {
            Ok(_) => winners.push(bytes),
            Err(StoreError::ExistsDifferent { .. }) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    ensure(winners.len() == 1, "of racing create-only writes exactly one wins")?;
    ensure(Some(&fails(store.get_bounded(&key, 32).await)?) == winners.first(), "the winner's bytes are there")?;
    fails(store.delete(&key).await)
}

async fn overwrites_replace(store: &Store) -> Result<(), String> {
    let key = ArchiveKey::EpochHead(Epoch::new(1));
    for text in ["a long first text", "short", ""] {
        fails(store.put_overwrite(&key, Bytes::from(text)).await)?;
        ensure(fails(store.get_bounded(&key, 100).await)? == text, "a write is read back as it was written")?;
        ensure(fails(store.head(&key).await)? == text.len() as u64, "the size is that of the last write")?;
    }
    fails(store.delete(&key).await)
}

async fn reads_are_bounded_and_can_begin_anywhere(store: &Store) -> Result<(), String> {
    let key = point("bounded")?;
    let bytes: Bytes = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
    fails(store.put_create_only(&key, bytes.clone()).await)?;
    let size = bytes.len() as u64;
    let refused = store.get_bounded(&key, size - 1).await;
    ensure(refused.is_err_and(|error| matches!(error, StoreError::TooLarge { .. })), "a larger object is not read")?;
    ensure(fails(store.get_bounded(&key, size).await)? == bytes, "an object at the limit is read")?;
    for offset in [0, 1, size - 1] {
        let stream = fails(store.get_stream(&key, offset).await)?;
        ensure(stream.object_bytes == size, "a stream knows its object's size")?;
        let chunks: Vec<Bytes> = fails(stream.chunks.try_collect().await)?;
        let start = fails(usize::try_from(offset))?;
        ensure(chunks.concat() == bytes[start..], "a stream holds what follows its offset")?;
    }
    ensure(store.get_stream(&key, size + 1).await.is_err(), "a stream beyond the end is an error")?;
    fails(store.delete(&key).await)
}

async fn listings_are_sorted_and_complete(store: &Store) -> Result<(), String> {
    let names = ["b", "a", "c.d", "a-b", "B", "10", "9"];
    for name in names {
        fails(store.put_create_only(&point(name)?, Bytes::from(name)).await)?;
    }
    let mut expected: Vec<_> = names.iter().map(|name| (format!("points/{name}.json"), name.len() as u64)).collect();
    expected.sort();
    let listed = fails(store.list("points").await)?;
    let got: Vec<_> = listed.into_iter().map(|object| (object.key, object.bytes)).collect();
    ensure(got == expected, "a listing is sorted and complete, with sizes")?;
    let after = fails(store.list_after("points", Some("points/a.json")).await)?;
    let got: Vec<_> = after.into_iter().map(|object| (object.key, object.bytes)).collect();
    let beyond: Vec<_> = expected.iter().filter(|(key, _)| key.as_str() > "points/a.json").cloned().collect();
    ensure(got == beyond, "a listing after a key begins behind it")?;
    ensure(fails(store.list("point").await)?.is_empty(), "a folder's name is not a prefix of letters")?;
    let points = "points".to_owned();
    let top = fails(store.list_top().await)?;
    ensure(top.folders.contains(&points) && top.objects.is_empty(), "the top has a folder, and not what is in it")?;
    fails(store.put_create_only(&ArchiveKey::Cluster, Bytes::from_static(b"top")).await)?;
    let top = fails(store.list_top().await)?;
    let object = Listed { key: ArchiveKey::Cluster.to_string(), bytes: 3 };
    ensure(top.folders.contains(&points) && top.objects == [object], "the top has the objects that are in no folder")?;
    fails(store.delete(&ArchiveKey::Cluster).await)?;
    for name in names {
        fails(store.delete(&point(name)?).await)?;
    }
    ensure(fails(store.list_top().await)?.objects.is_empty(), "an empty place has no objects at its top")
}

async fn files_become_objects(store: &Store) -> Result<(), String> {
    let directory = fails(std::env::temp_dir().canonicalize())?;
    let path = directory.join(format!("reddb-conformance-{}", uuid::Uuid::new_v4()));
    let result = files_become_objects_from(store, &path).await;
    fails(std::fs::remove_file(&path))?;
    result
}

async fn files_become_objects_from(store: &Store, path: &std::path::Path) -> Result<(), String> {
    for size in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 17] {
        let content: Vec<u8> = (0..size).map(|at| (at % 251).to_le_bytes()[0]).collect();
        fails(std::fs::write(path, &content))?;
        let digest = Sha256Digest::of(&content);
        let sent = std::sync::atomic::AtomicU64::new(0);
        let count = |bytes| {
            sent.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        };
        fails(store.put_object_file(digest, size as u64, path, &count).await)?;
        ensure(sent.into_inner() == size as u64, "an upload reports each byte once")?;
        let stored = fails(store.get_bounded(&ArchiveKey::Object(digest), size as u64).await)?;
        ensure(stored == content, "an uploaded file is read back as it was")?;
        let wrong = Sha256Digest::of(b"something else");
        let refused = store.put_object_file(wrong, size as u64, path, &|_| ()).await;
        ensure(
            refused.is_err_and(|error| error.kind() == StoreErrorKind::Local),
            "a file that is not what it should be is refused",
        )?;
        let absent = !fails(store.exists(&ArchiveKey::Object(wrong)).await)?;
        ensure(absent, "a refused file leaves no object")?;
        fails(store.delete(&ArchiveKey::Object(digest)).await)?;
    }
    Ok(())
}
