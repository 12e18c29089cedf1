//! Preallocated segments: files of full size, written with zeros (or holding an earlier use's bytes) and synced, so that
//! appending changes no metadata.
//!
//! `<dir>/wal/spare-<n>` is ready to be taken; `spare-<n>.tmp` is being filled. A pruned segment becomes a spare instead of
//! being deleted, up to a limit. This module has no thread: [`SegmentPool::fill_step`] is called again and again by one that the
//! server owns; [`SegmentPool::take`] does what is missing itself when nothing is ready.
//!
//! Invariants:
//! * A spare is only taken when the loss of its former name is durable: otherwise a crash could bring the old name back over
//!   the new contents.
//! * Pruned segments are retired one at a time, oldest first, each durably: after any crash the log has no hole.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::durable::{create_dir_durable, parent_dir, remove_temporaries, rename_durable, temporary_path};
use crate::layout::{SPARE_PREFIX, parse_spare_name, wal_dir};
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::vfs::{EntryKind, OpenMode, Vfs, VfsError, VfsFile, VfsResult};

use super::error::WalError;
use super::format::BLOCK_U64;

/// How big segments are and how many are kept ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// A segment's size in bytes: a multiple of 4096 from 8192 to 1 GiB. Default 16 MiB.
    pub segment_bytes: u64,
    /// So many spare segments are filled ahead of need. Default 2.
    pub spares_target: u32,
    /// At most so many are kept; a pruned segment beyond that is deleted. Default 4.
    pub spares_max: u32,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { segment_bytes: 16 * 1024 * 1024, spares_target: 2, spares_max: 4 }
    }
}

/// What one step of background work did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FillProgress {
    /// There is nothing to do until a segment is taken or pruned.
    Idle,
    /// A pruned segment became a spare, or was deleted.
    Retired,
    /// So many bytes of a new spare were written; so many are left, none when it is ready.
    Filled {
        /// Written by this step.
        bytes: u64,
        /// Still to be written.
        left_bytes: u64,
    },
}

/// The pool, shared between the writer's thread and the background thread that the server owns.
#[derive(Debug)]
pub struct SegmentPool {
    vfs: Arc<dyn Vfs>,
    wal_dir: PathBuf,
    options: PoolOptions,
    /// Held for moments only.
    shelf: Mutex<Shelf>,
    /// Held during I/O; taken before `shelf`.
    work: Mutex<Option<Filling>>,
}

#[derive(Debug)]
struct Shelf {
    ready: VecDeque<PathBuf>,
    retired: VecDeque<Retired>,
    next_number: u64,
    filling_bytes: u64,
}

/// A segment that is not part of the log any more.
#[derive(Clone, Debug)]
struct Retired {
    path: PathBuf,
    file_bytes: u64,
    /// The spare's name that it has been given, where only the syncs are missing.
    renamed: Option<PathBuf>,
}

/// A spare that is being written.
#[derive(Debug)]
struct Filling {
    file: Arc<dyn VfsFile>,
    number: u64,
    filled_bytes: u64,
}

/// A file that the caller now owns.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) path: PathBuf,
    pub(super) file_bytes: u64,
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

impl SegmentPool {
    /// Opens the pool of the data directory `dir`, making `<dir>/wal` where it is missing. Half-filled spares and spares of
    /// another size are deleted.
    ///
    /// # Errors
    /// [`WalError::SegmentBytes`] and `Io`.
    pub fn open(vfs: Arc<dyn Vfs>, dir: &Path, options: PoolOptions) -> Result<Arc<Self>, WalError> {
        let segment_bytes = options.segment_bytes;
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes) || !segment_bytes.is_multiple_of(BLOCK_U64)
        {
            return Err(WalError::SegmentBytes { segment_bytes });
        }
        let wal_dir = wal_dir(dir);
        create_dir_durable(vfs.as_ref(), &wal_dir)?;
        remove_temporaries(vfs.as_ref(), &wal_dir)?;
        let mut shelf = Shelf { ready: VecDeque::new(), retired: VecDeque::new(), next_number: 1, filling_bytes: 0 };
        let entries = vfs.list(&wal_dir)?;
        // A process that was killed may have renamed a segment to a spare without making that durable.
        for timeline in entries.iter().filter(|entry| entry.kind == EntryKind::Dir) {
            vfs.sync_dir(&wal_dir.join(&timeline.name))?;
        }
        vfs.sync_dir(&wal_dir)?;
        for entry in entries {
            let Some(number) = parse_spare_name(&entry.name).filter(|_| entry.kind == EntryKind::File) else {
                continue;
            };
            let path = wal_dir.join(&entry.name);
            let fits = vfs.metadata(&path)?.is_some_and(|metadata| metadata.len_bytes == segment_bytes);
            if fits && below(shelf.ready.len(), options.spares_max) {
                shelf.ready.push_back(path);
            } else {
                vfs.remove(&path)?;
            }
            shelf.next_number = shelf.next_number.max(number.saturating_add(1));
        }
        Ok(Arc::new(Self { vfs, wal_dir, options, shelf: Mutex::new(shelf), work: Mutex::new(None) }))
    }

    /// The size of the segments that it makes, in bytes.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes
    }

    /// How many spares are ready.
    #[must_use]
    pub fn spares(&self) -> u32 {
        u32::try_from(self.shelf.lock().ready.len()).unwrap_or(u32::MAX)
    }

    /// The bytes that spares, half-filled ones and pruned segments that still exist take on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let shelf = self.shelf.lock();
        let retired: u64 = shelf.retired.iter().map(|retired| retired.file_bytes).sum();
        shelf.ready.len() as u64 * self.options.segment_bytes + retired + shelf.filling_bytes
    }

    /// Retires one pruned segment; says whether there was one. Takes no space.
    ///
    /// # Errors
    /// [`WalError::Io`]; the log is not affected, and the step may be tried again later.
    pub fn retire_step(&self) -> Result<bool, WalError> {
        let _work = self.work.lock();
        self.retire_one()
    }

    /// One step of background work: retires one pruned segment, or writes and syncs at most `bytes_max` bytes (rounded up to a
    /// block) of a spare. Call it until it is `Idle`, with pauses: a burst of zeros delays the writer's syncs.
    ///
    /// # Errors
    /// [`WalError::NoSpace`] and `Io`; the log is not affected, and the step may be tried again later.
    pub fn fill_step(&self, bytes_max: u64) -> Result<FillProgress, WalError> {
        let mut work = self.work.lock();
        if self.retire_one()? {
            return Ok(FillProgress::Retired);
        }
        if !below(self.shelf.lock().ready.len(), self.options.spares_target) {
            return Ok(FillProgress::Idle);
        }
        self.fill(&mut work, bytes_max)
    }

    /// A file with room for `bytes`, synced, without a name in the log: a ready spare, or else one that is made now.
    ///
    /// # Errors
    /// [`WalError::NoSpace`] and `Io`.
    pub(super) fn take(&self, bytes: u64) -> Result<Taken, WalError> {
        if bytes > self.options.segment_bytes {
            return self.make_oversized(bytes.next_multiple_of(BLOCK_U64));
        }
        if let Some(taken) = self.take_ready() {
            return Ok(taken);
        }
        let mut work = self.work.lock();
        loop {
            if let Some(taken) = self.take_ready() {
                return Ok(taken);
            }
            if !self.retire_one()? {
                self.fill(&mut work, self.options.segment_bytes)?;
            }
        }
    }

    /// Gives back what [`Self::take`] gave, unused or not.
    pub(super) fn put_back(&self, taken: Taken) {
        let mut shelf = self.shelf.lock();
        if taken.file_bytes == self.options.segment_bytes {
            shelf.ready.push_front(taken.path);
        } else {
            shelf.retired.push_back(Retired { path: taken.path, file_bytes: taken.file_bytes, renamed: None });
        }
    }

    /// Takes over a segment that has left the log. Segments must come oldest first.
    pub(super) fn retire(&self, path: PathBuf, file_bytes: u64) {
        self.shelf.lock().retired.push_back(Retired { path, file_bytes, renamed: None });
    }

    fn take_ready(&self) -> Option<Taken> {
        let path = self.shelf.lock().ready.pop_front()?;
        Some(Taken { path, file_bytes: self.options.segment_bytes })
    }

    /// Retires the oldest pruned segment, if there is one. The caller holds `work`.
    fn retire_one(&self) -> Result<bool, WalError> {
        let (retired, becomes_spare) = {
            let shelf = self.shelf.lock();
            let Some(retired) = shelf.retired.front().cloned() else { return Ok(false) };
            let room = below(shelf.ready.len(), self.options.spares_max);
            let fits = retired.file_bytes == self.options.segment_bytes;
            (retired.clone(), retired.renamed.is_some() || (fits && room))
        };
        if becomes_spare {
            let spare = match retired.renamed {
                Some(spare) => spare,
                None => {
                    let spare = self.spare_path(self.next_number());
                    self.vfs.rename(&retired.path, &spare)?;
                    if let Some(front) = self.shelf.lock().retired.front_mut() {
                        front.renamed = Some(spare.clone());
                    }
                    spare
                }
            };
            self.vfs.sync_dir(parent_dir(&retired.path))?;
            self.vfs.sync_dir(&self.wal_dir)?;
            let mut shelf = self.shelf.lock();
            shelf.retired.pop_front();
            shelf.ready.push_back(spare);
        } else {
            match self.vfs.remove(&retired.path) {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => self.vfs.sync_dir(parent_dir(&retired.path))?,
            }
            self.shelf.lock().retired.pop_front();
        }
        Ok(true)
    }

    /// Writes the next part of a spare, beginning one where there is none. The caller holds `work`.
    fn fill(&self, work: &mut Option<Filling>, bytes_max: u64) -> Result<FillProgress, WalError> {
        let progress = self.fill_part(work, bytes_max);
        if progress.is_err() {
            if let Some(filling) = work.take() {
                self.discard(filling.number);
            }
            self.shelf.lock().filling_bytes = 0;
        }
        progress.map_err(no_space_or_io)
    }

    fn fill_part(&self, work: &mut Option<Filling>, bytes_max: u64) -> VfsResult<FillProgress> {
        let filling = match work {
            Some(filling) => filling,
            None => {
                let number = self.next_number();
                let opened = self.vfs.open(&temporary_path(&self.spare_path(number)), OpenMode::CreateTruncate);
                let file = opened.inspect_err(|_| self.discard(number))?;
                work.insert(Filling { file, number, filled_bytes: 0 })
            }
        };
        let left_bytes = self.options.segment_bytes - filling.filled_bytes;
        let bytes = bytes_max.max(1).checked_next_multiple_of(BLOCK_U64).unwrap_or(left_bytes).min(left_bytes);
        write_zeros(filling.file.as_ref(), filling.filled_bytes, bytes)?;
        filling.file.sync_data()?;
        filling.filled_bytes += bytes;
        self.shelf.lock().filling_bytes = filling.filled_bytes;
        if bytes == left_bytes {
            filling.file.sync_all()?;
            let spare = self.spare_path(filling.number);
            rename_durable(self.vfs.as_ref(), &temporary_path(&spare), &spare)?;
            *work = None;
            let mut shelf = self.shelf.lock();
            shelf.filling_bytes = 0;
            shelf.ready.push_back(spare);
        }
        Ok(FillProgress::Filled { bytes, left_bytes: left_bytes - bytes })
    }

    /// A file of a size of its own, for one batch that is larger than a segment.
    fn make_oversized(&self, file_bytes: u64) -> Result<Taken, WalError> {
        let number = self.next_number();
        let path = temporary_path(&self.spare_path(number));
        let made = (|| {
            let file = self.vfs.open(&path, OpenMode::CreateTruncate)?;
            write_zeros(file.as_ref(), 0, file_bytes)?;
            file.sync_all()
        })();
        match made {
            Ok(()) => Ok(Taken { path, file_bytes }),
            Err(error) => {
                self.discard(number);
                Err(no_space_or_io(error))
            }
        }
    }

    /// Removes what was being made under this number, in whatever state it is. A temporary that cannot be removed now is
    /// removed when the pool is opened. The number is used again: attempts that fail for hours leave no trace.
    fn discard(&self, number: u64) {
        let _ = self.vfs.remove(&temporary_path(&self.spare_path(number)));
        let mut shelf = self.shelf.lock();
        if shelf.next_number == number.saturating_add(1) {
            shelf.next_number = number;
        }
    }

    fn next_number(&self) -> u64 {
        let mut shelf = self.shelf.lock();
        let number = shelf.next_number;
        shelf.next_number = number.saturating_add(1);
        number
    }

    fn spare_path(&self, number: u64) -> PathBuf {
        self.wal_dir.join(format!("{SPARE_PREFIX}{number}"))
    }
}

/// Whether `count` things are fewer than `limit`.
fn below(count: usize, limit: u32) -> bool {
    u32::try_from(count).is_ok_and(|count| count < limit)
}

pub(super) fn no_space_or_io(error: VfsError) -> WalError {
    if error.is_no_space() { WalError::NoSpace { source: error } } else { WalError::Io(error) }
}

pub(super) fn write_zeros(file: &dyn VfsFile, offset: u64, bytes: u64) -> VfsResult<()> {
    let mut done = 0;
    while done < bytes {
        let left = usize::try_from(bytes - done).unwrap_or(usize::MAX);
        let part = &ZEROS[..left.min(ZEROS.len())];
        file.write_at(part, offset + done)?;
        done += part.len() as u64;
    }
    Ok(())
}
