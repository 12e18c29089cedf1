//! The `reddb` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    reddb_server::run(std::env::args_os())
}
