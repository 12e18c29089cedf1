//! `gcs-loopback`: this project's own server of Google Cloud Storage's XML API; no registry that it builds from has
//! another.
//!
//! It is written after Google's documentation (`tests/src/gcs`) and is not Google's. What it does: only tokens that the test's
//! service account signed are taken; `x-goog-if-generation-match` is honoured (412); listings have short pages; an object can
//! be replaced once in a second (429); a deletion of what is not there is an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BUCKET, Kind};
use crate::process;
use crate::workspace::Workspace;

const PROGRAM: &str = "gcs-loopback";
/// The file that the server writes into its directory.
const ACCOUNT_FILE: &str = "service-account.json";

/// The server for `gs://`.
pub(crate) static SERVER: Kind = Kind {
    name: "gcs",
    program,
    install,
    command,
    before_address: "gcs-loopback listens on http://",
    make_bucket,
    environment,
    scheme: "gs",
};

fn program(workspace: &Workspace) -> PathBuf {
    workspace.target().join("debug").join(PROGRAM)
}

/// Built with the whole workspace's features, as the tests are, so that nothing is built twice.
fn install(workspace: &Workspace, _: &Path) -> Result<(), String> {
    let mut cargo = process::cargo(workspace.root());
    process::inherit(cargo.args(["build", "--quiet", "--locked", "--workspace", "--bin", PROGRAM]))
}

fn command(program: &Path, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(root).arg(BUCKET);
    command
}

/// The server begins with its bucket.
fn make_bucket(_: &Path, _: SocketAddr) -> Result<(), String> {
    Ok(())
}

fn environment(root: &Path, address: SocketAddr) -> Vec<(&'static str, String)> {
    let endpoint = format!("http://{address}");
    vec![
        ("REDDB_ARCHIVE_ENDPOINT", endpoint.clone()),
        ("GOOGLE_BASE_URL", endpoint),
        ("GOOGLE_SERVICE_ACCOUNT", root.join(ACCOUNT_FILE).display().to_string()),
    ]
}
