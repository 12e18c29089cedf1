//! Records that wait until their whole segment is proved.
//!
//! They are kept as runs: in memory up to [`SPOOL_MEMORY_BYTES`], beyond that in one file of the staging directory. What went
//! through the file is scanned again when it is taken out, and its chain compared, so what a sink gets is what was proved.

use std::path::PathBuf;
use std::sync::Arc;

use reddb_file::archive::RecordRun;
use reddb_file::vfs::{OpenMode, VfsError, VfsFile};
use reddb_file::{Chain, Lsn, Mark, TimedMark};

use super::error::RestoreError;
use super::stage::Staging;

/// How many bytes of one segment wait in memory at most, a single larger run apart.
const SPOOL_MEMORY_BYTES: u64 = 8 * 1024 * 1024;

/// A run.
enum Held {
    Memory(RecordRun),
    File { before: Mark, after: Chain, offset: u64, len: usize },
}

/// Where a spool's file is; removed with the spool.
struct SpoolFile {
    staging: Arc<Staging>,
    path: PathBuf,
    file: Arc<dyn VfsFile>,
    len_bytes: u64,
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        // Whoever removes the staging directory removes it too; a restored directory must not keep it.
        if let Err(error) = self.staging.vfs().remove(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "a spool file was not removed");
        }
    }
}

/// Consecutive records of one segment.
pub(super) struct Spool {
    staging: Arc<Staging>,
    held: Vec<Held>,
    memory_bytes: u64,
    file: Option<SpoolFile>,
    start: Mark,
    end: Option<TimedMark>,
}

impl Spool {
    /// Takes records after `before`.
    pub(super) fn new(staging: Arc<Staging>, before: Mark) -> Self {
        Self { staging, held: Vec::new(), memory_bytes: 0, file: None, start: before, end: None }
    }

    /// The record before the first one.
    pub(super) fn start_at(&mut self, before: Mark) {
        debug_assert!(self.end.is_none(), "a spool starts before its first record");
        self.start = before;
    }

    /// Takes the next records.
    pub(super) fn push(&mut self, run: RecordRun) -> Result<(), RestoreError> {
        let len = run.bytes().len();
        let before = self.end.map_or(self.start, |end| end.mark());
        self.end = Some(TimedMark { lsn: run.last_lsn(), chain: run.chain_after(), time_ms: run.last_time_ms() });
        if self.memory_bytes + len as u64 <= SPOOL_MEMORY_BYTES || self.held.is_empty() {
            self.memory_bytes += len as u64;
            self.held.push(Held::Memory(run));
        } else {
            let file = self.file()?;
            let offset = file.len_bytes;
            file.file.write_at(run.bytes(), offset)?;
            file.len_bytes = offset.saturating_add(len as u64);
            self.held.push(Held::File { before, after: run.chain_after(), offset, len });
        }
        Ok(())
    }

    fn file(&mut self) -> Result<&mut SpoolFile, VfsError> {
        if self.file.is_none() {
            let path = self.staging.root().join(format!(".spool-{}", uuid::Uuid::new_v4().simple()));
            let file = self.staging.vfs().open(&path, OpenMode::CreateNew)?;
            self.file = Some(SpoolFile { staging: Arc::clone(&self.staging), path, file, len_bytes: 0 });
        }
        Ok(self.file.as_mut().expect("it was made above"))
    }

    /// No more records come.
    pub(super) fn close(self) -> Spooled {
        Spooled { start: self.start, end: self.end, held: self.held, file: self.file }
    }
}

/// The records of one proved segment, ready to be applied.
pub(super) struct Spooled {
    /// The record before the first one.
    pub(super) start: Mark,
    /// The last one; none where the segment adds nothing.
    pub(super) end: Option<TimedMark>,
    held: Vec<Held>,
    file: Option<SpoolFile>,
}

impl Spooled {
    /// Hands the records to `apply`, run by run.
    pub(super) fn drain(
        self,
        mut apply: impl FnMut(&RecordRun) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        for held in self.held {
            match held {
                Held::Memory(run) => apply(&run)?,
                Held::File { before, after, offset, len } => {
                    let file = self.file.as_ref().ok_or_else(|| lost(before.lsn, "their file is gone"))?;
                    let mut bytes = vec![0; len];
                    file.file.read_exact_at(&mut bytes, offset)?;
                    let run = RecordRun::scan(before.lsn, before.chain, bytes.into())
                        .map_err(|error| RestoreError::staging(before.lsn, &error))?;
                    if run.chain_after() != after {
                        return Err(lost(before.lsn, "their chain is another one"));
                    }
                    apply(&run)?;
                }
            }
        }
        Ok(())
    }
}

fn lost(after: Lsn, reason: &str) -> RestoreError {
    RestoreError::Staging { after, reason: reason.into() }
}
