//! Records for people: position, time, kind, and what they change.

use bytes::Bytes;
use reddb_file::{Lsn, Record, RecordKind, TimelineRecord};
use reddb_wire::{Change, ChangeError, changes};
use serde::Serialize;

use super::Finding;

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

/// Reads all records of a file: shows the first ones, and checks that every payload can be read.
#[derive(Debug)]
pub(super) struct RecordsReader {
    shown_max: u64,
    shown: Vec<RecordSummary>,
    first_unreadable: Option<String>,
    unreadable_count: u64,
}

impl RecordsReader {
    /// Shows the first `shown_max` records.
    pub(super) const fn new(shown_max: u64) -> Self {
        Self { shown_max, shown: Vec::new(), first_unreadable: None, unreadable_count: 0 }
    }

    /// Takes encoded records, back to back.
    pub(super) fn take_encoded(&mut self, bytes: &Bytes) {
        let mut rest = bytes.clone();
        while let Ok((record, length)) = Record::decode(&rest) {
            self.take(&record);
            rest = rest.slice(length..);
        }
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, record: &Record) {
        let mut lines = Vec::new();
        let (kind, read) = match record.kind {
            RecordKind::Changes => ("changes", read_changes(&record.payload, &mut lines)),
            RecordKind::Timeline => ("timeline", read_timeline(&record.payload, &mut lines)),
        };
        if let Err(reason) = read {
            let fault = format!("record {}: its payload is {reason}", record.lsn);
            lines.push(reason);
            self.first_unreadable.get_or_insert(fault);
            self.unreadable_count += 1;
        }
        if (self.shown.len() as u64) < self.shown_max {
            let payload_bytes = record.payload.len() as u64;
            let (lsn, time_ms) = (record.lsn, record.time_ms);
            self.shown.push(RecordSummary { lsn, time_ms, kind: kind.into(), payload_bytes, lines });
        }
    }

    /// Puts what was read into `finding`: whoever replays or restores a payload that cannot be read refuses it.
    pub(super) fn finish(self, finding: &mut Finding) {
        finding.records = self.shown;
        finding.faults.extend(self.first_unreadable);
        if self.unreadable_count > 1 {
            finding.faults.push(format!("the payloads of {} more records cannot be read", self.unreadable_count - 1));
        }
    }
}

fn read_timeline(payload: &[u8], lines: &mut Vec<String>) -> Result<(), String> {
    let record = TimelineRecord::decode(payload).map_err(|error| format!("not a timeline record: {error}"))?;
    lines.push(match record.parent {
        None => format!("timeline {} begins", record.id),
        Some(parent) => format!(
            "timeline {} begins after LSN {} of timeline {parent}, clock offset {} ms",
            record.id, record.fork_lsn, record.clock_offset_ms
        ),
    });
    Ok(())
}

fn read_changes(payload: &[u8], lines: &mut Vec<String>) -> Result<(), String> {
    let not_changes = |error: ChangeError| format!("not a list of changes: {error}");
    let mut count: usize = 0;
    for change in changes(payload).map_err(not_changes)? {
        let change = change.map_err(not_changes)?;
        count += 1;
        if count <= CHANGES_SHOWN_MAX {
            lines.push(change_line(&change));
        }
    }
    if count > CHANGES_SHOWN_MAX {
        lines.push(format!("… and {} more changes", count - CHANGES_SHOWN_MAX));
    }
    Ok(())
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
