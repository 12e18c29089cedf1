//! Where things are in a data directory.
//!
//! ```text
//! <dir>/identity                                            cluster, node, format version
//! <dir>/lock                                                one process
//! <dir>/control                                             marks, timeline, epoch
//! <dir>/wal/<timeline, 10 digits>/<first LSN, 20 digits>.wal    segments of the log
//! <dir>/wal/spare-<n>                                       preallocated segments that have no name yet
//! <dir>/engine/…                                            the engine's own files
//! <dir>/staging/…                                           checkpoints on their way to the archive
//! ```
//! Digits are padded with zeros, so that text order is number order.

use std::path::{Path, PathBuf};

use crate::ids::{Lsn, TimelineId};

/// The end of a segment's name.
pub const SEGMENT_SUFFIX: &str = ".wal";
/// The beginning of a spare segment's name; its number follows in decimal.
pub const SPARE_PREFIX: &str = "spare-";

/// `<dir>/identity`
#[must_use]
pub fn identity_path(dir: &Path) -> PathBuf {
    dir.join("identity")
}

/// `<dir>/lock`
#[must_use]
pub fn lock_path(dir: &Path) -> PathBuf {
    dir.join("lock")
}

/// `<dir>/control`
#[must_use]
pub fn control_path(dir: &Path) -> PathBuf {
    dir.join("control")
}

/// `<dir>/engine`
#[must_use]
pub fn engine_dir(dir: &Path) -> PathBuf {
    dir.join("engine")
}

/// `<dir>/staging`: half-built things, safe to delete at start.
#[must_use]
pub fn staging_dir(dir: &Path) -> PathBuf {
    dir.join("staging")
}

/// `<dir>/wal`
#[must_use]
pub fn wal_dir(dir: &Path) -> PathBuf {
    dir.join("wal")
}

/// `<dir>/wal/<timeline>`
#[must_use]
pub fn timeline_dir(dir: &Path, timeline: TimelineId) -> PathBuf {
    wal_dir(dir).join(format!("{:010}", timeline.get()))
}

/// `<dir>/wal/<timeline>/<first LSN>.wal`
#[must_use]
pub fn segment_path(dir: &Path, timeline: TimelineId, first_lsn: Lsn) -> PathBuf {
    timeline_dir(dir, timeline).join(segment_name(first_lsn))
}

/// `<first LSN>.wal`
#[must_use]
pub(crate) fn segment_name(first_lsn: Lsn) -> String {
    format!("{:020}{SEGMENT_SUFFIX}", first_lsn.get())
}

/// The first LSN that a segment's name says, or `None` where it is not a segment's name.
#[must_use]
pub fn parse_segment_name(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// The number that a spare segment's name says, or `None` where it is not a spare's name.
#[must_use]
pub fn parse_spare_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(SPARE_PREFIX)?;
    let number: u64 = digits.parse().ok()?;
    (number.to_string() == digits).then_some(number)
}
