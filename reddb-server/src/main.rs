//! The `reddb` binary.

use std::process::ExitCode;

/// Memtable entries are made by one thread and freed by another, for which this allocator is built.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    reddb_server::run(std::env::args_os())
}
