//! Every document, as somebody else may have written it: whatever member is missing, unknown or impossible, at whatever
//! depth, is an error.

use serde_json::{Value, json};

use super::*;

const CHAIN: &str = "1111111111111111111111111111111111111111111111111111111111111111";
const AFTER: &str = "2222222222222222222222222222222222222222222222222222222222222222";
const ID: &str = "00000000-0000-4000-8000-000000000001";

/// Whether a document of this kind with this body is accepted.
type Accepts = fn(&Value) -> Result<(), DocumentError>;

fn accepts<T: Document>(body: &Value) -> Result<(), DocumentError> {
    let (body, format) = (body.to_string(), T::FORMAT);
    let digest = Sha256Digest::of(body.as_bytes());
    let sealed = format!("{{\"format\":\"{format}\",\"sha256\":\"{digest}\",\"body\":\n{body}\n}}\n");
    sealed::decode::<T>(sealed.as_bytes(), MissingDigest::Refuse).map(|_| ())
}

/// A valid body of each kind, with all that may be null or empty present.
fn documents() -> Vec<(Accepts, Value)> {
    let point = json!({"timeline": 1, "lsn": 7, "chain": CHAIN});
    let snapshot_key = format!("snapshots/0000000001/00000000000000000007-{ID}.json");
    vec![
        (accepts::<ClusterDocument>, json!({"cluster": ID, "format_version": 1, "created_ms": 1})),
        (
            accepts::<EpochClaim>,
            json!({"cluster": ID, "epoch": 1, "node": ID, "holder": "h", "token": ID, "time_ms": 1}),
        ),
        (
            accepts::<EpochStart>,
            json!({"cluster": ID, "epoch": 2, "token": ID, "time_ms": 1,
                "outcome": {"begins": {"closes": point, "begins": point}}}),
        ),
        (
            accepts::<EpochStart>,
            json!({"cluster": ID, "epoch": 2, "token": ID, "time_ms": 1, "outcome": {"abandoned": {"by": 3}}}),
        ),
        (
            accepts::<EpochHead>,
            json!({"cluster": ID, "epoch": 1, "node": ID, "timeline": 1,
                "archived": {"lsn": 7, "chain": CHAIN, "time_ms": 1},
                "newest_snapshot": {"timeline": 1, "lsn": 7, "id": ID},
                "complete_until_ms": 1, "beat": 1, "beat_time_ms": 1, "holder": "active"}),
        ),
        (
            accepts::<TimelineDocument>,
            json!({"cluster": ID, "timeline": 2, "parent": point, "reason": "restored", "created_ms": 1,
                "node": ID, "id": ID, "clock_offset_ms": -1}),
        ),
        (
            accepts::<SegmentSidecar>,
            json!({"cluster": ID, "timeline": 1, "epoch": 1, "first_lsn": 7, "last_lsn": 7, "first_time_ms": 1,
                "last_time_ms": 1, "record_count": 1, "plain_bytes": 200, "stored_bytes": 200,
                "stored_sha256": CHAIN, "chain_before": CHAIN, "chain_after": AFTER, "codec": "zstd"}),
        ),
        (
            accepts::<SnapshotManifest>,
            json!({"id": ID, "cluster": ID, "timeline": 1, "epoch": 1, "lsn": 7, "chain": CHAIN, "time_ms": 1,
                "engine": "e", "engine_version": "1", "engine_format_version": 1,
                "files": [{"path": "a", "size_bytes": 1, "sha256": CHAIN}], "total_bytes": 1,
                "created_ms": 1, "reason": ""}),
        ),
        (
            accepts::<RestorePoint>,
            json!({"name": "p", "cluster": ID, "timeline": 1, "epoch": 1, "lsn": 7, "chain": CHAIN, "time_ms": 1,
                "created_ms": 1}),
        ),
        (
            accepts::<Catalogue>,
            json!({"cluster": ID, "epoch": 1, "created_ms": 1,
                "timelines": [{"timeline": 2, "parent": point,
                    "ranges": [{"first_lsn": 8, "last_lsn": 9, "segment_count": 1}]}],
                "snapshots": [snapshot_key], "points": ["p"]}),
        ),
    ]
}

/// The paths of all objects in `value`, its own included.
fn objects(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| objects(member, format!("{path}/{name}"), found));
            found.push(path);
        }
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(at, entry)| objects(entry, format!("{path}/{at}"), found));
        }
        _ => {}
    }
}

/// Shows `check` every object of every document: its document's acceptance, the document, and the object's path.
fn each_object(mut check: impl FnMut(Accepts, &Value, &str)) {
    for (accepts, body) in documents() {
        accepts(&body).expect("the sample is valid");
        let mut paths = Vec::new();
        objects(&body, String::new(), &mut paths);
        paths.iter().for_each(|path| check(accepts, &body, path));
    }
}

fn members<'a>(body: &'a mut Value, path: &str) -> &'a mut serde_json::Map<String, Value> {
    body.pointer_mut(path).and_then(Value::as_object_mut).expect("an object")
}

#[test]
fn an_unknown_member_is_an_error_at_any_depth() {
    each_object(|accepts, body, path| {
        let mut bad = body.clone();
        members(&mut bad, path).insert("more".into(), json!(1));
        assert!(accepts(&bad).is_err(), "at {path:?} of {body}");
    });
}

#[test]
fn a_missing_member_is_an_error_at_any_depth() {
    each_object(|accepts, body, path| {
        let names: Vec<String> = members(&mut body.clone(), path).keys().cloned().collect();
        for name in names {
            let mut bad = body.clone();
            members(&mut bad, path).remove(&name);
            assert!(accepts(&bad).is_err(), "{path}/{name} of {body}");
        }
    });
}

#[test]
fn timeline_0_is_an_error_at_any_depth() {
    let mut found = 0;
    each_object(|accepts, body, path| {
        let mut bad = body.clone();
        if members(&mut bad, path).get("timeline").is_some() {
            members(&mut bad, path).insert("timeline".into(), json!(0));
            assert!(accepts(&bad).is_err(), "at {path:?} of {body}");
            found += 1;
        }
    });
    assert_eq!(found, 11, "all that name a timeline");
}

#[test]
fn a_catalogue_lists_snapshots_by_their_keys() {
    let (accepts, body) = documents().pop().expect("the catalogue is the last");
    for key in
        ["", "points/p.json", "snapshots/0000000000/00000000000000000007-00000000-0000-4000-8000-000000000001.json"]
    {
        let mut bad = body.clone();
        bad["snapshots"] = json!([key]);
        assert!(accepts(&bad).is_err(), "{key:?}");
    }
}
