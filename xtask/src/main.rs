//! Workspace tasks: the only scripting language of this repository.
//!
//! `cargo xtask ci` is the gate, locally and in CI. Every other task prepares or drives something that a test needs
//! from outside Rust's test runner: an S3, Azure or Google Cloud server, client libraries, a package index.
//! This crate depends on no crate of the workspace, so that it builds while they do not.

mod bench;
mod ci;
mod clients;
mod licences;
mod packages;
mod process;
mod scratch;
mod stores;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::workspace::Workspace;

/// The workspace's tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Every check that a change must pass besides its tests: format, lints, documentation, tidiness, licences.
    Ci,
    /// The workspace's own rules that no compiler knows: layering, headers, manifests, formats.
    Tidy,
    /// Licences, sources, pins and duplicates of every dependency.
    Licences,
    /// Measures RedDB beside Redis and others on this machine, and prints medians, spread and ratios.
    Bench(bench::Arguments),
    /// Starts an S3 server on loopback, and runs a command that finds it through its environment.
    S3(stores::Arguments),
    /// Starts an Azure Blob server on loopback, and runs a command that finds it through its environment.
    Azure(stores::Arguments),
    /// Starts a server of Google Cloud Storage's API, this workspace's own, and runs a command that finds it.
    Gcs(stores::Arguments),
    /// Installs client libraries of other languages, and runs the tests that use them.
    Clients,
    /// Loads Debian's package index, loses the server, restores three moments, and compares every field.
    Packages(packages::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = Workspace::find().and_then(|workspace| match arguments.task {
        Task::Ci => ci::run(&workspace),
        Task::Tidy => ci::run_one(&workspace, ci::TIDY),
        Task::Licences => ci::run_one(&workspace, ci::LICENCES),
        Task::Bench(arguments) => bench::run(&workspace, &arguments),
        Task::S3(arguments) => stores::s3::SERVER.run(&workspace, &arguments),
        Task::Azure(arguments) => stores::azure::SERVER.run(&workspace, &arguments),
        Task::Gcs(arguments) => stores::gcs::SERVER.run(&workspace, &arguments),
        Task::Clients => clients::run(&workspace),
        Task::Packages(arguments) => packages::run(&workspace, &arguments),
    });
    match outcome {
        Ok(code) => code,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
