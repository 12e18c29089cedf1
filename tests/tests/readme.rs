//! The README's own commands, as they stand there, from the first block to the last line.
//!
//! What is changed before they run: the ports, because the usual ones may be taken; the path of the program; and that
//! `reddb serve` goes to the background, as a person opens another terminal for it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use reddb_tests::cli::{binary, has, run};
use reddb_tests::{Client, wait};

fn readme() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join("README.md");
    std::fs::read_to_string(path).unwrap()
}

/// The shell blocks, in order.
fn shell_blocks(text: &str) -> Vec<String> {
    let parts = text.split("```sh\n").skip(1);
    parts.map(|part| part.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn it_begins_with_what_it_is_and_two_commands() {
    let text = readme();
    let first = shell_blocks(&text).into_iter().next().unwrap();
    let commands: Vec<_> = first.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
    assert_eq!(commands, ["cargo run --release -- serve", "cargo test --workspace"]);
    assert!(text.find("```sh").unwrap() < 1000, "the two commands are not at the beginning");
}

/// A port that nobody listens on right now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Kills a background server when the test ends, however it ends.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_first_ten_minutes_work_as_written() {
    if !has("redis-cli") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = free_port();
    let admin = free_port();
    let shims = make_shims(folder.path(), data);
    let path = format!("{}:{}", shims.display(), std::env::var("PATH").unwrap());
    let shell = |script: &str| {
        let mut bash = Command::new("timeout");
        bash.args(["120", "bash", "-e", "-o", "pipefail", "-c", script]).current_dir(folder.path()).env("PATH", &path);
        bash.env("REDDB_LISTEN", format!("127.0.0.1:{data}")).env("REDDB_ADMIN_LISTEN", format!("127.0.0.1:{admin}"));
        bash.env("REDDB_ADMIN", format!("http://127.0.0.1:{admin}")).env("REDDB_MEMORY", "64mb");
        bash
    };
    let serve = |script: &str, port: u16| {
        // The shell replaces itself with the server, so that killing it kills the server.
        let log = std::fs::File::create(folder.path().join(format!("{port}.log"))).unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec {script}")]).current_dir(folder.path()).env("PATH", &path);
        command.envs(shell("").get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let background = Background(child);
        let address = ([127, 0, 0, 1], port).into();
        wait::until("the server answers", || Client::connect(address).ok()?.call(&["PING"]).ok());
        background
    };

    let mut servers = vec![serve("reddb serve", data)];
    let second = free_port();
    let second_admin = free_port();
    let block = shell_blocks(&readme()).into_iter().nth(1).unwrap();
    let block = block.replace("6390", &second.to_string()).replace("6391", &second_admin.to_string());
    let mut last = String::new();
    for line in block.lines().filter(|line| !line.is_empty() && !line.starts_with("alias ")) {
        if line.starts_with("reddb serve") {
            servers.push(serve(line, second));
        } else {
            let outcome = run(&mut shell(line));
            assert_eq!(outcome.code, 0, "`{line}`\n{}\n{}", outcome.stdout, outcome.stderr);
            last = outcome.stdout;
        }
    }
    assert_eq!(servers.len(), 2, "the restored directory is served");
    assert_eq!(last, "hello\n");
}

/// `reddb`, and a `redis-cli` that goes to our port where none is named.
fn make_shims(folder: &Path, port: u16) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let shims = folder.join("bin");
    std::fs::create_dir(&shims).unwrap();
    let real = run(Command::new("sh").args(["-c", "command -v redis-cli"])).expect_code(0).stdout;
    let redis_cli =
        format!("#!/bin/sh\ncase \"$1\" in -p) exec {0} \"$@\" ;; *) exec {0} -p {port} \"$@\" ;; esac\n", real.trim());
    let reddb = format!("#!/bin/sh\nexec {} \"$@\"\n", binary().display());
    for (name, text) in [("redis-cli", redis_cli), ("reddb", reddb)] {
        let path = shims.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    shims
}
