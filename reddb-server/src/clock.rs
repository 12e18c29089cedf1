//! Time as an argument: the wall clock and a monotonic clock behind a trait, so that a test can set them.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where time comes from.
pub(crate) trait Clock: Send + Sync + 'static {
    /// The wall clock, in Unix milliseconds. May jump either way.
    fn wall_ms(&self) -> u64;

    /// Time since some fixed moment of this process. Never goes back.
    fn elapsed(&self) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub(crate) struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// The machine's clocks; `elapsed` counts from now.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        // A clock before 1970 is as wrong as one can be; the log's time does not go back, so 0 is never written over more.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
