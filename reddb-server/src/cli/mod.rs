//! The `reddb` command: arguments, settings, and one module for each thing it does.
//!
//! stdout carries results only (text, or one JSON document with `--json`); logs, progress and errors go to stderr. The
//! exit code says how it ended ([`exit::Exit`]).

pub(crate) mod archive;
pub(crate) mod args;
pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod demo;
pub(crate) mod environment;
pub(crate) mod exit;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod output;
pub(crate) mod progress;
pub(crate) mod restore;
pub(crate) mod serve;

pub(crate) mod settings;
pub(crate) mod units;
pub(crate) mod verify;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use clap::error::ErrorKind;

use self::args::{Cli, Command};
use self::exit::{CliError, Exit};

/// Background work that hangs does not keep the process from ending.
const RUNTIME_GRACE: Duration = Duration::from_secs(2);

/// Runs the command line and says how it ended.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let exit = match Cli::try_parse_from(arguments) {
        Ok(cli) => run_command(cli.command).unwrap_or_else(|error| {
            output::print_error(&format!("reddb: {error}\n"));
            error.exit()
        }),
        Err(answer) => match (answer.kind(), answer.print()) {
            (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, Err(error)) if !output::is_reader_gone(&error) => {
                Exit::Critical
            }
            (ErrorKind::DisplayHelp | ErrorKind::DisplayVersion, _) => Exit::Ok,
            // Where not even stderr can be written, the exit code has to do.
            _ => Exit::Usage,
        },
    };
    exit.into()
}

fn run_command(command: Command) -> Result<Exit, CliError> {
    let password = environment::password()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::critical(format!("no threads to run on: {error}")))?;
    let result = runtime.block_on(async {
        match command {
            Command::Serve(args) => serve::run(*args, password).await,
            Command::Backup(args) => backup::backup(args, password).await,
            Command::Mark(args) => backup::mark(args, password).await,
            Command::Check(args) => check::run(args, password).await,
            Command::Inspect(args) => inspect::run(&args),
            Command::Verify(args) => verify::run(args).await,
            Command::Restore(args) => restore::run(args).await,
            Command::Info(args) => info::run(args).await,
            Command::Demo(args) => demo::run(args).await,
        }
    });
    runtime.shutdown_timeout(RUNTIME_GRACE);
    result
}
