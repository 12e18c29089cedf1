//! Claims: who gets an epoch, who is refused and why, and what a fault at each step leaves behind.

use std::sync::Arc;

use bytes::Bytes;
use reddb_file::archive::{Codec, SegmentSidecar, Sha256Digest, TimelineDocument, TimelineReason};

use reddb_file::{Chain, Lsn};

use super::*;
use crate::codec::{CompressionLevel, encode_segment};
use crate::source::LogSource as _;
use crate::store::fault::Op;
use crate::tests::{CLUSTER, Journal, TestClock, faulty_store, watch};

async fn claim_as(store: &Store, journal: &Journal, takeover: Takeover) -> Result<Claim, ClaimError> {
    let claimant = Claimant { takeover, ..journal.claimant() };
    claim(store, &claimant, journal, &watch(), &TestClock::default()).await
}

async fn start(store: &Store, journal: &Journal) -> Result<Claim, ClaimError> {
    claim_as(store, journal, Takeover::Refuse).await
}

/// Ships the records up to `to` as one segment, without a head: what a crash after the sidecar leaves.
async fn ship(store: &Store, journal: &Journal, claim: &Claim, from: TimedMark, to: u64) -> SegmentSidecar {
    let bytes = journal.read(from.lsn.next().unwrap(), Lsn::new(to), u64::MAX).unwrap();
    let run = reddb_file::archive::RecordRun::scan(from.lsn, from.chain, bytes).unwrap();
    let stored = encode_segment(&run, CLUSTER, claim.timeline, claim.epoch, CompressionLevel::default()).unwrap();
    let name = stored.sidecar.name();
    store.put_create_only(&ArchiveKey::Segment(name), stored.object).await.unwrap();
    put_new(store, &ArchiveKey::SegmentSidecar(name), &stored.sidecar).await.unwrap();
    stored.sidecar
}

async fn load(store: &Store) -> Epochs {
    Epochs::load(store, CLUSTER, MissingDigest::Refuse).await.unwrap()
}

#[tokio::test]
async fn a_new_archive_begins_where_the_log_begins() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(9);
    let claim = start(&store, &journal).await.unwrap();
    assert_eq!((claim.epoch, claim.kind), (Epoch::new(1), ArchiveKind::New));
    assert_eq!(claim.archived, TimedMark::genesis(CLUSTER));
    journal.prune(4);
    let (other, _) = faulty_store();
    let claim = start(&other, &journal).await.unwrap();
    assert_eq!(claim.archived.lsn, Lsn::new(4));
    let keys: Vec<_> = other.list("").await.unwrap().into_iter().map(|object| object.key).collect();
    let epoch = "epochs/00000000000000000001";
    let expected = ["cluster.json".into(), format!("{epoch}.head.json"), format!("{epoch}.json")];
    assert_eq!(keys[..3], expected);
    assert_eq!(keys[3..], [format!("{epoch}.start.json"), "timelines/0000000001.json".into()]);
}

#[tokio::test]
async fn an_empty_place_is_not_the_archive_of_a_log_that_was_archived() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(9);
    let archived_before = Claimant { archived: Lsn::new(7), ..journal.claimant() };
    let refused = claim(&store, &archived_before, &journal, &watch(), &TestClock::default()).await;
    assert!(matches!(refused, Err(ClaimError::ArchiveGone { archived, .. }) if archived == Lsn::new(7)), "{refused:?}");
    assert_eq!(store.list("").await.unwrap(), [], "nothing was begun there");
    start(&store, &journal).await.unwrap();
    let returned = Claimant { takeover: Takeover::Allow, ..archived_before };
    claim(&store, &returned, &journal, &watch(), &TestClock::default()).await.unwrap();
}

#[tokio::test]
async fn a_restart_goes_on_where_the_archive_really_ends() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(20);
    let first = start(&store, &journal).await.unwrap();
    // Two segments landed, the head was never written again; a third lacks its sidecar.
    let one = ship(&store, &journal, &first, first.archived, 8).await;
    let mark = TimedMark { lsn: one.last_lsn, chain: one.chain_after, time_ms: one.last_time_ms };
    let two = ship(&store, &journal, &first, mark, 12).await;
    let mark = TimedMark { lsn: two.last_lsn, chain: two.chain_after, time_ms: two.last_time_ms };
    let three = ship(&store, &journal, &first, mark, 15).await;
    store.delete(&ArchiveKey::SegmentSidecar(three.name())).await.unwrap();
    let second = start(&store, &journal).await.unwrap();
    assert_eq!((second.epoch, second.archived, second.kind), (Epoch::new(2), mark, ArchiveKind::Continued));
    let epochs = load(&store).await;
    assert_eq!(epochs.get(second.epoch).unwrap().closes(), Some(journal.point(12)));
    assert!(epochs.is_segment_void(&three.name()) && !epochs.is_segment_void(&two.name()));
    // A sidecar that lands late changes nothing.
    put_new(&store, &ArchiveKey::SegmentSidecar(three.name()), &three).await.unwrap();
    assert_eq!(start(&store, &journal).await.unwrap().archived, mark);
}

#[tokio::test]
async fn only_the_logs_own_archive_is_extended() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(10);
    let first = start(&store, &journal).await.unwrap();
    ship(&store, &journal, &first, first.archived, 10).await;
    let before = store.list("").await.unwrap();

    let behind = start(&store, &journal.fork(1, 9, None)).await.unwrap_err();
    assert!(matches!(behind, ClaimError::LocalBehindArchive { local, archive, .. }
        if (local, archive) == (Lsn::new(9), Lsn::new(10))));

    let diverged = journal.fork(1, 5, None);
    diverged.append_with(9, 30, 99);
    let diverged = start(&store, &diverged).await.unwrap_err();
    assert!(matches!(diverged, ClaimError::Diverged { lsn, .. } if lsn == Lsn::new(10)), "{diverged}");

    let forgetful = journal.fork(1, 10, None);
    forgetful.append(5);
    forgetful.prune(12);
    let error = start(&store, &forgetful).await.unwrap_err();
    assert!(matches!(error, ClaimError::LogBeginsBeyondArchive { .. }), "{error}");

    let stranger = Claimant { cluster: ClusterId::from_bytes([9; 16]), ..journal.claimant() };
    let error = claim(&store, &stranger, &journal, &watch(), &TestClock::default()).await.unwrap_err();
    assert!(matches!(error, ClaimError::WrongCluster { .. }), "{error}");

    let mut twin = journal.claimant();
    twin.timeline.id = Uuid::from_bytes([8; 16]);
    let error = claim(&store, &twin, &journal, &watch(), &TestClock::default()).await.unwrap_err();
    assert!(matches!(error, ClaimError::TimelineTaken { .. }), "{error}");

    assert_eq!(store.list("").await.unwrap(), before, "a refused start leaves no trace");
    start(&store, &journal).await.unwrap();
}

#[tokio::test]
async fn a_place_that_holds_other_things_is_no_archive() {
    let (store, _) = faulty_store();
    store.put_overwrite(&ArchiveKey::Catalogue, Bytes::from_static(b"{}")).await.unwrap();
    let error = start(&store, &Journal::new(1)).await.unwrap_err();
    assert!(matches!(&error, ClaimError::NotAnArchive { key, .. } if key == "manifest.json"), "{error}");
}

#[tokio::test]
async fn a_slow_claimant_finds_its_start_taken_and_has_lost() {
    let (store, _) = faulty_store();
    let (slow, fast) = (Journal::new(1), Journal::new(2));
    let clock = TestClock::default();
    let token = Uuid::new_v4();
    ensure_cluster(&store, &slow.claimant(), &clock).await.unwrap();
    assert!(create_claim(&store, &slow.claimant(), Epoch::new(1), token, &clock).await.unwrap());
    let winner = start(&store, &fast).await.unwrap();
    assert_eq!(winner.epoch, Epoch::new(2));
    let lost = begin(&store, &slow.claimant(), &slow, Epoch::new(1), token, &clock).await.unwrap_err();
    assert!(matches!(lost, ClaimError::LostRace { epoch, by } if (epoch, by) == (Epoch::new(1), Epoch::new(2))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_claimants_never_share_an_epoch() {
    for _ in 0..10 {
        let (store, _) = faulty_store();
        let mut claims = tokio::task::JoinSet::new();
        for node in 1..=6 {
            let store = store.clone();
            claims.spawn(async move { claim_as(&store, &Journal::new(node), Takeover::Allow).await });
        }
        let mut won = Vec::new();
        while let Some(result) = claims.join_next().await {
            match result.unwrap() {
                Ok(claim) => won.push(claim.epoch),
                Err(ClaimError::LostRace { epoch, by }) => assert!(by > epoch),
                Err(error) => panic!("{error}"),
            }
        }
        let epochs = load(&store).await;
        assert!(won.contains(&epochs.newest()), "nobody is above the highest claimant, so it has won");
        won.sort_unstable();
        let begun: Vec<_> =
            epochs.iter().filter(|(_, entry)| entry.begins().is_some()).map(|(epoch, _)| epoch).collect();
        assert_eq!(won, begun);
    }
}

#[tokio::test]
async fn a_live_holder_is_not_pushed_aside_unless_an_operator_says_so() {
    let (store, _) = faulty_store();
    let (holder, other) = (Journal::new(1), Journal::new(2));
    let first = start(&store, &holder).await.unwrap();
    let beating = {
        let store = store.clone();
        let mut head = first.first_head(0);
        tokio::spawn(async move {
            loop {
                head.beat += 1;
                let bytes = sealed::encode(&head).unwrap();
                store.put_overwrite(&ArchiveKey::EpochHead(head.epoch), bytes.into()).await.unwrap();
                // Sleep: a holder beats at its own pace.
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        })
    };
    // However slow the machine is, it is a beat that ends the watching.
    let refused = claim_at(&store, &other, LONG, 0).await.unwrap_err();
    assert!(matches!(&refused, ClaimError::LiveHolder(info) if info.node == holder.node), "{refused}");
    let copy = Claimant { claimed: Epoch::ZERO, ..holder.claimant() };
    let refused = claim(&store, &copy, &holder, &LONG, &TestClock::default()).await.unwrap_err();
    assert!(matches!(&refused, ClaimError::LiveHolder(_)), "a copy of the holder's directory: {refused}");
    start(&store, &holder).await.unwrap();
    claim_as(&store, &other, Takeover::Allow).await.unwrap();
    beating.abort();
    start(&store, &holder).await.unwrap();
}

/// Claims with these settings, at a time of the wall clock.
async fn claim_at(store: &Store, journal: &Journal, watch: WatchSettings, now_ms: u64) -> Result<Claim, ClaimError> {
    let clock = TestClock(now_ms.into());
    claim(store, &journal.claimant(), journal, &watch, &clock).await
}

/// Waits until a claimant has looked at the document so often.
async fn until_looked_at(faults: &crate::store::fault::Faults, key: &ArchiveKey, times: usize) {
    let key = key.to_string();
    while faults.requests().iter().filter(|(op, path)| *op == Op::Get && path.ends_with(&key)).count() < times {
        tokio::task::yield_now().await;
    }
}

/// Nobody waits for so long in a test.
const LONG: WatchSettings =
    WatchSettings { patience: std::time::Duration::from_secs(3600), stale_after: std::time::Duration::from_secs(60) };

#[tokio::test]
async fn whoever_has_claimed_and_not_begun_is_watched_too() {
    let (store, faults) = faulty_store();
    let (first, other) = (Journal::new(1), Journal::new(2));
    let about_to_begin = Journal::new(3);
    let old = start(&store, &first).await.unwrap();
    let mut ended = old.first_head(0);
    ended.holder = reddb_file::archive::HolderState::Ended;
    store.put_overwrite(&ArchiveKey::EpochHead(old.epoch), sealed::encode(&ended).unwrap().into()).await.unwrap();
    let (epoch, token, clock) = (Epoch::new(2), Uuid::new_v4(), TestClock::default());
    assert!(create_claim(&store, &about_to_begin.claimant(), epoch, token, &clock).await.unwrap());
    let claiming = claim_at(&store, &other, LONG, 0);
    let beginning = async {
        until_looked_at(&faults, &ArchiveKey::EpochStart(epoch), 2).await;
        begin(&store, &about_to_begin.claimant(), &about_to_begin, epoch, token, &clock).await
    };
    let (refused, begun) = tokio::join!(claiming, beginning);
    assert_eq!(begun.unwrap().epoch, epoch);
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, ClaimError::LiveHolder(info) if info.node == about_to_begin.node), "{refused}");
    assert_eq!(load(&store).await.newest(), epoch, "nothing was claimed over it");

    // One that never begins is silent, and is passed.
    let (store, _) = faulty_store();
    start(&store, &first).await.unwrap();
    assert!(create_claim(&store, &about_to_begin.claimant(), epoch, token, &clock).await.unwrap());
    assert_eq!(claim_at(&store, &other, watch(), 0).await.unwrap().epoch, Epoch::new(3));
}

#[tokio::test]
async fn a_holder_that_was_silent_for_long_is_watched_by_whoever_saw_the_store_come_back() {
    let (store, faults) = faulty_store();
    let (holder, other) = (Journal::new(1), Journal::new(2));
    let first = start(&store, &holder).await.unwrap();
    let hours_later_ms = 10_000_000;
    let after_outage = WatchSettings { patience: LONG.patience, ..WatchSettings::after_outage() };
    let claiming = claim_at(&store, &other, after_outage, hours_later_ms);
    let key = ArchiveKey::EpochHead(first.epoch);
    let beating = async {
        until_looked_at(&faults, &key, 2).await;
        let head = reddb_file::archive::EpochHead { beat: 2, ..first.first_head(hours_later_ms) };
        store.put_overwrite(&key, sealed::encode(&head).unwrap().into()).await.unwrap();
    };
    let (refused, ()) = tokio::join!(claiming, beating);
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, ClaimError::LiveHolder(info) if info.beat_time_ms == hours_later_ms), "{refused}");
    // Who has seen nothing of an outage takes silence for what it mostly is.
    let much_later_ms = 2 * hours_later_ms;
    assert_eq!(claim_at(&store, &other, LONG, much_later_ms).await.unwrap().epoch, Epoch::new(2));
}

#[tokio::test]
async fn a_holder_that_was_watched_is_not_watched_again() {
    let (store, _) = faulty_store();
    let (holder, other) = (Journal::new(1), Journal::new(2));
    holder.append(5);
    let first = start(&store, &holder).await.unwrap();
    ship(&store, &holder, &first, first.archived, 5).await;
    let request = TimelineRequest {
        cluster: CLUSTER,
        node: other.node,
        parent: holder.point(5),
        claimed: Epoch::ZERO,
        reason: TimelineReason::Restored,
        clock_offset_ms: 0,
        takeover: Takeover::Refuse,
    };
    let claimed = claim_timeline(&store, &request, &watch(), &TestClock::default()).await.unwrap();
    assert_eq!(claimed.watched, Some(first.epoch));
    let restored = holder.fork(2, 5, Some(timeline(&claimed.document)));
    let claimant = Claimant { watched: claimed.watched, ..restored.claimant() };
    let second = claim(&store, &claimant, &restored, &LONG, &TestClock::default()).await.unwrap();
    assert_eq!(second.epoch, Epoch::new(2));
}

fn timeline(claimed: &TimelineDocument) -> LocalTimeline {
    LocalTimeline {
        timeline: claimed.timeline,
        parent: claimed.parent,
        id: claimed.id,
        clock_offset_ms: claimed.clock_offset_ms,
    }
}

#[tokio::test]
async fn a_restored_directory_forks_and_the_old_one_is_superseded() {
    let (store, _) = faulty_store();
    let old = Journal::new(1);
    old.append(10);
    let first = start(&store, &old).await.unwrap();
    ship(&store, &old, &first, first.archived, 10).await;
    let request = TimelineRequest {
        cluster: CLUSTER,
        node: Journal::new(2).node,
        parent: old.point(6),
        claimed: Epoch::ZERO,
        reason: TimelineReason::Restored,
        clock_offset_ms: -5,
        takeover: Takeover::Refuse,
    };
    let clock = TestClock::default();
    let unused = claim_timeline(&store, &request, &watch(), &clock).await.unwrap().document;
    let claimed = claim_timeline(&store, &request, &watch(), &clock).await.unwrap().document;
    assert_eq!((unused.timeline, claimed.timeline), (TimelineId::new(2), TimelineId::new(3)));

    let restored = old.fork(2, 6, Some(timeline(&claimed)));
    restored.append_with(2, 30, 42);
    let second = start(&store, &restored).await.unwrap();
    assert_eq!((second.timeline, second.archived.lsn), (TimelineId::new(3), Lsn::new(6)));
    assert_eq!(load(&store).await.get(second.epoch).unwrap().closes(), Some(old.point(10)));
    ship(&store, &restored, &second, second.archived, 8).await;

    let error = start(&store, &old).await.unwrap_err();
    assert!(matches!(error, ClaimError::Superseded { newest, .. } if newest == TimelineId::new(3)), "{error}");
    let third = claim_as(&store, &old, Takeover::Allow).await.unwrap();
    assert_eq!((third.timeline, third.archived.lsn), (TimelineId::FIRST, Lsn::new(10)));
    assert_eq!(load(&store).await.get(third.epoch).unwrap().closes(), Some(restored.point(8)));
    let back = claim_as(&store, &restored, Takeover::Allow).await.unwrap();
    assert_eq!((back.timeline, back.archived.lsn), (TimelineId::new(3), Lsn::new(8)));
}

#[tokio::test]
async fn a_fork_beyond_the_archive_is_refused() {
    let (store, _) = faulty_store();
    let old = Journal::new(1);
    old.append(10);
    let first = start(&store, &old).await.unwrap();
    ship(&store, &old, &first, first.archived, 4).await;
    let request = TimelineRequest {
        cluster: CLUSTER,
        node: old.node,
        parent: old.point(6),
        claimed: Epoch::ZERO,
        reason: TimelineReason::Restored,
        clock_offset_ms: 0,
        takeover: Takeover::Refuse,
    };
    let before = store.list("").await.unwrap();
    let refused = claim_timeline(&store, &request, &watch(), &TestClock::default()).await.unwrap_err();
    assert!(refused.to_string().contains("beyond what the archive holds"), "{refused}");
    assert_eq!(store.list("").await.unwrap(), before, "nothing was claimed");
    // Whoever has a number all the same is refused too.
    let request = TimelineRequest { parent: old.point(4), ..request };
    let claimed = claim_timeline(&store, &request, &watch(), &TestClock::default()).await.unwrap().document;
    let beyond = LocalTimeline { parent: Some(old.point(6)), ..timeline(&claimed) };
    for local in [beyond, LocalTimeline { timeline: TimelineId::new(9), ..beyond }] {
        let error = start(&store, &old.fork(2, 6, Some(local))).await.unwrap_err();
        assert!(matches!(error, ClaimError::Unrelated { .. }), "{error}");
    }
}

/// A directory that was restored to LSN 6 of `old`, with nothing before it, whose timeline is the `number`-th.
fn restored_alone(old: &Journal, number: u32) -> Journal {
    let local = LocalTimeline {
        timeline: TimelineId::new(number),
        parent: Some(old.point(6)),
        id: Uuid::from_u128(u128::from(number)),
        clock_offset_ms: 0,
    };
    let restored = old.fork(2, 6, Some(local));
    restored.prune(6);
    restored
}

async fn next_number(store: &Store, restored: &Journal) -> LocalTimeline {
    timeline(&claim_next_number(store, restored).await.unwrap())
}

/// A timeline's document that somebody left.
async fn put_timeline(store: &Store, local: &LocalTimeline) {
    let document = TimelineDocument {
        cluster: CLUSTER,
        timeline: local.timeline,
        parent: local.parent,
        reason: TimelineReason::Restored,
        created_ms: 0,
        node: Journal::new(3).node,
        id: local.id,
        clock_offset_ms: local.clock_offset_ms,
    };
    put_new(store, &ArchiveKey::Timeline(local.timeline), &document).await.unwrap();
}

async fn claim_next_number(store: &Store, restored: &Journal) -> Result<TimelineDocument, ClaimError> {
    let request = TimelineRequest {
        cluster: CLUSTER,
        node: restored.node,
        parent: restored.claimant().timeline.parent.unwrap(),
        claimed: Epoch::ZERO,
        reason: TimelineReason::Restored,
        clock_offset_ms: 0,
        takeover: Takeover::Refuse,
    };
    Ok(claim_timeline(store, &request, &watch(), &TestClock::default()).await?.document)
}

#[tokio::test]
async fn an_archive_that_a_restored_directory_began_and_did_not_ship_to_is_begun_again() {
    let (store, _) = faulty_store();
    let old = Journal::new(1);
    old.append(10);
    let first = start(&store, &restored_alone(&old, 2)).await.unwrap();
    assert_eq!((first.timeline, first.archived.lsn, first.needs_snapshot), (TimelineId::new(2), Lsn::new(6), true));

    let mut last = restored_alone(&old, 2);
    for number in [3, 4] {
        let local = next_number(&store, &last).await;
        assert_eq!(local.timeline, TimelineId::new(number));
        last = old.fork(2, 6, Some(local));
        let claim = start(&store, &last).await.unwrap();
        assert_eq!((claim.timeline, claim.archived.lsn, claim.needs_snapshot), (local.timeline, Lsn::new(6), true));
    }
    last.append_with(2, 30, 42);
    let claim = start(&store, &last).await.unwrap();
    ship(&store, &last, &claim, claim.archived, 8).await;

    // Now it holds a history, and another fork at the same place is not part of it.
    let error = claim_next_number(&store, &last).await.unwrap_err();
    assert!(error.to_string().contains("the archive has no timeline 1"), "{error}");
    let local = LocalTimeline { timeline: TimelineId::new(5), ..last.claimant().timeline };
    put_timeline(&store, &local).await;
    let error = start(&store, &old.fork(3, 6, Some(local))).await.unwrap_err();
    assert!(error.to_string().contains("the archive has no timeline 1"), "{error}");
}

#[tokio::test]
async fn only_an_archive_that_was_begun_for_the_same_fork_is_begun_again() {
    let (store, _) = faulty_store();
    let old = Journal::new(1);
    old.append(10);
    let _ = start(&store, &restored_alone(&old, 2)).await.unwrap();
    let local = next_number(&store, &restored_alone(&old, 2)).await;
    for (timeline, lsn) in [(1, 7), (9, 6)] {
        let parent = ForkPoint { timeline: TimelineId::new(timeline), ..old.point(lsn) };
        let elsewhere = LocalTimeline { parent: Some(parent), ..local };
        let error = start(&store, &old.fork(2, lsn, Some(elsewhere))).await.unwrap_err();
        assert!(error.to_string().contains(&format!("the archive has no timeline {timeline}")), "{error}");
    }
}

#[tokio::test]
async fn an_archive_needs_a_snapshot_where_its_log_begins_neither_at_lsn_1_nor_at_a_parents_records() {
    let (store, _) = faulty_store();
    let old = Journal::new(1);
    old.append(10);
    let first = start(&store, &old).await.unwrap();
    assert!(!first.needs_snapshot, "everybody knows the state before LSN 1");
    ship(&store, &old, &first, first.archived, 10).await;
    let forked = old.fork(2, 6, Some(next_number(&store, &restored_alone(&old, 2)).await));
    assert!(!start(&store, &forked).await.unwrap().needs_snapshot, "its parent's records are there");

    let (store, _) = faulty_store();
    let pruned = Journal::new(1);
    pruned.append(10);
    pruned.prune(4);
    for _ in 0..2 {
        assert!(start(&store, &pruned).await.unwrap().needs_snapshot);
    }
    let claim = start(&store, &pruned).await.unwrap();
    ship(&store, &pruned, &claim, claim.archived, 10).await;
    let forked = pruned.fork(2, 6, Some(next_number(&store, &restored_alone(&old, 2)).await));
    assert!(!start(&store, &forked).await.unwrap().needs_snapshot, "whoever is there came from what lies before");
}

#[tokio::test]
async fn a_sidecar_that_does_not_follow_the_end_is_an_error() {
    let (store, _) = faulty_store();
    let journal = Journal::new(1);
    journal.append(10);
    let first = start(&store, &journal).await.unwrap();
    let one = ship(&store, &journal, &first, first.archived, 4).await;
    let forged = SegmentSidecar {
        first_lsn: Lsn::new(5),
        last_lsn: Lsn::new(6),
        record_count: 2,
        chain_before: Chain::genesis(CLUSTER),
        stored_bytes: 3,
        stored_sha256: Sha256Digest::of(b"abc"),
        codec: Codec::Zstd,
        ..one
    };
    store.put_create_only(&ArchiveKey::Segment(forged.name()), Bytes::from_static(b"abc")).await.unwrap();
    put_new(&store, &ArchiveKey::SegmentSidecar(forged.name()), &forged).await.unwrap();
    let error = start(&store, &journal).await.unwrap_err();
    assert!(matches!(error, ClaimError::Unrelated { .. }), "{error}");
}

/// Fails the n-th request of a claim, for every n, each time on an archive that was held before.
async fn with_each_request_failing(arm: impl Fn(&crate::store::fault::Faults, u64)) -> u64 {
    for number in 0.. {
        let (store, faults) = faulty_store();
        let journal = Journal::new(1);
        journal.append(10);
        let first = start(&store, &journal).await.unwrap();
        ship(&store, &journal, &first, first.archived, 7).await;
        let before = faults.requests().len() as u64;
        arm(&faults, number);
        let result = start(&store, &journal).await;
        let made = faults.requests().len() as u64 - before;
        if let Err(error) = &result {
            assert!(matches!(error, ClaimError::Store(_) | ClaimError::Read(_) | ClaimError::Epochs(_)), "{error}");
        }
        faults.heal();
        let again = start(&store, &journal).await.unwrap();
        assert_eq!(again.archived.lsn, Lsn::new(7));
        assert!(again.epoch > first.epoch);
        assert_eq!(load(&store).await.newest_begun().unwrap().0, again.epoch);
        if number >= made {
            return number;
        }
    }
    unreachable!("a claim makes finitely many requests")
}

#[tokio::test]
async fn a_failure_of_any_request_leaves_an_archive_that_can_be_claimed() {
    let requests = with_each_request_failing(|faults, number| faults.fail_nth(number)).await;
    assert!(requests > 20, "the sweep covered {requests} requests");
}

#[tokio::test]
async fn a_lost_answer_of_any_write_is_found_to_have_been_a_success() {
    let (store, faults) = faulty_store();
    let journal = Journal::new(1);
    for _ in 0..8 {
        faults.lose_answer_next();
    }
    // Only the head is overwritten, and so not read back: its failure is the claim's.
    let writes = async |store: &Store| start(store, &journal).await;
    let error = writes(&store).await.unwrap_err();
    assert!(matches!(error, ClaimError::Store(StoreError::Unavailable { .. })), "{error}");
    let puts = faults.requests().into_iter().filter(|(op, _)| *op == Op::Put).count();
    assert_eq!(puts, 5, "cluster, timeline, claim, start, head: each was made once");
}

#[tokio::test]
async fn claims_are_shared_between_threads() {
    fn is_send<T: Send>(value: T) -> T {
        value
    }
    let (store, _) = faulty_store();
    let journal = Arc::new(Journal::new(1));
    is_send(start(&store, &journal)).await.unwrap();
}
