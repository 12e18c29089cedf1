//! The `reddb` program once more, in this package: cargo builds a package's own programs before it runs the package's tests, and
//! no other's.

use std::process::ExitCode;

fn main() -> ExitCode {
    reddb_server::run(std::env::args_os())
}
