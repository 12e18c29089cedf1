//! Counts of what the data port did, for `INFO`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::command::table;
use crate::per_thread::PerThread;
use crate::reply::Reply;

/// Error prefixes that are counted apart; more than these are not.
const ERROR_PREFIXES_MAX: usize = 128;

/// What is counted of one command, by one thread.
#[derive(Debug, Default)]
struct OfCommand {
    calls: AtomicU64,
    busy_us: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

/// What was counted of one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommandTotals {
    /// Executions.
    pub calls: u64,
    /// The time they took, in microseconds; for what the committer executes, until it was durable.
    pub busy_us: u64,
    /// Refused before execution.
    pub rejected: u64,
    /// Answered with an error.
    pub failed: u64,
}

/// What is counted for every command or every few, by one thread.
#[derive(Debug)]
struct Often {
    input_bytes: AtomicU64,
    output_bytes: AtomicU64,
    writes: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
    by_command: Vec<OfCommand>,
}

impl Default for Often {
    fn default() -> Self {
        Self {
            input_bytes: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            by_command: std::iter::repeat_with(OfCommand::default).take(table::counter_count()).collect(),
        }
    }
}

/// What was counted for all commands together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Commands executed.
    pub commands: u64,
    /// Bytes received.
    pub input_bytes: u64,
    /// Bytes sent.
    pub output_bytes: u64,
    /// Writes to sockets.
    pub writes: u64,
    /// Reads of keys that found something.
    pub hits: u64,
    /// Reads of keys that found nothing.
    pub misses: u64,
}

/// The counts of one data port, since the start or `CONFIG RESETSTAT`.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connections refused because there were too many.
    pub connections_refused: AtomicU64,
    /// Reads from sockets. One count for all threads: who reads finds out by it whether others did.
    pub reads: AtomicU64,
    /// Errors answered.
    pub errors: AtomicU64,
    /// Commands, bytes in and bytes out during the last second.
    pub last_second: Rates,
    errors_by_prefix: Mutex<BTreeMap<String, u64>>,
    often: PerThread<Often>,
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

impl Stats {
    /// Sets every count back to zero.
    pub(crate) fn reset(&self) {
        for count in [&self.connections, &self.connections_refused, &self.reads, &self.errors] {
            count.store(0, Relaxed);
        }
        for often in self.often.all() {
            for count in [&often.input_bytes, &often.output_bytes, &often.writes, &often.hits, &often.misses] {
                count.store(0, Relaxed);
            }
            for counts in &often.by_command {
                for count in [&counts.calls, &counts.busy_us, &counts.rejected, &counts.failed] {
                    count.store(0, Relaxed);
                }
            }
        }
        self.errors_by_prefix.lock().clear();
    }

    /// The counts of all commands together.
    #[must_use]
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for often in self.often.all() {
            totals.commands += often.by_command.iter().map(|counts| counts.calls.load(Relaxed)).sum::<u64>();
            totals.input_bytes += often.input_bytes.load(Relaxed);
            totals.output_bytes += often.output_bytes.load(Relaxed);
            totals.writes += often.writes.load(Relaxed);
            totals.hits += often.hits.load(Relaxed);
            totals.misses += often.misses.load(Relaxed);
        }
        totals
    }

    /// The counts of a command or subcommand; see [`table::counter_name`].
    #[must_use]
    pub(crate) fn of_command(&self, counter: usize) -> CommandTotals {
        let mut totals = CommandTotals::default();
        for counts in self.often.all().filter_map(|often| often.by_command.get(counter)) {
            totals.calls += counts.calls.load(Relaxed);
            totals.busy_us += counts.busy_us.load(Relaxed);
            totals.rejected += counts.rejected.load(Relaxed);
            totals.failed += counts.failed.load(Relaxed);
        }
        totals
    }

    /// Counts bytes received.
    pub(crate) fn received(&self, bytes: usize) {
        self.often.mine().input_bytes.fetch_add(u64::try_from(bytes).unwrap_or(0), Relaxed);
    }

    /// Counts a write to a socket, and the bytes that it took.
    pub(crate) fn sent(&self, bytes: usize) {
        let often = self.often.mine();
        often.writes.fetch_add(1, Relaxed);
        often.output_bytes.fetch_add(u64::try_from(bytes).unwrap_or(0), Relaxed);
    }

    /// Counts an executed command.
    pub(crate) fn executed(&self, counter: usize, busy: Duration, reply: &Reply) {
        if let Some(counts) = self.often.mine().by_command.get(counter) {
            counts.calls.fetch_add(1, Relaxed);
            let busy_us = u64::try_from(busy.as_micros()).unwrap_or(u64::MAX);
            // Most reads take less than one.
            if busy_us > 0 {
                counts.busy_us.fetch_add(busy_us, Relaxed);
            }
            if matches!(reply, Reply::Error(_)) {
                counts.failed.fetch_add(1, Relaxed);
            }
        }
        self.answered(reply);
    }

    /// Counts a command that `EXEC` carries out with others.
    pub(crate) fn queued(&self, counter: usize) {
        if let Some(counts) = self.often.mine().by_command.get(counter) {
            counts.calls.fetch_add(1, Relaxed);
        }
    }

    /// Counts a command that was refused before it was executed; without a counter where there is no such command.
    pub(crate) fn rejected(&self, counter: Option<usize>, reply: &Reply) {
        if let Some(counts) = counter.and_then(|counter| self.often.mine().by_command.get(counter)) {
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
        let often = self.often.mine();
        if found { &often.hits } else { &often.misses }.fetch_add(1, Relaxed);
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
