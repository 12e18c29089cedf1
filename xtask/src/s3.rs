//! An S3 server for the archive's tests: `s3s-fs`, on loopback, over a temporary directory.
//!
//! Invariants: the version is exact; the server listens on a port of the system's choice and on loopback only; the bucket
//! exists before anyone is told the address; when the command ends, the server is gone and its directory too. A directory
//! that an interrupted run left behind is removed by the next one.
//!
//! What `s3s-fs` 0.14.1 does and does not do: requests must be signed; `If-None-Match: *` is honoured on single puts and on
//! completing a multipart upload (412 where the object exists), but it looks first and writes then, so two creators at the
//! same moment may both succeed. A bucket is a directory below its root.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::process;
use crate::scratch::Scratch;
use crate::workspace::Workspace;

const VERSION: &str = "0.14.1";
/// The program.
pub(crate) const PROGRAM: &str = "s3s-fs";
/// Where an archive may be kept in the server.
pub(crate) const URL: &str = "s3://reddb-test/archive";
const BUCKET: &str = "reddb-test";
const REGION: &str = "us-east-1";
const ACCESS_KEY: &str = "reddb-test-access";
const SECRET_KEY: &str = "reddb-test-secret";

/// How long the server may take to say where it listens.
const START_MAX: Duration = Duration::from_secs(30);

/// `cargo xtask s3 [--install] [-- COMMAND…]`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only install the server into target/tools, where it is not there yet.
    #[arg(long)]
    install: bool,
    /// The command to run while the server runs. Without one, the environment is printed and the server serves until Ctrl-C.
    #[arg(last = true)]
    command: Vec<String>,
}

/// Runs the task; its exit code is the command's.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, String> {
    let binary = install(workspace)?;
    if arguments.install {
        return Ok(ExitCode::SUCCESS);
    }
    let mut server = Server::start(&binary, &workspace.target())?;
    let Some((program, rest)) = arguments.command.split_first() else {
        for (name, value) in server.environment() {
            println!("export {name}={value}");
        }
        server.process.wait().map_err(|error| format!("cannot wait for s3s-fs: {error}"))?;
        return Ok(ExitCode::SUCCESS);
    };
    // Where the caller stands, not at the root: the command is the caller's.
    let mut command = Command::new(program);
    command.args(rest).envs(server.environment());
    let status = command.status().map_err(|error| format!("cannot start {}: {error}", process::shown(&command)))?;
    match status.code().map(u8::try_from) {
        Some(Ok(code)) => Ok(ExitCode::from(code)),
        _ => Err(format!("{} ended with {status}", process::shown(&command))),
    }
}

/// Where the server is, once it is installed.
pub(crate) fn binary(workspace: &Workspace) -> PathBuf {
    workspace.target().join("tools").join("bin").join(PROGRAM)
}

/// Installs the exact version where another one, or none, is in `target/tools`.
fn install(workspace: &Workspace) -> Result<PathBuf, String> {
    let tools = workspace.target().join("tools");
    let binary = binary(workspace);
    let found = process::capture(process::command(&binary, workspace.root()).arg("--version")).unwrap_or_default();
    if found.trim() == format!("s3s-fs {VERSION}") {
        return Ok(binary);
    }
    eprintln!("xtask: installing s3s-fs {VERSION} into target/tools");
    let mut cargo = process::cargo(workspace.root());
    cargo.args(["install", "--quiet", "--locked", "s3s-fs", "--version", VERSION, "--features", "binary", "--force"]);
    process::inherit(cargo.arg("--root").arg(&tools))?;
    Ok(binary)
}

/// A running server. Dropping it kills the process, then removes its directory.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    address: SocketAddr,
    _root: Scratch,
}

impl Server {
    /// Starts the installed server.
    pub(crate) fn of(workspace: &Workspace) -> Result<Self, String> {
        Self::start(&binary(workspace), &workspace.target())
    }

    fn start(binary: &Path, target: &Path) -> Result<Self, String> {
        let root = Scratch::make(&target.join("s3"))?;
        std::fs::create_dir(root.path().join(BUCKET)).map_err(|error| format!("cannot make the bucket: {error}"))?;
        let mut process = Command::new(binary)
            .args(["--host", "127.0.0.1", "--port", "0"])
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .arg(root.path())
            .env("RUST_LOG", "s3s_fs=info")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", binary.display()))?;
        let stdout = process.stdout.take();
        match stdout.ok_or_else(|| "s3s-fs has no output".to_owned()).and_then(address) {
            Ok(address) => Ok(Self { process, address, _root: root }),
            Err(reason) => {
                stop(&mut process);
                Err(reason)
            }
        }
    }

    /// The process's id.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What a test needs to reach the bucket, in the names that S3 clients read.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let endpoint = format!("http://{}", self.address);
        vec![
            ("REDDB_TEST_S3_URL", URL.to_owned()),
            ("REDDB_TEST_S3_ENDPOINT", endpoint.clone()),
            ("AWS_ENDPOINT_URL", endpoint.clone()),
            ("AWS_ENDPOINT", endpoint),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_DEFAULT_REGION", REGION.to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "false".to_owned()),
        ]
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
fn address(stdout: ChildStdout) -> Result<SocketAddr, String> {
    let (found, wait) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if let Some(address) = listening_at(&line) {
                // Nobody waits any more once the first answer was taken.
                let _ = found.send(address);
            }
        }
    });
    wait.recv_timeout(START_MAX).map_err(|_| "s3s-fs did not say where it listens".to_owned())
}

fn listening_at(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("server is running at http://")?;
    rest.split(|character: char| character.is_whitespace() || character == ',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_servers_own_line() {
        let line = "  2026-01-01T00:00:00Z  INFO s3s_fs: server is running at http://127.0.0.1:40123, local_addr: x";
        assert_eq!(listening_at(line), Some("127.0.0.1:40123".parse().unwrap()));
        assert_eq!(listening_at("INFO s3s_fs: authentication is enabled"), None);
    }
}
