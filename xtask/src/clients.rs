//! Client libraries of other languages, installed below `target/clients` for the tests that run them.
//!
//! Invariants: every library's version is exact (Debian's package of go-redis 5 excepted); what is installed already is not installed again; a language that is not on
//! this machine is left out, said aloud, and its test says so too.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::process;
use crate::workspace::Workspace;

/// Name of the virtual environment, and what is installed there.
const PYTHON: [(&str, &str); 2] = [("redis-py-5", "redis==5.3.1"), ("redis-py-8", "redis==8.1.0")];
/// Where Debian's packages put the sources of Go libraries.
const DEBIAN_GO_PATH: &str = "/usr/share/gocode";
/// How long the module proxy may take.
const GO_DOWNLOAD_MAX_S: &str = "60";
const NODE: [&str; 2] = ["ioredis@6.0.0", "redis@6.3.1"];

/// Installs what is missing, then runs the tests that use it.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode, String> {
    let folder = workspace.target().join("clients");
    let sources = workspace.root().join("tests").join("clients");
    make(&folder)?;
    if is_here("python3") {
        python(&folder, &sources)?;
    }
    if is_here("npm") {
        node(&folder.join("node"), &sources)?;
    }
    if is_here("go") {
        go(&folder, &sources)?;
    }
    let mut tests = process::cargo(workspace.root());
    tests.args(["test", "--workspace", "--test", "clients", "--", "--nocapture"]);
    process::inherit(tests.env("REDDB_TEST_CLIENTS", &folder))?;
    Ok(ExitCode::SUCCESS)
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

/// go-redis 5 comes from Debian's packages, go-redis 9 from Go's module proxy, which not every machine can reach.
fn go(folder: &Path, sources: &Path) -> Result<(), String> {
    let cache = folder.join("go-cache");
    let packaged = Path::new(DEBIAN_GO_PATH);
    if packaged.join("src/gopkg.in/redis.v5").is_dir() {
        let mut build = go_build(&folder.join("go-redis-v5"), &sources.join("go-redis-v5"), &["main.go"], &cache)?;
        process::capture(build.env("GO111MODULE", "off").env("GOPATH", packaged))?;
    } else {
        println!("clients: not run: go-redis 5: `apt-get install golang-gopkg-redis.v5-dev` installs it");
    }
    let folder = folder.join("go-redis-v9");
    let mut build = go_build(&folder, &sources.join("go-redis-v9"), &["go.mod", "main.go"], &cache)?;
    let modules = folder.join("path");
    let mut download = process::command("timeout", &folder);
    download.args([GO_DOWNLOAD_MAX_S, "go", "mod", "download"]).env("GOPATH", &modules).env("GOFLAGS", "-modcacherw");
    match process::capture(&mut download) {
        // The checksums that Go finds go into the copy, below target.
        Ok(_) => process::capture(build.args(["-mod=mod", "."]).env("GOPATH", &modules).env("GOFLAGS", "-modcacherw"))
            .map(drop),
        Err(reason) => {
            let reason = reason.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            println!("clients: not run: go-redis 9: its module cannot be fetched: {reason}");
            Ok(())
        }
    }
}

/// A `go build` of a copy of a program. What an earlier run built is removed, so that it cannot pass for this one's.
fn go_build(folder: &Path, sources: &Path, names: &[&str], cache: &Path) -> Result<Command, String> {
    make(folder)?;
    copy(sources, folder, names)?;
    let program = folder.join("clients");
    if program.exists() {
        std::fs::remove_file(&program).map_err(|error| format!("cannot remove {}: {error}", program.display()))?;
    }
    println!("clients: building the program that uses {}", folder.file_name().unwrap_or_default().display());
    let mut build = process::command("go", folder);
    build.args(["build", "-o", "clients"]).env("GOCACHE", cache);
    Ok(build)
}

/// Whether a language is on this machine; where it is not, its clients are left out, said aloud.
fn is_here(program: &str) -> bool {
    let found = Command::new(program).arg("version").output().is_ok();
    if !found {
        println!("clients: {program} is not installed; what needs it is left out");
    }
    found
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
