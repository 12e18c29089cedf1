//! What must not hurt: long commands beside short ones, huge values, and a large database at its start.

use std::time::{Duration, Instant};

use crate::bench::latency::{Probe, Work};
use crate::bench::load::{Dataset, fill};
use crate::bench::peers::Program;
use crate::bench::peers::reddb::{Reddb, Server};
use crate::bench::peers::redis::{Durability, Redis};
use crate::bench::resp::{Client, Reply};
use crate::bench::row::{Round, Row};
use crate::bench::sample::{Bound, Goal, Unit};

/// The rows of this module.
pub(crate) const ROWS: [Row; 3] = [
    Row {
        name: "gets-under-scan",
        title: "p99 of GET by 8 clients during SCAN, KEYS, a big hash, a snapshot and a restore on the same machine",
        needs: &[],
        rounds_max: 3,
        goals: &[],
        measure: gets,
    },
    Row {
        name: "delete-big-hash",
        title: "DEL of a hash of a million fields",
        needs: &[Program::RedisServer],
        rounds_max: 3,
        goals: &[Goal::of("reddb records", Bound::AtMost(1.0))],
        measure: delete,
    },
    Row {
        name: "open",
        title: "opening a cleanly closed database (--open-data), values of 1,000 bytes",
        needs: &[],
        rounds_max: 1,
        goals: &[Goal::of("reddb until ready", Bound::AtMost(1.0))],
        measure: open,
    },
];

const KEYS: u64 = 1_000_000;
const CLIENTS: u64 = 8;
const IDLE: Duration = Duration::from_secs(3);

fn gets(round: &mut Round<'_>) -> Result<(), String> {
    let data = Dataset::of(round.bench.scaled(KEYS));
    let reddb = round.reddb();
    let mut server = reddb.start()?;
    round.stage("RedDB: loading");
    fill(server.address, data)?;
    fill_hash(&mut server.client()?, round.bench.scaled(FIELDS))?;
    server.wait_until_archived()?;
    round.settle();
    let idle = if round.bench.quick { IDLE / 10 } else { IDLE };
    beside(round, &server, data, "nothing", || {
        std::thread::sleep(idle);
        Ok(())
    })?;
    beside(round, &server, data, "SCAN", || iterate(&server, &["SCAN"]))?;
    beside(round, &server, data, "KEYS", || server.client()?.call(&["KEYS", "*"]).map(drop))?;
    beside(round, &server, data, "HGETALL", || server.client()?.call(&["HGETALL", "big"]).map(drop))?;
    beside(round, &server, data, "HSCAN", || iterate(&server, &["HSCAN", "big"]))?;
    beside(round, &server, data, "a snapshot", || server.backup().map(drop))?;
    server.wait_until_archived()?;
    let into = round.path("restored");
    beside(round, &server, data, "a restore", || restore(&reddb, &into))?;
    server.stop()?;
    Ok(())
}

fn restore(reddb: &Reddb<'_>, into: &std::path::Path) -> Result<(), String> {
    reddb.restore(into, &[]).map(drop)
}

/// The p99 of GET while something else is done, and how long that took.
fn beside(
    round: &mut Round<'_>,
    server: &Server,
    data: Dataset,
    what: &str,
    other: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    round.stage(&format!("RedDB: GET beside {what}"));
    let probe = Probe::start(server.address, CLIENTS, Work::Get(data.count))?;
    let started = Instant::now();
    other()?;
    let done = Instant::now();
    let p99_ms = probe.stop()?.p99_ms((started, done)).ok_or_else(|| format!("no answer during {what}"))?;
    round.record(&format!("reddb p99 beside {what}"), Unit::Milliseconds, p99_ms);
    round.record(&format!("time of {what}"), Unit::Seconds, (done - started).as_secs_f64());
    Ok(())
}

/// Everything that this command iterates over, a thousand at a time.
fn iterate(server: &Server, command: &[&str]) -> Result<(), String> {
    let mut client = server.client()?;
    let mut cursor = "0".to_owned();
    loop {
        cursor = client.call(&[command, &[cursor.as_str(), "COUNT", "1000"]].concat())?.item(0)?.text();
        if cursor == "0" {
            return Ok(());
        }
    }
}

const FIELDS: u64 = 1_000_000;

fn delete(round: &mut Round<'_>) -> Result<(), String> {
    let fields = round.bench.scaled(FIELDS);
    let server = round.reddb().start()?;
    round.stage(&format!("RedDB: a hash of {fields} fields"));
    let mut client = server.client()?;
    fill_hash(&mut client, fields)?;
    let before = server.number("/durable_lsn")?;
    let ms = deletion_ms(&mut client)?;
    // What is reclaimed in the background would be logged within this time, if it were logged.
    std::thread::sleep(if round.bench.quick { Duration::from_millis(100) } else { Duration::from_secs(2) });
    let records = server.number("/durable_lsn")? - before;
    server.stop()?;
    round.record("reddb", Unit::Milliseconds, ms);
    round.record("reddb records", Unit::Count, records);
    let server = Redis::start(&round.path("redis"), Durability::EveryWrite)?;
    round.stage(&format!("Redis: a hash of {fields} fields"));
    let mut client = server.client()?;
    fill_hash(&mut client, fields)?;
    let ms = deletion_ms(&mut client)?;
    server.stop()?;
    round.record("redis", Unit::Milliseconds, ms);
    Ok(())
}

fn fill_hash(client: &mut Client, fields: u64) -> Result<(), String> {
    const AT_ONCE: u64 = 500;
    for first in (0..fields).step_by(usize::try_from(AT_ONCE).map_err(|error| error.to_string())?) {
        let mut command = vec!["HSET".to_owned(), "big".to_owned()];
        for field in first..(first + AT_ONCE).min(fields) {
            command.extend([format!("field:{field:012}"), format!("value of {field}")]);
        }
        client.call(&command)?;
    }
    Ok(())
}

fn deletion_ms(client: &mut Client) -> Result<f64, String> {
    let started = Instant::now();
    let deleted = client.call(&["DEL", "big"])?;
    let took = started.elapsed();
    if deleted == Reply::Integer(1) { Ok(took.as_secs_f64() * 1000.0) } else { Err(format!("DEL: {deleted:?}")) }
}

fn open(round: &mut Round<'_>) -> Result<(), String> {
    const BYTES: usize = 1000;
    let one = Dataset { value_bytes: BYTES, ..Dataset::of(1) };
    let data = Dataset { count: round.bench.open_data_bytes / one.bytes(), ..one };
    let reddb = round.reddb();
    let mut server = reddb.start()?;
    round.stage(&format!("RedDB: loading {} keys", data.count));
    fill(server.address, data)?;
    server.wait_until_archived()?;
    let closing = server.stop()?;
    round.settle();
    round.stage("RedDB: opening");
    let started = Instant::now();
    let server = reddb.start()?;
    let opening = started.elapsed();
    server.stop()?;
    round.record("data", Unit::Bytes, data.bytes() as f64);
    round.record("reddb until ready", Unit::Seconds, opening.as_secs_f64());
    round.record("reddb until closed", Unit::Seconds, closing.as_secs_f64());
    Ok(())
}
