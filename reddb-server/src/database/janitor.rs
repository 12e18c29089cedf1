//! The janitor's thread: fills spare segments ahead of need, watches the directory and its disk's free space, has the engine
//! flush when its log grows long, and gives up the log that nobody needs any more.
//!
//! The log is pruned up to what both the archive's head and the engine's own files hold, and only after the control file
//! says so durably.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use reddb_file::control::ControlFile;
use reddb_file::layout::lock_path;
use reddb_file::wal::{FillProgress, SegmentPool};
use reddb_file::{Lsn, Mark, TimedMark};

use super::place::FileId;
use crate::commit::Committer;
use crate::commit::gate::{Condition, WriteGate};
use crate::engine::Engine;

const TICK: Duration = Duration::from_millis(250);
/// Bytes of zeros written at once: small and paced, so that the log's own syncs hardly wait for them.
const FILL_BYTES: u64 = 256 * 1024;
const FILL_PAUSE: Duration = Duration::from_millis(2);
/// How long filling waits after a failure: from here, doubled each time, to there. Nothing depends on it: the committer
/// prepares a segment itself where none is ready.
const FILL_RETRY_MIN: Duration = Duration::from_millis(500);
const FILL_RETRY_MAX: Duration = Duration::from_secs(30);
/// The engine is told to flush when the log has grown by so much since its last flush.
const FLUSH_LOG_BYTES: u64 = 256 * 1024 * 1024;

/// What the janitor looks after.
pub(super) struct Duties {
    pub(super) dir: PathBuf,
    pub(super) disk_reserve_bytes: u64,
    pub(super) wal_local_bytes_max: u64,
    pub(super) pool: Arc<SegmentPool>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) committer: Arc<Committer>,
    pub(super) gate: Arc<WriteGate>,
    pub(super) control: Arc<Mutex<ControlFile>>,
}

/// A handle to the thread.
pub(super) struct Janitor {
    stop: Sender<()>,
    thread: Mutex<Option<JoinHandle<()>>>,
    wanted_bytes: Arc<AtomicU64>,
}

impl Janitor {
    pub(super) fn start(duties: Duties) -> std::io::Result<Self> {
        let (stop, stopped) = bounded(1);
        let gate = Arc::clone(&duties.gate);
        let held = FileId::of(&lock_path(&duties.dir))?;
        let wanted = wanted_bytes(duties.disk_reserve_bytes, duties.engine.space_wanted_bytes(), None);
        let shown = Arc::new(AtomicU64::new(wanted));
        let wanted_bytes = Arc::clone(&shown);
        let thread = std::thread::Builder::new().name("reddb-janitor".to_owned()).spawn(move || {
            let worker = std::panic::AssertUnwindSafe(|| {
                Worker { duties, held, wanted_bytes, pruned: Lsn::ZERO, log_bytes_flushed: 0, fill_retry: None }
                    .run(&stopped)
            });
            if std::panic::catch_unwind(worker).is_err() {
                gate.set(Condition::Poisoned, || "the janitor stopped on an internal error; restart".to_owned());
            }
        })?;
        Ok(Self { stop, thread: Mutex::new(Some(thread)), wanted_bytes: shown })
    }

    /// The free bytes below which writes are refused, as of its last look.
    pub(super) fn wanted_bytes(&self) -> u64 {
        self.wanted_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        // A full channel or a thread that is gone: it stops, or has stopped, anyway.
        let _stops_anyway = self.stop.try_send(());
        if let Some(thread) = self.thread.lock().take() {
            drop(thread.join());
        }
    }
}

struct Worker {
    duties: Duties,
    /// The lock file that this process holds: where its path leads elsewhere, the directory is another one.
    held: FileId,
    wanted_bytes: Arc<AtomicU64>,
    pruned: Lsn,
    /// How long the log was when the engine was last told to flush, or has been since: what cannot be pruned stays long.
    log_bytes_flushed: u64,
    fill_retry: Option<Retry>,
}

/// When something that failed is tried again.
#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Instant,
    pause: Duration,
}

impl Worker {
    fn run(mut self, stopped: &Receiver<()>) {
        let mut flush_failed = false;
        self.watch_disk();
        loop {
            let filling = self.fill();
            let pause = if filling { FILL_PAUSE } else { TICK };
            match stopped.recv_timeout(pause) {
                Err(RecvTimeoutError::Timeout) if filling => continue,
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
            self.watch_disk();
            self.flush_engine(&mut flush_failed);
            self.prune();
        }
    }

    /// Says whether there is more to fill. A full disk gets nothing ahead of need: what is left of it is the reserve.
    fn fill(&mut self) -> bool {
        if self.fill_retry.is_some_and(|retry| Instant::now() < retry.at) {
            return false;
        }
        let pool = &self.duties.pool;
        let step = if self.duties.gate.holds(Condition::DiskFull) {
            pool.retire_step().map(|retired| if retired { FillProgress::Retired } else { FillProgress::Idle })
        } else {
            pool.fill_step(FILL_BYTES)
        };
        match step {
            Ok(progress) => {
                self.fill_retry = None;
                matches!(progress, FillProgress::Retired)
                    || matches!(progress, FillProgress::Filled { left_bytes, .. } if left_bytes > 0)
            }
            Err(error) => {
                let pause = self.fill_retry.map_or(FILL_RETRY_MIN, |retry| (retry.pause * 2).min(FILL_RETRY_MAX));
                self.fill_retry = Some(Retry { at: Instant::now() + pause, pause });
                tracing::warn!(%error, next_try = ?pause, "a log segment cannot be prepared ahead of need");
                false
            }
        }
    }

    fn watch_disk(&self) {
        let Duties { dir, gate, pool, engine, disk_reserve_bytes, .. } = &self.duties;
        let engine_bytes = engine.space_wanted_bytes();
        let refused = gate.holds(Condition::DiskFull);
        let wanted = wanted_bytes(*disk_reserve_bytes, engine_bytes, refused.then(|| pool.segment_bytes()));
        self.wanted_bytes.store(wanted, Ordering::Relaxed);
        let free = self.free_bytes_held();
        if free.is_ok() {
            gate.clear(Condition::DirectoryGone);
        }
        let full = |free| {
            format!(
                "the disk of {} has {free} bytes free, {disk_reserve_bytes} are kept in reserve (--disk-reserve) and the engine \
                 needs {engine_bytes}: free some space, writes then go on by themselves",
                dir.display()
            )
        };
        match free {
            Ok(free) if free >= wanted => gate.clear(Condition::DiskFull),
            Ok(free) if refused => gate.explain(Condition::DiskFull, || full(free)),
            Ok(free) => {
                gate.set(Condition::DiskFull, || full(free));
            }
            Err(error) => {
                gate.set(Condition::DirectoryGone, || {
                    format!(
                        "{} is not the directory any more that this server opened ({error}): it was removed, moved or \
                         unmounted, and what is written now would be lost with it; put it back and writes go on by \
                         themselves, or stop the server and restore",
                        dir.display()
                    )
                });
            }
        }
    }

    /// The free bytes of the directory's disk, as long as the directory is the one that this process holds.
    fn free_bytes_held(&self) -> std::io::Result<u64> {
        let lock = lock_path(&self.duties.dir);
        let found = FileId::of(&lock).map_err(|error| std::io::Error::other(format!("{}: {error}", lock.display())))?;
        if found != self.held {
            return Err(std::io::Error::other(format!("{} is another file", lock.display())));
        }
        free_bytes(&self.duties.dir)
    }

    fn flush_engine(&mut self, failed: &mut bool) {
        let Duties { engine, committer, wal_local_bytes_max, .. } = &self.duties;
        let published = committer.published();
        let log_bytes = published.wal_bytes();
        self.log_bytes_flushed = self.log_bytes_flushed.min(log_bytes);
        let long = log_bytes - self.log_bytes_flushed > FLUSH_LOG_BYTES.min(wal_local_bytes_max / 4);
        if !long || engine.flushed().lsn >= published.durable().lsn || self.prunable() > self.pruned {
            return;
        }
        match engine.flush() {
            Ok(_) => {
                *failed = false;
                self.log_bytes_flushed = log_bytes;
            }
            Err(error) => {
                if !std::mem::replace(failed, true) {
                    tracing::warn!(%error, "the engine cannot flush; the log is kept");
                }
            }
        }
    }

    fn prunable(&self) -> Lsn {
        let archived = self.duties.control.lock().state().archived.lsn;
        archived.min(self.duties.engine.flushed().lsn)
    }

    fn prune(&mut self) {
        let Duties { engine, committer, control, .. } = &self.duties;
        let up_to = self.prunable();
        if up_to <= self.pruned {
            return;
        }
        match write_marks(control, committer.published().durable(), engine.as_ref()) {
            Ok(()) => {
                committer.prune(up_to);
                self.pruned = up_to;
            }
            Err(error) => tracing::warn!(%error, "the control file cannot be written; the log is kept"),
        }
    }
}

/// Raises the control file's durable and checkpoint marks to what is known.
pub(super) fn write_marks(
    control: &Mutex<ControlFile>,
    durable: TimedMark,
    engine: &dyn Engine,
) -> Result<(), reddb_file::control::ControlError> {
    let flushed = engine.flushed();
    let mut control = control.lock();
    let mut state = control.state().clone();
    if durable.lsn > state.durable.lsn {
        state.durable = durable;
    }
    if flushed.lsn > state.checkpoint.lsn && flushed.lsn <= state.durable.lsn {
        state.checkpoint = Mark { lsn: flushed.lsn, chain: flushed.chain };
    }
    if state == *control.state() { Ok(()) } else { control.write(&state) }
}

/// The free bytes below which writes are refused. Where they are refused already, a log segment must fit too: the committer
/// refuses where it does not, and with a small reserve that would go on and off.
fn wanted_bytes(reserve_bytes: u64, engine_bytes: u64, refused_segment_bytes: Option<u64>) -> u64 {
    reserve_bytes.max(engine_bytes).max(refused_segment_bytes.unwrap_or(0))
}

/// The size of a directory's file system, in bytes.
pub(super) fn disk_bytes(dir: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_blocks.saturating_mul(stat.f_frsize))
}

/// The bytes that this process may still take on a directory's disk.
pub(super) fn free_bytes(dir: &Path) -> std::io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_need_decides_when_writes_are_refused() {
        assert_eq!(wanted_bytes(256, 20, None), 256);
        assert_eq!(wanted_bytes(0, 20, None), 20);
        assert_eq!(wanted_bytes(0, 20, Some(32)), 32);
        assert_eq!(wanted_bytes(256, 300, Some(32)), 300);
    }
}
