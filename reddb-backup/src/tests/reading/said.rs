//! What documents say of records besides their chain: times, and what a timeline is. Verification compares all of it.

use reddb_file::Lsn;
use serde_json::{Value, json};

use super::archive::{Archive, T1, T2, get, put};
use super::hostile::{body, key_of, seal};
use crate::history::{FaultKind, LsnRange};
use crate::verify::{VerifyOptions, verify};

/// Changes one document, its digest right again, and expects the verification to find just that.
async fn expect_fault(
    archive: &Archive,
    key: &str,
    format: &str,
    change: impl FnOnce(&mut Value),
    (kind, range, said): (FaultKind, LsnRange, &[&str]),
) {
    let (objects, store) = archive.copy().await;
    let mut document = body(&get(&objects, key).await);
    change(&mut document);
    put(&objects, key, seal(format, &document)).await;
    let report = verify(&store, &VerifyOptions::default()).await.unwrap();
    let [fault] = &report.faults[..] else { panic!("{key}: {:?}", report.faults) };
    assert_eq!((fault.kind, fault.key.as_str(), fault.affects), (kind, key, Some(range)), "{fault}");
    for part in said {
        assert!(fault.detail.contains(part), "{part}: {fault}");
    }
}

const fn at(timeline: reddb_file::TimelineId, lsn: u64) -> LsnRange {
    LsnRange::new(timeline, Lsn::new(lsn), Lsn::new(lsn))
}

#[tokio::test]
async fn a_time_that_is_not_the_records_is_a_fault() {
    let archive = Archive::make().await;
    let snapshot = key_of(&archive, "snapshots/0000000001/00000000000000000013", "json").await;
    for (key, format, lsn, said) in [
        (snapshot.as_str(), "reddb-snapshot-1", 13, "time 1129 of LSN 13"),
        ("points/before.json", "reddb-restore-point-1", 13, "time 1129 of LSN 13"),
    ] {
        let change = |document: &mut Value| document["time_ms"] = 1129.into();
        let expected = (FaultKind::TimeMismatch, at(T1, lsn), &[said, "has 1130"][..]);
        expect_fault(&archive, key, format, change, expected).await;
    }
    let head = "epochs/00000000000000000003.head.json";
    let change = |document: &mut Value| document["archived"]["time_ms"] = 1451.into();
    let expected = (FaultKind::TimeMismatch, at(T2, 45), &["time 1451 of LSN 45", "has 1450"][..]);
    expect_fault(&archive, head, "reddb-epoch-head-1", change, expected).await;
}

#[tokio::test]
async fn a_time_of_no_record_is_a_fault() {
    let archive = Archive::make().await;
    let snapshot = key_of(&archive, "snapshots/0000000001/00000000000000000000", "json").await;
    let change = |document: &mut Value| document["time_ms"] = 5.into();
    let expected = (FaultKind::TimeMismatch, at(T1, 0), &["LSN 0"][..]);
    expect_fault(&archive, &snapshot, "reddb-snapshot-1", change, expected).await;
}

#[tokio::test]
async fn a_timeline_that_is_not_what_its_first_record_says_is_a_fault() {
    let archive = Archive::make().await;
    let other_id = "00000000-0000-4000-8000-000000000001";
    for (key, timeline, lsn) in [("timelines/0000000001.json", T1, 1), ("timelines/0000000002.json", T2, 26)] {
        for (member, value) in [("id", json!(other_id)), ("clock_offset_ms", json!(-1))] {
            let said = format!("it says {member} {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            let change = |document: &mut Value| document[member] = value.clone();
            let expected = (FaultKind::TimelineBroken, at(timeline, lsn), &[said.as_str(), "first record says"][..]);
            expect_fault(&archive, key, "reddb-timeline-1", change, expected).await;
        }
    }
}
