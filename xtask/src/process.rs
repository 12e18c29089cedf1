//! Running other programs: what every task needs, and nothing about any one of them.
//!
//! Invariant: a program that did not end with success is an error that shows its command line and its output.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// A command in `directory`, without standard input and without the variables that cargo sets for the task runner
/// itself (a nested cargo would hand them to build scripts as if they were its own).
pub(crate) fn command(program: impl AsRef<OsStr>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_of_this_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"]
            .iter()
            .any(|prefix| text.starts_with(prefix));
        if is_of_this_package {
            command.env_remove(&name);
        }
    }
    command
}

/// The cargo that started this task, in `directory`.
pub(crate) fn cargo(directory: &Path) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), directory)
}

/// Runs `command` to its end and returns its standard output.
///
/// # Errors
/// The program could not be started, or failed: the text holds the command line and everything it printed.
pub(crate) fn capture(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("cannot start {}: {error}", shown(command)))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(stdout);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    Err(format!("{} ended with {}\n{stdout}{stderr}", shown(command), output.status))
}

/// Runs `command` to its end; what it prints goes where this task's output goes.
///
/// # Errors
/// The program could not be started, or failed.
pub(crate) fn inherit(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cannot start {}: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", shown(command))) }
}

/// A command line as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_program_is_an_error_that_shows_its_output() {
        let mut failing = command("sh", Path::new("/"));
        failing.args(["-c", "echo out; echo err >&2; exit 3"]);
        let error = capture(&mut failing).unwrap_err();
        assert!(error.contains("out\n") && error.contains("err\n") && error.contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_error_that_names_it() {
        let error = inherit(&mut command("no-such-program-here", Path::new("/"))).unwrap_err();
        assert!(error.contains("no-such-program-here"), "{error}");
    }
}
