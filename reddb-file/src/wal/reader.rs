//! Streaming the durable log while the writer goes on: for replay, archiving and replication.
//!
//! The caller says how far the log is durable; nothing beyond that is ever read as a batch. Memory is bounded by one batch and
//! a window of half a megabyte, past the page cache by one megabyte more. Who follows the writer closely shares [`RecentBatches`]
//! with it. A segment may be recycled while it is being read: its salt then no longer checks out, its name is gone, and the
//! reader says [`WalReadError::Pruned`].

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::chain::Chain;
use crate::ids::{ClusterId, Epoch, Lsn, TimelineId};
use crate::layout::{parse_segment_name, segment_path, timeline_dir};
use crate::mark::TimedMark;
use crate::record::RecordView;
use crate::vfs::{OpenMode, Vfs};

use super::error::WalReadError;
use super::format::{BLOCK, BLOCK_U64, SegmentHeader, SegmentHeaderError};
use super::recent::{Recent, RecentBatches};
use super::verify::{BatchFault, check_order, verify_records};
use super::window::{RawBatchError, Window};

/// How often a step of reading begins anew because files were renamed under it.
const RETRIES_MAX: u32 = 8;

/// A run of consecutive records of one batch; order, times, checksums and chain have been checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WalBatch {
    /// The epoch of the segment that it lies in.
    pub epoch: Epoch,
    /// Its first record.
    pub first_lsn: Lsn,
    /// The chain before its first record.
    pub chain_before: Chain,
    /// The time of its first record, in Unix milliseconds.
    pub first_time_ms: u64,
    /// Its last record.
    pub last: TimedMark,
    /// The encoded records, back to back.
    pub bytes: Bytes,
}

impl WalBatch {
    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = RecordView<'_>> {
        let mut rest = self.bytes.as_ref();
        std::iter::from_fn(move || {
            // The batch is made by `WalReader` alone, which has decoded all of it.
            let record = RecordView::decode(rest).ok()?;
            rest = &rest[record.bytes.len()..];
            Some(record)
        })
    }

    /// Its records, each with the chain after it (hashed again: some 160 ns a record).
    pub fn records_with_chain(&self) -> impl Iterator<Item = (RecordView<'_>, Chain)> {
        let mut chain = self.chain_before;
        self.records().map(move |record| {
            chain = chain.extend(record.bytes);
            (record, chain)
        })
    }

    /// Itself from the record `lsn` on, which it holds.
    fn from(self, lsn: Lsn) -> Self {
        match lsn.prev().and_then(|before| self.split_after(before)) {
            Some((_, tail)) => tail,
            None => self,
        }
    }

    /// Cuts it after the record `lsn`, if both parts have a record.
    fn split_after(&self, lsn: Lsn) -> Option<(Self, Self)> {
        if lsn < self.first_lsn || lsn >= self.last.lsn {
            return None;
        }
        let mut at = 0;
        let mut end = None;
        for (record, chain) in self.records_with_chain() {
            if let Some(last) = end {
                let head = Self { last, bytes: self.bytes.slice(..at), ..self.clone() };
                let tail = Self {
                    first_lsn: record.lsn,
                    chain_before: last.chain,
                    first_time_ms: record.time_ms,
                    bytes: self.bytes.slice(at..),
                    ..self.clone()
                };
                return Some((head, tail));
            }
            at += record.bytes.len();
            if record.lsn == lsn {
                end = Some(TimedMark { lsn, chain, time_ms: record.time_ms });
            }
        }
        None
    }
}

/// Reads batches in LSN order, while the writer goes on.
#[derive(Debug)]
pub struct WalReader {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    cluster: ClusterId,
    timeline: TimelineId,
    next_lsn: Lsn,
    mode: OpenMode,
    /// Where the writer that it follows leaves what it appends.
    recent: Option<Arc<RecentBatches>>,
    segment: Option<OpenSegment>,
    /// Where the log goes on after a batch that was found there.
    place: Option<Place>,
    /// What was read and not given, or given back: consecutive parts of batches.
    rest: VecDeque<WalBatch>,
    /// The last record that was given.
    given: Option<TimedMark>,
}

/// A position in a segment, between two batches.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The LSN that the segment begins with.
    pub(super) segment: Lsn,
    /// In the file, in bytes.
    pub(super) offset: u64,
    /// The record before it.
    pub(super) before: TimedMark,
}

/// A segment and the position in it.
#[derive(Debug)]
struct OpenSegment {
    path: PathBuf,
    header: SegmentHeader,
    window: Window,
    /// Batches up to here were durable when the window was read.
    window_durable: Lsn,
    /// Where the next batch begins.
    offset: u64,
    /// The position before it. Its time is a lower bound after skipping.
    before: TimedMark,
}

/// What came of trying to read a batch.
enum Attempt {
    Batch(WalBatch),
    /// Nothing for the caller in it.
    Skipped,
    /// No valid batch is there.
    Fault(BatchFault),
}

impl WalReader {
    /// A reader of the log in the data directory `dir` that begins with record `from`. Opens nothing yet.
    #[must_use]
    pub fn new(vfs: Arc<dyn Vfs>, dir: &Path, cluster: ClusterId, timeline: TimelineId, from: Lsn) -> Self {
        Self {
            vfs,
            dir: dir.to_owned(),
            cluster,
            timeline,
            next_lsn: from,
            mode: OpenMode::Read,
            recent: None,
            place: None,
            segment: None,
            rest: VecDeque::new(),
            given: None,
        }
    }

    /// Follows a writer closely: finds in memory what that one has just appended, and reads the rest past the page cache, as it
    /// was written.
    #[must_use]
    pub fn following(mut self, recent: Arc<RecentBatches>) -> Self {
        self.mode = OpenMode::ReadDirect;
        self.recent = Some(recent);
        self
    }

    /// The record that the next batch begins with.
    #[must_use]
    pub fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The next records, up to and including `durable`, which the caller knows to be durable; `None` where there are none.
    ///
    /// # Errors
    /// Any [`WalReadError`]. The reader stays where it was.
    pub fn next_batch(&mut self, durable: Lsn) -> Result<Option<WalBatch>, WalReadError> {
        if self.next_lsn > durable {
            return Ok(None);
        }
        let batch = match self.rest.pop_front() {
            Some(rest) => rest,
            None => self.read_batch(durable)?,
        };
        let batch = match batch.split_after(durable) {
            Some((head, tail)) => {
                self.rest.push_front(tail);
                head
            }
            None => batch,
        };
        self.next_lsn = batch.last.lsn.next().unwrap_or(Lsn::MAX);
        self.given = Some(batch.last);
        Ok(Some(batch))
    }

    /// Takes back what it gave last, from the record `from` on, which that batch holds: the next batch begins there.
    pub fn give_back(&mut self, batch: WalBatch, from: Lsn) {
        let (head, tail) = match from.prev().and_then(|before| batch.split_after(before)) {
            Some((head, tail)) => (Some(head.last), tail),
            None => (None, batch),
        };
        self.next_lsn = tail.first_lsn;
        self.given = head;
        self.rest.push_front(tail);
    }

    /// The rest of the batch that holds the next record, from that record on.
    fn read_batch(&mut self, durable: Lsn) -> Result<WalBatch, WalReadError> {
        if let Some((batch, after)) = self.find_recent() {
            self.segment = None;
            self.place = Some(after);
            return Ok(batch);
        }
        let mut retries = 0;
        loop {
            let mut segment = match self.segment.take() {
                Some(segment) => segment,
                None => match self.reopen()? {
                    Some(segment) => segment,
                    None => self.locate()?,
                },
            };
            match segment.next(self.next_lsn, durable)? {
                Attempt::Batch(batch) => {
                    self.segment = Some(segment);
                    return Ok(batch);
                }
                Attempt::Skipped => self.segment = Some(segment),
                Attempt::Fault(fault) => {
                    retries += 1;
                    self.segment = self.follow(segment, fault, retries)?;
                }
            }
        }
    }

    /// The rest of the batch that holds the next record, where that is in memory, and where the log goes on after it. Its chain is
    /// checked, as that of a batch on the disk is; where it is not what it should be, the disk is asked.
    fn find_recent(&self) -> Option<(WalBatch, Place)> {
        let Recent { batch, after, .. } = self.recent.as_ref()?.find(self.timeline, self.next_lsn)?;
        let (last, chain) = batch.records_with_chain().last()?;
        if (last.lsn, chain) != (batch.last.lsn, batch.last.chain) {
            return None;
        }
        let batch = batch.from(self.next_lsn);
        let before = self.given.filter(|given| given.lsn.next() == Some(self.next_lsn));
        before.is_none_or(|before| before.chain == batch.chain_before).then_some((batch, after))
    }

    /// The segment that a batch in memory was left behind in, at the end of that batch; none where it is not the next one, or
    /// where the segment is gone.
    fn reopen(&mut self) -> Result<Option<OpenSegment>, WalReadError> {
        let Some(place) = self.place.take().filter(|place| place.before.lsn.next() == Some(self.next_lsn)) else {
            return Ok(None);
        };
        let segment = self.open(place.segment, &mut 0)?;
        Ok(segment.map(|segment| OpenSegment { offset: place.offset, before: place.before, ..segment }))
    }

    /// The segment in which the next record lies.
    fn locate(&self) -> Result<OpenSegment, WalReadError> {
        let log_dir = timeline_dir(&self.dir, self.timeline);
        let mut retries = 0;
        loop {
            let entries = match self.vfs.list(&log_dir) {
                Err(error) if error.is_not_found() => Vec::new(),
                entries => entries?,
            };
            let lsns: Vec<Lsn> = entries.iter().filter_map(|entry| parse_segment_name(&entry.name)).collect();
            let Some(first_lsn) = lsns.iter().copied().filter(|lsn| *lsn <= self.next_lsn).max() else {
                return Err(WalReadError::Pruned { requested: self.next_lsn, first_available: lsns.into_iter().min() });
            };
            if let Some(segment) = self.open(first_lsn, &mut retries)? {
                return Ok(segment);
            }
        }
    }

    /// The segment that begins with `first_lsn`; none where it was renamed while it was being opened.
    fn open(&self, first_lsn: Lsn, retries: &mut u32) -> Result<Option<OpenSegment>, WalReadError> {
        let path = segment_path(&self.dir, self.timeline, first_lsn);
        let file = match self.vfs.open(&path, self.mode) {
            Err(error) if error.is_not_found() && *retries < RETRIES_MAX => {
                *retries += 1;
                return Ok(None);
            }
            file => file?,
        };
        let mut block = vec![0; BLOCK];
        let count = file.read_at(&mut block, 0)?;
        block.truncate(count);
        let file_bytes = file.len_bytes()?;
        let header = match SegmentHeader::decode(&block) {
            Ok(header) if header.first_lsn == first_lsn => header,
            // Recycled between opening and reading: then the name is gone, or means another file, by now.
            _ if *retries < RETRIES_MAX => {
                *retries += 1;
                return Ok(None);
            }
            Ok(header) => {
                let reason = format!("its header says that it begins with LSN {}", header.first_lsn);
                return Err(WalReadError::Damaged { segment: path, offset: 0, lsn: first_lsn, reason });
            }
            Err(error) => return Err(damaged_header(path, first_lsn, &error)),
        };
        if (header.cluster, header.timeline) != (self.cluster, self.timeline) {
            return Err(WalReadError::OtherLog {
                segment: path,
                cluster: self.cluster,
                timeline: self.timeline,
                found_cluster: header.cluster,
                found_timeline: header.timeline,
            });
        }
        let before = header.before();
        Ok(Some(OpenSegment {
            path,
            header,
            window: Window::new(file, file_bytes),
            window_durable: Lsn::ZERO,
            offset: BLOCK_U64,
            before,
        }))
    }

    /// Where to read on when the durable batch after `segment.before` is not at `segment.offset`: in the next segment; or
    /// nowhere known, when the segment is not the one that has its name any more. Anything else is damage.
    fn follow(
        &self,
        segment: OpenSegment,
        fault: BatchFault,
        retries: u32,
    ) -> Result<Option<OpenSegment>, WalReadError> {
        let lsn = segment.before.lsn.next().unwrap_or(Lsn::MAX);
        let damaged = |segment: OpenSegment, reason| {
            Err(WalReadError::Damaged { segment: segment.path, offset: segment.offset, lsn, reason })
        };
        if retries > RETRIES_MAX {
            return damaged(segment, fault.to_string());
        }
        let next_path = segment_path(&self.dir, self.timeline, lsn);
        if self.vfs.metadata(&next_path)?.is_some() {
            // The files may be renamed at any moment; what cannot be opened is looked for again from the start.
            let Some(next) = self.open(lsn, &mut 0)? else { return Ok(None) };
            if next.header != segment.header {
                if next.before.chain != segment.before.chain {
                    return damaged(next, "it does not continue the chain of the segment before it".to_owned());
                }
                if next.header.epoch < segment.header.epoch {
                    return damaged(next, "it is of a lower epoch than the segment before it".to_owned());
                }
                return Ok(Some(next));
            }
        }
        let first_lsn = segment.header.first_lsn;
        match self.open(first_lsn, &mut 0)? {
            Some(same) if same.header == segment.header => damaged(segment, fault.to_string()),
            _ => Ok(None),
        }
    }
}

impl OpenSegment {
    /// Reads the next batch, if it holds `wanted` or a later record.
    fn next(&mut self, wanted: Lsn, durable: Lsn) -> Result<Attempt, WalReadError> {
        // What was read when the batch was not durable yet may be what was there before it.
        if self.window_durable <= self.before.lsn {
            self.window.forget();
        }
        if self.window.is_empty() {
            self.window_durable = durable;
        }
        match self.try_next(wanted) {
            Ok(attempt) => Ok(attempt),
            Err(RawBatchError::Io(error)) => Err(error.into()),
            Err(RawBatchError::Fault(fault)) => Ok(Attempt::Fault(fault)),
        }
    }

    fn try_next(&mut self, wanted: Lsn) -> Result<Attempt, RawBatchError> {
        let salt = self.header.salt;
        let header = self.window.batch_header(self.offset, &salt)?;
        check_order(&header, self.before.lsn).map_err(RawBatchError::Fault)?;
        if header.last_lsn < wanted {
            self.offset += header.file_bytes();
            self.before = TimedMark { lsn: header.last_lsn, chain: header.chain_after, time_ms: self.before.time_ms };
            return Ok(Attempt::Skipped);
        }
        let batch = self.window.batch_records(self.offset, header)?;
        let mut first_time_ms = None;
        let last = verify_records(&batch.header, &salt, &batch.records, self.before, |record, _| {
            first_time_ms.get_or_insert(record.time_ms);
        })
        .map_err(RawBatchError::Fault)?;
        let whole = WalBatch {
            epoch: self.header.epoch,
            first_lsn: batch.header.first_lsn,
            chain_before: self.before.chain,
            first_time_ms: first_time_ms.unwrap_or(last.time_ms),
            last,
            bytes: batch.records,
        };
        self.offset += batch.header.file_bytes();
        self.before = last;
        Ok(Attempt::Batch(whole.from(wanted)))
    }
}

fn damaged_header(segment: PathBuf, lsn: Lsn, error: &SegmentHeaderError) -> WalReadError {
    WalReadError::Damaged { segment, offset: 0, lsn, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordKind;
    use crate::vfs::sim::SimVfs;
    use crate::wal::BatchBuilder;

    #[test]
    fn a_batch_in_memory_that_its_chain_does_not_prove_is_not_believed() {
        let cluster = ClusterId::from_bytes([1; 16]);
        let before = TimedMark::genesis(cluster);
        let mut builder = BatchBuilder::new(before);
        for payload in [&[1; 9][..], &[2; 30]] {
            builder.push(5, RecordKind::Changes, payload).unwrap();
        }
        let whole = WalBatch {
            epoch: Epoch::new(1),
            first_lsn: Lsn::new(1),
            chain_before: before.chain,
            first_time_ms: 5,
            last: builder.last(),
            bytes: Bytes::copy_from_slice(builder.records()),
        };
        let finds = |batch: &WalBatch, given: Option<TimedMark>| {
            let recent = RecentBatches::new(1 << 20);
            let after = Place { segment: Lsn::new(1), offset: BLOCK_U64, before: batch.last };
            recent.push(Recent { timeline: TimelineId::FIRST, batch: batch.clone(), after });
            let vfs = SimVfs::new(1).shared();
            let mut reader = WalReader::new(vfs, Path::new("/db"), cluster, TimelineId::FIRST, Lsn::new(1));
            reader.given = given;
            reader.following(Arc::new(recent)).find_recent().is_some()
        };
        assert!(finds(&whole, None) && finds(&whole, Some(before)));
        assert!(!finds(&whole, Some(TimedMark { chain: whole.last.chain, ..before })), "it continues another log");
        for at in 0..whole.bytes.len() {
            let mut bytes = whole.bytes.to_vec();
            bytes[at] ^= 1;
            assert!(!finds(&WalBatch { bytes: bytes.into(), ..whole.clone() }, None), "byte {at}");
        }
        assert!(!finds(&WalBatch { bytes: whole.bytes.slice(..whole.bytes.len() - 46), ..whole.clone() }, None));
    }
}
