//! Measures the engine by itself: `cargo run --release -p reddb-server --example engine_probe -- [keys] [memory MiB]`.
//!
//! Keys of 16 bytes in random order, values of 100 bytes that do not compress. Prints operations a second and times a call.

use std::ops::Bound;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reddb_file::{Chain, Lsn};
use reddb_server::engine::{AppliedMark, Engine, EngineConfig, EngineWrite, LsmEngine, RecordWrites};

const VALUE_BYTES: usize = 100;

fn mix(value: u64) -> u64 {
    let value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value ^ (value >> 27)
}

fn key(index: u64) -> Bytes {
    Bytes::from(format!("{:016x}", mix(index) >> 1))
}

fn value(index: u64) -> Bytes {
    let mut bytes = Vec::with_capacity(VALUE_BYTES + 8);
    let mut word = index;
    while bytes.len() < VALUE_BYTES {
        word = mix(word + 1);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.truncate(VALUE_BYTES);
    Bytes::from(bytes)
}

fn mark(lsn: u64) -> AppliedMark {
    AppliedMark { lsn: Lsn::new(lsn), chain: Chain::from_bytes([0; 32]), time_ms: lsn }
}

fn rate(what: &str, count: u64, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    println!("{what:<44} {:>12.0}/s {:>10.0} ns each", count as f64 / seconds, seconds * 1e9 / count as f64);
}

fn print_process_size() -> std::io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    for line in status.lines().filter(|line| line.starts_with("VmHWM") || line.starts_with("VmRSS")) {
        println!("{line}");
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let keys: u64 = args.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let memory_mib: u64 = args.next().map_or(Ok(256), |text| text.parse())?;
    let config = EngineConfig { memory_bytes: memory_mib << 20 };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("engine");
    let engine = LsmEngine::open(&path, config, Chain::from_bytes([0; 32]))?;
    println!("{keys} keys, {memory_mib} MiB");

    // Made a thousand at a time, outside the measured time, so that the process's size is the engine's.
    let (mut replay, mut one_by_one) = (Duration::ZERO, Duration::ZERO);
    for first in (1..=keys).step_by(1000) {
        let records: Vec<RecordWrites> = (first..(first + 1000).min(keys + 1))
            .map(|index| RecordWrites {
                mark: mark(index),
                writes: vec![EngineWrite::Put { key: key(index), value: value(index) }],
            })
            .collect();
        let start = Instant::now();
        if first <= keys / 2 {
            engine.apply_many(&records)?;
            replay += start.elapsed();
        } else {
            for record in &records {
                engine.apply(record.mark, &record.writes)?;
            }
            one_by_one += start.elapsed();
        }
    }
    rate("replay (apply_many, 1 write a record)", keys / 2, replay);
    rate("apply (1 write a record)", keys / 2, one_by_one);
    print_process_size()?;
    println!("stalled {:?}", engine.stats().stall);

    let start = Instant::now();
    engine.flush()?;
    println!("flush {:?}", start.elapsed());
    let start = Instant::now();
    let checkpoint = engine.checkpoint(&dir.path().join("checkpoint"))?;
    println!("checkpoint of {} files {:?}", checkpoint.files.len(), start.elapsed());
    // Let the compactions settle.
    let mut before = u64::MAX;
    while before != engine.stats().compactions {
        before = engine.stats().compactions;
        std::thread::sleep(Duration::from_millis(1500));
    }
    println!("{:#?}", engine.stats());

    let hot = 1_000;
    for index in 1..=hot {
        engine.warm(&key(index))?;
    }
    let hot_keys: Vec<Bytes> = (1..=hot).map(key).collect();
    let at = engine.applied().lsn;
    let start = Instant::now();
    let mut found = 0;
    for _ in 0..1_000 {
        for key in &hot_keys {
            found += u64::from(engine.get(key, at)?.is_some());
        }
    }
    rate("hot get", hot * 1_000, start.elapsed());
    assert_eq!(found, hot * 1_000);

    let cold: Vec<Bytes> = (0..200_000.min(keys)).map(|index| key(mix(index) % keys + 1)).collect();
    let start = Instant::now();
    for key in &cold {
        assert!(engine.get(key, at)?.is_some());
    }
    rate("random get over all keys", cold.len() as u64, start.elapsed());
    let absent: Vec<Bytes> = (0..200_000).map(|index| key(keys + 1 + index)).collect();
    let start = Instant::now();
    for key in &absent {
        assert!(engine.get(key, at)?.is_none());
    }
    rate("get of absent keys", absent.len() as u64, start.elapsed());
    let (hits, misses) = (engine.stats().hot_hits, engine.stats().hot_misses);
    println!("hot hits {hits}, misses {misses}");

    let start = Instant::now();
    let count =
        engine.range((Bound::Unbounded, Bound::Unbounded), at)?.try_fold(0, |count, entry| entry.map(|_| count + 1))?;
    rate("scan", count, start.elapsed());
    assert_eq!(count, keys);
    print_process_size()?;

    let start = Instant::now();
    engine.close()?;
    println!("close {:?}", start.elapsed());
    drop(engine);
    let start = Instant::now();
    let engine = LsmEngine::open(&path, config, Chain::from_bytes([0; 32]))?;
    println!("open {:?} at {}", start.elapsed(), engine.applied().lsn);
    let at = engine.applied().lsn;
    let start = Instant::now();
    for key in &cold {
        assert!(engine.get(key, at)?.is_some());
    }
    rate("random get after opening", cold.len() as u64, start.elapsed());
    Ok(())
}
