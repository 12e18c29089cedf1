//! The servers that are measured, each started with what makes it comparable.
//!
//! All of them get fresh directories on one filesystem and ports of the system's choice, and acknowledge nothing that a sync
//! has not returned for; except the one that keeps nothing, which tells what the load generator can ask at most.

pub(crate) mod mute;
pub(crate) mod postgres;
pub(crate) mod reddb;
pub(crate) mod redis;

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::bench::guard::Guarded;
use crate::bench::load::GENERATOR;
use crate::stores::s3;
use crate::workspace::Workspace;

/// How long a server may take to answer.
const START_MAX: Duration = Duration::from_secs(600);

/// A program of somebody else that a row needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Backs up PostgreSQL.
    PgBackRest,
    /// A server with rows and tables.
    Postgres,
    /// The load generator.
    RedisBenchmark,
    /// The server next door.
    RedisServer,
    /// An S3 server.
    S3,
}

impl Program {
    /// All of them.
    pub(crate) const ALL: [Self; 5] =
        [Self::RedisBenchmark, Self::RedisServer, Self::S3, Self::Postgres, Self::PgBackRest];

    /// The name it is called by.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PgBackRest => postgres::BACKUP,
            Self::Postgres => postgres::SERVER,
            Self::RedisBenchmark => GENERATOR,
            Self::RedisServer => redis::SERVER,
            Self::S3 => s3::PROGRAM,
        }
    }

    /// What it says its version is; `None` where it is not installed.
    pub(crate) fn version(self, workspace: &Workspace) -> Option<String> {
        let mut command = match self {
            Self::S3 => Command::new((s3::SERVER.program)(workspace)),
            Self::Postgres => Command::new(postgres::program(postgres::SERVER)),
            Self::PgBackRest | Self::RedisBenchmark | Self::RedisServer => Command::new(self.name()),
        };
        let output = command
            .arg(if self == Self::PgBackRest { "version" } else { "--version" })
            .stdin(Stdio::null())
            .output()
            .ok()?;
        String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
    }
}

/// A port that nobody listens on, for servers that cannot choose one themselves.
fn free_address() -> Result<SocketAddr, String> {
    let found = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    found.map_err(|error| format!("no free port: {error}"))
}

/// Asks until there is an answer, as long as the program runs, and says how long that took.
fn wait_for<T>(server: &mut Guarded, mut ask: impl FnMut() -> Option<T>) -> Result<T, String> {
    let started = Instant::now();
    while started.elapsed() < START_MAX {
        if let Some(answer) = ask() {
            return Ok(answer);
        }
        server.still_runs()?;
        std::thread::sleep(Duration::from_millis(1));
    }
    Err(format!("no answer within {} s:\n{}", START_MAX.as_secs(), server.log()))
}
