//! Files that say nothing about themselves: their place in a data directory or an archive says what they are.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::str::FromStr as _;

use reddb_file::archive::Sha256Digest;
use reddb_file::layout::parse_spare_name;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{CliError, Finding, Kind, unreadable};

/// `engine/current` has exactly so many bytes.
const CURRENT_BYTES: usize = 25;
/// A lock file or an address file is never larger.
const SMALL_BYTES_MAX: u64 = 4096;
/// So much of an object is read at once.
const READ_BYTES: usize = 256 * 1024;

/// What the file at `path` is by its place alone.
pub(super) fn kind(path: &Path) -> Option<Kind> {
    // A bare name has its folders too.
    let path = std::path::absolute(path).ok()?;
    let name = path.file_name()?.to_str()?;
    let mut folders = path.parent()?.iter().rev().filter_map(|part| part.to_str());
    let (folder, above) = (folders.next()?, folders.next());
    match (above, folder) {
        (_, "wal") if parse_spare_name(name).is_some() => Some(Kind::SpareSegment),
        (_, "engine") if name == "current" => Some(Kind::EngineCurrent),
        (_, "engine") if name.strip_prefix('v').is_some_and(is_number) => Some(Kind::EngineManifest),
        (Some("engine"), "tables") if is_number(name) => Some(Kind::EngineTable),
        (Some("objects"), two) if name.len() == 64 && name.get(..2) == Some(two) => {
            Sha256Digest::from_str(name).is_ok().then_some(Kind::SnapshotObject)
        }
        _ if name == "lock" => Some(Kind::Lock),
        _ if name == "addresses.json" => Some(Kind::Addresses),
        _ => None,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn spare(path: &Path) -> Result<Finding, CliError> {
    Ok(Finding {
        notices: vec!["it is no part of the log: zeros, or what an earlier use left, to be written over".into()],
        content: size(path)?,
        ..Finding::default()
    })
}

/// A manifest or a table: only its size is known here.
pub(super) fn engine_file(path: &Path) -> Result<Finding, CliError> {
    Ok(Finding {
        notices: vec![
            "only the engine reads its inside; it is checked when the server starts. The same data is in the log and the \
             archive, which can be inspected"
                .into(),
        ],
        content: size(path)?,
        ..Finding::default()
    })
}

/// Layout in `docs/format/engine.md`.
pub(super) fn engine_current(path: &Path, bytes: &[u8]) -> Finding {
    let parts = <&[u8; CURRENT_BYTES]>::try_from(bytes).ok().and_then(|bytes| bytes.split_first_chunk::<8>());
    let Some((number, [checksum @ .., 0])) = parts else {
        return Finding::fault(format!(
            "it has {} bytes; a manifest's number and checksum take {CURRENT_BYTES}, the last of them 0",
            bytes.len()
        ));
    };
    let manifest = format!("v{}", u64::from_le_bytes(*number));
    let checksum: String = checksum.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    let mut finding = Finding { content: json!({ "manifest": manifest, "xxh3_128": checksum }), ..Finding::default() };
    if !path.with_file_name(&manifest).is_file() {
        finding
            .notices
            .push(format!("{manifest} is not beside it: in a data directory the engine could not be opened"));
    }
    finding
}

/// An object is named after its digest, so it can be checked alone.
pub(super) fn object(path: &Path) -> Result<Finding, CliError> {
    let mut file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes: u64 = 0;
    loop {
        let count = file.read(&mut buffer).map_err(|error| unreadable(path, &error))?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        bytes += count as u64;
    }
    let found = Sha256Digest::finish(hash).to_string();
    let mut finding = Finding { content: json!({ "file_bytes": bytes, "sha256": found }), ..Finding::default() };
    if path.file_name().and_then(|name| name.to_str()) != Some(found.as_str()) {
        finding.faults.push("its SHA-256 is not the one in its name: no snapshot that uses it can be restored".into());
    }
    Ok(finding)
}

pub(super) fn lock(path: &Path) -> Result<Finding, CliError> {
    let text = small_text(path)?;
    let notice = "whoever holds the system's lock on it has the directory; the number is only for people".into();
    let mut lines = text.lines();
    match lines.next().unwrap_or("").parse::<u32>() {
        Ok(process) => Ok(Finding {
            notices: vec![notice],
            // Device and inode of the file where a process last claimed an epoch with this directory.
            content: json!({ "process": process, "claimed_as": lines.next() }),
            ..Finding::default()
        }),
        Err(_) => Ok(Finding::fault("it holds no process id; that harms nobody, the next start writes one")),
    }
}

pub(super) fn addresses(path: &Path) -> Result<Finding, CliError> {
    match serde_json::from_str::<Value>(&small_text(path)?) {
        Ok(content) => Ok(Finding {
            notices: vec!["a server that was killed leaves it behind; the next start replaces it".into()],
            content,
            ..Finding::default()
        }),
        Err(error) => Ok(Finding::fault(format!("not JSON: {error}; the next start replaces it"))),
    }
}

fn size(path: &Path) -> Result<Value, CliError> {
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    Ok(json!({ "file_bytes": metadata.len() }))
}

fn small_text(path: &Path) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(SMALL_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| unreadable(path, &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
