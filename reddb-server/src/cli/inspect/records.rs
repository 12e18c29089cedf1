//! Records for people: position, time, kind, and what they change.

use bytes::Bytes;
use reddb_file::{Lsn, Record, RecordKind, TimelineRecord};
use reddb_wire::{Change, changes};
use serde::Serialize;

/// A record's changes are listed up to this many; the rest are counted.
const CHANGES_SHOWN_MAX: usize = 20;
/// Keys, fields and values are shown up to this many bytes.
const TEXT_SHOWN_BYTES_MAX: usize = 64;

/// One record.
#[derive(Debug, Serialize)]
pub(crate) struct RecordSummary {
    /// Its position.
    pub lsn: Lsn,
    /// Its time, in Unix milliseconds.
    pub time_ms: u64,
    /// `changes`, `timeline`, …
    pub kind: String,
    /// Its payload's size.
    pub payload_bytes: u64,
    /// What it says, one line each.
    pub lines: Vec<String>,
}

/// Adds the first `max` of the encoded records to `found`.
pub(super) fn summarise(bytes: &Bytes, max: u64, found: &mut Vec<RecordSummary>) {
    let mut rest = bytes.clone();
    for _ in 0..max {
        let Ok((record, length)) = Record::decode(&rest) else { return };
        found.push(summary(record.lsn, record.time_ms, record.kind, &record.payload));
        rest = rest.slice(length..);
    }
}

pub(super) fn summary(lsn: Lsn, time_ms: u64, kind: RecordKind, payload: &[u8]) -> RecordSummary {
    let (name, lines) = match kind {
        RecordKind::Changes => ("changes", change_lines(payload)),
        RecordKind::Timeline => ("timeline", vec![timeline_line(payload)]),
    };
    RecordSummary { lsn, time_ms, kind: name.into(), payload_bytes: payload.len() as u64, lines }
}

fn timeline_line(payload: &[u8]) -> String {
    match TimelineRecord::decode(payload) {
        Err(error) => format!("not a timeline record: {error}"),
        Ok(record) => match record.parent {
            None => format!("timeline {} begins", record.id),
            Some(parent) => format!(
                "timeline {} begins after LSN {} of timeline {parent}, clock offset {} ms",
                record.id, record.fork_lsn, record.clock_offset_ms
            ),
        },
    }
}

fn change_lines(payload: &[u8]) -> Vec<String> {
    let all = match changes(payload) {
        Ok(all) => all,
        Err(error) => return vec![format!("not a list of changes: {error}")],
    };
    let mut lines = Vec::new();
    let mut count: usize = 0;
    for change in all {
        count += 1;
        match change {
            Ok(change) if count <= CHANGES_SHOWN_MAX => lines.push(change_line(&change)),
            Ok(_) => {}
            Err(error) => {
                lines.push(format!("not a change: {error}"));
                return lines;
            }
        }
    }
    if count > CHANGES_SHOWN_MAX {
        lines.push(format!("… and {} more changes", count - CHANGES_SHOWN_MAX));
    }
    lines
}

fn change_line(change: &Change<'_>) -> String {
    let until = |expires: &Option<u64>| expires.map_or(String::new(), |at| format!(" until {at} ms"));
    match change {
        Change::PutString { key, expires_at_ms, value, .. } => {
            format!("string {} = {}{}", shown(key), shown(value), until(expires_at_ms))
        }
        Change::PutHash { key, expires_at_ms, field_count, .. } => {
            format!("hash {} has {field_count} fields{}", shown(key), until(expires_at_ms))
        }
        Change::SetExpiry { key, expires_at_ms: Some(at), .. } => format!("key {} expires at {at} ms", shown(key)),
        Change::SetExpiry { key, expires_at_ms: None, .. } => format!("key {} never expires", shown(key)),
        Change::DeleteKey { key, .. } => format!("key {} is deleted", shown(key)),
        Change::PutField { object, field, value } => {
            format!("field {} = {} of the hash made at LSN {}", shown(field), shown(value), object.lsn())
        }
        Change::DeleteField { object, field } => {
            format!("field {} of the hash made at LSN {} is deleted", shown(field), object.lsn())
        }
        Change::DropObject { object } => format!("the hash made at LSN {} is dropped", object.lsn()),
        other => format!("{other:?}"),
    }
}

/// Printable, quoted, and cut.
fn shown(bytes: &[u8]) -> String {
    let cut = bytes.get(..TEXT_SHOWN_BYTES_MAX).unwrap_or(bytes);
    let text = cut.escape_ascii();
    if cut.len() == bytes.len() { format!("\"{text}\"") } else { format!("\"{text}\"… ({} bytes)", bytes.len()) }
}
