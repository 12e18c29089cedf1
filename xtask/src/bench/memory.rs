//! Memory: what the server and a restore keep resident, under a load many times their budget and under idle connections.

use std::time::Duration;

use crate::bench::guard::Guarded;
use crate::bench::load::{Dataset, fill};
use crate::bench::peers::Program;
use crate::bench::peers::redis::{Durability, Redis};
use crate::bench::resp::Client;
use crate::bench::row::{Round, Row};
use crate::bench::sample::{Bound, Goal, Unit};

/// What the server may take for caches and buffers.
const BUDGET: &str = "512mb";

const RESIDENT: Bound = Bound::AtMost(768e6);

const CONNECTIONS: u64 = 10_000;

/// File descriptors that are not connections.
const OTHER_FILES: u64 = 500;

/// The rows of this module.
pub(crate) const ROWS: [Row; 2] = [
    Row {
        name: "memory",
        title: "resident memory with --memory 512mb and several times as much data (--memory-data)",
        needs: &[],
        rounds_max: 1,
        goals: &[
            Goal::of("reddb peak while loading", RESIDENT),
            Goal::of("reddb peak during a snapshot", RESIDENT),
            Goal::of("reddb peak of a restore", RESIDENT),
            Goal::of("reddb peak of the start after it", RESIDENT),
        ],
        measure: budget,
    },
    Row {
        name: "idle-connections",
        title: "resident memory of 10,000 idle connections",
        needs: &[Program::RedisServer],
        rounds_max: 3,
        goals: &[],
        measure: connections,
    },
];

fn budget(round: &mut Round<'_>) -> Result<(), String> {
    let per_key = Dataset::of(1).bytes();
    let data = Dataset::of(round.bench.memory_data_bytes / per_key);
    let reddb = round.reddb().flag("--memory", BUDGET);
    let mut server = reddb.start()?;
    round.stage(&format!("RedDB: loading {} keys", data.count));
    fill(server.address, data)?;
    round.record("data", Unit::Bytes, data.bytes() as f64);
    round.record("reddb peak while loading", Unit::Bytes, peak_bytes(server.pid())?);
    server.wait_until_archived()?;
    round.stage("RedDB: snapshot");
    forget_peak(server.pid())?;
    server.backup()?;
    round.record("reddb peak during a snapshot", Unit::Bytes, peak_bytes(server.pid())?);
    round.record("reddb resident after it", Unit::Bytes, resident_bytes(server.pid())?);
    server.stop()?;
    round.stage("RedDB: restore");
    let restore = reddb.restore_command(&round.path("restored"), &["--memory", BUDGET]);
    let peak = peak_of(Guarded::start(&mut { restore }, &round.path("restore.log"))?)?;
    round.record("reddb peak of a restore", Unit::Bytes, peak);
    round.stage("RedDB: start on what was restored");
    let server = reddb.clone().dir(round.path("restored")).start()?;
    round.record("reddb peak of the start after it", Unit::Bytes, peak_bytes(server.pid())?);
    server.stop()?;
    Ok(())
}

fn connections(round: &mut Round<'_>) -> Result<(), String> {
    let count = allow_files(round.bench.scaled(CONNECTIONS) + OTHER_FILES)? - OTHER_FILES;
    let limit = (count + 10).to_string();
    round.record("connections", Unit::Count, count as f64);
    let server = round.reddb().flag("--maxclients", &limit).start()?;
    round.stage(&format!("RedDB: {count} idle connections"));
    let growth = growth(server.pid(), count, || server.client())?;
    server.stop()?;
    round.record("reddb", Unit::Bytes, growth);
    round.record("reddb each", Unit::Bytes, growth / count as f64);
    let server = Redis::start_with(&round.path("redis"), Durability::EveryWrite, &["--maxclients", &limit])?;
    round.stage(&format!("Redis: {count} idle connections"));
    let growth = self::growth(server.pid(), count, || server.client())?;
    server.stop()?;
    round.record("redis", Unit::Bytes, growth);
    round.record("redis each", Unit::Bytes, growth / count as f64);
    Ok(())
}

/// How much more is resident while so many connections, each of which has been answered once, are open.
fn growth(pid: u32, count: u64, connect: impl Fn() -> Result<Client, String>) -> Result<f64, String> {
    let before = resident_bytes(pid)?;
    let mut open = Vec::new();
    for _ in 0..count {
        let mut client = connect()?;
        client.call(&["PING"])?;
        open.push(client);
    }
    let after = resident_bytes(pid)?;
    drop(open);
    Ok(after - before)
}

/// Lets this process, and what it starts, open so many files, or as many as the system allows.
fn allow_files(wanted: u64) -> Result<u64, String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let reachable = limit.maximum.map_or(wanted, |maximum| wanted.min(maximum));
    if limit.current.is_some_and(|current| current < reachable) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(reachable), maximum: limit.maximum })
            .map_err(|error| format!("cannot open {reachable} files: {error}"))?;
    }
    Ok(reachable)
}

/// Waits until a program has ended, and returns the most it had resident.
fn peak_of(mut program: Guarded) -> Result<f64, String> {
    let mut peak: f64 = 0.0;
    while !program.has_ended()? {
        // It may end between the two questions.
        if let Ok(seen) = peak_bytes(program.pid()) {
            peak = peak.max(seen);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    if peak > 0.0 { Ok(peak) } else { Err("the program ended before its memory was seen".to_owned()) }
}

/// The most a process has had resident.
pub(crate) fn peak_bytes(pid: u32) -> Result<f64, String> {
    field_bytes(&status(pid)?, "VmHWM:").map_err(|error| format!("{error} of process {pid}"))
}

/// What a process has resident.
pub(crate) fn resident_bytes(pid: u32) -> Result<f64, String> {
    field_bytes(&status(pid)?, "VmRSS:").map_err(|error| format!("{error} of process {pid}"))
}

/// Lets the peak begin anew at what is resident.
fn forget_peak(pid: u32) -> Result<(), String> {
    let path = format!("/proc/{pid}/clear_refs");
    std::fs::write(&path, "5").map_err(|error| format!("cannot write {path}: {error}"))
}

/// What the system says of a process, a field a line.
fn status(pid: u32) -> Result<String, String> {
    let path = format!("/proc/{pid}/status");
    std::fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))
}

fn field_bytes(status: &str, name: &str) -> Result<f64, String> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB"));
    let kib = line.and_then(|number| number.trim().parse::<f64>().ok());
    kib.map(|kib| kib * 1024.0).ok_or_else(|| format!("no {name} in the status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_a_peak_that_is_no_less() {
        // One reading: the system counts roughly, and what it says at two moments need not fit together.
        let status = status(std::process::id()).unwrap();
        let resident = field_bytes(&status, "VmRSS:").unwrap();
        assert!(resident > 0.0 && field_bytes(&status, "VmHWM:").unwrap() >= resident);
    }

    #[test]
    fn a_field_is_in_kib_and_one_that_is_not_there_is_an_error() {
        let status = "Name:\treddb\nVmHWM:\t   2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(field_bytes(status, "VmHWM:"), Ok(2048.0 * 1024.0));
        assert_eq!(field_bytes(status, "VmRSS:"), Ok(1024.0 * 1024.0));
        assert!(field_bytes(status, "VmNothing:").unwrap_err().contains("VmNothing"));
        let gone = peak_bytes(u32::MAX).unwrap_err();
        assert!(gone.contains(&u32::MAX.to_string()), "{gone}");
    }
}
