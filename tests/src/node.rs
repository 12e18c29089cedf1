//! A server process: started, stopped, killed, and asked.

use std::fs::File;
use std::io::Result;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::admin::{self, Response};
use crate::cli;
use crate::resp::{Client, Value};
use crate::wait;

/// How to start a server. The default: embedded archive, ports of the system's choice, little memory.
#[derive(Debug, Clone, Default)]
pub struct Options {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    file_bytes_max: Option<u64>,
    obeys_permissions: bool,
}

impl Options {
    /// The default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Archives to `url`.
    #[must_use]
    pub fn archive(self, url: &str) -> Self {
        self.flag("--archive", url)
    }

    /// Adds a flag with a value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Adds a flag without a value.
    #[must_use]
    pub fn switch(mut self, name: &str) -> Self {
        self.arguments.push(name.to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets the process write no file beyond so many bytes, a multiple of 512: further writes fail as on a full disk.
    /// `prlimit` can lift that while it runs.
    #[must_use]
    pub fn file_bytes_max(mut self, bytes: u64) -> Self {
        self.file_bytes_max = Some(bytes);
        self
    }

    /// Makes the process obey the permissions of files also where this one runs as root: see [`cli::obeying_permissions`].
    #[must_use]
    pub fn obeys_permissions(mut self) -> Self {
        self.obeys_permissions = true;
        self
    }

    /// The program, to be given its arguments.
    fn command(&self) -> Command {
        if self.obeys_permissions {
            return cli::obeying_permissions(&cli::binary()).expect("the test has asked whether that can be had");
        }
        let Some(bytes) = self.file_bytes_max else { return Command::new(cli::binary()) };
        let mut command = Command::new("sh");
        // The signal that comes with the failed write would end the process.
        let script = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$0\" \"$@\"", bytes / 512);
        command.args(["-c", &script]).arg(cli::binary());
        command
    }
}

/// A running server. Dropping it kills the process; when the test is failing, its log is shown.
#[derive(Debug)]
pub struct Node {
    process: Child,
    dir: PathBuf,
    log: PathBuf,
    /// The data port.
    pub data: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

/// A server that ended before it served.
#[derive(Debug)]
pub struct Refusal {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it said.
    pub log: String,
}

impl Node {
    /// Starts a server on `dir` and waits until it answers.
    ///
    /// # Panics
    /// Where it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(dir: &Path, options: &Options) -> Self {
        match Self::try_start(dir, options) {
            Ok(node) => node,
            Err(refusal) => panic!("the server ended with {:?} instead of serving:\n{}", refusal.code, refusal.log),
        }
    }

    /// Starts a server that may refuse to.
    ///
    /// # Errors
    /// It ended by itself: its exit code and log.
    ///
    /// # Panics
    /// Where it neither serves nor ends.
    pub fn try_start(dir: &Path, options: &Options) -> std::result::Result<Self, Refusal> {
        let log = dir.with_extension("log");
        let addresses = dir.join("addresses.json");
        // The addresses of the last run would be taken for this one's.
        drop(std::fs::remove_file(&addresses));
        let output = File::options().create(true).append(true).open(&log).expect("the log's folder is writable");
        let process = options
            .command()
            .arg("serve")
            .arg("--dir")
            .arg(dir)
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--memory", "64mb"])
            .args(&options.arguments)
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file handle can be cloned"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", cli::binary().display()));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut node = Self { process, dir: dir.to_owned(), log, data: nowhere, admin: nowhere };
        wait::until("the server serves, or ends", || {
            if let Some(status) = node.process.try_wait().expect("a child can be waited for") {
                return Some(Err(Refusal { code: status.code(), log: node.log() }));
            }
            (node.data, node.admin) = read_addresses(&addresses)?;
            let answer = Client::connect(node.data).and_then(|mut client| client.call(&["PING"]));
            answer.is_ok_and(|answer| answer == Value::Simple("PONG".to_owned())).then_some(Ok(()))
        })?;
        Ok(node)
    }

    /// The data directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process's id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Everything every server on this directory has said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A new connection to the data port.
    ///
    /// # Panics
    /// Where it is refused.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::connect(self.data).unwrap_or_else(|error| panic!("cannot connect: {error}\n{}", self.log()))
    }

    /// `GET path` on the admin port.
    ///
    /// # Errors
    /// The connection failed.
    pub fn get(&self, path: &str) -> Result<Response> {
        admin::get(self.admin, path)
    }

    /// `POST path` on the admin port.
    ///
    /// # Errors
    /// The connection failed.
    pub fn post(&self, path: &str, body: &serde_json::Value) -> Result<Response> {
        admin::post(self.admin, path, body)
    }

    /// The newest record that the archive's head vouches for.
    ///
    /// # Panics
    /// Where the admin port does not say.
    #[must_use]
    pub fn archived_lsn(&self) -> u64 {
        let status = self.get("/admin/status").expect("the admin port answers").json();
        status["archived_lsn"].as_u64().unwrap_or_else(|| panic!("no archived_lsn in {status}"))
    }

    /// The admin port as the commands' `--admin` wants it.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Pulls the plug on the process: SIGKILL.
    ///
    /// # Panics
    /// Where the process cannot be waited for.
    pub fn kill9(mut self) {
        self.end_now();
    }

    /// Asks the process to end: SIGTERM.
    ///
    /// # Panics
    /// Where it does not end in time.
    pub fn stop(self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until the process has ended, for which it has been asked.
    ///
    /// # Panics
    /// Where it does not end in time.
    pub fn ended(mut self) -> ExitStatus {
        wait::until("the server ends", || self.process.try_wait().expect("a child can be waited for"))
    }

    /// Sends a signal by its short name.
    ///
    /// # Panics
    /// Where `kill` fails.
    pub fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.process.id());
        let status = Command::new("sh").args(["-c", &command]).status().expect("there is a shell");
        assert!(status.success(), "{command} failed");
    }

    /// Does something while no thread of the process moves, so that its files are those of one moment.
    ///
    /// # Panics
    /// Where they do not stand still in time.
    pub fn standing_still<T>(&self, act: impl FnOnce() -> T) -> T {
        self.signal("STOP");
        wait::until("every thread stands still", || self.threads().iter().all(|state| *state == 'T').then_some(()));
        let done = act();
        self.signal("CONT");
        done
    }

    /// The state of each thread, as `proc(5)` names it; of one that ends meanwhile, a blank.
    fn threads(&self) -> Vec<char> {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("the process runs");
        let state = |stat: String| stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        let stats = threads.map(|thread| std::fs::read_to_string(thread.expect("can be listed").path().join("stat")));
        stats.map(|stat| stat.ok().and_then(state).unwrap_or(' ')).collect()
    }

    fn end_now(&mut self) {
        self.process.kill().expect("a child can be killed");
        self.process.wait().expect("a child can be waited for");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.end_now();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            eprintln!("--- the last lines of {}:\n{}", self.log.display(), tail.join("\n"));
        }
    }
}

/// The two ports, once the server has written them.
fn read_addresses(path: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let text = std::fs::read_to_string(path).ok()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    let address = |name: &str| value[name].as_str()?.parse().ok();
    Some((address("data")?, address("admin")?))
}
