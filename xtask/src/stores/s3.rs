//! `s3s-fs`: an S3 server whose buckets are directories.
//!
//! What `s3s-fs` 0.14.1 does and does not do: requests must be signed; `If-None-Match: *` is honoured on single puts and on
//! completing a multipart upload (412 where the object exists), but it looks first and writes then, so two creators at the
//! same moment may both succeed.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BUCKET, Kind};
use crate::process;
use crate::workspace::Workspace;

/// The program.
pub(crate) const PROGRAM: &str = "s3s-fs";
const VERSION: &str = "0.14.1";
const REGION: &str = "us-east-1";
const ACCESS_KEY: &str = "reddb-test-access";
const SECRET_KEY: &str = "reddb-test-secret";

/// The server for `s3://`.
pub(crate) static SERVER: Kind = Kind {
    name: "s3",
    program,
    install,
    command,
    before_address: "server is running at http://",
    make_bucket,
    environment,
    scheme: "s3",
};

fn tools(workspace: &Workspace) -> PathBuf {
    workspace.target().join("tools")
}

fn program(workspace: &Workspace) -> PathBuf {
    tools(workspace).join("bin").join(PROGRAM)
}

fn install(workspace: &Workspace, program: &Path) -> Result<(), String> {
    let found = process::capture(process::command(program, workspace.root()).arg("--version")).unwrap_or_default();
    if found.trim() == format!("{PROGRAM} {VERSION}") {
        return Ok(());
    }
    eprintln!("xtask: installing s3s-fs {VERSION} into target/tools");
    let mut cargo = process::cargo(workspace.root());
    cargo.args(["install", "--quiet", "--locked", "s3s-fs", "--version", VERSION, "--features", "binary", "--force"]);
    process::inherit(cargo.arg("--root").arg(tools(workspace)))
}

fn command(program: &Path, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", "0"]);
    command.args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY]).arg(root).env("RUST_LOG", "s3s_fs=info");
    command
}

fn make_bucket(root: &Path, _: SocketAddr) -> Result<(), String> {
    std::fs::create_dir(root.join(BUCKET)).map_err(|error| format!("cannot make the bucket: {error}"))
}

fn environment(_: &Path, address: SocketAddr) -> Vec<(&'static str, String)> {
    let endpoint = format!("http://{address}");
    vec![
        ("REDDB_ARCHIVE_ENDPOINT", endpoint.clone()),
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
