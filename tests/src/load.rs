//! Writers that remember what was acknowledged.
//!
//! Each writer owns its keys and sends batches of operations, one after another, so that its history is a list. Whatever
//! happens to the server, its keys must afterwards be in the state after some prefix of that list which holds at least
//! everything acknowledged: a prefix, because the log is a sequence; at least the acknowledged, because that is the promise.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::resp::{Client, Value, encode, words};

/// Keys of one writer.
const SLOTS: u64 = 48;

/// One operation: what is sent, and what it does to the writer's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Operation {
    Set {
        slot: u64,
        value: u64,
    },
    Delete {
        slot: u64,
    },
    SetField {
        slot: u64,
        field: u64,
        value: u64,
    },
    /// A transaction over several slots.
    Together {
        slots: Vec<u64>,
        value: u64,
    },
}

/// The keys of one writer: strings, and hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    strings: BTreeMap<u64, u64>,
    hashes: BTreeMap<u64, BTreeMap<u64, u64>>,
}

impl State {
    fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Set { slot, value } => drop(self.strings.insert(*slot, *value)),
            Operation::Delete { slot } => drop(self.strings.remove(slot)),
            Operation::SetField { slot, field, value } => {
                self.hashes.entry(*slot).or_default().insert(*field, *value);
            }
            Operation::Together { slots, value } => self.strings.extend(slots.iter().map(|slot| (*slot, *value))),
        }
    }
}

/// What one writer did.
#[derive(Debug)]
pub struct History {
    writer: u64,
    /// After everything acknowledged, and what was sent after it without an answer, in order.
    acknowledged: State,
    unanswered: Vec<Operation>,
    /// How many operations were acknowledged.
    pub acknowledged_count: u64,
}

impl History {
    /// A writer that has done nothing yet.
    #[must_use]
    pub fn new(writer: u64) -> Self {
        Self { writer, acknowledged: State::default(), unanswered: Vec::new(), acknowledged_count: 0 }
    }

    /// Asserts that the server holds a prefix of this history with everything acknowledged in it, and takes that as the
    /// state to go on from.
    ///
    /// # Panics
    /// Where it does not.
    pub fn expect_kept(&mut self, client: &mut Client) {
        let found = read_state(client, self.writer);
        let mut candidate = self.acknowledged.clone();
        let mut matches = candidate == found;
        for operation in self.unanswered.drain(..) {
            if matches {
                break;
            }
            candidate.apply(&operation);
            matches = candidate == found;
        }
        assert!(
            matches,
            "writer {}: after {} acknowledged operations the keys are in no state that its history allows:\n{}",
            self.writer,
            self.acknowledged_count,
            difference(&self.acknowledged, &found)
        );
        self.acknowledged = found;
    }

    fn name(&self, slot: u64) -> String {
        format!("writer:{}:{slot}", self.writer)
    }

    fn commands(&self, operation: &Operation) -> Vec<Vec<Vec<u8>>> {
        match operation {
            Operation::Set { slot, value } => vec![words(&["SET", &self.name(*slot), &value.to_string()])],
            Operation::Delete { slot } => vec![words(&["DEL", &self.name(*slot)])],
            Operation::SetField { slot, field, value } => {
                let key = format!("{}:hash", self.name(*slot));
                vec![words(&["HSET", &key, &field.to_string(), &value.to_string()])]
            }
            Operation::Together { slots, value } => {
                let sets = slots.iter().map(|slot| words(&["SET", &self.name(*slot), &value.to_string()]));
                [words(&["MULTI"])].into_iter().chain(sets).chain([words(&["EXEC"])]).collect()
            }
        }
    }

    /// Sends operations as one pipeline and takes their answers.
    ///
    /// # Errors
    /// The connection failed: what got no answer stays unanswered.
    ///
    /// # Panics
    /// Where the server refused an operation.
    fn send(&mut self, client: &mut Client, operations: Vec<Operation>) -> std::io::Result<()> {
        assert!(self.unanswered.is_empty(), "a writer goes on only after its state is known");
        let commands: Vec<_> = operations.iter().map(|operation| self.commands(operation)).collect();
        let bytes: Vec<u8> = commands.iter().flatten().flat_map(|command| encode(command)).collect();
        self.unanswered = operations;
        client.send(&bytes)?;
        for command in commands {
            let mut last = Value::Null;
            for _ in command {
                last = client.read()?;
                assert!(!last.is_error(), "a write was refused: {last:?}");
            }
            assert!(last != Value::Null, "a transaction was not executed");
            let done = self.unanswered.remove(0);
            self.acknowledged.apply(&done);
            self.acknowledged_count += 1;
        }
        Ok(())
    }
}

/// Deterministic choices of one writer at one step.
fn batch(step: u64) -> Vec<Operation> {
    // Of the middle bits, so that neighbours differ.
    let mixed = |salt: u64| (step.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(salt)).rotate_left(29) >> 7;
    let depth = [1, 1, 1, 4, 16][usize::try_from(mixed(1) % 5).expect("less than five")];
    (0..depth)
        .map(|index| {
            let slot = mixed(100 + index) % SLOTS;
            let value = step * 100 + index;
            match mixed(200 + index) % 10 {
                0 => Operation::Delete { slot },
                1 | 2 => Operation::SetField { slot: slot % 4, field: mixed(300 + index) % 32, value },
                3 => Operation::Together { slots: vec![slot, (slot + 1) % SLOTS, (slot + 7) % SLOTS], value },
                _ => Operation::Set { slot, value },
            }
        })
        .collect()
}

fn read_state(client: &mut Client, writer: u64) -> State {
    let mut state = State::default();
    for slot in 0..SLOTS {
        match client.expect(&["GET", &format!("writer:{writer}:{slot}")]) {
            Value::Null => {}
            value => drop(state.strings.insert(slot, parsed(&value))),
        }
        let fields = client.expect(&["HGETALL", &format!("writer:{writer}:{slot}:hash")]);
        let pairs = fields.items().chunks(2).map(|pair| (parsed(&pair[0]), parsed(&pair[1])));
        let hash: BTreeMap<_, _> = pairs.collect();
        if !hash.is_empty() {
            state.hashes.insert(slot, hash);
        }
    }
    state
}

fn parsed(value: &Value) -> u64 {
    value.text().parse().unwrap_or_else(|_| panic!("a value that nobody wrote: {value:?}"))
}

fn difference(expected: &State, found: &State) -> String {
    let mut lines = Vec::new();
    for slot in 0..SLOTS {
        let (wanted, is) = (expected.strings.get(&slot), found.strings.get(&slot));
        if wanted != is {
            lines.push(format!("slot {slot}: acknowledged {wanted:?}, found {is:?}"));
        }
        let (wanted, is) = (expected.hashes.get(&slot), found.hashes.get(&slot));
        if wanted != is {
            lines.push(format!("hash {slot}: acknowledged {wanted:?}, found {is:?}"));
        }
    }
    lines.join("\n")
}

/// Writers at work, each in a thread.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<History>>,
}

impl Load {
    /// Lets every writer go on from its history, until it is told to stop or the connection breaks.
    #[must_use]
    pub fn start(address: SocketAddr, histories: Vec<History>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let writers = histories
            .into_iter()
            .map(|history| {
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || write(address, history, &stop))
            })
            .collect();
        Self { stop, writers }
    }

    /// Lets the writers end what they are doing, and returns what they did.
    ///
    /// # Panics
    /// Where a writer met an error reply.
    #[must_use]
    pub fn finish(self) -> Vec<History> {
        self.stop.store(true, Ordering::Relaxed);
        self.writers.into_iter().map(|writer| writer.join().expect("a writer met an error")).collect()
    }
}

fn write(address: SocketAddr, mut history: History, stop: &AtomicBool) -> History {
    let Ok(mut client) = Client::connect(address) else { return history };
    let mut step = history.acknowledged_count.wrapping_mul(31).wrapping_add(history.writer);
    while !stop.load(Ordering::Relaxed) {
        step = step.wrapping_add(1);
        if history.send(&mut client, batch(step)).is_err() {
            break;
        }
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that holds exactly the given keys and answers only what [`read_state`] asks.
    fn serve(state: &State) -> SocketAddr {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = state.clone();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            while let (Some(_), Some(_), Some(name), Some(_), Some(key)) =
                (lines.next(), lines.next(), lines.next(), lines.next(), lines.next())
            {
                let slot = key.split(':').nth(2).unwrap().parse().unwrap();
                let reply = if name == "GET" {
                    state.strings.get(&slot).map_or("$-1\r\n".to_owned(), |value| format!("+{value}\r\n"))
                } else {
                    let hash = state.hashes.get(&slot).cloned().unwrap_or_default();
                    let fields: String =
                        hash.iter().map(|(field, value)| format!("+{field}\r\n+{value}\r\n")).collect();
                    format!("*{}\r\n{fields}", hash.len() * 2)
                };
                stream.write_all(reply.as_bytes()).unwrap();
            }
        });
        address
    }

    fn history(acknowledged: &[Operation], unanswered: &[Operation]) -> History {
        let mut history = History::new(0);
        acknowledged.iter().for_each(|operation| history.acknowledged.apply(operation));
        history.unanswered = unanswered.to_vec();
        history
    }

    fn is_accepted(mut history: History, found: &State) -> bool {
        let mut client = Client::connect(serve(found)).unwrap();
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history.expect_kept(&mut client))).is_ok()
    }

    fn state(operations: &[Operation]) -> State {
        let mut state = State::default();
        operations.iter().for_each(|operation| state.apply(operation));
        state
    }

    const FIRST: Operation = Operation::Set { slot: 1, value: 1 };
    const SECOND: Operation = Operation::Set { slot: 2, value: 2 };
    const THIRD: Operation = Operation::SetField { slot: 3, field: 3, value: 3 };

    #[test]
    fn any_prefix_with_everything_acknowledged_is_accepted() {
        assert!(is_accepted(history(&[FIRST], &[SECOND, THIRD]), &state(&[FIRST])));
        assert!(is_accepted(history(&[FIRST], &[SECOND, THIRD]), &state(&[FIRST, SECOND])));
        assert!(is_accepted(history(&[FIRST], &[SECOND, THIRD]), &state(&[FIRST, SECOND, THIRD])));
    }

    #[test]
    fn a_lost_acknowledged_write_is_caught() {
        assert!(!is_accepted(history(&[FIRST, SECOND], &[THIRD]), &state(&[FIRST])));
    }

    #[test]
    fn a_hole_in_the_history_is_caught() {
        assert!(!is_accepted(history(&[FIRST], &[SECOND, THIRD]), &state(&[FIRST, THIRD])));
    }

    #[test]
    fn half_a_transaction_is_caught() {
        let together = Operation::Together { slots: vec![4, 5], value: 9 };
        assert!(!is_accepted(history(&[], &[together]), &state(&[Operation::Set { slot: 4, value: 9 }])));
    }

    #[test]
    fn every_kind_of_operation_occurs() {
        let all: Vec<_> = (0..200).flat_map(batch).collect();
        assert!(all.iter().any(|operation| matches!(operation, Operation::Set { .. })));
        assert!(all.iter().any(|operation| matches!(operation, Operation::Delete { .. })));
        assert!(all.iter().any(|operation| matches!(operation, Operation::SetField { .. })));
        assert!(all.iter().any(|operation| matches!(operation, Operation::Together { .. })));
    }
}
