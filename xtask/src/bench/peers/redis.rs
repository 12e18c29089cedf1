//! Redis, with the durability that RedDB has: every acknowledged write is synced.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::bench::guard::Guarded;
use crate::bench::peers::{free_address, wait_for};
use crate::bench::resp::Client;

/// The program.
pub(crate) const SERVER: &str = "redis-server";

/// What a Redis keeps on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// An append-only file, synced before each acknowledgement, and no snapshots.
    EveryWrite,
    /// Only what `SAVE` writes.
    SaveOnly,
}

/// A running Redis.
#[derive(Debug)]
pub(crate) struct Redis {
    process: Guarded,
    /// The data port.
    pub(crate) address: SocketAddr,
}

impl Redis {
    /// Starts a Redis on `dir`, which it makes, and waits until it has loaded what is there.
    ///
    /// # Errors
    /// It did not come up.
    pub(crate) fn start(dir: &Path, durability: Durability) -> Result<Self, String> {
        Self::start_with(dir, durability, &[])
    }

    /// [`Self::start`], with more arguments.
    ///
    /// # Errors
    /// It did not come up.
    pub(crate) fn start_with(dir: &Path, durability: Durability, more: &[&str]) -> Result<Self, String> {
        std::fs::create_dir_all(dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        let address = free_address()?;
        let mut command = Command::new(SERVER);
        command.args(["--bind", "127.0.0.1", "--port", &address.port().to_string(), "--daemonize", "no"]);
        command.args(["--save", "", "--dir"]).arg(dir);
        match durability {
            Durability::EveryWrite => command.args(["--appendonly", "yes", "--appendfsync", "always"]),
            Durability::SaveOnly => command.args(["--appendonly", "no"]),
        };
        command.args(more);
        let mut process = Guarded::start(&mut command, &dir.with_extension("log"))?;
        wait_for(&mut process, || Client::connect(address).ok()?.call(&["PING"]).ok())?;
        Ok(Self { process, address })
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A connection.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) fn client(&self) -> Result<Client, String> {
        Client::connect(self.address)
    }

    /// Ends it in order and says how long that took.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn stop(self) -> Result<Duration, String> {
        self.process.stop(Signal::TERM)
    }
}
