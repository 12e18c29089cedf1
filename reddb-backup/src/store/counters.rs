//! How many requests a store was asked, and what they moved.

use std::sync::atomic::{AtomicU64, Ordering};

use super::error::Operation;

/// How many requests were made since the store was opened, and what they moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// Reads.
    pub gets: u64,
    /// Questions for a size.
    pub heads: u64,
    /// Listings (not their pages).
    pub lists: u64,
    /// Writes.
    pub puts: u64,
    /// Removals.
    pub deletes: u64,
    /// Requests that failed for now and were, or will be, repeated.
    pub failures: u64,
    /// Bytes of objects that were written.
    pub bytes_sent: u64,
    /// Bytes of objects that were read.
    pub bytes_received: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    gets: AtomicU64,
    heads: AtomicU64,
    lists: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    failures: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
}

impl Counters {
    pub(super) fn request(&self, operation: Operation) {
        let counter = match operation {
            Operation::Get => &self.gets,
            Operation::Head => &self.heads,
            Operation::List => &self.lists,
            Operation::Put => &self.puts,
            Operation::Delete => &self.deletes,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn received(&self, bytes: u64) {
        self.bytes_received.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> RequestCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            gets: get(&self.gets),
            heads: get(&self.heads),
            lists: get(&self.lists),
            puts: get(&self.puts),
            deletes: get(&self.deletes),
            failures: get(&self.failures),
            bytes_sent: get(&self.bytes_sent),
            bytes_received: get(&self.bytes_received),
        }
    }
}
