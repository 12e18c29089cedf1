//! Directories of one run of a task, below a folder that all runs share.
//!
//! Invariants: a directory's name begins with the id of the process that made it; what an interrupted run left behind is
//! removed by the next one.

use std::path::Path;

/// A directory of this process. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    /// Makes `parent`, removes what is left there of processes that are gone, and makes a directory in it.
    ///
    /// # Errors
    /// One of these cannot be done.
    pub(crate) fn make(parent: &Path) -> Result<Self, String> {
        remove_abandoned(parent)?;
        tempfile::Builder::new()
            .prefix(&format!("{}-", std::process::id()))
            .tempdir_in(parent)
            .map(Self)
            .map_err(|error| format!("cannot make a directory in {}: {error}", parent.display()))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Makes `parent`, and removes the directories of runs whose process is gone.
fn remove_abandoned(parent: &Path) -> Result<(), String> {
    let fault = |error: std::io::Error| format!("cannot prepare {}: {error}", parent.display());
    std::fs::create_dir_all(parent).map_err(fault)?;
    for entry in std::fs::read_dir(parent).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.split('-').next()).and_then(|owner| owner.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner.to_string()).exists()) {
            std::fs::remove_dir_all(entry.path()).map_err(fault)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_processes_that_are_gone_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let mine = parent.path().join(format!("{}-x", std::process::id()));
        let gone = parent.path().join(format!("{}-x", u32::MAX));
        std::fs::create_dir(&mine).unwrap();
        std::fs::create_dir(&gone).unwrap();
        let made = Scratch::make(parent.path()).unwrap();
        assert!(mine.exists() && made.path().exists() && !gone.exists());
    }
}
