//! What the archiver sees of the database: its log and its checkpoints.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use reddb_backup::source::{Checkpoint, CheckpointFile, CheckpointSource, Fence, LocalHistory, LogSource, SourceError};
use reddb_file::archive::Text;
use reddb_file::control::{ControlFile, ControlState};
use reddb_file::vfs::Vfs;
use reddb_file::wal::{WalReadError, WalReader};
use reddb_file::{ClusterId, Lsn, Mark, TimedMark, TimelineId};

use crate::commit::Committer;
use crate::engine::{AppliedMark, ENGINE_FORMAT_VERSION, Engine};

/// A record of a small value with its database's counts, in bytes.
const RECORD_BYTES_TYPICAL: u64 = 256;

/// The name of the engine in snapshot manifests.
pub(crate) const ENGINE_NAME: &str = "lsm-tree";
/// Its version, pinned exactly in the workspace's manifest.
pub(crate) const ENGINE_VERSION: &str = "3.1.10";

/// Where the local log is.
#[derive(Clone, Debug)]
pub(super) struct LogPlace {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) dir: PathBuf,
    pub(super) cluster: ClusterId,
    pub(super) timeline: TimelineId,
}

impl LogPlace {
    fn reader(&self, from: Lsn) -> WalReader {
        WalReader::new(Arc::clone(&self.vfs), &self.dir, self.cluster, self.timeline, from)
    }
}

/// The log of a running database.
pub(super) struct Log {
    place: LogPlace,
    pub(super) committer: Arc<Committer>,
    pub(super) control: Arc<Mutex<ControlFile>>,
    /// The reader stays where the last shipment ended, so that the next one does not look for its place.
    reader: Mutex<Option<WalReader>>,
}

impl Log {
    pub(super) fn new(place: LogPlace, committer: Arc<Committer>, control: Arc<Mutex<ControlFile>>) -> Self {
        Self { place, committer, control, reader: Mutex::new(None) }
    }

    /// Where the log is, on the timeline that it is on now.
    pub(super) fn place(&self) -> LogPlace {
        LogPlace { timeline: self.committer.published().timeline(), ..self.place.clone() }
    }
}

impl LogSource for Log {
    fn durable(&self) -> TimedMark {
        self.committer.published().durable()
    }

    fn fence(&self) -> Result<Fence, SourceError> {
        let fence = self.committer.fence().blocking_recv().map_err(|_| "the committer has stopped")?;
        Ok(Fence { mark: fence.durable, complete_until_ms: fence.complete_until_ms })
    }

    fn read(&self, from: Lsn, to: Lsn, bytes_max: u64) -> Result<Bytes, SourceError> {
        let mut slot = self.reader.lock();
        let mut reader = slot
            .take()
            .filter(|reader| reader.next_lsn() == from)
            .unwrap_or_else(|| self.place().reader(from).following(self.committer.published().recent()));
        // As much as records with small values take, so that the buffer seldom grows.
        let records = to.get().saturating_sub(from.get()).saturating_add(1);
        let expected_bytes = records.saturating_mul(RECORD_BYTES_TYPICAL).min(bytes_max);
        let mut run = BytesMut::with_capacity(usize::try_from(expected_bytes).unwrap_or(0));
        while let Some(batch) = reader.next_batch(to)? {
            let mut cut_at = None;
            for record in batch.records() {
                if !run.is_empty() && (run.len() + record.bytes.len()) as u64 > bytes_max {
                    cut_at = Some(record.lsn);
                    break;
                }
                run.extend_from_slice(record.bytes);
            }
            if let Some(lsn) = cut_at {
                reader.give_back(batch, lsn);
                break;
            }
        }
        if run.is_empty() {
            return Err(format!("the local log has no record {from}, although it is durable").into());
        }
        *slot = Some(reader);
        Ok(run.freeze())
    }

    fn archived(&self, mark: TimedMark) -> Result<(), SourceError> {
        let mut control = self.control.lock();
        let mut state = control.state().clone();
        if mark.lsn <= state.archived.lsn {
            return Ok(());
        }
        if mark.lsn > state.durable.lsn {
            state.durable = mark;
        }
        state.archived = mark.mark();
        control.write(&state)?;
        Ok(())
    }
}

/// What the local log knows of its past.
pub(super) struct Past {
    place: LogPlace,
    /// Where the log ends, and marks that the control file and the engine vouch for.
    known: Vec<TimedMark>,
    /// How far the log may be read.
    end: TimedMark,
    archived: Mark,
}

impl Past {
    pub(super) fn new(place: LogPlace, end: TimedMark, control: &ControlState, flushed: AppliedMark) -> Self {
        let flushed = TimedMark { lsn: flushed.lsn, chain: flushed.chain, time_ms: flushed.time_ms };
        let known = vec![end, control.durable, flushed, TimedMark::genesis(place.cluster)];
        Self { place, known, end, archived: control.archived }
    }
}

impl LocalHistory for Past {
    fn mark_at(&self, lsn: Lsn) -> Result<Option<TimedMark>, SourceError> {
        if let Some(mark) = self.known.iter().find(|mark| mark.lsn == lsn) {
            return Ok(Some(*mark));
        }
        match self.place.reader(lsn).next_batch(self.end.lsn) {
            Ok(Some(batch)) => {
                let found = batch.records_with_chain().find(|(record, _)| record.lsn == lsn);
                Ok(found.map(|(record, chain)| TimedMark { lsn, chain, time_ms: record.time_ms }))
            }
            // The archived mark has no time of its own; the record after it, if it is there, bounds it.
            Ok(None) | Err(WalReadError::Pruned { .. }) if lsn == self.archived.lsn => {
                let next =
                    lsn.next().map(|next| self.place.reader(next).next_batch(self.end.lsn)).transpose()?.flatten();
                Ok(next.map(|batch| self.archived.at_time(batch.first_time_ms)))
            }
            Ok(None) | Err(WalReadError::Pruned { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The engine, as a maker of checkpoints.
pub(super) struct Checkpoints {
    pub(super) engine: Arc<dyn Engine>,
}

impl CheckpointSource for Checkpoints {
    fn checkpoint(&self, into: &Path) -> Result<Checkpoint, SourceError> {
        let made = self.engine.checkpoint(into)?;
        let files = made.files.iter().map(|file| {
            let path = file.path.to_str().ok_or("a checkpoint file's name is not text")?;
            Ok(CheckpointFile { path: path.parse()?, written_xxh3: Some(file.written_xxh3) })
        });
        Ok(Checkpoint {
            mark: TimedMark { lsn: made.mark.lsn, chain: made.mark.chain, time_ms: made.mark.time_ms },
            files: files.collect::<Result<_, SourceError>>()?,
            engine: Text::new(ENGINE_NAME)?,
            engine_version: Text::new(ENGINE_VERSION)?,
            engine_format_version: u32::from(ENGINE_FORMAT_VERSION),
        })
    }
}
