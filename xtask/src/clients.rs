//! Client libraries of other languages, installed below `target/clients` for the tests that run them.
//!
//! Invariants: every library's version is exact (Debian's package of go-redis 5 excepted); what is installed already is not
//! installed again; what this machine does not have, or a mirror no longer has, is left out, its test says so, and the reason
//! is the last thing that is printed. What was installed and fails is never left out.

mod go;

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::process;
use crate::workspace::Workspace;

/// Name of the virtual environment, and what is installed there.
const PYTHON: [(&str, &str); 2] = [("redis-py-5", "redis==5.3.1"), ("redis-py-8", "redis==8.1.0")];
const NODE: [&str; 2] = ["ioredis@6.0.0", "redis@6.3.1"];

/// Installs what is missing, then runs the tests that use it.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode, String> {
    let folder = workspace.target().join("clients");
    let sources = workspace.root().join("tests").join("clients");
    make(&folder)?;
    let mut left_out = LeftOut::default();
    if left_out.unless_here("python3", "redis-py") {
        python(&folder, &sources)?;
    }
    if left_out.unless_here("npm", "ioredis and node-redis") {
        node(&folder.join("node"), &sources)?;
    }
    if left_out.unless_here("go", "go-redis") {
        go::install(&folder, &sources, &mut left_out)?;
    }
    let mut tests = process::cargo(workspace.root());
    tests.args(["test", "--workspace", "--test", "clients", "--", "--nocapture"]);
    process::inherit(tests.env("REDDB_TEST_CLIENTS", &folder))?;
    left_out.say();
    Ok(ExitCode::SUCCESS)
}

/// What was not run, and why.
#[derive(Debug, Default)]
struct LeftOut(Vec<String>);

impl LeftOut {
    fn add(&mut self, what: &str, reason: &str) {
        self.0.push(format!("{what} WAS NOT RUN: {reason}"));
    }

    /// Whether a program is on this machine; `what` needs it.
    fn unless_here(&mut self, program: &str, what: &str) -> bool {
        let found = Command::new(program).arg("version").output().is_ok();
        if !found {
            self.add(what, &format!("{program} is not installed"));
        }
        found
    }

    fn say(&self) {
        for line in &self.0 {
            println!("clients: {line}");
        }
    }
}

fn python(folder: &Path, sources: &Path) -> Result<(), String> {
    copy(sources, folder, &["redis_py.py"])?;
    for (name, package) in PYTHON {
        let environment = folder.join(name);
        let done = environment.join(package);
        if done.exists() {
            continue;
        }
        println!("clients: installing {package} for Python");
        process::capture(process::command("python3", folder).args(["-m", "venv", "--clear", name]))?;
        let pip = environment.join("bin").join("pip");
        process::capture(process::command(pip, folder).args([
            "install",
            "--quiet",
            "--disable-pip-version-check",
            package,
        ]))?;
        mark(&done)?;
    }
    Ok(())
}

fn node(folder: &Path, sources: &Path) -> Result<(), String> {
    make(folder)?;
    copy(sources, folder, &["ioredis.mjs", "node_redis.mjs"])?;
    let done = folder.join(NODE.join("+"));
    if done.exists() {
        return Ok(());
    }
    println!("clients: installing {} for Node.js", NODE.join(" "));
    write(&folder.join("package.json"), "{ \"private\": true }\n")?;
    let mut npm = process::command("npm", folder);
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]);
    process::capture(npm.args(NODE))?;
    mark(&done)
}

fn make(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("cannot make {}: {error}", folder.display()))
}

fn copy(from: &Path, into: &Path, names: &[&str]) -> Result<(), String> {
    for name in names {
        let (from, into) = (from.join(name), into.join(name));
        std::fs::copy(&from, &into)
            .map_err(|error| format!("cannot copy {} to {}: {error}", from.display(), into.display()))?;
    }
    Ok(())
}

/// Leaves the sign that an installation was finished.
fn mark(done: &Path) -> Result<(), String> {
    write(done, "")
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
