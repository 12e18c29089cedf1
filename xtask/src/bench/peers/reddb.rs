//! RedDB as it is delivered: default settings, every write synced before its acknowledgement, the archive running.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::bench::guard::{self, Guarded};
use crate::bench::peers::wait_for;
use crate::bench::resp::Client;
use crate::process::shown;

/// How long the archive may stand still while it is waited for.
const STALL_MAX: Duration = Duration::from_secs(120);

/// How to start a server.
#[derive(Debug, Clone)]
pub(crate) struct Reddb<'a> {
    binary: &'a Path,
    dir: PathBuf,
    archive: String,
    flags: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl<'a> Reddb<'a> {
    /// A server on `<place>/data` that archives to `<place>/archive`.
    pub(crate) fn new(binary: &'a Path, place: &Path) -> Self {
        let archive = format!("file://{}", place.join("archive").display());
        Self { binary, dir: place.join("data"), archive, flags: Vec::new(), environment: Vec::new() }
    }

    /// On another directory.
    pub(crate) fn dir(mut self, dir: PathBuf) -> Self {
        self.dir = dir;
        self
    }

    /// Archives elsewhere.
    pub(crate) fn archive(mut self, url: String, environment: Vec<(&'static str, String)>) -> Self {
        self.archive = url;
        self.environment = environment;
        self
    }

    /// With a flag and its value.
    pub(crate) fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// With a flag that has no value.
    pub(crate) fn switch(mut self, name: &str) -> Self {
        self.flags.push(name.to_owned());
        self
    }

    /// Starts it and waits until it serves.
    ///
    /// # Errors
    /// It did not come up.
    pub(crate) fn start(&self) -> Result<Server, String> {
        let addresses = self.dir.join("addresses.json");
        // The addresses of the last run would be taken for this one's.
        drop(std::fs::remove_file(&addresses));
        let mut command = Command::new(self.binary);
        command.arg("serve").arg("--dir").arg(&self.dir).args(["--archive", &self.archive]);
        command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]).args(&self.flags);
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).env("NO_COLOR", "1");
        if let Some(parent) = self.dir.parent() {
            std::fs::create_dir_all(parent).map_err(|error| format!("cannot make {}: {error}", parent.display()))?;
        }
        let mut process = Guarded::start(&mut command, &self.dir.with_extension("log"))?;
        let (address, admin) = wait_for(&mut process, || {
            let (data, admin) = read_addresses(&addresses)?;
            Client::connect(data).ok()?.call(&["PING"]).ok()?;
            Some((data, admin))
        })?;
        Ok(Server { process, address, admin })
    }

    /// Restores the archive's newest state into a directory, with more arguments; returns what the command says in JSON.
    ///
    /// # Errors
    /// It failed.
    pub(crate) fn restore(&self, into: &Path, more: &[&str]) -> Result<Value, String> {
        let mut command = self.restore_command(into, more);
        let text = guard::capture(&mut command)?;
        serde_json::from_str(&text).map_err(|error| format!("{} printed no JSON: {error}", shown(&command)))
    }

    /// What [`Self::restore`] runs.
    pub(crate) fn restore_command(&self, into: &Path, more: &[&str]) -> Command {
        let mut command = self.of_archive("restore");
        command.arg("--into").arg(into).args(more);
        command
    }

    /// Verification of the archive, whose report is JSON.
    pub(crate) fn verify_command(&self) -> Command {
        self.of_archive("verify")
    }

    fn of_archive(&self, what: &str) -> Command {
        let mut command = Command::new(self.binary);
        command.args([what, "--json", "--archive", &self.archive]);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// The two ports, once the server has written them.
fn read_addresses(path: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let value: Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
    let address = |name: &str| value[name].as_str()?.parse().ok();
    Some((address("data")?, address("admin")?))
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    process: Guarded,
    /// The data port.
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
}

impl Server {
    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A connection to the data port.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) fn client(&self) -> Result<Client, String> {
        Client::connect(self.address)
    }

    /// `GET /admin/status`
    ///
    /// # Errors
    /// The admin port does not answer.
    pub(crate) fn status(&self) -> Result<Value, String> {
        self.request("GET", "/admin/status")
    }

    /// A number of the status, by its JSON pointer.
    ///
    /// # Errors
    /// The admin port does not answer, or has no such number.
    pub(crate) fn number(&self, pointer: &str) -> Result<f64, String> {
        let status = self.status()?;
        status.pointer(pointer).and_then(Value::as_f64).ok_or_else(|| format!("no {pointer} in {status}"))
    }

    /// Takes a snapshot, as `reddb backup` does; returns when it is published.
    ///
    /// # Errors
    /// It failed.
    pub(crate) fn backup(&self) -> Result<Value, String> {
        self.request("POST", "/admin/backup")
    }

    /// Waits until the archive holds everything that is durable now.
    ///
    /// # Errors
    /// The admin port does not answer, the server ended, or the archive makes no progress.
    pub(crate) fn wait_until_archived(&mut self) -> Result<(), String> {
        let durable = self.number("/durable_lsn")?;
        let mut progress = (self.number("/archived_lsn")?, Instant::now());
        loop {
            let archived = self.number("/archived_lsn")?;
            if archived >= durable {
                return Ok(());
            }
            if archived > progress.0 {
                progress = (archived, Instant::now());
            }
            if progress.1.elapsed() > STALL_MAX {
                return Err(format!("the archive stays at LSN {archived} of {durable}: {}", self.status()?));
            }
            self.process.still_runs()?;
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it in order and says how long that took.
    ///
    /// # Errors
    /// It does not end.
    pub(crate) fn stop(self) -> Result<Duration, String> {
        self.process.stop(Signal::TERM)
    }

    fn request(&self, method: &str, path: &str) -> Result<Value, String> {
        let text = self.exchange(method, path).map_err(|error| format!("{method} {path}: {error}"))?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| format!("{method} {path}: no HTTP: {text:?}"))?;
        if !head.starts_with("HTTP/1.1 200") {
            return Err(format!("{method} {path}: {text}"));
        }
        serde_json::from_str(body).map_err(|error| format!("{method} {path}: no JSON ({error}): {body}"))
    }

    fn exchange(&self, method: &str, path: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.admin, Duration::from_secs(10))?;
        let head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", self.admin);
        stream
            .write_all(format!("{head}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes())?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    }
}
