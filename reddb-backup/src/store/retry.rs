//! How often and how soon a request is repeated.

use std::time::Duration;

use rand::RngExt as _;

/// Exponential back-off with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often a request is made in all; at least 1. Default 5.
    pub attempts_max: u32,
    /// The longest wait before the second attempt. Default 150 ms.
    pub first_wait: Duration,
    /// The longest wait before any attempt. Default 5 s.
    pub wait_max: Duration,
}

impl Default for RetryPolicy {
    /// The attempts lie over more than a second: Google Cloud Storage lets an object be replaced once in a second.
    fn default() -> Self {
        Self { attempts_max: 5, first_wait: Duration::from_millis(150), wait_max: Duration::from_secs(5) }
    }
}

impl RetryPolicy {
    /// One attempt, no waiting.
    #[must_use]
    pub const fn once() -> Self {
        Self { attempts_max: 1, first_wait: Duration::ZERO, wait_max: Duration::ZERO }
    }

    /// The longest wait after `failed` failed attempts: doubled each time, up to the limit.
    #[must_use]
    pub(crate) fn wait_limit(&self, failed: u32) -> Duration {
        let doublings = failed.saturating_sub(1).min(20);
        self.first_wait.saturating_mul(1 << doublings).min(self.wait_max)
    }

    /// A random wait after `failed` failed attempts: between a half of the limit and the limit, so that many clients
    /// of one store do not return together.
    #[must_use]
    pub fn wait(&self, failed: u32) -> Duration {
        let limit = self.wait_limit(failed);
        limit.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    pub(crate) async fn pause(&self, failed: u32) {
        let wait = self.wait(failed);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_attempts_outlast_a_limit_of_one_write_in_a_second() {
        let policy = RetryPolicy::default();
        let shortest: Duration = (1..policy.attempts_max).map(|failed| policy.wait_limit(failed) / 2).sum();
        assert!(shortest > Duration::from_secs(1), "{shortest:?}");
    }

    #[test]
    fn waits_double_up_to_the_limit() {
        let policy = RetryPolicy::default();
        let limits: Vec<_> = [1, 2, 3, 7, 1000].map(|failed| policy.wait_limit(failed).as_millis()).into();
        assert_eq!(limits, [150, 300, 600, 5000, 5000]);
        for failed in 1..20 {
            let wait = policy.wait(failed);
            assert!(wait <= policy.wait_limit(failed) && wait * 2 >= policy.wait_limit(failed));
        }
    }
}
