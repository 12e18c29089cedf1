//! The Redis protocol's codec: commands decoded as they arrive, replies encoded.
//!
//! The crate exports no codec, so its sources are compiled into this program.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

#[path = "."]
mod command {
    #[path = "../src/command/budget.rs"]
    #[allow(dead_code, unused_imports, reason = "the server and its tests use what a reply alone does not")]
    pub(crate) mod budget;
}
#[path = "../src/reply.rs"]
#[allow(dead_code, unreachable_pub, reason = "the server uses what the codec alone does not")]
mod reply;
#[path = "../src/resp/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports, reason = "the server and its tests use what this program does not")]
mod resp;

use reply::Reply;
use resp::{Decoder, Protocol, Trust, encode};

/// Commands in a pipeline.
const PIPELINE: u64 = 16;

fn decode(criterion: &mut Criterion) {
    let value = "x".repeat(100);
    let set = format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$100\r\n{value}\r\n");
    let get = "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000042\r\n".to_owned();
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(PIPELINE));
    for (name, command) in [("16 SET", set), ("16 GET", get)] {
        let bytes = command.repeat(usize::try_from(PIPELINE).expect("a small number"));
        group.bench_function(name, |bencher| {
            let mut decoder = Decoder::new();
            bencher.iter(|| {
                decoder.push(black_box(bytes.as_bytes()));
                let mut count = 0;
                while let Some(command) = decoder.next_command(Trust::Known).expect("well-formed commands") {
                    black_box(command);
                    count += 1;
                }
                assert_eq!(count, PIPELINE);
            });
        });
    }
    group.finish();
}

fn replies(criterion: &mut Criterion) {
    let value = Reply::bulk(Bytes::from(vec![b'x'; 100]));
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(PIPELINE));
    for (name, reply) in [("16 OK", Reply::Ok), ("16 values", value)] {
        group.bench_function(name, |bencher| {
            let mut out = BytesMut::new();
            bencher.iter(|| {
                out.clear();
                for _ in 0..PIPELINE {
                    encode(black_box(&reply), Protocol::Resp2, &mut out);
                }
                out.len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, replies);
criterion_main!(benches);
