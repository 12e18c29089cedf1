//! A machine in memory that tells what was written from what its disk holds, can lose power, and fails when told to.
//!
//! Deterministic: the same seed and the same calls give the same crashes. It models the worst that a POSIX file system may
//! do, not what a friendly one does:
//! * Writes reach the page cache. Until a sync of the file returns, any subset of the written 4 KiB sectors may be on disk, in
//!   any of the versions since the last sync, each torn at 512 bytes; and any of the lengths since.
//! * Created, renamed, linked and removed entries reach the disk with a sync of their directory; until then any subset of
//!   these operations may be there, each whole.
//! * A failed sync may have dropped the dirty pages: reads still see them, a later sync succeeds, a crash loses them.
//! * A failed write may have written any beginning of its bytes.
//! * A full disk refuses to make files longer; it never refuses to overwrite.

mod cache;
mod machine;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock};

use super::{OpenMode, Vfs, VfsEntry, VfsFile, VfsMetadata, VfsOp, VfsResult, check_blocks};
use machine::Machine;

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// A random part, drawn from the seed.
    Random,
    /// Everything: the process was killed, the machine goes on.
    Everything,
}

/// The machine. Clones are the same machine.
#[derive(Clone, Debug)]
pub struct SimVfs {
    machine: Arc<Mutex<Machine>>,
    syncs: Arc<Syncs>,
}

/// Syncs of files may be made to wait, as on a slow disk.
#[derive(Debug, Default)]
struct Syncs {
    /// Held for writing while they wait.
    paused: RwLock<()>,
    waiting: AtomicUsize,
}

impl Syncs {
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(self.paused.read());
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl SimVfs {
    /// A machine with an empty disk, whose randomness comes from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { machine: Arc::new(Mutex::new(Machine::new(seed))), syncs: Arc::default() }
    }

    /// The machine as a file system.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Vfs> {
        Arc::new(self.clone())
    }

    /// The machine stops and starts again: open files fail for ever, locks are gone, faults are cleared, and of what was not
    /// synced only what `keep` says is left.
    pub fn crash(&self, keep: Keep) {
        self.machine.lock().crash(keep);
    }

    /// The `nth` call of `op` from now on (1 is the next) fails once with `kind`.
    pub fn fail_nth(&self, op: VfsOp, nth: u64, kind: io::ErrorKind) {
        self.machine.lock().faults.fail_nth(Some(op), nth, kind);
    }

    /// The `nth` call of any kind from now on (1 is the next) fails once with `kind`.
    pub fn fail_nth_call(&self, nth: u64, kind: io::ErrorKind) {
        self.machine.lock().faults.fail_nth(None, nth, kind);
    }

    /// The power goes during the `nth` call from now on (1 is the next): it and all later ones fail until [`SimVfs::crash`]. What that
    /// call writes may reach the disk, what it syncs need not.
    pub fn lose_power_at_nth_call(&self, nth: u64) {
        self.machine.lock().faults.lose_power(nth);
    }

    /// Forgets all faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.machine.lock().faults.clear();
    }

    /// Until what this returns is dropped, syncs of files wait before they do anything.
    #[must_use]
    pub fn pause_syncs(&self) -> impl Drop + '_ {
        self.syncs.paused.write()
    }

    /// How many syncs of files are under way or wait.
    #[must_use]
    pub fn syncs_waiting(&self) -> usize {
        self.syncs.waiting.load(Ordering::SeqCst)
    }

    /// How many calls have been made since the beginning.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.machine.lock().faults.calls()
    }

    /// Files may take at most so many bytes in all, or as much as they like.
    pub fn set_space(&self, bytes_max: Option<u64>) {
        self.machine.lock().space = bytes_max;
    }

    /// The bytes that all files take.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.machine.lock().used_bytes()
    }

    /// The file at `path` rots: `change` alters its bytes behind everyone's back, in the page cache and on disk alike.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn rot(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> VfsResult<()> {
        self.machine.lock().rot(path, change)
    }
}

impl Vfs for SimVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> VfsResult<Arc<dyn VfsFile>> {
        let mut machine = self.machine.lock();
        let inode = machine.open(path, mode)?;
        let (boot, handle) = machine.new_handle();
        let (machine, syncs) = (Arc::clone(&self.machine), Arc::clone(&self.syncs));
        Ok(Arc::new(SimFile { machine, syncs, path: path.to_owned(), mode, inode, boot, handle }))
    }

    fn rename(&self, from: &Path, to: &Path) -> VfsResult<()> {
        self.machine.lock().rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> VfsResult<()> {
        self.machine.lock().link(from, to)
    }

    fn remove(&self, path: &Path) -> VfsResult<()> {
        self.machine.lock().remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> VfsResult<()> {
        self.machine.lock().remove_dir_all(path)
    }

    fn list(&self, path: &Path) -> VfsResult<Vec<VfsEntry>> {
        self.machine.lock().list(path)
    }

    fn create_dir_all(&self, path: &Path) -> VfsResult<()> {
        self.machine.lock().create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> VfsResult<()> {
        self.machine.lock().sync_dir(path)
    }

    fn metadata(&self, path: &Path) -> VfsResult<Option<VfsMetadata>> {
        self.machine.lock().metadata(path)
    }
}

/// A handle; good until the machine crashes.
#[derive(Debug)]
struct SimFile {
    machine: Arc<Mutex<Machine>>,
    syncs: Arc<Syncs>,
    path: PathBuf,
    mode: OpenMode,
    inode: u64,
    boot: u64,
    handle: u64,
}

impl SimFile {
    fn with<T>(&self, op: VfsOp, act: impl FnOnce(&mut Machine) -> VfsResult<T>) -> VfsResult<T> {
        let mut machine = self.machine.lock();
        machine.check_boot(self.boot, op, &self.path)?;
        act(&mut machine)
    }
}

impl VfsFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> VfsResult<usize> {
        self.with(VfsOp::Read, |machine| machine.read_at(self.inode, &self.path, buf, offset))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> VfsResult<()> {
        if self.mode == OpenMode::WriteDirect {
            check_blocks(&self.path, bytes, offset)?;
        }
        self.with(VfsOp::Write, |machine| machine.write_at(self.inode, &self.path, bytes, offset))
    }

    fn len_bytes(&self) -> VfsResult<u64> {
        self.with(VfsOp::Len, |machine| machine.len_bytes(self.inode, &self.path))
    }

    fn set_len(&self, len_bytes: u64) -> VfsResult<()> {
        self.with(VfsOp::SetLen, |machine| machine.set_len(self.inode, &self.path, len_bytes))
    }

    fn sync_data(&self) -> VfsResult<()> {
        self.syncs.pass();
        self.with(VfsOp::SyncData, |machine| machine.sync_file(self.inode, &self.path, VfsOp::SyncData))
    }

    fn sync_all(&self) -> VfsResult<()> {
        self.syncs.pass();
        self.with(VfsOp::SyncAll, |machine| machine.sync_file(self.inode, &self.path, VfsOp::SyncAll))
    }

    fn try_lock(&self) -> VfsResult<bool> {
        self.with(VfsOp::Lock, |machine| machine.try_lock(self.inode, &self.path, self.handle))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.machine.lock().close(self.handle);
    }
}
