//! The command line: every command and flag, and nothing about what they do.
//!
//! A flag of `serve` may also come from the environment (`REDDB_` and its name in capitals) or from the configuration
//! file; see [`super::settings`]. Flags win over the environment, that over the file, that over the default.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use reddb_backup::history::Base;
use reddb_file::control::TtlMode;
use reddb_file::{Lsn, TimelineId};
use uuid::Uuid;

use super::settings::ServeArgs;
use super::units::{Moment, Size, Span};

/// The `reddb` command line.
#[derive(Debug, Parser)]
#[command(
    name = "reddb",
    version,
    about = "A durable database server that speaks the Redis protocol and can prove that it can be restored",
    after_help = "Exit codes: 0 ok, 1 warning, 2 critical, 3 usage, 4 store or server unreachable, 5 integrity failure, \
                  6 directory or archive held by another, 7 target not reachable.\n\
                  Sizes are binary (64k = 65536 bytes), durations carry their unit (500ms, 1h), moments are RFC 3339 or \
                  Unix milliseconds."
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server
    Serve(Box<ServeArgs>),
    /// Take a snapshot now; returns when it is published in the archive
    Backup(BackupArgs),
    /// Name the newest durable LSN, to restore to it by that name later
    Mark(MarkArgs),
    /// Show what an archive can restore: ranges of LSN and time, snapshots, sizes, holes
    Info(InfoArgs),
    /// Check every digest and every chain link of an archive
    Verify(VerifyArgs),
    /// Restore a moment from an archive into an empty directory
    Restore(RestoreArgs),
    /// Ask a running server whether the pipe works: archive lag, disk, last snapshot
    Check(CheckArgs),
    /// Show what one file is: a segment, the control file, an archive's document
    Inspect(InspectArgs),
    /// Play the whole story in a temporary directory: write, mark, damage, restore, prove
    Demo(DemoArgs),
}

/// Whether a command writes for people or for programs.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct OutputArgs {
    /// Write one JSON document to stdout instead of text
    #[arg(long)]
    pub json: bool,
}

/// How to reach a running server's admin port.
#[derive(Args, Clone, Debug)]
pub(crate) struct AdminArgs {
    /// The server's admin port
    #[arg(long, value_name = "URL", env = "REDDB_ADMIN", default_value = "http://127.0.0.1:6380")]
    pub admin: String,
    /// A file whose first line is the server's password
    #[arg(long, value_name = "FILE", env = "REDDB_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,
}

/// Where an archive is and how to talk to its store.
#[derive(Args, Clone, Debug)]
pub(crate) struct ArchiveArgs {
    /// The archive: file:///path, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix
    #[arg(long, value_name = "URL", env = "REDDB_ARCHIVE")]
    pub archive: String,
    /// How to talk to the store
    #[command(flatten)]
    pub store: StoreArgs,
}

/// How to talk to an archive's store. Credentials come from the environment or a file, never from flags.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct StoreArgs {
    /// The store's endpoint, where it is not the provider's own: an S3-compatible service, an emulator
    #[arg(long, value_name = "URL", env = "REDDB_ARCHIVE_ENDPOINT")]
    pub archive_endpoint: Option<String>,
    /// The region of an S3 store
    #[arg(long, value_name = "NAME", env = "REDDB_ARCHIVE_REGION")]
    pub archive_region: Option<String>,
    /// Name the bucket in the host (bucket.endpoint) instead of the path
    #[arg(long, env = "REDDB_ARCHIVE_VIRTUAL_HOSTED", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub archive_virtual_hosted: Option<bool>,
    /// Allow an endpoint without TLS
    #[arg(long, env = "REDDB_ARCHIVE_ALLOW_HTTP", value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub archive_allow_http: Option<bool>,
    /// An S3 credentials file in the usual INI form
    #[arg(long, value_name = "FILE", env = "REDDB_ARCHIVE_CREDENTIALS_FILE")]
    pub archive_credentials_file: Option<PathBuf>,
}

/// `reddb backup`.
#[derive(Args, Debug)]
pub(crate) struct BackupArgs {
    /// The server
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Why, for people who look at the archive later
    #[arg(long, value_name = "TEXT", default_value = "reddb backup")]
    pub reason: String,
    /// Text or JSON
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `reddb mark`.
#[derive(Args, Debug)]
pub(crate) struct MarkArgs {
    /// The restore point's name: letters, digits, `-`, `_` and `.`
    pub name: String,
    /// The server
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Text or JSON
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `reddb info`.
#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// The archive
    #[command(flatten)]
    pub archive: ArchiveArgs,
    /// Text or JSON
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `reddb verify`.
#[derive(Args, Debug)]
pub(crate) struct VerifyArgs {
    /// The archive
    #[command(flatten)]
    pub archive: ArchiveArgs,
    /// Text or JSON
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `reddb restore`.
#[derive(Args, Debug)]
pub(crate) struct RestoreArgs {
    /// The archive
    #[command(flatten)]
    pub archive: ArchiveArgs,
    /// Where to restore to: a directory that is empty or does not exist
    #[arg(long, value_name = "DIR")]
    pub into: PathBuf,
    /// Which moment
    #[command(flatten)]
    pub target: TargetArgs,
    /// Which timeline, where the moment exists on several
    #[arg(long, value_name = "N", value_parser = parse_timeline)]
    pub timeline: Option<TimelineId>,
    /// Which snapshot to start from, or none: replay the log from LSN 1 on; default: the newest one before the moment, or none
    /// where none is
    #[arg(long, value_name = "ID|none")]
    pub snapshot: Option<Base<Uuid>>,
    /// What the clocks of expiring keys do: continue from the restored moment, or follow the wall clock
    #[arg(long, value_name = "continue|absolute", default_value = "continue")]
    pub ttl: TtlMode,
    /// Print the plan and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Use documents of the archive that carry no digest: nothing proves that they are what was written
    #[arg(long)]
    pub allow_missing_digests: bool,
    /// What caches and buffers may take together; default: a quarter of the machine's
    #[arg(long, value_name = "SIZE", env = "REDDB_MEMORY")]
    pub memory: Option<Size>,
    /// Text or JSON
    #[command(flatten)]
    pub output: OutputArgs,
}

/// The moment to restore; the newest where none is given.
#[derive(Args, Clone, Debug, Default)]
#[group(multiple = false)]
pub(crate) struct TargetArgs {
    /// Up to and with this record
    #[arg(long, value_name = "N", value_parser = parse_lsn)]
    pub to_lsn: Option<Lsn>,
    /// All records at or before this moment: RFC 3339 with its offset, or Unix milliseconds
    #[arg(long, value_name = "T")]
    pub to_time: Option<Moment>,
    /// The restore point of this name
    #[arg(long, value_name = "NAME")]
    pub to_label: Option<String>,
}

/// `reddb check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// The server
    #[command(flatten)]
    pub admin: AdminArgs,
    /// What counts as too late, too little, too old
    #[command(flatten)]
    pub thresholds: ThresholdArgs,
    /// Text or JSON
    #[command(flatten)]
    pub output: OutputArgs,
}

/// From where on `reddb check` warns.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ThresholdArgs {
    /// Warn where the oldest record that is not archived has waited this long
    #[arg(long, value_name = "DURATION", default_value = "1m")]
    pub archive_lag_warning: Span,
    /// Critical where it has waited this long
    #[arg(long, value_name = "DURATION", default_value = "10m")]
    pub archive_lag_critical: Span,
    /// Warn where the data directory's disk has less free than this
    #[arg(long, value_name = "SIZE", default_value = "2gb")]
    pub disk_free_warning: Size,
    /// Critical where it has less free than this
    #[arg(long, value_name = "SIZE", default_value = "512mb")]
    pub disk_free_critical: Size,
    /// Warn where the newest snapshot is older than this
    #[arg(long, value_name = "DURATION", default_value = "48h")]
    pub snapshot_age_warning: Span,
    /// Critical where it is older than this
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    pub snapshot_age_critical: Span,
}

impl Default for ThresholdArgs {
    fn default() -> Self {
        Self {
            archive_lag_warning: Span(Duration::from_mins(1)),
            archive_lag_critical: Span(Duration::from_mins(10)),
            disk_free_warning: Size(2 << 30),
            disk_free_critical: Size(512 << 20),
            snapshot_age_warning: Span(Duration::from_hours(48)),
            snapshot_age_critical: Span(Duration::from_hours(24 * 7)),
        }
    }
}

/// `reddb inspect`.
#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The file; what it is is found out from its content
    pub file: PathBuf,
    /// Also list this many records of a segment
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub records: u64,
    /// Text or JSON
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `reddb demo`.
#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// Leave the temporary directory for you to look at
    #[arg(long)]
    pub keep: bool,
}

fn parse_lsn(text: &str) -> Result<Lsn, String> {
    match text.parse::<u64>() {
        Ok(0) => Err("LSNs begin with 1".into()),
        Ok(lsn) => Ok(Lsn::new(lsn)),
        Err(error) => Err(format!("an LSN is a whole number: {error}")),
    }
}

fn parse_timeline(text: &str) -> Result<TimelineId, String> {
    match text.parse::<u32>() {
        Ok(0) => Err("timelines begin with 1".into()),
        Ok(timeline) => Ok(TimelineId::new(timeline)),
        Err(error) => Err(format!("a timeline is a whole number: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(std::iter::once("reddb").chain(line.split_whitespace())).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_issues_commands_parse() {
        for line in [
            "serve",
            "serve --dir d --listen 0.0.0.0:1 --admin 127.0.0.1:0 --archive s3://b/p --archive-interval 1s --memory 1gb --config f",
            "backup --admin http://h:1 --json",
            "mark nightly --admin http://h:1",
            "info --archive file:///a --json",
            "verify --archive file:///a --json",
            "restore --archive file:///a --into d --to-lsn 5 --timeline 2 --ttl absolute --dry-run --json",
            "restore --archive file:///a --into d --to-time 2026-01-02T03:04:05Z",
            "restore --archive file:///a --into d --to-label nightly --ttl continue",
            "check --admin http://h:1 --json",
            "inspect f --json",
            "demo",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn two_targets_are_refused() {
        for line in ["--to-lsn 1 --to-label a", "--to-time 1767323045000 --to-lsn 1"] {
            let line = format!("restore --archive file:///a --into d {line}");
            assert_eq!(parse(&line).expect_err("two targets").kind(), clap::error::ErrorKind::ArgumentConflict);
        }
    }

    #[test]
    fn impossible_positions_are_refused() {
        for line in
            ["--to-lsn 0", "--to-lsn -1", "--to-lsn 1.0", "--timeline 0", "--timeline 4294967296", "--ttl maybe"]
        {
            assert!(parse(&format!("restore --archive file:///a --into d {line}")).is_err(), "{line}");
        }
        let largest = format!("restore --archive file:///a --into d --to-lsn {}", u64::MAX);
        let Ok(Command::Restore(args)) = parse(&largest) else { panic!("the largest LSN is an LSN") };
        assert_eq!(args.target.to_lsn, Some(Lsn::MAX));
    }

    #[test]
    fn switches_may_be_given_with_a_value() {
        for (line, value) in [("", None), ("--takeover", Some(true)), ("--takeover=false", Some(false))] {
            let Ok(Command::Serve(args)) = parse(&format!("serve {line}")) else { panic!("{line}") };
            assert_eq!(args.takeover, value, "{line}");
        }
    }

    #[test]
    fn thresholds_default_as_documented() {
        let Ok(Command::Check(args)) = parse("check") else { panic!("check takes no arguments") };
        assert_eq!(format!("{:?}", args.thresholds), format!("{:?}", ThresholdArgs::default()));
    }
}
