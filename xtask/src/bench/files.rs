//! Files as a measure: how much there is, and how long `cp` and `sha256sum` take over them.
//!
//! Copying and hashing is what nobody who moves a backup gets around; so it is what backup and restore are compared with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::bench::guard;

/// The bytes of all files below a directory, and of the directory itself where it is a file. What disappears meanwhile counts
/// nothing.
pub(crate) fn bytes(path: &Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    entries.filter_map(Result::ok).map(|entry| bytes(&entry.path())).sum()
}

/// Every file below a directory.
///
/// # Errors
/// A directory cannot be listed.
pub(crate) fn below(directory: &Path) -> Result<Vec<PathBuf>, String> {
    let fault = |error: std::io::Error| format!("cannot list {}: {error}", directory.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        if path.is_dir() { files.extend(below(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

/// Copies files into `into`, which it makes, then hashes the copies; returns how long both took together.
///
/// # Errors
/// Either of the two failed.
pub(crate) fn copy_and_hash(files: &[PathBuf], into: &Path) -> Result<Duration, String> {
    std::fs::create_dir_all(into).map_err(|error| format!("cannot make {}: {error}", into.display()))?;
    let list = into.with_extension("list");
    let names: Vec<String> = files.iter().map(|file| format!("{}\0", file.display())).collect();
    std::fs::write(&list, names.concat()).map_err(|error| format!("cannot write {}: {error}", list.display()))?;
    let started = Instant::now();
    guard::capture(
        Command::new("xargs").args(["--null", "--arg-file"]).arg(&list).args(["cp", "--target-directory"]).arg(into),
    )?;
    let hash = format!("find '{}' -type f -print0 | xargs --null sha256sum", into.display());
    guard::capture(Command::new("sh").args(["-c", &hash]))?;
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_measured_copied_and_hashed() {
        let directory = tempfile::tempdir().unwrap();
        let from = directory.path().join("from");
        std::fs::create_dir_all(from.join("deep")).unwrap();
        let files = [from.join("a b"), from.join("deep").join("c")];
        for (file, text) in files.iter().zip(["12345", "123"]) {
            std::fs::write(file, text).unwrap();
        }
        assert_eq!(bytes(&from), 8);
        assert_eq!(below(&from).unwrap().len(), 2);
        let into = directory.path().join("into");
        copy_and_hash(&files, &into).unwrap();
        assert_eq!(bytes(&into), 8);
        assert!(copy_and_hash(&[from.join("missing")], &into).unwrap_err().contains("missing"));
    }
}
