//! `CLIENT PAUSE`: commands of all clients, or those that write, wait.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// What waits during a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PauseScope {
    /// Commands that may write.
    Writes,
    /// All commands.
    All,
}

/// The pause of one data port.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    on: AtomicBool,
    state: Mutex<Option<(PauseScope, Instant)>>,
    changed: Notify,
}

impl Pause {
    /// Begins a pause, or changes the running one: it never gets shorter or narrower before it ends.
    pub(crate) fn begin(&self, scope: PauseScope, length: Duration) {
        // A pause that is longer than the clock can count lasts as long as the process is likely to.
        let now = Instant::now();
        let until = now.checked_add(length).unwrap_or_else(|| now + Duration::from_hours(24 * 365));
        let mut state = self.state.lock();
        *state = Some(match *state {
            Some((before, earlier)) if earlier > now => {
                (if before == PauseScope::All { before } else { scope }, earlier.max(until))
            }
            _ => (scope, until),
        });
        self.on.store(true, Ordering::Release);
    }

    /// Ends the pause.
    pub(crate) fn end(&self) {
        *self.state.lock() = None;
        self.on.store(false, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// For how long a command has to wait at most, if it has to.
    #[must_use]
    pub(crate) fn holds(&self, writes: bool) -> Option<Duration> {
        if !self.on.load(Ordering::Acquire) {
            return None;
        }
        let mut state = self.state.lock();
        let (scope, until) = (*state)?;
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            *state = None;
            self.on.store(false, Ordering::Release);
            return None;
        }
        (scope == PauseScope::All || writes).then_some(left)
    }

    /// Returns when the command may go on.
    pub(crate) async fn wait(&self, writes: bool) {
        loop {
            let changed = self.changed.notified();
            let Some(left) = self.holds(writes) else { return };
            let _ = tokio::time::timeout(left, changed).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_holds_what_it_should_until_it_ends() {
        let pause = Pause::default();
        assert_eq!(pause.holds(true), None);
        pause.begin(PauseScope::Writes, Duration::from_secs(60));
        assert!(pause.holds(true).is_some());
        assert_eq!(pause.holds(false), None);
        pause.begin(PauseScope::All, Duration::from_secs(1));
        assert!(pause.holds(false).is_some_and(|left| left > Duration::from_secs(50)));
        pause.end();
        assert_eq!(pause.holds(true), None);
        pause.begin(PauseScope::All, Duration::ZERO);
        assert_eq!(pause.holds(true), None);
        pause.begin(PauseScope::All, Duration::MAX);
        assert!(pause.holds(true).is_some());
    }
}
