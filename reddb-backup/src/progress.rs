//! How far a long operation has come.
//!
//! Counts only go up within a phase, and totals may grow while more becomes known. Reports may come from any thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// What an operation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reading the archive's documents.
    Documents,
    /// Reading snapshot files: checking them or putting them in place.
    Files,
    /// Reading segments: checking or replaying them.
    Segments,
    /// Making everything durable.
    Sync,
}

/// How far one phase has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ProgressReport {
    /// The phase.
    pub phase: Phase,
    /// How many things (documents, files, segments) are done.
    pub items_done: u64,
    /// How many there are, as far as is known.
    pub items_total: u64,
    /// How many stored bytes were read.
    pub bytes_done: u64,
    /// How many there are, as far as is known.
    pub bytes_total: u64,
}

/// Is told how far an operation has come. Called often, so it must be cheap.
pub trait Progress: Send + Sync {
    /// The state of the current phase.
    fn report(&self, report: ProgressReport);
}

impl<F: Fn(ProgressReport) + Send + Sync> Progress for F {
    fn report(&self, report: ProgressReport) {
        self(report);
    }
}

/// Nobody is told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Silent {
    /// Nobody, shared.
    #[must_use]
    pub fn shared() -> Arc<dyn Progress> {
        Arc::new(Self)
    }
}

impl Progress for Silent {
    fn report(&self, _: ProgressReport) {}
}

/// Counts one phase. Clones count together.
#[derive(Clone)]
pub(crate) struct Meter {
    progress: Arc<dyn Progress>,
    phase: Phase,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    items_done: AtomicU64,
    items_total: AtomicU64,
    bytes_done: AtomicU64,
    bytes_total: AtomicU64,
}

impl Meter {
    pub(crate) fn new(progress: &Arc<dyn Progress>, phase: Phase) -> Self {
        Self { progress: Arc::clone(progress), phase, counts: Arc::default() }
    }

    /// More things, of this many bytes together, belong to the phase.
    pub(crate) fn expect(&self, items: u64, bytes: u64) {
        self.counts.items_total.fetch_add(items, Ordering::Relaxed);
        self.counts.bytes_total.fetch_add(bytes, Ordering::Relaxed);
        self.report();
    }

    /// Bytes were read.
    pub(crate) fn bytes(&self, bytes: u64) {
        self.counts.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.report();
    }

    /// One thing is done.
    pub(crate) fn item(&self) {
        self.counts.items_done.fetch_add(1, Ordering::Relaxed);
        self.report();
    }

    fn report(&self) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.progress.report(ProgressReport {
            phase: self.phase,
            items_done: get(&self.counts.items_done),
            items_total: get(&self.counts.items_total),
            bytes_done: get(&self.counts.bytes_done),
            bytes_total: get(&self.counts.bytes_total),
        });
    }
}
