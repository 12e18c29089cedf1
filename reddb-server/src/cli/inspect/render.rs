//! An inspection as text.

use std::fmt::Write as _;

use serde_json::Value;

use super::Inspection;
use crate::cli::units::{Moment, Size};

/// Lists longer than this are cut in the text; `--json` has all of them.
const ITEMS_SHOWN_MAX: usize = 30;

pub(super) fn text(inspection: &Inspection) -> String {
    let mut out = format!("{}: {}\n", inspection.file, inspection.kind.title());
    value(&mut out, 1, &inspection.content);
    if !inspection.records.is_empty() {
        out.push_str("  records:\n");
    }
    for record in &inspection.records {
        line(&mut out, 2, format_args!("LSN {}  {}  {}", record.lsn, Moment(record.time_ms), record.kind));
        for text in &record.lines {
            line(&mut out, 4, format_args!("{text}"));
        }
    }
    for notice in &inspection.notices {
        line(&mut out, 0, format_args!("note: {notice}"));
    }
    for fault in &inspection.faults {
        line(&mut out, 0, format_args!("FAULT: {fault}"));
    }
    out.push_str(if inspection.ok { "ok\n" } else { "damaged\n" });
    out
}

fn line(out: &mut String, depth: usize, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{:depth$}{text}", "", depth = depth * 2).expect("writing to a String does not fail");
}

fn value(out: &mut String, depth: usize, content: &Value) {
    match content {
        Value::Object(members) => {
            for (name, member) in members {
                named(out, depth, name, member);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().take(ITEMS_SHOWN_MAX).enumerate() {
                named(out, depth, &format!("[{at}]"), item);
            }
            if items.len() > ITEMS_SHOWN_MAX {
                line(out, depth, format_args!("… {} more (see --json)", items.len() - ITEMS_SHOWN_MAX));
            }
        }
        Value::Null => {}
        scalar => line(out, depth, format_args!("{scalar}")),
    }
}

fn named(out: &mut String, depth: usize, name: &str, member: &Value) {
    match member {
        Value::Object(_) | Value::Array(_) => {
            line(out, depth, format_args!("{name}:"));
            value(out, depth + 1, member);
        }
        Value::String(text) => line(out, depth, format_args!("{name}: {text}")),
        Value::Number(number) => line(out, depth, format_args!("{name}: {number}{}", meaning(name, number.as_u64()))),
        other => line(out, depth, format_args!("{name}: {other}")),
    }
}

/// What a number with such a name says to people.
fn meaning(name: &str, number: Option<u64>) -> String {
    match number {
        Some(ms)
            if ms > 0 && (name.ends_with("time_ms") || name.ends_with("created_ms") || name.ends_with("until_ms")) =>
        {
            format!(" ({})", Moment(ms))
        }
        Some(bytes) if bytes >= 1024 && name.ends_with("_bytes") => format!(" ({})", Size(bytes)),
        _ => String::new(),
    }
}
