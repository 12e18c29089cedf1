//! `reddb check`: is the pipe working? Looks at a running server's status and judges it; for monitoring and for people.
//!
//! Judging is a function of the status and the thresholds; asking and printing are around it.

use std::time::Duration;

use serde::Serialize;

use super::args::{CheckArgs, ThresholdArgs};
use super::client::AdminClient;
use super::exit::{CliError, Exit};
use super::output::{print, print_json};
use super::units::{Size, Span};
use crate::admin::document::StatusDocument;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// It wants attention.
    Warning,
    /// It fails.
    Critical,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }

    const fn exit(self) -> Exit {
        match self {
            Self::Ok => Exit::Ok,
            Self::Warning => Exit::Warning,
            Self::Critical => Exit::Critical,
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What: `writes`, `engine`, `archive`, `archive_lag`, `wal`, `disk`, `snapshot`.
    pub check: &'static str,
    /// How it is.
    pub level: Level,
    /// In words.
    pub message: String,
}

/// What `--json` writes.
#[derive(Debug, Serialize)]
struct Report {
    level: Level,
    findings: Vec<Finding>,
    status: StatusDocument,
}

/// Runs the command.
///
/// # Errors
/// Exit code 4 where the server cannot be reached.
pub(crate) async fn run(args: CheckArgs, password: Option<String>) -> Result<Exit, CliError> {
    let client = AdminClient::new(&args.admin, password)?;
    // To whoever watches, a server that does not answer is a pipe that does not work.
    let status: StatusDocument = client.get("/admin/status").await.map_err(CliError::or_critical)?;
    let findings = judge(&status, &args.thresholds);
    let level = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    if args.output.json {
        print_json(&Report { level, findings, status })?;
    } else {
        let lines = findings.iter().map(|finding| format!("{:8} {}\n", finding.level.word(), finding.message));
        print(&lines.collect::<String>())?;
    }
    Ok(level.exit())
}

/// Judges a status.
#[must_use]
pub(crate) fn judge(status: &StatusDocument, thresholds: &ThresholdArgs) -> Vec<Finding> {
    vec![
        writes(status),
        engine(status),
        archive(status),
        archive_lag(status, thresholds),
        wal(status),
        disk(status, thresholds),
        snapshot(status, thresholds),
    ]
}

fn writes(status: &StatusDocument) -> Finding {
    match &status.refusal {
        None => finding(
            "writes",
            Level::Ok,
            format!("writes are taken; the newest durable record is LSN {}", status.durable_lsn),
        ),
        Some(refusal) => {
            finding("writes", Level::Critical, format!("writes are refused ({}): {}", refusal.code, refusal.reason))
        }
    }
}

fn engine(status: &StatusDocument) -> Finding {
    match &status.engine.damage {
        None => finding("engine", Level::Ok, "no read has met damage in the data directory".into()),
        Some(damage) => finding(
            "engine",
            Level::Critical,
            format!(
                "the data directory is damaged ({damage}): keep it, and restore from the archive into a new directory; no new \
                 snapshot is made of damaged files, the log and the snapshots before can be restored"
            ),
        ),
    }
}

fn archive(status: &StatusDocument) -> Finding {
    let archive = &status.archive;
    if archive.online {
        return finding("archive", Level::Ok, format!("the archive at {} answers", archive.url));
    }
    let detail = archive.last_error.as_deref().unwrap_or("no request has succeeded yet");
    let refused = status.refusal.as_ref().is_some_and(|refusal| refusal.code == "fenced");
    let trouble = if refused { "takes nothing from this server" } else { "takes nothing now" };
    finding("archive", Level::Warning, format!("the archive at {} {trouble}: {detail}", archive.url))
}

fn archive_lag(status: &StatusDocument, thresholds: &ThresholdArgs) -> Finding {
    let archive = &status.archive;
    let lag = Duration::from_millis(archive.lag_ms);
    let level = above(lag, thresholds.archive_lag_warning.0, thresholds.archive_lag_critical.0);
    let message = if archive.lag_records == 0 {
        format!("everything is archived, up to LSN {}", status.archived_lsn)
    } else {
        format!("{} records are not archived yet, the oldest for {}", archive.lag_records, Span(lag))
    };
    finding("archive_lag", level, message)
}

fn wal(status: &StatusDocument) -> Finding {
    let wal = &status.wal;
    // Beyond three quarters there is little time left before writes are refused.
    let level = if wal.bytes > wal.bytes_max / 4 * 3 { Level::Warning } else { Level::Ok };
    finding("wal", level, format!("the local log takes {} of at most {}", Size(wal.bytes), Size(wal.bytes_max)))
}

fn disk(status: &StatusDocument, thresholds: &ThresholdArgs) -> Finding {
    let Some(free) = status.disk.free_bytes else {
        return finding("disk", Level::Warning, "the system does not say how much of the disk is free".into());
    };
    let level = if free < thresholds.disk_free_critical.0 {
        Level::Critical
    } else if free < thresholds.disk_free_warning.0 {
        Level::Warning
    } else {
        Level::Ok
    };
    let reserve = Size(status.disk.reserve_bytes);
    finding("disk", level, format!("{} of the disk are free; below {reserve} writes are refused", Size(free)))
}

fn snapshot(status: &StatusDocument, thresholds: &ThresholdArgs) -> Finding {
    let archive = &status.archive;
    let (Some(lsn), Some(made_ms)) = (archive.snapshot_lsn, archive.snapshot_time_ms) else {
        if !archive.online {
            // A server that started without its archive has not seen what is there.
            return finding(
                "snapshot",
                Level::Warning,
                "no snapshot is known while the archive does not answer".into(),
            );
        }
        if archive.snapshot_running {
            let (done, total) = (Size(archive.snapshot_done_bytes), Size(archive.snapshot_total_bytes));
            let message = format!("the first snapshot is being made: {done} of {total}");
            return finding("snapshot", Level::Warning, message);
        }
        // The first snapshot takes a moment; without one a restore takes long, or cannot be made at all.
        let young = Duration::from_millis(status.uptime_ms) < thresholds.archive_lag_warning.0;
        let level = if young { Level::Warning } else { Level::Critical };
        return finding(
            "snapshot",
            level,
            "there is no snapshot yet: only a log that goes back to LSN 1 can be restored, by replaying all of it"
                .into(),
        );
    };
    let age = Duration::from_millis(status.wall_time_ms.saturating_sub(made_ms));
    let mut level = above(age, thresholds.snapshot_age_warning.0, thresholds.snapshot_age_critical.0);
    let mut message = format!("the newest snapshot is {} old (LSN {lsn})", Span(age));
    if !archive.snapshot_last_ok {
        level = level.max(Level::Warning);
        message.push_str("; the last attempt at one failed: ");
        message.push_str(archive.snapshot_last_error.as_deref().unwrap_or("the server does not say why"));
    }
    finding("snapshot", level, message)
}

fn above(value: Duration, warning: Duration, critical: Duration) -> Level {
    if value >= critical {
        Level::Critical
    } else if value >= warning {
        Level::Warning
    } else {
        Level::Ok
    }
}

fn finding(check: &'static str, level: Level, message: String) -> Finding {
    Finding { check, level, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::document::RefusalDocument;
    use crate::admin::document::fixtures::healthy;

    fn levels(status: &StatusDocument) -> Vec<(&'static str, Level)> {
        let findings = judge(status, &ThresholdArgs::default());
        findings.into_iter().filter(|found| found.level != Level::Ok).map(|found| (found.check, found.level)).collect()
    }

    #[test]
    fn a_healthy_server_is_ok_in_everything() {
        assert_eq!(levels(&healthy()), []);
        assert_eq!(judge(&healthy(), &ThresholdArgs::default()).len(), 7);
    }

    type Change = fn(&mut StatusDocument);

    #[test]
    fn each_trouble_is_named_with_its_level() {
        let cases: [(Change, &str, Level); 13] = [
            (
                |s| s.refusal = Some(RefusalDocument { code: "disk_full".into(), reason: "full".into() }),
                "writes",
                Level::Critical,
            ),
            (|s| s.engine.damage = Some("table 7".into()), "engine", Level::Critical),
            (|s| s.archive.online = false, "archive", Level::Warning),
            (|s| (s.archive.lag_records, s.archive.lag_ms) = (5, 60_000), "archive_lag", Level::Warning),
            (|s| (s.archive.lag_records, s.archive.lag_ms) = (5, 600_000), "archive_lag", Level::Critical),
            (|s| s.wal.bytes = s.wal.bytes_max, "wal", Level::Warning),
            (|s| s.disk.free_bytes = None, "disk", Level::Warning),
            (|s| s.disk.free_bytes = Some((2 << 30) - 1), "disk", Level::Warning),
            (|s| s.disk.free_bytes = Some(1), "disk", Level::Critical),
            (|s| s.archive.snapshot_last_ok = false, "snapshot", Level::Warning),
            (|s| s.archive.snapshot_time_ms = Some(s.wall_time_ms - 48 * 3_600_000), "snapshot", Level::Warning),
            (|s| s.archive.snapshot_time_ms = Some(0), "snapshot", Level::Critical),
            (|s| s.archive.snapshot_lsn = None, "snapshot", Level::Critical),
        ];
        for (number, (change, check, level)) in cases.into_iter().enumerate() {
            let mut status = healthy();
            change(&mut status);
            assert_eq!(levels(&status), [(check, level)], "case {number}");
        }
    }

    #[test]
    fn an_archive_that_was_never_reached_is_not_said_to_be_empty() {
        let mut status = healthy();
        (status.archive.online, status.archive.snapshot_lsn, status.archive.snapshot_time_ms) = (false, None, None);
        assert_eq!(levels(&status), [("archive", Level::Warning), ("snapshot", Level::Warning)]);
    }

    #[test]
    fn the_worst_level_decides_the_exit_code() {
        assert!(Level::Ok < Level::Warning && Level::Warning < Level::Critical);
        assert_eq!([Level::Ok, Level::Warning, Level::Critical].map(|level| level.exit().code()), [0, 1, 2]);
    }
}
