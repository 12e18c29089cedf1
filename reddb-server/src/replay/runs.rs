//! Records into an engine, in sorted runs.
//!
//! One thread takes records and keeps the newest change of each entry; when that is enough for a run, another thread sorts it and
//! hands it to the engine. At most two runs are in memory: the one being filled and the one being taken.
//!
//! What a restore replays goes to tables, around the memtables. What a start replays goes to memtables: it is read and written to at
//! once, and may never have to go to tables.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};

use crate::engine::{AppliedMark, Engine, EngineError, EngineWrite};
use crate::keyspace::StateError;

/// What an entry takes beside its key and value: its places in the map and in the sorted run, and the allocation of its bytes.
const ENTRY_BYTES: u64 = 192;

/// What the thread that writes is told.
enum Message {
    /// A run, up to a record.
    Run(AppliedMark, HashMap<Bytes, Option<Bytes>>),
    /// Nothing: it is taken when everything before it is done.
    Wait,
}

/// Where an engine keeps a run.
#[derive(Clone, Copy, Debug)]
enum Kept {
    InTables,
    InMemtables,
}

/// Collects runs, and has an engine take them.
pub(super) struct Runs {
    engine: Arc<dyn Engine>,
    kept: Kept,
    run: HashMap<Bytes, Option<Bytes>>,
    run_bytes: u64,
    /// A run of this size is handed over.
    run_bytes_max: u64,
    writer: Option<Writer>,
}

/// The size of the first run for tables, so that the thread that writes soon has something to do; each is twice as large as the one
/// before.
const FIRST_RUN_BYTES: u64 = 8 * 1024 * 1024;
/// The size of a run for memtables, in bytes.
const MEMTABLE_RUN_BYTES: u64 = 1024 * 1024;

/// The thread that writes, and how to reach it.
struct Writer {
    sender: Sender<Message>,
    thread: JoinHandle<Result<(), EngineError>>,
}

impl Runs {
    /// Loads the tables of `engine`.
    pub(super) fn into_tables(engine: Arc<dyn Engine>) -> Self {
        Self::of_bytes(FIRST_RUN_BYTES, Kept::InTables, engine)
    }

    /// Loads the memtables of `engine`.
    pub(super) fn into_memtables(engine: Arc<dyn Engine>) -> Self {
        Self::of_bytes(MEMTABLE_RUN_BYTES, Kept::InMemtables, engine)
    }

    fn of_bytes(run_bytes: u64, kept: Kept, engine: Arc<dyn Engine>) -> Self {
        let run_bytes_max = run_bytes.min(engine.run_bytes_max());
        Self { engine, kept, run: HashMap::new(), run_bytes: 0, run_bytes_max, writer: None }
    }

    fn send(&mut self, message: Message) -> Result<(), EngineError> {
        if self.writer.is_none() {
            // Without a buffer: a message is taken when the one before it is done.
            let (sender, inbox) = bounded(0);
            let (engine, kept) = (Arc::clone(&self.engine), self.kept);
            let thread = std::thread::Builder::new().name("reddb-runs".to_owned());
            let thread = thread.spawn(move || write_all(&*engine, kept, &inbox));
            self.writer = Some(Writer { sender, thread: thread.map_err(|source| EngineError::Thread { source })? });
        }
        let sent = self.writer.as_ref().is_some_and(|writer| writer.sender.send(message).is_ok());
        // It hears nothing more where it has failed.
        if sent { Ok(()) } else { self.join() }
    }

    /// Waits for the thread to end, and says how it did.
    fn join(&mut self) -> Result<(), EngineError> {
        let Some(Writer { sender, thread }) = self.writer.take() else { return Ok(()) };
        drop(sender);
        // It has no cause to panic, and a panic is passed on.
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn send_run(&mut self, mark: AppliedMark) -> Result<(), EngineError> {
        self.run_bytes = 0;
        if matches!(self.kept, Kept::InTables) {
            self.run_bytes_max = (self.run_bytes_max * 2).min(self.engine.run_bytes_max());
        }
        let next = HashMap::with_capacity(self.run.len());
        let run = std::mem::replace(&mut self.run, next);
        self.send(Message::Run(mark, run))
    }
}

impl Drop for Runs {
    /// Nothing is written to the engine's directory afterwards.
    fn drop(&mut self) {
        if let Some(Writer { sender, thread }) = self.writer.take() {
            drop(sender);
            // Whoever gives up has a better error than this thread's.
            drop(thread.join());
        }
    }
}

impl Runs {
    /// The newest value of an entry, of all that was set.
    pub(super) fn get(&mut self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        if let Some(value) = self.run.get(key) {
            return Ok(value.clone());
        }
        if self.writer.is_some() {
            self.send(Message::Wait)?;
        }
        Ok(self.engine.get_newest(key)?.1)
    }

    /// Changes an entry, or removes it.
    pub(super) fn set(&mut self, key: Bytes, value: Option<Bytes>) {
        let bytes = |key: &Bytes, value: &Option<Bytes>| {
            u64::try_from(key.len() + value.as_ref().map_or(0, Bytes::len)).unwrap_or(u64::MAX)
        };
        let (added, key_bytes) = (bytes(&key, &value), bytes(&key, &None));
        self.run_bytes += added;
        match self.run.insert(key, value) {
            Some(replaced) => self.run_bytes -= key_bytes + bytes(&Bytes::new(), &replaced),
            None => self.run_bytes += ENTRY_BYTES,
        }
    }

    /// Everything up to a record was set. May hand it to the engine.
    pub(super) fn taken(&mut self, mark: AppliedMark) -> Result<(), EngineError> {
        if self.run_bytes < self.run_bytes_max { Ok(()) } else { self.send_run(mark) }
    }

    /// Hands everything up to a record to the engine.
    pub(super) fn finish(mut self, mark: AppliedMark) -> Result<(), EngineError> {
        if !self.run.is_empty() {
            self.send_run(mark)?;
        }
        self.join()
    }
}

/// The thread that writes: until nobody sends any more, or it fails.
fn write_all(engine: &dyn Engine, kept: Kept, inbox: &Receiver<Message>) -> Result<(), EngineError> {
    for message in inbox {
        match (message, kept) {
            (Message::Run(mark, run), Kept::InTables) => engine.load_run(mark, &sorted(run))?,
            (Message::Run(mark, run), Kept::InMemtables) => engine.load(mark, &sorted(run))?,
            (Message::Wait, _) => {}
        }
    }
    Ok(())
}

/// A run's writes in the order of their keys. Compares the keys' first bytes beside each other: each key is elsewhere in memory.
fn sorted(run: HashMap<Bytes, Option<Bytes>>) -> Vec<EngineWrite> {
    let mut writes: Vec<_> = run.into_iter().map(|write| Some(EngineWrite::from(write))).collect();
    let mut order: Vec<(Head, usize)> = Vec::with_capacity(writes.len());
    order.extend(writes.iter().flatten().map(|write| head(write.key())).zip(0..));
    order.sort_unstable_by(|(head, at), (other_head, other)| {
        let key = |at: &usize| writes[*at].as_ref().map(EngineWrite::key);
        head.cmp(other_head).then_with(|| key(at).cmp(&key(other)))
    });
    // Each is taken once, so none is missing.
    order.into_iter().filter_map(|(_, at)| writes[at].take()).collect()
}

/// The first bytes of a key, in an order that theirs follows; zeros stand for those it has not.
type Head = [u64; 4];

fn head(key: &[u8]) -> Head {
    let mut words = key.chunks(8).map(|chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_be_bytes(word)
    });
    std::array::from_fn(|_| words.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use reddb_file::{Chain, Lsn};

    use super::*;
    use crate::engine::{EngineConfig, LsmEngine};

    fn engine(dir: &tempfile::TempDir) -> Arc<dyn Engine> {
        let config = EngineConfig { memory_bytes: 4 << 20 };
        let engine = LsmEngine::open_to_load(&dir.path().join("engine"), config, Chain::from_bytes([1; 32])).unwrap();
        Arc::new(engine)
    }

    #[test]
    fn what_was_set_is_read_wherever_it_is() {
        for load in [Runs::into_tables, Runs::into_memtables] {
            let dir = tempfile::tempdir().unwrap();
            let engine = engine(&dir);
            read_back(load(Arc::clone(&engine)), &*engine);
        }
    }

    fn read_back(mut runs: Runs, engine: &dyn Engine) {
        let mut model = std::collections::BTreeMap::new();
        let mark =
            |number: u64| AppliedMark { lsn: Lsn::new(number), chain: Chain::from_bytes([2; 32]), time_ms: number };
        let records = 30_000u64;
        for number in 1..=records {
            // Old and new entries, most of them in runs that were written or are being written.
            let old = Bytes::from(format!("key {}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % number));
            if number % 50 == 0 {
                assert_eq!(runs.get(&old).unwrap(), model.get(&old).cloned().flatten(), "{old:?} at {number}");
            }
            let value = (number % 7 > 0).then(|| Bytes::from(vec![b'v'; 100 + usize::try_from(number % 90).unwrap()]));
            for key in [Bytes::from(format!("key {number}")), old] {
                model.insert(key.clone(), value.clone());
                runs.set(key, value.clone());
            }
            runs.taken(mark(number)).unwrap();
        }
        runs.finish(mark(records)).unwrap();
        assert_eq!(engine.applied(), mark(records));
        assert!(engine.stats().flushes > 5, "more than fits into memory");
        for (key, value) in model {
            assert_eq!(engine.get_newest(&key).unwrap().1, value, "{key:?}");
        }
    }

    #[test]
    fn a_run_that_cannot_be_written_ends_the_replay() {
        for load in [Runs::into_tables, Runs::into_memtables] {
            let dir = tempfile::tempdir().unwrap();
            let engine = engine(&dir);
            engine.close().unwrap();
            let mut runs = load(engine);
            let mark = AppliedMark { lsn: Lsn::new(1), chain: Chain::from_bytes([2; 32]), time_ms: 0 };
            runs.set(Bytes::from_static(b"k"), None);
            assert!(matches!(runs.finish(mark), Err(EngineError::Closed)));
        }
    }

    #[test]
    fn a_run_is_sorted_by_whole_keys() {
        let long = [b'k'; 40];
        let mut keys: Vec<Vec<u8>> =
            vec![vec![0], vec![0, 0], vec![0; 9], vec![0; 32], vec![0; 33], vec![1], vec![255; 40]];
        keys.extend([&long[..31], &long[..32], &long[..33], &long[..]].map(<[u8]>::to_vec));
        keys.extend((0..200u8).map(|last| [&long[..], &[last.wrapping_mul(37)]].concat()));
        let run = keys.iter().map(|key| (Bytes::copy_from_slice(key), None)).collect();
        keys.sort();
        let sorted: Vec<Vec<u8>> = sorted(run).iter().map(|write| write.key().to_vec()).collect();
        assert_eq!(sorted, keys);
    }
}
