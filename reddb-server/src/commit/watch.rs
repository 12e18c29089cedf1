//! Which connections watch which keys.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::job::Watcher;
use crate::keyspace::Touched;

/// Beyond so many watched keys, watches that have ended are swept out before another is added.
const SWEEP_ABOVE: usize = 1024;

/// The watches of all connections; the committer's own.
#[derive(Debug, Default)]
pub(super) struct Watches {
    keys: HashMap<(u32, Bytes), Vec<Weak<Watcher>>>,
    sweep_at: usize,
}

impl Watches {
    /// Whether nobody watches anything.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// From now on a change to the key touches the watcher.
    pub(super) fn add(&mut self, watcher: &Arc<Watcher>, db: u32, key: Bytes) {
        if self.keys.len() > self.sweep_at.max(SWEEP_ABOVE) {
            self.keys.retain(|_, watchers| {
                watchers.retain(|watcher| watcher.strong_count() > 0);
                !watchers.is_empty()
            });
            self.sweep_at = self.keys.len() * 2;
        }
        let watchers = self.keys.entry((db, key)).or_default();
        watchers.retain(|known| known.strong_count() > 0);
        watchers.push(Arc::downgrade(watcher));
    }

    /// Touches the watchers of what a transaction changed.
    pub(super) fn touch(&mut self, touched: Vec<Touched>) {
        if self.keys.is_empty() {
            return;
        }
        for touched in touched {
            match touched {
                Touched::Key(db, key) => touch_all(self.keys.remove(&(db, key))),
                Touched::Database(db) => {
                    for (_, watchers) in self.keys.extract_if(|(watched_db, _), _| *watched_db == db) {
                        touch_all(Some(watchers));
                    }
                }
            }
        }
    }
}

fn touch_all(watchers: Option<Vec<Weak<Watcher>>>) {
    for watcher in watchers.iter().flatten().filter_map(Weak::upgrade) {
        watcher.touch();
    }
}
