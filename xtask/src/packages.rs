//! The campaign over Debian's whole package index: loaded, changed while backups run, lost, restored, compared.
//!
//! The campaign itself is the test `packages`; this gives it a fresh index, all of it, and the time it takes.

use std::process::ExitCode;

use crate::process;
use crate::workspace::Workspace;

/// `cargo xtask packages [--limit N] [--release] [--update]`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many packages, at most; all of them where it is not given.
    #[arg(long, default_value_t = usize::MAX)]
    limit: usize,
    /// With optimisations: another build, and a faster campaign.
    #[arg(long)]
    release: bool,
    /// Fetch a fresh index first; needs the rights to run `apt-get update`.
    #[arg(long)]
    update: bool,
}

/// Runs the campaign.
pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode, String> {
    if arguments.update {
        process::inherit(process::command("apt-get", workspace.root()).args(["-qq", "update"]))?;
    }
    let mut tests = process::cargo(workspace.root());
    tests.args(["test", "--workspace", "--test", "packages"]);
    if arguments.release {
        tests.arg("--release");
    }
    tests.args(["--", "--nocapture"]).env("REDDB_TEST_PACKAGES_MAX", arguments.limit.to_string());
    process::inherit(&mut tests)?;
    Ok(ExitCode::SUCCESS)
}
