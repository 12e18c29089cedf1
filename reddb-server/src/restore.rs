//! What a restore is handed to: the engine, and the small files that make a directory of it.
//!
//! The directory that comes out holds no log. Its control file says where it forked off, and the first `serve` begins the
//! new timeline there.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use reddb_backup::history::Base;
use reddb_backup::restore::{BaseMark, RestoreSink, RestoredMark, StagedDirectory};
use reddb_backup::source::SourceError;
use reddb_file::archive::RecordRun;
use reddb_file::control::{ControlFile, ControlState, RestoredFrom, Shutdown, TtlMode};
use reddb_file::identity::Identity;
use reddb_file::vfs::{StdVfs, Vfs};
use reddb_file::{Chain, Epoch, Mark, NodeId, TimedMark, layout};
use uuid::Uuid;

use crate::database::ENGINE_NAME;
use crate::engine::{ENGINE_FORMAT_VERSION, Engine, EngineConfig, LsmEngine};
use crate::keyspace::layout::{decode_timeline, timeline_entry};
use crate::keyspace::{SnapshotState, State, digest};
use crate::replay::Replayer;

/// What a restore proved about the state it made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoredState {
    /// The digest of the whole logical state; the same as `RED.DIGEST` gave at that LSN.
    pub digest: [u8; 32],
}

/// Takes a snapshot of RedDB's engine, or begins with an empty one, and the records after it.
pub struct EngineSink {
    memory_bytes: u64,
    ttl: TtlMode,
    /// The moment that was asked for, in Unix milliseconds; `None` for the last record's.
    target_time_ms: Option<u64>,
    root: PathBuf,
    open: Option<Open>,
    restored: Arc<OnceLock<RestoredState>>,
}

struct Open {
    engine: Arc<dyn Engine>,
    replayer: Replayer,
}

impl EngineSink {
    /// A sink that uses up to `memory_bytes`. `target_time_ms` is the moment that was asked for, if it was a moment: with
    /// [`TtlMode::Continue`] the keys' clocks go on from there.
    ///
    /// The second value tells, after the restore, what was restored.
    #[must_use]
    pub fn new(memory_bytes: u64, ttl: TtlMode, target_time_ms: Option<u64>) -> (Self, Arc<OnceLock<RestoredState>>) {
        let restored = Arc::default();
        let sink = Self {
            memory_bytes,
            ttl,
            target_time_ms,
            root: PathBuf::new(),
            open: None,
            restored: Arc::clone(&restored),
        };
        (sink, restored)
    }
}

impl RestoreSink for EngineSink {
    fn open_base(&mut self, staged: &StagedDirectory, base: &BaseMark) -> Result<(), SourceError> {
        if let Base::Snapshot(made) = &base.base
            && (made.engine.as_str() != ENGINE_NAME || made.engine_format_version != u32::from(ENGINE_FORMAT_VERSION))
        {
            return Err(format!(
                "the snapshot holds files of engine {} in format {}; this program reads {ENGINE_NAME} in format \
                 {ENGINE_FORMAT_VERSION}: use the version of reddb that made it",
                made.engine, made.engine_format_version
            )
            .into());
        }
        let config = EngineConfig { memory_bytes: self.memory_bytes };
        let engine = LsmEngine::open_to_load(staged.base(), config, Chain::genesis(base.cluster))?;
        let applied = engine.applied();
        if (applied.lsn, applied.chain) != (base.mark.lsn, base.mark.chain) {
            return Err(format!(
                "the restore begins at LSN {} with chain {}, the engine's files hold LSN {} with chain {}",
                base.mark.lsn, base.mark.chain, applied.lsn, applied.chain
            )
            .into());
        }
        let engine: Arc<dyn Engine> = Arc::new(engine);
        self.root = staged.root().to_owned();
        self.open = Some(Open { replayer: Replayer::into_tables(Arc::clone(&engine)), engine });
        Ok(())
    }

    fn apply(&mut self, records: &RecordRun) -> Result<(), SourceError> {
        let open = self.open.as_mut().ok_or("records came before the base")?;
        Ok(open.replayer.push_run(records)?)
    }

    fn finish(&mut self, end: &RestoredMark) -> Result<(), SourceError> {
        let Open { engine, replayer } = self.open.take().ok_or("the restore ended before the base")?;
        let applied = replayer.finish()?;
        if (applied.lsn, applied.chain) != (end.mark.lsn, end.mark.chain) {
            return Err(
                format!("the state is at LSN {}, the restore ended at LSN {}", applied.lsn, end.mark.lsn).into()
            );
        }
        let state = SnapshotState::newest(&engine);
        let digest = digest::digest(&state)?;
        let timeline = state.get(&timeline_entry())?.ok_or("the state does not know its timeline")?;
        let timeline = decode_timeline(&timeline)?;
        drop(state);
        if timeline.timeline != end.timeline {
            return Err(format!("the state is on timeline {}, not on {}", timeline.timeline, end.timeline).into());
        }
        engine.close()?;
        drop(engine);
        let control = self.control(end, timeline.clock_offset_ms);
        let vfs: Arc<dyn Vfs> = Arc::new(StdVfs);
        let node = NodeId::from_bytes(*Uuid::new_v4().as_bytes());
        Identity { cluster: end.cluster, node }.create(&*vfs, &self.root)?;
        vfs.create_dir_all(&layout::wal_dir(&self.root))?;
        ControlFile::create(&*vfs, &self.root, end.cluster, &control)?;
        self.restored.set(RestoredState { digest }).map_err(|_| "the restore ended twice")?;
        Ok(())
    }
}

impl EngineSink {
    fn control(&self, end: &RestoredMark, parent_clock_offset_ms: i64) -> ControlState {
        let TimedMark { lsn, chain, time_ms } = end.mark;
        let fork = Mark { lsn, chain };
        ControlState {
            timeline: end.timeline,
            epoch: Epoch::ZERO,
            durable: end.mark,
            archived: fork,
            checkpoint: fork,
            shutdown: Shutdown::Clean,
            clock_offset_ms: parent_clock_offset_ms,
            timeline_begin: lsn.next().unwrap_or(lsn),
            timeline_random_id: *Uuid::new_v4().as_bytes(),
            restored_from: Some(RestoredFrom {
                parent: end.timeline,
                fork,
                target_time_ms: self.target_time_ms.unwrap_or(time_ms),
                ttl: self.ttl,
                parent_clock_offset_ms,
            }),
        }
    }
}
