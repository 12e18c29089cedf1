//! Reading tables from one end to the other: what a digest of everything needs.
//!
//! The tree's own iterator gives every entry an allocation for its key and a counted reference to its block, keeps blocks in
//! the cache, and compares entries of a few hundred bytes in a heap. Here a block is read once, with its neighbours, its entries
//! are lent, and the sorted runs stay in the order of their next entries. Every block's checksum is checked, as the tree does.
//!
//! Beside [`super::lsm`] the one file that knows the `lsm-tree` crate: the layout of a table's index and of its data blocks.
//!
//! Invariant: gives the newest version of each key that the tables hold, so it serves only readers for whom they hold
//! nothing that is too new, and lack nothing.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::fs::File;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use lsm_tree::table::block::BlockType;
use lsm_tree::table::util::SliceIndexes;
use lsm_tree::table::{Block, BlockHandle, BlockOffset, DataBlock, IndexBlock};
use lsm_tree::{Slice, Table, ValueType};

use super::files::io_error;
use super::tree_dir::TreeDir;
use super::{EngineError, EngineIter, KeyRange};

/// What is read of a table at once at first: a range may be empty.
const READ_BYTES_MIN: usize = 8 * 1024;
/// What is read at once in the end, a single larger block apart.
const READ_BYTES_MAX: usize = 256 * 1024;

/// A key and its value, lent.
pub(crate) type LentEntry<'a> = (&'a [u8], &'a [u8]);

/// Lends entries in key order. After an error it is not asked again.
pub(crate) struct EngineScan(Source);

enum Source {
    Tables(TableScan),
    Iter { iter: EngineIter, entry: Option<(bytes::Bytes, bytes::Bytes)> },
}

impl EngineScan {
    pub(super) fn of_tables(tables: TableScan) -> Self {
        Self(Source::Tables(tables))
    }

    pub(super) fn of_iter(iter: EngineIter) -> Self {
        Self(Source::Iter { iter, entry: None })
    }

    /// The next key and its value; none at the end.
    ///
    /// # Errors
    /// Errors of the disk, and [`EngineError::Corrupt`].
    pub(crate) fn next(&mut self) -> Result<Option<LentEntry<'_>>, EngineError> {
        match &mut self.0 {
            Source::Tables(tables) => tables.next(),
            Source::Iter { iter, entry } => {
                *entry = iter.next().transpose()?;
                Ok(entry.as_ref().map(|(key, value)| (&key[..], &value[..])))
            }
        }
    }
}

/// A merge of sorted runs.
pub(super) struct TableScan {
    runs: Vec<Run>,
    /// The runs that have an entry, by its key, and the newest first where several have the same.
    order: Vec<usize>,
    /// The first run's entry was looked at.
    seen: bool,
    /// The key that was looked at last. Keys are never empty.
    key: Vec<u8>,
}

impl TableScan {
    /// The entries in `range` of sorted runs of tables, which are below `dir`.
    pub(super) fn new(dir: &Arc<TreeDir>, runs: Vec<Vec<Table>>, bounds: KeyRange<'_>) -> Result<Self, EngineError> {
        let range = Range { start: bounds.0.map(<[u8]>::to_vec), end: bounds.1.map(<[u8]>::to_vec) };
        let runs = runs.into_iter().map(|tables| {
            let tables = tables.into_iter().filter(|table| table.metadata.key_range.overlaps_with_bounds(&bounds));
            Run::new(dir, tables.collect(), range.clone())
        });
        let mut scan = Self { runs: runs.collect(), order: Vec::new(), seen: false, key: Vec::new() };
        for index in 0..scan.runs.len() {
            if scan.runs[index].advance()? {
                let place = scan.order.partition_point(|other| scan.runs[*other].precedes(&scan.runs[index]));
                scan.order.insert(place, index);
            }
        }
        Ok(scan)
    }

    fn next(&mut self) -> Result<Option<LentEntry<'_>>, EngineError> {
        loop {
            if std::mem::take(&mut self.seen) {
                self.advance()?;
            }
            let Some(first) = self.order.first() else { return Ok(None) };
            self.seen = true;
            let (key, entry) = self.runs[*first].entry();
            if key == self.key {
                // An older version.
                continue;
            }
            self.key.clear();
            self.key.extend_from_slice(key);
            if !entry.is_tombstone {
                break;
            }
        }
        Ok(self.order.first().map(|first| (&self.key[..], self.runs[*first].value())))
    }

    /// Moves the first run on, and puts it where it belongs then.
    fn advance(&mut self) -> Result<(), EngineError> {
        let Some((first, others)) = self.order.split_first() else { return Ok(()) };
        let first = *first;
        if self.runs[first].advance()? {
            let run = &self.runs[first];
            let precedes = |other: &usize| self.runs[*other].precedes(run);
            // Mostly it stays the first, or nearly so.
            let place = others.iter().position(|other| !precedes(other)).unwrap_or(others.len());
            self.order[..=place].rotate_left(1);
        } else {
            self.order.remove(0);
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Range {
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
}

impl Range {
    fn is_before(&self, key: &[u8]) -> bool {
        match &self.start {
            Bound::Included(start) => key < &start[..],
            Bound::Excluded(start) => key <= &start[..],
            Bound::Unbounded => false,
        }
    }

    fn is_after(&self, key: &[u8]) -> bool {
        match &self.end {
            Bound::Included(end) => key > &end[..],
            Bound::Excluded(end) => key >= &end[..],
            Bound::Unbounded => false,
        }
    }
}

/// An entry of the block that a run is at.
struct Entry {
    /// Where its key ends in the block's keys; it begins where the one before it ends.
    key_end: usize,
    value: (usize, usize),
    seqno: u64,
    is_tombstone: bool,
}

/// Tables in key order that do not overlap, and the entry that is next.
struct Run {
    dir: Arc<TreeDir>,
    range: Range,
    tables: VecDeque<Table>,
    blocks: Option<Blocks>,
    /// The block's bytes.
    block: Slice,
    /// The block's keys, one behind the other.
    keys: Vec<u8>,
    entries: Vec<Entry>,
    at: usize,
}

impl Run {
    /// Has no entry before it is advanced.
    fn new(dir: &Arc<TreeDir>, tables: VecDeque<Table>, range: Range) -> Self {
        Self {
            dir: Arc::clone(dir),
            range,
            tables,
            blocks: None,
            block: Slice::from(Vec::new()),
            keys: Vec::new(),
            entries: Vec::new(),
            at: 0,
        }
    }

    fn key(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.entries[before].key_end);
        &self.keys[start..self.entries[at].key_end]
    }

    fn entry(&self) -> (&[u8], &Entry) {
        (self.key(self.at), &self.entries[self.at])
    }

    fn value(&self) -> &[u8] {
        let (start, end) = self.entries[self.at].value;
        &self.block[start..end]
    }

    /// Whether its entry comes before another run's.
    fn precedes(&self, other: &Self) -> bool {
        let ((key, entry), (other_key, other_entry)) = (self.entry(), other.entry());
        match key.cmp(other_key) {
            Ordering::Less => true,
            Ordering::Equal => entry.seqno > other_entry.seqno,
            Ordering::Greater => false,
        }
    }

    /// Goes to the next entry, and says whether there is one.
    fn advance(&mut self) -> Result<bool, EngineError> {
        self.at += 1;
        while self.at >= self.entries.len() {
            if !self.read_block()? {
                return Ok(false);
            }
            self.at = 0;
            while self.at < self.entries.len() && self.range.is_before(self.key(self.at)) {
                self.at += 1;
            }
        }
        Ok(!self.range.is_after(self.key(self.at)))
    }

    fn read_block(&mut self) -> Result<bool, EngineError> {
        loop {
            if let Some(blocks) = &mut self.blocks
                && let Some(block) = blocks.next(&self.dir, &self.range)?
            {
                let seqno_base = blocks.table.global_seqno();
                self.take(block, seqno_base)?;
                return Ok(true);
            }
            let Some(table) = self.tables.pop_front() else { return Ok(false) };
            self.blocks = Some(Blocks::open(&self.dir, table, &self.range)?);
        }
    }

    fn take(&mut self, block: Block, seqno_base: u64) -> Result<(), EngineError> {
        let block = DataBlock::new(block);
        let bytes = block.as_slice();
        self.keys.clear();
        self.entries.clear();
        for item in block.iter() {
            if matches!(item.value_type, ValueType::Indirection) {
                return Err(self
                    .dir
                    .corrupt_table("an entry has its value elsewhere, which this version never writes"));
            }
            for SliceIndexes(start, end) in item.prefix.into_iter().chain([item.key]) {
                let part = bytes.get(start..end);
                self.keys.extend_from_slice(part.ok_or_else(|| self.dir.corrupt_table("a key is outside its block"))?);
            }
            let value = item.value.map_or((0, 0), |SliceIndexes(start, end)| (start, end));
            if bytes.get(value.0..value.1).is_none() {
                return Err(self.dir.corrupt_table("a value is outside its block"));
            }
            self.entries.push(Entry {
                key_end: self.keys.len(),
                value,
                seqno: item.seqno.saturating_add(seqno_base),
                is_tombstone: item.value_type.is_tombstone(),
            });
        }
        self.block = bytes.clone();
        Ok(())
    }
}

/// The data blocks of a table, from the first that may hold an entry of a range.
struct Blocks {
    table: Table,
    file: File,
    /// Blocks of the index that are still to be read; none where the index is one block.
    partitions: VecDeque<BlockHandle>,
    /// Data blocks that are still to be read.
    handles: VecDeque<BlockHandle>,
    /// Data blocks that were read, one behind the other, and how much of them was taken.
    ahead: Vec<u8>,
    ahead_taken: usize,
    read_bytes: usize,
}

impl Blocks {
    fn open(dir: &Arc<TreeDir>, table: Table, range: &Range) -> Result<Self, EngineError> {
        let file = File::open(&*table.path).map_err(|source| io_error(&table.path, "open", source))?;
        let mut blocks = Self {
            table,
            file,
            partitions: VecDeque::new(),
            handles: VecDeque::new(),
            ahead: Vec::new(),
            ahead_taken: 0,
            read_bytes: READ_BYTES_MIN,
        };
        let top = blocks.read_index(dir, blocks.table.regions.tli, range)?;
        if blocks.table.regions.index.is_some() {
            blocks.partitions = top
        } else {
            blocks.handles = top
        }
        Ok(blocks)
    }

    /// The blocks that a block of the index names, apart from those that hold nothing of the range.
    fn read_index(
        &self,
        dir: &Arc<TreeDir>,
        handle: BlockHandle,
        range: &Range,
    ) -> Result<VecDeque<BlockHandle>, EngineError> {
        let block = Block::from_file(&self.file, handle, self.table.metadata.index_block_compression)
            .map_err(|error| dir.tree_error("read the index of a table", error))?;
        if block.header.block_type != BlockType::Index {
            return Err(dir.corrupt_table("a block of another type stands where one of the index belongs"));
        }
        let block = IndexBlock::new(block);
        let mut items = block.iter();
        if let Bound::Included(start) | Bound::Excluded(start) = &range.start
            && !items.seek(start, u64::MAX)
        {
            return Ok(VecDeque::new());
        }
        let mut handles = VecDeque::new();
        let mut end_key = Vec::new();
        for item in items {
            end_key.clear();
            for SliceIndexes(start, end) in item.prefix.into_iter().chain([item.end_key]) {
                let part = block.as_slice().get(start..end);
                end_key.extend_from_slice(part.ok_or_else(|| dir.corrupt_table("a key is outside its index block"))?);
            }
            handles.push_back(BlockHandle::new(item.offset, item.size));
            if range.is_after(&end_key) {
                break;
            }
        }
        Ok(handles)
    }

    fn next(&mut self, dir: &Arc<TreeDir>, range: &Range) -> Result<Option<Block>, EngineError> {
        let compression = self.table.metadata.data_block_compression;
        let fault = |error| dir.tree_error("read a table", error);
        if self.ahead_taken >= self.ahead.len() {
            while self.handles.is_empty() {
                let Some(partition) = self.partitions.pop_front() else { return Ok(None) };
                self.handles = self.read_index(dir, partition, range)?;
            }
            if let Some(large) = self.handles.pop_front_if(|handle| handle.size() as usize > READ_BYTES_MAX) {
                return checked(dir, Block::from_file(&self.file, large, compression).map_err(fault)?).map(Some);
            }
            self.read_ahead()?;
        }
        let mut unread = &self.ahead[self.ahead_taken..];
        let block = Block::from_reader(&mut unread, compression).map_err(fault)?;
        self.ahead_taken = self.ahead.len() - unread.len();
        checked(dir, block).map(Some)
    }

    /// Reads blocks that stand one behind the other.
    fn read_ahead(&mut self) -> Result<(), EngineError> {
        let Some(first) = self.handles.pop_front() else { return Ok(()) };
        let start = *first.offset();
        let mut len = first.size() as usize;
        let fits = |handle: &mut BlockHandle, len: usize| {
            handle.offset() == BlockOffset(start + len as u64) && len + handle.size() as usize <= self.read_bytes
        };
        while let Some(handle) = self.handles.pop_front_if(|handle| fits(handle, len)) {
            len += handle.size() as usize;
        }
        self.ahead.resize(len, 0);
        self.ahead_taken = 0;
        self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        self.file.read_exact_at(&mut self.ahead, start).map_err(|source| io_error(&self.table.path, "read", source))
    }
}

fn checked(dir: &Arc<TreeDir>, block: Block) -> Result<Block, EngineError> {
    if block.header.block_type == BlockType::Data {
        Ok(block)
    } else {
        Err(dir.corrupt_table("a block of another type stands where one of data belongs"))
    }
}
