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
    keys: HashMap<(u32, Bytes), Watched>,
    sweep_at: usize,
}

/// A key that is watched.
#[derive(Debug, Default)]
struct Watched {
    /// Whether the key was there for any of them. As long as nothing touches it, it has not been made since.
    existed: bool,
    watchers: Vec<Weak<Watcher>>,
}

impl Watches {
    /// Whether nobody watches anything.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// From now on a change to the key touches the watcher.
    pub(super) fn add(&mut self, watcher: &Arc<Watcher>, db: u32, key: Bytes, exists: bool) {
        if self.keys.len() > self.sweep_at.max(SWEEP_ABOVE) {
            self.keys.retain(|_, Watched { watchers, .. }| {
                watchers.retain(|watcher| watcher.strong_count() > 0);
                !watchers.is_empty()
            });
            self.sweep_at = self.keys.len() * 2;
        }
        let watched = self.keys.entry((db, key)).or_default();
        watched.existed |= exists;
        watched.watchers.retain(|known| known.strong_count() > 0);
        watched.watchers.push(Arc::downgrade(watcher));
    }

    /// Touches the watchers of what a transaction changed.
    pub(super) fn touch(&mut self, touched: Vec<Touched>) {
        if self.keys.is_empty() {
            return;
        }
        for touched in touched {
            match touched {
                Touched::Key(db, key) => touch_all(self.keys.remove(&(db, key))),
                Touched::Flushed(db) => {
                    let of_db = |key: &(u32, Bytes), watched: &mut Watched| key.0 == db && watched.existed;
                    touch_all(self.keys.extract_if(of_db).map(|(_, watched)| watched));
                }
                Touched::Database(db) => {
                    touch_all(self.keys.extract_if(|key, _| key.0 == db).map(|(_, watched)| watched));
                }
            }
        }
    }
}

fn touch_all(watched: impl IntoIterator<Item = Watched>) {
    for watcher in watched.into_iter().flat_map(|watched| watched.watchers) {
        if let Some(watcher) = watcher.upgrade() {
            watcher.touch();
        }
    }
}
