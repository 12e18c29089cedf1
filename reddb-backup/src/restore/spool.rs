//! Records that wait until their whole segment is proved.
//!
//! They are kept as chunks of encoded records: in memory up to [`SPOOL_MEMORY_BYTES`], beyond that in one file of the
//! staging directory. Each chunk remembers the chain before and after it, and is scanned again when it is taken out, so
//! what a sink gets is what was proved, also after a way through a disk.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use reddb_file::archive::RecordRun;
use reddb_file::vfs::{OpenMode, VfsError, VfsFile};
use reddb_file::{Chain, Lsn, Mark, Record, TimedMark};

use super::error::RestoreError;
use super::stage::Staging;

/// How many bytes of one segment wait in memory at most, a single larger record apart.
const SPOOL_MEMORY_BYTES: u64 = 8 * 1024 * 1024;
/// How large a chunk grows, a single larger record apart.
const CHUNK_BYTES: usize = 2 * 1024 * 1024;

enum Held {
    Memory(Bytes),
    File { offset: u64, len: usize },
}

struct Chunk {
    before: Mark,
    after: Chain,
    held: Held,
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
    chunks: Vec<Chunk>,
    memory_bytes: u64,
    file: Option<SpoolFile>,
    open: Vec<u8>,
    open_before: Mark,
    end: Option<TimedMark>,
}

impl Spool {
    /// Takes records after `before`.
    pub(super) fn new(staging: Arc<Staging>, before: Mark) -> Self {
        Self {
            staging,
            chunks: Vec::new(),
            memory_bytes: 0,
            file: None,
            open: Vec::new(),
            open_before: before,
            end: None,
        }
    }

    /// The record before the first one.
    pub(super) fn start_at(&mut self, before: Mark) {
        debug_assert!(self.end.is_none(), "a spool starts before its first record");
        self.open_before = before;
    }

    /// Takes the next record; `chain` is the chain after it.
    pub(super) fn push(&mut self, record: &Record, chain: Chain) -> Result<(), RestoreError> {
        let after = self.end.map_or(self.open_before.lsn, |end| end.lsn);
        if !self.open.is_empty() && self.open.len() as u64 + record.encoded_bytes() > CHUNK_BYTES as u64 {
            self.close_chunk()?;
        }
        record
            .encode_into(&mut self.open)
            .map_err(|error| RestoreError::Staging { after, reason: error.to_string() })?;
        self.end = Some(TimedMark { lsn: record.lsn, chain, time_ms: record.time_ms });
        Ok(())
    }

    fn close_chunk(&mut self) -> Result<(), RestoreError> {
        let Some(end) = self.end.filter(|_| !self.open.is_empty()) else { return Ok(()) };
        let bytes = std::mem::take(&mut self.open);
        let len = bytes.len();
        let held = if self.memory_bytes + len as u64 <= SPOOL_MEMORY_BYTES || self.chunks.is_empty() {
            self.memory_bytes += len as u64;
            Held::Memory(bytes.into())
        } else {
            let file = self.file()?;
            let offset = file.len_bytes;
            file.file.write_at(&bytes, offset)?;
            file.len_bytes = offset.saturating_add(len as u64);
            Held::File { offset, len }
        };
        self.chunks.push(Chunk { before: self.open_before, after: end.chain, held });
        self.open_before = end.mark();
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
    pub(super) fn close(mut self) -> Result<Spooled, RestoreError> {
        let start = self.chunks.first().map_or(self.open_before, |chunk| chunk.before);
        self.close_chunk()?;
        Ok(Spooled { start, end: self.end, chunks: self.chunks, file: self.file })
    }
}

/// The records of one proved segment, ready to be applied.
pub(super) struct Spooled {
    /// The record before the first one.
    pub(super) start: Mark,
    /// The last one; none where the segment adds nothing.
    pub(super) end: Option<TimedMark>,
    chunks: Vec<Chunk>,
    file: Option<SpoolFile>,
}

impl Spooled {
    /// Hands the records to `apply`, chunk by chunk.
    pub(super) fn drain(
        self,
        mut apply: impl FnMut(&RecordRun) -> Result<(), RestoreError>,
    ) -> Result<(), RestoreError> {
        for chunk in self.chunks {
            let bytes = match chunk.held {
                Held::Memory(bytes) => bytes,
                Held::File { offset, len } => {
                    let file = self.file.as_ref().ok_or_else(|| lost(chunk.before.lsn, "their file is gone"))?;
                    let mut bytes = vec![0; len];
                    file.file.read_exact_at(&mut bytes, offset)?;
                    bytes.into()
                }
            };
            let run = RecordRun::scan(chunk.before.lsn, chunk.before.chain, bytes)
                .map_err(|error| RestoreError::staging(chunk.before.lsn, &error))?;
            if run.chain_after() != chunk.after {
                return Err(lost(chunk.before.lsn, "their chain is another one"));
            }
            apply(&run)?;
        }
        Ok(())
    }
}

fn lost(after: Lsn, reason: &str) -> RestoreError {
    RestoreError::Staging { after, reason: reason.into() }
}
