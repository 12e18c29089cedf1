//! Spare segments: filled gently ahead of need, recycled from what is pruned, never more than wanted.

mod common;

use std::path::Path;
use std::sync::Arc;

use common::{Node, OPTIONS, cluster};
use reddb_file::vfs::sim::SimVfs;
use reddb_file::vfs::{OpenMode, Vfs};
use reddb_file::wal::{
    BatchHeader, FillProgress, PoolOptions, Salt, SegmentEnd, SegmentHeader, SegmentPool, WalError, describe_segment,
};
use reddb_file::{Chain, Epoch, Lsn, TimelineId, layout};

fn pool(sim: &SimVfs, options: PoolOptions) -> Arc<SegmentPool> {
    SegmentPool::open(sim.shared(), Path::new("/db"), options).expect("opens")
}

#[test]
fn a_spare_is_filled_in_steps_of_the_asked_for_size_and_then_there_is_nothing_to_do() {
    let sim = SimVfs::new(1);
    let pool = pool(&sim, OPTIONS);
    for left_blocks in (0..6).rev() {
        assert_eq!(pool.spares(), 0);
        let filled = FillProgress::Filled { bytes: 4096, left_bytes: left_blocks * 4096 };
        assert_eq!(pool.fill_step(1).expect("works"), filled, "a step is at least a block");
        assert_eq!(pool.bytes(), (6 - left_blocks) * 4096);
    }
    assert_eq!(pool.spares(), 1);
    assert_eq!(pool.fill_step(u64::MAX).expect("works"), FillProgress::Idle);
}

#[test]
fn attempts_on_a_full_disk_use_one_name_and_leave_nothing() {
    let sim = SimVfs::new(1);
    let pool = pool(&sim, OPTIONS);
    sim.set_space(Some(2 * 4096));
    for _ in 0..20 {
        while pool.fill_step(4096).is_ok() {}
        assert_eq!((sim.used_bytes(), pool.bytes()), (0, 0), "what was begun is gone");
    }
    sim.set_space(None);
    pool.fill_step(u64::MAX).expect("works");
    let names: Vec<String> =
        sim.list(&layout::wal_dir(Path::new("/db"))).expect("there").into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["spare-1"]);
}

#[test]
fn a_whole_spare_can_be_filled_at_once() {
    let sim = SimVfs::new(1);
    let pool = pool(&sim, OPTIONS);
    let filled = FillProgress::Filled { bytes: 6 * 4096, left_bytes: 0 };
    assert_eq!(pool.fill_step(u64::MAX).expect("works"), filled);
    assert_eq!(pool.spares(), 1);
}

#[test]
fn pruned_segments_become_spares_up_to_the_limit_and_are_deleted_beyond_it() {
    let mut node = Node::new(1);
    let mut process = node.start().expect("starts");
    for _ in 0..42 {
        node.append(&mut process, &[3000]).expect("works");
    }
    let before = node.sim.used_bytes();
    let segments = process.writer.segments();
    assert!(segments.len() > 6, "{}", segments.len());
    node.prune(&mut process).expect("works");
    assert_eq!(process.writer.segments(), segments[segments.len() - 1..], "the last one stays");
    assert_eq!(process.writer.local_bytes() + process.pool.bytes(), segments.len() as u64 * OPTIONS.segment_bytes);
    assert_eq!(node.sim.used_bytes(), before, "pruning itself does no I/O");
    let mut steps = 0;
    while process.pool.fill_step(4096).expect("works") == FillProgress::Retired {
        steps += 1;
    }
    assert_eq!(steps, segments.len() - 1);
    assert_eq!(process.pool.spares(), OPTIONS.spares_max);
    assert_eq!(process.pool.bytes(), u64::from(OPTIONS.spares_max) * OPTIONS.segment_bytes);
}

#[test]
fn spares_of_another_size_are_dropped_when_the_size_changes() {
    let sim = SimVfs::new(1);
    let first = pool(&sim, OPTIONS);
    first.fill_step(u64::MAX).expect("works");
    drop(first);
    assert_eq!(pool(&sim, OPTIONS).spares(), 1);
    assert_eq!(pool(&sim, PoolOptions { segment_bytes: 8192, ..OPTIONS }).spares(), 0);
    assert_eq!(sim.used_bytes(), 0);
}

#[test]
fn impossible_segment_sizes_are_refused() {
    let sim = SimVfs::new(1);
    for segment_bytes in [0, 4096, 8191, 8193, 2 << 30, u64::MAX] {
        let options = PoolOptions { segment_bytes, ..OPTIONS };
        let refused = SegmentPool::open(sim.shared(), Path::new("/db"), options).expect_err("impossible");
        assert!(matches!(refused, WalError::SegmentBytes { .. }), "{refused}");
    }
}

/// A hostile file: a header with right checksums that promises 256 MiB in a file of 8 KiB.
#[test]
fn a_promised_length_is_compared_with_the_file_before_anything_is_read_for_it() {
    let sim = SimVfs::new(1);
    let salt = Salt::from_bytes([1; 16]);
    let segment = SegmentHeader {
        cluster: cluster(),
        timeline: TimelineId::FIRST,
        epoch: Epoch::ZERO,
        first_lsn: Lsn::new(1),
        chain_before: Chain::genesis(cluster()),
        time_before_ms: 0,
        salt,
    };
    let batch = BatchHeader {
        records_bytes: reddb_file::limits::BATCH_RECORDS_BYTES_MAX,
        first_lsn: Lsn::new(1),
        last_lsn: Lsn::new(1),
        chain_after: Chain::genesis(cluster()),
        records_crc: 0,
    };
    let path = layout::segment_path(Path::new("/db"), TimelineId::FIRST, Lsn::new(1));
    sim.create_dir_all(path.parent().expect("has one")).expect("works");
    let file = sim.open(&path, OpenMode::CreateNew).expect("works");
    file.write_at(&segment.encode().expect("valid"), 0).expect("works");
    file.write_at(&[0; 4096], 4096).expect("works");
    file.write_at(&batch.encode(&salt).expect("valid"), 4096).expect("works");
    let description = describe_segment(&sim, &path).expect("the header is valid");
    let SegmentEnd::BadBatch { reason, may_be_torn: false, later_lsn: None } = description.end else {
        panic!("{:?}", description.end)
    };
    assert!(reason.contains("the file was cut"), "{reason}");
    assert_eq!(description.records, 0);
}
