//! The write path under faults: what is acknowledged, what is visible, what is refused.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reddb_file::control::{ControlState, Shutdown};
use reddb_file::vfs::sim::{Keep, SimVfs};
use reddb_file::vfs::{Vfs, VfsOp};
use reddb_file::wal::{PoolOptions, Salt, SegmentPool, WalWriter, recover};
use reddb_file::{Chain, ClusterId, Epoch, Lsn, Mark, TimedMark, TimelineId, TimelineRecord};

use super::core::{Core, CoreParts, Now};
use super::gate::{Condition, WriteGate};
use super::job::{Invocation, Receipt, Step, TxnStep, Watcher};
use super::tail::{CommitFailure, Tail};
use super::upkeep::{expire_step, reclaim_step};
use crate::command::{Args, CommandSpec, KeyPositions, Run, table};
use crate::engine::{Engine, EngineConfig, LsmEngine};
use crate::keyspace::{Env, SnapshotState, State, Txn, digest, layout};
use crate::reply::{CommandResult, Reply};

const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
const DIR: &str = "/data";

fn fail_half_way(txn: &mut Txn<'_>, args: &Args) -> CommandResult {
    txn.put_string(&args[1], b"half", None)?;
    Err(crate::reply::CommandError::SYNTAX)
}

pub(super) static FAIL_HALF_WAY: CommandSpec = CommandSpec {
    name: "failhalfway",
    arity: 2,
    flags: &[],
    keys: KeyPositions::FIRST,
    group: "test",
    since: "0.1.0",
    summary: "Changes something, then fails.",
    heavy: false,
    run: Run::Write(fail_half_way),
};

/// A node whose log is on a simulated machine and whose engine is on a real one.
pub(super) struct Node {
    pub(super) vfs: SimVfs,
    pub(super) engine_dir: tempfile::TempDir,
    pub(super) core: Core,
    pub(super) tail: Tail,
    pub(super) gate: Arc<WriteGate>,
    pool: Arc<SegmentPool>,
    pub(super) now: Now,
    salts: u8,
}

fn control() -> ControlState {
    ControlState {
        timeline: TimelineId::FIRST,
        epoch: Epoch::new(1),
        durable: TimedMark::genesis(CLUSTER),
        archived: Mark::genesis(CLUSTER),
        checkpoint: Mark::genesis(CLUSTER),
        shutdown: Shutdown::Unclean,
        clock_offset_ms: 0,
        timeline_begin: Lsn::new(1),
        timeline_random_id: [1; 16],
        restored_from: None,
    }
}

impl Node {
    pub(super) fn new() -> Self {
        let vfs = SimVfs::new(1);
        reddb_file::durable::create_dir_durable(&vfs, Path::new(DIR)).expect("a directory");
        Self::open(vfs, 0)
    }

    fn open(vfs: SimVfs, salts: u8) -> Self {
        Self::open_limited(vfs, salts, 1 << 30)
    }

    fn open_limited(vfs: SimVfs, salts: u8, wal_local_bytes_max: u64) -> Self {
        let shared: Arc<dyn Vfs> = Arc::new(vfs.clone());
        let options = PoolOptions { segment_bytes: 256 * 1024, spares_target: 1, spares_max: 2 };
        let pool = SegmentPool::open(Arc::clone(&shared), Path::new(DIR), options).expect("a pool");
        let mut next_salt = salts;
        let mut salt = move || {
            next_salt += 1;
            Salt::from_bytes([next_salt; 16])
        };
        let recovery = recover(&shared, Path::new(DIR), CLUSTER, &control(), &pool, salt()).expect("recovers");
        let end = recovery.log.end();
        let wal =
            WalWriter::open(shared, Path::new(DIR), Arc::clone(&pool), recovery.log, Epoch::new(1), Box::new(salt))
                .expect("a log");
        let engine_dir = tempfile::tempdir().expect("a directory");
        let config = EngineConfig { memory_bytes: 4 << 20 };
        let engine =
            LsmEngine::open(&engine_dir.path().join("engine"), config, Chain::genesis(CLUSTER)).expect("opens");
        let engine: Arc<dyn Engine> = Arc::new(engine);
        let mut replayer = crate::replay::Replayer::into_memtables(Arc::clone(&engine));
        let place: Arc<dyn Vfs> = Arc::new(vfs.clone());
        let mut reader =
            reddb_file::wal::WalReader::new(place, Path::new(DIR), CLUSTER, TimelineId::FIRST, Lsn::new(1));
        while end.lsn > Lsn::ZERO
            && let Some(batch) = reader.next_batch(end.lsn).expect("readable")
        {
            replayer.push_batch(&batch).expect("applies");
        }
        replayer.finish().expect("applies");
        let gate = Arc::new(WriteGate::new());
        let parts = CoreParts {
            wal,
            engine,
            env: Arc::new(Env::new(0, 1)),
            gate: Arc::clone(&gate),
            timeline: TimelineId::FIRST,
            clock_jump_ms_max: 1_000_000,
            complete_until_ms: 0,
            wal_local_bytes_max,
        };
        let (core, tail) = parts.split();
        let now = Now { wall_ms: 1_000_000, elapsed: Duration::from_secs(1) };
        Self { vfs, engine_dir, core, tail, gate, pool, now, salts: salts + 100 }
    }

    /// The machine loses power and starts again.
    pub(super) fn crash(self) -> Self {
        self.vfs.crash(Keep::Nothing);
        drop(self.engine_dir);
        Self::open(self.vfs, self.salts)
    }

    /// The node, and how to crash it when its parts are in use elsewhere.
    pub(super) fn disassemble(self) -> (Self, impl FnOnce() -> Self + use<>) {
        let (vfs, salts) = (self.vfs.clone(), self.salts);
        let crash = move || {
            vfs.crash(Keep::Nothing);
            Self::open(vfs, salts)
        };
        (self, crash)
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now.wall_ms += ms;
        self.now.elapsed += Duration::from_millis(ms);
    }

    pub(super) fn execute(&mut self, words: &str) -> (Reply, Option<Receipt>) {
        let now = self.now;
        self.core.execute(&Step::Run(invoke(words)), now).expect("is executed")
    }

    fn commit(&mut self) -> Result<(), CommitFailure> {
        self.core.commit(&mut self.tail)
    }

    /// Executes and commits one command.
    pub(super) fn run(&mut self, words: &str) -> Reply {
        let (reply, _) = self.execute(words);
        self.commit().expect("is durable");
        reply
    }

    /// The empty log of a timeline that forks off at `end`, with its first record.
    fn fork(&self, end: TimedMark) -> (WalWriter, TimelineRecord) {
        let shared: Arc<dyn Vfs> = Arc::new(self.vfs.clone());
        let timeline = TimelineId::new(2);
        let timeline_begin = end.lsn.next().expect("there is a next one");
        let control = ControlState { timeline, timeline_begin, durable: end, ..control() };
        let salt = || Salt::from_bytes([200; 16]);
        let log = recover(&shared, Path::new(DIR), CLUSTER, &control, &self.pool, salt()).expect("recovers").log;
        let wal = WalWriter::open(shared, Path::new(DIR), Arc::clone(&self.pool), log, Epoch::new(2), Box::new(salt));
        let parent = Some(TimelineId::FIRST);
        let first = TimelineRecord { id: timeline, parent, fork_lsn: end.lsn, random_id: [2; 16], clock_offset_ms: 0 };
        (wal.expect("a log"), first)
    }

    /// What is logged on the second timeline: the LSN of each record.
    fn forked_lsns(&self) -> Vec<u64> {
        let shared: Arc<dyn Vfs> = Arc::new(self.vfs.clone());
        let first = Lsn::new(3);
        let mut reader = reddb_file::wal::WalReader::new(shared, Path::new(DIR), CLUSTER, TimelineId::new(2), first);
        let mut lsns = Vec::new();
        while let Some(batch) = reader.next_batch(self.tail.last().lsn).expect("readable") {
            lsns.extend(batch.records().map(|record| record.lsn.get()));
        }
        lsns
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        digest::digest(&SnapshotState::newest(self.core.engine())).expect("readable")
    }

    /// How many engine entries have this first byte.
    fn entries(&self, prefix: u8) -> usize {
        let from = Bytes::copy_from_slice(&[prefix]);
        let to = layout::prefix_end(&from);
        let state = SnapshotState::newest(self.core.engine());
        state.range(std::ops::Bound::Included(from), std::ops::Bound::Excluded(to)).count()
    }
}

pub(super) fn invoke(words: &str) -> Invocation {
    let args: Vec<Bytes> = words.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
    if args[0] == FAIL_HALF_WAY.name {
        return Invocation { spec: &FAIL_HALF_WAY, args, db: 0 };
    }
    let spec = table::resolve(&args).expect("a command").entry.spec;
    Invocation { spec, args, db: 0 }
}

#[test]
fn nothing_is_visible_before_it_is_durable() {
    let mut node = Node::new();
    node.execute("SET a 1");
    assert_eq!(SnapshotState::newest(node.core.engine()).lsn(), Lsn::ZERO, "in flight");
    assert_eq!(node.execute("GET a").0, Reply::bulk("1"), "the batch sees itself");
    node.commit().expect("is durable");
    assert_eq!(SnapshotState::newest(node.core.engine()).lsn(), Lsn::new(1));
    let before = node.digest();
    assert_eq!(node.crash().digest(), before);
}

#[test]
fn a_batch_is_one_sync() {
    let mut node = Node::new();
    for number in 0..100 {
        node.execute(&format!("SET key:{number} {number}"));
    }
    node.commit().expect("is durable");
    assert_eq!((node.core.commits(), node.tail.syncs()), (100, 1));
    assert_eq!(node.core.durable().lsn, Lsn::new(100));
}

#[test]
fn a_failed_sync_acknowledges_nothing_and_poisons_for_good() {
    for op in [VfsOp::SyncData, VfsOp::Write] {
        let mut node = Node::new();
        node.run("SET kept 1");
        let before = node.digest();
        node.vfs.fail_nth(op, 1, std::io::ErrorKind::Other);
        node.execute("SET lost 1");
        let failure = node.commit().expect_err("is not durable");
        assert!(failure.0.text().starts_with("MISCONF the write's outcome is unknown"), "{failure:?}");
        assert!(node.gate.holds(Condition::Poisoned));
        assert_eq!(node.digest(), before, "readers never saw it");
        assert!(matches!(node.execute("SET again 1").0, Reply::Error(_)), "the disk works again; the process does not");
        assert_eq!(node.execute("GET kept").0, Reply::bulk("1"));
        // The failed batch may have reached the disk or not: nobody was told either.
        let mut node = node.crash();
        assert_eq!(node.run("GET kept"), Reply::bulk("1"));
        assert_eq!(node.run("GET again"), Reply::Null);
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_space() {
    let mut node = Node::new();
    node.run("SET kept 1");
    node.vfs.set_space(Some(node.vfs.used_bytes()));
    let mut refused = None;
    for number in 0..1_000 {
        node.execute(&format!("SET filler:{number} {}", "x".repeat(4_000)));
        if let Err(failure) = node.commit() {
            refused = Some((number, failure));
            break;
        }
    }
    let (number, failure) = refused.expect("the disk is full at some point");
    assert!(failure.0.text().starts_with("MISCONF the write was not taken"), "{failure:?}");
    assert!(!node.gate.holds(Condition::Poisoned));
    assert!(matches!(node.execute("SET more 1").0, Reply::Error(_)), "the gate is closed");
    assert_eq!(node.execute(&format!("EXISTS filler:{number}")).0, Reply::Int(0));
    node.vfs.set_space(None);
    node.gate.clear(Condition::DiskFull);
    assert_eq!(node.run("SET more 1"), Reply::Ok);
    let before = node.digest();
    assert_eq!(node.crash().digest(), before);
}

#[test]
fn a_timeline_begins_where_the_log_ends_although_the_gate_is_shut_and_what_follows_is_logged_on_it() {
    let mut node = Node::new();
    node.run("SET a 1");
    node.run("SET b 2");
    let end = node.tail.last();
    node.gate.set(Condition::TimelinePending, || "no number yet".to_owned());
    assert!(matches!(node.execute("SET c 3").0, Reply::Error(_)));
    let (wal, first) = node.fork(end);
    node.core.keep_after(node.now.wall_ms + 5);
    node.tail.go_on_in(wal).expect("continues the log");
    node.core.begin_timeline(&mut node.tail, &first, node.now).expect("begins");
    assert_eq!(node.tail.last().time_ms, node.now.wall_ms + 6, "after what is promised");
    let shown = *node.tail.durable().lock();
    assert_eq!((shown.timeline, shown.mark.lsn), (TimelineId::new(2), Lsn::new(3)));
    let state = SnapshotState::newest(node.core.engine());
    let stored = state.get(&layout::timeline_entry()).expect("readable").expect("there");
    assert_eq!(layout::decode_timeline(&stored).expect("a timeline").timeline, TimelineId::new(2));
    assert_eq!(state.lsn(), Lsn::new(3));
    node.gate.clear(Condition::TimelinePending);
    let (reply, receipt) = node.execute("SET c 3");
    assert_eq!(reply, Reply::Ok);
    let receipt = receipt.expect("a record");
    assert_eq!((receipt.timeline, receipt.lsn), (TimelineId::new(2), Lsn::new(4)));
    node.commit().expect("is durable");
    assert_eq!(node.forked_lsns(), [3, 4]);
}

#[test]
fn a_timeline_that_cannot_begin_leaves_the_log_where_it_was() {
    let mut node = Node::new();
    node.run("SET a 1");
    let before = node.tail.last();
    node.run("SET b 2");
    let (end, digest) = (node.tail.last(), node.digest());
    let (elsewhere, _) = node.fork(before);
    assert!(node.tail.go_on_in(elsewhere).is_err(), "it does not continue this log");

    let (wal, first) = node.fork(end);
    let offset = TimelineRecord { clock_offset_ms: 1, ..first };
    node.tail.go_on_in(wal).expect("continues the log");
    assert!(node.core.begin_timeline(&mut node.tail, &offset, node.now).is_err(), "keys would expire by another clock");
    node.vfs.set_space(Some(0));
    assert!(node.core.begin_timeline(&mut node.tail, &first, node.now).is_err(), "no space");
    assert!(node.gate.holds(Condition::DiskFull) && !node.gate.holds(Condition::Poisoned));
    let shown = *node.tail.durable().lock();
    assert_eq!((shown.timeline, shown.mark, node.core.durable()), (TimelineId::FIRST, end, end));
    assert_eq!((node.digest(), node.core.is_empty()), (digest, true));

    node.vfs.set_space(None);
    let (wal, first) = node.fork(end);
    node.tail.go_on_in(wal).expect("continues the log");
    node.core.begin_timeline(&mut node.tail, &first, node.now).expect("begins at last");
    assert_eq!(node.forked_lsns(), [3]);
    node.vfs.fail_nth(VfsOp::SyncData, 1, std::io::ErrorKind::Other);
    node.gate.clear(Condition::DiskFull);
    node.execute("SET lost 1");
    assert!(node.commit().is_err());
    assert_eq!(node.tail.durable().lock().mark.lsn, Lsn::new(3));
}

#[test]
fn a_command_that_fails_half_way_leaves_nothing() {
    let mut node = Node::new();
    node.run("SET a 1");
    let before = node.digest();
    assert!(matches!(node.run("failhalfway a"), Reply::Error(_)));
    assert_eq!((node.digest(), node.core.durable().lsn), (before, Lsn::new(1)));
}

#[test]
fn a_transaction_is_one_record_in_which_a_failing_command_leaves_nothing() {
    let mut node = Node::new();
    let words = ["SET a 1", "failhalfway a", "INCR a", "GET a", "HSET a f v"];
    let steps = words.map(|words| TxnStep::Run(invoke(words))).to_vec();
    let now = node.now;
    let (reply, receipt) = node.core.execute(&Step::Transaction { steps, watcher: None }, now).expect("is executed");
    node.commit().expect("is durable");
    let Reply::Array(replies) = reply else { panic!("an array") };
    assert_eq!(replies[0], Reply::Ok);
    assert!(matches!(replies[1], Reply::Error(_)) && matches!(replies[4], Reply::Error(_)));
    assert_eq!(replies[2..4], [Reply::Int(2), Reply::bulk("2")]);
    assert_eq!(receipt.map(|receipt| receipt.lsn), Some(Lsn::new(1)));
    assert_eq!(node.crash().run("GET a"), Reply::bulk("2"));
}

#[test]
fn a_touched_watch_voids_the_transaction() {
    for (touch, voided) in [
        ("SET watched 2", true),
        ("DEL watched", true),
        ("EXPIRE watched 100", true),
        ("FLUSHALL", true),
        ("SWAPDB 0 1", true),
        ("HSET hash f 2", true),
        ("HDEL hash f", true),
        ("SET other 1", false),
        ("GET watched", false),
        ("DEL absent", false),
    ] {
        let mut node = Node::new();
        node.run("SET watched 1");
        node.run("HSET hash f 1 g 1");
        let watcher = Watcher::new();
        let keys = vec![(0, Bytes::from("watched")), (0, Bytes::from("hash"))];
        let now = node.now;
        node.core.execute(&Step::Watch { watcher: Arc::clone(&watcher), keys }, now).expect("is executed");
        node.run(touch);
        let steps = vec![TxnStep::Run(invoke("SET result 1"))];
        let step = Step::Transaction { steps, watcher: Some(watcher) };
        let (reply, _) = node.core.execute(&step, now).expect("is executed");
        assert_eq!(reply == Reply::NullArray, voided, "{touch}: {reply:?}");
    }
}

#[test]
fn what_was_absent_when_it_was_watched_is_touched_only_when_it_is_made() {
    for (touch, voided) in [
        ("FLUSHALL", false),
        ("FLUSHDB", false),
        // Asking for what has expired deletes it.
        ("EXISTS expired absent", false),
        ("DEL expired absent", false),
        ("SET expired 1", true),
        ("SET absent 1", true),
        ("SWAPDB 0 1", true),
    ] {
        let mut node = Node::new();
        node.run("SET other 1");
        node.run("SET expired 1 PX 10");
        node.pass_ms(20);
        let watcher = Watcher::new();
        let keys = vec![(0, Bytes::from("absent")), (0, Bytes::from("expired"))];
        let now = node.now;
        node.core.execute(&Step::Watch { watcher: Arc::clone(&watcher), keys }, now).expect("is executed");
        expire_step(&mut node.core, &mut node.tail, now, now.wall_ms).expect("expires");
        node.run(touch);
        let steps = vec![TxnStep::Run(invoke("SET result 1"))];
        let step = Step::Transaction { steps, watcher: Some(watcher) };
        let (reply, _) = node.core.execute(&step, now).expect("is executed");
        assert_eq!(reply == Reply::NullArray, voided, "{touch}: {reply:?}");
    }
}

#[test]
fn a_watched_key_that_expires_voids_the_transaction() {
    let mut node = Node::new();
    node.run("SET watched 1 PX 500");
    let watcher = Watcher::new();
    let now = node.now;
    let keys = vec![(0, Bytes::from("watched"))];
    node.core.execute(&Step::Watch { watcher: Arc::clone(&watcher), keys }, now).expect("is executed");
    node.pass_ms(500);
    let step = Step::Transaction { steps: vec![TxnStep::Run(invoke("SET result 1"))], watcher: Some(watcher) };
    let now = node.now;
    assert_eq!(node.core.execute(&step, now).expect("is executed").0, Reply::NullArray);
}

#[test]
fn what_has_expired_is_hidden_at_once_and_deleted_by_a_record() {
    let mut node = Node::new();
    for number in 0..600 {
        node.execute(&format!("SET key:{number} 1 PX {}", 100 + number));
    }
    node.execute("SET extended 1 PX 100");
    node.execute("PEXPIRE extended 100000");
    node.commit().expect("is durable");
    node.pass_ms(1_000);
    assert_eq!(node.run("GET key:0"), Reply::Null);
    let last = node.core.durable().lsn;
    let mut expired = 0;
    loop {
        let now = node.now;
        let done = expire_step(&mut node.core, &mut node.tail, now, now.wall_ms).expect("works");
        expired += done.expired;
        if !done.more {
            break;
        }
    }
    assert_eq!(expired, 600);
    assert!(node.core.durable().lsn > last, "logged");
    assert_eq!(node.run("DBSIZE"), Reply::Int(1));
    assert_eq!(node.entries(layout::EXPIRY_PREFIX), 1, "the hint of the one that lives");
    assert_eq!(node.run("GET extended"), Reply::bulk("1"));
    let before = node.digest();
    let mut node = node.crash();
    assert_eq!((node.digest(), node.run("DBSIZE")), (before, Reply::Int(1)));
}

#[test]
fn what_was_dropped_is_reclaimed_and_nothing_else() {
    let mut node = Node::new();
    for number in 0..2_000 {
        node.execute(&format!("HSET big field:{number} {number}"));
        node.execute(&format!("HSET hash:{number} a 1 b 2"));
    }
    node.commit().expect("is durable");
    let records = node.core.durable().lsn;
    node.run("DEL big");
    assert_eq!(node.core.durable().lsn.records_since(records), 1, "one record, however big");
    node.run("FLUSHALL");
    assert_eq!(node.core.durable().lsn.records_since(records), 2);
    node.run("HSET kept a 1 b 2");
    let before = node.digest();
    while reclaim_step(&mut node.core).expect("works").more {}
    assert_eq!(node.digest(), before);
    assert_eq!((node.entries(b'F'), node.entries(b'K'), node.entries(layout::GARBAGE_PREFIX)), (2, 1, 0));
}

#[test]
fn a_clock_that_jumps_ahead_refuses_writes_until_it_is_confirmed() {
    let mut node = Node::new();
    node.run("SET a 1");
    node.now.wall_ms += 10_000_000;
    assert!(matches!(node.run("SET a 2"), Reply::Error(_)));
    assert!(node.gate.holds(Condition::ClockJump));
    let now = node.now;
    node.core.confirm_clock(now);
    assert_eq!(node.run("SET a 2"), Reply::Ok);
    assert_eq!(node.core.durable().time_ms, node.now.wall_ms);
}

#[test]
fn times_to_live_follow_the_wall_clock_where_the_logs_time_is_ahead_of_it() {
    let mut node = Node::new();
    node.run("SET old 1 PX 500000");
    node.now.wall_ms -= 400_000;
    node.now.elapsed += Duration::from_secs(1);
    node.run("SET new 1 PX 1000");
    assert_eq!(node.core.durable().time_ms, 1_000_000, "the log's time does not go back");
    assert_eq!(node.run("PTTL new"), Reply::Int(1_000));
    assert_eq!(node.run("PTTL old"), Reply::Int(900_000));
    node.pass_ms(1_000);
    assert_eq!(node.run("SET new 2 XX"), Reply::Null, "it has expired for writes as for reads");
    assert_eq!(node.run("GET new"), Reply::Null);
}

#[test]
fn a_log_over_its_limit_refuses_until_it_is_pruned() {
    let mut node = Node::new();
    node.tail.limit_wal(600 * 1024);
    let mut taken = 0;
    while node.run(&format!("SET key:{taken} {}", "x".repeat(4_000))) == Reply::Ok {
        taken += 1;
        assert!(taken < 1_000, "refused at some point");
    }
    assert!(node.gate.holds(Condition::ArchiveLag));
    assert_eq!(node.run("GET key:0"), Reply::bulk("x".repeat(4_000)), "reads go on");
    let durable = node.core.durable().lsn;
    node.tail.prune(durable);
    assert_eq!(node.run("SET more 1"), Reply::Ok);
    while node.pool.fill_step(1 << 20).expect("works") != reddb_file::wal::FillProgress::Idle {}
}

#[test]
fn a_log_that_is_over_its_limit_at_the_start_refuses_the_first_write() {
    let mut node = Node::new();
    for key in 0..300 {
        assert_eq!(node.run(&format!("SET key:{key} {}", "x".repeat(4_000))), Reply::Ok);
    }
    let Node { vfs, engine_dir, salts, .. } = node;
    vfs.crash(Keep::Nothing);
    drop(engine_dir);
    let mut node = Node::open_limited(vfs, salts, 600 * 1024);
    assert!(node.gate.holds(Condition::ArchiveLag));
    assert!(matches!(node.run("SET more 1"), Reply::Error(_)));
    assert_eq!(node.run("GET key:0"), Reply::bulk("x".repeat(4_000)), "reads go on");
}

#[test]
fn whoever_asks_a_committer_that_stops_is_answered_or_told() {
    for _ in 0..20 {
        let node = Node::new();
        let clock: Arc<dyn crate::clock::Clock> = Arc::new(crate::clock::SystemClock::new());
        let env = Arc::new(Env::new(0, 1));
        let started = super::Committer::start_parts((node.core, node.tail), node.gate, env, clock);
        let committer = Arc::new(started.expect("starts"));
        let asking = Arc::clone(&committer);
        let asker = std::thread::spawn(move || while asking.fence().blocking_recv().is_ok() {});
        committer.stop();
        // Without an answer or an end this would hang.
        asker.join().expect("ends");
    }
}

static HELD: parking_lot::Mutex<Option<std::sync::mpsc::Receiver<()>>> = parking_lot::Mutex::new(None);

fn hold(_: &mut Txn<'_>, _: &Args) -> CommandResult {
    let released = HELD.lock().take().expect("one command is held");
    let released = released.recv_timeout(Duration::from_secs(20));
    released.map(|()| Reply::Ok).map_err(|_| crate::reply::CommandError::SYNTAX)
}

static HOLD: CommandSpec = CommandSpec {
    name: "hold",
    summary: "Takes until it is released.",
    heavy: true,
    run: Run::Write(hold),
    ..FAIL_HALF_WAY
};

#[test]
fn a_commit_that_takes_long_holds_up_nobody_else_in_its_runtime() {
    let node = Node::new();
    let (env, clock) = (Arc::new(Env::new(0, 1)), Arc::new(crate::clock::SystemClock::new()));
    let committer = super::Committer::start_parts((node.core, node.tail), node.gate, env, clock).expect("starts");
    let committer = Arc::new(committer);
    let (release, held) = std::sync::mpsc::channel();
    *HELD.lock() = Some(held);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let asking = Arc::clone(&committer);
    let steps = vec![Step::Run(Invocation { spec: &HOLD, args: vec!["hold".into(), "k".into()], db: 0 })];
    let slow = runtime.spawn(async move { asking.submit(super::Job { steps }).await });
    let other = runtime.spawn(async move { release.send(()) });
    let outcome = runtime.block_on(slow).expect("no panic").expect("answers");
    assert_eq!(outcome.replies, [Reply::Ok], "the runtime stood still until the command gave up");
    assert!(runtime.block_on(other).expect("no panic").is_ok());
    committer.stop();
}

#[test]
fn a_job_with_large_answers_is_cut_and_the_rest_handed_back() {
    let mut node = Node::new();
    node.core.execute(&Step::Run(large_value(1 << 20)), node.now).expect("is executed");
    let (env, clock) = (Arc::new(Env::new(0, 1)), Arc::new(crate::clock::SystemClock::new()));
    let committer = super::Committer::start_parts((node.core, node.tail), node.gate, env, clock).expect("starts");
    let mut steps = vec![Step::Run(invoke("SET small 1"))];
    steps.extend((0..100).map(|_| Step::Run(invoke("GET large"))));
    steps.push(Step::Run(invoke("SET small 2")));
    committer.confirm_clock().blocking_recv().expect("answers");
    let (mut replies, mut jobs) = (Vec::new(), 0);
    while !steps.is_empty() {
        let outcome = committer.submit(super::Job { steps }).blocking_recv().expect("answers");
        let held: usize = outcome.replies.iter().map(Reply::held_bytes).sum();
        assert!(held <= 17 << 20, "{held} bytes in one answer");
        replies.extend(outcome.replies);
        steps = outcome.rest;
        jobs += 1;
    }
    assert_eq!(jobs, 6, "seventeen answers of a MiB at once");
    assert_eq!(replies.len(), 102);
    assert_eq!((&replies[0], &replies[101]), (&Reply::Ok, &Reply::Ok));
    assert!(replies[1..101].iter().all(|reply| reply.held_bytes() == 1 << 20));
    committer.stop();
}

#[test]
fn a_transaction_whose_answers_are_too_large_is_not_carried_out() {
    let mut node = Node::new();
    let mut steps = vec![TxnStep::Run(large_value(1 << 20))];
    steps.extend((0..513).map(|_| TxnStep::Run(invoke("GET large"))));
    let transaction = |steps| Step::Transaction { steps, watcher: None };
    let (refused, receipt) = node.core.execute(&transaction(steps.clone()), node.now).expect("is executed");
    let Reply::Error(error) = refused else { panic!("{} bytes", refused.held_bytes()) };
    assert!(error.text().starts_with("EXECABORT") && error.text().contains("512 MiB"), "{error}");
    assert_eq!(receipt, None);
    assert_eq!(node.run("EXISTS large"), Reply::Int(0));
    steps.truncate(500);
    let (done, _) = node.core.execute(&transaction(steps), node.now).expect("is executed");
    assert!(matches!(done, Reply::Array(_)));
}

fn large_value(bytes: usize) -> Invocation {
    let mut invocation = invoke("SET large value");
    invocation.args[2] = Bytes::from(vec![b'v'; bytes]);
    invocation
}
