//! Counts of what the data port did, for `INFO`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::command::table;
use crate::reply::Reply;

/// Error prefixes that are counted apart; more than these are not.
const ERROR_PREFIXES_MAX: usize = 128;

/// What is counted of one command.
#[derive(Debug, Default)]
pub(crate) struct CommandCounts {
    /// Executions.
    pub calls: AtomicU64,
    /// The time they took, in microseconds; for what the committer executes, until it was durable.
    pub busy_us: AtomicU64,
    /// Refused before execution.
    pub rejected: AtomicU64,
    /// Answered with an error.
    pub failed: AtomicU64,
}

/// The counts of one data port, since the start or `CONFIG RESETSTAT`.
#[derive(Debug)]
pub(crate) struct Stats {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused because there were too many.
    pub connections_refused: AtomicU64,
    /// Commands executed.
    pub commands: AtomicU64,
    /// Bytes received.
    pub input_bytes: AtomicU64,
    /// Bytes sent.
    pub output_bytes: AtomicU64,
    /// Reads from sockets.
    pub reads: AtomicU64,
    /// Writes to sockets.
    pub writes: AtomicU64,
    /// Reads of keys that found something.
    pub hits: AtomicU64,
    /// Reads of keys that found nothing.
    pub misses: AtomicU64,
    /// Errors answered.
    pub errors: AtomicU64,
    /// Commands, bytes in and bytes out during the last second.
    pub last_second: Rates,
    errors_by_prefix: Mutex<BTreeMap<String, u64>>,
    by_command: Vec<CommandCounts>,
}

/// What happened during the last second.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// Commands executed.
    pub commands: AtomicU64,
    /// Bytes received.
    pub input_bytes: AtomicU64,
    /// Bytes sent.
    pub output_bytes: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Self::new()
    }
}

impl Stats {
    /// Nothing counted yet.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self {
            connections: AtomicU64::new(0),
            connections_refused: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            last_second: Rates::default(),
            errors_by_prefix: Mutex::default(),
            by_command: std::iter::repeat_with(CommandCounts::default).take(table::counter_count()).collect(),
        }
    }

    /// Sets every count back to zero.
    pub(crate) fn reset(&self) {
        for count in [
            &self.connections,
            &self.connections_refused,
            &self.commands,
            &self.input_bytes,
            &self.output_bytes,
            &self.reads,
            &self.writes,
            &self.hits,
            &self.misses,
            &self.errors,
        ] {
            count.store(0, Relaxed);
        }
        for counts in &self.by_command {
            for count in [&counts.calls, &counts.busy_us, &counts.rejected, &counts.failed] {
                count.store(0, Relaxed);
            }
        }
        self.errors_by_prefix.lock().clear();
    }

    /// The counts of a command or subcommand; see [`table::counter_name`].
    #[must_use]
    pub(crate) fn of_command(&self, counter: usize) -> Option<&CommandCounts> {
        self.by_command.get(counter)
    }

    /// Counts an executed command.
    pub(crate) fn executed(&self, counter: usize, busy: Duration, reply: &Reply) {
        self.commands.fetch_add(1, Relaxed);
        if let Some(counts) = self.by_command.get(counter) {
            counts.calls.fetch_add(1, Relaxed);
            counts.busy_us.fetch_add(u64::try_from(busy.as_micros()).unwrap_or(u64::MAX), Relaxed);
            if matches!(reply, Reply::Error(_)) {
                counts.failed.fetch_add(1, Relaxed);
            }
        }
        self.answered(reply);
    }

    /// Counts a command that `EXEC` carries out with others.
    pub(crate) fn queued(&self, counter: usize) {
        self.commands.fetch_add(1, Relaxed);
        if let Some(counts) = self.by_command.get(counter) {
            counts.calls.fetch_add(1, Relaxed);
        }
    }

    /// Counts a command that was refused before it was executed; without a counter where there is no such command.
    pub(crate) fn rejected(&self, counter: Option<usize>, reply: &Reply) {
        if let Some(counts) = counter.and_then(|counter| self.by_command.get(counter)) {
            counts.rejected.fetch_add(1, Relaxed);
        }
        self.answered(reply);
    }

    /// Counts whether a read of keys found something.
    pub(crate) fn looked_up(&self, reply: &Reply) {
        let found = match reply {
            // What commands on a key that is not there answer: a count of nothing, `TTL`'s -2, `TYPE`'s none.
            Reply::Null | Reply::NullArray | Reply::Int(0 | -2) => false,
            Reply::Simple(text) => text != "none",
            Reply::Array(items) => !items.is_empty(),
            Reply::Map(pairs) => !pairs.is_empty(),
            Reply::Error(_) => return,
            _ => true,
        };
        if found { &self.hits } else { &self.misses }.fetch_add(1, Relaxed);
    }

    /// How often each error prefix was answered, in text order.
    #[must_use]
    pub(crate) fn errors_by_prefix(&self) -> Vec<(String, u64)> {
        self.errors_by_prefix.lock().iter().map(|(prefix, count)| (prefix.clone(), *count)).collect()
    }

    fn answered(&self, reply: &Reply) {
        let Reply::Error(error) = reply else { return };
        self.errors.fetch_add(1, Relaxed);
        let text = error.text();
        let prefix = text.split(' ').next().unwrap_or_default();
        let mut prefixes = self.errors_by_prefix.lock();
        if let Some(count) = prefixes.get_mut(prefix) {
            *count += 1;
        } else if prefixes.len() < ERROR_PREFIXES_MAX {
            prefixes.insert(prefix.to_owned(), 1);
        }
    }
}
