//! The newest batches, still in memory: a reader that follows the writer finds them here instead of on the disk.
//!
//! Bounded. Only batches that are durable come here; what is forgotten is on the disk.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::ids::{Lsn, TimelineId};

use super::reader::{Place, WalBatch};

/// What a batch takes beside its records, in bytes.
const ENTRY_BYTES: usize = 256;

/// See the module. Shared by the writer and the readers that follow it.
#[derive(Debug)]
pub struct RecentBatches {
    bytes_max: usize,
    queue: Mutex<Queue>,
}

/// In LSN order, maybe with holes.
#[derive(Debug, Default)]
struct Queue {
    batches: VecDeque<Recent>,
    held_bytes: usize,
}

/// A batch, and where the log goes on after it.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    pub(super) timeline: TimelineId,
    pub(super) batch: WalBatch,
    pub(super) after: Place,
}

impl Recent {
    fn held_bytes(&self) -> usize {
        self.batch.bytes.len() + ENTRY_BYTES
    }
}

impl RecentBatches {
    /// Room for batches of so many bytes in all.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, queue: Mutex::default() }
    }

    /// Takes the batch that was appended last; forgets the oldest ones for it. One that is larger than all the room is not kept.
    pub(super) fn push(&self, recent: Recent) {
        let bytes = recent.held_bytes();
        if bytes > self.bytes_max {
            return;
        }
        let mut queue = self.queue.lock();
        while queue.held_bytes + bytes > self.bytes_max {
            let Some(oldest) = queue.batches.pop_front() else { break };
            queue.held_bytes -= oldest.held_bytes();
        }
        queue.held_bytes += bytes;
        queue.batches.push_back(recent);
    }

    /// The batch of this timeline's log that holds a record.
    pub(super) fn find(&self, timeline: TimelineId, lsn: Lsn) -> Option<Recent> {
        let queue = self.queue.lock();
        let at = queue.batches.partition_point(|recent| recent.batch.last.lsn < lsn);
        queue.batches.get(at).filter(|recent| recent.timeline == timeline && recent.batch.first_lsn <= lsn).cloned()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::ids::{ClusterId, Epoch};
    use crate::mark::TimedMark;

    /// A batch of two records, of so many bytes.
    fn recent(timeline: TimelineId, first: u64, bytes: usize) -> Recent {
        let before = TimedMark::genesis(ClusterId::from_bytes([1; 16]));
        let last = TimedMark { lsn: Lsn::new(first + 1), ..before };
        let batch = WalBatch {
            epoch: Epoch::new(1),
            first_lsn: Lsn::new(first),
            chain_before: before.chain,
            first_time_ms: 0,
            last,
            bytes: Bytes::from(vec![0; bytes]),
        };
        Recent { timeline, batch, after: Place { segment: Lsn::new(1), offset: 0, before: last } }
    }

    fn found(recent: &RecentBatches, timeline: TimelineId) -> Vec<u64> {
        (0..50).filter(|lsn| recent.find(timeline, Lsn::new(*lsn)).is_some()).collect()
    }

    #[test]
    fn the_oldest_are_forgotten_and_what_is_too_large_is_not_kept() {
        let (ours, other) = (TimelineId::FIRST, TimelineId::FIRST.next().unwrap());
        let batches = RecentBatches::new(3 * (100 + ENTRY_BYTES));
        for first in [1, 3, 5, 7] {
            batches.push(recent(ours, first, 100));
        }
        assert_eq!(found(&batches, ours), [3, 4, 5, 6, 7, 8]);
        assert_eq!(found(&batches, other), [0; 0]);
        batches.push(recent(ours, 9, 3 * (100 + ENTRY_BYTES)));
        assert_eq!(found(&batches, ours), [3, 4, 5, 6, 7, 8], "it has no room for that one");
        batches.push(recent(other, 11, 2 * (100 + ENTRY_BYTES) - ENTRY_BYTES));
        assert_eq!((found(&batches, ours), found(&batches, other)), (vec![7, 8], vec![11, 12]));
        assert_eq!(batches.queue.lock().held_bytes, 3 * (100 + ENTRY_BYTES));
    }
}
