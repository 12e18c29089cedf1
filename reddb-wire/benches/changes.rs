//! Changes to payload and back: what each write costs on its way into the log, and out of it again at every replay.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use reddb_wire::{Change, ObjectId, PayloadBuilder, changes};

/// Field updates in the larger payload.
const FIELDS: u64 = 100;

/// What SET leaves of a new key.
fn set(value: &[u8]) -> [Change<'_>; 2] {
    let space = ObjectId::initial_space(0);
    [
        Change::PutString { space, key: b"key:000000000042", expires_at_ms: None, value },
        Change::PutDatabase { db: 0, space, key_count: 1_000_000, expiring_count: 0 },
    ]
}

/// What HSET of many fields leaves.
fn fields(value: &[u8]) -> Vec<Change<'_>> {
    let object = ObjectId::initial_space(1);
    (0..FIELDS).map(|_| Change::PutField { object, field: b"field:000000000042", value }).collect()
}

fn encode(changes: &[Change<'_>]) -> Option<Vec<u8>> {
    let mut payload = PayloadBuilder::new();
    for change in changes {
        payload.push(change).expect("keys and values are within the limits");
    }
    payload.finish()
}

fn codec(criterion: &mut Criterion) {
    let value = [b'x'; 100];
    for (name, list) in [("set", set(&value).to_vec()), ("hset of 100 fields", fields(&value))] {
        let payload = encode(&list).expect("there are changes");
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(list.len() as u64));
        group.bench_function("encode", |bencher| bencher.iter(|| encode(black_box(&list))));
        group.bench_function("decode", |bencher| {
            bencher.iter(|| {
                let decoded = changes(black_box(&payload)).expect("the payload's version is known");
                decoded.map(|change| black_box(change).is_ok()).filter(|is_ok| *is_ok).count()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
