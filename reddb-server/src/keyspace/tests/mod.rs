//! A database in memory for tests: it runs commands as the committer does, and checks after each one what must hold.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use reddb_file::Lsn;
use reddb_wire::changes;

use crate::command::{CommandSpec, DATA_COMMANDS, Run};
use crate::keyspace::layout::{
    DatabaseState, Garbage, database_entry, decode_database, decode_entry, decode_garbage_entry,
};
use crate::keyspace::lower::lower;
use crate::keyspace::state::{StateEntry, StateIter};
use crate::keyspace::{DATABASE_COUNT, Env, Overlay, State, StateError, Touched, Txn, TxnMode, Value, digest, layout};
use crate::reply::{CommandError, CommandResult, Reply};

/// Engine entries in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemoryState {
    entries: Arc<BTreeMap<Bytes, Bytes>>,
}

impl MemoryState {
    pub(crate) fn write(&mut self, writes: &[(Bytes, Option<Bytes>)]) {
        let entries = Arc::make_mut(&mut self.entries);
        for (key, value) in writes {
            match value {
                Some(value) => entries.insert(key.clone(), value.clone()),
                None => entries.remove(key),
            };
        }
    }

    /// What a record's payload makes of this state.
    pub(crate) fn replayed(&self, payload: &[u8]) -> Self {
        let mut state = self.clone();
        for change in changes(payload).unwrap() {
            let mut writes = Vec::new();
            writes.extend(lower(&change.unwrap(), |key| state.get(key)).unwrap().into_iter().flatten());
            state.write(&writes);
        }
        state
    }

    pub(crate) fn entries(&self) -> &BTreeMap<Bytes, Bytes> {
        &self.entries
    }

    fn with_prefix(&self, prefix: &Bytes) -> Vec<StateEntry> {
        self.range(Bound::Included(prefix.clone()), Bound::Excluded(layout::prefix_end(prefix)))
            .collect::<Result<_, _>>()
            .unwrap()
    }

    /// Checks that the counts are right, that every hash has its fields, and that every object is either referred to or
    /// marked as garbage.
    pub(crate) fn check(&self) {
        let mut referred = Vec::new();
        for db in 0..DATABASE_COUNT {
            let database = match self.get(&database_entry(db)).unwrap() {
                Some(value) => decode_database(db, &value).unwrap(),
                None => DatabaseState::initial(db),
            };
            let keys = self.with_prefix(&layout::key_entry(database.space, b""));
            let mut expiring_count = 0;
            for (entry_key, value) in &keys {
                let entry = decode_entry(entry_key, value).unwrap();
                expiring_count += u64::from(entry.expires_at_ms.is_some());
                if let Some(expires_at_ms) = entry.expires_at_ms {
                    let hint =
                        layout::expiry_entry(expires_at_ms, database.space, &layout::name_of(entry_key).unwrap());
                    assert!(self.entries.contains_key(&hint), "a key that expires has a hint");
                }
                if let Value::Hash(hash) = entry.value {
                    let fields = self.with_prefix(&layout::field_entry(hash.object, b""));
                    assert_eq!(fields.len() as u64, hash.field_count, "a hash counts its fields");
                    assert!(hash.field_count > 0, "a hash without fields is no key");
                    assert!(!referred.contains(&hash.object), "two keys share an object");
                    referred.push(hash.object);
                }
            }
            assert_eq!(keys.len() as u64, database.key_count, "database {db} counts its keys");
            assert_eq!(expiring_count, database.expiring_count, "database {db} counts the keys that expire");
        }
        let garbage: Vec<Garbage> = self
            .with_prefix(&Bytes::from_static(&[layout::GARBAGE_PREFIX]))
            .iter()
            .map(|(key, _)| decode_garbage_entry(key).unwrap())
            .collect();
        let dropped_spaces: Vec<_> = garbage
            .iter()
            .filter_map(|garbage| match garbage {
                Garbage::Space(space) => Some(*space),
                Garbage::Object(_) => None,
            })
            .collect();
        let mut in_dropped_spaces = Vec::new();
        for space in dropped_spaces {
            for (key, value) in self.with_prefix(&layout::key_entry(space, b"")) {
                if let Value::Hash(hash) = decode_entry(&key, &value).unwrap().value {
                    assert!(
                        !referred.contains(&hash.object),
                        "a key in use and one in a dropped space share an object"
                    );
                    in_dropped_spaces.push(hash.object);
                }
            }
        }
        for (key, _) in self.with_prefix(&Bytes::from_static(b"F")) {
            let (object, _) = layout::id_and_name(&key).unwrap();
            let live = referred.contains(&object);
            let dropped = garbage.contains(&Garbage::Object(object)) || in_dropped_spaces.contains(&object);
            assert!(live || dropped, "the fields of {object:?} can never be reclaimed");
            assert!(
                !(live && garbage.contains(&Garbage::Object(object))),
                "{object:?} is in use and marked as garbage"
            );
        }
        digest::digest(self).unwrap();
    }
}

impl State for MemoryState {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StateError> {
        Ok(self.entries.get(key).cloned())
    }

    fn range(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> StateIter {
        let entries = Arc::clone(&self.entries);
        let mut from = from;
        Box::new(std::iter::from_fn(move || {
            let (key, value) = entries.range::<Bytes, _>((from.clone(), to.clone())).next()?;
            from = Bound::Excluded(key.clone());
            // The end may be the very next key, and a map refuses an empty range between two excluded bounds.
            if matches!(&to, Bound::Excluded(end) if end == key) {
                return None;
            }
            Some(Ok((key.clone(), value.clone())))
        }))
    }

    fn last(&self, from: Bound<Bytes>, to: Bound<Bytes>) -> Result<Option<StateEntry>, StateError> {
        let last = self.entries.range::<Bytes, _>((from, to)).next_back();
        Ok(last.map(|(key, value)| (key.clone(), value.clone())))
    }
}

/// A database in memory, with a clock that stands still until told.
pub(crate) struct TestDatabase {
    pub(crate) state: MemoryState,
    pub(crate) env: Env,
    pub(crate) now_ms: u64,
    pub(crate) db: u32,
    lsn: u64,
    /// What the last command changed.
    pub(crate) touched: Vec<Touched>,
}

impl TestDatabase {
    pub(crate) fn new() -> Self {
        Self {
            state: MemoryState::default(),
            env: Env::new(0, 7),
            now_ms: 1_700_000_000_000,
            db: 0,
            lsn: 0,
            touched: Vec::new(),
        }
    }

    /// Runs commands as one record; if one fails, its changes alone are undone.
    pub(crate) fn transaction(&mut self, commands: &[&[&[u8]]]) -> Vec<Reply> {
        let before = self.state.clone();
        let (replies, payload) = self.transact(commands);
        if let Some(payload) = payload {
            assert_eq!(self.state, before.replayed(&payload), "the log says something else than what was done");
            self.state.check();
        }
        replies
    }

    /// Runs a command that succeeds, without the checks, which take time in a large database.
    pub(crate) fn run_unchecked(&mut self, command: &[&[u8]]) {
        let (replies, _) = self.transact(&[command]);
        assert!(!matches!(replies[0], Reply::Error(_)), "{}", show(&replies[0]));
    }

    fn transact(&mut self, commands: &[&[&[u8]]]) -> (Vec<Reply>, Option<Vec<u8>>) {
        let mut overlay = Overlay::new();
        let mode = TxnMode::Write(Lsn::new(self.lsn + 1));
        let mut txn = Txn::new(&self.state, &mut overlay, &self.env, mode, self.now_ms);
        txn.select(self.db).unwrap();
        let mut replies = Vec::new();
        for command in commands {
            let savepoint = txn.savepoint();
            let result = call(&mut txn, command);
            replies.push(result.unwrap_or_else(|error| {
                txn.rollback(&savepoint);
                Reply::Error(error)
            }));
        }
        let finished = txn.finish().unwrap();
        self.touched.clear();
        let Some(finished) = finished else {
            assert!(overlay.is_empty(), "a transaction without changes left writes behind");
            return (replies, None);
        };
        self.lsn += 1;
        self.state.write(&overlay.take());
        self.touched = finished.touched;
        (replies, Some(finished.payload))
    }

    /// Runs a command as the committer does.
    pub(crate) fn run(&mut self, command: &[&[u8]]) -> Reply {
        self.transaction(&[command]).remove(0)
    }

    /// Runs a command as a session does, which may read only.
    pub(crate) fn read(&self, command: &[&[u8]]) -> Reply {
        let mut overlay = Overlay::new();
        let mut txn = Txn::new(&self.state, &mut overlay, &self.env, TxnMode::Read, self.now_ms);
        txn.select(self.db).unwrap();
        call(&mut txn, command).unwrap_or_else(Reply::Error)
    }

    /// Runs a command given as words, `''` for an empty one, and shows the answer as text. One that reads is run both
    /// ways, which must not make a difference.
    pub(crate) fn ask(&mut self, line: &str) -> String {
        let words: Vec<&[u8]> =
            line.split_whitespace().map(|word| if word == "''" { &b""[..] } else { word.as_bytes() }).collect();
        let as_read = find(words[0]).filter(|spec| !spec.is_write()).map(|_| show(&self.read(&words)));
        let answer = show(&self.run(&words));
        if let Some(as_read) = as_read
            && !["scan", "hscan", "randomkey", "hrandfield"]
                .iter()
                .any(|name| words[0].eq_ignore_ascii_case(name.as_bytes()))
        {
            assert_eq!(as_read, answer, "{line}: reading and writing transactions disagree");
        }
        answer
    }

    /// Asks and compares, for each pair.
    pub(crate) fn expect(&mut self, talk: &[(&str, &str)]) {
        for (line, answer) in talk {
            assert_eq!(self.ask(line), *answer, "{line}");
        }
    }
}

pub(crate) fn find(name: &[u8]) -> Option<&'static CommandSpec> {
    DATA_COMMANDS.iter().copied().flatten().find(|spec| name.eq_ignore_ascii_case(spec.name.as_bytes()))
}

fn call(txn: &mut Txn<'_>, command: &[&[u8]]) -> CommandResult {
    let spec = find(command[0]).expect("the command exists");
    let args: Vec<Bytes> = command.iter().map(|arg| Bytes::copy_from_slice(arg)).collect();
    if !spec.accepts(args.len()) {
        return Err(CommandError::wrong_arity(spec.name));
    }
    match spec.run {
        Run::Read(run) | Run::Write(run) => run(txn, &args),
        Run::Session => panic!("{} is no data command", spec.name),
    }
}

/// An answer as text: strings quoted, lists in brackets.
pub(crate) fn show(reply: &Reply) -> String {
    let list = |items: Vec<String>| format!("[{}]", items.join(" "));
    let pair = |(name, value): &(Reply, Reply)| format!("{}={}", show(name), show(value));
    match reply {
        Reply::Ok => "OK".to_owned(),
        Reply::Simple(text) => text.to_string(),
        Reply::Error(error) => error.text().into_owned(),
        Reply::Int(value) => value.to_string(),
        Reply::Bulk(bytes) | Reply::Text(bytes) => format!("'{}'", bytes.escape_ascii()),
        Reply::Null | Reply::NullArray | Reply::None => "nil".to_owned(),
        Reply::Array(items) | Reply::Set(items) => list(items.iter().map(show).collect()),
        Reply::Map(pairs) => format!("{{{}}}", pairs.iter().map(pair).collect::<Vec<_>>().join(" ")),
        Reply::Pairs(pairs) => list(pairs.iter().map(pair).collect()),
        Reply::Double(value) => value.to_string(),
        Reply::Bool(value) => value.to_string(),
    }
}
