//! Snapshots: how fast, how much the second one sends, and what they cost those who write meanwhile.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bench::files::{self, copy_and_hash};
use crate::bench::latency::{Probe, Work};
use crate::bench::load::{Dataset, fill};
use crate::bench::peers::reddb::Server;
use crate::bench::row::{Round, Row};
use crate::bench::sample::{Goal, Unit};

const KEYS: u64 = 2_000_000;
const CLIENTS: u64 = 50;

/// How long the clients write before the snapshot begins.
const IDLE: Duration = Duration::from_secs(4);

/// The rows of this module.
pub(crate) const ROWS: [Row; 3] = [
    Row {
        name: "snapshot",
        title: "snapshot to file:// against cp + sha256sum of the same files",
        needs: &[],
        rounds_max: 5,
        goals: &[Goal::at_least("reddb", "cp + sha256sum", 0.7)],
        measure: speed,
    },
    Row {
        name: "snapshot-p99",
        title: "SET by 50 clients while a snapshot is made",
        needs: &[],
        rounds_max: 5,
        goals: &[Goal::at_most("reddb p99 during the snapshot", "reddb p99 before it", 2.0)],
        measure: disturbance,
    },
    Row {
        name: "snapshot-incremental",
        title: "second snapshot after 1 % of keys were appended",
        needs: &[],
        rounds_max: 3,
        goals: &[Goal::at_most("reddb second snapshot", "reddb first snapshot", 0.1)],
        measure: incremental,
    },
];

fn speed(round: &mut Round<'_>) -> Result<(), String> {
    let mut server = filled(round)?;
    server.wait_until_archived()?;
    round.settle();
    round.stage("RedDB: snapshot");
    let started = Instant::now();
    let snapshot = server.backup()?;
    let took = started.elapsed();
    server.stop()?;
    let bytes = number(&snapshot, "total_bytes")?;
    round.record("reddb", Unit::BytesPerSecond, bytes / took.as_secs_f64());
    round.record("reddb snapshot", Unit::Bytes, bytes);
    round.record("reddb time", Unit::Seconds, took.as_secs_f64());
    round.settle();
    round.stage("cp + sha256sum");
    let files = files::below(&round.path("reddb").join("archive").join("objects"))?;
    let took = copy_and_hash(&files, &round.path("copy"))?;
    let synced = Instant::now();
    round.settle();
    round.record("cp + sha256sum", Unit::BytesPerSecond, bytes / took.as_secs_f64());
    round.record("cp + sha256sum + sync", Unit::BytesPerSecond, bytes / (took + synced.elapsed()).as_secs_f64());
    Ok(())
}

fn disturbance(round: &mut Round<'_>) -> Result<(), String> {
    let server = filled(round)?;
    round.settle();
    round.stage("RedDB: 50 clients write, then a snapshot");
    let probe = Probe::start(server.address, CLIENTS, Work::Set(round.bench.scaled(KEYS)))?;
    let begun = Instant::now();
    std::thread::sleep(if round.bench.quick { IDLE / 20 } else { IDLE });
    let taken = Instant::now();
    server.backup()?;
    let done = Instant::now();
    let answers = probe.stop()?;
    server.stop()?;
    for (name, span) in [("reddb p99 before it", (begun, taken)), ("reddb p99 during the snapshot", (taken, done))] {
        let p99_ms = answers.p99_ms(span).ok_or_else(|| format!("no answer for {name}"))?;
        round.record(name, Unit::Milliseconds, p99_ms);
    }
    round.record("reddb snapshot time", Unit::Seconds, (done - taken).as_secs_f64());
    Ok(())
}

fn incremental(round: &mut Round<'_>) -> Result<(), String> {
    let server = filled(round)?;
    round.stage("RedDB: first snapshot");
    let first = server.backup()?;
    let keys = round.bench.scaled(KEYS);
    let appended = Dataset { first: keys, ..Dataset::of(keys / 100) };
    fill(server.address, appended)?;
    round.stage("RedDB: second snapshot");
    let second = server.backup()?;
    server.stop()?;
    round.record("reddb first snapshot", Unit::Bytes, number(&first, "sent_bytes")?);
    round.record("reddb second snapshot", Unit::Bytes, number(&second, "sent_bytes")?);
    Ok(())
}

/// A server with all keys.
fn filled(round: &Round<'_>) -> Result<Server, String> {
    let server = round.reddb().start()?;
    let data = Dataset::of(round.bench.scaled(KEYS));
    round.stage(&format!("RedDB: loading {} keys", data.count));
    fill(server.address, data)?;
    Ok(server)
}

/// A number in an answer.
fn number(answer: &Value, name: &str) -> Result<f64, String> {
    answer[name].as_f64().ok_or_else(|| format!("no {name} in {answer}"))
}
