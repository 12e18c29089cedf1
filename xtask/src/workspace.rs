//! Where the workspace is, which files it tracks, and what cargo says about it.
//!
//! Reads only. Invariant: a tracked file that cannot be read is an error; one that is not text is skipped.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process;

/// The root of the repository this task was built from.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

/// A tracked file: its path from the root, with forward slashes, and its text.
#[derive(Debug, Clone)]
pub(crate) struct TrackedFile {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl TrackedFile {
    /// A file that exists only in a test.
    #[cfg(test)]
    pub(crate) fn planted(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The part of the path after the last slash.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

impl Workspace {
    /// Finds the root: the nearest directory upwards that holds `Cargo.lock`, from where cargo says the task runner
    /// lives, or from the current directory where the program was started by hand.
    pub(crate) fn find() -> Result<Self, String> {
        let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
            Some(directory) => PathBuf::from(directory),
            None => std::env::current_dir().map_err(|error| format!("no current directory: {error}"))?,
        };
        start
            .ancestors()
            .find(|directory| directory.join("Cargo.lock").is_file())
            .map(|root| Self { root: root.to_owned() })
            .ok_or_else(|| format!("no Cargo.lock in {} or above it", start.display()))
    }

    /// The root directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where tasks keep what they install and make: inside `target`, so that nothing of it is tracked.
    pub(crate) fn target(&self) -> PathBuf {
        self.root.join("target")
    }

    /// Every tracked text file.
    pub(crate) fn tracked_files(&self) -> Result<Vec<TrackedFile>, String> {
        let mut git = process::command("git", &self.root);
        let listing = process::capture(git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
        let mut files = Vec::new();
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            let full = self.root.join(path);
            if !full.is_file() {
                continue; // removed in the working tree and not yet in the index
            }
            let bytes = std::fs::read(&full).map_err(|error| format!("cannot read {path}: {error}"))?;
            if let Ok(text) = String::from_utf8(bytes) {
                files.push(TrackedFile { path: path.to_owned(), text });
            }
        }
        Ok(files)
    }

    /// What `cargo metadata` says about the workspace and everything it depends on.
    ///
    /// # Errors
    /// Also where `Cargo.lock` is not what the manifests ask for.
    pub(crate) fn metadata(&self) -> Result<Value, String> {
        let text =
            process::capture(process::cargo(&self.root).args(["metadata", "--format-version", "1", "--locked"]))?;
        serde_json::from_str(&text).map_err(|error| format!("cargo metadata printed no JSON: {error}"))
    }
}
