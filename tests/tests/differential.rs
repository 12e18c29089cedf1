//! Every command's answers, compared byte for byte with those of a real Redis 7.0.
//!
//! The script does the work: `tests/compat/differential.py` says what differs on purpose, and why.

use std::path::Path;
use std::process::Command;

use reddb_tests::cli::{binary, has, run};

#[test]
fn answers_are_those_of_redis() {
    if !has("redis-server") || !has("python3") {
        println!("skipped: needs redis-server 7.0 and python3");
        return;
    }
    let version = run(Command::new("redis-server").arg("--version")).expect_code(0).stdout;
    if !version.contains("v=7.0.") {
        println!("skipped: the oracle is Redis 7.0, and this is {}", version.trim());
        return;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("compat/differential.py");
    let outcome = run(Command::new("python3").arg(script).arg("--reddb").arg(binary())).expect_code(0);
    print!("{}", outcome.stdout);
}
