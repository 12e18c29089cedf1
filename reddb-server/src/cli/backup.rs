//! `reddb backup` and `reddb mark`: acts of a running server, asked for over its admin port.

use super::args::{BackupArgs, MarkArgs};
use super::client::{AdminClient, Patience};
use super::exit::{CliError, Exit};
use super::output::{print, print_json};
use super::progress;
use super::units::{Moment, Size, Span};
use crate::admin::document::{BackupDocument, BackupRequest, MarkDocument, MarkRequest, StatusDocument};
use reddb_backup::progress::{Phase, ProgressReport};
use std::convert::Infallible;
use std::time::Duration;

/// How often a running server is asked how far its snapshot has come.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// Takes a snapshot; returns when it is published.
///
/// # Errors
/// Exit code 4 where the server or its archive cannot be reached, 5 where its data is damaged, 6 where another backup runs,
/// 2 where it fails.
pub(crate) async fn backup(args: BackupArgs, password: Option<String>) -> Result<Exit, CliError> {
    let client = AdminClient::new(&args.admin, password)?;
    let request = BackupRequest { reason: Some(args.reason) };
    let watching = watch(&client);
    let made: BackupDocument = tokio::select! {
        made = client.post("/admin/backup", &request, Patience::Unlimited) => made?,
        // It never ends: it only shows how far the server has come.
        never = watching => match never {},
    };
    if args.output.json {
        print_json(&made)?;
    } else {
        print(&format!(
            "snapshot {} published\n  LSN       {} on timeline {}\n  files     {} of {}\n  sent      {} (the rest was in the \
             archive already)\n  duration  {}\n",
            made.id,
            made.lsn,
            made.timeline,
            made.file_count,
            Size(made.total_bytes),
            Size(made.sent_bytes),
            Span(Duration::from_millis(made.duration_ms)),
        ))?;
    }
    Ok(Exit::Ok)
}

/// Shows the running snapshot's progress on a terminal, for as long as it is polled.
async fn watch(client: &AdminClient) -> Infallible {
    let Some(watcher) = progress::on_terminal() else { return std::future::pending().await };
    loop {
        tokio::time::sleep(WATCH_INTERVAL).await;
        // A server that does not answer now is the request's own business.
        if let Ok(status) = client.get::<StatusDocument>("/admin/status").await
            && status.archive.snapshot_running
        {
            watcher.report(ProgressReport {
                phase: Phase::Files,
                items_done: 0,
                items_total: 1,
                bytes_done: status.archive.snapshot_done_bytes,
                bytes_total: status.archive.snapshot_total_bytes,
            });
        }
    }
}

/// Names the newest durable LSN.
///
/// # Errors
/// Exit code 3 for an impossible name or one that is taken, 4 where the server or its archive cannot be reached, 2 where it fails.
pub(crate) async fn mark(args: MarkArgs, password: Option<String>) -> Result<Exit, CliError> {
    args.name
        .parse::<reddb_file::archive::PointName>()
        .map_err(|error| CliError::usage(error).hint("names are made of letters, digits, `-`, `_` and `.`"))?;
    let client = AdminClient::new(&args.admin, password)?;
    let made: MarkDocument = client.post("/admin/mark", &MarkRequest { name: args.name }, Patience::Unlimited).await?;
    if args.output.json {
        print_json(&made)?;
    } else {
        print(&format!(
            "{} is LSN {} on timeline {} ({}), chain {}\n",
            made.name,
            made.lsn,
            made.timeline,
            Moment(made.time_ms),
            made.chain,
        ))?;
    }
    Ok(Exit::Ok)
}
