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
