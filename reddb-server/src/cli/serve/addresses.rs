//! `<dir>/addresses.json`: where a running server listens, for scripts and tests that let it choose its ports.
//!
//! `{"data":"127.0.0.1:6379","admin":"127.0.0.1:6380","process":1234}`. Written whole by one rename after both ports are
//! bound, removed when the server stops. One that a killed process left behind is replaced at the next start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::cli::exit::CliError;

const NAME: &str = "addresses.json";

/// The written file.
#[derive(Debug)]
pub(super) struct AddressFile {
    path: PathBuf,
}

impl AddressFile {
    pub(super) fn write(dir: &Path, data: SocketAddr, admin: SocketAddr) -> Result<Self, CliError> {
        let path = dir.join(NAME);
        let failed =
            |error: std::io::Error| CliError::critical(format!("{}: cannot be written: {error}", path.display()));
        let text = json!({ "data": data.to_string(), "admin": admin.to_string(), "process": std::process::id() });
        let temporary = dir.join(format!("{NAME}.new"));
        std::fs::write(&temporary, format!("{text}\n")).map_err(failed)?;
        std::fs::rename(&temporary, &path).map_err(failed)?;
        Ok(Self { path })
    }

    pub(super) fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_both_ports_and_goes_away() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (data, admin) = ("127.0.0.1:1".parse().expect("an address"), "[::1]:2".parse().expect("an address"));
        let file = AddressFile::write(dir.path(), data, admin).expect("written");
        let text = std::fs::read_to_string(dir.path().join(NAME)).expect("there");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&value["data"], &value["admin"]), (&json!("127.0.0.1:1"), &json!("[::1]:2")));
        file.remove();
        assert_eq!(std::fs::read_dir(dir.path()).expect("readable").count(), 0);
    }
}
