//! The plain form of an archived segment: a header, then the records' own bytes.
//!
//! ```text
//! offset  size  field          encoding
//!      0     8  magic          "RDBARSEG"
//!      8     4  version        u32 LE: 1
//!     12    16  cluster        the UUID's bytes
//!     28     4  timeline       u32 LE, from 1
//!     32     8  epoch          u64 LE, from 1
//!     40     8  first LSN      u64 LE, from 1
//!     48     8  last LSN       u64 LE, at least the first
//!     56     8  record bytes   u64 LE: the size of all records
//!     64    32  chain before   the chain before the first record
//!     96    32  chain after    the chain after the last record
//!    128     4  CRC            u32 LE: CRC-32 (IEEE) of bytes 0..128
//!    132     …  records        `crate::record`, one after the other, LSNs without a hole, times never going back
//! ```
//!
//! Nothing follows the last record. The CRC guards the header, the chain guards the records: any changed, missing or
//! added byte is an error. In the archive the plain form is one zstd frame; this crate sees it decompressed.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes, BytesMut};

use crate::chain::Chain;
use crate::fields::Fields;
use crate::ids::{ClusterId, Epoch, Lsn, TimelineId};
use crate::limits::{
    ARCHIVE_SEGMENT_RECORD_BYTES_MAX, RECORD_BYTES_MAX, RECORD_HEADER_BYTES, RECORD_PAYLOAD_BYTES_MAX,
};
use crate::record::{Record, RecordError, RecordView};

/// The first bytes of an archived segment's plain form.
pub const SEGMENT_MAGIC: [u8; 8] = *b"RDBARSEG";
/// The version that this crate reads and writes.
pub const SEGMENT_VERSION: u32 = 1;
/// The size of the header, in bytes.
pub const SEGMENT_HEADER_BYTES: usize = 132;
/// How much a decoder reads at once.
const READ_BYTES: usize = 64 * 1024;

/// The header of an archived segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The cluster.
    pub cluster: ClusterId,
    /// The timeline its records are on.
    pub timeline: TimelineId,
    /// The epoch that shipped it.
    pub epoch: Epoch,
    /// Its first record.
    pub first_lsn: Lsn,
    /// Its last record.
    pub last_lsn: Lsn,
    /// The size of all its records, in bytes.
    pub record_bytes: u64,
    /// The chain before its first record.
    pub chain_before: Chain,
    /// The chain after its last record.
    pub chain_after: Chain,
}

/// Bytes that are not an archived segment, or records that may not become one.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// The bytes could not be read; a decompressor's complaint about its input also arrives here.
    #[error("the segment cannot be read at plain offset {offset}: {source}")]
    Read {
        /// How many plain bytes were read before.
        offset: u64,
        /// The reader's answer.
        source: io::Error,
    },
    /// The bytes end before the segment does.
    #[error("the segment is cut short at plain offset {offset}: {needed_bytes} more bytes belong there")]
    Truncated {
        /// Where the bytes end.
        offset: u64,
        /// How many are missing, at least.
        needed_bytes: u64,
    },
    /// Bytes after the last record.
    #[error("bytes follow the segment's last record, at plain offset {offset}")]
    TrailingBytes {
        /// Where they begin.
        offset: u64,
    },
    /// It does not begin as an archived segment.
    #[error("not an archived segment: it begins with {found:02x?}")]
    Magic {
        /// The first bytes.
        found: [u8; 8],
    },
    /// A version that this crate does not know.
    #[error("archived segment of version {found}; this program knows {SEGMENT_VERSION}")]
    Version {
        /// The version.
        found: u32,
    },
    /// The header is damaged.
    #[error("the segment's header is damaged: CRC {computed:08x}, it declares {declared:08x}")]
    HeaderCrc {
        /// What the header says.
        declared: u32,
        /// What its bytes give.
        computed: u32,
    },
    /// The header contradicts itself.
    #[error("the segment's header contradicts itself: {detail}")]
    Header {
        /// How.
        detail: &'static str,
    },
    /// A record cannot be decoded.
    #[error("the record after LSN {after} cannot be decoded: {source}")]
    Record {
        /// The record before it.
        after: Lsn,
        /// Why not.
        source: RecordError,
    },
    /// A record stands where another belongs.
    #[error("LSN {found} stands where LSN {expected} belongs")]
    Lsn {
        /// The LSN that belongs there.
        expected: Lsn,
        /// The LSN that stands there.
        found: Lsn,
    },
    /// A record's time is less than that of the record before.
    #[error("time goes back at LSN {lsn}: {time_ms} after {before_ms}")]
    Time {
        /// The record.
        lsn: Lsn,
        /// Its time.
        time_ms: u64,
        /// The time before it.
        before_ms: u64,
    },
    /// The records are not the ones the header was made for.
    #[error("the chain after LSN {last_lsn} is {computed}, the header says {declared}: a record was changed")]
    Chain {
        /// The last record.
        last_lsn: Lsn,
        /// What the header says.
        declared: Chain,
        /// What the records give.
        computed: Chain,
    },
    /// No records.
    #[error("a segment holds at least one record")]
    Empty,
    /// More records than one segment may hold.
    #[error(
        "{record_bytes} bytes of records; a segment with more than one holds at most {ARCHIVE_SEGMENT_RECORD_BYTES_MAX}"
    )]
    TooLarge {
        /// Their size.
        record_bytes: u64,
    },
}

impl SegmentHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
        out.extend_from_slice(self.cluster.as_bytes());
        out.extend_from_slice(&self.timeline.get().to_le_bytes());
        out.extend_from_slice(&self.epoch.get().to_le_bytes());
        out.extend_from_slice(&self.first_lsn.get().to_le_bytes());
        out.extend_from_slice(&self.last_lsn.get().to_le_bytes());
        out.extend_from_slice(&self.record_bytes.to_le_bytes());
        out.extend_from_slice(self.chain_before.as_bytes());
        out.extend_from_slice(self.chain_after.as_bytes());
        out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes.copy_from_slice(&out);
        bytes
    }

    /// Decodes and checks a header.
    ///
    /// # Errors
    /// [`SegmentError::Magic`], [`SegmentError::Version`], [`SegmentError::HeaderCrc`], [`SegmentError::Header`].
    pub fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, SegmentError> {
        let mut fields = Fields(bytes);
        let magic = fields.take::<8>();
        if magic != SEGMENT_MAGIC {
            return Err(SegmentError::Magic { found: magic });
        }
        let version = u32::from_le_bytes(fields.take());
        if version != SEGMENT_VERSION {
            return Err(SegmentError::Version { found: version });
        }
        let header = Self {
            cluster: ClusterId::from_bytes(fields.take()),
            timeline: TimelineId::new(u32::from_le_bytes(fields.take())),
            epoch: Epoch::new(u64::from_le_bytes(fields.take())),
            first_lsn: Lsn::new(u64::from_le_bytes(fields.take())),
            last_lsn: Lsn::new(u64::from_le_bytes(fields.take())),
            record_bytes: u64::from_le_bytes(fields.take()),
            chain_before: Chain::from_bytes(fields.take()),
            chain_after: Chain::from_bytes(fields.take()),
        };
        let declared = u32::from_le_bytes(fields.take());
        let computed = crc32fast::hash(&bytes[..SEGMENT_HEADER_BYTES - 4]);
        if declared != computed {
            return Err(SegmentError::HeaderCrc { declared, computed });
        }
        header.check().map_err(|detail| SegmentError::Header { detail })?;
        Ok(header)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.timeline.get() == 0 {
            return Err("timeline 0");
        }
        if self.epoch == Epoch::ZERO {
            return Err("epoch 0");
        }
        if self.first_lsn == Lsn::ZERO || self.first_lsn > self.last_lsn {
            return Err("its first LSN is 0 or beyond its last");
        }
        let before = self.first_lsn.prev().unwrap_or(Lsn::ZERO);
        let least = self.last_lsn.records_since(before).checked_mul(RECORD_HEADER_BYTES.into());
        if least.is_none_or(|least| self.record_bytes < least) {
            return Err("it declares fewer record bytes than its records need");
        }
        if self.record_bytes > record_bytes_max(self.first_lsn, self.last_lsn) {
            return Err("it declares more record bytes than a segment may hold");
        }
        Ok(())
    }
}

/// What a segment with these records may hold, in bytes.
fn record_bytes_max(first_lsn: Lsn, last_lsn: Lsn) -> u64 {
    if first_lsn == last_lsn { RECORD_BYTES_MAX.into() } else { ARCHIVE_SEGMENT_RECORD_BYTES_MAX.into() }
}

/// A run of consecutive records and what it proves. Made only by [`RecordRun::scan`] and [`SegmentDecoder::next_run`], which
/// walk its records, so its claims hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRun {
    bytes: Bytes,
    first_lsn: Lsn,
    last_lsn: Lsn,
    first_time_ms: u64,
    last_time_ms: u64,
    chain_before: Chain,
    chain_after: Chain,
}

impl RecordRun {
    /// Checks encoded records: consecutive from the record after `before`, times never going back; computes the chain.
    ///
    /// # Errors
    /// [`SegmentError::Empty`], [`SegmentError::Record`], [`SegmentError::Lsn`], [`SegmentError::Time`],
    /// [`SegmentError::TooLarge`].
    pub fn scan(before: Lsn, chain_before: Chain, bytes: Bytes) -> Result<Self, SegmentError> {
        let mut walk = Walk { lsn: before, time_ms: 0, chain: chain_before };
        let mut rest: &[u8] = &bytes;
        let mut first = None;
        while !rest.is_empty() {
            let view = RecordView::decode(rest).map_err(|source| SegmentError::Record { after: walk.lsn, source })?;
            walk.step(&view)?;
            first.get_or_insert((view.lsn, view.time_ms));
            rest = &rest[view.bytes.len()..];
        }
        let (first_lsn, first_time_ms) = first.ok_or(SegmentError::Empty)?;
        let record_bytes = bytes.len() as u64;
        if record_bytes > record_bytes_max(first_lsn, walk.lsn) {
            return Err(SegmentError::TooLarge { record_bytes });
        }
        Ok(Self {
            first_lsn,
            last_lsn: walk.lsn,
            first_time_ms,
            last_time_ms: walk.time_ms,
            chain_before,
            chain_after: walk.chain,
            bytes,
        })
    }

    /// The records' bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The first record.
    #[must_use]
    pub fn first_lsn(&self) -> Lsn {
        self.first_lsn
    }

    /// The last record.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.last_lsn
    }

    /// The first record's time.
    #[must_use]
    pub fn first_time_ms(&self) -> u64 {
        self.first_time_ms
    }

    /// The last record's time.
    #[must_use]
    pub fn last_time_ms(&self) -> u64 {
        self.last_time_ms
    }

    /// The chain before the first record.
    #[must_use]
    pub fn chain_before(&self) -> Chain {
        self.chain_before
    }

    /// The chain after the last record.
    #[must_use]
    pub fn chain_after(&self) -> Chain {
        self.chain_after
    }

    /// The run's records up to a moment, in Unix milliseconds; `None` where all are later.
    #[must_use]
    pub fn until(&self, time_ms: u64) -> Option<Self> {
        if self.last_time_ms <= time_ms {
            return Some(self.clone());
        }
        let mut taken = 0;
        while let Ok(view) = RecordView::decode(&self.bytes[taken..]) {
            if view.time_ms > time_ms {
                break;
            }
            taken += view.bytes.len();
        }
        // Sound where the whole is; an error is that there is none.
        Self::scan(self.before(), self.chain_before, self.bytes.slice(..taken)).ok()
    }

    fn before(&self) -> Lsn {
        self.first_lsn.prev().unwrap_or(Lsn::ZERO)
    }

    /// How many records.
    #[must_use]
    pub fn record_count(&self) -> u64 {
        self.last_lsn.records_since(self.before())
    }

    /// The header of the segment that holds exactly this run. Its plain form is the header's bytes, then [`Self::bytes`].
    #[must_use]
    pub fn header(&self, cluster: ClusterId, timeline: TimelineId, epoch: Epoch) -> SegmentHeader {
        SegmentHeader {
            cluster,
            timeline,
            epoch,
            first_lsn: self.first_lsn,
            last_lsn: self.last_lsn,
            record_bytes: self.bytes.len() as u64,
            chain_before: self.chain_before,
            chain_after: self.chain_after,
        }
    }
}

/// Where a walk over records stands.
#[derive(Clone, Copy, Debug)]
struct Walk {
    lsn: Lsn,
    time_ms: u64,
    chain: Chain,
}

impl Walk {
    fn step(&mut self, view: &RecordView<'_>) -> Result<(), SegmentError> {
        // After the last possible LSN nothing may follow: any record there is out of place.
        let expected = self.lsn.next().unwrap_or(Lsn::MAX);
        if view.lsn != expected || self.lsn == Lsn::MAX {
            return Err(SegmentError::Lsn { expected, found: view.lsn });
        }
        if view.time_ms < self.time_ms {
            return Err(SegmentError::Time { lsn: view.lsn, time_ms: view.time_ms, before_ms: self.time_ms });
        }
        *self = Self { lsn: view.lsn, time_ms: view.time_ms, chain: self.chain.extend(view.bytes) };
        Ok(())
    }
}

/// Reads a segment's plain form, a record or a run of records at a time.
///
/// The records it gives out are **not proved** until [`Self::next_record`] or [`Self::next_run`] has returned `None`: only
/// then has the chain been compared with the header's. What the header says must still be compared with what the caller
/// expects (cluster, timeline, LSNs, the chain before).
#[derive(Debug)]
pub struct SegmentDecoder<R> {
    reader: R,
    header: SegmentHeader,
    walk: Walk,
    /// What was read and is not part of a record that was given out. Never reaches beyond the records.
    ahead: BytesMut,
    /// Where in the plain form `ahead` ends.
    offset: u64,
    finished: bool,
}

impl<R: Read> SegmentDecoder<R> {
    /// Reads and checks the header.
    ///
    /// # Errors
    /// Any error of [`SegmentHeader::decode`], [`SegmentError::Read`], [`SegmentError::Truncated`].
    pub fn new(mut reader: R) -> Result<Self, SegmentError> {
        let mut offset = 0;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        read_exactly(&mut reader, &mut offset, &mut bytes)?;
        let header = SegmentHeader::decode(&bytes)?;
        let before = header.first_lsn.prev().unwrap_or(Lsn::ZERO);
        let walk = Walk { lsn: before, time_ms: 0, chain: header.chain_before };
        Ok(Self { reader, header, walk, ahead: BytesMut::new(), offset, finished: false })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// The last record that was read; the one before the first where none was.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        self.walk.lsn
    }

    /// The chain after [`Self::lsn`].
    #[must_use]
    pub fn chain(&self) -> Chain {
        self.walk.chain
    }

    /// The next record, or `None` after the last, when the whole segment has proved good.
    ///
    /// # Errors
    /// Any [`SegmentError`] but those of the header. After an error the decoder must not be used again.
    pub fn next_record(&mut self) -> Result<Option<Record>, SegmentError> {
        let after = self.walk.lsn;
        let Some(run) = self.next_run(0, Lsn::MAX)? else { return Ok(None) };
        let (record, _) = Record::decode(run.bytes()).map_err(|source| SegmentError::Record { after, source })?;
        Ok(Some(record))
    }

    /// The next records: as many as `bytes_max` takes, at least one, none after `last` unless it is the first of them. `None`
    /// after the last record, when the whole segment has proved good.
    ///
    /// # Errors
    /// As [`Self::next_record`].
    pub fn next_run(&mut self, bytes_max: usize, last: Lsn) -> Result<Option<RecordRun>, SegmentError> {
        if self.walk.lsn == self.header.last_lsn {
            if !self.finished {
                self.check_end()?;
                self.finished = true;
            }
            return Ok(None);
        }
        let (before, chain_before) = (self.walk.lsn, self.walk.chain);
        let last = last.min(self.header.last_lsn);
        let expected_bytes = bytes_max.min(usize::try_from(self.records_left_bytes()).unwrap_or(bytes_max));
        self.ahead.reserve(expected_bytes.saturating_sub(self.ahead.len()));
        let mut first_time_ms = None;
        let mut taken = 0;
        loop {
            let size = self.record_bytes_at(taken)?;
            if taken > 0 && taken.saturating_add(size) > bytes_max {
                break;
            }
            self.fill(taken + size)?;
            let after = self.walk.lsn;
            let view = RecordView::decode(&self.ahead[taken..taken + size])
                .map_err(|source| SegmentError::Record { after, source })?;
            self.walk.step(&view)?;
            first_time_ms.get_or_insert(view.time_ms);
            taken += size;
            if self.walk.lsn >= last {
                break;
            }
        }
        Ok(Some(RecordRun {
            bytes: self.ahead.split_to(taken).freeze(),
            first_lsn: before.next().unwrap_or(Lsn::MAX),
            last_lsn: self.walk.lsn,
            first_time_ms: first_time_ms.unwrap_or(self.walk.time_ms),
            last_time_ms: self.walk.time_ms,
            chain_before,
            chain_after: self.walk.chain,
        }))
    }

    /// The size of the record that begins at `at` of what was read ahead. Its head is there afterwards, nothing more.
    fn record_bytes_at(&mut self, at: usize) -> Result<usize, SegmentError> {
        let head_bytes = RECORD_HEADER_BYTES as usize;
        self.fill(at + head_bytes)?;
        let payload_bytes = (&self.ahead[at..]).get_u32_le();
        let refused = |source| SegmentError::Record { after: self.walk.lsn, source };
        if payload_bytes > RECORD_PAYLOAD_BYTES_MAX {
            return Err(refused(RecordError::TooLarge { payload_bytes: payload_bytes.into() }));
        }
        let available_bytes = (self.ahead.len() - at - head_bytes) as u64 + self.records_left_bytes();
        if u64::from(payload_bytes) > available_bytes {
            return Err(refused(RecordError::Truncated { needed_bytes: payload_bytes.into(), available_bytes }));
        }
        Ok(head_bytes + payload_bytes as usize)
    }

    /// How many bytes of records the header declares beyond what was read.
    fn records_left_bytes(&self) -> u64 {
        (SEGMENT_HEADER_BYTES as u64).saturating_add(self.header.record_bytes).saturating_sub(self.offset)
    }

    /// Reads until `wanted` bytes are ahead. Grows with what arrives, so a declared length alone allocates nothing.
    fn fill(&mut self, wanted: usize) -> Result<(), SegmentError> {
        while self.ahead.len() < wanted {
            let have = self.ahead.len();
            let step = READ_BYTES.min(usize::try_from(self.records_left_bytes()).unwrap_or(READ_BYTES));
            self.ahead.resize(have + step, 0);
            let read = read_some(&mut self.reader, self.offset, &mut self.ahead[have..]);
            self.ahead.truncate(have + *read.as_ref().unwrap_or(&0));
            match read? {
                0 => {
                    let needed_bytes = (wanted - have) as u64;
                    return Err(SegmentError::Truncated { offset: self.offset, needed_bytes });
                }
                read => self.offset += read as u64,
            }
        }
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), SegmentError> {
        if !self.ahead.is_empty() || self.records_left_bytes() > 0 {
            return Err(SegmentError::Header { detail: "its records are fewer bytes than it declares" });
        }
        if self.walk.chain != self.header.chain_after {
            return Err(SegmentError::Chain {
                last_lsn: self.header.last_lsn,
                declared: self.header.chain_after,
                computed: self.walk.chain,
            });
        }
        let mut one = Vec::new();
        let more = (&mut self.reader)
            .take(1)
            .read_to_end(&mut one)
            .map_err(|source| SegmentError::Read { offset: self.offset, source })?;
        if more > 0 { Err(SegmentError::TrailingBytes { offset: self.offset }) } else { Ok(()) }
    }
}

fn read_exactly<R: Read>(reader: &mut R, offset: &mut u64, into: &mut [u8]) -> Result<(), SegmentError> {
    let mut filled = 0;
    while filled < into.len() {
        match read_some(reader, *offset, &mut into[filled..])? {
            0 => {
                let needed_bytes = (into.len() - filled) as u64;
                return Err(SegmentError::Truncated { offset: *offset, needed_bytes });
            }
            read => {
                filled += read;
                *offset += read as u64;
            }
        }
    }
    Ok(())
}

fn read_some<R: Read>(reader: &mut R, offset: u64, into: &mut [u8]) -> Result<usize, SegmentError> {
    loop {
        match reader.read(into) {
            Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
            read => return read.map_err(|source| SegmentError::Read { offset, source }),
        }
    }
}
