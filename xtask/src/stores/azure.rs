//! `azurite`: Microsoft's emulator of Azure Blob Storage, from npm.
//!
//! What `azurite` 3.35.0 does and does not do: requests must be signed; `If-None-Match: *` is honoured (409 where the blob
//! exists); `startFrom` in a listing is ignored, so a listing always begins at the first key. It refuses versions of the
//! protocol that are newer than itself unless told not to look.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{BUCKET, Kind};
use crate::process;
use crate::workspace::Workspace;

const VERSION: &str = "3.35.0";
const ACCOUNT: &str = "reddbtest";
/// `reddb-test-key-of-no-value` in base 64.
const ACCOUNT_KEY: &str = "cmVkZGItdGVzdC1rZXktb2Ytbm8tdmFsdWU=";
/// How long npm may take, in seconds.
const INSTALL_MAX_S: &str = "300";

/// The server for `az://`.
pub(crate) static SERVER: Kind = Kind {
    name: "azure",
    program,
    install,
    command,
    before_address: "successfully listens on http://",
    make_bucket,
    environment,
    scheme: "az",
};

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target().join("tools").join("azurite")
}

fn program(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("node_modules").join(".bin").join("azurite-blob")
}

fn install(workspace: &Workspace, program: &Path) -> Result<(), String> {
    let folder = folder(workspace);
    let done = folder.join(format!("azurite-{VERSION}"));
    if done.exists() && program.exists() {
        return Ok(());
    }
    eprintln!("xtask: installing azurite {VERSION} into target/tools");
    std::fs::create_dir_all(&folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    let mut npm = process::command("timeout", &folder);
    npm.args([INSTALL_MAX_S, "npm", "install", "--loglevel=error", "--no-audit", "--no-fund", "--no-package-lock"]);
    process::capture(npm.arg("--prefix").arg(&folder).arg(format!("azurite@{VERSION}"))).map_err(|output| {
        format!(
            "azurite {VERSION} cannot be installed; this needs node, npm and an npm registry that answers within \
             {INSTALL_MAX_S} s\n{output}"
        )
    })?;
    std::fs::write(&done, "").map_err(|error| format!("cannot write {}: {error}", done.display()))
}

fn command(program: &Path, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--skipApiVersionCheck", "--disableTelemetry"]);
    command.arg("--silent").arg("--location").arg(root).env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{ACCOUNT_KEY}"));
    command
}

/// Node is there, since azurite runs on it, and can sign the one request that no client of ours has.
fn make_bucket(root: &Path, address: SocketAddr) -> Result<(), String> {
    let mut node = process::command("node", root);
    node.args(["--input-type=module", "--eval", include_str!("container.mjs"), "--"]);
    process::capture(node.args([&format!("http://{address}"), ACCOUNT, ACCOUNT_KEY, BUCKET])).map(drop)
}

fn environment(_: &Path, address: SocketAddr) -> Vec<(&'static str, String)> {
    let endpoint = format!("http://{address}/{ACCOUNT}");
    vec![
        ("REDDB_ARCHIVE_ENDPOINT", endpoint.clone()),
        ("AZURE_STORAGE_ENDPOINT", endpoint),
        ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.to_owned()),
        ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY.to_owned()),
        ("AZURE_ALLOW_HTTP", "true".to_owned()),
    ]
}
