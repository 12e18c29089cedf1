//! The workspace's own rules, which no compiler knows.
//!
//! Each rule is a function from tracked files (or cargo's metadata) to the places that break it, and each is shown by a
//! test to catch a planted violation. A rule that needs an exception names it beside the rule, with its reason.

mod formats;
mod hygiene;
mod layers;
mod manifests;
mod source;
mod sources;

use std::fmt;

use crate::workspace::{TrackedFile, Workspace};

/// A place that breaks a rule. `line` counts from 1; 0 where the whole file is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    path: String,
    line: usize,
    rule: String,
}

impl Violation {
    fn at(file: &TrackedFile, line: usize, rule: impl Into<String>) -> Self {
        Self { path: file.path.clone(), line, rule: rule.into() }
    }

    fn of(path: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { path: path.into(), line: 0, rule: rule.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.rule),
            line => write!(f, "{}:{line}: {}", self.path, self.rule),
        }
    }
}

/// The step of the gate.
pub(crate) fn check(workspace: &Workspace) -> Result<String, String> {
    let files = workspace.tracked_files()?;
    let metadata = workspace.metadata()?;
    let mut violations = Vec::new();
    violations.extend(sources::violations(&files));
    violations.extend(hygiene::violations(&files));
    violations.extend(manifests::violations(&files));
    violations.extend(formats::violations(&files));
    violations.extend(layers::violations(&metadata)?);
    violations.sort();
    if violations.is_empty() {
        return Ok(format!("{} files", files.len()));
    }
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    Err(format!("{}\n{} violations", lines.join("\n"), lines.len()))
}
