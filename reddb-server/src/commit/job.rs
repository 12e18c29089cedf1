//! What a session asks of the committer, and what it gets back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use reddb_file::{Chain, Lsn, TimelineId};

use crate::command::CommandSpec;
use crate::reply::Reply;

/// A data command with its arguments, in a database. Its arity has been checked.
#[derive(Clone, Debug)]
pub(crate) struct Invocation {
    /// The command.
    pub spec: &'static CommandSpec,
    /// Its arguments, its name first.
    pub args: Vec<Bytes>,
    /// The database that its connection has selected.
    pub db: u32,
}

/// A part of a transaction.
#[derive(Clone, Debug)]
pub(crate) enum TxnStep {
    /// A data command.
    Run(Invocation),
    /// A session command's answer, which takes its place among the others.
    Ready(Reply),
}

/// One thing to do. Each step gives one reply.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A data command: a write, or a read that must see the writes before it in the same job.
    Run(Invocation),
    /// `EXEC`: all or nothing, one record. Replies with an array, or the null array where `watcher` was touched.
    Transaction {
        /// What was queued.
        steps: Vec<TxnStep>,
        /// What the connection watches, if it does. Its watch ends here.
        watcher: Option<Arc<Watcher>>,
    },
    /// `WATCH`: from now on a change to one of these keys touches the watcher. Replies OK.
    Watch {
        /// The connection's watcher.
        watcher: Arc<Watcher>,
        /// The keys, each in its database.
        keys: Vec<(u32, Bytes)>,
    },
}

/// Steps of one connection, carried out in order; the answers come together, when everything that they depend on is
/// durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Job {
    /// The steps.
    pub steps: Vec<Step>,
}

/// A commit's place in history: what a client keeps to prove later that its write is in the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The timeline.
    pub timeline: TimelineId,
    /// The record's position.
    pub lsn: Lsn,
    /// The chain after the record.
    pub chain: Chain,
}

/// What came of a job.
#[derive(Clone, Debug)]
pub(crate) struct JobOutcome {
    /// One reply a step, in order.
    pub replies: Vec<Reply>,
    /// The job's last commit, if it made one.
    pub receipt: Option<Receipt>,
    /// The steps that were not carried out because the answers before them are large: take those, then ask for these.
    pub rest: Vec<Step>,
}

/// One connection's watch: touched when a watched key changes or expires. Dropping the last handle ends the watch.
#[derive(Debug)]
pub(crate) struct Watcher {
    touched: AtomicBool,
    /// The earliest expiry of a watched key, on the expiry clock.
    expires_at_ms: AtomicU64,
}

impl Watcher {
    /// A watch on nothing.
    #[must_use]
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { touched: AtomicBool::new(false), expires_at_ms: AtomicU64::new(u64::MAX) })
    }

    /// Whether a watched key has changed.
    #[must_use]
    pub(crate) fn is_touched(&self) -> bool {
        self.touched.load(Ordering::Acquire)
    }

    /// Whether a key that existed when it was watched has expired by `now_ms` of the expiry clock.
    pub(super) fn has_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.load(Ordering::Acquire) <= now_ms
    }

    pub(super) fn touch(&self) {
        self.touched.store(true, Ordering::Release);
    }

    /// A watched key expires then, if it does.
    pub(super) fn expires_by(&self, expires_at_ms: Option<u64>) {
        if let Some(expires_at_ms) = expires_at_ms {
            self.expires_at_ms.fetch_min(expires_at_ms, Ordering::AcqRel);
        }
    }
}
