//! `<dir>/addresses.json`: where a running server listens, for scripts and tests that let it choose its ports.
//!
//! `{"data":"127.0.0.1:6379","admin":"127.0.0.1:6380","process":1234}`. Written whole by one rename after both ports are
//! bound, removed when the server stops. One that a killed process left behind is removed at the next start. On a full disk
//! there may be none: the server serves without it.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::exit::CliError;

const NAME: &str = "addresses.json";

/// The file, if there was room for it.
#[derive(Debug)]
pub(super) struct AddressFile {
    path: Option<PathBuf>,
}

impl AddressFile {
    pub(super) fn write(dir: &Path, data: SocketAddr, admin: SocketAddr) -> Result<Self, CliError> {
        let path = dir.join(NAME);
        let text = json!({ "data": data.to_string(), "admin": admin.to_string(), "process": std::process::id() });
        match replace(dir, &path, &format!("{text}\n")) {
            Ok(()) => Ok(Self { path: Some(path) }),
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                tracing::warn!(%error, path = %path.display(), "cannot be written: the disk is full");
                Ok(Self { path: None })
            }
            Err(error) => Err(CliError::critical(format!("{}: cannot be written: {error}", path.display()))),
        }
    }

    pub(super) fn remove(self) {
        if let Some(path) = self.path
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::warn!(%error, path = %path.display(), "cannot be removed");
        }
    }
}

/// The old file is wrong whatever happens, so it goes first.
fn replace(dir: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let temporary = dir.join(format!("{NAME}.new"));
    let written = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // Half a file is of no use to anybody, and takes space.
        drop(std::fs::remove_file(&temporary));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_both_ports_and_goes_away() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (data, admin) = ("127.0.0.1:1".parse().expect("an address"), "[::1]:2".parse().expect("an address"));
        AddressFile::write(dir.path(), data, admin).expect("written");
        let text = std::fs::read_to_string(dir.path().join(NAME)).expect("there");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&value["data"], &value["admin"]), (&json!("127.0.0.1:1"), &json!("[::1]:2")));
        let again = AddressFile::write(dir.path(), data, admin).expect("written over one that was left behind");
        again.remove();
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}
