//! The `reddb` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    reddb_server::cli::run(std::env::args_os())
}
