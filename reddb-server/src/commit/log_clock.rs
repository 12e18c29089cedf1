//! The time that records get: never back, and not far forward without an operator's word.
//!
//! Pure: it is told both clocks and decides.

use std::time::Duration;

/// Gives out record times.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogClock {
    /// No later record gets a time below this, in Unix milliseconds.
    floor_ms: u64,
    /// The reading to measure jumps from: wall clock (ms) and monotonic clock. Of those that were believed it is the one
    /// furthest ahead, so that a clock that was wrong for a while may come back.
    believed: Option<(u64, Duration)>,
    jump_ms_max: u64,
}

/// A wall clock too far ahead of what the time since the last reading explains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the wall clock says {wall_ms} ms, {ahead_ms} ms ahead of what the time passed explains (limit {jump_ms_max} ms): \
     correct the clock, or confirm it with POST /admin/confirm-clock"
)]
pub(super) struct ClockJump {
    /// What the wall clock says, in Unix milliseconds.
    pub wall_ms: u64,
    /// How far that is ahead.
    pub ahead_ms: u64,
    /// The limit.
    pub jump_ms_max: u64,
}

impl LogClock {
    /// A clock for a log whose last record has time `last_ms`.
    #[must_use]
    pub(super) const fn new(last_ms: u64, jump_ms_max: u64) -> Self {
        Self { floor_ms: last_ms, believed: None, jump_ms_max }
    }

    /// The time of a record committed now.
    ///
    /// # Errors
    /// [`ClockJump`], until the wall clock comes back or [`LogClock::confirm`] is called.
    pub(super) fn tick(&mut self, wall_ms: u64, elapsed: Duration) -> Result<u64, ClockJump> {
        let mut reading = (wall_ms, elapsed);
        if let Some((believed_ms, believed_elapsed)) = self.believed {
            let passed_ms = elapsed.saturating_sub(believed_elapsed).as_millis();
            let passed_ms = u64::try_from(passed_ms).unwrap_or(u64::MAX);
            let explained_ms = believed_ms.saturating_add(passed_ms);
            let ahead_ms = wall_ms.saturating_sub(explained_ms);
            if ahead_ms > self.jump_ms_max {
                return Err(ClockJump { wall_ms, ahead_ms, jump_ms_max: self.jump_ms_max });
            }
            if explained_ms > wall_ms {
                // What is left of a millisecond counts the next time: readings may come by the thousand in one.
                reading = (explained_ms, believed_elapsed.saturating_add(Duration::from_millis(passed_ms)));
            }
        }
        self.believed = Some(reading);
        self.floor_ms = self.floor_ms.max(wall_ms);
        Ok(self.floor_ms)
    }

    /// Believes the wall clock, wherever it is.
    pub(super) const fn confirm(&mut self, wall_ms: u64, elapsed: Duration) {
        self.believed = Some((wall_ms, elapsed));
    }

    /// No later record gets a time at or below `ms`, in Unix milliseconds: that is promised already.
    pub(super) fn keep_after(&mut self, ms: u64) {
        self.floor_ms = self.floor_ms.max(ms.saturating_add(1));
    }

    /// Promises that no later record has a time at or below the returned one.
    pub(super) fn fence(&mut self, wall_ms: u64, elapsed: Duration) -> u64 {
        // Where the clock jumped, the floor stays: the promise is then merely older.
        let floor_ms = self.tick(wall_ms, elapsed).unwrap_or(self.floor_ms);
        floor_ms.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn records_come_after_what_is_promised() {
        let mut clock = LogClock::new(5_000, 60_000);
        clock.keep_after(4_000);
        assert_eq!(clock.tick(1_000, SECOND), Ok(5_000), "the last record is later");
        clock.keep_after(6_000);
        assert_eq!(clock.tick(1_000, SECOND), Ok(6_001));
        clock.keep_after(u64::MAX);
        assert_eq!(clock.tick(1_000, SECOND), Ok(u64::MAX));
    }

    #[test]
    fn time_never_goes_back() {
        let mut clock = LogClock::new(5_000, 60_000);
        assert_eq!(clock.tick(4_000, SECOND), Ok(5_000));
        assert_eq!(clock.tick(6_000, SECOND), Ok(6_000));
        assert_eq!(clock.tick(1_000, SECOND), Ok(6_000));
    }

    #[test]
    fn a_jump_is_refused_until_it_is_confirmed_or_undone() {
        let mut clock = LogClock::new(0, 60_000);
        assert_eq!(clock.tick(1_000_000, SECOND), Ok(1_000_000));
        let jump = clock.tick(2_000_000, SECOND * 2).expect_err("a jump");
        assert_eq!(jump.ahead_ms, 999_000);
        assert_eq!(clock.tick(1_002_000, SECOND * 3), Ok(1_002_000));
        clock.confirm(2_000_000, SECOND * 4);
        assert_eq!(clock.tick(2_001_000, SECOND * 5), Ok(2_001_000));
    }

    #[test]
    fn a_clock_that_went_back_may_come_back() {
        let mut clock = LogClock::new(0, 60_000);
        assert_eq!(clock.tick(1_000_000_000, SECOND), Ok(1_000_000_000));
        assert_eq!(clock.tick(5, SECOND * 2), Ok(1_000_000_000));
        assert_eq!(clock.tick(1_006, SECOND * 3), Ok(1_000_000_000));
        assert_eq!(clock.tick(1_000_500_000, SECOND * 500), Ok(1_000_500_000));
        assert!(clock.tick(1_000_600_000, SECOND * 501).is_err());
    }

    #[test]
    fn a_clock_that_went_back_may_come_back_however_often_it_is_read() {
        let mut clock = LogClock::new(0, 60_000);
        clock.tick(1_000_000_000, SECOND).expect("believed");
        for tenth_ms in 0..2_000_000_u64 {
            let elapsed = SECOND + Duration::from_micros(tenth_ms * 100);
            assert_eq!(clock.tick(5 + tenth_ms / 10, elapsed), Ok(1_000_000_000));
        }
        assert_eq!(clock.tick(1_000_200_000, SECOND * 201), Ok(1_000_200_000));
    }

    #[test]
    fn after_a_fence_every_record_is_later() {
        let mut clock = LogClock::new(0, 60_000);
        let complete_until_ms = clock.fence(1_000, SECOND);
        assert_eq!(complete_until_ms, 999);
        assert!(clock.tick(900, SECOND).expect("no jump") > complete_until_ms);
    }
}
