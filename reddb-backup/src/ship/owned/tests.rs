//! Another place answers under a running archiver: nothing is written there, and shipping goes on when the archive is back.
//!
//! The story: the archive's disk was not mounted when this server began, so that its archive is in the empty mount point.
//! Then the disk comes, with an archive that has an epoch 1 too. Whatever was written there overwrote that one's head.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use reddb_file::archive::layout::OBJECTS_PREFIX;
use reddb_file::mark::TimedMark;
use reddb_file::{ClusterId, Lsn};

use super::*;
use crate::catalogue;
use crate::claim::{Claimant, claim};
use crate::ship::tests::{Running, claim_for, name, reach, run, silent, text};
use crate::ship::{ArchiverState, HandleError};
use crate::snapshot::SnapshotError;
use crate::store::RetryPolicy;
use crate::store::fault::Faults;
use crate::tests::{Journal, TestClock, faulty_store, until, watch};

/// A place with an archive that is not the one which was claimed.
struct Place {
    what: &'static str,
    objects: Arc<InMemory>,
    /// What the archiver says of it.
    says: &'static str,
}

fn store_in(objects: &Arc<InMemory>) -> Store {
    Store::new(Arc::clone(objects) as Arc<dyn ObjectStore>, "", "test").with_retry(RetryPolicy::once())
}

/// Every object of a place.
async fn contents(place: &InMemory) -> Vec<(Path, Bytes)> {
    let mut keys: Vec<Path> = place.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
    keys.sort();
    let mut contents = Vec::new();
    for key in keys {
        let bytes = place.get(&key).await.unwrap().bytes().await.unwrap();
        contents.push((key, bytes));
    }
    contents
}

/// The archive of a cluster of its own.
async fn another_clusters() -> Arc<InMemory> {
    let objects = Arc::new(InMemory::new());
    let cluster = ClusterId::from_bytes([2; 16]);
    let journal = Journal::new(1);
    let genesis = TimedMark::genesis(cluster);
    let claimant = Claimant { cluster, durable: genesis, oldest: genesis, ..journal.claimant() };
    claim(&store_in(&objects), &claimant, &journal, &watch(), &TestClock::default()).await.unwrap();
    objects
}

/// An archive of the same cluster and the same node with so many epochs, and other records.
async fn another_historys(epochs: u64) -> Arc<InMemory> {
    let objects = Arc::new(InMemory::new());
    let store = store_in(&objects);
    let journal = Journal::new(1);
    journal.append_with(9, 40, 5);
    for _ in 0..epochs {
        let other = run(&store, &journal).await;
        other.handle.snapshot(text("other"), silent()).await.unwrap();
        other.end().await;
    }
    objects
}

/// A copy of `own` with `harm` done to its claim.
async fn harmed(own: &Store, harm: impl Fn(String) -> String) -> Arc<InMemory> {
    let objects = Arc::new(InMemory::new());
    for object in own.list("").await.unwrap() {
        let key: ArchiveKey = object.key.parse().unwrap();
        let mut bytes = own.get_bounded(&key, 1 << 20).await.unwrap();
        if matches!(key, ArchiveKey::EpochClaim(_)) {
            bytes = harm(String::from_utf8(bytes.to_vec()).unwrap()).into();
        }
        objects.put(&Path::from(object.key), bytes.into()).await.unwrap();
    }
    objects
}

/// What the claim says is whole; only nobody vouches for it.
fn with_another_digest(claim: String) -> String {
    let at = digest_at(&claim);
    let other = if claim[at..].starts_with('0') { "1" } else { "0" };
    format!("{}{other}{}", &claim[..at], &claim[at + 1..])
}

fn without_its_digest(claim: String) -> String {
    let at = digest_at(&claim);
    format!("{}{}", &claim[..at - DIGEST_MEMBER.len()], &claim[at + 64 + "\",".len()..])
}

const DIGEST_MEMBER: &str = "\"sha256\":\"";

fn digest_at(claim: &str) -> usize {
    claim.find(DIGEST_MEMBER).unwrap() + DIGEST_MEMBER.len()
}

async fn places(own: &Store) -> Vec<Place> {
    let gone = "does not hold the claim of epoch 1";
    vec![
        Place { what: "another cluster's", objects: another_clusters().await, says: gone },
        Place { what: "another history of this cluster", objects: another_historys(1).await, says: gone },
        Place { what: "another history with a higher claim", objects: another_historys(2).await, says: gone },
        Place { what: "empty", objects: Arc::new(InMemory::new()), says: gone },
        Place { what: "a damaged claim", objects: harmed(own, with_another_digest).await, says: "digest" },
        Place { what: "a claim without its digest", objects: harmed(own, without_its_digest).await, says: "no digest" },
    ]
}

/// A running archiver whose archive holds everything.
async fn shipped() -> (Store, Faults, Journal, Running) {
    let (store, faults) = faulty_store();
    let journal = Journal::new(1);
    journal.append(5);
    let running = run(&store, &journal).await;
    running.handle.ship_now().await.unwrap();
    (store, faults, journal, running)
}

/// Returns when the archiver has asked for some more things.
async fn asked_more(faults: &Faults) {
    let seen = faults.requests().len();
    until(|| faults.requests().len() > seen + 10).await;
}

#[tokio::test]
async fn nothing_is_written_into_another_place_and_shipping_goes_on_when_the_archive_is_back() {
    let (store, faults, journal, running) = shipped().await;
    let mut lsn = 5;
    for (number, place) in places(&store).await.into_iter().enumerate() {
        let before = contents(&place.objects).await;
        faults.answer_from(Arc::clone(&place.objects) as Arc<dyn ObjectStore>);
        // Without a record first: a beat writes too.
        asked_more(&faults).await;
        journal.append(50);
        let marking = tokio::spawn({
            let handle = running.handle.clone();
            async move { handle.mark(name(&format!("meanwhile-{number}"))).await }
        });
        let refused = running.handle.snapshot(text("meanwhile"), silent()).await.unwrap_err();
        assert!(matches!(&refused, HandleError::Snapshot(SnapshotError::Elsewhere(_))), "{}: {refused}", place.what);
        asked_more(&faults).await;
        let status = running.handle.status();
        assert!(matches!(status.state, ArchiverState::Retrying { .. }), "{}: {:?}", place.what, status.state);
        let said = status.last_error.unwrap();
        assert!(said.contains(place.says), "{}: {said}", place.what);
        assert!(contents(&place.objects).await == before, "{}: something was written there", place.what);
        assert_eq!((journal.local_archived().lsn, status.lag_records), (Lsn::new(lsn), 50), "the log is kept");
        assert!(!marking.is_finished());
        faults.heal();
        lsn += 50;
        assert_eq!(marking.await.unwrap().unwrap().lsn, Lsn::new(lsn));
        assert_eq!(running.handle.status().state, ArchiverState::Online);
        running.handle.snapshot(text("back"), silent()).await.unwrap();
        assert_eq!(reach(&store, &journal).await, Lsn::new(lsn));
        // Quiet until the next place answers.
        running.handle.ship_now().await.unwrap();
    }
}

#[tokio::test]
async fn an_archiver_that_is_stopped_while_another_place_answers_writes_nothing_there_and_says_what_is_missing() {
    let (own, ..) = shipped().await;
    for place in places(&own).await {
        for missing in [0, 3] {
            let (store, faults, journal, running) = shipped().await;
            let before = contents(&place.objects).await;
            faults.answer_from(Arc::clone(&place.objects) as Arc<dyn ObjectStore>);
            journal.append(missing);
            let report = running.handle.shutdown(Duration::from_millis(30)).await.unwrap();
            assert_eq!(report.missing_records, missing, "{}", place.what);
            assert!(contents(&place.objects).await == before, "{}: something was written there", place.what);
            faults.heal();
            assert_eq!(run(&store, &journal).await.end().await.missing_records, 0);
            assert_eq!(reach(&store, &journal).await, Lsn::new(5 + missing));
        }
    }
}

/// Its objects may have gone to the other place.
#[tokio::test]
async fn a_snapshot_that_was_under_way_when_another_place_answered_is_not_published() {
    let (_, faults, journal, running) = shipped().await;
    journal.append(5);
    journal.hold_fence(Some(5));
    let snapshot = tokio::spawn({
        let handle = running.handle.clone();
        async move { handle.snapshot(text("under way"), silent()).await }
    });
    until(|| running.handle.status().snapshot.is_some_and(|now| now.total_bytes > 0)).await;
    faults.answer_from(another_historys(1).await);
    asked_more(&faults).await;
    assert!(running.handle.status().snapshot.is_none());
    let error = snapshot.await.unwrap().unwrap_err();
    assert!(matches!(&error, HandleError::Snapshot(SnapshotError::Elsewhere(_))), "{error}");
}

#[tokio::test]
async fn no_object_of_a_snapshot_goes_to_another_place() {
    let (_, faults, journal, running) = shipped().await;
    let place = another_historys(1).await;
    faults.answer_from(Arc::clone(&place) as Arc<dyn ObjectStore>);
    journal.append(30);
    let before = store_in(&place).list(OBJECTS_PREFIX).await.unwrap();
    running.handle.snapshot(text("elsewhere"), silent()).await.unwrap_err();
    assert_eq!(store_in(&place).list(OBJECTS_PREFIX).await.unwrap(), before);
}

#[tokio::test]
async fn the_catalogue_of_another_history_is_not_overwritten() {
    let (own, _) = faulty_store();
    let claim = claim_for(&own, &Journal::new(1)).await;
    let place = another_historys(1).await;
    let before = contents(&place).await;
    let error = catalogue::write(&store_in(&place), &claim, 7).await.unwrap_err();
    assert!(error.to_string().contains("another claim of this cluster"), "{error}");
    assert!(contents(&place).await == before);
    catalogue::write(&own, &claim, 7).await.unwrap();
}

#[tokio::test]
async fn only_the_claim_with_the_same_token_is_ours() {
    let (store, _) = faulty_store();
    let claim = claim_for(&store, &Journal::new(1)).await;
    check_claim(&store, &claim).await.unwrap();
    check_owned(&store, &claim).await.unwrap();
    let token = uuid::Uuid::from_u128(claim.token.as_u128() ^ 1);
    let node = reddb_file::NodeId::from_bytes([9; 16]);
    let cluster = ClusterId::from_bytes([9; 16]);
    for other in [Claim { token, ..claim.clone() }, Claim { node, ..claim.clone() }, Claim { cluster, ..claim.clone() }]
    {
        let error = check_claim(&store, &other).await.unwrap_err();
        assert!(matches!(error, ShipError::ClaimGone { .. }), "{error}");
    }
}
