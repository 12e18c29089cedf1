//! The client libraries that people use, each running its own little program against the server.
//!
//! `cargo xtask clients` installs them below `REDDB_TEST_CLIENTS` and runs this. Without that variable the ones from other
//! languages are skipped, said aloud; redis-rs always runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use reddb_tests::cli::{bounded, run};
use reddb_tests::{Node, Options};
use redis::Commands;

fn installed() -> Option<PathBuf> {
    let folder = std::env::var_os("REDDB_TEST_CLIENTS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: `cargo xtask clients` installs client libraries and runs this with them");
    }
    folder
}

/// Runs a client's program against a server of its own; everything it says is shown.
fn expect_works(command: &mut Command) {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("node"), &Options::new());
    let mut program = bounded(command.get_program());
    program.args(command.get_args()).arg(node.data.port().to_string());
    if let Some(directory) = command.get_current_dir() {
        program.current_dir(directory);
    }
    let outcome = run(&mut program).expect_code(0);
    print!("{}", outcome.stdout);
}

fn python(folder: &Path, version: &str) {
    let interpreter = folder.join(version).join("bin").join("python");
    if is_there(&interpreter) {
        expect_works(Command::new(interpreter).arg(folder.join("redis_py.py")));
    }
}

fn node(folder: &Path, program: &str) {
    let folder = folder.join("node");
    if is_there(&folder.join("node_modules")) {
        expect_works(Command::new("node").arg(folder.join(program)));
    }
}

/// Whether the language was there to install this.
fn is_there(path: &Path) -> bool {
    let found = path.exists();
    if !found {
        println!("skipped: {} was not installed", path.display());
    }
    found
}

#[test]
fn redis_py_5_works() {
    if let Some(folder) = installed() {
        python(&folder, "redis-py-5");
    }
}

#[test]
fn redis_py_8_works() {
    if let Some(folder) = installed() {
        python(&folder, "redis-py-8");
    }
}

#[test]
fn ioredis_6_works() {
    if let Some(folder) = installed() {
        node(&folder, "ioredis.mjs");
    }
}

#[test]
fn node_redis_works() {
    if let Some(folder) = installed() {
        node(&folder, "node_redis.mjs");
    }
}

fn go(version: &str) {
    let Some(folder) = installed() else { return };
    let program = folder.join(version).join("clients");
    if is_there(&program) {
        expect_works(&mut Command::new(program));
    }
}

#[test]
fn go_redis_5_works() {
    go("go-redis-v5");
}

#[test]
fn go_redis_9_works() {
    go("go-redis-v9");
}

#[test]
fn redis_rs_works() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(&folder.path().join("node"), &Options::new());
    for protocol in ["", "?protocol=resp3"] {
        let client = redis::Client::open(format!("redis://{}/{protocol}", node.data)).unwrap();
        let mut connection = client.get_connection().unwrap();
        redis_rs_story(&mut connection, &mut client.get_connection().unwrap());
    }
}

fn redis_rs_story(connection: &mut redis::Connection, other: &mut redis::Connection) {
    redis::cmd("FLUSHALL").exec(connection).unwrap();
    connection.set::<_, _, ()>("rs:s", &b"\x00\xff\r\n"[..]).unwrap();
    assert_eq!(connection.get::<_, Vec<u8>>("rs:s").unwrap(), b"\x00\xff\r\n");
    assert_eq!(connection.get::<_, Option<String>>("rs:none").unwrap(), None);
    assert_eq!(connection.incr::<_, _, i64>("rs:n", 41).unwrap(), 41);
    connection.pset_ex::<_, _, ()>("rs:e", "x", 60_000).unwrap();
    assert!(connection.pttl::<_, i64>("rs:e").unwrap() > 0);

    connection.hset_multiple::<_, _, _, ()>("rs:h", &[("one", "1"), ("two", "zwei")]).unwrap();
    let fields: std::collections::BTreeMap<String, String> = connection.hgetall("rs:h").unwrap();
    assert_eq!(fields, [("one", "1"), ("two", "zwei")].map(|(a, b)| (a.to_owned(), b.to_owned())).into());

    let mut pipe = redis::pipe();
    for index in 0..1000 {
        pipe.set(format!("rs:p:{index}"), index).ignore();
    }
    pipe.exec(connection).unwrap();
    let found: std::collections::BTreeSet<String> =
        connection.scan_match("rs:p:*").unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(found.len(), 1000);

    let (first, second): (i64, i64) = redis::pipe().atomic().incr("rs:t", 1).incr("rs:t", 1).query(connection).unwrap();
    assert_eq!((first, second), (1, 2));
    redis::cmd("WATCH").arg("rs:w").exec(connection).unwrap();
    other.set::<_, _, ()>("rs:w", "theirs").unwrap();
    let lost: Option<()> = redis::pipe().atomic().set("rs:w", "mine").ignore().query(connection).unwrap();
    assert_eq!(lost, None);
    assert_eq!(connection.get::<_, String>("rs:w").unwrap(), "theirs");

    let wrong = connection.hget::<_, _, String>("rs:s", "f").unwrap_err();
    assert!(wrong.to_string().contains("WRONGTYPE") || wrong.code() == Some("WRONGTYPE"), "{wrong}");
    let unknown = redis::cmd("NOSUCHCOMMAND").exec(connection).unwrap_err();
    assert!(unknown.to_string().contains("unknown command"), "{unknown}");
}
