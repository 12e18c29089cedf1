//! Servers that speak a provider's protocol on loopback, for the archive's tests: one for `s3://`, one for `az://`,
//! one for `gs://`.
//!
//! Invariants: the version is exact, or the server is this workspace's own; the server listens on a port of the system's choice and on loopback only; the bucket
//! exists before anyone is told the address; when the command ends, the server is gone and its directory too.

pub(crate) mod azure;
pub(crate) mod gcs;
pub(crate) mod s3;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::process;
use crate::scratch::Scratch;
use crate::workspace::Workspace;

/// The bucket or container that the tests use.
const BUCKET: &str = "reddb-test";

/// How long the server may take to say where it listens.
const START_MAX: Duration = Duration::from_secs(30);

/// `cargo xtask s3|azure|gcs [--install] [-- COMMAND…]`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only install the server into target/tools, where it is not there yet.
    #[arg(long)]
    install: bool,
    /// The command to run while the server runs. Without one, the environment is printed and the server serves until Ctrl-C.
    #[arg(last = true)]
    command: Vec<String>,
}

/// What is particular to one server.
#[derive(Debug)]
pub(crate) struct Kind {
    name: &'static str,
    /// Where the program is, once it is installed.
    pub(crate) program: fn(&Workspace) -> PathBuf,
    /// Installs the exact version where another one, or none, is there.
    install: fn(&Workspace, program: &Path) -> Result<(), String>,
    /// The program over a directory, on a port of the system's choice.
    command: fn(program: &Path, root: &Path) -> Command,
    /// What stands before the address where it says that it listens.
    before_address: &'static str,
    /// Makes the bucket of the server that is listening.
    make_bucket: fn(root: &Path, address: SocketAddr) -> Result<(), String>,
    /// How to reach the bucket, in the names that `reddb` and clients of this provider read.
    environment: fn(root: &Path, address: SocketAddr) -> Vec<(&'static str, String)>,
    /// What the URLs of its archives begin with.
    scheme: &'static str,
}

impl Kind {
    /// Where an archive may be kept in the server.
    pub(crate) fn url(&self) -> String {
        format!("{}://{BUCKET}/archive", self.scheme)
    }

    /// Runs the task; its exit code is the command's.
    pub(crate) fn run(&'static self, workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, String> {
        (self.install)(workspace, &(self.program)(workspace))?;
        if arguments.install {
            return Ok(ExitCode::SUCCESS);
        }
        let mut server = Server::of(self, workspace)?;
        let environment = server.environment();
        let Some((program, rest)) = arguments.command.split_first() else {
            for (name, value) in environment {
                println!("export {name}={value}");
            }
            server.process.wait().map_err(|error| format!("cannot wait for {}: {error}", self.name))?;
            return Ok(ExitCode::SUCCESS);
        };
        // Where the caller stands, not at the root: the command is the caller's.
        let mut command = Command::new(program);
        command.args(rest).envs(environment);
        let status = command.status().map_err(|error| format!("cannot start {}: {error}", process::shown(&command)))?;
        match status.code().map(u8::try_from) {
            Some(Ok(code)) => Ok(ExitCode::from(code)),
            _ => Err(format!("{} ended with {status}", process::shown(&command))),
        }
    }
}

/// A running server. Dropping it kills the process, then removes its directory.
#[derive(Debug)]
pub(crate) struct Server {
    kind: &'static Kind,
    process: Child,
    address: SocketAddr,
    root: Scratch,
}

impl Server {
    /// Starts the installed server.
    pub(crate) fn of(kind: &'static Kind, workspace: &Workspace) -> Result<Self, String> {
        let program = (kind.program)(workspace);
        let root = Scratch::make(&workspace.target().join(kind.name))?;
        let mut process = (kind.command)(&program, root.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let stdout = process.stdout.take();
        let listening = stdout.ok_or_else(|| "the server has no output".to_owned());
        let listening = listening.and_then(|stdout| address(stdout, kind.before_address));
        match listening.and_then(|address| (kind.make_bucket)(root.path(), address).map(|()| address)) {
            Ok(address) => Ok(Self { kind, process, address, root }),
            Err(reason) => {
                stop(&mut process);
                Err(format!("{}: {reason}", kind.name))
            }
        }
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What a test or `reddb` needs to reach the bucket.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = (self.kind.environment)(self.root.path(), self.address);
        environment.push(("REDDB_TEST_STORE_URL", self.kind.url()));
        environment.push(("REDDB_ARCHIVE_ALLOW_HTTP", "true".to_owned()));
        environment
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

fn stop(process: &mut Child) {
    // It may have ended by itself; either way nothing is left to wait for.
    drop(process.kill());
    drop(process.wait());
}

/// Waits for the line that says where the server listens, and keeps reading so that it never blocks on its output.
fn address(stdout: ChildStdout, before: &'static str) -> Result<SocketAddr, String> {
    let (found, wait) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(address) = listening_at(&line, before) {
                // Nobody waits any more once the first answer was taken.
                let _ = found.send(address);
            }
        }
    });
    wait.recv_timeout(START_MAX).map_err(|_| "the server did not say where it listens".to_owned())
}

fn listening_at(line: &str, before: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(before)?;
    rest.split(|character: char| character.is_whitespace() || character == ',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_servers_own_line() {
        let found = Some("127.0.0.1:40123".parse().unwrap());
        let line = "  2026-01-01T00:00:00Z  INFO s3s_fs: server is running at http://127.0.0.1:40123, local_addr: x";
        assert_eq!(listening_at(line, s3::SERVER.before_address), found);
        assert_eq!(listening_at("INFO s3s_fs: authentication is enabled", s3::SERVER.before_address), None);
        let line = "Azurite Blob service successfully listens on http://127.0.0.1:40123";
        assert_eq!(listening_at(line, azure::SERVER.before_address), found);
        assert_eq!(listening_at("Azurite Blob service is starting on 127.0.0.1:0", azure::SERVER.before_address), None);
        assert_eq!(listening_at("gcs-loopback listens on http://127.0.0.1:40123", gcs::SERVER.before_address), found);
    }
}
