//! Reads a segment of the log and checks its chain, with `reddb-file` alone.
//!
//! ```text
//! cargo run -p reddb-file --example read_segment -- <dir>/wal/0000000001/00000000000000000001.wal
//! ```
//! Without an argument it writes a small log into a temporary directory first. The reading is done by hand, from the byte
//! tables of `docs/format/wal-segment.md`: header, then batch after batch, each record hashed into the chain.

use std::error::Error;
use std::path::{Path, PathBuf};

use reddb_file::control::{ControlState, Shutdown};
use reddb_file::record::RecordView;
use reddb_file::vfs::StdVfs;
use reddb_file::wal::{BatchBuilder, BatchHeader, PoolOptions, Salt, SegmentHeader, SegmentPool, WalWriter, recover};
use reddb_file::{ClusterId, Epoch, Lsn, RecordKind, TimedMark, TimelineId};

const BLOCK: usize = 4096;
const BATCH_HEADER: usize = 64;

fn main() -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let path = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => write_a_small_log(temporary.path())?,
    };
    read_segment(&std::fs::read(path)?)
}

fn read_segment(file: &[u8]) -> Result<(), Box<dyn Error>> {
    let header = SegmentHeader::decode(file.get(..BLOCK).ok_or("the file has no header")?)?;
    println!("cluster {}, timeline {}, epoch {}", header.cluster, header.timeline, header.epoch);
    println!("chain before LSN {}: {}", header.first_lsn, header.chain_before);
    let mut chain = header.chain_before;
    let mut at = BLOCK;
    // Where no batch begins, or one of an earlier use of the file (its checksum is salted), this one's batches end.
    while let Some(Ok(batch)) = file.get(at..at + BATCH_HEADER).map(|bytes| BatchHeader::decode(bytes, &header.salt)) {
        let records_end = at + BATCH_HEADER + usize::try_from(batch.records_bytes)?;
        let mut records = file.get(at + BATCH_HEADER..records_end).ok_or("the file was cut")?;
        while !records.is_empty() {
            let record = RecordView::decode(records)?;
            chain = chain.extend(record.bytes);
            println!("LSN {} at {} ms, {:?}, {} bytes", record.lsn, record.time_ms, record.kind, record.payload.len());
            records = &records[record.bytes.len()..];
        }
        if chain != batch.chain_after {
            return Err(format!("history was altered at or before LSN {}", batch.last_lsn).into());
        }
        at = records_end.next_multiple_of(BLOCK);
    }
    println!("chain at the end: {chain} (checked)");
    Ok(())
}

fn write_a_small_log(dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let vfs = StdVfs::shared();
    let cluster = ClusterId::from_bytes(*b"an example log!!");
    let start = TimedMark::genesis(cluster);
    let control = ControlState {
        timeline: TimelineId::FIRST,
        epoch: Epoch::new(1),
        durable: start,
        archived: start.mark(),
        checkpoint: start.mark(),
        shutdown: Shutdown::Unclean,
        clock_offset_ms: 0,
        timeline_begin: Lsn::new(1),
        timeline_random_id: [0; 16],
        restored_from: None,
    };
    let options = PoolOptions { segment_bytes: 64 * 1024, ..PoolOptions::default() };
    let pool = SegmentPool::open(vfs.clone(), dir, options)?;
    // A real program takes salts from a random source: they keep an earlier use of a file from being taken for this one.
    let recovery = recover(&vfs, dir, cluster, &control, &pool, Salt::from_bytes([1; 16]))?;
    let salts = Box::new(|| Salt::from_bytes([2; 16]));
    let mut writer = WalWriter::open(vfs, dir, pool, recovery.log, control.epoch, salts)?;
    let mut batch = BatchBuilder::new(writer.last());
    for payload in [b"first".as_slice(), b"second", b"third"] {
        batch.push(1_700_000_000_000, RecordKind::Changes, payload)?;
    }
    writer.append(&mut batch)?;
    let segments = writer.segments();
    Ok(segments.first().ok_or("the log has a segment now")?.path.clone())
}
