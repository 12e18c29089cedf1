//! Any moment can be restored, and the restored database is one like any other.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reddb_backup::history::{History, read::read};
use reddb_backup::plan::{Request, Target, UnixMs, plan};
use reddb_backup::progress::Silent;
use reddb_backup::restore::{RestoreOptions, RestoreReport, restore};
use reddb_backup::store::{OpenMode, Store, StoreSettings};
use reddb_backup::verify::{VerifyOptions, verify};
use reddb_file::archive::{MissingDigest, PointName};
use reddb_file::control::TtlMode;
use reddb_file::{Lsn, TimelineId};
use reddb_server::{Config, Database, EngineSink, Exit, Reply};

struct Place {
    temp: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().expect("a directory") }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn url(&self) -> String {
        format!("file://{}", self.dir("archive").display())
    }

    fn config(&self, dir: &Path) -> Config {
        let mut config = Config::new(dir, 16 << 20);
        config.wal_segment_bytes = 1 << 20;
        config.disk_reserve_bytes = 0;
        config.takeover = true;
        config.archive.url = Some(self.url());
        config.archive.interval = Duration::from_millis(20);
        config
    }

    async fn open(&self, name: &str) -> Database {
        Database::open(self.config(&self.dir(name))).await.expect("opens")
    }

    async fn store(&self) -> Store {
        Store::open(&self.url().parse().expect("a URL"), &StoreSettings::default(), OpenMode::MustExist).expect("opens")
    }

    async fn restore(&self, request: Request, into: &str, ttl: TtlMode) -> (RestoreReport, [u8; 32]) {
        let store = self.store().await;
        let contents = read(&store, MissingDigest::Refuse, &Silent::shared()).await.expect("readable");
        let target_time_ms = match request.target {
            Target::Time(time) => Some(time.0),
            _ => None,
        };
        let plan = plan(&History::conclude(contents), &request).expect("can be planned");
        let (sink, restored) = EngineSink::new(16 << 20, ttl, target_time_ms);
        let (report, _) = restore(&store, plan, RestoreOptions::new(self.dir(into)), sink).await.expect("restores");
        let digest = restored.get().expect("the sink finished").digest;
        (report, digest)
    }
}

async fn run(database: &Database, words: &str) -> Reply {
    let words: Vec<&str> = words.split(' ').collect();
    database.connect().execute(&words).await.unwrap_or_else(Reply::Error)
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the end of time")
}

/// Returns once the archive's head promises that nothing later happens at or before `time_ms`.
async fn complete_until(database: &Database, time_ms: u64) {
    while wall_ms() <= time_ms + 1 {
        tokio::task::yield_now().await;
    }
    run(database, "INCR clock-tick").await;
    let name = format!("tick-{}", database.receipt().lsn);
    database.mark(&name).await.expect("is archived");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_moment_is_restored_with_its_digest_and_goes_on_as_a_new_timeline() {
    let place = Place::new();
    let database = place.open("one").await;
    let mut moments = Vec::new();
    let mut middle = None;
    for step in 0..20 {
        let mut commands = vec![format!("SET key:{step} {step}"), format!("HSET hash field:{step} {step}")];
        if step % 3 == 0 {
            commands.push(format!("DEL key:{}", step / 2));
        }
        // Every record is a moment: several may share a millisecond.
        for command in commands {
            run(&database, &command).await;
            let (lsn, digest) = database.digest().expect("readable");
            moments.push((lsn, digest, database.status().durable_time_ms));
        }
        if step == 10 {
            database.mark("middle").await.expect("is marked");
            middle = moments.last().copied();
        }
    }
    let middle = middle.expect("step 10 was taken");
    let time_ms = moments[30].2;
    complete_until(&database, time_ms).await;
    database.close(Duration::from_secs(10)).await.expect("closes");

    for (number, (lsn, digest, _)) in moments.iter().enumerate().step_by(5) {
        let into = format!("lsn-{number}");
        let (report, restored) = place.restore(Request::new(Target::Lsn(*lsn)), &into, TtlMode::Continue).await;
        assert_eq!((report.mark.lsn, restored), (*lsn, *digest));
    }
    let label = Target::Label(PointName::new("middle").expect("a name"));
    let (report, restored) = place.restore(Request::new(label), "label", TtlMode::Continue).await;
    assert_eq!((report.mark.lsn, restored), (middle.0, middle.1));
    let (report, restored) =
        place.restore(Request::new(Target::Time(UnixMs(time_ms))), "time", TtlMode::Continue).await;
    let expected = moments.iter().rev().find(|(_, _, at)| *at <= time_ms).expect("there is one");
    assert_eq!((report.mark.lsn, restored), (expected.0, expected.1), "the last record at or before the time");

    // The restored database serves, on a new timeline, and is archived like the first.
    let second = place.open("label").await;
    assert_eq!(second.receipt().timeline, TimelineId::new(2));
    assert_eq!(second.receipt().lsn, middle.0.next().expect("not the last"));
    assert_eq!(second.digest().expect("readable").1, middle.1);
    run(&second, "SET after the-fork").await;
    let (lsn, digest) = second.digest().expect("readable");
    second.mark("second-life").await.expect("is marked");
    second.close(Duration::from_secs(10)).await.expect("closes");

    let label = Target::Label(PointName::new("second-life").expect("a name"));
    let (report, restored) = place.restore(Request::new(label), "third", TtlMode::Continue).await;
    assert_eq!((report.mark.lsn, report.timeline, restored), (lsn, TimelineId::new(2), digest));
    // It goes on after a restart, too.
    let second = place.open("label").await;
    assert_eq!(second.digest().expect("readable"), (lsn, digest));
    second.close(Duration::from_secs(10)).await.expect("closes");
    // And a fork of the fork.
    let third = place.open("third").await;
    assert_eq!(third.receipt().timeline, TimelineId::new(3));
    third.close(Duration::from_secs(10)).await.expect("closes");

    let report = verify(&place.store().await, &VerifyOptions::default()).await.expect("verifies");
    assert_eq!(report.faults, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_go_on_from_the_moment_or_follow_the_wall() {
    let place = Place::new();
    let database = place.open("one").await;
    run(&database, "SET long-lived x PX 3600000").await;
    run(&database, "SET short-lived x PX 300").await;
    let (lsn, digest) = database.digest().expect("readable");
    database.mark("alive").await.expect("is marked");
    // The wall clock passes the short one's end.
    let end_ms = database.status().durable_time_ms + 400;
    complete_until(&database, end_ms).await;
    assert_eq!(run(&database, "GET short-lived").await, Reply::Null);
    database.close(Duration::from_secs(10)).await.expect("closes");

    for (into, ttl) in [("continue", TtlMode::Continue), ("absolute", TtlMode::Absolute)] {
        let (_, restored) = place.restore(Request::new(Target::Lsn(lsn)), into, ttl).await;
        assert_eq!(restored, digest, "the stored expiries are the same");
    }
    let absolute = place.open("absolute").await;
    assert_eq!(run(&absolute, "GET short-lived").await, Reply::Null);
    let Reply::Int(left_ms) = run(&absolute, "PTTL long-lived").await else { panic!("an integer") };
    assert!(left_ms < 3_600_000 - 300, "{left_ms}");
    absolute.close(Duration::from_secs(10)).await.expect("closes");

    let continued = place.open("continue").await;
    let Reply::Int(left_ms) = run(&continued, "PTTL long-lived").await else { panic!("an integer") };
    assert!(left_ms > 3_600_000 - 60_000, "{left_ms}");
    assert!(continued.status().clock_offset_ms >= 300, "{}", continued.status().clock_offset_ms);
    continued.close(Duration::from_secs(10)).await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_clusters_archive_and_an_old_copy_are_refused() {
    let place = Place::new();
    let database = place.open("one").await;
    run(&database, "SET a 1").await;
    database.close(Duration::from_secs(10)).await.expect("closes");
    let error = Database::open(place.config(&place.dir("other"))).await.err().expect("is refused");
    assert_eq!(error.exit(), Exit::Integrity, "{error}");

    copy_dir(&place.dir("one"), &place.dir("copy"));
    let database = place.open("one").await;
    run(&database, "SET b 2").await;
    database.mark("newer").await.expect("is archived");
    database.close(Duration::from_secs(10)).await.expect("closes");
    let error = Database::open(place.config(&place.dir("copy"))).await.err().expect("is refused");
    assert_eq!(error.exit(), Exit::Integrity, "{error}");
    assert!(error.to_string().contains("LSN"), "{error}");
    assert!(Lsn::new(1) < Lsn::new(2));
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            copy_dir(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copies");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_may_begin_an_archive_of_its_own() {
    let place = Place::new();
    let database = place.open("one").await;
    run(&database, "SET a 1").await;
    database.mark("here").await.expect("is marked");
    database.close(Duration::from_secs(10)).await.expect("closes");
    let label = Target::Label(PointName::new("here").expect("a name"));
    place.restore(Request::new(label), "restored", TtlMode::Continue).await;

    let mut config = place.config(&place.dir("restored"));
    config.archive.url = None;
    let database = Database::open(config.clone()).await.expect("opens with its default archive");
    assert_eq!(run(&database, "GET a").await, Reply::bulk("1"));
    run(&database, "SET b 2").await;
    let expected = database.digest().expect("readable");
    database.mark("own").await.expect("is marked");
    database.close(Duration::from_secs(10)).await.expect("closes");
    // It goes on there, and what is there restores.
    let database = Database::open(config.clone()).await.expect("opens again");
    assert_eq!(database.digest().expect("readable"), expected);
    database.close(Duration::from_secs(10)).await.expect("closes");
    let own = config.archive_url().expect("a URL").parse().expect("a URL");
    let store = Store::open(&own, &StoreSettings::default(), OpenMode::MustExist).expect("opens");
    assert_eq!(verify(&store, &VerifyOptions::default()).await.expect("verifies").faults, []);
    let contents = read(&store, MissingDigest::Refuse, &Silent::shared()).await.expect("readable");
    let request = Request::new(Target::Label(PointName::new("own").expect("a name")));
    let plan = plan(&History::conclude(contents), &request).expect("can be planned");
    let (sink, restored) = EngineSink::new(16 << 20, TtlMode::Continue, None);
    restore(&store, plan, RestoreOptions::new(place.dir("again")), sink).await.expect("restores");
    assert_eq!(restored.get().expect("the sink finished").digest, expected.1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_point_or_a_snapshot_that_was_taken_away_is_noticed() {
    let place = Place::new();
    let database = place.open("one").await;
    run(&database, "SET a 1").await;
    database.backup("older").await.expect("is published");
    run(&database, "SET a 2").await;
    database.backup("newer").await.expect("is published");
    database.mark("here").await.expect("is marked");
    database.close(Duration::from_secs(10)).await.expect("closes");
    let archive = place.dir("archive");
    let older = std::fs::read_dir(archive.join("snapshots/0000000001"))
        .expect("snapshots")
        .map(|entry| entry.expect("one").path());
    let mut older: Vec<PathBuf> = older.collect();
    older.sort();
    for taken in [archive.join("points/here.json"), older[1].clone()] {
        let bytes = std::fs::read(&taken).expect("it is there");
        std::fs::remove_file(&taken).expect("is removed");
        let report = verify(&place.store().await, &VerifyOptions::default()).await.expect("verifies");
        let keys: Vec<_> = report.faults.iter().map(|fault| fault.key.clone()).collect();
        assert_eq!(keys.len(), 1, "{:?}", report.faults);
        assert!(taken.ends_with(&keys[0]), "{keys:?}");
        std::fs::write(&taken, bytes).expect("is put back");
    }
    let report = verify(&place.store().await, &VerifyOptions::default()).await.expect("verifies");
    assert_eq!(report.faults, []);
}
