//! The archive's JSON documents.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use reddb_file::archive::sealed::decode;
use reddb_file::archive::{
    Catalogue, ClusterDocument, Document, DocumentError, EpochClaim, EpochHead, EpochStart, MissingDigest,
    RestorePoint, SegmentSidecar, SnapshotManifest, TimelineDocument,
};
use serde_json::{Value, json};

use super::{CliError, Finding, unreadable};
use crate::cli::output::to_json;

/// A kind of document: its format's name, its limit, and how it is read.
struct Format {
    name: &'static str,
    bytes_max: u64,
    read: ReadFn,
}

/// Reads a document: its value, and whether it carries a digest.
type ReadFn = fn(&[u8]) -> Result<(Value, bool), DocumentError>;

const fn format<T: Document>() -> Format {
    Format { name: T::FORMAT, bytes_max: T::BYTES_MAX, read: read::<T> }
}

const FORMATS: [Format; 9] = [
    format::<ClusterDocument>(),
    format::<EpochClaim>(),
    format::<EpochStart>(),
    format::<EpochHead>(),
    format::<TimelineDocument>(),
    format::<SegmentSidecar>(),
    format::<SnapshotManifest>(),
    format::<RestorePoint>(),
    format::<Catalogue>(),
];

/// The document, and whether it carries its digest.
fn read<T: Document>(bytes: &[u8]) -> Result<(Value, bool), DocumentError> {
    let opened = decode::<T>(bytes, MissingDigest::Accept)?;
    let value =
        serde_json::to_value(&opened.document).map_err(|source| DocumentError::Json { format: T::FORMAT, source })?;
    Ok((value, opened.verified.is_some()))
}

pub(super) fn looks_like_one(beginning: &[u8]) -> bool {
    beginning.trim_ascii_start().starts_with(b"{") && named_format(beginning).is_some()
}

/// The format that the beginning names, wherever white space was put.
fn named_format(beginning: &[u8]) -> Option<&'static Format> {
    let text = String::from_utf8_lossy(beginning);
    let after = text.split_once("\"format\"")?.1.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let name = after.split('"').next()?;
    FORMATS.iter().find(|format| format.name == name)
}

/// The format that belongs at this place of an archive.
pub(super) fn format_by_path(path: &Path) -> Option<&'static str> {
    by_path(path).map(|format| format.name)
}

fn by_path(path: &Path) -> Option<&'static Format> {
    let name = path.file_name()?.to_str()?;
    let mut folders = path.parent()?.iter().rev().filter_map(|part| part.to_str());
    let (folder, above) = (folders.next(), folders.next());
    let wanted = match name {
        "cluster.json" => ClusterDocument::FORMAT,
        "manifest.json" => Catalogue::FORMAT,
        _ if name.ends_with(".wal.zst.json") => SegmentSidecar::FORMAT,
        _ if !name.ends_with(".json") => return None,
        _ if folder == Some("epochs") && name.ends_with(".start.json") => EpochStart::FORMAT,
        _ if folder == Some("epochs") && name.ends_with(".head.json") => EpochHead::FORMAT,
        _ if folder == Some("epochs") => EpochClaim::FORMAT,
        _ if folder == Some("timelines") => TimelineDocument::FORMAT,
        _ if folder == Some("points") => RestorePoint::FORMAT,
        _ if above == Some("snapshots") => SnapshotManifest::FORMAT,
        _ => return None,
    };
    FORMATS.iter().find(|format| format.name == wanted)
}

pub(super) fn inspect(path: &Path, beginning: &[u8]) -> Result<Finding, CliError> {
    // The place decides where both speak: a document of another kind does not belong there.
    let Some(format) = by_path(path).or_else(|| named_format(beginning)) else {
        return Err(CliError::usage(format!("{}: a JSON file of no format that reddb writes", path.display())));
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(format.bytes_max + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, &error))?;
    match (format.read)(&bytes) {
        Ok((body, sealed)) => {
            let mut finding = Finding { content: json!({ "format": format.name, "body": body }), ..Finding::default() };
            if !sealed {
                finding.faults.push("it carries no digest: nothing proves that it is what was written".into());
            }
            Ok(finding)
        }
        Err(error) => {
            let mut finding = Finding::fault(error);
            finding.content = unproved(&bytes)?;
            Ok(finding)
        }
    }
}

/// What a damaged document says, where it is JSON still.
fn unproved(bytes: &[u8]) -> Result<Value, CliError> {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => to_json(&value),
        Err(error) => {
            Ok(json!({ "not_json": format!("at line {}, column {}: {error}", error.line(), error.column()) }))
        }
    }
}
