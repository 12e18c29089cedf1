//! How much to slow writes down while compaction is behind, so that they seldom have to stop.
//!
//! A pure function of the number of runs in level 0: free below [`L0_RUNS_SLOW`], then a cost for each byte that doubles with
//! every second run, up to [`L0_RUNS_MAX`], where sealing stops altogether until compaction has caught up.

use std::time::Duration;

use super::config::L0_RUNS_MAX;

/// Runs in level 0 from which on writes are slowed down.
pub(super) const L0_RUNS_SLOW: usize = 12;

/// 60 MB/s.
const FIRST_NS_PER_BYTE: u64 = 16;
/// Sleeps shorter than this are saved up.
const SLEEP_MIN: Duration = Duration::from_millis(1);
/// One record is never held up for longer.
const SLEEP_MAX: Duration = Duration::from_millis(50);

/// What the writer owes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Throttle {
    owed_ns: u64,
}

impl Throttle {
    /// Accounts for `bytes` written with `l0_runs` in level 0, and says how long to wait before the next record.
    pub(super) fn write(&mut self, bytes: u64, l0_runs: usize) -> Option<Duration> {
        self.owed_ns = self.owed_ns.saturating_add(bytes.saturating_mul(ns_per_byte(l0_runs)));
        let owed = Duration::from_nanos(self.owed_ns);
        if owed < SLEEP_MIN {
            return None;
        }
        self.owed_ns = 0;
        Some(owed.min(SLEEP_MAX))
    }
}

fn ns_per_byte(l0_runs: usize) -> u64 {
    match l0_runs.min(L0_RUNS_MAX).checked_sub(L0_RUNS_SLOW) {
        None => 0,
        Some(above) => FIRST_NS_PER_BYTE << (above / 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cost_of_a_byte_grows_with_the_runs() {
        let costs: Vec<_> = [0, 11, 12, 13, 14, 18, 24, 25, usize::MAX].map(ns_per_byte).to_vec();
        assert_eq!(costs, [0, 0, 16, 16, 32, 128, 1024, 1024, 1024]);
    }

    #[test]
    fn small_debts_are_saved_up_and_large_ones_forgiven() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.write(1 << 40, 3), None);
        assert_eq!(throttle.write(40_000, 12), None);
        assert_eq!(throttle.write(40_000, 12), Some(Duration::from_micros(1280)));
        assert_eq!(throttle, Throttle::default());
        assert_eq!(throttle.write(u64::MAX, 24), Some(SLEEP_MAX));
        assert_eq!(throttle, Throttle::default());
    }
}
