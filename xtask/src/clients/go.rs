//! go-redis, from Debian's packages: version 5 as `apt-get` installs it, version 9 by itself.
//!
//! No release of Debian that is old enough to be everywhere has go-redis 9, but the pool of the mirror that apt is configured
//! for does: its packages are fetched by name with apt's own downloader, and are Go's `vendor` folder of the test program.
//! Nothing is installed on the machine, and Go asks no network.
//!
//! Invariants: a file is used only if its SHA-256 is the one written here; a file that cannot be fetched leaves go-redis 9 out
//! (Debian removes versions from its pool), while a file that is another one is an error.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{LeftOut, copy, make, mark};
use crate::process;

/// Where Debian's packages put the sources of Go libraries.
const DEBIAN_GO_PATH: &str = "/usr/share/gocode";
/// apt's downloader, which knows apt's proxies and transports.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";
/// How long one package may take, in seconds.
const DOWNLOAD_MAX_S: &str = "120";

/// A package of Go sources in Debian's pool.
#[derive(Debug)]
struct Package {
    /// Its file, below the repository.
    file: &'static str,
    sha256: &'static str,
    /// Where its sources are below Debian's `src`.
    unpacked: &'static str,
    /// The module that they are.
    module: &'static str,
}

/// Version 9.17.2 of go-redis, and what it needs; `modules.txt` beside the program says the same to Go.
const V9: [Package; 3] = [
    Package {
        file: "pool/main/g/golang-github-redis-go-redis/golang-github-redis-go-redis-dev_9.17.2-1_all.deb",
        sha256: "cae8f1c0486215d0f9dd80eb162c5164fd2ce85e01c166c1ae51149905b16c13",
        unpacked: "github.com/redis/go-redis",
        module: "github.com/redis/go-redis/v9",
    },
    Package {
        file: "pool/main/g/golang-github-cespare-xxhash/golang-github-cespare-xxhash-dev_2.1.1-2_all.deb",
        sha256: "58e371a185bc1c41fefa1eb6eaacd4a39bf8a579645547c12f0121f4fe6daf95",
        unpacked: "github.com/cespare/xxhash",
        module: "github.com/cespare/xxhash/v2",
    },
    Package {
        file: "pool/main/g/golang-github-dgryski-go-rendezvous/golang-github-dgryski-go-rendezvous-dev_0.0~git20200823.9f7001d-2_all.deb",
        sha256: "a5612fedd88ad5cfb1c499dbe7d88fd1bf6fdf6a12809fcb3ceeba111c9c6140",
        unpacked: "github.com/dgryski/go-rendezvous",
        module: "github.com/dgryski/go-rendezvous",
    },
];

/// Builds the program of each version that can be had.
pub(super) fn install(folder: &Path, sources: &Path, left_out: &mut LeftOut) -> Result<(), String> {
    let cache = folder.join("go-cache");
    let v5 = Program { name: "go-redis-v5", folder, sources, cache: &cache };
    v5.remove()?;
    if Path::new(DEBIAN_GO_PATH).join("src/gopkg.in/redis.v5").is_dir() {
        process::capture(v5.build(&["main.go"])?.env("GO111MODULE", "off").env("GOPATH", DEBIAN_GO_PATH))?;
    } else {
        left_out.add("go-redis 5", "`apt-get install golang-gopkg-redis.v5-dev` installs it");
    }
    let v9 = Program { name: "go-redis-v9", ..v5 };
    v9.remove()?;
    match vendor(&v9.folder(), &v9.sources())? {
        Ok(()) => process::capture(
            v9.build(&["go.mod", "main.go"])?
                .env("GO111MODULE", "on")
                .env("GOFLAGS", "-mod=vendor")
                .env("GOPROXY", "off")
                .env("GOPATH", folder.join("go-path")),
        )
        .map(drop),
        Err(NotFetched(reason)) => {
            left_out.add("go-redis 9", &reason);
            Ok(())
        }
    }
}

/// One test program: where it is, and where it is built.
#[derive(Debug, Clone, Copy)]
struct Program<'a> {
    name: &'static str,
    folder: &'a Path,
    sources: &'a Path,
    cache: &'a Path,
}

impl Program<'_> {
    fn folder(&self) -> PathBuf {
        self.folder.join(self.name)
    }

    fn sources(&self) -> PathBuf {
        self.sources.join(self.name)
    }

    /// Removes what an earlier run built, so that it cannot pass for this one's.
    fn remove(&self) -> Result<(), String> {
        make(&self.folder())?;
        let program = self.folder().join("clients");
        if program.exists() {
            std::fs::remove_file(&program).map_err(|error| format!("cannot remove {}: {error}", program.display()))?;
        }
        Ok(())
    }

    /// `go build` of a copy of the program.
    fn build(&self, names: &[&str]) -> Result<Command, String> {
        println!("clients: building the program that uses {}", self.name);
        copy(&self.sources(), &self.folder(), names)?;
        let mut build = process::command("go", &self.folder());
        build.args(["build", "-o", "clients"]).env("GOCACHE", self.cache);
        Ok(build)
    }
}

/// Why a package could not be had.
#[derive(Debug)]
struct NotFetched(String);

/// Makes Go's `vendor` folder out of the packages, unless it is there already.
fn vendor(folder: &Path, sources: &Path) -> Result<Result<(), NotFetched>, String> {
    let done = folder.join(V9.map(|package| &package.sha256[..8]).join("+"));
    if !done.exists() {
        let (debs, unpacked, vendor) = (folder.join("debs"), folder.join("unpacked"), folder.join("vendor"));
        for folder in [&debs, &unpacked, &vendor] {
            remove_folder(folder)?;
            make(folder)?;
        }
        for package in &V9 {
            println!("clients: fetching {}", package.file);
            let deb = debs.join("package.deb");
            if let Err(reason) = fetch(package, &deb)? {
                return Ok(Err(reason));
            }
            process::capture(process::command("dpkg-deb", folder).arg("--extract").arg(&deb).arg(&unpacked))?;
            let from = unpacked.join("usr/share/gocode/src").join(package.unpacked);
            let into = vendor.join(package.module);
            make(into.parent().unwrap_or(&vendor))?;
            std::fs::rename(&from, &into)
                .map_err(|error| format!("cannot move {} to {}: {error}", from.display(), into.display()))?;
        }
        mark(&done)?;
    }
    // Go takes its own package where it has one, and this one where it is too old to.
    make(&folder.join("vendor/slices"))?;
    copy(&sources.join("slices"), &folder.join("vendor/slices"), &["slices.go"])?;
    copy(sources, &folder.join("vendor"), &["modules.txt"])?;
    Ok(Ok(()))
}

/// Fetches a package from the first of apt's repositories that has it.
fn fetch(package: &Package, deb: &Path) -> Result<Result<(), NotFetched>, String> {
    let mut reason = "apt is configured for no repository of Debian's, or `apt-get update` never ran".to_owned();
    for repository in repositories() {
        let folder = deb.parent().unwrap_or(deb);
        let mut download = process::command("timeout", folder);
        download.args([DOWNLOAD_MAX_S, APT_HELPER, "download-file", &format!("{repository}{}", package.file)]);
        match process::capture(download.arg(deb)) {
            Ok(_) => return expect_digest(package, deb).map(Ok),
            Err(output) => reason = format!("{} cannot be fetched: {}", package.file, failure(&output)),
        }
    }
    Ok(Err(NotFetched(reason)))
}

/// What apt said went wrong; its last line only says that something did.
fn failure(output: &str) -> &str {
    let mut lines = output.lines().filter(|line| line.starts_with("E: "));
    lines.next().or_else(|| output.lines().next()).unwrap_or("apt gave no reason")
}

/// The repositories of Debian's that apt is configured for, each once; none where there is no apt.
fn repositories() -> Vec<String> {
    let mut apt = process::command("apt-get", Path::new("/"));
    apt.args(["indextargets", "--format", "$(REPO_URI)", "Identifier: Packages", "Label: Debian"]);
    let mut repositories: Vec<String> =
        process::capture(&mut apt).unwrap_or_default().lines().map(str::to_owned).collect();
    repositories.dedup();
    repositories
}

fn expect_digest(package: &Package, deb: &Path) -> Result<(), String> {
    let said = process::capture(process::command("sha256sum", Path::new("/")).arg(deb))?;
    let found = said.split_whitespace().next().unwrap_or_default();
    if found == package.sha256 {
        return Ok(());
    }
    Err(format!("{} has the SHA-256 {found}, not {}: the mirror gave another file", package.file, package.sha256))
}

fn remove_folder(folder: &Path) -> Result<(), String> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|error| format!("cannot remove {}: {error}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_file_than_the_expected_one_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let deb = folder.path().join("package.deb");
        std::fs::write(&deb, "not the package").unwrap();
        let error = expect_digest(&V9[0], &deb).unwrap_err();
        assert!(error.contains("the mirror gave another file"), "{error}");
    }

    #[test]
    fn the_reason_is_apts_own() {
        let output = "timeout 120 apt-helper ended with exit status: 100\nErr:1 x\nE: Failed to fetch x  404  Not Found\nE: Download Failed\n";
        assert_eq!(failure(output), "E: Failed to fetch x  404  Not Found");
        assert_eq!(failure("timeout 120 ended with exit status: 124\n"), "timeout 120 ended with exit status: 124");
    }
}
