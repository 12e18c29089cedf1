//! Memory stays within its bounds, and data need not fit in it.

use super::*;
use crate::engine::EngineConfig;
use crate::engine::config::MEMTABLES_SEALED_MAX;

#[test]
fn data_many_times_larger_than_the_memory_is_written_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let config = EngineConfig { memory_bytes: 8 << 20 };
    let engine = LsmEngine::open(dir.path(), config, origin()).unwrap();
    let budget = config.budget();
    const KEYS: u64 = 60_000;
    let key = |index: u64| index.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes().map(|byte| byte & 0x7f);
    let value = |index: u64| Dice(index).bytes(1000);
    let mut peak = 0;
    for index in 1..=KEYS {
        engine.apply(mark(index), &[put(key(index), value(index))]).unwrap();
        if index % 64 == 0 {
            peak = peak.max(engine.stats().memtable_bytes);
        }
    }
    let record_bytes = 2_000;
    assert!(peak <= (budget.memtable_bytes + record_bytes) * (MEMTABLES_SEALED_MAX as u64 + 1), "{peak}");
    eventually("a quiet level 0", || engine.stats().l0_runs < 8);
    engine.flush().unwrap();
    for index in (1..=KEYS).step_by(37) {
        assert_eq!(engine.get_newest(&key(index)).unwrap().1.as_deref(), Some(value(index).as_slice()));
        let mut absent = key(index);
        absent[7] ^= 0x80;
        assert_eq!(engine.get_newest(&absent).unwrap().1, None);
    }
    let mut last = None;
    let mut count = 0;
    for entry in engine.range(EVERYTHING, engine.applied().lsn).unwrap() {
        let (key, value) = entry.unwrap();
        assert_eq!(value.len(), 1000);
        assert!(last < Some(key.clone()));
        last = Some(key);
        count += 1;
    }
    assert_eq!(count, KEYS);
    let stats = engine.stats();
    assert!(stats.disk_bytes > 55_000_000, "{stats:?}");
    assert!(stats.block_cache_bytes <= stats.block_cache_capacity_bytes, "{stats:?}");
    assert!(stats.hot_bytes <= stats.hot_capacity_bytes, "{stats:?}");
    assert!(stats.block_cache_capacity_bytes + stats.hot_capacity_bytes < 6 << 20, "{stats:?}");
    // Whole filters of all tables would be 75 KB, their indexes 120 KB.
    assert!(stats.pinned_filter_bytes + stats.pinned_index_bytes < KEYS, "{stats:?}");
    drop(engine);
    let reopened = LsmEngine::open(dir.path(), config, origin()).unwrap().stats();
    assert!(reopened.pinned_filter_bytes + reopened.pinned_index_bytes < KEYS, "{reopened:?}");
}

#[test]
fn writes_wait_rather_than_pile_up_and_the_wait_is_counted() {
    let rig = Rig::new();
    let mut dice = Dice(41);
    let values: Vec<_> = (0..64).map(|_| dice.bytes(8_000)).collect();
    for number in 1..=5_000 {
        let write = put(format!("key:{}", dice.below(100_000)), &values[(number % 64) as usize]);
        rig.engine().apply(mark(number), &[write]).unwrap();
    }
    let stats = rig.engine().stats();
    assert!(stats.memtables_sealed <= MEMTABLES_SEALED_MAX, "{stats:?}");
    assert!(stats.stall > std::time::Duration::ZERO, "{stats:?}");
    assert!(!stats.out_of_space);
}
