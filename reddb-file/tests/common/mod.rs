//! A node without a server: what a process does with a data directory, over a simulated machine, with a model beside it.
//!
//! The model knows every record that was ever tried and which of them were acknowledged. [`Node::check`] compares: every
//! acknowledged record is there, a batch that was not acknowledged is there whole or not at all, and the chain is the model's.

#![allow(dead_code, reason = "each test binary uses its own part of the harness")]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reddb_file::control::{ControlFile, ControlState, Shutdown};
use reddb_file::vfs::sim::{Keep, SimVfs};
use reddb_file::vfs::{OpenMode, Vfs, VfsEntry, VfsFile, VfsMetadata, VfsOp, VfsResult};
use reddb_file::wal::{
    BatchBuilder, PoolOptions, Salt, SaltSource, SegmentPool, WalError, WalReader, WalWriter, recover,
};
use reddb_file::{ClusterId, Epoch, Lsn, RecordKind, TimedMark, TimelineId, durable};

/// Small segments, so that rotation, pruning and recycling happen all the time.
pub(crate) const OPTIONS: PoolOptions = PoolOptions { segment_bytes: 6 * 4096, spares_target: 1, spares_max: 2 };

pub(crate) type Failure = Box<dyn std::error::Error>;

/// SplitMix64, for the tests' own choices.
pub(crate) struct Dice(pub u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn salt(&mut self) -> Salt {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next().to_le_bytes());
        bytes[8..].copy_from_slice(&self.next().to_le_bytes());
        Salt::from_bytes(bytes)
    }
}

pub(crate) fn cluster() -> ClusterId {
    ClusterId::from_bytes(*b"the test cluster")
}

pub(crate) fn first_state() -> ControlState {
    let start = TimedMark::genesis(cluster());
    ControlState {
        timeline: TimelineId::FIRST,
        epoch: Epoch::ZERO,
        durable: start,
        archived: start.mark(),
        checkpoint: start.mark(),
        shutdown: Shutdown::Unclean,
        clock_offset_ms: 0,
        timeline_begin: Lsn::new(1),
        timeline_random_id: [7; 16],
        restored_from: None,
    }
}

/// The disk, the directory and the model; survives crashes.
pub(crate) struct Node {
    pub(crate) sim: SimVfs,
    pub(crate) vfs: Arc<dyn Vfs>,
    pub(crate) dir: PathBuf,
    pub(crate) dice: Dice,
    /// A planted bug: every use of a file has the same salt.
    pub(crate) repeats_salts: bool,
    /// The position after each record that was ever tried, LSN 0 first.
    tried: Vec<TimedMark>,
    /// The last acknowledged record.
    acked: Lsn,
}

/// A running process.
pub(crate) struct Process {
    pub(crate) control: ControlFile,
    pub(crate) pool: Arc<SegmentPool>,
    pub(crate) writer: WalWriter,
    pub(crate) batch: BatchBuilder,
}

impl Node {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_vfs(seed, |vfs| vfs)
    }

    /// A node that sees its machine through a wrapper.
    pub(crate) fn with_vfs(seed: u64, wrap: impl FnOnce(Arc<dyn Vfs>) -> Arc<dyn Vfs>) -> Self {
        let sim = SimVfs::new(seed);
        let vfs = wrap(sim.shared());
        let tried = vec![TimedMark::genesis(cluster())];
        let dice = Dice(seed ^ 0x5eed);
        Self { sim, vfs, dir: "/db".into(), dice, repeats_salts: false, tried, acked: Lsn::ZERO }
    }

    /// Starts a process: creates the directory's files where there are none, recovers, claims the next epoch.
    pub(crate) fn start(&mut self) -> Result<Process, Failure> {
        durable::create_dir_durable(self.vfs.as_ref(), &self.dir)?;
        let mut control = match ControlFile::open(self.vfs.as_ref(), &self.dir, cluster()) {
            Err(reddb_file::control::ControlError::Missing { .. }) => {
                ControlFile::create(self.vfs.as_ref(), &self.dir, cluster(), &first_state())?
            }
            control => control?,
        };
        let pool = SegmentPool::open(Arc::clone(&self.vfs), &self.dir, OPTIONS)?;
        let mut salts = Dice(self.dice.next());
        let constant = self.repeats_salts.then_some(Salt::from_bytes([0; 16]));
        let mut salts: SaltSource = Box::new(move || constant.unwrap_or_else(|| salts.salt()));
        let recovery = recover(&self.vfs, &self.dir, cluster(), control.state(), &pool, salts())?;
        let end = recovery.log.end();
        self.check_end(end)?;
        let mut state = control.state().clone();
        state.shutdown = Shutdown::Unclean;
        state.durable = end;
        state.epoch = state.epoch.next().expect("few epochs");
        control.write(&state)?;
        let writer =
            WalWriter::open(Arc::clone(&self.vfs), &self.dir, Arc::clone(&pool), recovery.log, state.epoch, salts)?;
        Ok(Process { control, pool, batch: BatchBuilder::new(end), writer })
    }

    /// Appends a batch of records with payloads of these sizes; the model remembers whether it was acknowledged.
    pub(crate) fn append(&mut self, process: &mut Process, payload_bytes: &[usize]) -> Result<(), WalError> {
        process.batch.reset(process.writer.last());
        if process.writer.poisoned().is_some() {
            // The batch that poisoned the writer is still the one that may turn up after a crash.
            process.batch.push(u64::MAX, RecordKind::Changes, b"refused").expect("the batch has room");
            return process.writer.append(&mut process.batch);
        }
        self.tried.truncate(index(process.writer.last().lsn) + 1);
        for bytes in payload_bytes {
            let payload = vec![u8::try_from(self.dice.below(256)).expect("below 256"); *bytes];
            let time_ms = process.batch.last().time_ms + self.dice.below(3);
            let mark = process.batch.push(time_ms, RecordKind::Changes, &payload).expect("the batch has room");
            self.tried.push(mark);
        }
        process.writer.append(&mut process.batch)?;
        self.acked = process.writer.last().lsn;
        Ok(())
    }

    /// A random batch: mostly small, sometimes larger than a segment.
    pub(crate) fn append_random(&mut self, process: &mut Process) -> Result<(), WalError> {
        let records = 1 + self.dice.below(4);
        let largest = if self.dice.below(20) == 0 { 30_000 } else { 3_000 };
        let sizes: Vec<usize> =
            (0..records).map(|_| usize::try_from(self.dice.below(largest)).expect("small")).collect();
        self.append(process, &sizes)
    }

    /// Records in the control file that the log is durable, archived and in a checkpoint up to here, then prunes.
    pub(crate) fn prune(&mut self, process: &mut Process) -> Result<(), Failure> {
        let mut state = process.control.state().clone();
        state.durable = process.writer.last();
        state.archived = state.durable.mark();
        state.checkpoint = state.durable.mark();
        process.control.write(&state)?;
        process.writer.prune(state.archived.lsn);
        Ok(())
    }

    /// Ends a process in order.
    pub(crate) fn stop(&mut self, mut process: Process) -> Result<(), Failure> {
        let mut state = process.control.state().clone();
        state.durable = process.writer.last();
        state.shutdown = Shutdown::Clean;
        Ok(process.control.write(&state)?)
    }

    pub(crate) fn crash(&mut self, keep: Keep) {
        self.sim.crash(keep);
    }

    pub(crate) fn acked(&self) -> Lsn {
        self.acked
    }

    /// Starts, reads the whole log and compares it with the model.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        let process = self.start()?;
        self.check_contents(&process)?;
        self.stop(process)
    }

    /// Reads the log through a reader and compares it with the model.
    pub(crate) fn check_contents(&self, process: &Process) -> Result<(), Failure> {
        let end = process.writer.last();
        let Some(first) = process.writer.segments().first().map(|info| info.first_lsn) else {
            return Ok(());
        };
        let mut reader = WalReader::new(Arc::clone(&self.vfs), &self.dir, cluster(), TimelineId::FIRST, first);
        let mut next = first;
        while let Some(batch) = reader.next_batch(end.lsn)? {
            for (record, chain) in batch.records_with_chain() {
                let found = TimedMark { lsn: record.lsn, chain, time_ms: record.time_ms };
                if record.lsn != next || self.tried.get(index(next)) != Some(&found) {
                    return Err(format!("record {next} is not the one that was written: {found:?}").into());
                }
                next = next.next().expect("few records");
            }
        }
        if next.prev() != Some(end.lsn) {
            return Err(format!("the reader stopped before {next}, the log ends with {}", end.lsn).into());
        }
        Ok(())
    }

    /// The recovered end is the acknowledged one, or that of the whole batch after it.
    fn check_end(&mut self, end: TimedMark) -> Result<(), Failure> {
        let tried = self.tried.last().copied().expect("there is always LSN 0");
        if end.lsn != self.acked && end.lsn != tried.lsn {
            let (acked, tried) = (self.acked, tried.lsn);
            return Err(format!("the log ends with {}, acknowledged {acked}, tried {tried}", end.lsn).into());
        }
        if self.tried.get(index(end.lsn)) != Some(&end) {
            return Err(format!("the log's end {end:?} is not what was written").into());
        }
        self.tried.truncate(index(end.lsn) + 1);
        self.acked = end.lsn;
        Ok(())
    }
}

fn index(lsn: Lsn) -> usize {
    usize::try_from(lsn.get()).expect("few records")
}

/// A file system that says yes to some operation and does nothing: a planted bug.
#[derive(Debug)]
pub(crate) struct Careless {
    pub(crate) inner: Arc<dyn Vfs>,
    pub(crate) skipped: &'static [VfsOp],
}

#[derive(Debug)]
struct CarelessFile {
    inner: Arc<dyn VfsFile>,
    skipped: &'static [VfsOp],
}

impl Vfs for Careless {
    fn open(&self, path: &Path, mode: OpenMode) -> VfsResult<Arc<dyn VfsFile>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(CarelessFile { inner, skipped: self.skipped }))
    }
    fn rename(&self, from: &Path, to: &Path) -> VfsResult<()> {
        self.inner.rename(from, to)
    }
    fn link(&self, from: &Path, to: &Path) -> VfsResult<()> {
        self.inner.link(from, to)
    }
    fn remove(&self, path: &Path) -> VfsResult<()> {
        self.inner.remove(path)
    }
    fn remove_dir_all(&self, path: &Path) -> VfsResult<()> {
        self.inner.remove_dir_all(path)
    }
    fn list(&self, path: &Path) -> VfsResult<Vec<VfsEntry>> {
        self.inner.list(path)
    }
    fn create_dir_all(&self, path: &Path) -> VfsResult<()> {
        self.inner.create_dir_all(path)
    }
    fn sync_dir(&self, path: &Path) -> VfsResult<()> {
        if self.skipped.contains(&VfsOp::SyncDir) { Ok(()) } else { self.inner.sync_dir(path) }
    }
    fn metadata(&self, path: &Path) -> VfsResult<Option<VfsMetadata>> {
        self.inner.metadata(path)
    }
}

impl VfsFile for CarelessFile {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> VfsResult<usize> {
        self.inner.read_at(buf, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> VfsResult<()> {
        self.inner.write_at(bytes, offset)
    }
    fn len_bytes(&self) -> VfsResult<u64> {
        self.inner.len_bytes()
    }
    fn set_len(&self, len_bytes: u64) -> VfsResult<()> {
        self.inner.set_len(len_bytes)
    }
    fn sync_data(&self) -> VfsResult<()> {
        if self.skipped.contains(&VfsOp::SyncData) { Ok(()) } else { self.inner.sync_data() }
    }
    fn sync_all(&self) -> VfsResult<()> {
        if self.skipped.contains(&VfsOp::SyncAll) { Ok(()) } else { self.inner.sync_all() }
    }
    fn try_lock(&self) -> VfsResult<bool> {
        self.inner.try_lock()
    }
}

/// An error kind for injected faults.
pub(crate) const BROKEN: io::ErrorKind = io::ErrorKind::Other;
