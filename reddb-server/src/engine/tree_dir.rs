//! The directory of a tree, and whether its files were found to be damaged.
//!
//! Damage is met by whoever reads the block that has it: a client's command, a compaction, a snapshot. What was met first is kept,
//! because the operator, whom it concerns, is usually none of them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::EngineError;
use super::files::io_error;

/// A tree's directory.
#[derive(Debug)]
pub(super) struct TreeDir {
    path: PathBuf,
    damage: OnceLock<String>,
}

impl TreeDir {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), damage: OnceLock::new() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The first damage that was met.
    pub(super) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }

    /// Damage of a table that the crate does not see.
    pub(super) fn corrupt_table(&self, detail: &str) -> EngineError {
        self.corrupt(format!("cannot read a table: {detail}"))
    }

    /// What an error of the crate means.
    pub(super) fn tree_error(&self, action: &'static str, error: lsm_tree::Error) -> EngineError {
        // A file that is missing or too short is damage; everything else that the system says is about the system.
        let is_damage =
            |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData);
        match error {
            lsm_tree::Error::Io(source) if !is_damage(source.kind()) => io_error(&self.path, action, source),
            error => self.corrupt(format!("cannot {action}: {error}")),
        }
    }

    fn corrupt(&self, detail: String) -> EngineError {
        // Said once in the log: every read of a damaged block comes by here.
        self.damage.get_or_init(|| {
            tracing::error!(path = %self.path.display(), %detail, "the engine is damaged");
            detail.clone()
        });
        EngineError::Corrupt { path: self.path.clone(), detail }
    }
}
