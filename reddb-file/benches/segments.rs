//! Segments: a batch appended to the local log and read back, and the archived form encoded and decoded with zstd around it.
//!
//! Appending writes and syncs: its figure is the disk's as much as ours.

use std::error::Error;
use std::hint::black_box;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reddb_file::archive::{RecordRun, SegmentDecoder};
use reddb_file::control::{ControlState, Shutdown};
use reddb_file::vfs::{StdVfs, Vfs};
use reddb_file::wal::{BatchBuilder, PoolOptions, Salt, SegmentPool, WalReader, WalWriter, recover};
use reddb_file::{Chain, ClusterId, Epoch, Lsn, Record, RecordKind, TimedMark, TimelineId};

/// Records in a batch.
const BATCH: u64 = 50;
/// Batches in the log that is read.
const BATCHES: u64 = 200;
/// Records in an archived segment.
const RECORDS: u64 = 10_000;
/// How hard the archive compresses where nothing is said.
const ZSTD_LEVEL: i32 = 1;

fn cluster() -> ClusterId {
    ClusterId::from_bytes(*b"the bench log!!!")
}

/// A payload as a SET leaves it: a key of its own and a value that hardly compresses.
fn payload(number: u64) -> Vec<u8> {
    let mut payload = format!("key:{number:012}").into_bytes();
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while payload.len() < 128 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        payload.extend_from_slice(&state.to_le_bytes());
    }
    payload
}

fn open(dir: &Path) -> Result<(Arc<dyn Vfs>, WalWriter), Box<dyn Error>> {
    let vfs = StdVfs::shared();
    let start = TimedMark::genesis(cluster());
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
    let pool = SegmentPool::open(Arc::clone(&vfs), dir, PoolOptions::default())?;
    let recovery = recover(&vfs, dir, cluster(), &control, &pool, Salt::from_bytes([1; 16]))?;
    let salts = Box::new(|| Salt::from_bytes([2; 16]));
    let writer = WalWriter::open(Arc::clone(&vfs), dir, pool, recovery.log, control.epoch, salts)?;
    Ok((vfs, writer))
}

fn append(writer: &mut WalWriter, payload: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut batch = BatchBuilder::new(writer.last());
    for _ in 0..BATCH {
        batch.push(1_000, RecordKind::Changes, payload)?;
    }
    writer.append(&mut batch)?;
    // What nobody reads goes back to the pool, so that the log stays small however long this runs.
    if writer.local_bytes() > 256 << 20 {
        let summary = writer.prune(writer.last().lsn);
        black_box(summary);
    }
    Ok(())
}

fn local(criterion: &mut Criterion) {
    let payload = payload(1);
    let mut group = criterion.benchmark_group("local log");
    group.throughput(Throughput::Elements(BATCH));
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let (_, mut writer) = open(dir.path()).expect("an empty log opens");
    group.bench_function("append and sync", |bencher| {
        bencher.iter(|| append(&mut writer, black_box(&payload)).expect("the disk takes it"));
    });
    let dir = tempfile::tempdir().expect("a temporary directory can be made");
    let (vfs, mut writer) = open(dir.path()).expect("an empty log opens");
    for _ in 0..BATCHES {
        append(&mut writer, &payload).expect("the disk takes it");
    }
    group.throughput(Throughput::Elements(BATCH * BATCHES));
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let mut reader = WalReader::new(Arc::clone(&vfs), dir.path(), cluster(), TimelineId::FIRST, Lsn::new(1));
            let mut records = 0;
            while let Some(batch) = reader.next_batch(writer.last().lsn).expect("the log is sound") {
                records += batch.records().count();
            }
            assert_eq!(records as u64, BATCH * BATCHES);
        });
    });
    group.finish();
}

fn records() -> Bytes {
    let mut bytes = Vec::new();
    for number in 1..=RECORDS {
        let payload = payload(number).into();
        let record = Record { lsn: Lsn::new(number), time_ms: number, kind: RecordKind::Changes, payload };
        record.encode_into(&mut bytes).expect("the payload is within the limits");
    }
    bytes.into()
}

fn stored(records: &Bytes) -> Result<Vec<u8>, Box<dyn Error>> {
    let run = RecordRun::scan(Lsn::new(0), Chain::genesis(cluster()), records.clone())?;
    let mut plain = run.header(cluster(), TimelineId::FIRST, Epoch::new(1)).encode().to_vec();
    plain.extend_from_slice(run.bytes());
    Ok(zstd::encode_all(Cursor::new(plain), ZSTD_LEVEL)?)
}

fn archived(criterion: &mut Criterion) {
    let records = records();
    let stored_bytes = stored(&records).expect("sound records become a segment");
    let mut group = criterion.benchmark_group("archived segment");
    group.throughput(Throughput::Bytes(records.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| stored(black_box(&records))));
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            let plain = zstd::Decoder::new(black_box(stored_bytes.as_slice())).expect("a zstd frame");
            let mut decoder = SegmentDecoder::new(plain).expect("a segment");
            let mut count = 0;
            while let Some(record) = decoder.next_record().expect("a sound segment") {
                black_box(record);
                count += 1;
            }
            assert_eq!(count, RECORDS);
        });
    });
    group.finish();
}

criterion_group!(benches, local, archived);
criterion_main!(benches);
