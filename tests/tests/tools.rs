//! The tools that come with Redis, unchanged, against this server; and the program's own story.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use reddb_tests::cli::{bounded, has, reddb, run};
use reddb_tests::resp::{encode, words};
use reddb_tests::{Node, Options, Value};

struct Served {
    _folder: tempfile::TempDir,
    node: Node,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let node = Node::start(&folder.path().join("node"), &Options::new());
        Self { _folder: folder, node }
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = bounded(program);
        command.args(["-h", "127.0.0.1", "-p", &self.node.data.port().to_string()]);
        command
    }

    fn fill(&self, count: usize) {
        let mut client = self.node.client();
        let mut commands: Vec<_> =
            (0..count).map(|index| words(&["SET", &format!("key:{index}"), &"v".repeat(index % 50)])).collect();
        commands.push(words(&["HSET", "hash", "field", "value", "other", "value"]));
        assert!(client.pipeline(&commands).unwrap().iter().all(|answer| !answer.is_error()));
    }
}

#[test]
fn redis_cli_talks() {
    if !has("redis-cli") {
        return;
    }
    let server = Served::start();
    let cli = |arguments: &[&str]| run(server.tool("redis-cli").args(arguments)).expect_code(0).stdout;
    assert_eq!(cli(&["SET", "name", "value"]), "OK\n");
    assert_eq!(cli(&["GET", "name"]), "value\n");
    assert_eq!(cli(&["-3", "HSET", "h", "a", "1", "b", "2"]), "2\n");
    assert!(cli(&["-3", "HGETALL", "h"]).contains("a"));
    assert!(cli(&["INFO"]).contains("redis_version:7.0.15"));
    assert!(cli(&["INFO", "server"]).contains("reddb_version:"));
    assert!(cli(&["NOSUCHCOMMAND"]).contains("unknown command"));
}

#[test]
fn redis_cli_pipes_scans_and_finds_big_keys() {
    if !has("redis-cli") {
        return;
    }
    let server = Served::start();
    let mut pipe = server.tool("redis-cli").arg("--pipe").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = pipe.stdin.take().unwrap();
    let bytes: Vec<u8> =
        (0..20_000).flat_map(|index| encode(&["SET", &format!("pipe:{index}"), &index.to_string()])).collect();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = pipe.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("errors: 0, replies: 20000"), "{said}");
    assert_eq!(server.node.client().expect(&["DBSIZE"]), Value::Integer(20_000));

    let scanned = run(server.tool("redis-cli").args(["--scan", "--pattern", "pipe:1999*"])).expect_code(0);
    let mut keys: Vec<_> = scanned.stdout.lines().collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 11, "{keys:?}");

    server.fill(200);
    let big = run(server.tool("redis-cli").arg("--bigkeys")).expect_code(0);
    assert!(big.stdout.contains("Sampled 20201 keys in the keyspace!"), "{}", big.stdout);
    assert!(big.stdout.contains("Biggest   hash found"), "{}", big.stdout);
}

#[test]
fn redis_cli_shows_statistics() {
    if !has("redis-cli") {
        return;
    }
    let server = Served::start();
    server.fill(10);
    let mut command = bounded("stdbuf");
    // Line by line, because the tool would keep what it says until there is more.
    command.args(["-oL", "redis-cli", "-p", &server.node.data.port().to_string(), "--stat", "-i", "0.2"]);
    let mut tool = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(tool.stdout.take().unwrap()).lines().map_while(Result::ok);
    let shows_keys = lines.by_ref().any(|line| {
        said.push_str(&line);
        said.contains("keys") && line.split_whitespace().next() == Some("11")
    });
    // It never ends by itself, but when nobody reads what it says.
    drop(lines);
    tool.wait().unwrap();
    assert!(shows_keys, "{said}");
}

#[test]
fn redis_benchmark_runs() {
    if !has("redis-benchmark") {
        return;
    }
    let server = Served::start();
    for (tests, more) in
        [("ping,set,get,incr,hset,mset", &["-n", "2000"][..]), ("set,get", &["-n", "20000", "-P", "16"])]
    {
        let outcome =
            run(server.tool("redis-benchmark").args(["-q", "-r", "1000", "-t", tests]).args(more)).expect_code(0);
        let said = outcome.stdout.replace('\r', "\n");
        assert!(said.contains("requests per second"), "{said}");
        assert!(!said.to_lowercase().contains("error"), "{said}");
    }
    // With no test named, it also asks for the server's configuration and runs commands that are not here: it must not hang.
    assert_eq!(server.node.client().expect(&["PING"]), Value::Simple("PONG".to_owned()));
}

#[test]
fn the_demo_tells_its_story_and_ends_well() {
    let outcome = reddb(&["demo"]).expect_code(0);
    assert!(outcome.stdout.contains("restore"), "{}", outcome.stdout);
}

#[test]
fn help_and_version_are_there() {
    assert!(reddb(&["--version"]).expect_code(0).stdout.starts_with("reddb "));
    let help = reddb(&["--help"]).expect_code(0).stdout;
    for command in ["serve", "backup", "mark", "info", "verify", "restore", "check", "inspect", "demo"] {
        assert!(help.contains(command), "{command} is not in the help");
    }
    let _ = reddb(&["no-such-command"]).expect_code(3);
    let _ = reddb(&["serve", "--no-such-flag"]).expect_code(3);
}
