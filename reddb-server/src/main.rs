//! The `reddb` binary: the library's entry point, and the allocator, which is the program's to choose.
//!
//! The allocator is jemalloc, because what it keeps beyond what is allocated stays small: values and blocks of all sizes come and
//! go on many threads, and `--memory` is a promise about the process, not about the caches. `.cargo/config.toml` has its settings.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    reddb_server::run(std::env::args_os())
}
