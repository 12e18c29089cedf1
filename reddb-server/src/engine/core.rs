//! The state that an engine's callers and its background share.
//!
//! Who may do what:
//! * The writer lock guards the active memtable and the mark of the last record in it. Sealing happens under it, so always
//!   between two records, and always after the record's mark was put in.
//! * The flush lock (of the tree) makes flushes and checkpoints take turns. Order: flush lock, then writer lock.
//! * `applied` is published after a record's writes are in the tree and in the cache of hot values.
//!
//! Memory is bounded because a full memtable is sealed only while few wait to be flushed and level 0 has few runs
//! ([`Writer::may_seal`]); the thread that applies waits for that. It does not wait for space on the disk, see [`super::space`]:
//! what comes in until the write gate has closed is held in memory.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex, MutexGuard};
use reddb_file::{Chain, Lsn};

use super::background::Signals;
use super::config::{Budget, L0_RUNS_MAX};
use super::files::prepare_empty_directory;
use super::hot::HotCache;
use super::lsm::{CompactionStep, FlushGuard, LsmTree};
use super::mark::{self, MARK_KEY, MarkError};
use super::recent::Recent;
use super::scan::TableScan;
use super::snapshots::{Registration, Snapshots};
use super::space::{Need, Space, WithoutSpace};
use super::writer::Writer;
use super::writes::{check_key, check_writes, memtable_bytes};
use super::{
    AppliedMark, Checkpoint, ENGINE_LSN_MAX, EngineError, EngineFault, EngineIter, EngineScan, EngineStats,
    EngineWrite, KeyRange, RangeDeletion, ranges, seqno,
};

/// How long a waiting writer sleeps before it looks again, in case a wake-up came from elsewhere.
const ROOM_POLL: Duration = Duration::from_millis(100);

/// Told once, when the background fails.
pub(crate) type FaultHook = Box<dyn Fn(&EngineFault) + Send + Sync>;

/// The shared state.
pub(super) struct Core {
    tree: LsmTree,
    budget: Budget,
    snapshots: Arc<Snapshots>,
    hot: HotCache,
    recent: Arc<Recent>,
    writer: Mutex<Writer>,
    /// Notified when a flush or a compaction may have made room, and on a fault.
    room: Condvar,
    applied: Mutex<AppliedMark>,
    applied_lsn: AtomicU64,
    flushed: Mutex<AppliedMark>,
    signals: Signals,
    fault: OnceLock<EngineFault>,
    /// After a panic the tree's locks may be poisoned.
    reads_refused: AtomicBool,
    on_fault: FaultHook,
    space: Space,
    flushes: AtomicU64,
    compactions: AtomicU64,
    stall_ns: AtomicU64,
}

impl Core {
    /// Opens the tree and finds the record it ends at; `origin` is the chain before the first record.
    pub(super) fn open(
        dir: &Path,
        budget: Budget,
        origin: Chain,
        signals: Signals,
        on_fault: FaultHook,
        space: Space,
    ) -> Result<Self, EngineError> {
        let tree = LsmTree::open(dir, &budget)?;
        let mark = match tree.get(MARK_KEY, seqno::read_below(ENGINE_LSN_MAX))? {
            Some(value) => mark::decode(&value).map_err(|error| match error {
                MarkError::Format { got } => EngineError::OtherFormat { path: dir.to_owned(), found: got },
                error => EngineError::Corrupt { path: dir.to_owned(), detail: error.to_string() },
            })?,
            None if tree.has_no_tables() => AppliedMark { lsn: Lsn::ZERO, chain: origin, time_ms: 0 },
            None => {
                return Err(EngineError::Corrupt {
                    path: dir.to_owned(),
                    detail: "the tree has tables but no applied mark".to_owned(),
                });
            }
        };
        if !seqno::is_possible(mark.lsn) || tree.highest_in_tables() >= Some(seqno::counter_floor(mark.lsn)) {
            return Err(EngineError::Corrupt {
                path: dir.to_owned(),
                detail: format!("the tree holds versions beyond its applied mark, LSN {}", mark.lsn),
            });
        }
        tree.raise_counter(seqno::counter_floor(mark.lsn));
        let recent = Arc::new(Recent::new(budget.memtable_bytes, mark.lsn));
        Ok(Self {
            snapshots: Snapshots::new(mark.lsn),
            hot: HotCache::new(budget.hot_bytes, mark.lsn),
            writer: Mutex::new(Writer::new(&tree, mark, Arc::clone(&recent))),
            recent,
            room: Condvar::new(),
            applied: Mutex::new(mark),
            applied_lsn: AtomicU64::new(mark.lsn.get()),
            flushed: Mutex::new(mark),
            signals,
            fault: OnceLock::new(),
            reads_refused: AtomicBool::new(false),
            on_fault,
            space,
            flushes: AtomicU64::new(0),
            compactions: AtomicU64::new(0),
            stall_ns: AtomicU64::new(0),
            tree,
            budget,
        })
    }

    // ---- reading ----

    pub(super) fn applied_lsn(&self) -> Lsn {
        Lsn::new(self.applied_lsn.load(Ordering::Acquire))
    }

    pub(super) fn applied(&self) -> AppliedMark {
        *self.applied.lock()
    }

    pub(super) fn flushed(&self) -> AppliedMark {
        *self.flushed.lock()
    }

    /// Registers a reader at the newest applied LSN.
    pub(super) fn register_newest(&self) -> Registration {
        loop {
            // Fails only where the floor was raised in between, which takes a newer applied LSN.
            if let Ok(registration) = self.snapshots.register(self.applied_lsn()) {
                return registration;
            }
        }
    }

    pub(super) fn register(&self, at: Lsn) -> Result<Registration, EngineError> {
        self.check_applied(at)?;
        self.snapshots.register(at).map_err(|below| EngineError::SnapshotGone { at, oldest: below.floor })
    }

    fn check_applied(&self, at: Lsn) -> Result<(), EngineError> {
        let applied = self.applied_lsn();
        if at > applied { Err(EngineError::NotApplied { at, applied }) } else { Ok(()) }
    }

    fn check_readable(&self) -> Result<(), EngineError> {
        match self.fault.get() {
            Some(fault) if self.reads_refused.load(Ordering::Acquire) => Err(EngineError::Faulted(fault.clone())),
            _ => Ok(()),
        }
    }

    pub(super) fn get(&self, key: &[u8], at: Lsn) -> Result<Option<Bytes>, EngineError> {
        check_key(key)?;
        self.check_applied(at)?;
        if let Some(value) = self.hot.find(key, at) {
            return Ok(value);
        }
        let _registration = self.register(at)?;
        self.get_cold(key, at)
    }

    /// As [`Core::get`], at the LSN of a reader that is registered already.
    pub(super) fn get_registered(&self, key: &[u8], reader: &Registration) -> Result<Option<Bytes>, EngineError> {
        if !reader.is_in(&self.snapshots) {
            // Another engine's reader keeps nothing here.
            return self.get(key, reader.lsn());
        }
        check_key(key)?;
        match self.hot.find(key, reader.lsn()) {
            Some(value) => Ok(value),
            None => self.get_cold(key, reader.lsn()),
        }
    }

    /// What is not in the cache, at the LSN of a registered reader.
    fn get_cold(&self, key: &[u8], at: Lsn) -> Result<Option<Bytes>, EngineError> {
        self.check_readable()?;
        let seqno = seqno::read_below(at);
        let hash = LsmTree::hash(key);
        let in_tables = if self.recent.may_hold(hash) {
            None
        } else {
            self.tree.get_from_tables(key, hash, seqno, || self.recent.sealed_lsn() <= at)?
        };
        let value = match in_tables {
            Some(value) => value,
            None => self.tree.get(key, seqno)?,
        };
        if let Some(value) = &value {
            self.hot.fill(key, at, value);
        }
        Ok(value)
    }

    pub(super) fn range(&self, range: KeyRange<'_>, at: Lsn) -> Result<EngineIter, EngineError> {
        self.check_readable()?;
        // The iterator owns the state it reads, so the registration need not outlive its making.
        let _registration = self.register(at)?;
        Ok(match ranges::clip(range) {
            Some(range) => EngineIter::new(self.tree.range(range, seqno::read_below(at))),
            None => EngineIter::new(std::iter::empty()),
        })
    }

    pub(super) fn scan(&self, range: KeyRange<'_>, at: Lsn) -> Result<EngineScan, EngineError> {
        self.check_readable()?;
        self.check_applied(at)?;
        let newest = {
            let writer = self.writer.lock();
            (writer.mark().lsn == at && writer.is_in_tables()).then(|| self.tree.newest_runs())
        };
        match (newest, ranges::clip(range)) {
            (Some(runs), Some(range)) => Ok(EngineScan::of_tables(TableScan::new(self.tree.dir(), runs, range)?)),
            _ => Ok(EngineScan::of_iter(self.range(range, at)?)),
        }
    }

    // ---- writing ----

    pub(super) fn apply(&self, mark: AppliedMark, writes: &[EngineWrite]) -> Result<(), EngineError> {
        self.take(mark, writes, WithoutSpace::GoOn, |_| true)
    }

    pub(super) fn load(&self, mark: AppliedMark, writes: &[EngineWrite]) -> Result<(), EngineError> {
        self.take(mark, writes, WithoutSpace::GiveUp, |hot| !hot.is_idle())
    }

    /// `publishes` says, after the keys are stamped, whether the cache is told.
    fn take(
        &self,
        mark: AppliedMark,
        writes: &[EngineWrite],
        without_space: WithoutSpace,
        publishes: impl FnOnce(&HotCache) -> bool,
    ) -> Result<(), EngineError> {
        check_writes(writes)?;
        let mut writer = self.writer.lock();
        self.check_mark(&writer, mark)?;
        self.make_room(&mut writer, without_space)?;
        self.hot.begin(mark.lsn, writes.iter().map(|write| write.key().as_ref()));
        let publish = publishes(&self.hot).then_some(&self.hot);
        let bytes = writer.insert(&self.tree, publish, mark, writes);
        // In this order, so that an LSN that `applied` names can be read.
        self.applied_lsn.store(mark.lsn.get(), Ordering::Release);
        *self.applied.lock() = mark;
        self.seal_if_full(&mut writer);
        self.slow_down(&mut writer, bytes);
        Ok(())
    }

    pub(super) fn run_bytes_max(&self) -> u64 {
        self.budget.memtable_bytes
    }

    pub(super) fn load_run(&self, mark: AppliedMark, writes: &[EngineWrite]) -> Result<(), EngineError> {
        check_writes(writes)?;
        assert!(
            writes.is_sorted_by(|one, other| one.key() < other.key()),
            "a run is sorted, and each key is once in it"
        );
        self.make_room_for_run()?;
        self.in_foreground(|| {
            let guard = self.tree.lock_flush();
            {
                let mut writer = self.writer.lock();
                self.check_mark(&writer, mark)?;
                writer.seal(&self.tree);
            }
            // What is in memtables is older, so it goes to tables first.
            self.flush_sealed(&guard)?;
            self.write_run(&guard, mark, writes)
        })
    }

    fn write_run(&self, guard: &FlushGuard<'_>, mark: AppliedMark, writes: &[EngineWrite]) -> Result<(), EngineError> {
        self.check_sequence()?;
        self.space.check(self.tree.dir().path(), writes.iter().map(memtable_bytes).sum())?;
        self.hot.begin(mark.lsn, writes.iter().map(|write| write.key().as_ref()));
        // Both before the tables can be seen.
        self.tree.raise_counter(seqno::counter_floor(mark.lsn));
        self.recent.raise_sealed_lsn(mark.lsn);
        let mark_write =
            EngineWrite::Put { key: Bytes::from_static(MARK_KEY), value: Bytes::copy_from_slice(&mark::encode(&mark)) };
        // No key comes after the engine's own.
        let run = writes.iter().chain([&mark_write]);
        let written = self.tree.add_run(guard, run, seqno::of_writes(mark.lsn), self.watermark());
        written.map_err(|error| self.fail_unless_space(error))?;
        if !self.hot.is_idle() {
            writes.iter().for_each(|write| self.hot.publish(mark.lsn, write));
        }
        let l0_runs = self.tree.l0_runs();
        self.writer.lock().skip_to(mark, l0_runs);
        self.applied_lsn.store(mark.lsn.get(), Ordering::Release);
        *self.applied.lock() = mark;
        *self.flushed.lock() = mark;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.signals.compact();
        self.forget_states()
    }

    /// Waits until level 0 may have one more run.
    fn make_room_for_run(&self) -> Result<(), EngineError> {
        let started = Instant::now();
        let mut writer = self.writer.lock();
        while writer.l0_runs >= L0_RUNS_MAX {
            self.check_writable(&writer)?;
            if self.space.lacks_bytes(writer.l0_runs) > 0 {
                return Err(self.space.refusal(self.tree.dir().path(), writer.l0_runs));
            }
            self.room.wait_for(&mut writer, ROOM_POLL);
        }
        drop(writer);
        self.add_stall(started.elapsed());
        Ok(())
    }

    fn check_mark(&self, writer: &Writer, mark: AppliedMark) -> Result<(), EngineError> {
        self.check_writable(writer)?;
        if !seqno::is_possible(mark.lsn) {
            return Err(EngineError::LsnTooHigh { lsn: mark.lsn, max: ENGINE_LSN_MAX });
        }
        if mark.lsn <= writer.mark().lsn {
            return Err(EngineError::OutOfOrder { lsn: mark.lsn, applied: writer.mark().lsn });
        }
        Ok(())
    }

    fn check_writable(&self, writer: &Writer) -> Result<(), EngineError> {
        match self.fault.get() {
            Some(fault) => Err(EngineError::Faulted(fault.clone())),
            None if writer.closed => Err(EngineError::Closed),
            None => Ok(()),
        }
    }

    /// Holds the writer up, after its writes are applied, where compaction is behind. Others may seal meanwhile.
    fn slow_down(&self, writer: &mut MutexGuard<'_, Writer>, bytes: u64) {
        let l0_runs = writer.l0_runs;
        if let Some(wait) = writer.throttle.write(bytes, l0_runs) {
            MutexGuard::unlocked(writer, || std::thread::sleep(wait));
            self.add_stall(wait);
        }
    }

    fn add_stall(&self, waited: Duration) {
        self.stall_ns.fetch_add(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Waits until the active memtable is not full, but not for space on the disk.
    fn make_room(&self, writer: &mut MutexGuard<'_, Writer>, without_space: WithoutSpace) -> Result<(), EngineError> {
        let mut waiting_since = None;
        let result = loop {
            if let Err(error) = self.check_writable(writer) {
                break Err(error);
            }
            self.seal_if_full(writer);
            if writer.active_bytes() < self.budget.memtable_bytes {
                break Ok(());
            }
            if self.space.lacks_bytes(writer.l0_runs) > 0 {
                break match without_space {
                    WithoutSpace::GoOn => Ok(()),
                    WithoutSpace::GiveUp => Err(self.space.refusal(self.tree.dir().path(), writer.l0_runs)),
                };
            }
            waiting_since.get_or_insert_with(Instant::now);
            self.room.wait_for(writer, ROOM_POLL);
        };
        if let Some(since) = waiting_since {
            self.add_stall(since.elapsed());
        }
        result
    }

    fn seal_if_full(&self, writer: &mut Writer) {
        if writer.active_bytes() >= self.budget.memtable_bytes && writer.may_seal() {
            writer.seal(&self.tree);
            self.signals.flush();
        }
    }

    pub(super) fn delete_range_step(
        &self,
        range: KeyRange<'_>,
        entries_max: usize,
    ) -> Result<RangeDeletion, EngineError> {
        let at = self.register_newest();
        let mut entries = self.range(range, at.lsn())?;
        let keys = entries.by_ref().take(entries_max).map(|entry| entry.map(|(key, _)| key));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let next = entries.next().transpose()?;
        drop((entries, at));
        let mut writer = self.writer.lock();
        self.make_room(&mut writer, WithoutSpace::GiveUp)?;
        for key in &keys {
            writer.bury(key);
            self.hot.forget(key);
        }
        self.seal_if_full(&mut writer);
        let entries = keys.len();
        Ok(match next {
            Some((key, _)) => RangeDeletion::More { entries, resume_from: Bytes::copy_from_slice(&key) },
            None => RangeDeletion::Done { entries },
        })
    }

    // ---- the disk ----

    /// The number that every read from now on stays at or above.
    fn watermark(&self) -> u64 {
        seqno::read_below(self.snapshots.raise_floor(|| self.applied_lsn()))
    }

    fn check_sequence(&self) -> Result<(), EngineError> {
        if seqno::has_room(self.tree.counter()) {
            Ok(())
        } else {
            Err(EngineError::SequenceExhausted { applied: self.applied_lsn() })
        }
    }

    pub(super) fn space_wanted_bytes(&self) -> u64 {
        let writer = self.writer.lock();
        self.space.wanted_bytes(writer.active_bytes() + writer.sealed_bytes(), writer.l0_runs)
    }

    /// Flushes the sealed memtables, and returns the record at which what is in tables then ends.
    fn flush_sealed(&self, guard: &FlushGuard<'_>) -> Result<AppliedMark, EngineError> {
        let bytes = {
            let writer = self.writer.lock();
            if writer.sealed() == 0 {
                return Ok(self.flushed());
            }
            writer.sealed_bytes()
        };
        self.check_sequence()?;
        self.space.check(self.tree.dir().path(), bytes)?;
        let watermark = self.watermark();
        self.tree.flush(guard, watermark).map_err(|error| self.fail_unless_space(error))?;
        let l0_runs = self.tree.l0_runs();
        let mark = {
            let mut writer = self.writer.lock();
            writer.l0_runs = l0_runs;
            // A memtable sealed since the lock was released above may have been flushed too, or not: the tree knows.
            writer.count_flushed(self.tree.sealed()).unwrap_or_else(|| self.flushed())
        };
        *self.flushed.lock() = mark;
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.room.notify_all();
        self.signals.compact();
        self.forget_states()?;
        Ok(mark)
    }

    /// The flush thread's work.
    pub(super) fn flush_in_background(&self) -> Result<(), EngineError> {
        let guard = self.tree.lock_flush();
        let result = self.flush_sealed(&guard).map(|_| ());
        self.space.note(Need::Flush, &result);
        if result.is_err() {
            // Who waits for room finds out that there will be none for now.
            self.room.notify_all();
        }
        result
    }

    pub(super) fn flush(&self) -> Result<AppliedMark, EngineError> {
        self.in_foreground(|| {
            let guard = self.tree.lock_flush();
            self.writer.lock().seal(&self.tree);
            self.flush_sealed(&guard)
        })
    }

    pub(super) fn checkpoint(&self, into: &Path) -> Result<Checkpoint, EngineError> {
        self.in_foreground(|| {
            prepare_empty_directory(into)?;
            let guard = self.tree.lock_flush();
            self.writer.lock().seal(&self.tree);
            let mark = self.flush_sealed(&guard)?;
            let files = self.tree.link_into(guard, into)?;
            Ok(Checkpoint { mark, files })
        })
    }

    /// A flush that failed for another reason than want of space is a fault, whoever asked for it.
    fn fail_unless_space(&self, error: EngineError) -> EngineError {
        if !error.is_out_of_space() {
            self.fail(EngineFault::new("flush", error.to_string()));
        }
        error
    }

    /// Runs what flushes in a caller's thread: a panic is a fault there too.
    fn in_foreground<T>(&self, work: impl FnOnce() -> Result<T, EngineError>) -> Result<T, EngineError> {
        if let Some(fault) = self.fault.get() {
            return Err(EngineError::Faulted(fault.clone()));
        }
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result,
            Err(panic) => Err(EngineError::Faulted(self.fail_with_panic("caller", panic.as_ref()))),
        }
    }

    /// One step of the compaction thread's work.
    pub(super) fn compact_in_background(&self) -> Result<CompactionStep, EngineError> {
        self.check_sequence()?;
        let fits = self.space.check(self.tree.dir().path(), self.tree.compaction_bytes());
        let step = fits.and_then(|()| self.tree.compact(self.watermark()));
        self.space.note(Need::Compaction, &step);
        let step = step?;
        if step == CompactionStep::Progress {
            self.compactions.fetch_add(1, Ordering::Relaxed);
            self.forget_states()?;
            let l0_runs = self.tree.l0_runs();
            self.writer.lock().l0_runs = l0_runs;
            self.room.notify_all();
        }
        Ok(step)
    }

    /// Lets go of the memtables and files that only past reads needed.
    pub(super) fn forget_states(&self) -> Result<(), EngineError> {
        self.tree.forget_states(self.watermark())
    }

    // ---- faults and the end ----

    /// Records a fault, and tells of it if it is the first.
    pub(super) fn fail(&self, fault: EngineFault) -> EngineFault {
        let mut first = false;
        let recorded = self.fault.get_or_init(|| {
            first = true;
            fault
        });
        if first {
            tracing::error!(fault = %recorded, "the engine accepts no more writes");
            (self.on_fault)(recorded);
        }
        self.room.notify_all();
        recorded.clone()
    }

    /// Records a panic as a fault.
    pub(super) fn fail_with_panic(&self, thread: &'static str, panic: &(dyn std::any::Any + Send)) -> EngineFault {
        self.reads_refused.store(true, Ordering::Release);
        let text = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no message".to_owned());
        self.fail(EngineFault::new(thread, format!("panic: {text}")))
    }

    /// Refuses writes from now on.
    pub(super) fn close_writer(&self) {
        self.writer.lock().closed = true;
        self.room.notify_all();
    }

    pub(super) fn signals(&self) -> &Signals {
        &self.signals
    }

    pub(super) fn stats(&self) -> EngineStats {
        let mut stats = EngineStats::default();
        {
            let writer = self.writer.lock();
            stats.memtable_bytes = writer.active_bytes() + writer.sealed_bytes();
            stats.memtables_sealed = writer.sealed();
            stats.l0_runs = writer.l0_runs;
        }
        self.tree.add_stats(&mut stats);
        stats.damage = self.tree.dir().damage().map(str::to_owned);
        stats.hot_bytes = self.hot.bytes();
        stats.hot_capacity_bytes = self.hot.capacity_bytes();
        (stats.hot_hits, stats.hot_misses) = self.hot.hits_and_misses();
        (stats.snapshots, stats.snapshot_oldest) = self.snapshots.readers();
        stats.flushes = self.flushes.load(Ordering::Relaxed);
        stats.compactions = self.compactions.load(Ordering::Relaxed);
        stats.stall = Duration::from_nanos(self.stall_ns.load(Ordering::Relaxed));
        stats.out_of_space = self.space.flush_waits();
        stats
    }
}
