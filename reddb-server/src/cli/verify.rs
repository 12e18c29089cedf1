//! `reddb verify`: every digest, every chain link, coverage.

use std::fmt::Write as _;

use reddb_backup::verify::{VerifyError, VerifyOptions, VerifyReport, verify};

use super::args::VerifyArgs;
use super::exit::{CliError, Exit};
use super::restore::{history_error, store_exit};
use super::{archive, output, progress};

/// Runs `reddb verify`.
///
/// # Errors
/// Where the archive cannot be read; a damaged archive is [`Exit::Integrity`] and no error.
pub(crate) async fn run(args: VerifyArgs) -> Result<Exit, CliError> {
    let store = archive::open(&args.archive)?;
    let options = VerifyOptions { progress: progress::watcher(), ..VerifyOptions::default() };
    let report = verify(&store, &options).await.map_err(|error| match &error {
        VerifyError::History(error) => history_error(error),
        VerifyError::Store(store_error) => CliError::new(store_exit(store_error.kind()), &error),
        VerifyError::Object(_) => CliError::new(Exit::Unreachable, &error),
        VerifyError::Thread { .. } => CliError::critical(&error),
    })?;
    drop(options);
    if args.output.json {
        output::print_json(&report)?;
    } else {
        output::print(&text(&report))?;
    }
    Ok(if report.is_sound() { Exit::Ok } else { Exit::Integrity })
}

fn text(report: &VerifyReport) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _infallible = write_text(&mut text, report);
    text
}

fn write_text(f: &mut String, report: &VerifyReport) -> std::fmt::Result {
    writeln!(f, "cluster   {}", report.cluster)?;
    writeln!(f, "objects   {} ({} bytes)", report.objects.objects, report.objects.bytes)?;
    writeln!(
        f,
        "segments  {} read ({} bytes), {} records, every digest and every chain link",
        report.segments.objects, report.segments.bytes, report.records
    )?;
    writeln!(f, "snapshots {}, {} files read ({} bytes)", report.snapshots, report.files.objects, report.files.bytes)?;
    writeln!(f, "points    {}", report.points)?;
    for timeline in &report.timelines {
        writeln!(f, "timeline  {}: the archive reached LSN {}", timeline.timeline, timeline.end)?;
        for range in &timeline.restorable {
            writeln!(f, "          LSN {} to {} can be restored", range.first.lsn, range.last.lsn)?;
        }
    }
    for notice in &report.notices {
        writeln!(f, "notice    {}: {}", notice.key, notice.detail)?;
    }
    for fault in &report.faults {
        write!(f, "FAULT     {}: {}", fault.key, fault.detail)?;
        if let Some(range) = &fault.affects {
            write!(f, " (timeline {}, LSN {} to {})", range.timeline, range.first_lsn, range.last_lsn)?;
        }
        writeln!(f, "\n          {}", fault.hint)?;
    }
    match report.faults.len() {
        0 => writeln!(f, "sound: everything that the archive says it holds is there and proved"),
        count => writeln!(f, "NOT SOUND: {count} faults"),
    }
}
