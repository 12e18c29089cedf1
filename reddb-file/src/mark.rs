//! Marks: positions in the log that are worth nothing without the chain there.
//!
//! A mark says "the log, up to here, and it was this log". Always `archived ≤ durable` and `applied ≤ durable ≤ written`.

use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::ids::{ClusterId, Lsn};

/// An LSN and the chain after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// The last record that it covers; 0 for none.
    pub lsn: Lsn,
    /// The chain after that record.
    pub chain: Chain,
}

impl Mark {
    /// Before a cluster's first record.
    #[must_use]
    pub fn genesis(cluster: ClusterId) -> Self {
        Self { lsn: Lsn::ZERO, chain: Chain::genesis(cluster) }
    }
}

/// A mark, with the time of the record at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimedMark {
    /// The last record that it covers; 0 for none.
    pub lsn: Lsn,
    /// The chain after that record.
    pub chain: Chain,
    /// That record's time in Unix milliseconds; 0 where there is none.
    pub time_ms: u64,
}

impl TimedMark {
    /// Before a cluster's first record.
    #[must_use]
    pub fn genesis(cluster: ClusterId) -> Self {
        Mark::genesis(cluster).at_time(0)
    }

    /// The mark without its time.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { lsn: self.lsn, chain: self.chain }
    }
}

impl Mark {
    /// This mark, whose record has the time `time_ms` (Unix milliseconds).
    #[must_use]
    pub const fn at_time(self, time_ms: u64) -> TimedMark {
        TimedMark { lsn: self.lsn, chain: self.chain, time_ms }
    }
}
