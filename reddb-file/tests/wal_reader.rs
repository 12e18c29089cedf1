//! Streaming: from any record to any bound, beside the writer, across segments, until the segments are gone.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{BROKEN, Dice, Node, OPTIONS, Process, cluster, first_state};
use reddb_file::vfs::{StdVfs, VfsOp};
use reddb_file::wal::{
    BatchBuilder, FillProgress, RecentBatches, SegmentPool, WalReadError, WalReader, WalWriter, recover,
};
use reddb_file::{Chain, Epoch, Lsn, RecordKind, TimelineId};

fn reader(node: &Node, from: u64) -> WalReader {
    WalReader::new(Arc::clone(&node.vfs), &node.dir, cluster(), TimelineId::FIRST, Lsn::new(from))
}

/// All LSNs up to `durable`, in the order in which they are read, with the chain after the last.
fn read_all(reader: &mut WalReader, durable: u64) -> Result<(Vec<u64>, Option<Chain>), WalReadError> {
    let (mut lsns, mut chain) = (Vec::new(), None);
    while let Some(batch) = reader.next_batch(Lsn::new(durable))? {
        assert!(chain.is_none_or(|chain| chain == batch.chain_before), "batches join");
        lsns.extend(batch.records().map(|record| record.lsn.get()));
        assert_eq!(batch.records().next().map(|record| record.time_ms), Some(batch.first_time_ms));
        assert_eq!(lsns.last(), Some(&batch.last.lsn.get()));
        chain = Some(batch.last.chain);
    }
    Ok((lsns, chain))
}

fn filled() -> (Node, Process) {
    let mut node = Node::new(3);
    let mut process = node.start().expect("starts");
    for _ in 0..30 {
        node.append(&mut process, &[100, 3000, 0]).expect("works");
    }
    (node, process)
}

#[test]
fn reading_from_every_record_to_every_bound_gives_exactly_those_records() {
    let (node, process) = filled();
    let last = process.writer.last();
    let segments = process.writer.segments();
    assert!(segments.len() > 3, "the log spans segments");
    for from in 1..=last.lsn.get() {
        let (lsns, chain) = read_all(&mut reader(&node, from), last.lsn.get()).expect("readable");
        assert_eq!(lsns, (from..=last.lsn.get()).collect::<Vec<_>>());
        assert_eq!(chain, Some(last.chain));
        let bound = from + (from * 7) % 11;
        if bound <= last.lsn.get() {
            let (lsns, _) = read_all(&mut reader(&node, from), bound).expect("readable");
            assert_eq!(lsns, (from..=bound).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_bound_that_moves_by_one_record_loses_and_repeats_nothing() {
    let (node, process) = filled();
    let mut reader = reader(&node, 1);
    let mut lsns = Vec::new();
    for durable in 0..=process.writer.last().lsn.get() {
        lsns.extend(read_all(&mut reader, durable).expect("readable").0);
        assert_eq!(lsns.last().copied().unwrap_or(0), durable);
    }
    assert_eq!(lsns, (1..=process.writer.last().lsn.get()).collect::<Vec<_>>());
}

#[test]
fn nothing_is_read_beyond_the_bound_even_where_it_is_written() {
    let (node, _process) = filled();
    let mut reader = reader(&node, 5);
    assert!(reader.next_batch(Lsn::new(4)).expect("no error").is_none());
    assert_eq!(reader.next_lsn(), Lsn::new(5));
}

#[test]
fn a_reader_follows_appends_rotations_and_epochs() {
    let mut node = Node::new(4);
    let mut process = node.start().expect("starts");
    let mut reader = reader(&node, 1);
    let mut epochs = Vec::new();
    for round in 0..60 {
        if round % 7 == 0 {
            let epoch = process.writer.epoch().next().expect("few");
            process.writer.start_epoch(epoch).expect("goes up");
        }
        node.append_random(&mut process).expect("works");
        let durable = process.writer.last();
        let mut last = None;
        while let Some(batch) = reader.next_batch(durable.lsn).expect("readable") {
            epochs.push(batch.epoch);
            last = Some(batch.last);
        }
        assert_eq!(last, Some(durable));
    }
    assert!(epochs.is_sorted());
    assert_eq!(epochs.last(), Some(&process.writer.epoch()));
}

#[test]
fn who_follows_finds_the_newest_batches_in_memory_and_goes_on_from_there_on_disk() {
    let mut node = Node::new(6);
    let mut process = node.start().expect("starts");
    // Room for one batch of one record.
    let recent = Arc::new(RecentBatches::new(500));
    process.writer.remember_in(Arc::clone(&recent));
    let mut follower = reader(&node, 1).following(recent);
    node.append(&mut process, &[100]).expect("works");
    let segment = process.writer.segments()[0].path.clone();
    let rot = |block: usize| node.sim.rot(&segment, |bytes| bytes[block * 4096 + 10] ^= 1).expect("there");
    rot(1);
    read_all(&mut reader(&node, 1), 1).expect_err("its only copy on disk is damaged");
    let first = follower.next_batch(Lsn::new(1)).expect("in memory").expect("there");
    assert_eq!((first.first_lsn, first.last), (Lsn::new(1), process.writer.last()));
    assert_eq!(first.records_with_chain().last().map(|(_, chain)| chain), Some(first.last.chain));
    for _ in 0..3 {
        node.append(&mut process, &[100]).expect("works");
    }
    // Records 2 and 3 are on disk alone, behind a batch that could not be read past; record 4 is in memory alone.
    node.sim.rot(&segment, |bytes| bytes[4 * 4096 + 10] ^= 1).expect("there");
    read_all(&mut reader(&node, 2), 4).expect_err("what is before it on disk is damaged");
    let mut chain = first.last.chain;
    for lsn in 2..=4 {
        let batch = follower.next_batch(Lsn::new(4)).expect("readable").expect("there");
        assert_eq!((batch.first_lsn, batch.last.lsn, batch.chain_before), (Lsn::new(lsn), Lsn::new(lsn), chain));
        chain = batch.last.chain;
    }
    assert_eq!(chain, process.writer.last().chain);
}

#[test]
fn a_batch_that_could_not_be_written_is_not_in_memory() {
    let mut node = Node::new(6);
    let mut process = node.start().expect("starts");
    let recent = Arc::new(RecentBatches::new(1024 * 1024));
    process.writer.remember_in(Arc::clone(&recent));
    node.append(&mut process, &[100]).expect("works");
    node.sim.fail_nth(VfsOp::Write, 1, BROKEN);
    node.append(&mut process, &[100]).expect_err("the disk is broken");
    // It may have got there before that was noticed; here it has not.
    let segment = process.writer.segments()[0].path.clone();
    node.sim.rot(&segment, |bytes| bytes[2 * 4096..3 * 4096].fill(0)).expect("there");
    let mut follower = reader(&node, 1).following(recent);
    assert_eq!(read_all(&mut follower, 1).expect("in memory").0, [1]);
    follower.next_batch(Lsn::new(2)).expect_err("there is no such record");
}

#[test]
fn what_is_given_back_is_given_again_and_nothing_is_read_anew() {
    let (node, process) = filled();
    let last = process.writer.last().lsn.get();
    let mut dice = Dice(11);
    for follows in [false, true] {
        let mut reader = reader(&node, 1);
        if follows {
            reader = reader.following(Arc::new(RecentBatches::new(0)));
        }
        let (mut next, mut bound, mut given_back) = (1, 1, 0);
        while next <= last {
            bound = (bound + dice.below(3)).min(last);
            let calls = node.sim.calls();
            let Some(batch) = reader.next_batch(Lsn::new(bound)).expect("readable") else { continue };
            assert!(given_back == 0 || node.sim.calls() == calls, "it is still there");
            assert_eq!(batch.first_lsn.get(), next);
            assert!(batch.last.lsn.get() <= bound);
            let records: Vec<u64> = batch.records().map(|record| record.lsn.get()).collect();
            let kept = dice.below(records.len() as u64 + 1);
            next += kept;
            given_back = records.len() as u64 - kept;
            if given_back > 0 {
                reader.give_back(batch, Lsn::new(next));
            }
            assert_eq!(reader.next_lsn().get(), next);
        }
    }
}

#[test]
fn a_batch_in_memory_is_cut_where_the_reader_begins_and_ends() {
    let mut node = Node::new(8);
    let mut process = node.start().expect("starts");
    let recent = Arc::new(RecentBatches::new(1024 * 1024));
    process.writer.remember_in(Arc::clone(&recent));
    for _ in 0..12 {
        node.append(&mut process, &[100, 3000, 0, 7]).expect("works");
    }
    let last = process.writer.last();
    for from in 1..=last.lsn.get() {
        for to in from..=last.lsn.get() {
            let follower = &mut reader(&node, from).following(Arc::clone(&recent));
            let (on_disk, in_memory) = (read_all(&mut reader(&node, from), to), read_all(follower, to));
            assert_eq!(in_memory.expect("in memory"), on_disk.expect("readable"), "{from} to {to}");
        }
    }
}

#[test]
fn a_segment_that_is_recycled_under_a_reader_is_said_to_be_pruned() {
    let (mut node, mut process) = filled();
    let mut slow = reader(&node, 1);
    slow.next_batch(process.writer.last().lsn).expect("readable").expect("there");
    node.prune(&mut process).expect("works");
    while process.pool.fill_step(4096).expect("works") != FillProgress::Idle {}
    for _ in 0..30 {
        node.append(&mut process, &[100, 3000, 0]).expect("works");
    }
    let first = process.writer.segments()[0].first_lsn;
    let error = read_all(&mut slow, process.writer.last().lsn.get()).expect_err("its segment is gone");
    match error {
        WalReadError::Pruned { requested, first_available } => {
            assert_eq!(requested, slow.next_lsn());
            assert_eq!(first_available, Some(first));
        }
        other => panic!("{other}"),
    }
    read_all(&mut reader(&node, first.get()), process.writer.last().lsn.get()).expect("the rest is readable");
}

#[test]
fn damage_that_appears_while_running_is_named_and_never_returned() {
    let (node, process) = filled();
    let segments = process.writer.segments();
    let last = process.writer.last().lsn.get();
    for (at, info) in segments.iter().enumerate() {
        // The second batch of each segment, in its records.
        node.sim.rot(&info.path, |bytes| bytes[2 * 4096 + 100] ^= 1).expect("there");
        let error = read_all(&mut reader(&node, info.first_lsn.get()), last).expect_err("damaged");
        match error {
            WalReadError::Damaged { segment, lsn, .. } => {
                assert_eq!(segment, info.path);
                assert!(lsn >= info.first_lsn && lsn <= info.last_lsn, "segment {at}: {lsn}");
            }
            other => panic!("{other}"),
        }
        node.sim.rot(&info.path, |bytes| bytes[2 * 4096 + 100] ^= 1).expect("there");
    }
}

#[test]
fn a_reader_of_an_empty_or_missing_log_waits() {
    let mut node = Node::new(5);
    let mut early = reader(&node, 1);
    assert!(early.next_batch(Lsn::ZERO).expect("no error").is_none());
    let mut process = node.start().expect("starts");
    assert!(early.next_batch(Lsn::ZERO).expect("no error").is_none());
    node.append(&mut process, &[1]).expect("works");
    assert!(early.next_batch(Lsn::new(1)).expect("no error").is_some());
}

/// On the real file system, with threads: a writer that also prunes and recycles, and readers that keep up or fall behind, through
/// the page cache and past it.
#[test]
fn readers_and_a_recycling_writer_run_at_the_same_time() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let vfs = StdVfs::shared();
    let pool = SegmentPool::open(Arc::clone(&vfs), dir.path(), OPTIONS).expect("opens");
    let mut dice = Dice(9);
    let mut state = first_state();
    let recovery = recover(&vfs, dir.path(), cluster(), &state, &pool, dice.salt()).expect("empty");
    let salts = Box::new(move || dice.salt());
    let writer = WalWriter::open(Arc::clone(&vfs), dir.path(), Arc::clone(&pool), recovery.log, Epoch::new(1), salts);
    let mut writer = writer.expect("opens");
    // A few batches: who follows finds some here and some on the disk.
    let recent = Arc::new(RecentBatches::new(16 * 1024));
    writer.remember_in(Arc::clone(&recent));
    let durable = AtomicU64::new(0);
    const RECORDS: u64 = 1500;
    let outcomes = std::thread::scope(|scope| {
        let tails: Vec<_> = [false, true, false, true]
            .map(|follows| {
                let (vfs, dir, durable, recent) = (&vfs, dir.path(), &durable, &recent);
                scope.spawn(move || {
                    let mut reader = WalReader::new(Arc::clone(vfs), dir, cluster(), TimelineId::FIRST, Lsn::new(1));
                    if follows {
                        reader = reader.following(Arc::clone(recent));
                    }
                    let mut read = 0;
                    loop {
                        match reader.next_batch(Lsn::new(durable.load(Ordering::Acquire))) {
                            Ok(Some(batch)) => {
                                for record in batch.records() {
                                    assert_eq!(record.payload, record.lsn.get().to_le_bytes().repeat(40));
                                    read += 1;
                                }
                                if batch.last.lsn.get() == RECORDS {
                                    return Ok(read);
                                }
                            }
                            Ok(None) => std::thread::yield_now(),
                            Err(error) => return Err(error),
                        }
                    }
                })
            })
            .into();
        let mut batch = BatchBuilder::new(writer.last());
        while writer.last().lsn.get() < RECORDS {
            batch.reset(writer.last());
            for _ in 0..5 {
                let lsn = batch.last().lsn.next().expect("few");
                batch.push(lsn.get(), RecordKind::Changes, &lsn.get().to_le_bytes().repeat(40)).expect("has room");
            }
            writer.append(&mut batch).expect("works");
            durable.store(writer.last().lsn.get(), Ordering::Release);
            if writer.last().lsn.get().is_multiple_of(200) {
                writer.prune(Lsn::new(writer.last().lsn.get() - 100));
                while pool.fill_step(65536).expect("works") != FillProgress::Idle {}
            }
        }
        tails.into_iter().map(|tail| tail.join().expect("no panic")).collect::<Vec<_>>()
    });
    for outcome in outcomes {
        match outcome {
            Ok(read) => assert_eq!(read, RECORDS),
            Err(WalReadError::Pruned { .. }) => {}
            Err(error) => panic!("a reader may only fall behind: {error}"),
        }
    }
    state.durable = writer.last();
    state.archived = state.durable.mark();
    state.checkpoint = state.durable.mark();
    drop(writer);
    let recovery = recover(&vfs, dir.path(), cluster(), &state, &pool, Dice(77).salt()).expect("recovers");
    assert_eq!(recovery.log.end(), state.durable);
}
