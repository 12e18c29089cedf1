//! Coming back: restore from an archive, replay of log records, recovery after a crash.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use crate::bench::files::{self, copy_and_hash};
use crate::bench::load::{Dataset, fill};
use crate::bench::row::{Round, Row};
use crate::bench::sample::{Bound, Goal, Unit};

const KEYS: u64 = 2_000_000;

/// Records that are only in the log when a restore replays them.
const LOG_KEYS: u64 = 1_000_000;

const RECORDS_PER_SECOND: Bound = Bound::AtLeast(300_000.0);

/// The rows of this module.
pub(crate) const ROWS: [Row; 3] = [
    Row {
        name: "restore",
        title: "restore, then serve until ready, against cp + sha256sum of the same bytes",
        needs: &[],
        rounds_max: 5,
        goals: &[Goal::at_most("reddb", "cp + sha256sum", 1.5)],
        measure: restore,
    },
    Row {
        name: "replay",
        title: "log records replayed by a restore",
        needs: &[],
        rounds_max: 5,
        goals: &[Goal::of("reddb restore", RECORDS_PER_SECOND)],
        measure: replay,
    },
    Row {
        name: "recovery",
        title: "log records replayed by a start after a kill; time per GB of log",
        needs: &[],
        rounds_max: 5,
        goals: &[Goal::of("reddb start", RECORDS_PER_SECOND)],
        measure: recovery,
    },
];

/// A snapshot of nearly everything, and a tenth more in the log after it.
fn restore(round: &mut Round<'_>) -> Result<(), String> {
    let keys = round.bench.scaled(KEYS);
    let reddb = round.reddb();
    let mut server = reddb.start()?;
    round.stage(&format!("RedDB: loading {keys} keys"));
    fill(server.address, Dataset::of(keys))?;
    server.backup()?;
    fill(server.address, Dataset { first: keys, ..Dataset::of(keys / 10) })?;
    server.wait_until_archived()?;
    server.stop()?;
    let archive = round.path("reddb").join("archive");
    let plan = reddb.restore(&round.path("nowhere"), &["--dry-run"])?;
    let mut files = files::below(&archive.join("objects"))?;
    files.extend(segments(&archive, &plan)?);
    round.settle();
    round.stage("RedDB: restore, then start");
    let started = Instant::now();
    let restored = reddb.restore(&round.path("restored"), &[])?;
    let until_restored = started.elapsed();
    let server = reddb.clone().dir(round.path("restored")).start()?;
    let until_ready = started.elapsed();
    server.stop()?;
    round.record("reddb", Unit::Seconds, until_ready.as_secs_f64());
    round.record("reddb restore alone", Unit::Seconds, until_restored.as_secs_f64());
    round.record("reddb fetched", Unit::Bytes, number(&restored, "fetched_bytes")?);
    round.settle();
    round.stage("cp + sha256sum");
    let took = copy_and_hash(&files, &round.path("copy"))?;
    round.record("cp + sha256sum", Unit::Seconds, took.as_secs_f64());
    let copied = files.iter().map(|file| files::bytes(file)).sum::<u64>();
    round.record("copied and hashed", Unit::Bytes, copied as f64);
    Ok(())
}

/// A restore that begins at the archive's first snapshot, which is of an empty database.
fn replay(round: &mut Round<'_>) -> Result<(), String> {
    let keys = round.bench.scaled(LOG_KEYS);
    let reddb = round.reddb();
    let mut server = reddb.start()?;
    round.stage(&format!("RedDB: loading {keys} keys"));
    fill(server.address, Dataset::of(keys))?;
    server.wait_until_archived()?;
    server.stop()?;
    let first = first_snapshot(&round.path("reddb").join("archive"))?;
    round.settle();
    round.stage("RedDB: restore of nothing but log");
    let started = Instant::now();
    let restored = reddb.restore(&round.path("restored"), &["--snapshot", &first])?;
    let seconds = started.elapsed().as_secs_f64();
    let records = number(&restored, "records")?;
    if records < keys as f64 {
        return Err(format!("the restore replayed {records} records of {keys}"));
    }
    round.record("reddb restore", Unit::PerSecond, records / seconds);
    round.record("reddb restore time", Unit::Seconds, seconds);
    round.record("reddb records", Unit::Bytes, number(&restored, "record_bytes")?);
    Ok(())
}

/// The log that a kill leaves is what the engine had not flushed: how much that is, the server decides.
fn recovery(round: &mut Round<'_>) -> Result<(), String> {
    let keys = round.bench.scaled(LOG_KEYS);
    let reddb = round.reddb();
    let server = reddb.start()?;
    round.stage(&format!("RedDB: loading {keys} keys, then SIGKILL"));
    fill(server.address, Dataset::of(keys))?;
    let status = server.status()?;
    drop(server);
    let log_bytes = files::bytes(&round.path("reddb").join("data").join("wal"));
    round.settle();
    let started = Instant::now();
    let server = reddb.start()?;
    let seconds = started.elapsed().as_secs_f64();
    server.stop()?;
    let started = Instant::now();
    let server = reddb.start()?;
    let clean_seconds = started.elapsed().as_secs_f64();
    server.stop()?;
    let records = number(&status, "durable_lsn")? - number(&status, "flushed_lsn")?;
    round.record("reddb start", Unit::PerSecond, records / seconds);
    round.record("reddb records to replay", Unit::Count, records);
    round.record("reddb time until ready", Unit::Seconds, seconds);
    round.record("reddb time until ready after a clean stop", Unit::Seconds, clean_seconds);
    round.record("reddb log", Unit::Bytes, log_bytes as f64);
    round.record("reddb time per GB of log", Unit::Seconds, seconds / (log_bytes as f64 / 1e9));
    Ok(())
}

/// The segments that a plan replays.
fn segments(archive: &Path, plan: &Value) -> Result<Vec<PathBuf>, String> {
    let list = plan["segments"].as_array().ok_or_else(|| format!("a plan without segments: {plan}"))?;
    let key = |segment: &Value| segment["key"].as_str().map(|key| archive.join(key));
    list.iter().map(|segment| key(segment).ok_or_else(|| format!("a segment without a key: {segment}"))).collect()
}

/// The id of an archive's first snapshot, from its key: `snapshots/<timeline>/<lsn>-<id>.json`.
pub(crate) fn first_snapshot(archive: &Path) -> Result<String, String> {
    let mut manifests = files::below(&archive.join("snapshots"))?;
    manifests.sort();
    let name = manifests.first().and_then(|path| path.file_stem()).and_then(|name| name.to_str());
    let id = name.and_then(|name| name.split_once('-')).map(|(_, id)| id.to_owned());
    id.ok_or_else(|| format!("no snapshot in {}", archive.display()))
}

fn number(answer: &Value, name: &str) -> Result<f64, String> {
    answer[name].as_f64().ok_or_else(|| format!("no {name} in {answer}"))
}
