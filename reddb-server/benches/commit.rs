//! The commit path in process: commands through the committer, the log and the engine, each durable when it is answered.
//!
//! Every answer waits for a sync, so the figure is the disk's as much as ours; how many connections share one is what varies.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reddb_server::{Config, Connection, Database};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

const MEMORY_BYTES: u64 = 256 << 20;
const KEYS: u64 = 1_000_000;
/// Commands that each connection sends, one after the other, before all are waited for.
const COMMANDS: u64 = 20;

/// The connections side by side, each command after the one before it.
async fn run(connections: Vec<Connection>, command: &'static str, mut key: u64) {
    let mut running = JoinSet::new();
    for mut connection in connections {
        key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
        running.spawn(async move {
            for step in 0..COMMANDS {
                let key = format!("key:{:012}", (key ^ step) % KEYS);
                let answer = match command {
                    "SET" => connection.execute(&["SET", &key, VALUE]).await,
                    _ => connection.execute(&["GET", &key]).await,
                };
                answer.expect("the database takes commands");
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.expect("no task panics");
    }
}

const VALUE: &str =
    "a value of one hundred bytes, which is what every row of the benchmarks writes, and so does this: here";

fn commit(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let place = tempfile::tempdir().expect("a temporary directory can be made");
    let database = runtime
        .block_on(Database::open(Config::new(place.path().join("data"), MEMORY_BYTES)))
        .expect("an empty directory becomes a database");
    for command in ["SET", "GET"] {
        let mut group = criterion.benchmark_group(command);
        for count in [1_u64, 50, 200] {
            let connections: Vec<Connection> = (0..count).map(|_| database.connect()).collect();
            group.throughput(Throughput::Elements(count * COMMANDS));
            let mut round = 0_u64;
            group.bench_function(format!("{count} connections"), |bencher| {
                bencher.iter(|| {
                    round += 1;
                    runtime.block_on(run(connections.clone(), command, round));
                });
            });
        }
        group.finish();
    }
    runtime.block_on(database.close(Duration::from_secs(60))).expect("the database closes");
}

criterion_group!(benches, commit);
criterion_main!(benches);
