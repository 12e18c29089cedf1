//! Transactions against a simple model: whatever is done, in whatever order, with whatever undone, the state read back,
//! the log's meaning and the counts agree with it.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use proptest::prelude::*;
use reddb_file::Lsn;

use super::{Entry, Touched, Txn, TxnMode, Value};
use crate::engine::EngineWrite;
use crate::keyspace::tests::MemoryState;
use crate::keyspace::{Env, Overlay, digest};

type Name = (u32, u8);

#[derive(Clone, Debug, PartialEq, Eq)]
enum ModelValue {
    String(u8),
    Hash(BTreeMap<u8, u8>),
}

/// What each database should hold, expired keys that nothing has touched among it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    keys: BTreeMap<Name, (ModelValue, Option<u64>)>,
}

#[derive(Clone, Debug)]
enum Op {
    PutString(Name, u8, Option<u8>),
    SetExpiry(Name, Option<u8>),
    Delete(Name),
    Rename(Name, Name),
    Copy(Name, Name),
    PutFields(Name, Vec<(u8, u8)>),
    DeleteFields(Name, Vec<u8>),
    Flush(u32),
    Swap(u32, u32),
    Lookup(Name),
    /// Does these, then undoes them.
    Undone(Vec<Op>),
}

fn name() -> impl Strategy<Value = Name> {
    (0u32..2, 0u8..4)
}

fn op() -> impl Strategy<Value = Op> {
    let leaf = prop_oneof![
        4 => (name(), any::<u8>(), proptest::option::of(0u8..20)).prop_map(|(n, v, e)| Op::PutString(n, v, e)),
        2 => (name(), proptest::option::of(0u8..20)).prop_map(|(n, e)| Op::SetExpiry(n, e)),
        2 => name().prop_map(Op::Delete),
        3 => (name(), name()).prop_map(|(one, other)| Op::Rename(one, other)),
        3 => (name(), name()).prop_map(|(one, other)| Op::Copy(one, other)),
        5 => (name(), proptest::collection::vec((0u8..5, any::<u8>()), 0..4)).prop_map(|(n, f)| Op::PutFields(n, f)),
        4 => (name(), proptest::collection::vec(0u8..5, 0..6)).prop_map(|(n, f)| Op::DeleteFields(n, f)),
        1 => (0u32..2).prop_map(Op::Flush),
        1 => (0u32..2, 0u32..2).prop_map(|(one, other)| Op::Swap(one, other)),
        2 => name().prop_map(Op::Lookup),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| proptest::collection::vec(inner, 0..4).prop_map(Op::Undone))
}

impl Model {
    /// The key, which is deleted if it has expired.
    fn live(&mut self, name: Name, now_ms: u64) -> Option<(ModelValue, Option<u64>)> {
        let found = self.keys.get(&name).cloned();
        if found.as_ref().is_some_and(|(_, expires_at_ms)| expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms)) {
            self.keys.remove(&name);
            return None;
        }
        found
    }

    fn apply(&mut self, op: &Op, now_ms: u64) {
        let at_ms = |delay: Option<u8>| delay.map(|delay| now_ms + u64::from(delay));
        match op {
            Op::PutString(name, value, delay) => {
                self.keys.insert(*name, (ModelValue::String(*value), at_ms(*delay)));
            }
            Op::SetExpiry(name, delay) => {
                if let Some((value, _)) = self.live(*name, now_ms) {
                    self.keys.insert(*name, (value, at_ms(*delay)));
                }
            }
            Op::Delete(name) => {
                self.keys.remove(name);
            }
            Op::Rename(from, to) => {
                if from != to
                    && let Some(found) = self.live(*from, now_ms)
                {
                    self.keys.remove(from);
                    self.keys.insert(*to, found);
                }
            }
            Op::Copy(from, to) => {
                if from != to
                    && let Some(found) = self.live(*from, now_ms)
                {
                    self.keys.insert(*to, found);
                }
            }
            Op::PutFields(name, fields) => {
                let (value, expires_at_ms) =
                    self.live(*name, now_ms).unwrap_or((ModelValue::Hash(BTreeMap::new()), None));
                if let ModelValue::Hash(mut hash) = value {
                    hash.extend(fields.iter().copied());
                    if !hash.is_empty() {
                        self.keys.insert(*name, (ModelValue::Hash(hash), expires_at_ms));
                    }
                }
            }
            Op::DeleteFields(name, fields) => {
                if let Some((ModelValue::Hash(mut hash), expires_at_ms)) = self.live(*name, now_ms) {
                    hash.retain(|field, _| !fields.contains(field));
                    if hash.is_empty() {
                        self.keys.remove(name);
                    } else {
                        self.keys.insert(*name, (ModelValue::Hash(hash), expires_at_ms));
                    }
                }
            }
            Op::Flush(db) => self.keys.retain(|(of, _), _| of != db),
            Op::Swap(one, other) => {
                let swapped = |db: u32| {
                    if db == *one {
                        *other
                    } else if db == *other {
                        *one
                    } else {
                        db
                    }
                };
                self.keys =
                    std::mem::take(&mut self.keys).into_iter().map(|((db, key), v)| ((swapped(db), key), v)).collect();
            }
            Op::Lookup(name) => drop(self.live(*name, now_ms)),
            Op::Undone(_) => {}
        }
    }
}

fn perform(txn: &mut Txn<'_>, op: &Op) {
    let now_ms = txn.now_ms();
    let at_ms = |delay: &Option<u8>| delay.map(|delay| now_ms + u64::from(delay));
    match op {
        Op::PutString((db, key), value, delay) => {
            txn.put_string_in(*db, &[*key], &[*value], at_ms(delay)).unwrap();
        }
        Op::SetExpiry((db, key), delay) => {
            txn.select(*db).unwrap();
            txn.set_expiry(&[*key], at_ms(delay)).unwrap();
        }
        Op::Delete((db, key)) => {
            txn.delete_in(*db, &[*key]).unwrap();
        }
        Op::Rename(from, to) => {
            if from != to {
                txn.rename((from.0, &[from.1]), (to.0, &[to.1])).unwrap();
            }
        }
        Op::Copy(from, to) => {
            if from != to {
                txn.copy((from.0, &[from.1]), (to.0, &[to.1])).unwrap();
            }
        }
        Op::PutFields((db, key), fields) => {
            txn.select(*db).unwrap();
            let before = txn.lookup(&[*key]).unwrap();
            let fields: Vec<([u8; 1], [u8; 1])> = fields.iter().map(|(field, value)| ([*field], [*value])).collect();
            let result = txn.hash_put(&[*key], fields.iter().map(|(field, value)| (&field[..], &value[..])));
            assert_eq!(result.is_err(), matches!(before, Some(Entry { value: Value::String(_), .. })));
        }
        Op::DeleteFields((db, key), fields) => {
            txn.select(*db).unwrap();
            let before = txn.lookup(&[*key]).unwrap();
            let fields: Vec<[u8; 1]> = fields.iter().map(|field| [*field]).collect();
            let result = txn.hash_delete(&[*key], fields.iter().map(|field| &field[..]));
            assert_eq!(result.is_err(), matches!(before, Some(Entry { value: Value::String(_), .. })));
        }
        Op::Flush(db) => txn.flush_database(*db).unwrap(),
        Op::Swap(one, other) => txn.swap_databases(*one, *other).unwrap(),
        Op::Lookup((db, key)) => drop(txn.lookup_in(*db, &[*key]).unwrap()),
        Op::Undone(ops) => {
            let before = read_all(txn);
            let (savepoint, touched) = (txn.savepoint(), txn.touched.clone());
            for op in ops {
                perform(txn, op);
            }
            txn.rollback(&savepoint);
            assert_eq!(txn.touched, touched);
            assert_eq!(read_all(txn), before, "what was undone is still seen");
        }
    }
}

/// Everything that a transaction sees, expired keys included.
fn read_all(txn: &mut Txn<'_>) -> Model {
    let mut model = Model::default();
    for db in 0..2 {
        txn.select(db).unwrap();
        let names = txn.key_names().unwrap();
        let keys: Vec<(Bytes, Bytes)> = txn.names(&names, Bound::Unbounded, b"").collect::<Result<_, _>>().unwrap();
        assert_eq!(keys.len() as u64, txn.database(db).unwrap().key_count);
        let last = txn.last_name(&names, b"", None).unwrap();
        assert_eq!(last.as_ref(), keys.last().map(|(key, _)| key));
        for (key, value) in keys {
            let entry = crate::keyspace::layout::decode_entry(&key, &value).unwrap();
            let value = match entry.value {
                Value::String(value) => ModelValue::String(value[0]),
                Value::Hash(hash) => {
                    let fields = txn.hash_fields(&hash, Bound::Unbounded).map(|item| {
                        let (field, value) = item.unwrap();
                        (field[0], value[0])
                    });
                    let fields: BTreeMap<u8, u8> = fields.collect();
                    assert_eq!(fields.len() as u64, hash.field_count);
                    ModelValue::Hash(fields)
                }
            };
            model.keys.insert((db, key[0]), (value, entry.expires_at_ms));
        }
    }
    model
}

fn entries_of(batch: &[EngineWrite]) -> Vec<(Bytes, Option<Bytes>)> {
    batch.iter().map(|write| (write.key().clone(), write.value().cloned())).collect()
}

/// The keys that differ between two models for whoever looks at that time: what has expired is absent.
fn changed(before: &Model, after: &Model, now_ms: u64) -> Vec<Name> {
    let names = before.keys.keys().chain(after.keys.keys());
    let seen = |model: &Model, name: &Name| {
        model.keys.get(name).filter(|(_, expires_at_ms)| expires_at_ms.is_none_or(|at_ms| at_ms > now_ms)).cloned()
    };
    names.filter(|name| seen(before, name) != seen(after, name)).copied().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn transactions_do_what_the_model_does(
        records in proptest::collection::vec((proptest::collection::vec(op(), 1..12), 0u64..12, any::<bool>(), any::<bool>()), 1..12),
    ) {
        let env = Env::new(0, 1);
        let mut engine = MemoryState::default();
        // What the log alone makes of it, and what the engine has not been told yet.
        let mut replica = MemoryState::default();
        let mut overlay = Overlay::new();
        let mut model = Model::default();
        let mut now_ms = 1000;
        let mut sealed = Vec::new();
        for (lsn, (ops, passed_ms, seals, engine_catches_up)) in (1..).zip(records) {
            now_ms += passed_ms;
            let before = model.clone();
            let mut txn = Txn::new(&engine, &mut overlay, &env, TxnMode::Write(Lsn::new(lsn)), now_ms);
            for op in &ops {
                perform(&mut txn, op);
                model.apply(op, now_ms);
            }
            prop_assert_eq!(read_all(&mut txn), model.clone());
            let finished = txn.finish().unwrap();
            prop_assert!(finished.is_some() || before == model);
            if let Some(finished) = finished {
                for name in changed(&before, &model, now_ms) {
                    let told = finished.touched.iter().any(|touched| match touched {
                        Touched::Key(db, key) => (*db, key[0]) == name,
                        Touched::Flushed(db) | Touched::Database(db) => *db == name.0,
                    });
                    prop_assert!(told, "{:?} changed and a watcher would not know", name);
                }
                replica = replica.replayed(&finished.payload);
            }
            if seals {
                // The engine will be told while the next batch is open.
                for batch in std::mem::replace(&mut sealed, vec![overlay.seal()]) {
                    engine.write(&entries_of(&batch));
                }
                continue;
            }
            if engine_catches_up {
                for batch in sealed.drain(..) {
                    engine.write(&entries_of(&batch));
                }
                overlay.settle();
                engine.write(&overlay.take());
                prop_assert_eq!(engine.entries(), replica.entries());
                prop_assert_eq!(digest::digest(&engine).unwrap(), digest::digest(&replica).unwrap());
                engine.check();
            }
        }
        for batch in sealed {
            engine.write(&entries_of(&batch));
        }
        overlay.settle();
        engine.write(&overlay.take());
        prop_assert_eq!(engine.entries(), replica.entries());
    }
}

#[test]
fn a_transaction_that_may_only_read_changes_nothing() {
    let env = Env::new(0, 1);
    let state = MemoryState::default();
    let mut overlay = Overlay::new();
    let mut txn = Txn::new(&state, &mut overlay, &env, TxnMode::Read, 0);
    assert!(txn.put_string(b"k", b"v", None).is_err());
    assert!(txn.hash_put(b"h", [(&b"f"[..], &b"v"[..])]).is_err());
    assert!(txn.finish().unwrap().is_none());
    assert!(overlay.is_empty());
}

#[test]
fn a_transaction_too_large_for_a_record_leaves_nothing() {
    let env = Env::new(0, 1);
    let state = MemoryState::default();
    let mut overlay = Overlay::new();
    let mut txn = Txn::new(&state, &mut overlay, &env, TxnMode::Write(Lsn::new(1)), 0);
    let value = vec![0; reddb_wire::VALUE_BYTES_MAX];
    txn.put_string(b"one", &value, None).unwrap();
    let savepoint = txn.savepoint();
    // A second one fits no more beside the first one and the records' own bytes.
    assert!(txn.put_string(b"two", &value, None).is_err());
    txn.rollback(&savepoint);
    assert!(txn.lookup(b"two").unwrap().is_none());
    assert_eq!(txn.database(0).unwrap().key_count, 1);
    let finished = txn.finish().unwrap().unwrap();
    assert_eq!(finished.changed.len(), 2);
    overlay.undo(finished.changed);
    assert!(overlay.is_empty());
}

#[test]
fn reading_an_expired_key_leaves_it_and_writing_deletes_it() {
    let env = Env::new(0, 1);
    let mut state = MemoryState::default();
    let mut overlay = Overlay::new();
    let mut txn = Txn::new(&state, &mut overlay, &env, TxnMode::Write(Lsn::new(1)), 10);
    txn.put_string(b"k", b"v", Some(20)).unwrap();
    assert!(txn.finish().unwrap().is_some());
    state.write(&overlay.take());

    let mut txn = Txn::new(&state, &mut overlay, &env, TxnMode::Read, 20);
    assert!(txn.lookup(b"k").unwrap().is_none());
    let names = txn.key_names().unwrap();
    let stored: Vec<_> = txn.names(&names, Bound::Unbounded, b"").collect::<Result<_, _>>().unwrap();
    assert_eq!(stored.len(), 1);
    assert!(txn.decode_live(&stored[0].0, &stored[0].1).unwrap().is_none());
    assert_eq!(txn.database(0).unwrap().key_count, 1);
    assert!(txn.finish().unwrap().is_none());

    let mut txn = Txn::new(&state, &mut overlay, &env, TxnMode::Write(Lsn::new(2)), 20);
    assert!(txn.lookup(b"k").unwrap().is_none());
    assert_eq!(txn.database(0).unwrap().key_count, 0);
    assert_eq!(txn.database(0).unwrap().expiring_count, 0);
    assert!(txn.finish().unwrap().is_some());
}
