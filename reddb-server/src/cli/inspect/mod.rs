//! `reddb inspect`: what one file is, and what is wrong with it.
//!
//! The kind is found out from the content; for files that say nothing about themselves, from their place (`place`). Where the
//! beginning of a file is damaged, the name decides which damage to report. The file is only read, never trusted: sizes are
//! bounded before anything is allocated.

mod archived;
mod document;
mod local;
mod place;
mod records;
mod render;
#[cfg(test)]
mod segment_tests;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use reddb_file::archive::segment::SEGMENT_MAGIC as ARCHIVED_MAGIC;
use reddb_file::inspect::FileKind as LocalKind;
use serde::Serialize;
use serde_json::Value;

use super::args::InspectArgs;
use super::exit::{CliError, Exit};
use records::RecordSummary;

/// How zstd frames begin.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// As much of a file's beginning as telling its kind may need: both slots of a control file.
const BEGINNING_BYTES: u64 = 8192;

/// What was found. `--json` writes exactly this.
#[derive(Debug, Serialize)]
pub(crate) struct Inspection {
    /// The file.
    pub file: String,
    /// What it is.
    pub kind: Kind,
    /// Whether everything that can be checked in this file alone is as it should be.
    pub ok: bool,
    /// What is damaged, and where.
    pub faults: Vec<String>,
    /// What is worth knowing but no damage.
    pub notices: Vec<String>,
    /// What it says, as far as it can be read.
    pub content: Value,
    /// The first records, where they were asked for.
    pub records: Vec<RecordSummary>,
}

/// The kinds of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// `wal/<timeline>/<lsn>.wal` of a data directory.
    WalSegment,
    /// `control` of a data directory.
    Control,
    /// `identity` of a data directory.
    Identity,
    /// A segment of the archive, compressed.
    ArchivedSegment,
    /// A segment of the archive, decompressed by somebody.
    ArchivedSegmentPlain,
    /// A JSON document of the archive.
    Document,
    /// `wal/spare-<n>` of a data directory.
    SpareSegment,
    /// `engine/current` of a data directory.
    EngineCurrent,
    /// `engine/v<n>` of a data directory.
    EngineManifest,
    /// `engine/tables/<n>` of a data directory.
    EngineTable,
    /// `objects/<2 hex>/<sha256>` of an archive: a file of a snapshot.
    SnapshotObject,
    /// `lock` of a data directory.
    Lock,
    /// `addresses.json` of a data directory.
    Addresses,
}

impl Kind {
    const fn title(self) -> &'static str {
        match self {
            Self::WalSegment => "segment of the local log",
            Self::Control => "control file",
            Self::Identity => "identity of a data directory",
            Self::ArchivedSegment => "archived segment (zstd)",
            Self::ArchivedSegmentPlain => "archived segment (decompressed)",
            Self::Document => "document of an archive",
            Self::SpareSegment => "spare segment of the local log",
            Self::EngineCurrent => "engine: which manifest counts",
            Self::EngineManifest => "engine: manifest of lsm-tree",
            Self::EngineTable => "engine: table of lsm-tree",
            Self::SnapshotObject => "file of a snapshot, by its digest",
            Self::Lock => "lock of a data directory",
            Self::Addresses => "addresses of a running server",
        }
    }
}

/// What a reader of one kind found; [`Inspection`] without the file.
#[derive(Debug, Default)]
struct Finding {
    faults: Vec<String>,
    notices: Vec<String>,
    content: Value,
    records: Vec<RecordSummary>,
}

impl Finding {
    fn fault(fault: impl ToString) -> Self {
        Self { faults: vec![fault.to_string()], ..Self::default() }
    }
}

/// Runs the command.
///
/// # Errors
/// Where the file cannot be read, or is nothing of ours.
pub(crate) fn run(args: &InspectArgs) -> Result<Exit, CliError> {
    let inspection = inspect(&args.file, args.records)?;
    if args.output.json {
        super::output::print_json(&inspection)?;
    } else {
        super::output::print(&render::text(&inspection))?;
    }
    Ok(if inspection.ok { Exit::Ok } else { Exit::Integrity })
}

/// Looks at the file.
///
/// # Errors
/// Where it cannot be read, or is nothing of ours. Damage is no error but described.
pub(crate) fn inspect(path: &Path, records_max: u64) -> Result<Inspection, CliError> {
    let beginning = read_beginning(path)?;
    let kind = place::kind(path).or_else(|| kind_by_content(&beginning)).or_else(|| kind_by_name(path));
    let kind = kind.ok_or_else(|| {
        CliError::usage(format!("{}: neither its content nor its place is one that reddb writes", path.display())).hint(
            "inspect knows the files of a data directory (wal, control, identity, engine, …) and those of an archive; some are \
             only known in their folder",
        )
    })?;
    let finding = match kind {
        Kind::WalSegment => local::segment(path, records_max)?,
        Kind::Control => local::control(path)?,
        Kind::Identity => local::identity(path)?,
        Kind::ArchivedSegment => archived::compressed(path, records_max)?,
        Kind::ArchivedSegmentPlain => archived::plain(path, records_max)?,
        Kind::Document => document::inspect(path, &beginning)?,
        Kind::SpareSegment => place::spare(path)?,
        Kind::EngineCurrent => place::engine_current(path, &beginning),
        Kind::EngineManifest | Kind::EngineTable => place::engine_file(path)?,
        Kind::SnapshotObject => place::object(path)?,
        Kind::Lock => place::lock(path)?,
        Kind::Addresses => place::addresses(path)?,
    };
    let Finding { faults, notices, content, records } = finding;
    Ok(Inspection { file: path.display().to_string(), kind, ok: faults.is_empty(), faults, notices, content, records })
}

fn read_beginning(path: &Path) -> Result<Vec<u8>, CliError> {
    let open = || -> std::io::Result<Vec<u8>> {
        let file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(std::io::ErrorKind::IsADirectory.into());
        }
        let mut beginning = Vec::new();
        file.take(BEGINNING_BYTES).read_to_end(&mut beginning)?;
        Ok(beginning)
    };
    open().map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &impl std::fmt::Display) -> CliError {
    CliError::usage(format!("{}: cannot be read: {error}", path.display()))
}

fn kind_by_content(beginning: &[u8]) -> Option<Kind> {
    match LocalKind::detect(beginning) {
        Some(LocalKind::Segment) => return Some(Kind::WalSegment),
        Some(LocalKind::Control) => return Some(Kind::Control),
        Some(LocalKind::Identity) => return Some(Kind::Identity),
        None => {}
    }
    if beginning.starts_with(&ZSTD_MAGIC) {
        Some(Kind::ArchivedSegment)
    } else if beginning.starts_with(&ARCHIVED_MAGIC) {
        Some(Kind::ArchivedSegmentPlain)
    } else if document::looks_like_one(beginning) {
        Some(Kind::Document)
    } else {
        None
    }
}

/// For files whose beginning is damaged: the name still says what they should be.
fn kind_by_name(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    if name.ends_with(".wal.zst") {
        Some(Kind::ArchivedSegment)
    } else if reddb_file::layout::parse_segment_name(name).is_some() {
        Some(Kind::WalSegment)
    } else if name == "control" {
        Some(Kind::Control)
    } else if name == "identity" {
        Some(Kind::Identity)
    } else if document::format_by_path(path).is_some() {
        Some(Kind::Document)
    } else {
        None
    }
}
