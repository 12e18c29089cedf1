//! SET and GET through redis-benchmark, against Redis with the same durability.
//!
//! Beside them, what the load generator reaches where a server does nothing but answer.
//!
//! Values of 100 bytes, a million different keys. SET begins with an empty database, GET with all keys in it. The load
//! generator warms each server up with a tenth of the commands before it measures.

use std::net::SocketAddr;

use crate::bench::load::{Dataset, Generate, Generated, fill, generate};
use crate::bench::peers::Program;
use crate::bench::peers::mute::Mute;
use crate::bench::peers::redis::{Durability, Redis};
use crate::bench::row::{Round, Row};
use crate::bench::sample::{Goal, Unit};

const KEYS: u64 = 1_000_000;
/// What the load generator reaches where the server does nothing: no server is faster on this machine.
const CEILING: &str = "ceiling";
const NEEDS: &[Program] = &[Program::RedisServer, Program::RedisBenchmark];

const fn row(name: &'static str, title: &'static str, goals: &'static [Goal], measure: Measure) -> Row {
    Row { name, title, needs: NEEDS, rounds_max: u32::MAX, goals, measure }
}

type Measure = fn(&mut Round<'_>) -> Result<(), String>;

/// The rows of this module.
pub(crate) const ROWS: [Row; 6] = [
    row("set-c50", "SET, 50 clients, no pipeline", &[Goal::at_least("reddb", "redis", 1.2)], |round| {
        set(round, 50, 1, 300_000)
    }),
    row("set-c50-p16", "SET, 50 clients, pipeline of 16", &[Goal::at_least("reddb", "redis", 2.0)], |round| {
        set(round, 50, 16, 1_000_000)
    }),
    row("set-c200", "SET, 200 clients, no pipeline", &[Goal::at_least("reddb", "redis", 1.2)], |round| {
        set(round, 200, 1, 300_000)
    }),
    row("set-c1", "SET, one client", &[Goal::at_least("reddb", "redis", 1.3)], |round| set(round, 1, 1, 20_000)),
    row("get-c50", "GET, 50 clients, no pipeline", &[Goal::at_least("reddb", "redis", 1.0)], |round| {
        get(round, 50, 1, 500_000)
    }),
    row("get-c50-p16", "GET, 50 clients, pipeline of 16", &[Goal::at_least("reddb", "redis", 1.0)], |round| {
        get(round, 50, 16, 2_000_000)
    }),
];

fn set(round: &mut Round<'_>, clients: u32, pipeline: u32, requests: u64) -> Result<(), String> {
    compare(round, Generate { command: "set", clients, pipeline, requests, keys: KEYS })
}

fn get(round: &mut Round<'_>, clients: u32, pipeline: u32, requests: u64) -> Result<(), String> {
    compare(round, Generate { command: "get", clients, pipeline, requests, keys: KEYS })
}

/// RedDB, then Redis, then a server that only answers, each alone on the machine.
fn compare(round: &mut Round<'_>, load: Generate) -> Result<(), String> {
    let load = Generate { keys: round.bench.scaled(load.keys), requests: round.bench.scaled(load.requests), ..load };
    let server = round.reddb().start()?;
    let measured = measure(round, "RedDB", server.address, load)?;
    let lag_ms = server.number("/archive/lag_ms")?;
    server.stop()?;
    keep(round, ["reddb", "reddb p50", "reddb p99"], measured);
    round.record("reddb archive lag at the end", Unit::Milliseconds, lag_ms);
    let server = Redis::start(&round.path("redis"), Durability::EveryWrite)?;
    let measured = measure(round, "Redis", server.address, load)?;
    server.stop()?;
    keep(round, ["redis", "redis p50", "redis p99"], measured);
    let server = Mute::start()?;
    round.stage("a server that only answers");
    let ceiling = generate(server.address, load)?;
    server.stop()?;
    round.record(CEILING, Unit::PerSecond, ceiling.per_second);
    Ok(())
}

fn measure(round: &Round<'_>, whose: &str, address: SocketAddr, load: Generate) -> Result<Generated, String> {
    if load.command == "get" {
        round.stage(&format!("{whose}: loading {} keys", load.keys));
        fill(address, Dataset::of(load.keys))?;
    }
    round.stage(&format!("{whose}: {} × {}", load.requests, load.command.to_uppercase()));
    generate(address, Generate { requests: load.requests / 10, ..load })?;
    round.settle();
    generate(address, load)
}

fn keep(round: &mut Round<'_>, [throughput, p50, p99]: [&'static str; 3], measured: Generated) {
    round.record(throughput, Unit::PerSecond, measured.per_second);
    round.record(p50, Unit::Milliseconds, measured.p50_ms);
    round.record(p99, Unit::Milliseconds, measured.p99_ms);
}
