//! The database as a whole: what it promises over restarts.

use reddb_file::control::{RestoredFrom, TtlMode};
use reddb_file::{Mark, TimelineId};

use super::*;
use crate::command::{Args, KeyPositions};
use crate::commit::Step;
use crate::engine::ENGINE_FORMAT_VERSION;
use crate::engine::tests::set_format;
use crate::exit::Exit;
use crate::reply::CommandResult;

fn put(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    txn.put_string(&args[1], &args[2], None)?;
    Ok(Reply::Ok)
}

fn get(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    Ok(Reply::optional(txn.string(&args[1])?))
}

const fn spec(name: &'static str, arity: i32, run: Run) -> CommandSpec {
    CommandSpec {
        name,
        arity,
        flags: &[],
        keys: KeyPositions::FIRST,
        group: "test",
        since: "0.1.0",
        summary: "For these tests.",
        heavy: false,
        run,
    }
}

static PUT: CommandSpec = spec("put", 3, Run::Write(put));
static GET: CommandSpec = spec("get", 2, Run::Read(get));

fn invoke(spec: &'static CommandSpec, args: &[&str]) -> Invocation {
    let args = args.iter().map(|arg| bytes::Bytes::copy_from_slice(arg.as_bytes()));
    Invocation { spec, args: std::iter::once(spec.name.into()).chain(args).collect(), db: 0 }
}

fn config(dir: &Path, archive: &Path) -> Config {
    let mut config = Config::new(dir, 16 << 20);
    config.wal_segment_bytes = 1 << 20;
    config.disk_reserve_bytes = 0;
    config.archive.url = Some(format!("file://{}", archive.display()));
    config
}

async fn put_all(database: &Database, pairs: &[(&str, &str)]) -> JobOutcome {
    let steps = pairs.iter().map(|(key, value)| Step::Run(invoke(&PUT, &[key, value]))).collect();
    database.submit(Job { steps }).await.expect("the committer answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_there_after_a_clean_and_after_an_unclean_end() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, archive) = (temp.path().join("data"), temp.path().join("archive"));
    let database = Database::open(config(&dir, &archive)).await.expect("opens");
    let outcome = put_all(&database, &[("a", "1"), ("b", "2")]).await;
    assert_eq!(outcome.replies, [Reply::Ok, Reply::Ok]);
    assert_eq!(outcome.receipt, Some(database.receipt()));
    assert_eq!(database.receipt().lsn, Lsn::new(3), "the timeline's record and one for each write");
    let before = (database.digest().expect("readable"), database.receipt());
    database.close(Duration::from_secs(5)).await.expect("closes");

    let database = Database::open(config(&dir, &archive)).await.expect("opens again");
    assert_eq!((database.digest().expect("readable"), database.receipt()), before);
    put_all(&database, &[("c", "3")]).await;
    let before = (database.digest().expect("readable"), database.receipt());
    // No close: as if the process were gone, apart from the lock.
    database.inner.archive.stop(Duration::ZERO).await;
    database.inner.janitor.stop();
    database.inner.committer.stop();
    database.inner.lock.lock().take();

    let database = Database::open(config(&dir, &archive)).await.expect("recovers");
    assert_eq!((database.digest().expect("readable"), database.receipt()), before);
    assert_eq!(database.read(&invoke(&GET, &["c"])), Reply::bulk("3"));
    database.close(Duration::from_secs(5)).await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recent_state_serves_again_until_there_is_a_newer_one() {
    let temp = tempfile::tempdir().expect("a directory");
    let database =
        Database::open(config(&temp.path().join("data"), &temp.path().join("archive"))).await.expect("opens");
    put_all(&database, &[("a", "1")]).await;
    let mut recent = None;
    let first = database.view_from(&mut recent);
    let second = database.view_from(&mut recent);
    assert!(Arc::ptr_eq(&first.state, &second.state));
    put_all(&database, &[("a", "2")]).await;
    let third = database.view_from(&mut recent);
    assert!(!Arc::ptr_eq(&first.state, &third.state));
    let read = |view| database.read_from(view, &invoke(&GET, &["a"]));
    assert_eq!([&first, &third].map(read), [Reply::bulk("1"), Reply::bulk("2")]);
    drop((first, second, third, recent));
    assert_eq!(database.status().engine.snapshots, 1, "what asks is registered, and nobody else");
    database.close(Duration::from_secs(5)).await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, archive) = (temp.path().join("data"), temp.path().join("archive"));
    let database = Database::open(config(&dir, &archive)).await.expect("opens");
    let error = Database::open(config(&dir, &archive)).await.err().expect("is refused");
    assert_eq!(error.exit(), Exit::Held, "{error}");
    database.close(Duration::from_secs(5)).await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_in_another_format_is_refused_with_what_to_do() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, archive) = (temp.path().join("data"), temp.path().join("archive"));
    let database = Database::open(config(&dir, &archive)).await.expect("opens");
    put_all(&database, &[("a", "1")]).await;
    let before = (database.digest().expect("readable"), database.receipt());
    database.close(Duration::from_secs(5)).await.expect("closes");
    let engine = dir.join("engine");
    set_format(&engine, ENGINE_FORMAT_VERSION - 1);
    let error = Database::open(config(&dir, &archive)).await.err().expect("is refused");
    assert_eq!(error.exit(), Exit::Integrity, "{error}");
    assert!(error.to_string().contains(&format!("move {} away", engine.display())), "{error}");
    // What it says is true.
    std::fs::rename(&engine, temp.path().join("away")).expect("moves");
    let database = Database::open(config(&dir, &archive)).await.expect("is built from the log");
    assert_eq!((database.digest().expect("readable"), database.receipt()), before);
    database.close(Duration::from_secs(5)).await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_holds_something_else_is_refused() {
    let temp = tempfile::tempdir().expect("a directory");
    let dir = temp.path().join("data");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(dir.join("thesis.tex"), "years of work").expect("a file");
    let error = Database::open(config(&dir, &temp.path().join("archive"))).await.err().expect("is refused");
    assert_eq!(error.exit(), Exit::Usage, "{error}");
    assert_eq!(std::fs::read_to_string(dir.join("thesis.tex")).expect("still there"), "years of work");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_and_a_backup_return_when_the_archive_has_them() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, archive) = (temp.path().join("data"), temp.path().join("archive"));
    let database = Database::open(config(&dir, &archive)).await.expect("opens");
    put_all(&database, &[("a", "1"), ("b", "2")]).await;
    let mark = database.mark("before").await.expect("is marked");
    assert_eq!((mark.lsn, mark.chain), (Lsn::new(3), database.receipt().chain.to_string()));
    assert!(archive.join("points/before.json").is_file());
    assert_eq!(database.status().archived_lsn, Lsn::new(3));
    put_all(&database, &[("c", "3")]).await;
    let backup = database.backup("test").await.expect("is published");
    assert_eq!(backup.lsn, Lsn::new(4));
    let manifests = std::fs::read_dir(archive.join("snapshots/0000000001")).expect("snapshots").count();
    assert_eq!(manifests, 2, "the new archive's own, and this one");
    database.close(Duration::from_secs(5)).await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_many_starts_begins_a_new_archive() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, first, second) = (temp.path().join("data"), temp.path().join("first"), temp.path().join("second"));
    for number in ["1", "2", "3"] {
        let database = Database::open(config(&dir, &first)).await.expect("opens");
        put_all(&database, &[("a", number), ("b", number)]).await;
        database.close(Duration::from_secs(5)).await.expect("closes");
    }
    for (new_archive, number) in [(true, "4"), (false, "5"), (false, "6")] {
        let settings = Config { new_archive, ..config(&dir, &second) };
        let database = Database::open(settings).await.expect("opens");
        put_all(&database, &[("a", number), ("b", number)]).await;
        database.close(Duration::from_secs(5)).await.expect("closes");
    }
    assert!(second.join("epochs/00000000000000000003.start.json").is_file(), "each start has claimed an epoch");
    let error = Database::open(config(&dir, &first)).await.err();
    assert!(error.is_none(), "the log extends what is in the first archive too: {error:?}");
}

/// Both clocks stand at so many milliseconds.
struct StandingClock(std::sync::atomic::AtomicU64);

impl StandingClock {
    fn pass_ms(&self, ms: u64) {
        self.0.fetch_add(ms, std::sync::atomic::Ordering::Relaxed);
    }
}

impl crate::clock::Clock for StandingClock {
    fn wall_ms(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.wall_ms())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_an_archive_that_was_away_from_the_start_is_said_to_wait() {
    let temp = tempfile::tempdir().expect("a directory");
    let (dir, archive) = (temp.path().join("data"), temp.path().join("archive"));
    let database = Database::open(config(&dir, &archive)).await.expect("opens");
    database.close(Duration::from_secs(60)).await.expect("closes, and ships what there is");
    std::fs::rename(&archive, temp.path().join("away")).expect("renames");

    let clock = Arc::new(StandingClock(std::sync::atomic::AtomicU64::new(crate::clock::SystemClock::new().wall_ms())));
    let database = open::open(config(&dir, &archive), Arc::clone(&clock) as _).await.expect("opens without it");
    clock.pass_ms(60_000);
    let idle = database.status().archive;
    assert_eq!((idle.online, idle.lag_records, idle.lag_ms), (false, 0, 0));
    put_all(&database, &[("a", "1")]).await;
    clock.pass_ms(240_000);
    let behind = database.status().archive;
    assert_eq!((behind.online, behind.lag_records, behind.lag_ms), (false, 1, 300_000));
    database.close(Duration::ZERO).await.expect("closes");
}

#[test]
fn the_clocks_of_expiring_keys_go_on_from_the_restored_moment_and_never_run_ahead_of_the_wall_clock() {
    let from = |ttl| RestoredFrom {
        parent: TimelineId::FIRST,
        fork: Mark::genesis(reddb_file::ClusterId::from_bytes([1; 16])),
        target_time_ms: 1_000_000,
        ttl,
        parent_clock_offset_ms: 70,
    };
    for (ttl, wall_ms, offset_ms) in [
        (TtlMode::Continue, 1_005_000, 5_070),
        (TtlMode::Continue, 1_000_000, 70),
        // The log's time was ahead of the wall clock.
        (TtlMode::Continue, 400_000, 70),
        (TtlMode::Continue, u64::MAX, i64::MAX),
        (TtlMode::Absolute, 1_005_000, 70),
    ] {
        assert_eq!(local::restored_clock_offset_ms(&from(ttl), wall_ms), offset_ms, "{ttl:?} at {wall_ms}");
    }
}
