//! The gate: a list of steps, each timed, the first failure shown in full.
//!
//! Invariant: the exit code is success if and only if every step passed.

use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

use crate::workspace::Workspace;
use crate::{licences, process, tidy};

/// A check: its name, and what it does. Success carries a short summary, failure everything a person needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    name: &'static str,
    check: fn(&Workspace) -> Result<String, String>,
}

pub(crate) const TIDY: Step = Step { name: "tidy", check: tidy::check };
pub(crate) const LICENCES: Step = Step { name: "licences", check: licences::check };

/// The cheap ones first: a badly formatted line is not worth a compilation.
const STEPS: [Step; 5] = [
    Step { name: "fmt", check: fmt },
    TIDY,
    LICENCES,
    Step { name: "clippy", check: clippy },
    Step { name: "doc", check: doc },
];

/// Runs every step, in order, up to the first failure.
pub(crate) fn run(workspace: &Workspace) -> Result<ExitCode, String> {
    Ok(run_steps(workspace, &STEPS))
}

/// Runs one step.
pub(crate) fn run_one(workspace: &Workspace, step: Step) -> Result<ExitCode, String> {
    Ok(run_steps(workspace, &[step]))
}

fn run_steps(workspace: &Workspace, steps: &[Step]) -> ExitCode {
    for step in steps {
        print!("ci: {:<10}", step.name);
        // A lost progress line is not worth failing a check for.
        drop(std::io::stdout().flush());
        let started = Instant::now();
        let outcome = (step.check)(workspace);
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(summary) => println!("ok      {seconds:>6.1} s  {summary}"),
            Err(output) => {
                println!("FAILED  {seconds:>6.1} s\n\n{}", output.trim_end());
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn fmt(workspace: &Workspace) -> Result<String, String> {
    process::capture(process::cargo(workspace.root()).args(["fmt", "--all", "--check"]))
        .map_err(|output| format!("{output}\nRun `cargo fmt --all`."))?;
    Ok(String::new())
}

fn clippy(workspace: &Workspace) -> Result<String, String> {
    process::capture(process::cargo(workspace.root()).args([
        "clippy",
        "--quiet",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    Ok("warnings denied".to_owned())
}

fn doc(workspace: &Workspace) -> Result<String, String> {
    process::capture(
        process::cargo(workspace.root())
            .args(["doc", "--quiet", "--locked", "--workspace", "--no-deps", "--document-private-items"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    Ok("warnings denied".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(_: &Workspace) -> Result<String, String> {
        Ok("fine".to_owned())
    }

    fn fails(_: &Workspace) -> Result<String, String> {
        Err("planted".to_owned())
    }

    fn must_not_run(_: &Workspace) -> Result<String, String> {
        panic!("a step after a failure ran");
    }

    #[test]
    fn the_first_failure_stops_the_gate_and_is_its_exit_code() {
        let workspace = Workspace::find().unwrap();
        let steps = [
            Step { name: "passes", check: passes },
            Step { name: "fails", check: fails },
            Step { name: "never", check: must_not_run },
        ];
        assert_eq!(run_steps(&workspace, &steps), ExitCode::FAILURE);
        assert_eq!(run_steps(&workspace, &steps[..1]), ExitCode::SUCCESS);
    }
}
