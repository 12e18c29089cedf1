//! Appending: a batch is written, then synced once.
//!
//! The writer belongs to one thread. It is poisoned by any failed write, sync or rename: from then on it refuses for ever,
//! because what the disk holds is unknown. Running out of space while a segment is prepared is not such a failure.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::durable::{create_dir_durable, rename_durable};
use crate::ids::{ClusterId, Epoch, Lsn, TimelineId};
use crate::layout::{segment_path, timeline_dir};
use crate::mark::TimedMark;
use crate::vfs::{OpenMode, Vfs, VfsError, VfsFile};

use super::batch::BatchBuilder;
use super::error::WalError;
use super::format::{BLOCK_U64, Salt, SegmentHeader, batch_file_bytes};
use super::pool::{SegmentPool, Taken};
use super::reader::{Place, WalBatch};
use super::recent::{Recent, RecentBatches};
use super::recover::RecoveredLog;
use super::segment::SegmentInfo;

/// Where salts come from: called once for each new segment.
pub type SaltSource = Box<dyn FnMut() -> Salt + Send>;

/// What pruning took off the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PruneSummary {
    /// How many segments.
    pub segments: u32,
    /// Their size in bytes.
    pub bytes: u64,
}

/// The one writer of the log.
pub struct WalWriter {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    cluster: ClusterId,
    timeline: TimelineId,
    pool: Arc<SegmentPool>,
    epoch: Epoch,
    salts: SaltSource,
    closed: Vec<SegmentInfo>,
    active: Option<Active>,
    last: TimedMark,
    recent: Option<Arc<RecentBatches>>,
    poison: Option<WalError>,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Active {
    file: Arc<dyn VfsFile>,
    salt: Salt,
    info: SegmentInfo,
    end_offset: u64,
}

impl Active {
    /// The batch that was just appended, which follows `before`.
    fn recent(&self, timeline: TimelineId, batch: &BatchBuilder, before: TimedMark) -> Recent {
        let last = batch.last();
        let bytes = Bytes::copy_from_slice(batch.records());
        let batch = WalBatch {
            epoch: self.info.epoch,
            first_lsn: before.lsn.next().unwrap_or(Lsn::MAX),
            chain_before: before.chain,
            first_time_ms: batch.first_time_ms(),
            last,
            bytes,
        };
        Recent { timeline, batch, after: Place { segment: self.info.first_lsn, offset: self.end_offset, before: last } }
    }
}

impl fmt::Debug for WalWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WalWriter")
            .field("dir", &self.dir)
            .field("timeline", &self.timeline)
            .field("epoch", &self.epoch)
            .field("last", &self.last)
            .field("active", &self.active)
            .field("poison", &self.poison)
            .finish_non_exhaustive()
    }
}

impl WalWriter {
    /// Takes over the recovered log of the data directory `dir`. Writes nothing: the first append makes the segment that it
    /// needs.
    ///
    /// # Errors
    /// [`WalError::EpochWentBack`] where the log's last segment is of a higher epoch, and `Io`.
    pub fn open(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        pool: Arc<SegmentPool>,
        log: RecoveredLog,
        epoch: Epoch,
        salts: SaltSource,
    ) -> Result<Self, WalError> {
        let RecoveredLog { cluster, timeline, end, mut segments, tail, base: _ } = log;
        let active = match (segments.pop(), tail) {
            (Some(info), Some(tail)) => {
                if epoch < info.epoch {
                    return Err(WalError::EpochWentBack { current: info.epoch, requested: epoch });
                }
                let file = vfs.open(&info.path, OpenMode::WriteDirect)?;
                Some(Active { file, salt: tail.salt, info, end_offset: tail.end_offset })
            }
            _ => None,
        };
        Ok(Self {
            vfs,
            dir: dir.to_owned(),
            cluster,
            timeline,
            pool,
            epoch,
            salts,
            closed: segments,
            active,
            last: end,
            recent: None,
            poison: None,
        })
    }

    /// Leaves what is appended from now on in memory, too, for readers that follow.
    pub fn remember_in(&mut self, recent: Arc<RecentBatches>) {
        self.recent = Some(recent);
    }

    /// Writes and syncs a batch: durable when it returns `Ok`. Starts a new segment where the batch does not fit, or where the
    /// epoch has changed.
    ///
    /// # Errors
    /// [`WalError::NoSpace`] (nothing written, nothing poisoned), `OutOfOrder`, `EmptyBatch`, and `Poisoned` for ever after
    /// anything else that failed.
    pub fn append(&mut self, batch: &mut BatchBuilder) -> Result<(), WalError> {
        if batch.is_empty() {
            return Err(WalError::EmptyBatch);
        }
        if batch.before() != self.last {
            return Err(WalError::OutOfOrder { expected: self.last.lsn, found: batch.before().lsn });
        }
        self.ensure_room(batch.records_bytes())?;
        let last = batch.last();
        let Some(active) = &mut self.active else {
            return Err(WalError::OutOfOrder { expected: self.last.lsn, found: batch.before().lsn });
        };
        let bytes = batch.seal(&active.salt)?;
        let written = active.file.write_at(bytes, active.end_offset).and_then(|()| active.file.sync_data());
        match written {
            Ok(()) => {
                active.end_offset += bytes.len() as u64;
                active.info.last_lsn = last.lsn;
                let before = std::mem::replace(&mut self.last, last);
                if let Some(recent) = &self.recent {
                    recent.push(active.recent(self.timeline, batch, before));
                }
                Ok(())
            }
            Err(cause) => Err(self.poison(cause)),
        }
    }

    /// Makes sure that a batch with so many bytes of records can be appended without taking space: prepares a new segment
    /// where the current one has no room for it.
    ///
    /// # Errors
    /// [`WalError::NoSpace`] (nothing poisoned) and `Poisoned`.
    pub(crate) fn ensure_room(&mut self, records_bytes: u32) -> Result<(), WalError> {
        if let Some(poison) = &self.poison {
            return Err(poison.clone());
        }
        let batch_bytes = batch_file_bytes(records_bytes);
        let fits = self.active.as_ref().is_some_and(|active| {
            active.info.epoch == self.epoch && active.info.file_bytes.saturating_sub(active.end_offset) >= batch_bytes
        });
        if fits { Ok(()) } else { self.start_segment(batch_bytes) }
    }

    /// The epoch of everything that is appended from now on; the next append starts a new segment if it is a new one.
    ///
    /// # Errors
    /// [`WalError::EpochWentBack`].
    pub fn start_epoch(&mut self, epoch: Epoch) -> Result<(), WalError> {
        if epoch < self.epoch {
            return Err(WalError::EpochWentBack { current: self.epoch, requested: epoch });
        }
        self.epoch = epoch;
        Ok(())
    }

    /// The epoch of what is appended.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The timeline of what is appended.
    #[must_use]
    pub fn timeline(&self) -> TimelineId {
        self.timeline
    }

    /// The last durable record: what the next batch continues.
    #[must_use]
    pub fn last(&self) -> TimedMark {
        self.last
    }

    /// Why the writer refuses, if it does: always [`WalError::Poisoned`].
    #[must_use]
    pub fn poisoned(&self) -> Option<&WalError> {
        self.poison.as_ref()
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.closed.iter().chain(self.active.as_ref().map(|active| &active.info)).cloned().collect()
    }

    /// The bytes that the log's segments take on disk, without spares (see [`SegmentPool::bytes`]).
    #[must_use]
    pub fn local_bytes(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |active| active.info.file_bytes);
        self.closed.iter().map(|info| info.file_bytes).sum::<u64>() + active
    }

    /// Takes the segments wholly at or below `up_to` off the log, never the last one. Does no I/O: the pool recycles them in
    /// [`SegmentPool::fill_step`]. The archived and checkpoint marks in the control file must be at or above `up_to` already,
    /// durably: recovery takes a log that begins after either of them for damaged.
    pub fn prune(&mut self, up_to: Lsn) -> PruneSummary {
        let count = self.closed.iter().take_while(|info| info.last_lsn <= up_to).count();
        let mut summary = PruneSummary::default();
        for info in self.closed.drain(..count) {
            summary.segments = summary.segments.saturating_add(1);
            summary.bytes += info.file_bytes;
            self.pool.retire(info.path, info.file_bytes);
        }
        summary
    }

    /// Gives a prepared file its header and, once that is synced, its name.
    fn start_segment(&mut self, batch_bytes: u64) -> Result<(), WalError> {
        let first_lsn = self.last.lsn.next().ok_or(WalError::OutOfOrder { expected: Lsn::MAX, found: Lsn::MAX })?;
        let header = SegmentHeader {
            cluster: self.cluster,
            timeline: self.timeline,
            epoch: self.epoch,
            first_lsn,
            chain_before: self.last.chain,
            time_before_ms: self.last.time_ms,
            salt: (self.salts)(),
        };
        let taken = match self.prepare_file(batch_bytes) {
            Err(WalError::Io(cause)) => return Err(self.poison(cause)),
            result => result?,
        };
        match name_segment(self.vfs.as_ref(), &self.dir, &taken, &header) {
            Ok((file, path)) => {
                let file_bytes = taken.file_bytes;
                let info = SegmentInfo { path, epoch: self.epoch, first_lsn, last_lsn: self.last.lsn, file_bytes };
                let active = Active { file, salt: header.salt, info, end_offset: BLOCK_U64 };
                // An empty segment has just been replaced: the new one begins at the same LSN and so has its name.
                self.closed.extend(self.active.replace(active).map(|old| old.info).filter(|old| !old.is_empty()));
                Ok(())
            }
            Err(NameError::NoSpace(source)) => {
                self.pool.put_back(taken);
                Err(WalError::NoSpace { source })
            }
            Err(NameError::Header(error)) => {
                self.pool.put_back(taken);
                Err(error.into())
            }
            Err(NameError::Io(cause)) => Err(self.poison(cause)),
        }
    }

    fn prepare_file(&self, batch_bytes: u64) -> Result<Taken, WalError> {
        if self.active.is_none() {
            match create_dir_durable(self.vfs.as_ref(), &timeline_dir(&self.dir, self.timeline)) {
                Err(source) if source.is_no_space() => return Err(WalError::NoSpace { source }),
                result => result?,
            }
        }
        self.pool.take(BLOCK_U64 + batch_bytes)
    }

    fn poison(&mut self, cause: VfsError) -> WalError {
        let lsn = self.last.lsn.next().unwrap_or(Lsn::MAX);
        self.poison.insert(WalError::Poisoned { lsn, cause }).clone()
    }
}

/// Why a prepared file did not become a segment.
pub(super) enum NameError {
    /// The directory has no room for the name; nothing has changed.
    NoSpace(VfsError),
    /// The header is impossible; nothing has changed.
    Header(super::format::SegmentHeaderError),
    /// Anything else: whether the segment exists is unknown.
    Io(VfsError),
}

/// Writes and syncs the header of a prepared file, then gives it the name of a segment, durably, replacing what has it.
pub(super) fn name_segment(
    vfs: &dyn Vfs,
    dir: &Path,
    taken: &Taken,
    header: &SegmentHeader,
) -> Result<(Arc<dyn VfsFile>, PathBuf), NameError> {
    let block = header.encode().map_err(NameError::Header)?;
    let path = segment_path(dir, header.timeline, header.first_lsn);
    let file = vfs.open(&taken.path, OpenMode::ReadWrite).map_err(NameError::Io)?;
    file.write_at(&block, 0).map_err(NameError::Io)?;
    file.sync_data().map_err(NameError::Io)?;
    match rename_durable(vfs, &taken.path, &path) {
        // Opened again under its own name, which errors will say.
        Ok(()) => vfs.open(&path, OpenMode::WriteDirect).map(|file| (file, path)).map_err(NameError::Io),
        Err(error) if error.is_no_space() && error.op == crate::vfs::VfsOp::Rename => Err(NameError::NoSpace(error)),
        Err(error) => Err(NameError::Io(error)),
    }
}
