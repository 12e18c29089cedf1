//! One dataset kept and brought back: by RedDB, by Redis with `SAVE`, by PostgreSQL with pgBackRest.
//!
//! Each is loaded, backed up whole, given a hundredth more, backed up again, and brought back from its backups until it
//! answers; Redis knows only whole snapshots.

use std::time::Instant;

use serde_json::Value;

use crate::bench::files;
use crate::bench::load::{Dataset, fill};
use crate::bench::peers::Program;
use crate::bench::peers::postgres::Postgres;
use crate::bench::peers::redis::{Durability, Redis};
use crate::bench::row::{Round, Row};
use crate::bench::sample::Unit;

const KEYS: u64 = 2_000_000;

/// The rows of this module.
pub(crate) const ROWS: [Row; 2] = [
    Row {
        name: "redis-save",
        title: "backup and return of one dataset: RedDB, and Redis with SAVE",
        needs: &[Program::RedisServer],
        rounds_max: 3,
        goals: &[],
        measure: with_redis,
    },
    Row {
        name: "pgbackrest",
        title: "backup and return of one dataset: RedDB, and PostgreSQL with pgBackRest",
        needs: &[Program::Postgres, Program::PgBackRest],
        rounds_max: 3,
        goals: &[],
        measure: with_postgres,
    },
];

fn with_redis(round: &mut Round<'_>) -> Result<(), String> {
    let (data, _) = datasets(round);
    reddb(round)?;
    let place = round.path("redis");
    let server = Redis::start(&place, Durability::SaveOnly)?;
    round.stage(&format!("Redis: loading {} keys", data.count));
    fill(server.address, data)?;
    round.settle();
    round.stage("Redis: SAVE, then load");
    let started = Instant::now();
    server.client()?.call(&["SAVE"])?;
    round.record("redis SAVE", Unit::Seconds, started.elapsed().as_secs_f64());
    round.record("redis SAVE size", Unit::Bytes, files::bytes(&place) as f64);
    drop(server);
    let started = Instant::now();
    let server = Redis::start(&place, Durability::SaveOnly)?;
    round.record("redis load until ready", Unit::Seconds, started.elapsed().as_secs_f64());
    server.stop()?;
    Ok(())
}

fn with_postgres(round: &mut Round<'_>) -> Result<(), String> {
    let (data, more) = datasets(round);
    reddb(round)?;
    round.stage(&format!("PostgreSQL: loading {} rows", data.count));
    let postgres = Postgres::make(&round.path("postgres"))?;
    let server = postgres.start(&postgres.data())?;
    postgres.begin()?;
    postgres.fill(data)?;
    round.settle();
    let mut size = 0;
    for (name, kind) in [("pgbackrest full backup", "full"), ("pgbackrest second backup", "incr")] {
        round.stage(&format!("PostgreSQL: {name}"));
        let started = Instant::now();
        postgres.backup(kind)?;
        round.record(name, Unit::Seconds, started.elapsed().as_secs_f64());
        let before = std::mem::replace(&mut size, files::bytes(&postgres.backups()));
        round.record(&format!("{name} size"), Unit::Bytes, (size - before) as f64);
        if kind == "full" {
            postgres.fill(more)?;
        }
    }
    server.stop()?;
    round.settle();
    round.stage("PostgreSQL: restore");
    let into = round.path("postgres").join("restored");
    let started = Instant::now();
    postgres.restore(&into)?;
    let server = postgres.start(&into)?;
    round.record("pgbackrest restore until ready", Unit::Seconds, started.elapsed().as_secs_f64());
    let rows = postgres.count()?;
    server.stop()?;
    if rows == data.count + more.count { Ok(()) } else { Err(format!("{rows} rows came back")) }
}

/// What is loaded, and what is added after the first backup.
fn datasets(round: &Round<'_>) -> (Dataset, Dataset) {
    let data = Dataset::of(round.bench.scaled(KEYS));
    (data, Dataset { first: data.count, ..Dataset::of(data.count / 100) })
}

fn reddb(round: &mut Round<'_>) -> Result<(), String> {
    let (data, more) = datasets(round);
    let reddb = round.reddb();
    let mut server = reddb.start()?;
    round.stage(&format!("RedDB: loading {} keys", data.count));
    fill(server.address, data)?;
    server.wait_until_archived()?;
    round.settle();
    for (name, is_first) in [("reddb snapshot", true), ("reddb second snapshot", false)] {
        round.stage(name);
        let started = Instant::now();
        let snapshot = server.backup()?;
        round.record(name, Unit::Seconds, started.elapsed().as_secs_f64());
        round.record(&format!("{name} size"), Unit::Bytes, sent_bytes(&snapshot)?);
        if is_first {
            fill(server.address, more)?;
        }
    }
    server.stop()?;
    round.settle();
    round.stage("RedDB: restore");
    let started = Instant::now();
    reddb.restore(&round.path("restored"), &[])?;
    let server = reddb.clone().dir(round.path("restored")).start()?;
    round.record("reddb restore until ready", Unit::Seconds, started.elapsed().as_secs_f64());
    server.stop()?;
    Ok(())
}

fn sent_bytes(snapshot: &Value) -> Result<f64, String> {
    snapshot["sent_bytes"].as_f64().ok_or_else(|| format!("no sent_bytes in {snapshot}"))
}
