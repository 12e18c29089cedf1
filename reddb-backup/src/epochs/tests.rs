//! The void rule, by tables.

use std::sync::Arc;

use object_store::memory::InMemory;
use reddb_file::archive::{Text, sealed};
use reddb_file::{Chain, NodeId};
use uuid::Uuid;

use super::*;

fn cluster() -> ClusterId {
    ClusterId::from_bytes([1; 16])
}

fn point(timeline: u32, lsn: u64) -> ForkPoint {
    ForkPoint { timeline: TimelineId::new(timeline), lsn: Lsn::new(lsn), chain: Chain::genesis(cluster()) }
}

fn entry(epoch: u64, outcome: Option<EpochOutcome>) -> (Epoch, EpochEntry) {
    let epoch = Epoch::new(epoch);
    let token = Uuid::from_bytes([9; 16]);
    let claim = EpochClaim {
        cluster: cluster(),
        epoch,
        node: NodeId::from_bytes([2; 16]),
        holder: Text::new("a host").unwrap(),
        token,
        time_ms: 1,
    };
    let start = outcome.map(|outcome| EpochStart { cluster: cluster(), epoch, token, time_ms: 1, outcome });
    (epoch, EpochEntry { claim, start, head: None })
}

fn begins(epoch: u64, closes: Option<(u32, u64)>, begins: (u32, u64)) -> (Epoch, EpochEntry) {
    let closes = closes.map(|(timeline, lsn)| point(timeline, lsn));
    entry(epoch, Some(EpochOutcome::Begins { closes, begins: point(begins.0, begins.1) }))
}

/// 1 ships timeline 1; 2 restarts it at 50; 3 was abandoned; 4 takes timeline 1 over at 80 for a new timeline 2; 5 has
/// claimed and not begun; 6 restarts timeline 2 at 90.
fn history() -> Epochs {
    let entries = [
        begins(1, None, (1, 0)),
        begins(2, Some((1, 50)), (1, 50)),
        entry(3, Some(EpochOutcome::Abandoned { by: Epoch::new(4) })),
        begins(4, Some((1, 80)), (2, 70)),
        entry(5, None),
        begins(6, Some((2, 90)), (2, 90)),
    ];
    Epochs { entries: entries.into() }
}

#[test]
fn what_older_epochs_shipped_beyond_a_closing_is_void() {
    let history = history();
    for (epoch, timeline, lsn, void) in [
        (1, 1, 50, false),
        (1, 1, 51, true),
        (1, 2, 10, true),
        (2, 1, 51, false),
        (2, 1, 80, false),
        (2, 1, 81, true),
        (3, 1, 1, true),
        (4, 1, 60, true),
        (4, 2, 90, false),
        (4, 2, 91, true),
        (5, 2, 1, true),
        (6, 2, u64::MAX, false),
        (7, 2, 1, true),
    ] {
        let got = history.is_void(Epoch::new(epoch), TimelineId::new(timeline), Lsn::new(lsn));
        assert_eq!(got, void, "epoch {epoch}, timeline {timeline}, LSN {lsn}");
    }
}

#[test]
fn the_newest_epochs_are_found() {
    let history = history();
    assert_eq!(history.newest(), Epoch::new(6));
    assert_eq!(history.newest_begun().unwrap().0, Epoch::new(6));
    assert_eq!(history.newest_begun_on(TimelineId::new(1)).unwrap().0, Epoch::new(2));
    assert!(history.newest_begun_on(TimelineId::new(3)).is_none());
    assert_eq!(Epochs::default().newest(), Epoch::ZERO);
}

async fn stored(entries: &[(Epoch, EpochEntry)]) -> Store {
    let store = Store::new(Arc::new(InMemory::new()), "", "memory");
    for (epoch, entry) in entries {
        let claim = sealed::encode(&entry.claim).unwrap();
        store.put_create_only(&ArchiveKey::EpochClaim(*epoch), claim.into()).await.unwrap();
        if let Some(start) = &entry.start {
            let start = sealed::encode(start).unwrap();
            store.put_create_only(&ArchiveKey::EpochStart(*epoch), start.into()).await.unwrap();
        }
    }
    store
}

#[tokio::test]
async fn epochs_are_read_back_and_damage_is_seen() {
    let all: Vec<_> = history().entries.into_iter().collect();
    let load = async |store: &Store| Epochs::load(store, cluster(), MissingDigest::Refuse).await;
    let store = stored(&all).await;
    assert_eq!(load(&store).await.unwrap(), history());
    // Nobody deletes an epoch.
    store.delete(&ArchiveKey::EpochClaim(Epoch::new(3))).await.unwrap();
    assert!(matches!(load(&store).await, Err(EpochsError::Missing { epoch }) if epoch == Epoch::new(3)));
    let store = stored(&[all[0].clone(), all[2].clone()]).await;
    assert!(matches!(load(&store).await, Err(EpochsError::Missing { epoch }) if epoch == Epoch::new(2)));
    // A document that was copied to another's place is not believed.
    let store = stored(&all[..1]).await;
    let copy = sealed::encode(&all[0].1.claim).unwrap();
    store.put_create_only(&ArchiveKey::EpochClaim(Epoch::new(2)), copy.into()).await.unwrap();
    assert!(matches!(load(&store).await, Err(EpochsError::Misplaced { .. })));
    let other = ClusterId::from_bytes([8; 16]);
    assert!(Epochs::load(&store, other, MissingDigest::Refuse).await.is_err());
}
