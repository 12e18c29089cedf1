//! The README's own commands, as they stand there, from the first block to the last line.
//!
//! What is changed before they run: the addresses, because the usual ports may be taken; the path of the program; and that
//! `reddb serve` goes to the background, as a person opens another terminal for it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use reddb_tests::cli::{binary, bounded, has, run};
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

/// Four addresses that nobody takes before the servers do: of a host of loopback that is this process's own, so that neither
/// another listener nor a client's own port comes there in between.
fn free_addresses() -> [SocketAddr; 4] {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, 64 | high, middle, low);
    let held = [(); 4].map(|()| TcpListener::bind((host, 0)).unwrap());
    held.map(|listener| listener.local_addr().unwrap())
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
    let [data, admin, second, second_admin] = free_addresses();
    let shims = make_shims(folder.path(), data);
    let path = format!("{}:{}", shims.display(), std::env::var("PATH").unwrap());
    let shell = |script: &str| {
        let mut bash = bounded("bash");
        bash.args(["-e", "-o", "pipefail", "-c", script]).current_dir(folder.path()).env("PATH", &path);
        bash.env("REDDB_LISTEN", data.to_string()).env("REDDB_ADMIN_LISTEN", admin.to_string());
        bash.env("REDDB_ADMIN", format!("http://{admin}")).env("REDDB_MEMORY", "64mb");
        bash
    };
    let serve = |script: &str, address: SocketAddr| {
        // The shell replaces itself with the server, so that killing it kills the server.
        let log = std::fs::File::create(folder.path().join(format!("{address}.log"))).unwrap();
        let mut command = Command::new("bash");
        command.args(["-c", &format!("exec {script}")]).current_dir(folder.path()).env("PATH", &path);
        command.envs(shell("").get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let background = Background(child);
        wait::until("the server answers", || Client::connect(address).ok()?.call(&["PING"]).ok());
        background
    };

    let mut servers = vec![serve("reddb serve", data)];
    let block = shell_blocks(&readme()).into_iter().nth(1).unwrap();
    let block =
        block.replace("127.0.0.1:6390", &second.to_string()).replace("127.0.0.1:6391", &second_admin.to_string());
    let block = block.replace("-p 6390", &format!("-p {}", second.port()));
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

/// `reddb`, and a `redis-cli` that goes to our host, and to our port where none is named.
fn make_shims(folder: &Path, first: SocketAddr) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let shims = folder.join("bin");
    std::fs::create_dir(&shims).unwrap();
    let real = run(Command::new("sh").args(["-c", "command -v redis-cli"])).expect_code(0).stdout;
    // The last port that is named counts.
    let redis_cli = format!("#!/bin/sh\nexec {} -h {} -p {} \"$@\"\n", real.trim(), first.ip(), first.port());
    let reddb = format!("#!/bin/sh\nexec {} \"$@\"\n", binary().display());
    for (name, text) in [("redis-cli", redis_cli), ("reddb", reddb)] {
        let path = shims.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    shims
}
