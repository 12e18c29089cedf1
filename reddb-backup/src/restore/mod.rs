//! Restore: from a plan to a directory.
//!
//! Plan, verify what the plan uses, fetch into a staging directory beside the target, replay, compare the chain, make it
//! all durable, rename into place. Invariants:
//! * Nothing at the target is touched before that one rename; after any error, and after the future was dropped, nothing
//!   is there that was not there before, and the staging directory is removed.
//! * A sink is only handed what was proved: files with their size and digest (none for genesis), records of segments that were read to their
//!   end, each continuing the chain of what was applied before it.
//! * Where any document of the history names a chain on the way, or at the end, it is the one that the records give.
//! * Memory is bounded: files and segments stream, records wait in chunks, in memory or in the staging directory.

mod error;
mod files;
mod replay;
pub mod sink;
mod spool;
mod stage;
mod target;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use reddb_file::archive::{MissingDigest, RelativePath, SnapshotManifest, SnapshotRef};
use reddb_file::vfs::{StdVfs, Vfs};
use reddb_file::{ClusterId, TimedMark, TimelineId};
use serde::Serialize;

pub use error::{BaseFault, RestoreError, RestoreErrorKind};
pub use sink::{BaseMark, RestoreSink, RestoredMark, StagedDirectory};

use crate::history::{Base, Snapshot};
use crate::plan::Plan;
use crate::progress::{Meter, Phase, Progress, Silent};
use crate::store::Store;
use replay::{Applied, Replay};
use stage::Staging;

/// Where a restore goes, and what it may rely on.
#[derive(Clone)]
pub struct RestoreOptions {
    /// The directory to make. It must not exist, or be empty. It gets a file `lock` of its own.
    pub into: PathBuf,
    /// Where the snapshot's files belong below it; for genesis an empty directory is made there. Default `engine`.
    pub base_folder: RelativePath,
    /// Whether documents without a digest may be used; the report names them. Default: they may not.
    pub missing_digest: MissingDigest,
    /// The file system. Default: the machine's.
    pub vfs: Arc<dyn Vfs>,
    /// Is told how far it has come. Default: nobody.
    pub progress: Arc<dyn Progress>,
}

impl RestoreOptions {
    /// Restores into `into`, with every default.
    #[must_use]
    pub fn new(into: impl Into<PathBuf>) -> Self {
        Self {
            into: into.into(),
            base_folder: RelativePath::new("engine").expect("it is one plain component"),
            missing_digest: MissingDigest::Refuse,
            vfs: StdVfs::shared(),
            progress: Silent::shared(),
        }
    }
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RestoreReport {
    /// The directory.
    pub into: PathBuf,
    /// The cluster.
    pub cluster: ClusterId,
    /// The timeline whose history was restored.
    pub timeline: TimelineId,
    /// The timeline that owns the last record: what follows forks from it.
    pub forks_from: TimelineId,
    /// The last record: its LSN, the chain after it, its time.
    pub mark: TimedMark,
    /// What it started from. In JSON `snapshot`, which is null for genesis.
    #[serde(rename = "snapshot")]
    pub base: Base<SnapshotRef>,
    /// How many files the snapshot had; 0 for genesis.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// How many records were replayed.
    pub records: u64,
    /// Their encoded bytes.
    pub record_bytes: u64,
    /// How many segments they came from.
    pub segments: u64,
    /// The stored bytes that were fetched.
    pub fetched_bytes: u64,
    /// Documents without a digest that it rests on. Empty unless that was allowed.
    pub unverified: Vec<String>,
    /// What interrupted restores into the same directory had left beside it, and was removed.
    pub removed_staging: Vec<PathBuf>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Says whether [`restore`] could make its directory: every check of the target, and an empty directory that is made beside
/// it and removed at once.
///
/// # Errors
/// What [`restore`] would give.
pub fn check_target(store: &Store, options: &RestoreOptions) -> Result<(), RestoreError> {
    stage::probe(&*options.vfs, store.local_directory(), &options.into)
}

/// Tells the threads that the future was dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Carries a plan out. Gives the sink back with the report.
///
/// The target appears whole or not at all. Dropping the future stops the restore.
///
/// # Errors
/// Any [`RestoreError`], and nothing is at the target.
pub async fn restore<S: RestoreSink>(
    store: &Store,
    plan: Plan,
    options: RestoreOptions,
    sink: S,
) -> Result<(RestoreReport, S), RestoreError> {
    let started = Instant::now();
    let received_before = store.requests().bytes_received;
    if options.missing_digest == MissingDigest::Refuse && !plan.unverified.is_empty() {
        return Err(RestoreError::Unverified { keys: plan.unverified });
    }
    let archive = store.local_directory().map(Path::to_owned);
    let staging = Arc::new(Staging::create(Arc::clone(&options.vfs), archive, &options.into)?);
    let plan = Arc::new(plan);
    let (applied, sink) = match build(store, &plan, &options, &staging, sink).await {
        Ok(built) => built,
        Err(error) => {
            staging.discard();
            return Err(error);
        }
    };
    let report = RestoreReport {
        into: options.into,
        cluster: plan.cluster,
        timeline: plan.timeline,
        forks_from: applied.end.timeline,
        mark: applied.end.mark,
        base: plan.base.as_ref().reference(),
        files: plan.base.snapshot().map_or(0, |snapshot| snapshot.file_count),
        file_bytes: plan.base.snapshot().map_or(0, |snapshot| snapshot.total_bytes),
        records: applied.records,
        record_bytes: applied.record_bytes,
        segments: plan.segments.len() as u64,
        fetched_bytes: store.requests().bytes_received.saturating_sub(received_before),
        unverified: plan.unverified.clone(),
        removed_staging: staging.removed().to_vec(),
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    Ok((report, sink))
}

/// Builds the directory and publishes it.
async fn build<S: RestoreSink>(
    store: &Store,
    plan: &Arc<Plan>,
    options: &RestoreOptions,
    staging: &Arc<Staging>,
    sink: S,
) -> Result<(Applied, S), RestoreError> {
    let base = staging.directory(&options.base_folder);
    match &plan.base {
        Base::Genesis => staging.vfs().create_dir_all(base.base())?,
        Base::Snapshot(snapshot) => {
            let manifest = manifest_of(store, plan, snapshot, options.missing_digest).await?;
            let files = Meter::new(&options.progress, Phase::Files);
            files::place(store, &manifest, staging, base.base(), &files).await?;
        }
    }
    let cancelled = Arc::new(AtomicBool::new(false));
    let guard = CancelOnDrop(Arc::clone(&cancelled));
    let replay = Replay {
        plan: Arc::clone(plan),
        staging: Arc::clone(staging),
        base_folder: options.base_folder.clone(),
        cancelled,
        segments: Meter::new(&options.progress, Phase::Segments),
        sync: Meter::new(&options.progress, Phase::Sync),
    };
    let built = replay::run(store, replay, sink).await;
    drop(guard);
    built
}

/// The manifest of the plan's snapshot, as it was when the plan was made.
async fn manifest_of(
    store: &Store,
    plan: &Plan,
    snapshot: &Snapshot,
    missing: MissingDigest,
) -> Result<SnapshotManifest, RestoreError> {
    let key = snapshot.reference().key();
    let manifest: SnapshotManifest = store.get_document(&key, missing).await?.document;
    if manifest.cluster != plan.cluster || Snapshot::from(&manifest) != *snapshot {
        return Err(RestoreError::ManifestChanged { key: key.to_string() });
    }
    Ok(manifest)
}
