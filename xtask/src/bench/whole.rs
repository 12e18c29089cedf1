//! The same dataset kept and brought back by others: Redis with `SAVE`.

use std::time::Instant;

use crate::bench::files;
use crate::bench::load::{Dataset, fill};
use crate::bench::peers::Program;
use crate::bench::peers::redis::{Durability, Redis};
use crate::bench::row::{Round, Row};
use crate::bench::sample::Unit;

const KEYS: u64 = 2_000_000;

/// The rows of this module.
pub(crate) const ROWS: [Row; 1] = [Row {
    name: "redis-save",
    title: "snapshot and return of one dataset: RedDB, and Redis with SAVE",
    needs: &[Program::RedisServer],
    rounds_max: 3,
    goals: &[],
    measure: save,
}];

fn save(round: &mut Round<'_>) -> Result<(), String> {
    let data = Dataset::of(round.bench.scaled(KEYS));
    reddb(round, data)?;
    let place = round.path("redis");
    let server = Redis::start(&place, Durability::SaveOnly)?;
    round.stage(&format!("Redis: loading {} keys", data.count));
    fill(server.address, data)?;
    round.settle();
    round.stage("Redis: SAVE, then load");
    let started = Instant::now();
    server.client()?.call(&["SAVE"])?;
    round.record("redis SAVE", Unit::Seconds, started.elapsed().as_secs_f64());
    round.record("redis file", Unit::Bytes, files::bytes(&place) as f64);
    drop(server);
    let started = Instant::now();
    let server = Redis::start(&place, Durability::SaveOnly)?;
    round.record("redis load", Unit::Seconds, started.elapsed().as_secs_f64());
    server.stop()?;
    Ok(())
}

/// Snapshot, and restore until ready.
fn reddb(round: &mut Round<'_>, data: Dataset) -> Result<(), String> {
    let reddb = round.reddb();
    let mut server = reddb.start()?;
    round.stage(&format!("RedDB: loading {} keys", data.count));
    fill(server.address, data)?;
    server.wait_until_archived()?;
    round.settle();
    round.stage("RedDB: snapshot, then restore");
    let started = Instant::now();
    let snapshot = server.backup()?;
    round.record("reddb snapshot", Unit::Seconds, started.elapsed().as_secs_f64());
    let bytes = snapshot["total_bytes"].as_f64().ok_or_else(|| format!("no total_bytes in {snapshot}"))?;
    round.record("reddb snapshot size", Unit::Bytes, bytes);
    server.stop()?;
    let started = Instant::now();
    reddb.restore(&round.path("restored"), &[])?;
    let server = reddb.clone().dir(round.path("restored")).start()?;
    round.record("reddb restore until ready", Unit::Seconds, started.elapsed().as_secs_f64());
    server.stop()?;
    Ok(())
}
