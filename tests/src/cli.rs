//! The program's other commands, run to their end.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::wait::PATIENCE;

/// The program under test: `REDDB_BIN` where it is set, else the one that cargo built for this package's tests.
///
/// # Panics
/// Where there is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("REDDB_BIN") {
        return PathBuf::from(path);
    }
    let here = std::env::current_exe().expect("a running test knows its own file");
    let built = here.ancestors().skip(1).map(|folder| folder.join("reddb-under-test")).find(|path| path.is_file());
    built.unwrap_or_else(|| panic!("no reddb-under-test beside {}", here.display()))
}

/// What a command printed, and how it ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Asserts the exit code.
    ///
    /// # Panics
    /// Where it is another one; the text holds everything the command printed.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// Where it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}\n{}", self.stdout, self.stderr))
    }
}

/// Runs the program with `arguments` to its end.
///
/// # Panics
/// Where it cannot be started, or was ended by a signal.
#[must_use]
pub fn reddb<A: AsRef<std::ffi::OsStr>>(arguments: &[A]) -> Outcome {
    run(Command::new(binary()).args(arguments))
}

/// Runs any command to its end.
///
/// # Panics
/// Where it cannot be started, or was ended by a signal.
#[must_use]
pub fn run(command: &mut Command) -> Outcome {
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    Outcome {
        code: output.status.code().unwrap_or_else(|| panic!("{command:?} ended with {}", output.status)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A command of any program that is ended, with the exit code 124, where it takes longer than anything may: one that waits for
/// an answer that never comes must not hold the tests up.
#[must_use]
pub fn bounded(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(program);
    command
}

/// A command that obeys the permissions of files: root's does without the capabilities that overrule them. `None`, and a
/// line that says so, where root cannot be rid of them.
#[must_use]
pub fn obeying_permissions(program: &Path) -> Option<Command> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if !root {
        return Some(Command::new(program));
    }
    let without = |program: &Path| {
        let mut command = Command::new("setpriv");
        command.args(["--inh-caps", "-all", "--bounding-set", "-dac_override,-dac_read_search"]).arg(program);
        command
    };
    let works = without(Path::new("true")).output().is_ok_and(|output| output.status.success());
    if !works {
        println!("skipped: this is root, and setpriv cannot take its capabilities away");
    }
    works.then(|| without(program))
}

/// Whether a program is on the path; where it is not, says that the test is skipped.
#[must_use]
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}
