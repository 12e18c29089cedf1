//! The archive: how soon it has a commit, what it asks of its store, how fast it is verified, and what is written altogether.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::bench::files;
use crate::bench::guard;
use crate::bench::latency::percentile_ms;
use crate::bench::load::VALUE_BYTES;
use crate::bench::load::{Dataset, fill, key, value};
use crate::bench::peers::Program;
use crate::bench::peers::reddb::Reddb;
use crate::bench::resp::Client;
use crate::bench::row::{Round, Row};
use crate::bench::sample::Unit;
use crate::stores::{self, s3};

const KEYS: u64 = 2_000_000;

/// The rows of this module.
pub(crate) const ROWS: [Row; 5] = [
    Row {
        name: "archive-latency",
        title: "from a commit's answer until the archive on file:// has it",
        needs: &[],
        rounds_max: 5,
        goals: &[],
        measure: latency_of_files,
    },
    Row {
        name: "archive-latency-s3",
        title: "from a commit's answer until the archive on S3 over loopback has it",
        needs: &[Program::S3],
        rounds_max: 5,
        goals: &[],
        measure: latency_of_s3,
    },
    Row {
        name: "requests",
        title: "requests to the store per GB archived and per idle hour",
        needs: &[],
        rounds_max: 3,
        goals: &[],
        measure: requests,
    },
    Row {
        name: "verify",
        title: "verification of an archive per second of processor time",
        needs: &[],
        rounds_max: 5,
        goals: &[],
        measure: verify,
    },
    Row {
        name: "amplification",
        title: "bytes written and kept per byte of keys and values, each written twice",
        needs: &[],
        rounds_max: 3,
        goals: &[],
        measure: amplification,
    },
];

/// Commits of one client, one every few milliseconds.
const COMMITS: u64 = 1500;
const COMMIT_INTERVAL: Duration = Duration::from_millis(10);

fn latency_of_files(round: &mut Round<'_>) -> Result<(), String> {
    let reddb = round.reddb();
    latency(round, &reddb)
}

fn latency_of_s3(round: &mut Round<'_>) -> Result<(), String> {
    let store = stores::Server::of(&s3::SERVER, round.bench.workspace)?;
    let _adopted = guard::Adopted::new(store.pid());
    let environment = store.environment();
    let reddb = round.reddb().archive(s3::SERVER.url(), environment).switch("--archive-allow-http");
    latency(round, &reddb)
}

fn latency(round: &mut Round<'_>, reddb: &Reddb<'_>) -> Result<(), String> {
    let server = reddb.start()?;
    let mut client = server.client()?;
    round.stage("RedDB: one client commits, and the archive's progress is watched");
    let mut waiting: Vec<(f64, Instant)> = Vec::new();
    let mut took = Vec::new();
    let mut next = Instant::now();
    let mut left = round.bench.scaled(COMMITS);
    while left > 0 || !waiting.is_empty() {
        if left > 0 && Instant::now() >= next {
            waiting.push((commit(&mut client, left)?, Instant::now()));
            next += COMMIT_INTERVAL;
            left -= 1;
        }
        let archived = server.number("/archived_lsn")?;
        let seen = Instant::now();
        waiting.retain(|(lsn, since)| {
            let is_waiting = *lsn > archived;
            if !is_waiting {
                took.push(seen.duration_since(*since));
            }
            is_waiting
        });
        std::thread::sleep(Duration::from_millis(1));
    }
    server.stop()?;
    for (name, percent) in [("reddb p50", 50), ("reddb p99", 99)] {
        let ms = percentile_ms(took.clone(), percent).ok_or("no commit was archived")?;
        round.record(name, Unit::Milliseconds, ms);
    }
    Ok(())
}

/// One SET, and its LSN.
fn commit(client: &mut Client, number: u64) -> Result<f64, String> {
    client.call(&[b"SET".as_slice(), key(number).as_bytes(), &value(number, VALUE_BYTES)])?;
    client.call(&["RED.LSN"])?.item(1)?.integer().map(|lsn| lsn as f64)
}

/// How long an idle server is watched: several times its pause between heartbeats.
const IDLE: Duration = Duration::from_secs(60);

fn requests(round: &mut Round<'_>) -> Result<(), String> {
    const COUNTER: &str = "/archive/requests";
    let mut server = round.reddb().start()?;
    let before = server.number(COUNTER)?;
    round.stage("RedDB: loading");
    fill(server.address, Dataset::of(round.bench.scaled(KEYS)))?;
    server.wait_until_archived()?;
    let loaded = server.number(COUNTER)?;
    let bytes = files::bytes(&round.path("reddb").join("archive").join("wal"));
    round.stage("RedDB: idle");
    let idle = if round.bench.quick { IDLE / 60 } else { IDLE };
    std::thread::sleep(idle);
    let hours = idle.as_secs_f64() / 3600.0;
    round.record("reddb requests per GB archived", Unit::Count, (loaded - before) / (bytes as f64 / 1e9));
    round.record("reddb requests per idle hour", Unit::Count, (server.number(COUNTER)? - loaded) / hours);
    server.stop()?;
    Ok(())
}

fn verify(round: &mut Round<'_>) -> Result<(), String> {
    let reddb = round.reddb();
    let mut server = reddb.start()?;
    round.stage("RedDB: loading");
    fill(server.address, Dataset::of(round.bench.scaled(KEYS)))?;
    server.backup()?;
    server.wait_until_archived()?;
    server.stop()?;
    round.settle();
    round.stage("RedDB: verify");
    let started = Instant::now();
    let (report, processor) = with_processor_time(&reddb.verify_command())?;
    let seconds = started.elapsed().as_secs_f64();
    let report: serde_json::Value = serde_json::from_str(&report).map_err(|error| format!("no JSON: {error}"))?;
    let bytes = |kind: &str| report[kind]["bytes"].as_f64().ok_or_else(|| format!("no {kind} in {report}"));
    let (files, segments) = (bytes("files")?, bytes("segments")?);
    round.record("reddb per core", Unit::BytesPerSecond, (files + segments) / processor.as_secs_f64());
    round.record("reddb", Unit::BytesPerSecond, (files + segments) / seconds);
    round.record("reddb files", Unit::Bytes, files);
    round.record("reddb segments as stored", Unit::Bytes, segments);
    Ok(())
}

/// Runs a command below a shell that says afterwards how long it kept the processor busy; what it printed comes first.
fn with_processor_time(command: &Command) -> Result<(String, Duration), String> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\" && times", "sh"]).arg(command.get_program()).args(command.get_args());
    let text = guard::capture(&mut shell)?;
    // Two lines at the end: the shell's own time, and that of what it ran.
    let mut parts = text.trim_end().rsplitn(3, '\n');
    let (spent, _, output) = (parts.next(), parts.next(), parts.next());
    let spent = spent.and_then(|line| line.split_whitespace().map(minutes_and_seconds).sum::<Option<f64>>());
    match (output, spent) {
        (Some(output), Some(spent)) => Ok((output.to_owned(), Duration::from_secs_f64(spent.max(0.001)))),
        _ => Err(format!("a shell's `times` printed something else:\n{text}")),
    }
}

/// `1m2.5s` in seconds.
fn minutes_and_seconds(text: &str) -> Option<f64> {
    let (minutes, seconds) = text.strip_suffix('s')?.split_once('m')?;
    Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
}

fn amplification(round: &mut Round<'_>) -> Result<(), String> {
    let data = Dataset::of(round.bench.scaled(KEYS));
    let mut server = round.reddb().start()?;
    round.stage("RedDB: loading, twice the same");
    for _ in 0..2 {
        fill(server.address, data)?;
    }
    server.wait_until_archived()?;
    let written = written_bytes(server.pid())?;
    server.stop()?;
    let place = round.path("reddb");
    let (kept, sent) = (data.bytes() as f64, 2.0 * data.bytes() as f64);
    round.record("reddb bytes written / bytes sent", Unit::Ratio, written / sent);
    for (name, path) in [("engine", "data/engine"), ("local log", "data/wal"), ("archived log", "archive/wal")] {
        let bytes = files::bytes(&place.join(path)) as f64;
        round.record(&format!("reddb {name} / live bytes"), Unit::Ratio, bytes / kept);
    }
    Ok(())
}

/// What a process has sent to the disk.
fn written_bytes(pid: u32) -> Result<f64, String> {
    let path = format!("/proc/{pid}/io");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let number = text.lines().find_map(|line| line.strip_prefix("write_bytes:")?.trim().parse().ok());
    number.ok_or_else(|| format!("no write_bytes in {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_that_of_the_command() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two"]);
        let (output, spent) = with_processor_time(&command).unwrap();
        assert_eq!(output, "one\ntwo");
        assert!(spent < Duration::from_secs(60));
        assert_eq!(minutes_and_seconds("1m2.5s"), Some(62.5));
        assert_eq!(minutes_and_seconds("2.5"), None);
    }
}
