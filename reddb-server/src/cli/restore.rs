//! `reddb restore`: plan, say so, carry out, say what was restored.

use std::time::Instant;

use reddb_backup::history::read::{HistoryError, read};
use reddb_backup::history::{Base, History, Snapshot};
use reddb_backup::plan::{Plan, PlanError, Request, Target, UnixMs, plan};
use reddb_backup::restore::{
    BaseFault, RestoreError, RestoreErrorKind, RestoreOptions, RestoreReport, check_target, restore,
};
use reddb_backup::store::{Store, StoreErrorKind};
use reddb_file::Lsn;
use reddb_file::archive::{ArchiveKey, MissingDigest, PointName, SnapshotManifest, SnapshotRef};
use reddb_file::control::TtlMode;
use serde::Serialize;
use uuid::Uuid;

use super::args::{RestoreArgs, TargetArgs};
use super::exit::{CliError, Exit};
use super::serve::signals::Signals;
use super::settings::memory_bytes;
use super::{archive, output, progress};
use crate::restore::EngineSink;

/// What a restore says with `--json`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RestoreOutcome {
    /// What was restored, and from what.
    #[serde(flatten)]
    pub report: RestoreReport,
    /// The digest of the whole logical state, in hex: what `RED.DIGEST` gave at that LSN.
    pub digest: String,
    /// What the clocks of expiring keys will do.
    pub ttl: TtlMode,
}

/// Runs `reddb restore`.
///
/// # Errors
/// Exit code 7 for a target that cannot be reached, 5 for damage on the way, 4 for a store that does not answer, 3 for a
/// directory that cannot be restored into.
pub(crate) async fn run(args: RestoreArgs) -> Result<Exit, CliError> {
    let memory_bytes = memory_bytes(args.memory)?;
    let store = archive::open(&args.archive)?;
    let request = Request { target: target(&args.target)?, timeline: args.timeline, base: args.snapshot };
    let missing = if args.allow_missing_digests { MissingDigest::Accept } else { MissingDigest::Refuse };
    let watcher = progress::watcher();
    let contents = read(&store, missing, &watcher).await.map_err(|error| history_error(&error))?;
    let history = History::conclude(contents);
    let plan = plan(&history, &request).map_err(|error| plan_error(&error, &history))?;
    let earlier = history.bases_before(plan.timeline, plan.base.as_ref().lsn());
    let earlier: Vec<_> = earlier.into_iter().map(OtherBase::from).collect();
    drop((history, watcher));
    if args.dry_run {
        let options = RestoreOptions::new(args.into.clone());
        check_target(&store, &options).map_err(|error| restore_error(&error))?;
        if args.output.json {
            output::print_json(&plan)?;
        } else {
            output::print(&format!("{plan}\nnothing was done (--dry-run)\n"))?;
        }
        return Ok(Exit::Ok);
    }
    if !args.output.json {
        output::print(&format!("{plan}\n"))?;
    }
    let outcome = match carry_out(&store, plan, &args, memory_bytes, missing).await {
        Ok(outcome) => outcome,
        Err(Failure { error, base_fault: None }) => return Err(error),
        Err(Failure { error, base_fault: Some(fault) }) => {
            return Err(match base_without(&store, fault, earlier, missing).await {
                Some(OtherBase { name, lsn, .. }) => error
                    .hint(format!("an earlier base may serve, with more of the log: --snapshot {name} (LSN {lsn})")),
                None => error,
            });
        }
    };
    if args.output.json {
        output::print_json(&outcome)?;
    } else {
        output::print(&text(&outcome))?;
    }
    Ok(Exit::Ok)
}

/// A base that was not planned with.
struct OtherBase {
    /// As `--snapshot` takes it.
    name: Base<Uuid>,
    lsn: Lsn,
    manifest: Option<ArchiveKey>,
}

impl From<Base<&Snapshot>> for OtherBase {
    fn from(base: Base<&Snapshot>) -> Self {
        let reference =
            |snapshot: &Snapshot| SnapshotRef { timeline: snapshot.timeline, lsn: snapshot.lsn, id: snapshot.id };
        Self { name: base.name(), lsn: base.lsn(), manifest: base.snapshot().map(|snapshot| reference(snapshot).key()) }
    }
}

/// The newest of the bases, which are in LSN order, that does without what is damaged. One whose manifest cannot be read is not
/// worth a hint.
async fn base_without(
    store: &Store,
    fault: BaseFault,
    bases: Vec<OtherBase>,
    missing: MissingDigest,
) -> Option<OtherBase> {
    for base in bases.into_iter().rev() {
        let (Some(key), BaseFault::Object(damaged)) = (&base.manifest, fault) else { return Some(base) };
        let Ok(manifest) = store.get_document::<SnapshotManifest>(key, missing).await else { continue };
        if manifest.document.files.iter().all(|file| file.sha256 != damaged) {
            return Some(base);
        }
    }
    None
}

/// Why nothing was restored.
struct Failure {
    error: CliError,
    base_fault: Option<BaseFault>,
}

impl From<CliError> for Failure {
    fn from(error: CliError) -> Self {
        Self { error, base_fault: None }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        Self { error: restore_error(&error), base_fault: error.base_fault() }
    }
}

async fn carry_out(
    store: &Store,
    plan: Plan,
    args: &RestoreArgs,
    memory_bytes: u64,
    missing: MissingDigest,
) -> Result<RestoreOutcome, Failure> {
    let started = Instant::now();
    let target_time_ms = match &plan.request.target {
        Target::Time(time) => Some(time.0),
        Target::Latest | Target::Lsn(_) | Target::Label(_) => None,
    };
    let (sink, restored) = EngineSink::new(memory_bytes, args.ttl, target_time_ms);
    let options = RestoreOptions {
        missing_digest: missing,
        progress: progress::watcher(),
        ..RestoreOptions::new(args.into.clone())
    };
    let mut signals = Signals::listen()?;
    let (mut report, _) = tokio::select! {
        biased;
        restored = restore(store, plan, options, sink) => restored?,
        // Dropping the restore ends it and removes its staging directory.
        () = signals.next() => return Err(CliError::critical(format!(
            "interrupted; where {} does not exist, nothing was restored and nothing is left", args.into.display()
        )).into()),
    };
    report.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let state = restored.get();
    let state = state.ok_or_else(|| CliError::critical("the restore ended without a state: this is a defect"))?;
    let digest = state.digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(RestoreOutcome { report, digest, ttl: args.ttl })
}

fn target(args: &TargetArgs) -> Result<Target, CliError> {
    Ok(match (args.to_lsn, args.to_time, &args.to_label) {
        (Some(lsn), _, _) => Target::Lsn(lsn),
        (_, Some(moment), _) => Target::Time(UnixMs(moment.0)),
        (_, _, Some(label)) => Target::Label(PointName::new(label.clone()).map_err(CliError::usage)?),
        (None, None, None) => Target::Latest,
    })
}

fn text(outcome: &RestoreOutcome) -> String {
    let RestoreOutcome { report, digest, ttl } = outcome;
    let seconds = report.duration_ms / 1000;
    let base = match report.base {
        Base::Genesis => "from LSN 1 on, without a snapshot".to_owned(),
        Base::Snapshot(snapshot) => format!("on a snapshot at LSN {}", snapshot.lsn),
    };
    let clocks = match ttl {
        TtlMode::Continue => "go on from the restored moment",
        TtlMode::Absolute => "follow the wall clock",
    };
    let mut text = format!(
        "\nrestored  {into}\nLSN       {lsn} of timeline {timeline}\ntime      {time}\nchain     {chain}\ndigest    {digest}\n\
         records   {records} replayed ({record_bytes} bytes) {base}\n\
         bytes     {fetched} fetched, {files} files of {file_bytes} bytes\nduration  {seconds}.{millis:03} s\n\
         clocks    of expiring keys {clocks}\n",
        into = report.into.display(),
        lsn = report.mark.lsn,
        timeline = report.forks_from,
        time = UnixMs(report.mark.time_ms),
        chain = report.mark.chain,
        records = report.records,
        record_bytes = report.record_bytes,
        fetched = report.fetched_bytes,
        files = report.files,
        file_bytes = report.file_bytes,
        millis = report.duration_ms % 1000,
    );
    for key in &report.unverified {
        text.push_str(&format!("UNVERIFIED {key} carries no digest: nothing proves that it is what was written\n"));
    }
    for path in &report.removed_staging {
        text.push_str(&format!("removed   {}, which an interrupted restore had left\n", path.display()));
    }
    text.push_str(&format!(
        "next      reddb serve --dir {} --archive … starts a new timeline from here\n",
        report.into.display()
    ));
    text
}

/// Why an archive cannot be read at all.
pub(super) fn history_error(error: &HistoryError) -> CliError {
    let exit = match error {
        HistoryError::Store(error) => store_exit(error.kind()),
        HistoryError::NoArchive { .. } => Exit::Unreachable,
        HistoryError::ClusterMissing { .. } | HistoryError::Cluster { .. } | HistoryError::TooManyObjects { .. } => {
            Exit::Integrity
        }
    };
    CliError::new(exit, error)
}

/// What a store's error means for a reader.
pub(super) const fn store_exit(kind: StoreErrorKind) -> Exit {
    match kind {
        StoreErrorKind::Integrity => Exit::Integrity,
        StoreErrorKind::NotFound
        | StoreErrorKind::Retry
        | StoreErrorKind::Conflict
        | StoreErrorKind::Configuration
        | StoreErrorKind::Local => Exit::Unreachable,
    }
}

fn plan_error(error: &PlanError, history: &History) -> CliError {
    let exit = match error {
        PlanError::BrokenTimeline { .. }
        | PlanError::Undecided { .. }
        | PlanError::DamagedLabel { .. }
        | PlanError::DamagedSnapshot { .. } => Exit::Integrity,
        _ => Exit::TargetNotReachable,
    };
    let cli = CliError::new(exit, error);
    if history.faults().is_empty() {
        cli.hint("`reddb info --archive …` shows what can be restored")
    } else {
        cli.hint("the archive is damaged: `reddb verify --archive …` says where, `reddb info --archive …` what is left")
    }
}

fn restore_error(error: &RestoreError) -> CliError {
    let exit = match error.kind() {
        RestoreErrorKind::Store => Exit::Unreachable,
        RestoreErrorKind::Integrity => Exit::Integrity,
        RestoreErrorKind::Local => match error {
            RestoreError::TargetNotEmpty { .. }
            | RestoreError::TargetIsMountPoint { .. }
            | RestoreError::TargetInArchive { .. }
            | RestoreError::TargetUnusable { .. } => Exit::Usage,
            _ => Exit::Critical,
        },
        RestoreErrorKind::Sink | RestoreErrorKind::Cancelled => Exit::Critical,
    };
    CliError::new(exit, error)
}
