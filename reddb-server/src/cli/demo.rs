//! `reddb demo`: the whole story in a temporary directory. It ends with 0 only if everything it says was proved.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use reddb_backup::history::History;
use reddb_backup::history::read::read;
use reddb_backup::plan::{Request, Target, UnixMs, plan};
use reddb_backup::progress::Silent;
use reddb_backup::restore::{RestoreOptions, restore};
use reddb_backup::store::{OpenMode, Store, StoreSettings};
use reddb_backup::verify::{VerifyOptions, verify};
use reddb_file::archive::{MissingDigest, PointName};
use reddb_file::control::TtlMode;

use super::args::DemoArgs;
use super::exit::{CliError, Exit};
use super::output;
use crate::config::Config;
use crate::database::{Connection, Database};
use crate::reply::Reply;
use crate::restore::EngineSink;

const MEMORY_BYTES: u64 = 64 << 20;
const USERS: u32 = 2_000;
const LABEL: &str = "before-the-accident";
const SHIP_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs `reddb demo`.
///
/// # Errors
/// Where a step does not work, or a proof fails.
pub(crate) async fn run(args: DemoArgs) -> Result<Exit, CliError> {
    let temp = tempfile::Builder::new().prefix("reddb-demo-").tempdir().map_err(CliError::critical)?;
    let story = Story { root: temp.path().to_owned(), started: Instant::now() };
    let told = story.tell().await;
    if args.keep {
        let kept = temp.keep();
        output::print(&format!("kept in {}\n", kept.display()))?;
    }
    told.map(|()| Exit::Ok)
}

struct Story {
    root: PathBuf,
    started: Instant,
}

/// A moment that can be proved: where it is and what the state was.
#[derive(Clone, Copy)]
struct Proof {
    lsn: reddb_file::Lsn,
    digest: [u8; 32],
    time_ms: u64,
}

impl Story {
    async fn tell(&self) -> Result<(), CliError> {
        let data = self.root.join("data");
        self.say(&format!("a server in {}, its archive beside it", data.display()))?;
        let database = self.open(&data).await?;
        let mut connection = database.connect();

        for user in 0..USERS {
            let (key, name) = (format!("user:{user}"), format!("name {user}"));
            command(&mut connection, &["HSET", &key, "name", &name, "visits", "1"]).await?;
        }
        let labelled = prove(&database)?;
        database.mark(LABEL).await.map_err(CliError::critical)?;
        self.say(&format!("{USERS} users written; LSN {} is named {LABEL}, digest {}", labelled.lsn, hex(&labelled)))?;

        for user in 0..USERS / 2 {
            command(&mut connection, &["HINCRBY", &format!("user:{user}"), "visits", "1"]).await?;
        }
        let last_good = prove(&database)?;
        self.say(&format!("another {} changes, up to LSN {}", USERS / 2, last_good.lsn))?;
        // The accident happens in a later millisecond, so that a time can tell the two apart.
        while database.wall_ms() <= last_good.time_ms {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        command(&mut connection, &["FLUSHALL"]).await?;
        self.say("somebody types FLUSHALL; then the machine is lost, with its whole data directory")?;
        drop(connection);
        database.close(SHIP_TIMEOUT).await.map_err(CliError::critical)?;
        std::fs::remove_dir_all(&data).map_err(CliError::critical)?;

        let report = verify(&self.store()?, &VerifyOptions::default()).await.map_err(CliError::critical)?;
        if !report.is_sound() {
            return Err(CliError::new(Exit::Integrity, format!("the archive is not sound: {:?}", report.faults)));
        }
        self.say(&format!(
            "the archive alone: {} records, every digest and every chain link verified",
            report.records
        ))?;

        let label = PointName::new(LABEL).map_err(CliError::critical)?;
        self.restore_and_compare("by-label", Target::Label(label), labelled).await?;
        let time = Target::Time(UnixMs(last_good.time_ms));
        let restored = self.restore_and_compare("by-time", time, last_good).await?;

        let database = self.open(&restored).await?;
        let mut connection = database.connect();
        let reply = command(&mut connection, &["HGET", "user:7", "visits"]).await?;
        if reply != Reply::bulk("2") {
            return Err(CliError::new(Exit::Integrity, format!("user:7 has {reply:?} visits, not 2")));
        }
        command(&mut connection, &["SET", "life", "goes on"]).await?;
        let receipt = database.receipt();
        drop(connection);
        database.close(SHIP_TIMEOUT).await.map_err(CliError::critical)?;
        self.say(&format!("it serves again, on timeline {}, and is archived like before", receipt.timeline))?;
        self.say("proved: both moments came back exactly, from the archive alone")
    }

    async fn open(&self, dir: &Path) -> Result<Database, CliError> {
        let mut config = Config::new(dir, MEMORY_BYTES);
        config.archive.url = Some(self.archive_url());
        config.archive.interval = Duration::from_millis(100);
        config.wal_segment_bytes = 4 << 20;
        config.disk_reserve_bytes = 0;
        Database::open(config).await.map_err(|error| CliError::new(error.exit(), error))
    }

    fn archive_url(&self) -> String {
        format!("file://{}", self.root.join("archive").display())
    }

    fn store(&self) -> Result<Store, CliError> {
        let url = self.archive_url().parse().map_err(CliError::critical)?;
        Store::open(&url, &StoreSettings::default(), OpenMode::MustExist).map_err(CliError::critical)
    }

    async fn restore_and_compare(&self, name: &str, target: Target, expected: Proof) -> Result<PathBuf, CliError> {
        let store = self.store()?;
        let into = self.root.join(name);
        let contents = read(&store, MissingDigest::Refuse, &Silent::shared()).await.map_err(CliError::critical)?;
        let plan = plan(&History::conclude(contents), &Request::new(target.clone())).map_err(CliError::critical)?;
        let (sink, restored) = EngineSink::new(MEMORY_BYTES, TtlMode::Continue, None);
        let restoring = restore(&store, plan, RestoreOptions::new(into.clone()), sink).await;
        let (report, _) = restoring.map_err(CliError::critical)?;
        let digest = restored.get().map(|state| state.digest);
        if (report.mark.lsn, digest) != (expected.lsn, Some(expected.digest)) {
            let found = format!("{target} came back as LSN {}, not as LSN {}", report.mark.lsn, expected.lsn);
            return Err(CliError::new(Exit::Integrity, format!("{found}, or with another digest")));
        }
        self.say(&format!(
            "restored {target} in {} ms: LSN {}, the same digest {}",
            report.duration_ms,
            report.mark.lsn,
            hex(&expected)
        ))?;
        Ok(into)
    }

    fn say(&self, line: &str) -> Result<(), CliError> {
        output::print(&format!("{:6.2} s  {line}\n", self.started.elapsed().as_secs_f64()))
    }
}

fn prove(database: &Database) -> Result<Proof, CliError> {
    let (lsn, digest) = database.digest().map_err(CliError::critical)?;
    Ok(Proof { lsn, digest, time_ms: database.status().durable_time_ms })
}

fn hex(proof: &Proof) -> String {
    proof.digest[..8].iter().map(|byte| format!("{byte:02x}")).chain(std::iter::once("…".to_owned())).collect()
}

async fn command(connection: &mut Connection, words: &[&str]) -> Result<Reply, CliError> {
    connection.execute(words).await.map_err(|error| CliError::critical(format!("{}: {error}", words.join(" "))))
}
