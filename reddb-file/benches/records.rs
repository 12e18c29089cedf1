//! Records, their chain and batches of them: the work of the one thread that appends, without the disk.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use reddb_file::wal::BatchBuilder;
use reddb_file::{Chain, ClusterId, Lsn, Record, RecordKind, TimedMark};

/// What a SET of a 100-byte value leaves in the log, about.
const PAYLOAD: [u8; 128] = [0x5a; 128];

/// Records in a batch: what 50 busy clients give.
const BATCH: u64 = 50;

fn cluster() -> ClusterId {
    ClusterId::from_bytes(*b"the bench log!!!")
}

fn record() -> Record {
    Record { lsn: Lsn::new(42), time_ms: 1_000, kind: RecordKind::Changes, payload: Bytes::from_static(&PAYLOAD) }
}

fn encoded() -> Bytes {
    let mut bytes = Vec::new();
    record().encode_into(&mut bytes).expect("the payload is within the limits");
    bytes.into()
}

fn one_record(criterion: &mut Criterion) {
    let (record, bytes) = (record(), encoded());
    let chain = Chain::genesis(cluster());
    let mut group = criterion.benchmark_group("record");
    group.throughput(Throughput::Elements(1));
    group.bench_function("encode", |bencher| {
        let mut out = Vec::with_capacity(bytes.len());
        bencher.iter(|| {
            out.clear();
            black_box(&record).encode_into(&mut out)
        });
    });
    group.bench_function("decode", |bencher| bencher.iter(|| Record::decode(black_box(&bytes))));
    group.bench_function("extend the chain", |bencher| bencher.iter(|| black_box(&chain).extend(black_box(&bytes))));
    group.finish();
}

fn batch(criterion: &mut Criterion) {
    let start = TimedMark::genesis(cluster());
    let mut group = criterion.benchmark_group("batch");
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("push", |bencher| {
        let fill = |mut batch: BatchBuilder| {
            for _ in 0..BATCH {
                batch.push(1_000, RecordKind::Changes, black_box(&PAYLOAD)).expect("the batch has room");
            }
            batch
        };
        let mut used = fill(BatchBuilder::new(start));
        let empty = || {
            used.reset(start);
            used.clone()
        };
        bencher.iter_batched(empty, fill, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, one_record, batch);
criterion_main!(benches);
